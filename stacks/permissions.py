"""IAM permissions of the two tiers. Each role allows only the calls that its code makes, or Lambda on its behalf; none may list
the account's queues or buckets.
"""

from aws_cdk import ArnFormat, Stack
from aws_cdk import aws_iam as iam
from aws_cdk import aws_s3 as s3
from aws_cdk import aws_sqs as sqs

from stacks.environment import Environment


def reply_queue_prefix(environment: Environment) -> str:
    """Return the prefix of the names of a deployment's reply queues."""
    return f"{environment.prefix}-reply-"


def grant_web(role: iam.IGrantable, *, artifacts: s3.IBucket, requests: sqs.IQueue, environment: Environment) -> None:
    """Allow the web tier to read and create artifacts, publish requests, and manage reply queues and their registry."""
    _grant_artifacts(role, artifacts)
    _allow(role, [artifacts.arn_for_objects("reply-queues/*")], "s3:DeleteObject")
    _allow(role, [requests.queue_arn], "sqs:SendMessage")
    if environment.replies == "queue":
        _allow(
            role,
            [_reply_queues(artifacts, environment)],
            "sqs:CreateQueue",
            "sqs:DeleteQueue",
            "sqs:ReceiveMessage",
            "sqs:DeleteMessage",
        )


def grant_worker(role: iam.IGrantable, *, artifacts: s3.IBucket, requests: sqs.IQueue, environment: Environment) -> None:
    """Allow the worker tier to read images, store art, consume requests and send replies."""
    _grant_artifacts(role, artifacts)
    _allow(
        role,
        [requests.queue_arn],
        "sqs:ReceiveMessage",
        "sqs:DeleteMessage",
        "sqs:ChangeMessageVisibility",
        "sqs:GetQueueAttributes",
    )
    if environment.replies == "queue":
        _allow(role, [_reply_queues(artifacts, environment)], "sqs:SendMessage")


def grant_secrets(role: iam.IGrantable, *arns: str) -> None:
    """Allow a role to read secrets that are encrypted with the account's default key, `aws/secretsmanager`."""
    _allow(role, list(arns), "secretsmanager:GetSecretValue")


def _grant_artifacts(role: iam.IGrantable, artifacts: s3.IBucket) -> None:
    _allow(role, [artifacts.arn_for_objects("*")], "s3:GetObject", "s3:PutObject")
    # Lists this bucket only. Without it, S3 answers 403 instead of 404 for an absent object.
    _allow(role, [artifacts.bucket_arn], "s3:ListBucket")


def _reply_queues(artifacts: s3.IBucket, environment: Environment) -> str:
    return Stack.of(artifacts).format_arn(
        service="sqs", resource=f"{reply_queue_prefix(environment)}*", arn_format=ArnFormat.NO_RESOURCE_NAME
    )


def _allow(role: iam.IGrantable, resources: list[str], *actions: str) -> None:
    role.grant_principal.add_to_principal_policy(iam.PolicyStatement(actions=list(actions), resources=resources))
