"""What Datadog needs of a deployment: its dashboard, monitors and objective, and settings for what sends metrics.

docs/decisions/0014 says why the objects are custom resources that call Datadog's API.
"""

from pathlib import Path
from typing import Final

from aws_cdk import ArnFormat, CustomResource, Duration, RemovalPolicy, Stack
from aws_cdk import aws_lambda as lambda_
from constructs import Construct

from asciist.settings import Settings
from observability import alarms, datadog
from stacks.environment import Environment
from stacks.logs import log_group
from stacks.permissions import grant_secrets

_EXTENSION_VERSION: Final = 103
"""Of the extension's layers: https://github.com/DataDog/datadog-lambda-extension/releases."""
_EXTENSION_ACCOUNT: Final = "464622532012"
"""Datadog's own, which publishes its layers."""

_CALLS: Final = Duration.minutes(14)
"""Datadog knows a metric minutes after its first value at times; Lambda gives a quarter of an hour."""
_ANSWER: Final = Duration.minutes(15)
"""CloudFormation waits for a function that was killed until then, and not for its own hour."""


class DatadogStack(Stack):
    """Each object in Datadog is a resource: created, changed, rolled back and deleted with the deployment."""

    def __init__(self, scope: Construct, name: str, *, environment: Environment, settings: Settings) -> None:
        super().__init__(scope, name)
        self._service = self._calls_of_the_api(environment)
        # Without percentiles there is nothing that the others could ask for.
        metrics = [
            self._object("Metric", name, definition, shared=True)
            for name, definition in datadog.metric_configurations().items()
        ]
        objective = self._object("Slo", "Objective", datadog.slo(environment.environment))
        dashboard = datadog.dashboard(environment.environment, runbook=environment.runbook)
        self._object("Dashboard", "Dashboard", dashboard).node.add_dependency(*metrics)
        objective.node.add_dependency(*metrics)
        monitors = datadog.monitors(
            env=environment.environment,
            runbook=environment.runbook,
            deadline_seconds=settings.timeouts.request,
            notify=environment.datadog_notify,
        )
        for text, definition in monitors.items():
            if _is_of_use(text, environment):
                definition["query"] = definition["query"].replace(datadog.SLO_ID, objective.ref)
                self._object("Monitor", text.title, definition).node.add_dependency(objective)

    def _calls_of_the_api(self, environment: Environment) -> lambda_.Function:
        arm = environment.architecture == "arm64"
        function = lambda_.Function(
            self,
            "Api",
            description="Keeps the dashboard, monitors and objective in Datadog",
            runtime=lambda_.Runtime(f"python{environment.function_python}", lambda_.RuntimeFamily.PYTHON),
            architecture=lambda_.Architecture.ARM_64 if arm else lambda_.Architecture.X86_64,
            handler="handler.handler",
            code=lambda_.Code.from_asset(str(Path(__file__).with_name("datadog_api")), exclude=["__pycache__"]),
            memory_size=256,
            timeout=_CALLS,
            retry_attempts=0,  # a second attempt would create a second object
            environment={
                "DATADOG_API": f"https://api.{environment.datadog_site}",
                "DD_API_KEY_SECRET_ARN": environment.datadog_api_key,
                "DD_APP_KEY_SECRET_ARN": environment.datadog_app_key,
            },
            log_group=log_group(self, "Log", environment),
        )
        grant_secrets(function, environment.datadog_api_key, environment.datadog_app_key)
        return function

    def _object(self, kind: str, name: str, definition: datadog.Definition, *, shared: bool = False) -> CustomResource:
        """One object, which outlives the stack when other deployments of the account use it, too."""
        made = CustomResource(
            self,
            "".join(word.capitalize() for word in name.replace(".", " ").replace("_", " ").split()),
            resource_type=f"Custom::Datadog{kind}",
            service_token=self._service.function_arn,
            service_timeout=_ANSWER,
            # As text: CloudFormation would make strings of numbers and truths.
            properties={"Kind": kind.lower(), "Definition": self.to_json_string(definition)},
            removal_policy=RemovalPolicy.RETAIN if shared else RemovalPolicy.DESTROY,
        )
        made.node.add_dependency(self._service)  # all of it: that it is not called twice, and what it may read
        return made


def datadog_variables(environment: Environment) -> dict[str, str]:
    """What agent, extension and client of Datadog read, in function and instances alike; nothing without Datadog."""
    if not environment.datadog:
        return {}
    return {
        "DD_API_KEY_SECRET_ARN": environment.datadog_api_key,
        "DD_SITE": environment.datadog_site,
        "DD_SERVICE": "asciist",
        "DD_ENV": environment.environment,
    }


def add_extension(function: lambda_.Function, environment: Environment) -> None:
    """Datadog's extension, the agent of a function; nothing without Datadog."""
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


def _is_of_use(text: alarms.AlarmText, environment: Environment) -> bool:
    if text in (alarms.THROTTLES, alarms.CONVERTER_ERRORS):
        return environment.worker == "lambda"
    return text is not alarms.NO_TRAFFIC or environment.environment == "prod"  # nobody uses dev most of the time
