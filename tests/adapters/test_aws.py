"""AWS adapters against the emulator: reply queues, error translation and the calls of one
request."""

import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator

import boto3
import pytest

from asciist import wiring
from asciist.adapters.aws import (
    SETTLE_SECONDS,
    ReplyQueueRegistry,
    Sqs,
    SqsReplyInbox,
    SqsReplySender,
    SqsRequestQueue,
)
from asciist.adapters.embedded import EmbeddedMetrics
from asciist.adapters.object_store import ObjectStore
from asciist.conversion import ConversionOptions
from asciist.errors import ReplyAddressGoneError, UnavailableError
from asciist.limits import Limits
from asciist.protocol.messages import ConversionReply
from asciist.protocol.served import ArtSource
from asciist.settings import Settings
from tests.emulated.emulator import Emulator
from tests.waiting import wait_until
from tools.testing.drawing import convert

REPLY = ConversionReply(correlation_id="a", art="@")


@pytest.fixture
def registry_store() -> ObjectStore:
    return ObjectStore.in_memory()


@pytest.fixture
def inbox(aws: Emulator, registry_store: ObjectStore) -> Iterator[SqsReplyInbox]:
    inbox = make_inbox(registry_store)
    yield inbox
    inbox.close()


def make_inbox(registry_store: ObjectStore, *, settle_seconds: float = 0) -> SqsReplyInbox:
    return SqsReplyInbox(
        prefix=f"reply-{uuid.uuid4().hex[:8]}-",
        instance="test",
        retention_seconds=60,
        sqs=Sqs(),
        registry_store=registry_store,
        metrics=EmbeddedMetrics(),
        settle_seconds=settle_seconds,
    )


def address(inbox: SqsReplyInbox) -> str:
    with inbox.expect("any") as pending:
        return pending.reply_to


def test_an_externally_deleted_reply_queue_is_replaced(inbox: SqsReplyInbox) -> None:
    old = address(inbox)
    boto3.client("sqs").delete_queue(QueueUrl=old)
    wait_until(lambda: address(inbox) != old)

    assert inbox.is_alive()
    with inbox.expect("a") as pending:
        SqsReplySender(Sqs()).send(pending.reply_to, REPLY)
        assert pending.wait(120) == REPLY


def test_a_graceful_stop_deletes_the_queue_and_its_registry_entry(
    aws: Emulator, registry_store: ObjectStore
) -> None:
    inbox = make_inbox(registry_store)
    url = address(inbox)
    inbox.close()

    assert dict(registry_store.last_modified("reply-queues")) == {}
    with pytest.raises(ReplyAddressGoneError):
        SqsReplySender(Sqs()).send(url, REPLY)


def test_no_queue_is_created_while_it_cannot_be_registered(
    aws: Emulator, registry_store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_key: str, _body: bytes) -> None:
        raise UnavailableError("the store fails")

    monkeypatch.setattr(registry_store, "put", fail)
    before = boto3.client("sqs").list_queues().get("QueueUrls", [])
    with pytest.raises(UnavailableError):
        make_inbox(registry_store)

    assert boto3.client("sqs").list_queues().get("QueueUrls", []) == before


def test_a_queue_is_used_a_second_after_its_creation(
    aws: Emulator, registry_store: ObjectStore
) -> None:
    started = time.monotonic()
    inbox = make_inbox(registry_store, settle_seconds=SETTLE_SECONDS)
    assert time.monotonic() - started >= SETTLE_SECONDS == 1
    inbox.close()


