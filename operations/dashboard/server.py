"""Serves the dashboard's page, its definition and its values over HTTP."""

import contextlib
import logging
import socket
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from flask import Flask, Response, request, send_from_directory
from werkzeug.serving import make_server

from operations.dashboard.dogstatsd import BUCKET_SECONDS, Receiver
from operations.dashboard.evaluation import Panel
from operations.dashboard.load import Load

CHARTS: Final = Path(__file__).parents[2] / ".venv" / "charts" / "node_modules" / "uplot" / "dist"
"""The chart library, installed by `make` from `tools/charts`."""
_PAGE: Final = Path(__file__).with_name("page")
_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self';"
    " base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


def create_app(
    *, receiver: Receiver, dashboard: Mapping[str, Any], service: str = "", load: Load | None = None
) -> Flask:
    """Build the app that shows `dashboard` with the receiver's values and links to the URL
    `service`. Raises QueryError."""
    app = Flask(__name__, static_folder=_PAGE, static_url_path="/page")
    panels = [
        Panel(widget["definition"])
        for group in dashboard["widgets"]
        for widget in group["definition"]["widgets"]
    ]

    @app.get("/")
    def page() -> Response:
        return app.send_static_file("index.html")

    @app.get("/charts/<name>")
    def charts(name: str) -> Response:
        return send_from_directory(CHARTS, name)

    @app.get("/dashboard.json")
    def definition() -> Mapping[str, Any]:
        return dashboard

    @app.get("/data")
    def data() -> dict[str, Any]:
        now = receiver.clock()
        current = int(now // BUCKET_SECONDS)
        first = current - request.args.get("minutes", 5, int) * 60 // BUCKET_SECONDS
        # The current bucket is incomplete. Numbers include it; a chart would show it as a drop, so
        # charts end before it.
        return {
            "times": [bucket * BUCKET_SECONDS for bucket in range(first, current)],
            "step": BUCKET_SECONDS,
            "panels": [
                panel.values(receiver, range(first, current + 1 if panel.is_scalar else current))
                for panel in panels
            ],
            "silent_seconds": (
                None if receiver.last_arrival is None else max(0, now - receiver.last_arrival)
            ),
            "outcomes": load.outcomes() if load else [],
            "datagrams": receiver.datagrams,
            "bad_lines": receiver.bad_lines,
            "errors": list(receiver.errors),
            "address": f"127.0.0.1:{receiver.port}",
            "service": service,
        }

    @app.after_request
    def secure(response: Response) -> Response:
        response.headers["Content-Security-Policy"] = _POLICY
        response.headers["Cache-Control"] = "no-store"
        return response

    return app


@contextlib.contextmanager
def serve(app: Flask, *, port: int) -> Iterator[str]:
    """Serve on `port` of 127.0.0.1, or on a free port if it is 0, and yield the URL. Raises OSError
    if the port is taken."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # the page polls every two seconds
    with socket.create_server(("127.0.0.1", port)) as listener:
        server = make_server(
            "127.0.0.1", listener.getsockname()[1], app, threaded=True, fd=listener.fileno()
        )
        thread = threading.Thread(target=server.serve_forever, name="page")
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.port}"
        finally:
            server.shutdown()
            thread.join()
            server.server_close()
