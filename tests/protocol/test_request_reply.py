"""Requester and Responder together: duplicate, late, lost and malformed messages, and failing
dependencies."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from asciist.adapters.embedded import EmbeddedQueue
from asciist.conversion import ConversionOptions
from asciist.errors import (
    ArtifactNotFoundError,
    DeadlineExceededError,
    ImageRejectedError,
    MalformedMessageError,
    UnavailableError,
)
from asciist.limits import Limits
from asciist.protocol.artifacts import StoredArt, art_key, digest_of, image_key
from asciist.protocol.messages import ConversionReply, ConversionRequest
from asciist.protocol.requester import Requester
from asciist.protocol.served import ArtSource
from asciist.telemetry import metrics
from tests.protocol.tiers import ART, CAT, KEY, OPTIONS, Tiers, delivery
from tests.waiting import wait_until
from tools.testing.drawing import convert
from tools.testing.images import encoded, gradient

SHORT_TIMEOUT = pytest.mark.parametrize("tiers", [{"timeout_seconds": 0.3}], indirect=True)


def test_a_request_is_answered_with_its_art(tiers: Tiers) -> None:
    tiers.start()

    served = tiers.requester.convert(CAT, OPTIONS)

    assert (served.first.text, served.source) == (ART, ArtSource.CONVERSION)
    assert StoredArt.from_json(tiers.store.get(KEY)) == StoredArt(ART)
    assert tiers.store.get(image_key(digest_of(CAT))) == CAT


def test_stored_art_is_served_without_a_message(tiers: Tiers) -> None:
    tiers.start()
    tiers.requester.convert(CAT, OPTIONS)
    tiers.stop()

    served = tiers.requester.convert(CAT, OPTIONS)

    assert (served.first.text, served.source) == (ART, ArtSource.STORE)
    assert tiers.conversions() == 1


def test_a_stored_image_is_not_written_again_for_another_width(tiers: Tiers) -> None:
    tiers.start()
    tiers.requester.convert(CAT, OPTIONS)
    served = tiers.requester.convert(CAT, ConversionOptions(width=40))

    assert served.source is ArtSource.CONVERSION
    assert len(served.first.text.split("\n")[0]) == 40


def test_a_short_link_is_stored_once_under_the_first_code_that_stands_for_no_other_art(
    tiers: Tiers,
) -> None:
    codes = ["aaaa-aaaa-aaaa", "bbbb-bbbb-bbbb"]

    assert tiers.requester.store_link(codes, "/one") == codes[0]
    assert tiers.requester.store_link(codes, "/other") == codes[1]
    tiers.store.calls.clear()
    assert tiers.requester.store_link(codes, "/one") == codes[0]
    assert [tiers.requester.find_link(code) for code in codes] == ["/one", "/other"]
    assert {call for call, _ in tiers.store.calls} == {"get"}
    with pytest.raises(ArtifactNotFoundError):
        tiers.requester.find_link("cccc-cccc-cccc")


def test_converting_costs_four_store_calls_and_serving_stored_art_costs_one(tiers: Tiers) -> None:
    tiers.start()
    image = image_key(digest_of(CAT))

    tiers.requester.convert(CAT, OPTIONS)
    assert tiers.store.calls == [("get", KEY), ("create", image), ("get", image), ("put", KEY)]

    tiers.store.calls.clear()
    tiers.requester.convert(CAT, OPTIONS)
    assert tiers.store.calls == [("get", KEY)]


def test_a_stored_image_is_converted_again_without_an_upload(tiers: Tiers) -> None:
    tiers.start()
    tiers.requester.convert(CAT, OPTIONS)
    tiers.store.calls.clear()
    options = ConversionOptions(width=21)
    image, key = image_key(digest_of(CAT)), art_key(digest_of(CAT), options)

    served = tiers.requester.convert_stored_image(digest_of(CAT), options)
    assert (served.first.text, served.source) == (
        convert(CAT, options, Limits()),
        ArtSource.CONVERSION,
    )
    assert tiers.store.calls == [("get", key), ("exists", image), ("get", image), ("put", key)]

    tiers.store.calls.clear()
    assert tiers.requester.convert_stored_image(digest_of(CAT), options).source is ArtSource.STORE
    assert tiers.store.calls == [("get", key)]


def test_converting_an_image_that_is_not_stored_fails_without_a_message(tiers: Tiers) -> None:
    with pytest.raises(ArtifactNotFoundError):
        tiers.requester.convert_stored_image(digest_of(CAT), OPTIONS)

    assert tiers.queue.receive(max_messages=1, wait_seconds=0) == []


def test_an_upload_that_joins_a_failing_request_without_an_image_is_served(tiers: Tiers) -> None:
    """The leader of the single flight gives the digest of an image that is not stored; the follower
    uploads the image."""
    is_looking_up, may_continue = threading.Event(), threading.Event()

    def hold(call: str, _key: str) -> bool:
        if call == "exists":
            is_looking_up.set()
            may_continue.wait(60)
        return False

    tiers.store.failing = hold
    tiers.start()
    with ThreadPoolExecutor(2) as pool:
        leader = pool.submit(tiers.requester.convert_stored_image, digest_of(CAT), OPTIONS)
        assert is_looking_up.wait(60)
        follower = pool.submit(tiers.requester.convert, CAT, OPTIONS)
        time.sleep(0.1)  # for the follower to join the request in flight
        may_continue.set()

        with pytest.raises(ArtifactNotFoundError):
            leader.result()
        assert follower.result().first.text == ART


def test_art_over_the_size_limit_is_refused_for_a_stored_image_too(tiers: Tiers) -> None:
    tiers.start()
    tall = encoded(gradient(8, 4000), "PNG")
    tiers.requester.convert(tall, ConversionOptions(width=8))

    with pytest.raises(ImageRejectedError, match="choose a smaller width"):
        tiers.requester.convert_stored_image(
            digest_of(tall), ConversionOptions(width=1000, color="html")
        )


def test_an_image_that_cannot_be_converted_costs_no_store_call(tiers: Tiers) -> None:
    with pytest.raises(ImageRejectedError):
        tiers.requester.convert(b"not an image", OPTIONS)

    assert tiers.store.calls == []


def test_art_of_another_engine_version_is_converted_again(tiers: Tiers) -> None:
    tiers.start()
    tiers.store.put(KEY, b'{"engine":0,"art":"old"}')

    assert tiers.requester.convert(CAT, OPTIONS).first.text == ART
    assert StoredArt.from_json(tiers.store.get(KEY)) == StoredArt(ART)


@pytest.mark.parametrize(
    "damage", [b"", b"[]", b"\xff\xfe", b'{"engine":1}', b'{"engine":1,"art":5}']
)
def test_a_damaged_artifact_counts_as_absent(tiers: Tiers, damage: bytes) -> None:
    tiers.start()
    tiers.store.put(KEY, damage)

    assert tiers.requester.convert(CAT, OPTIONS).first.text == ART


def test_a_message_delivered_twice_is_converted_once_and_replied_to_twice(tiers: Tiers) -> None:
    body = tiers.request().to_json()
    with tiers.replies.expect("test") as pending:
        tiers.responder.process(delivery(body))
        tiers.responder.process(delivery(body, receive_count=2))

        assert pending.wait(0) == ConversionReply(correlation_id="test", art=ART)
    assert tiers.conversions() == 1
    assert tiers.metrics.total(metrics.REPLIES_ORPHANED) == 1


def test_a_reply_that_arrives_before_the_wait_is_not_lost(tiers: Tiers) -> None:
    class QueueThatRepliesDuringSend(EmbeddedQueue):
        def send(self, body: str) -> None:
            tiers.responder.process(delivery(body))

    requester = Requester(
        store=tiers.store,
        queue=QueueThatRepliesDuringSend(visibility_seconds=1, max_receive_count=1),
        inbox=tiers.replies,
        metrics=tiers.metrics,
        limits=Limits(),
        timeout_seconds=5,
    )

    assert requester.convert(CAT, OPTIONS).first.text == ART


@SHORT_TIMEOUT
def test_a_reply_after_the_deadline_is_orphaned_and_the_request_times_out(tiers: Tiers) -> None:
    with pytest.raises(DeadlineExceededError):
        tiers.requester.convert(CAT, OPTIONS)
    (delivery,) = tiers.queue.receive(max_messages=1, wait_seconds=1)
    request = ConversionRequest.from_json(delivery.body)

    tiers.replies.send(
        request.reply_to, ConversionReply(correlation_id=request.correlation_id, art=ART)
    )

    assert tiers.metrics.total(metrics.REPLIES_ORPHANED) == 1


@pytest.mark.parametrize("tiers", [{"timeout_seconds": 20, "overdue_seconds": 0.3}], indirect=True)
def test_after_a_lost_reply_the_art_is_found_in_the_store(tiers: Tiers) -> None:
    class LostReplies:
        def send(self, reply_to: str, reply: ConversionReply) -> None:
            pass

    tiers.responder = tiers.responder_with(replies=LostReplies())
    tiers.start()

    assert tiers.requester.convert(CAT, OPTIONS).first.text == ART


def test_art_too_large_for_a_reply_is_fetched_from_the_store(tiers: Tiers) -> None:
    class NarrowReplies:
        def send(self, reply_to: str, reply: ConversionReply) -> None:
            tiers.replies.send(reply_to, reply.without_art())

    tiers.responder = tiers.responder_with(replies=NarrowReplies())
    tiers.start()

    assert tiers.requester.convert(CAT, OPTIONS).first.text == ART


def test_a_damaged_image_is_rejected_by_a_reply_without_redelivery(tiers: Tiers) -> None:
    tiers.start()
    # the header is intact, so only the worker finds the damage
    damaged = encoded(gradient(300, 200), "JPEG")[:-800]

    with pytest.raises(ImageRejectedError, match="the image is damaged and cannot be decoded"):
        tiers.requester.convert(damaged, OPTIONS)

    tiers.stop()
    assert tiers.metrics.total(metrics.MESSAGES_FAULTED) == 0
    assert not tiers.queue.dead_letters


def test_an_image_that_the_store_returns_damaged_is_not_converted(tiers: Tiers) -> None:
    tiers.responder = tiers.responder_with(backoff=lambda _receive_count: 0.01)
    # intact, but another image
    tiers.store.put(image_key(digest_of(CAT)), encoded(gradient(30, 20), "JPEG"))
    tiers.queue.send(body := tiers.request().to_json())
    tiers.start()

    wait_until(lambda: list(tiers.queue.dead_letters) == [body])
    assert tiers.metrics.total(metrics.MESSAGES_FAULTED) == 5
    assert ("put", KEY) not in tiers.store.calls


def test_an_image_that_was_damaged_on_its_way_is_read_again(tiers: Tiers) -> None:
    image = image_key(digest_of(CAT))
    intact = tiers.store.get
    damaged = iter([CAT[:-1]])
    # Injects a fault.
    tiers.store.get = lambda key: next(damaged, CAT) if key == image else intact(key)  # type: ignore[method-assign]
    tiers.start()

    assert tiers.requester.convert(CAT, OPTIONS).first.text == ART
    assert tiers.metrics.total(metrics.MESSAGES_FAULTED) == 1


def test_a_transient_fault_is_retried_within_the_deadline(tiers: Tiers) -> None:
    faults = iter([True, True])
    image = image_key(digest_of(CAT))
    tiers.store.failing = lambda call, key: (call, key) == ("get", image) and next(faults, False)
    tiers.start()

    assert tiers.requester.convert(CAT, OPTIONS).first.text == ART
    assert tiers.metrics.total(metrics.MESSAGES_FAULTED) == 2


def test_a_persistent_fault_ends_as_a_dead_letter(tiers: Tiers) -> None:
    tiers.responder = tiers.responder_with(backoff=lambda _receive_count: 0.01)
    tiers.store.failing = lambda call, _key: call == "get"
    body = tiers.request().to_json()
    tiers.queue.send(body)
    tiers.start()

    wait_until(lambda: list(tiers.queue.dead_letters) == [body])
    assert tiers.metrics.total(metrics.MESSAGES_FAULTED) == 5


def test_a_malformed_message_ends_as_a_dead_letter(tiers: Tiers) -> None:
    tiers.responder = tiers.responder_with(backoff=lambda _receive_count: 0.01)
    tiers.queue.send("{malformed")
    tiers.start()

    wait_until(lambda: list(tiers.queue.dead_letters) == ["{malformed"])


def test_the_worker_survives_a_malformed_message(tiers: Tiers) -> None:
    tiers.queue.send("{malformed")
    tiers.start()

    assert tiers.requester.convert(CAT, OPTIONS).first.text == ART


def test_a_message_past_its_deadline_is_dropped_and_counted(tiers: Tiers) -> None:
    tiers.queue.send(tiers.request(deadline=time.time() - 0.1).to_json())
    tiers.start()

    wait_until(lambda: tiers.metrics.total(metrics.MESSAGES_EXPIRED) == 1)
    tiers.stop()
    assert tiers.conversions() == 0
    assert not tiers.queue.dead_letters
    with pytest.raises(ArtifactNotFoundError):
        tiers.store.get(KEY)


def test_a_reply_to_a_stopped_process_is_counted_as_orphaned_and_the_art_is_stored(
    tiers: Tiers,
) -> None:
    tiers.responder.process(delivery(tiers.request(reply_to="embedded:gone").to_json()))

    assert tiers.metrics.total(metrics.REPLIES_ORPHANED) == 1
    assert StoredArt.from_json(tiers.store.get(KEY)) == StoredArt(ART)


def test_identical_concurrent_requests_cost_one_conversion(tiers: Tiers) -> None:
    tiers.start(threads=4)
    start = threading.Barrier(32)

    def request_art(_number: int) -> tuple[str, ArtSource]:
        start.wait()
        served = tiers.requester.convert(CAT, OPTIONS)
        return served.first.text, served.source

    with ThreadPoolExecutor(32) as pool:
        answers = list(pool.map(request_art, range(32)))

    assert {art for art, _ in answers} == {ART}
    assert [source for _, source in answers].count(ArtSource.CONVERSION) == 1
    assert tiers.conversions() == 1


@SHORT_TIMEOUT
def test_a_request_that_joined_an_identical_one_keeps_its_own_deadline(tiers: Tiers) -> None:
    """The leader times out first; the follower has time left and is served once a worker starts."""
    with ThreadPoolExecutor(2) as pool:
        leader = pool.submit(tiers.requester.convert, CAT, OPTIONS)
        time.sleep(0.2)
        tiers.extend_timeout()
        follower = pool.submit(tiers.requester.convert, CAT, OPTIONS)
        with pytest.raises(DeadlineExceededError):
            leader.result()
        tiers.start()
        assert follower.result().first.text == ART


def test_after_a_store_failure_the_next_request_is_served(tiers: Tiers) -> None:
    tiers.start()
    tiers.store.failing = lambda call, _key: call == "create"
    with pytest.raises(UnavailableError):
        tiers.requester.convert(CAT, OPTIONS)

    tiers.store.failing = lambda _call, _key: False
    assert tiers.requester.convert(CAT, OPTIONS).first.text == ART


@pytest.mark.parametrize(
    "body",
    [
        "",
        "[]",
        "null",
        "[" * 100_000,
        '{"version":2}',
        '{"version":1,"correlation_id":"a","key":"../../etc/passwd","width":1,"style":"ramp","deadline":1,"reply_to":"x"}',
        '{"version":1,"correlation_id":"a","key":"%s/image","width":true,"style":"ramp","deadline":1,"reply_to":"x"}'
        % ("0" * 64),
        '{"version":1,"correlation_id":"a","key":"%s/image","width":1,"style":"ramp","deadline":1e999,"reply_to":"x"}'
        % ("0" * 64),
    ],
)
def test_a_message_with_an_invalid_field_or_version_is_malformed(tiers: Tiers, body: str) -> None:
    with pytest.raises(MalformedMessageError):
        tiers.responder.process(delivery(body))


def test_messages_survive_a_round_trip_through_json(tiers: Tiers) -> None:
    request = tiers.request()
    assert ConversionRequest.from_json(request.to_json()) == request
    for reply in (
        ConversionReply(correlation_id="a", art="@\n "),
        ConversionReply(correlation_id="a"),
        ConversionReply(correlation_id="a", rejection="too many pixels"),
    ):
        assert ConversionReply.from_json(reply.to_json()) == reply
