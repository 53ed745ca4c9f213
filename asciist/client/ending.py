"""Ends a call of the client from another thread."""

import threading
from contextlib import suppress
from contextvars import ContextVar
from typing import TYPE_CHECKING

from asciist.errors import ServiceError

if TYPE_CHECKING:
    import socket

_current: "ContextVar[Ending | None]" = ContextVar("ending", default=None)


class Ending:
    """Ends a call, at a time chosen by another thread."""

    def __init__(self) -> None:
        self._ended = threading.Event()
        self._lock = threading.Lock()
        self._connection: socket.socket | None = None

    def apply(self) -> None:
        """Apply to all later calls of this thread."""
        _current.set(self)

    def end(self) -> None:
        """Make the call fail soon by closing its connection; do nothing if it has ended."""
        self._ended.set()
        with self._lock:
            if self._connection:
                _shut_down(self._connection)

    def watch(self, connection: "socket.socket") -> None:
        """Register a connection, to close it when the call must end."""
        with self._lock:
            self._connection = connection
            if self._ended.is_set():
                _shut_down(connection)

    def sleep(self, seconds: float) -> None:
        """Wait before another request of the call. Raises ServiceError if the call must end."""
        if self._ended.wait(seconds):
            raise ServiceError("the call was cancelled")


def current() -> Ending:
    """Return the ending of the calls in this context, or one that never ends them."""
    return _current.get() or Ending()


def _shut_down(connection: "socket.socket") -> None:
    import socket

    with suppress(OSError):  # closed already
        # That of TLS would discard its state, which the thread of the call is using.
        socket.socket.shutdown(connection, socket.SHUT_RDWR)
