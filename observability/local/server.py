"""The page, the definition that it draws, and the values, over HTTP."""

import contextlib
import logging
import socket
import threading
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final

from flask import Flask, Response, abort, jsonify, request
from werkzeug.serving import make_server

from observability.datadog import INTEGRATION_METRICS
from observability.local.dogstatsd import BUCKET_SECONDS, BUCKETS, Receiver
from observability.local.queries import Request
from observability.queries import QueryError

_PAGE: Final = Path(__file__).with_name("page")
_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'"
)
_SHOWN_ERRORS: Final = 10
_DRAWN: Final[Mapping[str, str]] = {"timeseries": "timeseries", "query_value": "scalar", "toplist": "scalar"}
"""The widgets that are drawn from values, with the format of their request."""

ABSENT: Final = "Measured by AWS: nothing arrives here."


class Panel:
    """One widget of the dashboard, read."""

    def __init__(self, definition: Mapping[str, Any], variables: Mapping[str, str]) -> None:
        """Raises QueryError for what would not be drawn as Datadog draws it."""
        self.title: str = definition.get("title", "")
        self._requests = []
        if definition["type"] == "note":
            return
        if definition["type"] not in _DRAWN:
            raise QueryError(f"{definition['type']} is not drawn here")
        for body in definition["requests"]:
            if body["response_format"] != _DRAWN[definition["type"]]:
                raise QueryError(f"{self.title}: a {definition['type']} of {body['response_format']} values")
            if body.get("display_type", "line") != "line":
                raise QueryError(f"{self.title}: {body['display_type']} are not drawn here")
            self._requests.append(Request.parse(body, variables))

    @property
    def is_absent(self) -> bool:
        """Whether all it asks for is measured by others, who do not send it here."""
        metrics = {query.asked.metric for request in self._requests for query in request.queries.values()}
        return bool(metrics) and metrics <= INTEGRATION_METRICS.keys()

    def values(self, receiver: Receiver, buckets: range) -> dict[str, Any]:
        """What the page draws."""
        lines = [asdict(line) for request in self._requests for line in request.evaluate(receiver, buckets=buckets)]
        return {"lines": lines, "absent": ABSENT if self.is_absent else ""}


def panels(dashboard: Mapping[str, Any]) -> Iterator[Panel]:
    """Every widget that is not a group, in the order of the definition; raises QueryError."""
    if dashboard["layout_type"] != "ordered":
        raise QueryError(f"a dashboard of layout {dashboard['layout_type']}")
    variables = {
        variable["name"]: f"{variable['prefix']}:{value}" if (value := variable["defaults"][0]) != "*" else "*"
        for variable in dashboard["template_variables"]
    }
    yield from _panels(dashboard["widgets"], variables)


def _panels(widgets: list[Mapping[str, Any]], variables: Mapping[str, str]) -> Iterator[Panel]:
    for widget in widgets:
        definition = widget["definition"]
        if definition["type"] == "group":
            yield from _panels(definition["widgets"], variables)
        else:
            yield Panel(definition, variables)


def create_app(*, receiver: Receiver, dashboard: Mapping[str, Any], service: str = "") -> Flask:
    """The page of `dashboard` over what `receiver` has; `service` is the address it links to. Raises QueryError."""
    app = Flask(__name__, static_folder=_PAGE, static_url_path="/page")
    drawn = list(panels(dashboard))

    @app.get("/")
    def page() -> Response:
        return app.send_static_file("index.html")

    @app.get("/dashboard.json")
    def definition() -> Response:
        return jsonify(dashboard)

    @app.get("/data")
    def data() -> Response:
        minutes = request.args.get("minutes", default=5, type=int)
        if not 1 <= minutes <= BUCKETS * BUCKET_SECONDS // 60:
            abort(HTTPStatus.BAD_REQUEST)
        now = receiver.clock()
        last = int(now // BUCKET_SECONDS)
        buckets = range(last - minutes * 60 // BUCKET_SECONDS + 1, last + 1)
        return jsonify(
            now=now,
            first=buckets.start * BUCKET_SECONDS,
            last=last * BUCKET_SECONDS,
            step=BUCKET_SECONDS,
            panels=[panel.values(receiver, buckets) for panel in drawn],
            feed={
                "address": "{}:{}".format(*receiver.address),
                "service": service,
                "datagrams": receiver.datagrams,
                "lines": receiver.lines,
                "bad_lines": receiver.bad_lines,
                "errors": [str(error) for error in list(receiver.errors)[-_SHOWN_ERRORS:]],
                "last_arrival": receiver.last_arrival,
            },
        )

    @app.after_request
    def secure(response: Response) -> Response:
        response.headers["Content-Security-Policy"] = _POLICY
        response.headers["Cache-Control"] = "no-store"
        return response

    return app


@contextlib.contextmanager
def serve(app: Flask, *, port: int) -> Iterator[str]:
    """Serve on `port` of this machine, or on a free one with 0; its address. Raises OSError for a port that is taken."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # a line for each poll is of no use
    with socket.create_server(("127.0.0.1", port)) as listener:
        server = make_server("127.0.0.1", listener.getsockname()[1], app, threaded=True, fd=listener.fileno())
        thread = threading.Thread(target=server.serve_forever, name="page")
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.port}"
        finally:
            server.shutdown()
            thread.join()
            server.server_close()
