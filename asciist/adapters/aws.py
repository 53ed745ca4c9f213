"""Amazon SQS: the request queue, and replies through a queue of each web process.

A thin layer over boto3, since no library keeps at-least-once delivery the same on every provider. Its client is made on
first use: importing boto3 and building a client take most of a second, which a function that never meets a fault can save.
"""

import logging
import math
import re
import threading
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from functools import cached_property
from typing import Any, Final, Protocol

from asciist.errors import ArtifactNotFoundError, MalformedMessageError, ReplyAddressGoneError, UnavailableError
from asciist.protocol.messages import ConversionReply
from asciist.protocol.pending_replies import PendingReplies
from asciist.protocol.ports import ArtifactStore, Delivery, Metrics, PendingReply

_log = logging.getLogger(__name__)

_MAX_BATCH: Final = 10
"""Messages that SQS receives or deletes in one call."""
_MAX_WAIT_SECONDS: Final = 20
"""The longest of SQS's long polls."""
_MAX_REPLY_BYTES: Final = 250_000
"""SQS has taken 1 MiB since 2025 and 256 KiB before; larger art is fetched from the store, which is made for it."""

_HEARTBEAT_SECONDS: Final = 60
_STALE_SECONDS: Final = 240
"""A reply queue is suspected after four heartbeats that did not come ..."""
_SWEEP_SECONDS: Final = 150
"""... and removed when the next sweep sees no sign of life either: 540 s after its process was killed, at the latest."""


class _QueueGoneError(UnavailableError):
    """There is no queue at a URL. For a reply queue that is news of its process; for any other it is a fault."""


class Sqs:
    """The client that the adapters of one process share; boto3's clients may be used by many threads."""

    @cached_property
    def client(self) -> Any:
        import boto3  # noqa: PLC0415 - paid for by those who use it
        from botocore.config import Config  # noqa: PLC0415 - as above

        return boto3.client(
            "sqs",
            config=Config(
                connect_timeout=2,
                read_timeout=_MAX_WAIT_SECONDS + 5,
                retries={"mode": "standard", "total_max_attempts": 3},
                max_pool_connections=100,
            ),
        )

    @contextmanager
    def translating_errors(self, what: str) -> Iterator[None]:
        """Raise UnavailableError for whatever boto3 raises in a `with` block."""
        from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415 - as above

        try:
            yield
        except ClientError as error:
            if error.response["Error"]["Code"] in ("AWS.SimpleQueueService.NonExistentQueue", "QueueDoesNotExist"):
                raise _QueueGoneError(what) from error
            raise UnavailableError(f"{what}: {error}") from error
        except BotoCoreError as error:
            raise UnavailableError(f"{what}: {error}") from error

    def call(self, operation: str, what: str, **parameters: Any) -> Any:
        """One call; raises as `translating_errors` does."""
        with self.translating_errors(what):
            return getattr(self.client, operation)(**parameters)

    def receive(self, url: str, *, max_messages: int, wait_seconds: float) -> list[dict[str, Any]]:
        """Messages as boto3 gives them, with their receive count."""
        return list(
            self.call(
                "receive_message",
                "receive",
                QueueUrl=url,
                MaxNumberOfMessages=min(max_messages, _MAX_BATCH),
                WaitTimeSeconds=min(math.ceil(wait_seconds), _MAX_WAIT_SECONDS),
                MessageSystemAttributeNames=["ApproximateReceiveCount"],
            ).get("Messages", [])
        )

    def delete(self, url: str, receipts: Sequence[str]) -> None:
        """Delete messages, ten a call. One that is gone already is no failure of the batch."""
        for start in range(0, len(receipts), _MAX_BATCH):
            entries = [
                {"Id": str(number), "ReceiptHandle": receipt}
                for number, receipt in enumerate(receipts[start : start + _MAX_BATCH])
            ]
            self.call("delete_message_batch", "delete", QueueUrl=url, Entries=entries)


class SqsRequestQueue:
    """A RequestQueue in SQS. Visibility timeout, redrive and retention are the queue's own, set where it is deployed."""

    def __init__(self, url: str, sqs: Sqs) -> None:
        self._url = url
        self._sqs = sqs

    def send(self, body: str) -> None:
        self._sqs.call("send_message", "send", QueueUrl=self._url, MessageBody=body)

    def receive(self, *, max_messages: int, wait_seconds: float) -> list[Delivery]:
        return [
            Delivery(
                body=message["Body"],
                receipt=message["ReceiptHandle"],
                receive_count=int(message["Attributes"]["ApproximateReceiveCount"]),
            )
            for message in self._sqs.receive(self._url, max_messages=max_messages, wait_seconds=wait_seconds)
        ]

    def extend(self, delivery: Delivery, *, visibility_seconds: float) -> Delivery:
        self._sqs.call(
            "change_message_visibility",
            "extend",
            QueueUrl=self._url,
            ReceiptHandle=delivery.receipt,
            VisibilityTimeout=math.ceil(visibility_seconds),
        )
        return delivery

    def delete(self, deliveries: Sequence[Delivery]) -> None:
        self._sqs.delete(self._url, [delivery.receipt for delivery in deliveries])


class SqsReplySender:
    """A ReplySender to the reply queue whose URL is the address."""

    def __init__(self, sqs: Sqs) -> None:
        self._sqs = sqs

    def send(self, reply_to: str, reply: ConversionReply) -> None:
        body = reply.to_json()
        if len(body) > _MAX_REPLY_BYTES:
            body = reply.without_art().to_json()
        try:
            self._sqs.call("send_message", "reply", QueueUrl=reply_to, MessageBody=body)
        except _QueueGoneError as error:
            raise ReplyAddressGoneError(reply_to) from error


