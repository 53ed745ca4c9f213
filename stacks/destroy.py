"""Destroys a deployment, with its reply queues and its data.

    python -m stacks.destroy ENVIRONMENT [--yes] [-c KEY=VALUE]...

It deletes the tiers first, then everything that their instances wrote or left behind. It refuses a
deployment with `keeps_data`.
"""

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from stacks.bundles import ROOT
from stacks.environment import Environment
from stacks.values import ContextError

_TIERS: Final = ("datadog", "observability", "edge", "worker", "web")
_FOUNDATIONS: Final = ("network", "storage")


def destroy(environment: Environment, context: Sequence[str] = ()) -> None:
    """Delete all stacks, reply queues and objects of a deployment. `context` contains the values of
    the CDK's option `-c`.

    Calls AWS with the credentials and the region of the process. Raises ContextError if the
    deployment keeps its data, and CalledProcessError if a stack cannot be deleted; a second call
    continues.
    """
    import boto3  # noqa: PLC0415 - the stacks, which import the package, do not need it

    if environment.sizes.keeps_data:
        raise ContextError(
            f"{environment.prefix} keeps its data: set keeps_data = false in"
            f" environments/{environment.environment}.toml and deploy, before you destroy it"
        )
    stacks = boto3.client("cloudformation")
    buckets = list(_buckets(stacks, f"{environment.prefix}-storage"))
    with tempfile.TemporaryDirectory() as assembly:
        values = [
            part
            for value in (f"environment={environment.environment}", *context)
            for part in ("-c", value)
        ]
        _cdk("synth", "--quiet", "--output", assembly, *values)
        # Instances note their reply queues in the bucket and delete them when they stop, for which
        # they need the network.
        _cdk_destroy(environment, _TIERS, assembly)
        _clean_up(environment, buckets)
        _cdk_destroy(environment, _FOUNDATIONS, assembly)


def _clean_up(environment: Environment, buckets: Iterable[str]) -> None:
    """Delete the remaining reply queues, and all objects."""
    import boto3  # noqa: PLC0415 - as above

    sqs = boto3.client("sqs")
    for page in sqs.get_paginator("list_queues").paginate(
        QueueNamePrefix=f"{environment.prefix}-reply-"
    ):
        for queue in page.get("QueueUrls", ()):
            print(f"deleting the queue {queue}")
            sqs.delete_queue(QueueUrl=queue)
    for bucket in buckets:
        print(f"emptying the bucket {bucket}")
        boto3.resource("s3").Bucket(bucket).objects.delete()


def _buckets(cloudformation: Any, stack: str) -> Iterator[str]:
    """Yield the names of the buckets of a stack, if the stack exists."""
    try:
        for page in cloudformation.get_paginator("list_stack_resources").paginate(StackName=stack):
            for resource in page["StackResourceSummaries"]:
                if (
                    resource["ResourceType"] == "AWS::S3::Bucket"
                    and resource["ResourceStatus"] != "DELETE_COMPLETE"
                ):
                    yield resource["PhysicalResourceId"]
    except cloudformation.exceptions.ClientError as error:
        if "does not exist" not in str(error):
            raise


def _cdk_destroy(environment: Environment, stacks: Sequence[str], assembly: str) -> None:
    _cdk(
        "destroy",
        "--app",
        assembly,
        "--exclusively",
        "--force",
        *(f"{environment.prefix}-{stack}" for stack in stacks),
    )


def _cdk(*arguments: str) -> None:
    command: list[str | Path] = [ROOT / "tools/cdk", *arguments]
    # No shell, and only names that were validated.
    subprocess.run(command, cwd=ROOT, check=True)  # noqa: S603


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m stacks.destroy", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("environment", help="name of a file of environments/, such as dev")
    parser.add_argument("--yes", action="store_true", help="do not ask")
    parser.add_argument(
        "-c",
        dest="context",
        action="append",
        default=[],
        help="a CDK context value, such as worker=asg",
    )
    arguments = parser.parse_args()
    try:
        overrides = dict(value.split("=", 1) for value in arguments.context)
        environment = Environment.load(arguments.environment, overrides)
        if (
            not arguments.yes
            and input(f"Type {environment.prefix} to delete it with its data: ")
            != environment.prefix
        ):
            sys.exit("asciist: nothing deleted")
        destroy(environment, arguments.context)
    except ValueError:
        parser.error("a context value has the form NAME=VALUE")
    except ContextError as error:
        sys.exit(f"asciist: {error}")
    except subprocess.CalledProcessError:
        sys.exit(
            "asciist: a stack could not be deleted; the CDK has said why, and the same command goes"
            " on from there"
        )


if __name__ == "__main__":
    main()
