"""From art or an error to an HTTP response, in the form the client asked for."""

import base64
import hashlib
import re
from enum import Enum
from functools import cache
from pathlib import Path
from typing import Final

from flask import Request, Response, current_app, g, jsonify, make_response, render_template, request

from asciist.conversion import DEFAULT_STYLE, DEFAULT_WIDTH, STYLES, ConversionOptions
from asciist.protocol.request_reply import ArtSource, ServedArt
from asciist.settings import Settings
from service.openapi import document

_ART_MAX_AGE: Final = 86_400
"""Seconds that a cache may keep art. It changes only with an engine version, and a day late is soon enough."""

_CACHE_STATUS: Final = {
    ArtSource.STORE: "asciist; hit",
    ArtSource.CONVERSION: "asciist; fwd=miss; stored",
    ArtSource.SHARED: "asciist; fwd=miss; collapsed",
}
"""RFC 9211: tells whoever wonders whether this answer cost a conversion."""

_PAGE_SECURITY_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'sha256-{style}'; font-src 'self'; img-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)

_STILL_SECURITY_POLICY: Final = (
    "default-src 'none'; style-src 'self'; font-src 'self'; img-src 'self'; base-uri 'none'; frame-ancestors 'none'"
)
"""Of a page without a script or a form."""

_DOCUMENT_SECURITY_POLICY: Final = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
"""Of art that is a document itself: its colours are inline, and there is nothing else in it."""

_ESCAPE_CODES: Final = re.compile(r"\x1b\[[0-9;]*m")
"""Colour for a terminal, which a page would show as nonsense."""


class Form(Enum):
    """The forms an answer can have."""

    JSON = "application/json"
    TEXT = "text/plain"
    HTML = "text/html"


def chosen_form(client: Request, otherwise: Form) -> Form:
    """The form that the Accept header prefers; `otherwise` where it has no preference or asks for none that we have."""
    forms = [otherwise, *(form for form in Form if form is not otherwise)]
    return Form(client.accept_mimetypes.best_match([form.value for form in forms]) or otherwise.value)


def wants_page(client: Request) -> bool:
    """Whether the front page should be the one for browsers: Accept decides, then User-Agent."""
    is_browser = "Mozilla/" in client.headers.get("User-Agent", "")
    return chosen_form(client, Form.HTML if is_browser else Form.TEXT) is Form.HTML


def art_answer(served: ServedArt, form: Form, settings: Settings) -> Response:
    """Art, with what caches and permalinks need."""
    match form:
        case Form.JSON:
            response = jsonify(art=served.art)
        case Form.TEXT | Form.HTML if served.options.color == "html":
            response = _document(served.art + "\n")
        case Form.HTML:
            response = page(settings, served=served)
        case Form.TEXT:
            response = _text(served.art + "\n")
    # A page is of this release, whose art may be older: it is asked for again each time, which costs a 304.
    is_page = form is Form.HTML and served.options.color != "html"
    response.headers["Cache-Control"] = "no-cache" if is_page else f"public, max-age={_ART_MAX_AGE}"
    response.headers["Content-Location"] = f"/{served.key}"
    response.headers["Cache-Status"] = _CACHE_STATUS[served.source]
    response.vary.add("Accept")
    response.add_etag()
    response.make_conditional(request)
    return response


def error_answer(status: int, message: str, settings: Settings) -> Response:
    """An error as JSON, text, or on the page of a browser; never cached."""
    match chosen_form(request, Form.JSON if _asks_in_json() else Form.TEXT):
        case Form.JSON:
            response = jsonify(error=message)
        case Form.HTML:
            response = page(settings, error=message)
        case Form.TEXT:
            response = _text(message + "\n")
    response.status_code = status
    response.headers["Cache-Control"] = "no-store"
    response.vary.add("Accept")
    return response


def usage(settings: Settings) -> Response:
    """What `curl HOST` prints."""
    return _text(
        render_template(
            "usage.txt",
            origin=origin(),
            limits=settings.limits,
            width=DEFAULT_WIDTH,
            styles=STYLES,
            default_style=DEFAULT_STYLE,
        )
        + "\n"
    )


def page(settings: Settings, *, served: ServedArt | None = None, error: str = "") -> Response:
    """The page for browsers: a form, and beside it the art or the error that its last use led to, or else a sample."""
    art = _ESCAPE_CODES.sub("", served.art) if served else _sample()
    columns, rows = (art + "\n").index("\n"), art.count("\n") + 1
    # What a style sheet cannot know. A policy that names its hash lets it stand in the page, and nothing else.
    art_style = f"#art{{--columns:{columns};--rows:{rows}}}"
    response = make_response(
        render_template(
            "page.html",
            limits=settings.limits,
            options=served.options if served else ConversionOptions(width=DEFAULT_WIDTH),
            styles=STYLES,
            served=served,
            art=art,
            columns=columns,
            rows=rows,
            art_style=art_style,
            error=error,
            origin=origin(),
        )
    )
    style_hash = base64.b64encode(hashlib.sha256(art_style.encode()).digest()).decode()
    response.headers["Content-Security-Policy"] = _PAGE_SECURITY_POLICY.format(style=style_hash)
    return response


def docs_page(settings: Settings) -> Response:
    """The contract, for people: the same document that programs read, without a script."""
    response = make_response(render_template("docs.html", contract=document(settings.limits, origin())))
    response.headers["Content-Security-Policy"] = _STILL_SECURITY_POLICY
    response.headers["Cache-Control"] = "no-cache"
    return response


def origin() -> str:
    """Where the client has the service, as `https://host`. For showing alone: a client may say of it what it likes."""
    scheme = request.headers.get("X-Forwarded-Proto", request.scheme)
    return f"{scheme if scheme in ('http', 'https') else request.scheme}://{request.host}"


@cache
def _sample() -> str:
    """Art of the photograph that comes with the page."""
    return Path(current_app.root_path, "static", "coffee.txt").read_text().rstrip("\n")


def _asks_in_json() -> bool:
    return request.is_json or bool(g.get("is_json"))


def _document(html: str) -> Response:
    response = Response(html, content_type="text/html; charset=utf-8")
    response.headers["Content-Security-Policy"] = _DOCUMENT_SECURITY_POLICY
    return response


def _text(text: str) -> Response:
    return Response(text, content_type="text/plain; charset=utf-8")
