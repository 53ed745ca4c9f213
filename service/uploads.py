"""Request bodies on their way in: how much of them is held at a time, and how long they may take to arrive.

A client may send slowly, stop in the middle, or promise more than it sends. Each costs a thread while it lasts, so a
silence ends the upload after `Timeouts.upload_idle` and the whole of it after `Timeouts.upload`.
"""

import io
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import IO, Any, Final, Protocol

from flask import Request

from asciist.errors import BadRequestError, OverloadedError, SlowUploadError
from asciist.protocol.capacity import Capacity
from asciist.protocol.ports import Metrics
from asciist.settings import Settings, Timeouts
from asciist.telemetry.metrics import REQUESTS_IN_FLIGHT, REQUESTS_SHED

_ADMISSION_WAIT_SECONDS: Final = 2.0
"""A burst is better smoothed than refused; a client that waits longer than this does better elsewhere."""


class Admission:
    """The requests, and the bytes of their bodies, that one process holds at a time. Counts those that it turns away."""

    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        self._metrics = metrics
        self._requests = Capacity(settings.max_requests_in_flight)
        self._bytes = Capacity(settings.max_upload_bytes_in_flight)

    @contextmanager
    def admit(self, body_bytes: int) -> Iterator[None]:
        """Hold a place, and room for a body, for the length of a `with` block; raises OverloadedError."""
        with ExitStack() as held:
            try:
                for capacity, amount in ((self._requests, 1), (self._bytes, body_bytes)):
                    held.enter_context(capacity.reserve(amount, wait_seconds=_ADMISSION_WAIT_SECONDS))
            except OverloadedError:
                self._metrics.count(REQUESTS_SHED)
                raise
            self._metrics.distribution(REQUESTS_IN_FLIGHT, self._requests.held)
            yield


class _Input(Protocol):
    def read(self, size: int = ..., /) -> bytes: ...


class WatchedInput(io.RawIOBase):
    """A WSGI input that tells an upload that ended early, or was ended by the watch, from one that is complete."""

    def __init__(self, environ: dict[str, Any], deadline: float) -> None:
        self._body: _Input = environ["wsgi.input"]
        self._deadline = deadline
        self._missing = int(environ.get("CONTENT_LENGTH") or 0)
        self.waited_seconds = 0.0
        """Spent on waiting for the client so far."""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        """Raises SlowUploadError, BadRequestError."""
        started = time.monotonic()
        try:
            received = self._body.read(len(buffer))
        except TimeoutError as error:
            raise _slow_upload() from error
        finally:
            self.waited_seconds += time.monotonic() - started
        self._missing -= len(received)
        if not received and time.monotonic() >= self._deadline:
            raise _slow_upload()
        if not received and self._missing > 0:
            raise BadRequestError("the body ended before its Content-Length")
        buffer[: len(received)] = received
        return len(received)


def _slow_upload() -> SlowUploadError:
    return SlowUploadError("the body did not arrive in time: is its Content-Length right?")


class UploadRequest(Request):
    """A request whose form files stay in memory: `Admission` has made room for them, and a disk may be full or slow."""

    max_form_parts = 32

    def _get_file_stream(self, *_: object, **__: object) -> IO[bytes]:
        return io.BytesIO()


class UploadWatch:
    """Ends uploads that take too long, even when a byte drips in now and then.

    The server's blocking read cannot be given a time for the whole body, so one thread shuts the reading side of sockets
    that are past their deadline; the read then returns and the client can still be told.
    """

    def __init__(self, timeouts: Timeouts) -> None:
        self._timeouts = timeouts
        self._deadlines: dict[socket.socket, float] = {}
        self._started = threading.Lock()

    @contextmanager
    def receiving(self, environ: dict[str, Any]) -> Iterator[None]:
        """Watch the upload of one request for the length of a `with` block."""
        deadline = time.monotonic() + self._timeouts.upload
        environ["wsgi.input"] = WatchedInput(environ, deadline)
        connection: socket.socket | None = environ.get("gunicorn.socket")
        if connection is None:  # a test client, or another server
            yield
            return
        self._start()
        connection.settimeout(self._timeouts.upload_idle)
        self._deadlines[connection] = deadline
        try:
            yield
        finally:
            del self._deadlines[connection]
            # From here on it bounds the time that a client takes to read the answer.
            connection.settimeout(self._timeouts.upload)

    def _start(self) -> None:
        if self._started.acquire(blocking=False):
            threading.Thread(target=self._watch, name="upload-watch", daemon=True).start()

    def _watch(self) -> None:
        while True:
            time.sleep(1)
            now = time.monotonic()
            for connection, deadline in list(self._deadlines.items()):
                if now >= deadline:
                    with suppress(OSError):
                        connection.shutdown(socket.SHUT_RD)
