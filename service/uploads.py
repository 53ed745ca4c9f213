"""Receives request bodies, and bounds the bytes held at a time and the duration of an upload.

A client may send slowly, stop in the middle, or send less than its Content-Length. An upload ends
after `Timeouts.upload_idle` seconds without a byte, and after `Timeouts.upload` seconds in any
case. If all uploads together exceed their limit on bytes, the one idle for longest ends.
"""

import io
import random
import socket
import threading
import time
from collections import OrderedDict
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from flask import Request
from gunicorn.http.errors import ParseException

from asciist.errors import (
    AsciistError,
    BadRequestError,
    OverloadedError,
    SlowUploadError,
    TooManyBytesError,
    UnsupportedEncodingError,
    sentences,
)
from asciist.limits import Limits
from asciist.settings import Settings
from .arrivals import seconds_since_data

_STEP_BYTES: Final = 65_536
"""Bytes read at a time. They are reserved before they are read."""

# if each is a chunk of its own, gunicorn's parser takes 14 ms for them
_CHUNKED_STEP_BYTES: Final = 8192
"""Bytes of a chunked body read at a time."""

_SLICE_SECONDS: Final = 0.005
# not zero: the event loop may then look for their data only at every fiftieth pause
_PAUSE_SECONDS: Final = 0.001
"""Seconds after which the parser of chunks pauses, and the length of the pause, in which other
requests proceed."""

_IDLE_SECONDS: Final = 1.0
"""Seconds without a byte after which an upload may be evicted."""

_SPREAD: Final = 0.2
"""Maximum random reduction of the idle time, as a share."""


STARTED: Final = "asciist.started"
"""Key in a WSGI environment of the time at which the head of a request was complete, by
`time.perf_counter`."""

_UPLOAD: Final = "asciist.upload"
"""Key in a WSGI environment of the `_Upload`."""


ENVELOPE_BYTES: Final = 65_536
"""Bytes that a JSON or multipart body may add to the image."""


def _body_limit(request: Request, limits: Limits) -> int:
    """Return the maximum size of the body, in bytes, for the content type of the request."""
    if sends_json(request):
        return _json_limit(limits)
    if request.mimetype == "multipart/form-data":
        return limits.max_image_bytes + ENVELOPE_BYTES
    return limits.max_image_bytes


def _json_limit(limits: Limits) -> int:
    return limits.max_image_bytes * 4 // 3 + ENVELOPE_BYTES  # base64 encodes three bytes as four


class _Input(Protocol):
    def read(self, size: int = ..., /) -> bytes: ...


class UploadRequest(Request):
    """Request with its body in memory."""

    has_json_body = False
    """True once the body is recognised as JSON, whatever its Content-Type."""
    upload_seconds: float | None = None
    """Seconds spent waiting for the client's bytes; None if no body was received."""


def sends_json(request: Request) -> bool:
    """Return True if the body is JSON. The answer is then JSON too, unless the Accept header
    prefers another form."""
    return request.is_json or (isinstance(request, UploadRequest) and request.has_json_body)


def mark_as_json(request: Request) -> None:
    """Record that the body is JSON, whatever the Content-Type says."""
    if isinstance(request, UploadRequest):
        request.has_json_body = True


@dataclass(eq=False, kw_only=True)
class _Upload:
    """The body of one request, complete or in progress."""

    connection: socket.socket | None
    """Socket of the client, if any."""
    ends_at: float
    """Time at which the upload is cut off."""
    reserved_bytes: int = 0
    active_at: float = field(default_factory=time.monotonic)
    """Time of the last known byte; a later byte may not be known yet."""
    was_evicted: bool = False
    """True if the upload was cut off in favour of another."""
    parts: list[bytes] = field(default_factory=list)
    error: AsciistError | None = None
    """Reason why the body is incomplete; None if it is complete."""
    seconds: float = 0.0
    """Seconds spent waiting for the client's bytes."""

    def is_idle(self) -> bool:
        """Return whether no byte has arrived for `_IDLE_SECONDS`."""
        now = time.monotonic()
        if self.active_at <= now - _IDLE_SECONDS and self.connection is not None:
            with suppress(OSError):  # a slow client takes longer to send one step
                self.active_at = max(self.active_at, now - seconds_since_data(self.connection))
        return self.active_at <= now - _IDLE_SECONDS

    def check(self) -> None:
        """Raise the error, if any, and drop it: its traceback refers to frames, and through them to
        the body."""
        error, self.error = self.error, None
        try:
            if error is not None:
                raise error
        finally:
            del error

    def cut_off(self) -> None:
        """Shut down the reading side: a blocking read returns, and the client can still read an
        answer."""
        if self.connection is not None:
            with suppress(OSError):
                self.connection.shutdown(socket.SHUT_RD)


