"""Responses: art and errors in the client's preferred form, the usage text and the pages."""

import hashlib
import json
import re
from collections.abc import Mapping
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from flask import (
    Flask,
    Request,
    Response,
    current_app,
    make_response,
    render_template,
    request,
    url_for,
)
from markupsafe import Markup
from werkzeug.datastructures import Headers

from asciist import formats
from asciist.art import Frame, forms
from asciist.art.forms import Form, Policy
from asciist.art.pictures import CARD_SIZE
from asciist.options import AUTO, OPTIONS, STYLES, ConversionOptions
from asciist.protocol.links import CODE_PATTERN
from asciist.protocol.served import ServedArt
from asciist.settings import ANY_HOST, Settings
from . import compression, headers
from .crawlers import fetches_previews
from .hot_answers import READS, SERVED, STREAMED
from .negotiation import form_of_read, preferred_form
from .openapi import dereferenced, document
from .renderings import Rendered, Renderings
from .streams import Streams
from .uploads import sends_json

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

_SAMPLE_WIDTHS: Final = (100, 64)
"""Widths of the sample art on a wide and on a narrow screen, in columns. The page's first
conversion uses them, too."""

_RESERVED: Final = "asciist.reserved"
"""Key of the reserved memory of an answer, an ExitStack, in a WSGI environment."""

_PLACE_OF_ART: Final = "\0"
"""Character in place of the elements of art in a template. No valid request contains it."""


class Answer(Response):
    """A response that is sent once, so its headers need not be copied."""

    def get_wsgi_headers(self, environ: "WSGIEnvironment") -> Headers:
        headers = self.headers
        if self.status_code != 200 or "Content-Length" not in headers or "Location" in headers:
            return super().get_wsgi_headers(environ)
        return headers


def register(app: Flask, settings: Settings, renderings: Renderings, streams: Streams) -> None:
    """Store the settings of answers in the configuration of `app`, and define the variables of its
    templates."""
    limits = app.config["limits"] = settings.limits
    app.config["streams"] = streams
    app.config["any_host"] = settings.trusted_hosts == ANY_HOST
    app.config["renderings"] = renderings

    app.teardown_request(_release)

    @app.context_processor
    def template_variables() -> dict[str, Any]:
        return {
            "limits": limits,
            "formats": formats,
            "forms": forms.FORMS,
            "options": OPTIONS,
            "styles": STYLES,
            "origin": origin(),
            "static": _static_url,
        }


def current_request() -> Request:
    """Return the current request. The proxy `flask.request` looks it up at each use, which adds
    up."""
    # The method is documented.
    current: Request = request._get_current_object()  # type: ignore[attr-defined]  # noqa: SLF001
    return current


def art_answer(served: ServedArt, *, path: str, image_path: str = "") -> Response:
    """Return art in the preferred form, with its caching headers.

    `path` is the path of its permanent URL. `image_path`, given only to the uploader, converts the
    image again and deletes it.
    """
    request = current_request()
    is_read = request.method in ("GET", "HEAD")  # not admitted as a conversion
    form, varying = form_of_read(request.environ) if is_read else (_preferred_form(), "Accept")
    of_colour = forms.of_colour(served.options.color)
    is_page = form is forms.HTML and (is_read or of_colour is not forms.HTML)
    form = of_colour if form is forms.TXT else form
    is_streamed = served.first.movement is not None and form.media_type == "text/plain"
    if is_page:
        response = _art_page(served, path)
    elif is_streamed:
        response = _stream(served, form)
    else:
        response = _in_form(served, form, path)
    may_be_shared = not is_page and not (form is forms.JSON and current_app.config["any_host"])
    headers.for_art(
        response,
        served,
        path=path,
        image_path=image_path,
        is_page=is_page,
        may_be_shared=may_be_shared,
        varying=varying,
    )
    request.environ[SERVED] = served
    if is_streamed:
        headers.for_stream(response)
    else:
        response.add_etag()
    return response


def stored_answer(served: ServedArt, *, path: str, suffix: str) -> Response:
    """Return stored art in the form named by a suffix, else in the client's preferred form. `path`
    is the path of its URL."""
    return art_file(served, path=path, suffix=suffix) if suffix else art_answer(served, path=path)


def art_file(served: ServedArt, *, path: str, suffix: str) -> Response:
    """Return stored art in the form named by a suffix. `path` is the path of its permanent URL."""
    request.environ[SERVED] = served
    form = forms.FORMS[suffix]
    response = _in_form(served, form, path)
    headers.for_art(
        response,
        served,
        path=f"{path}.{suffix}",
        image_path="",
        is_page=False,
        may_be_shared=not (form is forms.JSON and current_app.config["any_host"]),
        varying="",
    )
    response.add_etag()
    return response


