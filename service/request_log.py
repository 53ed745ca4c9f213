"""The request log and the request metrics: each request gets an id, and is timed, counted and
logged once."""

import logging
import re
import secrets
import time
from collections.abc import Callable, Iterable, MutableMapping
from typing import Any, Final

from asciist.protocol.messages import Trace
from asciist.protocol.ports import Metrics
from asciist.telemetry import logs
from asciist.telemetry.metrics import REQUEST_DURATION, REQUESTS, UPLOAD_DURATION
from . import headers
from .hot_answers import ROUTE
from .uploads import STARTED

_log = logging.getLogger(__name__)

_Environ = MutableMapping[str, Any]
_Application = Callable[[Any, Any], Iterable[bytes]]

# they do no work and would skew error rates and latencies
_HEALTH_CHECKS: Final = ("/healthz", "/readyz")
"""Paths of health checks, which are neither counted nor logged. OPTIONS requests (CORS preflights)
are not either."""

_TRACE: Final = "asciist.trace"
"""Key of the request's Trace in a WSGI environment."""

_REQUEST_ID: Final = re.compile(r"[\w.:=+/@-]{1,128}", re.ASCII)
_TRACING_HEADERS: Final = (
    "traceparent",
    "tracestate",
    "b3",
    "x-amzn-trace-id",
    "x-datadog-trace-id",
    "x-datadog-parent-id",
    "x-datadog-sampling-priority",
    "x-datadog-origin",
    "x-datadog-tags",
)
"""Tracing headers of W3C, Zipkin, AWS and Datadog; logged and sent to the worker."""
_TRACING_VARIABLES: Final = tuple(
    (f"HTTP_{name.upper().replace('-', '_')}", name) for name in _TRACING_HEADERS
)
_TRACING_HEADER: Final = re.compile(r"[ -~]{1,512}")
"""Accepted value of a tracing header: up to 512 printable ASCII characters, the length that W3C
requires for tracestate."""


def trace_of(environ: _Environ) -> Trace:
    """Return the Trace of a request."""
    trace: Trace = environ[_TRACE]
    return trace


def log_requests(application: _Application, metrics: Metrics) -> _Application:
    """Return a WSGI application that counts, times and logs every request of `application`.

    Health checks and OPTIONS requests are left out.
    """

    def logged(environ: _Environ, start_response: Any) -> Iterable[bytes]:
        started = environ.get(STARTED) or time.perf_counter()
        trace = environ[_TRACE] = _trace(environ)

        def record(
            status: str, response_headers: list[tuple[str, str]], exc_info: Any = None
        ) -> Any:
            headers.for_every_response(response_headers, trace.request_id)
            if (
                environ["PATH_INFO"] not in _HEALTH_CHECKS
                and environ["REQUEST_METHOD"] != "OPTIONS"
            ):
                _record(environ, status[:3], 1000 * (time.perf_counter() - started), metrics)
            return start_response(status, response_headers, exc_info)

        with logs.scope():
            logs.add(request_id=trace.request_id, trace=trace.headers)
            return application(environ, record)

    return logged


def log_unparsed(metrics: Metrics, status: int, message: str) -> str:
    """Count and log an unparsable request, answered with `message`. Return its new id."""
    request_id = secrets.token_hex(16)
    metrics.count(REQUESTS, status=str(status))
    metrics.distribution(REQUEST_DURATION, 0.0, status=str(status))
    with logs.scope():
        logs.add(request_id=request_id, status=status, error=message)
        _log.info("request")
    return request_id


def _record(environ: _Environ, status: str, duration: float, metrics: Metrics) -> None:
    """Log and count one request, which took `duration` milliseconds."""
    request = environ.get("werkzeug.request")  # None if the request did not reach the application
    upload = 0.0
    upload_seconds = getattr(request, "upload_seconds", None)
    if upload_seconds is not None:
        upload = 1000 * upload_seconds
        duration -= upload
        metrics.distribution(UPLOAD_DURATION, upload)
    metrics.count(REQUESTS, status=status)
    metrics.distribution(REQUEST_DURATION, duration, status=status)
    # The route, because the path differs for every image.
    rule = getattr(request, "url_rule", None)
    route = rule.rule if rule else environ.get(ROUTE, "")
    logs.add(method=environ["REQUEST_METHOD"], route=route, status=int(status))
    logs.add(duration_ms=round(duration, 1), upload_ms=round(upload, 1))
    _log.info("request")


def _trace(environ: _Environ) -> Trace:
    """Return the tracing headers and the request id: a valid id of the client or a proxy, or else a
    new one."""
    given = environ.get("HTTP_X_REQUEST_ID", "")
    received = {
        name: environ[variable] for variable, name in _TRACING_VARIABLES if variable in environ
    }
    return Trace(
        request_id=given if _REQUEST_ID.fullmatch(given) else secrets.token_hex(16),
        headers={name: text for name, text in received.items() if _TRACING_HEADER.fullmatch(text)},
    )
