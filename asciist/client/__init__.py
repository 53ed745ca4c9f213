"""Python client of the service, with no dependencies outside the standard library.

::

    from pathlib import Path

    from asciist.client import convert, download

    art = convert(Path("docs/examples/cat.jpg").read_bytes(), width=60)
    print(art.text)
    print(art.url)
    Path("cat.png").write_bytes(download(art, "png"))

Calls block, and may be made from several threads at once; `asciist.client.aio` has the same calls
for asyncio. Like `urllib`, the client uses the proxies set in the environment (`https_proxy`,
`no_proxy`). `asciist convert` is this client with a terminal interface.

The server is not trusted. Its responses are bounded in bytes and in time, and no redirect is
followed. Art and error messages are safe to print on a terminal: they contain printable text, and
art also newlines and escape codes for colours (SGR). Everything else is an error.
"""

import time
from collections.abc import Callable
from io import BytesIO
from typing import TYPE_CHECKING, TypeVar, Unpack

from asciist.client.ending import current
from asciist.client.request import (
    DEFAULT_ATTEMPTS,
    DEFAULT_TIMEOUT_SECONDS,
    DEFAULT_URL,
    Options,
    Suffix,
    file_url,
    headers_of,
    headers_of_download,
    quoted,
    request_url,
    unreachable,
)
from asciist.client.response import (
    MAX_ERROR_BYTES,
    MAX_FILE_BYTES,
    Animation,
    Art,
    Frame,
    Head,
    max_response_bytes,
    seconds_to_retry,
)
from asciist.errors import ServiceError

if TYPE_CHECKING:
    from http.client import HTTPResponse
    from urllib.request import Request

__all__ = [
    "DEFAULT_ATTEMPTS",
    "DEFAULT_TIMEOUT_SECONDS",
    "DEFAULT_URL",
    "Animation",
    "Art",
    "Frame",
    "Options",
    "Suffix",
    "convert",
    "download",
]

_Answer = TypeVar("_Answer", Art, bytes)


def convert(
    image: bytes,
    *,
    url: str = DEFAULT_URL,
    timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS,
    attempts: int = DEFAULT_ATTEMPTS,
    on_progress: Callable[[int, int], None] | None = None,
    **options: Unpack[Options],
) -> Art:
    """Send `image`, the bytes of an image file, to the service at `url` and return its art.

    `options` are the conversion options by their API names, such as `width=60` (see
    `asciist.options`). The service's default applies to an option that is missing or None.
    `timeout_seconds` limits the whole call: connecting, sending, waiting for the response and
    reading it, and retries. Only the lookup of the host's name, and further addresses of a host
    that cannot be reached, are not included. `on_progress` is called with the number of bytes sent
    so far and the total, before each block of the body and once after the last.

    If the service answers 503 or 429 with `Retry-After`, the call waits for as long as it says and
    sends the image again, up to `attempts` times in all. It does not if that would take more than
    10 seconds, or end after the time limit.

    Raises RejectedError if a retry cannot help: the service refuses the image or an option, or
    `url` is not an http address. Raises ServiceError if a retry may help: the service cannot be
    reached, fails or sends an incomplete answer. It is also raised if another server answers at
    `url`: with a redirect, which is not followed, with a response that is too large, compressed or
    otherwise not the service's, or with text that is not safe on a terminal. Error messages are one
    line of printable text.
    """

    def convert_once(timeout_seconds: float) -> Art:
        from urllib.request import Request

        request = Request(  # noqa: S310 - `request_url` checks the scheme
            request_url(url, options),
            data=_Body(image, on_progress),
            method="PUT",
            headers=headers_of(image, options),
        )
        return _send(
            url,
            request,
            timeout_seconds,
            max_response_bytes(options),
            lambda response: _art(url, request, response, options),
        )

    return _with_retries(convert_once, timeout_seconds, attempts)


