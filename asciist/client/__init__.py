"""Python client of the service, with no dependencies outside the standard library.

::

    from pathlib import Path

    from asciist.client import convert

    art = convert(Path("examples/cat.jpg").read_bytes(), width=60)
    print(art.text)
    print(art.url)

Calls block, and may be made from several threads at once. Like `urllib`, the client uses the proxies set in the environment
(`https_proxy`, `no_proxy`). `asciist convert` is this client with a terminal interface.

The server is not trusted. Its responses are bounded in bytes and in time, and no redirect is followed. Art and error messages
are safe to print on a terminal: they contain printable text, and art also newlines and escape codes for colours (SGR).
Everything else is an error.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING, Final
from urllib.parse import urlencode, urljoin, urlsplit

from asciist.errors import AsciistError, BadOptionError, RejectedError, ServiceError, sentences

if TYPE_CHECKING:
    from http.client import HTTPResponse
    from urllib.request import Request

DEFAULT_URL: Final = "http://localhost:27244"
"""Default address of `asciist serve`."""

DEFAULT_TIMEOUT_SECONDS: Final = 90
"""Default time limit of a call. The service allows 60 seconds for a slow upload and 10 for its conversion."""

_MAX_ERROR_BYTES: Final = 2000
"""Maximum bytes of an error message, several times the length of the service's longest one."""

_MAX_URL_CHARACTERS: Final = 2000
"""Maximum characters of a URL that the service sends, several times the length of its longest one."""

_MAX_QUOTED_CHARACTERS: Final = 200
"""Maximum characters of a text of another origin in an error message."""

_COLOUR_CODE: Final = re.compile(r"\x1b\[[0-9;]{0,60}m")
"""A Select Graphic Rendition sequence (ISO 6429), which changes the colour and weight of the text after it and nothing else."""


@dataclass(frozen=True, kw_only=True)
class Art:
    """Art returned by the service."""

    text: str
    """Rows of at most `width` printable characters, each one column wide, joined by newlines, without a final newline.

    With `color="ansi"`, `"ansi256"` or `"ansi16"` there are escape codes for colours between the characters. With
    `color="html"` it is an HTML document, which is to be trusted as much as the server is: a hostile one may send scripts.
    """
    url: str
    """URL of the art on the same server, valid for as long as the service keeps it."""
    was_stored: bool
    """True if the art was stored already, so that no conversion was needed."""
    is_dark_on_light: bool = False
    """True if the art is for a light background: with `invert=True`, or if the service chose so with `invert="auto"`."""


def convert(
    image: bytes,
    *,
    url: str = DEFAULT_URL,
    timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS,
    on_progress: Callable[[int, int], None] | None = None,
    **options: int | str | bool | None,
) -> Art:
    """Send `image`, the bytes of an image file, to the service at `url` and return its art.

    `options` are the conversion options by their API names, such as `width=60` (see `asciist.options`). The service's default
    applies to an option that is missing or None. `timeout_seconds` limits the whole call: connecting, sending, waiting for the
    response and reading it. Only the lookup of the host's name, and further addresses of a host that cannot be reached, are
    not included. `on_progress` is called with the number of bytes sent so far and the total, before each block of the body and
    once after the last.

    Raises RejectedError if a retry cannot help: the service refuses the image or an option, or `url` is not an http
    address. Raises ServiceError if a retry may help: the service cannot be reached, fails or sends an incomplete answer. It
    is also raised if another server answers at `url`: with a redirect, which is not followed, with a response that is too
    large, compressed or otherwise not the service's, or with text that is not safe on a terminal. Error messages are one line
    of printable text.
    """
    from http.client import HTTPException, IncompleteRead
    from urllib.error import URLError
    from urllib.request import Request

    from asciist.client.connection import MAX_RESPONSE_BYTES, ResponseTooLargeError, opener

    request = Request(  # noqa: S310 - `_base_url` checks the scheme
        f"{_base_url(url)}/?{_query(options)}",
        data=_Body(image, on_progress),
        method="PUT",
        headers={
            "Accept": "text/plain",
            "Content-Length": str(len(image)),
            "Content-Type": "application/octet-stream",
            "User-Agent": _user_agent(),
        },
    )
    try:
        with opener().open(request, timeout=timeout_seconds) as response:
            return _art(url, request, response, options)
    # The errors have no cause (`from None`), because a traceback would print what the server sent, with control characters.
    except URLError as error:
        hint = " (is it running? start it with: asciist serve)" if _base_url(url) == DEFAULT_URL else ""
        raise ServiceError(f"cannot reach {url}: {_reason(error.reason)}{hint}") from None
    except OSError as error:
        raise ServiceError(f"incomplete response from {url}: {_reason(error)}") from None
    except (IncompleteRead, UnicodeDecodeError) as error:
        raise ServiceError(f"incomplete response from {url}", detail=_quoted(repr(error))) from None
    except HTTPException as error:
        raise ServiceError(f"{url} did not send a valid HTTP response", detail=_quoted(repr(error))) from None
    except ResponseTooLargeError:
        raise ServiceError(f"the response from {url} is larger than {MAX_RESPONSE_BYTES / 1e6:.0f} MB") from None


