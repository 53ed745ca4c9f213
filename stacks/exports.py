"""Values that one stack takes from another.

CloudFormation refuses to remove an export that another stack imports, and stacks are updated in order: the one that exports
first. So a value that only some deployments import would bar the way from those to the others. Every stack therefore exports
the same values in every deployment, and the tests compare all of them.
"""

from collections.abc import Iterable

from aws_cdk import Stack


def export_all(stack: Stack, values: Iterable[str]) -> None:
    """Export values of a stack, whether or not another one imports them now."""
    for value in values:
        stack.export_value(value)
