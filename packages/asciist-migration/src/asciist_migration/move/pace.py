"""Limits on the rate of a copy."""

import threading
import time
from collections.abc import Callable
from typing import Final

_BURST_SECONDS: Final = 0.1
"""Burst allowed after a pause, in seconds of work at the limit."""


class Pace:
    """Makes threads wait, so that together they respect a limit on objects and on bytes per second.
    None is no limit."""

    def __init__(
        self,
        *,
        objects_per_second: float | None = None,
        bytes_per_second: float | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._seconds_per_object = 1 / objects_per_second if objects_per_second else 0.0
        self._seconds_per_byte = 1 / bytes_per_second if bytes_per_second else 0.0
        self._clock = clock
        self._sleep = sleep
        self._free_at = clock()
        self._lock = threading.Lock()

    def wait(self, size: int) -> None:
        """Wait until an object of `size` bytes may be copied."""
        seconds = max(self._seconds_per_object, size * self._seconds_per_byte)
        if not seconds:
            return
        with self._lock:
            starts_at = max(self._free_at, self._clock() - _BURST_SECONDS)
            self._free_at = starts_at + seconds
        self._sleep(max(0.0, starts_at - self._clock()))
