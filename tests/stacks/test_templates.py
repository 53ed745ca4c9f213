"""The synthesized templates: validity, network access, timeouts, scaling and updates."""

import dataclasses
import itertools
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import cloudformation_validate
import pytest

from asciist.settings import CALLBACK_PORTS, READ_ONLY_MARKER, Settings
from asciist.telemetry import metrics
from asciist.timeouts import Timeouts
from operations.capacity import Load, capacity
from operations.capacity.needs import CPU_TARGET, IN_FLIGHT_TARGET, VCPUS
from service.crawlers import _AGENTS
from stacks.environment import Environment
from tests.stacks.synthesis import choose, compose, new_app, only, resources, synthesized
from tests.stacks.test_datadog import WITH_FUNCTION, WITH_POLLERS

STACKS = ("storage", "network", "web", "edge", "worker", "observability", "datadog")
COMBINATIONS = [
    choose(worker=worker, replies=replies, environment=environment)
    for worker, replies, environment in itertools.product(
        ("lambda", "asg"), ("queue", "callback"), ("dev", "prod")
    )
]
SECURE = choose(
    environment="prod",
    domain="art.example",
    certificate="arn:aws:acm:eu-west-1:123456789012:certificate/x",
)

CDN_CERTIFICATE = "arn:aws:acm:us-east-1:123456789012:certificate/y"
WITH_CDN = choose(
    environment="prod",
    domain="art.example",
    certificate=SECURE.certificate,
    cdn=True,
    cdn_certificate=CDN_CERTIFICATE,
    image="ami-0123456789abcdef0",
    baked=True,
    worker="asg",
    peer_store="azure://artifacts",
    # The ARN of a secret.
    peer_secret="arn:aws:secretsmanager:eu-west-1:123456789012:secret:peer-AbCdEf",  # noqa: S106
)

HSTS = "routing.http.response.strict_transport_security.header_value"

each_deployment = pytest.mark.parametrize(
    "environment",
    COMBINATIONS,
    ids=lambda chosen: f"{chosen.worker}-{chosen.replies}-{chosen.environment}",
)


@each_deployment
def test_every_combination_synthesizes_without_a_finding_of_cdk_nag(
    environment: Environment,
) -> None:
    assert synthesized(environment).keys() == set(STACKS)


REDUNDANT_DEPENDENCY = "W3005"  # the CDK writes the function's dependency on its role twice


@each_deployment
def test_every_template_passes_the_validator_of_aws(environment: Environment) -> None:
    for stack, template in synthesized(environment).items():
        report = validator().validate_template(
            cloudformation_validate.TemplateContent(json.dumps(template), f"{stack}.json")
        )
        findings = [
            f"{stack}: {finding.rule_id} {finding.message}"
            for finding in report.diagnostics
            if finding.severity is not cloudformation_validate.Severity.INFO
            and finding.rule_id != REDUNDANT_DEPENDENCY
        ]
        assert findings == []


