"""Structured logs: one JSON object per line. In both tiers, every line about a request carries its request id."""

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Final, TextIO

from pythonjsonlogger.json import JsonFormatter

FIELDS: Final = {
    "request_id": "Id of the request: the client's `X-Request-Id`, or a new one. In both tiers.",
    "trace": "Tracing headers of the request. In both tiers.",
    "method": "HTTP method.",
    "route": "Route of the URL, such as `/<sha256:digest>/width/<width>`.",
    "status": "HTTP status of the answer.",
    "duration_ms": "Milliseconds from a request's head to its answer, less `upload_ms`; in a worker, of one message.",
    "upload_ms": "Milliseconds spent waiting for the client's bytes.",
    "error": "The sentence that the client got.",
    "digest": "SHA-256 of the image, which is its folder in the store.",
    "format": "Image format.",
    "bytes": "Size of the image file, in bytes.",
    "pixels": "Width times height of the image.",
    "style": "Style of the art.",
    "width": "Width of the art, in columns.",
    "source": "Source of the art: `store`, `conversion`, or `shared` with an identical request in flight.",
    "receive_count": "Deliveries of the message so far.",
    "age_ms": "Milliseconds from publishing the message to receiving it.",
    "orphaned": "True if the process that requested the reply has stopped.",
    "reply_queue": "Name of the reply queue.",
}
"""Fields of a log line beside `timestamp`, `level`, `logger`, `message` and, with a traceback, `exc_info`."""

_fields: ContextVar[dict[str, object] | None] = ContextVar("log fields", default=None)


@contextmanager
def scope() -> Iterator[None]:
    """Add the fields passed to `add` in a `with` block to every line logged in the block."""
    token = _fields.set({})
    try:
        yield
    finally:
        _fields.reset(token)


def add(**fields: object) -> None:
    """Add fields to the lines that the current scope logs from now on. Without a scope, do nothing."""
    scope_fields = _fields.get()
    if scope_fields is not None:
        scope_fields.update(fields)


class _Formatter(JsonFormatter):
    def add_fields(self, log_data: dict[str, Any], record: logging.LogRecord, message_dict: dict[str, Any]) -> None:
        super().add_fields(log_data, record, message_dict)
        log_data.update(_fields.get() or {})


def configure(stream: TextIO = sys.stdout) -> None:
    """Log JSON lines to `stream`, replacing the handlers of the root logger."""
    handler = logging.StreamHandler(stream)
    handler.setFormatter(formatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.INFO)
    for name in _VERBOSE_LOGGERS:
        logging.getLogger(name).setLevel(logging.WARNING)


def formatter() -> logging.Formatter:
    """Return a formatter for JSON lines with `timestamp`, `level`, `logger`, `message` and the fields of the scope."""
    return _Formatter(
        "{levelname}{name}{message}", style="{", timestamp=True, rename_fields={"levelname": "level", "name": "logger"}
    )


_VERBOSE_LOGGERS: Final = ("botocore", "boto3", "urllib3", "datadog")
"""Loggers of libraries that log at level WARNING and above only."""
