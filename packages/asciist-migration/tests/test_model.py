"""The protocol of the move, checked state by state, and compared with the code step by step."""

import re
import tempfile
from dataclasses import dataclass, fields
from pathlib import Path

import pytest
from greenlet import greenlet
from hypothesis import given, note, settings
from hypothesis import strategies as st

from asciist_migration_testing import model
from asciist_migration_testing.deployments import Deployments, end
from asciist_migration_testing.model import Rules, State, check


@pytest.mark.slow
def test_no_state_of_the_move_loses_an_acknowledged_object_or_brings_back_a_deleted_one(
    capsys: pytest.CaptureFixture[str],
) -> None:
    verdict = check(Rules())

    with capsys.disabled():
        print(f"\n{verdict.states} states of the move, {verdict.problem or 'none of them wrong'}")
    assert (verdict.problem, verdict.trace) == ("", [])
    assert verdict.states > 60_000


UNREADABLE, BACK = "an acknowledged object is unreadable", "a deleted object is back"
PROBLEMS = {
    "reads_through": UNREADABLE,
    "drains": UNREADABLE,
    "closes_read_only": UNREADABLE,
    "checks_copies": BACK,
    "deletes_until_clean": BACK,
    "empties_before_detaching": BACK,
    "empties_when_quiet": UNREADABLE,
    "spares_expiring": BACK,
    "no_return_during_stale_copy": UNREADABLE,
}
"""Problem found by the checker without each rule."""


def test_every_rule_is_tried() -> None:
    assert PROBLEMS.keys() == {field.name for field in fields(Rules)}


@pytest.mark.parametrize("rule", PROBLEMS)
def test_the_checker_finds_what_each_rule_prevents(rule: str) -> None:
    verdict = check(
        Rules(**{rule: False}), max_operations=3 if rule == "no_return_during_stale_copy" else 2
    )

    assert verdict.problem == PROBLEMS[rule]
    assert 3 < len(verdict.trace) < 20


@dataclass(eq=False)
class _Running:
    """An operation of the code in progress."""

    greenlet: greenlet
    kind: str
    at: int
    steps: int = 0


class Replay:
    """A trace of the model, replayed with the code."""

    def __init__(self, directory: Path) -> None:
        self.real = Deployments(directory)
        self.state = State()
        self._running: list[_Running] = []

    def end(self) -> None:
        """Let all operations in progress end."""
        for running in self._running:
            end(running.greenlet)
        self.real.end()

    def choices(self) -> dict[str, State]:
        """Return the possible next steps. Consecutive steps of asciist-move count as one."""
        found = dict(model.successors(self.state, Rules()))
        excluded = {"abandon closing", "list", "finish"}
        if self.state.phase == "closing":
            excluded.add("invert")
        if any(
            o.kind == "copy" and o.spoilt and o.at == self.state.source
            for o in self.state.operations
        ):
            excluded |= {"close", "drained"}  # they copy the difference, in the other direction
        return {name: state for name, state in found.items() if name not in excluded}

    def advance(self, number: int) -> None:
        """Take the step chosen by a number. Most numbers choose a step that neither ends nor
        interrupts an operation."""
        choices = self.choices()
        usual = [
            name for name in sorted(choices) if not re.search("crash|expire|invert|shift", name)
        ]
        names = usual if usual and number & 3 else sorted(choices)
        name = names[(number >> 3) % len(names)]
        note(name)
        self._take(name, choices[name], by_tool=bool(number & 4))

    def _take(self, name: str, following: State, *, by_tool: bool) -> None:
        """Take a step in the model and in the code."""
        before, self.state = self.state, following
        match re.split(r": | (?:at|in) ", name):
            case [kind, at, "begin"]:
                self._begin(kind, int(at), before, by_tool=by_tool)
            case [kind, at, "crash"]:
                crashed = self._find(kind, int(at), 0)
                crashed.greenlet.throw()
                self._running.remove(crashed)
            case [kind, at, step]:
                self._continue(self._find(kind, int(at), int(step.removeprefix("step "))))
            case ["expire", at]:
                self.real.expire(int(at))
            case ["close"]:
                self.real.close(before.source)
                self.state = self._with_difference(following)
            case ["drained"]:
                is_finished = self.real.drained()
                assert is_finished is not before.routed[before.source]
                phase = "finished" if is_finished else "attached"
                self.state = self._with_difference(following)._replace(
                    phase=phase, is_read_only=is_finished
                )
            case ["invert"]:
                self.real.invert(following.source)
            case ["empty the old store"]:
                self.real.expire(before.source)
            case ["detach"]:
                self.real.is_attached = False
            case _:
                self.real.routed = following.routed

    def check(self) -> None:
        """Compare the code with the model, and with its promises."""
        assert self.real.has() == self.state.has
        assert self.real.is_read_only(self.state.source) is self.state.is_read_only
        assert model.problem(self.state, Rules()) == ""
        for at in (0, 1):
            if self.state.routed[at]:
                assert self.real.is_readable(at) is model.is_readable(self.state, at, Rules())

    def _begin(self, kind: str, at: int, before: State, *, by_tool: bool) -> None:
        match kind:
            case "upload":
                running = self.real.upload(at)
                if running.dead:  # the art was stored, so that nothing was written
                    operation = next(
                        o
                        for o in self.state.operations
                        if o.kind == kind and o.at == at and o.step == 0
                    )
                    ended = model.changed(self.state, operation, None)
                    self.state = ended if operation.spoilt else ended._replace(promised=True)
                    return
            case "copy":
                is_for_client = before.routed[at] and model.can_write(before, at)
                is_of_move = at != before.source
                running = (
                    self.real.backfill(1 - at)
                    if is_of_move and (by_tool or not is_for_client)
                    else self.real.read(at)
                )
            case _:
                running = self.real.delete(at)
        assert not running.dead
        self._running.append(_Running(running, kind, at))

    def _find(self, kind: str, at: int, step: int) -> "_Running":
        """Return an operation. Only copies may run concurrently; their steps tell them apart."""
        return next(
            r
            for r in self._running
            if (r.kind, r.at) == (kind, at) and (kind != "copy" or r.steps == step)
        )

    def _continue(self, running: "_Running") -> None:
        # it has ended with its write; the model acknowledges it later
        if not (running.kind == "upload" and running.steps):
            running.greenlet.switch()
        running.steps += 1
        is_in_model = any(
            (o.kind, o.at) == (running.kind, running.at) for o in self.state.operations
        )
        if running.kind == "upload":
            assert running.greenlet.dead
        elif running.kind == "delete" and running.greenlet.dead and is_in_model:
            # It has given up, since there is always something to delete. The client gets an error,
            # as after a crash.
            operation = next(o for o in self.state.operations if o.kind == "delete")
            self.state = model.changed(self.state, operation, None)
        if running.greenlet.dead and not (running.kind == "upload" and is_in_model):
            self._running.remove(running)
        assert len(self._running) == len(self.state.operations)

    def _with_difference(self, state: State) -> State:
        """Return the state after the difference was copied."""
        return (
            model.with_object(state, 1 - state.source, present=True)
            if state.has[state.source]
            else state
        )


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(min_value=0, max_value=2**16), min_size=30, max_size=60))
def test_the_code_does_what_the_model_does(numbers: list[int]) -> None:
    """Each number chooses one of the possible next steps."""
    with tempfile.TemporaryDirectory() as directory:
        replay = Replay(Path(directory))
        try:
            for number in numbers:
                replay.advance(number)
                replay.check()
        finally:
            replay.end()
