"""Permissions: the tables in docs/operations.md equal the templates, and no role has any other
permission."""

import re
from functools import cache
from pathlib import Path

import botocore.session
import pytest

from asciist.options import ConversionOptions
from asciist.protocol.artifacts import art_key, image_key, link_key
from asciist.settings import READ_ONLY_MARKER
from stacks.environment import Environment
from tests.stacks.policies import (
    ACCOUNT,
    REGION,
    Statement,
    is_allowed,
    is_denied,
    resource_policies,
    roles,
)
from tests.stacks.synthesis import choose, synthesized
from tests.stacks.test_templates import COMBINATIONS, SECURE

OPERATIONS = Path(__file__).parents[2] / "docs/operations.md"

API_KEY, APP_KEY = (
    f"arn:aws:secretsmanager:{REGION}:{ACCOUNT}:secret:{name}" for name in ("api-key", "app-key")
)
LINK_KEYS = f"arn:aws:secretsmanager:{REGION}:{ACCOUNT}:secret:linkkeys"
PEER_SECRET = f"arn:aws:secretsmanager:{REGION}:{ACCOUNT}:secret:peer"
PEER = choose(
    worker="asg",
    datadog_api_key=API_KEY,
    datadog_app_key=APP_KEY,
    peer_store="azure://artifacts",
    peer_secret=PEER_SECRET,
)
DEPLOYMENTS = [
    *COMBINATIONS,
    SECURE,
    choose(datadog_api_key=API_KEY, datadog_app_key=APP_KEY),
    PEER,
]

each_deployment = pytest.mark.parametrize(
    "environment",
    DEPLOYMENTS,
    ids=lambda chosen: (
        f"{chosen.worker}-{chosen.replies}-{chosen.environment}"
        f"{'-datadog' if chosen.datadog else ''}{'-peer' if chosen.peer_store else ''}"
    ),
)

BUCKET = "arn:aws:s3:::artifacts"
RELEASES = f"arn:aws:s3:::cdk-hnb659fds-assets-{ACCOUNT}-{REGION}"
REQUESTS, DEAD_LETTERS = (
    f"arn:aws:sqs:{REGION}:{ACCOUNT}:{name}" for name in ("requests", "deadletters")
)

DIGEST = "0123456789abcdef" * 4
IMAGE = f"{BUCKET}/{image_key(DIGEST)}"
ART = f"{BUCKET}/{art_key(DIGEST, ConversionOptions(width=80))}"
STYLED_ART = f"{BUCKET}/{art_key(DIGEST, ConversionOptions(width=80, style='ramp', invert=True))}"
MARKER = f"{BUCKET}/{READ_ONLY_MARKER}"
NOTE = f"{BUCKET}/reply-queues/asciist-dev-reply-10-0-0-5-0123456789ab"
OBJECTS = {
    "image": IMAGE,
    "art": ART,
    "styled art": STYLED_ART,
    "link": f"{BUCKET}/{link_key('0123-4567-89ab')}",
    "note": NOTE,
    "marker": MARKER,
    "other": f"{BUCKET}/readiness",
}

Call = tuple[str, str, str]
"""(action, resource, condition)"""


@cache
def documented(heading: str) -> list[dict[str, str]]:
    """Return the rows of the first table after a text in docs/operations.md, keyed by the table's
    headings."""
    table = re.search(
        r"^\|.*?(?=\n\n)", OPERATIONS.read_text().partition(heading)[2], re.MULTILINE | re.DOTALL
    )
    assert table
    columns, _, *rows = (
        [cell.strip() for cell in line.strip("|").split("|")] for line in table[0].splitlines()
    )
    return [dict(zip(columns, row, strict=True)) for row in rows]


def applies(deployed_with: str, environment: Environment) -> bool:
    if deployed_with == "`peer_store`":
        return bool(environment.peer_store)
    if deployed_with == "`datadog`":
        return environment.datadog
    if deployed_with == "`canary`":
        return environment.canary and environment.worker == "lambda"
    name, _, value = deployed_with.strip("`").partition("=")
    return not name or getattr(environment, name) == value


def rows_of(row: dict[str, str], environment: Environment) -> set[Call]:
    """Return (action, resource, condition) of a row of the document, for a deployment."""
    negation = "not " if row["may call"].startswith("not ") else ""
    resources = re.findall(r"`([^`]+)`", row["on"]) or [row["on"]]
    condition = (
        row["if"].replace("`", "").replace("{digest}", 64 * "?").replace("{account}", ACCOUNT)
    )
    return {
        (negation + action, resource.replace("asciist-dev", environment.prefix), condition)
        for action in re.findall(r"`([^`]+)`", row["may call"])
        for resource in resources
    }


