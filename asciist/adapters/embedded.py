"""Queue and replies inside one process. They behave like the real ones (visibility, redelivery, receive count, dead
letters), so that one machine runs the same protocol that a cloud runs, and the tests with it."""

import heapq
import itertools
import threading
import time
import uuid
from collections import Counter, deque
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

from asciist.errors import ReplyAddressGoneError, UnavailableError
from asciist.protocol.messages import ConversionReply
from asciist.protocol.pending_replies import PendingReplies
from asciist.protocol.ports import Delivery, Metrics, PendingReply

_MAX_DEAD_LETTERS = 1000


@dataclass(eq=False, slots=True)
class _Message:
    body: str
    visible_at: float
    receive_count: int = 0
    receipt: str = ""


class EmbeddedQueue:
    """A RequestQueue in memory; its messages end with the process."""

    def __init__(
        self,
        *,
        visibility_seconds: float,
        max_receive_count: int,
    ) -> None:
        self._visibility_seconds = visibility_seconds
        self._max_receive_count = max_receive_count
        self._clock = time.monotonic
        self._changed = threading.Condition()
        self._schedule: list[tuple[float, int, _Message]] = []  # a heap; an entry is stale once visible_at has changed
        self._order = itertools.count()
        self._received: dict[str, _Message] = {}
        self._closed = False
        self.dead_letters: deque[str] = deque(maxlen=_MAX_DEAD_LETTERS)
        """Bodies of messages that were delivered too often, oldest first."""

    def send(self, body: str) -> None:
        with self._changed:
            if self._closed:
                raise UnavailableError("the embedded queue is closed")
            self._show(_Message(body=body, visible_at=self._clock()))

    def receive(self, *, max_messages: int, wait_seconds: float) -> list[Delivery]:
        give_up = self._clock() + wait_seconds
        with self._changed:
            while not self._closed:
                now = self._clock()
                deliveries = self._deliver(now, max_messages)
                if deliveries or now >= give_up:
                    return deliveries
                next_visible = self._schedule[0][0] if self._schedule else give_up
                self._changed.wait(min(next_visible, give_up) - now)
            return []

    def extend(self, delivery: Delivery, *, visibility_seconds: float) -> Delivery:
        with self._changed:
            message = self._received.get(delivery.receipt)
            if message is not None:
                message.visible_at = self._clock() + visibility_seconds
                self._show(message)
        return delivery

    def delete(self, deliveries: Sequence[Delivery]) -> None:
        with self._changed:
            for delivery in deliveries:
                message = self._received.pop(delivery.receipt, None)
                if message is not None:
                    message.visible_at = float("inf")  # makes its place in the schedule stale

    def close(self) -> None:
        """Wake every consumer with nothing, and take no more messages."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _show(self, message: _Message) -> None:
        heapq.heappush(self._schedule, (message.visible_at, next(self._order), message))
        self._changed.notify()

    def _deliver(self, now: float, max_messages: int) -> list[Delivery]:
        deliveries: list[Delivery] = []
        while self._schedule and self._schedule[0][0] <= now and len(deliveries) < max_messages:
            visible_at, _, message = heapq.heappop(self._schedule)
            if visible_at != message.visible_at:
                continue
            self._received.pop(message.receipt, None)
            if message.receive_count >= self._max_receive_count:
                self.dead_letters.append(message.body)
                continue
            message.receive_count += 1
            message.receipt = uuid.uuid4().hex
            message.visible_at = now + self._visibility_seconds
            self._received[message.receipt] = message
            heapq.heappush(self._schedule, (message.visible_at, next(self._order), message))
            deliveries.append(Delivery(body=message.body, receipt=message.receipt, receive_count=message.receive_count))
        return deliveries


class EmbeddedReplies:
    """ReplyInbox and ReplySender at once: the process that asks is the process that answers."""

    def __init__(self, metrics: Metrics) -> None:
        self._pending = PendingReplies(metrics)
        self.address = f"embedded:{uuid.uuid4().hex}"
        self._closed = False

    def expect(self, correlation_id: str) -> AbstractContextManager[PendingReply]:
        return self._pending.expect(correlation_id, self.address)

    def send(self, reply_to: str, reply: ConversionReply) -> None:
        if reply_to != self.address or self._closed:
            raise ReplyAddressGoneError(reply_to)
        # Through JSON like every other channel, so that a reply that cannot travel fails here too.
        self._pending.resolve(ConversionReply.from_json(reply.to_json()))

    def is_alive(self) -> bool:
        """Whether replies can arrive."""
        return not self._closed

    def close(self) -> None:
        """Take no more replies."""
        self._closed = True


class EmbeddedMetrics:
    """Totals in memory: the sum of each counter, and how many values each distribution took."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._totals: Counter[tuple[str, frozenset[tuple[str, str]]]] = Counter()

    def count(self, name: str, value: int = 1, **tags: str) -> None:
        with self._lock:
            self._totals[name, frozenset(tags.items())] += value

    def distribution(self, name: str, value: float, **tags: str) -> None:  # noqa: ARG002 - kept as a count of values
        self.count(f"{name} (values)", 1, **tags)

    def flush(self) -> None:
        """Nothing is held back."""

    def total(self, name: str, **tags: str) -> int:
        """The sum of a counter over all tags that contain `tags`."""
        with self._lock:
            return sum(n for (key, on), n in self._totals.items() if key == name and tags.items() <= set(on))
