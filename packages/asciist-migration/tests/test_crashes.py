"""A shift continues after a crash at any moment, and its invariants always hold."""

import contextlib
import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from asciist_migration.shift.controller import Controller
from asciist_migration.shift.journal import Journal, read
from asciist_migration.shift.ports import JournalError, ShiftError
from asciist_migration.shift.state import WATCH, Phase, State, replay
from asciist_migration_testing.fakes import (
    NEW,
    OLD,
    PLAN,
    CrashError,
    CrashingJournal,
    Traffic,
    World,
)

MEMORY = next(Path("/dev").glob("shm"), None)
"""Directory for thousands of journals. Durability on disk is not tested here."""
FAILING = {OLD: Traffic(), NEW: Traffic(error_rate=0.2)}


@pytest.fixture
def memory() -> Iterator[Path]:
    with TemporaryDirectory(dir=MEMORY) as directory:
        yield Path(directory)


def state(world: World) -> State:
    return replay(read(world.journal))


def assert_never_without_an_origin(world: World) -> None:
    for weights in world.cdn.history:
        assert any(weights.values()), "both origins at weight 0"
        assert weights[OLD] or weights[NEW] == 100, (
            "the old origin was taken out before the new one was in"
        )


def assert_falling(weights: list[int]) -> None:
    assert all(later <= earlier for earlier, later in itertools.pairwise(weights))


def crash_at(number: int, *, after: bool) -> Callable[[Path], Journal]:
    def journal(path: Path) -> Journal:
        crashing = CrashingJournal(path)
        crashing.crash_at, crashing.after = number, after
        return crashing

    return journal


def until_finished(controller: Controller) -> None:
    """Continue from any state of the shift, like an operator who runs the same commands again."""
    if not controller.state.phase.under_way:
        if controller.state.phase is Phase.FINISHED:
            return
        controller.plan(PLAN)
    while controller.state.phase.under_way:
        now = controller.state
        if now.phase is Phase.OBSERVING and now.step == WATCH and now.passed:
            controller.finish()
        else:
            controller.step()


def until_aborted(controller: Controller) -> None:
    if controller.state.phase is Phase.NONE:
        controller.plan(PLAN)
    while (
        controller.state.phase is not Phase.ROLLING_BACK
        and controller.state.phase.under_way
        and controller.state.step < 2
    ):
        controller.step()
    controller.abort()


def records_of(directory: Path, command: Callable[[Controller], None]) -> int:
    world = World(directory)
    world.do(command)
    return len(read(world.journal))


COMMANDS = {until_finished: {OLD: 0, NEW: 100}, until_aborted: {OLD: 100, NEW: 0}}


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.__name__)
def test_a_crash_at_any_record_of_the_journal_is_survived(
    memory: Path, command: Callable[[Controller], None], after: bool
) -> None:
    (memory / "whole").mkdir()
    number_of_records = records_of(memory / "whole", command)
    assert number_of_records >= 8
    for number in range(1, number_of_records + 1):
        directory = memory / str(number)
        directory.mkdir()
        world = World(directory)
        with pytest.raises(CrashError):
            world.do(command, crash_at(number, after=after))
        world.do(command)

        assert world.cdn.weights == COMMANDS[command]
        assert_never_without_an_origin(world)


@pytest.mark.parametrize("moment", ["before_write", "after_write"])
@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.__name__)
def test_a_crash_at_any_write_to_the_cdn_is_survived(
    memory: Path, command: Callable[[Controller], None], moment: str
) -> None:
    for number in itertools.count(1):
        directory = memory / str(number)
        directory.mkdir()
        world = World(directory)
        left = iter(range(number))

        def crash(left: Iterator[int] = left, number: int = number) -> None:
            if next(left, None) == number - 1:
                raise CrashError

        setattr(world.cdn, moment, crash)
        try:
            world.do(command)
        except CrashError:
            world.do(command)
            assert world.cdn.weights == COMMANDS[command]
            assert_never_without_an_origin(world)
        else:
            assert number > 3
            return


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_crash_during_a_roll_back_never_raises_the_new_weight(memory: Path, after: bool) -> None:
    for number in (1, 2, 3):  # judged, rolling back, rolled back
        directory = memory / str(number)
        directory.mkdir()
        world = World(directory)
        world.shift_to(50)
        world.metrics.origins = FAILING
        begun = len(world.cdn.history) - 1
        with pytest.raises(CrashError):
            world.do(Controller.run, crash_at(number, after=after))
        with contextlib.suppress(ShiftError):  # it was rolled back already
            world.do(Controller.run)

        assert_falling([weights[NEW] for weights in world.cdn.history[begun:]])
        assert (world.cdn.weights, state(world).phase) == ({OLD: 100, NEW: 0}, Phase.ROLLED_BACK)


