"""Bounded resource, such as bytes of memory or request slots, that callers reserve in parts."""

import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from asciist.errors import OverloadedError


class Capacity:
    """Weighted semaphore. Reservations are granted in order of arrival, so small ones never
    overtake a large one."""

    def __init__(self, total: int) -> None:
        self._total: Final = total
        self._free = total
        self._changed = threading.Condition()
        self._waiting: deque[object] = deque()

    @property
    def held(self) -> int:
        """Amount reserved now."""
        return self._total - self._free

    @contextmanager
    def reserve(self, amount: int, *, wait_seconds: float) -> Iterator[None]:
        """Reserve `amount`, or the total if that is less, for the duration of a `with` block.

        Raises OverloadedError if the amount does not become free within `wait_seconds`.
        """
        amount = min(amount, self._total)
        ticket = object()
        with self._changed:
            self._waiting.append(ticket)
            try:
                if not self._changed.wait_for(
                    lambda: self._waiting[0] is ticket and self._free >= amount, wait_seconds
                ):
                    raise OverloadedError
                self._free -= amount
            finally:
                self._waiting.remove(ticket)
                self._changed.notify_all()
        try:
            yield
        finally:
            with self._changed:
                self._free += amount
                self._changed.notify_all()
