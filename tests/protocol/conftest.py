"""Fixtures of the tests of the protocol."""

from collections.abc import Iterator

import pytest

from tests.protocol.tiers import Tiers


@pytest.fixture
def tiers(request: pytest.FixtureRequest) -> Iterator[Tiers]:
    """Both tiers, with the arguments of an indirect parameter if there is one. `start` starts the
    worker."""
    tiers = Tiers(**getattr(request, "param", {}))
    yield tiers
    tiers.stop()
