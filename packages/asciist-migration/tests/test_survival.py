"""A shift survives faults that have caused outages with other canary controllers.

The marks are issues of fluxcd/flagger (F) and argoproj/argo-rollouts (A).
"""

import math
from dataclasses import replace
from pathlib import Path

import pytest

from asciist_migration.shift.controller import SETTLE_SECONDS, Controller, GaveWayError
from asciist_migration.shift.drawing import draw
from asciist_migration.shift.journal import Journal, read
from asciist_migration.shift.ports import (
    CdnError,
    Comparison,
    JournalError,
    Origin,
    PlanError,
    Sample,
    Window,
)
from asciist_migration.shift.state import Phase, State, replay
from asciist_migration_testing.fakes import NEW, OLD, PLAN, CrashError, Traffic, World

NOT_RUN = {OLD: 100, NEW: 0}


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def state(world: World) -> State:
    return replay(read(world.journal))


def with_new(window: Window, sample: Sample) -> Window:
    return replace(window, samples={**window.samples, NEW: sample})


def assert_paused(world: World, *, at: int, because: str) -> None:
    assert (state(world).phase, world.cdn.weights[NEW]) == (Phase.PAUSED, at)
    assert because in state(world).reason
    assert because in world.text  # A#404, A#2658: reasons and values are shown


def abort(world: World, *, force: bool = False) -> None:
    world.do(lambda controller: controller.abort(force=force))


def test_a_shift_goes_from_one_origin_to_the_other(world: World) -> None:
    world.shift_to(100)
    assert world.cdn.weights == {OLD: 1, NEW: 100}
    world.do(Controller.step)
    world.do(Controller.finish)

    assert [weights[NEW] for weights in world.cdn.written] == [1, 10, 50, 100, 100]
    assert world.cdn.weights == {OLD: 0, NEW: 100}
    assert state(world).phase is Phase.FINISHED


def test_the_last_step_is_watched_until_somebody_finishes(world: World) -> None:
    world.shift_to(100)
    watched = world.clock.now
    world.clock.on_sleep = lambda: (
        setattr(world.metrics, "origins", bad(world)) if world.clock.now > watched + 5000 else None
    )

    assert world.do(Controller.run).phase is Phase.ROLLED_BACK
    assert world.clock.now > watched + 5000
    assert world.cdn.weights == NOT_RUN


def bad(world: World) -> dict[str, Traffic]:
    return {**world.metrics.origins, NEW: Traffic(error_rate=0.2)}


def test_a_failing_origin_is_rolled_back_at_the_first_look_that_shows_it(world: World) -> None:
    world.shift_to(10)
    world.metrics.origins = bad(world)
    started = world.clock.now

    assert world.do(Controller.run).phase is Phase.ROLLED_BACK
    assert world.cdn.weights == NOT_RUN
    assert world.clock.now - started < PLAN.interval_seconds
    assert "5xx, old origin 0 of" in world.text


def test_errors_are_acted_on_before_the_slowest_requests_can_have_ended(world: World) -> None:
    world.shift_to(50)
    world.clock.now += PLAN.late_seconds / 2
    world.metrics.origins = bad(world)
    world.metrics.requests_per_second = 100
    started = world.clock.now

    assert world.do(Controller.step).phase is Phase.ROLLED_BACK
    assert world.clock.now - started == pytest.approx(SETTLE_SECONDS, abs=1)


# F#1035, F#1098, A#1905
def test_no_data_pauses_and_neither_promotes_nor_fails(world: World) -> None:
    world.shift_to(10)
    world.metrics.alter = lambda window: replace(window, samples={})
    world.do(Controller.run)

    assert_paused(world, at=10, because="azure 0 (at least 30)")


def test_measurements_that_all_fail_are_no_success(world: World) -> None:  # A#4479, A#521
    world.shift_to(10)
    world.metrics.broken = True
    world.do(Controller.run)

    assert_paused(world, at=10, because="metrics: no such file")


def test_an_inconclusive_step_is_not_promoted(world: World) -> None:  # A#3850, A#3873
    world.shift_to(10)
    world.art.comparisons = (Comparison(image="cat.jpg", same=None, detail="cannot reach azure"),)
    world.do(Controller.run)

    assert_paused(world, at=10, because="cannot reach azure")