def download(
    art: Art,
    suffix: Suffix,
    *,
    timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS,
    attempts: int = DEFAULT_ATTEMPTS,
) -> bytes:
    """Return art as a file rendered by the service, such as `png`; text files are in UTF-8.

    `timeout_seconds` and `attempts` are as for `convert`. The file is not checked, and only as
    trustworthy as the server: `html`, `svg` and `ansi` of a hostile server may contain scripts or
    escape codes.

    Raises RejectedError if a retry cannot help: the service no longer has the art or cannot draw
    it, or there is no such file. Raises ServiceError if a retry may help, as for `convert`.
    """
    url = file_url(art.url, suffix)

    def download_once(timeout_seconds: float) -> bytes:
        from urllib.request import Request

        # `file_url` checks the scheme.
        request = Request(url, headers=headers_of_download())  # noqa: S310
        return _send(
            url,
            request,
            timeout_seconds,
            MAX_FILE_BYTES,
            lambda response: _file(url, request, response),
        )

    return _with_retries(download_once, timeout_seconds, attempts)


def _with_retries(
    call: Callable[[float], _Answer], timeout_seconds: float, attempts: int
) -> _Answer:
    """Return the result of `call`, which receives the remaining seconds; retry as long as the
    service asks for it."""
    deadline = time.monotonic() + timeout_seconds
    while True:
        attempts -= 1
        try:
            return call(deadline - time.monotonic())
        except ServiceError as error:
            seconds = seconds_to_retry(
                error, attempts_left=attempts, seconds_left=deadline - time.monotonic()
            )
            if seconds is None:
                raise
        current().sleep(seconds)


def _send(
    url: str,
    request: "Request",
    timeout_seconds: float,
    max_bytes: int,
    read: Callable[["HTTPResponse"], _Answer],
) -> _Answer:
    """Send a request and return `read`'s result for the response. Raises ServiceError if the
    exchange fails."""
    from http.client import HTTPException, IncompleteRead
    from urllib.error import URLError

    from asciist.client.connection import ResponseTooLargeError, opener

    try:
        with opener(max_bytes).open(request, timeout=timeout_seconds) as response:
            return read(response)
    # The errors have no cause (`from None`), because a traceback would print what the server sent,
    # with control characters.
    except URLError as error:
        raise ServiceError(unreachable(url, _reason(error.reason))) from None
    except OSError as error:
        raise ServiceError(f"incomplete response from {url}: {_reason(error)}") from None
    except (IncompleteRead, UnicodeDecodeError) as error:
        raise ServiceError(f"incomplete response from {url}", detail=quoted(repr(error))) from None
    except HTTPException as error:
        raise ServiceError(
            f"{url} did not send a valid HTTP response", detail=quoted(repr(error))
        ) from None
    except ResponseTooLargeError:
        raise ServiceError(
            f"the response from {url} is larger than {max_bytes / 1e6:.0f} MB"
        ) from None


class _Body(BytesIO):
    """A request body that reports progress: http.client reads a block only after it has sent the
    previous one."""

    def __init__(self, image: bytes, on_progress: Callable[[int, int], None] | None) -> None:
        super().__init__(image)
        self._on_progress = on_progress
        self._total = len(image)

    def read(self, size: int | None = -1, /) -> bytes:
        if self._on_progress:
            self._on_progress(self.tell(), self._total)
        return super().read(size)


def _art(url: str, request: "Request", response: "HTTPResponse", options: Options) -> Art:
    """Return the art in `response`. Raises RejectedError or ServiceError if the response is
    anything else."""
    head = Head(
        url=url,
        request_url=request.full_url,
        options=options,
        status=response.status,
        headers=response.headers,
    )
    if not head.has_art:
        raise head.error(_read(response, MAX_ERROR_BYTES) if head.has_sentence else b"")
    head.art_url()  # before the body is read
    return head.art(_read(response))


def _file(url: str, request: "Request", response: "HTTPResponse") -> bytes:
    """Return the file in `response`. Raises RejectedError or ServiceError if the response is
    anything else."""
    head = Head(
        url=url,
        request_url=request.full_url,
        options={},
        status=response.status,
        headers=response.headers,
    )
    if not head.has_file:
        raise head.error(_read(response, MAX_ERROR_BYTES) if head.has_sentence else b"")
    return _read(response)


def _read(response: "HTTPResponse", max_bytes: int | None = None) -> bytes:
    """Return the body, or its first part if it has more than `max_bytes`. Raises IncompleteRead if
    it ends early.

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


def _reason(error: BaseException | str) -> str:
    if isinstance(error, TimeoutError):  # for which ssl has messages of its own
        return "timed out"
    return (error.strerror if isinstance(error, OSError) else None) or str(error)