def _base_url(url: str) -> str:
    """Return `url` without trailing slashes. Raises BadOptionError if it cannot be the address of a service."""
    _credentials, at, rest = url.rpartition("@")
    shown = f"{at and '…@'}{_quoted(re.split('[?#]', rest)[0])}"
    if not _is_http_url(url):
        hint = "remove the user name and password" if at else f"expected, for example, {DEFAULT_URL}"
        raise BadOptionError(f"{shown} is not an http address ({hint})")
    if "?" in url or "#" in url:
        raise BadOptionError(f"{shown} is not the address of a service: remove the query (?) or fragment (#)")
    return url.rstrip("/")


def _is_http_url(url: str) -> bool:
    """Return whether `url` is an absolute URL of a web server, in ASCII and without credentials."""
    try:
        parts = urlsplit(url)
        parts.netloc.encode("idna")  # as the name lookup does; raises a ValueError
        has_host = bool(parts.hostname) and "@" not in parts.netloc and parts.port != 0
    except ValueError:
        return False
    return has_host and parts.scheme in ("http", "https") and url.isascii() and url.isprintable() and " " not in url


def _query(options: Mapping[str, int | str | bool | None]) -> str:
    texts = {name: str(value).lower() if isinstance(value, bool) else value for name, value in options.items()}
    try:
        return urlencode({name: text for name, text in texts.items() if text is not None})
    except UnicodeEncodeError as error:  # a lone surrogate: text that was decoded from bytes that are not UTF-8
        raise BadOptionError("options must be text that UTF-8 can encode") from error


class _Body(BytesIO):
    """A request body that reports progress: http.client reads a block only after it has sent the previous one."""

    def __init__(self, image: bytes, on_progress: Callable[[int, int], None] | None) -> None:
        super().__init__(image)
        self._on_progress = on_progress
        self._total = len(image)

    def read(self, size: int | None = -1, /) -> bytes:
        if self._on_progress:
            self._on_progress(self.tell(), self._total)
        return super().read(size)


def _user_agent() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return f"asciist/{version('asciist')}"
    except PackageNotFoundError:  # running from a source tree that is not installed
        return "asciist"


def _art(url: str, request: "Request", response: "HTTPResponse", options: Mapping[str, int | str | bool | None]) -> Art:
    """Return the art in `response`. Raises RejectedError or ServiceError if the response is anything else."""
    headers = response.headers
    # The header is a list (RFC 9211), to which every cache on the way may add a member.
    caches = [
        [part.strip() for part in member.split(";")]
        for line in headers.get_all("Cache-Status", [])
        for member in line.split(",")
    ]
    ours = next((parameters for name, *parameters in caches if name == "asciist"), None)
    location = headers["Content-Location"]
    is_document = options.get("color") == "html"
    if (
        response.status != 200
        or location is None
        or ours is None
        or headers.get_content_type() != ("text/html" if is_document else "text/plain")
        or not _is_plain(response)
    ):
        raise _error(url, request, response)
    art_url = _resolved(request, location)
    if _origin(art_url) != _origin(url):
        raise ServiceError(f"{url} sent an invalid address of the art", detail=_quoted(f"Content-Location: {location}"))
    text = _read(response).decode("utf-8")
    if not text.endswith("\n"):
        raise ServiceError(f"incomplete response from {url}")
    text = text.removesuffix("\n")
    width = options.get("width")
    flaw = _flaw(text, max_columns=width if isinstance(width, int) and not is_document else None)
    if flaw:
        raise ServiceError(f"invalid art from {url}: {flaw}")
    chosen = headers["Asciist-Invert"]
    is_dark_on_light = options.get("invert") is True if chosen is None else chosen == "true"
    return Art(text=text, url=art_url, was_stored="hit" in ours, is_dark_on_light=is_dark_on_light)


