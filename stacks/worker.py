"""The worker stack: a Lambda function that SQS invokes, or a group of instances that poll the
queue."""

from pathlib import Path

from aws_cdk import Duration, Stack
from aws_cdk import aws_autoscaling as autoscaling
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_codedeploy as codedeploy
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_s3 as s3
from aws_cdk import aws_sqs as sqs
from constructs import Construct

from asciist.settings import Settings
from asciist.telemetry import metrics
from stacks.datadog import add_extension
from stacks.environment import Environment
from stacks.instances import InstanceGroup, Unit
from stacks.logs import log_group
from stacks.network import NetworkStack
from stacks.permissions import canary_role, function_role, grant_worker
from stacks.web import aws_variables

# a third of a second of work for a core that converts 30 images a second
_BACKLOG_PER_INSTANCE = 10
"""Messages in the queue per poller above which another poller is started."""

_AGE_SECONDS = 3  # a message that waits for 10 seconds is too late
"""Age of the oldest message above which another instance is started."""
_ALIAS = "live"
_FAILURES_OF_CANARY = 2  # a brief fault of S3 may cause one or two
"""Failures in a minute above which a new version of the function is withdrawn."""


class WorkerStack(Stack):
    """The worker tier: consumes requests, converts images, stores the art and replies to web
    processes."""

    function_name = ""
    """Name of the function; empty without one. It is fixed, so that alarms can refer to it."""
    instances: InstanceGroup | None = None

    def __init__(
        self,
        scope: Construct,
        name: str,
        *,
        environment: Environment,
        settings: Settings,
        artifacts: s3.IBucket,
        requests: sqs.IQueue,
        network: NetworkStack,
        bundle: Path,
    ) -> None:
        """`bundle` is the function bundle if `environment.worker` is "lambda", else the release for
        instances."""
        super().__init__(scope, name)
        variables = aws_variables(
            environment, settings, tier="worker", artifacts=artifacts, requests=requests
        )
        if environment.worker == "lambda":
            self.function_name = f"{environment.prefix}-converter"
            function = self._function(
                environment, settings, bundle, variables=variables, network=network
            )
            add_extension(function, environment)
            # An SqsEventSource would do the same, and also grant the function what `grant_worker`
            # does not.
            self._alias(environment, function).add_event_source_mapping(
                "Requests",
                event_source_arn=requests.queue_arn,
                # a client waits for each message, and a batch is converted one message after
                # another
                batch_size=1,
                max_concurrency=environment.sizes.worker_max_concurrency,
                report_batch_item_failures=True,
            )
            role: iam.IGrantable = function
        else:
            unit = Unit(name="asciist-poller", release=bundle, variables=variables)
            self.instances = self._pollers(environment, unit, requests, network=network)
            role = self.instances.role
        grant_worker(role, artifacts=artifacts, requests=requests, environment=environment)

    def _function(
        self,
        environment: Environment,
        settings: Settings,
        bundle: Path,
        *,
        variables: dict[str, str],
        network: NetworkStack,
    ) -> lambda_.Function:
        """Create the function, in the VPC because callbacks go to addresses inside it."""
        arm = environment.architecture == "arm64"
        log = log_group(self, "Log", environment)
        return lambda_.Function(
            self,
            "Converter",
            function_name=self.function_name,
            role=function_role(self, "ConverterRole", log_group=log, in_vpc=True),
            description="Converts images to ASCII art",
            runtime=lambda_.Runtime(
                f"python{environment.function_python}",
                lambda_.RuntimeFamily.PYTHON,
                supports_snap_start=True,
            ),
            architecture=lambda_.Architecture.ARM_64 if arm else lambda_.Architecture.X86_64,
            handler="lambda_worker.handler.handler",
            code=lambda_.Code.from_asset(str(bundle)),
            memory_size=environment.sizes.function_memory_mb,
            timeout=Duration.seconds(settings.timeouts.worker),
            environment=variables,
            log_group=log,
            snap_start=(
                lambda_.SnapStartConf.ON_PUBLISHED_VERSIONS if environment.snap_start else None
            ),
            vpc=network.vpc,
            security_groups=[network.worker_access],
        )

    def _alias(self, environment: Environment, function: lambda_.Function) -> lambda_.Alias:
        """Create the alias that routes messages to the newest version: all at once, or first a
        tenth for five minutes."""
        alias = lambda_.Alias(
            self,
            "Live",
            alias_name=_ALIAS,
            version=function.current_version,
            provisioned_concurrent_executions=environment.sizes.function_provisioned or None,
        )
        if environment.canary:
            codedeploy.LambdaDeploymentGroup(
                self,
                "Canary",
                alias=alias,
                role=canary_role(self, "CanaryRole", function=function, alias=_ALIAS),
                deployment_config=codedeploy.LambdaDeploymentConfig.CANARY_10_PERCENT_5_MINUTES,
                alarms=[self._failures(environment, alias)],
            )
        return alias

    def _failures(self, environment: Environment, alias: lambda_.Alias) -> cloudwatch.Alarm:
        """Create the alarm that ends a canary, on crashed invocations and failed messages.

        It is separate from the paging alarms, which belong to a later stack and wait longer.
        """
        minute = Duration.minutes(1)
        failed = cloudwatch.Metric(
            namespace=environment.prefix,
            metric_name=metrics.MESSAGES_FAULTED,
            statistic="Sum",
            period=minute,
        )
        return cloudwatch.Alarm(
            self,
            "Failures",
            alarm_description=(
                "Stops the deployment of a new version of the converter; notifies nobody."
            ),
            metric=cloudwatch.MathExpression(
                expression="FILL(crashed, 0) + FILL(failed, 0)",
                using_metrics={
                    "crashed": alias.metric_errors(statistic="Sum", period=minute),
                    "failed": failed,
                },
                period=minute,
            ),
            threshold=_FAILURES_OF_CANARY,
            comparison_operator=cloudwatch.ComparisonOperator.GREATER_THAN_THRESHOLD,
            evaluation_periods=1,
            treat_missing_data=cloudwatch.TreatMissingData.NOT_BREACHING,
        )

    def _pollers(
        self,
        environment: Environment,
        unit: Unit,
        requests: sqs.IQueue,
        *,
        network: NetworkStack,
    ) -> InstanceGroup:
        sizes = environment.sizes
        pollers = InstanceGroup(
            self,
            "Pollers",
            environment=environment,
            vpc=network.vpc,
            security_group=network.worker_access,
            unit=unit,
            instance_type=sizes.poller_instance_type,
            min_instances=sizes.poller_min_instances,
            max_instances=sizes.poller_max_instances,
            health_checks=autoscaling.HealthChecks.ec2(grace_period=Duration.minutes(5)),
        )
        running = cloudwatch.Metric(
            namespace="AWS/AutoScaling",
            metric_name="GroupInServiceInstances",
            dimensions_map={"AutoScalingGroupName": pollers.name},
            statistic="Average",
        )
        pollers.track(
            "Backlog",
            "FILL(visible, 0) / IF(running > 0, running, 1)",
            using={
                "visible": requests.metric_approximate_number_of_messages_visible(
                    statistic="Maximum"
                ),
                "running": running,
            },
            target=_BACKLOG_PER_INSTANCE,
        )
        # Only upwards: a queue without messages has no age, and the other two policies remove
        # instances.
        pollers.group.scale_on_metric(
            "Age",
            metric=requests.metric_approximate_age_of_oldest_message(
                statistic="Maximum", period=Duration.minutes(1)
            ),
            adjustment_type=autoscaling.AdjustmentType.CHANGE_IN_CAPACITY,
            scaling_steps=[
                autoscaling.ScalingInterval(lower=_AGE_SECONDS, change=+1),
                autoscaling.ScalingInterval(lower=2 * _AGE_SECONDS, change=+4),
            ],
            evaluation_periods=1,
        )
        return pollers
