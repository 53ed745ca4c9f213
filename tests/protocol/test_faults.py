"""The store and the queue are slow, refuse calls or are full, and clocks disagree: the effects on
clients, and on stored data."""

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
from asciist.protocol.message_age import MessageAge
from asciist.protocol.messages import ConversionReply
from asciist.protocol.served import ArtSource
from asciist.telemetry import metrics
from tests.protocol.tiers import ART, CAT, KEY, OPTIONS, Tiers, delivery
from tests.waiting import wait_until

IMAGE = image_key(digest_of(CAT))


class Silence:
    """A dependency that blocks until `end` is called."""

    def __init__(self) -> None:
        self._ended = threading.Event()

    def wait(self) -> None:
        """Block until `end`. Fail if the test does not call it."""
        assert self._ended.wait(120)

    def end(self) -> None:
        self._ended.set()


@pytest.fixture
def silence() -> Iterator[Silence]:
    silence = Silence()
    yield silence
    silence.end()


@pytest.fixture
def bounded() -> Iterator[Tiers]:
    """Both tiers with a request timeout of 1 s, which also limits calls to the store and the
    queue."""
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
    bounded.extend_timeout()
    assert bounded.requester.convert(CAT, OPTIONS).first.text == ART


def test_reading_stored_art_times_out_while_the_store_is_silent(
    bounded: Tiers, silence: Silence
) -> None:
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


def test_a_request_times_out_when_the_store_falls_silent_while_it_waits_for_a_reply(
    bounded: Tiers, silence: Silence
) -> None:
    """Neither looking for an overdue reply's art nor the last look exceeds the deadline."""

    def block(call: str, _key: str) -> bool:
        if call == "get" and ("create", IMAGE) in bounded.store.calls:
            silence.wait()
        return False

    bounded.store.failing = block
    with pytest.raises(DeadlineExceededError):
        bounded.requester.convert(CAT, OPTIONS)


@pytest.mark.parametrize(
    "tiers",
    [{"timeout_seconds": 20, "overdue_seconds": 0.25, "call": ThreadedCalls(4)}],
    indirect=True,
)
def test_a_reply_arrives_although_the_store_falls_silent_while_it_is_overdue(
    tiers: Tiers, silence: Silence
) -> None:
    """The look in the store ends after a twentieth of the timeout, so that the wait continues."""

    def block(call: str, key: str) -> bool:
        if (call, key) == ("get", KEY) and ("create", IMAGE) in tiers.store.calls:
            silence.wait()
        return False

    tiers.store.failing = block
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(tiers.requester.convert, CAT, OPTIONS)
        (first,) = tiers.queue.receive(max_messages=1, wait_seconds=15)
        tiers.queue.receive(max_messages=1, wait_seconds=15)  # the repeat
        tiers.responder.process(first)

        assert answer.result().first.text == ART


def test_an_identical_request_has_its_own_deadline_while_the_store_is_silent(
    bounded: Tiers, silence: Silence
) -> None:
    """The leader of the single flight times out; the follower has time left, and is served when the
    store recovers."""

    def block(call: str, _key: str) -> bool:
        if call == "create":
            silence.wait()
        return False

    bounded.store.failing = block
    bounded.start()
    with ThreadPoolExecutor(2) as pool:
        leader = pool.submit(bounded.requester.convert, CAT, OPTIONS)
        time.sleep(0.5)
        bounded.extend_timeout()
        follower = pool.submit(bounded.requester.convert, CAT, OPTIONS)
        with pytest.raises(DeadlineExceededError):
            leader.result()
        silence.end()

        assert follower.result().first.text == ART


@pytest.mark.parametrize("refused", [("get", KEY), ("create", IMAGE)])
def test_a_request_fails_at_once_if_the_store_refuses_it_and_the_next_one_is_served(
    tiers: Tiers, refused: tuple[str, str]
) -> None:
    tiers.store.failing = lambda call, key: (call, key) == refused
    tiers.start()
    with pytest.raises(UnavailableError):
        tiers.requester.convert(CAT, OPTIONS)

    tiers.store.failing = lambda _call, _key: False
    assert tiers.requester.convert(CAT, OPTIONS).first.text == ART


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
    assert tiers.requester.convert(CAT, OPTIONS).first.text == ART


