"""Tests of many files in one case."""

from collections.abc import Callable, Iterable

from tests.groups import failing
from tools.testing.hostile import Case


def failures(cases: Iterable[Case], check: Callable[[Case], None]) -> dict[str, str]:
    """Check every case, even after a failure. Return the errors by the names of the cases."""
    return failing(cases, check, lambda case: case.name)
