"""Deploys the stacks with the CDK command into an emulated account, and runs their instances as
local processes.

    with Emulator(enforce_iam=True) as emulator, Deployment(emulator) as deployment:
        deployment.bootstrap()
        deployment.deploy()
        deployment.launch("web", "127.0.0.11")
        answer = deployment.request("POST", "/?width=80", image)

The emulator's auto-scaling groups start no instances. `launch` starts one from the deployed
resources: it reads the unit and its variables from the launch template's user data, the permissions
from the instance profile, and the command from the unit file.
"""

import base64
import contextlib
import http.client
import itertools
import os
import re
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self
from urllib.parse import urlsplit

import boto3

from operations import deployment
from operations.deployment import DeploymentError
from operations.smoke import Smoke
from stacks.bundles import Target
from tests.emulated.emulator import REGION, ROOT, Emulator

_HERE: Final = Target.here()
THIS_MACHINE: Final = {"architecture": _HERE.architecture, "function_python": _HERE.python}
"""CDK context of a deployment that this machine can run."""


_NETWORK: Final = "127.0.0.0/8"
"""Network of all tiers, in place of the VPC's."""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """A response from the load balancer."""

    status: int
    headers: Mapping[str, str]
    """Headers by name, in lower case."""
    body: bytes


class Instance:
    """One unit of the release, run as a local process in place of an EC2 instance. Created by
    `Deployment.launch`."""

    def __init__(
        self, *, unit: str, address: str, port: int, process: "subprocess.Popen[bytes]", log: Path
    ) -> None:
        self.unit = unit
        self.address = address
        self.port = port
        self.process = process
        """The unit's main process: gunicorn's master, or the poller."""
        self._log = log

    @property
    def log(self) -> str:
        """The output of the unit so far."""
        return self._log.read_text(errors="replace")

    def stop(self, timeout: float = 60) -> int:
        """Stop like systemd, with time for in-flight requests, and return the exit status. Kills
        after `timeout` seconds."""
        with contextlib.suppress(ProcessLookupError):
            self.process.terminate()
        try:
            return self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()

    def _is_ready(self) -> bool:
        if self.unit != "asciist-web":
            return "polling with" in self.log
        connection = http.client.HTTPConnection(self.address, self.port, timeout=5)
        with contextlib.suppress(OSError), contextlib.closing(connection):
            connection.request("GET", "/readyz")
            return connection.getresponse().status == 200
        return False


