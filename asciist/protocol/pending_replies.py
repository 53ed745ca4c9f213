"""Pending replies of a web process. The adapters for every reply inbox share this code."""

import threading
from collections import OrderedDict
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

    def expect(self, correlation_id: str, reply_to: str) -> "_Pending":
        """Accept a reply during a `with` block. See `ReplyInbox.expect`."""
        return _Pending(self._pending, correlation_id, reply_to)

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
    """One pending reply, registered while its `with` block runs."""

    def __init__(self, pending: dict[str, "_Pending"], correlation_id: str, reply_to: str) -> None:
        self._registered: Final = pending
        self._correlation_id: Final = correlation_id
        self.reply_to: Final = reply_to
        # Held until the reply arrives. With gevent, an event costs ten times as much.
        self._missing: Final = threading.Lock()
        self._missing.acquire()
        self._reply: ConversionReply | None = None
        self._expected = 1

    def __enter__(self) -> "_Pending":
        self._registered[self._correlation_id] = self
        return self

    def __exit__(self, *_error: object) -> None:
        self._registered.pop(self._correlation_id, None)

    def expect_another(self) -> None:
        self._expected += 1

    def count_reply(self) -> int:
        """Count a reply that has arrived, and return how many more are expected."""
        self._expected -= 1
        return self._expected

    def resolve(self, reply: ConversionReply) -> None:
        """Set the reply. Call it once."""
        self._reply = reply
        self._missing.release()

    def wait(self, seconds: float) -> ConversionReply | None:
        if self._reply is None:
            self._missing.acquire(timeout=seconds)
        return self._reply
