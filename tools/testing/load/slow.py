"""Clients that occupy connections: they send part of a request, or never read the response."""

import select
import socket
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from typing import Final, Self

from tools.testing.load.sockets import CONNECTING, LOOPBACK, Connector, raise_descriptor_limit

_BATCH: Final = 200
"""Connections opened at a time, limited so that they fit into the queue of a listening socket."""

_NON_READER_BUFFER_BYTES: Final = 4096


def half_head() -> bytes:
    """Return the beginning of a request's head."""
    return b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/jpeg\r\nX-Slow: "


def half_body(image: bytes) -> bytes:
    """Return an upload of an image without its second half."""
    head = b"PUT /?width=80 HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(image)
    return head + image[: len(image) // 2]


class SlowClients:
    """Connections that send a few bytes and are then held until the server or `close` closes them.

    `poll` reads the server's data, except from clients that never read. All calls are made in one
    thread.
    """

    def __init__(self, port: int, *, sources: Sequence[str] = LOOPBACK) -> None:
        raise_descriptor_limit()
        self._connector = Connector(port, sources)
        self._epoll = select.epoll()
        self._held: dict[int, socket.socket] = {}
        self._reading: dict[int, bool] = {}
        self.dropped: Counter[str] = Counter()
        """Connections that ended, by reason: the server's status, as `408`, or `closed`, `reset`,
        `refused`."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def held(self) -> int:
        """Number of connections that are open."""
        return len(self._held)

    def open(
        self, beginning: bytes, count: int, *, reading: bool = True, seconds: float = 10.0
    ) -> int:
        """Open `count` connections and send `beginning` on each; return how many sent all of it
        within `seconds`.

        With `reading=False` they have small receive buffers, and never read the server's data.
        """
        complete = 0
        deadline = time.monotonic() + seconds
        for start in range(0, count, _BATCH):
            complete += self._open_batch(beginning, min(_BATCH, count - start), reading, deadline)
        return complete

    def send(self, data: bytes) -> None:
        """Send a few more bytes on each connection that is read, like a slow client."""
        for descriptor, connection in list(self._held.items()):
            if self._reading[descriptor]:
                with suppress(OSError):  # `poll` finds out why
                    connection.send(data)

    def poll(self) -> None:
        """Read the server's data, and drop the connections that it has closed."""
        for descriptor, events in self._epoll.poll(0, max(1, len(self._held))):
            self._look(descriptor, events)

    def close(self) -> None:
        """Close all connections. May be called again."""
        for connection in self._held.values():
            connection.close()
        self._held.clear()
        self._reading.clear()
        self._epoll.close()

    def _open_batch(self, beginning: bytes, count: int, reading: bool, deadline: float) -> int:
        unsent: dict[int, memoryview] = {}
        # Without EPOLLIN, epoll reports a connection that is never read only when the server has
        # reset it.
        interest = select.EPOLLIN | select.EPOLLRDHUP if reading else 0
        for _ in range(count):
            connection, outcome = self._connector.connect(
                receive_bytes=0 if reading else _NON_READER_BUFFER_BYTES
            )
            if outcome not in CONNECTING:
                connection.close()
                self.dropped["refused"] += 1
                continue
            descriptor = connection.fileno()
            self._held[descriptor], self._reading[descriptor] = connection, reading
            unsent[descriptor] = memoryview(beginning)
            self._epoll.register(descriptor, interest | select.EPOLLOUT)
        complete = 0
        while unsent and (left := deadline - time.monotonic()) > 0:
            for descriptor, events in self._epoll.poll(min(left, 0.1), 2 * _BATCH):
                if descriptor in unsent and events & select.EPOLLOUT:
                    with suppress(OSError):
                        unsent[descriptor] = unsent[descriptor][
                            self._held[descriptor].send(unsent[descriptor]) :
                        ]
                    if not unsent[descriptor]:
                        del unsent[descriptor]
                        complete += 1
                        self._epoll.modify(descriptor, interest)
                if events & ~select.EPOLLOUT:
                    self._look(descriptor, events)
                    if descriptor not in self._held:
                        unsent.pop(descriptor, None)
        # held, but the server has not accepted them or does not read them
        for descriptor in unsent:
            self._epoll.modify(descriptor, interest)
        return complete

    def _look(self, descriptor: int, events: int) -> None:
        connection = self._held.get(descriptor)
        if connection is None:
            return
        if not self._reading[descriptor]:
            if events & (select.EPOLLERR | select.EPOLLHUP):
                self._drop(descriptor, "reset")
            return
        try:
            answer = connection.recv(4096)
        except BlockingIOError:
            return
        except ConnectionRefusedError:
            self._drop(descriptor, "refused")
        except OSError:
            self._drop(descriptor, "reset")
        else:
            status = answer[9:12].decode("ascii", "replace")
            self._drop(descriptor, status if answer.startswith(b"HTTP/1.") else "closed")

    def _drop(self, descriptor: int, reason: str) -> None:
        self.dropped[reason] += 1
        del self._reading[descriptor]
        self._held.pop(descriptor).close()
