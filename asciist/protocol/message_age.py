"""Age of a message, for which no two clocks need to agree.

A message has the time at which its web process published it, and the queue adds the time at which it took it. The queue's clock
is the only one that all processes share, so the age begins there, and the clock of the web process is not used. The queue tells
the time of a message's first delivery, too: compared with this machine's clock, it shows how far that clock is ahead.
"""

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Final

from asciist.protocol.ports import Delivery

_MAX_SKEW_SECONDS: Final = 310
"""Seconds by which a message seems to be older than the queue says if the web tier's clock is slow: AWS refuses requests that
are signed by a clock more than 300 s off (https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv.html), and sending
takes up to ten. An older message was moved back from the dead-letter queue, which makes it new to the request queue."""
_MAX_START_SECONDS: Final = 3.0
"""Seconds from a delivery to its processing that a cold start explains, which takes about 1.5."""
_DELIVERIES: Final = 100
"""Number of latest deliveries that show how far this machine's clock is ahead. A delivery that had to wait for this process, as
while a function is throttled, seems to show more than it is, so the one that shows least is right."""


class MessageAge:
    """Tells the age of messages. One per worker process; safe to use from many threads."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        """`clock` returns this machine's time, in seconds since the epoch."""
        self._clock = clock
        self._seconds_ahead: deque[float] = deque(maxlen=_DELIVERIES)
        self._lock = threading.Lock()

    def seconds(self, published_at: float, delivery: Delivery) -> float:
        """Return the seconds since a message was published at the time `published_at`, in seconds since the epoch.

        If the queue does not tell when it took the message, the clocks of this machine and of the web process have to agree.
        """
        if delivery.sent_at is None:
            return max(0.0, self._clock() - published_at)
        seconds_before = delivery.sent_at - published_at
        return self._seconds_in_queue(delivery.sent_at, delivery.age_seconds) + (
            seconds_before if seconds_before > _MAX_SKEW_SECONDS else 0.0
        )

    def _seconds_in_queue(self, sent_at: float, age_at_delivery: float | None) -> float:
        """Return the seconds since the queue took a message, or at least since then until it delivered it."""
        by_clock = self._clock() - sent_at
        with self._lock:
            if age_at_delivery is not None:
                ahead = by_clock - age_at_delivery
                self._seconds_ahead.append(0.0 if 0 <= ahead <= _MAX_START_SECONDS else ahead)
            return max(age_at_delivery or 0.0, by_clock - min(self._seconds_ahead, default=0.0))