def _read(source: _Input, size: int) -> tuple[bytes, str]:
    """Read a part of a body. Return (bytes, "") or (b"", error message). Raises SlowUploadError."""
    try:
        return source.read(size), ""
    except TimeoutError as error:
        raise SlowUploadError(sentences.SLOW_UPLOAD) from error
    except ParseException:
        return b"", sentences.MALFORMED_CHUNKS
    except OSError:  # cut off, or reset by the client
        return b"", sentences.SHORT_CHUNKS


class Uploads:
    """All uploads of one process."""

    def __init__(self, settings: Settings) -> None:
        self._timeouts = settings.timeouts
        self._free_bytes = settings.max_upload_bytes_in_flight
        # ended uploads, which release their bytes once they are answered
        self._ending_bytes = 0
        self._limits = settings.limits
        self._lock = threading.Lock()
        self._uploads: OrderedDict[_Upload, None] = OrderedDict()
        """Bodies being read; the one idle for longest comes first, as far as known."""
        self._watch_is_started = False

    def read_ahead(self, environ: MutableMapping[str, Any]) -> None:
        """Read the body of a request with a declared length, before the application runs.

        The server calls it because waiting for a body costs least at this point. `receive` raises
        any error, and also refuses a body that is too long.
        """
        environ[STARTED] = time.perf_counter()
        declared = environ.get("CONTENT_LENGTH", "")
        if declared.isdigit() and 0 < int(declared) <= _json_limit(self._limits):
            self._read(environ, int(declared), _json_limit(self._limits))

    @contextmanager
    def receive(self, request: Request) -> Iterator[None]:
        """Read the whole body into memory for `request`, and hold its bytes for a `with` block.

        Raises SlowUploadError; BadRequestError if the body ends early; TooManyBytesError;
        UnsupportedEncodingError if it is compressed; OverloadedError if there is no memory for it.
        """
        if request.headers.get("Content-Encoding", "identity").strip().lower() not in (
            "",
            "identity",
        ):
            raise UnsupportedEncodingError(sentences.COMPRESSED_BODY)
        max_bytes = _body_limit(request, self._limits)
        declared = request.content_length
        upload: _Upload | None = request.environ.get(_UPLOAD)
        try:
            if declared is not None and declared > max_bytes:
                raise self._too_many_bytes()
            if upload is None:
                upload = self._read(request.environ, declared, max_bytes)
            if isinstance(request, UploadRequest):
                request.upload_seconds = upload.seconds
            upload.check()
            body = b"".join(upload.parts)
            upload.parts.clear()
            request.environ["wsgi.input"] = io.BytesIO(body)
            request.environ["CONTENT_LENGTH"] = str(len(body))
            yield
        finally:
            if upload is not None:
                self.release(request.environ)

    def release(self, environ: MutableMapping[str, Any]) -> None:
        """Release the bytes of a request, if it still holds any."""
        upload: _Upload | None = environ.pop(_UPLOAD, None)
        if upload is not None:
            with self._lock:
                self._free_bytes += upload.reserved_bytes
                self._ending_bytes -= upload.reserved_bytes if upload.was_evicted else 0

    def make_room(self) -> bool:
        """End the upload idle for longest to free its connection. Return whether there was one."""
        with self._lock:
            return self._evict_longest_idle()

    def _read(
        self, environ: MutableMapping[str, Any], declared: int | None, max_bytes: int
    ) -> _Upload:
        """Return an upload with its parts, or with an error."""
        connection: socket.socket | None = environ.get("gunicorn.socket")
        started = time.monotonic()
        upload = environ[_UPLOAD] = _Upload(
            connection=connection, ends_at=started + self._timeouts.upload
        )
        if connection is not None:
            self._watch()
            # Spread, because thousands of idle uploads that began together must not end together.
            # Not a secret.
            seconds = self._timeouts.upload_idle * random.uniform(1 - _SPREAD, 1)  # noqa: S311
            connection.settimeout(seconds)
        with self._lock:
            self._uploads[upload] = None
        try:
            self._read_parts(environ["wsgi.input"], upload, declared, max_bytes)
        except AsciistError as error:
            upload.error = error
        finally:
            upload.seconds = time.monotonic() - started
            with self._lock:
                self._uploads.pop(upload, None)
        if connection is not None:
            # From here on, the timeout bounds the client's reading of the answer.
            connection.settimeout(self._timeouts.upload)
        return upload

    def _read_parts(
        self, source: _Input, upload: _Upload, declared: int | None, max_bytes: int
    ) -> None:
        received = 0
        problem = ""
        resumed_at = time.monotonic()
        while (declared is None or received < declared) and not upload.was_evicted:
            step = (
                _CHUNKED_STEP_BYTES if declared is None else min(_STEP_BYTES, declared - received)
            )
            self._reserve(upload, step)
            part, problem = _read(source, step)
            if not part:
                break
            self._note_activity(upload)
            received += len(part)
            if received > max_bytes:
                raise self._too_many_bytes()
            upload.parts.append(part)
            if declared is None and time.monotonic() - resumed_at > _SLICE_SECONDS:
                time.sleep(_PAUSE_SECONDS)
                resumed_at = time.monotonic()
        if upload.was_evicted:
            raise OverloadedError
        if time.monotonic() >= upload.ends_at:
            raise SlowUploadError(sentences.SLOW_UPLOAD)
        if declared is not None and received < declared:
            problem = sentences.SHORT_BODY
        if problem:
            raise BadRequestError(problem)

    def _note_activity(self, upload: _Upload) -> None:
        with self._lock:
            upload.active_at = time.monotonic()
            if upload in self._uploads:
                self._uploads.move_to_end(upload)

    def _reserve(self, upload: _Upload, size: int) -> None:
        """Reserve bytes for a part of an upload; if there are too few, end the upload idle for
        longest."""
        with self._lock:
            self._free_bytes -= size
            upload.reserved_bytes += size
            if self._free_bytes >= 0:
                return
            while self._free_bytes + self._ending_bytes < 0:
                if not self._evict_longest_idle(excluded=upload):
                    raise OverloadedError

    def _evict_longest_idle(self, excluded: _Upload | None = None) -> bool:
        """End the upload idle for longest. Return False if all are active. The caller holds the
        lock."""
        for upload in list(self._uploads):
            if upload is excluded:
                continue
            if upload.active_at > time.monotonic() - _IDLE_SECONDS:
                return False
            if upload.is_idle():
                del self._uploads[upload]
                upload.was_evicted = True
                self._ending_bytes += upload.reserved_bytes
                upload.cut_off()
                return True
            self._uploads.move_to_end(upload)
        return False

    def _too_many_bytes(self) -> TooManyBytesError:
        return TooManyBytesError(sentences.too_many_bytes(self._limits.max_image_bytes))

    def _watch(self) -> None:
        if not self._watch_is_started:
            self._watch_is_started = True
            threading.Thread(
                target=self._end_slow_uploads, name="upload-watch", daemon=True
            ).start()

    def _end_slow_uploads(self) -> None:
        """Cut off every overdue upload. The socket's timeout bounds each wait for bytes, but not
        the whole body."""
        while True:
            time.sleep(1)
            now = time.monotonic()
            with self._lock:
                late = [upload for upload in self._uploads if upload.ends_at <= now]
            for upload in late:
                upload.cut_off()
