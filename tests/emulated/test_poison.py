"""Messages and images that no worker can process arrive among good ones, and expired messages
arrive before them."""

import json
import signal
import subprocess
import threading
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace

import pytest

from asciist.errors import sentences
from asciist.options import ConversionOptions
from asciist.protocol.artifacts import digest_of
from asciist.protocol.messages import ConversionRequest
from asciist.telemetry import metrics
from asciist.timeouts import Timeouts
from tests.emulated.alarm_table import ROWS
from tests.emulated.emulator import Emulator
from tests.emulated.tiers import VISIBLE, Tiers, running
from tests.waiting import wait_until
from tools.testing.images import encoded, gradient

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

GOOD = 100
DAMAGED = 70
MALFORMED = 30
CLIENTS = 3
"""Clients that send one request after the other, few enough for a busy machine."""
LATE = 200
HOUR = 3600
LONG_POLL = 1.0
"""Seconds of a poller's long poll."""
TIMEOUT = 20
"""Request timeout in seconds; a busy machine may take this long for 200 expired messages."""


@pytest.fixture(scope="module")
def tiers(tmp_path_factory: pytest.TempPathFactory, emulator: Emulator) -> Iterator[Tiers]:
    with running(tmp_path_factory.mktemp("tiers"), emulator, request_timeout=TIMEOUT) as started:
        started.start_poller()
        yield started


def damaged(number: int) -> bytes:
    """Return an image with a valid header and undecodable pixels; each number gives a different
    one."""
    good = encoded(gradient(64 + number, 48), ("PNG", "GIF")[number % 2])
    return good[: len(good) * 6 // 10]


def request_to_nobody() -> ConversionRequest:
    """Return a message for an image that was never stored."""
    return ConversionRequest(
        correlation_id=uuid.uuid4().hex,
        digest=digest_of(uuid.uuid4().bytes),
        options=ConversionOptions(width=20),
        deadline=time.time() + TIMEOUT,
        reply_to="https://queue.example/1/reply",
        published_at=time.time(),
    )


def malformed(number: int) -> str:
    """Return a message that no release has ever written; each number gives a different one."""
    fields = json.loads(request_to_nobody().to_json())
    changes: list[dict[str, object]] = [
        {"version": 999},
        {"key": "another/key"},
        {"deadline": "soon"},
        {"deadline": float("inf")},
        {"published_at": []},
        {"width": None},
        {"trace": {"number": number}},
    ]
    texts = [f"not JSON {number}", f"[{number}]", str(number), "[" * 5000 + str(number)]
    return (texts + [json.dumps(fields | change) for change in changes])[
        number % (len(texts) + len(changes))
    ]


@contextmanager
def stopped(process: "subprocess.Popen[bytes]") -> Iterator[None]:
    """Stop a process for a `with` block, or until it receives SIGCONT."""
    process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        process.send_signal(signal.SIGCONT)


def test_a_storm_of_poison_fails_alone(tiers: Tiers, cat: bytes) -> None:
    """Good and damaged images are sent at the same time, among malformed messages."""
    bad = [malformed(number) for number in range(MALFORMED)]
    images = [cat] * GOOD + [damaged(number) for number in range(DAMAGED)]
    turns = [number * 97 % len(images) for number in range(len(images))]  # mixes them
    assert sorted(turns) == list(range(len(images)))

    def request(turn: int) -> tuple[int, float, bytes]:
        started = time.monotonic()
        status, body = tiers.request_art(images[turn], 20 + turn)
        return status, time.monotonic() - started, body

    with tiers.observed() as watched, ThreadPoolExecutor(CLIENTS) as pool:
        storm = threading.Thread(target=tiers.publish, args=(bad,))
        storm.start()
        answers = dict(zip(turns, pool.map(request, turns), strict=True))
        storm.join()
        wait_until(lambda: tiers.account.queue_metrics(tiers.dead_letters)[VISIBLE] == MALFORMED)
        assert tiers.messages("Visible", "NotVisible") == 0
    tiers.settle()

    for turn, (status, seconds, body) in answers.items():
        assert seconds < TIMEOUT
        assert status == (200 if turn < GOOD else 400), body
        assert turn < GOOD or body.decode().strip() == sentences.DAMAGED_IMAGE
    assert Counter(tiers.take_dead_letters()) == Counter(bad)
    # The queue delivers at least once, so a message may be received once more than it may fail.
    assert tiers.metrics.total(metrics.MESSAGES_FAULTED) >= Timeouts().max_receive_count * MALFORMED
    assert all(poller.poll() is None for poller in tiers.pollers)
    row = ROWS["Somebody sends damaged images, and malformed messages to the request queue"]
    row.check(statuses={status for status, _, _ in answers.values()}, alarms=watched.alarms())


def test_messages_of_an_hour_ago_are_dropped_and_new_requests_are_served(
    tiers: Tiers, cat: bytes
) -> None:
    """Half of them have been in the queue for an hour; the other half was moved back from the
    dead-letter queue.

    Their images are not stored, so a worker that read one would fail.
    """
    (poller,) = tiers.pollers
    faulted = tiers.metrics.total(metrics.MESSAGES_FAULTED)

    with tiers.observed() as watched, ThreadPoolExecutor(CLIENTS) as pool, stopped(poller):
        time.sleep(LONG_POLL + 0.5)  # no message is delivered to it until it goes on
        late = [request_to_nobody() for _ in range(LATE)]
        moved = [
            replace(request, published_at=time.time() - HOUR, deadline=time.time() - HOUR + TIMEOUT)
            for request in late
        ]
        tiers.publish(request.to_json() for request in late[: LATE // 2])
        tiers.account.make_messages_older(tiers.bucket, HOUR)
        tiers.publish(request.to_json() for request in moved[LATE // 2 :])
        fresh = [pool.submit(tiers.request, cat, width) for width in range(500, 500 + CLIENTS)]
        wait_until(lambda: tiers.messages("Visible") >= LATE + CLIENTS)
        poller.send_signal(signal.SIGCONT)
        answers = [request.result() for request in fresh]
        wait_until(lambda: tiers.messages("Visible", "NotVisible") == 0)
    tiers.settle()

    assert answers == [200] * CLIENTS
    assert tiers.metrics.total(metrics.MESSAGES_EXPIRED) >= LATE
    assert tiers.metrics.total(metrics.MESSAGES_FAULTED) == faulted
    assert tiers.metrics.total(metrics.IMAGES_GONE) == 0
    ROWS["Messages of an hour ago wait in front of new ones"].check(
        statuses=answers, alarms=watched.alarms()
    )
