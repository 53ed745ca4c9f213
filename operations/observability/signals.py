"""Vendor-neutral signals: the values watched by alarms and drawn on panels."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final, Literal

from asciist.telemetry.metrics import CATALOGUE

Worker = Literal["lambda", "asg"]
"""Kind of worker of a deployment, as in `stacks.environment`."""

Statistic = Literal[
    "sum", "count", "average", "minimum", "maximum", "p50", "p90", "p95", "p99", "percent_above"
]

Resource = Literal[
    "request_queue",
    "dead_letter_queue",
    "load_balancer",
    "web_targets",
    "web_instances",
    "pollers",
    "converter",
    "probe",
    "certificate",
]


@dataclass(frozen=True, kw_only=True)
class Measured:
    """Values of a metric in the catalogue (`asciist.telemetry.metrics`)."""

    metric: str
    statistic: Statistic
    """`percent_above` is the share, in percent, of the values above the threshold `above`."""
    where: tuple[str, str] | None = None
    """Tag filter: only values with this key and value. Only Datadog supports `*` at the end of the
    value."""
    by: str = ""
    """Key of a tag to split by, with one line for each of its values. No alarm can watch a split
    signal."""
    above: float = 0
    """Threshold of `percent_above`, in the unit of the metric; other statistics ignore it."""

    def __post_init__(self) -> None:
        """Raises ValueError for a tag that the metric does not carry."""
        tags = {self.by} - {""} | ({self.where[0]} if self.where else set())
        if unknown := tags - set(CATALOGUE[self.metric].tags):
            raise ValueError(f"{self.metric} has no tag {', '.join(unknown)}")


@dataclass(frozen=True, kw_only=True)
class Aws:
    """Values of a metric measured by AWS or the CloudWatch agent on a resource of the
    deployment."""

    resource: Resource
    metric: str
    """CloudWatch's name of the metric."""
    statistic: Statistic


class ObjectiveCount(Enum):
    """Number of requests as the objective counts them. A request is bad if it failed (5xx) or took
    longer than `slow_after_seconds`, and good otherwise.

    CloudWatch counts failures at the load balancer, including requests that no instance answered.
    It counts slow answers with status 200, 304 or 400 only, because an alarm computes with at most
    ten metrics. Datadog counts both from the durations measured by the web tier, without requests
    that no instance answered: AWS metrics reach Datadog up to 15 minutes late, after the short
    window of a burn rate.
    """

    TOTAL = "total"
    GOOD = "good"
    BAD = "bad"


Signal = Measured | Aws | ObjectiveCount


@dataclass(frozen=True, kw_only=True)
class Formula:
    """An expression over signals: names of signals, numbers, `+ - * /`, parentheses, and
    `zero(NAME)`.

    The formula has no value while one of its signals has none; `zero(NAME)` replaces a missing
    value by 0. A denominator must not be wrapped in `zero`: without requests, a share of requests
    has no value.
    """

    text: str
    signals: Mapping[str, Signal]
    """Signals by their names in `text`."""


def formula(text: str, **signals: Signal) -> Formula:
    return Formula(text=text, signals=signals)


def plain(signal: Signal) -> Formula:
    """Formula of the signal alone."""
    return formula("value", value=signal)


BAD_PERCENT: Final = formula(
    "100 * bad / total", bad=ObjectiveCount.BAD, total=ObjectiveCount.TOTAL
)
