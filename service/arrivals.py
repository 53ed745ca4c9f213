"""Asks the kernel when a connection last received data, and how many bytes are unread."""

import array
import fcntl
import socket
import struct
import termios
from typing import Any, Final

_LAST_RECEIVED: Final = struct.Struct("=8x12I")
"""The first fields of Linux's `struct tcp_info`; the last of them is the milliseconds since data
was last received."""


_ESTABLISHED: Final = b"\x01"
"""State of an open connection: the first byte of the structure."""


def seconds_since_data(connection: Any) -> float:
    """Return the seconds since a TCP connection last received data; 0 where the system does not
    report it. Raises OSError."""
    if not hasattr(socket, "TCP_INFO"):
        return 0.0
    info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _LAST_RECEIVED.size)
    return (
        float(_LAST_RECEIVED.unpack(info)[-1] / 1000) if len(info) == _LAST_RECEIVED.size else 0.0
    )


def has_left(connection: Any) -> bool:
    """Return whether the other side has closed a TCP connection; False where the system does not
    report it."""
    if connection is None or not hasattr(socket, "TCP_INFO"):
        return False
    try:
        state = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)
    except OSError:
        return True
    return bool(state != _ESTABLISHED)


def unread_bytes(connection: Any) -> int:
    """Return the number of received but unread bytes of a connection. Raises OSError."""
    size = array.array("i", [0])
    fcntl.ioctl(connection.fileno(), termios.FIONREAD, size)
    return size[0]
