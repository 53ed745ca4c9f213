"""Answers to unparsed requests: the server is overloaded, or the request is malformed.

The overload answer, 503, is prepared in advance to make it cheap.
"""

import os
import random
import re
import socket
import sys
from collections.abc import Mapping
from contextlib import suppress
from functools import lru_cache
from http import HTTPStatus
from typing import Any, Final

import gevent
from gunicorn.http import errors as http

from asciist.errors import sentences

_LINGER_SECONDS: Final = 1.0
_LINGER_BYTES: Final = 16_000_000  # closing a connection with unread data would lose the answer
"""Maximum bytes read and discarded after a refusal. The largest request body fits."""

_CHUNK_BYTES: Final = 262_144
_DISCARD: Final = socket.MSG_TRUNC if sys.platform == "linux" else 0
"""Flag that makes Linux discard data without copying it (tcp(7))."""

_MOVED: Final = 0.1  # the clients' next requests may reach a less busy process
"""Share of refused connections that are closed although they could stay open."""

# for a larger one, a new connection is cheaper than reading the rest
_KEPT_BYTES: Final = 1_000_000
"""Maximum size of a refused request whose connection stays open."""

_LENGTH: Final = re.compile(rb"\r\ncontent-length: *([0-9]{1,7})\r\n")
# Either the connection ends anyway, or the size of the request is uncertain, as with two lengths,
# folded lines or a transfer coding.
_NOT_KEPT: Final = re.compile(
    rb" http/1\.0\r\n|transfer-encoding|expect|close|(?<!\r)\n|\n["
    rb" \t]|content-length.*content-length",
    re.DOTALL,
)
"""Parts of a head, in lower case, that make its connection close."""

_HOST: Final = re.compile(
    r"(?:[\w.-]{1,255}|\[[0-9a-f:.]{2,45}\])(?::([0-9]{1,5})?)?", re.ASCII | re.IGNORECASE
)
"""Value of a Host header, with the port as a group (RFC 3986, section 3.2.2)."""

_PORTS: Final = range(1, 65_536)


class InvalidHostError(http.ParseException):
    """A request has a malformed Host header, or none, although HTTP/1.1 requires one."""


REJECTIONS: Final = {
    http.InvalidRequestLine: (HTTPStatus.BAD_REQUEST, sentences.MALFORMED_REQUEST_LINE),
    http.InvalidRequestMethod: (HTTPStatus.BAD_REQUEST, sentences.MALFORMED_REQUEST_LINE),
    InvalidHostError: (HTTPStatus.BAD_REQUEST, sentences.INVALID_HOST),
    # Not 505, or 501 for a transfer coding, which would count as failures of the service.
    http.InvalidHTTPVersion: (HTTPStatus.BAD_REQUEST, sentences.UNSUPPORTED_VERSION),
    http.UnsupportedTransferCoding: (HTTPStatus.BAD_REQUEST, sentences.UNSUPPORTED_CODING),
    http.LimitRequestLine: (HTTPStatus.REQUEST_URI_TOO_LONG, sentences.LONG_URL),
    http.ExpectationFailed: (HTTPStatus.EXPECTATION_FAILED, sentences.UNSUPPORTED_EXPECTATION),
    http.LimitRequestHeaders: (HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, sentences.LARGE_HEAD),
}
"""Status and message for errors of the parser. Errors not listed concern the headers."""

_JSON: Final = b'{"error":"%b"}\n' % sentences.BUSY.encode()
_TEXT: Final = sentences.BUSY.encode() + b"\n"


class Refusal:
    """Prepared answers, with `headers` in addition to their own."""

    def __init__(self, headers: Mapping[str, str]) -> None:
        self._headers = "".join(f"{name}: {value}\r\n" for name, value in headers.items()).encode()
        self._answers = {
            (as_json, is_kept): _answer(
                b"503 Service Unavailable",
                b"keep-alive" if is_kept else b"close",
                *form,
                b"Retry-After: 2\r\n" + self._headers,
            )
            for as_json, form in (
                (True, (b"application/json", _JSON)),
                (False, (b"text/plain; charset=utf-8", _TEXT)),
            )
            for is_kept in (True, False)
        }
        self._discarded = bytearray(_CHUNK_BYTES)

    def send(self, client: Any, start: bytes = b"", *, may_keep: bool = True) -> bool:
        """Answer 503, and read the rest of the request, which begins with `start`. Raises OSError.

        Return True if the connection can carry another request. If not, the client has had time to
        read the answer.
        """
        # Not a secret.
        size = request_bytes(start) if may_keep and random.random() >= _MOVED else None  # noqa: S311
        client.settimeout(_LINGER_SECONDS)
        # Not `sendall`, which could wait: a client whose buffer is too full for this answer does
        # not read the earlier ones.
        os.write(client.fileno(), self._answers[b"application/json" in start, size is not None])
        if size is None:
            client.shutdown(socket.SHUT_WR)
        return self._read(client, size or _LINGER_BYTES) and size is not None

    def reject(self, client: Any, status: HTTPStatus, message: str, request_id: str) -> None:
        """Answer an unparsable request, and end its connection. Raises OSError.

        The answer is text, because the client's preferred form is unknown.
        """
        line, more = f"{status.value} {status.phrase}", f"X-Request-Id: {request_id}\r\n"
        text = b"text/plain; charset=utf-8"
        answer = _answer(
            line.encode(), b"close", text, f"{message}\n".encode(), more.encode() + self._headers
        )
        os.write(client.fileno(), answer)  # not `sendall`, as above
        self.end(client)

    def end(self, client: Any) -> None:
        """End a connection whose client may still be sending, so that it has time to read the
        answer. Raises OSError."""
        client.settimeout(_LINGER_SECONDS)
        client.shutdown(socket.SHUT_WR)
        self._read(client, _LINGER_BYTES)

    def _read(self, client: Any, size: int) -> bool:
        """Read and discard `size` bytes. Return True if they arrived in time."""
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
    """Return the size of the request that begins with `start`; None if it is unknown, or its
    connection will close."""
    head_bytes = start.find(b"\r\n\r\n") + 4
    if head_bytes < 4:
        return None
    head = start[:head_bytes].lower()
    length = _LENGTH.search(head)
    if length is None or int(length[1]) > _KEPT_BYTES or _NOT_KEPT.search(head):
        return None
    return head_bytes + int(length[1])


@lru_cache(64)
def is_host(value: str) -> bool:
    """Return whether the value of a Host header is well-formed."""
    match = _HOST.fullmatch(value)
    return match is not None and int(match[1] or 1) in _PORTS


def rejection(error: http.ParseException) -> tuple[HTTPStatus, str]:
    """Return the status and the message for a request that the parser rejects."""
    return REJECTIONS.get(type(error), (HTTPStatus.BAD_REQUEST, sentences.MALFORMED_HEADER))


def _answer(
    status: bytes, connection: bytes, media_type: bytes, body: bytes, more_headers: bytes
) -> bytes:
    head = (
        b"HTTP/1.1 %b\r\nServer: asciist\r\nConnection: %b\r\nContent-Type: %b\r\nContent-Length:"
        b" %d\r\n%b\r\n"
    )
    return head % (status, connection, media_type, len(body), more_headers) + body
