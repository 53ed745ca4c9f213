"""The scenarios of a rehearsal: a whole migration, the way back, and faults at critical moments.

Each scenario sends traffic throughout, and compares the clients' answers and the tools' actions
with the expected ones.
"""

import http.client
import shutil
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from asciist_migration.shift.cli import GAVE_WAY, PAUSED, ROLLED_BACK
from asciist_migration.shift.ports import Sample
from asciist_migration.shift.request_log import RequestLog
from asciist_migration.shift.state import Phase
from asciist_migration_testing.haproxy_server import BACKEND, HaproxyServer
from operations.smoke import Smoke, fresh
from tests.emulated.migration import faulty_service
from tests.emulated.migration.clouds import AWS, AZURE, Cloud, clouds
from tests.emulated.migration.operator import Operator, OperatorError, Pace
from tests.emulated.migration.traffic import Failure, Outcome, Traffic
from tests.waiting import wait_until

Say = Callable[[str], object]

CHECK_SECONDS: Final = 0.5
"""Interval of HAProxy's health checks."""
_CHECK: Final = f"check inter {CHECK_SECONDS * 1000:.0f}ms fall 2 rise 1"
_HTTP_CHECK: Final = "balance roundrobin\n  option httpchk GET /readyz\n  timeout check 3s"
"""Health check of HAProxy. An emulator may stall for a second, and readiness with it."""
_HAPROXY_SECONDS: Final = 30
_GENTLY: Final = ("--objects-per-second", "200")
"""Options for a slow copy. Azurite has one thread and is slow with thousands of objects, so faster
copies would starve its requests."""
_AT_10, _AT_50 = 1, 2
"""Steps of a shift."""
ROLLED_BACK_SECONDS: Final = 2.0
"""Maximum seconds until an origin that fails every request is rolled back."""
_READ_ONLY_SECONDS: Final = 60
"""Maximum seconds until a change of the read-only mode takes effect."""


@dataclass(frozen=True, kw_only=True)
class Marked:
    """A marked moment of a scenario."""

    at: float
    """Seconds since the epoch."""
    what: str


@dataclass(kw_only=True)
class Scenario:
    """A scenario and its results."""

    name: str
    expected: str
    """Rule for the failed requests, in words."""
    outcome: Outcome | None = None
    allowed: int = 0
    """Requests that may fail."""
    happened: list[str] = field(default_factory=list)
    """Actions of the tools, and figures."""
    marks: list[Marked] = field(default_factory=list)
    origins: dict[str, Sample] = field(default_factory=dict)
    """Requests sent by HAProxy to each origin."""
    problems: list[str] = field(default_factory=list)
    broken_at: float = 0.0
    """Start of the fault, in seconds since the epoch."""

    @property
    def passed(self) -> bool:
        return (
            self.outcome is not None and not self.problems and self.outcome.failed <= self.allowed
        )

    @property
    def failures(self) -> tuple[Failure, ...]:
        return self.outcome.failures if self.outcome else ()

    def mark(self, what: str) -> float:
        """Note a moment, and return it in seconds since the epoch."""
        self.marks.append(Marked(at=time.time(), what=what))
        return self.marks[-1].at


