"""Both tiers as processes on the emulator, and the values watched by the alarms of their
deployment."""

import os
import subprocess
import sys
import threading
import time
import uuid
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

import boto3

from asciist.errors import sentences
from asciist.telemetry import metrics
from asciist.timeouts import Timeouts
from operations.dashboard.dogstatsd import BUCKET_SECONDS, Receiver
from operations.dashboard.firing import Observation
from operations.observability.signals import Resource
from tests.emulated.emulator import Emulator
from tests.waiting import wait_until
from tools.testing.server import Server

RATE: Final = 10
"""Requests per second of a load: few enough for a busy machine."""
_IN_FLIGHT: Final = 15
"""Maximum requests of a load in flight: one less than the number from which a web process refuses
requests that it expects to take too long, as it may on a busy machine."""
_ATTEMPTS: Final = 5
_RETRY_SECONDS: Final = 2.0
"""Maximum attempts of a request, and the time between two of them, which the answer suggests."""
THREADS: Final = 2
"""Threads of a poller."""
_SAMPLE_SECONDS: Final = 0.2
_AGE: Final = "ApproximateAgeOfOldestMessage"
VISIBLE: Final = "ApproximateNumberOfMessagesVisible"
"""Names of metrics in CloudWatch."""


class Processes:
    """A web process and the pollers, with their metrics. A subclass starts the web process."""

    def __init__(
        self,
        directory: Path,
        environment: Mapping[str, str],
        *,
        request_timeout: int,
        web_environment: Mapping[str, str] | None = None,
        worker_environment: Mapping[str, str] | None = None,
    ) -> None:
        """`environment` names the cloud's services. Additional environment variables can be set for
        either tier."""
        self._phase = 1
        self.metrics = Receiver(clock=lambda: self._phase * BUCKET_SECONDS)
        self.request_timeout = request_timeout
        self._directory = directory
        self._answered = 0
        self._lock = threading.Lock()
        common = {
            "ASCIIST_LINK_KEYS": "k" * 32,
            "ASCIIST_CALLBACK_FIRST_PORT": "28200",
            "ASCIIST_CALLBACK_NETWORKS": "127.0.0.0/8",
            "ASCIIST_INSTANCE": "127.0.0.1",
            "ASCIIST_REQUEST_TIMEOUT": str(request_timeout),
            "DD_AGENT_HOST": "127.0.0.1",
            "DD_DOGSTATSD_PORT": str(self.metrics.port),
            **environment,
        }
        self._worker_environment = {
            **common,
            **(worker_environment or {}),
            "ASCIIST_WORKERS": str(THREADS),
        }
        self._web_environment = {**common, **(web_environment or {}), "ASCIIST_WORKERS": "1"}
        self.webs: list[Server] = []
        self.pollers: list[subprocess.Popen[bytes]] = []

    @property
    def web(self) -> Server:
        """The first web process."""
        return self.webs[0]

    def start_web(self, checkout: Path | None = None) -> Server:
        """Start a web process with the code in `checkout`, by default this code, and return when it
        is ready."""
        self.webs.append(Server(self._directory, checkout, **self._web_environment))
        return self.webs[-1]

    def start_poller(
        self, checkout: Path | None = None, **environment: str
    ) -> "subprocess.Popen[bytes]":
        """Start a poller with the code in `checkout`, by default this code, and return when it
        polls."""
        log = self._directory / f"poller-{len(self.pollers)}.log"
        with log.open("wb") as output:
            poller = subprocess.Popen(
                [sys.executable, "-m", "asciist.poller"],
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=checkout,  # comes first in the path of `python -m`
                env={**os.environ, **self._worker_environment, **environment},
            )
        self.pollers.append(poller)
        wait_until(lambda: b"polling with" in log.read_bytes())
        return poller

    def stop(self) -> None:
        for poller in self.pollers:
            poller.terminate()
        for poller in self.pollers:
            poller.wait(120)
        for web in self.webs:
            web.stop()

    def request(self, image: bytes, width: int) -> int:
        """Request art and return the status of the answer."""
        return self.request_art(image, width)[0]

    def request_art(self, image: bytes, width: int) -> tuple[int, bytes]:
        """Request art and return the status and the body of the answer.

        A request that the web process refuses because it is busy is sent again, as by any client.
        It is refused at once after a second without CPU time, on a machine that does more.
        """
        for _ in range(_ATTEMPTS):
            answer = self.web.request("PUT", f"/?width={width}", image)
            with self._lock:
                self._answered += 1
            if sentences.BUSY.encode() not in answer[1]:
                break
            time.sleep(_RETRY_SECONDS)
        return answer

    @contextmanager
    def load(self, image: bytes, widths: range) -> Iterator[Counter[int]]:
        """Send a request for each width at `RATE`, with at most `_IN_FLIGHT` at a time, during a
        `with` block that must be shorter.

        Yields the answers by status, complete at the end of the block.
        """
        answers: Counter[int] = Counter()
        start = time.monotonic()

        def send(number: int, width: int) -> int:
            time.sleep(max(0.0, start + number / RATE - time.monotonic()))
            return self.request(image, width)

        with ThreadPoolExecutor(_IN_FLIGHT) as pool:
            sent = [pool.submit(send, number, width) for number, width in enumerate(widths)]
            yield answers
            answers.update(answer.result() for answer in sent)

    def conversions(self) -> int:
        return self.metrics.values(metrics.CONVERSION_DURATION)

    def settle(self) -> None:
        """Wait for the metrics of all answered requests, and of earlier messages."""
        wait_until(lambda: self.metrics.total(metrics.REQUESTS) >= self._answered)
        self.metrics.settle()


