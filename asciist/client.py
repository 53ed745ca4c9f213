"""Python client of the service, with no dependencies outside the standard library.

::

    from pathlib import Path

    from asciist.client import convert

    art = convert(Path("examples/cat.jpg").read_bytes(), width=60)
    print(art.text)
    print(art.url)

Calls block, and may be made from several threads at once. Like `urllib`, the client uses the proxies set in the environment
(`https_proxy`, `no_proxy`). `asciist convert` is this client with a terminal interface.
"""

from collections.abc import Callable, Mapping
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
"""Default address of `asciist serve`."""

_MAX_ERROR_BYTES: Final = 2000
"""Maximum bytes read of an error response, several times the length of the service's longest message."""


@dataclass(frozen=True, kw_only=True)
class Art:
    """Art returned by the service."""

    text: str
    """Rows of `width` characters, joined by newlines, without a final newline.

    With `color="ansi"` there are escape codes between the characters; with `color="html"` it is an HTML document.
    """
    url: str
    """URL of the art, valid for as long as the service keeps it."""
    was_stored: bool
    """True if the art was stored already, so that no conversion was needed."""


def convert(
    image: bytes,
    *,
    url: str = DEFAULT_URL,
    timeout_seconds: float = 75,  # longer than the service or its load balancer takes to report a timeout
    on_progress: Callable[[int, int], None] | None = None,
    **options: int | str | bool | None,
) -> Art:
    """Send `image`, the bytes of an image file, to the service at `url` and return its art.

    `options` are the conversion options by their API names, such as `width=60` (see `asciist.options`). The service's default
    applies to an option that is missing or None. Each step (connecting, sending a block, waiting for the answer) may take
    `timeout_seconds`. `on_progress` is called with the number of bytes sent so far and the total, before each block of the
    body and once after the last.

    Raises RejectedError if a retry cannot help: the service refuses the image or an option, or `url` is not an http
    address. Raises ServiceError if a retry may help: the service cannot be reached, fails or sends an incomplete answer. It
    is also raised if another server answers at `url`, for example with a redirect, which is not followed.
    """
    from http.client import HTTPException, IncompleteRead
    from urllib.error import URLError
    from urllib.request import Request

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
        with _opener().open(request, timeout=timeout_seconds) as response:
            return _art(url, request, response)
    except URLError as error:
        hint = " (is it running? start it with: asciist serve)" if _base_url(url) == DEFAULT_URL else ""
        raise ServiceError(f"cannot reach {url}: {_reason(error.reason)}{hint}") from error
    except OSError as error:
        raise ServiceError(f"incomplete response from {url}: {_reason(error)}") from error
    except (IncompleteRead, UnicodeDecodeError) as error:
        raise ServiceError(f"incomplete response from {url}", detail=repr(error)) from error
    except HTTPException as error:
        raise ServiceError(f"{url} did not send a valid HTTP response", detail=repr(error)) from error


def _base_url(url: str) -> str:
    """Return `url` without trailing slashes. Raises BadOptionError if it cannot be the address of a service."""
    try:
        parts = urlsplit(url)
        parts.netloc.encode("idna")  # as the name lookup does; raises a ValueError
        is_address = bool(parts.scheme in ("http", "https") and parts.hostname and "@" not in parts.netloc and parts.port != 0)
    except ValueError:
        is_address = False
    if not is_address or not url.isascii() or not url.isprintable() or " " in url:
        raise BadOptionError(f"{url} is not an http address (expected, for example, {DEFAULT_URL})")
    if "?" in url or "#" in url:
        raise BadOptionError(f"{url} is not the address of a service: remove the query (?) or fragment (#)")
    return url.rstrip("/")


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


@cache
def _opener() -> "OpenerDirector":
    """Return an opener that uses proxies as `urlopen` does.

    Unlike `urlopen`, it does not follow redirects, raises no error for a status such as 404, and can read a response that the
    service sends before it has received the whole body.
    """
    from http.client import HTTPConnection, HTTPResponse, HTTPSConnection
    from urllib.request import HTTPHandler, HTTPSHandler, OpenerDirector, ProxyHandler, Request, UnknownHandler

    class Connection(HTTPConnection):
        def endheaders(self, message_body: Any = None, *, encode_chunked: bool = False) -> None:
            self.connect()
            # A service that refuses an image early (413) closes the connection; its answer can still be read.
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
    """Return the art in `response`. Raises RejectedError or ServiceError if the response is anything else."""
    location = response.headers["Content-Location"]
    # The header is a list (RFC 9211), to which every cache on the way may add a member.
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
        return ServiceError(f"{url} redirects to {there}: use that address if it is the service")
    sentence = _sentence(response)
    if status >= 400 and sentence:
        return RejectedError(sentence) if status < 500 else ServiceError(sentence)
    return ServiceError(f"unexpected response from {url} with status {status}: is it an asciist service?")


def _sentence(response: "HTTPResponse") -> str:
    """Return the error message in a response of the service; empty for any other response, such as a proxy's error page."""
    if response.headers.get_content_type() != "text/plain":
        return ""
    sentence = response.read(_MAX_ERROR_BYTES).decode("utf-8", "replace").removesuffix("\n")
    return sentence if sentence.isprintable() else ""


def _reason(error: BaseException | str) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)
