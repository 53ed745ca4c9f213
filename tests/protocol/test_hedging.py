"""An overdue request is published again: it survives the loss of its worker, and without faults
hardly any image is converted twice."""

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace

import pytest

from asciist.conversion import ConversionOptions
from asciist.errors import ArtifactNotFoundError, DeadlineExceededError, UnavailableError
from asciist.protocol import hedging as module
from asciist.protocol.artifacts import StoredArt, art_key, digest_of, image_key
from asciist.protocol.hedging import Hedging
from asciist.protocol.messages import ConversionReply, ConversionRequest
from asciist.protocol.ports import Delivery
from asciist.protocol.served import ArtSource, ServedArt
from asciist.telemetry import metrics
from tests.protocol.tiers import ART, CAT, KEY, OPTIONS, Tiers, delivery
from tools.testing.images import encoded, gradient


@pytest.fixture
def tiers(request: pytest.FixtureRequest) -> Iterator[Tiers]:
    """Both tiers, with the arguments of an indirect parameter if there is one. A reply is overdue
    after 0.5 s."""
    tiers = Tiers(**getattr(request, "param", {"timeout_seconds": 20, "overdue_seconds": 0.5}))
    yield tiers
    tiers.stop()


@pytest.fixture
def hasty() -> Iterator[Tiers]:
    """`tiers` with a timeout of 2 s, for requests that are to fail."""
    tiers = Tiers(timeout_seconds=2, overdue_seconds=0.5)
    yield tiers
    tiers.stop()


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as pool:
        yield pool


def request_art(tiers: Tiers, pool: ThreadPoolExecutor) -> tuple["Future[ServedArt]", Delivery]:
    """Request art, and take its message from the queue, like a worker that is killed before
    deleting the message."""
    answer = pool.submit(tiers.requester.convert, CAT, OPTIONS)
    (taken,) = tiers.queue.receive(max_messages=1, wait_seconds=15)
    return answer, taken


def hedged(tiers: Tiers) -> dict[str, int]:
    """Return the number of overdue requests by outcome."""
    outcomes = ("first", "repeat", "store", "nothing", "throttled")
    totals = {
        outcome: tiers.metrics.total(metrics.REQUESTS_HEDGED, outcome=outcome)
        for outcome in outcomes
    }
    return {outcome: total for outcome, total in totals.items() if total}


def messages(tiers: Tiers) -> list[ConversionRequest]:
    """Take all messages from the queue."""
    return [
        ConversionRequest.from_json(d.body)
        for d in tiers.queue.receive(max_messages=100, wait_seconds=0)
    ]


def test_an_image_that_expires_before_it_is_read_is_stored_again_and_converted(
    tiers: Tiers, pool: ThreadPoolExecutor
) -> None:
    answer, taken = request_art(tiers, pool)
    tiers.store.delete(image_key(digest_of(CAT)))
    tiers.responder.process(replace(taken, receive_count=3))
    tiers.start()

    assert answer.result().first.text == ART
    assert tiers.metrics.total(metrics.IMAGES_GONE) == 1
    assert hedged(tiers) == {"repeat": 1}


def test_a_request_is_published_again_although_its_image_cannot_be_stored_again(
    tiers: Tiers, pool: ThreadPoolExecutor
) -> None:
    answer, _ = request_art(tiers, pool)
    tiers.store.failing = lambda call, _key: call == "create"
    tiers.start()

    assert answer.result().first.text == ART
    assert hedged(tiers) == {"repeat": 1}


def test_a_message_without_an_image_is_delivered_again_before_it_is_dropped(tiers: Tiers) -> None:
    """Another worker may be allowed to read the image. A message is dropped before it becomes a
    dead letter."""
    request = tiers.request()
    tiers.store.delete(image_key(digest_of(CAT)))
    for receive_count in (1, 2):
        with pytest.raises(ArtifactNotFoundError):
            tiers.responder.process(delivery(request.to_json(), receive_count=receive_count))
    tiers.responder.process(delivery(request.to_json(), receive_count=3))

    assert tiers.metrics.total(metrics.IMAGES_GONE) == 1


@pytest.mark.parametrize("tiers", [{"timeout_seconds": 3, "overdue_seconds": 0.1}], indirect=True)
def test_an_animation_that_takes_long_is_published_once(tiers: Tiers) -> None:
    with pytest.raises(DeadlineExceededError):
        tiers.requester.convert(CAT, replace(OPTIONS, animate=True))

    assert [message.attempt for message in messages(tiers)] == [1]
    assert hedged(tiers) == {}


