"""Contract of ReplyInbox and ReplySender, run on every reply path. A new reply path is one more
parameter."""

import threading
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial

import pytest

from asciist.adapters.aws import Sqs, SqsReplyInbox, SqsReplySender
from asciist.adapters.callback import CallbackInbox, CallbackSender
from asciist.adapters.embedded import EmbeddedMetrics, EmbeddedReplies
from asciist.adapters.object_store import ObjectStore
from asciist.adapters.reply_paths import ReplyToAnyAddress
from asciist.errors import ReplyAddressGoneError
from asciist.protocol.messages import ConversionReply
from asciist.protocol.ports import ReplyInbox, ReplySender
from asciist.settings import parse_networks
from asciist.telemetry import metrics


@dataclass
class ReplyPath:
    """Reply path under test: the inbox of one web process, the sender of a worker, and recorded
    metrics."""

    inbox: ReplyInbox
    sender: ReplySender
    metrics: EmbeddedMetrics
    close: Callable[[], None]


def embedded(_request: pytest.FixtureRequest) -> ReplyPath:
    recorded = EmbeddedMetrics()
    replies = EmbeddedReplies(recorded)
    return ReplyPath(replies, replies, recorded, replies.close)


def callback(_request: pytest.FixtureRequest, ports: range = range(28_000, 28_016)) -> ReplyPath:
    recorded = EmbeddedMetrics()
    inbox = CallbackInbox(host="127.0.0.1", ports=ports, metrics=recorded)
    return ReplyPath(
        inbox,
        CallbackSender(ports=ports, networks=parse_networks("127.0.0.0/8")),
        recorded,
        inbox.close,
    )


def queue(request: pytest.FixtureRequest) -> ReplyPath:
    request.getfixturevalue("aws")
    recorded = EmbeddedMetrics()
    sqs = Sqs()
    inbox = SqsReplyInbox(
        prefix=f"reply-{uuid.uuid4().hex[:8]}-",
        instance="ip-10-0-0-5.internal",
        retention_seconds=60,
        sqs=sqs,
        registry_store=ObjectStore.in_memory(),
        metrics=recorded,
        settle_seconds=0,
    )
    return ReplyPath(inbox, SqsReplySender(sqs), recorded, inbox.close)


OTHER_PORTS = range(28_300, 28_316)
"""Additional ports: a port used by a test stays occupied for a minute."""


def chosen_by_address(
    path: Callable[[pytest.FixtureRequest], ReplyPath],
) -> Callable[[pytest.FixtureRequest], ReplyPath]:
    """Return a reply path with the sender used by workers, which supports both paths."""

    def with_any_address(request: pytest.FixtureRequest) -> ReplyPath:
        request.getfixturevalue("aws")
        sqs = Sqs()
        sender = ReplyToAnyAddress(
            request_queue_url=sqs.client.create_queue(QueueName=uuid.uuid4().hex)["QueueUrl"],
            queues=SqsReplySender(sqs),
            callbacks=CallbackSender(ports=OTHER_PORTS, networks=parse_networks("127.0.0.0/8")),
        )
        return replace(path(request), sender=sender)

    return with_any_address


PATHS: dict[str, Callable[[pytest.FixtureRequest], ReplyPath]] = {
    "embedded": embedded,
    "callback": callback,
    "queue": queue,
    "callback, chosen by its address": chosen_by_address(partial(callback, ports=OTHER_PORTS)),
    "queue, chosen by its address": chosen_by_address(queue),
}


@pytest.fixture(params=PATHS)
def path(request: pytest.FixtureRequest) -> Iterator[ReplyPath]:
    path = PATHS[request.param](request)
    yield path
    path.close()


def done(correlation_id: str, art: str = "@") -> ConversionReply:
    return ConversionReply(correlation_id=correlation_id, art=art)


def test_a_reply_ends_the_wait_for_it(path: ReplyPath) -> None:
    with path.inbox.expect("a") as pending:
        threading.Timer(0.1, path.sender.send, [pending.reply_to, done("a")]).start()
        assert pending.wait(120) == done("a")


def test_a_reply_that_arrives_before_the_wait_is_kept(path: ReplyPath) -> None:
    with path.inbox.expect("a") as pending:
        path.sender.send(pending.reply_to, done("a"))
        assert pending.wait(60) == done("a")


def test_replies_in_any_order_reach_their_own_requests(path: ReplyPath) -> None:
    with path.inbox.expect("a") as first, path.inbox.expect("b") as second:
        path.sender.send(second.reply_to, done("b", "second"))
        path.sender.send(first.reply_to, done("a", "first"))
        assert [pending.wait(60) for pending in (first, second)] == [
            done("a", "first"),
            done("b", "second"),
        ]