def _json_of_art(served: ServedArt, path: str) -> Response:
    """Return the description of art in JSON, and the art last, because it is long."""
    columns, rows = served.first.size
    described = {
        "url": f"{origin()}{path}",
        "columns": columns,
        "rows": rows,
        "style": served.options.style,
        **({} if served.invert is None else {"invert": served.invert}),
        "stored": served.was_stored,
    }
    members = _rendered(served, "members", forms.of_colour(served.options.color)).parts
    head = json.dumps(described, separators=(",", ":")).encode()
    return Answer(b"".join((head[:-1], b",", *members, b"}\n")), content_type="application/json")


def is_submitted_form() -> bool:
    """Return True if the request comes from the page's form, submitted without the page's
    script."""
    return request.mimetype == "multipart/form-data" and _preferred_form() is forms.HTML


def redirection(path: str, *, is_permanent: bool = False) -> Response:
    """Redirect to a path: after a form, with 303 to its result; permanently, to the canonical
    spelling of a link."""
    response = _text(f"{origin()}{path}\n")
    response.status_code = 301 if is_permanent else 303
    headers.for_location(response, path)
    return response


def short_link(code: str) -> Response:
    """Return the URL of a short link in the preferred form, or redirect a browser to it."""
    path = f"/{code}"
    form = _preferred_form()
    if form is forms.HTML:
        return redirection(path)
    url = f"{origin()}{path}"
    response = _json({"url": url}) if form is forms.JSON else _text(f"{url}\n")
    response.status_code = 201
    headers.for_location(response, path)
    return response


def error_answer(status: int, message: str) -> Response:
    """Return an error in the preferred form: as JSON, as text, or as a page.

    For a form, the page contains the form again. For a link, it contains only the error.
    """
    match _preferred_form():
        case forms.JSON:
            response = _json({"error": message})
        case forms.HTML:
            response = (
                editor(error=message) if request.method == "POST" else _error_page(status, message)
            )
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
    """Return the page to browsers and preview crawlers, and the usage text to other clients.

    Accept decides, then User-Agent.
    """
    shows_pages = "Mozilla/" in request.headers.get("User-Agent", "") or fetches_previews(
        request.environ
    )
    form = preferred_form(request.environ, forms.HTML if shows_pages else forms.TXT)
    response = editor() if form is forms.HTML else _text(render_template("usage.txt") + "\n")
    headers.for_front_page(response)
    return response


def editor(*, error: str = "") -> Response:
    """Return the page with the conversion form, an error if given, and the sample art."""
    samples = {width: _sample(width) for width in _SAMPLE_WIDTHS}
    art_style = "".join(map(_size_style, ("art", "narrow"), map(_size_of, samples.values())))
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
    """Return the page behind a link: the art, how it was made, and actions on it. `path` is the
    path of the link."""
    art = served.first
    columns, rows = art.size
    art_style = _size_style("art", art.size)
    elements, motion = b"", ""
    if art.is_coloured or art.movement is not None:
        elements, style = _rendered(served, "page", forms.HTML).parts
        motion = style.decode()
    page = render_template(
        "art.html",
        served=served,
        path=path,
        is_short=re.fullmatch(CODE_PATTERN, path[1:]) is not None,
        art=_PLACE_OF_ART if elements else art.text,
        motion=Markup(motion),  # noqa: S704 - has only names and numbers
        columns=columns,
        rows=rows,
        making=_making(served, columns, rows),
        art_style=art_style,
        card=f"{origin()}{path}.card.png" if forms.is_drawable(art) else "",
        card_size=CARD_SIZE,
    ).encode()
    if elements:  # several megabytes, which the template would copy; they are escaped
        page = page.replace(_PLACE_OF_ART.encode(), elements.removesuffix(b"\n"), 1)
    response = Answer(page, content_type=forms.HTML.content_type)
    headers.for_page(
        response, art_style, *([motion] if motion else []), has_colours=art.is_coloured
    )
    return response


def _size_style(element: str, size: tuple[int, int]) -> str:
    """Return a CSS rule with the columns and rows of the art in an element, for the style sheet to
    fit it into the available space.

    The content security policy allows exactly this inline style, by its hash.
    """
    columns, rows = size
    return f"#{element}{{--columns:{columns};--rows:{rows}}}"


