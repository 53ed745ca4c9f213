"""The web tier: HTTP in, a Requester behind it, art out."""

from collections.abc import Callable

from flask import Flask, Response
from werkzeug.routing import BaseConverter

from asciist.ports import Metrics
from asciist.request_reply import Requester
from asciist.settings import Settings
from service import errors, routes
from service.measuring import measure_requests


class _Sha256Converter(BaseConverter):
    regex = "[0-9a-f]{64}"


def create_app(*, settings: Settings, requester: Requester, recorder: Metrics, is_ready: Callable[[], bool]) -> Flask:
    """The WSGI application. `is_ready` says whether a request sent now would be answered."""
    app = Flask(__name__)
    app.url_map.converters["sha256"] = _Sha256Converter
    app.register_blueprint(routes.blueprint(settings=settings, requester=requester, recorder=recorder, is_ready=is_ready))
    errors.register(app, settings)
    measure_requests(app, recorder)

    @app.after_request
    def never_sniff(response: Response) -> Response:
        response.headers["X-Content-Type-Options"] = "nosniff"
        return response

    return app
