"""IAM permissions of every role, and the policy of the S3 endpoint.

Each role allows only the calls made by its code, or by AWS on its behalf. No role may list the
account's queues or buckets, and none can discover the keys of artifacts: a key begins with the
digest of an image, which can be neither guessed nor listed. docs/decisions/0027-least-privilege.md
explains why.
"""

from collections.abc import Mapping
from typing import Final

from aws_cdk import ArnFormat, Stack
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_logs as logs
from aws_cdk import aws_s3 as s3
from aws_cdk import aws_s3_assets as s3_assets
from aws_cdk import aws_sqs as sqs
from constructs import Construct

from asciist.settings import READ_ONLY_MARKER
from stacks.environment import Environment

_IMAGES: Final = "*/image"
_ART: Final = "*/width/*"
_LINKS: Final = "*/link"
_REPLY_QUEUE_NOTES: Final = "reply-queues/"
_DIGEST: Final = 64 * "?"
_MARKERS: Final = READ_ONLY_MARKER.rpartition("/")[0] + "/"

_IMAGE_BUILDER: Final = "ec2imagebuilder-managed-resources-{region}-prod"
"""Bucket of the program that EC2 Image Builder runs on an instance, by region."""

_AL2023_REPOSITORIES: Final = "al2023-repos-{region}-de612dc2"
"""Bucket of Amazon Linux 2023's package repositories, by region. AWS has fixed its name."""


def reply_queue_prefix(environment: Environment) -> str:
    """Return the prefix of the names of a deployment's reply queues."""
    return f"{environment.prefix}-reply-"


def grant_web(
    role: iam.IGrantable, *, artifacts: s3.IBucket, requests: sqs.IQueue, environment: Environment
) -> None:
    """Allow the web tier to store images, read art, store and read links, publish requests, and
    manage reply queues."""
    _allow(role, [artifacts.arn_for_objects(key) for key in (_IMAGES, _LINKS)], "s3:PutObject")
    _allow(role, [artifacts.arn_for_objects(key) for key in (_ART, _LINKS)], "s3:GetObject")
    # Uploaders may have their image and its art deleted.
    _allow(role, [artifacts.arn_for_objects(key) for key in (_IMAGES, _ART)], "s3:DeleteObject")
    # In the folder of a known digest, it looks for an image to convert again, and for art to
    # delete.
    _allow(
        role,
        [artifacts.bucket_arn],
        "s3:ListBucket",
        conditions={"StringLike": {"s3:prefix": f"{_DIGEST}/"}},
    )
    _allow(role, [requests.queue_arn], "sqs:SendMessage")
    # Also if replies are callbacks. A change of a policy takes effect at once, while instances are
    # replaced one by one.
    notes = artifacts.arn_for_objects(f"{_REPLY_QUEUE_NOTES}*")
    _allow(role, [notes], "s3:PutObject", "s3:DeleteObject")
    _allow(
        role,
        [artifacts.bucket_arn],
        "s3:ListBucket",
        conditions={"StringEquals": {"s3:prefix": _REPLY_QUEUE_NOTES}},
    )
    _allow(
        role,
        [_reply_queues(artifacts, environment)],
        "sqs:CreateQueue",
        "sqs:DeleteQueue",
        "sqs:ReceiveMessage",
        "sqs:DeleteMessage",
    )
    if environment.peer_store:
        # copies; those of images are allowed above
        _allow(role, [artifacts.arn_for_objects(_ART)], "s3:PutObject")
        # a copy whose source is gone
        _allow(role, [artifacts.arn_for_objects(_LINKS)], "s3:DeleteObject")
        _allow(role, [artifacts.arn_for_objects(READ_ONLY_MARKER)], "s3:GetObject")
        # Without permission to list, S3 would not tell that there is no marker.
        _allow(
            role,
            [artifacts.bucket_arn],
            "s3:ListBucket",
            conditions={"StringEquals": {"s3:prefix": _MARKERS}},
        )


def grant_peer(user: iam.IGrantable, *, artifacts: s3.IBucket) -> None:
    """Allow another deployment's web tier to read images, art and links with a known digest, and to
    delete images and art."""
    _allow(
        user,
        [artifacts.arn_for_objects(key) for key in (_IMAGES, _ART)],
        "s3:GetObject",
        "s3:DeleteObject",
    )
    _allow(user, [artifacts.arn_for_objects(_LINKS)], "s3:GetObject")
    _allow(
        user,
        [artifacts.bucket_arn],
        "s3:ListBucket",
        conditions={"StringLike": {"s3:prefix": f"{_DIGEST}/"}},
    )


def grant_worker(
    role: iam.IGrantable, *, artifacts: s3.IBucket, requests: sqs.IQueue, environment: Environment
) -> None:
    """Allow the worker tier to read images, read and store art, consume requests and send
    replies."""
    _allow(role, [artifacts.arn_for_objects(key) for key in (_IMAGES, _ART)], "s3:GetObject")
    _allow(role, [artifacts.arn_for_objects(_ART)], "s3:PutObject")
    _allow(
        role,
        [requests.queue_arn],
        "sqs:ReceiveMessage",
        "sqs:DeleteMessage",
        "sqs:ChangeMessageVisibility",
    )
    if environment.worker == "lambda":
        _allow(role, [requests.queue_arn], "sqs:GetQueueAttributes")  # Lambda's, to poll the queue
    _allow(role, [_reply_queues(artifacts, environment)], "sqs:SendMessage")


