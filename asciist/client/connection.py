"""HTTP connections to an untrusted server: its responses are bounded in bytes, and in seconds."""

import time
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from http.client import HTTPConnection, HTTPResponse, HTTPSConnection
from io import BufferedReader, RawIOBase
from socket import socket
from typing import TYPE_CHECKING, Any, Final
from urllib.error import URLError
from urllib.parse import urlsplit
from urllib.request import (
    HTTPHandler,
    HTTPSHandler,
    OpenerDirector,
    ProxyHandler,
    Request,
    UnknownHandler,
)

from asciist.client.ending import current
from asciist.client.response import MAX_RESPONSE_BYTES

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

_MAX_CONNECT_SECONDS: Final = 10
"""Maximum seconds to connect to one address of the host: time for three attempts on a network that
loses packets."""


class ResponseTooLargeError(Exception):
    """The response is larger than the opener allows."""


@cache
def opener(max_response_bytes: int = MAX_RESPONSE_BYTES) -> OpenerDirector:
    """Return an opener that uses proxies like `urlopen`. A response has at most
    `max_response_bytes`, including its head.

    Unlike `urlopen`, it does not follow redirects, raises no error for a status such as 404, and
    can read a response that arrives before the whole body is sent. The timeout of `open` covers the
    whole exchange. `open` and reading the response may raise OSError, HTTPException and
    ResponseTooLargeError.
    """
    director = OpenerDirector()
    for handler in (
        _Proxies(),
        _Plain(max_response_bytes),
        _Secure(max_response_bytes),
        UnknownHandler(),
    ):
        director.add_handler(handler)
    return director


class _Incoming(RawIOBase):
    """The bytes received by a socket, at most `max_bytes`."""

    def __init__(
        self, connection: socket, seconds_left: Callable[[], float], max_bytes: int
    ) -> None:
        self._socket = connection
        self._stream = connection.makefile("rb", buffering=0)
        self._seconds_left = seconds_left
        self._bytes_left = max_bytes

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "WriteableBuffer", /) -> int:
        self._socket.settimeout(self._seconds_left())
        count = self._stream.readinto(buffer) or 0
        self._bytes_left -= count
        if self._bytes_left < 0:
            raise ResponseTooLargeError
        return count

    def close(self) -> None:
        self._stream.close()
        super().close()

    def makefile(self, _mode: str) -> BufferedReader:
        """Return the stream that HTTPResponse requests from a socket."""
        return BufferedReader(self)


class _Connection(HTTPConnection):
    """A connection for one request. `timeout` is the time, in seconds, from now to the end of the
    response."""

    def __init__(self, host: str, *, timeout: float, max_response_bytes: int) -> None:
        super().__init__(host, timeout=min(timeout, _MAX_CONNECT_SECONDS))
        self._deadline = time.monotonic() + timeout
        self._max_response_bytes = max_response_bytes

    def response_class(self, connection: socket, *arguments: Any, **options: Any) -> HTTPResponse:  # type: ignore[override]
        # A method takes the place of the class, because responses need the deadline.
        incoming = _Incoming(connection, self._seconds_left, self._max_response_bytes)
        return HTTPResponse(incoming, *arguments, **options)  # type: ignore[arg-type] # not a socket, but has its `makefile`

    def connect(self) -> None:
        super().connect()
        current().watch(self.sock)

    def endheaders(self, message_body: Any = None, *, encode_chunked: bool = False) -> None:
        self.connect()
        # A service that refuses an image early (413) closes the connection; its answer can still be
        # read.
        with suppress(BrokenPipeError, ConnectionResetError):
            super().endheaders(message_body, encode_chunked=encode_chunked)

    def send(self, data: Any) -> None:
        if self.sock:
            self.sock.settimeout(self._seconds_left())
        super().send(data)

    def _seconds_left(self) -> float:
        seconds = self._deadline - time.monotonic()
        if seconds <= 0:
            raise TimeoutError("timed out")
        return seconds


class _SecureConnection(_Connection, HTTPSConnection):
    pass


class _Plain(HTTPHandler):
    def __init__(self, max_response_bytes: int) -> None:
        super().__init__()
        self._max_response_bytes = max_response_bytes

    def http_open(self, req: Request) -> HTTPResponse:
        # `do_open` calls the class with a host, a timeout and these arguments only.
        return self.do_open(_Connection, req, max_response_bytes=self._max_response_bytes)  # type: ignore[arg-type] # as said


class _Secure(HTTPSHandler):
    def __init__(self, max_response_bytes: int) -> None:
        super().__init__()
        self._max_response_bytes = max_response_bytes

    def https_open(self, req: Request) -> HTTPResponse:
        return self.do_open(_SecureConnection, req, max_response_bytes=self._max_response_bytes)  # type: ignore[arg-type] # as above


class _Proxies(ProxyHandler):
    def proxy_open(self, req: Request, *proxy: str) -> Any:
        try:
            response = super().proxy_open(req, *proxy)
            parts = urlsplit(f"//{req.host}")
            parts.netloc.encode("idna")  # as the name lookup does
            is_address = bool(parts.hostname) and parts.port != 0
        except ValueError:
            is_address = False
        if not is_address:
            # which may contain a password
            raise URLError("the address of the proxy in the environment is invalid")
        return response
