"""The answer 503 to a request that is not parsed, prepared in advance: it costs little when the service is overloaded."""

import socket
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final

import gevent

from asciist.errors import sentences

_LINGER_SECONDS: Final = 1.0
_LINGER_BYTES: Final = 16_000_000
"""Bounds on what is read, and thrown away, after a refusal: a connection closed with unread data would lose the answer. The
largest request body fits."""

_CHUNK_BYTES: Final = 262_144
_JSON: Final = b'{"error":"%b"}\n' % sentences.BUSY.encode()
_TEXT: Final = sentences.BUSY.encode() + b"\n"


class Refusal:
    """The answer, with `headers` in addition to its own."""

    def __init__(self, headers: Mapping[str, str]) -> None:
        more = "".join(f"{name}: {value}\r\n" for name, value in headers.items()).encode()
        self._json = _answer(b"application/json", _JSON, more)
        self._text = _answer(b"text/plain; charset=utf-8", _TEXT, more)

    def send(self, client: Any, *, as_json: bool = False) -> None:
        """Send the answer, and let the client read it before the caller closes the connection. Raises OSError."""
        client.settimeout(_LINGER_SECONDS)
        client.sendall(self._json if as_json else self._text)
        client.shutdown(socket.SHUT_WR)
        remaining = _LINGER_BYTES
        # The time bounds all reads together: a client may send a byte at a time.
        with suppress(TimeoutError), gevent.Timeout(_LINGER_SECONDS, TimeoutError):
            while remaining > 0:
                received = len(client.recv(_CHUNK_BYTES))
                if not received:
                    return
                remaining -= received


def _answer(media_type: bytes, body: bytes, more_headers: bytes) -> bytes:
    head = (
        b"HTTP/1.1 503 Service Unavailable\r\nServer: asciist\r\nConnection: close\r\nCache-Control: no-store\r\n"
        b"Retry-After: 2\r\nContent-Type: %b\r\nContent-Length: %d\r\n%b\r\n"
    )
    return head % (media_type, len(body), more_headers) + body
