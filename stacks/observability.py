"""The CloudWatch alarms of `operations/observability/alarms.py`, their topics, the probe, the
budget and the dashboard."""

from typing import Final

from aws_cdk import Duration, Stack
from aws_cdk import aws_budgets as budgets
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_cloudwatch_actions as actions
from aws_cdk import aws_iam as iam
from aws_cdk import aws_sns as sns
from aws_cdk import aws_sns_subscriptions as subscriptions
from aws_cdk import aws_sqs as sqs
from constructs import Construct

from asciist.settings import Settings
from operations.observability.alarms import ALARMS, Alarm, Silence, Urgency, Window
from stacks.dashboard import add_dashboard
from stacks.environment import Environment
from stacks.limits import alarm_limits
from stacks.probe import Probe
from stacks.views import Views
from stacks.web import WebStack
from stacks.worker import WorkerStack

_COMPARISONS: Final = {
    ">": cloudwatch.ComparisonOperator.GREATER_THAN_THRESHOLD,
    ">=": cloudwatch.ComparisonOperator.GREATER_THAN_OR_EQUAL_TO_THRESHOLD,
    "<": cloudwatch.ComparisonOperator.LESS_THAN_THRESHOLD,
}
_MISSING_DATA: Final = {
    Silence.IS_HEALTHY: cloudwatch.TreatMissingData.NOT_BREACHING,
    Silence.FIRES: cloudwatch.TreatMissingData.BREACHING,
    Silence.KEEPS_STATE: cloudwatch.TreatMissingData.IGNORE,
}


class ObservabilityStack(Stack):
    """Alarms of a deployment, the probe that converts an image every minute, and the dashboard."""

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
        self._environment, self._limits = environment, alarm_limits(environment, settings)
        probe = Probe(self, "Probe", environment=environment, url=web.url)
        self._views = Views(
            environment=environment,
            web=web,
            worker=worker,
            requests=requests,
            dead_letters=dead_letters,
            probe=probe,
        )
        topics = {
            Urgency.PAGE: self._topic("Alarms", environment.alarm_email),
            Urgency.TICKET: self._topic(
                "Tickets", environment.ticket_email or environment.alarm_email
            ),
        }
        alarms: dict[Alarm, cloudwatch.AlarmBase] = {}
        for alarm in ALARMS:
            if alarm.applies_to(worker=environment.worker, has_domain=bool(environment.domain)):
                told = actions.SnsAction(topics[alarm.urgency])
                alarms[alarm] = self._alarm(alarm)
                alarms[alarm].add_alarm_action(told)
                alarms[alarm].add_ok_action(told)  # a person who was paged hears of the end
        if environment.sizes.monthly_budget:
            self._budget(environment, topics[Urgency.TICKET])
        add_dashboard(self, environment=environment, views=self._views, alarms=alarms)

    def _topic(self, name: str, email: str) -> sns.Topic:
        """Create a topic for alarms and budgets of this account, with its subscriber if there is
        one."""
        topic = sns.Topic(
            self, name, display_name=f"{self._environment.prefix} {name.lower()}", enforce_ssl=True
        )
        for service in ("cloudwatch", "budgets"):
            topic.add_to_resource_policy(
                iam.PolicyStatement(
                    actions=["sns:Publish"],
                    principals=[iam.ServicePrincipal(f"{service}.amazonaws.com")],
                    resources=[topic.topic_arn],
                    # Without it, alarms of any account could publish here.
                    conditions={"StringEquals": {"aws:SourceAccount": self.account}},
                )
            )
        if email:
            topic.add_subscription(subscriptions.EmailSubscription(email))
        return topic

    def _budget(self, environment: Environment, topic: sns.Topic) -> None:
        """Create the budget of the deployment, identified by the tags of its resources.

        It counts nothing until the tags `service` and `environment` are activated as cost
        allocation tags, once per account.
        """
        budget = budgets.CfnBudget
        subscriber = budget.SubscriberProperty(address=topic.topic_arn, subscription_type="SNS")
        budgets.CfnBudget(
            self,
            "Budget",
            budget=budget.BudgetDataProperty(
                budget_type="COST",
                time_unit="MONTHLY",
                budget_limit=budget.SpendProperty(
                    amount=environment.sizes.monthly_budget, unit="USD"
                ),
                cost_filters={
                    "TagKeyValue": [  # in AWS's format, user:KEY$VALUE
                        "user:service$asciist",
                        f"user:environment${environment.environment}",
                    ]
                },
            ),
            notifications_with_subscribers=[
                budget.NotificationWithSubscribersProperty(
                    notification=budget.NotificationProperty(
                        comparison_operator="GREATER_THAN",
                        notification_type=kind,
                        threshold=100,
                        threshold_type="PERCENTAGE",
                    ),
                    subscribers=[subscriber],
                )
                for kind in ("ACTUAL", "FORECASTED")
            ],
        )

    def _alarm(self, alarm: Alarm) -> cloudwatch.AlarmBase:
        """An alarm over one window, or a composite of one alarm for each window.

        All metrics of a CloudWatch alarm share one period, so each window needs its own alarm.
        These parts notify nobody. The minimum number of events applies to the first window.
        """
        if len(alarm.windows) == 1:
            return self._metric_alarm(alarm, alarm.windows[0])
        parts = [
            self._metric_alarm(alarm, window, part=f"over {window.minutes} minutes")
            for window in alarm.windows
        ]
        return cloudwatch.CompositeAlarm(
            self,
            _identifier(alarm.title),
            composite_alarm_name=self._name(alarm),
            alarm_description=alarm.description(self._environment.runbook),
            alarm_rule=cloudwatch.AlarmRule.all_of(
                *(
                    cloudwatch.AlarmRule.from_alarm(part, cloudwatch.AlarmState.ALARM)
                    for part in parts
                )
            ),
        )

    def _metric_alarm(self, alarm: Alarm, window: Window, *, part: str = "") -> cloudwatch.Alarm:
        return cloudwatch.Alarm(
            self,
            _identifier(f"{alarm.title} {part}"),
            alarm_name=self._name(alarm) + (f" (part: {part})" if part else ""),
            alarm_description=alarm.description(self._environment.runbook),
            metric=self._metric(alarm, window),
            threshold=alarm.threshold_for(self._limits),
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
            using_metrics={
                "value": value,
                "events": self._views.signal(alarm.minimum.of, period=period),
            },
            label=alarm.title,
            period=period,
        )

    def _name(self, alarm: Alarm) -> str:
        return f"{self._environment.prefix}: {alarm.title}"


def _identifier(text: str) -> str:
    """`text` in CamelCase, for the id of a construct."""
    return "".join(word.capitalize() for word in text.replace(":", "").split())
