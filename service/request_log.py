"""The request log and the request metrics: each request gets an id, is timed, counted and logged once."""

import logging
import re
import time
import uuid
from collections.abc import Iterable
from typing import Any, Final

from flask import Flask, Response, g, request

from asciist.protocol.messages import Trace
from asciist.protocol.ports import Metrics
from asciist.telemetry import logs
from asciist.telemetry.metrics import REQUEST_DURATION, REQUESTS, UPLOAD_DURATION
from service import headers
from service.uploads import WatchedInput

_log = logging.getLogger(__name__)

_HEALTH_CHECKS: Final = ("/healthz", "/readyz")
"""Paths of health checks. Like OPTIONS requests, which browsers send before those of other sites' programs, they are neither
counted nor logged: they do no work and would skew error rates and latencies."""

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
"""Tracing headers of W3C, Zipkin, AWS and Datadog: they are logged and sent to the worker."""
_TRACING_HEADER: Final = re.compile(r"[ -~]{1,512}")
"""Accepted value of a tracing header: up to 512 printable ASCII characters, the length that W3C asks for in tracestate."""


def log_requests(app: Flask, metrics: Metrics) -> None:
    """Count, time and log every request of `app`, except health checks and OPTIONS requests."""
    wsgi_app = app.wsgi_app

    def with_log_scope(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        with logs.scope():
            return wsgi_app(environ, start_response)

    app.wsgi_app = with_log_scope  # type: ignore[method-assign]  # Flask's documented way to add middleware

    @app.before_request
    def start_timer() -> None:
        g.started = time.perf_counter()
        g.trace = _trace()
        logs.add(request_id=g.trace.request_id, trace=g.trace.headers)

    @app.after_request
    def record(response: Response) -> Response:
        headers.for_request_id(response, g.trace.request_id)
        if request.path in _HEALTH_CHECKS or request.method == "OPTIONS":
            return response
        status = str(response.status_code)
        duration, upload = 1000 * (time.perf_counter() - g.started), 0.0
        body = request.environ["wsgi.input"]
        if isinstance(body, WatchedInput):
            upload = 1000 * body.waited_seconds
            duration -= upload
            metrics.distribution(UPLOAD_DURATION, upload)
        metrics.count(REQUESTS, status=status)
        metrics.distribution(REQUEST_DURATION, duration, status=status)
        # The route, because the path differs for every image.
        route = request.url_rule.rule if request.url_rule else ""
        logs.add(method=request.method, route=route, status=response.status_code)
        logs.add(duration_ms=round(duration, 1), upload_ms=round(upload, 1))
        _log.info("request")
        return response


def _trace() -> Trace:
    """Return the tracing headers and the request id: that of the client or a proxy if it is valid, or else a new one."""
    given = request.headers.get("X-Request-Id", "")
    received = {name: request.headers.get(name, "") for name in _TRACING_HEADERS}
    return Trace(
        request_id=given if _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex,
        headers={name: text for name, text in received.items() if _TRACING_HEADER.fullmatch(text)},
    )
