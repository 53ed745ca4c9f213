"""The web stack: the network, the load balancer, and a group of instances that run gunicorn behind it."""

from pathlib import Path

from aws_cdk import Annotations, CfnOutput, Duration, Stack
from aws_cdk import aws_autoscaling as autoscaling
from aws_cdk import aws_certificatemanager as acm
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_elasticloadbalancingv2 as elbv2
from aws_cdk import aws_s3 as s3
from aws_cdk import aws_secretsmanager as secretsmanager
from aws_cdk import aws_sqs as sqs
from constructs import Construct

from asciist.settings import Settings
from stacks.datadog import datadog_variables
from stacks.environment import Environment
from stacks.instances import InstanceGroup, Unit
from stacks.logs import log_group
from stacks.permissions import grant_secrets, grant_web, limit_endpoint, reply_queue_prefix

_PORT = 8080
_NETWORK = "10.0.0.0/16"
"""Addresses of the VPC, which are also the only ones to which workers send callbacks."""
_HSTS_SECONDS = 365 * 86_400
"""Seconds for which a browser that has used the domain over HTTPS uses nothing else. Subdomains are not included, because they
may not be this service's."""
_VARIABLES = (
    "BACKEND",
    "BUCKET",
    "REQUEST_QUEUE_URL",
    "REPLY_PATH",
    "REPLY_QUEUE_PREFIX",
    "CALLBACK_FIRST_PORT",
    "HOST",
    "PORT",
    "REQUEST_TIMEOUT",
    "STORE_MAX_DAYS",
    "METRICS",
    "METRICS_NAMESPACE",
)


