"""Every number that on-call sees or is woken by, as CloudWatch computes it: from what AWS measures by itself, and from the
metrics that both tiers write into their logs in the embedded metric format, whose catalogue is `asciist/telemetry/metrics.py`.
"""

from typing import Final

from aws_cdk import Duration
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_elasticloadbalancingv2 as elbv2
from aws_cdk import aws_sqs as sqs

from asciist.telemetry import metrics
from observability.objective import objective
from stacks.environment import Environment
from stacks.web import WebStack
from stacks.worker import WorkerStack

MINUTE: Final = Duration.minutes(1)
FIVE_MINUTES: Final = Duration.minutes(5)
HOUR: Final = Duration.hours(1)

_NO_FAILURES: Final = ("200", "304", "400")
"""Statuses of answers that may be slow without being a failure: those of conversions and of stored art. A 5xx is bad as it is
(and a slow one must not count twice), a 408 is the client's time, and other 4xx are answered from a request's head. An alarm
computes with ten metrics at most, and each status takes two."""


class Views:
    """The views of one deployment. Alarms and dashboard show the same ones, so that what rings can be seen."""

    def __init__(
        self, *, environment: Environment, web: WebStack, worker: WorkerStack, requests: sqs.IQueue, dead_letters: sqs.IQueue
    ) -> None:
        self._namespace = environment.prefix
        self._slow = f"PR({1000 * objective().slow_after_seconds:g}:)"  # the share above it, in percent
        self.web, self.worker, self.requests, self.dead_letters = web, worker, requests, dead_letters

    def own(
        self, name: str, statistic: str, label: str, *, period: Duration = MINUTE, status: str = "", source: str = ""
    ) -> cloudwatch.Metric:
        """A metric of the catalogue, over all tags or of one value of its tag."""
        tags = {key: value for key, value in (("status", status), ("source", source)) if value}
        if not tags.keys() <= set(metrics.CATALOGUE[name].tags):
            raise ValueError(f"{name} carries no {', '.join(tags)}")
        return cloudwatch.Metric(
            namespace=self._namespace,
            metric_name=name,
            dimensions_map=tags or None,
            statistic=statistic,
            label=label,
            period=period,
        )

    def each(self, name: str, statistic: str, label: str = "") -> cloudwatch.SearchExpression:
        """A metric of the catalogue, a line for each value of its tag. No alarm can watch it."""
        (tag,) = metrics.CATALOGUE[name].tags
        return cloudwatch.SearchExpression(
            expression=f"""SEARCH('{{"{self._namespace}",{tag}}} MetricName="{name}"', '{statistic}')""",
            label=f"${{PROP('Dim.{tag}')}} {label}".strip(),
            period=MINUTE,
        )

    def answered(self, *, period: Duration = MINUTE) -> cloudwatch.Metric:
        """Requests that an instance answered, whatever the answer. Health checks do not count."""
        return self.web.targets.metrics.request_count(period=period, statistic="Sum", label="requests")

    def failed(self, *, period: Duration = MINUTE) -> cloudwatch.Metric:
        """What instances answer with 5xx."""
        of_instances = elbv2.HttpCodeTarget.TARGET_5XX_COUNT
        return self.web.targets.metrics.http_code_target(of_instances, period=period, statistic="Sum", label="5xx")

    def unanswered(self, *, period: Duration = MINUTE) -> cloudwatch.Metric:
        """What the load balancer answers with 5xx because no instance did."""
        in_front = elbv2.HttpCodeElb.ELB_5XX_COUNT
        return self.web.load_balancer.metrics.http_code_elb(
            in_front, period=period, statistic="Sum", label="5xx of the load balancer"
        )

    def bad(self, *, period: Duration) -> cloudwatch.MathExpression:
        """Requests that failed or took too long, each once."""
        slow, terms = {}, []
        for status in _NO_FAILURES:
            for id_, statistic, label in (("slow", self._slow, "slow, %"), ("all", "SampleCount", "all")):
                slow[f"{id_}_{status}"] = self.own(
                    metrics.REQUEST_DURATION, statistic, f"{status}: {label}", period=period, status=status
                )
            terms.append(f"FILL(slow_{status}, 0) / 100 * FILL(all_{status}, 0)")
        return cloudwatch.MathExpression(
            expression=" + ".join(["FILL(failed, 0)", "FILL(unanswered, 0)", *terms]),
            using_metrics={"failed": self.failed(period=period), "unanswered": self.unanswered(period=period), **slow},
            label="bad requests",
            period=period,
        )

    def total(self, *, period: Duration) -> cloudwatch.MathExpression:
        """All requests. Those that waited for an instance in vain count twice: AWS does not tell them from those that found
        none, which it does not count as requests."""
        return cloudwatch.MathExpression(
            expression="FILL(answered, 0) + FILL(unanswered, 0)",
            using_metrics={"answered": self.answered(period=period), "unanswered": self.unanswered(period=period)},
            label="requests",
            period=period,
        )

    def bad_percent(self, *, period: Duration = MINUTE, at_least: int = 1) -> cloudwatch.MathExpression:
        """The share of bad requests in a period; 0 where there are fewer of them than `at_least`."""
        return cloudwatch.MathExpression(
            expression=f"IF(bad >= {at_least}, 100 * bad / total, 0)",
            using_metrics={"bad": self.bad(period=period), "total": self.total(period=period)},
            label="bad requests, %",
            period=period,
        )

    def good_percent_so_far(self) -> cloudwatch.MathExpression:
        """The share of good requests from the beginning of what is shown up to each hour of it."""
        return self._so_far("100 * (1 - RUNNING_SUM(bad) / RUNNING_SUM(total))", "good requests, %")

    def budget_left_so_far(self) -> cloudwatch.MathExpression:
        """What is left of the error budget, likewise; below 0 the objective is missed."""
        budget = f"{(100 - objective().target_percent) / 100:.6g}"
        return self._so_far(f"100 * (1 - RUNNING_SUM(bad) / ({budget} * RUNNING_SUM(total)))", "error budget left, %")

    def _so_far(self, expression: str, label: str) -> cloudwatch.MathExpression:
        return cloudwatch.MathExpression(
            expression=expression,
            using_metrics={"bad": self.bad(period=HOUR), "total": self.total(period=HOUR)},
            label=label,
            period=HOUR,
        )

    def slow_percent(self) -> cloudwatch.Metric:
        """The share of answers that took too long, failures and all."""
        return self.own(metrics.REQUEST_DURATION, self._slow, "slower than promised, %")

    def p99_of_many(self, *, period: Duration, at_least: int) -> cloudwatch.MathExpression:
        """The time that one answer in a hundred takes longer than; 0 where there are fewer answers than `at_least`."""
        return cloudwatch.MathExpression(
            expression=f"IF(FILL(answers, 0) >= {at_least}, p99, 0)",
            using_metrics={
                "answers": self.own(metrics.REQUEST_DURATION, "SampleCount", "answers", period=period),
                "p99": self.own(metrics.REQUEST_DURATION, "p99", "p99", period=period),
            },
            label="p99",
            period=period,
        )

    def served_percent(self, source: str, label: str) -> cloudwatch.MathExpression:
        """The share of art that came from `source`."""
        return cloudwatch.MathExpression(
            expression=f"100 * FILL({source}, 0) / served",
            using_metrics={
                source: self.own(metrics.ART_SERVED, "Sum", label, source=source),
                "served": self.own(metrics.ART_SERVED, "Sum", "all"),
            },
            label=label,
            period=MINUTE,
        )

    def time_per_megapixel(self) -> cloudwatch.MathExpression:
        """Milliseconds of decoding and drawing. A machine that is slow, or an image made to be, shows here."""
        return cloudwatch.MathExpression(
            expression="(FILL(decoding, 0) + FILL(drawing, 0)) / (pixels / 1000000)",
            using_metrics={
                "decoding": self.own(metrics.IMAGE_DECODE_DURATION, "Sum", "decoding"),
                "drawing": self.own(metrics.CONVERSION_DURATION, "Sum", "drawing"),
                "pixels": self.own(metrics.CONVERSION_PIXELS, "Sum", "pixels"),
            },
            label="ms a megapixel",
            period=MINUTE,
        )

    def oldest_request(self) -> cloudwatch.Metric:
        return self.requests.metric_approximate_age_of_oldest_message(period=MINUTE, statistic="Maximum", label="oldest, s")

    def waiting_requests(self) -> cloudwatch.Metric:
        return self.requests.metric_approximate_number_of_messages_visible(period=MINUTE, statistic="Maximum", label="waiting")

    def requests_in_work(self) -> cloudwatch.Metric:
        return self.requests.metric_approximate_number_of_messages_not_visible(
            period=MINUTE, statistic="Maximum", label="in work"
        )

    def letters(self) -> cloudwatch.Metric:
        return self.dead_letters.metric_approximate_number_of_messages_visible(
            period=MINUTE, statistic="Maximum", label="dead letters"
        )

    def healthy_hosts(self) -> cloudwatch.Metric:
        return self.web.targets.metrics.healthy_host_count(period=MINUTE, statistic="Minimum", label="healthy")

    def unhealthy_hosts(self) -> cloudwatch.Metric:
        return self.web.targets.metrics.unhealthy_host_count(period=MINUTE, statistic="Maximum", label="unhealthy")