class SqsReplyInbox:
    """A ReplyInbox with a queue of its own, made at the start, polled by one thread, deleted by `close`.

    A process that is killed leaves its queue behind. So each process keeps a note of its queue in the object store, renews
    it every minute, and now and then deletes queues whose note has grown old: that needs no right to list queues, which SQS
    grants for all of an account's queues or for none.
    """

    def __init__(
        self, *, prefix: str, instance: str, retention_seconds: int, sqs: Sqs, notes: "NoteStore", metrics: Metrics
    ) -> None:
        # Of the 80 characters that SQS gives a name, 13 are the nonce's.
        self._name_start = re.sub("[^A-Za-z0-9_-]", "-", f"{prefix}{instance}")[:67]
        self._retention_seconds = retention_seconds
        self._sqs = sqs
        self._notes = ReplyQueueNotes(sqs=sqs, notes=notes)
        self._pending = PendingReplies(metrics)
        self._stopping = threading.Event()
        self._name, self._url = self._create()
        self._threads = [
            threading.Thread(target=self._poll, name="reply-inbox", daemon=True),
            threading.Thread(target=self._keep_notes, name="reply-notes", daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    def expect(self, correlation_id: str) -> AbstractContextManager[PendingReply]:
        return self._pending.expect(correlation_id, self._url)

    def is_alive(self) -> bool:
        """Whether replies can arrive."""
        return not self._stopping.is_set() and self._threads[0].is_alive()

    def close(self) -> None:
        """Delete the queue, which also ends the thread's long poll."""
        self._stopping.set()
        with suppress(UnavailableError):
            self._notes.remove(self._name, self._url)
        for thread in self._threads:
            thread.join(1)

    def _create(self) -> tuple[str, str]:
        # The nonce, since SQS blocks the name of a deleted queue for a minute.
        name = f"{self._name_start}-{uuid.uuid4().hex[:12]}"
        url = self._sqs.call(
            "create_queue",
            "create reply queue",
            QueueName=name,
            Attributes={"MessageRetentionPeriod": str(self._retention_seconds), "SqsManagedSseEnabled": "true"},
        )["QueueUrl"]
        self._notes.write(name, url)
        return name, url

    def _poll(self) -> None:
        while not self._stopping.is_set():
            try:
                messages = self._sqs.receive(self._url, max_messages=_MAX_BATCH, wait_seconds=_MAX_WAIT_SECONDS)
                for message in messages:
                    self._resolve(message["Body"])
                if messages:
                    self._sqs.delete(self._url, [message["ReceiptHandle"] for message in messages])
            except _QueueGoneError:
                if not self._stopping.is_set():
                    self._replace()
            except UnavailableError:
                _log.exception("cannot receive from the reply queue")
                self._stopping.wait(1)

    def _resolve(self, body: str) -> None:
        try:
            self._pending.resolve(ConversionReply.from_json(body))
        except MalformedMessageError:
            _log.exception("a reply that is not ours")

    def _replace(self) -> None:
        """Somebody deleted the queue. Requests in flight find their art at the last look; new ones get a new address."""
        _log.error("reply queue %s is gone: making another", self._name)
        try:
            self._name, self._url = self._create()
        except UnavailableError:
            _log.exception("cannot make a reply queue")
            self._stopping.wait(1)

    def _keep_notes(self) -> None:
        next_sweep = time.monotonic() + _SWEEP_SECONDS
        while not self._stopping.wait(_HEARTBEAT_SECONDS):
            with suppress(UnavailableError):
                self._notes.write(self._name, self._url)
            if time.monotonic() >= next_sweep:
                next_sweep += _SWEEP_SECONDS
                try:
                    self._notes.sweep(time.time())
                except UnavailableError:
                    _log.exception("cannot sweep reply queues")


class NoteStore(ArtifactStore, Protocol):
    """An artifact store that can also forget, and tell the age of what it holds."""

    def delete(self, key: str) -> None:
        """Remove an object; no error when there is none."""

    def ages(self, folder: str) -> Iterator[tuple[str, float]]:
        """(key, time of its last writing in seconds since the epoch) of each object below `folder`."""


class ReplyQueueNotes:
    """Which reply queues there are, as small objects at `reply-queues/{name}` whose age is the last sign of life."""

    _FOLDER: Final = "reply-queues"

    def __init__(self, *, sqs: Sqs, notes: NoteStore) -> None:
        self._sqs = sqs
        self._notes = notes
        self._suspects: dict[str, float] = {}

    def write(self, name: str, url: str) -> None:
        """Say that the queue's process lives. Raises UnavailableError."""
        self._notes.put(f"{self._FOLDER}/{name}", url.encode())

    def remove(self, name: str, url: str) -> None:
        """Delete a queue and its note. Raises UnavailableError."""
        with suppress(_QueueGoneError):
            self._sqs.call("delete_queue", url, QueueUrl=url)
        self._notes.delete(f"{self._FOLDER}/{name}")

    def sweep(self, now: float) -> list[str]:
        """Delete the queues whose notes were stale in the last sweep and are as stale now; the names of those.

        The second look is for live queues: after an outage of the store every note is stale until the next heartbeat.
        Raises UnavailableError. Two processes that sweep at a time do each other no harm.
        """
        stale = {key: written for key, written in self._notes.ages(self._FOLDER) if written < now - _STALE_SECONDS}
        orphans = [key for key, written in stale.items() if self._suspects.get(key) == written]
        self._suspects = stale
        for key in orphans:
            with suppress(ArtifactNotFoundError):
                self.remove(key.removeprefix(f"{self._FOLDER}/"), self._notes.get(key).decode())
        return [key.removeprefix(f"{self._FOLDER}/") for key in orphans]
