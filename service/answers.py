"""Responses: art and errors in the form that the client prefers, the usage text and the pages."""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import replace
from enum import Enum
from functools import cache, lru_cache
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from flask import Flask, Response, current_app, make_response, render_template, request, url_for
from markupsafe import Markup
from werkzeug.datastructures import Headers, MIMEAccept
from werkzeug.http import parse_accept_header

from asciist import formats
from asciist.animations import Animation, first_frame, is_animation
from asciist.animations.documents import document as document_of
from asciist.animations.documents import moving
from asciist.errors import sentences
from asciist.options import AUTO, OPTIONS, STYLES, ConversionOptions
from asciist.protocol.links import CODE_PATTERN
from asciist.protocol.requester import ServedArt
from asciist.settings import ANY_HOST, Settings
from asciist.size import size_of
from service import files, headers
from service.crawlers import fetches_previews
from service.files import Files
from service.hot_answers import SERVED
from service.openapi import dereferenced, document
from service.streams import Streams
from service.uploads import sends_json

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

_ESCAPE_CODES: Final = re.compile(r"\x1b\[[0-9;]*m")
"""Terminal escape codes for colour, which are removed from art on a page."""


_SAMPLE_WIDTHS: Final = (100, 64)
"""Widths of the sample art on a wide and on a narrow screen, in columns, and the widths that the page first asks for."""


_COLOURS: Final = {"none": "none", "ansi": "full", "html": "full", "ansi256": "256 colours", "ansi16": "16 colours"}
"""Colour of art for a person, by the value of the option."""


class Form(Enum):
    """Forms of an answer, with their media types."""

    JSON = "application/json"
    TEXT = "text/plain"
    HTML = "text/html"
    PNG = "image/png"
    SVG = "image/svg+xml"


class Answer(Response):
    """A response that is sent once, so its headers need not be copied."""

    def get_wsgi_headers(self, environ: "WSGIEnvironment") -> Headers:
        headers = self.headers
        if self.status_code != 200 or "Content-Length" not in headers or "Location" in headers:
            return super().get_wsgi_headers(environ)
        return headers


_FILES: Final = {Form.PNG: "png", Form.SVG: "svg"}
"""Suffixes of the forms that are files."""


def register(app: Flask, settings: Settings, art_files: Files) -> None:
    """Store what answers depend on in the configuration of `app`, and define the variables of its templates."""
    limits = app.config["limits"] = settings.limits
    app.config["streams"] = Streams()
    app.config["any_host"] = settings.trusted_hosts == ANY_HOST
    app.config["files"] = art_files

    @app.context_processor
    def template_variables() -> dict[str, Any]:
        return {
            "limits": limits,
            "formats": formats,
            "options": OPTIONS,
            "styles": STYLES,
            "origin": origin(),
            "static": _static_url,
        }


def art_answer(served: ServedArt, *, path: str, image_path: str = "") -> Response:
    """Return art in the preferred form, with its caching headers.

    `path` is that of its permanent URL. `image_path`, for whoever uploaded the image, converts it again and deletes it.
    """
    form, varying = _form_of_art()
    is_animated = is_animation(served.art)
    is_link = request.method in ("GET", "HEAD")
    is_page = form is Form.HTML and (is_link or served.options.color != "html")
    is_document = served.options.color == "html" and form in (Form.HTML, Form.TEXT) and not is_page
    is_streamed = is_animated and form is Form.TEXT and served.options.color != "html"
    if is_streamed:
        response = _stream(Animation.from_text(served.art))
    elif is_document:
        response = _art_document((document_of(Animation.from_text(served.art)) if is_animated else served.art) + "\n")
    elif is_page:
        response = _art_page(served, path)
    elif form in _FILES:
        response = _file(served, _FILES[form])
    elif form is Form.JSON:
        response = _json(_description(served, path))
    else:
        response = _text(served.art + "\n")
    may_be_shared = not is_page and not (form is Form.JSON and current_app.config["any_host"])
    headers.for_art(
        response,
        served,
        path=path,
        image_path=image_path,
        is_page=is_page,
        may_be_shared=may_be_shared,
        varying=varying,
    )
    if is_streamed:
        headers.for_stream(response)
        return response
    request.environ[SERVED] = served
    response.add_etag()
    return response


