"""The synthesized templates: validity, network access, timeouts, scaling and updates."""

import itertools
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import aws_cdk
import cloudformation_validate
import pytest
from aws_cdk import assertions

import app as cdk_app
from asciist.settings import CALLBACK_PORTS, Settings, Timeouts
from stacks.environment import SIZES, ContextError, Environment

STACKS = ("storage", "web", "worker", "observability")
COMBINATIONS = [
    Environment(worker=worker, replies=replies, environment=environment)
    for worker, replies, environment in itertools.product(("lambda", "asg"), ("queue", "callback"), ("dev", "prod"))
]
SECURE = Environment(environment="prod", domain="art.example", certificate="arn:aws:acm:eu-west-1:123456789012:certificate/x")

HSTS = "routing.http.response.strict_transport_security.header_value"

FLAGS = json.loads((Path(__file__).parents[2] / "cdk.json").read_text())["context"]

Resources = dict[str, dict[str, Any]]


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
    templates = synthesized(environment)
    return {
        name: resource
        for key in ([stack] if stack else STACKS)
        for name, resource in templates[key]["Resources"].items()
        if resource["Type"] == kind
    }


def only(found: Resources) -> dict[str, Any]:
    (resource,) = found.values()
    return resource["Properties"]


each_deployment = pytest.mark.parametrize(
    "environment", COMBINATIONS, ids=lambda chosen: f"{chosen.worker}-{chosen.replies}-{chosen.environment}"
)


@each_deployment
def test_every_combination_synthesizes_without_a_finding_of_cdk_nag(environment: Environment) -> None:
    assert synthesized(environment).keys() == set(STACKS)


REDUNDANT_DEPENDENCY = "W3005"  # the CDK writes the function's dependency on its role twice


@each_deployment
def test_every_template_passes_the_validator_of_aws(environment: Environment) -> None:
    for stack, template in synthesized(environment).items():
        report = validator().validate_template(cloudformation_validate.TemplateContent(json.dumps(template), f"{stack}.json"))
        findings = [
            f"{stack}: {finding.rule_id} {finding.message}"
            for finding in report.diagnostics
            if finding.severity is not cloudformation_validate.Severity.INFO and finding.rule_id != REDUNDANT_DEPENDENCY
        ]
        assert findings == []


