"""Both tiers as processes on the emulator: a worker is killed, the store and the queue fall silent."""

import os
import signal
import subprocess
import sys
import time
import uuid
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

import boto3
import pytest

from asciist.telemetry import metrics
from devtools.server import Server
from observability.local.dogstatsd import Receiver
from tests import flawed_converters
from tests.emulated.emulator import Emulator
from tests.processes import children, gone
from tests.waiting import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

RATE = 10
"""Requests per second of a load: few enough for a busy machine."""
REQUESTS = 60
"""Requests of a load."""
THREADS = 2
"""Threads of a poller."""
MAX_REPEATS = 10
"""Repeats that the web process may publish without needing them."""


class Tiers:
    """One web process and the pollers, with the metrics that they send."""

    def __init__(
        self,
        directory: Path,
        account: Emulator,
        agent: Receiver,
        *,
        reply_path: str,
        request_timeout: int,
        visibility_seconds: int = 60,
        web_checkout: Path | None = None,
        web_environment: Mapping[str, str] | None = None,
        worker_environment: Mapping[str, str] | None = None,
    ) -> None:
        """`web_checkout` is a directory with the code of the web tier, if it is not this one. Either tier may have environment
        variables of its own."""
        self.metrics = agent
        self._directory = directory
        name = uuid.uuid4().hex
        boto3.client("s3", **account.client_arguments).create_bucket(Bucket=name)
        self._queues = boto3.client("sqs", **account.client_arguments)
        self._queue_url = self._queues.create_queue(QueueName=name, Attributes={"VisibilityTimeout": str(visibility_seconds)})[
            "QueueUrl"
        ]
        self._environment = {
            **account.environment,
            "ASCIIST_BACKEND": "aws",
            "ASCIIST_LINK_KEYS": "k" * 32,
            "ASCIIST_BUCKET": name,
            "ASCIIST_REQUEST_QUEUE_URL": self._queue_url,
            "ASCIIST_REPLY_PATH": reply_path,
            "ASCIIST_REPLY_QUEUE_PREFIX": f"reply-{name[:8]}-",
            "ASCIIST_CALLBACK_FIRST_PORT": "28200",
            "ASCIIST_CALLBACK_NETWORKS": "127.0.0.0/8",
            "ASCIIST_INSTANCE": "127.0.0.1",
            "ASCIIST_REQUEST_TIMEOUT": str(request_timeout),
            "DD_AGENT_HOST": "127.0.0.1",
            "DD_DOGSTATSD_PORT": str(agent.port),
        }
        self._worker_environment = {**self._environment, **(worker_environment or {}), "ASCIIST_WORKERS": str(THREADS)}
        web = {**self._environment, **(web_environment or {}), "ASCIIST_WORKERS": "1"}
        self.web = Server(directory, web_checkout, **web)
        self.pollers: list[subprocess.Popen[bytes]] = []

    def start_poller(self, checkout: Path | None = None) -> "subprocess.Popen[bytes]":
        """Start a poller, of the code in `checkout` or of this one, and return when it polls."""
        log = self._directory / f"poller-{len(self.pollers)}.log"
        with log.open("wb") as output:
            poller = subprocess.Popen(
                [sys.executable, "-m", "asciist.poller"],
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=checkout,  # comes first in the path of `python -m`
                env={**os.environ, **self._worker_environment},
            )
        self.pollers.append(poller)
        wait_until(lambda: b"polling with" in log.read_bytes())
        return poller

    def stop(self) -> None:
        for poller in self.pollers:
            poller.terminate()
        for poller in self.pollers:
            poller.wait(30)
        self.web.stop()

    def request(self, image: bytes, width: int) -> int:
        """Request art and return the status of the answer."""
        return self.web.request("PUT", f"/?width={width}", image)[0]

    @contextmanager
    def load(self, image: bytes, widths: range) -> Iterator[Counter[int]]:
        """Send a request for each width at `RATE`, whatever the answers, in the course of a `with` block that must be shorter.

        Yields the answers by status, complete at the end of the block.
        """
        answers: Counter[int] = Counter()
        start = time.monotonic()

        def send(number: int, width: int) -> int:
            time.sleep(max(0.0, start + number / RATE - time.monotonic()))
            return self.request(image, width)

        with ThreadPoolExecutor(len(widths)) as pool:
            sent = [pool.submit(send, number, width) for number, width in enumerate(widths)]
            yield answers
            answers.update(answer.result() for answer in sent)

    def messages(self, *states: str) -> int:
        """Return the number of messages in the request queue: `Visible`, or `NotVisible` if delivered and not deleted."""
        names = [f"ApproximateNumberOfMessages{'' if state == 'Visible' else state}" for state in states]
        attributes = self._queues.get_queue_attributes(QueueUrl=self._queue_url, AttributeNames=names)["Attributes"]
        return sum(int(attributes[name]) for name in names)

    def conversions(self) -> int:
        return self.metrics.values(metrics.CONVERSION_DURATION)


