"""asciist-move: copying, verifying, the journal, and the steps of a move between two stores."""

import hashlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from obstore.store import MemoryStore

from asciist.options import ConversionOptions
from asciist.protocol.artifacts import StoredArt, art_key, digest_of, image_key
from asciist.settings import READ_ONLY_MARKER
from asciist_migration.move.cli import main
from asciist_migration.move.copying import Copier
from asciist_migration.move.journal import Journal, MoveError, Phase, Position
from asciist_migration.move.pace import Pace
from asciist_migration.move.steps import Steps, weight_from
from asciist_migration.move.stores import Side
from tests.clock import Clock
from tests.waiting import wait_until

OPTIONS = ConversionOptions(width=80)


def image(number: int) -> bytes:
    return hashlib.sha256(str(number).encode()).digest()


def keys(side: Side) -> list[str]:
    return [entry.key for entry in side.entries()]


def fill(side: Side, count: int) -> None:
    """Store images with their art, and objects of the deployment itself."""
    for number in range(count):
        digest = digest_of(image(number))
        side.artifacts.put(image_key(digest), image(number))
        side.artifacts.put(art_key(digest, OPTIONS), StoredArt(f"art {number}").to_json())
    side.artifacts.put("reply-queues/some-queue", b"")
    side.artifacts.put(READ_ONLY_MARKER, b"")


IMAGE = image_key(digest_of(image(0)))
ART = art_key(digest_of(image(0)), OPTIONS)


@pytest.fixture
def old() -> Side:
    return Side(MemoryStore(), "memory-old")


@pytest.fixture
def new() -> Side:
    return Side(MemoryStore(), "memory-new")


class TestCopying:
    def test_images_and_art_are_copied_and_nothing_else(self, old: Side, new: Side) -> None:
        fill(old, 20)

        report = Copier(old, new).copy()

        assert (report.listed, report.copied, report.failed) == (40, 40, 0)
        assert keys(new) == keys(old)
        assert new.artifacts.get(IMAGE) == image(0)
        assert not new.artifacts.exists(READ_ONLY_MARKER)

    def test_a_second_copy_finds_everything_present(self, old: Side, new: Side) -> None:
        fill(old, 5)
        Copier(old, new).copy()

        report = Copier(old, new).copy()

        assert (report.present, report.copied) == (10, 0)

    def test_a_damaged_image_is_not_copied_and_the_cursor_stays_before_it(
        self, old: Side, new: Side
    ) -> None:
        fill(old, 5)
        old.artifacts.put(IMAGE, b"damaged")
        cursors: list[str] = []

        report = Copier(old, new).copy(save_cursor=cursors.append)

        assert (report.copied, report.failed) == (9, 1)
        assert "SHA-256" in report.problems[0]
        assert cursors == []

    def test_objects_too_old_to_be_copied_are_counted(self, old: Side, new: Side) -> None:
        fill(old, 1)
        ages = {
            "expired": timedelta(days=30, seconds=1),
            "expiring": timedelta(days=29, hours=23.5),
            "copied": timedelta(days=29),
        }

        for outcome, age in ages.items():
            report = Copier(
                old, new, max_age_days=30, now=lambda age=age: datetime.now(UTC) + age
            ).copy()
            assert getattr(report, outcome) == 2, outcome

    def test_a_damaged_image_in_the_destination_is_repaired(self, old: Side, new: Side) -> None:
        fill(old, 1)
        new.artifacts.put(IMAGE, b"damaged")

        assert Copier(old, new).copy().repaired == 1
        assert new.artifacts.get(IMAGE) == image(0)

    def test_a_damaged_image_in_the_source_harms_no_intact_one(self, old: Side, new: Side) -> None:
        fill(new, 1)
        old.artifacts.put(IMAGE, b"damaged")

        assert Copier(old, new).copy().present == 1
        assert new.artifacts.get(IMAGE) == image(0)

    def test_art_of_another_engine_version_is_replaced(self, old: Side, new: Side) -> None:
        fill(old, 1)
        new.artifacts.put(ART, b'{"engine": 0, "art": "old"}')

        assert Copier(old, new).copy().repaired == 1
        assert new.artifacts.get(ART) == StoredArt("art 0").to_json()

    def test_art_that_differs_is_a_conflict_and_stays(self, old: Side, new: Side) -> None:
        fill(old, 1)
        new.artifacts.put(ART, StoredArt("quite different art").to_json())

        report = Copier(old, new).copy()

        assert (report.conflicts, report.problems) == (
            1,
            [f"{ART} has other art in the destination"],
        )
        assert new.artifacts.get(ART) == StoredArt("quite different art").to_json()

    @pytest.mark.parametrize(
        ("key", "body"), [(ART, StoredArt("bad 0").to_json()), (IMAGE, image(1))]
    )
    def test_verifying_finds_other_bytes_of_the_same_size(
        self, old: Side, new: Side, key: str, body: bytes
    ) -> None:
        fill(old, 3)
        Copier(old, new).copy()
        new.artifacts.put(key, body)

        report = Copier(old, new).verify(is_complete=True)

        assert (report.compared, report.mismatches, report.problems) == (6, 1, [f"{key} differs"])

    def test_a_sample_is_about_a_hundredth(self, old: Side, new: Side) -> None:
        fill(old, 400)
        Copier(old, new).copy()

        assert 0 < Copier(old, new).verify(is_complete=False).compared < 40

    def test_directories_are_compared_in_the_order_of_their_keys(self, tmp_path: Path) -> None:
        left, right = Side.at(f"file://{tmp_path}/left"), Side.at(f"file://{tmp_path}/right")
        fill(left, 50)
        Copier(left, right).copy()
        right.artifacts.delete(IMAGE)

        assert keys(left) == sorted(keys(left))
        report = Copier(left, right).copy(after=IMAGE[:10])
        assert (report.copied, report.present) == (1, report.listed - 1)


