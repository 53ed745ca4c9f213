"""Replies through SQS: each web process has its own reply queue, listed in a registry in the object
store."""

import logging
import re
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import AbstractContextManager, suppress
from typing import Final, Protocol

from asciist.adapters.aws.sqs import MAX_BATCH, MAX_WAIT_SECONDS, QueueNotFoundError, Sqs
from asciist.errors import MalformedMessageError, ReplyAddressGoneError, UnavailableError
from asciist.protocol.messages import ConversionReply
from asciist.protocol.pending_replies import PendingReplies
from asciist.protocol.ports import ArtifactStore, Metrics, PendingReply

_log = logging.getLogger(__name__)

# SQS limits a message to 1 MiB, and limited it to 256 KiB until 2025
_MAX_REPLY_BYTES: Final = 250_000
"""Maximum size of a reply, in bytes. A larger reply is sent without its art; the web tier then
reads it from the store."""

# before that, some servers of SQS do not know the queue
# (https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_CreateQueue.html)
SETTLE_SECONDS: Final = 1.0
"""Seconds between the creation of a queue and its first use."""

_HEARTBEAT_SECONDS: Final = 60
"""Seconds between heartbeats of a reply queue."""
_STALE_SECONDS: Final = 240
"""Seconds without a heartbeat after which a reply queue is suspected to be orphaned: four
heartbeats missed."""
# a sweep deletes only queues that the previous sweep suspected, so the queue of a killed process is
# deleted within 540 seconds
_SWEEP_SECONDS: Final = 150
"""Seconds between sweeps."""


class SqsReplySender:
    """ReplySender to the reply queue whose URL is the reply address."""

    max_reply_bytes: Final = _MAX_REPLY_BYTES

    def __init__(self, sqs: Sqs) -> None:
        self._sqs = sqs

    def send(self, reply_to: str, reply: ConversionReply) -> None:
        body = reply.to_json()
        if len(body) > self.max_reply_bytes:
            body = reply.without_art().to_json()
        try:
            self._sqs.call("send_message", "reply", QueueUrl=reply_to, MessageBody=body)
        except QueueNotFoundError as error:
            raise ReplyAddressGoneError(reply_to) from error