def test_a_request_whose_worker_is_killed_is_served_by_another_worker(
    tiers: Tiers, pool: ThreadPoolExecutor
) -> None:
    """The message stays invisible for 30 s, so only the repeat can be converted."""
    answer, _ = request_art(tiers, pool)
    tiers.start()

    served = answer.result()
    assert (served.first.text, served.source) == (ART, ArtSource.CONVERSION)
    assert hedged(tiers) == {"repeat": 1}
    assert tiers.conversions() == 1
    assert tiers.metrics.total(metrics.REPLIES_ORPHANED) == 0


@pytest.mark.parametrize("tiers", [{"timeout_seconds": 5, "overdue_seconds": 0.5}], indirect=True)
def test_a_request_without_a_worker_is_published_three_times_and_then_fails(tiers: Tiers) -> None:
    with pytest.raises(DeadlineExceededError):
        tiers.requester.convert(CAT, OPTIONS)

    first, second, third = messages(tiers)
    assert [first.attempt, second.attempt, third.attempt] == [1, 2, 3]
    assert (
        len(
            {
                (m.correlation_id, m.reply_to, m.digest, m.options, m.deadline)
                for m in (first, second, third)
            }
        )
        == 1
    )
    assert first.published_at < second.published_at < third.published_at < first.deadline
    assert hedged(tiers) == {"nothing": 1}


def test_a_request_is_not_published_again_when_too_little_time_is_left(hasty: Tiers) -> None:
    for _ in range(3):
        # the usual time of a conversion
        hasty.requester._hedging.record_reply(published_at=0, now=1.5)

    with pytest.raises(DeadlineExceededError):
        hasty.requester.convert(CAT, OPTIONS)
    assert len(messages(hasty)) == 1
    assert hedged(hasty) == {}


def test_after_a_lost_reply_the_stored_art_is_served_without_another_message(
    tiers: Tiers, pool: ThreadPoolExecutor
) -> None:
    answer, _ = request_art(tiers, pool)
    tiers.store.put(KEY, StoredArt(ART).to_json())

    assert answer.result().first.text == ART
    assert messages(tiers) == []
    assert hedged(tiers) == {"store": 1}


def test_a_late_reply_to_the_first_message_answers_the_request(
    tiers: Tiers, pool: ThreadPoolExecutor
) -> None:
    answer, first = request_art(tiers, pool)
    (repeat,) = tiers.queue.receive(max_messages=1, wait_seconds=15)
    tiers.responder.process(first)

    assert answer.result().first.text == ART
    assert hedged(tiers) == {"first": 1}
    tiers.responder.process(repeat)
    assert tiers.metrics.total(metrics.REPLIES_ORPHANED) == 0
    assert tiers.conversions() == 1


def test_only_replies_beyond_the_number_of_messages_are_orphaned(
    tiers: Tiers, pool: ThreadPoolExecutor
) -> None:
    answer, first = request_art(tiers, pool)
    (repeat,) = tiers.queue.receive(max_messages=1, wait_seconds=15)
    for received in (repeat, first, repeat):
        tiers.responder.process(received)

    assert answer.result().first.text == ART
    assert hedged(tiers) == {"repeat": 1}
    assert tiers.metrics.total(metrics.REPLIES_ORPHANED) == 1


def test_replies_after_the_deadline_of_a_repeated_request_are_orphaned(
    hasty: Tiers, pool: ThreadPoolExecutor
) -> None:
    answer, first = request_art(hasty, pool)
    with pytest.raises(DeadlineExceededError):
        answer.result()
    request = ConversionRequest.from_json(first.body)
    for attempt in (1, 2):
        reply = ConversionReply(correlation_id=request.correlation_id, art=ART, attempt=attempt)
        hasty.replies.send(request.reply_to, reply)

    assert hasty.metrics.total(metrics.REPLIES_ORPHANED) == 2


def test_a_repeat_of_a_request_whose_art_is_stored_is_not_converted(tiers: Tiers) -> None:
    tiers.responder.process(delivery(tiers.request().to_json()))
    with tiers.replies.expect("test") as pending:
        tiers.responder.process(delivery(tiers.request(attempt=2).to_json()))

        assert pending.wait(0) == ConversionReply(correlation_id="test", art=ART, attempt=2)
    assert tiers.conversions() == 1


def test_a_reply_of_a_release_without_attempts_answers_a_repeated_request(
    tiers: Tiers, pool: ThreadPoolExecutor
) -> None:
    answer, first = request_art(tiers, pool)
    tiers.queue.receive(max_messages=1, wait_seconds=15)
    request = ConversionRequest.from_json(first.body)
    tiers.replies.send(
        request.reply_to, ConversionReply(correlation_id=request.correlation_id, art=ART)
    )

    assert answer.result().first.text == ART