def test_the_pace_keeps_to_both_limits() -> None:
    clock = Clock()

    def sleep(seconds: float) -> None:
        clock.now += seconds

    pace = Pace(objects_per_second=10, bytes_per_second=1000, clock=clock, sleep=sleep)
    for size in [1] * 50 + [1000] * 5:
        pace.wait(size)

    assert clock.now == pytest.approx(50 / 10 + 4, abs=0.2)  # the last one begins at once


class TestJournal:
    POSITION = Position(source="a", destination="b")

    def test_a_line_that_a_crash_cut_off_is_ignored_and_ended(self, tmp_path: Path) -> None:
        journal = Journal(tmp_path)
        journal.write("first", self.POSITION)
        with (tmp_path / "journal.jsonl").open("a") as file:
            file.write('{"time": 1, "event": "cut o')

        assert [event["event"] for event in journal.events()] == ["first"]
        journal.write("second", self.POSITION)
        assert [event["event"] for event in journal.events()] == ["first", "second"]
        assert journal.position() == self.POSITION

    def test_the_cursor_counts_for_the_same_stores_only(self, tmp_path: Path) -> None:
        journal = Journal(tmp_path)
        journal.save_cursor(self.POSITION, "key")

        assert journal.cursor(self.POSITION) == "key"
        assert journal.cursor(Position(source="b", destination="a")) == ""

    def test_one_move_runs_at_a_time(self, tmp_path: Path) -> None:
        with (
            Journal(tmp_path).locked(),
            pytest.raises(MoveError, match="another asciist-move"),
            Journal(tmp_path).locked(),
        ):
            pass