class Deployment(deployment.Deployment):
    """All stacks of one environment in one emulated account.

    Leaving the context stops the instances. The stacks remain until `destroy`, or until the
    emulator stops.
    """

    def __init__(
        self, emulator: Emulator, *, project: Path = ROOT, context: Mapping[str, str] | None = None
    ) -> None:
        """`context` contains the values of the CDK's `-c` options, in addition to `THIS_MACHINE`.
        `project` is a checkout; its `.venv` may be a link."""
        directory = Path(tempfile.mkdtemp(prefix="deployment-", dir=emulator.directory))
        super().__init__(
            project=project,
            context={**THIS_MACHINE, **(context or {})},
            directory=directory,
            # The CDK caches facts about accounts in its home directory. Those of an emulated
            # account must not persist.
            variables={**emulator.environment, "CDK_HOME": str(directory / "cdk")},
            client_arguments=emulator.client_arguments,
        )
        self.emulator = emulator
        self.instances: list[Instance] = []
        # of addresses that no instance has: a target is removed by its address alone
        self._octets = itertools.count(20)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _kind: object, error: object, _traceback: object) -> None:
        for instance in self.instances:
            with contextlib.suppress(ProcessLookupError):
                instance.process.terminate()
        for instance in self.instances:
            instance.stop()
            if isinstance(error, Exception):
                error.add_note(
                    f"The output of {instance.unit} at {instance.address} ends"
                    f" with:\n{instance.log[-2000:]}"
                )

    def deploy(self, assembly: Path | None = None) -> str:
        output = super().deploy(assembly)
        self._let_functions_call_back()
        return output

    def smoke(self) -> Smoke:
        """Return the smoke test, which connects to the emulator in place of the load balancer's
        address."""
        return Smoke(self.outputs("web")["Url"], connect_to=f"127.0.0.1:{self.emulator.port}")

    def deploy_and_launch(self, tier: str, address: str) -> str:
        """Deploy, and launch an instance of a new group as soon as the group exists.

        A group starts its instances when it is created, and CloudFormation waits for them before it
        deletes what they replace.
        """
        with ThreadPoolExecutor(1) as pool:
            deploying = pool.submit(Deployment.deploy, self)
            while not deploying.done():
                if self.physical_ids(tier, "AWS::AutoScaling::AutoScalingGroup"):
                    self.launch(tier, address)
                    return deploying.result()
                time.sleep(0.05)
            deploying.result()
        raise DeploymentError(f"the deployment has created no group in the {tier} stack")

    @property
    def connect_to(self) -> str:
        """Value for curl to reach the load balancer: `curl --connect-to {connect_to}
        {outputs("web")["Url"]}`."""
        return f"::127.0.0.1:{self.emulator.port}"

    def request(
        self, method: str, target: str, body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> Answer:
        """Send a request through the load balancer. Raises OSError if it closes the connection."""
        host = urlsplit(self.outputs("web")["Url"]).netloc
        connection = http.client.HTTPConnection("127.0.0.1", self.emulator.port, timeout=60)
        with contextlib.closing(connection):
            connection.request(method, target, body, {"Host": host, **(headers or {})})
            response = connection.getresponse()
            named = {name.lower(): value for name, value in response.getheaders()}
            return Answer(status=response.status, headers=named, body=response.read())

    def launch(self, tier: str, address: str, *, timeout: float = 30) -> Instance:
        """Run an instance of the group of a tier ("web" or "worker") at a loopback address
        (127.0.0.x), and register it with the group's target group. Raises DeploymentError if it is
        not ready within `timeout` seconds."""
        with socket.create_server((address, 0)) as free:
            port = int(free.getsockname()[1])
        unit, command, variables = self.program(tier, address, port)
        log = self.directory / f"{unit}-{address}-{port}.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                command,
                cwd=self.project,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                process_group=self.emulator.process_group,  # ends with the emulator
                env=variables,
            )
        instance = Instance(unit=unit, address=address, port=port, process=process, log=log)
        self.instances.append(instance)
        give_up = time.monotonic() + timeout
        while not instance._is_ready():
            if process.poll() is not None or time.monotonic() > give_up:
                raise DeploymentError(
                    f"{unit} at {address} did not become ready:\n{instance.log[-4000:]}"
                )
            time.sleep(0.05)
        self.register(instance, tier)
        for group in self.physical_ids(tier, "AWS::AutoScaling::AutoScalingGroup"):
            self.emulator.add_instance(group, process.pid)
        return instance

    def program(self, tier: str, address: str, port: int) -> tuple[str, list[str], dict[str, str]]:
        """Return the unit of a tier's instances, its command, and its variables at an address and a
        port.

        The command's working directory is the project.
        """
        user_data, role = self._launch_template(tier)
        unit, variables = _unit_of(user_data)
        command, defaults = _command_of(unit, self.project)
        environment = {
            "PATH": os.defpath,
            **defaults,
            **variables,
            **self._secrets(variables, role),
            **self.emulator.role_environment(role),
            "ASCIIST_HOST": address,
            "ASCIIST_PORT": str(port),
            "ASCIIST_INSTANCE": address,
            "ASCIIST_CALLBACK_NETWORKS": _NETWORK,
        }
        return unit, command, environment

    def roll(self, tier: str) -> None:
        """Replace the instances of a tier one at a time, like its group after an update of its
        launch template.

        An old instance stops once the new one is ready and receives its requests, and its own
        requests have finished.
        """
        unit = f"asciist-{'web' if tier == 'web' else 'poller'}"
        for old in [
            instance
            for instance in self.instances
            if instance.unit == unit and instance.process.poll() is None
        ]:
            self.launch(tier, self._address())
            self.deregister(old, tier)
            self._stop(old)

    def _stop(self, instance: Instance) -> None:
        """Stop an instance if it is running. Raises DeploymentError if its exit status was not
        0."""
        if (status := instance.stop()) != 0:
            raise DeploymentError(
                f"{instance.unit} at {instance.address} stopped with status"
                f" {status}:\n{instance.log[-4000:]}"
            )

    def register(self, instance: Instance, tier: str = "web") -> None:
        """Add an instance to the load balancer's targets. Does nothing in a tier without a load
        balancer."""
        for group in self.physical_ids(tier, "AWS::ElasticLoadBalancingV2::TargetGroup"):
            targets = [{"Id": instance.address, "Port": instance.port}]
            self.aws("elbv2").register_targets(TargetGroupArn=group, Targets=targets)

    def deregister(self, instance: Instance, tier: str = "web") -> None:
        """Remove an instance from the load balancer's targets. In-flight requests are completed."""
        for group in self.physical_ids(tier, "AWS::ElasticLoadBalancingV2::TargetGroup"):
            self.aws("elbv2").deregister_targets(
                TargetGroupArn=group, Targets=[{"Id": instance.address, "Port": instance.port}]
            )

    def _address(self) -> str:
        return f"127.0.0.{next(self._octets)}"

    def role(self, tier: str) -> str:
        """Return the name of the role of the instances or the function of a tier ("web" or
        "worker")."""
        for function in self.physical_ids(tier, "AWS::Lambda::Function"):
            configuration = self.aws("lambda").get_function_configuration(FunctionName=function)
            return str(configuration["Role"].rpartition("/")[2])
        return self._launch_template(tier)[1]

    def client(self, service: str, tier: str) -> Any:
        """Return a boto3 client with the permissions of a tier ("web" or "worker")."""
        credentials = self.emulator.role_environment(self.role(tier))
        return boto3.client(
            service,
            endpoint_url=self.emulator.endpoint,
            region_name=REGION,
            **{
                name: credentials[name.upper()]
                for name in ("aws_access_key_id", "aws_secret_access_key", "aws_session_token")
            },
        )

    def _let_functions_call_back(self) -> None:
        """Let deployed functions call back instances started by `launch`, which are not in the
        VPC."""
        functions = self.aws("lambda")
        for function in self.physical_ids("worker", "AWS::Lambda::Function"):
            variables = functions.get_function_configuration(FunctionName=function)["Environment"][
                "Variables"
            ]
            # an update ends the invocations in progress
            if variables["ASCIIST_CALLBACK_NETWORKS"] != _NETWORK:
                variables["ASCIIST_CALLBACK_NETWORKS"] = _NETWORK
                functions.update_function_configuration(
                    FunctionName=function, Environment={"Variables": variables}
                )
                version = functions.publish_version(FunctionName=function)["Version"]
                functions.update_alias(FunctionName=function, Name="live", FunctionVersion=version)

    def _launch_template(self, tier: str) -> tuple[str, str]:
        """Return the user data of the instances of a tier, and the name of their role."""
        (template,) = self.physical_ids(tier, "AWS::EC2::LaunchTemplate")
        versions = self.aws("ec2").describe_launch_template_versions(
            LaunchTemplateId=template, Versions=["$Latest"]
        )
        data = versions["LaunchTemplateVersions"][0]["LaunchTemplateData"]
        profile = data["IamInstanceProfile"]["Arn"].rpartition("/")[2]
        (role,) = self.aws("iam").get_instance_profile(InstanceProfileName=profile)[
            "InstanceProfile"
        ]["Roles"]
        return base64.b64decode(data["UserData"]).decode(), role["RoleName"]

    def _secrets(self, variables: Mapping[str, str], role: str) -> dict[str, str]:
        """Return the variables that `boot` adds to a unit, read with the permissions of the
        instance's role."""
        if "LINK_KEYS_SECRET_ARN" not in variables:
            return {}
        own = self.emulator.role_environment(role)
        credentials = {
            "aws_access_key_id": own["AWS_ACCESS_KEY_ID"],
            "aws_secret_access_key": own["AWS_SECRET_ACCESS_KEY"],
            "aws_session_token": own.get("AWS_SESSION_TOKEN"),
        }
        client = boto3.client("secretsmanager", **{**self.emulator.client_arguments, **credentials})
        found = {
            "ASCIIST_LINK_KEYS": client.get_secret_value(
                SecretId=variables["LINK_KEYS_SECRET_ARN"]
            )["SecretString"]
        }
        if "PEER_SECRET_ARN" in variables:
            done = subprocess.run(
                [sys.executable, self.project / "stacks/instance/peer-variables", "AZURE_"],
                input=client.get_secret_value(SecretId=variables["PEER_SECRET_ARN"])[
                    "SecretString"
                ],
                capture_output=True,
                text=True,
                check=True,
            )
            found |= dict(line.split("=", 1) for line in done.stdout.splitlines())
        return found


