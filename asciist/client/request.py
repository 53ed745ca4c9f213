"""The request of a call: the address of the service, the options and the headers, without the
libraries that send it."""

import re
from collections.abc import Mapping
from typing import Final, Literal, TypedDict, get_args
from urllib.parse import urlencode, urlsplit

from asciist.errors import BadOptionError, sentences

DEFAULT_URL: Final = "http://localhost:27244"
"""Default address of `asciist serve`."""

DEFAULT_TIMEOUT_SECONDS: Final = 90
"""Default time limit of a call. The service allows 60 seconds for a slow upload and 10 for its
conversion."""

DEFAULT_ATTEMPTS: Final = 3
"""Default maximum of requests in a call."""

_MAX_QUOTED_CHARACTERS: Final = 200
"""Maximum characters of untrusted text in an error message."""


Suffix = Literal["png", "svg", "card.png", "html", "ansi", "ansi256", "ansi16", "txt", "json"]
"""Suffixes of the files of art (`asciist.art.forms`): pictures, one for previews of links, a
document, text in the colours of terminals and without, and JSON."""


class Options(TypedDict, total=False):
    """The conversion options of this release by their API names. None leaves an option to the
    service's default."""

    width: int | None
    style: Literal["structure", "ramp", "braille", "blocks"] | None
    invert: bool | Literal["auto"] | None
    color: Literal["none", "ansi", "html", "ansi256", "ansi16"] | None
    paint: Literal["cells", "text"] | None
    shapes: Literal["sextants", "quadrants"] | None
    chars: str | None
    background: str | None
    height: int | None
    fit: Literal["contain", "cover", "fill"] | None
    brightness: int | None
    contrast: int | None
    animate: bool | None


def wants_frames(options: Mapping[str, object]) -> bool:
    """Return True if a call gets an animation as frames, rather than as text or a document."""
    return options.get("animate") is True and options.get("color") != "html"


def headers_of(image: bytes, options: Mapping[str, object]) -> dict[str, str]:
    """Return the headers of a request with an image."""
    return {
        # which would play while it is sent
        "Accept": "application/json" if wants_frames(options) else "text/plain",
        "Content-Length": str(len(image)),
        "Content-Type": "application/octet-stream",
        "User-Agent": _user_agent(),
    }


def headers_of_download() -> dict[str, str]:
    """Return the headers of a request for a file of art."""
    # the suffix selects the form; an error is to be text
    return {"Accept": "text/plain", "User-Agent": _user_agent()}


def request_url(url: str, options: Mapping[str, object]) -> str:
    """Return the URL for uploading an image. Raises BadOptionError if `url` cannot be the address
    of a service."""
    return f"{base_url(url)}/?{_query(options)}"


def file_url(art_url: str, suffix: Suffix) -> str:
    """Return the URL of a file of art. Raises BadOptionError for an unknown suffix, or if `art_url`
    cannot be a URL of art."""
    if suffix not in get_args(Suffix):
        raise BadOptionError(
            f"art has no file with the suffix {quoted(suffix)}: use {', '.join(get_args(Suffix))}"
        )
    return f"{base_url(art_url)}.{suffix}"


def base_url(url: str) -> str:
    """Return `url` without trailing slashes. Raises BadOptionError if it cannot be the address of a
    service."""
    _credentials, at, rest = url.rpartition("@")
    shown = f"{at and '…@'}{quoted(re.split('[?#]', rest)[0])}"
    if not is_http_url(url):
        hint = (
            "remove the user name and password" if at else f"expected, for example, {DEFAULT_URL}"
        )
        raise BadOptionError(f"{shown} is not an http address ({hint})")
    if "?" in url or "#" in url:
        raise BadOptionError(
            f"{shown} is not the address of a service: remove the query (?) or fragment (#)"
        )
    return url.rstrip("/")


def is_http_url(url: str) -> bool:
    """Return whether `url` is an absolute URL of a web server, in ASCII and without credentials."""
    try:
        parts = urlsplit(url)
        parts.netloc.encode("idna")  # as the name lookup does; raises a ValueError
        has_host = bool(parts.hostname) and "@" not in parts.netloc and parts.port != 0
    except ValueError:
        return False
    return (
        has_host
        and parts.scheme in ("http", "https")
        and url.isascii()
        and url.isprintable()
        and " " not in url
    )


def unreachable(url: str, reason: str) -> str:
    """Return the error message for an unreachable service; `reason` is untrusted text."""
    hint = " (is it running? start it with: asciist serve)" if base_url(url) == DEFAULT_URL else ""
    return f"cannot reach {url}: {quoted(reason)}{hint}"


def quoted(text: str) -> str:
    """Return untrusted text for an error message: printable and not too long."""
    shown = sentences.printable(text[:_MAX_QUOTED_CHARACTERS])
    return shown if len(text) <= _MAX_QUOTED_CHARACTERS else f"{shown}…"


def _query(options: Mapping[str, object]) -> str:
    texts = {
        name: str(value).lower() if isinstance(value, bool) else value
        for name, value in options.items()
    }
    try:
        return urlencode({name: text for name, text in texts.items() if text is not None})
    except UnicodeEncodeError as error:
        # a lone surrogate: text that was decoded from bytes that are not UTF-8
        raise BadOptionError("options must be text that UTF-8 can encode") from error


def _user_agent() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return f"asciist/{version('asciist')}"
    except PackageNotFoundError:  # running from a source tree that is not installed
        return "asciist"
