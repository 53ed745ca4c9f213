"""The state of a shift according to its journal, and the next action. Uses no clock, file or
network."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, fields, replace
from enum import StrEnum
from typing import Any, Final

from asciist_migration.shift.journal import Record
from asciist_migration.shift.judge import SLOWER, Judgement, Verdict
from asciist_migration.shift.ports import MAX_WEIGHT, CdnState

STEPS: Final = (1, 10, 50, 100)
"""Weight of the new origin at each step, in percent."""
WATCH: Final = len(STEPS) - 1
"""The last step, which lasts until `finish`. The old origin keeps a weight of 1, so that its
metrics show whether it still works."""
PATIENCE: Final = 3
"""Intervals after which a step is paused if there are still too few figures."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The plan of a shift, constant during the shift."""

    old: str
    new: str
    interval_seconds: float
    """Minimum duration of observing a step."""
    min_requests: int
    """Minimum requests of the new origin for a step to succeed."""
    poll_seconds: float
    """Seconds between two looks. A failure is acted on at the first look that shows it."""
    late_seconds: float
    """Maximum duration of a request. A look ignores requests that began within this time before it,
    because slow ones are still in progress."""
    addresses: dict[str, str]
    """Address of each origin, by name."""
    slower: float = SLOWER
    """Multiple of the old origin's p95 above which a request of the new one is slow."""

    @property
    def looks(self) -> int:
        """Maximum number of looks at a step."""
        return max(1, round(PATIENCE * self.interval_seconds / self.poll_seconds))

    def weights(self, step: int) -> dict[str, int]:
        """Return the weights of a step; for step -1, the weights before the first."""
        share = STEPS[step] if step >= 0 else 0
        return {self.old: max(MAX_WEIGHT - share, 1), self.new: share}

    @property
    def before(self) -> dict[str, int]:
        """The weights to which a roll-back returns."""
        return self.weights(-1)

    @property
    def after(self) -> dict[str, int]:
        """Final weights of the shift."""
        return {self.old: 0, self.new: MAX_WEIGHT}


class Phase(StrEnum):
    """Phases of a shift."""

    NONE = "nothing planned"
    PLANNED = "planned"
    MOVING = "moving"
    OBSERVING = "observing"
    PAUSED = "paused"
    ROLLING_BACK = "rolling back"
    ROLLED_BACK = "rolled back"
    FINISHING = "finishing"
    FINISHED = "finished"

    @property
    def under_way(self) -> bool:
        return self not in (Phase.NONE, Phase.ROLLED_BACK, Phase.FINISHED)


@dataclass(frozen=True, kw_only=True)
class State:
    """The state of the newest shift of a journal."""

    phase: Phase = Phase.NONE
    step: int = -1
    """Index in STEPS; -1 before the first."""
    since: float = 0.0
    """Start of the window for judging the step, when its weights were in force. Seconds since the
    epoch."""
    reason: str = ""
    """Reason for a pause or a roll-back."""
    passed: bool = False
    """True if the step has been judged a success since its weights were set."""
    judged: Record = field(default_factory=dict)
    """The last judgement."""
    planned: Plan | None = None

    @property
    def plan(self) -> Plan:
        assert self.planned, "no shift is planned"  # noqa: S101 - callers look at the phase first
        return self.planned


def replay(records: Iterable[Record]) -> State:
    """Return the state after these records. The last one may belong to an interrupted action."""
    state = State()
    for record in records:
        state = _after(state, record)
    return state


def _after(state: State, record: Record) -> State:
    match record["event"]:
        case "planned":
            known = {item.name for item in fields(Plan)}
            return State(
                phase=Phase.PLANNED,
                planned=Plan(**{name: value for name, value in record.items() if name in known}),
            )
        case "moving":
            return replace(state, phase=Phase.MOVING, step=record["step"], passed=False, reason="")
        case "moved":
            return replace(state, phase=Phase.OBSERVING, since=record["at"])
        case "judged":
            passed = record["verdict"] == Verdict.SUCCESS
            return replace(
                state,
                judged=record,
                passed=passed,
                since=record["until"] if passed else state.since,
            )
        case "paused":
            return replace(state, phase=Phase.PAUSED, reason=record["reason"])
        case "rolling back":
            return replace(state, phase=Phase.ROLLING_BACK, reason=record["reason"])
        case "rolled back":
            return replace(state, phase=Phase.ROLLED_BACK)
        case "finishing":
            return replace(state, phase=Phase.FINISHING)
        case "finished":
            return replace(state, phase=Phase.FINISHED)
        case event:
            raise ValueError(f"unknown event {event!r}")


