"""Sockets and descriptors for many connections to a server on this machine."""

import errno
import resource
import socket
from collections.abc import Sequence
from typing import Final

LOOPBACK: Final = ("127.0.0.1",)

CONNECTING: Final = frozenset({0, errno.EINPROGRESS})
"""Results of `connect_ex` on a non-blocking socket that has connected, or is connecting."""


def raise_descriptor_limit() -> None:
    """Allow this process as many open descriptors as its hard limit permits."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


class Connector:
    """Opens non-blocking connections from each source address in turn.

    All of 127.0.0.0/8 is this machine. Each address has about 28,000 ports, and the port of a
    closed connection stays in use for a minute.
    """

    def __init__(self, port: int, sources: Sequence[str] = LOOPBACK) -> None:
        self._address: Final = ("127.0.0.1", port)
        self._sources: Final = tuple(sources)
        self._opened = 0

    def connect(self, *, receive_bytes: int = 0) -> tuple[socket.socket, int]:
        """Return a new socket and the result of `connect_ex`. `receive_bytes` sets its receive
        buffer, if it is not 0."""
        connection = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        connection.setblocking(False)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if receive_bytes:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        source = self._sources[self._opened % len(self._sources)]
        self._opened += 1
        try:
            if source != "127.0.0.1":
                # The kernel then chooses the port on connecting, and may use one port for several
                # destinations.
                connection.setsockopt(socket.IPPROTO_IP, _BIND_ADDRESS_NO_PORT, 1)
                connection.bind((source, 0))
            return connection, connection.connect_ex(self._address)
        except OSError as error:
            return connection, error.errno or errno.EIO


# IP_BIND_ADDRESS_NO_PORT, which the module `socket` does not name in Python 3.11
_BIND_ADDRESS_NO_PORT: Final = 24
