"""Tests of the evaluation of alarms on values that were observed for some seconds."""

from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from asciist.telemetry import metrics
from operations.dashboard.dogstatsd import BUCKET_SECONDS, Receiver
from operations.dashboard.firing import Observation
from operations.observability.alarms import (
    ALARMS,
    BUDGET_BURNS,
    BUDGET_BURNS_FAST,
    DEAD_LETTERS,
    NO_REQUESTS,
    SLOW_ANSWERS,
    STALE_QUEUE,
    TURNED_AWAY,
    UNHEALTHY_HOSTS,
    Alarm,
    Silence,
    Window,
)
from operations.observability.signals import Aws, Measured, formula, plain

QUIET = {
    ("request_queue", "ApproximateAgeOfOldestMessage"): 0.0,
    ("dead_letter_queue", "ApproximateNumberOfMessagesVisible"): 0.0,
    ("web_targets", "UnHealthyHostCount"): 0.0,
}
GOOD = f"{metrics.REQUEST_DURATION}:{':'.join(['40'] * 20)}|d|#status:200\n{metrics.REQUESTS}:20|c|#status:200"


@pytest.fixture
def observe() -> Iterator[Callable[..., Observation]]:
    """Return a function from lines of DogStatsD to the observation of ten seconds with them."""
    with Receiver(clock=lambda: BUCKET_SECONDS) as receiver:

        def observed(*lines: str, **aws: float) -> Observation:
            for line in lines:
                receiver.take(line.encode())
            assert not receiver.errors
            values = {key: aws.get(key[1], value) for key, value in QUIET.items()}
            return Observation(receiver=receiver, buckets=range(1, 2), seconds=10, aws=values)

        yield observed


Observe = Callable[..., Observation]


def test_no_alarm_fires_while_all_is_well(observe: Observe) -> None:
    assert observe(GOOD).firing({"request timeout": 10}) == []


@pytest.mark.parametrize(
    ("lines", "alarms"),
    [
        (f"{metrics.REQUEST_DURATION}:40|d|#status:503", [BUDGET_BURNS_FAST, BUDGET_BURNS]),
        (
            f"{metrics.REQUEST_DURATION}:3500:3500|d|#status:200",
            [BUDGET_BURNS_FAST, BUDGET_BURNS, SLOW_ANSWERS],
        ),
        (
            f"{metrics.REQUEST_DURATION}:3500:3500|d|#status:400",
            [BUDGET_BURNS_FAST, BUDGET_BURNS, SLOW_ANSWERS],
        ),
        (f"{metrics.REQUEST_DURATION}:40|d|#status:400", []),
        (f"{metrics.REQUESTS_SHED}:1|c", []),  # 6 a minute
        (f"{metrics.REQUESTS_SHED}:2|c", [TURNED_AWAY]),  # 12 a minute
    ],
)
def test_an_alarm_on_a_metric_fires_beyond_its_threshold(
    observe: Observe, lines: str, alarms: list[Alarm]
) -> None:
    assert observe(GOOD, lines).firing({"request timeout": 10}) == alarms


@pytest.mark.parametrize(
    ("metric", "value", "alarms"),
    [
        ("ApproximateAgeOfOldestMessage", 9.9, []),
        ("ApproximateAgeOfOldestMessage", 10.1, [STALE_QUEUE]),
        ("ApproximateNumberOfMessagesVisible", 1, [DEAD_LETTERS]),
        ("UnHealthyHostCount", 1, [UNHEALTHY_HOSTS]),
    ],
)
def test_an_alarm_on_a_metric_of_aws_fires_beyond_its_threshold(
    observe: Observe, metric: str, value: float, alarms: list[Alarm]
) -> None:
    assert observe(GOOD, **{metric: value}).firing({"request timeout": 10}) == alarms


def test_a_share_of_bad_requests_below_the_burn_rate_fires_no_alarm(observe: Observe) -> None:
    good = f"{metrics.REQUEST_DURATION}:40|d|@0.001|#status:200"
    failed = f"{metrics.REQUEST_DURATION}:40|d|#status:503"

    assert observe(GOOD, good, *[failed] * 5).firing({"request timeout": 10}) == []  # 0.5% of 1,025
    assert observe(*[failed] * 5).firing({"request timeout": 10}) == [BUDGET_BURNS]  # 1%
    assert observe(*[failed] * 6).firing({"request timeout": 10}) == [
        BUDGET_BURNS_FAST,
        BUDGET_BURNS,
    ]