class ManagedDeployment(Deployment):
    """A deployment whose instances are launched and replaced on deployment, and stopped on
    destruction."""

    def deploy(self, assembly: Path | None = None) -> str:
        running = {instance.unit for instance in self.instances if instance.process.poll() is None}
        if self.context.get("worker") == "asg" and "asciist-poller" not in running:
            output = self.deploy_and_launch("worker", self._address())
        else:
            output = super().deploy(assembly)
        if "asciist-web" in running:
            self.roll("web")
        else:
            for _ in range(2):
                self.launch("web", self._address())
        if "asciist-poller" in running and self.context.get("worker") == "asg":
            self.roll("worker")
        elif "asciist-poller" in running:
            # The emulator has ended them with their group.
            for instance in self.instances:
                if instance.unit == "asciist-poller":
                    self._stop(instance)
        return output

    def destroy(self) -> str:
        for instance in self.instances:
            if instance.process.poll() is None:
                self.deregister(instance, "web" if instance.unit == "asciist-web" else "worker")
                self._stop(instance)
        return super().destroy()


def _unit_of(user_data: str) -> tuple[str, dict[str, str]]:
    """Return the name and the variables of the unit booted by user data."""
    unit = re.search(r"^bash \S+/boot (\S+)", user_data, re.MULTILINE)
    variables = re.search(r"<<'VARIABLES'\n(.*?)\nVARIABLES$", user_data, re.MULTILINE | re.DOTALL)
    if not unit or not variables:
        raise DeploymentError(f"The user data boots no unit:\n{user_data}")
    return unit[1], dict(line.split("=", 1) for line in variables[1].splitlines())


def _command_of(unit: str, project: Path) -> tuple[list[str], dict[str, str]]:
    """Return the command and the variables of a unit file, with this environment's programs in
    place of the instance's."""
    text = (project / f"stacks/instance/{unit}.service").read_text()
    command = re.search(r"^ExecStart=/opt/asciist/bin/(.*)$", text, re.MULTILINE)
    if not command:
        raise DeploymentError(f"{unit}.service starts no program of the release")
    program, *arguments = command[1].split()
    defaults = dict(re.findall(r"^Environment=(\w+)=(.*)$", text, re.MULTILINE))
    return [str(Path(sys.executable).with_name(program)), *arguments], defaults
