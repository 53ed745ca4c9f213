"""The listening socket of a process: accepts connections, also where file descriptors run out."""

import errno
from collections.abc import Callable
from typing import Any

import gevent
from gevent.pool import Pool
from gevent.server import StreamServer


class Listener(StreamServer):
    """Listening socket that frees a connection if the process runs out of file descriptors."""

    def __init__(
        self, listener: Any, *, handle: Callable[..., None], make_room: Callable[[], bool]
    ) -> None:
        """`make_room` ends a connection; it returns whether there was one to end."""
        # The worker itself bounds the connections, because those in the backlog would get no
        # answer.
        super().__init__(listener, handle=handle, spawn=Pool())
        self._make_room = make_room
        hub = gevent.get_hub()
        if NoDescriptorError not in hub.NOT_ERROR:
            hub.NOT_ERROR += (NoDescriptorError,)  # gevent prints a traceback for all others

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
