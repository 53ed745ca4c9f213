"""Log groups with a limited retention."""

from typing import cast

from aws_cdk import RemovalPolicy
from aws_cdk import aws_logs as logs
from constructs import Construct

from stacks.environment import Environment


def log_group(scope: Construct, name: str, environment: Environment) -> logs.LogGroup:
    """Create a log group with the environment's retention. It is deleted with its stack."""
    group = logs.LogGroup(scope, name, removal_policy=RemovalPolicy.DESTROY)
    # A number: the CDK's own property accepts only members of an enumeration.
    cast(
        "logs.CfnLogGroup", group.node.default_child
    ).retention_in_days = environment.sizes.log_days
    return group
