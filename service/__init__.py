"""The web tier: a Flask application that converts images over HTTP."""

import re
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from flask import Flask, Request, Response, request
from flask.ctx import RequestContext
from flask.sessions import NullSession
from werkzeug.exceptions import SecurityError
from werkzeug.routing import BaseConverter, MapAdapter, ValidationError
from werkzeug.sansio.utils import host_is_trusted

from asciist.art.forms import FORMS
from asciist.errors import OverloadedError, sentences
from asciist.protocol.links import (
    CAPABILITY_PATTERN,
    CODE_PATTERN,
    NAME_PATTERN,
    SPELLING_PATTERN,
    Links,
    code_as_read,
)
from asciist.protocol.ports import Metrics, Renderer
from asciist.protocol.requester import Requester
from asciist.settings import ANY_HOST, Settings, items_of
from . import answers, compression, errors, headers, routes
from .admission import Admission, ReadPlaces
from .cors import CrossOriginHeaders
from .hot_answers import REFUSED, HotAnswers, SharedCounter
from .renderings import Renderings
from .request_log import log_requests, log_unparsed
from .streams import Streams
from .uploads import UploadRequest, Uploads

_TRIED_LAST: Final = 1000
"""Weight of a URL converter that werkzeug tries after all others."""

_OF_ANY_HOST: Final = ("asciist.liveness", "asciist.readiness")
"""Endpoints for which any host name is trusted: load balancers address health checks to an IP
address."""


_NO_SESSION: Final = NullSession()


class _Application(Flask):
    request_class = UploadRequest
    response_class = answers.Answer

    def request_context(self, environ: dict[str, Any]) -> RequestContext:
        return RequestContext(self, environ, session=_NO_SESSION)  # not looked for in a cookie

    def ensure_sync(self, func: Callable[..., Any]) -> Callable[..., Any]:
        return func  # none is asynchronous, and finding that out takes four calls

    def create_url_adapter(self, request: Request | None) -> MapAdapter | None:
        """Return what matches the URL of a request. Flask's own method checks the host, on which no
        route depends."""
        if request is None:
            return super().create_url_adapter(None)
        return MapAdapter(
            self.url_map, "", request.root_path, "", "http", request.path, request.method
        )

    def make_default_options_response(self) -> Response:
        response = super().make_default_options_response()
        # `OPTIONS *` asks for the methods of the server as a whole. The path `/` accepts all of
        # them.
        methods = (
            self.url_map.bind("").allowed_methods("/")
            if request.environ["PATH_INFO"] == "*"
            else response.allow
        )
        response.headers["Allow"] = ", ".join(sorted(methods))
        response.status_code = 204
        del response.headers["Content-Type"]  # the answer has no body
        return response

    def get_send_file_max_age(self, filename: str | None) -> int:
        if "v" in request.args:
            return headers.HASHED_STATIC_MAX_AGE
        return (
            headers.SCRIPT_MAX_AGE
            if filename and filename.endswith(".js")
            else headers.STATIC_MAX_AGE
        )


class _LinkConverter(BaseConverter):
    regex = NAME_PATTERN


class _CapabilityConverter(BaseConverter):
    regex = CAPABILITY_PATTERN


class _CodeConverter(BaseConverter):
    regex = CODE_PATTERN


class _SpellingConverter(BaseConverter):
    """The code of a short link in any accepted spelling: in capitals, without hyphens, or with O
    for 0."""

    regex = SPELLING_PATTERN
    weight = _TRIED_LAST - 1

    def to_python(self, value: str) -> str:
        code = code_as_read(value)
        if code is None:
            raise ValidationError
        return code


class _ColumnsConverter(BaseConverter):
    """A width followed by a suffix, which begins with a dot."""

    regex = r"[^./]+"


class _SuffixConverter(BaseConverter):
    regex = "|".join(map(re.escape, sorted(FORMS, key=len, reverse=True)))


