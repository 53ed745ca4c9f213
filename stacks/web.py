"""The web stack: the load balancer, and a group of instances that run gunicorn behind it."""

from dataclasses import replace
from pathlib import Path

from aws_cdk import Annotations, CfnOutput, Duration, Stack
from aws_cdk import aws_autoscaling as autoscaling
from aws_cdk import aws_certificatemanager as acm
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_elasticloadbalancingv2 as elbv2
from aws_cdk import aws_s3 as s3
from aws_cdk import aws_secretsmanager as secretsmanager
from aws_cdk import aws_sqs as sqs
from constructs import Construct

from asciist.settings import READ_ONLY_MARKER, Settings, Tier
from stacks.datadog import datadog_variables
from stacks.environment import Environment
from stacks.exports import export_all
from stacks.instances import InstanceGroup, Unit
from stacks.network import NETWORK, WEB_PORT, NetworkStack
from stacks.peer import PeerAccess
from stacks.permissions import grant_secrets, grant_web, reply_queue_prefix

_HSTS_SECONDS = 365 * 86_400  # without subdomains, which may not be this service's
"""Maximum age of HSTS, in seconds."""
_PROCESSES = 2
"""Web processes of an instance: both types have two virtual CPUs."""
_IN_FLIGHT_SHARE = 0.4
"""Share of an instance's maximum in-flight requests above which another instance is started, before
it refuses any."""