def stored_answer(served: ServedArt, *, path: str, suffix: str) -> Response:
    """Return stored art in the form that a suffix names or, without one, that the client prefers. `path` is that of its URL."""
    return art_file(served, path=path, suffix=suffix) if suffix else art_answer(served, path=path)


def art_file(served: ServedArt, *, path: str, suffix: str) -> Response:
    """Return stored art in the form that a suffix names. `path` is that of its permanent URL."""
    request.environ[SERVED] = served
    is_json = suffix == files.JSON_SUFFIX
    response = _json(_description(served, path)) if is_json else _file(served, suffix)
    headers.for_art(
        response,
        served,
        path=f"{path}.{suffix}",
        image_path="",
        is_page=False,
        may_be_shared=not (is_json and current_app.config["any_host"]),
        varying="",
    )
    response.add_etag()
    return response


def _description(served: ServedArt, path: str) -> dict[str, Any]:
    """Return the fields of an answer in JSON: what describes the art, and the art last, because it is long."""
    columns, rows = served.size
    return {
        "url": f"{origin()}{path}",
        "columns": columns,
        "rows": rows,
        "style": served.options.style,
        **({} if served.invert is None else {"invert": served.invert}),
        "stored": served.was_stored,
        **(_movement(Animation.from_text(served.art), served.options) if is_animation(served.art) else {"art": served.art}),
    }


def is_submitted_form() -> bool:
    """Return whether the request comes from the form of the page, without the page's script."""
    return request.mimetype == "multipart/form-data" and _preferred_form() is Form.HTML


def redirection(path: str, *, is_permanent: bool = False) -> Response:
    """Redirect to a path: with 303, after a form, to what it has made; permanently, to the right spelling of a link."""
    response = _text(f"{origin()}{path}\n")
    response.status_code = 301 if is_permanent else 303
    headers.for_location(response, path)
    return response


def short_link(code: str) -> Response:
    """Return the URL of a short link in the preferred form, or redirect a browser to it."""
    path = f"/{code}"
    form = _preferred_form()
    if form is Form.HTML:
        return redirection(path)
    url = f"{origin()}{path}"
    response = _json({"url": url}) if form is Form.JSON else _text(f"{url}\n")
    response.status_code = 201
    headers.for_location(response, path)
    return response


def _movement(animation: Animation, options: ConversionOptions) -> dict[str, Any]:
    """Return the art of an animation in JSON, and the fields that a still image has not."""
    numbers = {"plays": animation.plays, "shown_frames": animation.shown_frames, "image_frames": animation.image_frames}
    if options.color == "html":
        return {**numbers, "art": document_of(animation)}
    frames = [{"milliseconds": frame.milliseconds, "art": frame.art} for frame in animation.frames]
    return {**numbers, "art": animation.frames[0].art, "frames": frames}


def _still(served: ServedArt) -> ServedArt:
    """Return art with the first frame of an animation alone."""
    return replace(served, art=first_frame(served.art)) if is_animation(served.art) else served


def error_answer(status: int, message: str) -> Response:
    """Return an error in the preferred form: as JSON, as text, or as a page.

    The page for a form is the one with the form. For a link, there is nothing but the error.
    """
    match _preferred_form():
        case Form.JSON:
            response = _json({"error": message})
        case Form.HTML:
            response = editor(error=message) if request.method == "POST" else _error_page(status, message)
        case _:
            response = _text(message + "\n")
    response.status_code = status
    headers.for_error(response)
    return response


def deletion_answer() -> Response:
    """Return the answer to a deletion, which has no body."""
    response = Response(status=204)
    headers.for_deletion(response)
    return response


