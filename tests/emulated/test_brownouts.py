"""The store or the queue is slow, throttles, refuses or is silent, for one tier or both.

Requests end in time, nothing is lost, and the alarms in the runbook's table fire. A deployment for
each service and tier goes through the faults, all at the same time, because most of that time is
spent waiting.
"""

import time
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from asciist.telemetry import metrics
from tests.emulated.alarm_table import ROWS
from tests.emulated.emulator import Emulator
from tests.emulated.fault_proxy import Fault, FaultProxy
from tests.emulated.tiers import Tiers, running
from tests.waiting import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

TIMEOUT = 10
"""Request timeout in seconds, as in every deployment: the alarms depend on it."""
LONG_SECONDS = TIMEOUT + 1
"""Duration of a fault, in seconds, after which messages have outlived their requests."""
VISIBILITY = 10
"""Seconds until a message that was received and not deleted is delivered again."""
REQUESTS = 12
TIERS = ("web", "worker", "both")
SERVICES = ("s3", "sqs")
FAULTS = [fault for fault in Fault if fault is not Fault.NONE]


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """Result of a fault."""

    statuses: set[int]
    seconds: float
    """Duration of the slowest request."""
    alarms: set[str]


@contextmanager
def behind_proxies(
    directory: Path, account: Emulator, tier: str
) -> Iterator[tuple[Tiers, dict[str, FaultProxy]]]:
    """Both tiers. `tier` ("web", "worker" or "both") reaches S3 and SQS through proxies."""
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


def suffer(
    directory: Path, account: Emulator, cat: bytes, tier: str, service: str
) -> dict[Fault, Outcome]:
    """Take a deployment through each fault of a service, and once without a fault. Return the
    outcomes.

    Fails if it does not recover from a fault, if a message is left, or if a request finally failed
    for another reason.
    """
    widths = iter(range(20, 1000))
    outcomes: dict[Fault, Outcome] = {}

    with (
        behind_proxies(directory, account, tier) as (tiers, proxies),
        ThreadPoolExecutor(REQUESTS) as pool,
        ThreadPoolExecutor(2) as few,
    ):

        def request(width: int) -> tuple[int, float]:
            started = time.monotonic()
            status = tiers.request(cat, width)
            return status, time.monotonic() - started

        def recovered() -> bool:
            return tiers.request(cat, next(widths)) == 200

        wait_until(recovered)
        for fault in (Fault.NONE, *FAULTS):
            with tiers.observed() as watched:
                started = time.monotonic()
                proxies[service].fault = fault
                if fault in (Fault.NONE, Fault.SLOW):
                    answers = list(few.map(request, [next(widths) for _ in range(REQUESTS // 2)]))
                else:
                    answers = list(pool.map(request, [next(widths) for _ in range(REQUESTS)]))
                    if tier == "worker":
                        time.sleep(max(0.0, started + LONG_SECONDS - time.monotonic()))
                proxies[service].fault = Fault.NONE
            statuses, durations = zip(*answers, strict=True)
            outcomes[fault] = Outcome(
                statuses=set(statuses), seconds=max(durations), alarms=watched.alarms()
            )
            wait_until(recovered)
        assert all(poller.poll() is None for poller in tiers.pollers)
        wait_until(lambda: tiers.messages("Visible", "NotVisible") == 0, seconds=90)
        tiers.stop()
        tiers.metrics.settle()
        assert tiers.metrics.total(metrics.REQUESTS, status="500") == 0
    return outcomes


@pytest.fixture(scope="module")
def deployments(
    tmp_path_factory: pytest.TempPathFactory, emulator: Emulator, cat: bytes
) -> Iterator[Mapping[tuple[str, str], Future[dict[Fault, Outcome]]]]:
    """Results of all faults, by the affected tier and service."""
    with ThreadPoolExecutor(len(TIERS) * len(SERVICES)) as pool:
        yield {
            (tier, service): pool.submit(
                suffer, tmp_path_factory.mktemp(f"{tier}-{service}"), emulator, cat, tier, service
            )
            for tier in TIERS
            for service in SERVICES
        }


def fault_in_the_runbook(tier: str, service: str, fault: Fault) -> str:
    """Return the row of a fault in the runbook's table. Workers do not matter while the web tier
    publishes nothing."""
    name = {"s3": "S3", "sqs": "SQS"}[service]
    match fault:
        case Fault.NONE:
            return "Nothing is wrong"
        case Fault.SLOW:
            return "S3 or SQS answers 50 ms later"
        case _ if tier == "worker":
            return f"{name} fails for the workers alone"
        case Fault.SILENT:
            return f"{name} does not answer the web tier"
        case _:
            return f"{name} refuses or throttles the web tier"


@pytest.mark.parametrize("fault", Fault)
@pytest.mark.parametrize("service", SERVICES)
@pytest.mark.parametrize("tier", TIERS)
def test_requests_end_in_time_and_the_alarms_of_the_runbook_fire(
    deployments: Mapping[tuple[str, str], Future[dict[Fault, Outcome]]],
    tier: str,
    service: str,
    fault: Fault,
) -> None:
    outcome = deployments[tier, service].result()[fault]

    assert outcome.seconds < TIMEOUT + 1
    ROWS[fault_in_the_runbook(tier, service, fault)].check(
        statuses=outcome.statuses, alarms=outcome.alarms
    )
