"""Pytest fixtures of the emulated accounts."""

from collections.abc import Iterator

import pytest

from tests.emulated.azurite import Azurite
from tests.emulated.emulator import Emulator


@pytest.fixture(scope="session")
def emulator(request: pytest.FixtureRequest) -> Iterator[Emulator]:
    """One emulated account for all tests of a session. Each test creates its own buckets and queues."""
    with Emulator() as running:
        yield running
        if request.session.testsfailed:
            print(f"\nThe emulator's log ends with:\n{running.log[-4000:]}")


@pytest.fixture(scope="session")
def azurite() -> Iterator[Azurite]:
    """One emulated Azure account for all tests of a session. Each test creates its own containers and queues."""
    with Azurite() as running:
        yield running