def front_page() -> Response:
    """Return the page to a browser and to a program that shows previews, and the usage text to other clients.

    Accept decides, then User-Agent.
    """
    shows_pages = "Mozilla/" in request.headers.get("User-Agent", "") or fetches_previews(request.environ)
    form = _preferred_form(default=Form.HTML if shows_pages else Form.TEXT)
    response = editor() if form is Form.HTML else _text(render_template("usage.txt") + "\n")
    headers.for_front_page(response)
    return response


def editor(*, error: str = "") -> Response:
    """Return the page with the form that converts images, an error if there is one, and the sample art."""
    samples = {width: _sample(width) for width in _SAMPLE_WIDTHS}
    art_style = "".join(map(_size_style, ("art", "narrow"), map(size_of, samples.values())))
    response = make_response(
        render_template(
            "editor.html",
            chosen=ConversionOptions(width=_SAMPLE_WIDTHS[0], invert=AUTO),
            samples=samples,
            art_style=art_style,
            error=error,
        )
    )
    headers.for_page(response, art_style)
    return response


def _art_page(served: ServedArt, path: str) -> Response:
    """Return the page that a link opens: the art, how it was made, and what can be done with it. `path` is that of the link."""
    art = _characters(_still(served))
    columns, rows = size = served.size
    art_style = _size_style("art", size)
    is_coloured = served.options.color != "none"
    elements, motion = _coloured(served) if is_coloured else _moving(served) if is_animation(served.art) else ("", "")
    response = make_response(
        render_template(
            "art.html",
            served=served,
            path=path,
            is_short=re.fullmatch(CODE_PATTERN, path[1:]) is not None,
            art=Markup(elements) if elements else art,  # noqa: S704 - what made the document escapes
            motion=Markup(motion),  # noqa: S704 - has only names and numbers
            columns=columns,
            rows=rows,
            making=_making(served, columns, rows),
            art_style=art_style,
            card=f"{origin()}{path}.card.png" if files.is_drawable(art) else "",
            card_size=files.CARD_SIZE,
        )
    )
    headers.for_page(response, art_style, *([motion] if motion else []), has_colours=is_coloured)
    return response


def _size_style(element: str, size: tuple[int, int]) -> str:
    """Return the rule with the columns and rows of the art in an element, from which the style sheet fits it into its place.

    The content security policy allows exactly this inline style, by its hash.
    """
    columns, rows = size
    return f"#{element}{{--columns:{columns};--rows:{rows}}}"


def _making(served: ServedArt, columns: int, rows: int) -> dict[str, str]:
    """Return how art was made, for a person: its size, and the options that the page offers, by their labels."""
    chosen = served.options
    others = {
        option.label: "yes" if getattr(chosen, name) is True else str(getattr(chosen, name))
        for name, option in OPTIONS.items()
        if name not in ("width", "style", "color", "invert") and getattr(chosen, name) != option.default
    }
    return {
        "Size": f"{columns} \u00d7 {rows} characters",
        "Style": chosen.style,
        "Colour": _COLOURS[chosen.color],
        "Background": "light" if served.is_dark_on_light else "dark",
        **others,
    }


def _error_page(status: int, message: str) -> Response:
    """Return a page that says what is wrong with a link, and shows nothing else."""
    response = make_response(render_template("error.html", status=status, message=message))
    headers.for_page(response)
    return response


def contract() -> dict[str, Any]:
    """Return the OpenAPI document of this service, with the address that the client used as its server."""
    return document(current_app.config["limits"], origin())


def docs_page() -> Response:
    """Return the OpenAPI document as an HTML page."""
    described = contract()
    response = make_response(render_template("docs.html", contract=described, paths=dereferenced(described)))
    headers.for_docs_page(response)
    return response


def health_answer(status: int, text: str) -> Response:
    """Return the answer to a health check."""
    response = _text(text + "\n")
    response.status_code = status
    headers.for_health_check(response)
    return response


def readiness_answer(*, is_ready: bool, store_problem: str) -> Response:
    """Return the answer to a readiness check. `store_problem` is why art is not being stored; empty if it is."""
    if not is_ready:
        return health_answer(503, "not ready")
    return health_answer(200, sentences.ready_without_storing(store_problem) if store_problem else "ready")


