"""Carries out a shift: reads the CDN, lets `state` decide, writes to the CDN, and records each
action in the journal before and after."""

import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from asciist_migration.shift.journal import Journal
from asciist_migration.shift.judge import Judgement, Question, Verdict, judge, judge_at_once
from asciist_migration.shift.ports import (
    ArtSampler,
    Cdn,
    CdnError,
    CdnState,
    Metrics,
    MetricsError,
    PlanError,
    ShiftError,
)
from asciist_migration.shift.state import (
    STEPS,
    WATCH,
    Move,
    Pause,
    Phase,
    Plan,
    RollBack,
    Seen,
    State,
    Wait,
    Watch,
    decide,
    obstacle,
    planned,
    replay,
)
from operations.observability.objective import Objective

IN_FORCE_SECONDS: Final = 60
"""Maximum seconds until acknowledged weights are in force."""
SETTLE_SECONDS: Final = 15
"""Seconds until weights are read once more: a write that timed out may still arrive. Longer than
the timeouts of the adapters."""
INSIST_SECONDS: Final = 600
"""Maximum seconds for retrying a roll-back before the command exits."""


class NotInForceError(CdnError):
    """The CDN has acknowledged weights that are not in force."""


class GaveWayError(ShiftError):
    """Another controller has asked this one to end."""


