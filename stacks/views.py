"""Renders vendor-neutral signals and formulas as CloudWatch metrics.

The values come from AWS itself, and from metrics logged by both tiers in the embedded metric
format.
"""

import re
from dataclasses import replace
from typing import Final

from aws_cdk import Duration
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_sqs as sqs

from asciist.telemetry import metrics
from operations.observability.objective import OBJECTIVE
from operations.observability.signals import (
    Aws,
    Formula,
    Measured,
    ObjectiveCount,
    Signal,
    Statistic,
)
from stacks.environment import Environment
from stacks.instances import InstanceGroup
from stacks.probe import Probe
from stacks.web import WebStack
from stacks.worker import WorkerStack

MINUTE: Final = Duration.minutes(1)
HOUR: Final = Duration.hours(1)

# A 5xx is bad anyway and must not count twice, a 408 takes the client's time, and other 4xx need
# only the request's headers. An alarm computes with at most ten metrics, and each status takes two.
_STATUSES_OF_SLOW_ANSWERS: Final = ("200", "304", "400")
"""Statuses whose slow answers count as bad: those of conversions and of stored art."""

_STATISTICS: Final[dict[Statistic, str]] = {
    "sum": "Sum",
    "count": "SampleCount",
    "average": "Average",
    "minimum": "Minimum",
    "maximum": "Maximum",
}