def described(resource: str) -> str:
    """Return the name in the document for an ARN of a template."""
    for pattern, name in (
        (rf"{BUCKET}(/.*)?", r"artifacts\1"),
        (rf"{RELEASES}/\*", "releases"),
        (rf"{RELEASES}/[0-9a-f]{{64}}\.zip", "its release"),
        (rf"arn:aws:s3:::al2023-repos-{REGION}-de612dc2/\*", "al2023-repos-{region}-de612dc2/*"),
        (
            rf"arn:aws:s3:::ec2imagebuilder-managed-resources-{REGION}-prod/\*",
            "ec2imagebuilder-managed-resources-{region}-prod/*",
        ),
        (rf"arn:aws:lambda:{REGION}:{ACCOUNT}:function:\w+(:\w+)?", r"the function\1"),
        (rf"arn:aws:sqs:{REGION}:{ACCOUNT}:(.*)", r"\1"),
        (rf"arn:aws:logs:{REGION}:{ACCOUNT}:log-group:.*", "its log"),
        (LINK_KEYS, "keys of links"),
        (PEER_SECRET, "credentials of the peer store"),
        (API_KEY, "Datadog's API key"),
        (APP_KEY, "Datadog's application key"),
    ):
        if match := re.fullmatch(pattern, resource):
            return match.expand(name)
    return resource


def templated(statements: list[Statement]) -> set[Call]:
    functions = f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:*"
    return {
        (action, described(resource), condition.replace(functions, "function:*"))
        for statement in statements
        for action, resource, condition in statement.rows()
    }


@each_deployment
def test_every_role_may_make_the_documented_calls_and_no_other(environment: Environment) -> None:
    found = roles(synthesized(environment))
    expected: dict[str, set[Call]] = {role: set() for role in found}
    for row in documented("## Permissions"):
        for role in row["role"].split(", "):
            if role in expected and applies(row["with"], environment):
                expected[role] |= rows_of(row, environment)

    assert {role: templated(statements) for role, statements in found.items()} == expected


def test_every_documented_role_exists_in_a_deployment() -> None:
    existing = {role for environment in DEPLOYMENTS for role in roles(synthesized(environment))}
    assert {
        role for row in documented("## Permissions") for role in row["role"].split(", ")
    } == existing


@each_deployment
def test_the_s3_endpoint_passes_the_documented_calls_and_no_other(environment: Environment) -> None:
    rows = documented("The S3 endpoint of the network passes only these calls")
    assert templated(endpoint(environment)) == {
        call for row in rows for call in rows_of(row, environment)
    }


def endpoint(environment: Environment) -> list[Statement]:
    (policy,) = resource_policies(synthesized(environment), "AWS::EC2::VPCEndpoint").values()
    return policy


@cache
def actions_of(service: str) -> list[str]:
    """Return the actions of a service: one for each call, and actions with names of their own."""
    calls = set(botocore.session.get_session().get_service_model(service).operation_names)
    if service == "s3":
        calls |= {
            "ListBucket",
            "ListBucketVersions",
            "ListAllMyBuckets",
            "GetObjectVersion",
            "DeleteObjectVersion",
        }
    return [f"{service}:{call}" for call in sorted(calls)]


def allowed_calls(role: str, environment: Environment, resource: str, service: str) -> set[str]:
    """Return the names of a service's calls that a role may make to a resource."""
    policy = roles(synthesized(environment))[role]
    return {
        action.partition(":")[2]
        for action in actions_of(service)
        if is_allowed([policy], action, resource)
    }


def tiers(environment: Environment) -> list[str]:
    return ["web instance", "function" if environment.worker == "lambda" else "poller"]


@each_deployment
@pytest.mark.parametrize("kind", OBJECTS)
def test_each_tier_may_make_its_own_calls_to_each_kind_of_object(
    kind: str, environment: Environment
) -> None:
    web, worker = tiers(environment)
    copies, takes_back, reads_marker = (
        ({"PutObject"}, {"DeleteObject"}, {"GetObject"})
        if environment.peer_store
        else (set(), set(), set())
    )
    expected = {
        "image": ({"PutObject", "DeleteObject"}, {"GetObject"}),
        "art": ({"GetObject", "DeleteObject"} | copies, {"GetObject", "PutObject"}),
        "styled art": ({"GetObject", "DeleteObject"} | copies, {"GetObject", "PutObject"}),
        "link": ({"GetObject", "PutObject"} | takes_back, set()),
        "note": ({"PutObject", "DeleteObject"}, set()),
        "marker": (reads_marker, set()),
        "other": (set(), set()),
    }
    assert (
        allowed_calls(web, environment, OBJECTS[kind], "s3"),
        allowed_calls(worker, environment, OBJECTS[kind], "s3"),
    ) == expected[kind]


