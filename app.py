"""The CDK app: reads one `Environment` from the context and composes the stacks of a deployment."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import cast

import cdk_nag
from aws_cdk import App, Tags, Validations

from stacks import bundles
from stacks.datadog import DatadogStack
from stacks.edge import EdgeStack
from stacks.environment import Environment
from stacks.findings import acknowledge
from stacks.network import NetworkStack
from stacks.observability import ObservabilityStack
from stacks.storage import StorageStack
from stacks.values import ContextError
from stacks.web import WebStack
from stacks.worker import WorkerStack

Build = Callable[[bundles.Target], Path]


def compose(
    app: App,
    environment: Environment,
    *,
    build_function: Build = bundles.function_bundle,
    build_release: Build = bundles.release_bundle,
) -> App:
    """Add the stacks of a deployment to `app`. Tests replace the builders of the function and the
    release."""
    settings = environment.settings
    architecture = cast("bundles.Architecture", environment.architecture)
    instance_target = bundles.Target(architecture=architecture, python=bundles.INSTANCE_PYTHON)
    function_target = bundles.Target(architecture=architecture, python=environment.function_python)
    prefix = environment.prefix
    storage = StorageStack(
        app, f"{prefix}-storage", environment=environment, timeouts=settings.timeouts
    )
    network = NetworkStack(
        app,
        f"{prefix}-network",
        environment=environment,
        settings=settings,
        artifacts=storage.artifacts,
    )
    web = WebStack(
        app,
        f"{prefix}-web",
        environment=environment,
        settings=settings,
        artifacts=storage.artifacts,
        requests=storage.requests,
        access_logs=storage.access_logs,
        link_keys=storage.link_keys,
        network=network,
        release=build_release(instance_target),
    )
    EdgeStack(
        app, f"{prefix}-edge", environment=environment, web=web, access_logs=storage.access_logs
    )
    worker = WorkerStack(
        app,
        f"{prefix}-worker",
        environment=environment,
        settings=settings,
        artifacts=storage.artifacts,
        requests=storage.requests,
        network=network,
        bundle=build_function(function_target)
        if environment.worker == "lambda"
        else build_release(instance_target),
    )
    ObservabilityStack(
        app,
        f"{prefix}-observability",
        environment=environment,
        settings=settings,
        requests=storage.requests,
        dead_letters=storage.dead_letters,
        web=web,
        worker=worker,
    )
    DatadogStack(app, f"{prefix}-datadog", environment=environment, settings=settings)
    if environment.datadog:
        # Datadog identifies a deployment's resources by this tag
        Tags.of(app).add("env", environment.environment)
    Tags.of(app).add("service", "asciist")
    Tags.of(app).add("environment", environment.environment)
    acknowledge(app, environment)
    Validations.of(app).add_plugins(cdk_nag.AwsSolutionsChecks(app))
    return app


def main() -> None:
    app = App()
    try:
        environment = Environment.from_context(app.node.get_all_context())
        compose(app, environment)
    except (ContextError, bundles.BundleError) as error:
        sys.exit(f"asciist: {error}")
    app.synth()


if __name__ == "__main__":
    main()