class Rehearsal:
    """Two clouds behind HAProxy. At first, AWS has all the traffic."""

    def __init__(
        self,
        directory: Path,
        made: dict[str, Cloud],
        variables: dict[str, str],
        pace: Pace,
        say: Say,
    ) -> None:
        self.scenarios: list[Scenario] = []
        self._directory, self._variables, self._pace, self._say = directory, variables, pace, say
        self._clouds = made
        self._operators: list[Operator] = []
        self.haproxy = HaproxyServer(
            directory,
            (made[AWS].port, made[AZURE].port),
            backend=_HTTP_CHECK,
            check=_CHECK,
            timeout_seconds=_HAPROXY_SECONDS,
        )
        self._log = RequestLog(self.haproxy.log, backend=BACKEND)

    def close(self) -> None:
        for operator in self._operators:
            operator.close()
        self.haproxy.stop()

    @property
    def passed(self) -> bool:
        return bool(self.scenarios) and all(scenario.passed for scenario in self.scenarios)

    def there(self) -> None:
        """Migrate from AWS to Azure."""
        self._migrate("The whole move", AWS, AZURE, is_back=False)

    def back(self) -> None:
        """Migrate from Azure to AWS, after the move was finished."""
        self._migrate("The way back", AZURE, AWS, is_back=True)

    def _migrate(self, name: str, old: str, new: str, *, is_back: bool) -> None:
        with self._scenario(name, "none") as scenario:
            operator = self._operator(name, old, new)
            if is_back:
                operator.empty(operator.new)
                scenario.happened.append(
                    f"the store in {new} emptied; {operator.move('invert')['done']}"
                )
            figures = operator.move("backfill", *_GENTLY)
            scenario.happened.append(
                f"backfill: {figures['copied']} objects,"
                f" {figures['objects_per_second']:.0f} objects/s, {figures['compared']} compared"
            )
            with self._traffic(scenario):
                scenario.mark("shift")
                operator.shift_all()
                scenario.happened += [
                    f"run again once, after a pause: {doubt}" for doubt in operator.doubts
                ]
                scenario.mark(f"{old} has nothing")
                figures = operator.move("backfill", *_GENTLY)
                scenario.happened.append(f"backfill: {figures['copied']} more")
                if not self._pace.hurries:
                    scenario.happened.append(self._read_only(operator))
                for command in ("switch", "finish"):
                    scenario.mark(command)
                    began = time.monotonic()
                    figures = operator.move(command, "--verify", "all")
                    scenario.happened.append(
                        f"{command}: {figures['copied']} copied, {figures['compared']} compared,"
                        f" all the same; {old} read-only for {figures['read_only_seconds']:.0f} of"
                        f" {time.monotonic() - began:.0f} s"
                    )
            scenario.happened.append(f"rclone check --download: {_last_line(operator.referee())}")

    def _read_only(self, operator: Operator) -> str:
        """Switch the read-only mode of the old cloud on and off, and return how long each change
        took."""
        seconds = []
        for mode, status in (("on", 503), ("off", 200)):
            began = time.monotonic()
            switching = threading.Thread(target=operator.move, args=(f"read-only {mode}",))
            switching.start()
            wait_until(
                lambda status=status: _convert(operator.old) == status, seconds=_READ_ONLY_SECONDS
            )
            seconds.append(time.monotonic() - began)
            switching.join()
        return f"read-only mode: on after {seconds[0]:.1f} s, off after {seconds[1]:.1f} s"

    def lifecycle(self) -> None:
        """Stop, kill and break the new origin while it has half of the traffic; do the same to the
        tool and its figures."""
        operator = self._operator("faults", AWS, AZURE)
        operator.shift("plan")
        self._kill_the_tool(operator)
        self._stop(operator)
        self._kill(operator)
        self._lose_the_figures(operator)
        self._fail_all(operator)

    def _kill_the_tool(self, operator: Operator) -> None:
        name = "The tool is killed while it moves to 10%, and run again"
        with self._scenario(name, "none") as scenario, self._traffic(scenario):
            running = operator.until(
                operator.start_shift("run"),
                lambda state: state.phase is Phase.MOVING and state.step == _AT_10,
            )
            scenario.mark("killed")
            running.kill()
            running.wait()
            scenario.happened.append(
                f"left {operator.state.phase} at 10%, weights {operator.cdn.read().weights}"
            )
            running = operator.run_to(_AT_50)
            scenario.happened.append("run again: went on from there to 50%")
            operator.shift("pause")
            operator.ended(running, GAVE_WAY)

    def _stop(self, operator: Operator) -> None:
        with (
            self._scenario("The newcomer is stopped at 50%", "none") as scenario,
            self._traffic(scenario) as traffic,
        ):
            traffic.wait(5)
            scenario.mark("stopped")
            operator.new.stop()
            traffic.wait(5)
            scenario.mark("started")
            operator.new.start()
            traffic.wait(5)

    def _kill(self, operator: Operator) -> None:
        with self._scenario(
            "The newcomer is killed at 50%", "what was in flight there"
        ) as scenario:
            with self._traffic(scenario) as traffic:
                traffic.wait(5)
                in_flight = self.haproxy.sessions(AZURE)
                began = scenario.mark("killed")
                operator.new.kill()
                ended = time.time()
                traffic.wait(5)
                scenario.mark("started")
                operator.new.start()
                traffic.wait(5)
            scenario.allowed = sum(
                failure.due <= ended and began <= failure.due + failure.seconds
                for failure in scenario.failures
            )
            later = [
                failure for failure in scenario.failures if failure.due > ended + CHECK_SECONDS
            ]
            scenario.happened.append(
                f"{in_flight} in flight shortly before, {len(later)} failed later"
            )
            if later:
                scenario.problems.append(
                    f"{len(later)} requests failed after the interval of the health checks"
                )

    def _lose_the_figures(self, operator: Operator) -> None:
        with self._scenario("The figures stop at 50%", "none") as scenario, self._traffic(scenario):
            running = operator.run_to(_AT_50)
            scenario.mark("figures stop")
            current = self.haproxy.log.with_suffix(".current")
            self.haproxy.log.rename(current)
            shutil.copy(current, self.haproxy.log)
            try:
                operator.ended(running, PAUSED)
            finally:
                current.replace(self.haproxy.log)
            scenario.mark("paused")
            scenario.happened.append(f"paused: {operator.state.reason}")

    def _fail_all(self, operator: Operator) -> None:
        name = "The newcomer answers 500 at 50%, with healthy checks"
        with self._scenario(name, f"share x rate x {ROLLED_BACK_SECONDS:g} s") as scenario:
            with self._traffic(scenario) as traffic:
                running = operator.run_to(_AT_50)
                traffic.wait(2 * self._pace.interval_seconds / 3)
                self._break(scenario, operator, faulty_service.ERRORS)
                operator.ended(running, ROLLED_BACK)
                self._mend(scenario, operator)
            scenario.allowed = round(0.5 * self._pace.rate * ROLLED_BACK_SECONDS)

    def broken(self) -> None:
        """Make the new origin answer 500 at 10% of the traffic. Requests fail only while it
        receives them."""
        operator = self._operator("broken", AWS, AZURE)
        with self._scenario(
            "The newcomer answers 500 at 10%, with healthy checks", "what it got"
        ) as scenario:
            with self._traffic(scenario) as traffic:
                operator.shift("plan")
                running = operator.run_to(_AT_10)
                self._break(scenario, operator, faulty_service.ERRORS)
                wait_until(lambda: not operator.cdn.read().weights[AZURE])
                rolled_back = scenario.mark("weight 0")
                operator.ended(running, ROLLED_BACK)
                traffic.wait(2)
                self._mend(scenario, operator)
            scenario.allowed = sum(failure.due <= rolled_back for failure in scenario.failures)

    def slow(self) -> None:
        """Make the new origin slow."""
        operator = self._operator("slow", AWS, AZURE)
        with (
            self._scenario("The newcomer is a second slower", "none") as scenario,
            self._traffic(scenario),
        ):
            operator.shift("plan")
            running = operator.run_to(0)
            self._break(scenario, operator, faulty_service.SLOW)
            operator.ended(running, ROLLED_BACK)
            self._mend(scenario, operator)

    def wrong(self) -> None:
        """Make the new origin return wrong art for a quarter of its requests."""
        operator = self._operator("wrong", AWS, AZURE)
        with self._scenario(
            "A quarter of the newcomer's art is wrong", "the art that clients got from it"
        ) as scenario:
            with self._traffic(scenario):
                operator.shift("plan")
                running = operator.run_to(0)
                self._break(scenario, operator, faulty_service.WRONG_ART)
                operator.ended(running, ROLLED_BACK)
                self._mend(scenario, operator)
            scenario.allowed = sum("other art" in failure.found for failure in scenario.failures)

    def both(self) -> None:
        """Break both origins, so that a rollback cannot help."""
        operator = self._operator("both", AWS, AZURE)
        with self._scenario("Both answer 500", "all, while both do") as scenario:
            with self._traffic(scenario):
                operator.shift("plan")
                running = operator.run_to(0)
                self._break(scenario, operator, faulty_service.ERRORS)
                operator.old.set_fault(faulty_service.ERRORS)
                operator.ended(running, PAUSED)
                scenario.happened.append(f"paused, not rolled back: {operator.state.reason}")
                operator.old.set_fault("")
                self._mend(scenario, operator)
                ended = time.time()
            scenario.allowed = sum(
                scenario.broken_at < failure.due + failure.seconds < ended
                for failure in scenario.failures
            )
            operator.shift("abort")

    def _break(self, scenario: Scenario, operator: Operator, fault: str) -> None:
        scenario.broken_at = scenario.mark(fault)
        operator.new.set_fault(fault)

    def _mend(self, scenario: Scenario, operator: Operator) -> None:
        """Record the tool's actions and their times, and repair the new origin."""
        state = operator.state
        scenario.mark(str(state.phase))
        operator.new.set_fault("")
        if state.phase is Phase.ROLLED_BACK:
            at = next(
                record["at"]
                for record in reversed(operator.records())
                if record["event"] == "rolling back"
            )
            scenario.happened.append(
                f"rolled back after {at - scenario.broken_at:.1f} s: {state.reason}"
            )

    def _operator(self, name: str, old: str, new: str) -> Operator:
        directory = self._directory / name.replace(" ", "-").lower()
        operator = Operator(
            directory,
            self.haproxy,
            self._clouds[old],
            self._clouds[new],
            variables=self._variables,
            pace=self._pace,
        )
        self._operators.append(operator)
        return operator

    @contextmanager
    def _scenario(self, name: str, expected: str) -> Iterator[Scenario]:
        """Run a scenario. Errors are recorded as its problems."""
        scenario = Scenario(name=name, expected=expected)
        self.scenarios.append(scenario)
        self._say(f"{name} …")
        try:
            yield scenario
        except (OperatorError, AssertionError, OSError) as error:
            scenario.problems.append(f"{type(error).__name__}: {error}")
            self._reset()
        outcome = scenario.outcome
        if outcome:
            scenario.origins = dict(self._log.window(outcome.began, outcome.ended).samples)
            kinds = Counter(f"{failure.kind}: {failure.found}" for failure in outcome.failures)
            self._say(
                f"  {outcome.requests} requests, {outcome.failed} failed, {scenario.allowed} may"
                f" {dict(kinds) or ''}"
            )
        for line in (*scenario.happened, *(f"PROBLEM {problem}" for problem in scenario.problems)):
            self._say(f"  {line}")

    def _reset(self) -> None:
        """Repair everything that a scenario has left, so that the next one begins normally."""
        for name, cloud in self._clouds.items():
            cloud.set_fault("")
            cloud.start()
            self.haproxy.call(f"set server {BACKEND}/{name} weight {100 if name == AWS else 0}")

    @contextmanager
    def _traffic(self, scenario: Scenario) -> Iterator[Traffic]:
        traffic = Traffic(self.haproxy.port, self._pace.rate)
        try:
            with traffic:
                yield traffic
        finally:
            scenario.outcome = traffic.outcome


@contextmanager
def rehearsal(directory: Path, pace: Pace, *, stacks: bool, say: Say) -> Iterator[Rehearsal]:
    """Start both clouds and HAProxy; see `clouds`."""
    with clouds(directory, stacks=stacks) as (made, variables):
        rehearsed = Rehearsal(directory, made, variables, pace, say)
        try:
            yield rehearsed
        finally:
            rehearsed.close()


def _convert(cloud: Cloud) -> int:
    """Convert a new image directly at a cloud, and return the status."""
    smoke = Smoke(cloud.url)
    try:
        return smoke.request("PUT", "/?width=40", fresh(smoke.image)).status
    except (OSError, http.client.HTTPException):
        return 0


def _last_line(text: str) -> str:
    return "; ".join(
        line.partition("NOTICE: ")[2] or line for line in text.strip().splitlines()[-2:]
    )
