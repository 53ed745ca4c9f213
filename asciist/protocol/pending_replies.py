"""Pending replies of a web process. The adapters for every reply inbox share this code."""

import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from asciist.protocol.messages import ConversionReply
from asciist.protocol.ports import Metrics
from asciist.telemetry.metrics import REPLIES_ORPHANED

_MAX_ANSWERED: Final = 1000
"""Maximum answered requests whose duplicate replies are recognized. Contains only requests that
were published again."""


class PendingReplies:
    """Pending replies of one process, by correlation id. Safe to use from many threads."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._pending: dict[str, _Pending] = {}
        self._answered: OrderedDict[str, _Pending] = OrderedDict()
        self._lock = threading.Lock()

    @contextmanager
    def expect(self, correlation_id: str, reply_to: str) -> Iterator["_Pending"]:
        """Accept a reply during a `with` block. See `ReplyInbox.expect`."""
        pending = _Pending(reply_to)
        with self._lock:
            self._pending[correlation_id] = pending
        try:
            yield pending
        finally:
            with self._lock:
                self._pending.pop(correlation_id, None)

    def reply_to(self, correlation_id: str) -> str | None:
        """Return the reply address of a request; None if no reply to the request is expected."""
        with self._lock:
            pending = self._pending.get(correlation_id) or self._answered.get(correlation_id)
        return pending.reply_to if pending else None

    def resolve(self, reply: ConversionReply) -> None:
        """Hand a reply to the waiting request.

        A late reply is counted as orphaned, and so is a duplicate, unless the request was published
        more than once.
        """
        with self._lock:
            pending = self._pending.pop(reply.correlation_id, None)
            expecting = pending or self._answered.pop(reply.correlation_id, None)
            if expecting is not None and expecting.count_reply() > 0:
                self._answered[reply.correlation_id] = expecting
                if len(self._answered) > _MAX_ANSWERED:
                    self._answered.popitem(last=False)
        if pending is not None:
            pending.resolve(reply)
        elif expecting is None:
            self._metrics.count(REPLIES_ORPHANED)


class _Pending:
    """One pending reply, and the event that signals its arrival."""

    def __init__(self, reply_to: str) -> None:
        self.reply_to: Final = reply_to
        self._arrived: Final = threading.Event()
        self._reply: ConversionReply | None = None
        self._expected = 1

    def expect_another(self) -> None:
        self._expected += 1

    def count_reply(self) -> int:
        """Count a reply that has arrived, and return how many more are expected."""
        self._expected -= 1
        return self._expected

    def resolve(self, reply: ConversionReply) -> None:
        self._reply = reply
        self._arrived.set()

    def wait(self, seconds: float) -> ConversionReply | None:
        self._arrived.wait(seconds)
        return self._reply
