"""Hedging: when a reply is overdue, and whether its request may be published again.

A request is repeated only if its reply takes much longer than recent ones, which a lost message or a killed worker explains.
An overloaded worker tier also delays replies, so a budget limits repeats: they must not add to the overload. A part of the
budget is reserved for requests that later ones have overtaken. In an overload all wait alike, but a lost message is overtaken.
"""

import threading
from bisect import bisect_left, insort
from collections import deque
from typing import Final

MAX_ATTEMPTS: Final = 3
"""Maximum messages for one request: the first one and two repeats."""

_WINDOW: Final = 500
"""Number of latest waits that determine when a reply is overdue."""
_MIN_WAITS: Final = 50
"""Number of waits from which their 99th percentile is used. It would be the longest of fewer waits anyway."""
_MULTIPLE_OF_P99: Final = 3
"""A reply is overdue after this multiple of the 99th percentile. Without faults, hardly any reply takes that long."""
_MIN_OVERDUE_SECONDS: Final = 1.0
"""A reply is never overdue before this time, so that a pause of some hundred milliseconds in a worker costs no repeat."""
_MAX_OVERDUE_SHARE: Final = 0.25
"""A reply is overdue after this share of the request timeout at the latest, so that two repeats have time to be answered."""

_BUDGET: Final = 10.0
"""Maximum of the budget, and its initial value: the number of repeats that may be published at once. A killed worker loses a
message for each of its threads."""
_RESERVE: Final = 5.0
"""Part of the budget that only overtaken requests may spend."""
_OVERTAKEN_SECONDS: Final = 1.0
"""A request is overtaken if one that was published this much later has been answered. Queues do not keep the exact order."""
_BUDGET_PER_REQUEST: Final = 0.01
"""Amount by which each request raises the budget: in the long run, at most one request in a hundred is converted twice."""


class Hedging:
    """Latency of recent replies, and the budget for repeats. One per Requester; safe to use from many threads."""

    def __init__(self, timeout_seconds: float) -> None:
        """`timeout_seconds` is the request timeout."""
        self._max_overdue_seconds = _MAX_OVERDUE_SHARE * timeout_seconds
        self._waits: deque[float] = deque(maxlen=_WINDOW)
        self._sorted_waits: list[float] = []
        self._latest_answered = 0.0
        self._budget = _BUDGET
        self._lock = threading.Lock()

    def record_request(self) -> None:
        """Raise the budget for a request that was published for the first time."""
        with self._lock:
            self._budget = min(_BUDGET, self._budget + _BUDGET_PER_REQUEST)

    def record_reply(self, *, published_at: float, now: float) -> None:
        """Record the reply to a message. Both times are in seconds since the epoch."""
        seconds = now - published_at
        with self._lock:
            self._latest_answered = max(self._latest_answered, published_at)
            if len(self._waits) == _WINDOW:
                del self._sorted_waits[bisect_left(self._sorted_waits, self._waits[0])]
            self._waits.append(seconds)
            insort(self._sorted_waits, seconds)

    def overdue_seconds(self) -> float:
        """Return the seconds without a reply after which a request should be published again."""
        with self._lock:
            if len(self._sorted_waits) < _MIN_WAITS:
                return self._max_overdue_seconds
            overdue = max(_MIN_OVERDUE_SECONDS, _MULTIPLE_OF_P99 * self._quantile(0.99))
            return min(overdue, self._max_overdue_seconds)

    def usual_seconds(self) -> float:
        """Return the median of the recent waits, in seconds, or 0 before the first one. A repeat needs at least this time."""
        with self._lock:
            return self._quantile(0.5) if self._sorted_waits else 0.0

    def take(self, *, published_at: float) -> bool:
        """Take a repeat of a message from the budget. Return False if it is spent, and the message must not be published again.

        `published_at` is the time at which the message was published last, in seconds since the epoch.
        """
        with self._lock:
            is_overtaken = self._latest_answered - published_at >= _OVERTAKEN_SECONDS
            if self._budget < (1 if is_overtaken else 1 + _RESERVE):
                return False
            self._budget -= 1
            return True

    def give_back(self) -> None:
        """Return a repeat to the budget: it was not published, or it was needed, because its reply was the first."""
        with self._lock:
            self._budget = min(_BUDGET, self._budget + 1)

    def _quantile(self, share: float) -> float:
        return self._sorted_waits[int(share * (len(self._sorted_waits) - 1))]
