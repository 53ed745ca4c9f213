"""An explicit-state model of the move of one object between two stores, and a checker that visits
every state.

Objects do not influence each other, so one is enough. A step of the model is a call to a store, an
event at a web process, or a step of asciist-move. Any number of steps of uploads, copies and
deletions may lie between two steps of another. Each rule can be switched off, to show that the
checker finds the problem that it prevents.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple

_ONLY_OWN: Final = 2
"""Step of a deletion by a deployment without a peer."""


@dataclass(frozen=True, kw_only=True)
class Rules:
    """The rules that make the move safe."""

    reads_through: bool = True
    """A deployment asks the peer store before it answers with 404."""
    drains: bool = True
    """The difference is listed after the old deployment has answered its last request."""
    closes_read_only: bool = True
    """The old deployment writes nothing while the difference is copied."""
    checks_copies: bool = True
    """A copy is undone if its source is gone."""
    deletes_until_clean: bool = True
    """A deletion alternates between both stores until it finds nothing in either. Without the rule,
    it deletes once in each."""
    empties_before_detaching: bool = True
    """The old store is emptied before it is removed from the settings of the new deployment."""
    empties_when_quiet: bool = True
    """The old store is emptied only after the end of copies and deletions that had begun before its
    move was finished."""
    spares_expiring: bool = True
    """An object does not expire while it is copied or deleted. asciist-move does not copy an object
    in the last hour of its life; in web processes, this is an assumption about some
    milliseconds."""
    no_return_during_stale_copy: bool = True
    """An assumption, not a rule of the code: in the milliseconds of a copy that a deletion
    overlaps, the object is neither uploaded again nor copied in the other direction."""


class Operation(NamedTuple):
    """An upload, copy or deletion in progress."""

    kind: str
    """`upload`, `copy` or `delete`."""
    at: int
    """Store (0 or 1) written by an upload or a copy, or the own store of a deletion."""
    step: int = 0
    """Steps already taken. For a deletion, the next store: 0 for the own one, 1 for the peer's, or
    `_ONLY_OWN`."""
    spoilt: bool = False
    """True for an upload that a deletion or expiry overlaps, and the reverse: the outcome of both
    is open. Also true for a copy that a deletion overlaps."""
    clean: int = 0
    """Number of a deletion's latest steps that found nothing."""


class State(NamedTuple):
    """A state of the object, the two deployments and the move."""

    has: tuple[bool, bool] = (False, False)
    promised: bool = False
    """True if a client was told that the object is stored, and it has neither expired nor been
    deleted since."""
    deleted: bool = False
    """True if a client was told that the object is deleted, and nobody has uploaded it since."""
    source: int = 0
    phase: str = "attached"
    """`attached`, `closing` (the old deployment gets no requests), `drained`, `empty` (nothing is
    missing), `finished`, or `detached` (the new deployment has no peer)."""
    is_read_only: bool = False
    """True if the source's deployment writes nothing."""
    routed: tuple[bool, bool] = (True, False)
    """True for each deployment that gets requests."""
    operations: tuple[Operation, ...] = ()

    @property
    def is_attached(self) -> bool:
        return self.phase != "detached"


Step = tuple[str, State]


def with_object(state: State, store: int, *, present: bool) -> State:
    has = (present, state.has[1]) if store == 0 else (state.has[0], present)
    return state._replace(has=has)


def changed(state: State, old: Operation, new: Operation | None) -> State:
    """Return the state with one operation replaced, or removed."""
    operations = list(state.operations)
    operations.remove(old)
    return state._replace(operations=tuple(sorted([*operations, *([new] if new else [])])))


def spoil(state: State, *kinds: str) -> State:
    operations = [o._replace(spoilt=True) if o.kind in kinds else o for o in state.operations]
    return state._replace(operations=tuple(sorted(operations)))


def begin(state: State, operation: Operation) -> State:
    return state._replace(operations=tuple(sorted([*state.operations, operation])))


