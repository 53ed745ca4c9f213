"""Fixtures of the emulated account, for the conftest.py that wants them."""

from collections.abc import Iterator

import pytest

from tests.emulated.emulator import Emulator


@pytest.fixture(scope="session")
def emulator(request: pytest.FixtureRequest) -> Iterator[Emulator]:
    """One emulated account for all tests of a session; each test makes its own buckets and queues in it."""
    with Emulator() as running:
        yield running
        if request.session.testsfailed:
            print(f"\nthe emulator's log ends with:\n{running.log[-4000:]}")
