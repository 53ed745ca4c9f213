"""The roles that the workflows of GitHub Actions assume, one for each environment.

They form a separate app, which an administrator deploys once per account:

    make delivery REPOSITORY=owner/name ENVIRONMENTS=prod

A job assumes its role with a token signed by GitHub (OpenID Connect), so no key is stored anywhere.
The role permits `cdk deploy`, the smoke test and `operations.watch`: assuming the CDK's bootstrap
roles, and reading outputs and alarms.
"""

import re
import sys
from collections.abc import Sequence
from typing import Final

import cdk_nag
from aws_cdk import Acknowledgment, App, CfnOutput, Duration, Stack, Validations
from aws_cdk import aws_iam as iam
from constructs import Construct

from stacks.environment import ENVIRONMENTS

NAME: Final = "asciist-delivery"
"""Name of the stack."""

BOOTSTRAP_ROLES: Final = ("deploy", "file-publishing", "lookup")
"""Bootstrap roles of the CDK used by a deployment. `image-publishing` is missing, because no
container image is published."""

EVERY_ENVIRONMENT: Final = tuple(sorted(file.stem for file in ENVIRONMENTS.glob("*.toml")))

_HOST: Final = "token.actions.githubusercontent.com"
_AUDIENCE: Final = "sts.amazonaws.com"  # what configure-aws-credentials asks a token for
_REPOSITORY: Final = re.compile(r"[\w.-]+/[\w.-]+|[\w.-]+@\d+/[\w.-]+@\d+", re.ASCII)
# the CDK's default, which is part of the names of the bootstrap roles
_QUALIFIER: Final = "hnb659fds"

_REASONS: Final = {
    "IAM5[Resource::*]": (
        "CloudWatch describes composite alarms only to callers that may describe all alarms."
    ),
    **{
        "IAM5[Resource::arn:<AWS::Partition>:cloudformation:<AWS::Region>:<AWS::AccountId>"
        f":stack/asciist-{name}-*/*]": ("The id of a stack is not known in advance.")
        for name in EVERY_ENVIRONMENT
    },
}


class DeliveryStack(Stack):
    """GitHub's identity provider, and a role for the jobs of each environment."""

    def __init__(
        self,
        scope: Construct,
        name: str,
        *,
        repository: str,
        provider: str,
        environments: Sequence[str],
    ) -> None:
        """`repository` is the beginning of the subject of its tokens: `owner/name`, or with ids
        `owner@1/name@2`.

        `provider` is the ARN of GitHub's provider in the account, or empty to create it. An account
        can have only one.
        """
        super().__init__(
            scope,
            name,
            description="Roles that the workflows of GitHub Actions assume to deploy asciist",
        )
        identity = (
            iam.OidcProviderNative.from_oidc_provider_arn(self, "GitHub", provider)
            if provider
            else iam.OidcProviderNative(
                self, "GitHub", url=f"https://{_HOST}", client_ids=[_AUDIENCE]
            )
        )
        for environment in environments:
            self._add_role(environment, identity.oidc_provider_arn, repository)

    def _add_role(self, environment: str, provider: str, repository: str) -> None:
        role = iam.Role(
            self,
            f"{environment.capitalize()}Role",
            role_name=f"{NAME}-{environment}",
            description=f"Deploys asciist to {environment} from GitHub",
            # replacing ten instances can take longer than the default, an hour
            max_session_duration=Duration.hours(2),
            assumed_by=iam.FederatedPrincipal(
                provider,
                {
                    "StringEquals": {
                        f"{_HOST}:aud": _AUDIENCE,
                        f"{_HOST}:sub": f"repo:{repository}:environment:{environment}",
                    }
                },
                "sts:AssumeRoleWithWebIdentity",
            ),
        )
        here = f"{self.account}-{self.region}"
        role.add_to_policy(
            iam.PolicyStatement(
                actions=["sts:AssumeRole"],
                resources=[
                    f"arn:{self.partition}:iam::{self.account}:role/cdk-{_QUALIFIER}-{kind}-role-{here}"
                    for kind in BOOTSTRAP_ROLES
                ],
            )
        )
        of_stacks = f"arn:{self.partition}:cloudformation:{self.region}:{self.account}:stack"
        stacks = f"{of_stacks}/asciist-{environment}-*/*"
        role.add_to_policy(
            iam.PolicyStatement(actions=["cloudformation:DescribeStacks"], resources=[stacks])
        )
        role.add_to_policy(
            iam.PolicyStatement(actions=["cloudwatch:DescribeAlarms"], resources=["*"])
        )
        CfnOutput(
            self,
            f"{environment.capitalize()}RoleArn",
            value=role.role_arn,
            description=f"The variable AWS_ROLE_ARN of the environment {environment} in GitHub",
        )


def compose(
    app: App,
    *,
    repository: str,
    provider: str = "",
    environments: Sequence[str] = EVERY_ENVIRONMENT,
) -> App:
    """Add the stack to `app`. Raises ValueError if an argument is malformed."""
    if not _REPOSITORY.fullmatch(repository):
        raise ValueError(
            f"REPOSITORY must be owner/name, or owner@number/name@number, not {repository!r}"
        )
    if provider and not re.fullmatch(
        rf"arn:[\w-]+:iam::\d{{12}}:oidc-provider/{re.escape(_HOST)}", provider
    ):
        raise ValueError(f"PROVIDER must be the ARN of the provider of {_HOST}, not {provider!r}")
    if unknown := set(environments) - set(EVERY_ENVIRONMENT):
        raise ValueError(
            f"ENVIRONMENTS must be some of {','.join(EVERY_ENVIRONMENT)}, not"
            f" {','.join(sorted(unknown))}"
        )
    DeliveryStack(app, NAME, repository=repository, provider=provider, environments=environments)
    Validations.of(app).acknowledge(
        *(
            Acknowledgment(id=f"AwsSolutions-{rule}", reason=reason)
            for rule, reason in _REASONS.items()
        )
    )
    Validations.of(app).add_plugins(cdk_nag.AwsSolutionsChecks(app))
    return app


def main() -> None:
    app = App()
    context = app.node.get_all_context()
    try:
        compose(
            app,
            repository=str(context.get("repository", "")),
            provider=str(context.get("provider", "")),
            environments=[name for name in str(context.get("environments", "")).split(",") if name]
            or EVERY_ENVIRONMENT,
        )
    except ValueError as error:
        sys.exit(f"asciist: {error}")
    app.synth()


if __name__ == "__main__":
    main()
