"""Hedging: when a reply is overdue, and whether its request may be published again.

A request is repeated only if its reply takes much longer than recent replies did, which suggests a
lost message or a killed worker. An overloaded worker tier delays replies too, so a budget keeps
repeats from adding to the overload. Part of the budget is reserved for overtaken requests: in an
overload all requests wait alike, but later requests overtake a lost message.
"""

import threading
from bisect import bisect_left, insort
from collections import deque
from typing import Final

MAX_ATTEMPTS: Final = 3
"""Maximum messages for one request: the first one and two repeats."""

_WINDOW: Final = 500
"""Number of latest waits that determine when a reply is overdue."""
_MIN_WAITS: Final = 50  # with fewer waits, the 99th percentile would be the longest one
"""Minimum number of waits before their 99th percentile is used."""
_MULTIPLE_OF_P99: Final = 3  # without faults, hardly any reply takes this long
"""A reply is overdue after this multiple of the 99th percentile."""
# a worker may pause for some hundred milliseconds, which must not cost a repeat
_MIN_OVERDUE_SECONDS: Final = 1.0
"""Minimum time before a reply is overdue."""
_MAX_OVERDUE_SHARE: Final = 0.25  # leaves time for the replies to two repeats
"""Maximum time before a reply is overdue, as a share of the request timeout."""

_BUDGET: Final = 10.0  # a killed worker loses a message for each of its threads
"""Initial and maximum budget: repeats that may be published at once."""
_RESERVE: Final = 5.0
"""Part of the budget that only overtaken requests may spend."""
_OVERTAKEN_SECONDS: Final = 1.0  # queues do not keep the exact order
"""Lead after which a later request, once answered, has overtaken an earlier one."""
# in the long run, at most one request in a hundred is converted twice
_BUDGET_PER_REQUEST: Final = 0.01
"""Budget added by each request."""


class Hedging:
    """Latency of recent replies, and the budget for repeats. One per Requester; safe to use from
    many threads."""

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
        if len(self._sorted_waits) < _MIN_WAITS:
            return self._max_overdue_seconds
        overdue = max(_MIN_OVERDUE_SECONDS, _MULTIPLE_OF_P99 * self._quantile(0.99))
        return min(overdue, self._max_overdue_seconds)

    def usual_seconds(self) -> float:
        """Return the median of the recent waits, in seconds; 0 before the first one. A repeat needs
        at least this long."""
        return self._quantile(0.5) if self._sorted_waits else 0.0

    def take(self, *, published_at: float) -> bool:
        """Spend one repeat of the budget; return False if it is exhausted and the message must not
        be published again.

        `published_at` is the time of the message's latest publication, in seconds since the epoch.
        """
        with self._lock:
            is_overtaken = self._latest_answered - published_at >= _OVERTAKEN_SECONDS
            if self._budget < (1 if is_overtaken else 1 + _RESERVE):
                return False
            self._budget -= 1
            return True

    def give_back(self) -> None:
        """Return a repeat to the budget: either it was not published, or its reply came first."""
        with self._lock:
            self._budget = min(_BUDGET, self._budget + 1)

    def _quantile(self, share: float) -> float:
        # Without the lock: while another thread replaces a wait, there is one less, and no share
        # is near enough to 1 to read beyond it.
        return self._sorted_waits[int(share * (len(self._sorted_waits) - 1))]
