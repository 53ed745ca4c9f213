"""Compares the new origin with the old one over the same window, and with the service level
objective.

The tests count requests and are exact: a few requests prove little, and many prove much. If the
origins do not differ, each test fails with a probability of at most `FAILURE`, however often it
looks, and is inconclusive with at most `DOUBT`. With four steps of three tests, a harmless shift is
rolled back in at most 1.2% of cases, and paused in at most 12%.
"""

import math
from bisect import bisect_left
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import pairwise
from typing import Final

from asciist_migration.shift.ports import Comparison, Sample, Window
from operations.observability.objective import Objective

FAILURE: Final = 0.001
"""Probability that a test fails a new origin as good as the old one."""
DOUBT: Final = 0.01
"""Greatest p-value that is inconclusive, at the last look."""
SLOWER: Final = 1.25
"""Default multiple of the old origin's p95 above which a request of the new one is slow. Two clouds
are never equally far from a CDN, and among a million requests a millisecond is significant."""
BASELINE_PERCENTILE: Final = 95
MIN_BASELINE: Final = 20
"""Minimum requests of the old origin. The test allows for the uncertainty of their p95; with fewer,
no value could exceed it."""
_NOT_IN_FORCE: Final = 1e-6
"""Maximum p-value of a share of requests that means the weights are not in force. It is small
because a CDN that chooses by client, and not by request, spreads them less evenly than a binomial
distribution."""
_LONGEST_MS: Final = 90_000
"""Maximum milliseconds that a client waits for the service. A longer time is in another unit, such
as microseconds."""
_QUARTERS: Final = 4
_LIKELY: Final = 20
"""Expected requests in a quarter of the window above which their absence means that figures are
missing: e**-20 is 2e-9."""


class Verdict(StrEnum):
    """The outcome of a judgement."""

    SUCCESS = "success"
    FAILURE = "failure"
    INCONCLUSIVE = "inconclusive"


@dataclass(frozen=True, kw_only=True)
class Check:
    """One comparison, with its raw values."""

    name: str
    verdict: Verdict
    values: str


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """The checks of a window, and the conclusion."""

    checks: tuple[Check, ...]
    enough: bool
    """False if more time may change the outcome: there are too few requests, or they do not follow
    new weights yet."""
    old_is_sick: bool
    """True if the old origin itself misses the objective, so that a roll-back to it would not
    help."""

    @property
    def verdict(self) -> Verdict:
        """Failure if any check fails, success if all succeed, and else inconclusive."""
        verdicts = {check.verdict for check in self.checks}
        if Verdict.FAILURE in verdicts:
            return Verdict.FAILURE
        return Verdict.SUCCESS if verdicts == {Verdict.SUCCESS} else Verdict.INCONCLUSIVE

    @property
    def reasons(self) -> str:
        """Descriptions of the checks that led to the verdict."""
        return "; ".join(
            f"{check.name}: {check.values}"
            for check in self.checks
            if check.verdict == self.verdict
        )


@dataclass(frozen=True, kw_only=True)
class Question:
    """A window to judge: its origins, its weights and the number of looks."""

    old: str
    new: str
    weights: dict[str, int]
    """Weights that should be in force, by origin."""
    min_requests: int
    """Fewest requests of the new origin."""
    looks: int
    """Number of times that the growing window is judged before its end."""
    slower: float
    """Multiple of the old origin's p95 above which a request of the new one is slow."""
    over: bool
    """True if the window is long enough. With enough requests, this is then the last look."""

    def threshold(self, *, enough: bool) -> float:
        """Maximum p-value of a failure. The last look gets half of `FAILURE`; the others share the
        rest (Bonferroni).

        Each of these looks twice: see `judge_at_once`.
        """
        return FAILURE / 2 if self.over and enough else FAILURE / 4 / self.looks