class WebStack(Stack):
    """The web tier."""

    def __init__(
        self,
        scope: Construct,
        name: str,
        *,
        environment: Environment,
        settings: Settings,
        artifacts: s3.IBucket,
        requests: sqs.IQueue,
        access_logs: s3.IBucket,
        link_keys: secretsmanager.ISecret,
        network: NetworkStack,
        release: Path,
    ) -> None:
        super().__init__(scope, name)
        self.load_balancer = elbv2.ApplicationLoadBalancer(
            self,
            "Front",
            vpc=network.vpc,
            internet_facing=True,
            security_group=network.front_access,
            idle_timeout=Duration.seconds(settings.timeouts.load_balancer_idle),
            drop_invalid_header_fields=True,
            desync_mitigation_mode=elbv2.DesyncMitigationMode.STRICTEST,
            # Only the last address in X-Forwarded-For is trustworthy; the client may have invented
            # the others.
            xff_header_processing_mode=elbv2.XffHeaderProcessingMode.APPEND,
            deletion_protection=environment.sizes.keeps_data,
        )
        self.load_balancer.set_attribute(
            "access_logs.s3.enabled", str(environment.access_logs).lower()
        )
        if environment.access_logs:
            self.load_balancer.set_attribute("access_logs.s3.bucket", access_logs.bucket_name)
        self.instances = InstanceGroup(
            self,
            "Web",
            environment=environment,
            vpc=network.vpc,
            security_group=network.web_access,
            unit=Unit(
                name="asciist-web",
                release=release,
                variables={
                    **aws_variables(
                        environment,
                        settings,
                        tier="web",
                        artifacts=artifacts,
                        requests=requests,
                    ),
                    "LINK_KEYS_SECRET_ARN": link_keys.secret_arn,
                    **(
                        {"PEER_SECRET_ARN": environment.peer_secret}
                        if environment.peer_store
                        else {}
                    ),
                    **self._trusted_hosts(environment),
                },
                needs_own_address=True,
            ),
            instance_type=environment.sizes.web_instance_type,
            min_instances=environment.sizes.web_min_instances,
            max_instances=environment.sizes.web_max_instances,
            health_checks=autoscaling.HealthChecks.with_additional_checks(
                additional_types=[autoscaling.AdditionalHealthCheckType.ELB],
                grace_period=Duration.minutes(5),
            ),
        )
        grant_web(
            self.instances.role, artifacts=artifacts, requests=requests, environment=environment
        )
        grant_secrets(self.instances.role, link_keys.secret_arn)
        if environment.peer_store:
            grant_secrets(self.instances.role, environment.peer_secret)
            PeerAccess(self, "Peer", artifacts=artifacts)
        self.targets = self._target_group(settings, network)
        self._listen(environment)
        self.url = (
            f"https://{environment.domain}"
            if environment.domain
            else f"http://{self.load_balancer.load_balancer_dns_name}"
        )
        """The public address of the deployment."""
        CfnOutput(self, "Url", value=self.url)
        self._scale_on_requests_in_flight(settings)
        export_all(
            self,
            [
                self.load_balancer.load_balancer_arn,
                self.load_balancer.load_balancer_canonical_hosted_zone_id,
                self.load_balancer.load_balancer_dns_name,
                self.load_balancer.load_balancer_full_name,
                self.targets.target_group_full_name,
            ],
        )

    def target_metric(self, name: str, *, statistic: str = "Average") -> cloudwatch.Metric:
        """Return a metric of the targets. The CDK's own metrics need a listener, which not every
        deployment has."""
        return cloudwatch.Metric(
            namespace="AWS/ApplicationELB",
            metric_name=name,
            dimensions_map={
                "LoadBalancer": self.load_balancer.load_balancer_full_name,
                "TargetGroup": self.targets.target_group_full_name,
            },
            statistic=statistic,
            period=Duration.minutes(1),
        )

    def _scale_on_requests_in_flight(self, settings: Settings) -> None:
        """Add instances when requests wait although CPUs are idle, because the bucket, the queue or
        the workers are slow.

        The number in flight is arrival rate times duration (Little's law).
        """
        most = _PROCESSES * settings.max_requests_in_flight
        self.instances.track(
            "InFlight",
            "FILL(requests, 0) / 60 * FILL(seconds, 0)",
            using={
                "requests": self.target_metric("RequestCountPerTarget", statistic="Sum"),
                "seconds": self.target_metric("TargetResponseTime", statistic="Average"),
            },
            target=_IN_FLIGHT_SHARE * most,
        )

    def _trusted_hosts(self, environment: Environment) -> dict[str, str]:
        """Return the setting `trusted_hosts`.

        With a domain, only the domain and the load balancer are trusted. Without one, every host
        is: while a domain is being added or removed, its clients reach instances of both
        configurations.
        """
        if not environment.domain:
            return {}
        return {
            "ASCIIST_TRUSTED_HOSTS": (
                f"{environment.domain},{self.load_balancer.load_balancer_dns_name}"
            )
        }

    def _target_group(
        self, settings: Settings, network: NetworkStack
    ) -> elbv2.ApplicationTargetGroup:
        """Create the target group of the instances.

        An instance that fails the health check gets no requests and is replaced. The check covers
        the instance alone: if the bucket or the queue failed, `/readyz` would fail on all
        instances, and replacing them would not help.
        """
        return elbv2.ApplicationTargetGroup(
            self,
            "Targets",
            vpc=network.vpc,
            port=WEB_PORT,
            protocol=elbv2.ApplicationProtocol.HTTP,
            targets=[self.instances.group],
            deregistration_delay=Duration.seconds(settings.timeouts.deregistration_delay),
            load_balancing_algorithm_type=elbv2.TargetGroupLoadBalancingAlgorithmType.LEAST_OUTSTANDING_REQUESTS,
            health_check=elbv2.HealthCheck(
                path="/healthz",
                interval=Duration.seconds(10),
                timeout=Duration.seconds(5),
                healthy_threshold_count=2,
                unhealthy_threshold_count=3,
            ),
        )

    def _listen(self, environment: Environment) -> None:
        """Forward requests to port 443 if there is a domain, else to port 80.

        The listener of a port is the same resource in every deployment, with another action: a port
        can have only one listener, and CloudFormation would create the new one before deleting the
        old one.
        """
        if environment.domain:
            https = self._listener(
                "Https", 443, elbv2.ListenerAction.forward([self.targets]), environment.certificate
            )
            https.set_attribute(
                "routing.http.response.strict_transport_security.header_value",
                f"max-age={_HSTS_SECONDS}",
            )
            self._listener(
                "Http",
                80,
                elbv2.ListenerAction.redirect(protocol="HTTPS", port="443", permanent=True),
            )
            CfnOutput(self, "PointDomainAt", value=self.load_balancer.load_balancer_dns_name)
            return
        Annotations.of(self).add_warning_v2(
            "asciist:plain-http",
            "No domain is configured: the service uses plain HTTP, and images are sent"
            " unencrypted.",
        )
        self._listener("Http", 80, elbv2.ListenerAction.forward([self.targets]))

    def _listener(
        self, name: str, port: int, action: elbv2.ListenerAction, certificate: str = ""
    ) -> elbv2.ApplicationListener:
        listener = self.load_balancer.add_listener(
            name,
            port=port,
            open=False,  # the network stack opens the ports
            protocol=(
                elbv2.ApplicationProtocol.HTTPS if certificate else elbv2.ApplicationProtocol.HTTP
            ),
            ssl_policy=elbv2.SslPolicy.RECOMMENDED_TLS if certificate else None,
            certificates=(
                [acm.Certificate.from_certificate_arn(self, "Certificate", certificate)]
                if certificate
                else None
            ),
            default_action=action,
        )
        listener.set_attribute("routing.http.response.server.enabled", "false")
        return listener


def aws_variables(
    environment: Environment,
    settings: Settings,
    *,
    tier: Tier,
    artifacts: s3.IBucket,
    requests: sqs.IQueue,
) -> dict[str, str]:
    """Return the environment variables of a tier: the settings of the deployment, and the variables
    for Datadog."""
    deployed = replace(
        settings,
        backend="aws",
        bucket=artifacts.bucket_name,
        request_queue_url=requests.queue_url,
        reply_path=environment.replies,
        reply_queue_prefix=reply_queue_prefix(environment),
        callback_networks=NETWORK,
        host="0.0.0.0",  # noqa: S104 - the security group admits only the load balancer
        port=WEB_PORT,
        store_max_days=environment.sizes.artifact_days,
        metrics="dogstatsd+emf" if environment.datadog else "emf",
        metrics_namespace=environment.prefix,
        peer_store=environment.peer_store,
        # Each process asks S3 for the marker all the time, so there is one only during a move.
        read_only=(
            f"s3://{artifacts.bucket_name}/{READ_ONLY_MARKER}" if environment.peer_store else ""
        ),
    )
    return deployed.to_tier_environment(tier) | datadog_variables(environment)
