"""A delivery: a GitHub job deploys one build to an account, and watches the alarms of the
deployment."""

import base64
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from botocore.exceptions import ClientError

from operations.watch import NoAlarmsError, watch
from tests.emulated.deployment import THIS_MACHINE, Deployment
from tests.emulated.emulator import ACCOUNT, ROOT, Emulator
from tests.stacks.synthesis import choose, new_app

if TYPE_CHECKING:
    from aws_cdk.cx_api import CloudAssembly

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

ISSUER = "https://token.actions.githubusercontent.com"


@dataclass(frozen=True, kw_only=True)
class Account:
    """An emulated account that an administrator has prepared for deliveries."""

    emulator: Emulator
    directory: Path

    def client(self, service: str, **credentials: str) -> Any:
        return boto3.client(service, **{**self.emulator.client_arguments, **credentials})

    def assume(
        self, environment: str, *, subject: str, audience: str = "sts.amazonaws.com"
    ) -> dict[str, str]:
        """Return the credentials of an environment's role for a token with these claims. Raises
        ClientError."""
        claims = {"iss": ISSUER, "sub": subject, "aud": audience}
        parts = (json.dumps(part).encode() for part in ({"alg": "RS256", "typ": "JWT"}, claims))
        token = (
            ".".join(base64.urlsafe_b64encode(part).decode().rstrip("=") for part in parts)
            + ".c2lnbmF0dXJl"
        )
        session = self.client("sts").assume_role_with_web_identity(
            RoleArn=f"arn:aws:iam::{ACCOUNT}:role/asciist-delivery-{environment}",
            RoleSessionName="job",
            WebIdentityToken=token,
        )["Credentials"]
        return {
            "aws_access_key_id": session["AccessKeyId"],
            "aws_secret_access_key": session["SecretAccessKey"],
            "aws_session_token": session["SessionToken"],
        }

    def cdk(self, *arguments: str | Path, **credentials: str) -> str:
        """Run the CDK command in an empty directory, without the sources."""
        done = subprocess.run(
            [ROOT / "tools/cdk", *arguments],
            cwd=self.directory,
            env={
                **os.environ,
                **self.emulator.environment,
                "CDK_HOME": str(self.directory / "cdk"),
                **{name.upper(): value for name, value in credentials.items()},
            },
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr


@pytest.fixture(scope="module")
def account(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Account]:
    from stacks import delivery

    directory = tmp_path_factory.mktemp("account")
    stack = delivery.compose(new_app(directory / "delivery"), repository="octo/art").synth()
    with Emulator(enforce_iam=True) as emulator:
        prepared = Account(emulator=emulator, directory=directory)
        prepared.cdk("bootstrap", f"aws://{ACCOUNT}/{emulator.environment['AWS_REGION']}")
        prepared.cdk("deploy", "--all", "--require-approval", "never", "--app", stack.directory)
        yield prepared


@pytest.fixture(scope="module")
def assemblies(tmp_path_factory: pytest.TempPathFactory) -> dict[str, "CloudAssembly"]:
    """The assemblies of dev and prod, as `make artifact` builds them."""
    import app as cdk_app

    directory = tmp_path_factory.mktemp("assembly")
    return {
        name: cdk_app.compose(new_app(directory / name), choose(name, **THIS_MACHINE)).synth()
        for name in ("dev", "prod")
    }


def assets(assembly: "CloudAssembly") -> dict[str, str]:
    """Return the path of each asset except templates, by hash."""
    manifests = [
        json.loads(file.read_text()) for file in Path(assembly.directory).glob("*.assets.json")
    ]
    return {
        digest: entry["source"]["path"]
        for manifest in manifests
        for digest, entry in manifest["files"].items()
        if not entry["source"]["path"].endswith(".template.json")
    }


def test_dev_and_prod_get_the_same_function_and_the_same_release(
    assemblies: dict[str, "CloudAssembly"],
) -> None:
    dev, prod = assets(assemblies["dev"]), assets(assemblies["prod"])

    assert dev.keys() == prod.keys()
    assert len(dev) == 3  # the code of the function and of the probe, and the release
    for digest, path in dev.items():
        contents = [
            {
                file.relative_to(root): file.read_bytes()
                for file in root.rglob("*")
                if file.is_file()
            }
            for root in (
                Path(assemblies["dev"].directory) / path,
                Path(assemblies["prod"].directory) / prod[digest],
            )
        ]
        assert contents[0] == contents[1]


def test_a_job_deploys_an_assembly_without_the_sources(
    account: Account, assemblies: dict[str, "CloudAssembly"]
) -> None:
    """The assembly has been moved, as from the machine that built it. The job has only the role's
    credentials."""
    moved = account.directory / "assembly"
    shutil.move(assemblies["dev"].directory, moved)
    job = account.assume("dev", subject="repo:octo/art:environment:dev")
    output = account.cdk(
        "deploy", "asciist-dev-*", "--require-approval", "never", "--app", moved, **job
    )

    assert "could not be used to assume" not in output
    deployed = Deployment(account.emulator)
    assert len(deployed.stacks()) == 7
    (stack,) = account.client("cloudformation", **job).describe_stacks(StackName="asciist-dev-web")[
        "Stacks"
    ]
    assert "Url" in {found["OutputKey"] for found in stack["Outputs"]}
    assert account.client("cloudwatch", **job).describe_alarms(AlarmNamePrefix="asciist-dev: ")[
        "MetricAlarms"
    ]
    with pytest.raises(ClientError, match="AccessDenied"):
        account.client("sqs", **job).list_queues()


@pytest.mark.parametrize(
    ("environment", "claims"),
    [
        ("dev", {"subject": "repo:octo/other:environment:dev"}),
        ("dev", {"subject": "repo:other/art:environment:dev"}),
        ("dev", {"subject": "repo:octo/art:ref:refs/heads/main"}),
        ("dev", {"subject": "repo:octo/art:pull_request"}),
        ("prod", {"subject": "repo:octo/art:environment:dev"}),
        ("prod", {"subject": "repo:octo/art:environment:prod-copy"}),
        (
            "prod",
            {"subject": "repo:octo/art:environment:prod", "audience": "https://github.com/octo"},
        ),
    ],
    ids=str,
)
def test_nobody_else_may_assume_a_role(
    account: Account, environment: str, claims: dict[str, str]
) -> None:
    with pytest.raises(ClientError, match="AccessDenied"):
        account.assume(environment, **claims)


class TestWatch:
    """Alarms of an account without a deployment, in states that the tests set."""

    START = datetime.now(UTC)

    @pytest.fixture
    def cloudwatch(self, emulator: Emulator) -> Iterator[Any]:
        client = boto3.client("cloudwatch", **emulator.client_arguments)
        names = [
            "asciist-watched: Requests fail",
            "asciist-watched: Requests fail (part: over 5 minutes)",
            "asciist-other: Slow",
        ]
        for name in names:
            client.put_metric_alarm(
                AlarmName=name,
                AlarmDescription="Users get errors. Runbook: docs/runbook.md#requests-fail",
                Namespace="asciist",
                MetricName="requests",
                Statistic="Sum",
                Period=60,
                EvaluationPeriods=1,
                Threshold=1,
                ComparisonOperator="GreaterThanThreshold",
                TreatMissingData="ignore",
            )
            client.set_alarm_state(AlarmName=name, StateValue="OK", StateReason="calm")
        yield client
        client.delete_alarms(AlarmNames=names)

    def fire(self, cloudwatch: Any, name: str) -> None:
        cloudwatch.set_alarm_state(
            AlarmName=name, StateValue="ALARM", StateReason="3 datapoints were above 1"
        )

    def test_it_returns_at_once_when_an_alarm_fires(self, cloudwatch: Any) -> None:
        since = datetime.now(UTC) - timedelta(seconds=1)
        threading.Timer(0.5, self.fire, (cloudwatch, "asciist-watched: Requests fail")).start()
        (fired,) = watch(cloudwatch, "watched", since=since, seconds=60, poll_seconds=0.1)

        assert str(fired).splitlines() == [
            "asciist-watched: Requests fail",
            "  3 datapoints were above 1",
            "  Users get errors. Runbook: docs/runbook.md#requests-fail",
        ]

    def test_alarms_of_others_and_parts_of_alarms_do_not_count(self, cloudwatch: Any) -> None:
        self.fire(cloudwatch, "asciist-other: Slow")
        self.fire(cloudwatch, "asciist-watched: Requests fail (part: over 5 minutes)")

        assert watch(cloudwatch, "watched", since=self.START, seconds=0.3, poll_seconds=0.1) == []

    def test_an_alarm_that_fired_before_the_release_is_named_and_ignored(
        self, cloudwatch: Any
    ) -> None:
        self.fire(cloudwatch, "asciist-watched: Requests fail")
        said: list[str] = []
        since = datetime.now(UTC) + timedelta(seconds=2)

        assert (
            watch(
                cloudwatch, "watched", since=since, seconds=0.3, poll_seconds=0.1, say=said.append
            )
            == []
        )
        assert said[0] == "watching 1 alarms of watched for 0.005 minutes"
        assert "before the release, and is ignored: asciist-watched: Requests fail" in said[1]

    def test_a_deployment_without_alarms_is_not_taken_for_a_calm_one(self, cloudwatch: Any) -> None:
        with pytest.raises(NoAlarmsError):
            watch(cloudwatch, "unknown", since=self.START, seconds=0)

    @pytest.mark.parametrize("fires", [True, False])
    def test_the_command_fails_if_an_alarm_fires_after_the_time_in_the_file(
        self, cloudwatch: Any, emulator: Emulator, tmp_path: Path, fires: bool
    ) -> None:
        (tmp_path / "since").write_text(f"{datetime.now(UTC).timestamp() - 1:.0f}\n")
        if fires:
            self.fire(cloudwatch, "asciist-watched: Requests fail")
        command = [
            "-m",
            "operations.watch",
            "watched",
            "--minutes",
            "0.005",
            "--since-file",
            tmp_path / "since",
        ]
        environment = {**os.environ, **emulator.environment}
        done = subprocess.run(
            [sys.executable, *command],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )

        assert (done.returncode, done.stderr) == (int(fires), "")
        assert ("ALARM asciist-watched: " if fires else "no alarm has fired") in done.stdout
