"""What is kept: artifacts in a bucket, requests in a queue, and the requests that nobody could serve in another."""

from typing import cast

from aws_cdk import CfnResource, Duration, RemovalPolicy, Stack
from aws_cdk import aws_s3 as s3
from aws_cdk import aws_sqs as sqs
from constructs import Construct, IConstruct

from asciist.settings import Timeouts
from stacks.environment import Environment


class StorageStack(Stack):
    """Artifacts, requests and dead letters. Everything else can be replaced at any time; these three never are."""

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
                # One rule for both: they share a folder, and art without its image is of no use for another width.
                s3.LifecycleRule(id="images-and-art", expiration=Duration.days(environment.sizes.artifact_days)),
                s3.LifecycleRule(id="unfinished-uploads", abort_incomplete_multipart_upload_after=Duration.days(1)),
            ],
        )
        self.dead_letters = sqs.Queue(
            self,
            "DeadLetters",
            encryption=sqs.QueueEncryption.SQS_MANAGED,
            enforce_ssl=True,
            retention_period=Duration.days(14),  # as long as SQS can: someone has to look at each
            removal_policy=removal,
        )
        self.requests = sqs.Queue(
            self,
            "Requests",
            encryption=sqs.QueueEncryption.SQS_MANAGED,
            enforce_ssl=True,
            visibility_timeout=Duration.seconds(timeouts.visibility),
            retention_period=Duration.hours(1),  # far past every deadline, so that an outage shows in the message age
            dead_letter_queue=sqs.DeadLetterQueue(queue=self.dead_letters, max_receive_count=timeouts.max_receive_count),
            removal_policy=removal,
        )
        for kept in (self.artifacts, self.dead_letters, self.requests):
            _pin(kept)


def _pin(kept: IConstruct) -> None:
    """Fix a logical id, so that moving a construct never replaces what it holds."""
    cast("CfnResource", kept.node.default_child).override_logical_id(kept.node.id)