@each_deployment
def test_no_role_but_those_of_the_tiers_may_reach_an_artifact_or_a_queue(
    environment: Environment,
) -> None:
    for role in roles(synthesized(environment)).keys() - {*tiers(environment), "peer"}:
        for resource in (*OBJECTS.values(), BUCKET):
            assert allowed_calls(role, environment, resource, "s3") == set()
        for resource in (REQUESTS, DEAD_LETTERS, reply_queue(environment)):
            assert allowed_calls(role, environment, resource, "sqs") == set()


@each_deployment
def test_nobody_may_list_keys_without_knowing_the_digest_of_their_image(
    environment: Environment,
) -> None:
    web, worker = tiers(environment)
    policies = roles(synthesized(environment))
    for prefix, listed in {
        f"{DIGEST}/": True,
        "reply-queues/": True,
        "migration/": bool(environment.peer_store),
        "": False,
        "0": False,
        "?": False,
        "*": False,
        DIGEST: False,
        DIGEST[:-1] + "/": False,
        "reply-queues": False,
    }.items():
        assert is_allowed([policies[web]], "s3:ListBucket", BUCKET, s3__prefix=prefix) is listed
        assert not is_allowed([policies[worker]], "s3:ListBucket", BUCKET, s3__prefix=prefix)
    for role, policy in policies.items():
        for action in (
            "s3:ListBucket",
            "s3:ListBucketVersions",
            "s3:ListAllMyBuckets",
            "sqs:ListQueues",
        ):
            for resource in (BUCKET, "arn:aws:s3:::*", f"arn:aws:sqs:{REGION}:{ACCOUNT}:*", "*"):
                assert not is_allowed([policy], action, resource), (role, action, resource)


def test_the_other_deployment_may_read_and_delete_what_it_can_name_and_nothing_else() -> None:
    policy = roles(synthesized(PEER))["peer"]
    found = {
        kind: allowed_calls("peer", PEER, resource, "s3") for kind, resource in OBJECTS.items()
    }

    assert {kind for kind, calls in found.items() if calls} == {
        "image",
        "art",
        "styled art",
        "link",
    }
    assert found["link"] == {"GetObject"}
    assert all(
        found[kind] == {"GetObject", "DeleteObject"} for kind in ("image", "art", "styled art")
    )
    for prefix, listed in {
        f"{DIGEST}/": True,
        "migration/": False,
        "": False,
        DIGEST: False,
    }.items():
        assert is_allowed([policy], "s3:ListBucket", BUCKET, s3__prefix=prefix) is listed


@each_deployment
def test_no_role_may_configure_the_bucket(environment: Environment) -> None:
    for role in roles(synthesized(environment)):
        assert allowed_calls(role, environment, BUCKET, "s3") == set()


def reply_queue(environment: Environment) -> str:
    return f"arn:aws:sqs:{REGION}:{ACCOUNT}:{environment.prefix}-reply-10-0-0-5-0123456789ab"


@each_deployment
def test_each_tier_may_make_its_own_calls_to_each_queue(environment: Environment) -> None:
    web, worker = tiers(environment)
    consuming = {"ReceiveMessage", "DeleteMessage", "ChangeMessageVisibility"}
    polled_by_lambda = {"GetQueueAttributes"} if environment.worker == "lambda" else set()
    expected = {
        REQUESTS: ({"SendMessage"}, consuming | polled_by_lambda),
        reply_queue(environment): (
            {"CreateQueue", "DeleteQueue", "ReceiveMessage", "DeleteMessage"},
            {"SendMessage"},
        ),
        DEAD_LETTERS: (set(), set()),
        reply_queue(choose(environment="dev" if environment.environment == "prod" else "prod")): (
            set(),
            set(),
        ),
        f"arn:aws:sqs:{REGION}:999999999999:{environment.prefix}-reply-1": (set(), set()),
    }
    for queue, calls in expected.items():
        assert (
            tuple(allowed_calls(role, environment, queue, "sqs") for role in (web, worker)) == calls
        ), queue


