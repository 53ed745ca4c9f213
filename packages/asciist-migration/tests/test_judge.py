"""The comparison of two origins is exact, and inconclusive with few requests."""

import math
import random
from dataclasses import replace
from fractions import Fraction
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asciist_migration.shift.judge import (
    FAILURE,
    Judgement,
    Question,
    Verdict,
    binomial_tail,
    exceedance_tail,
    fisher_tail,
    judge,
    judge_at_once,
)
from asciist_migration.shift.ports import Comparison, Sample, Window
from asciist_migration_testing.fakes import INTERVAL, NEW, OLD, Traffic, sample
from operations.observability.objective import OBJECTIVE

QUESTION = Question(
    old=OLD, new=NEW, weights={OLD: 50, NEW: 50}, min_requests=200, looks=10, slower=1.25, over=True
)
SMALL = st.integers(0, 12)


def window(old: Sample, new: Sample) -> Window:
    return Window(start=0, end=INTERVAL, as_of=INTERVAL, unit="ms", samples={OLD: old, NEW: new})


def judged(
    old: Sample, new: Sample, *comparisons: Comparison, question: Question = QUESTION
) -> Judgement:
    return judge(window(old, new), comparisons, question, OBJECTIVE)


def verdicts(judgement: Judgement) -> dict[str, str]:
    return {check.name: check.verdict for check in judgement.checks}


@given(st.integers(0, 30), SMALL, st.fractions(0, 1, max_denominator=50))
def test_the_binomial_tail_is_exact(trials: int, count: int, probability: Fraction) -> None:
    exact = sum(
        math.comb(trials, k) * probability**k * (1 - probability) ** (trials - k)
        for k in range(min(count, trials + 1), trials + 1)
    )
    assert binomial_tail(count, trials, float(probability)) == pytest.approx(
        float(exact), abs=1e-12
    )


@given(SMALL, SMALL, SMALL, SMALL)
def test_fishers_test_is_exact(
    events: int, others: int, other_events: int, other_others: int
) -> None:
    trials, other_trials, total = (
        events + others,
        other_events + other_others,
        events + other_events,
    )
    exact = Fraction(
        sum(
            math.comb(trials, k) * math.comb(other_trials, total - k)
            for k in range(events, min(trials, total) + 1)
        ),
        math.comb(trials + other_trials, total),
    )
    assert fisher_tail(events, trials, other_events, other_trials) == pytest.approx(
        float(exact), abs=1e-12
    )


def test_fishers_test_of_the_tea_tasting() -> None:
    # Fisher, The Design of Experiments, 1935
    assert fisher_tail(3, 4, 1, 4) == pytest.approx(17 / 70)


@pytest.mark.parametrize(
    ("trials", "rank", "baseline"), [(1, 1, 1), (4, 1, 5), (5, 2, 5), (6, 3, 4)]
)
def test_the_exceedance_test_counts_all_orders_of_the_values(
    trials: int, rank: int, baseline: int
) -> None:
    # Places of the old origin's values, from the greatest value on; and the new one's values above
    # the one with this rank.
    counts = [
        places[rank - 1] - (rank - 1) for places in combinations(range(trials + baseline), baseline)
    ]
    for count in range(trials + 2):
        exact = sum(found >= count for found in counts) / len(counts)
        assert exceedance_tail(count, trials, rank, baseline) == pytest.approx(exact, abs=1e-12)


def test_the_exceedance_test_becomes_the_binomial_test_with_a_large_baseline() -> None:
    assert exceedance_tail(40, 500, 50_000, 1_000_000) == pytest.approx(
        binomial_tail(40, 500, 0.05), rel=0.01
    )
    # a p95 of 100 requests is itself uncertain
    assert exceedance_tail(40, 500, 5, 100) > 40 * binomial_tail(40, 500, 0.05)


def test_a_million_requests_are_judged_as_exactly_as_a_few() -> None:
    assert binomial_tail(500_000, 1_000_000, 0.5) == pytest.approx(0.5, abs=0.001)
    assert binomial_tail(1_100, 1_000_000, 0.001) == pytest.approx(0.00095, rel=0.05)
    assert fisher_tail(10, 1_000_000, 10, 1_000_000) == pytest.approx(0.588, abs=0.01)


def test_equal_origins_fail_about_as_rarely_as_promised() -> None:
    generator = random.Random(1)
    failed = 0
    for _ in range(400):
        old, new = (
            Sample(
                began=tuple(INTERVAL * (index + 0.5) / count for index in range(count)),
                times=tuple(generator.lognormvariate(4, 0.5) for _ in range(count)),
                statuses=tuple(503 if generator.random() < 0.0005 else 200 for _ in range(count)),
            )
            for count in (300, 300)
        )
        failed += judged(old, new).verdict is Verdict.FAILURE
    assert binomial_tail(failed, 400, 3 * FAILURE) > 0.001


def test_equal_origins_succeed() -> None:
    judgement = judged(
        sample(Traffic(), 3000),
        sample(Traffic(), 3100),
        Comparison(image="cat", same=True, detail=""),
    )

    assert judgement.verdict is Verdict.SUCCESS
    assert not judgement.old_is_sick