def can_write(state: State, store: int) -> bool:
    return not (state.is_read_only and store == state.source)


def is_readable(state: State, store: int, rules: Rules) -> bool:
    """Return whether a client finds the object through a deployment."""
    return state.has[store] or (rules.reads_through and state.is_attached and state.has[1 - store])


def problem(state: State, rules: Rules) -> str:
    """Return the problem of a state; empty if there is none."""
    if state.promised and not all(
        is_readable(state, store, rules) for store in (0, 1) if state.routed[store]
    ):
        return "an acknowledged object is unreadable"
    is_copied = any(operation.kind == "copy" for operation in state.operations)
    stores = (0, 1) if state.is_attached else (1 - state.source,)
    if state.deleted and not is_copied and any(state.has[store] for store in stores):
        return "a deleted object is back"
    return ""


def successors(state: State, rules: Rules, max_operations: int = 3) -> Iterator[Step]:
    """Yield every possible next step, by name, with at most `max_operations` in progress at a
    time."""
    if len(state.operations) < max_operations:
        yield from _beginnings(state, rules)
    for operation in dict.fromkeys(state.operations):
        name = f"{operation.kind} at {operation.at}"
        yield f"{name}: step {operation.step}", _advanced(state, operation, rules)
        # a copy killed then may outlive a deletion of that moment
        if not (operation.kind == "copy" and operation.step):
            yield f"{name}: crash", changed(state, operation, None)
    yield from _expiries(state, rules)
    yield from _moves(state, rules)


def _beginnings(state: State, rules: Rules) -> Iterator[Step]:
    kinds = [(operation.kind, operation.at) for operation in state.operations]
    stale = [
        o.at
        for o in state.operations
        if o.kind == "copy" and o.spoilt and rules.no_return_during_stale_copy
    ]
    for store in (0, 1):
        if state.routed[store] and can_write(state, store):
            if ("upload", store) not in kinds and not stale:
                is_deleted_meanwhile = any(kind == "delete" for kind, _ in kinds)
                begun = begin(
                    spoil(state, "delete"), Operation("upload", store, spoilt=is_deleted_meanwhile)
                )
                yield f"upload at {store}: begin", begun._replace(deleted=False)
            if all(kind != "delete" for kind, _ in kinds):
                is_uploaded_meanwhile = any(kind == "upload" for kind, _ in kinds)
                step = 0 if state.is_attached else _ONLY_OWN
                begun = begin(
                    spoil(state, "upload"),
                    Operation("delete", store, step=step, spoilt=is_uploaded_meanwhile),
                )
                yield f"delete at {store}: begin", begun._replace(promised=False)
        # By reading through at a deployment with requests, or by asciist-move.
        is_for_client = rules.reads_through and state.routed[store] and can_write(state, store)
        is_useful = (
            state.is_attached
            and state.has[1 - store]
            and not state.has[store]
            and 1 - store not in stale
        )
        if is_useful and (is_for_client or store != state.source):
            yield f"copy at {store}: begin", begin(state, Operation("copy", store))


def _advanced(state: State, operation: Operation, rules: Rules) -> State:
    at, step = operation.at, operation.step
    further = operation._replace(step=step + 1)
    match operation.kind:
        case "upload" if step == 0:
            return changed(with_object(state, at, present=True), operation, further)
        case "upload":
            ended = changed(state, operation, None)
            return ended if operation.spoilt else ended._replace(promised=True)
        case "copy" if step == 0:
            if state.has[at]:
                return changed(state, operation, None)
            return changed(
                with_object(state, at, present=True),
                operation,
                further if rules.checks_copies else None,
            )
        case "copy" if step == 1:
            return changed(state, operation, None if state.has[1 - at] else further)
        case "copy":
            return changed(with_object(state, at, present=False), operation, None)
        case _:
            return _deleted(state, operation, rules)


