"""The storage stack: the artifact bucket, the request queue, the dead-letter queue and the keys of links."""

import string
from typing import cast

from aws_cdk import CfnResource, Duration, RemovalPolicy, Stack
from aws_cdk import aws_s3 as s3
from aws_cdk import aws_secretsmanager as secretsmanager
from aws_cdk import aws_sqs as sqs
from constructs import Construct, IConstruct

from asciist.settings import Timeouts
from stacks.environment import Environment


class StorageStack(Stack):
    """The bucket, the two queues and the secret. An update never replaces them; it may replace all other resources."""

    def __init__(self, scope: Construct, name: str, *, environment: Environment, timeouts: Timeouts) -> None:
        super().__init__(scope, name)
        removal = RemovalPolicy.RETAIN if environment.sizes.keeps_data else RemovalPolicy.DESTROY
        self.artifacts = s3.Bucket(
            self,
            "Artifacts",
            encryption=s3.BucketEncryption.S3_MANAGED,
            block_public_access=s3.BlockPublicAccess.BLOCK_ALL,
            object_ownership=s3.ObjectOwnership.BUCKET_OWNER_ENFORCED,
            enforce_ssl=True,
            minimum_tls_version=1.2,
            removal_policy=removal,
            lifecycle_rules=[
                # One rule for both: they share a prefix, and art cannot be converted to another width without its image.
                s3.LifecycleRule(id="images-and-art", expiration=Duration.days(environment.sizes.artifact_days)),
                s3.LifecycleRule(id="unfinished-uploads", abort_incomplete_multipart_upload_after=Duration.days(1)),
            ],
        )
        self.dead_letters = sqs.Queue(
            self,
            "DeadLetters",
            encryption=sqs.QueueEncryption.SQS_MANAGED,
            enforce_ssl=True,
            retention_period=Duration.days(14),  # the SQS maximum, since a person inspects each message
            removal_policy=removal,
        )
        self.requests = sqs.Queue(
            self,
            "Requests",
            encryption=sqs.QueueEncryption.SQS_MANAGED,
            enforce_ssl=True,
            visibility_timeout=Duration.seconds(timeouts.visibility),
            retention_period=Duration.hours(1),  # far longer than any deadline, so that an outage shows as message age
            dead_letter_queue=sqs.DeadLetterQueue(queue=self.dead_letters, max_receive_count=timeouts.max_receive_count),
            removal_policy=removal,
        )
        self.link_keys = secretsmanager.Secret(
            self,
            "LinkKeys",
            description="ASCIIST_LINK_KEYS: the first makes links, and all of them read links",
            generate_secret_string=secretsmanager.SecretStringGenerator(
                password_length=64, exclude_characters=string.punctuation
            ),
            removal_policy=removal,
        )
        for retained in (self.artifacts, self.dead_letters, self.requests, self.link_keys):
            _pin_logical_id(retained)


def _pin_logical_id(construct: IConstruct) -> None:
    """Fix the logical id of a resource, so that moving its construct never replaces it."""
    cast("CfnResource", construct.node.default_child).override_logical_id(construct.node.id)