def test_too_few_requests_are_waited_for_and_then_pause(world: World) -> None:
    world.shift_to(1)
    world.metrics.requests_per_second = 1
    started = world.clock.now
    world.do(Controller.run)

    assert_paused(world, at=1, because="requests: azure")
    assert world.clock.now - started >= 3 * PLAN.interval_seconds


def test_samples_that_stop_midway_are_inconclusive(world: World) -> None:  # F#1763, F#1011
    world.shift_to(10)

    def stop(window: Window) -> Window:
        new = window.samples[NEW]
        kept = len(new.times) // 2
        return with_new(
            window,
            Sample(began=new.began[:kept], times=new.times[:kept], statuses=new.statuses[:kept]),
        )

    world.metrics.alter = stop
    world.do(Controller.run)

    assert_paused(world, at=10, because="figures are missing")


def test_a_source_that_has_stopped_is_inconclusive(world: World) -> None:  # F#1763
    world.shift_to(10)
    world.metrics.alter = lambda window: replace(window, as_of=window.end - 1)
    world.do(Controller.run)

    assert_paused(world, at=10, because="stale")


@pytest.mark.parametrize("value", [math.nan, math.inf, -1.0])
# F#1095
def test_a_figure_that_is_not_a_number_is_inconclusive(world: World, value: float) -> None:
    world.shift_to(10)
    world.metrics.alter = lambda window: with_new(
        window, replace(window.samples[NEW], times=(value, *window.samples[NEW].times[1:]))
    )
    world.do(Controller.run)

    assert_paused(world, at=10, because="not a number")


def test_a_window_of_unknown_age_is_inconclusive(world: World) -> None:
    world.shift_to(10)
    world.metrics.alter = lambda window: replace(window, as_of=math.nan)
    world.do(Controller.run)

    assert_paused(world, at=10, because="as of nan")


@pytest.mark.parametrize("factor", [0.001, 1000 * 1000], ids=["seconds", "nanoseconds"])
def test_times_in_another_unit_are_inconclusive(world: World, factor: float) -> None:  # F#1446
    world.shift_to(10)
    world.metrics.alter = lambda window: with_new(
        window,
        replace(
            window.samples[NEW], times=tuple(time * factor for time in window.samples[NEW].times)
        ),
    )
    world.do(Controller.run)

    assert_paused(world, at=10, because="another unit")


def test_a_source_that_says_another_unit_is_inconclusive(world: World) -> None:  # F#1446
    world.shift_to(10)
    world.metrics.alter = lambda window: replace(window, unit="s")
    world.do(Controller.run)

    assert_paused(world, at=10, because="instead of 'ms'")


def test_an_acknowledged_weight_that_is_not_in_force_pauses(world: World) -> None:  # A#701, A#3333
    world.shift_to(50)
    world.cdn.ignores_writes = True
    world.do(Controller.run)

    assert_paused(
        world,
        at=50,
        because=(
            "has acknowledged {'aws': 1, 'azure': 100}, and in force are {'aws': 50, 'azure': 50}"
        ),
    )


# A#3627, A#3926
def test_the_old_side_stays_while_the_weights_are_not_in_force(world: World) -> None:
    world.shift_to(100)
    world.do(Controller.step)
    world.cdn.change(NEW, weight=0)

    with pytest.raises(PlanError, match="instead of"):
        world.do(Controller.finish)
    assert world.cdn.weights[OLD] == 1


# A#3333: the API and the edge differ
def test_weights_that_requests_do_not_follow_pause(world: World) -> None:
    world.shift_to(50)
    world.metrics.weights = {OLD: 99, NEW: 1}
    world.do(Controller.run)

    assert_paused(world, at=50, because="(1.00%) of the requests, and 50.00% by weight")


def test_the_old_side_is_only_taken_out_after_the_last_step_has_passed(world: World) -> None:
    world.shift_to(100)
    with pytest.raises(PlanError, match="has not passed"):
        world.do(Controller.finish)
    assert world.cdn.weights[OLD] == 1


def test_an_abort_reaches_zero_although_writes_are_lost(world: World) -> None:  # A#4841
    world.shift_to(50)
    world.cdn.ignores_writes = True
    until = world.clock.now + 200
    world.clock.on_sleep = lambda: setattr(world.cdn, "ignores_writes", world.clock.now < until)
    abort(world)

    assert (world.cdn.weights, state(world).phase) == (NOT_RUN, Phase.ROLLED_BACK)
    assert "not yet rolled back" in world.text


