"""The web tier: HTTP in, a Requester behind it, art out."""

import hashlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Final

from flask import Flask, Response, current_app, request, url_for
from werkzeug.routing import BaseConverter

from asciist.protocol.ports import Metrics
from asciist.protocol.request_reply import Requester
from asciist.settings import Settings
from service import errors, routes
from service.measuring import measure_requests
from service.uploads import UploadRequest

_FOR_EVER_SECONDS: Final = 31_536_000
_SOME_SECONDS: Final = 3600
"""That a static file may be kept whose address does not tell its version."""


class _Application(Flask):
    request_class = UploadRequest

    def get_send_file_max_age(self, filename: str | None) -> int:  # noqa: ARG002 - Flask's signature
        return _FOR_EVER_SECONDS if "v" in request.args else _SOME_SECONDS


class _Sha256Converter(BaseConverter):
    regex = "[0-9a-f]{64}"


class _NameConverter(BaseConverter):
    """Anything at all: unlike werkzeug's `path`, with line breaks and with slashes at its start."""

    part_isolating = False
    weight = 1000  # tried last
    regex = r"[\s\S]+"


def create_app(*, settings: Settings, requester: Requester, metrics: Metrics, is_ready: Callable[[], bool]) -> Flask:
    """The WSGI application. `is_ready` says whether a request sent now would be answered."""
    app = _Application(__name__)
    app.url_map.converters |= {"sha256": _Sha256Converter, "name": _NameConverter}
    app.url_map.merge_slashes = False
    app.register_blueprint(routes.blueprint(settings=settings, requester=requester, metrics=metrics, is_ready=is_ready))
    errors.register(app, settings)
    measure_requests(app, metrics)
    app.add_template_global(_static_address, "static")

    @app.after_request
    def harden(response: Response) -> Response:
        response.headers["X-Content-Type-Options"] = "nosniff"
        response.headers["Referrer-Policy"] = "same-origin"  # who has the link to some art may see it
        return response

    return app


def _static_address(filename: str) -> str:
    """The address of a static file, which changes with its content."""
    return url_for("static", filename=filename, v=_content_hash(filename))


@cache
def _content_hash(filename: str) -> str:
    return hashlib.sha256(Path(current_app.root_path, "static", filename).read_bytes()).hexdigest()[:12]
