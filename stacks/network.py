"""The network stack: the VPC, its S3 endpoint, and the security groups of all tiers."""

from typing import Final

from aws_cdk import DefaultStackSynthesizer, Fn, Stack
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_s3 as s3
from constructs import Construct

from asciist.settings import Settings
from stacks.environment import Environment
from stacks.exports import export_all
from stacks.logs import log_group
from stacks.permissions import limit_endpoint

WEB_PORT: Final = 8080
"""TCP port of the web instances."""
NETWORK: Final = "10.0.0.0/16"
"""Addresses of the VPC. Workers send callbacks to no others."""

_RELEASES: Final = DefaultStackSynthesizer.DEFAULT_FILE_ASSETS_BUCKET_NAME.replace(
    "${Qualifier}", DefaultStackSynthesizer.DEFAULT_QUALIFIER
)
"""Name of the CDK's asset bucket; instances fetch their release from it."""


class NetworkStack(Stack):
    """The VPC and the access of both tiers. It does not depend on how they are implemented, so that
    either can be exchanged.

    Only the load balancer accepts connections from clients. Web instances accept them from the load
    balancer and, for replies, from workers. A worker may connect to web instances even if replies
    go through queues: for some minutes after a change of the reply path, it answers old and new web
    instances.
    """

    def __init__(
        self,
        scope: Construct,
        name: str,
        *,
        environment: Environment,
        settings: Settings,
        artifacts: s3.IBucket,
    ) -> None:
        super().__init__(scope, name)
        # Subnets in two zones: public ones for the load balancer and NAT, private ones for
        # instances and the function.
        self.vpc = ec2.Vpc(
            self,
            "Network",
            ip_addresses=ec2.IpAddresses.cidr(NETWORK),
            max_azs=2,
            nat_gateways=environment.sizes.nat_gateways,
            # Nothing uses the default security group. To empty it, the CDK would add a custom
            # resource that may change groups.
            restrict_default_security_group=False,
        )
        self.vpc.add_flow_log(
            "Rejected",
            destination=ec2.FlowLogDestination.to_cloud_watch_logs(
                log_group(self, "RejectedLog", environment)
            ),
            traffic_type=ec2.FlowLogTrafficType.REJECT,
        )
        endpoint = self.vpc.add_gateway_endpoint(
            "ArtifactsGateway", service=ec2.GatewayVpcEndpointAwsService.S3
        )
        limit_endpoint(
            endpoint,
            artifacts=artifacts,
            releases=s3.Bucket.from_bucket_name(self, "Releases", Fn.sub(_RELEASES)),
        )
        self.front_access = self._security_group("FrontAccess")
        self.web_access = self._security_group("WebAccess", reaches_aws=True)
        self.worker_access = self._security_group("WorkerAccess", reaches_aws=True)
        for port in (80, 443):
            self.front_access.connections.allow_from_any_ipv4(ec2.Port.tcp(port), "Clients")
        self.web_access.connections.allow_from(
            self.front_access, ec2.Port.tcp(WEB_PORT), "The load balancer"
        )
        callbacks = ec2.Port.tcp_range(settings.callback_ports[0], settings.callback_ports[-1])
        self.web_access.connections.allow_from(self.worker_access, callbacks, "Replies")
        subnets = [*self.vpc.public_subnets, *self.vpc.private_subnets]
        groups = [self.front_access, self.web_access, self.worker_access]
        export_all(
            self,
            [
                self.vpc.vpc_id,
                *(net.subnet_id for net in subnets),
                *(group.security_group_id for group in groups),
            ],
        )

    def _security_group(self, name: str, *, reaches_aws: bool = False) -> ec2.SecurityGroup:
        """Create a security group without outbound access, or with HTTPS only."""
        group = ec2.SecurityGroup(self, name, vpc=self.vpc, allow_all_outbound=False)
        if reaches_aws:
            group.connections.allow_to_any_ipv4(
                ec2.Port.tcp(443), "AWS endpoints and package repositories"
            )
        return group
