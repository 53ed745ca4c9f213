"""Chooses the form and the content coding of an answer from the headers of its request."""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final

from werkzeug.datastructures import Accept, MIMEAccept
from werkzeug.http import parse_accept_header

from asciist.art import forms
from asciist.art.forms import Form
from .crawlers import fetches_previews

# for large art, zstd takes a third of the CPU time of gzip
_CODINGS: Final = ("zstd", "gzip", "identity")
"""Supported content codings, in order of preference."""

_COMPRESSED: Final = frozenset(
    {
        "application/javascript",
        "application/json",
        "image/svg+xml",
        "text/css",
        "text/html",
        "text/javascript",
        "text/plain",
    }
)
"""Media types to compress. Other images and the font are already compressed."""


def _by_media_type() -> dict[str, Form]:
    accepted: dict[str, Form] = {}
    for form in (forms.JSON, forms.TXT, forms.HTML, *forms.FORMS.values()):
        accepted.setdefault(form.media_type, form)
    return accepted


_ACCEPTED: Final = _by_media_type()
"""Forms that Accept can select, by media type. `TXT` stands for text in the colours of the request,
and `HTML` for a page."""


def preferred_form(environ: Mapping[str, Any], default: Form) -> Form:
    """Return the form preferred by the Accept header of a WSGI environment, or `default`."""
    accepted = environ.get("HTTP_ACCEPT", "")
    return _best_form(accepted, default.suffix) if accepted else default


def form_of_read(environ: Mapping[str, Any]) -> tuple[Form, str]:
    """Return the form for the read of a link without a suffix, and the request headers that
    selected it.

    Preview crawlers that accept anything get the page, because it describes its art to them.
    """
    form = preferred_form(environ, forms.JSON if _is_json(environ) else forms.TXT)
    of_preview = preferred_form(environ, forms.HTML)
    if form is of_preview:
        return form, "Accept"
    return of_preview if fetches_previews(environ) else form, "Accept, User-Agent"


def may_be_compressed(media_type: str | None) -> bool:
    """Return whether an answer of this media type gets smaller."""
    return media_type in _COMPRESSED


def coding(environ: Mapping[str, Any]) -> str:
    """Return the preferred content coding of a request: `zstd`, `gzip` or `identity`."""
    accepted = environ.get("HTTP_ACCEPT_ENCODING")
    return _best_coding(accepted) if accepted else "identity"


def _is_json(environ: Mapping[str, Any]) -> bool:
    media_type: str = environ.get("CONTENT_TYPE", "").partition(";")[0].strip().lower()
    return media_type == "application/json" or (
        media_type.startswith("application/") and media_type.endswith("+json")
    )


@lru_cache(maxsize=128)
def _best_form(accepted: str, default: str) -> Form:
    first = forms.FORMS[default].media_type
    media_types = [first, *(each for each in _ACCEPTED if each != first)]
    best = parse_accept_header(accepted, MIMEAccept).best_match(media_types)
    return _ACCEPTED[best] if best else forms.FORMS[default]


@lru_cache(maxsize=128)
def _best_coding(accept_encoding: str) -> str:
    return parse_accept_header(accept_encoding, Accept).best_match(_CODINGS) or "identity"
