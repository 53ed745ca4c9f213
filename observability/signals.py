"""Vendor-neutral signals: what an alarm watches and what a panel draws, whichever vendor computes it."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final, Literal

from asciist.telemetry.metrics import CATALOGUE

Worker = Literal["lambda", "asg"]
"""Kind of worker of a deployment, as in `stacks.environment`."""

Statistic = Literal["sum", "count", "average", "minimum", "maximum", "p50", "p90", "p95", "p99", "percent_above"]

Resource = Literal[
    "request_queue", "dead_letter_queue", "load_balancer", "web_targets", "web_instances", "pollers", "converter"
]


@dataclass(frozen=True, kw_only=True)
class Measured:
    """Values of a metric in the catalogue (`asciist.telemetry.metrics`)."""

    metric: str
    statistic: Statistic
    """`percent_above` is the share, in percent, of the values above the threshold `above`."""
    where: tuple[str, str] | None = None
    """Only values with this tag; Datadog alone understands `*` at the end of the tag's value."""
    by: str = ""
    """Tag to split by: one line for each of its values. No alarm can watch a split signal."""
    above: float = 0

    def __post_init__(self) -> None:
        """Raises ValueError for a tag that the metric does not carry."""
        tags = {self.by} - {""} | ({self.where[0]} if self.where else set())
        if unknown := tags - set(CATALOGUE[self.metric].tags):
            raise ValueError(f"{self.metric} has no tag {', '.join(unknown)}")


@dataclass(frozen=True, kw_only=True)
class Aws:
    """Values of a metric that AWS, or the CloudWatch agent, measures on a resource of the deployment."""

    resource: Resource
    metric: str
    """CloudWatch's name of the metric."""
    statistic: Statistic


class ObjectiveCount(Enum):
    """Requests that the objective counts. A bad request failed (5xx) or took longer than `slow_after_seconds`; others are good.

    CloudWatch takes failures from the load balancer, so that requests that no instance answered count too; among slow answers,
    it counts those of statuses 200, 304 and 400, because an alarm computes with ten metrics at most. Datadog takes both from
    the durations that the web tier measures, because metrics of AWS reach Datadog up to 15 minutes late.
    """

    TOTAL = "total"
    GOOD = "good"
    BAD = "bad"


Signal = Measured | Aws | ObjectiveCount


@dataclass(frozen=True, kw_only=True)
class Formula:
    """An expression over signals: names of signals, numbers, `+ - * /`, parentheses, and `zero(NAME)`.

    Where one of its signals has no value, the formula has none, except that `zero(NAME)` is 0 there. A denominator therefore
    must not be wrapped in `zero`: without requests, a share of requests has no value.
    """

    text: str
    signals: Mapping[str, Signal]
    """Signals by the names that `text` gives them."""


def formula(text: str, **signals: Signal) -> Formula:
    return Formula(text=text, signals=signals)


def plain(signal: Signal) -> Formula:
    """A formula whose value is the signal's."""
    return formula("value", value=signal)


BAD_PERCENT: Final = formula("100 * bad / total", bad=ObjectiveCount.BAD, total=ObjectiveCount.TOTAL)
