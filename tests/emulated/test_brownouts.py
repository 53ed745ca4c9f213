"""The store or the queue is slow, throttles, refuses or is silent, for one tier or both.

Requests end in time, and nothing is lost.
"""

import time
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from asciist.telemetry import metrics
from tests.emulated.emulator import Emulator
from tests.emulated.fault_proxy import Fault, FaultProxy
from tests.emulated.test_faults import Tiers, running
from tests.waiting import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

TIMEOUT = 3
"""Seconds for a request."""
VISIBILITY = 10
"""Seconds after which a message is delivered again that was received and could not be deleted."""
REQUESTS = 12
FAULTS = [fault for fault in Fault if fault is not Fault.NONE]


@contextmanager
def behind_proxies(directory: Path, account: Emulator, tier: str) -> Iterator[tuple[Tiers, dict[str, FaultProxy]]]:
    """Both tiers, of which `tier` ("web", "worker" or "both") reaches S3 and SQS through proxies."""
    with FaultProxy(account.port, "s3") as s3, FaultProxy(account.port, "sqs") as sqs:
        endpoints = {"AWS_ENDPOINT_URL": s3.url, "AWS_ENDPOINT_URL_SQS": sqs.url}
        with running(
            directory,
            account,
            reply_path="queue",
            request_timeout=TIMEOUT,
            visibility_seconds=VISIBILITY,
            web_environment=endpoints if tier != "worker" else {},
            worker_environment=endpoints if tier != "web" else {},
        ) as tiers:
            tiers.start_poller()
            yield tiers, {"s3": s3, "sqs": sqs}


CASES = [(tier, service) for service in ("sqs", "s3") for tier in ("worker", "both", "web")]
"""The longest first."""
AT_ONCE = 2
"""Cases at a time. A case waits for timeouts and redeliveries most of its time; more cases at once saved no more."""


@pytest.fixture(scope="module")
def cases(
    tmp_path_factory: pytest.TempPathFactory, emulator: Emulator, cat: bytes
) -> Iterator[Mapping[tuple[str, str], Future[None]]]:
    """All cases, started. Each has tiers, a bucket and a queue of its own."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        yield {
            case: pool.submit(end_in_time_and_recover, tmp_path_factory.mktemp("-".join(case)), emulator, cat, *case)
            for case in CASES
        }


@pytest.mark.parametrize(("tier", "service"), CASES)
def test_requests_end_in_time_and_the_service_recovers(
    cases: Mapping[tuple[str, str], Future[None]], tier: str, service: str
) -> None:
    cases[tier, service].result()


def end_in_time_and_recover(directory: Path, account: Emulator, cat: bytes, tier: str, service: str) -> None:
    """Send requests under each fault of a service, and check their answers and those after the fault."""
    widths = iter(range(20, 1000))

    with behind_proxies(directory, account, tier) as (tiers, proxies), ThreadPoolExecutor(REQUESTS) as pool:

        def request(width: int) -> tuple[int, float]:
            started = time.monotonic()
            status = tiers.request(cat, width)
            return status, time.monotonic() - started

        assert tiers.request(cat, next(widths)) == 200
        for fault in FAULTS:
            proxies[service].fault = fault
            answers = list(pool.map(request, [next(widths) for _ in range(REQUESTS)]))
            assert {status for status, _ in answers} <= {200, 503, 504}, fault
            assert max(seconds for _, seconds in answers) < TIMEOUT + 1, fault
            if fault is Fault.SLOW:
                assert {status for status, _ in answers} == {200}
            # No instance is declared unhealthy for a dependency that all of them share.
            assert tiers.web.request("GET", "/healthz")[0] == 200, fault
            proxies[service].fault = Fault.NONE
            wait_until(lambda: tiers.request(cat, next(widths)) == 200)
        assert all(poller.poll() is None for poller in tiers.pollers)
        wait_until(lambda: tiers.messages("Visible", "NotVisible") == 0, seconds=90)
        tiers.stop()
        tiers.metrics.settle()
        assert tiers.metrics.total(metrics.REQUESTS, status="500") == 0