def test_the_code_of_a_function_may_not_change_network_interfaces() -> None:
    policy = roles(synthesized(choose()))["function"]
    for action in (
        "ec2:CreateNetworkInterface",
        "ec2:DeleteNetworkInterface",
        "ec2:DescribeNetworkInterfaces",
    ):
        caller = f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:converter"
        assert is_allowed([policy], action, "*")
        assert not is_allowed([policy], action, "*", lambda__SourceFunctionArn=caller)


def test_an_instance_may_not_read_parameters_or_metrics_or_write_those_of_others() -> None:
    for environment in DEPLOYMENTS:
        for role in {"web instance", "poller"} & roles(synthesized(environment)).keys():
            policy = roles(synthesized(environment))[role]
            parameter = f"arn:aws:ssm:{REGION}:{ACCOUNT}:parameter/secret"
            for action in (
                "ssm:GetParameter",
                "ssm:GetParameters",
                "ssm:SendCommand",
                "ec2messages:GetMessages",
            ):
                assert not is_allowed([policy], action, parameter)
            assert is_allowed(
                [policy], "cloudwatch:PutMetricData", "*", cloudwatch__namespace="asciist"
            )
            assert not is_allowed(
                [policy], "cloudwatch:PutMetricData", "*", cloudwatch__namespace=environment.prefix
            )


@each_deployment
def test_the_endpoint_passes_the_calls_of_both_tiers_and_keeps_data_in_the_account(
    environment: Environment,
) -> None:
    passes = endpoint(environment)
    for role in tiers(environment):
        policy = roles(synthesized(environment))[role]
        for resource in OBJECTS.values():
            for action in actions_of("s3"):
                assert is_allowed([policy, passes], action, resource) is is_allowed(
                    [policy], action, resource
                )
    assert is_allowed([passes], "s3:ListBucket", BUCKET)
    assert is_allowed([passes], "s3:GetObject", f"{RELEASES}/release.zip")
    packages = f"arn:aws:s3:::al2023-repos-{REGION}-de612dc2/core/mirrors/latest/x86_64/mirror.list"
    assert is_allowed(
        [passes], "s3:GetObject", packages, aws__PrincipalAccount="", aws__ResourceAccount="amazon"
    )

    assert not is_allowed([passes], "s3:PutObject", packages)
    assert not is_allowed([passes], "s3:PutObject", "arn:aws:s3:::a-bucket-of-an-attacker/key")
    assert not is_allowed([passes], "s3:GetObject", "arn:aws:s3:::a-bucket-of-an-attacker/key")
    assert not is_allowed([passes], "s3:PutObject", f"{RELEASES}/release.zip")
    for account in ("aws__PrincipalAccount", "aws__ResourceAccount"):
        assert not is_allowed(
            [passes], "s3:GetObject", f"{RELEASES}/release.zip", **{account: "999999999999"}
        )
        assert not is_allowed([passes], "s3:PutObject", ART, **{account: "999999999999"})


def test_a_release_comes_from_a_bucket_of_this_account() -> None:
    template = synthesized(choose())
    (release,) = (
        resource
        for statement in roles(template)["web instance"]
        for resource in statement.resources
        if RELEASES in resource
    )
    policy = roles(template)["web instance"]
    assert is_allowed([policy], "s3:GetObject", release)
    assert not is_allowed([policy], "s3:GetObject", release, aws__ResourceAccount="999999999999")
    assert not is_allowed([policy], "s3:GetObject", f"{RELEASES}/another.zip")


def test_the_bucket_and_the_queues_deny_plain_http_and_the_bucket_old_tls() -> None:
    templates = synthesized(choose())
    bucket = next(
        policy
        for policy in resource_policies(templates, "AWS::S3::BucketPolicy").values()
        if any(BUCKET in statement.resources for statement in policy)
    )
    for resource in (BUCKET, *OBJECTS.values()):
        assert is_denied(
            bucket, "s3:GetObject", resource, aws__SecureTransport="false", s3__TlsVersion="1.3"
        )
        assert is_denied(
            bucket, "s3:GetObject", resource, aws__SecureTransport="true", s3__TlsVersion="1.1"
        )
        assert not is_denied(
            bucket, "s3:GetObject", resource, aws__SecureTransport="true", s3__TlsVersion="1.2"
        )
    for policy in resource_policies(templates, "AWS::SQS::QueuePolicy").values():
        (queue,) = {resource for statement in policy for resource in statement.resources}
        assert is_denied(policy, "sqs:SendMessage", queue, aws__SecureTransport="false")
        assert not is_denied(policy, "sqs:SendMessage", queue, aws__SecureTransport="true")