class _NameConverter(BaseConverter):
    """Any name. Unlike werkzeug's `path`, it may contain line breaks and begin with slashes."""

    part_isolating = False
    weight = _TRIED_LAST
    regex = r"[\s\S]+"


_CONVERTERS: Final = {
    "link": _LinkConverter,
    "capability": _CapabilityConverter,
    "name": _NameConverter,
    "code": _CodeConverter,
    "spelling": _SpellingConverter,
    "columns": _ColumnsConverter,
    "suffix": _SuffixConverter,
}


def create_app(
    *,
    settings: Settings,
    requester: Requester,
    metrics: Metrics,
    links: Links,
    is_ready: Callable[[], bool],
    is_healthy: Callable[[], bool] = lambda: True,
    readiness: Callable[[], str] = sentences.ready,
    deletions: SharedCounter | None = None,
    renderer: Renderer | None = None,
) -> Flask:
    """Return the WSGI application.

    `is_ready` returns True if a request sent now can be answered, and `is_healthy` if this process
    itself works. `readiness` returns the text for a process that is ready. `deletions` counts the
    deletions of all processes that share it. Without a `renderer`, art is rendered in the calling
    thread.
    """
    deletions = deletions or SharedCounter()
    app = _Application(__name__)
    app.url_map.converters |= _CONVERTERS
    app.url_map.merge_slashes = False
    # The server uses the extensions too, for what it decides before the application runs.
    admission = app.extensions["asciist.admission"] = Admission(settings, metrics)
    uploads = app.extensions["asciist.uploads"] = Uploads(settings)
    reads = ReadPlaces(admission)
    app.register_blueprint(
        routes.blueprint(
            settings=settings,
            requester=requester,
            metrics=metrics,
            admission=admission,
            reads=reads,
            uploads=uploads,
            links=links,
            deletions=deletions,
            is_healthy=is_healthy,
            is_ready=is_ready,
            readiness=readiness,
        )
    )
    streams = Streams()
    answers.register(app, settings, Renderings(renderer), streams)
    errors.register(app, admission)
    cross_origin_headers = CrossOriginHeaders(settings.cors_origins)
    has_trusted_hosts = settings.trusted_hosts != ANY_HOST
    hot_answers = HotAnswers(
        app.wsgi_app,
        metrics,
        deletions,
        links.image_id,
        streams=streams,
        places=reads,
        origin_key=cross_origin_headers.key,
        depends_on_host=has_trusted_hosts,
    )
    # Flask's documented way.
    app.wsgi_app = log_requests(hot_answers, metrics)  # type: ignore[assignment, method-assign]

    if has_trusted_hosts:
        _check_hosts(app, items_of(settings.trusted_hosts))
    app.extensions["asciist.refusal_headers"] = (
        headers.OF_REFUSALS | cross_origin_headers.for_every_request()
    )
    app.extensions["asciist.log_unparsed"] = partial(log_unparsed, metrics)

    _add_hooks(app, cross_origin_headers)
    return app


def _add_hooks(app: Flask, cross_origin_headers: CrossOriginHeaders) -> None:
    """Refuse what the reads before Flask cannot serve, and finish every response."""

    @app.before_request
    def refuse() -> None:
        if REFUSED in request.environ:
            raise OverloadedError

    @app.after_request
    def finish(response: Response) -> Response:
        request = answers.current_request()
        cross_origin_headers.add(response, request)
        compression.encode(response, request)
        return response


def _check_hosts(app: Flask, trusted_hosts: list[str]) -> None:
    """Make `app` refuse requests for other hosts.

    Flask's own setting TRUSTED_HOSTS has no exceptions, distinguishes upper and lower case, and
    allows no page as the answer.
    """

    @app.before_request
    def check_host() -> None:
        host = request.headers.get("Host", "").lower()
        if request.endpoint not in _OF_ANY_HOST and not host_is_trusted(host, trusted_hosts):
            raise SecurityError