def test_art_that_a_full_store_does_not_take_is_served_and_counted(tiers: Tiers) -> None:
    tiers.store.failing = lambda call, _key: call == "put"
    tiers.start()

    served = tiers.requester.convert(CAT, OPTIONS)
    assert (served.first.text, served.source) == (ART, ArtSource.CONVERSION)
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

    assert tiers.requester.convert(CAT, OPTIONS).first.text == ART
    assert tiers.metrics.total(metrics.MESSAGES_FAULTED) == 1
    assert tiers.metrics.total(metrics.ART_UNSTORED) == 0


def shifted(seconds: float) -> Callable[[], float]:
    """Return a clock that is `seconds` fast."""
    return lambda: time.time() + seconds


SKEWS = [-300, -5, 5, 300]
"""Seconds by which a clock is fast. AWS refuses requests signed by a clock more than 300 s off."""


@pytest.mark.parametrize("skew", SKEWS)
def test_a_worker_whose_clock_is_wrong_loses_no_request(tiers: Tiers, skew: float) -> None:
    tiers.responder = tiers.responder_with(clock=shifted(skew))
    tiers.start()

    for width in range(20, 30):
        assert (
            tiers.requester.convert(CAT, ConversionOptions(width=width)).source
            is ArtSource.CONVERSION
        )
    assert tiers.conversions() == 10
    assert tiers.metrics.total(metrics.MESSAGES_EXPIRED) == 0


@pytest.mark.parametrize("skew", [-60, 0, 60])
def test_a_message_that_waited_past_its_deadline_is_dropped_whatever_the_clock(
    tiers: Tiers, skew: float
) -> None:
    tiers.responder = tiers.responder_with(clock=shifted(skew))
    now = time.time()
    tiers.queue.send(tiers.request(published_at=now, deadline=now + 0.1).to_json())
    time.sleep(0.2)  # for the message to expire
    tiers.start()

    wait_until(lambda: tiers.metrics.total(metrics.MESSAGES_EXPIRED) == 1)
    tiers.stop()
    assert tiers.conversions() == 0


@pytest.mark.parametrize(("age", "expired"), [(4.9, 0), (5.1, 1)])
def test_without_an_age_from_the_queue_the_clocks_decide(
    tiers: Tiers, age: float, expired: int
) -> None:
    tiers.responder = tiers.responder_with(clock=lambda: NOW)
    body = tiers.request(published_at=NOW - age, deadline=NOW - age + 5).to_json()
    tiers.responder.process(delivery(body, receive_count=2))

    assert tiers.metrics.total(metrics.MESSAGES_EXPIRED) == expired


NOW = 1_000_000.0
"""Time at which the queue delivers a message, by its own clock."""


class Ages(EmbeddedMetrics):
    """A metrics sink that collects the ages of messages, in seconds."""

    def __init__(self) -> None:
        super().__init__()
        self.recorded: list[float] = []

    def distribution(self, name: str, value: float, **tags: str) -> None:
        super().distribution(name, value, **tags)
        if name == metrics.MESSAGE_AGE:
            self.recorded.append(value / 1000)


@pytest.fixture
def ages(tiers: Tiers) -> Ages:
    tiers.metrics = Ages()
    return tiers.metrics


@pytest.mark.parametrize("web_skew", [-300, -4, 0, 300])
@pytest.mark.parametrize("worker_skew", [-300, -4, 0, 4, 300])
@pytest.mark.parametrize("seconds_in_queue", [0.1, 4.9, 5.1])
def test_the_queue_alone_decides_if_a_message_is_expired(
    tiers: Tiers, ages: Ages, web_skew: float, worker_skew: float, seconds_in_queue: float
) -> None:
    sent_at = NOW - seconds_in_queue
    published_at = sent_at - 0.1 + web_skew
    body = tiers.request(published_at=published_at, deadline=published_at + 5).to_json()
    worker = tiers.responder_with(clock=lambda: NOW + worker_skew)
    worker.process(delivery(body, age_seconds=seconds_in_queue, sent_at=sent_at))

    assert ages.recorded == [pytest.approx(seconds_in_queue)]
    assert ages.total(metrics.MESSAGES_EXPIRED) == (seconds_in_queue > 5)