def test_a_queue_that_refuses_the_repeat_does_not_fail_the_request(
    tiers: Tiers, pool: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused: list[str] = []

    def refuse(body: str) -> None:
        refused.append(body)
        tiers.responder.process(first)
        raise UnavailableError("injected failure of send")

    answer, first = request_art(tiers, pool)
    monkeypatch.setattr(tiers.queue, "send", refuse)

    assert answer.result().first.text == ART
    assert len(refused) == 1


def test_a_store_that_fails_when_a_reply_is_overdue_does_not_fail_the_request(
    tiers: Tiers, pool: ThreadPoolExecutor
) -> None:
    answer, _ = request_art(tiers, pool)
    tiers.store.failing = lambda call, key: (call, key) == ("get", KEY) and tiers.conversions() == 0
    (repeat,) = tiers.queue.receive(max_messages=1, wait_seconds=15)
    tiers.store.failing = lambda _call, _key: False
    tiers.responder.process(repeat)

    assert answer.result().first.text == ART


def test_a_spent_budget_allows_no_repeats(hasty: Tiers) -> None:
    while hasty.requester._hedging.take(published_at=-1):
        pass

    with pytest.raises(DeadlineExceededError):
        hasty.requester.convert(CAT, OPTIONS)
    assert len(messages(hasty)) == 1
    assert hedged(hasty) == {"throttled": 1}


def test_without_faults_no_request_is_published_again(
    tiers: Tiers, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A busy machine may delay a reply by more than a second.
    monkeypatch.setattr(module, "_MIN_OVERDUE_SECONDS", 15)
    tiers.requester._hedging._max_overdue_seconds = 15
    tiers.start()
    image = encoded(gradient(80, 60), "PNG")
    for width in range(1, 201):
        tiers.requester.convert(image, ConversionOptions(width=width, style="ramp"))

    assert tiers.conversions() == 200
    assert hedged(tiers) == {}
    assert (
        tiers.store.calls.count(
            ("get", art_key(digest_of(image), ConversionOptions(width=9, style="ramp")))
        )
        == 1
    )


class TestHedging:
    """Limits of Hedging for a request timeout of 10 s."""

    @pytest.fixture
    def hedging(self) -> Hedging:
        return Hedging(10)

    def test_at_most_one_request_in_a_hundred_is_repeated_beyond_the_initial_budget(
        self, hedging: Hedging
    ) -> None:
        repeats = 0
        for _ in range(10_000):
            hedging.record_request()
            repeats += hedging.take(published_at=OVERTAKEN)

        assert 100 <= repeats <= 110

    def test_the_budget_does_not_grow_beyond_its_maximum(self, hedging: Hedging) -> None:
        for _ in range(10_000):
            hedging.record_request()
            hedging.give_back()

        assert sum(hedging.take(published_at=OVERTAKEN) for _ in range(1000)) == 10

    def test_half_of_the_budget_is_reserved_for_requests_that_later_ones_have_overtaken(
        self, hedging: Hedging
    ) -> None:
        """In an overload, all requests wait, and must not use up the budget that a killed worker's
        requests need."""
        now = 1_000_000.0
        hedging.record_reply(published_at=now, now=now + 0.1)

        assert sum(hedging.take(published_at=now - 0.9) for _ in range(100)) == 5
        assert sum(hedging.take(published_at=now - 1.1) for _ in range(100)) == 5

    def test_before_fifty_replies_a_reply_is_overdue_after_a_quarter_of_the_timeout(
        self, hedging: Hedging
    ) -> None:
        assert hedging.overdue_seconds() == 2.5
        record(hedging, [0.1] * 49)
        assert hedging.overdue_seconds() == 2.5

    @pytest.mark.parametrize(("wait", "overdue"), [(0.02, 1), (0.5, 1.5), (3, 2.5)])
    def test_a_reply_is_overdue_after_three_times_the_usual_maximum_within_bounds(
        self, hedging: Hedging, wait: float, overdue: float
    ) -> None:
        record(hedging, ([wait] + [wait / 100] * 49) * 10)

        assert hedging.overdue_seconds() == pytest.approx(overdue)

    def test_one_slow_reply_in_five_hundred_does_not_delay_repeats(self, hedging: Hedging) -> None:
        record(hedging, [0.4] * 250 + [9] + [0.4] * 249)

        assert hedging.overdue_seconds() == pytest.approx(1.2)

    def test_old_replies_are_forgotten(self, hedging: Hedging) -> None:
        record(hedging, [0.8] * 500 + [0.4] * 500)

        assert hedging.overdue_seconds() == pytest.approx(1.2)
        assert hedging.usual_seconds() == 0.4


OVERTAKEN = -1.0
"""Time of a message overtaken by others, even before any was answered."""


def record(hedging: Hedging, waits: list[float]) -> None:
    for wait in waits:
        hedging.record_reply(published_at=0, now=wait)
