"""A group of EC2 instances that run one systemd unit of the release. Both tiers use it."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import jsii
from aws_cdk import Duration, Stack, Tags
from aws_cdk import aws_autoscaling as autoscaling
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_iam as iam
from aws_cdk import aws_logs as logs
from aws_cdk import aws_s3_assets as s3_assets
from constructs import Construct

from stacks.baking import baked_image
from stacks.environment import Environment
from stacks.image import NEWEST
from stacks.logs import log_group
from stacks.permissions import grant_instance, grant_secrets

_METRICS = "asciist"
"""CloudWatch namespace of the CloudWatch agent's metrics; the service's own metrics are in
another."""

_VARIABLES = "/run/asciist-environment"

# a boot takes two to three minutes, and package repositories can be slow
_BOOT_TIMEOUT = Duration.minutes(10)
"""Maximum time from launch to the success signal."""


@dataclass(frozen=True, kw_only=True)
class Unit:
    """The systemd unit that the instances of a group run."""

    name: str
    """Name of the unit, `asciist-web` or `asciist-poller`."""
    release: Path
    """The release directory (see `stacks.bundles`)."""
    variables: Mapping[str, str]
    """Environment variables of the unit."""
    needs_own_address: bool = False
    """True if the unit needs its instance's address in ASCIIST_INSTANCE, for callbacks from
    workers."""


@jsii.implements(ec2.IMachineImage)
class _Image:
    """Image with a given id. The CDK's own class also needs the region, which is unknown before the
    deployment."""

    def __init__(self, image_id: str) -> None:
        self._image_id = image_id

    @jsii.member(jsii_name="getImage")
    # The interface has the parameter.
    def get_image(self, scope: Construct) -> ec2.MachineImageConfig:  # noqa: ARG002
        return ec2.MachineImageConfig(
            image_id=self._image_id,
            os_type=ec2.OperatingSystemType.LINUX,
            user_data=ec2.UserData.for_linux(),
        )


class InstanceGroup(Construct):
    """An auto-scaling group on Amazon Linux 2023 in private subnets, with encrypted disks, IMDSv2
    only, and Session Manager in place of SSH. An update replaces one instance at a time, and rolls
    back if a new instance does not report its unit as ready."""

    def __init__(
        self,
        scope: Construct,
        name: str,
        *,
        environment: Environment,
        vpc: ec2.IVpc,
        security_group: ec2.ISecurityGroup,
        unit: Unit,
        instance_type: str,
        min_instances: int,
        max_instances: int,
        health_checks: autoscaling.HealthChecks,
    ) -> None:
        super().__init__(scope, name)
        # A fixed name, so that alarms and the agent can refer to it. Only a change of the name
        # makes CloudFormation replace a group.
        self.name = f"{environment.prefix}-{unit.name.removeprefix('asciist-')}"
        self.role = iam.Role(self, "Role", assumed_by=iam.ServicePrincipal("ec2.amazonaws.com"))
        self.log_group = log_group(self, "Log", environment)
        self.release = s3_assets.Asset(self, "Release", path=str(unit.release))
        grant_instance(
            self.role, release=self.release, log_group=self.log_group, metrics_namespace=_METRICS
        )
        if environment.datadog:
            grant_secrets(self.role, environment.datadog_api_key)
        user_data = _user_data(self.release, unit, self.log_group, self.name)
        image = environment.image
        if environment.baked:
            image = baked_image(
                self,
                environment,
                vpc=vpc,
                security_group=security_group,
                instance_type=instance_type,
                release=self.release,
            )
        self.group = autoscaling.AutoScalingGroup(
            self,
            "Group",
            auto_scaling_group_name=self.name,
            vpc=vpc,
            vpc_subnets=ec2.SubnetSelection(subnet_type=ec2.SubnetType.PRIVATE_WITH_EGRESS),
            launch_template=self._launch_template(
                environment, image, instance_type, security_group, user_data
            ),
            min_capacity=min_instances,
            max_capacity=max_instances,
            health_checks=health_checks,
            signals=autoscaling.Signals.wait_for_min_capacity(timeout=_BOOT_TIMEOUT),
            update_policy=autoscaling.UpdatePolicy.rolling_update(
                max_batch_size=1,
                min_instances_in_service=min_instances if max_instances > min_instances else 0,
                pause_time=_BOOT_TIMEOUT,
                wait_on_resource_signals=True,
            ),
            group_metrics=[autoscaling.GroupMetrics.all()],
        )
        user_data.add_signal_on_exit_command(self.group)
        self.group.scale_on_cpu_utilization("Cpu", target_utilization_percent=60)
        Tags.of(self.group).add("Name", self.name)

    def _launch_template(
        self,
        environment: Environment,
        image: str,
        instance_type: str,
        security_group: ec2.ISecurityGroup,
        user_data: ec2.UserData,
    ) -> ec2.LaunchTemplate:
        disk = ec2.BlockDeviceVolume.ebs(8, encrypted=True, volume_type=ec2.EbsDeviceVolumeType.GP3)
        return ec2.LaunchTemplate(
            self,
            "Template",
            machine_image=(
                _Image(image)
                if image
                else ec2.MachineImage.from_ssm_parameter(
                    NEWEST.format(architecture=environment.architecture)
                )
            ),
            instance_type=ec2.InstanceType(environment.instance_type(instance_type)),
            security_group=security_group,
            role=self.role,
            require_imdsv2=True,
            http_put_response_hop_limit=1,
            block_devices=[ec2.BlockDevice(device_name="/dev/xvda", volume=disk)],
            user_data=user_data,
        )

    def track(
        self, name: str, expression: str, *, using: Mapping[str, cloudwatch.Metric], target: float
    ) -> None:
        """Scale to keep an expression of metrics of the last minute at `target`.

        The policy that demands the most instances decides, and instances are removed only if all
        policies agree. The CDK's own method accepts no expressions.
        """
        policy = autoscaling.CfnScalingPolicy
        autoscaling.CfnScalingPolicy(
            self,
            name,
            auto_scaling_group_name=self.group.auto_scaling_group_name,
            policy_type="TargetTrackingScaling",
            target_tracking_configuration=policy.TargetTrackingConfigurationProperty(
                target_value=target,
                customized_metric_specification=policy.CustomizedMetricSpecificationProperty(
                    metrics=[
                        *(_query(id_, metric) for id_, metric in using.items()),
                        policy.TargetTrackingMetricDataQueryProperty(
                            id="value", expression=expression, return_data=True
                        ),
                    ]
                ),
            ),
        )

    def memory_used(self) -> cloudwatch.Metric:
        """Return the CloudWatch agent's metric of memory in use, in percent."""
        return self._agent_metric("mem_used_percent")

    def disk_used(self) -> cloudwatch.Metric:
        """Return the CloudWatch agent's metric of the root disk in use, in percent."""
        return self._agent_metric("disk_used_percent")

    def _agent_metric(self, name: str) -> cloudwatch.Metric:
        return cloudwatch.Metric(
            namespace=_METRICS,
            metric_name=name,
            dimensions_map={"Group": self.name},
            period=Duration.minutes(1),
        )


