"""Both tiers as processes on the emulated Azure account: they serve, and during faults a request
fails at worst with an error in time."""

import signal
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from asciist.adapters.azure import DEAD_LETTERS
from asciist.telemetry import metrics
from operations import smoke
from operations.smoke import Smoke
from tests import shifted_clock
from tests.emulated.azurite import ACCOUNT, Azurite
from tests.emulated.fault_proxy import Fault, FaultProxy
from tests.emulated.tiers import Processes
from tests.waiting import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

REQUESTS = 30
"""Requests of a load."""
TIMEOUT = 2
"""Seconds for a request while the store or the queue fails."""
SHORT = {"ASCIIST_REQUEST_TIMEOUT": "1"}
"""Settings that make messages of a killed worker visible again after 6 seconds."""
SKEW = 300
"""Seconds by which a worker's clock is fast, and a web process's clock is slow."""
POISON = '{"version": 999}'
SERVICES = ("blob", "queue")


class AzureTiers(Processes):
    """Both tiers on the emulated Azure account. They connect through `proxies`, if given."""

    def __init__(
        self,
        directory: Path,
        account: Azurite,
        *,
        request_timeout: int = 10,
        proxies: dict[str, FaultProxy] | None = None,
        web_environment: dict[str, str] | None = None,
        worker_environment: dict[str, str] | None = None,
    ) -> None:
        self.account = account
        self.name = uuid.uuid4().hex
        account.create_container(self.name)
        account.create_queue(self.name + DEAD_LETTERS)
        queue_url = account.create_queue(self.name)
        environment = {
            **account.environment,
            "ASCIIST_BACKEND": "azure",
            "ASCIIST_BUCKET": self.name,
            "ASCIIST_REQUEST_QUEUE_URL": queue_url,
            "ASCIIST_REPLY_PATH": "callback",
            # others, because one that a test has used is taken for a minute
            "ASCIIST_CALLBACK_FIRST_PORT": "28500",
        }
        if proxies:
            environment["ASCIIST_REQUEST_QUEUE_URL"] = (
                f"{proxies['queue'].url}/{ACCOUNT}/{self.name}"
            )
            environment["AZURE_STORAGE_ENDPOINT"] = f"{proxies['blob'].url}/{ACCOUNT}"
        super().__init__(
            directory,
            environment,
            request_timeout=request_timeout,
            web_environment=web_environment,
            worker_environment=worker_environment,
        )
        self.queue = account.queue(self.name)
        self.start_web()

    def messages(self) -> int:
        """Return the number of messages in the request queue, hidden ones included."""
        return self.queue.get_queue_properties().approximate_message_count or 0

    def hidden(self) -> int:
        """Return the number of messages delivered but not deleted. At most 32 others are
        counted."""
        return self.messages() - len(self.queue.peek_messages(32))

    def dead_letters(self) -> list[str]:
        return self.account.messages(self.name + DEAD_LETTERS)

    def stop(self) -> None:
        super().stop()
        self.queue.close()


@contextmanager
def running(directory: Path, account: Azurite, **settings: object) -> Iterator[AzureTiers]:
    """Start a web process with the settings of `AzureTiers`, and stop it and its pollers at the
    end."""
    # As `AzureTiers` declares them.
    tiers = AzureTiers(directory, account, **settings)  # type: ignore[arg-type]
    with tiers.metrics:
        try:
            yield tiers
        finally:
            tiers.stop()


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """Result of a fault."""

    statuses: set[int]
    seconds: float
    """Duration of the slowest request."""


def suffer(directory: Path, account: Azurite, cat: bytes) -> dict[tuple[str, Fault], Outcome]:
    """Take a deployment through each fault of each service. Fails if it does not recover."""
    widths = iter(range(20, 1000))
    outcomes: dict[tuple[str, Fault], Outcome] = {}
    with ExitStack() as stack:
        proxies = {
            "blob": stack.enter_context(FaultProxy(account.blob_port, "azure")),
            "queue": stack.enter_context(FaultProxy(account.queue_port, "azure")),
        }
        tiers = stack.enter_context(
            running(directory, account, request_timeout=TIMEOUT, proxies=proxies)
        )
        pool = stack.enter_context(ThreadPoolExecutor(4))
        tiers.start_poller()

        def request(width: int) -> tuple[int, float]:
            started = time.monotonic()
            return tiers.request(cat, width), time.monotonic() - started

        def recovered() -> bool:
            return tiers.request(cat, next(widths)) == 200

        wait_until(recovered)
        for service in SERVICES:
            for fault in Fault:
                proxies[service].fault = fault
                answers = list(pool.map(request, [next(widths) for _ in range(4)]))
                proxies[service].fault = Fault.NONE
                statuses, durations = zip(*answers, strict=True)
                outcomes[service, fault] = Outcome(statuses=set(statuses), seconds=max(durations))
                wait_until(recovered)
        assert tiers.pollers[0].poll() is None
        tiers.stop()
        tiers.metrics.settle()
        assert tiers.metrics.total(metrics.REQUESTS, status="500") == 0
    return outcomes


