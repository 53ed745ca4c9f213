"""The service from Python, with nothing but the standard library.

::

    from pathlib import Path

    from asciist.client import convert

    art = convert(Path("examples/cat.jpg").read_bytes(), width=60)
    print(art.text)
    print(art.url)

It blocks; calls from several threads do not disturb each other. Proxies that the environment names (`https_proxy`,
`no_proxy`) are used, as `urllib` does. `asciist convert` is this and a terminal.
"""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from io import BytesIO
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlencode, urljoin, urlsplit

from asciist.errors import AsciistError, BadOptionError, RejectedError, ServiceError

if TYPE_CHECKING:
    from http.client import HTTPResponse
    from urllib.request import OpenerDirector, Request

DEFAULT_URL: Final = "http://localhost:27244"
"""Where `asciist serve` listens."""

_MAX_SENTENCE_BYTES: Final = 2000
"""Of an error: many times the longest that the service has."""


@dataclass(frozen=True, kw_only=True)
class Art:
    """What the service made of an image."""

    text: str
    """Rows of `width` characters joined by newlines, none at the end; with `color="html"` a document."""
    url: str
    """Where the same art can be fetched again, for as long as the service keeps it."""
    was_stored: bool
    """Whether the service had it already, and converted nothing."""


def convert(
    image: bytes,
    *,
    url: str = DEFAULT_URL,
    width: int | None = None,
    style: str | None = None,
    invert: bool | None = None,
    chars: str | None = None,
    color: str | None = None,
    timeout_seconds: float = 75,  # longer than the service, or its load balancer, is silent before it says so
    on_progress: Callable[[int, int], None] | None = None,
) -> Art:
    """The art of `image`, the bytes of a file, by the service at `url`.

    `width` is in columns. Options that are None are left to the service, whose README says what there is. Each step
    (connecting, sending a block, waiting for the answer) may take `timeout_seconds`. `on_progress` is called with the
    bytes sent and those to send before each block of the body, and after the last, when they are equal.

    Raises RejectedError if asking again changes nothing: the service refuses the image or an option, or `url` is not an
    http address. Raises ServiceError if it may: the service cannot be reached, fails or does not answer whole, or
    something else than asciist answers at `url`, such as a redirect, which is not followed.
    """
    from http.client import HTTPException, IncompleteRead
    from urllib.error import URLError
    from urllib.request import Request

    inverted = None if invert is None else str(invert).lower()
    query = _query(width=width, style=style, invert=inverted, chars=chars, color=color)
    request = Request(  # noqa: S310 - the scheme is checked
        f"{_checked(url)}/?{query}",
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
        with _opener().open(request, timeout=timeout_seconds) as response:
            return _art(url, request, response)
    except URLError as error:
        hint = " (is it running? asciist serve)" if _checked(url) == DEFAULT_URL else ""
        raise ServiceError(f"cannot reach {url}: {_reason(error.reason)}{hint}") from error
    except OSError as error:
        raise ServiceError(f"the answer of {url} did not arrive whole: {_reason(error)}") from error
    except (IncompleteRead, UnicodeDecodeError) as error:
        raise ServiceError(f"the answer of {url} did not arrive whole", detail=repr(error)) from error
    except HTTPException as error:
        raise ServiceError(f"{url} does not answer as a web server does", detail=repr(error)) from error


def _checked(url: str) -> str:
    """`url` without slashes at its end; raises BadOptionError if no service can be there."""
    try:
        parts = urlsplit(url)
        parts.netloc.encode("idna")  # as whoever looks the name up will
        is_address = bool(parts.scheme in ("http", "https") and parts.hostname and "@" not in parts.netloc and parts.port != 0)
    except ValueError:
        is_address = False
    if not is_address or not url.isascii() or not url.isprintable() or " " in url:
        raise BadOptionError(f"{url} is not an http address, such as {DEFAULT_URL}")
    if "?" in url or "#" in url:
        raise BadOptionError(f"{url} is not the address of a service: it must end before the ? or #")
    return url.rstrip("/")


def _query(**options: int | str | None) -> str:
    try:
        return urlencode({name: value for name, value in options.items() if value is not None})
    except UnicodeEncodeError as error:  # half a character, from a system that has another encoding
        raise BadOptionError("options must be text that UTF-8 can express") from error


class _Body(BytesIO):
    """An image that tells how much of it is sent; http.client asks for the next block when it has sent the one before."""

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
    except PackageNotFoundError:  # a copy of the source, which is not installed
        return "asciist"


@cache
def _opener() -> "OpenerDirector":
    """Sends requests as `urlopen` does, but follows no redirect, raises no status, and reads answers that come early."""
    from http.client import HTTPConnection, HTTPResponse, HTTPSConnection
    from urllib.request import HTTPHandler, HTTPSHandler, OpenerDirector, ProxyHandler, Request, UnknownHandler

    class Connection(HTTPConnection):
        def endheaders(self, message_body: Any = None, *, encode_chunked: bool = False) -> None:
            self.connect()
            # A service that refuses an image before it has all of it (413) hangs up, and its answer is there to be read.
            with suppress(BrokenPipeError, ConnectionResetError):
                super().endheaders(message_body, encode_chunked=encode_chunked)

    class SecureConnection(Connection, HTTPSConnection):
        pass

    class Plain(HTTPHandler):
        def http_open(self, req: Request) -> HTTPResponse:
            return self.do_open(Connection, req)

    class Secure(HTTPSHandler):
        def https_open(self, req: Request) -> HTTPResponse:
            return self.do_open(SecureConnection, req)

    opener = OpenerDirector()
    for handler in (ProxyHandler(), Plain(), Secure(), UnknownHandler()):
        opener.add_handler(handler)
    return opener


def _art(url: str, request: "Request", response: "HTTPResponse") -> Art:
    """The art that `response` brings; raises the error that it is otherwise."""
    location = response.headers["Content-Location"]
    # RFC 9211: a list, to which caches on the way may add a member each.
    caches = [
        [part.strip() for part in member.split(";")]
        for line in response.headers.get_all("Cache-Status", [])
        for member in line.split(",")
    ]
    ours = next((parameters for name, *parameters in caches if name == "asciist"), None)
    if response.status != 200 or location is None or ours is None:
        raise _error(url, request, response)
    return Art(
        text=response.read().decode("utf-8").removesuffix("\n"),
        url=urljoin(request.full_url, location),
        was_stored="hit" in ours,
    )


def _error(url: str, request: "Request", response: "HTTPResponse") -> AsciistError:
    status = response.status
    location = response.headers["Location"]
    if 300 <= status < 400 and location and location.isprintable():
        there = urlsplit(urljoin(request.full_url, location))._replace(query="", fragment="").geturl()
        return ServiceError(f"{url} redirects to {there}: use that address, if it is the service's")
    sentence = _sentence(response)
    if status >= 400 and sentence:
        return RejectedError(sentence) if status < 500 else ServiceError(sentence)
    return ServiceError(f"{url} answers {status}, and not as asciist does")


def _sentence(response: "HTTPResponse") -> str:
    """The one sentence that an error of the service is; empty if it is something else, such as the page of a proxy."""
    if response.headers.get_content_type() != "text/plain":
        return ""
    sentence = response.read(_MAX_SENTENCE_BYTES).decode("utf-8", "replace").removesuffix("\n")
    return sentence if sentence.isprintable() else ""


def _reason(error: BaseException | str) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)
