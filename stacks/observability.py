"""What on-call sees and is woken by."""

from aws_cdk import Duration, Stack
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_cloudwatch_actions as actions
from aws_cdk import aws_elasticloadbalancingv2 as elbv2
from aws_cdk import aws_iam as iam
from aws_cdk import aws_sns as sns
from aws_cdk import aws_sns_subscriptions as subscriptions
from aws_cdk import aws_sqs as sqs
from constructs import Construct

from asciist.settings import Settings
from stacks.environment import Environment
from stacks.web import WebStack
from stacks.worker import WorkerStack

_MINUTE = Duration.minutes(1)


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
        self._prefix = environment.prefix
        self.alarms = sns.Topic(self, "Alarms", display_name=f"{environment.prefix} alarms", enforce_ssl=True)
        self.alarms.add_to_resource_policy(
            iam.PolicyStatement(
                actions=["sns:Publish"],
                principals=[iam.ServicePrincipal("cloudwatch.amazonaws.com")],
                resources=[self.alarms.topic_arn],
                conditions={"StringEquals": {"aws:SourceAccount": self.account}},
            )
        )
        if environment.alarm_email:
            self.alarms.add_subscription(subscriptions.EmailSubscription(environment.alarm_email))

        answered, failed = _answers(web), _failures(web)
        age = requests.metric_approximate_age_of_oldest_message(period=_MINUTE, statistic="Maximum")
        letters = dead_letters.metric_approximate_number_of_messages_visible(period=_MINUTE, statistic="Maximum")
        unhealthy = web.targets.metrics.unhealthy_host_count(period=_MINUTE, statistic="Maximum")
        latency = web.targets.metrics.target_response_time(period=_MINUTE, statistic="p99")
        failure_rate = cloudwatch.MathExpression(
            # In a quiet minute one failure would be a percentage that says nothing.
            expression="IF(answered > 20, 100 * failed / answered, 0)",
            using_metrics={"answered": answered, "failed": failed},
            label="5xx, % of requests",
            period=_MINUTE,
        )
        self._alarm("dead-letters", letters, 0, 1, "Requests were given up after five deliveries: read one, then redrive.")
        self._alarm("requests-wait-past-their-deadline", age, settings.timeouts.request, 3, "No worker takes requests in time.")
        self._alarm("users-get-5xx", failure_rate, 5, 3, "More than 5% of answers are our fault.")
        self._alarm("web-instances-unhealthy", unhealthy, 0, 5, "A web instance does not answer /readyz.")
        widgets = [
            _graph("Answers", [answered, failed]),
            _graph("Failures", [failure_rate]),
            _graph("Time to answer, p99", [latency]),
            _graph("Oldest request", [age]),
            _graph("Dead letters", [letters]),
            _graph("Unhealthy web instances", [unhealthy]),
        ]
        if worker.function:
            errors = worker.function.metric_errors(period=_MINUTE)
            throttles = worker.function.metric_throttles(period=_MINUTE)
            self._alarm("converter-errors", errors, 0, 3, "The function itself fails: see its log.")
            self._alarm(
                "converter-throttled", throttles, 0, 3, "Lambda refuses invocations: the account's concurrency is used up."
            )
            widgets += [
                _graph("Converter errors and throttles", [errors, throttles]),
                _graph("Converter duration, p99", [worker.function.metric_duration(period=_MINUTE, statistic="p99")]),
            ]
        dashboard = cloudwatch.Dashboard(self, "Dashboard", dashboard_name=environment.prefix)
        for start in range(0, len(widgets), 3):
            dashboard.add_widgets(*widgets[start : start + 3])

    def _alarm(self, name: str, metric: cloudwatch.IMetric, threshold: float, minutes: int, description: str) -> None:
        """Fires when the metric stays above its threshold; silence is no alarm, since idle queues and groups are silent."""
        alarm = cloudwatch.Alarm(
            self,
            "".join(word.capitalize() for word in name.split("-")),
            alarm_name=f"{self._prefix}-{name}",
            alarm_description=description,
            metric=metric,
            threshold=threshold,
            evaluation_periods=minutes,
            comparison_operator=cloudwatch.ComparisonOperator.GREATER_THAN_THRESHOLD,
            treat_missing_data=cloudwatch.TreatMissingData.NOT_BREACHING,
        )
        alarm.add_alarm_action(actions.SnsAction(self.alarms))
        alarm.add_ok_action(actions.SnsAction(self.alarms))


def _answers(web: WebStack) -> cloudwatch.Metric:
    """Requests that reached an instance and were answered, whatever the answer."""
    return web.targets.metrics.request_count(period=_MINUTE, statistic="Sum", label="requests")


def _failures(web: WebStack) -> cloudwatch.MathExpression:
    """What the instances answer, and what the load balancer answers when no instance does."""
    return cloudwatch.MathExpression(
        expression="FILL(ours, 0) + FILL(in_front, 0)",
        using_metrics={
            "ours": web.targets.metrics.http_code_target(
                elbv2.HttpCodeTarget.TARGET_5XX_COUNT, period=_MINUTE, statistic="Sum"
            ),
            "in_front": web.load_balancer.metrics.http_code_elb(
                elbv2.HttpCodeElb.ELB_5XX_COUNT, period=_MINUTE, statistic="Sum"
            ),
        },
        label="5xx",
        period=_MINUTE,
    )


def _graph(title: str, metrics: list[cloudwatch.IMetric]) -> cloudwatch.GraphWidget:
    return cloudwatch.GraphWidget(title=title, left=metrics, width=8, left_y_axis=cloudwatch.YAxisProps(min=0))