def test_an_abort_after_a_crash_while_finishing_brings_the_old_origin_back_first(
    memory: Path,
) -> None:
    world = World(memory)
    world.shift_to(100)
    world.do(Controller.step)
    with pytest.raises(CrashError):
        # the old origin is out, and no record says so
        world.do(Controller.finish, crash_at(2, after=False))
    assert world.cdn.weights == {OLD: 0, NEW: 100}
    world.do(Controller.abort)

    assert_never_without_an_origin(world)
    assert (world.cdn.weights, state(world).phase) == ({OLD: 100, NEW: 0}, Phase.ROLLED_BACK)


def test_every_incomplete_last_line_is_ignored(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    with Journal(path) as journal:
        journal.append({"event": "one"})
        journal.append({"event": "two"})
    whole = path.read_bytes()
    first = whole.index(b"\n") + 1
    for length in range(first, len(whole)):
        path.write_bytes(whole[:length])
        with Journal(path) as journal:
            assert journal.records == [{"event": "one"}]
            journal.append({"event": "three"})
        assert read(path) == [{"event": "one"}, {"event": "three"}]


def test_a_damaged_record_is_not_skipped(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    with Journal(path) as journal:
        journal.append({"event": "one"})
        journal.append({"event": "two"})
    path.write_bytes(path.read_bytes().replace(b"one", b"eno"))

    with pytest.raises(JournalError, match="line 1: damaged"):
        Journal(path)
    with pytest.raises(JournalError, match="line 1: damaged"):
        read(path)


@settings(
    max_examples=40, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
)
class Shift(RuleBasedStateMachine):
    """Operators, crashes and failures in any order. Only the command writes weights."""

    def __init__(self) -> None:
        super().__init__()
        self.directory = TemporaryDirectory(dir=MEMORY)
        self.world = World(Path(self.directory.name))
        self.crash: tuple[int, bool] | None = None

    def teardown(self) -> None:
        self.directory.cleanup()

    def do(self, command: Callable[[Controller], object]) -> None:
        before, begun = state(self.world), len(self.world.cdn.history) - 1
        journal = crash_at(self.crash[0], after=self.crash[1]) if self.crash else Journal
        self.crash = None
        with contextlib.suppress(ShiftError, CrashError):
            self.world.do(command, journal)
        if before.phase is Phase.ROLLING_BACK or command is Controller.abort:
            assert_falling([weights[NEW] for weights in self.world.cdn.history[begun:]])

    @initialize(steps=st.integers(0, 6))
    def begin(self, steps: int) -> None:
        """Begin anywhere in a successful shift; after six steps, the last one has passed."""
        self.world.plan()
        for _ in range(steps):
            self.world.do(Controller.step)

    @rule()
    def step(self) -> None:
        self.do(Controller.step)

    @rule()
    def abort(self) -> None:
        self.do(Controller.abort)

    @rule()
    def pause(self) -> None:
        self.do(Controller.pause)

    @rule()
    def finish(self) -> None:
        self.do(Controller.finish)

    @precondition(lambda self: not state(self.world).phase.under_way)
    @rule()
    def plan_again(self) -> None:
        if self.world.cdn.weights[OLD]:
            self.do(lambda controller: controller.plan(PLAN))

    @rule(number=st.integers(1, 4), after=st.booleans())
    def crash_soon(self, number: int, after: bool) -> None:
        self.crash = (number, after)

    @rule(errors=st.integers(1, 80))
    def cdn_fails_for_a_while(self, errors: int) -> None:
        self.world.cdn.errors = errors

    @rule(ignored=st.booleans())
    def writes_are_lost(self, ignored: bool) -> None:
        self.world.cdn.ignores_writes = ignored

    @rule(errors=st.sampled_from([(0, 0), (0, 0.2), (0.2, 0.2), (0.2, 0)]))
    def origins_fail(self, errors: tuple[float, float]) -> None:
        self.world.metrics.origins = {
            OLD: Traffic(error_rate=errors[0]),
            NEW: Traffic(error_rate=errors[1]),
        }

    @rule(broken=st.booleans())
    def metrics_fail(self, broken: bool) -> None:
        self.world.metrics.broken = broken

    @rule(problem=st.sampled_from(["", "cannot reach aws"]))
    def the_old_origin_fails(self, problem: str) -> None:
        self.world.art.problems = {OLD: problem}

    @invariant()
    def the_service_keeps_an_origin(self) -> None:
        assert_never_without_an_origin(self.world)

    @invariant()
    def a_shift_ends_only_with_its_weights_in_force(self) -> None:
        ends = {Phase.ROLLED_BACK: {OLD: 100, NEW: 0}, Phase.FINISHED: {OLD: 0, NEW: 100}}
        phase = state(self.world).phase
        assert self.world.cdn.weights == ends.get(phase, self.world.cdn.weights)


TestAnyOrderOfEvents = Shift.TestCase
