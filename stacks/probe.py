"""The probe: a function outside the network that converts a new image every minute, as a user
would."""

from typing import Final

from aws_cdk import Duration
from aws_cdk import aws_events as events
from aws_cdk import aws_events_targets as targets
from aws_cdk import aws_lambda as lambda_
from constructs import Construct

from stacks.bundles import probe_bundle
from stacks.environment import Environment
from stacks.logs import log_group
from stacks.permissions import function_role

_TIMEOUT: Final = Duration.seconds(45)
"""Timeout: it sends four requests, and one of them waits up to 10 seconds for the workers."""


class Probe(Construct):
    """The function and its schedule. It fails if the service does, so Lambda's metric of errors
    counts the failures."""

    def __init__(self, scope: Construct, name: str, *, environment: Environment, url: str) -> None:
        """`url` is the public address of the deployment."""
        super().__init__(scope, name)
        self.function_name = f"{environment.prefix}-probe"
        """Name of the function. It is fixed, so that Datadog can refer to it."""
        arm = environment.architecture == "arm64"
        log = log_group(self, "Log", environment)
        function = lambda_.Function(
            self,
            "Function",
            function_name=self.function_name,
            role=function_role(self, "Role", log_group=log),
            description="Converts a new image through the public address of the deployment",
            runtime=lambda_.Runtime(
                f"python{environment.function_python}", lambda_.RuntimeFamily.PYTHON
            ),
            architecture=lambda_.Architecture.ARM_64 if arm else lambda_.Architecture.X86_64,
            handler="operations.probe.handler",
            code=lambda_.Code.from_asset(str(probe_bundle())),
            memory_size=256,
            timeout=_TIMEOUT,
            environment={"ASCIIST_URL": url},
            log_group=log,
        )
        # A late probe proves nothing, and a retry would hide a failure.
        target = targets.LambdaFunction(
            function, retry_attempts=0, max_event_age=Duration.minutes(1)
        )
        events.Rule(
            self, "EachMinute", schedule=events.Schedule.rate(Duration.minutes(1)), targets=[target]
        )