class TestSteps:
    @pytest.fixture
    def steps(self, old: Side, new: Side, tmp_path: Path) -> Callable[..., Steps]:
        def make(
            source: Side = old,
            destination: Side = new,
            sleep: Callable[[float], None] = lambda _: None,
        ) -> Steps:
            copier = Copier(source, destination, max_age_days=30)
            return Steps(
                journal=Journal(tmp_path),
                source=source,
                destination=destination,
                copier=copier,
                sleep=sleep,
            )

        fill(old, 3)
        old.artifacts.delete(READ_ONLY_MARKER)
        return make

    def test_a_move_from_its_beginning_to_its_end(
        self, steps: Callable[..., Steps], old: Side
    ) -> None:
        assert steps().status()["objects_missing"] == 6
        assert steps().backfill()["copied"] == 6
        assert steps().switch(lambda: 0.0)["phase"] == "switched"
        assert not old.artifacts.exists(READ_ONLY_MARKER)
        finished = steps().finish(lambda: 0.0, is_complete=True)

        assert (finished["phase"], finished["compared"]) == ("finished", 6)
        assert finished["next"].startswith("empty memory-old")
        assert old.artifacts.get(READ_ONLY_MARKER) == b""
        assert steps().finish(lambda: 0.0)["done"] == "nothing: the move is finished"
        with pytest.raises(MoveError, match="finished"):
            steps().backfill()

    def test_a_write_of_the_last_request_is_copied_after_it_has_drained(
        self, steps: Callable[..., Steps], old: Side, new: Side
    ) -> None:
        late = image(99)
        seconds: list[float] = []

        def drain(asked: float) -> None:
            seconds.append(asked)
            assert old.artifacts.get(READ_ONLY_MARKER) == b""
            old.artifacts.put(image_key(digest_of(late)), late)

        steps(sleep=drain).switch(lambda: 0.0)

        assert new.artifacts.get(image_key(digest_of(late))) == late
        assert seconds == [80]

    @pytest.mark.parametrize("weight", [0.5, float("nan")])
    def test_an_old_deployment_with_requests_is_not_closed(
        self, steps: Callable[..., Steps], weight: float
    ) -> None:
        with pytest.raises(MoveError, match="still has the weight"):
            steps().switch(lambda: weight)

    def test_requests_that_come_back_meanwhile_keep_the_old_store(
        self, steps: Callable[..., Steps], old: Side
    ) -> None:
        weights = iter([0.0, 1.0])

        with pytest.raises(MoveError, match="still has the weight 1"):
            steps().switch(lambda: next(weights))
        assert steps().status()["phase"] == "attached"
        assert not old.artifacts.exists(READ_ONLY_MARKER)

    def test_objects_that_expire_soon_and_are_missing_are_waited_for(
        self, old: Side, new: Side, tmp_path: Path
    ) -> None:
        fill(old, 3)
        copier = Copier(old, new, max_age_days=1 / 24)
        unfinished = Steps(
            journal=Journal(tmp_path),
            source=old,
            destination=new,
            copier=copier,
            sleep=lambda _: None,
        )

        with pytest.raises(MoveError, match="6 objects expire within an hour"):
            unfinished.switch(lambda: 0.0)

    def test_a_deployment_that_still_writes_is_not_let_go(
        self, steps: Callable[..., Steps], old: Side, new: Side
    ) -> None:
        class BusyCopier(Copier):
            written = 100

            def copy(self, **options: Any) -> Any:
                self.written += 1
                body = image(self.written)
                old.artifacts.put(image_key(digest_of(body)), body)
                return super().copy(**options)

        busy = Steps(
            journal=steps().journal,
            source=old,
            destination=new,
            copier=BusyCopier(old, new),
            sleep=lambda _seconds: None,
        )
        with pytest.raises(MoveError, match="something still writes there"):
            busy.switch(lambda: 0.0)

    def test_finish_needs_switch_first(self, steps: Callable[..., Steps]) -> None:
        with pytest.raises(MoveError, match="run `switch` first"):
            steps().finish(lambda: 0.0)

    def test_the_roles_can_be_swapped_at_any_time_and_again(
        self, steps: Callable[..., Steps], old: Side, new: Side
    ) -> None:
        steps().switch(lambda: 0.0)
        backwards = steps(new, old)
        with pytest.raises(MoveError, match="from memory-old to memory-new"):
            backwards.backfill()

        assert backwards.invert()["done"] == "swapped the roles"
        assert backwards.invert()["done"] == "nothing: these are the roles already"
        assert backwards.backfill()["present"] == 6

    def test_a_finished_move_is_inverted_only_if_the_old_store_is_empty(
        self, steps: Callable[..., Steps], old: Side, new: Side
    ) -> None:
        """The old store may contain objects that were deleted since, and would reappear."""
        steps().switch(lambda: 0.0)
        steps().finish(lambda: 0.0)
        with pytest.raises(MoveError, match="empty it first"):
            steps(new, old).invert()

        for key in keys(old):
            old.artifacts.delete(key)
        assert "set the peer store" in steps(new, old).invert()["done"]
        assert not old.artifacts.exists(READ_ONLY_MARKER)

    def test_a_move_that_has_not_begun_is_not_inverted(self, steps: Callable[..., Steps]) -> None:
        with pytest.raises(MoveError, match="nothing has been moved"):
            steps().invert()

    def test_read_only_writes_and_deletes_the_marker_and_waits(
        self, steps: Callable[..., Steps]
    ) -> None:
        seconds: list[float] = []
        for is_on in (True, True, False, False):
            steps(sleep=seconds.append).set_read_only(is_on=is_on)
            assert steps().status()["from_read_only"] is is_on
        assert seconds == [5.0] * 4

    def test_every_step_is_in_the_journal(self, steps: Callable[..., Steps]) -> None:
        steps().backfill()
        steps().switch(lambda: 0.0)

        events = [event["event"] for event in steps().journal.events()]
        assert events[:2] == ["backfill started", "backfill ended"]
        assert events[-1] == "switched"
        assert "read-only, draining" in events
        assert steps().journal.position() == Position(
            source="memory-old", destination="memory-new", phase=Phase.SWITCHED
        )