class Tiers(Processes):
    """Both tiers on the emulated AWS account."""

    def __init__(
        self,
        directory: Path,
        account: Emulator,
        *,
        reply_path: str = "queue",
        request_timeout: int = 10,
        visibility_seconds: int = 60,
        web_checkout: Path | None = None,
        web_environment: Mapping[str, str] | None = None,
        worker_environment: Mapping[str, str] | None = None,
    ) -> None:
        """`web_checkout` is a directory with the code of the web tier, by default this code.
        Additional environment variables can be set for either tier."""
        self.account = account
        self.bucket = uuid.uuid4().hex
        self.reply_queue_prefix = f"reply-{self.bucket[:8]}-"
        boto3.client("s3", **account.client_arguments).create_bucket(Bucket=self.bucket)
        self.sqs = boto3.client("sqs", **account.client_arguments)
        self.dead_letters = f"{self.bucket}-dead"
        self.dead_letters_url, arn = self._create_queue(self.dead_letters)
        redrive = (
            f'{{"deadLetterTargetArn": "{arn}", "maxReceiveCount": {Timeouts().max_receive_count}}}'
        )
        self.queue_url, _ = self._create_queue(
            self.bucket, VisibilityTimeout=str(visibility_seconds), RedrivePolicy=redrive
        )
        environment = {
            **account.environment,
            "ASCIIST_BACKEND": "aws",
            "ASCIIST_BUCKET": self.bucket,
            "ASCIIST_REQUEST_QUEUE_URL": self.queue_url,
            "ASCIIST_REPLY_PATH": reply_path,
            "ASCIIST_REPLY_QUEUE_PREFIX": self.reply_queue_prefix,
        }
        super().__init__(
            directory,
            environment,
            request_timeout=request_timeout,
            web_environment=web_environment,
            worker_environment=worker_environment,
        )
        self.start_web(web_checkout)

    def _create_queue(self, name: str, **attributes: str) -> tuple[str, str]:
        """Create a queue, and return its URL and ARN."""
        url = self.sqs.create_queue(QueueName=name, Attributes=attributes)["QueueUrl"]
        arn = self.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])[
            "Attributes"
        ]["QueueArn"]
        return url, arn

    def publish(self, bodies: Iterable[str]) -> None:
        """Send messages to the request queue."""
        for body in bodies:
            self.sqs.send_message(QueueUrl=self.queue_url, MessageBody=body)

    def take_dead_letters(self) -> list[str]:
        """Remove all messages from the dead-letter queue, and return their bodies."""
        bodies: list[str] = []
        while received := self.sqs.receive_message(
            QueueUrl=self.dead_letters_url, MaxNumberOfMessages=10
        ).get("Messages"):
            for message in received:
                bodies.append(message["Body"])
                self.sqs.delete_message(
                    QueueUrl=self.dead_letters_url, ReceiptHandle=message["ReceiptHandle"]
                )
        return bodies

    def messages(self, *states: str) -> int:
        """Return the number of messages in the request queue: `Visible`, or `NotVisible` if
        delivered and not deleted."""
        names = [
            f"ApproximateNumberOfMessages{'' if state == 'Visible' else state}" for state in states
        ]
        attributes = self.sqs.get_queue_attributes(QueueUrl=self.queue_url, AttributeNames=names)[
            "Attributes"
        ]
        return sum(int(attributes[name]) for name in names)

    def reply_queues(self) -> list[str]:
        """Return the URLs of the queues with replies to web processes."""
        return list(
            self.sqs.list_queues(QueueNamePrefix=self.reply_queue_prefix).get("QueueUrls", [])
        )

    @contextmanager
    def observed(self) -> Iterator["Watched"]:
        """Observe the values watched by the alarms during a `with` block."""
        self.settle()
        self._phase += 1
        with Watched(self).sampling() as watched:
            yield watched
            self.settle()
        watched.bucket = self._phase
        self._phase += 1


