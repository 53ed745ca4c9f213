"""The dashboard, monitors and objective of a deployment in Datadog, and the settings of its agents.

docs/decisions/0014 explains why the objects are custom resources that call Datadog's API.
"""

import re
from pathlib import Path
from typing import Final

from aws_cdk import (
    ArnFormat,
    CfnWaitConditionHandle,
    CustomResource,
    Duration,
    RemovalPolicy,
    Stack,
)
from aws_cdk import aws_lambda as lambda_
from constructs import Construct

from asciist.settings import Settings
from operations.observability import datadog
from stacks.environment import Environment
from stacks.limits import alarm_limits
from stacks.logs import log_group
from stacks.permissions import function_role, grant_secrets

_EXTENSION_VERSION: Final = 103
"""Version of the extension's layers:
https://github.com/DataDog/datadog-lambda-extension/releases."""
_EXTENSION_ACCOUNT: Final = "464622532012"
"""Datadog's account, which publishes the layers."""

# Datadog sometimes needs minutes to recognise a new metric
_FUNCTION_TIMEOUT: Final = Duration.minutes(14)
"""Timeout of the function, below Lambda's maximum of 15 minutes."""
_SERVICE_TIMEOUT: Final = Duration.minutes(15)
"""Time that CloudFormation waits for a killed function, instead of its default of an hour."""


class DatadogStack(Stack):
    """A custom resource for each object in Datadog: created, updated, rolled back and deleted with
    the deployment.

    Without Datadog, the stack contains only a placeholder, so that deploying it deletes the objects
    of an earlier deployment.
    """

    def __init__(
        self, scope: Construct, name: str, *, environment: Environment, settings: Settings
    ) -> None:
        super().__init__(scope, name)
        if not environment.datadog:
            CfnWaitConditionHandle(self, "Nothing")  # a stack has at least one resource
            return
        self._provider = self._provider_function(environment)
        # Created first, because the other objects query percentiles, which these settings enable.
        metrics = [
            self._object("Metric", name, definition, shared=True)
            for name, definition in datadog.metric_configurations().items()
        ]
        objective = self._object("Slo", "Objective", datadog.slo(environment.environment))
        dashboard = datadog.dashboard(
            environment.environment, worker=environment.worker, runbook=environment.runbook
        )
        self._object("Dashboard", "Dashboard", dashboard).node.add_dependency(*metrics)
        objective.node.add_dependency(*metrics)
        monitors = datadog.monitors(
            env=environment.environment,
            worker=environment.worker,
            runbook=environment.runbook,
            limits=alarm_limits(environment, settings),
            notify=environment.datadog_notify,
            has_domain=bool(environment.domain),
        )
        ids = {datadog.SLO_ID: objective.ref}
        for title, definition in monitors.items():
            for placeholder, id_ in ids.items():
                definition["query"] = definition["query"].replace(placeholder, id_)
            monitor = self._object("Monitor", title, definition)
            monitor.node.add_dependency(objective)
            ids[datadog.reference(title)] = monitor.ref

    def _provider_function(self, environment: Environment) -> lambda_.Function:
        arm = environment.architecture == "arm64"
        log = log_group(self, "Log", environment)
        function = lambda_.Function(
            self,
            "Api",
            role=function_role(self, "ApiRole", log_group=log),
            description=(
                "Creates, updates and deletes the dashboard, monitors and objective in Datadog"
            ),
            runtime=lambda_.Runtime(
                f"python{environment.function_python}", lambda_.RuntimeFamily.PYTHON
            ),
            architecture=lambda_.Architecture.ARM_64 if arm else lambda_.Architecture.X86_64,
            handler="handler.handler",
            code=lambda_.Code.from_asset(
                str(Path(__file__).with_name("datadog_api")), exclude=["__pycache__"]
            ),
            memory_size=256,
            timeout=_FUNCTION_TIMEOUT,
            retry_attempts=0,  # a second attempt would create a second object
            environment={
                "DATADOG_API": f"https://api.{environment.datadog_site}",
                "DD_API_KEY_SECRET_ARN": environment.datadog_api_key,
                "DD_APP_KEY_SECRET_ARN": environment.datadog_app_key,
            },
            log_group=log,
        )
        grant_secrets(function, environment.datadog_api_key, environment.datadog_app_key)
        return function

    def _object(
        self, kind: str, name: str, definition: datadog.Definition, *, shared: bool = False
    ) -> CustomResource:
        """One object in Datadog. A shared object outlives the stack, because all deployments in the
        account use it."""
        made = CustomResource(
            self,
            "".join(word.capitalize() for word in re.split(r"[\W_]+", name)),
            resource_type=f"Custom::Datadog{kind}",
            service_token=self._provider.function_arn,
            service_timeout=_SERVICE_TIMEOUT,
            # A JSON text, because CloudFormation turns numbers and booleans of properties into
            # strings.
            properties={"Kind": kind.lower(), "Definition": self.to_json_string(definition)},
            removal_policy=RemovalPolicy.RETAIN if shared else RemovalPolicy.DESTROY,
        )
        # including its permissions and its limit on retries
        made.node.add_dependency(self._provider)
        return made


def datadog_variables(environment: Environment) -> dict[str, str]:
    """Environment variables for Datadog's agent, extension and client; empty without Datadog."""
    if not environment.datadog:
        return {}
    return {
        "DD_API_KEY_SECRET_ARN": environment.datadog_api_key,
        "DD_SITE": environment.datadog_site,
        "DD_SERVICE": "asciist",
        "DD_ENV": environment.environment,
    }


def add_extension(function: lambda_.Function, environment: Environment) -> None:
    """Add Datadog's extension, the agent for functions; do nothing without Datadog."""
    if not environment.datadog:
        return
    arm = "-ARM" if environment.architecture == "arm64" else ""
    layer = Stack.of(function).format_arn(
        service="lambda",
        account=_EXTENSION_ACCOUNT,
        resource="layer",
        resource_name=f"Datadog-Extension{arm}:{_EXTENSION_VERSION}",
        arn_format=ArnFormat.COLON_RESOURCE_NAME,
    )
    function.add_layers(lambda_.LayerVersion.from_layer_version_arn(function, "Extension", layer))
    function.add_environment("DD_SERVERLESS_LOGS_ENABLED", "false")  # logs stay in CloudWatch
    grant_secrets(function, environment.datadog_api_key)
