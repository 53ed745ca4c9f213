"""Response headers: caching, content security policies, and the headers that describe art."""

import base64
import hashlib
from typing import Final

from flask import Response

from asciist.protocol.served import ArtSource, ServedArt

INVERT: Final = "Asciist-Invert"
"""Header with the choice for `invert=auto`: `true` if the art has dark characters for a light
background, else `false`."""

STATIC_MAX_AGE: Final = 3600
"""Max-age, in seconds, of static files without a content hash in their URL."""

SCRIPT_MAX_AGE: Final = 0
"""Max-age, in seconds, of scripts without a content hash in their URL: revalidated each time. Other
scripts import them."""

HASHED_STATIC_MAX_AGE: Final = 31_536_000
"""Max-age, in seconds, of static files with a content hash in their URL: a year."""

_ART_MAX_AGE: Final = 86_400
"""Max-age of art, in seconds. After an upgrade that draws other art, caches may serve the old art
for this long."""

_READ_ONLY_RETRY_AFTER: Final = 30
"""Retry-After in read-only mode, in seconds."""
_RETRY_AFTER: Final = 2
"""Seconds after which a client may retry when the service is overloaded or unavailable."""

_CACHE_STATUS: Final = {
    ArtSource.STORE: "asciist; hit",
    ArtSource.CONVERSION: "asciist; fwd=miss; stored",
    ArtSource.SHARED: "asciist; fwd=miss; collapsed",
}
"""Cache-Status (RFC 9211) of art from each source: stored, newly converted, or shared with an
identical request."""

_PAGE_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'{styles}{attributes}; font-src 'self';"
    " img-src 'self' blob:; connect-src 'self'; form-action 'self'; base-uri 'none';"
    " frame-ancestors 'none'"
)

_DOCS_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; font-src 'self'; img-src 'self';"
    " connect-src 'self'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
)
"""Content security policy of the API documentation. Its script sends the calls that a reader
tries."""

_DEFAULT_POLICY: Final = (
    "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none';"
    " frame-ancestors 'none'"
)
"""Content security policy of a response other than a page. A browser may wrap it in a page of its
own, with inline styles."""

_ART_DOCUMENT_POLICY: Final = f"{_DEFAULT_POLICY}; font-src data:; sandbox"
"""Content security policy of art as an HTML document or SVG. It permits inline styles for the
colours and an embedded font, and no action."""

_OF_EVERY_RESPONSE: Final = (
    ("X-Content-Type-Options", "nosniff"),
    # a URL of art grants access to it, so other sites must not learn it
    ("Referrer-Policy", "same-origin"),
    # Other sites embed nothing. Their programs may fetch what CORS allows, to which this does not
    # apply.
    ("Cross-Origin-Resource-Policy", "same-origin"),
)

_DEFAULTS: Final = (
    # The answer may contain the host name of the request, which a shared cache might give to
    # others.
    ("Cache-Control", "private, no-cache"),
    ("Content-Security-Policy", _DEFAULT_POLICY),
)
"""Default headers of responses."""

OF_REFUSALS: Final = {**dict(_DEFAULTS), **dict(_OF_EVERY_RESPONSE), "Cache-Control": "no-store"}
"""Headers of answers to unparsed requests."""


def for_art(
    response: Response,
    served: ServedArt,
    *,
    path: str,
    image_path: str,
    is_page: bool,
    may_be_shared: bool,
    varying: str,
) -> None:
    """Add the headers that describe art and permit caching, unless it has `image_path`, which is
    for one client.

    A page also changes with a release, so browsers revalidate it on each use and usually get a 304.
    Shared caches store only art with `may_be_shared`: other answers contain a host name chosen by
    the client. `varying` lists the request headers that selected the form; it is empty if the URL
    selected it.
    """
    # a third of the time of an assignment, which looks for a value to replace
    add = response.headers.add
    if image_path:
        add("Cache-Control", "no-store")
        # RFC 5023: the resource with which to change what the answer shows
        add("Link", f'<{image_path}>; rel="edit"')
    else:
        scope = "public" if may_be_shared else "private"
        add(
            "Cache-Control", f"{scope}, no-cache" if is_page else f"{scope}, max-age={_ART_MAX_AGE}"
        )
    add("Content-Location", path)
    add("Cache-Status", _CACHE_STATUS[served.source])
    if served.invert is not None:
        add(INVERT, "true" if served.invert else "false")
    if varying:
        add("Vary", varying)


def for_stream(response: Response) -> None:
    """Keep an animation that plays while it is sent out of caches, because they would send it all
    at once."""
    response.headers["Cache-Control"] = "no-store"
    response.headers["X-Accel-Buffering"] = "no"  # nginx would wait for the end


def for_error(response: Response) -> None:
    """Keep an error out of caches; for a 503, tell the client when to retry."""
    response.headers["Cache-Control"] = "no-store"
    response.headers["Vary"] = "Accept"
    if response.status_code == 503:
        response.headers["Retry-After"] = str(_RETRY_AFTER)


def for_read_only(response: Response) -> None:
    """Tell the client of a service in read-only mode when to retry: later than after a lack of
    capacity."""
    response.headers["Retry-After"] = str(_READ_ONLY_RETRY_AFTER)


def for_deletion(response: Response) -> None:
    """Keep the answer to a deletion out of caches. It has no body, so no type."""
    response.headers["Cache-Control"] = "no-store"
    del response.headers["Content-Type"]


def for_location(response: Response, path: str) -> None:
    """Give the client the path of the requested or created resource, and keep this answer out of
    caches."""
    response.headers["Location"] = path
    response.headers["Cache-Control"] = "no-store"
    response.headers["Vary"] = "Accept"


def for_health_check(response: Response) -> None:
    """Keep the answer to a health check out of caches."""
    response.headers["Cache-Control"] = "no-store"


def for_front_page(response: Response) -> None:
    """List in Vary the request headers that choose between the page and the usage text."""
    response.headers["Vary"] = "Accept, User-Agent"


def for_page(response: Response, *inline_styles: str, has_colours: bool = False) -> None:
    """Allow a page its own script and files, exactly these inline style sheets, and the colours of
    art as attributes."""
    hashes = (
        base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
        for style in inline_styles
    )
    styles = "".join(f" 'sha256-{style_hash}'" for style_hash in hashes)
    attributes = "; style-src-attr 'unsafe-inline'" if has_colours else ""
    response.headers["Content-Security-Policy"] = _PAGE_POLICY.format(
        styles=styles, attributes=attributes
    )


def for_docs_page(response: Response) -> None:
    """Allow the page its own script and files. It submits no form."""
    response.headers["Content-Security-Policy"] = _DOCS_POLICY


def for_art_document(response: Response) -> None:
    """Allow art that is an HTML document or an SVG its inline colours and nothing else: no scripts,
    forms or storage."""
    response.headers["Content-Security-Policy"] = _ART_DOCUMENT_POLICY


def for_every_response(headers: list[tuple[str, str]], request_id: str) -> None:
    """Add the headers common to all responses, and the request id, which is also in the log."""
    given = dict(headers)
    headers += [default for default in _DEFAULTS if default[0] not in given]
    headers += _OF_EVERY_RESPONSE
    headers.append(("X-Request-Id", request_id))
