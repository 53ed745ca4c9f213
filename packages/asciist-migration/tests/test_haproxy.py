"""A shift with a real HAProxy, real requests and HAProxy's own log."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from asciist_migration.shift import controller as controller_module
from asciist_migration.shift import state
from asciist_migration.shift.controller import Controller
from asciist_migration.shift.haproxy import HaproxyCdn
from asciist_migration.shift.journal import Journal
from asciist_migration.shift.request_log import RequestLog
from asciist_migration.shift.state import Phase, Plan
from asciist_migration_testing.fakes import NEW, OLD, FakeArt
from asciist_migration_testing.haproxy_server import (
    BACKEND,
    HaproxyServer,
    Load,
    OriginServer,
    binary,
)
from operations.observability.objective import OBJECTIVE
from tests.waiting import wait_until


class Shift:
    """Two origins behind HAProxy, under load, and the controller of a shift between them."""

    def __init__(self, directory: Path, *, check: str = "") -> None:
        binary()  # or skip, before a thread runs
        self.origins = {OLD: OriginServer(), NEW: OriginServer()}
        self.haproxy = HaproxyServer(
            directory, [origin.port for origin in self.origins.values()], check=check
        )
        self.cdn = HaproxyCdn(self.haproxy.socket, backend=BACKEND)
        self.log = RequestLog(self.haproxy.log, backend=BACKEND)
        self.load = Load(self.haproxy)
        self.journal = Journal(directory / "journal")
        self.said: list[str] = []
        self.controller = Controller(
            journal=self.journal,
            cdn=self.cdn,
            metrics=self.log,
            art=FakeArt(),
            objective=OBJECTIVE,
            say=self.said.append,
        )

    def plan(self) -> None:
        addresses = {name: origin.address for name, origin in self.cdn.read().origins.items()}
        self.controller.plan(
            Plan(
                old=OLD,
                new=NEW,
                interval_seconds=0.5,
                min_requests=5,
                poll_seconds=0.1,
                late_seconds=0.1,
                slower=10,
                addresses=addresses,
            )
        )

    def stop(self) -> None:
        self.load.stop()
        self.journal.__exit__()
        self.haproxy.stop()
        for origin in self.origins.values():
            origin.stop()


@contextmanager
def running(*, check: str = "") -> Iterator[Shift]:
    with TemporaryDirectory() as directory:
        shift = Shift(Path(directory), check=check)
        try:
            yield shift
        finally:
            shift.stop()


@pytest.fixture
def shift(monkeypatch: pytest.MonkeyPatch) -> Iterator[Shift]:
    """A fast shift, on a machine that may be too busy to be judged by milliseconds."""
    monkeypatch.setattr(controller_module, "SETTLE_SECONDS", 0.05)
    monkeypatch.setattr(state, "PATIENCE", 100)
    with running() as made:
        yield made


def requests(shift: Shift) -> dict[str, int]:
    window = shift.log.window(0, time.time())
    return {name: len(sample.times) for name, sample in window.samples.items()}


@pytest.mark.slow
def test_no_request_fails_while_traffic_moves_from_one_origin_to_the_other(shift: Shift) -> None:
    shift.plan()
    while not (shift.controller.state.passed and shift.cdn.read().weights[NEW] == 100):
        reached = shift.controller.step()
        assert reached.phase is Phase.OBSERVING, "\n".join(shift.said)
    shift.controller.finish()
    before = requests(shift)
    wait_until(lambda: requests(shift)[NEW] > before[NEW] + 50)

    assert requests(shift)[OLD] - before[OLD] <= 4  # those under way, one for each client
    assert shift.cdn.read().weights == {OLD: 0, NEW: 100}
    assert shift.load.errors == 0


@pytest.mark.slow
def test_a_failing_origin_is_rolled_back(shift: Shift) -> None:
    shift.plan()
    shift.controller.step()
    shift.controller.step()
    shift.origins[NEW].status = 500
    shift.controller.run()

    assert (shift.controller.state.phase, shift.cdn.read().weights) == (
        Phase.ROLLED_BACK,
        {OLD: 100, NEW: 0},
    )
    assert "5xx, old origin 0 of" in shift.controller.state.reason


def test_the_log_has_the_figures_of_each_origin_and_of_failures(shift: Shift) -> None:
    shift.cdn.write({OLD: 50, NEW: 50})
    shift.origins[NEW].status = 503
    shift.origins[NEW].delay_seconds = 0.05
    start = time.time()
    wait_until(lambda: requests(shift).get(NEW, 0) >= 20)
    end = time.time()
    wait_until(lambda: shift.log.window(start, end).as_of >= end)
    window = shift.log.window(start, end)

    old, new = window.samples[OLD], window.samples[NEW]
    assert {window.unit, *old.statuses} == {"ms", 200}
    assert 503 in new.statuses
    assert all(start <= began < end for began in old.began + new.began)
    assert min(new.times) >= 50
    assert sorted(old.times)[len(old.times) // 2] < 50


def test_an_origin_that_is_down_has_errors_in_the_log_and_is_not_available(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with running(check="check inter 50ms fall 2") as shift:
        wait_until(lambda: requests(shift).get(OLD, 0) > 5)
        assert shift.cdn.read().origins[NEW].available
        shift.origins[NEW].stop()
        shift.cdn.write({NEW: 50})
        wait_until(lambda: not shift.cdn.read().origins[NEW].available)


def test_a_window_in_the_middle_of_a_long_log_is_found(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text(
        "".join(
            f"asciist-shift {second * 1000 + 10} app aws 200 10 1 5 --\n"
            for second in range(100_000)
        )
    )
    assert path.stat().st_size > 4_000_000
    window = RequestLog(path, backend="app").window(60_000, 60_010)

    assert window.samples["aws"].began == tuple(float(second) for second in range(60_000, 60_010))
    assert window.as_of == 99_999.01


def test_lines_that_say_nothing_about_an_origin_are_left_out(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text(
        "[NOTICE] haproxy is starting\n"
        "asciist-shift 1000 app aws 200 10 1 5 --\n"
        "asciist-shift 2000 other aws 200 10 1 5 --\n"
        "asciist-shift 3000 app aws 200 10 1 5 CD\n"  # the client gave up
        "asciist-shift 4000 app aws -1 10 1 -1 CH\n"
        "asciist-shift 5000 app azure 504 3000 1 -1 sH\n"  # the server did not answer in time
        "asciist-shift 6000 app azure 200 nan 1 5 --\n"
        "asciist-shift 7000 app az"
    )
    window = RequestLog(path, backend="app").window(0, 100)

    assert (window.samples["aws"].times, window.samples["aws"].statuses) == ((6,), (200,))
    assert (window.samples["azure"].times, window.samples["azure"].statuses) == ((3000,), (504,))


def test_algorithms_that_do_not_follow_weights_are_affinity(tmp_path: Path) -> None:
    for backend, affinity in (
        ("balance leastconn", ""),
        ("balance source", "balance source"),
        ("balance roundrobin\n  stick-table type ip size 100\n  stick on src", "stick table"),
    ):
        with TemporaryDirectory() as directory:
            haproxy = HaproxyServer(Path(directory), (1, 2), backend=backend)
            try:
                assert HaproxyCdn(haproxy.socket, backend=BACKEND).read().affinity == affinity
            finally:
                haproxy.stop()
