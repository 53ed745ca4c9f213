"""The store and the queue are slow, refuse calls or are full, and clocks disagree: what a client sees, and what is lost."""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from asciist.adapters.embedded import EmbeddedMetrics
from asciist.adapters.threads import ThreadedCalls
from asciist.conversion import ConversionOptions
from asciist.errors import ArtifactNotFoundError, DeadlineExceededError, UnavailableError
from asciist.protocol.artifacts import digest_of, image_key
from asciist.protocol.messages import ConversionReply
from asciist.protocol.requester import ArtSource
from asciist.telemetry import metrics
from tests.protocol.tiers import ART, CAT, KEY, OPTIONS, Tiers, delivery
from tests.waiting import wait_until

IMAGE = image_key(digest_of(CAT))


class Silence:
    """A dependency that does not answer until `end`, and never by itself."""

    def __init__(self) -> None:
        self._ended = threading.Event()

    def wait(self) -> None:
        """Block until `end`. Fail if the test does not end it."""
        assert self._ended.wait(30)

    def end(self) -> None:
        self._ended.set()


@pytest.fixture
def silence() -> Iterator[Silence]:
    silence = Silence()
    yield silence
    silence.end()


@pytest.fixture
def bounded() -> Iterator[Tiers]:
    """Both tiers with a request timeout of 1 s, which also limits calls to the store and the queue."""
    tiers = Tiers(timeout_seconds=1, call=ThreadedCalls(4))
    yield tiers
    tiers.stop()


@pytest.mark.parametrize("silent", [("get", KEY), ("create", IMAGE)])
def test_a_request_times_out_while_the_store_is_silent_and_the_next_one_is_served(
    bounded: Tiers, silence: Silence, silent: tuple[str, str]
) -> None:
    def block(call: str, key: str) -> bool:
        if (call, key) == silent:
            silence.wait()
        return False

    bounded.store.failing = block
    bounded.start()
    with pytest.raises(DeadlineExceededError):
        bounded.requester.convert(CAT, OPTIONS)

    silence.end()
    assert bounded.requester.convert(CAT, OPTIONS).art == ART


def test_reading_stored_art_times_out_while_the_store_is_silent(bounded: Tiers, silence: Silence) -> None:
    bounded.store.failing = lambda _call, _key: silence.wait() is not None
    with pytest.raises(DeadlineExceededError):
        bounded.requester.stored_art(digest_of(CAT), OPTIONS)


def test_a_request_times_out_while_the_queue_is_silent(
    bounded: Tiers, silence: Silence, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bounded.queue, "send", lambda _body: silence.wait())
    with pytest.raises(DeadlineExceededError):
        bounded.requester.convert(CAT, OPTIONS)

    assert bounded.store.get(IMAGE) == CAT


def test_a_request_times_out_when_the_store_falls_silent_while_it_waits_for_a_reply(bounded: Tiers, silence: Silence) -> None:
    """Neither the looks in the store for an overdue reply nor the last one exceed the deadline."""

    def block(call: str, _key: str) -> bool:
        if call == "get" and ("create", IMAGE) in bounded.store.calls:
            silence.wait()
        return False

    bounded.store.failing = block
    with pytest.raises(DeadlineExceededError):
        bounded.requester.convert(CAT, OPTIONS)


def test_a_reply_arrives_although_the_store_falls_silent_while_it_is_overdue(bounded: Tiers, silence: Silence) -> None:
    """The look in the store ends after a twentieth of the timeout, so that the wait goes on."""

    def block(call: str, key: str) -> bool:
        if (call, key) == ("get", KEY) and ("create", IMAGE) in bounded.store.calls:
            silence.wait()
        return False

    bounded.store.failing = block
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(bounded.requester.convert, CAT, OPTIONS)
        (first,) = bounded.queue.receive(max_messages=1, wait_seconds=5)
        bounded.queue.receive(max_messages=1, wait_seconds=5)  # the repeat
        bounded.responder.process(first)

        assert answer.result().art == ART


def test_an_identical_request_has_its_own_deadline_while_the_store_is_silent(bounded: Tiers, silence: Silence) -> None:
    """The leader of the single flight times out; the follower has time left, and is served when the store answers again."""

    def block(call: str, _key: str) -> bool:
        if call == "create":
            silence.wait()
        return False

    bounded.store.failing = block
    bounded.start()
    with ThreadPoolExecutor(2) as pool:
        leader = pool.submit(bounded.requester.convert, CAT, OPTIONS)
        time.sleep(0.5)
        follower = pool.submit(bounded.requester.convert, CAT, OPTIONS)
        with pytest.raises(DeadlineExceededError):
            leader.result()
        silence.end()

        assert follower.result().art == ART


@pytest.mark.parametrize("refused", [("get", KEY), ("create", IMAGE)])
def test_a_request_fails_at_once_if_the_store_refuses_it_and_the_next_one_is_served(
    tiers: Tiers, refused: tuple[str, str]
) -> None:
    tiers.store.failing = lambda call, key: (call, key) == refused
    tiers.start()
    with pytest.raises(UnavailableError):
        tiers.requester.convert(CAT, OPTIONS)

    tiers.store.failing = lambda _call, _key: False
    assert tiers.requester.convert(CAT, OPTIONS).art == ART


