"""The roles of GitHub's workflows: their trust and their permissions."""

import json
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import cloudformation_validate
import pytest

from tests.stacks.policies import ACCOUNT, REGION, is_allowed, statements
from tests.stacks.synthesis import new_app

HOST = "token.actions.githubusercontent.com"
PROVIDER = f"arn:aws:iam::{ACCOUNT}:oidc-provider/{HOST}"
CDK_ROLE = f"arn:aws:iam::{ACCOUNT}:role/cdk-hnb659fds-{{}}-role-{ACCOUNT}-{REGION}"


def composed(repository: str = "octo/art", **choices: Any) -> dict[str, Any]:
    """Return the template of the roles."""
    from stacks import delivery

    app = delivery.compose(new_app(), repository=repository, **choices)
    found: dict[str, Any] = app.synth().get_stack_by_name(delivery.NAME).template
    return found


@cache
def template(provider: str = "") -> dict[str, Any]:
    return composed(provider=provider)


def of_type(kind: str, provider: str = "") -> list[dict[str, Any]]:
    return [
        found["Properties"]
        for found in template(provider)["Resources"].values()
        if found["Type"] == kind
    ]


def allows(environment: str, action: str, resource: str) -> bool:
    (policy,) = (
        found
        for found in of_type("AWS::IAM::Policy")
        if found["Roles"][0]["Ref"].startswith(environment.capitalize())
    )
    return is_allowed([statements(policy["PolicyDocument"], template(), {})], action, resource)


@pytest.mark.parametrize("provider", ["", PROVIDER])
def test_the_stack_has_no_finding_of_cdk_nag_and_passes_the_validator_of_aws(provider: str) -> None:
    content = cloudformation_validate.TemplateContent(
        json.dumps(template(provider)), "delivery.json"
    )
    report = cloudformation_validate.CompositeEngine().validate_template(content)

    assert [
        found.message
        for found in report.diagnostics
        if found.severity is not cloudformation_validate.Severity.INFO
    ] == []


@pytest.mark.slow
def test_the_stack_passes_cfn_lint(tmp_path: Path) -> None:
    (tmp_path / "delivery.json").write_text(json.dumps(template()))
    lint = Path(sys.executable).with_name("cfn-lint")
    run = subprocess.run(
        [lint, "--regions", "eu-west-1", "--", tmp_path / "delivery.json"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (run.returncode, run.stdout) == (0, "")


def test_each_environment_has_a_role_that_only_its_jobs_may_assume() -> None:
    roles = of_type("AWS::IAM::Role")

    assert sorted(role["RoleName"] for role in roles) == [
        "asciist-delivery-dev",
        "asciist-delivery-prod",
    ]
    for role in roles:
        (trust,) = role["AssumeRolePolicyDocument"]["Statement"]
        assert trust["Action"] == "sts:AssumeRoleWithWebIdentity"
        assert trust["Principal"].keys() == {"Federated"}
        assert trust["Condition"] == {
            "StringEquals": {
                f"{HOST}:aud": "sts.amazonaws.com",
                f"{HOST}:sub": f"repo:octo/art:environment:{role['RoleName'].rpartition('-')[2]}",
            }
        }


def test_a_provider_that_exists_is_not_created_again() -> None:
    assert len(of_type("AWS::IAM::OIDCProvider")) == 1
    assert of_type("AWS::IAM::OIDCProvider", PROVIDER) == []
    for role in of_type("AWS::IAM::Role", PROVIDER):
        assert role["AssumeRolePolicyDocument"]["Statement"][0]["Principal"] == {
            "Federated": PROVIDER
        }


def test_an_account_of_one_environment_has_its_role_alone() -> None:
    resources = composed(environments=["prod"])["Resources"].values()
    (role,) = (resource for resource in resources if resource["Type"] == "AWS::IAM::Role")

    assert role["Properties"]["RoleName"] == "asciist-delivery-prod"
    with pytest.raises(ValueError, match="ENVIRONMENTS must be some of dev,prod, not staging"):
        composed(environments=["staging"])


@pytest.mark.parametrize("environment", ["dev", "prod"])
def test_a_role_may_deploy_with_the_cdk_and_read_outputs_and_alarms_and_nothing_else(
    environment: str,
) -> None:
    other = {"dev": "prod", "prod": "dev"}[environment]
    stack = f"arn:aws:cloudformation:{REGION}:{ACCOUNT}:stack/asciist-{{}}-web/0"

    for kind in ("deploy", "file-publishing", "lookup"):
        assert allows(environment, "sts:AssumeRole", CDK_ROLE.format(kind))
    assert allows(environment, "cloudformation:DescribeStacks", stack.format(environment))
    assert allows(environment, "cloudwatch:DescribeAlarms", "*")
    for action, resource in (
        ("sts:AssumeRole", CDK_ROLE.format("cfn-exec")),
        ("sts:AssumeRole", CDK_ROLE.format("image-publishing")),
        ("sts:AssumeRole", f"arn:aws:iam::{ACCOUNT}:role/administrator"),
        ("cloudformation:DescribeStacks", stack.format(other)),
        ("cloudformation:DeleteStack", stack.format(environment)),
        ("cloudwatch:SetAlarmState", "*"),
        ("s3:GetObject", "arn:aws:s3:::any/key"),
        ("iam:PassRole", "*"),
    ):
        assert not allows(environment, action, resource), action


@pytest.mark.parametrize("repository", ["octo/art", "octo-org/my.art_2", "octo@123/art@456"])
def test_a_repository_is_named_with_or_without_the_numbers_of_its_tokens(repository: str) -> None:
    composed(repository)


@pytest.mark.parametrize(
    "repository",
    ["", "art", "octo/*", "octo/art:ref", "octo@1/art", "https://example.com/octo/art"],
)
def test_anything_else_is_refused(repository: str) -> None:
    with pytest.raises(ValueError, match="REPOSITORY must be"):
        composed(repository)


def test_another_provider_is_refused() -> None:
    with pytest.raises(ValueError, match="PROVIDER must be"):
        composed(provider=PROVIDER.replace("token.", "tokens."))
