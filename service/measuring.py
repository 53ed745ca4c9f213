"""Every request numbered, timed, counted and logged once, whatever route or error answered it."""

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
from service.uploads import WatchedInput

_log = logging.getLogger(__name__)

_PROBES: Final = ("/healthz", "/readyz")
"""A load balancer asks these every few seconds: counted, they would water down every share of bad answers."""

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
"""W3C, Zipkin, AWS and Datadog."""
_TRACING_HEADER: Final = re.compile(r"[ -~]{1,512}")
"""Printable ASCII; W3C lets a tracestate be shortened to 512 bytes."""


def measure_requests(app: Flask, metrics: Metrics) -> None:
    """Record, log and give an id to each request of `app`."""
    answer = app.wsgi_app

    def answer_in_scope(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        with logs.scope():
            return answer(environ, start_response)

    app.wsgi_app = answer_in_scope  # type: ignore[method-assign]  # as Flask's documentation says

    @app.before_request
    def start() -> None:
        g.started = time.perf_counter()
        g.trace = _trace()
        logs.add(request_id=g.trace.request_id, trace=g.trace.headers)

    @app.after_request
    def stop(response: Response) -> Response:
        response.headers["X-Request-Id"] = g.trace.request_id
        if request.path in _PROBES:
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
        # The rule and not the path, which may be anything.
        route = request.url_rule.rule if request.url_rule else ""
        logs.add(method=request.method, route=route, status=response.status_code)
        logs.add(duration_ms=round(duration, 1), upload_ms=round(upload, 1))
        _log.info("request")
        return response


def _trace() -> Trace:
    """The id that the client or a proxy gave, or a new one; and what tracers put beside it."""
    given = request.headers.get("X-Request-Id", "")
    headers = {name: request.headers.get(name, "") for name in _TRACING_HEADERS}
    return Trace(
        request_id=given if _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex,
        headers={name: text for name, text in headers.items() if _TRACING_HEADER.fullmatch(text)},
    )