def test_a_request_fails_at_once_if_the_queue_refuses_it_and_the_next_one_is_served(
    tiers: Tiers, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_body: str) -> None:
        raise UnavailableError("injected failure of send")

    tiers.start()
    monkeypatch.setattr(tiers.queue, "send", refuse)
    with pytest.raises(UnavailableError):
        tiers.requester.convert(CAT, OPTIONS)

    monkeypatch.undo()
    assert tiers.requester.convert(CAT, OPTIONS).art == ART


def test_art_that_a_full_store_does_not_take_is_served_and_counted(tiers: Tiers) -> None:
    tiers.store.failing = lambda call, _key: call == "put"
    tiers.start()

    served = tiers.requester.convert(CAT, OPTIONS)
    assert (served.art, served.source) == (ART, ArtSource.CONVERSION)
    assert tiers.metrics.total(metrics.ART_UNSTORED) == 1
    assert tiers.metrics.total(metrics.MESSAGES_FAULTED) == 0
    with pytest.raises(ArtifactNotFoundError):
        tiers.requester.stored_art(digest_of(CAT), OPTIONS)

    tiers.store.failing = lambda _call, _key: False
    assert tiers.requester.convert(CAT, OPTIONS).source is ArtSource.CONVERSION
    assert tiers.requester.convert(CAT, OPTIONS).source is ArtSource.STORE


def test_art_that_neither_the_store_nor_the_reply_takes_is_converted_again(tiers: Tiers) -> None:
    class NarrowReplies:
        max_reply_bytes = 100

        def send(self, reply_to: str, reply: ConversionReply) -> None:
            tiers.replies.send(reply_to, reply.without_art())

    faults = iter([True])
    tiers.store.failing = lambda call, _key: call == "put" and next(faults, False)
    tiers.responder = tiers.responder_with(replies=NarrowReplies())
    tiers.start()

    assert tiers.requester.convert(CAT, OPTIONS).art == ART
    assert tiers.metrics.total(metrics.MESSAGES_FAULTED) == 1
    assert tiers.metrics.total(metrics.ART_UNSTORED) == 0


def shifted(seconds: float) -> Callable[[], float]:
    """Return a clock that is `seconds` fast."""
    return lambda: time.time() + seconds


@pytest.mark.parametrize("skew", [-60, 60])
def test_a_worker_whose_clock_is_a_minute_off_loses_no_request(tiers: Tiers, skew: float) -> None:
    tiers.responder = tiers.responder_with(clock=shifted(skew))
    tiers.start()

    for width in range(20, 30):
        assert tiers.requester.convert(CAT, ConversionOptions(width=width)).source is ArtSource.CONVERSION
    assert tiers.conversions() == 10
    assert tiers.metrics.total(metrics.MESSAGES_EXPIRED) == 0


@pytest.mark.parametrize("skew", [-60, 0, 60])
def test_a_message_that_waited_past_its_deadline_is_dropped_whatever_the_clock(tiers: Tiers, skew: float) -> None:
    tiers.responder = tiers.responder_with(clock=shifted(skew))
    now = time.time()
    tiers.queue.send(tiers.request(published_at=now, deadline=now + 0.1).to_json())
    time.sleep(0.2)  # for the message to expire
    tiers.start()

    wait_until(lambda: tiers.metrics.total(metrics.MESSAGES_EXPIRED) == 1)
    tiers.stop()
    assert tiers.conversions() == 0


@pytest.mark.parametrize(("age", "expired"), [(4.9, 0), (5.1, 1)])
def test_without_an_age_from_the_queue_the_clocks_decide(tiers: Tiers, age: float, expired: int) -> None:
    now = time.time()
    body = tiers.request(published_at=now - age, deadline=now - age + 5).to_json()
    tiers.responder.process(delivery(body, receive_count=2))

    assert tiers.metrics.total(metrics.MESSAGES_EXPIRED) == expired


@pytest.mark.parametrize(
    ("by_clocks", "by_queue", "recorded"),
    [
        (2, 0.5, 2),  # the function started 1.5 s after the queue delivered the message
        (62, 2, 2),  # the worker's clock is fast
        (-58, 2, 2),  # the worker's clock is slow
        (3600, 1, 3600),  # the message was moved back from the dead-letter queue
        (2, None, 2),
        (-58, None, 0),
    ],
)
def test_the_age_of_a_message_is_that_of_the_clock_that_can_be_right(
    tiers: Tiers, by_clocks: float, by_queue: float | None, recorded: float
) -> None:
    ages: list[float] = []

    class Recorded(EmbeddedMetrics):
        def distribution(self, name: str, value: float, **_tags: str) -> None:
            if name == metrics.MESSAGE_AGE:
                ages.append(value)

    tiers.metrics = Recorded()
    now = 1_000_000.0
    body = tiers.request(published_at=now, deadline=now + 5).to_json()
    tiers.responder_with(clock=lambda: now + by_clocks).process(delivery(body, age_seconds=by_queue))

    assert ages == [pytest.approx(1000 * recorded)]
