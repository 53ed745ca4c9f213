"""CloudFormation and the deployed function create, change and delete the objects in Datadog with
their stack."""

from pathlib import Path

import pytest

from asciist.settings import Settings
from operations.deployment import DeploymentError
from operations.observability import datadog
from stacks.environment import Environment
from stacks.limits import alarm_limits
from tests.emulated.datadog_account import copy_for_datadog, with_datadog
from tests.emulated.deployment import Deployment
from tests.emulated.emulator import Emulator
from tests.stacks.datadog_server import DatadogServer

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

STACK = "asciist-dev-datadog"


def test_objects_are_created_changed_rolled_back_and_deleted_with_their_stack(
    tmp_path: Path,
) -> None:
    with DatadogServer() as server, Emulator(enforce_iam=True) as emulator:
        project = copy_for_datadog(tmp_path, server)
        account, context = server.account, with_datadog(emulator, server)
        with Deployment(emulator, project=project, context=context) as deployment:
            deployment.bootstrap()
            deploy(deployment)
            limits = alarm_limits(Environment.load("dev"), Settings())
            kinds = [path.split("/")[3] for path in account.objects]
            (slo,) = [path.rpartition("/")[2] for path in account.objects if "/slo/" in path]
            burns = [
                body["query"]
                for path, body in account.objects.items()
                if body.get("type") == "slo alert"
            ]
            assert {kind: kinds.count(kind) for kind in set(kinds)} == {
                "dashboard": 1,
                "slo": 1,
                "monitor": len(
                    datadog.monitors(env="dev", worker="lambda", runbook="", limits=limits)
                ),
                "metrics": len(datadog.metric_configurations()),
            }
            assert len(burns) == 2
            assert all(f'burn_rate("{slo}")' in query for query in burns)

            before = dict(account.objects)
            deployment.context["datadog_notify"] = "@pagerduty-asciist"
            deploy(deployment)
            assert account.objects.keys() == before.keys()
            for path, body in account.objects.items():
                if "/monitor/" in path:
                    assert body["message"].endswith("@pagerduty-asciist") is (
                        "(part: " not in body["name"]
                    )
                if body.get("type") == "composite":
                    assert all(
                        f"/api/v1/monitor/{part}" in account.objects
                        for part in body["query"].split(" && ")
                    )

            before = dict(account.objects)
            deployment.context["datadog_notify"] = "@refused"
            account.refuses = "@refused"
            with pytest.raises(
                DeploymentError, match="Datadog answers 400 to PUT /api/v1/monitor/"
            ):
                deploy(deployment)
            assert account.objects == before

            deployment.cdk("destroy", "--app", str(deployment.deployed), STACK, "--force")
            assert {path.split("/")[3] for path in account.objects} == {"metrics"}


def deploy(deployment: Deployment) -> None:
    app = deployment.app(deployment.deployed)
    deployment.cdk("deploy", STACK, "--exclusively", "--require-approval", "never", *app)
