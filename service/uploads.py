"""Bounds on request bodies: the bytes held at a time, and the duration of an upload.

A client may send slowly, stop in the middle, or send less than its Content-Length. Every upload occupies a thread, so it
ends after `Timeouts.upload_idle` seconds without a byte, and after `Timeouts.upload` seconds in any case.
"""

import io
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import IO, Any, Final, Protocol

from flask import Request

from asciist.errors import BadRequestError, OverloadedError, SlowUploadError, sentences
from asciist.protocol.capacity import Capacity
from asciist.protocol.ports import Metrics
from asciist.settings import Settings, Timeouts
from asciist.telemetry.metrics import REQUESTS_IN_FLIGHT, REQUESTS_SHED

_ADMISSION_WAIT_SECONDS: Final = 2.0
"""Seconds that a request waits for a slot, and then again for its bytes, before it is refused: enough to smooth a burst."""


class Admission:
    """Admission control: bounds the requests, and the bytes of their bodies, that one process holds at a time."""

    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        self._metrics = metrics
        self._requests = Capacity(settings.max_requests_in_flight)
        self._bytes = Capacity(settings.max_upload_bytes_in_flight)

    @contextmanager
    def admit(self, body_bytes: int) -> Iterator[None]:
        """Reserve a request slot and `body_bytes` for the duration of a `with` block. Counts and raises OverloadedError."""
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
    """A WSGI input that raises an error if the upload ends early, pauses for too long or passes its deadline.

    `deadline` is a time of `time.monotonic`.
    """

    def __init__(self, environ: dict[str, Any], deadline: float) -> None:
        self._body: _Input = environ["wsgi.input"]
        self._deadline = deadline
        self._missing_bytes = int(environ.get("CONTENT_LENGTH") or 0)
        self.waited_seconds = 0.0
        """Seconds spent waiting for the client so far."""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        """Read into `buffer`. Raises SlowUploadError, BadRequestError."""
        started = time.monotonic()
        try:
            received = self._body.read(len(buffer))
        except TimeoutError as error:
            raise _slow_upload() from error
        finally:
            self.waited_seconds += time.monotonic() - started
        self._missing_bytes -= len(received)
        if not received and time.monotonic() >= self._deadline:
            raise _slow_upload()
        if not received and self._missing_bytes > 0:
            raise BadRequestError(sentences.SHORT_BODY)
        buffer[: len(received)] = received
        return len(received)


def _slow_upload() -> SlowUploadError:
    return SlowUploadError(sentences.SLOW_UPLOAD)


class UploadRequest(Request):
    """A request that keeps form files in memory, which `Admission` has reserved; a disk may be full or slow."""

    max_form_parts = 32  # an image and the options, with room to spare
    has_json_body = False
    """True once the body is recognised as JSON, whatever its Content-Type."""

    def _get_file_stream(self, *_: object, **__: object) -> IO[bytes]:
        return io.BytesIO()


def sends_json(request: Request) -> bool:
    """Return True if the body is JSON. Then the answer is JSON too, unless the Accept header prefers another form."""
    return request.is_json or (isinstance(request, UploadRequest) and request.has_json_body)


def mark_as_json(request: Request) -> None:
    """Record that the body is JSON, although the Content-Type may not say so."""
    if isinstance(request, UploadRequest):
        request.has_json_body = True


class UploadWatch:
    """Ends uploads that take too long, even if bytes keep arriving.

    The server's blocking read has a timeout for each wait, but none for the whole body. Therefore a thread shuts down the
    reading side of every socket past its deadline: the read returns, and the client still gets an answer.
    """

    def __init__(self, timeouts: Timeouts) -> None:
        self._timeouts = timeouts
        self._deadlines: dict[socket.socket, float] = {}
        self._started = threading.Lock()  # acquired by the first upload and never released

    @contextmanager
    def receiving(self, environ: dict[str, Any]) -> Iterator[None]:
        """Bound the duration of one upload. The body must be read inside the `with` block."""
        deadline = time.monotonic() + self._timeouts.upload
        environ["wsgi.input"] = WatchedInput(environ, deadline)
        connection: socket.socket | None = environ.get("gunicorn.socket")
        if connection is None:  # a test client, or a server other than gunicorn
            yield
            return
        self._start()
        connection.settimeout(self._timeouts.upload_idle)
        self._deadlines[connection] = deadline
        try:
            yield
        finally:
            del self._deadlines[connection]
            # From here on, the timeout bounds each wait for the client to read the answer.
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
