"""Determines which alarms would fire, from the metrics of a `Receiver` and values of AWS observed
elsewhere.

An alarm watches minutes, but a fault in a test lasts for seconds. The rules are therefore evaluated
as if the fault continued at the same pace for the longest window: sums and counts are scaled to the
length of each period; averages, percentiles, extremes and shares stay the same; and all periods of
a window are alike. A single event, such as a kill, is not scaled: each period contains exactly the
observed values.
"""

import operator
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from asciist.telemetry import metrics
from operations.dashboard.dogstatsd import Receiver, Summary, Tags
from operations.dashboard.evaluation import calculate
from operations.observability.alarms import ALARMS, Alarm, Limit, Silence
from operations.observability.objective import OBJECTIVE
from operations.observability.queries import parse_formula
from operations.observability.signals import (
    Aws,
    Formula,
    Measured,
    ObjectiveCount,
    Resource,
    Signal,
    Statistic,
)

_COMPARISONS: Final = {">": operator.gt, ">=": operator.ge, "<": operator.lt}


@dataclass(frozen=True, kw_only=True)
class Observation:
    """Values measured during a fault or an event."""

    receiver: Receiver
    buckets: range
    """Numbers of the receiver's buckets that contain the values."""
    seconds: float | None
    """Duration of the observation, if the fault continues; None for a single event."""
    aws: Mapping[tuple[Resource, str], float]
    """Values of AWS by resource and CloudWatch's name of the metric: the sum or the extreme, as
    watched by the alarms."""

    def firing(
        self, limits: Mapping[Limit, float], *, alarms: Iterable[Alarm] = ALARMS
    ) -> list[Alarm]:
        """Return the alarms that fire, in their order, without alarms on unobserved metrics of AWS.

        Raises KeyError if `limits` lacks the threshold of an alarm.
        """
        return [
            alarm
            for alarm in alarms
            if all(
                not isinstance(signal, Aws) or (signal.resource, signal.metric) in self.aws
                for signal in _signals(alarm)
            )
            and self._fires(alarm, alarm.threshold_for(limits))
        ]

    def _fires(self, alarm: Alarm, threshold: float) -> bool:
        if alarm.minimum:
            events = self._value(alarm.minimum.of, alarm.windows[0].period_minutes)
            if events is None or events < alarm.minimum.events:
                return False
        for window in alarm.windows:
            value = self._calculated(alarm.signal, window.period_minutes)
            # One window without data decides, whatever the others say.
            if value is None:
                return alarm.silence is Silence.FIRES
            if not _COMPARISONS[alarm.comparison](value, threshold):
                return False
        return True

    def _calculated(self, formula: Formula, minutes: float) -> float | None:
        values = {name: self._value(signal, minutes) for name, signal in formula.signals.items()}
        # `calculate` works on the points of a chart: one bucket, NaN where there is no value.
        points = {
            name: np.array([np.nan if value is None else value]) for name, value in values.items()
        }
        (result,) = calculate(
            parse_formula(re.sub(r"\bzero\(", "default_zero(", formula.text)), points, 1
        )
        return result

    def _value(self, signal: Signal, minutes: float) -> float | None:
        """Return a signal's value for a period of `minutes`; None without a value."""
        value = self._observed(signal)
        is_scaled = isinstance(signal, ObjectiveCount) or signal.statistic in ("sum", "count")
        return (
            value * 60 * minutes / self.seconds
            if value is not None and is_scaled and self.seconds
            else value
        )

    def _observed(self, signal: Signal) -> float | None:
        match signal:
            case Aws():
                return self.aws[signal.resource, signal.metric]
            case ObjectiveCount():
                return self._objective_count(signal)
            case Measured(where=where):
                return _statistic(
                    self._summary(signal.metric, lambda tags: where is None or where in tags),
                    signal.statistic,
                )

    def _objective_count(self, counted: ObjectiveCount) -> float | None:
        """Return a number of requests as counted by Datadog, from the durations measured by the web
        tier."""
        failed = self._summary(metrics.REQUEST_DURATION, _is_failure)
        others = self._summary(metrics.REQUEST_DURATION, lambda tags: not _is_failure(tags))
        total, bad = (
            float(failed.count + others.count),
            float(failed.count) + others.count_above(OBJECTIVE.slow_after_ms),
        )
        if total == 0:
            return None
        return {
            ObjectiveCount.TOTAL: total,
            ObjectiveCount.BAD: bad,
            ObjectiveCount.GOOD: total - bad,
        }[counted]

    def _summary(self, metric: str, chosen: Callable[[Tags], bool]) -> Summary:
        """Return the values of a metric with the chosen tags; possibly none."""
        merged = Summary()
        for summaries in self.receiver.read(
            metric, self.buckets, lambda tags: chosen(tags) or None
        ).values():
            for summary in summaries.values():
                merged.merge(summary)
        return merged


def _signals(alarm: Alarm) -> list[Signal]:
    return [*alarm.signal.signals.values(), *([alarm.minimum.of] if alarm.minimum else [])]


def _is_failure(tags: Tags) -> bool:
    return any(key == "status" and value.startswith("5") for key, value in tags)


def _statistic(summary: Summary, statistic: Statistic) -> float | None:
    """Return a statistic of values; None without values. Raises ValueError for a statistic that no
    alarm uses."""
    if not summary.count:
        return None
    match statistic:
        case "sum":
            return float(summary.sum)
        case "count":
            return float(summary.count)
        case "average":
            return float(summary.avg)
        case "minimum":
            return summary.min
        case "maximum":
            return summary.max
        case "percent_above":
            raise ValueError("no alarm watches a share of values")
        case percentile:
            return summary.percentile(float(percentile[1:]))
