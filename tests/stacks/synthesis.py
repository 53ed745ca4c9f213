"""Synthesized templates, by deployment and stack."""

import json
from functools import cache
from pathlib import Path
from typing import Any

import aws_cdk

import app as cdk_app
from stacks.environment import Environment

FLAGS = json.loads((Path(__file__).parents[2] / "cdk.json").read_text())["context"]

Resources = dict[str, dict[str, Any]]


def choose(environment: str = "dev", **values: str | bool) -> Environment:
    """Return the environment of a file with other values, and without a domain or anybody to page if none is given."""
    chosen = {"plain_http": True, "pages_nobody": True, **values}
    return Environment.load(
        environment, {key: str(value).lower() if value in (True, False) else str(value) for key, value in chosen.items()}
    )


@cache
def bundle() -> Path:
    """A placeholder for both bundles, whose contents do not appear in templates."""
    directory = Path(aws_cdk.FileSystem.mkdtemp("asciist-bundle-"))
    (directory / "boot").write_text("")
    return directory


@cache
def synthesized(environment: Environment) -> dict[str, dict[str, Any]]:
    """The templates of a deployment, keyed by the last word of the stack's name. Raises if cdk-nag has a finding."""
    app = aws_cdk.App(context=FLAGS)
    cdk_app.compose(app, environment, build_function=lambda _: bundle(), build_release=lambda _: bundle())
    assembly = app.synth()
    return {stack.stack_name.rpartition("-")[2]: stack.template for stack in assembly.stacks}


def resources(environment: Environment, kind: str, stack: str = "") -> Resources:
    """The resources of a type, in one stack or in all, keyed by logical id."""
    templates = synthesized(environment)
    return {
        name: resource
        for key in ([stack] if stack else templates)
        for name, resource in templates[key]["Resources"].items()
        if resource["Type"] == kind
    }


def only(found: Resources) -> dict[str, Any]:
    """The properties of the only resource found."""
    (resource,) = found.values()
    properties: dict[str, Any] = resource["Properties"]
    return properties
