"""A bounded resource that callers reserve in parts: bytes, or places."""

import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from asciist.errors import OverloadedError


class Capacity:
    """A weighted semaphore, first come first served: a large reservation is not starved by small ones behind it."""

    def __init__(self, total: int) -> None:
        self._total: Final = total
        self._free = total
        self._changed = threading.Condition()
        self._line: deque[object] = deque()

    @property
    def held(self) -> int:
        """What is reserved now."""
        return self._total - self._free

    @contextmanager
    def reserve(self, amount: int, *, wait_seconds: float) -> Iterator[None]:
        """Hold `amount` (at most the total) for the length of a `with` block; raises OverloadedError if it stays taken."""
        amount = min(amount, self._total)
        ticket = object()
        with self._changed:
            self._line.append(ticket)
            try:
                if not self._changed.wait_for(lambda: self._line[0] is ticket and self._free >= amount, wait_seconds):
                    raise OverloadedError
                self._free -= amount
            finally:
                self._line.remove(ticket)
                self._changed.notify_all()
        try:
            yield
        finally:
            with self._changed:
                self._free += amount
                self._changed.notify_all()
