"""Age of a message, independent of the clocks of the two tiers.

A message contains the time of its publication by the web process's clock, and the queue adds the
time of its arrival. All processes share only the queue's clock, so the age counts from the arrival,
and the web process's clock is not used. At a first delivery the queue also reports its own time;
the difference from this machine's time is this machine's clock skew.
"""

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Final

from asciist.protocol.ports import Delivery

# AWS refuses requests that are signed by a clock more than 300 s off
# (https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv.html), and sending takes up to
# ten seconds. An older message was moved back from the dead-letter queue, which resets its arrival
# time.
_MAX_SKEW_SECONDS: Final = 310
"""Maximum apparent extra age of a message, in seconds, that a slow clock of the web tier
explains."""
_MAX_START_SECONDS: Final = 3.0  # a cold start takes about 1.5 s
"""Maximum seconds between a delivery and its processing."""
# the minimum counts: a wait for this process, as while a function is throttled, adds to the
# difference
_DELIVERIES: Final = 100
"""Number of latest deliveries from which the clock skew is estimated."""


class MessageAge:
    """Estimates the age of messages. One per worker process; safe to use from many threads."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        """`clock` returns this machine's time, in seconds since the epoch."""
        self._clock = clock
        self._seconds_ahead: deque[float] = deque(maxlen=_DELIVERIES)
        self._lock = threading.Lock()

    def seconds(self, published_at: float, delivery: Delivery) -> float:
        """Return the seconds since a message was published.

        `published_at` is in seconds since the epoch. If the queue reports no arrival time, the
        result relies on the clocks of this machine and of the web process.
        """
        if delivery.sent_at is None:
            return max(0.0, self._clock() - published_at)
        seconds_before = delivery.sent_at - published_at
        return self._seconds_in_queue(delivery.sent_at, delivery.age_seconds) + (
            seconds_before if seconds_before > _MAX_SKEW_SECONDS else 0.0
        )

    def _seconds_in_queue(self, sent_at: float, age_at_delivery: float | None) -> float:
        """Return the seconds since a message arrived in the queue, or at least until its
        delivery."""
        by_clock = self._clock() - sent_at
        with self._lock:
            if age_at_delivery is not None:
                ahead = by_clock - age_at_delivery
                self._seconds_ahead.append(0.0 if 0 <= ahead <= _MAX_START_SECONDS else ahead)
            return max(age_at_delivery or 0.0, by_clock - min(self._seconds_ahead, default=0.0))