@pytest.fixture(params=["queue", "callback"])
def reply_path(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@contextmanager
def running(directory: Path, account: Emulator, **settings: object) -> Iterator[Tiers]:
    with Receiver() as agent:
        tiers = Tiers(directory, account, agent, **settings)  # type: ignore[arg-type]
        try:
            yield tiers
        finally:
            tiers.stop()


def test_no_request_fails_when_a_poller_is_killed_in_mid_conversion(
    tmp_path: Path, emulator: Emulator, reply_path: str, cat: bytes
) -> None:
    """The poller is stopped before it is killed, so that it surely holds messages. They stay invisible for 60 s."""
    with running(tmp_path, emulator, reply_path=reply_path, request_timeout=10) as tiers:
        doomed = tiers.start_poller()
        with tiers.load(cat, range(20, 20 + REQUESTS)) as answers:
            time.sleep(2)
            doomed.send_signal(signal.SIGSTOP)
            wait_until(lambda: tiers.messages("NotVisible") > 0)
            doomed.kill()
            tiers.start_poller()
        tiers.stop()
        tiers.metrics.settle()

        assert answers == {200: REQUESTS}
        assert tiers.metrics.total(metrics.REQUESTS_HEDGED, outcome="repeat") >= 1
        assert tiers.metrics.total(metrics.REQUESTS_HEDGED, outcome="nothing") == 0
        assert tiers.conversions() <= REQUESTS + MAX_REPEATS


def test_an_image_that_crashes_the_decoders_of_a_poller_is_a_client_error_and_fails_alone(
    tmp_path: Path, emulator: Emulator, cat: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    flawed_converters.install(tmp_path, monkeypatch)
    with running(tmp_path, emulator, reply_path="queue", request_timeout=30) as tiers:
        poller = tiers.start_poller()
        (parent,) = children(poller.pid)
        converters = children(parent)
        assert len(converters) == THREADS
        with tiers.load(cat, range(20, 50)) as answers, ThreadPoolExecutor() as pool:
            fatal = [pool.submit(tiers.request, flawed_converters.KILLER, width) for width in range(10, 14)]
            assert [answer.result() for answer in fatal] == [400] * 4
        assert answers == {200: 30}
        assert poller.poll() is None
        processes = [parent, *children(parent)]
        tiers.stop()
        tiers.metrics.settle()

        assert tiers.metrics.total(metrics.CONVERSIONS_ABORTED, cause="crash") >= 3 * 4
        assert tiers.metrics.total(metrics.MESSAGES_FAULTED) == 0
        wait_until(lambda: gone(processes))


def test_requests_are_answered_in_time_while_the_store_and_the_queue_are_silent(
    tmp_path: Path, emulator: Emulator, cat: bytes
) -> None:
    """Every request gets its answer before the store and the queue answer again, and the next one is served."""
    with running(tmp_path, emulator, reply_path="callback", request_timeout=2) as tiers, ExitStack() as silence:
        tiers.start_poller()
        assert tiers.request(cat, 20) == 200

        os.killpg(emulator.process_group, signal.SIGSTOP)
        silence.callback(os.killpg, emulator.process_group, signal.SIGCONT)
        with ThreadPoolExecutor(20) as pool:
            answers = Counter(pool.map(lambda width: tiers.request(cat, width), range(21, 41)))
        assert answers.keys() <= {503, 504}
        silence.close()

        wait_until(lambda: tiers.request(cat, 41) == 200)
