"""The CloudWatch alarms of `observability/alarms.py`, their topic, and the dashboard."""

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
from observability.alarms import ALARMS, Alarm, Silence, Window
from stacks.dashboard import add_dashboard
from stacks.environment import Environment
from stacks.views import Views
from stacks.web import WebStack
from stacks.worker import WorkerStack

_COMPARISONS: Final = {
    ">": cloudwatch.ComparisonOperator.GREATER_THAN_THRESHOLD,
    "<": cloudwatch.ComparisonOperator.LESS_THAN_THRESHOLD,
}
_MISSING_DATA: Final = {
    Silence.IS_HEALTHY: cloudwatch.TreatMissingData.NOT_BREACHING,
    Silence.FIRES: cloudwatch.TreatMissingData.BREACHING,
    Silence.KEEPS_STATE: cloudwatch.TreatMissingData.IGNORE,
}


class ObservabilityStack(Stack):
    """The alarms that apply to a deployment, and its dashboard."""

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
        self._environment, self._request_timeout = environment, settings.timeouts.request
        self._views = Views(environment=environment, web=web, worker=worker, requests=requests, dead_letters=dead_letters)
        on_call = actions.SnsAction(self._topic(environment))
        alarms: dict[Alarm, cloudwatch.AlarmBase] = {}
        for alarm in ALARMS:
            if alarm.applies_to(worker=environment.worker, expects_traffic=environment.expects_traffic):
                alarms[alarm] = self._alarm(alarm)
                alarms[alarm].add_alarm_action(on_call)
                alarms[alarm].add_ok_action(on_call)
        add_dashboard(self, environment=environment, views=self._views, alarms=alarms)

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

    def _alarm(self, alarm: Alarm) -> cloudwatch.AlarmBase:
        """An alarm over one window, or a composite of one alarm for each window.

        All metrics of a CloudWatch alarm have the same period, so each window needs an alarm of its own. These parts notify
        nobody. The minimum number of events applies to the first window.
        """
        if len(alarm.windows) == 1:
            return self._metric_alarm(alarm, alarm.windows[0])
        parts = [self._metric_alarm(alarm, window, part=f"over {window.minutes} minutes") for window in alarm.windows]
        return cloudwatch.CompositeAlarm(
            self,
            _identifier(alarm.title),
            composite_alarm_name=self._name(alarm),
            alarm_description=alarm.description(self._environment.runbook),
            alarm_rule=cloudwatch.AlarmRule.all_of(
                *(cloudwatch.AlarmRule.from_alarm(part, cloudwatch.AlarmState.ALARM) for part in parts)
            ),
        )

    def _metric_alarm(self, alarm: Alarm, window: Window, *, part: str = "") -> cloudwatch.Alarm:
        return cloudwatch.Alarm(
            self,
            _identifier(f"{alarm.title} {part}"),
            alarm_name=self._name(alarm) + (f" (part: {part})" if part else ""),
            alarm_description=alarm.description(self._environment.runbook),
            metric=self._metric(alarm, window),
            threshold=alarm.threshold_for(request_timeout=self._request_timeout),
            evaluation_periods=window.periods,
            datapoints_to_alarm=window.breaching,
            comparison_operator=_COMPARISONS[alarm.comparison],
            treat_missing_data=_MISSING_DATA[alarm.silence],
        )

    def _metric(self, alarm: Alarm, window: Window) -> cloudwatch.IMetric:
        period = Duration.minutes(window.period_minutes)
        value = self._views.formula(alarm.signal, period=period)
        if not alarm.minimum or window is not alarm.windows[0]:
            return value
        return cloudwatch.MathExpression(
            # With too few events the value is 0; a missing value stays missing.
            expression=f"IF(events >= {alarm.minimum.events}, value, 0 * value)",
            using_metrics={"value": value, "events": self._views.signal(alarm.minimum.of, period=period)},
            label=alarm.title,
            period=period,
        )

    def _name(self, alarm: Alarm) -> str:
        return f"{self._environment.prefix}: {alarm.title}"


def _identifier(text: str) -> str:
    """`text` in CamelCase, for the id of a construct."""
    return "".join(word.capitalize() for word in text.replace(":", "").split())
