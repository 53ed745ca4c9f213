"""Replies that a web process is waiting for. The adapters for every reply inbox share this code."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from asciist.protocol.messages import ConversionReply
from asciist.protocol.ports import Metrics
from asciist.telemetry.metrics import REPLIES_ORPHANED


class PendingReplies:
    """Pending replies of one process, by correlation id. Safe to use from many threads."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._pending: dict[str, _Pending] = {}
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
        """Return the reply address of a request; None if no reply to the request is pending."""
        with self._lock:
            pending = self._pending.get(correlation_id)
        return pending.reply_to if pending else None

    def resolve(self, reply: ConversionReply) -> None:
        """Hand a reply to the waiting request. A late or duplicate reply is counted as orphaned."""
        with self._lock:
            pending = self._pending.pop(reply.correlation_id, None)
        if pending is None:
            self._metrics.count(REPLIES_ORPHANED)
        else:
            pending.resolve(reply)


class _Pending:
    """A PendingReply: one reply, and the event that signals its arrival."""

    def __init__(self, reply_to: str) -> None:
        self.reply_to: Final = reply_to
        self._arrived: Final = threading.Event()
        self._reply: ConversionReply | None = None

    def resolve(self, reply: ConversionReply) -> None:
        self._reply = reply
        self._arrived.set()

    def wait(self, seconds: float) -> ConversionReply | None:
        self._arrived.wait(seconds)
        return self._reply