def serve_with_wrong_clocks(
    directory: Path, account: Azurite, cat: bytes
) -> tuple[Counter[int], float]:
    """Return the answers of a web process with a slow clock to a worker with a fast clock, and the
    messages dropped as expired."""
    with running(
        directory,
        account,
        web_environment=shifted_clock.environment(directory / "web", -SKEW),
        worker_environment=shifted_clock.environment(directory / "worker", SKEW),
    ) as tiers:
        tiers.start_poller()
        answers = Counter(tiers.request(cat, width) for width in range(20, 30))
        tiers.stop()
        tiers.metrics.settle()
        return answers, tiers.metrics.total(metrics.MESSAGES_EXPIRED)


@pytest.fixture(scope="module")
def with_wrong_clocks(
    tmp_path_factory: pytest.TempPathFactory, azurite: Azurite, cat: bytes
) -> Iterator[Future[tuple[Counter[int], float]]]:
    """Result of `serve_with_wrong_clocks`, which runs while the other tests do."""
    with ThreadPoolExecutor(1) as pool:
        yield pool.submit(serve_with_wrong_clocks, tmp_path_factory.mktemp("clocks"), azurite, cat)


@pytest.fixture(scope="module")
def outcomes(
    tmp_path_factory: pytest.TempPathFactory, azurite: Azurite, cat: bytes
) -> Iterator[Future[dict[tuple[str, Fault], Outcome]]]:
    """Results of all faults, which run while the other tests do."""
    with ThreadPoolExecutor(1) as pool:
        yield pool.submit(suffer, tmp_path_factory.mktemp("faults"), azurite, cat)


@pytest.fixture(scope="module")
def tiers(
    tmp_path_factory: pytest.TempPathFactory,
    azurite: Azurite,
    outcomes: object,
    with_wrong_clocks: object,
) -> Iterator[AzureTiers]:
    """A deployment with two pollers, the second one stopped, and with a message that no worker can
    process."""
    with running(tmp_path_factory.mktemp("tiers"), azurite, worker_environment=SHORT) as started:
        started.start_poller()
        started.queue.send_message(POISON)
        other = started.start_poller()
        other.send_signal(signal.SIGSTOP)
        yield started
        other.send_signal(signal.SIGCONT)


def test_a_deployment_on_azure_keeps_the_contract(tiers: AzureTiers) -> None:
    """Images are converted, served from the store, read at permanent URLs, converted again and
    deleted; bad images are refused."""
    assert smoke.run(Smoke(tiers.web.url).checks()) == []


def test_no_request_fails_when_a_poller_is_killed_and_its_messages_are_delivered_again(
    tiers: AzureTiers, cat: bytes
) -> None:
    doomed, other = tiers.pollers

    def stops_with_messages() -> bool:
        doomed.send_signal(signal.SIGCONT)
        time.sleep(0.03)
        doomed.send_signal(signal.SIGSTOP)
        time.sleep(0.2)  # for calls that are under way
        return tiers.hidden() > 1  # one may be the message that no worker can process

    with tiers.load(cat, range(20, 20 + REQUESTS)) as answers:
        doomed.send_signal(signal.SIGSTOP)
        time.sleep(1.5)  # messages wait, so that the poller is busy as soon as it goes on
        try:
            wait_until(stops_with_messages, seconds=60)
        finally:
            doomed.kill()
            other.send_signal(signal.SIGCONT)

    assert answers == {200: REQUESTS}
    wait_until(lambda: tiers.messages() == 0)


def test_a_message_that_no_worker_can_process_becomes_a_dead_letter(tiers: AzureTiers) -> None:
    wait_until(lambda: set(tiers.dead_letters()) == {POISON})


def test_clocks_that_are_wrong_by_five_minutes_cost_no_request(
    with_wrong_clocks: Future[tuple[Counter[int], float]],
) -> None:
    answers, expired = with_wrong_clocks.result()

    assert answers == {200: 10}
    assert expired == 0


@pytest.mark.parametrize("fault", Fault)
@pytest.mark.parametrize("service", SERVICES)
def test_requests_end_in_time_while_a_service_fails(
    outcomes: Future[dict[tuple[str, Fault], Outcome]], service: str, fault: Fault
) -> None:
    outcome = outcomes.result()[service, fault]

    assert outcome.seconds < TIMEOUT + 1
    assert outcome.statuses <= ({200} if fault in (Fault.NONE, Fault.SLOW) else {503, 504})