def binomial_tail(count: int, trials: int, probability: float) -> float:
    """Return P(X >= count) for a binomial X, exact except for rounding.

    Abramowitz and Stegun, Handbook of Mathematical Functions, 26.1.20, by logarithms of the gamma
    function.
    """
    if not 0 < count <= trials:
        return float(count <= 0)
    if probability in (0.0, 1.0):
        return probability
    success, failure = math.log(probability), math.log1p(-probability)

    def log_term(k: int) -> float:
        return _log_choose(trials, k) + k * success + (trials - k) * failure

    return _tail(log_term, count, range(trials + 1), mean=trials * probability)


def fisher_tail(events: int, trials: int, other_events: int, other_trials: int) -> float:
    """Return Fisher's exact one-sided p-value: the probability of at least as many events in
    `trials`, if both have the same rate.

    Fisher, Statistical Methods for Research Workers, 1934, section 21.02: given the totals, the
    count is hypergeometric.
    """
    total, all_events = trials + other_trials, events + other_events
    divisor = _log_choose(total, all_events)

    def log_term(k: int) -> float:
        return _log_choose(trials, k) + _log_choose(other_trials, all_events - k) - divisor

    possible = range(max(0, all_events - other_trials), min(trials, all_events) + 1)
    return _tail(log_term, events, possible, mean=trials * all_events / total if total else 0)


def exceedance_tail(count: int, trials: int, rank: int, baseline: int) -> float:
    """Return P(X >= count), where X of `trials` exceed the `rank`-th greatest of `baseline` values
    of the same distribution.

    It is the binomial test of a count above a percentile that is itself an estimate: the
    probability of exceeding it has a beta distribution, so X is beta-binomial. Gumbel and von
    Schelling, The Distribution of the Number of Exceedances, Annals of Mathematical Statistics 21,
    1950. With equal values, counting only strictly greater ones makes the test conservative.
    """
    divisor = _log_choose(trials + baseline, trials)

    def log_term(k: int) -> float:
        return (
            _log_choose(k + rank - 1, k)
            + _log_choose(trials - k + baseline - rank, trials - k)
            - divisor
        )

    return _tail(log_term, count, range(trials + 1), mean=trials * rank / (baseline + 1))


def judge(
    window: Window, comparisons: Iterable[Comparison], question: Question, objective: Objective
) -> Judgement:
    """Judge a window and comparisons of art. Untrustworthy figures are inconclusive."""
    art = tuple(_judge_art(comparison) for comparison in comparisons)
    problem = _problem(window, question)
    if problem:
        figures = Check(name="figures", verdict=Verdict.INCONCLUSIVE, values=problem)
        return Judgement(checks=(figures, *art), enough=False, old_is_sick=False)
    old, new = (window.samples.get(name, _NOTHING) for name in (question.old, question.new))
    amount, share = _judge_amount(old, new, question), _judge_share(old, new, question)
    enough = amount.verdict is share.verdict is Verdict.SUCCESS
    threshold = question.threshold(enough=enough)
    checks = (
        amount,
        share,
        _judge_objective(new, objective, threshold),
        _judge_errors(old, new, objective, threshold),
        _judge_latency(old, new, threshold, question.slower),
        *art,
    )
    return Judgement(checks=checks, enough=enough, old_is_sick=_is_sick(old, objective))


def judge_at_once(window: Window, question: Question, objective: Objective) -> Judgement | None:
    """Return a failure if the statuses of completed requests already show one, else None.

    `window` ends now, so it lacks the requests in progress: the slow ones of the last seconds.
    Latencies cannot be compared without them. Statuses can, because both origins lack the same
    requests, and the comparison must not wait for the slowest request: meanwhile, a broken origin
    would fail everything.
    """
    window = replace(window, end=min(window.end, window.as_of))
    if _problem(window, question):
        return None
    old, new = (window.samples.get(name, _NOTHING) for name in (question.old, question.new))
    threshold = question.threshold(enough=False)
    errors = _judge_errors(old, new, objective, threshold)
    if errors.verdict is not Verdict.FAILURE:
        return None
    return Judgement(checks=(errors,), enough=False, old_is_sick=_is_sick(old, objective))