def _deleted(state: State, operation: Operation, rules: Rules) -> State:
    store = 1 - operation.at if operation.step == 1 else operation.at
    clean = 0 if state.has[store] else operation.clean + 1
    after = spoil(with_object(state, store, present=False), "copy")
    is_last = clean == 2 if rules.deletes_until_clean else operation.step == 1
    if is_last or operation.step == _ONLY_OWN:
        return changed(after, operation, None)._replace(deleted=not operation.spoilt)
    return changed(after, operation, operation._replace(step=1 - operation.step, clean=clean))


def _expiries(state: State, rules: Rules) -> Iterator[Step]:
    """Yield the expiries in one store. The promise ends with the first one."""
    for store in (0, 1):
        is_busy = any(
            (o.kind == "copy" and o.at != store) or o.kind == "delete" for o in state.operations
        )
        if state.has[store] and not (is_busy and rules.spares_expiring):
            expired = spoil(with_object(state, store, present=False), "upload")
            yield f"expire in {store}", expired._replace(promised=False)


def _moves(state: State, rules: Rules) -> Iterator[Step]:
    """Yield the steps of shifting requests and of asciist-move."""
    if state.is_attached:
        for routed in ((True, False), (True, True), (False, True)):
            if routed != state.routed:
                yield f"shift to {routed}", state._replace(routed=routed)
    if state.phase in ("attached", "closing", "drained", "empty"):
        yield "invert", _inverted(state)
        yield from _closing(state, rules)
    else:
        yield from _finished(state, rules)


def _closing(state: State, rules: Rules) -> Iterator[Step]:
    old, new = state.source, 1 - state.source
    has_no_requests = not state.routed[old]
    match state.phase:
        case "attached" if has_no_requests:
            yield "close", state._replace(phase="closing", is_read_only=rules.closes_read_only)
        case "closing" if not (
            rules.drains and any(o.at == old and o.kind != "copy" for o in state.operations)
        ):
            yield "drained", state._replace(phase="drained")
        case "drained" if not state.has[old] or state.has[new]:
            yield "list", state._replace(phase="empty")
        case "empty" if has_no_requests:
            yield "finish", state._replace(phase="finished")
        case _:
            pass
    if state.phase != "attached":
        yield "abandon closing", state._replace(phase="attached", is_read_only=False)


def _finished(state: State, rules: Rules) -> Iterator[Step]:
    """Yield the steps after the move, before and after the peers are removed from the settings.
    They take minutes."""
    old = state.source
    is_quiet = all(operation.kind == "upload" for operation in state.operations)
    is_empty = not state.has[old] or not rules.empties_before_detaching
    if is_quiet or not rules.empties_when_quiet:
        yield "empty the old store", with_object(state, old, present=False)
    if state.is_attached and is_quiet and is_empty and not state.routed[old]:
        yield "detach", state._replace(phase="detached")
    if is_quiet and is_empty:
        yield "invert", _inverted(state)


def _inverted(state: State) -> State:
    return state._replace(source=1 - state.source, phase="attached", is_read_only=False)


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """Result of a check."""

    states: int
    """Number of visited states."""
    problem: str
    """Problem of the last state of the trace; empty if no state has one."""
    trace: list[str]
    """Names of the steps to the problem: a shortest sequence."""


def check(rules: Rules, *, max_operations: int = 3) -> Verdict:
    """Visit every reachable state, breadth first, up to the first problem."""
    start = State()
    came_from: dict[State, tuple[State | None, str]] = {start: (None, "")}
    queue = deque([start])
    while queue:
        state = queue.popleft()
        found = problem(state, rules)
        if found:
            return Verdict(states=len(came_from), problem=found, trace=_trace(came_from, state))
        for name, following in successors(state, rules, max_operations):
            if following not in came_from:
                came_from[following] = (state, name)
                queue.append(following)
    return Verdict(states=len(came_from), problem="", trace=[])


def _trace(came_from: dict[State, tuple[State | None, str]], state: State) -> list[str]:
    names: list[str] = []
    at: State | None = state
    while at is not None:
        at, name = came_from[at]
        names.append(name)
    return [name for name in reversed(names) if name]
