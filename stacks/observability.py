"""What on-call sees and is woken by, without Datadog: the alarms of `observability/alarms.py` and a dashboard."""

from typing import Final

from aws_cdk import Duration, Stack
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_cloudwatch_actions as actions
from aws_cdk import aws_iam as iam
from aws_cdk import aws_sns as sns
from aws_cdk import aws_sns_subscriptions as subscriptions
from aws_cdk import aws_sqs as sqs
from constructs import Construct

from asciist.settings import Settings
from observability import alarms as texts
from observability.alarms import AlarmText
from observability.objective import Burn, objective
from stacks.dashboard import add_dashboard
from stacks.environment import Environment
from stacks.views import FIVE_MINUTES, MINUTE, Views
from stacks.web import WebStack
from stacks.worker import WorkerStack

_WORTH_A_NIGHT: Final = 10
"""Bad requests in the long window, of which fewer wake nobody: at night one failure among three requests is 33% and one
person's bad luck. From 700 requests an hour on, the share alone decides."""
_ENOUGH_FOR_A_P99: Final = 100
"""Of fewer answers, the 99th percentile is the slowest one."""


class ObservabilityStack(Stack):
    """A dashboard of the whole path, and an alarm for each way in which users stop being served."""

    def __init__(
        self,
        scope: Construct,
        name: str,
        *,
        environment: Environment,
        settings: Settings,
        requests: sqs.IQueue,
        dead_letters: sqs.IQueue,
        web: WebStack,
        worker: WorkerStack,
    ) -> None:
        super().__init__(scope, name)
        self._environment = environment
        self._on_call = self._topic(environment)
        self._alarms: dict[AlarmText, cloudwatch.AlarmBase] = {}
        views = Views(environment=environment, web=web, worker=worker, requests=requests, dead_letters=dead_letters)
        fast, slow = objective().burns
        self._burns(texts.BUDGET_BURNS_FAST, views, fast)
        self._burns(texts.BUDGET_BURNS, views, slow)
        slow_answers = views.p99_of_many(period=FIVE_MINUTES, at_least=_ENOUGH_FOR_A_P99)
        self._above(texts.SLOW_ANSWERS, slow_answers, 1000 * objective().slow_after_seconds)
        self._above(texts.DEAD_LETTERS, views.letters(), 0)
        self._above(texts.STALE_QUEUE, views.oldest_request(), settings.timeouts.request, periods=3)
        self._above(texts.UNHEALTHY_HOSTS, views.unhealthy_hosts(), 0, periods=5)
        if worker.function:
            self._above(texts.THROTTLES, worker.function.metric_throttles(period=MINUTE), 0, periods=3)
            self._above(texts.CONVERTER_ERRORS, worker.function.metric_errors(period=MINUTE), 0, periods=3)
        if environment.environment == "prod":  # nobody uses dev most of the time
            self._silent(texts.NO_TRAFFIC, views.answered(period=FIVE_MINUTES), periods=3)
        add_dashboard(self, environment=environment, views=views, alarms=self._alarms)

    def _topic(self, environment: Environment) -> sns.Topic:
        topic = sns.Topic(self, "Alarms", display_name=f"{environment.prefix} alarms", enforce_ssl=True)
        topic.add_to_resource_policy(
            iam.PolicyStatement(
                actions=["sns:Publish"],
                principals=[iam.ServicePrincipal("cloudwatch.amazonaws.com")],
                resources=[topic.topic_arn],
                conditions={"StringEquals": {"aws:SourceAccount": self.account}},
            )
        )
        if environment.alarm_email:
            topic.add_subscription(subscriptions.EmailSubscription(environment.alarm_email))
        return topic

    def _burns(self, text: AlarmText, views: Views, burn: Burn) -> None:
        """Rings when the error budget is spent too fast over the long window and still over the short one. All metrics of an
        alarm have one period, so that each window is an alarm of its own, which is a part and tells nobody."""
        parts = [
            self._alarm(
                text,
                views.bad_percent(period=Duration.minutes(minutes), at_least=at_least),
                threshold=objective().bad_percent(burn),
                part=f"part: over {minutes} minutes",
            )
            for minutes, at_least in ((burn.long_minutes, _WORTH_A_NIGHT), (burn.short_minutes, 1))
        ]
        both = cloudwatch.CompositeAlarm(
            self,
            _identifier(text.title),
            composite_alarm_name=self._name(text),
            alarm_description=text.description(self._environment.runbook),
            alarm_rule=cloudwatch.AlarmRule.all_of(
                *(cloudwatch.AlarmRule.from_alarm(part, cloudwatch.AlarmState.ALARM) for part in parts)
            ),
        )
        self._announce(text, both)

    def _above(self, text: AlarmText, metric: cloudwatch.IMetric, threshold: float, *, periods: int = 1) -> None:
        """Rings when the metric stays above its threshold; silence is no alarm, since idle queues and groups are silent."""
        self._announce(text, self._alarm(text, metric, threshold, periods=periods))

    def _silent(self, text: AlarmText, metric: cloudwatch.IMetric, *, periods: int) -> None:
        """Rings when there is nothing. A load balancer without requests reports no zero, it reports nothing; its health checks
        are no requests, so that they do not hide that nobody comes."""
        alarm = self._alarm(
            text,
            metric,
            1,
            periods=periods,
            comparison=cloudwatch.ComparisonOperator.LESS_THAN_THRESHOLD,
            missing=cloudwatch.TreatMissingData.BREACHING,
        )
        self._announce(text, alarm)

    def _alarm(
        self,
        text: AlarmText,
        metric: cloudwatch.IMetric,
        threshold: float,
        *,
        periods: int = 1,
        comparison: cloudwatch.ComparisonOperator = cloudwatch.ComparisonOperator.GREATER_THAN_THRESHOLD,
        missing: cloudwatch.TreatMissingData = cloudwatch.TreatMissingData.NOT_BREACHING,
        part: str = "",
    ) -> cloudwatch.Alarm:
        return cloudwatch.Alarm(
            self,
            _identifier(f"{text.title} {part}"),
            alarm_name=self._name(text) + (f" ({part})" if part else ""),
            alarm_description=text.description(self._environment.runbook),
            metric=metric,
            threshold=threshold,
            evaluation_periods=periods,
            comparison_operator=comparison,
            treat_missing_data=missing,
        )

    def _announce(self, text: AlarmText, alarm: cloudwatch.AlarmBase) -> None:
        alarm.add_alarm_action(actions.SnsAction(self._on_call))
        alarm.add_ok_action(actions.SnsAction(self._on_call))
        self._alarms[text] = alarm

    def _name(self, text: AlarmText) -> str:
        return f"{self._environment.prefix}: {text.title}"


def _identifier(text: str) -> str:
    """In CamelCase, as constructs are named."""
    return "".join(word.capitalize() for word in text.replace(":", "").split())
