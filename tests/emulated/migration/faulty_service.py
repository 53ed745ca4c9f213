"""Faults of a service that its health checks do not detect.

This module is copied beside a copy of the service, whose application is wrapped in `Faulty`. The
file named by `FAULT_FILE` contains the fault.
"""

import os
import random
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

ERRORS = "errors"
"""Every request is answered with 500."""
SLOW = "slow"
"""Every answer takes a second longer."""
WRONG_ART = "wrong art"
"""A quarter of the art is returned with its blanks and its brightest characters swapped."""

_HEALTH_CHECKS = ("/healthz", "/readyz")
_DELAY_SECONDS = 1.0
_WRONG_SHARE = 0.25
_EXCHANGED = bytes.maketrans(b" Q", b"Q ")


class Faulty:
    """A WSGI application with a fault that may change at any time."""

    def __init__(self, application: Callable[..., Iterable[bytes]]) -> None:
        self._application = application
        self._file = Path(os.environ["FAULT_FILE"])

    def __call__(
        self, environ: dict[str, Any], start_response: Callable[..., object]
    ) -> Iterable[bytes]:
        fault = "" if environ["PATH_INFO"] in _HEALTH_CHECKS else self._file.read_text()
        if fault == ERRORS:
            start_response(
                "500 Internal Server Error",
                [("Content-Type", "text/plain"), ("Content-Length", "7")],
            )
            return [b"broken\n"]
        if fault == SLOW:
            time.sleep(_DELAY_SECONDS)
        if fault == WRONG_ART and random.random() < _WRONG_SHARE:
            environ.pop("HTTP_ACCEPT_ENCODING", None)
            return _exchanged(self._application(environ, start_response))
        return self._application(environ, start_response)


def _exchanged(body: Iterable[bytes]) -> Iterator[bytes]:
    return (part.translate(_EXCHANGED) for part in body)
