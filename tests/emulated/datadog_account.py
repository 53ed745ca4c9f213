"""Lets a deployment in the emulator manage its objects in a local Datadog account."""

from pathlib import Path

import boto3

from operations.deployment import copy_of_the_project
from operations.observability import datadog
from tests.emulated.emulator import Emulator
from tests.stacks.datadog_server import KEYS, DatadogServer


def copy_for_datadog(into: Path, server: DatadogServer) -> Path:
    """Copy the project, with the address of `server` for Datadog's API."""
    project = copy_of_the_project(into)
    stack = project / "stacks/datadog.py"
    text = stack.read_text()
    stack.write_text(
        text.replace('f"https://api.{environment.datadog_site}"', repr(server.address))
    )
    assert stack.read_text() != text
    return project


def with_datadog(emulator: Emulator, server: DatadogServer) -> dict[str, str]:
    """Store the account's keys in the emulator, and return the CDK context of a deployment with
    Datadog.

    The account already knows the metrics; otherwise the stack would wait for their first values.
    """
    server.account.known_metrics = set(datadog.metric_configurations())
    secrets = boto3.client("secretsmanager", **emulator.client_arguments)
    names = ("datadog_api_key", "datadog_app_key")
    return {
        name: secrets.create_secret(Name=f"datadog/{name}", SecretString=key)["ARN"]
        for name, key in zip(names, KEYS, strict=True)
    }