class WebStack(Stack):
    """The network and the web tier. Only the load balancer accepts connections from clients. Instances accept connections only
    from the load balancer and, if replies are callbacks, from workers."""

    def __init__(
        self,
        scope: Construct,
        name: str,
        *,
        environment: Environment,
        settings: Settings,
        artifacts: s3.IBucket,
        requests: sqs.IQueue,
        link_keys: secretsmanager.ISecret,
        release: Path,
    ) -> None:
        super().__init__(scope, name)
        self.vpc = self._network(environment)
        self._s3_endpoint = self.vpc.add_gateway_endpoint("ArtifactsGateway", service=ec2.GatewayVpcEndpointAwsService.S3)
        front = self._security_group("FrontAccess")
        self.web_access = self._security_group("WebAccess", reaches_aws=True)
        self.web_access.connections.allow_from(front, ec2.Port.tcp(_PORT), "The load balancer")
        self.worker_access = self._security_group("WorkerAccess", reaches_aws=True)
        if environment.replies == "callback":
            callbacks = ec2.Port.tcp_range(settings.callback_ports[0], settings.callback_ports[-1])
            self.web_access.connections.allow_from(self.worker_access, callbacks, "Replies")
        self.instances = InstanceGroup(
            self,
            "Web",
            environment=environment,
            vpc=self.vpc,
            security_group=self.web_access,
            unit=Unit(
                name="asciist-web",
                release=release,
                variables={
                    **aws_variables(environment, settings, names=_VARIABLES, artifacts=artifacts, requests=requests),
                    "LINK_KEYS_SECRET_ARN": link_keys.secret_arn,
                    # Without a domain, clients use the name of the load balancer, which is not known yet.
                    **({"ASCIIST_TRUSTED_HOSTS": environment.domain} if environment.domain else {}),
                },
                needs_own_address=True,
            ),
            instance_type=environment.sizes.web_instance_type,
            min_instances=environment.sizes.web_min_instances,
            max_instances=environment.sizes.web_max_instances,
            health_checks=autoscaling.HealthChecks.with_additional_checks(
                additional_types=[autoscaling.AdditionalHealthCheckType.ELB], grace_period=Duration.minutes(5)
            ),
        )
        grant_web(self.instances.role, artifacts=artifacts, requests=requests, environment=environment)
        grant_secrets(self.instances.role, link_keys.secret_arn)
        limit_endpoint(self._s3_endpoint, artifacts=artifacts, release=self.instances.release)
        self.load_balancer = elbv2.ApplicationLoadBalancer(
            self,
            "Front",
            vpc=self.vpc,
            internet_facing=True,
            security_group=front,
            idle_timeout=Duration.seconds(settings.timeouts.load_balancer_idle),
            drop_invalid_header_fields=True,
            desync_mitigation_mode=elbv2.DesyncMitigationMode.STRICTEST,
            # The last address in X-Forwarded-For is the client's. All others are what the client claims.
            xff_header_processing_mode=elbv2.XffHeaderProcessingMode.APPEND,
            deletion_protection=environment.sizes.keeps_data,
        )
        self.targets = self._target_group(settings)
        self._listen(environment)

    def _security_group(self, name: str, *, reaches_aws: bool = False) -> ec2.SecurityGroup:
        """Create a security group without outbound access, or with HTTPS only."""
        group = ec2.SecurityGroup(self, name, vpc=self.vpc, allow_all_outbound=False)
        if reaches_aws:
            group.connections.allow_to_any_ipv4(ec2.Port.tcp(443), "AWS endpoints and package repositories")
        return group

    def _target_group(self, settings: Settings) -> elbv2.ApplicationTargetGroup:
        """Create the target group of the instances. The load balancer sends requests only to ready instances."""
        return elbv2.ApplicationTargetGroup(
            self,
            "Targets",
            vpc=self.vpc,
            port=_PORT,
            protocol=elbv2.ApplicationProtocol.HTTP,
            targets=[self.instances.group],
            deregistration_delay=Duration.seconds(settings.timeouts.deregistration_delay),
            load_balancing_algorithm_type=elbv2.TargetGroupLoadBalancingAlgorithmType.LEAST_OUTSTANDING_REQUESTS,
            health_check=elbv2.HealthCheck(
                path="/readyz",
                interval=Duration.seconds(10),
                timeout=Duration.seconds(5),
                healthy_threshold_count=2,
                unhealthy_threshold_count=3,
            ),
        )

    def _network(self, environment: Environment) -> ec2.Vpc:
        """Create a VPC over two zones, with private subnets and NAT for the instances."""
        vpc = ec2.Vpc(
            self,
            "Network",
            ip_addresses=ec2.IpAddresses.cidr(_NETWORK),
            max_azs=2,
            nat_gateways=environment.sizes.nat_gateways,
            # Nothing uses the default security group. To empty it, the CDK would add a custom resource that may change groups.
            restrict_default_security_group=False,
        )
        vpc.add_flow_log(
            "Rejected",
            destination=ec2.FlowLogDestination.to_cloud_watch_logs(log_group(self, "RejectedLog", environment)),
            traffic_type=ec2.FlowLogTrafficType.REJECT,
        )
        return vpc

    def _listen(self, environment: Environment) -> None:
        if not environment.domain:
            Annotations.of(self).add_warning_v2(
                "asciist:plain-http", "No domain is configured: the service uses plain HTTP, and images are sent unencrypted."
            )
            http = self.load_balancer.add_listener(
                "Http", port=80, protocol=elbv2.ApplicationProtocol.HTTP, default_target_groups=[self.targets]
            )
            _remove_server_header(http)
            CfnOutput(self, "Url", value=f"http://{self.load_balancer.load_balancer_dns_name}")
            return
        https = self.load_balancer.add_listener(
            "Https",
            port=443,
            protocol=elbv2.ApplicationProtocol.HTTPS,
            ssl_policy=elbv2.SslPolicy.RECOMMENDED_TLS,
            certificates=[acm.Certificate.from_certificate_arn(self, "Certificate", environment.certificate)],
            default_target_groups=[self.targets],
        )
        https.set_attribute("routing.http.response.strict_transport_security.header_value", f"max-age={_HSTS_SECONDS}")
        _remove_server_header(https)
        _remove_server_header(self.load_balancer.add_redirect())
        CfnOutput(self, "Url", value=f"https://{environment.domain}")
        CfnOutput(self, "PointDomainAt", value=self.load_balancer.load_balancer_dns_name)


def _remove_server_header(listener: elbv2.ApplicationListener) -> None:
    listener.set_attribute("routing.http.response.server.enabled", "false")


def aws_variables(
    environment: Environment,
    settings: Settings,
    *,
    names: tuple[str, ...],
    artifacts: s3.IBucket,
    requests: sqs.IQueue,
) -> dict[str, str]:
    """Return the environment variables of a deployment: the settings in `names` (without ASCIIST_), and those for Datadog."""
    deployed = Settings(
        backend="aws",
        bucket=artifacts.bucket_name,
        request_queue_url=requests.queue_url,
        reply_path=environment.replies,
        reply_queue_prefix=reply_queue_prefix(environment),
        callback_first_port=settings.callback_first_port,
        callback_networks=_NETWORK,
        host="0.0.0.0",  # noqa: S104 - the security group admits only the load balancer
        port=_PORT,
        request_timeout=settings.request_timeout,
        store_max_days=environment.sizes.artifact_days,
        metrics="dogstatsd+emf" if environment.datadog else "emf",
        metrics_namespace=environment.prefix,
    ).to_environment()
    selected = {name: value for name, value in deployed.items() if name.removeprefix("ASCIIST_") in names}
    return selected | datadog_variables(environment)
