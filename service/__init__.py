"""The web tier: HTTP in, a Requester behind it, art out."""

from collections.abc import Callable

from flask import Flask, Response
from werkzeug.routing import BaseConverter

from asciist.ports import Metrics
from asciist.request_reply import Requester
from asciist.settings import Settings
from service import errors, routes
from service.measuring import measure_requests
from service.uploads import UploadRequest


class _Sha256Converter(BaseConverter):
    regex = "[0-9a-f]{64}"


class _NameConverter(BaseConverter):
    """Anything at all: unlike werkzeug's `path`, with line breaks and with slashes at its start."""

    part_isolating = False
    weight = 1000  # tried last
    regex = r"[\s\S]+"


def create_app(*, settings: Settings, requester: Requester, recorder: Metrics, is_ready: Callable[[], bool]) -> Flask:
    """The WSGI application. `is_ready` says whether a request sent now would be answered."""
    app = Flask(__name__)
    app.request_class = UploadRequest
    app.url_map.converters |= {"sha256": _Sha256Converter, "name": _NameConverter}
    app.url_map.merge_slashes = False
    app.register_blueprint(routes.blueprint(settings=settings, requester=requester, recorder=recorder, is_ready=is_ready))
    errors.register(app, settings)
    measure_requests(app, recorder)

    @app.after_request
    def never_sniff(response: Response) -> Response:
        response.headers["X-Content-Type-Options"] = "nosniff"
        return response

    return app