def planned(plan: Plan) -> dict[str, Any]:
    """Return the fields of the record of a plan."""
    return asdict(plan)


@dataclass(frozen=True, kw_only=True)
class Seen:
    """The findings of one look."""

    until: float
    """End of the window, in seconds since the epoch."""
    cdn: CdnState | None
    """None if the CDN cannot be reached."""
    judgement: Judgement | None
    """None without figures."""
    problem: str
    """Reason why the CDN or the figures are missing."""
    old_problem: str
    """Reason why the old origin cannot take the requests back; empty if it can."""


@dataclass(frozen=True)
class Move:
    """Set the weights of a step."""

    step: int


@dataclass(frozen=True)
class Wait:
    """Look again later."""

    reason: str


@dataclass(frozen=True)
class Pause:
    """Leave the weights as they are, and wait for the operator."""

    reason: str


@dataclass(frozen=True)
class RollBack:
    """Send all requests to the old origin again."""

    reason: str


@dataclass(frozen=True)
class Watch:
    """The last step has passed; begin its next window."""


Action = Move | Wait | Pause | RollBack | Watch


def decide(state: State, seen: Seen) -> Action:
    """Return the action after a look at a step whose weights have been in force since
    `state.since`."""
    plan = state.plan
    waited = seen.until - state.since
    out_of_patience = waited >= PATIENCE * plan.interval_seconds
    if seen.cdn:
        if change := obstacle(plan, seen.cdn, plan.weights(state.step)):
            return Pause(change)
        if not seen.cdn.origins[plan.new].available:
            return _fail(
                plan,
                f"the CDN has taken {plan.new} out: its health checks fail, or it was disabled",
                seen,
            )
    if seen.judgement and seen.judgement.verdict is Verdict.FAILURE:
        return _fail(plan, seen.judgement.reasons, seen)
    if not seen.cdn or not seen.judgement:
        return Pause(seen.problem) if out_of_patience else Wait(seen.problem)
    if waited < plan.interval_seconds:
        return Wait(f"{waited:.0f} of {plan.interval_seconds:g} s")
    if seen.judgement.verdict is Verdict.INCONCLUSIVE:
        may_change = not seen.judgement.enough and not out_of_patience
        return (
            Wait(seen.judgement.reasons)
            if may_change
            else Pause(f"inconclusive: {seen.judgement.reasons}")
        )
    return Watch() if state.step == WATCH else Move(state.step + 1)


def obstacle(plan: Plan, cdn: CdnState, weights: dict[str, int]) -> str:
    """Return why the shift cannot continue from these weights, because something that the plan
    relies on was changed; else empty."""
    if missing := plan.addresses.keys() - cdn.origins.keys():
        return f"the CDN has no origin {', '.join(sorted(missing))}"
    if cdn.affinity:
        return (
            f"session affinity ({cdn.affinity}) keeps clients at an origin against its weight:"
            " switch it off"
        )
    for name, address in plan.addresses.items():
        if cdn.origins[name].address != address:
            return (
                f"the address of {name} was {address} and is {cdn.origins[name].address}: abort,"
                " and plan again"
            )
    expected = dict.fromkeys(cdn.origins, 0) | weights
    if cdn.weights != expected:
        return (
            f"the weights in force are {cdn.weights} instead of {expected}: somebody else has"
            " changed them"
        )
    return ""


def _fail(plan: Plan, reason: str, seen: Seen) -> Action:
    if seen.judgement and seen.judgement.old_is_sick:
        return Pause(f"{reason}; not rolled back, because {plan.old} misses the objective too")
    if seen.old_problem:
        return Pause(f"{reason}; not rolled back, because of {plan.old}: {seen.old_problem}")
    return RollBack(reason)