def origin() -> str:
    """Return the address of the service as the client sees it, such as `https://host`. For display only: clients control it."""
    scheme = request.headers.get("X-Forwarded-Proto", request.scheme)
    return f"{scheme if scheme in ('http', 'https') else request.scheme}://{request.host}"


def _form_of_art() -> tuple[Form, str]:
    """Return the form of art, and the request headers that chose it.

    A program that shows previews gets the page, if it accepts anything, because the page describes its art to such programs.
    """
    is_read = request.method in ("GET", "HEAD")
    form, of_preview = _preferred_form(), _preferred_form(default=Form.HTML)
    if not is_read or form is of_preview:
        return form, "Accept"
    return of_preview if fetches_previews(request.environ) else form, "Accept, User-Agent"


def _preferred_form(default: Form | None = None) -> Form:
    """Return the form that the Accept header prefers.

    Without a preference, return `default`, or if it is None, JSON for a JSON request and text for any other.
    """
    default = default or (Form.JSON if sends_json(request) else Form.TEXT)
    accepted = request.environ.get("HTTP_ACCEPT", "")
    return _best_form(accepted, default) if accepted else default


@lru_cache(maxsize=128)
def _best_form(accepted: str, default: Form) -> Form:
    forms = [default, *(form for form in Form if form is not default)]
    return Form(parse_accept_header(accepted, MIMEAccept).best_match([form.value for form in forms]) or default.value)


@cache
def _sample(width: int) -> str:
    """Return the art of the sample photograph in one of `_SAMPLE_WIDTHS`."""
    return Path(current_app.root_path, "static", f"coffee-{width}.txt").read_text().rstrip("\n")


def _static_url(filename: str) -> str:
    """Return the URL of a static file, with a hash of its content."""
    return url_for("static", filename=filename, v=_content_hash(filename))


@cache
def _content_hash(filename: str) -> str:
    return hashlib.sha256(Path(current_app.root_path, "static", filename).read_bytes()).hexdigest()[:12]


def _characters(served: ServedArt) -> str:
    return files.text_of(served) if served.options.color == "html" else _ESCAPE_CODES.sub("", served.art)


def _coloured(served: ServedArt) -> tuple[str, str]:
    """Return coloured art as HTML elements, and the style sheet that moves them, if any: those of its document."""
    art_files: Files = current_app.config["files"]
    document = art_files.file(served, "html").decode()
    lines, _, rest = document.partition("<pre")[2].partition(">\n")[2].partition("</pre>")
    return lines.rstrip("\n"), rest.partition("<style>")[2].partition("</style>")[0]


def _moving(served: ServedArt) -> tuple[str, str]:
    """Return an animation without colours as HTML elements, and the style sheet that moves them."""
    animation = Animation.from_text(served.art)
    frames = [escape(frame.art, quote=False).split("\n") for frame in animation.frames]
    moved = moving(frames, [frame.milliseconds for frame in animation.frames], plays=animation.plays)
    return "\n".join(moved.lines), moved.style


def _file(served: ServedArt, suffix: str) -> Response:
    art_files: Files = current_app.config["files"]
    response = Answer(art_files.file(served, suffix), content_type=files.CONTENT_TYPES[suffix])
    if suffix in ("html", "svg"):
        headers.for_art_document(response)
    return response


def _art_document(html: str) -> Response:
    response = Answer(html, content_type="text/html; charset=utf-8")
    headers.for_art_document(response)
    return response


def _stream(animation: Animation) -> Response:
    streams: Streams = current_app.config["streams"]
    stream = streams.begin(animation)
    response = Answer(stream, content_type="text/plain; charset=utf-8")
    response.content_length = stream.length
    return response


def _json(fields: Mapping[str, Any]) -> Response:
    return Answer(json.dumps(fields, separators=(",", ":")) + "\n", content_type="application/json")


def _text(text: str) -> Response:
    return Answer(text, content_type="text/plain; charset=utf-8")
