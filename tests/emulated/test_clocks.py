"""The clocks of the tiers are wrong by as much as AWS permits: every request is served, and no
alarm fires.

AWS refuses requests signed by a clock more than five minutes off; the emulator does not.
"""

from collections import Counter
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from asciist.telemetry import metrics
from tests import shifted_clock
from tests.emulated.alarm_table import ROWS
from tests.emulated.emulator import Emulator
from tests.emulated.tiers import running

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

SKEWS = (-300, -30, 30, 300)
"""Seconds by which the workers' clock is fast, and the web tier's clock is slow."""
REQUESTS = 10


@dataclass(frozen=True, kw_only=True)
class Served:
    """Answers by status of tiers with wrong clocks."""

    answers: Counter[int]
    alarms: set[str]
    expired: float
    """Number of messages dropped as expired."""


def serve(directory: Path, account: Emulator, cat: bytes, skew: float) -> Served:
    """Run both tiers with wrong clocks, and request art."""
    with running(
        directory,
        account,
        web_environment=shifted_clock.environment(directory / "web", -skew),
        worker_environment=shifted_clock.environment(directory / "worker", skew),
    ) as tiers:
        tiers.start_poller()
        with tiers.observed() as watched:
            answers = Counter(tiers.request(cat, width) for width in range(20, 20 + REQUESTS))
        tiers.stop()
        tiers.metrics.settle()
        expired = tiers.metrics.total(metrics.MESSAGES_EXPIRED)
        return Served(answers=answers, alarms=watched.alarms(), expired=expired)


@pytest.fixture(scope="module")
def served(
    tmp_path_factory: pytest.TempPathFactory, emulator: Emulator, cat: bytes
) -> dict[int, Future[Served]]:
    """Results of `serve` for each skew; the deployments run concurrently."""
    with ThreadPoolExecutor(len(SKEWS)) as pool:
        return {
            skew: pool.submit(serve, tmp_path_factory.mktemp("skew"), emulator, cat, skew)
            for skew in SKEWS
        }


@pytest.mark.parametrize("skew", SKEWS)
def test_tiers_whose_clocks_disagree_serve_every_request(
    served: dict[int, Future[Served]], skew: int
) -> None:
    result = served[skew].result()

    assert result.answers == {200: REQUESTS}
    assert result.expired == 0
    row = ROWS["The clocks of the tiers are wrong by up to five minutes"]
    row.check(statuses=result.answers, alarms=result.alarms)