def test_a_command_gives_the_weight() -> None:
    assert weight_from("echo 0.25") == 0.25
    for command in ("echo none", "false", "/no/such/command"):
        with pytest.raises(MoveError, match="the command for the weight"):
            weight_from(command)


class TestCommand:
    @pytest.fixture
    def run(self, tmp_path: Path) -> Callable[..., Result]:
        stores = [
            "--from",
            f"file://{tmp_path}/old",
            "--to",
            f"file://{tmp_path}/new",
            "--state",
            f"{tmp_path}/state",
        ]
        fill(Side.at(f"file://{tmp_path}/old"), 3)
        return lambda command, *arguments: CliRunner().invoke(main, [command, *stores, *arguments])

    def test_each_command_prints_its_figures(self, run: Callable[..., Result]) -> None:
        closing = ("--weight-command", "echo 0", "--drain-seconds", "0")
        assert "objects missing: 6\n" in run("status").stdout
        assert json.loads(run("backfill", "--json", "--verify", "all").stdout)["compared"] == 6
        assert (
            "copied: 0\n"
            in run("backfill", "--objects-per-second", "1000", "--concurrency", "1").stdout
        )
        assert "last event: verified\n" in run("status").stdout
        assert run("finish", *closing).exit_code == 1

    def test_an_error_is_one_line_and_a_status(self, run: Callable[..., Result]) -> None:
        refused = run("finish", "--weight-is-zero")
        assert (refused.exit_code, refused.stdout) == (1, "")
        assert (
            refused.stderr
            == "asciist-move: the new deployment is not in charge yet: run `switch` first\n"
        )
        assert json.loads(run("finish", "--weight-is-zero", "--json").stdout).keys() == {"error"}

    @pytest.mark.parametrize("arguments", [(), ("--weight-is-zero", "--weight-command", "echo 0")])
    def test_the_weight_is_said_once(
        self, run: Callable[..., Result], arguments: tuple[str, ...]
    ) -> None:
        refused = run("switch", *arguments)
        assert refused.exit_code == 2
        assert "--weight-command or --weight-is-zero" in refused.stderr

    def test_a_store_is_not_moved_to_itself(
        self, run: Callable[..., Result], tmp_path: Path
    ) -> None:
        refused = run("backfill", "--to", f"file://{tmp_path}/old/")
        assert (refused.exit_code, "same store" in refused.stderr) == (2, True)

    @pytest.mark.slow
    def test_a_killed_backfill_continues_where_it_was(self, tmp_path: Path) -> None:
        fill(Side.at(f"file://{tmp_path}/old"), 1200)
        command = [
            sys.executable,
            "-c",
            "from asciist_migration.move.cli import main; main()",
            "backfill",
            "--json",
        ]
        command += [
            "--from",
            f"file://{tmp_path}/old",
            "--to",
            f"file://{tmp_path}/new",
            "--state",
            f"{tmp_path}/state",
        ]
        killed = subprocess.Popen(
            [*command, "--objects-per-second", "1500"], stderr=subprocess.DEVNULL
        )
        wait_until((tmp_path / "state" / "cursor.json").exists)
        os.kill(killed.pid, signal.SIGKILL)
        killed.wait()

        ended = subprocess.run(command, capture_output=True, text=True, check=True)

        figures = json.loads(ended.stdout)
        assert figures["resumed_after"] == sorted(keys(Side.at(f"file://{tmp_path}/old")))[999]
        assert figures["listed"] == 1400
        assert keys(Side.at(f"file://{tmp_path}/new")) == keys(Side.at(f"file://{tmp_path}/old"))
        assert not (tmp_path / "state" / "cursor.json").exists()