# A#4841
def test_an_abort_that_does_not_reach_zero_says_so_and_goes_on_later(world: World) -> None:
    world.shift_to(50)
    world.cdn.ignores_writes = True
    with pytest.raises(CdnError, match="in force are"):
        abort(world)
    assert state(world).phase is Phase.ROLLING_BACK

    world.cdn.ignores_writes = False
    assert world.do(Controller.run).phase is Phase.ROLLED_BACK
    assert world.cdn.weights == NOT_RUN


def test_a_write_that_arrives_late_does_not_undo_an_abort(world: World) -> None:  # A#1794
    world.shift_to(50)
    arrived: list[bool] = []

    def arrive() -> None:
        if world.cdn.weights[NEW] == 0 and not arrived:
            arrived.append(True)
            world.cdn.change(NEW, weight=100)

    world.clock.on_sleep = arrive
    abort(world)

    assert arrived
    assert world.cdn.weights == NOT_RUN


def test_an_abort_with_nothing_under_way_does_nothing(world: World) -> None:  # A#1292
    abort(world)
    assert "nothing to abort: nothing planned" in world.text
    world.shift_to(10)
    abort(world)
    abort(world)

    assert "nothing to abort: rolled back" in world.text
    assert world.cdn.written[-1] == NOT_RUN


def test_an_abort_needs_no_metrics_and_a_slow_cdn_may_fail_at_first(world: World) -> None:
    world.shift_to(50)
    world.metrics.broken = True
    world.cdn.errors = 40
    abort(world)

    assert world.cdn.weights == NOT_RUN


def test_an_abort_needs_no_journal_that_can_be_written(world: World) -> None:
    world.shift_to(50)

    class FullDisk(Journal):
        def append(self, record: object) -> None:
            raise OSError(28, f"No space left on device: {record}")

    world.do(Controller.abort, FullDisk)

    assert world.cdn.weights == NOT_RUN
    assert "the journal cannot be written" in world.text


def test_a_weight_never_rises_during_an_abort(world: World) -> None:  # A#1794
    world.shift_to(50)
    before = len(world.cdn.written)

    def crash() -> None:
        raise CrashError

    world.cdn.after_write = crash
    with pytest.raises(CrashError):
        abort(world)
    world.cdn.after_write = lambda: None
    world.do(Controller.run)  # a restarted controller goes on with the abort, not with the shift

    assert [weights[NEW] for weights in world.cdn.written[before:]] == [0, 0]
    assert state(world).phase is Phase.ROLLED_BACK


@pytest.mark.parametrize("problem", ["taken out", "does not answer"])
# F#869, A#3888
def test_a_side_that_was_scaled_down_is_not_rolled_back_into(world: World, problem: str) -> None:
    world.shift_to(50)
    world.metrics.origins = bad(world)
    if problem == "taken out":
        world.cdn.change(OLD, available=False)
    else:
        world.art.problems = {OLD: "cannot reach aws"}
    world.do(Controller.run)

    assert_paused(world, at=50, because="not rolled back, because of aws")
    with pytest.raises(PlanError, match="not rolled back, because of aws"):
        abort(world)
    assert world.cdn.weights[NEW] == 50
    abort(world, force=True)
    assert world.cdn.weights == NOT_RUN


def test_a_sick_baseline_is_not_rolled_back_into(world: World) -> None:  # F#639, F#1931
    world.shift_to(50)
    world.metrics.origins = {OLD: Traffic(error_rate=0.1), NEW: Traffic(error_rate=0.2)}
    world.do(Controller.run)

    assert_paused(world, at=50, because="not rolled back, because aws misses the objective too")


def test_a_healthy_origin_goes_on_although_the_old_one_is_sick(world: World) -> None:  # F#639
    world.shift_to(50)
    world.metrics.origins[OLD] = Traffic(error_rate=0.1)
    world.do(Controller.step)

    assert world.cdn.weights[NEW] == 100


def test_there_is_one_controller_at_a_time(world: World) -> None:  # A#2117
    with Journal(world.journal), pytest.raises(JournalError, match="another controller"):
        Journal(world.journal)
    with Journal(world.journal):
        pass


def test_an_abort_makes_a_running_controller_give_way(world: World) -> None:  # A#2117
    world.shift_to(10)
    request = world.journal.with_name("journal.give-way")
    world.clock.on_sleep = request.touch
    with pytest.raises(GaveWayError):
        world.do(Controller.run)
    world.clock.on_sleep = lambda: None
    abort(world)

    assert world.cdn.weights == NOT_RUN
    assert not request.exists()