@pytest.mark.slow
def test_every_template_passes_cfn_lint(tmp_path: Path) -> None:
    """Most deployments share some templates. Each is checked once, in one process, because starting
    and checking take seconds."""
    distinct = {
        json.dumps(template): f"{number}-{stack}"
        for number, environment in enumerate(
            [*COMBINATIONS, SECURE, WITH_CDN, WITH_FUNCTION, WITH_POLLERS]
        )
        for stack, template in synthesized(environment).items()
    }
    for template, name in distinct.items():
        (tmp_path / f"{name}.json").write_text(template)
    lint = Path(sys.executable).with_name("cfn-lint")
    run = subprocess.run(
        [
            lint,
            "--ignore-checks",
            REDUNDANT_DEPENDENCY,
            "--regions",
            "eu-west-1",
            "--",
            *map(str, tmp_path.iterdir()),
        ],
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
            kinds = {
                name: resource["Type"]
                for name, resource in synthesized(environment)["storage"]["Resources"].items()
            }
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
        storage = synthesized(choose(environment=environment))["storage"]["Resources"]
        policy = "Retain" if environment == "prod" else "Delete"
        for name in ("Artifacts", "Requests", "DeadLetters"):
            assert {storage[name]["DeletionPolicy"], storage[name]["UpdateReplacePolicy"]} == {
                policy
            }

    @pytest.mark.parametrize("environment", ["dev", "prod"])
    def test_images_art_and_unfinished_uploads_are_deleted_by_age(self, environment: str) -> None:
        bucket = synthesized(choose(environment))["storage"]["Resources"]["Artifacts"]["Properties"]
        rules = {rule["Id"]: rule for rule in bucket["LifecycleConfiguration"]["Rules"]}

        assert (
            rules["images-and-art"]["ExpirationInDays"] == choose(environment).sizes.artifact_days
        )
        assert rules["unfinished-uploads"]["AbortIncompleteMultipartUpload"] == {
            "DaysAfterInitiation": 1
        }
        assert all(rule["Status"] == "Enabled" and "Prefix" not in rule for rule in rules.values())

    def test_the_visibility_timeout_is_six_worker_timeouts_and_the_maximum_receive_count_is_five(
        self,
    ) -> None:
        timeouts = Timeouts()
        storage = synthesized(choose())["storage"]["Resources"]
        requests = storage["Requests"]["Properties"]

        assert requests["VisibilityTimeout"] == 6 * timeouts.worker
        assert requests["RedrivePolicy"]["maxReceiveCount"] == timeouts.max_receive_count == 5
        assert requests["RedrivePolicy"]["deadLetterTargetArn"] == {
            "Fn::GetAtt": ["DeadLetters", "Arn"]
        }
        assert storage["DeadLetters"]["Properties"]["MessageRetentionPeriod"] == 14 * 86_400

    def test_storage_is_encrypted_and_private_and_requires_tls(self) -> None:
        for bucket in resources(choose(), "AWS::S3::Bucket").values():
            assert set(bucket["Properties"]["PublicAccessBlockConfiguration"].values()) == {True}
            assert bucket["Properties"]["BucketEncryption"]
        for queue in resources(choose(), "AWS::SQS::Queue").values():
            assert queue["Properties"]["SqsManagedSseEnabled"] is True
        for kind, number in (
            ("AWS::S3::BucketPolicy", 2),
            ("AWS::SQS::QueuePolicy", 2),
            ("AWS::SNS::TopicPolicy", 2),
        ):
            policies = resources(choose(), kind)
            assert len(policies) == number
            for policy in policies.values():
                assert {"Bool": {"aws:SecureTransport": "false"}} in [
                    statement.get("Condition")
                    for statement in policy["Properties"]["PolicyDocument"]["Statement"]
                ]


class TestNetwork:
    @each_deployment
    def test_instances_accept_connections_only_from_the_load_balancer_and_from_workers(
        self, environment: Environment
    ) -> None:
        rules = [
            rule["Properties"]
            for rule in resources(environment, "AWS::EC2::SecurityGroupIngress").values()
        ]
        first = Settings().callback_first_port
        callbacks = (first, first + CALLBACK_PORTS - 1)

        assert sorted((rule["FromPort"], rule["ToPort"]) for rule in rules) == [
            (8080, 8080),
            callbacks,
        ]
        assert all("SourceSecurityGroupId" in rule and "CidrIp" not in rule for rule in rules)
        for name, group in resources(environment, "AWS::EC2::SecurityGroup").items():
            open_ports = [
                rule["FromPort"] for rule in group["Properties"].get("SecurityGroupIngress", [])
            ]
            assert open_ports == ([80, 443] if name.startswith("FrontAccess") else [])

    @each_deployment
    def test_instances_are_in_private_subnets_with_encrypted_disks_and_imdsv2_only(
        self, environment: Environment
    ) -> None:
        templates = resources(environment, "AWS::EC2::LaunchTemplate")
        assert len(templates) == (2 if environment.worker == "asg" else 1)
        for template in templates.values():
            data = template["Properties"]["LaunchTemplateData"]
            assert data["MetadataOptions"] == {
                "HttpTokens": "required",
                "HttpPutResponseHopLimit": 1,
            }
            assert all(device["Ebs"]["Encrypted"] for device in data["BlockDeviceMappings"])
            assert "KeyName" not in data
        for group in resources(environment, "AWS::AutoScaling::AutoScalingGroup").values():
            assert "PrivateSubnet" in json.dumps(group["Properties"]["VPCZoneIdentifier"])

    def test_the_function_is_in_the_vpc_so_that_it_can_answer_by_either_path(self) -> None:
        for replies in ("queue", "callback"):
            assert "VpcConfig" in only(
                resources(choose(replies=replies), "AWS::Lambda::Function", "worker")
            )

    def test_without_a_domain_synthesis_warns_of_plain_http(self) -> None:
        from aws_cdk import Stack, assertions

        app = compose(new_app(), choose())
        (web,) = [stack for stack in app.node.children if stack.node.id.endswith("-web")]
        assert isinstance(web, Stack)
        warnings = assertions.Annotations.from_stack(web).find_warning(
            "*", assertions.Match.string_like_regexp("plain HTTP")
        )

        assert len(warnings) == 1
        assert (
            only(resources(choose(), "AWS::ElasticLoadBalancingV2::Listener"))["Protocol"] == "HTTP"
        )

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
            assert (HSTS in attributes(listener["ListenerAttributes"])) is (
                listener["Protocol"] == "HTTPS"
            )

    @pytest.mark.parametrize("environment", [*COMBINATIONS, SECURE])
    def test_the_load_balancer_refuses_ambiguous_requests_and_does_not_name_itself(
        self, environment: Environment
    ) -> None:
        balancer = attributes(
            only(resources(environment, "AWS::ElasticLoadBalancingV2::LoadBalancer"))[
                "LoadBalancerAttributes"
            ]
        )
        assert balancer["routing.http.desync_mitigation_mode"] == "strictest"
        assert balancer["routing.http.drop_invalid_header_fields.enabled"] == "true"
        assert balancer["routing.http.xff_header_processing.mode"] == "append"
        for listener in resources(environment, "AWS::ElasticLoadBalancingV2::Listener").values():
            answers = attributes(listener["Properties"]["ListenerAttributes"])
            assert answers["routing.http.response.server.enabled"] == "false"


class TestEdge:
    def test_prod_has_a_firewall_that_limits_the_requests_of_an_address(self) -> None:
        acl = only(resources(choose("prod"), "AWS::WAFv2::WebACL", "edge"))
        rate, *_ = sorted(acl["Rules"], key=lambda rule: rule["Priority"])

        assert acl["DefaultAction"] == {"Allow": {}}
        assert rate["Statement"]["RateBasedStatement"] == {
            "AggregateKeyType": "IP",
            "EvaluationWindowSec": 300,
            "Limit": choose("prod").sizes.requests_per_address,
        }
        assert rate["Action"]["Block"]["CustomResponse"]["ResponseCode"] == 429
        assert "WebACLArn" in only(
            resources(choose("prod"), "AWS::WAFv2::WebACLAssociation", "edge")
        )

    def test_its_managed_rules_block_no_image_for_its_size_or_its_bytes(self) -> None:
        acl = only(resources(choose("prod"), "AWS::WAFv2::WebACL", "edge"))
        groups = [
            group
            for rule in acl["Rules"]
            if (group := rule["Statement"].get("ManagedRuleGroupStatement")) is not None
        ]
        counted = {
            override["Name"]
            for group in groups
            for override in group.get("RuleActionOverrides", [])
            if "Count" in override["ActionToUse"]
        }
        assert {group["Name"] for group in groups} == {
            "AWSManagedRulesAmazonIpReputationList",
            "AWSManagedRulesKnownBadInputsRuleSet",
        }
        assert counted == {"JavaDeserializationRCE_BODY", "Log4JRCE_BODY"}

    def test_without_a_firewall_the_stack_is_empty(self) -> None:
        assert resources(choose(), "AWS::WAFv2::WebACL") == {}

    @pytest.mark.parametrize("environment", ["dev", "prod"])
    def test_the_load_balancer_logs_addresses_if_the_environment_says_so(
        self, environment: str
    ) -> None:
        chosen = choose(environment)
        balancer = attributes(
            only(resources(chosen, "AWS::ElasticLoadBalancingV2::LoadBalancer"))[
                "LoadBalancerAttributes"
            ]
        )
        logs = synthesized(chosen)["storage"]["Resources"]["AccessLogs"]["Properties"]

        assert balancer["access_logs.s3.enabled"] == str(chosen.access_logs).lower()
        assert ("access_logs.s3.bucket" in balancer) is chosen.access_logs
        (rule,) = logs["LifecycleConfiguration"]["Rules"]
        assert rule["ExpirationInDays"] == chosen.sizes.access_log_days

    def test_the_records_of_the_domain_are_made_in_the_hosted_zone(self) -> None:
        domain = {"domain": "art.example", "certificate": SECURE.certificate}
        assert resources(choose(**domain), "AWS::Route53::RecordSet") == {}
        record = only(
            resources(choose(**domain, hosted_zone="Z0123456789"), "AWS::Route53::RecordSet")
        )

        assert (record["Name"], record["Type"], record["HostedZoneId"]) == (
            "art.example",
            "A",
            "Z0123456789",
        )
        assert "Front" in json.dumps(record["AliasTarget"]["DNSName"])
        cdn = choose(**domain, hosted_zone="Z0123456789", cdn=True, cdn_certificate=CDN_CERTIFICATE)
        with_cdn = only(resources(cdn, "AWS::Route53::RecordSet"))
        assert "Distribution" in json.dumps(with_cdn["AliasTarget"]["DNSName"])
        # the same record, which is updated
        assert with_cdn | {"AliasTarget": record["AliasTarget"]} == record

    def test_the_cdn_caches_art_and_static_files_for_as_long_as_they_say_and_passes_on_all_else(
        self,
    ) -> None:
        for chosen, secure in ((choose(cdn=True), False), (WITH_CDN, True)):
            config = only(resources(chosen, "AWS::CloudFront::Distribution"))["DistributionConfig"]
            policy = only(resources(chosen, "AWS::CloudFront::CachePolicy"))["CachePolicyConfig"]
            keyed = policy["ParametersInCacheKeyAndForwardedToOrigin"]
            cached = config["CacheBehaviors"]

            assert (policy["MinTTL"], policy["DefaultTTL"]) == (0, 0)
            assert set(keyed["HeadersConfig"]["Headers"]) == {"Accept", "Origin"}
            assert keyed["QueryStringsConfig"] == {"QueryStringBehavior": "all"}
            assert {behavior["PathPattern"] for behavior in cached} == {
                "/*/width/*",
                "/????-????-????*",
                "/static/*",
            }
            disabled, all_viewer = (
                "4135ea2d-6df8-44a3-9df3-4b5a84be39ad",
                "216adef6-5c7f-47e4-b989-5492eafa07d3",
            )
            assert config["DefaultCacheBehavior"]["CachePolicyId"] == disabled
            for behavior in (*cached, config["DefaultCacheBehavior"]):
                assert {"GET", "PUT", "POST", "DELETE"} <= set(behavior["AllowedMethods"])
                assert behavior["OriginRequestPolicyId"] == all_viewer
                assert behavior["ViewerProtocolPolicy"] == (
                    "redirect-to-https" if secure else "allow-all"
                )
            (origin,) = config["Origins"]
            assert origin["CustomOriginConfig"]["OriginProtocolPolicy"] == (
                "https-only" if secure else "http-only"
            )
            assert config.get("Aliases") == (["art.example"] if secure else None)

    def test_the_cdn_asks_for_the_page_for_every_program_that_shows_previews(self) -> None:
        """Unlike the service, its cache does not distinguish answers by User-Agent."""
        function = only(resources(choose(cdn=True), "AWS::CloudFront::Function"))["FunctionCode"]

        assert f"/{_AGENTS.pattern}/i.test" in function

    def test_behind_the_cdn_the_firewall_counts_addresses_told_by_the_cdn_and_trusts_nobody_else(
        self,
    ) -> None:
        acl = only(resources(WITH_CDN, "AWS::WAFv2::WebACL"))
        direct, told = (
            rule["Statement"]["RateBasedStatement"]
            for rule in acl["Rules"]
            if "RateBasedStatement" in rule["Statement"]
        )
        (origin,) = only(resources(WITH_CDN, "AWS::CloudFront::Distribution"))[
            "DistributionConfig"
        ]["Origins"]
        (key,) = origin["OriginCustomHeaders"]
        function = only(resources(WITH_CDN, "AWS::CloudFront::Function"))
        match = told["ScopeDownStatement"]["ByteMatchStatement"]

        assert direct["AggregateKeyType"] == "IP"
        assert direct["ScopeDownStatement"] == {
            "NotStatement": {"Statement": told["ScopeDownStatement"]}
        }
        assert told["AggregateKeyType"] == "FORWARDED_IP"
        assert told["ForwardedIPConfig"]["HeaderName"] == "x-asciist-viewer"
        assert (
            "event.request.headers['x-asciist-viewer'] = { value: event.viewer.ip }"
            in function["FunctionCode"]
        )
        assert match["FieldToMatch"] == {"SingleHeader": {"Name": key["HeaderName"]}}
        assert match["SearchString"] == key["HeaderValue"]
        assert "{{resolve:secretsmanager:" in json.dumps(key["HeaderValue"])

    @pytest.mark.parametrize(
        ("method", "path", "kept"),
        [
            ("GET", "/Ab_9/width/80", False),
            ("HEAD", "/Ab_9/style/blocks/width/80.png", False),
            ("GET", "/7xfc-m5zm-q0z9", False),
            ("GET", "/7xfc-m5zm-q0z9.card.png", False),
            ("POST", "/Ab_9/width/80", True),
            ("PUT", "/", True),
            ("GET", "/static/page.css", True),
        ],
    )
    def test_the_cdn_drops_queries_without_a_meaning_from_art(
        self, method: str, path: str, *, kept: bool
    ) -> None:
        """Each would be another entry of its cache."""
        assert seen_behind_the_cdn(method, path, "utm_source") == (["utm_source"] if kept else [])

    def test_the_cdn_leaves_a_file_with_options_to_the_service(self) -> None:
        assert seen_behind_the_cdn("GET", "/Ab_9/width/80.png", "width") == ["width"]
        assert seen_behind_the_cdn("GET", "/Ab_9/width/80", "width") == []

    def test_the_cdn_logs_addresses_if_the_environment_says_so(self) -> None:
        config = only(resources(WITH_CDN, "AWS::CloudFront::Distribution"))["DistributionConfig"]
        assert config["Logging"]["Prefix"] == "cdn/"
        assert (
            "Logging"
            not in only(resources(choose(cdn=True), "AWS::CloudFront::Distribution"))[
                "DistributionConfig"
            ]
        )


class TestOperation:
    @each_deployment
    def test_each_timeout_exceeds_those_inside_it(self, environment: Environment) -> None:
        timeouts = Timeouts()
        balancer = only(resources(environment, "AWS::ElasticLoadBalancingV2::LoadBalancer"))
        target = only(resources(environment, "AWS::ElasticLoadBalancingV2::TargetGroup"))
        idle = int(attributes(balancer["LoadBalancerAttributes"])["idle_timeout.timeout_seconds"])
        drain = int(
            attributes(target["TargetGroupAttributes"])["deregistration_delay.timeout_seconds"]
        )

        assert timeouts.request < timeouts.gunicorn < idle < timeouts.keep_alive
        assert timeouts.upload + timeouts.request < drain
        if environment.worker == "lambda":
            function = only(resources(environment, "AWS::Lambda::Function", "worker"))
            assert function["Timeout"] == timeouts.worker <= 10

    @each_deployment
    def test_the_deployed_variables_are_valid_settings(self, environment: Environment) -> None:
        """The word "token" replaces values known only to CloudFormation."""
        for variables in deployed_variables(environment):
            settings = Settings.from_environment(variables)
            assert settings.backend == "aws"
            is_web = "ASCIIST_PORT" in variables
            assert settings.reply_path == (environment.replies if is_web else "queue")
            assert is_web or "ASCIIST_REPLY_PATH" not in variables

    def test_the_web_tier_alone_has_a_peer_store_and_the_marker_of_its_own_store(self) -> None:
        """It has both or none: without a peer, checking a marker would cost for nothing."""
        for environment in (WITH_CDN, COMBINATIONS[0]):
            for variables in deployed_variables(environment):
                found = {
                    name: value
                    for name, value in variables.items()
                    if re.search("PEER|READ_ONLY", name)
                }
                has_peer = bool(environment.peer_store) and "ASCIIST_PORT" in variables
                peer = {
                    "ASCIIST_PEER_STORE": "azure://artifacts",
                    "ASCIIST_READ_ONLY": f"s3://token/{READ_ONLY_MARKER}",
                }
                assert found == (peer if has_peer else {})

    @each_deployment
    def test_groups_update_one_instance_at_a_time(self, environment: Environment) -> None:
        for group in resources(environment, "AWS::AutoScaling::AutoScalingGroup").values():
            update = group["UpdatePolicy"]["AutoScalingRollingUpdate"]
            assert update["MaxBatchSize"] == 1
            assert update["WaitOnResourceSignals"] is True
            assert (
                group["CreationPolicy"]["ResourceSignal"]["Timeout"]
                == update["PauseTime"]
                == "PT10M"
            )

    @each_deployment
    def test_user_data_sets_the_region(self, environment: Environment) -> None:
        for template in resources(environment, "AWS::EC2::LaunchTemplate").values():
            script = json.dumps(template["Properties"]["LaunchTemplateData"]["UserData"])
            assert 'AWS_REGION=", {"Ref": "AWS::Region"}' in script

    def test_user_data_uses_no_package_registry(self) -> None:
        for template in resources(choose(worker="asg"), "AWS::EC2::LaunchTemplate").values():
            script = json.dumps(template["Properties"]["LaunchTemplateData"]["UserData"])
            assert "cfn-signal" in script
            assert not re.search(r"pip install|pypi|npm |git clone|docker", script)

    def test_the_image_of_the_instances_can_be_pinned(self) -> None:
        pinned = resources(
            choose(worker="asg", image="ami-0123456789abcdef0"), "AWS::EC2::LaunchTemplate"
        ).values()

        assert [template["Properties"]["LaunchTemplateData"]["ImageId"] for template in pinned] == [
            "ami-0123456789abcdef0"
        ] * 2

    def test_a_baked_image_has_the_release_and_is_built_anew_for_another_one(self) -> None:
        (component,) = resources(WITH_CDN, "AWS::ImageBuilder::Component", "web").values()
        (recipe,) = resources(WITH_CDN, "AWS::ImageBuilder::ImageRecipe", "web").items()
        (image,) = resources(WITH_CDN, "AWS::ImageBuilder::Image", "web")
        (template,) = resources(WITH_CDN, "AWS::EC2::LaunchTemplate", "web").values()
        data = component["Properties"]["Data"]

        assert "boot --prepare" in json.dumps(data)
        assert recipe[1]["Properties"]["ParentImage"] == "ami-0123456789abcdef0"
        assert template["Properties"]["LaunchTemplateData"]["ImageId"] == {
            "Fn::GetAtt": [image, "ImageId"]
        }
        names = {resource["Properties"]["Name"] for resource in (component, recipe[1])}
        other = dataclasses.replace(WITH_CDN, image="ami-0fedcba9876543210")
        assert names.isdisjoint(
            only(resources(other, kind, "web"))["Name"]
            for kind in ("AWS::ImageBuilder::Component", "AWS::ImageBuilder::ImageRecipe")
        )

    def test_messages_reach_the_function_through_an_alias_which_prod_moves_in_two_steps(
        self,
    ) -> None:
        for chosen in (choose(), choose("prod")):
            (alias,) = resources(chosen, "AWS::Lambda::Alias").values()
            mapping = only(resources(chosen, "AWS::Lambda::EventSourceMapping"))
            groups = resources(chosen, "AWS::CodeDeploy::DeploymentGroup")

            assert json.dumps(mapping["FunctionName"]).endswith('":live"]]}')
            assert ("CodeDeployLambdaAliasUpdate" in alias.get("UpdatePolicy", {})) is chosen.canary
            assert bool(groups) is chosen.canary
        group = only(groups)
        (alarm,) = group["AlarmConfiguration"]["Alarms"]
        watched = resources(choose("prod"), "AWS::CloudWatch::Alarm", "worker")[
            alarm["Name"]["Ref"]
        ]["Properties"]
        assert group["DeploymentConfigName"] == "CodeDeployDefault.LambdaCanary10Percent5Minutes"
        assert set(group["AutoRollbackConfiguration"]["Events"]) == {
            "DEPLOYMENT_FAILURE",
            "DEPLOYMENT_STOP_ON_ALARM",
        }
        assert {
            query["MetricStat"]["Metric"]["MetricName"]
            for query in watched["Metrics"]
            if "MetricStat" in query
        } == {
            "Errors",
            metrics.MESSAGES_FAULTED,
        }

    def test_instances_of_the_function_can_be_kept_ready_or_be_started_from_a_snapshot(
        self,
    ) -> None:
        ready = dataclasses.replace(
            choose(), sizes=dataclasses.replace(choose().sizes, function_provisioned=3)
        )
        assert only(resources(ready, "AWS::Lambda::Alias"))["ProvisionedConcurrencyConfig"] == {
            "ProvisionedConcurrentExecutions": 3
        }
        assert only(resources(choose(snap_start=True), "AWS::Lambda::Function", "worker"))[
            "SnapStart"
        ] == {"ApplyOn": "PublishedVersions"}

    def test_the_probe_runs_every_minute_outside_the_network_and_is_not_tried_again(self) -> None:
        (function,) = resources(SECURE, "AWS::Lambda::Function", "observability").values()
        rule = only(resources(SECURE, "AWS::Events::Rule"))
        (target,) = rule["Targets"]

        assert rule["ScheduleExpression"] == "rate(1 minute)"
        assert target["RetryPolicy"]["MaximumRetryAttempts"] == 0
        assert "VpcConfig" not in function["Properties"]
        assert function["Properties"]["Environment"]["Variables"] == {
            "ASCIIST_URL": "https://art.example"
        }

    def test_a_budget_tells_of_money_that_is_spent_or_will_be(self) -> None:
        assert resources(choose(), "AWS::Budgets::Budget") == {}
        budget = only(resources(choose("prod"), "AWS::Budgets::Budget"))
        assert budget["Budget"]["BudgetLimit"] == {
            "Amount": choose("prod").sizes.monthly_budget,
            "Unit": "USD",
        }
        assert {
            told["Notification"]["NotificationType"]
            for told in budget["NotificationsWithSubscribers"]
        } == {
            "ACTUAL",
            "FORECASTED",
        }

    def test_sqs_invokes_the_function_with_partial_failures_and_limited_concurrency(self) -> None:
        mapping = only(resources(choose(environment="prod"), "AWS::Lambda::EventSourceMapping"))

        assert mapping["FunctionResponseTypes"] == ["ReportBatchItemFailures"]
        assert mapping["ScalingConfig"] == {
            "MaximumConcurrency": choose("prod").sizes.worker_max_concurrency
        }

    @pytest.mark.parametrize(
        ("stack", "expressions"),
        [
            ("web", {"FILL(requests, 0) / 60 * FILL(seconds, 0)"}),
            ("worker", {"FILL(visible, 0) / IF(running > 0, running, 1)"}),
        ],
    )
    def test_groups_scale_on_cpu_and_on_what_waits(self, stack: str, expressions: set[str]) -> None:
        """Target tracking adds and removes instances; a step that removes some would work against
        it."""
        policies = [
            policy["Properties"]
            for policy in resources(
                choose(worker="asg"), "AWS::AutoScaling::ScalingPolicy", stack
            ).values()
        ]
        tracked = [
            policy["TargetTrackingConfiguration"]
            for policy in policies
            if policy["PolicyType"] == "TargetTrackingScaling"
        ]
        found = {
            query["Expression"]
            for tracking in tracked
            for query in tracking.get("CustomizedMetricSpecification", {}).get("Metrics", [])
            if "Expression" in query
        }
        assert found == expressions
        assert "ASGAverageCPUUtilization" in json.dumps(tracked)
        steps = [step for policy in policies for step in policy.get("StepAdjustments", [])]
        assert all(step["ScalingAdjustment"] > 0 for step in steps)
        assert bool(steps) is (stack == "worker")


class TestCosts:
    """The computation of costs counts the resources of the templates."""

    @pytest.mark.parametrize("environment", [*COMBINATIONS, SECURE, WITH_CDN])
    def test_each_billed_resource_is_counted(self, environment: Environment) -> None:
        billed = {
            line.name: line.units
            for line in capacity(Load(requests_per_second=0), environment).lines
        }
        policies = resources(environment, "AWS::AutoScaling::ScalingPolicy").values()
        tracking = [
            policy
            for policy in policies
            if policy["Properties"]["PolicyType"] == "TargetTrackingScaling"
        ]
        firewalls = resources(environment, "AWS::WAFv2::WebACL").values()
        alarms = [*resources(environment, "AWS::CloudWatch::Alarm").values()]

        assert billed["composite alarms"] == len(
            resources(environment, "AWS::CloudWatch::CompositeAlarm")
        )
        # Target tracking has two alarms of its own for each policy.
        assert billed["alarms: metrics"] == sum(map(metrics_of, alarms)) + 2 * sum(
            map(metrics_of, tracking)
        )
        assert billed["dashboard"] == len(resources(environment, "AWS::CloudWatch::Dashboard"))
        assert billed["secrets"] == len(resources(environment, "AWS::SecretsManager::Secret"))
        assert billed["NAT gateways: hours"] == 730 * len(
            resources(environment, "AWS::EC2::NatGateway")
        )
        assert billed.get("firewall", 0) == len(firewalls)
        assert billed.get("firewall: rules", 0) == sum(
            len(firewall["Properties"]["Rules"]) for firewall in firewalls
        )
        groups = resources(environment, "AWS::AutoScaling::AutoScalingGroup").values()
        disks = sum(8 * int(group["Properties"]["MinSize"]) for group in groups)
        assert billed["disks"] == disks

    def test_instances_are_added_at_the_shares_that_it_computes_with(self) -> None:
        policies = resources(choose("prod"), "AWS::AutoScaling::ScalingPolicy", "web").values()
        targets = {
            policy["Properties"]["TargetTrackingConfiguration"]["TargetValue"]
            for policy in policies
        }

        assert targets == {
            100 * CPU_TARGET,
            IN_FLIGHT_TARGET * VCPUS * Settings.max_requests_in_flight,
        }


def metrics_of(alarm: dict[str, Any]) -> int:
    """Return the metrics of an alarm or a policy, each of which is billed."""
    tracking = (
        alarm["Properties"]
        .get("TargetTrackingConfiguration", {})
        .get("CustomizedMetricSpecification", {})
    )
    queries = alarm["Properties"].get("Metrics") or tracking.get("Metrics") or []
    return sum("MetricStat" in query for query in queries) or 1


def attributes(pairs: list[dict[str, str]]) -> dict[str, str]:
    return {pair["Key"]: pair["Value"] for pair in pairs}


def deployed_variables(environment: Environment) -> Iterator[dict[str, str]]:
    for function in resources(environment, "AWS::Lambda::Function", "worker").values():
        variables = function["Properties"]["Environment"]["Variables"]
        yield {
            name: value if isinstance(value, str) else "token" for name, value in variables.items()
        }
    for template in resources(environment, "AWS::EC2::LaunchTemplate").values():
        script = template["Properties"]["LaunchTemplateData"]["UserData"]["Fn::Base64"]["Fn::Join"][
            1
        ]
        text = "".join(part if isinstance(part, str) else "token" for part in script)
        yield dict(re.findall(r"^(ASCIIST_\w+)=(.*)$", text, re.MULTILINE))


def seen_behind_the_cdn(method: str, path: str, parameter: str) -> list[str]:
    """Return the names in the query of a request after the distribution's function."""
    code = only(resources(WITH_CDN, "AWS::CloudFront::Function"))["FunctionCode"]
    event = {
        "viewer": {"ip": "192.0.2.1"},
        "request": {
            "method": method,
            "uri": path,
            "headers": {},
            "querystring": {parameter: {"value": "1"}},
        },
    }
    call = f"console.log(JSON.stringify(Object.keys(handler({json.dumps(event)}).querystring)))"
    node = str(Path(sys.executable).with_name("node"))
    done = subprocess.run([node, "-e", code + call], capture_output=True, text=True, check=True)
    return list(json.loads(done.stdout))
