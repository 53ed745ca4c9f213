"""Sends answers, and bounds the memory of unread answers."""

import os
import socket
import struct
import time
from collections.abc import Iterable
from contextlib import suppress
from email.utils import formatdate
from functools import lru_cache
from typing import Any, Final

from gunicorn.http.wsgi import Response

_UNREAD_BYTES: Final = 64_000_000
"""Maximum bytes of unread answers in one process, besides the system's buffers."""

_RESET_ON_CLOSE: Final = struct.pack("ii", 1, 0)
"""Value of SO_LINGER that makes closing a connection discard unsent data and reset it."""


class Outbox:
    """Answers that clients have not read yet. If they exceed their limit on memory, the answer
    waiting longest is cut off."""

    def __init__(self) -> None:
        self._waiting: dict[Any, int] = {}
        self._bytes = 0

    def send(self, client: Any, head: bytes, body: bytes) -> None:
        """Send an answer, waiting for the client. Raises OSError."""
        sent = 0
        with suppress(BlockingIOError):
            # what fits into the system's buffer needs no waiting
            sent = os.writev(client.fileno(), (head, body))
        if sent == len(head) + len(body):
            return
        # Does not copy the body, because other clients may be waiting for it too.
        rest = (
            memoryview(body)[sent - len(head) :]
            if sent >= len(head)
            else memoryview(head + body)[sent:]
        )
        self._waiting[client] = len(rest)
        self._bytes += len(rest)
        while self._bytes > _UNREAD_BYTES:
            slowest = next(iter(self._waiting))
            self._forget(slowest)
            with suppress(OSError):
                slowest.shutdown(socket.SHUT_RDWR)
        try:
            client.sendall(rest)
        except OSError:
            # Otherwise the system would keep its part of the answer, and wait for the client.
            with suppress(OSError):
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
            raise
        finally:
            self._forget(client)

    def _forget(self, client: Any) -> None:
        self._bytes -= self._waiting.pop(client, 0)


@lru_cache(maxsize=1)
def _http_date(seconds: int) -> str:
    """Return a time in the format of HTTP. Cached for a second, because formatting takes 5 µs."""
    return formatdate(seconds, usegmt=True)


class Answer(Response):
    """A response whose head and body are sent together."""

    def __init__(self, req: Any, sock: Any, cfg: Any, outbox: Outbox) -> None:
        super().__init__(req, sock, cfg)
        self._outbox = outbox
        self._head = b""

    def process_headers(self, headers: Iterable[tuple[str, str]]) -> None:
        """Take the headers of the application. They are not searched for line breaks: Flask has
        already rejected them."""
        # Its stub says Iterable.
        own: list[tuple[str, str]] = self.headers  # type: ignore[assignment]
        for name, value in headers:
            if name == "Content-Length":
                self.response_length = int(value)
            own.append((name, value))

    def default_headers(self) -> list[str]:
        major, minor = self.req.version  # type: ignore[misc]  # its stub says None
        lines = [
            f"HTTP/{major}.{minor} {self.status}\r\n",
            f"Server: {self.version}\r\n",
            f"Date: {_http_date(int(time.time()))}\r\n",
            f"Connection: {'close' if self.should_close() else 'keep-alive'}\r\n",
        ]
        if self.chunked:
            lines.append("Transfer-Encoding: chunked\r\n")
        return lines

    def send_headers(self) -> None:
        if not self.headers_sent:
            lines = [
                *self.default_headers(),
                *(f"{name}: {value}\r\n" for name, value in self.headers),
                "\r\n",
            ]
            self._head = "".join(lines).encode("latin-1")
            self.headers_sent = True

    def close(self) -> None:
        super().close()
        self._flush(b"")

    def _emit_body(self, data: bytes) -> None:
        self._flush(b"%X\r\n%b\r\n" % (len(data), data) if self.chunked else data)

    def _flush(self, data: bytes) -> None:
        head, self._head = self._head, b""
        if head or data:
            self._outbox.send(self.sock, head, data)