def test_a_plan_is_refused_while_a_shift_is_under_way(world: World) -> None:  # A#2117
    world.shift_to(10)
    with pytest.raises(PlanError, match="under way"):
        world.plan()


def test_session_affinity_is_refused(world: World) -> None:  # A#1838
    world.cdn.affinity = "cookie"
    with pytest.raises(PlanError, match="session affinity"):
        world.plan()


def test_session_affinity_that_is_switched_on_later_pauses(world: World) -> None:  # A#1838
    world.shift_to(10)
    world.cdn.affinity = "ip_cookie"
    world.do(Controller.run)

    assert_paused(world, at=10, because="session affinity (ip_cookie)")


def test_a_target_that_changes_in_mid_analysis_pauses(world: World) -> None:  # F#30
    world.shift_to(10)
    world.cdn.change(NEW, address="192.0.2.3:443")
    world.do(Controller.run)

    assert_paused(
        world, at=10, because="the address of azure was 192.0.2.2:443 and is 192.0.2.3:443"
    )
    world.do(Controller.run)
    assert_paused(world, at=10, because="plan again")


def test_weights_that_somebody_else_changes_pause(world: World) -> None:
    world.shift_to(10)
    world.cdn.change(NEW, weight=5)
    world.do(Controller.run)

    assert_paused(world, at=5, because="somebody else has changed them")


def test_a_third_origin_with_weight_is_refused(world: World) -> None:
    world.cdn.origins["gcp"] = Origin(weight=10, address="192.0.2.9:443", available=True)
    with pytest.raises(PlanError, match="gcp"):
        world.plan()


def test_an_origin_without_weight_or_health_is_no_place_to_start(world: World) -> None:
    world.cdn.change(OLD, weight=0)
    with pytest.raises(PlanError, match="not the origin in use"):
        world.plan()
    world.cdn.change(OLD, weight=100)
    world.cdn.change(NEW, available=False)
    with pytest.raises(PlanError, match="sends nothing to azure"):
        world.plan()


def test_origins_with_different_art_are_no_place_to_start(world: World) -> None:
    world.art.comparisons = (Comparison(image="cat.jpg", same=False, detail="aws 12, azure 34"),)
    with pytest.raises(PlanError, match="aws 12, azure 34"):
        world.plan()


def test_a_new_origin_that_the_cdn_takes_out_is_rolled_back(world: World) -> None:
    world.shift_to(50)
    world.cdn.change(NEW, available=False)

    assert world.do(Controller.run).phase is Phase.ROLLED_BACK
    assert world.cdn.weights == NOT_RUN


def test_different_art_is_rolled_back(world: World) -> None:
    world.shift_to(1)
    world.art.comparisons = (Comparison(image="cat.jpg", same=False, detail="aws 12, azure 34"),)

    assert world.do(Controller.run).phase is Phase.ROLLED_BACK
    assert "aws 12, azure 34" in state(world).reason


def test_a_paused_shift_stays_until_it_is_run_again_and_observes_the_whole_step(
    world: World,
) -> None:
    world.shift_to(10)
    world.do(Controller.pause)
    assert (state(world).phase, world.cdn.weights[NEW]) == (Phase.PAUSED, 10)
    with pytest.raises(PlanError):
        world.do(Controller.finish)
    world.do(Controller.step)
    resumed = world.clock.now
    world.do(Controller.step)

    assert world.cdn.weights[NEW] == 50
    assert world.clock.now - resumed >= PLAN.interval_seconds


def test_there_is_nothing_to_pause_or_step_without_a_plan(world: World) -> None:
    for command in (Controller.pause, Controller.step, Controller.finish):
        with pytest.raises(PlanError):
            world.do(command)


# A#404, A#2658
def test_status_draws_the_state_with_the_values_of_the_last_judgement(world: World) -> None:
    world.shift_to(50)
    drawn = draw(state(world), {OLD: 50, NEW: 50})

    assert drawn.splitlines()[:5] == [
        "aws -> azure: observing",
        "1% done  10% done  [50%]  100%",
        "",
        "aws     50   50.00%  ####################",
        "azure   50   50.00%  ####################",
    ]
    assert "success      latency: " in drawn
    assert "over 1.25 x" in drawn
    assert "unknown: timed out" in draw(state(world), "timed out")