class Watched:
    """Values watched by a deployment's alarms for some seconds: metrics, both queues and the web
    process's health."""

    def __init__(self, tiers: Tiers) -> None:
        self._tiers = tiers
        self._started = time.monotonic()
        self._ended = threading.Event()
        self._seconds = 0.0
        self._aws: dict[tuple[Resource, str], float] = {
            ("request_queue", _AGE): 0.0,
            ("dead_letter_queue", VISIBLE): 0.0,
            ("web_targets", "UnHealthyHostCount"): 0.0,
        }
        self.bucket = 0
        """Number of the receiver's bucket that contains the metrics."""

    @contextmanager
    def sampling(self) -> Iterator["Watched"]:
        thread = threading.Thread(target=self._sample, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self._ended.set()
            thread.join()
        self._seconds = time.monotonic() - self._started

    def alarms(self, *, once: bool = False) -> set[str]:
        """Return the titles of the alarms that would fire if this continued, or if it happened
        `once`."""
        observation = Observation(
            receiver=self._tiers.metrics,
            buckets=range(self.bucket, self.bucket + 1),
            seconds=None if once else self._seconds,
            aws=self._aws,
        )
        return {
            alarm.title
            for alarm in observation.firing({"request timeout": self._tiers.request_timeout})
        }

    def _sample(self) -> None:
        tiers = self._tiers
        while not self._ended.wait(_SAMPLE_SECONDS):
            with suppress(OSError):  # a silent emulator sends no metrics either
                self._keep("request_queue", _AGE, tiers.account.queue_metrics(tiers.bucket)[_AGE])
                self._keep(
                    "dead_letter_queue",
                    VISIBLE,
                    tiers.account.queue_metrics(tiers.dead_letters)[VISIBLE],
                )
            self._keep("web_targets", "UnHealthyHostCount", float(not _is_healthy(tiers.web)))

    def _keep(self, resource: Resource, metric: str, value: float) -> None:
        self._aws[resource, metric] = max(self._aws[resource, metric], value)


def _is_healthy(web: Server) -> bool:
    try:
        return web.request("GET", "/healthz")[0] == 200
    except OSError:
        return False


@contextmanager
def running(directory: Path, account: Emulator, **settings: object) -> Iterator[Tiers]:
    """Start a web process with the settings of `Tiers`, and stop it and its pollers at the end."""
    # As `Tiers` declares them.
    tiers = Tiers(directory, account, **settings)  # type: ignore[arg-type]
    with tiers.metrics:
        try:
            yield tiers
        finally:
            tiers.stop()