class Views:
    """CloudWatch metrics of one deployment, for its alarms and its dashboard."""

    def __init__(
        self,
        *,
        environment: Environment,
        web: WebStack,
        worker: WorkerStack,
        requests: sqs.IQueue,
        dead_letters: sqs.IQueue,
        probe: Probe,
    ) -> None:
        self._namespace, self._certificate, self._probe = (
            environment.prefix,
            environment.certificate,
            probe,
        )
        self._web, self._worker, self._requests, self._dead_letters = (
            web,
            worker,
            requests,
            dead_letters,
        )

    def formula(
        self, formula: Formula, *, label: str = "", period: Duration = MINUTE
    ) -> cloudwatch.IMetric:
        """The formula's value in each period; missing where a signal outside `zero(…)` is
        missing."""
        if formula.text in formula.signals:
            return self.signal(formula.signals[formula.text], label=label, period=period)
        return cloudwatch.MathExpression(
            expression=re.sub(r"zero\((\w+)\)", r"FILL(\1, 0)", formula.text),
            using_metrics={
                name: self.signal(signal, period=period) for name, signal in formula.signals.items()
            },
            label=label,
            period=period,
        )

    def formula_so_far(self, formula: Formula, *, label: str) -> cloudwatch.IMetric:
        """A formula over the running totals of good requests and of all requests, from the start of
        the displayed time to each hour.

        There is no value before the first request.
        """
        names = {signal: name for name, signal in formula.signals.items()}
        good, total = ObjectiveCount.GOOD, ObjectiveCount.TOTAL
        # Both counts below are 0 where there are no requests, so nothing is missing.
        running = re.sub(r"zero\((\w+)\)", r"\1", formula.text)
        running = re.sub(rf"\b({'|'.join(names.values())})\b", r"RUNNING_SUM(\1)", running)
        return cloudwatch.MathExpression(
            expression=f"IF(RUNNING_SUM({names[total]}) > 0, {running})",
            using_metrics={names[good]: self._good(HOUR), names[total]: self._all_requests(HOUR)},
            label=label,
            period=HOUR,
        )

    def signal(
        self, signal: Signal, *, label: str = "", period: Duration = MINUTE
    ) -> cloudwatch.IMetric:
        match signal:
            case Measured(by=""):
                return cloudwatch.Metric(
                    namespace=self._namespace,
                    metric_name=signal.metric,
                    dimensions_map=dict([signal.where]) if signal.where else None,
                    statistic=_statistic(signal),
                    label=label or signal.metric,
                    period=period,
                )
            case Measured():
                return self._split(signal, label, period)
            case Aws():
                return self._aws(signal).with_(
                    statistic=_statistic(signal), label=label or signal.metric, period=period
                )
            case ObjectiveCount.GOOD:
                return self._good(period)
            case ObjectiveCount.BAD:
                return self._bad(period)
            case ObjectiveCount.TOTAL:
                return self._total(period)

    def _split(self, signal: Measured, label: str, period: Duration) -> cloudwatch.SearchExpression:
        """A search with one line for each value of the signal's tag. No alarm can watch it."""
        found = f'{{"{self._namespace}",{signal.by}}} MetricName="{signal.metric}"'
        search = f"SEARCH('{found}', '{_statistic(signal)}')"
        return cloudwatch.SearchExpression(
            expression=search, label=f"${{PROP('Dim.{signal.by}')}} {label}".strip(), period=period
        )

    def _aws(self, signal: Aws) -> cloudwatch.Metric:
        match signal.resource:
            case "request_queue":
                return self._requests.metric(signal.metric)
            case "dead_letter_queue":
                return self._dead_letters.metric(signal.metric)
            case "load_balancer":
                return self._web.load_balancer.metrics.custom(signal.metric)
            case "web_targets":
                return self._web.target_metric(signal.metric)
            case "web_instances":
                return _of_group(self._web.instances, signal.metric)
            case "pollers" if self._worker.instances:
                return _of_group(self._worker.instances, signal.metric)
            case "converter" if self._worker.function_name:
                return _of_function(self._worker.function_name, signal.metric)
            case "probe":
                return _of_function(self._probe.function_name, signal.metric)
            case "certificate" if self._certificate:
                return cloudwatch.Metric(
                    namespace="AWS/CertificateManager",
                    metric_name=signal.metric,
                    dimensions_map={"CertificateArn": self._certificate},
                )
        raise ValueError(f"this deployment has no {signal.resource}")

    def _bad(self, period: Duration) -> cloudwatch.MathExpression:
        """Requests that failed or took too long, each counted once; 0 without any."""
        slow: dict[str, cloudwatch.IMetric] = {}
        terms = ["FILL(failed, 0)", "FILL(unanswered, 0)"]
        for status in _STATUSES_OF_SLOW_ANSWERS:
            every = Measured(
                metric=metrics.REQUEST_DURATION, statistic="count", where=("status", status)
            )
            share = replace(every, statistic="percent_above", above=OBJECTIVE.slow_after_ms)
            slow[f"slow_{status}"] = self.signal(share, label=f"{status}: slow, %", period=period)
            slow[f"all_{status}"] = self.signal(every, label=f"{status}: all", period=period)
            terms.append(f"FILL(slow_{status}, 0) / 100 * FILL(all_{status}, 0)")
        failed = Aws(resource="web_targets", metric="HTTPCode_Target_5XX_Count", statistic="sum")
        return cloudwatch.MathExpression(
            expression=" + ".join(terms),
            using_metrics={
                "failed": self.signal(failed, label="5xx", period=period),
                "unanswered": self._unanswered(period),
                **slow,
            },
            label="bad requests",
            period=period,
        )

    def _good(self, period: Duration) -> cloudwatch.MathExpression:
        """Requests that are not bad; 0 without any."""
        return cloudwatch.MathExpression(
            expression="all_requests - bad",
            using_metrics={"all_requests": self._all_requests(period), "bad": self._bad(period)},
            label="good requests",
            period=period,
        )

    def _total(self, period: Duration) -> cloudwatch.MathExpression:
        """All requests; missing without any, so that a share of them is missing too."""
        return cloudwatch.MathExpression(
            expression="IF(all_requests > 0, all_requests)",
            using_metrics={"all_requests": self._all_requests(period)},
            label="requests",
            period=period,
        )

    def _all_requests(self, period: Duration) -> cloudwatch.MathExpression:
        """All requests; 0 without any.

        RequestCount includes requests that an instance failed to answer, but not requests without
        an instance. The load balancer's 5xx include both, so the former count twice.
        """
        answered = Aws(resource="web_targets", metric="RequestCount", statistic="sum")
        return cloudwatch.MathExpression(
            expression="FILL(answered, 0) + FILL(unanswered, 0)",
            using_metrics={
                "answered": self.signal(answered, label="requests", period=period),
                "unanswered": self._unanswered(period),
            },
            label="requests",
            period=period,
        )

    def _unanswered(self, period: Duration) -> cloudwatch.IMetric:
        """Requests that the load balancer answers with a 5xx because no instance did."""
        unanswered = Aws(resource="load_balancer", metric="HTTPCode_ELB_5XX_Count", statistic="sum")
        return self.signal(unanswered, label="5xx of the load balancer", period=period)


def _statistic(signal: Measured | Aws) -> str:
    """CloudWatch's name of the signal's statistic; percentiles have the same name."""
    if signal.statistic == "percent_above" and isinstance(signal, Measured):
        return f"PR({signal.above:g}:)"  # percentile rank: the share of values from there on
    return _STATISTICS.get(signal.statistic, signal.statistic)


def _of_function(name: str, metric: str) -> cloudwatch.Metric:
    return cloudwatch.Metric(
        namespace="AWS/Lambda", metric_name=metric, dimensions_map={"FunctionName": name}
    )


def _of_group(group: InstanceGroup, metric: str) -> cloudwatch.Metric:
    """A metric of an auto-scaling group, or one reported by the CloudWatch agent for its
    instances."""
    match metric:
        case "mem_used_percent":
            return group.memory_used()
        case "disk_used_percent":
            return group.disk_used()
    return cloudwatch.Metric(
        namespace="AWS/AutoScaling",
        metric_name=metric,
        dimensions_map={"AutoScalingGroupName": group.name},
    )
