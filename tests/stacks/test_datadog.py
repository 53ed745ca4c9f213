"""With Datadog's keys, a deployment sends metrics to Datadog and manages its objects there; without
keys, it does neither."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cloudformation_validate
import pytest

from asciist.settings import Settings
from operations.observability import datadog
from operations.observability.validation import Kind, check
from stacks.environment import Environment
from stacks.values import ContextError
from tests.stacks.synthesis import choose, synthesized

ROOT = Path(__file__).parents[2]
FLAGS = json.loads((ROOT / "cdk.json").read_text())["context"]
API_KEY = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:datadog/api-AbCdEf"
APP_KEY = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:datadog/app-AbCdEf"
KEYS = {"datadog_api_key": API_KEY, "datadog_app_key": APP_KEY}

WITHOUT = choose()
WITH_FUNCTION = choose(**KEYS, replies="callback")
WITH_POLLERS = choose(
    "prod",
    **KEYS,
    worker="asg",
    architecture="x86_64",
    datadog_site="datadoghq.eu",
    datadog_notify="@pagerduty-asciist",
    runbook="https://runbook.example/",
)

Template = dict[str, Any]

with_datadog = pytest.mark.parametrize(
    "environment", [WITH_FUNCTION, WITH_POLLERS], ids=lambda chosen: chosen.worker
)


def resources(environment: Environment, stack: str, kind: str) -> Iterator[dict[str, Any]]:
    for resource in synthesized(environment)[stack]["Resources"].values():
        if resource["Type"] == kind:
            yield resource["Properties"]


def objects(environment: Environment) -> dict[str, list[dict[str, Any]]]:
    """Definitions of the objects in Datadog, by kind, with the placeholders for ids restored."""
    found: dict[str, list[dict[str, Any]]] = {}
    for resource in synthesized(environment)["datadog"]["Resources"].values():
        if resource["Type"].startswith("Custom::Datadog"):
            definition = joined(resource["Properties"]["Definition"]).replace(
                "(Objective)", datadog.SLO_ID
            )
            definition = re.sub(r"\((\w+Part\w+)\)", r"<\1>", definition)
            found.setdefault(resource["Properties"]["Kind"], []).append(json.loads(definition))
    return found


def joined(value: Any) -> str:
    """A text in a template; a reference reads `(NAME)`."""
    match value:
        case {"Fn::Join": [separator, parts]}:
            return str(separator).join(map(joined, parts))
        case {"Ref": name}:
            return f"({name})"
        case {"Fn::GetAtt": [name, attribute]}:
            return f"({name}.{attribute})"
    return str(value)


class TestWithoutKeys:
    def test_no_template_mentions_datadog(self) -> None:
        templates = dict(synthesized(WITHOUT))

        assert [
            resource["Type"] for resource in templates.pop("datadog")["Resources"].values()
        ] == ["AWS::CloudFormation::WaitConditionHandle"]
        assert not re.search(r"datadog|dogstatsd|DD_", json.dumps(templates), re.IGNORECASE)

    def test_metrics_go_to_cloudwatch_only(self) -> None:
        (function,) = resources(WITHOUT, "worker", "AWS::Lambda::Function")
        (template,) = resources(WITHOUT, "web", "AWS::EC2::LaunchTemplate")

        assert (
            function["Environment"]["Variables"].items()
            >= {
                "ASCIIST_METRICS": "emf",
                "ASCIIST_METRICS_NAMESPACE": "asciist-dev",
            }.items()
        )
        assert {"ASCIIST_METRICS=emf", "ASCIIST_METRICS_NAMESPACE=asciist-dev"} <= user_data(
            template
        )


def user_data(template: dict[str, Any]) -> set[str]:
    return set(joined(template["LaunchTemplateData"]["UserData"]["Fn::Base64"]).splitlines())


class TestObjects:
    @with_datadog
    def test_each_definition_is_valid_for_datadog(self, environment: Environment) -> None:
        kinds: tuple[Kind, ...] = ("dashboard", "monitor", "slo", "metric")
        assert objects(environment).keys() == set(kinds)
        for kind in kinds:
            for definition in objects(environment)[kind]:
                check(kind, definition)

    def test_monitors_notify_the_given_handle_and_link_to_the_runbook(self) -> None:
        for monitor in objects(WITH_POLLERS)["monitor"]:
            if "(part: " not in monitor["name"]:
                assert "https://runbook.example/#" in monitor["message"]
                assert monitor["message"].endswith(" @pagerduty-asciist")

    def test_the_monitors_of_the_budget_refer_to_the_objective(self) -> None:
        monitors = [
            resource
            for resource in synthesized(WITH_FUNCTION)["datadog"]["Resources"].values()
            if resource["Type"] == "Custom::DatadogMonitor" and "slo alert" in json.dumps(resource)
        ]
        assert len(monitors) == 2
        for monitor in monitors:
            assert 'burn_rate("(Objective)")' in joined(
                monitor["Properties"]["Definition"]
            ).replace("\\", "")

    @with_datadog
    def test_percentiles_are_enabled_before_they_are_queried(
        self, environment: Environment
    ) -> None:
        made = synthesized(environment)["datadog"]["Resources"]
        metrics = {
            name for name, resource in made.items() if resource["Type"] == "Custom::DatadogMetric"
        }

        assert len(metrics) == len(datadog.metric_configurations())
        assert metrics <= set(made["Objective"]["DependsOn"])
        assert metrics <= set(made["Dashboard"]["DependsOn"])
        for resource in made.values():
            if resource["Type"] == "Custom::DatadogMonitor":
                assert "Objective" in resource["DependsOn"]

    @with_datadog
    def test_only_settings_that_deployments_share_outlive_the_stack(
        self, environment: Environment
    ) -> None:
        for resource in synthesized(environment)["datadog"]["Resources"].values():
            if resource["Type"].startswith("Custom::"):
                shared = resource["Type"] == "Custom::DatadogMetric"
                assert resource["DeletionPolicy"] == ("Retain" if shared else "Delete")

    @with_datadog
    def test_a_call_that_hangs_does_not_hold_up_the_deployment(
        self, environment: Environment
    ) -> None:
        (function,) = resources(environment, "datadog", "AWS::Lambda::Function")
        (invocations,) = resources(environment, "datadog", "AWS::Lambda::EventInvokeConfig")

        assert invocations["MaximumRetryAttempts"] == 0
        for resource in synthesized(environment)["datadog"]["Resources"].values():
            if resource["Type"].startswith("Custom::"):
                assert function["Timeout"] < int(resource["Properties"]["ServiceTimeout"]) == 900

    @with_datadog
    def test_the_function_calls_the_site_with_both_keys(self, environment: Environment) -> None:
        (function,) = resources(environment, "datadog", "AWS::Lambda::Function")

        assert function["Environment"]["Variables"] == {
            "DATADOG_API": f"https://api.{environment.datadog_site}",
            "DD_API_KEY_SECRET_ARN": API_KEY,
            "DD_APP_KEY_SECRET_ARN": APP_KEY,
        }

    def test_the_function_imports_only_modules_of_the_runtime(self) -> None:
        code = (ROOT / "stacks/datadog_api/handler.py").read_text()
        imported = set(re.findall(r"^(?:import|from) (\w+)", code, re.MULTILINE))

        assert imported - set(sys.stdlib_module_names) == {"boto3"}


class TestTiers:
    def test_the_converter_has_the_extension_and_may_read_only_its_key(self) -> None:
        (function,) = resources(WITH_FUNCTION, "worker", "AWS::Lambda::Function")
        (layer,) = map(joined, function["Layers"])
        secrets = [
            statement["Resource"]
            for policy in resources(WITH_FUNCTION, "worker", "AWS::IAM::Policy")
            for statement in policy["PolicyDocument"]["Statement"]
            if statement["Action"] == "secretsmanager:GetSecretValue"
        ]

        assert re.fullmatch(
            r"arn:\(AWS::Partition\):lambda:\(AWS::Region\):464622532012:layer:Datadog-Extension-ARM:\d+",
            layer,
        )
        assert (
            function["Environment"]["Variables"].items()
            >= {
                "ASCIIST_METRICS": "dogstatsd+emf",
                "DD_API_KEY_SECRET_ARN": API_KEY,
                "DD_SITE": "datadoghq.com",
                "DD_SERVICE": "asciist",
                "DD_ENV": "dev",
            }.items()
        )
        assert secrets == [API_KEY]

    @pytest.mark.parametrize("stack", ["web", "worker"])
    def test_instances_have_the_variables_of_the_agent(self, stack: str) -> None:
        (template,) = resources(WITH_POLLERS, stack, "AWS::EC2::LaunchTemplate")
        secrets = [
            secret
            for policy in resources(WITH_POLLERS, stack, "AWS::IAM::Policy")
            for statement in policy["PolicyDocument"]["Statement"]
            if statement["Action"] == "secretsmanager:GetSecretValue"
            for secret in (
                [statement["Resource"]]
                if isinstance(statement["Resource"], str)
                else statement["Resource"]
            )
            if isinstance(secret, str)  # not the keys of links, which another stack exports
        ]

        assert {
            "ASCIIST_METRICS=dogstatsd+emf",
            "ASCIIST_METRICS_NAMESPACE=asciist-prod",
            f"DD_API_KEY_SECRET_ARN={API_KEY}",
            "DD_SITE=datadoghq.eu",
            "DD_SERVICE=asciist",
            "DD_ENV=prod",
        } <= user_data(template)
        assert secrets == [API_KEY]

    @with_datadog
    def test_the_settings_on_instances_are_valid(self, environment: Environment) -> None:
        (template,) = resources(environment, "web", "AWS::EC2::LaunchTemplate")
        variables = dict(
            line.split("=", 1)
            for line in user_data(template)
            if re.match(r"(ASCIIST|DD)_\w+=", line)
        )
        assert Settings.from_environment(variables).metrics == "dogstatsd+emf"

    @with_datadog
    def test_resources_have_the_tags_that_queries_select(self, environment: Environment) -> None:
        (balancer,) = resources(environment, "web", "AWS::ElasticLoadBalancingV2::LoadBalancer")
        queues = list(resources(environment, "storage", "AWS::SQS::Queue"))
        for resource in (balancer, *queues):
            tags = {tag["Key"]: tag["Value"] for tag in resource["Tags"]}
            assert tags.items() >= {"env": environment.environment, "service": "asciist"}.items()

    @with_datadog
    def test_every_template_passes_the_validator_of_aws(self, environment: Environment) -> None:
        engine = cloudformation_validate.CompositeEngine()
        for stack, template in synthesized(environment).items():
            report = engine.validate_template(
                cloudformation_validate.TemplateContent(json.dumps(template), f"{stack}.json")
            )
            errors = [
                f"{stack}: {finding.rule_id} {finding.message}"
                for finding in report.diagnostics
                if finding.severity is cloudformation_validate.Severity.ERROR
            ]
            assert errors == []


class TestContext:
    @pytest.mark.parametrize(
        ("context", "sentence"),
        [
            (
                {"datadog_api_key": API_KEY},
                (
                    "datadog_api_key and datadog_app_key (ARNs of their secrets) go together: give"
                    " both or neither"
                ),
            ),
            (
                {**KEYS, "datadog_app_key": "0123"},
                "datadog_app_key must be the ARN of the secret that holds the key",
            ),
            ({**KEYS, "datadog_notify": "me"}, "datadog_notify must begin with an @, not 'me'"),
            (
                {**KEYS, "datadog_sight": "x"},
                "unknown key 'datadog_sight': did you mean 'datadog_site'?",
            ),
        ],
    )
    def test_an_invalid_value_is_explained(self, context: dict[str, str], sentence: str) -> None:
        with pytest.raises(ContextError) as mistake:
            Environment.from_context(context)
        assert str(mistake.value) == sentence

    def test_only_sites_that_exist_are_accepted(self) -> None:
        with pytest.raises(ContextError, match=r"datadog_site must be one of datadoghq\.com, "):
            Environment.from_context({**KEYS, "datadog_site": "datadoghq.org"})


class BootRun:
    """Runs `boot` under a directory instead of /, with commands that only record their calls."""

    KEY = "0123456789abcdef0123456789abcdef"

    def __init__(self, directory: Path) -> None:
        self.root = directory / "root"
        self.commands = directory / "commands"
        self.calls = directory / "calls"
        self.release = directory / "release"
        shutil.copytree(ROOT / "stacks/instance", self.release)
        (self.release / "python-version").write_text("3.11\n")
        (self.release / "requirements.txt").write_text("")
        (self.release / "install").write_text('mkdir -p "$1"\n')
        self.environment = directory / "environment"
        self.environment.write_text(
            f"ASCIIST_METRICS=dogstatsd+emf\nDD_API_KEY_SECRET_ARN={API_KEY}\nDD_ENV=prod\nDD_SITE=datadoghq.eu\n"
        )
        for command in ("dnf", "id", "useradd", "sleep", "chown"):
            self.fake_command(command)
        self.fake_command("aws", f"echo {self.KEY}")
        self.fake_command("curl")
        self.fake_command("gpg", '[[ $* != *--export* ]] || echo "key ${@: -1}"')
        self.fake_command("systemctl", 'if [[ $1 == show ]]; then echo "0"; fi')
        self.fake_command(
            self.root / "opt/aws/amazon-cloudwatch-agent/bin/amazon-cloudwatch-agent-ctl"
        )

    def fake_command(self, command: str | Path, then: str = "") -> None:
        path = self.commands / command
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f'#!/usr/bin/env bash\necho "${{0##*/}} $*" >>"{self.calls}"\n{then}\n')
        path.chmod(0o755)

    def boot(self) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [
                "bash",
                self.release / "boot",
                "asciist-poller",
                self.environment,
                "asciist/log",
                "prod-worker",
            ],
            capture_output=True,
            text=True,
            check=False,
            env={"PATH": f"{self.commands}:{os.environ['PATH']}", "DESTDIR": str(self.root)},
        )

    @property
    def config(self) -> Path:
        return self.root / "etc/datadog-agent/datadog.yaml"


@pytest.fixture
def boot_run(tmp_path: Path) -> BootRun:
    return BootRun(tmp_path)


class TestBoot:
    def test_the_agent_accepts_local_metrics_and_sends_them_to_the_site(
        self, boot_run: BootRun
    ) -> None:
        done = boot_run.boot()
        calls = boot_run.calls.read_text().splitlines()
        config = boot_run.config.read_text().splitlines()

        assert (done.returncode, done.stderr) == (0, "")
        secret = f"--secret-id {API_KEY} --query SecretString --output text"
        assert f"aws secretsmanager get-secret-value --region eu-west-1 {secret}" in calls
        (install,) = (
            call
            for call in calls
            if call.startswith("dnf install --assumeyes --quiet datadog-agent")
        )
        assert calls.index(install) < calls.index("systemctl restart datadog-agent")
        assert calls.index("systemctl enable --now asciist-poller") < calls.index(
            "systemctl enable datadog-agent"
        )
        assert {
            f'api_key: "{boot_run.KEY}"',
            "site: datadoghq.eu",
            "env: prod",
            "bind_host: 127.0.0.1",
            "dogstatsd_port: 8125",
            "dogstatsd_non_local_traffic: false",
        } <= set(config)

    def test_only_the_agent_and_root_can_read_the_key(self, boot_run: BootRun) -> None:
        done = boot_run.boot()

        assert boot_run.config.stat().st_mode & 0o777 == 0o640
        assert f"chown root:dd-agent {boot_run.config}" in boot_run.calls.read_text().splitlines()
        assert boot_run.KEY not in done.stdout + done.stderr + boot_run.calls.read_text()

    def test_one_version_of_the_agent_is_installed(self, boot_run: BootRun) -> None:
        boot_run.boot()

        assert re.search(
            r"^dnf install --assumeyes --quiet datadog-agent-7\.\d+\.\d+$",
            boot_run.calls.read_text(),
            re.MULTILINE,
        )

    def test_packages_are_verified_with_keys_of_known_fingerprints(self, boot_run: BootRun) -> None:
        boot_run.boot()
        repository = (boot_run.root / "etc/yum.repos.d/datadog.repo").read_text()
        paths = re.findall(r"file://(\S+)", repository)

        assert {"gpgcheck=1", "repo_gpgcheck=1"} <= set(repository.splitlines())
        assert "http://" not in repository
        assert repository.count("://") == len(paths) + 1  # the others are packages
        for path in paths:
            word, fingerprint = (boot_run.root / path.lstrip("/")).read_text().split()
            assert word == "key"
            assert re.fullmatch(r"[0-9A-F]{40}", fingerprint)
            assert path == f"/etc/pki/rpm-gpg/DATADOG_RPM_KEY_{fingerprint[-8:]}"

    @pytest.mark.skipif(not shutil.which("gpg"), reason="gpg is not installed")
    def test_a_key_of_another_fingerprint_is_not_trusted(
        self, boot_run: BootRun, tmp_path: Path
    ) -> None:
        (tmp_path / "gpg").mkdir(mode=0o700)
        environment = {**os.environ, "GNUPGHOME": str(tmp_path / "gpg")}
        gpg = ["gpg", "--batch", "--quiet", "--pinentry-mode=loopback", "--passphrase="]
        subprocess.run(
            [*gpg, "--quick-generate-key", "Datadog", "ed25519"], env=environment, check=True
        )
        subprocess.run(
            [*gpg, "--armor", "--output", tmp_path / "key", "--export"], env=environment, check=True
        )
        subprocess.run(["gpgconf", "--kill", "all"], env=environment, check=True)
        (boot_run.commands / "gpg").unlink()
        boot_run.fake_command(
            "curl", f'while [[ $1 != --output ]]; do shift; done; cp {tmp_path / "key"} "$2"'
        )
        done = boot_run.boot()

        assert (
            "has another fingerprint than 7408BFD56BC5BF0C361AAAE85D88EEA3B01082D3\n" in done.stderr
        )
        assert "boot: the Datadog agent is not installed" in done.stderr
        assert "dnf install --assumeyes --quiet datadog-agent" not in boot_run.calls.read_text()
        assert not (boot_run.root / "etc/pki/rpm-gpg").exists()

    @pytest.mark.parametrize(
        ("command", "then"),
        [
            ("aws", "echo AccessDenied >&2; exit 254"),
            ("dnf", '[[ $* != *datadog-agent-* ]] || { echo "no such package" >&2; exit 1; }'),
            ("systemctl", '[[ $1 == show ]] && echo 0; [[ $* != "restart datadog-agent" ]]'),
        ],
    )
    def test_an_instance_without_an_agent_serves_and_logs_it(
        self, boot_run: BootRun, command: str, then: str
    ) -> None:
        boot_run.fake_command(command, then)
        done = boot_run.boot()

        assert done.returncode == 0
        assert (
            "boot: the Datadog agent is not installed: no metrics of this instance reach Datadog\n"
            in done.stderr
        )
        assert "systemctl enable --now asciist-poller\n" in boot_run.calls.read_text()

    def test_without_datadog_nothing_is_installed(self, boot_run: BootRun) -> None:
        boot_run.environment.write_text("ASCIIST_METRICS=emf\n")
        done = boot_run.boot()

        assert (done.returncode, done.stderr) == (0, "")
        assert "datadog-agent" not in boot_run.calls.read_text()
        assert not boot_run.config.exists()
