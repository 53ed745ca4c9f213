"""Structured logs: one JSON object per line. In both tiers, every line about a request carries its
request id."""

import logging
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Final, TextIO

from pythonjsonlogger.json import JsonEncoder

FIELDS: Final = {
    "request_id": "Id of the request: the client's `X-Request-Id`, or a new one. In both tiers.",
    "trace": "Tracing headers of the request, as an object. In both tiers.",
    "method": "HTTP method.",
    "route": "Route of the URL, such as `/<link:name>/width/<width>`.",
    "status": "HTTP status of the answer.",
    "duration_ms": (
        "Milliseconds from a request's headers to its answer, without `upload_ms`; in a worker, for"
        " one message."
    ),
    "upload_ms": "Milliseconds spent waiting for the client's bytes.",
    "error": "Error message sent to the client, or the reason why a worker failed.",
    "image": (
        "Name of the image, the same for the same image: a keyed hash, not its digest. In the web"
        " tier."
    ),
    "format": "Image format.",
    "bytes": "Size of the image file, in bytes.",
    "pixels": "Width times height of the image.",
    "style": "Style of the art.",
    "width": "Width of the art, in columns.",
    "source": (
        "Source of the art: `store`, `conversion`, or `shared` with an identical request in flight."
    ),
    "attempts": (
        "Messages published for the request, if more than one, because its reply was overdue."
    ),
    "unstored": "True if the art could not be stored, and was returned nevertheless.",
    "receive_count": "Deliveries of the message so far, this one included.",
    "age_ms": "Milliseconds from publishing the message to receiving it.",
    "orphaned": "True if the process that requested the reply has stopped.",
    "refused": (
        "Requests that a web process refused for lack of capacity since its last line about them."
    ),
    "reply_queue": "Name of the reply queue.",
}
"""Fields of a log line, with their meanings, besides `timestamp`, `level`, `logger`, `message` and
`exc_info` (a traceback)."""

_fields: ContextVar[dict[str, object] | None] = ContextVar("log fields", default=None)


@contextmanager
def scope() -> Iterator[None]:
    """Start a scope for a `with` block: fields passed to `add` in the block are added to the lines
    logged in it."""
    token = _fields.set({})
    try:
        yield
    finally:
        _fields.reset(token)


def add(**fields: object) -> None:
    """Add fields to every line logged from now on in the current scope. Outside a scope, do
    nothing."""
    scope_fields = _fields.get()
    if scope_fields is not None:
        scope_fields.update(fields)


# a log must not reveal whether a given file was sent; the request id leads to the message
_DIGEST_IN_KEY: Final = re.compile(r"(?<![0-9a-f])[0-9a-f]{64}(?=/)")
"""Pattern of a digest in a storage key, to redact it."""


_OF_EVERY_RECORD: Final = logging.makeLogRecord({}).__dict__.keys() | {
    "asctime",
    "message",
    "taskName",
}
"""Attributes of a record that are not fields given as `extra`."""

_ENCODER: Final = JsonEncoder()  # creating one for each line is slow
"""Shared JSON encoder."""


class _Formatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        fields: dict[str, object] = {
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            "timestamp": datetime.fromtimestamp(record.created, UTC).isoformat(),
        }
        for name in record.__dict__.keys() - _OF_EVERY_RECORD:
            fields[name] = record.__dict__[name]
        fields.update(_fields.get() or {})
        if record.exc_info:
            fields["exc_info"] = self.formatException(record.exc_info)
        line = _ENCODER.encode(fields)
        # Only errors of the store contain keys.
        return line if record.levelno < logging.WARNING else _DIGEST_IN_KEY.sub("{sha256}", line)


class _Handler(logging.StreamHandler[TextIO]):
    """Writes each line by one call, which takes no lock of logging."""

    def handle(self, record: logging.LogRecord) -> bool:
        self.emit(record)
        return True

    def flush(self) -> None:
        self.stream.flush()


def configure(stream: TextIO = sys.stdout) -> None:
    """Log JSON lines to `stream`, replacing the handlers of the root logger."""
    # A line has no such fields (https://docs.python.org/3/howto/logging.html#optimization).
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    logging._srcfile = None  # noqa: SLF001 - documented there, too
    handler = _Handler(stream)
    handler.setFormatter(formatter())
    root = logging.getLogger()
    # A library, or Lambda's runtime, may have added its own.
    root.handlers[:] = [handler]
    root.setLevel(logging.INFO)
    for name in _VERBOSE_LOGGERS:
        logging.getLogger(name).setLevel(logging.WARNING)


def formatter() -> logging.Formatter:
    """Return a formatter for JSON lines with `timestamp`, `level`, `logger`, `message` and the
    fields of the scope."""
    return _Formatter()


_VERBOSE_LOGGERS: Final = ("azure", "botocore", "boto3", "datadog", "msal", "urllib3")
"""Loggers of libraries whose messages below WARNING are not logged."""
