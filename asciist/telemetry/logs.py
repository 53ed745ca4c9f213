"""Log lines: one JSON object each, and every line about a request carries the request's id, in both tiers."""

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Final, TextIO

from pythonjsonlogger.json import JsonFormatter

_fields: ContextVar[dict[str, object] | None] = ContextVar("log fields", default=None)


@contextmanager
def scope() -> Iterator[None]:
    """Lines that are logged within carry the fields that are added within."""
    token = _fields.set({})
    try:
        yield
    finally:
        _fields.reset(token)


def add(**fields: object) -> None:
    """Put fields on the lines that this scope logs from now on; without a scope, on none."""
    scope_fields = _fields.get()
    if scope_fields is not None:
        scope_fields.update(fields)


class _Formatter(JsonFormatter):
    def add_fields(self, log_data: dict[str, Any], record: logging.LogRecord, message_dict: dict[str, Any]) -> None:
        super().add_fields(log_data, record, message_dict)
        log_data.update(_fields.get() or {})


def configure(stream: TextIO = sys.stdout) -> None:
    """Log as JSON lines to `stream`, in place of whatever the root logger did so far."""
    handler = logging.StreamHandler(stream)
    handler.setFormatter(formatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.INFO)
    for name in _TALKATIVE:
        logging.getLogger(name).setLevel(logging.WARNING)


def formatter() -> logging.Formatter:
    """The form of a line: `timestamp`, `level`, `logger`, `message`, and the fields of its scope."""
    return _Formatter(
        "{levelname}{name}{message}", style="{", timestamp=True, rename_fields={"levelname": "level", "name": "logger"}
    )


_TALKATIVE: Final = ("botocore", "boto3", "urllib3", "datadog")