@pytest.mark.slow
def test_every_template_passes_cfn_lint(tmp_path: Path) -> None:
    for number, environment in enumerate([*COMBINATIONS, SECURE]):
        for stack, template in synthesized(environment).items():
            (tmp_path / f"{number}-{stack}.json").write_text(json.dumps(template))
    lint = Path(sys.executable).with_name("cfn-lint")
    run = subprocess.run(
        [lint, "--ignore-checks", REDUNDANT_DEPENDENCY, "--regions", "eu-west-1", "--", *map(str, tmp_path.iterdir())],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (run.returncode, run.stdout) == (0, "")


@cache
def validator() -> cloudformation_validate.CompositeEngine:
    return cloudformation_validate.CompositeEngine()


class TestStorage:
    def test_logical_ids_are_pinned(self) -> None:
        for environment in COMBINATIONS:
            kinds = {name: resource["Type"] for name, resource in synthesized(environment)["storage"]["Resources"].items()}
            assert kinds.items() >= {
                ("Artifacts", "AWS::S3::Bucket"),
                ("Requests", "AWS::SQS::Queue"),
                ("DeadLetters", "AWS::SQS::Queue"),
            }

    def test_no_physical_name_prevents_a_replacement(self) -> None:
        for name in ("Artifacts", "Requests", "DeadLetters"):
            properties = synthesized(COMBINATIONS[0])["storage"]["Resources"][name]["Properties"]
            assert not {"BucketName", "QueueName"} & properties.keys()

    @pytest.mark.parametrize("environment", ["dev", "prod"])
    def test_data_outlives_its_stack_in_prod_only(self, environment: str) -> None:
        storage = synthesized(Environment(environment=environment))["storage"]["Resources"]
        policy = "Retain" if environment == "prod" else "Delete"
        for name in ("Artifacts", "Requests", "DeadLetters"):
            assert {storage[name]["DeletionPolicy"], storage[name]["UpdateReplacePolicy"]} == {policy}

    @pytest.mark.parametrize("environment", ["dev", "prod"])
    def test_images_art_and_unfinished_uploads_are_deleted_by_age(self, environment: str) -> None:
        bucket = only(resources(Environment(environment=environment), "AWS::S3::Bucket"))
        rules = {rule["Id"]: rule for rule in bucket["LifecycleConfiguration"]["Rules"]}

        assert rules["images-and-art"]["ExpirationInDays"] == SIZES[environment].artifact_days
        assert rules["unfinished-uploads"]["AbortIncompleteMultipartUpload"] == {"DaysAfterInitiation": 1}
        assert all(rule["Status"] == "Enabled" and "Prefix" not in rule for rule in rules.values())

    def test_the_visibility_timeout_is_six_worker_timeouts_and_the_maximum_receive_count_is_five(self) -> None:
        timeouts = Timeouts()
        storage = synthesized(Environment())["storage"]["Resources"]
        requests = storage["Requests"]["Properties"]

        assert requests["VisibilityTimeout"] == 6 * timeouts.worker
        assert requests["RedrivePolicy"]["maxReceiveCount"] == timeouts.max_receive_count == 5
        assert requests["RedrivePolicy"]["deadLetterTargetArn"] == {"Fn::GetAtt": ["DeadLetters", "Arn"]}
        assert storage["DeadLetters"]["Properties"]["MessageRetentionPeriod"] == 14 * 86_400

    def test_storage_is_encrypted_and_private_and_requires_tls(self) -> None:
        bucket = only(resources(Environment(), "AWS::S3::Bucket"))
        assert set(bucket["PublicAccessBlockConfiguration"].values()) == {True}
        assert bucket["BucketEncryption"]
        for queue in resources(Environment(), "AWS::SQS::Queue").values():
            assert queue["Properties"]["SqsManagedSseEnabled"] is True
        for kind, number in (("AWS::S3::BucketPolicy", 1), ("AWS::SQS::QueuePolicy", 2), ("AWS::SNS::TopicPolicy", 1)):
            policies = resources(Environment(), kind)
            assert len(policies) == number
            for policy in policies.values():
                assert {"Bool": {"aws:SecureTransport": "false"}} in [
                    statement.get("Condition") for statement in policy["Properties"]["PolicyDocument"]["Statement"]
                ]


class TestNetwork:
    @each_deployment
    def test_instances_accept_connections_only_from_the_load_balancer_and_from_workers(self, environment: Environment) -> None:
        rules = [rule["Properties"] for rule in resources(environment, "AWS::EC2::SecurityGroupIngress").values()]
        first = Settings().callback_first_port
        callbacks = [(first, first + CALLBACK_PORTS - 1)] if environment.replies == "callback" else []

        assert sorted((rule["FromPort"], rule["ToPort"]) for rule in rules) == [(8080, 8080), *callbacks]
        assert all("SourceSecurityGroupId" in rule and "CidrIp" not in rule for rule in rules)
        for name, group in resources(environment, "AWS::EC2::SecurityGroup").items():
            open_ports = [rule["FromPort"] for rule in group["Properties"].get("SecurityGroupIngress", [])]
            assert open_ports == ([80] if name.startswith("FrontAccess") else [])

    @each_deployment
    def test_instances_are_in_private_subnets_with_encrypted_disks_and_imdsv2_only(self, environment: Environment) -> None:
        templates = resources(environment, "AWS::EC2::LaunchTemplate")
        assert len(templates) == (2 if environment.worker == "asg" else 1)
        for template in templates.values():
            data = template["Properties"]["LaunchTemplateData"]
            assert data["MetadataOptions"] == {"HttpTokens": "required", "HttpPutResponseHopLimit": 1}
            assert all(device["Ebs"]["Encrypted"] for device in data["BlockDeviceMappings"])
            assert "KeyName" not in data
        for group in resources(environment, "AWS::AutoScaling::AutoScalingGroup").values():
            assert "PrivateSubnet" in json.dumps(group["Properties"]["VPCZoneIdentifier"])

    def test_the_function_is_in_the_vpc_for_callbacks_only(self) -> None:
        for replies in ("queue", "callback"):
            function = only(resources(Environment(replies=replies), "AWS::Lambda::Function"))
            assert ("VpcConfig" in function) == (replies == "callback")

    def test_without_a_domain_synthesis_warns_of_plain_http(self) -> None:
        app = aws_cdk.App(context=FLAGS)
        cdk_app.compose(app, Environment(), build_function=lambda _: bundle(), build_release=lambda _: bundle())
        (web,) = [stack for stack in app.node.children if stack.node.id.endswith("-web")]
        assert isinstance(web, aws_cdk.Stack)
        warnings = assertions.Annotations.from_stack(web).find_warning("*", assertions.Match.string_like_regexp("plain HTTP"))

        assert len(warnings) == 1
        assert only(resources(Environment(), "AWS::ElasticLoadBalancingV2::Listener"))["Protocol"] == "HTTP"

    def test_with_a_domain_and_a_certificate_http_redirects_to_https(self) -> None:
        listeners = {
            listener["Properties"]["Port"]: listener["Properties"]
            for listener in resources(SECURE, "AWS::ElasticLoadBalancingV2::Listener").values()
        }
        assert listeners.keys() == {80, 443}
        assert attributes(listeners[443]["ListenerAttributes"])[HSTS] == "max-age=31536000"
        assert listeners[443]["Certificates"] == [{"CertificateArn": SECURE.certificate}]
        assert re.search("TLS13", listeners[443]["SslPolicy"])
        assert listeners[80]["DefaultActions"][0]["Type"] == "redirect"

    def test_only_the_https_listener_tells_browsers_to_use_https_only(self) -> None:
        listeners = [
            listener["Properties"]
            for environment in (*COMBINATIONS, SECURE)
            for listener in resources(environment, "AWS::ElasticLoadBalancingV2::Listener").values()
        ]
        assert {listener["Protocol"] for listener in listeners} == {"HTTP", "HTTPS"}
        for listener in listeners:
            assert (HSTS in attributes(listener["ListenerAttributes"])) is (listener["Protocol"] == "HTTPS")

    @pytest.mark.parametrize("environment", [*COMBINATIONS, SECURE])
    def test_the_load_balancer_refuses_ambiguous_requests_and_does_not_name_itself(self, environment: Environment) -> None:
        balancer = attributes(
            only(resources(environment, "AWS::ElasticLoadBalancingV2::LoadBalancer"))["LoadBalancerAttributes"]
        )
        assert balancer["routing.http.desync_mitigation_mode"] == "strictest"
        assert balancer["routing.http.drop_invalid_header_fields.enabled"] == "true"
        assert balancer["routing.http.xff_header_processing.mode"] == "append"
        for listener in resources(environment, "AWS::ElasticLoadBalancingV2::Listener").values():
            answers = attributes(listener["Properties"]["ListenerAttributes"])
            assert answers["routing.http.response.server.enabled"] == "false"


class TestOperation:
    @each_deployment
    def test_each_timeout_exceeds_those_inside_it(self, environment: Environment) -> None:
        timeouts = Timeouts()
        balancer = only(resources(environment, "AWS::ElasticLoadBalancingV2::LoadBalancer"))
        target = only(resources(environment, "AWS::ElasticLoadBalancingV2::TargetGroup"))
        idle = int(attributes(balancer["LoadBalancerAttributes"])["idle_timeout.timeout_seconds"])
        drain = int(attributes(target["TargetGroupAttributes"])["deregistration_delay.timeout_seconds"])

        assert timeouts.request < timeouts.gunicorn < idle < timeouts.keep_alive
        assert timeouts.graceful_stop <= drain
        if environment.worker == "lambda":
            function = only(resources(environment, "AWS::Lambda::Function"))
            assert function["Timeout"] == timeouts.worker <= 10

    @each_deployment
    def test_the_deployed_variables_are_valid_settings(self, environment: Environment) -> None:
        """Values that only CloudFormation knows are replaced by the word "token"."""
        for variables in deployed_variables(environment):
            settings = Settings.from_environment(variables)
            assert (settings.backend, settings.reply_path) == ("aws", environment.replies)

    @each_deployment
    def test_groups_update_one_instance_at_a_time_and_scale_on_cpu_and_memory(self, environment: Environment) -> None:
        for group in resources(environment, "AWS::AutoScaling::AutoScalingGroup").values():
            update = group["UpdatePolicy"]["AutoScalingRollingUpdate"]
            assert update["MaxBatchSize"] == 1
            assert update["WaitOnResourceSignals"] is True
            assert group["CreationPolicy"]["ResourceSignal"]["Timeout"] == update["PauseTime"] == "PT10M"
        scaling = json.dumps(resources(environment, "AWS::AutoScaling::ScalingPolicy", "web"))
        assert "ASGAverageCPUUtilization" in scaling
        assert "mem_used_percent" in scaling

    @each_deployment
    def test_user_data_sets_the_region(self, environment: Environment) -> None:
        for template in resources(environment, "AWS::EC2::LaunchTemplate").values():
            script = json.dumps(template["Properties"]["LaunchTemplateData"]["UserData"])
            assert 'AWS_REGION=", {"Ref": "AWS::Region"}' in script

    def test_user_data_uses_no_package_registry(self) -> None:
        for template in resources(Environment(worker="asg"), "AWS::EC2::LaunchTemplate").values():
            script = json.dumps(template["Properties"]["LaunchTemplateData"]["UserData"])
            assert "cfn-signal" in script
            assert not re.search(r"pip install|pypi|npm |git clone|docker", script)

    def test_the_image_of_the_instances_can_be_pinned(self) -> None:
        pinned = resources(Environment(worker="asg", image="ami-0123456789abcdef0"), "AWS::EC2::LaunchTemplate").values()

        assert [template["Properties"]["LaunchTemplateData"]["ImageId"] for template in pinned] == ["ami-0123456789abcdef0"] * 2

    def test_sqs_invokes_the_function_with_partial_failures_and_limited_concurrency(self) -> None:
        mapping = only(resources(Environment(environment="prod"), "AWS::Lambda::EventSourceMapping"))

        assert mapping["FunctionResponseTypes"] == ["ReportBatchItemFailures"]
        assert mapping["ScalingConfig"] == {"MaximumConcurrency": SIZES["prod"].worker_max_concurrency}

    def test_pollers_scale_on_the_backlog_per_instance(self) -> None:
        alarms = [
            alarm["Properties"] for alarm in resources(Environment(worker="asg"), "AWS::CloudWatch::Alarm", "worker").values()
        ]
        assert len(alarms) == 2
        for alarm in alarms:
            assert "visible / MAX([running, 1])" in json.dumps(alarm["Metrics"])


def attributes(pairs: list[dict[str, str]]) -> dict[str, str]:
    return {pair["Key"]: pair["Value"] for pair in pairs}


def deployed_variables(environment: Environment) -> Iterator[dict[str, str]]:
    for function in resources(environment, "AWS::Lambda::Function").values():
        variables = function["Properties"]["Environment"]["Variables"]
        yield {name: value if isinstance(value, str) else "token" for name, value in variables.items()}
    for template in resources(environment, "AWS::EC2::LaunchTemplate").values():
        script = template["Properties"]["LaunchTemplateData"]["UserData"]["Fn::Base64"]["Fn::Join"][1]
        text = "".join(part if isinstance(part, str) else "token" for part in script)
        yield dict(re.findall(r"^(ASCIIST_\w+)=(.*)$", text, re.MULTILINE))


class TestContext:
    def test_the_defaults_are_a_small_deployment(self) -> None:
        assert Environment.from_context({"aws:cdk:enable-path-metadata": True}) == Environment()

    @pytest.mark.parametrize(
        ("context", "sentence"),
        [
            ({"worker": "lamda"}, "worker must be one of lambda, asg, not 'lamda'"),
            ({"environment": "production"}, "environment must be one of dev, prod, not 'production'"),
            ({"image": "al2023"}, "image must be the id of an image, such as ami-0123456789abcdef0, not 'al2023'"),
            ({"workr": "asg"}, "unknown context value 'workr': did you mean 'worker'?"),
            ({"domain": "art.example"}, "domain and certificate (its ARN) go together: give both or neither"),
            ({"domain": "a", "certificate": "b"}, "certificate must be the ARN of a certificate, not 'b'"),
            ({"alarm_email": "me"}, "alarm_email must be an e-mail address, not 'me'"),
        ],
    )
    def test_an_invalid_value_is_reported_in_one_sentence(self, context: dict[str, str], sentence: str) -> None:
        with pytest.raises(ContextError) as mistake:
            Environment.from_context(context)

        assert str(mistake.value) == sentence

    def test_all_mistakes_are_reported_together(self) -> None:
        with pytest.raises(ContextError, match=r"worker must be .*; replies must be"):
            Environment.from_context({"worker": "x", "replies": "y"})
