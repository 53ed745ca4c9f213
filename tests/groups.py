"""Many inputs of one function in one test: a failure names its inputs, and the others are checked
all the same."""

from collections.abc import Callable, Iterable
from typing import TypeVar

import pytest

Input = TypeVar("Input")


def failing(
    inputs: Iterable[Input], check: Callable[[Input], object], name: Callable[[Input], str] = repr
) -> dict[str, str]:
    """Check every input, even after a failure. Return the errors by the names of the inputs."""
    errors: dict[str, str] = {}
    for each in inputs:
        try:
            check(each)
        except (Exception, pytest.fail.Exception) as error:  # noqa: BLE001 - any is a failure
            errors[name(each)] = f"{type(error).__name__}: {error}"
    return errors