_NOTHING: Final = Sample(began=(), times=(), statuses=())


def _is_sick(old: Sample, objective: Objective) -> bool:
    return (
        binomial_tail(_bad(old, objective), len(old.times), objective.budget_percent / 100)
        <= FAILURE
    )


def _problem(window: Window, question: Question) -> str:
    """Return why the figures cannot be trusted; empty if they can."""
    if window.unit != "ms":
        return f"times in {window.unit!r} instead of 'ms'"
    if not window.as_of >= window.end:  # nor if it is not a number
        return (
            f"as of {window.as_of:.0f}, before the window ends at {window.end:.0f}: stale, or the"
            " source has stopped"
        )
    return next(
        (text for name in (question.old, question.new) if (text := _problem_of(name, window))), ""
    )


def _problem_of(name: str, window: Window) -> str:
    sample = window.samples.get(name, _NOTHING)
    if not sample.times:
        return ""  # `_judge_amount` says so
    if not math.isfinite(sum(sample.times) + sum(sample.began)) or min(sample.times) < 0:
        return f"{name}: a time is not a number, or negative"
    if max(sample.times) > _LONGEST_MS:
        return (
            f"{name}: a time of {max(sample.times):g} ms, and no client waits for so long: another"
            " unit?"
        )
    if len(sample.times) >= MIN_BASELINE and max(sample.times) < 1:
        return f"{name}: no time above {max(sample.times):g} ms: another unit?"
    ordered = sorted(sample.began)
    edges = (
        window.start + (window.end - window.start) * quarter / _QUARTERS
        for quarter in range(_QUARTERS + 1)
    )
    quarters = [
        later - earlier for earlier, later in pairwise(bisect_left(ordered, edge) for edge in edges)
    ]
    if 0 in quarters and len(sample.began) / _QUARTERS > _LIKELY:
        return f"{name}: {quarters} requests in the quarters of the window: figures are missing"
    return ""


def _judge_amount(old: Sample, new: Sample, question: Question) -> Check:
    enough = len(new.times) >= question.min_requests and len(old.times) >= MIN_BASELINE
    return Check(
        name="requests",
        verdict=Verdict.SUCCESS if enough else Verdict.INCONCLUSIVE,
        values=(
            f"{question.new} {len(new.times)} (at least {question.min_requests}), "
            f"{question.old} {len(old.times)} (at least {MIN_BASELINE})"
        ),
    )


def _judge_share(old: Sample, new: Sample, question: Question) -> Check:
    """Compare the shares of requests with the weights: an API may acknowledge weights that are not
    in force at the edge.

    A deviation may be temporary. HAProxy's round robin lets a server with a raised weight catch up:
    it got 245 of the next 279 requests.
    """
    total, count = len(old.times) + len(new.times), len(new.times)
    if not total:
        return Check(name="share", verdict=Verdict.INCONCLUSIVE, values="no requests")
    expected = question.weights[question.new] / sum(question.weights.values())
    p = min(
        binomial_tail(count, total, expected), binomial_tail(total - count, total, 1 - expected)
    )
    return Check(
        name="share",
        verdict=(
            Verdict.INCONCLUSIVE
            if p <= _NOT_IN_FORCE and _is_far(count / total, expected)
            else Verdict.SUCCESS
        ),
        values=(
            f"{question.new} got {_percent(count, total)} of the requests, and {expected:.2%} by"
            " weight"
        ),
    )


def _is_far(share: float, expected: float) -> bool:
    """Return True if an origin gets more than twice, or less than half, of the share of its
    weight."""
    return not (
        share <= 2 * expected
        and expected <= 2 * share
        and 1 - share <= 2 * (1 - expected)
        and 1 - expected <= 2 * (1 - share)
    )