def test_many_concurrent_replies_all_arrive(path: ReplyPath) -> None:
    def request(number: int) -> None:
        with path.inbox.expect(str(number)) as pending:
            path.sender.send(pending.reply_to, done(str(number)))
            answers.append(pending.wait(60))

    answers: list[ConversionReply | None] = []
    threads = [threading.Thread(target=request, args=(number,)) for number in range(40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(answer.correlation_id for answer in answers if answer) == sorted(
        map(str, range(40))
    )


def test_a_rejection_is_delivered(path: ReplyPath) -> None:
    rejection = ConversionReply(correlation_id="a", rejection="the image is damaged")
    with path.inbox.expect("a") as pending:
        path.sender.send(pending.reply_to, rejection)
        assert pending.wait(60) == rejection


def test_a_large_reply_arrives_with_or_without_its_art(path: ReplyPath) -> None:
    huge = done("a", "@" * 3_000_000)
    with path.inbox.expect("a") as pending:
        path.sender.send(pending.reply_to, huge)
        assert pending.wait(60) in (huge, huge.without_art())


def test_a_wait_without_a_reply_times_out(path: ReplyPath) -> None:
    with path.inbox.expect("a") as pending:
        assert pending.wait(0.05) is None


def test_a_late_reply_is_counted_as_orphaned(path: ReplyPath) -> None:
    with path.inbox.expect("a") as pending:
        pending.wait(0)

    assert orphans(path, [(pending.reply_to, done("a"))]) == 1


def test_the_second_of_two_replies_is_counted_as_orphaned(path: ReplyPath) -> None:
    with path.inbox.expect("a") as pending:
        assert orphans(path, [(pending.reply_to, done("a")), (pending.reply_to, done("a"))]) == 1
        assert pending.wait(60) == done("a")


def test_a_second_reply_to_a_repeated_request_is_not_orphaned_but_a_third_is(
    path: ReplyPath,
) -> None:
    with path.inbox.expect("a") as pending:
        pending.expect_another()
        replies = [(pending.reply_to, done("a", art)) for art in ("first", "second", "third")]
        assert orphans(path, replies[:2]) == 0
        assert orphans(path, replies[2:]) == 1
        assert pending.wait(60) == done("a", "first")


def test_a_second_reply_after_the_end_of_a_repeated_request_is_not_orphaned(
    path: ReplyPath,
) -> None:
    with path.inbox.expect("a") as pending:
        pending.expect_another()
        path.sender.send(pending.reply_to, done("a"))
        assert pending.wait(60)

    assert orphans(path, [(pending.reply_to, done("a"))]) == 0


def test_the_first_reply_after_the_deadline_of_a_repeated_request_is_orphaned(
    path: ReplyPath,
) -> None:
    with path.inbox.expect("a") as pending:
        pending.expect_another()

    assert orphans(path, [(pending.reply_to, done("a"))]) == 1


def test_a_reply_of_the_maximum_size_keeps_its_art(path: ReplyPath) -> None:
    size = min(path.sender.max_reply_bytes, 2_000_000)
    reply = done("a", "@" * (size - len(done("a", "").to_json())))
    with path.inbox.expect("a") as pending:
        path.sender.send(pending.reply_to, reply)
        assert pending.wait(60) == reply


def test_sending_to_a_stopped_process_raises_reply_address_gone(path: ReplyPath) -> None:
    with path.inbox.expect("a") as pending:
        path.close()
        with pytest.raises(ReplyAddressGoneError):
            path.sender.send(pending.reply_to, done("a"))


def test_no_two_inboxes_share_an_address(path: ReplyPath, request: pytest.FixtureRequest) -> None:
    other = PATHS[request.node.callspec.params["path"]](request)
    with path.inbox.expect("a") as ours, other.inbox.expect("a") as theirs:
        assert ours.reply_to != theirs.reply_to
    other.close()


def orphans(path: ReplyPath, replies: list[tuple[str, ConversionReply]]) -> int:
    """Send replies and return how many were orphaned: counted by the inbox, or refused with
    ReplyAddressGoneError."""
    refused = 0
    for reply_to, reply in replies:
        try:
            path.sender.send(reply_to, reply)
        except ReplyAddressGoneError:
            refused += 1
    # once this reply arrives, the others have been processed
    with path.inbox.expect("last") as pending:
        path.sender.send(pending.reply_to, done("last"))
        assert pending.wait(60)
    return refused + path.metrics.total(metrics.REPLIES_ORPHANED)