def function_role(
    scope: Construct, name: str, *, log_group: logs.ILogGroup, in_vpc: bool = False
) -> iam.Role:
    """Create the role of a function, which may write its own log; with `in_vpc`, Lambda may attach
    the function to a VPC.

    AWS's managed policies would allow writing every log of the account, and let the function change
    network interfaces.
    """
    role = iam.Role(scope, name, assumed_by=iam.ServicePrincipal("lambda.amazonaws.com"))
    log_group.grant_write(role)
    if in_vpc:
        calls = (
            "ec2:CreateNetworkInterface",
            "ec2:DescribeNetworkInterfaces",
            "ec2:DescribeSubnets",
            "ec2:DeleteNetworkInterface",
            "ec2:AssignPrivateIpAddresses",
            "ec2:UnassignPrivateIpAddresses",
        )
        _allow(role, ["*"], *calls)  # Lambda requires all resources
        # Calls of the function's own code contain this key; calls of Lambda do not.
        functions = Stack.of(scope).format_arn(
            service="lambda",
            resource="function",
            resource_name="*",
            arn_format=ArnFormat.COLON_RESOURCE_NAME,
        )
        role.add_to_policy(
            iam.PolicyStatement(
                effect=iam.Effect.DENY,
                actions=list(calls),
                resources=["*"],
                conditions={"ArnLike": {"lambda:SourceFunctionArn": functions}},
            )
        )
    return role


def canary_role(
    scope: Construct, name: str, *, function: lambda_.IFunction, alias: str
) -> iam.IRole:
    """Create CodeDeploy's role for moving an alias of a function from one version to the next.

    AWS's managed policy would allow this for every function of the account, and more.
    """
    role = iam.Role(scope, name, assumed_by=iam.ServicePrincipal("codedeploy.amazonaws.com"))
    calls = ("lambda:GetAlias", "lambda:UpdateAlias", "lambda:GetProvisionedConcurrencyConfig")
    _allow(role, [function.function_arn, f"{function.function_arn}:{alias}"], *calls)
    # CodeDeploy lists them, which supports no resources
    _allow(role, ["*"], "cloudwatch:DescribeAlarms")
    return role.without_policy_updates()  # the CDK would add the managed policy


def grant_release(role: iam.IGrantable, release: s3_assets.Asset) -> None:
    """Allow a role to fetch a release."""
    _allow(
        role,
        [release.bucket.arn_for_objects(release.s3_object_key)],
        "s3:GetObject",
        # Protects against a bucket of the same name in another account, created after this one's
        # was deleted.
        conditions={"StringEquals": {"aws:ResourceAccount": Stack.of(release).account}},
    )


def grant_instance(
    role: iam.IGrantable,
    *,
    release: s3_assets.Asset,
    log_group: logs.ILogGroup,
    metrics_namespace: str,
) -> None:
    """Allow an instance to fetch its release, write its log and metrics, and be reached with
    Session Manager.

    AWS's policy for Session Manager, AmazonSSMManagedInstanceCore, would also allow reading the
    account's parameters.
    """
    grant_release(role, release)
    log_group.grant_write(role)
    _allow(
        role,
        ["*"],  # the action supports no resources; the condition limits the namespace
        "cloudwatch:PutMetricData",
        conditions={"StringEquals": {"cloudwatch:namespace": metrics_namespace}},
    )
    _allow(
        role,
        ["*"],  # the channels support no resources, and an instance's id is unknown in advance
        "ssm:UpdateInstanceInformation",
        "ssmmessages:CreateControlChannel",
        "ssmmessages:CreateDataChannel",
        "ssmmessages:OpenControlChannel",
        "ssmmessages:OpenDataChannel",
    )


def grant_secrets(role: iam.IGrantable, *arns: str) -> None:
    """Allow a role to read secrets that are encrypted with the account's default key,
    `aws/secretsmanager`."""
    _allow(role, list(arns), "secretsmanager:GetSecretValue")


def limit_endpoint(
    endpoint: ec2.GatewayVpcEndpoint, *, artifacts: s3.IBucket, releases: s3.IBucket
) -> None:
    """Let the S3 endpoint of a VPC pass only the calls of both tiers, and calls that boot an
    instance.

    Otherwise, code compromised by a hostile image could write to a bucket of another account, with
    that account's credentials.
    """
    stack = Stack.of(endpoint)
    own = {
        "StringEquals": {
            "aws:PrincipalAccount": stack.account,
            "aws:ResourceAccount": stack.account,
        }
    }
    public = [
        stack.format_arn(
            service="s3",
            region="",
            account="",
            resource=bucket.format(region=stack.region),
            resource_name="*",
        )
        for bucket in (_AL2023_REPOSITORIES, _IMAGE_BUILDER)
    ]
    for resources, actions, conditions in (
        (
            [artifacts.arn_for_objects("*")],
            ["s3:GetObject", "s3:PutObject", "s3:DeleteObject"],
            own,
        ),
        ([artifacts.bucket_arn], ["s3:ListBucket"], own),
        # during an update, those of the old release too
        ([releases.arn_for_objects("*")], ["s3:GetObject"], own),
        (public, ["s3:GetObject"], {}),  # unsigned
    ):
        endpoint.add_to_policy(
            iam.PolicyStatement(
                principals=[iam.AnyPrincipal()],
                actions=actions,
                resources=resources,
                conditions=conditions or None,
            )
        )


def _reply_queues(artifacts: s3.IBucket, environment: Environment) -> str:
    return Stack.of(artifacts).format_arn(
        service="sqs",
        resource=f"{reply_queue_prefix(environment)}*",
        arn_format=ArnFormat.NO_RESOURCE_NAME,
    )


def _allow(
    role: iam.IGrantable,
    resources: list[str],
    *actions: str,
    conditions: Mapping[str, Mapping[str, object]] | None = None,
) -> None:
    statement = iam.PolicyStatement(
        actions=list(actions), resources=resources, conditions=conditions
    )
    role.grant_principal.add_to_principal_policy(statement)
