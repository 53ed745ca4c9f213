"""Synthesized templates, by deployment and stack.

Functions import the CDK, because it starts Node.js: each process of the tests imports this module
to collect them, and few of them synthesize.
"""

import json
import tempfile
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stacks.environment import Environment

if TYPE_CHECKING:
    from aws_cdk import App

FLAGS = json.loads((Path(__file__).parents[2] / "cdk.json").read_text())["context"]

Resources = dict[str, dict[str, Any]]


def choose(environment: str = "dev", **values: str | bool) -> Environment:
    """Return the environment of a file with other values. By default, it has no domain and no
    recipient of alarms."""
    chosen = {"plain_http": True, "pages_nobody": True, **values}
    return Environment.load(
        environment,
        {
            key: str(value).lower() if value in (True, False) else str(value)
            for key, value in chosen.items()
        },
    )


@cache
def bundle() -> Path:
    """A placeholder for both bundles. Templates do not contain bundle contents."""
    directory = Path(tempfile.mkdtemp(prefix="asciist-bundle-"))
    (directory / "boot").write_text("")
    return directory


def new_app(directory: Path | None = None) -> "App":
    """Return an app without stacks, whose assembly is written to a directory of its own or to the
    given one."""
    from aws_cdk import App

    return App(context=FLAGS, outdir=str(directory) if directory else None)


def compose(app: "App", environment: Environment) -> "App":
    """Add the stacks of a deployment to `app`, with placeholders for the bundles."""
    import app as cdk_app

    return cdk_app.compose(
        app, environment, build_function=lambda _: bundle(), build_release=lambda _: bundle()
    )


@cache
def synthesized(environment: Environment) -> dict[str, dict[str, Any]]:
    """The templates of a deployment, keyed by the last word of the stack's name. Raises if cdk-nag
    has a finding."""
    assembly = compose(new_app(), environment).synth()
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