def test_a_sweep_deletes_the_queue_of_a_killed_process_and_keeps_live_queues(
    inbox: SqsReplyInbox, registry_store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    sqs = Sqs()
    orphan = sqs.client.create_queue(QueueName=f"reply-{uuid.uuid4().hex}")["QueueUrl"]
    queues_at, _, killed = orphan.rpartition("/")
    ReplyQueueRegistry(sqs=sqs, store=registry_store).record_heartbeat(killed)
    registry = ReplyQueueRegistry(sqs=sqs, store=registry_store)
    now = time.time()

    assert registry.sweep(now + 200, queues_at=queues_at) == []  # not yet stale
    assert registry.sweep(now + 300, queues_at=queues_at) == []  # both queues are suspected
    inbox._registry.record_heartbeat(inbox._name)
    entries = registry_store.last_modified("reply-queues")
    later = {key: written + 300 if inbox._name in key else written for key, written in entries}
    monkeypatch.setattr(registry_store, "last_modified", lambda _folder: later.items())
    assert registry.sweep(now + 450, queues_at=queues_at) == [killed]

    with pytest.raises(ReplyAddressGoneError):
        SqsReplySender(sqs).send(orphan, REPLY)
    SqsReplySender(sqs).send(address(inbox), REPLY)


def test_an_unreachable_service_raises_unavailable(
    monkeypatch: pytest.MonkeyPatch, aws: Emulator
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")

    with pytest.raises(UnavailableError):
        make_inbox(ObjectStore.in_memory())
    with pytest.raises(UnavailableError):
        ObjectStore.in_bucket("bucket").get("key")


def test_a_missing_request_queue_raises_unavailable(aws: Emulator) -> None:
    sqs = Sqs()
    url = sqs.client.create_queue(QueueName=uuid.uuid4().hex)["QueueUrl"]
    sqs.client.delete_queue(QueueUrl=url)

    with pytest.raises(UnavailableError):
        SqsRequestQueue(url, sqs).send("{}")


@pytest.mark.parametrize("reply_path", ["queue", "callback"])
def test_a_request_through_aws_takes_at_most_three_calls_on_each_side(
    aws: Emulator, reply_path: str, cat: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = uuid.uuid4().hex
    boto3.client("s3").create_bucket(Bucket=name)
    settings = Settings(
        backend="aws",
        link_keys="k" * 32,
        bucket=name,
        request_queue_url=boto3.client("sqs").create_queue(QueueName=name)["QueueUrl"],
        reply_path=reply_path,
        reply_queue_prefix=f"reply-{name[:8]}-",
        callback_first_port=28_100,
        callback_networks="127.0.0.0/8",
        instance="127.0.0.1",
        request_timeout=50,  # no reply is overdue on a busy machine, which would cost a look
    )
    calls: Counter[str] = Counter()
    count_calls(monkeypatch, calls)
    web, worker = wiring.build_web_process(settings), wiring.build_responder(settings)
    options = ConversionOptions(width=30)
    try:
        calls.clear()
        worker.start(1)
        served = web.requester.convert(cat, options)
        assert (served.first.text, served.source) == (
            convert(cat, options, Limits()),
            ArtSource.CONVERSION,
        )
        polling = {"receive_message", "delete_message_batch"}
        replies = 1 if reply_path == "queue" else 0
        wait_until(lambda: calls["delete_message_batch"] >= 1)
        assert {call: number for call, number in calls.items() if call not in polling} == {
            "get": 2,  # the web tier looks up the art, the worker fetches the image
            "create": 1,
            "put": 1,
            "send_message": 1 + replies,
        }

        worker.stop(5)
        calls.clear()
        assert web.requester.convert(cat, options).source is ArtSource.STORE
        assert {call: number for call, number in calls.items() if call not in polling} == {"get": 1}
        assert web.is_ready()
    finally:
        worker.request_stop()
        web.close()


def count_calls(monkeypatch: pytest.MonkeyPatch, calls: Counter[str]) -> None:
    """Count every call to S3 or SQS in `calls`, by operation."""

    def counted(name: str, call: Callable[..., object]) -> Callable[..., object]:
        def wrapper(*arguments: object, **options: object) -> object:
            calls[name] += 1
            return call(*arguments, **options)

        return wrapper

    for name in ("get", "put", "create", "exists"):
        monkeypatch.setattr(ObjectStore, name, counted(name, getattr(ObjectStore, name)))
    original = Sqs.call

    def call(self: Sqs, operation: str, context: str, **parameters: object) -> object:
        calls[operation] += 1
        return original(self, operation, context, **parameters)

    monkeypatch.setattr(Sqs, "call", call)