def test_a_minimum_of_events_is_that_of_the_window_at_the_pace_observed(observe: Observe) -> None:
    slow = f"{metrics.REQUEST_DURATION}:3500|d|#status:200"
    observed = observe(f"{metrics.REQUESTS}:1|c|#status:200", slow)

    # 30 answers in five minutes
    assert observed.firing({"request timeout": 10}) == [BUDGET_BURNS_FAST, BUDGET_BURNS]
    assert replace(observed, seconds=3).firing({"request timeout": 10})[-1] == SLOW_ANSWERS  # 100
    # 1 bad request an hour
    assert replace(observed, seconds=3600).firing({"request timeout": 10}) == [NO_REQUESTS]


def test_an_event_happens_once_in_each_window(observe: Observe) -> None:
    failed = f"{metrics.REQUEST_DURATION}:40|d|#status:503"
    observed = replace(observe(GOOD, *[failed] * 9), seconds=None)

    # fewer bad requests than are worth waking somebody
    assert observed.firing({"request timeout": 10}) == []
    assert replace(observed, seconds=10).firing({"request timeout": 10}) == [
        BUDGET_BURNS_FAST,
        BUDGET_BURNS,
    ]
    assert replace(observe(failed), seconds=None).firing({"request timeout": 10}) == [
        BUDGET_BURNS_FAST,
        BUDGET_BURNS,
    ]


def test_silence_is_what_the_alarm_says_it_is(observe: Observe) -> None:
    assert observe().firing({"request timeout": 10}) == [NO_REQUESTS]
    assert [alarm for alarm in ALARMS if alarm.silence is Silence.FIRES] == [NO_REQUESTS]


def test_values_of_another_time_do_not_count(observe: Observe) -> None:
    observed = observe(GOOD, f"{metrics.REQUEST_DURATION}:40|d|#status:503")

    assert replace(observed, buckets=range(2, 3)).firing({"request timeout": 10}) == [NO_REQUESTS]


def test_an_alarm_on_a_metric_of_aws_that_was_not_observed_is_left_out(observe: Observe) -> None:
    observed = replace(observe(GOOD), aws={})
    loud = replace(DEAD_LETTERS, silence=Silence.FIRES)

    assert observed.firing({"request timeout": 10}, alarms=[loud]) == []


@pytest.mark.parametrize(
    ("statistic", "value"),
    [("average", 2.5), ("minimum", 1), ("maximum", 4), ("p50", 2), ("sum", 60), ("count", 24)],
)
@pytest.mark.parametrize("is_above", [False, True])
def test_every_statistic_of_an_alarm_is_known(
    observe: Observe, statistic: str, value: float, *, is_above: bool
) -> None:
    """A minute contains six times as many values as the ten seconds observed."""
    # One of them each time.
    signal = Measured(metric=metrics.REPLY_WAIT, statistic=statistic)  # type: ignore[arg-type]
    alarm = replace(
        TURNED_AWAY,
        signal=plain(signal),
        threshold=value * (0.98 if is_above else 1.02),
        windows=(Window(period_minutes=1),),
    )

    observed = observe(f"{metrics.REPLY_WAIT}:1:2:3:4|d")
    assert observed.firing({"request timeout": 10}, alarms=[alarm]) == ([alarm] if is_above else [])


def test_a_formula_may_take_missing_values_for_zero(observe: Observe) -> None:
    signals = {
        "shed": Measured(metric=metrics.REQUESTS_SHED, statistic="sum"),
        "late": Aws(
            resource="request_queue", metric="ApproximateAgeOfOldestMessage", statistic="maximum"
        ),
    }
    alarm = replace(TURNED_AWAY, signal=formula("late + zero(shed)", **signals), threshold=4.0)
    strict = replace(alarm, signal=formula("late + shed", **signals))

    assert observe(ApproximateAgeOfOldestMessage=5).firing(
        {"request timeout": 10}, alarms=[alarm, strict]
    ) == [alarm]
