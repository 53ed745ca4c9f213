"""The state of a shift as text."""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Final

from asciist_migration.shift.state import STEPS, WATCH, Phase, State

_WIDTH: Final = 40
"""Characters of the bar of an origin that gets all requests."""


def draw(state: State, weights: Mapping[str, int] | str) -> str:
    """Return the state, the weights in force or the reason why they are unknown, and the last
    judgement with its values."""
    return "\n".join(_lines(state, weights))


def _lines(state: State, weights: Mapping[str, int] | str) -> Iterator[str]:
    if state.phase is Phase.NONE:
        yield str(state.phase)
    else:
        yield (
            f"{state.plan.old} -> {state.plan.new}:"
            f" {state.phase}{f' ({state.reason})' if state.reason else ''}"
        )
        yield "  ".join(_step(state, index) for index in range(len(STEPS)))
    yield ""
    if isinstance(weights, str):
        yield f"weights in force unknown: {weights}"
    else:
        total = sum(weights.values()) or 1
        width = max(map(len, weights), default=0)
        for name, weight in weights.items():
            bar = "#" * round(_WIDTH * weight / total) or ("." if weight else "")
            yield f"{name:{width}}  {weight:3}  {weight / total:7.2%}  {bar}"
    if state.judged:
        yield ""
        since, until = (_time(state.judged[name]) for name in ("since", "until"))
        yield (
            f"last judgement, at {STEPS[state.judged['step']]}%, {since} to {until}:"
            f" {state.judged['verdict']}"
        )
        yield from (
            f"  {check['verdict']:12} {check['name']}: {check['values']}"
            for check in state.judged["checks"]
        )


def _step(state: State, index: int) -> str:
    name = f"{STEPS[index]}%"
    if index == WATCH and state.phase is Phase.OBSERVING and state.passed:
        return f"[{name}, passed: finish, or keep watching]"
    if state.phase is Phase.FINISHED or index < state.step:
        return f"{name} done"
    return f"[{name}]" if index == state.step else name


def _time(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S}Z"
