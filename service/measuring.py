"""Every answer counted and timed by its status, whatever route or error made it."""

import time

from flask import Flask, Response, g

from asciist import metrics
from asciist.ports import Metrics


def measure_requests(app: Flask, recorder: Metrics) -> None:
    """Record `asciist.requests` and `asciist.request.duration` for each request of `app`."""

    @app.before_request
    def start() -> None:
        g.started = time.perf_counter()

    @app.after_request
    def stop(response: Response) -> Response:
        status = str(response.status_code)
        recorder.count(metrics.REQUESTS, status=status)
        recorder.distribution(metrics.REQUEST_DURATION, 1000 * (time.perf_counter() - g.started), status=status)
        return response