def _is_plain(response: "HTTPResponse") -> bool:
    """Return whether the response has the coding that was asked for, which is none, and no misleading length."""
    lengths = response.headers.get_all("Content-Length", [])
    is_length_valid = len(lengths) <= 1 and all(re.fullmatch("[0-9]{1,15}", length.strip(" ")) for length in lengths)
    return is_length_valid and response.headers.get("Content-Encoding", "identity") == "identity"


def _resolved(request: "Request", location: str) -> str:
    """Return the absolute URL of a Location or Content-Location header; empty if it is not a valid one."""
    try:
        resolved = urljoin(request.full_url, location)
    except ValueError:
        return ""
    # `urljoin` removes some control characters.
    is_valid = len(location) <= _MAX_URL_CHARACTERS and location.isprintable() and _is_http_url(resolved)
    return resolved if is_valid else ""


def _origin(url: str) -> tuple[str, str]:
    parts = urlsplit(url)
    return parts.scheme, parts.netloc.lower()


def _read(response: "HTTPResponse", max_bytes: int | None = None) -> bytes:
    """Return the body, or its first part if it has more than `max_bytes`. Raises IncompleteRead if it ends early.

    `read` of HTTPResponse would allocate as many bytes as the server announces.
    """
    from http.client import IncompleteRead

    body = bytearray()
    while part := response.read1(65_536):
        body += part
        if max_bytes is not None and len(body) > max_bytes:
            return bytes(body)
    if response.length:  # bytes that the Content-Length announces and that did not arrive
        raise IncompleteRead(bytes(body), response.length)
    return bytes(body)


def _flaw(text: str, max_columns: int | None) -> str:
    """Describe why art is not safe to print on a terminal with `max_columns` columns; empty if it is."""
    from asciist.options.kinds import fills_one_column

    plain = _COLOUR_CODE.sub("", text)
    character = next((each for each in set(plain) - {"\n"} if not fills_one_column(each)), None)
    if character:
        return f"it contains the character U+{ord(character):04X}"
    columns = max(map(len, plain.split("\n")))
    if max_columns is not None and columns > max_columns:
        return f"it has {columns} columns instead of {max_columns}"
    return ""


def _error(url: str, request: "Request", response: "HTTPResponse") -> AsciistError:
    status = response.status
    location = response.headers["Location"]
    if 300 <= status < 400 and location and (there := _resolved(request, location)):
        there = _quoted(urlsplit(there)._replace(query="", fragment="").geturl())
        return ServiceError(f"{url} redirects to {there}: use that address if it is the service")
    sentence = _sentence(response)
    if status >= 400 and sentence:
        return RejectedError(sentence) if status < 500 else ServiceError(sentence)
    return ServiceError(f"unexpected response from {url} with status {status}: is it an asciist service?")


def _sentence(response: "HTTPResponse") -> str:
    """Return the error message in a response of the service; empty for any other response, such as a proxy's error page."""
    if response.headers.get_content_type() != "text/plain" or not _is_plain(response):
        return ""
    body = _read(response, _MAX_ERROR_BYTES)
    sentence = body.decode("utf-8", "replace").removesuffix("\n")
    return sentence if len(body) <= _MAX_ERROR_BYTES and sentence.isprintable() else ""


def _reason(error: BaseException | str) -> str:
    if isinstance(error, TimeoutError):  # for which ssl has messages of its own
        return "timed out"
    return _quoted((error.strerror if isinstance(error, OSError) else None) or str(error))


def _quoted(text: str) -> str:
    """Return a text of another origin for use in an error message: printable and not long."""
    shown = sentences.printable(text[:_MAX_QUOTED_CHARACTERS])
    return shown if len(text) <= _MAX_QUOTED_CHARACTERS else f"{shown}…"
