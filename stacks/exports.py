"""Exports values from one stack to another.

CloudFormation refuses to remove an export while another stack imports it, and the exporting stack
is updated first. An export that exists only in some deployments would therefore block the change
from one to another. Every stack thus exports the same values in every deployment, and the tests
compare all of them.
"""

from collections.abc import Iterable

from aws_cdk import Stack


def export_all(stack: Stack, values: Iterable[str]) -> None:
    """Export values of a stack, whether or not another stack imports them now."""
    for value in values:
        stack.export_value(value)