@pytest.mark.parametrize("skew", [-300, -9, 0, 9, 300])
def test_a_later_delivery_is_judged_by_what_an_earlier_one_told_about_the_clock(
    tiers: Tiers, ages: Ages, skew: float
) -> None:
    body = tiers.request(published_at=NOW, deadline=NOW + 5).to_json()
    queue_time = NOW
    worker = tiers.responder_with(clock=lambda: queue_time + skew)
    worker.process(delivery(body, age_seconds=0.5, sent_at=NOW - 0.5))
    queue_time = NOW + 4
    worker.process(delivery(body, receive_count=3, sent_at=NOW))

    assert ages.recorded == [pytest.approx(0.5), pytest.approx(4)]
    assert ages.total(metrics.MESSAGES_EXPIRED) == 0


def test_the_wait_of_a_throttled_function_makes_a_message_older(tiers: Tiers, ages: Ages) -> None:
    """An earlier delivery rules out a clock that is ahead."""
    body = tiers.request(published_at=NOW, deadline=NOW + 5).to_json()
    queue_time = NOW + 0.5
    worker = tiers.responder_with(clock=lambda: queue_time + 60)
    worker.process(delivery(body, age_seconds=0.5, sent_at=NOW))
    queue_time = NOW + 6
    worker.process(delivery(body, age_seconds=0.5, sent_at=NOW))

    assert ages.recorded == [pytest.approx(0.5), pytest.approx(6)]
    assert ages.total(metrics.MESSAGES_EXPIRED) == 1


@pytest.mark.parametrize(("was", "becomes"), [(60, 0), (0, 60), (-60, 60)])
def test_a_clock_that_is_set_is_trusted_again_after_a_hundred_deliveries(
    was: float, becomes: float
) -> None:
    now = NOW + was
    age = MessageAge(lambda: now)
    age.seconds(NOW, delivery("", age_seconds=0.5, sent_at=NOW - 0.5))
    now = NOW + becomes
    recorded = [
        age.seconds(NOW, delivery("", age_seconds=0.5, sent_at=NOW - 0.5)) for _ in range(101)
    ]

    assert recorded[-1] == pytest.approx(0.5)
    assert age.seconds(NOW, delivery("", receive_count=2, sent_at=NOW - 4)) == pytest.approx(4)


def test_the_start_of_a_function_after_the_delivery_makes_a_message_older(
    tiers: Tiers, ages: Ages
) -> None:
    body = tiers.request(published_at=NOW - 0.5, deadline=NOW + 4.5).to_json()
    tiers.responder_with(clock=lambda: NOW + 1.5).process(
        delivery(body, age_seconds=0.5, sent_at=NOW - 0.5)
    )

    assert ages.recorded == [pytest.approx(2)]


@pytest.mark.parametrize("web_skew", [-300, 0, 300])
def test_a_message_moved_back_from_the_dead_letter_queue_is_expired(
    tiers: Tiers, ages: Ages, web_skew: float
) -> None:
    """The request queue treats it as a new message."""
    published_at = NOW - 3600 + web_skew
    body = tiers.request(published_at=published_at, deadline=published_at + 5).to_json()
    tiers.responder_with(clock=lambda: NOW).process(delivery(body, age_seconds=1, sent_at=NOW - 1))

    assert ages.total(metrics.MESSAGES_EXPIRED) == 1
    assert tiers.conversions() == 0


def test_a_queue_that_tells_no_time_leaves_it_to_the_clocks(tiers: Tiers, ages: Ages) -> None:
    body = tiers.request(published_at=NOW, deadline=NOW + 5).to_json()
    for seconds in (2, -58):
        tiers.responder_with(clock=lambda seconds=seconds: NOW + seconds).process(delivery(body))

    assert ages.recorded == [2, 0]
