"""The answer 503 to a request that is not parsed, prepared in advance: it costs little when the service is overloaded."""

import os
import random
import re
import socket
import sys
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
_DISCARD: Final = socket.MSG_TRUNC if sys.platform == "linux" else 0
"""Flag with which Linux throws data away without copying it (tcp(7))."""

_MOVED: Final = 0.1
"""Share of refused connections that are closed although they could be kept: the next ones of their clients may reach a process
that is less busy."""

_KEPT_BYTES: Final = 1_000_000
"""Maximum size of a refused request after which its connection is kept: a new one would cost more than reading so much."""

_LENGTH: Final = re.compile(rb"\r\ncontent-length: *([0-9]{1,7})\r\n")
_NOT_KEPT: Final = re.compile(
    rb" http/1\.0\r\n|transfer-encoding|expect|close|(?<!\r)\n|\n[ \t]|content-length.*content-length", re.DOTALL
)
"""Parts of a head, in lower case, because of which its connection is not kept: it ends anyway, or the size of the request may
be another than it seems, as with two lengths, with lines that go on in the next one, or with a transfer coding."""

_JSON: Final = b'{"error":"%b"}\n' % sentences.BUSY.encode()
_TEXT: Final = sentences.BUSY.encode() + b"\n"


class Refusal:
    """The answer, with `headers` in addition to its own."""

    def __init__(self, headers: Mapping[str, str]) -> None:
        more = "".join(f"{name}: {value}\r\n" for name, value in headers.items()).encode()
        self._answers = {
            (as_json, is_kept): _answer(*form, b"keep-alive" if is_kept else b"close", more)
            for as_json, form in ((True, (b"application/json", _JSON)), (False, (b"text/plain; charset=utf-8", _TEXT)))
            for is_kept in (True, False)
        }
        self._discarded = bytearray(_CHUNK_BYTES)

    def send(self, client: Any, start: bytes = b"", *, may_keep: bool = True) -> bool:
        """Send the answer, and read the rest of the request, whose first bytes are `start`. Raises OSError.

        Return whether the connection can be used for the next request. If not, the client has had time to read the answer.
        """
        size = request_bytes(start) if may_keep and random.random() >= _MOVED else None  # noqa: S311 - not a secret
        client.settimeout(_LINGER_SECONDS)
        # Not `sendall`, which could wait: a client whose buffer has no room for this answer does not read the earlier ones.
        os.write(client.fileno(), self._answers[b"application/json" in start, size is not None])
        if size is None:
            client.shutdown(socket.SHUT_WR)
        return self._read(client, size or _LINGER_BYTES) and size is not None

    def _read(self, client: Any, size: int) -> bool:
        """Read and throw away `size` bytes. Return whether they came in time."""
        size -= client.recv_into(self._discarded, min(size, _CHUNK_BYTES), _DISCARD)
        if not size:
            return True
        # The time bounds all further reads together: a client may send a byte at a time.
        with suppress(TimeoutError), gevent.Timeout(_LINGER_SECONDS, TimeoutError):
            while size > 0:
                received = client.recv_into(self._discarded, min(size, _CHUNK_BYTES), _DISCARD)
                if not received:
                    return False
                size -= received
            return True
        return False


def request_bytes(start: bytes) -> int | None:
    """Return the bytes of the request that begins with `start`; None if they are unknown, or its connection is not kept."""
    head_bytes = start.find(b"\r\n\r\n") + 4
    if head_bytes < 4:
        return None
    head = start[:head_bytes].lower()
    length = _LENGTH.search(head)
    if length is None or int(length[1]) > _KEPT_BYTES or _NOT_KEPT.search(head):
        return None
    return head_bytes + int(length[1])


def _answer(media_type: bytes, body: bytes, connection: bytes, more_headers: bytes) -> bytes:
    head = (
        b"HTTP/1.1 503 Service Unavailable\r\nServer: asciist\r\nConnection: %b\r\nCache-Control: no-store\r\n"
        b"Retry-After: 2\r\nContent-Type: %b\r\nContent-Length: %d\r\n%b\r\n"
    )
    return head % (connection, media_type, len(body), more_headers) + body
