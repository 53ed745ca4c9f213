"""Pytest fixtures of the emulated account."""

from collections.abc import Iterator

import pytest

from tests.emulated.emulator import Emulator


@pytest.fixture(scope="session")
def emulator(request: pytest.FixtureRequest) -> Iterator[Emulator]:
    """One emulated account for all tests of a session. Each test creates its own buckets and queues."""
    with Emulator() as running:
        yield running
        if request.session.testsfailed:
            print(f"\nThe emulator's log ends with:\n{running.log[-4000:]}")
