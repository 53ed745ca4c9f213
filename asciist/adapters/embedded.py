"""Request queue, replies and metrics inside one process.

The queue implements visibility timeouts, redelivery, receive counts and dead letters, so a single
process and the tests run the same protocol as a cloud deployment.
"""

import heapq
import itertools
import sys
import threading
import time
import uuid
from collections import Counter, deque
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Final

from asciist.errors import ReplyAddressGoneError, UnavailableError
from asciist.protocol.messages import ConversionReply, Message
from asciist.protocol.pending_replies import PendingReplies
from asciist.protocol.ports import Delivery, Metrics, PendingReply

_MAX_DEAD_LETTERS = 1000
"""Maximum number of dead letters in memory; older ones are dropped."""


@dataclass(eq=False, slots=True)
class _Message:
    body: Message
    sent_at: float
    visible_at: float
    receive_count: int = 0
    receipt: str = ""


class EmbeddedQueue:
    """RequestQueue in memory. Its messages are lost when the process ends."""

    def __init__(self, *, visibility_seconds: float, max_receive_count: int) -> None:
        self._visibility_seconds = visibility_seconds
        self._max_receive_count = max_receive_count
        self._changed = threading.Condition()
        # heap; an entry is stale if visible_at has changed
        self._schedule: list[tuple[float, int, _Message]] = []
        self._order = itertools.count()
        self._receipts = itertools.count()
        self._received: dict[str, _Message] = {}
        self._closed = False
        self.dead_letters: deque[Message] = deque(maxlen=_MAX_DEAD_LETTERS)
        """Bodies of messages that exceeded the maximum receive count, oldest first."""

    def send(self, body: Message) -> None:
        with self._changed:
            if self._closed:
                raise UnavailableError("the embedded queue is closed")
            now = time.monotonic()
            self._schedule_at_visibility(_Message(body=body, sent_at=now, visible_at=now))

    def receive(self, *, max_messages: int, wait_seconds: float) -> list[Delivery]:
        deadline = time.monotonic() + wait_seconds
        with self._changed:
            while not self._closed:
                now = time.monotonic()
                deliveries = self._deliver(now, max_messages)
                if deliveries or now >= deadline:
                    return deliveries
                # A hidden message becomes visible without a notification.
                next_visible = self._schedule[0][0] if self._schedule else deadline
                self._changed.wait(min(next_visible, deadline) - now)
            return []

    def extend(self, delivery: Delivery, *, visibility_seconds: float) -> Delivery:
        with self._changed:
            message = self._received.get(delivery.receipt)
            if message is not None:
                message.visible_at = time.monotonic() + visibility_seconds
                self._schedule_at_visibility(message)
        return delivery

    def delete(self, deliveries: Sequence[Delivery]) -> None:
        with self._changed:
            for delivery in deliveries:
                message = self._received.pop(delivery.receipt, None)
                if message is not None:
                    message.visible_at = float("inf")  # makes its entry in the schedule stale
                    # the entry stays until the message would have been visible again
                    message.body = ""

    def close(self) -> None:
        """Accept no more messages; end every waiting `receive` with an empty list."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _schedule_at_visibility(self, message: _Message) -> None:
        heapq.heappush(self._schedule, (message.visible_at, next(self._order), message))
        self._changed.notify()

    def _deliver(self, now: float, max_messages: int) -> list[Delivery]:
        deliveries: list[Delivery] = []
        while self._schedule and self._schedule[0][0] <= now and len(deliveries) < max_messages:
            visible_at, _, message = heapq.heappop(self._schedule)
            # The message was extended or deleted, and has a later entry or none.
            if visible_at != message.visible_at:
                continue
            self._received.pop(message.receipt, None)
            if message.receive_count >= self._max_receive_count:
                self.dead_letters.append(message.body)
                continue
            message.receive_count += 1
            message.receipt = str(next(self._receipts))
            message.visible_at = now + self._visibility_seconds
            self._received[message.receipt] = message
            heapq.heappush(self._schedule, (message.visible_at, next(self._order), message))
            deliveries.append(
                Delivery(
                    body=message.body,
                    receipt=message.receipt,
                    receive_count=message.receive_count,
                    age_seconds=now - message.sent_at,
                    sent_at=time.time() - (now - message.sent_at),
                )
            )
        return deliveries


class EmbeddedReplies:
    """ReplyInbox and ReplySender for a process that runs both tiers."""

    max_reply_bytes: Final = sys.maxsize  # a reply is passed on without a copy

    def __init__(self, metrics: Metrics) -> None:
        self._pending = PendingReplies(metrics)
        self.address = f"embedded:{uuid.uuid4().hex}"
        self._closed = False

    def expect(self, correlation_id: str) -> AbstractContextManager[PendingReply]:
        return self._pending.expect(correlation_id, self.address)

    def send(self, reply_to: str, reply: ConversionReply) -> None:
        if reply_to != self.address or self._closed:
            raise ReplyAddressGoneError(reply_to)
        self._pending.resolve(reply)

    def is_alive(self) -> bool:
        """Return whether replies can arrive."""
        return not self._closed

    def close(self) -> None:
        """Accept no more replies."""
        self._closed = True


class EmbeddedMetrics:
    """Metrics sink in memory: the sum of each counter and the number of values of each
    distribution."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._totals: Counter[tuple[str, frozenset[tuple[str, str]]]] = Counter()

    def count(self, name: str, value: int = 1, **tags: str) -> None:
        with self._lock:
            self._totals[name, frozenset(tags.items())] += value

    # Only the number of values is kept.
    def distribution(self, name: str, value: float, **tags: str) -> None:  # noqa: ARG002
        self.count(f"{name} (values)", 1, **tags)

    def flush(self) -> None:
        """Do nothing: no value is buffered."""

    def total(self, name: str, **tags: str) -> int:
        """Return the sum of a counter over all tag sets that contain `tags`."""
        with self._lock:
            return sum(
                n
                for (key, recorded), n in self._totals.items()
                if key == name and tags.items() <= set(recorded)
            )
