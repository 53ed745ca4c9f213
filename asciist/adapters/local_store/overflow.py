"""Objects held in memory while the disk cannot store them."""

import threading
from collections import OrderedDict
from typing import Final

MAX_BYTES: Final = 64_000_000
"""Maximum bytes in memory: enough for the images of the requests in flight, unless most are near
the size limit."""


class Overflow:
    """Objects by key, bounded in bytes. At the bound, the oldest are dropped."""

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self.bodies: OrderedDict[str, bytes] = OrderedDict()
        """The objects, for reading."""
        self._bytes = 0

    def put(self, key: str, body: bytes) -> None:
        with self._lock:
            self._bytes -= len(self.bodies.get(key, b""))
            self._add(key, body)

    def create(self, key: str, body: bytes) -> bool:
        """Add an object unless the key exists; return whether it was added."""
        with self._lock:
            if key in self.bodies:
                return False
            self._add(key, body)
            return True

    def remove(self, key: str) -> None:
        """Remove an object if it exists."""
        with self._lock:
            self._bytes -= len(self.bodies.pop(key, b""))

    def _add(self, key: str, body: bytes) -> None:
        self.bodies[key] = body  # in one step: readers do not take the lock
        self.bodies.move_to_end(key)
        self._bytes += len(body)
        while self._bytes > self._max_bytes:
            _, oldest = self.bodies.popitem(last=False)
            self._bytes -= len(oldest)
