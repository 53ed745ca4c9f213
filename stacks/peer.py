"""Credentials for the deployment on another cloud to use this one's bucket while artifacts are
being moved."""

from aws_cdk import CfnOutput, SecretValue, Stack
from aws_cdk import aws_iam as iam
from aws_cdk import aws_s3 as s3
from aws_cdk import aws_secretsmanager as secretsmanager
from constructs import Construct

from stacks.permissions import grant_peer


class PeerAccess(Construct):
    """A user for the other deployment's web tier, and a secret with its access key, which is
    deleted with the user.

    The secret is in the form that the other deployment expects: a JSON object of variables. No role
    may read it.
    """

    def __init__(self, scope: Construct, name: str, *, artifacts: s3.IBucket) -> None:
        super().__init__(scope, name)
        self.user = iam.User(self, "User")
        grant_peer(self.user, artifacts=artifacts)
        key = iam.AccessKey(self, "Key", user=self.user)
        variables = {
            # known at deployment, and no secret
            "AWS_ACCESS_KEY_ID": SecretValue.unsafe_plain_text(key.access_key_id),
            "AWS_SECRET_ACCESS_KEY": key.secret_access_key,
            "AWS_REGION": SecretValue.unsafe_plain_text(Stack.of(self).region),  # as above
        }
        self.secret = secretsmanager.Secret(
            self,
            "Secret",
            description="Credentials of the peer, for the other deployment",
            secret_object_value=variables,
        )
        CfnOutput(Stack.of(self), "PeerSecret", value=self.secret.secret_arn)