def _query(
    id_: str, metric: cloudwatch.Metric
) -> autoscaling.CfnScalingPolicy.TargetTrackingMetricDataQueryProperty:
    policy = autoscaling.CfnScalingPolicy
    dimensions = [
        policy.MetricDimensionProperty(name=name, value=str(value))
        for name, value in (metric.dimensions or {}).items()
    ]
    return policy.TargetTrackingMetricDataQueryProperty(
        id=id_,
        metric_stat=policy.TargetTrackingMetricStatProperty(
            metric=policy.MetricProperty(
                namespace=metric.namespace, metric_name=metric.metric_name, dimensions=dimensions
            ),
            stat=metric.statistic,
        ),
        return_data=False,
    )


def _user_data(
    release: s3_assets.Asset, unit: Unit, log_group: logs.ILogGroup, group_name: str
) -> ec2.UserData:
    """Return user data that fetches the release from S3, writes the unit's environment and runs the
    release's `boot`."""
    user_data = ec2.UserData.for_linux()
    user_data.add_commands("export AWS_RETRY_MODE=standard AWS_MAX_ATTEMPTS=10")
    archive = user_data.add_s3_download_command(
        bucket=release.bucket, bucket_key=release.s3_object_key
    )
    region = Stack.of(release).region  # on Lambda, the runtime sets these variables
    deployed = {"AWS_REGION": region, "AWS_DEFAULT_REGION": region, **unit.variables}
    variables = "\n".join(f"{name}={value}" for name, value in sorted(deployed.items()))
    user_data.add_commands(
        "set -euo pipefail",
        f"python3 -m zipfile -e {archive} /opt/asciist-release",
        f"cat > {_VARIABLES} <<'VARIABLES'\n{variables}\nVARIABLES",
    )
    if unit.needs_own_address:
        user_data.add_commands(
            "token=$(curl -sSf -X PUT -H 'X-aws-ec2-metadata-token-ttl-seconds: 60'"
            " http://169.254.169.254/latest/api/token)",
            'address=$(curl -sSf -H "X-aws-ec2-metadata-token: $token"'
            " http://169.254.169.254/latest/meta-data/local-ipv4)",
            f'echo "ASCIIST_INSTANCE=$address" >> {_VARIABLES}',
        )
    user_data.add_commands(
        "bash /opt/asciist-release/boot"
        f" {unit.name} {_VARIABLES} {log_group.log_group_name} {group_name}"
    )
    return user_data