def _making(served: ServedArt, columns: int, rows: int) -> dict[str, str]:
    """Return a description of how art was made, for a person: its size, and the options that the
    page offers, by their labels."""
    chosen = served.options
    others = {
        option.label: "yes" if getattr(chosen, name) is True else str(getattr(chosen, name))
        for name, option in OPTIONS.items()
        if name not in ("width", "style", "color", "invert")
        and getattr(chosen, name) != option.default
    }
    return {
        "Size": f"{columns} \u00d7 {rows} characters",
        "Style": chosen.style,
        "Colour": "full" if served.first.is_coloured else "none",
        "Background": "light" if served.first.is_light else "dark",
        **others,
    }


def _error_page(status: int, message: str) -> Response:
    """Return a page that says only what is wrong with a link."""
    response = make_response(render_template("error.html", status=status, message=message))
    headers.for_page(response)
    return response


def contract() -> dict[str, Any]:
    """Return the OpenAPI document of this service, with the address used by the client as its
    server."""
    return document(current_app.config["limits"], origin())


def docs_page() -> Response:
    """Return the OpenAPI document as an HTML page."""
    described = contract()
    response = make_response(
        render_template("docs.html", contract=described, paths=dereferenced(described))
    )
    headers.for_docs_page(response)
    return response


def health_answer(status: int, text: str) -> Response:
    """Return the answer to a health check."""
    response = _text(text + "\n")
    response.status_code = status
    headers.for_health_check(response)
    return response


def origin() -> str:
    """Return the address of the service as the client sees it, such as `https://host`. For display
    only: clients control it."""
    request = current_request()
    scheme = request.environ.get("HTTP_X_FORWARDED_PROTO", request.scheme)
    return f"{scheme if scheme in ('http', 'https') else request.scheme}://{request.host}"


def _preferred_form() -> Form:
    """Return the form preferred by the Accept header; without a preference, JSON for a JSON request
    and text for any other."""
    request = current_request()
    return preferred_form(request.environ, forms.JSON if sends_json(request) else forms.TXT)


@cache
def _sample(width: int) -> str:
    """Return the art of the sample photograph in one of `_SAMPLE_WIDTHS`."""
    return Path(current_app.root_path, "static", f"coffee-{width}.txt").read_text().rstrip("\n")


def _static_url(filename: str) -> str:
    """Return the URL of a static file, with a hash of its content."""
    return url_for("static", filename=filename, v=_content_hash(filename))


@cache
def _content_hash(filename: str) -> str:
    return hashlib.sha256(Path(current_app.root_path, "static", filename).read_bytes()).hexdigest()[
        :12
    ]


def _size_of(text: str) -> tuple[int, int]:
    return Frame(text=text).size


def _rendered(served: ServedArt, kind: str, form: Form) -> Rendered:
    """Return a rendering, with the memory reserved to compose an answer from it. Raises
    OverloadedError, UndrawableArtError."""
    renderings: Renderings = current_app.config["renderings"]
    environ = request.environ
    rendered = renderings.render(served, kind, form, environ.get(READS))
    # A stream is sent as it is, and a small answer is composed without a pause for others.
    if kind != "stream" and rendered.size > compression.PIECE_BYTES:
        reserved = environ.setdefault(_RESERVED, ExitStack())
        reserved.enter_context(renderings.composing(rendered))
    return rendered


def _release(_error: BaseException | None) -> None:
    """Release the memory of the answer of a request, which is composed and compressed now."""
    if reserved := request.environ.pop(_RESERVED, None):
        reserved.close()


def _in_form(served: ServedArt, form: Form, path: str) -> Response:
    """Return an answer with art in a form. `path` is the path of its permanent URL."""
    if form is forms.JSON:
        return _json_of_art(served, path)
    if form.media_type == "text/plain" and not served.first.is_coloured:
        body = f"{served.first.text}\n".encode()
    else:
        body = _rendered(served, "file", form).parts[0]
    response = Answer(body, content_type=form.content_type)
    if form.policy is Policy.DOCUMENT:
        headers.for_art_document(response)
    return response


def _stream(served: ServedArt, form: Form) -> Response:
    streams: Streams = current_app.config["streams"]
    rendered = request.environ[STREAMED] = _rendered(served, "stream", form)
    stream = streams.begin(rendered)
    response = Answer(stream, content_type=form.content_type)
    response.content_length = stream.length
    return response


def _json(fields: Mapping[str, Any]) -> Response:
    return Answer(json.dumps(fields, separators=(",", ":")) + "\n", content_type="application/json")


def _text(text: str) -> Response:
    return Answer(text, content_type="text/plain; charset=utf-8")