def _judge_objective(new: Sample, objective: Objective, threshold: float) -> Check:
    bad = _bad(new, objective)
    p = binomial_tail(bad, len(new.times), objective.budget_percent / 100)
    bounds = (
        f"(5xx, or over {objective.slow_after_seconds:g} s), budget {objective.budget_percent:g}%"
    )
    values = f"{_percent(bad, len(new.times))} bad {bounds}, p = {p:.2g}"
    return Check(name="objective", verdict=_by(p, threshold), values=values)


def _judge_errors(old: Sample, new: Sample, objective: Objective, threshold: float) -> Check:
    ours, theirs = _errors(new), _errors(old)
    p = fisher_tail(ours, len(new.times), theirs, len(old.times))
    values = (
        f"{_percent(ours, len(new.times))} 5xx, old origin {_percent(theirs, len(old.times))}, p ="
        f" {p:.2g}"
    )
    if 100 * ours <= objective.budget_percent * len(new.times):
        return Check(name="errors", verdict=Verdict.SUCCESS, values=f"{values}, within the budget")
    return Check(name="errors", verdict=_by(p, threshold), values=values)


def _judge_latency(old: Sample, new: Sample, threshold: float, slower: float) -> Check:
    if len(old.times) < MIN_BASELINE:
        return Check(
            name="latency",
            verdict=Verdict.INCONCLUSIVE,
            values=f"no p95 of {len(old.times)} requests",
        )
    rank = len(old.times) * (100 - BASELINE_PERCENTILE) // 100
    p95 = sorted(old.times, reverse=True)[rank - 1]
    slow = sum(time > slower * p95 for time in new.times)
    p = exceedance_tail(slow, len(new.times), rank, len(old.times))
    values = (
        f"{_percent(slow, len(new.times))} over {slower:g} x {p95:g} ms, the old origin's p95 of"
        f" {len(old.times)}, p = {p:.2g}"
    )
    return Check(name="latency", verdict=_by(p, threshold), values=values)


def _judge_art(comparison: Comparison) -> Check:
    verdicts = {True: Verdict.SUCCESS, False: Verdict.FAILURE, None: Verdict.INCONCLUSIVE}
    return Check(
        name=f"art of {comparison.image}",
        verdict=verdicts[comparison.same],
        values=comparison.detail,
    )


def _by(p: float, threshold: float) -> Verdict:
    if p <= threshold:
        return Verdict.FAILURE
    return Verdict.INCONCLUSIVE if p <= DOUBT else Verdict.SUCCESS


def _errors(sample: Sample) -> int:
    return sum(status >= 500 for status in sample.statuses)


def _bad(sample: Sample, objective: Objective) -> int:
    """Count the requests that are bad according to the objective."""
    pairs = zip(sample.times, sample.statuses, strict=True)
    return sum(status >= 500 or time > objective.slow_after_ms for time, status in pairs)


def _percent(count: int, total: int) -> str:
    return f"{count} of {total} ({count / total:.2%})" if total else "0 of 0"


def _log_choose(n: int, k: int) -> float:
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)


def _tail(log_term: Callable[[int], float], count: int, possible: range, *, mean: float) -> float:
    """Return P(X >= count) of a distribution with one mode, given the logarithms of its terms.

    Sums away from the mean, so that terms soon become negligible. There may be a million of them.
    """
    if count > mean:
        return min(1.0, _sum(log_term(k) for k in range(max(count, possible.start), possible.stop)))
    return max(
        0.0,
        1 - _sum(log_term(k) for k in range(min(count, possible.stop) - 1, possible.start - 1, -1)),
    )


def _sum(logarithms: Iterable[float]) -> float:
    total = 0.0
    for logarithm in logarithms:
        term = math.exp(logarithm)
        total += term
        if term < 1e-17 * total:
            break
    return total