def test_a_few_percent_of_errors_fail() -> None:
    judgement = judged(sample(Traffic(), 500), sample(Traffic(error_rate=0.03), 500))

    assert verdicts(judgement) | {"objective": "failure", "errors": "failure"} == verdicts(
        judgement
    )
    assert "15 of 500 (3.00%) 5xx, old origin 0 of 500 (0.00%)" in judgement.reasons


def test_one_error_of_few_requests_proves_nothing() -> None:
    assert (
        judged(sample(Traffic(), 250), sample(Traffic(error_rate=0.004), 250)).verdict
        is not Verdict.FAILURE
    )


def test_errors_in_doubt_are_inconclusive() -> None:
    # 4 errors: p = 0.0008
    judgement = judged(sample(Traffic(), 400), sample(Traffic(error_rate=0.01), 400))

    assert judgement.verdict is Verdict.INCONCLUSIVE


def test_a_slower_origin_fails() -> None:
    judgement = judged(sample(Traffic(), 400), sample(Traffic(milliseconds=100), 400))

    assert verdicts(judgement)["latency"] == "failure"


def test_three_slow_requests_do_not_condemn_an_origin() -> None:
    new = sample(Traffic(), 250)
    # the p95 of 50 requests would rest on these
    slow = replace(new, times=(*new.times[:-3], 2000, 2000, 2000))

    assert verdicts(judged(sample(Traffic(), 2000), slow))["latency"] == "success"


def test_an_origin_slower_than_the_objective_fails_even_if_it_answers() -> None:
    new = sample(Traffic(), 300)
    slow = replace(new, times=(*new.times[:-10], *[OBJECTIVE.slow_after_ms + 1] * 10))

    assert verdicts(judged(sample(Traffic(), 300), slow))["objective"] == "failure"


def test_equal_times_do_not_look_slow() -> None:
    new = replace(sample(Traffic(), 500), times=(7.0,) * 500)
    assert verdicts(judged(new, new))["latency"] == "success"


def test_early_looks_need_stronger_evidence() -> None:
    old, new = sample(Traffic(), 400), sample(Traffic(error_rate=0.0125), 400)  # 5 errors: p = 6e-5

    assert judged(old, new).verdict is Verdict.FAILURE
    assert judged(old, new, question=replace(QUESTION, over=False)).verdict is not Verdict.FAILURE


def test_the_old_origin_is_sick_if_it_misses_the_objective() -> None:
    assert judged(sample(Traffic(error_rate=0.05), 500), sample(Traffic(), 500)).old_is_sick


@pytest.mark.parametrize(
    ("same", "verdict"), [(True, "success"), (False, "failure"), (None, "inconclusive")]
)
def test_different_art_is_a_failure(same: bool | None, verdict: str) -> None:
    comparison = Comparison(image="cat.jpg", same=same, detail="aws 12, azure 34")
    judgement = judged(sample(Traffic(), 500), sample(Traffic(), 510), comparison)

    assert (judgement.verdict, verdicts(judgement)["art of cat.jpg"]) == (verdict, verdict)


@given(st.integers(0, 40), st.integers(0, 40), st.integers(0, 40), st.integers(0, 40))
def test_no_figures_make_the_judge_fall(
    old: int, old_errors: int, new: int, new_errors: int
) -> None:
    judgement = judged(
        sample(Traffic(error_rate=min(1, old_errors / 40)), old),
        sample(Traffic(error_rate=min(1, new_errors / 40)), new),
    )
    assert judgement.verdict in Verdict
    assert judgement.verdict is not Verdict.SUCCESS  # fewer requests than it takes


def test_errors_are_a_failure_before_the_requests_under_way_have_ended() -> None:
    figures = replace(
        window(sample(Traffic(), 300), sample(Traffic(error_rate=0.1), 300)), end=INTERVAL + 15
    )
    judgement = judge_at_once(figures, QUESTION, OBJECTIVE)

    # as of a time before its end
    assert judge(figures, (), QUESTION, OBJECTIVE).verdict is Verdict.INCONCLUSIVE
    assert judgement
    assert judgement.verdict is Verdict.FAILURE
    assert "30 of 300 (10.00%) 5xx, old origin 0 of 300" in judgement.reasons


def test_slow_answers_are_no_failure_before_the_requests_under_way_have_ended() -> None:
    assert (
        judge_at_once(
            window(sample(Traffic(), 300), sample(Traffic(milliseconds=5000), 300)),
            QUESTION,
            OBJECTIVE,
        )
        is None
    )


def test_figures_that_cannot_be_trusted_are_no_failure_at_once() -> None:
    figures = replace(
        window(sample(Traffic(), 300), sample(Traffic(error_rate=0.5), 300)), unit="s"
    )

    assert judge_at_once(figures, QUESTION, OBJECTIVE) is None


def test_a_sick_old_origin_is_told_at_once() -> None:
    judgement = judge_at_once(
        window(sample(Traffic(error_rate=0.3), 300), sample(Traffic(error_rate=0.9), 300)),
        QUESTION,
        OBJECTIVE,
    )

    assert judgement
    assert judgement.old_is_sick


def test_a_plan_may_tolerate_a_newcomer_that_is_farther_away() -> None:
    old, new = sample(Traffic(), 500), sample(Traffic(milliseconds=100), 500)

    assert verdicts(judged(old, new))["latency"] == "failure"
    assert verdicts(judged(old, new, question=replace(QUESTION, slower=4)))["latency"] == "success"