class Controller:
    """One shift, its ports and its journal."""

    def __init__(
        self,
        *,
        journal: Journal,
        cdn: Cdn,
        metrics: Metrics,
        art: ArtSampler,
        objective: Objective,
        say: Callable[[str], object],
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        self._journal = journal
        self._cdn = cdn
        self._metrics = metrics
        self._art = art
        self._objective = objective
        self._say_line = say
        self._clock = clock
        self._sleep_for = sleep

    @property
    def state(self) -> State:
        return replay(self._journal.records)

    def plan(self, plan: Plan) -> None:
        """Check the origins and record the plan. Raises PlanError if they are not ready, or a shift
        is in progress; CdnError."""
        if self.state.phase.under_way:
            raise PlanError(f"a shift is under way ({self.state.phase}): finish or abort it first")
        if problem := self._not_ready(plan):
            raise PlanError(problem)
        self._note("planned", **planned(plan))
        self._say(
            f"planned: {plan.old} to {plan.new} in steps of"
            f" {', '.join(f'{step}%' for step in STEPS)}, {plan}"
        )

    def step(self) -> State:
        """Take one step: judge the current one, and act on the result. Raises PlanError without a
        shift in progress; ShiftError."""
        state = self.state
        match state.phase:
            case Phase.ROLLING_BACK:
                self._roll_back(state.reason)
            case Phase.FINISHING:
                self.finish()
            case Phase.PLANNED:
                self._move(0)
            case Phase.MOVING:
                self._move(state.step)
            case Phase.PAUSED:
                self._move(max(0, state.step))
            case Phase.OBSERVING:
                self._observe()
            case _:
                raise PlanError(f"no shift is under way: {state.phase}")
        return self.state

    def run(self) -> State:
        """Repeat steps until the shift is paused, rolled back or finished, or until another
        controller asks this one to end."""
        while True:
            state = self.step()
            if state.phase is Phase.PAUSED or not state.phase.under_way:
                return state

    def pause(self) -> None:
        """Record that the shift is paused. The weights stay as they are. Raises PlanError if there
        is nothing to pause."""
        if self.state.phase not in (Phase.PLANNED, Phase.MOVING, Phase.OBSERVING, Phase.PAUSED):
            raise PlanError(f"nothing to pause: {self.state.phase}")
        self._pause("by the operator")

    def abort(self, *, force: bool = False) -> None:
        """Send all requests to the old origin again. Needs no metrics. Does nothing without a shift
        in progress.

        Raises PlanError if the old origin does not work, unless `force` is true; CdnError if the
        CDN rejects the weights.
        """
        if not self.state.phase.under_way:
            self._say(f"nothing to abort: {self.state.phase}")
            return
        self._roll_back("by the operator", force=force)

    def finish(self) -> None:
        """Take the old origin out. Raises PlanError unless the last step has passed and its weights
        are in force; CdnError."""
        state = self.state
        watched = state.phase is Phase.OBSERVING and state.step == WATCH and state.passed
        if not watched and state.phase is not Phase.FINISHING:
            raise PlanError(
                "the new origin has not passed the last step, or something is wrong since:"
                f" {_where(state)}"
            )
        plan = state.plan
        now = self._cdn.read()
        if now.weights.get(plan.old) != 0 and (problem := obstacle(plan, now, plan.weights(WATCH))):
            raise PlanError(problem)
        if not now.origins[plan.new].available:
            raise PlanError(f"the CDN has taken {plan.new} out")
        self._note("finishing")
        self._bring_in_force(plan.after)
        self._note("finished", weights=plan.after)
        self._say(f"finished: all requests go to {plan.new}")

    def _observe(self) -> None:
        """Observe the current step until it is decided."""
        while True:
            self._give_way()
            state = self.state
            seen = self._look(state)
            action = decide(state, seen)
            self._report(state, seen, action)
            match action:
                case Wait():
                    self._sleep(state.plan.poll_seconds)
                case Pause(reason):
                    self._note_judgement(state, seen)
                    self._pause(reason)
                    return
                case RollBack(reason):
                    self._note_judgement(state, seen)
                    self._roll_back(reason)
                    return
                case Watch():
                    self._note_judgement(state, seen)
                    return
                case Move(step):
                    self._note_judgement(state, seen)
                    self._move(step)
                    return

    def _look(self, state: State) -> Seen:
        plan, now = state.plan, self._clock()
        until = now - plan.late_seconds
        problems, cdn, judgement = [], None, None
        try:
            cdn = self._cdn.read()
        except CdnError as error:
            problems.append(f"CDN: {error}")
        try:
            question = Question(
                old=plan.old,
                new=plan.new,
                weights=plan.weights(state.step),
                min_requests=plan.min_requests,
                looks=plan.looks,
                slower=plan.slower,
                over=until - state.since >= plan.interval_seconds,
            )
            judgement = judge_at_once(
                self._metrics.window(state.since, now), question, self._objective
            )
            if judgement:
                until = now
            elif until > state.since:
                window = self._metrics.window(state.since, until)
                judgement = judge(window, self._art.compare(), question, self._objective)
            else:
                problems.append("the window has not begun")
        except MetricsError as error:
            problems.append(f"metrics: {error}")
        failed = (judgement and judgement.verdict is Verdict.FAILURE) or (
            cdn and not _available(cdn, plan.new)
        )
        return Seen(
            until=until,
            cdn=cdn,
            judgement=judgement,
            problem="; ".join(problems),
            old_problem=self._old_problem(plan, cdn) if failed else "",
        )

    def _old_problem(self, plan: Plan, cdn: CdnState | None) -> str:
        """Return why the old origin cannot take all requests; empty without a known reason."""
        if cdn and not _available(cdn, plan.old):
            return "the CDN has taken it out"
        return self._art.problem(plan.old)

    def _not_ready(self, plan: Plan) -> str:
        cdn = self._cdn.read()
        if problem := obstacle(plan, cdn, {plan.old: cdn.weights.get(plan.old, 0), plan.new: 0}):
            return problem
        if not cdn.weights[plan.old]:
            return f"{plan.old} has a weight of 0: it is not the origin in use"
        for name in (plan.old, plan.new):
            if not _available(cdn, name):
                return f"the CDN sends nothing to {name}: it is disabled, or its health checks fail"
        different = [
            f"{comparison.image}: {comparison.detail}"
            for comparison in self._art.compare()
            if not comparison.same
        ]
        return (
            f"the art of the origins differs, or one makes none: {'; '.join(different)}"
            if different
            else ""
        )

    def _move(self, step: int) -> None:
        """Bring the weights of a step into force; pause if that fails."""
        self._give_way()
        plan = self.state.plan
        weights = plan.weights(step)
        try:
            cdn = self._cdn.read()
            if problem := obstacle(plan, cdn, cdn.weights):
                self._pause(problem)
                return
            if not _available(cdn, plan.new):
                self._pause(
                    f"the CDN has taken {plan.new} out: its health checks fail, or it was disabled"
                )
                return
            self._note("moving", step=step, weights=weights)
            self._bring_in_force(weights)
        except CdnError as error:
            self._pause(str(error))
            return
        self._note("moved", step=step, weights=weights)
        self._say(f"in force: {weights}")

    def _roll_back(self, reason: str, *, force: bool = False) -> None:
        """Bring the weights before the shift into force, with retries, even if the journal cannot
        be written."""
        plan = self.state.plan
        self._say(f"rolling back: {reason}")
        if not force and (problem := self._old_problem(plan, self._read_or_none())):
            raise PlanError(
                f"not rolled back, because of {plan.old}: {problem} (abort --force does it"
                " nevertheless)"
            )
        self._try_to_note("rolling back", reason=reason)
        give_up = self._clock() + INSIST_SECONDS
        while True:
            try:
                self._bring_in_force(plan.before)
            except CdnError as error:
                self._say(f"not yet rolled back: {error}")
                if self._clock() >= give_up:
                    raise
                self._sleep(1)
            else:
                break
        self._try_to_note("rolled back", weights=plan.before)
        self._say(f"rolled back, in force: {plan.before}")

    def _bring_in_force(self, weights: Mapping[str, int]) -> None:
        """Write weights, and read them until they are permanently in force. Raises CdnError;
        NotInForceError.

        An origin is only lowered to 0 while another one is known to have a weight.
        """
        kept = {name: weight for name, weight in weights.items() if weight}
        now = self._cdn.read()
        if not any(now.weights.get(name) and _available(now, name) for name in kept):
            self._cdn.write(kept)
            self._wait_until_in_force(kept)
        self._cdn.write(weights)
        self._wait_until_in_force(weights)
        self._sleep(SETTLE_SECONDS)
        self._check_in_force(weights)

    def _wait_until_in_force(self, weights: Mapping[str, int]) -> None:
        give_up = self._clock() + IN_FORCE_SECONDS
        while True:
            try:
                self._check_in_force(weights)
            except CdnError:
                if self._clock() >= give_up:
                    raise
                self._sleep(1)
            else:
                return

    def _check_in_force(self, weights: Mapping[str, int]) -> None:
        now = self._cdn.read().weights
        if any(now.get(name) != weight for name, weight in weights.items()):
            raise NotInForceError(
                f"the CDN has acknowledged {dict(weights)}, and in force are {now}"
            )

    def _read_or_none(self) -> CdnState | None:
        try:
            return self._cdn.read()
        except CdnError:
            return None

    def _pause(self, reason: str) -> None:
        self._note("paused", reason=reason)
        self._say(f"paused: {reason}")

    def _note_judgement(self, state: State, seen: Seen) -> None:
        if not seen.judgement:
            return
        checks = [
            {"name": check.name, "verdict": check.verdict, "values": check.values}
            for check in seen.judgement.checks
        ]
        self._note(
            "judged",
            step=state.step,
            verdict=seen.judgement.verdict,
            checks=checks,
            since=state.since,
            until=seen.until,
        )

    def _note(self, event: str, **values: Any) -> None:
        self._journal.append({"event": event, "at": self._clock(), **values})

    def _try_to_note(self, event: str, **values: Any) -> None:
        try:
            self._note(event, **values)
        except OSError as error:
            self._say(f"the journal cannot be written, and the roll-back goes on: {error}")

    def _sleep(self, seconds: float) -> None:
        end = self._clock() + seconds
        while (left := end - self._clock()) > 0:
            self._give_way()
            self._sleep_for(min(left, 1))

    def _give_way(self) -> None:
        if self._journal.must_give_way:
            raise GaveWayError("another controller has asked this one to end")

    def _report(self, state: State, seen: Seen, action: object) -> None:
        if seen.judgement:
            self._say(
                f"{_where(state)}, {seen.until - state.since:.0f} s: {seen.judgement.verdict}"
            )
            for line in _lines(seen.judgement):
                self._say_line(f"  {line}")
        self._say(f"{_where(state)}: {action}")

    def _say(self, text: str) -> None:
        self._say_line(f"{datetime.fromtimestamp(self._clock(), UTC):%Y-%m-%d %H:%M:%S}Z {text}")


def _available(cdn: CdnState, name: str) -> bool:
    return name in cdn.origins and cdn.origins[name].available


def _where(state: State) -> str:
    return f"{state.phase} at {STEPS[state.step]}%" if state.step >= 0 else str(state.phase)


def _lines(judgement: Judgement) -> list[str]:
    return [f"{check.verdict:12} {check.name}: {check.values}" for check in judgement.checks]
