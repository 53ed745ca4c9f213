"""Log groups with a limited retention."""

from typing import Final

from aws_cdk import RemovalPolicy
from aws_cdk import aws_logs as logs
from constructs import Construct

from stacks.environment import Environment

_RETENTION: Final = {7: logs.RetentionDays.ONE_WEEK, 90: logs.RetentionDays.THREE_MONTHS}


def log_group(scope: Construct, name: str, environment: Environment) -> logs.LogGroup:
    """Create a log group with the environment's retention. It is deleted with its stack."""
    return logs.LogGroup(scope, name, retention=_RETENTION[environment.sizes.log_days], removal_policy=RemovalPolicy.DESTROY)
