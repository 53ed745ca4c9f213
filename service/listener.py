"""The listening socket of a web process, and the order in which new requests get its attention.

Thousands of clients that connect at once would hold up all others for as long as it takes to begin
their uploads, because connections are accepted in the order of their arrival. So a process accepts
quickly, and begins few uploads before it looks for requests of other kinds.
"""

import errno
import socket
import struct
from collections import deque
from collections.abc import Callable
from typing import Any, Final

import gevent
from gevent.hub import Waiter
from gevent.pool import Pool
from gevent.server import StreamServer

_MOST_AT_ONCE: Final = 256
"""Maximum connections accepted in a turn of the event loop by all processes together."""

_UPLOADS_A_TURN: Final = 4  # each takes about half a millisecond
"""Uploads that begin or end in a turn of the event loop."""

# the connections that wait to be accepted, if the socket listens
_UNACKNOWLEDGED: Final = struct.Struct("=8x16xI")
"""The first fields of Linux's `struct tcp_info`, up to the unacknowledged segments."""


class Listener(StreamServer):
    """Accepts connections, and makes room for one if the process runs out of file descriptors."""

    def __init__(
        self,
        listener: Any,
        *,
        handle: Callable[..., None],
        make_room: Callable[[], bool],
        processes: int,
    ) -> None:
        """`make_room` ends a connection, and returns whether there was one to end. `processes` is
        the number of processes that accept connections of this socket."""
        # The worker itself bounds the connections, because those in the backlog would get no
        # answer.
        super().__init__(listener, handle=handle, spawn=Pool())
        self._make_room = make_room
        self._processes = processes
        hub = gevent.get_hub()
        if NoDescriptorError not in hub.NOT_ERROR:
            hub.NOT_ERROR += (NoDescriptorError,)  # gevent prints a traceback for all others

    def _do_read(self) -> None:
        self.max_accept = max(1, min(waiting(self.socket), _MOST_AT_ONCE) // self._processes)
        super()._do_read()  # type: ignore[misc]  # missing in its stubs

    def do_read(self) -> Any:
        try:
            return super().do_read()
        except OSError as error:
            if error.errno not in (errno.EMFILE, errno.ENFILE):
                raise
            if self._make_room():
                return None  # the connection is accepted once the other is closed
            raise NoDescriptorError from error


class NoDescriptorError(Exception):
    """A connection cannot be accepted. The server pauses and tries again."""


class Turns:
    """Lets a few greenlets proceed in each turn of the event loop, in the order of their calls.

    Between turns, the loop looks for data that has arrived, and serves those that need no turn.
    """

    def __init__(self, places: int = _UPLOADS_A_TURN) -> None:
        self._places = self._left = places
        self._waiting: deque[Waiter[None]] = deque()
        # `gevent.sleep(0)` would let hundreds proceed before the loop looks for data
        self._timer: Any = gevent.get_hub().loop.timer(0)

    def take(self) -> None:
        """Return once it is the caller's turn."""
        if not self._timer.active:
            self._timer.start(self._begin, update=False)
        if self._left > 0:
            self._left -= 1
            return
        waiter: Waiter[None] = Waiter()
        self._waiting.append(waiter)
        waiter.get()

    def _begin(self) -> None:
        if not self._waiting:
            self._left = self._places
            return
        self._timer.start(self._begin, update=False)
        for _ in range(min(self._places, len(self._waiting))):
            self._waiting.popleft().switch(None)


def waiting(listener: socket.socket) -> int:
    """Return how many connections wait to be accepted; 0 where the system does not report it."""
    if not hasattr(socket, "TCP_INFO"):
        return 0
    info = listener.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _UNACKNOWLEDGED.size)
    return int(_UNACKNOWLEDGED.unpack(info)[0]) if len(info) == _UNACKNOWLEDGED.size else 0
