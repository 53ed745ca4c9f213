"""A deployment in an AWS account, managed as a person would: with the CDK command, and with calls
that read its state.

    deployment = Deployment(context={"environment": "dev", "worker": "asg"})
    deployment.deploy()
    print(deployment.outputs("web")["Url"])

`python -m operations.deployment prod` prints the address of that deployment. Credentials and the
region come from the environment. `tests.emulated.deployment` does the same in an emulated account.
"""

import itertools
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPException
from pathlib import Path
from typing import Any, Final

import boto3
from botocore.exceptions import BotoCoreError, ClientError

from asciist.options import STYLES
from operations.smoke import Smoke
from stacks.bundles import CACHE

ROOT: Final = Path(__file__).parents[1]
_SYNTHESIZED: Final = ("LICENSE", "app.py", "cdk.json", "pyproject.toml")
_FOLDERS: Final = (
    "asciist",
    "docs/examples",
    "environments",
    "lambda_worker",
    "operations",
    "service",
    "stacks",
    "tools",
)


class DeploymentError(Exception):
    """The CDK command failed, or an instance did not become ready. The message ends with its
    output."""


class Deployment:
    """All stacks of one environment."""

    def __init__(
        self,
        *,
        project: Path = ROOT,
        context: Mapping[str, str] | None = None,
        directory: Path | None = None,
        variables: Mapping[str, str] | None = None,
        client_arguments: Mapping[str, Any] | None = None,
    ) -> None:
        """`context` contains the values of the CDK's `-c` options; `project` is a checkout, whose
        `.venv` may be a link.

        The CDK writes to `directory`, by default a new one. It receives `variables` in addition to
        the environment of this process, and boto3's clients get `client_arguments`.
        """
        self.project = project
        self.context: dict[str, str] = dict(context or {})
        self.environment = self.context.get("environment", "dev")
        self.prefix = f"asciist-{self.environment}"
        self.directory = directory or Path(tempfile.mkdtemp(prefix="deployment-"))
        self._variables, self._client_arguments = (
            dict(variables or {}),
            dict(client_arguments or {}),
        )

    def bootstrap(self) -> str:
        """Prepare the account for the CDK. Return the command's output, like `deploy` and
        `destroy`."""
        account = self.aws("sts").get_caller_identity()["Account"]
        # in the project, the command would synthesize the stacks
        with tempfile.TemporaryDirectory() as elsewhere:
            command = (
                ROOT / "tools/cdk",
                "bootstrap",
                f"aws://{account}/{self.aws('sts').meta.region_name}",
            )
            return self._run(*command, directory=Path(elsewhere))

    def synthesize(self, assembly: Path) -> None:
        """Write the assembly that `deploy` would deploy into a directory."""
        self.cdk("synth", "--quiet", *self.app(assembly))

    def deploy(self, assembly: Path | None = None) -> str:
        """Create or update all stacks, from the sources or from an assembly.

        Raises DeploymentError with CloudFormation's reason if it rolled back.
        """
        app = ["--app", str(assembly)] if assembly else self.app(self.deployed)
        return self.cdk("deploy", "--all", "--require-approval", "never", *app)

    @property
    def deployed(self) -> Path:
        """The directory with the assembly of the last `deploy` from the sources."""
        return self.directory / "cdk.out"

    def diff(self, assembly: Path) -> str:
        """Return the changes that deploying an assembly would make, stack by stack; empty if
        none."""
        output = self.cdk("diff", "--app", str(assembly))
        if "Number of stacks with differences: 0" in output:
            return ""
        _, *stacks = re.split(r"^(?=Stack )", output, flags=re.MULTILINE)
        return (
            "".join(stack for stack in stacks if "There were no differences" not in stack) or output
        )

    def destroy(self) -> str:
        """Delete the deployment with its data, like `make destroy`."""
        context = [
            part
            for name, value in self.context.items()
            if name != "environment"
            for part in ("-c", f"{name}={value}")
        ]
        return self._run(
            sys.executable, "-m", "stacks.destroy", self.environment, "--yes", *context
        )

    def outputs(self, tier: str) -> dict[str, str]:
        """Return the outputs of a tier's stack. Raises botocore's ClientError if there is no such
        stack."""
        (stack,) = self.aws("cloudformation").describe_stacks(StackName=f"{self.prefix}-{tier}")[
            "Stacks"
        ]
        return {output["OutputKey"]: output["OutputValue"] for output in stack.get("Outputs", [])}

    def physical_ids(self, tier: str, resource_type: str) -> dict[str, str]:
        """Return the resources of a type in a tier's stack, as {physical id: logical id}."""
        pages = (
            self.aws("cloudformation")
            .get_paginator("list_stack_resources")
            .paginate(StackName=f"{self.prefix}-{tier}")
        )
        return {
            resource["PhysicalResourceId"]: resource["LogicalResourceId"]
            for page in pages
            for resource in page["StackResourceSummaries"]
            if resource["ResourceType"] == resource_type
        }

    def stacks(self) -> list[str]:
        """Return the names of the stacks of this environment that exist."""
        pages = self.aws("cloudformation").get_paginator("describe_stacks").paginate()
        return [
            stack["StackName"]
            for page in pages
            for stack in page["Stacks"]
            if stack["StackName"].startswith(f"{self.prefix}-")
            and stack["StackStatus"] != "DELETE_COMPLETE"
        ]

    def remains(self) -> list[str]:
        """Return everything left with names of this environment: stacks, queues, buckets, log
        groups, and images of instances."""
        names = [("stack", name) for name in self.stacks()]
        names += [
            ("queue", url.rpartition("/")[2])
            for url in self.aws("sqs")
            .list_queues(QueueNamePrefix=f"{self.prefix}-")
            .get("QueueUrls", [])
        ]
        names += [("bucket", bucket["Name"]) for bucket in self.aws("s3").list_buckets()["Buckets"]]
        groups = self.aws("logs").get_paginator("describe_log_groups").paginate()
        names += [
            ("log group", group["logGroupName"]) for page in groups for group in page["logGroups"]
        ]
        images = self.aws("ec2").describe_images(Owners=["self"])["Images"]
        names += [("image", image.get("Name", "")) for image in images]
        return [f"{kind} {name}" for kind, name in names if f"{self.prefix}-" in name]

    def smoke(self) -> Smoke:
        """Return the smoke test of this deployment, which also sends single requests."""
        return Smoke(self.outputs("web")["Url"])

    def aws(self, service: str) -> Any:
        """Return a boto3 client with the deployer's credentials."""
        return boto3.client(service, **self._client_arguments)

    def cdk(self, *arguments: str) -> str:
        """Run the CDK command in the project, and return its output. Raises DeploymentError."""
        return self._run(ROOT / "tools/cdk", *arguments)

    def _run(self, *command: str | Path, directory: Path | None = None) -> str:
        done = subprocess.run(
            command,
            cwd=directory or self.project,
            env={**os.environ, **self._variables},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        output = done.stdout + done.stderr
        if done.returncode:
            raise DeploymentError(f"{' '.join(map(str, command[:3]))} failed:\n{output[-6000:]}")
        return output

    def app(self, assembly: Path) -> list[str]:
        """Return the CDK options that run the project's app and write the assembly to a
        directory."""
        context = [
            part for name, value in self.context.items() for part in ("-c", f"{name}={value}")
        ]
        return ["--output", str(assembly), *context]


def templates(assembly: Path) -> dict[str, str]:
    """Return the template of each stack of an assembly by the name of its file."""
    return {path.name: path.read_text() for path in assembly.glob("*.template.json")}


def copy_of_the_project(into: Path) -> Path:
    """Copy the files of a synth, so that they can be changed. Return the copy, which shares built
    bundles."""
    project = into / "project"
    project.mkdir()
    for name in _SYNTHESIZED:
        shutil.copy(ROOT / name, project)
    for name in _FOLDERS:
        shutil.copytree(ROOT / name, project / name, ignore=shutil.ignore_patterns("__pycache__"))
    (project / ".venv").symlink_to(Path(sys.prefix))
    CACHE.mkdir(exist_ok=True)  # the link needs a target
    (project / CACHE.name).symlink_to(CACHE)
    return project


@dataclass
class Load:
    """Outcomes of the requests of a load."""

    statuses: list[int] = field(default_factory=list)
    """Status of each request, in the order of sending; 0 for no answer."""

    @property
    def failed(self) -> int:
        """Number of requests without a 200."""
        return sum(status != 200 for status in self.statuses)

    def __str__(self) -> str:
        counts = Counter(status for status in self.statuses if status != 200)
        kinds = ", ".join(
            f"{status or 'no answer'}: {count}" for status, count in sorted(counts.items())
        )
        return f"{len(self.statuses)} requests, {self.failed} failed" + (
            f" ({kinds})" if kinds else ""
        )


@contextmanager
def light_load(target: Smoke, *, pause_seconds: float = 0) -> Iterator[Load]:
    """Send requests for new art, one after another, until the context ends."""
    image = (ROOT / "docs" / "examples" / "rocket.jpg").read_bytes()
    load, stopping = Load(), threading.Event()

    def send() -> None:
        for style, width in itertools.cycle(itertools.product(STYLES, range(100, 1000))):
            if stopping.wait(pause_seconds):
                return
            try:
                load.statuses.append(
                    target.request("PUT", f"/photo?width={width}&style={style}", image).status
                )
            except (OSError, HTTPException):
                load.statuses.append(0)
                time.sleep(0.1)  # a refused connection takes no time

    thread = threading.Thread(target=send)
    thread.start()
    try:
        yield load
    finally:
        stopping.set()
        thread.join()


def deployed_url(environment: str) -> str:
    """Return the address of a deployment, an output of its web stack. Raises DeploymentError if
    there is none."""
    try:
        return Deployment(context={"environment": environment}).outputs("web")["Url"]
    except ClientError as error:
        raise DeploymentError(
            f"{environment} is not deployed in this account and region: {error}"
        ) from error
    except BotoCoreError as error:  # such as missing credentials
        raise DeploymentError(f"cannot ask the account for {environment}: {error}") from error


def main() -> None:
    if len(sys.argv) != 2:
        sys.exit("usage: python -m operations.deployment ENVIRONMENT")
    try:
        print(deployed_url(sys.argv[1]))
    except DeploymentError as error:
        sys.exit(f"asciist: {error}")


if __name__ == "__main__":
    main()
