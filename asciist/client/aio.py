"""Asynchronous client of the service, for asyncio.

::

    import asyncio
    from pathlib import Path

It runs the calls of `asciist.client` in threads, so it needs only the standard library, and trusts
the server as little. A cancelled call ends at once: its connection is closed, and its thread ends.
"""

import asyncio
import concurrent.futures
import threading
from collections.abc import Callable
from functools import partial
from typing import Final, TypeVar, Unpack

from asciist import client
from asciist.client.ending import Ending
from asciist.client.request import (
    DEFAULT_ATTEMPTS,
    DEFAULT_TIMEOUT_SECONDS,
    DEFAULT_URL,
    Options,
    Suffix,
)
from asciist.client.response import Art
from asciist.errors import ServiceError

__all__ = ["Art", "Options", "Suffix", "convert", "download"]

_Answer = TypeVar("_Answer", Art, bytes)

_GRACE_SECONDS: Final = 0.5
"""Seconds that a call may take after its time limit to explain its failure."""


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

    The arguments are those of `asciist.client.convert`, and it raises the same errors.
    `timeout_seconds` limits the whole call, including the lookup of the host's name.
    `on_progress` is called by the event loop.
    """
    loop = asyncio.get_running_loop()

    def report(sent: int, total: int) -> None:
        if on_progress:
            loop.call_soon_threadsafe(on_progress, sent, total)

    call = partial(
        client.convert,
        image,
        url=url,
        timeout_seconds=timeout_seconds,
        attempts=attempts,
        on_progress=report,
        **options,
    )
    return await _in_a_thread(call, url, timeout_seconds)


async def download(
    art: Art,
    suffix: Suffix,
    *,
    timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS,
    attempts: int = DEFAULT_ATTEMPTS,
) -> bytes:
    """Return art as a file rendered by the service; see `asciist.client.download`. Raises the same
    errors."""
    call = partial(client.download, art, suffix, timeout_seconds=timeout_seconds, attempts=attempts)
    return await _in_a_thread(call, art.url, timeout_seconds)


async def _in_a_thread(call: Callable[[], _Answer], url: str, timeout_seconds: float) -> _Answer:
    """Return the result of `call`, run in a new thread. asyncio's own threads would limit the
    concurrent calls, and delay the end of the program."""
    ending, answer = Ending(), concurrent.futures.Future[_Answer]()
    answer.set_running_or_notify_cancel()  # from now on only the thread ends it

    def run() -> None:
        ending.apply()
        try:
            answer.set_result(call())
        except BaseException as error:  # noqa: BLE001 - raised where it is awaited
            answer.set_exception(error)

    threading.Thread(target=run, name="asciist-client", daemon=True).start()
    try:
        async with asyncio.timeout(timeout_seconds + _GRACE_SECONDS):
            return await asyncio.wrap_future(answer)
    except TimeoutError:
        raise ServiceError(f"incomplete response from {url}: timed out") from None
    finally:
        ending.end()
