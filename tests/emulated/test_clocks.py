"""The clocks of the tiers are wrong, as much as AWS permits: every request is served, and no alarm fires.

AWS refuses requests that are signed by a clock more than five minutes off, which the emulator does not.
"""

from collections import Counter
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from asciist.telemetry import metrics
from tests import shifted_clock
from tests.emulated.alarm_table import ROWS
from tests.emulated.emulator import Emulator
from tests.emulated.tiers import running

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

SKEWS = (-300, -30, 30, 300)
"""Seconds by which the clock of the workers is fast, and that of the web tier slow."""
REQUESTS = 10


def serve(directory: Path, account: Emulator, cat: bytes, skew: float) -> tuple[Counter[int], set[str], float, float]:
    """Return the answers by status, the alarms, and the numbers of conversions and of messages dropped as expired."""
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
        return answers, watched.alarms(), tiers.conversions(), tiers.metrics.total(metrics.MESSAGES_EXPIRED)


@pytest.fixture(scope="module")
def served(
    tmp_path_factory: pytest.TempPathFactory, emulator: Emulator, cat: bytes
) -> dict[int, Future[tuple[Counter[int], set[str], float, float]]]:
    """Results of `serve` for each skew: the deployments serve at the same time."""
    with ThreadPoolExecutor(len(SKEWS)) as pool:
        return {skew: pool.submit(serve, tmp_path_factory.mktemp("skew"), emulator, cat, skew) for skew in SKEWS}


@pytest.mark.parametrize("skew", SKEWS)
def test_tiers_whose_clocks_disagree_serve_every_request(
    served: dict[int, Future[tuple[Counter[int], set[str], float, float]]], skew: int
) -> None:
    answers, alarms, conversions, expired = served[skew].result()

    assert answers == {200: REQUESTS}
    ROWS["The clocks of the tiers are wrong by up to five minutes"].check(statuses=answers, alarms=alarms)
    assert (conversions, expired) == (REQUESTS, 0)
