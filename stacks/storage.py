"""The storage stack: the artifact bucket, the request queue, the dead-letter queue, the link keys
and the access logs."""

import string
from typing import cast

from aws_cdk import CfnResource, Duration, RemovalPolicy, Stack
from aws_cdk import aws_iam as iam
from aws_cdk import aws_s3 as s3
from aws_cdk import aws_secretsmanager as secretsmanager
from aws_cdk import aws_sqs as sqs
from constructs import Construct, IConstruct

from asciist.timeouts import Timeouts
from stacks.environment import Environment
from stacks.exports import export_all


class StorageStack(Stack):
    """The buckets, the queues and the secret. An update never replaces them; it may replace all
    other resources."""

    def __init__(
        self, scope: Construct, name: str, *, environment: Environment, timeouts: Timeouts
    ) -> None:
        super().__init__(scope, name)
        removal = RemovalPolicy.RETAIN if environment.sizes.keeps_data else RemovalPolicy.DESTROY
        self.artifacts = self._bucket(
            "Artifacts",
            removal,
            # One rule for both: they share a prefix, and art cannot be converted to another width
            # without its image.
            s3.LifecycleRule(
                id="images-and-art", expiration=Duration.days(environment.sizes.artifact_days)
            ),
            s3.LifecycleRule(
                id="unfinished-uploads", abort_incomplete_multipart_upload_after=Duration.days(1)
            ),
        )
        self.dead_letters = sqs.Queue(
            self,
            "DeadLetters",
            encryption=sqs.QueueEncryption.SQS_MANAGED,
            enforce_ssl=True,
            # the SQS maximum, because a person inspects each message
            retention_period=Duration.days(14),
            removal_policy=removal,
        )
        self.requests = sqs.Queue(
            self,
            "Requests",
            encryption=sqs.QueueEncryption.SQS_MANAGED,
            enforce_ssl=True,
            visibility_timeout=Duration.seconds(timeouts.visibility),
            # far longer than any deadline, so that an outage shows as message age
            retention_period=Duration.hours(1),
            dead_letter_queue=sqs.DeadLetterQueue(
                queue=self.dead_letters, max_receive_count=timeouts.max_receive_count
            ),
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
        self.access_logs = self._bucket(
            "AccessLogs",
            removal,
            s3.LifecycleRule(
                id="access-logs", expiration=Duration.days(environment.sizes.access_log_days)
            ),
            # CloudFront writes its logs with an access control list.
            ownership=s3.ObjectOwnership.BUCKET_OWNER_PREFERRED,
        )
        # The CDK's own method needs to know the region before the deployment.
        self.access_logs.add_to_resource_policy(
            iam.PolicyStatement(
                principals=[iam.ServicePrincipal("logdelivery.elasticloadbalancing.amazonaws.com")],
                actions=["s3:PutObject"],
                resources=[self.access_logs.arn_for_objects(f"AWSLogs/{self.account}/*")],
                conditions={"StringEquals": {"aws:SourceAccount": self.account}},
            )
        )
        for retained in (
            self.artifacts,
            self.access_logs,
            self.dead_letters,
            self.requests,
            self.link_keys,
        ):
            _pin_logical_id(retained)
        export_all(
            self,
            [
                self.artifacts.bucket_arn,
                self.artifacts.bucket_name,
                self.access_logs.bucket_name,
                self.access_logs.bucket_regional_domain_name,
                self.requests.queue_arn,
                self.requests.queue_name,
                self.requests.queue_url,
                self.dead_letters.queue_name,
                self.link_keys.secret_arn,
            ],
        )

    def _bucket(
        self,
        name: str,
        removal: RemovalPolicy,
        *rules: s3.LifecycleRule,
        ownership: s3.ObjectOwnership = s3.ObjectOwnership.BUCKET_OWNER_ENFORCED,
    ) -> s3.Bucket:
        """Create a private bucket. Its encryption is the only one that a load balancer supports for
        access logs."""
        return s3.Bucket(
            self,
            name,
            encryption=s3.BucketEncryption.S3_MANAGED,
            block_public_access=s3.BlockPublicAccess.BLOCK_ALL,
            object_ownership=ownership,
            enforce_ssl=True,
            minimum_tls_version=1.2,
            removal_policy=removal,
            lifecycle_rules=list(rules),
        )


def _pin_logical_id(construct: IConstruct) -> None:
    """Fix the logical id of a resource, so that moving its construct never replaces it."""
    resource = cast("CfnResource", construct.node.default_child)
    resource.override_logical_id(construct.node.id)
    # CloudFormation does not update a resource if only its deletion policy has changed.
    resource.add_metadata("DeletionPolicy", resource.cfn_options.deletion_policy)
