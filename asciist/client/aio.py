"""Asynchronous client of the service, for asyncio. It requires the extra `client` (httpx): `pip install 'asciist[client]'`.

::

    import asyncio
    from pathlib import Path

    from asciist.client.aio import convert, download

    async def main():
        art = await convert(Path("examples/cat.jpg").read_bytes(), width=60)
        print(art.text)
        Path("cat.png").write_bytes(await download(art, "png"))

    asyncio.run(main())

It makes the same calls as `asciist.client`, which needs only the standard library, and trusts the server as little: the art,
the headers and the memory for a response are bounded in bytes, and the whole call in time. A call that is cancelled ends at
once.
"""

import asyncio
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from email.message import Message
from functools import cache
from typing import Final, TypeVar, Unpack

try:
    import httpx
except ModuleNotFoundError as error:
    raise ModuleNotFoundError("asciist.client.aio needs httpx: pip install 'asciist[client]'") from error

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
    Art,
    Head,
    max_response_bytes,
    seconds_to_retry,
)
from asciist.errors import AsciistError, ServiceError

__all__ = ["Art", "Options", "Suffix", "convert", "download"]

_Answer = TypeVar("_Answer", Art, bytes)

_BLOCK_BYTES: Final = 16_384
"""Bytes of the image that are sent at a time."""

_MAX_CONNECT_SECONDS: Final = 10
"""Maximum seconds to connect: time for three attempts on a network that loses packets."""


async def convert(
    image: bytes,
    *,
    url: str = DEFAULT_URL,
    timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS,
    attempts: int = DEFAULT_ATTEMPTS,
    on_progress: Callable[[int, int], None] | None = None,
    **options: Unpack[Options],
) -> Art:
    """Send `image`, the bytes of an image file, to the service at `url` and return its art.

    The arguments are those of `asciist.client.convert`; `timeout_seconds` limits the whole call, without exceptions. Raises the
    same errors: RejectedError if a retry cannot help, and ServiceError if it may. The latter is also raised for an image so
    large that the service answers and closes the connection before it has received it: asyncio loses that answer.
    """

    async def convert_once() -> Art:
        address, upload = request_url(url, options), _Upload(image, on_progress)
        return await _send(
            url,
            "PUT",
            address,
            headers_of(image, options),
            lambda response: _art(url, address, response, options),
            upload=upload,
        )

    return await _with_retries(url, convert_once, timeout_seconds, attempts)


async def download(
    art: Art, suffix: Suffix, *, timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS, attempts: int = DEFAULT_ATTEMPTS
) -> bytes:
    """Return art as a file that the service makes, as `asciist.client.download` does. Raises the same errors."""
    url = file_url(art.url, suffix)

    async def download_once() -> bytes:
        return await _send(url, "GET", url, headers_of_download(), lambda response: _file(url, response))

    return await _with_retries(url, download_once, timeout_seconds, attempts)


async def _with_retries(url: str, call: Callable[[], Awaitable[_Answer]], timeout_seconds: float, attempts: int) -> _Answer:
    """Return what `call` returns, within the time limit, and retry as long as the service asks for it."""
    deadline = time.monotonic() + timeout_seconds
    while True:
        attempts -= 1
        try:
            async with asyncio.timeout(deadline - time.monotonic()):
                return await call()
        except TimeoutError:
            raise ServiceError(f"incomplete response from {url}: timed out") from None
        except ServiceError as error:
            seconds = seconds_to_retry(error, attempts_left=attempts, seconds_left=deadline - time.monotonic())
            if seconds is None:
                raise
        await asyncio.sleep(seconds)


async def _send(
    url: str,
    method: str,
    address: str,
    headers: dict[str, str],
    read: Callable[[httpx.Response], Awaitable[_Answer]],
    *,
    upload: "_Upload | None" = None,
) -> _Answer:
    """Send a request and return what `read` makes of the response. Raises ServiceError for what goes wrong on the way."""
    headers = headers | {"Accept-Encoding": "identity"}  # httpx would ask for compression
    timeout = httpx.Timeout(None, connect=_MAX_CONNECT_SECONDS)  # the caller limits the whole
    # The errors have no cause (`from None`), because a traceback would print what the server sent, with control characters.
    try:
        client = httpx.AsyncClient(timeout=timeout, verify=_tls(), follow_redirects=False)
    except (ValueError, ImportError, httpx.InvalidURL):  # whose messages may contain a password
        raise ServiceError(unreachable(url, "the address of the proxy in the environment is invalid")) from None
    try:
        async with client, client.stream(method, address, content=upload, headers=headers) as response:
            return await read(response)
    except (httpx.ConnectError, httpx.ConnectTimeout, httpx.ProxyError, httpx.UnsupportedProtocol) as error:
        raise ServiceError(unreachable(url, str(error) or "timed out")) from None
    except httpx.NetworkError as error:
        hint = (
            ""
            if upload is None or upload.is_complete
            else ": it closed the connection while the image was sent, which may be too large"
        )
        raise ServiceError(f"incomplete response from {url}{hint}", detail=quoted(repr(error))) from None
    except UnicodeDecodeError as error:
        raise ServiceError(f"incomplete response from {url}", detail=quoted(repr(error))) from None
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise ServiceError(f"incomplete or invalid response from {url}", detail=quoted(repr(error))) from None


@cache
def _tls() -> ssl.SSLContext:
    """Return the settings of TLS, with the system's certificates as in `asciist.client`. They are slow to read."""
    return ssl.create_default_context()


class _Upload:
    """The image in blocks. Progress is reported, because the next block is asked for after the last one was sent."""

    def __init__(self, image: bytes, on_progress: Callable[[int, int], None] | None) -> None:
        self.is_complete = False
        self._image = image
        self._on_progress = on_progress or (lambda _sent, _total: None)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        total = len(self._image)
        for start in range(0, total, _BLOCK_BYTES):
            self._on_progress(start, total)
            yield self._image[start : start + _BLOCK_BYTES]
        self._on_progress(total, total)
        self.is_complete = True


async def _art(url: str, address: str, response: httpx.Response, options: Options) -> Art:
    """Return the art in `response`. Raises RejectedError or ServiceError if the response is anything else."""
    head = _head(url, address, response, options)
    if not head.has_art:
        raise await _error(head, response)
    head.art_url()  # before the body is read
    return head.art(await _body(url, response, max_response_bytes(options)))


async def _file(url: str, response: httpx.Response) -> bytes:
    """Return the file in `response`. Raises RejectedError or ServiceError if the response is anything else."""
    head = _head(url, url, response, {})
    if not head.has_file:
        raise await _error(head, response)
    return await _body(url, response, MAX_FILE_BYTES)


def _head(url: str, address: str, response: httpx.Response, options: Options) -> Head:
    headers = Message()
    for name, value in response.headers.multi_items():
        headers[name] = value
    return Head(url=url, request_url=address, options=options, status=response.status_code, headers=headers)


async def _error(head: Head, response: httpx.Response) -> AsciistError:
    return head.error(await _read(response, MAX_ERROR_BYTES) if head.has_sentence else b"")


async def _body(url: str, response: httpx.Response, max_bytes: int) -> bytes:
    body = await _read(response, max_bytes)
    if len(body) > max_bytes:
        raise ServiceError(f"the response from {url} is larger than {max_bytes / 1e6:.0f} MB")
    return body


async def _read(response: httpx.Response, max_bytes: int) -> bytes:
    """Return the body, or its first part if it has more than `max_bytes`."""
    body = bytearray()
    async for part in response.aiter_raw():
        body += part
        if len(body) > max_bytes:
            break
    return bytes(body)