class SqsReplyInbox:
    """ReplyInbox with its own SQS queue, created on construction, polled by one thread and deleted
    by `close`.

    A killed process leaves its queue behind. Each process therefore renews its queue's entry in a
    registry every minute, and periodically deletes the queues whose entries are stale. The registry
    is in the object store because IAM cannot limit the permission to list queues to a part of the
    account's queues.
    """

    def __init__(
        self,
        *,
        prefix: str,
        instance: str,
        retention_seconds: int,
        sqs: Sqs,
        registry_store: "RegistryStore",
        metrics: Metrics,
        settle_seconds: float = SETTLE_SECONDS,
    ) -> None:
        """Create the queue and start polling it. `retention_seconds` is how long SQS keeps a reply.
        Raises UnavailableError."""
        # SQS limits a queue name to 80 characters; 13 of them are for the nonce and its hyphen.
        self._name_start = re.sub("[^A-Za-z0-9_-]", "-", f"{prefix}{instance}")[:67]
        self._retention_seconds = retention_seconds
        self._sqs = sqs
        self._settle_seconds = settle_seconds
        self._registry = ReplyQueueRegistry(sqs=sqs, store=registry_store)
        self._pending = PendingReplies(metrics)
        self._stopping = threading.Event()
        self._name, self._url = self._create()
        self._threads = [
            threading.Thread(target=self._poll, name="reply-inbox", daemon=True),
            threading.Thread(
                target=self._maintain_registry, name="reply-queue-registry", daemon=True
            ),
        ]
        for thread in self._threads:
            thread.start()

    def expect(self, correlation_id: str) -> AbstractContextManager[PendingReply]:
        return self._pending.expect(correlation_id, self._url)

    def is_alive(self) -> bool:
        """Return whether replies can arrive."""
        return not self._stopping.is_set() and self._threads[0].is_alive()

    def close(self) -> None:
        """Delete the queue, which also ends the long poll of the polling thread."""
        self._stopping.set()
        with suppress(UnavailableError):
            self._registry.remove(self._name, self._url)
        for thread in self._threads:
            thread.join(1)

    def _create(self) -> tuple[str, str]:
        # The nonce makes the name unique: SQS rejects the name of a deleted queue for a minute.
        name = f"{self._name_start}-{uuid.uuid4().hex[:12]}"
        # First, so that no queue exists without an entry, even if the process is killed between the
        # two steps.
        self._registry.record_heartbeat(name)
        url = self._sqs.call(
            "create_queue",
            "create reply queue",
            QueueName=name,
            Attributes={
                "MessageRetentionPeriod": str(self._retention_seconds),
                "SqsManagedSseEnabled": "true",
            },
        )["QueueUrl"]
        time.sleep(self._settle_seconds)
        return name, url

    def _poll(self) -> None:
        while not self._stopping.is_set():
            try:
                messages = self._sqs.receive(
                    self._url, max_messages=MAX_BATCH, wait_seconds=MAX_WAIT_SECONDS
                )
                for message in messages:
                    self._resolve(message["Body"])
                if messages:
                    self._sqs.delete(self._url, [message["ReceiptHandle"] for message in messages])
            except QueueNotFoundError:
                if not self._stopping.is_set():
                    self._replace()
            except Exception:  # noqa: BLE001
                # Without this thread, the process could answer no request.
                _log.exception("receiving from the reply queue failed")
                self._stopping.wait(1)

    def _resolve(self, body: str) -> None:
        try:
            self._pending.resolve(ConversionReply.from_json(body))
        except MalformedMessageError:
            _log.exception("malformed reply discarded")

    def _replace(self) -> None:
        """Create a new queue after the old one was deleted externally.

        In-flight requests find their art in the store when their deadline passes; new requests get
        the new address.
        """
        _log.error("reply queue deleted, creating a new one", extra={"reply_queue": self._name})
        try:
            self._name, self._url = self._create()
        except UnavailableError:
            _log.exception("reply queue creation failed")
            self._stopping.wait(1)

    def _maintain_registry(self) -> None:
        next_sweep = time.monotonic() + _SWEEP_SECONDS
        while not self._stopping.wait(_HEARTBEAT_SECONDS):
            with suppress(UnavailableError):
                self._registry.record_heartbeat(self._name)
            if time.monotonic() >= next_sweep:
                next_sweep += _SWEEP_SECONDS
                try:
                    self._registry.sweep(time.time(), queues_at=self._url.rpartition("/")[0])
                except UnavailableError:
                    _log.exception("reply queue sweep failed")


class RegistryStore(ArtifactStore, Protocol):
    """Artifact store that can also delete objects and report when they were last written."""

    def delete(self, key: str) -> None:
        """Delete an object; deleting a missing object is no error."""

    def last_modified(self, folder: str) -> Iterator[tuple[str, float]]:
        """Yield (key, time of last write in seconds since the epoch) for each object below
        `folder`."""


class ReplyQueueRegistry:
    """Registry of reply queues: an empty object per queue at `reply-queues/{name}`, last written at
    its last heartbeat."""

    _FOLDER: Final = "reply-queues"

    def __init__(self, *, sqs: Sqs, store: RegistryStore) -> None:
        self._sqs = sqs
        self._store = store
        self._suspects: dict[str, float] = {}

    def record_heartbeat(self, name: str) -> None:
        """Create or renew the entry of a queue that is live or about to be created. Raises
        UnavailableError."""
        self._store.put(f"{self._FOLDER}/{name}", b"")

    def remove(self, name: str, url: str) -> None:
        """Delete a queue and its entry. Raises UnavailableError."""
        with suppress(QueueNotFoundError):
            self._sqs.call("delete_queue", "delete reply queue", QueueUrl=url)
        self._store.delete(f"{self._FOLDER}/{name}")

    def sweep(self, now: float, *, queues_at: str) -> list[str]:
        """Delete the queues that were stale at the previous sweep and have had no heartbeat since;
        return their names.

        `now` is in seconds since the epoch. The URL of a queue is `queues_at`, a slash and its
        name. Waiting for a second sweep protects live queues: after an outage of the store, every
        entry is stale until its next heartbeat. Concurrent sweeps by several processes are
        harmless. Raises UnavailableError.
        """
        stale = {
            key: written
            for key, written in self._store.last_modified(self._FOLDER)
            if written < now - _STALE_SECONDS
        }
        orphans = [key for key, written in stale.items() if self._suspects.get(key) == written]
        self._suspects = stale
        names = [key.removeprefix(f"{self._FOLDER}/") for key in orphans]
        for name in names:
            self.remove(name, f"{queues_at}/{name}")
        return names
