"""The web tier: a Flask application that converts images over HTTP."""

from collections.abc import Callable
from typing import Final

from flask import Flask, Response, request
from werkzeug.routing import BaseConverter

from asciist.protocol.ports import Metrics
from asciist.protocol.requester import Requester
from asciist.settings import Settings
from service import answers, errors, headers, routes
from service.request_log import log_requests
from service.uploads import UploadRequest

_TRIED_LAST: Final = 1000
"""Weight of a URL converter that werkzeug tries after all others."""


class _Application(Flask):
    request_class = UploadRequest

    def get_send_file_max_age(self, filename: str | None) -> int:
        if "v" in request.args:
            return headers.HASHED_STATIC_MAX_AGE
        return headers.SCRIPT_MAX_AGE if filename and filename.endswith(".js") else headers.STATIC_MAX_AGE


class _Sha256Converter(BaseConverter):
    regex = "[0-9a-f]{64}"


class _NameConverter(BaseConverter):
    """Any name. Unlike werkzeug's `path`, it may contain line breaks and begin with slashes."""

    part_isolating = False
    weight = _TRIED_LAST
    regex = r"[\s\S]+"


def create_app(
    *,
    settings: Settings,
    requester: Requester,
    metrics: Metrics,
    is_ready: Callable[[], bool],
    store_problem: Callable[[], str] = str,
) -> Flask:
    """Return the WSGI application.

    `is_ready` returns True if a request sent now can be answered. `store_problem` returns why art is not being stored; empty
    if it is.
    """
    app = _Application(__name__)
    app.url_map.converters |= {"sha256": _Sha256Converter, "name": _NameConverter}
    app.url_map.merge_slashes = False
    app.register_blueprint(
        routes.blueprint(
            settings=settings, requester=requester, metrics=metrics, is_ready=is_ready, store_problem=store_problem
        )
    )
    answers.register(app, settings.limits)
    errors.register(app)
    log_requests(app, metrics)

    @app.after_request
    def add_headers(response: Response) -> Response:
        headers.for_every_response(response)
        return response

    return app
