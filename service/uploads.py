"""Receives request bodies, and bounds the bytes held at a time and the duration of an upload.

A client may send slowly, stop in the middle, or send less than its Content-Length. An upload ends after
`Timeouts.upload_idle` seconds without a byte, and after `Timeouts.upload` seconds in any case. If all uploads together hold
more bytes than they may, the one that has been idle for longest ends.
"""

import io
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import IO, Final, Protocol

from flask import Request

from asciist.errors import BadRequestError, OverloadedError, SlowUploadError, TooManyBytesError, sentences
from asciist.settings import Settings

_STEP_BYTES: Final = 65_536
"""Bytes read at a time. They are reserved before they are read."""

_IDLE_SECONDS: Final = 1.0
"""Seconds without a byte after which an upload may be ended for the sake of another."""


class _Input(Protocol):
    def read(self, size: int = ..., /) -> bytes: ...


class UploadRequest(Request):
    """A request whose body is in memory, form files included; a disk may be full or slow."""

    max_form_parts = 32  # an image and the options, with room to spare
    has_json_body = False
    """True once the body is recognised as JSON, whatever its Content-Type."""
    upload_seconds: float | None = None
    """Seconds spent waiting for the client's bytes; None if no body was received."""

    def _get_file_stream(self, *_: object, **__: object) -> IO[bytes]:
        return io.BytesIO()


def sends_json(request: Request) -> bool:
    """Return True if the body is JSON. Then the answer is JSON too, unless the Accept header prefers another form."""
    return request.is_json or (isinstance(request, UploadRequest) and request.has_json_body)


def mark_as_json(request: Request) -> None:
    """Record that the body is JSON, although the Content-Type may not say so."""
    if isinstance(request, UploadRequest):
        request.has_json_body = True


class _Upload:
    """An upload in progress: its socket, if it comes from one, and the bytes that are reserved for it."""

    def __init__(self, connection: socket.socket | None, ends_at: float) -> None:
        self.connection: Final = connection
        self.ends_at: Final = ends_at
        self.reserved_bytes = 0
        self.active_at = time.monotonic()
        """Time of the last byte; infinite once the body is complete."""
        self.was_evicted = False

    def cut_off(self) -> None:
        """Shut down the reading side: a blocking read returns, and the client still gets an answer."""
        if self.connection is not None:
            with suppress(OSError):
                self.connection.shutdown(socket.SHUT_RD)


class Uploads:
    """All uploads of one process."""

    def __init__(self, settings: Settings) -> None:
        self._timeouts = settings.timeouts
        self._free_bytes = settings.max_upload_bytes_in_flight
        self._max_image_bytes = settings.limits.max_image_bytes
        self._lock = threading.Lock()
        self._uploads: set[_Upload] = set()
        self._watch_is_started = False

    @contextmanager
    def receive(self, request: Request, max_bytes: int) -> Iterator[None]:
        """Read the whole body into memory, from which `request` then reads it, and hold its bytes for a `with` block.

        Raises SlowUploadError, BadRequestError if the body ends early, TooManyBytesError if it is longer than `max_bytes`,
        OverloadedError if there is no memory for it.
        """
        upload = _Upload(request.environ.get("gunicorn.socket"), time.monotonic() + self._timeouts.upload)
        with self._lock:
            self._uploads.add(upload)
        try:
            started = time.monotonic()
            try:
                body = self._read(request, upload, max_bytes)
            finally:
                if isinstance(request, UploadRequest):
                    request.upload_seconds = time.monotonic() - started
            request.environ["wsgi.input"] = io.BytesIO(body)
            request.environ["CONTENT_LENGTH"] = str(len(body))
            yield
        finally:
            with self._lock:
                self._uploads.discard(upload)
                self._free_bytes += upload.reserved_bytes

    def _read(self, request: Request, upload: _Upload, max_bytes: int) -> bytes:
        declared = request.content_length
        if declared is not None and declared > max_bytes:
            raise self._too_many_bytes()
        if upload.connection is not None:
            self._watch()
            upload.connection.settimeout(self._timeouts.upload_idle)
        body = b"".join(self._parts(request.environ["wsgi.input"], upload, declared, max_bytes))
        if upload.was_evicted:
            raise OverloadedError
        if time.monotonic() >= upload.ends_at:
            raise SlowUploadError(sentences.SLOW_UPLOAD)
        if declared is not None and len(body) < declared:
            raise BadRequestError(sentences.SHORT_BODY)
        upload.active_at = float("inf")
        if upload.connection is not None:
            # From here on, the timeout bounds the client's reading of the answer.
            upload.connection.settimeout(self._timeouts.upload)
        return body

    def _parts(self, source: _Input, upload: _Upload, declared: int | None, max_bytes: int) -> Iterator[bytes]:
        received = 0
        while declared is None or received < declared:
            step = _STEP_BYTES if declared is None else min(_STEP_BYTES, declared - received)
            self._reserve(upload, step)
            try:
                part = source.read(step)
            except TimeoutError as error:
                raise SlowUploadError(sentences.SLOW_UPLOAD) from error
            except OSError:  # cut off, or reset by the client
                return
            if not part:
                return
            upload.active_at = time.monotonic()
            received += len(part)
            if received > max_bytes:
                raise self._too_many_bytes()
            yield part

    def _reserve(self, upload: _Upload, size: int) -> None:
        """Reserve bytes for a part of an upload; if there are too few, end the upload that has been idle for longest."""
        with self._lock:
            self._free_bytes -= size
            upload.reserved_bytes += size
            if self._free_bytes >= 0:
                return
            idle = [other for other in self._uploads if not other.was_evicted and other is not upload]
            victim = min(idle, key=lambda other: other.active_at, default=upload)
            if victim.active_at > time.monotonic() - _IDLE_SECONDS:
                raise OverloadedError
            victim.was_evicted = True
        victim.cut_off()

    def _too_many_bytes(self) -> TooManyBytesError:
        return TooManyBytesError(sentences.too_many_bytes(self._max_image_bytes))

    def _watch(self) -> None:
        if not self._watch_is_started:
            self._watch_is_started = True
            threading.Thread(target=self._end_slow_uploads, name="upload-watch", daemon=True).start()

    def _end_slow_uploads(self) -> None:
        """Cut off every upload past its end. The socket's timeout bounds each wait for bytes, but not the whole body."""
        while True:
            time.sleep(1)
            now = time.monotonic()
            with self._lock:
                late = [upload for upload in self._uploads if upload.ends_at <= now and upload.active_at <= now]
            for upload in late:
                upload.cut_off()
