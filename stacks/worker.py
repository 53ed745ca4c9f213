"""The worker stack: a Lambda function that SQS invokes, or a group of instances that poll the queue."""

from pathlib import Path

from aws_cdk import Duration, Stack
from aws_cdk import aws_autoscaling as autoscaling
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_s3 as s3
from aws_cdk import aws_sqs as sqs
from constructs import Construct

from asciist.settings import Settings
from stacks.datadog import add_extension
from stacks.environment import Environment
from stacks.instances import InstanceGroup, Unit
from stacks.logs import log_group
from stacks.permissions import function_role, grant_worker
from stacks.web import aws_variables

_BACKLOG_PER_INSTANCE = 10
"""Messages in the queue for each poller above which another is started: a third of a second of work for a core that converts
30 images a second."""


_VARIABLES = (
    "BACKEND",
    "BUCKET",
    "REQUEST_QUEUE_URL",
    "REPLY_PATH",
    "CALLBACK_FIRST_PORT",
    "CALLBACK_NETWORKS",
    "METRICS",
    "METRICS_NAMESPACE",
)


class WorkerStack(Stack):
    """The worker tier: consumes requests, converts images, stores the art and replies to web processes."""

    function: lambda_.Function | None = None
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
        vpc: ec2.IVpc,
        worker_access: ec2.ISecurityGroup,
        bundle: Path,
    ) -> None:
        """`bundle` is the function bundle if `environment.worker` is "lambda", or else the release for instances."""
        super().__init__(scope, name)
        variables = aws_variables(environment, settings, names=_VARIABLES, artifacts=artifacts, requests=requests)
        if environment.worker == "lambda":
            # Callbacks go to addresses in the VPC. Reply queues are reachable without it, which saves NAT traffic.
            network = {"vpc": vpc, "security_groups": [worker_access]} if environment.replies == "callback" else {}
            self.function = self._function(environment, settings, bundle, variables=variables, network=network)
            add_extension(self.function, environment)
            # An SqsEventSource would do the same, and also grant the function what `grant_worker` does not.
            self.function.add_event_source_mapping(
                "Requests",
                event_source_arn=requests.queue_arn,
                batch_size=1,  # a client waits for each message, and a batch is converted one message after another
                max_concurrency=environment.sizes.worker_max_concurrency,
                report_batch_item_failures=True,
            )
            role: iam.IGrantable = self.function
        else:
            unit = Unit(name="asciist-poller", release=bundle, variables=variables)
            self.instances = self._pollers(environment, unit, requests, vpc=vpc, worker_access=worker_access)
            role = self.instances.role
        grant_worker(role, artifacts=artifacts, requests=requests, environment=environment)

    def _function(
        self,
        environment: Environment,
        settings: Settings,
        bundle: Path,
        *,
        variables: dict[str, str],
        network: dict[str, object],
    ) -> lambda_.Function:
        arm = environment.architecture == "arm64"
        log = log_group(self, "Log", environment)
        return lambda_.Function(
            self,
            "Converter",
            role=function_role(self, "ConverterRole", log_group=log, in_vpc=bool(network)),
            description="Converts images to ASCII art",
            runtime=lambda_.Runtime(f"python{environment.function_python}", lambda_.RuntimeFamily.PYTHON),
            architecture=lambda_.Architecture.ARM_64 if arm else lambda_.Architecture.X86_64,
            handler="lambda_worker.handler.handler",
            code=lambda_.Code.from_asset(str(bundle)),
            memory_size=environment.sizes.function_memory_mb,
            timeout=Duration.seconds(settings.timeouts.worker),
            environment=variables,
            log_group=log,
            **network,  # type: ignore[arg-type]  # vpc and security_groups, or neither
        )

    def _pollers(
        self,
        environment: Environment,
        unit: Unit,
        requests: sqs.IQueue,
        *,
        vpc: ec2.IVpc,
        worker_access: ec2.ISecurityGroup,
    ) -> InstanceGroup:
        sizes = environment.sizes
        pollers = InstanceGroup(
            self,
            "Pollers",
            environment=environment,
            vpc=vpc,
            security_group=worker_access,
            unit=unit,
            instance_type=sizes.poller_instance_type,
            min_instances=sizes.poller_min_instances,
            max_instances=sizes.poller_max_instances,
            health_checks=autoscaling.HealthChecks.ec2(grace_period=Duration.minutes(5)),
        )
        backlog = cloudwatch.MathExpression(
            expression="visible / MAX([running, 1])",
            using_metrics={
                "visible": requests.metric_approximate_number_of_messages_visible(statistic="Maximum"),
                "running": cloudwatch.Metric(
                    namespace="AWS/AutoScaling",
                    metric_name="GroupInServiceInstances",
                    dimensions_map={"AutoScalingGroupName": pollers.group.auto_scaling_group_name},
                ),
            },
            label="backlog per instance",
            period=Duration.minutes(1),
        )
        pollers.group.scale_on_metric(
            "Backlog",
            metric=backlog,
            adjustment_type=autoscaling.AdjustmentType.CHANGE_IN_CAPACITY,
            scaling_steps=[
                autoscaling.ScalingInterval(upper=1, change=-1),
                autoscaling.ScalingInterval(lower=_BACKLOG_PER_INSTANCE, change=+1),
                autoscaling.ScalingInterval(lower=5 * _BACKLOG_PER_INSTANCE, change=+4),
            ],
            evaluation_periods=2,
        )
        return pollers
