"""A load generator: sends requests like those of users, some of them invalid, at random times."""

import base64
import io
import json
import random
import threading
from collections import deque
from collections.abc import Callable
from contextlib import closing, suppress
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Final, Self, TypeAlias
from urllib.parse import urlsplit

from PIL import Image

from asciist import formats

_USERS: Final = 3
"""Maximum concurrent requests; with several, a slow request does not delay the others."""
_TIMEOUT_SECONDS: Final = 5
"""Client timeout in seconds. It exceeds the objective's 3 s, so that the service completes and
counts slow requests itself."""
_OUTCOMES: Final = 12
"""Number of latest requests whose outcomes are held."""
_EXAMPLES: Final = Path(__file__).parents[2] / "docs" / "examples"
_IMAGES: Final = [
    path.read_bytes() for path in sorted(_EXAMPLES.glob("*.*")) if path.suffix != ".md"
]
_STYLES: Final = (
    "style=ramp",
    "style=braille",
    "style=blocks&color=ansi",
    "invert=true",
    "color=html",
)

Request: TypeAlias = tuple[str, bytes | None]
"""Path and body of a request; without a body it is a GET."""


class Load:
    """Sends on average `rate` requests per second to the service at `url`, at random times; a
    context manager."""

    def __init__(self, url: str, *, rate: float) -> None:
        address = urlsplit(url)
        self._host, self._port = address.hostname or "127.0.0.1", address.port or 80
        self._rate = rate / _USERS
        self._outcomes: deque[str] = deque(maxlen=_OUTCOMES)
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._send_until_stopped, name=f"user-{user}")
            for user in range(_USERS)
        ]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop, after the requests in flight."""
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def outcomes(self) -> list[str]:
        """Return the outcomes of the latest requests, oldest first: an empty string for a success,
        or the error.

        A request has failed if it got no response within 5 s, or a status of 500 or higher.
        """
        return list(self._outcomes)

    def _send_until_stopped(self) -> None:
        chance = random.Random()  # noqa: S311 - not for cryptography
        requests, weights = zip(*_REQUESTS, strict=True)
        # independent users arrive as a Poisson process
        while not self._stop.wait(chance.expovariate(self._rate)):
            self._outcomes.append(self._send(*chance.choices(requests, weights)[0](chance)))

    def _send(self, path: str, body: bytes | None) -> str:
        with closing(
            HTTPConnection(self._host, self._port, timeout=_TIMEOUT_SECONDS)
        ) as connection:
            try:
                connection.connect()
                # The service may refuse a body, respond and close before it has read all of it.
                with suppress(BrokenPipeError, ConnectionResetError):
                    connection.request("POST" if body else "GET", path, body)
                response = connection.getresponse()
                response.read()
            except (OSError, HTTPException) as error:
                return getattr(error, "strerror", None) or str(error) or type(error).__name__
        return f"status {response.status}" if response.status >= 500 else ""


def _json(chance: random.Random) -> Request:
    image = base64.b64encode(chance.choice(_IMAGES)).decode()
    return "/", json.dumps({"width": chance.randint(40, 200), "image": image}).encode()


def _unseen(chance: random.Random) -> Request:
    """Return a request with a new, smooth image, which the service cannot have stored."""
    image = Image.frombytes("RGB", (8, 6), chance.randbytes(8 * 6 * 3))
    image = image.resize(
        (chance.randint(200, 2000), chance.randint(200, 1500)), Image.Resampling.BICUBIC
    )
    file = io.BytesIO()
    image.save(file, chance.choice([row.key for row in formats.FORMATS]))
    return "/?width=100", file.getvalue()


_REQUESTS: Final[tuple[tuple[Callable[[random.Random], Request], int], ...]] = (
    (lambda chance: (f"/?width={chance.randint(40, 300)}", chance.choice(_IMAGES)), 24),
    (lambda chance: ("/?width=80", chance.choice(_IMAGES)), 24),  # stored after the first requests
    (
        lambda chance: (
            f"/?width={chance.randint(40, 160)}&{chance.choice(_STYLES)}",
            chance.choice(_IMAGES),
        ),
        14,
    ),
    (_json, 10),
    (_unseen, 14),
    (lambda chance: ("/", chance.choice(_IMAGES)[:1000]), 2),  # damaged
    (lambda _chance: ("/", b"not an image"), 2),
    (lambda chance: ("/?width=-5", chance.choice(_IMAGES)), 1),
    (lambda _chance: ("/", bytes(10_100_000)), 1),  # over the upload limit
    (lambda chance: (f"/{chance.randbytes(32).hex()}/width/80", None), 4),  # not stored
    (lambda _chance: ("/", None), 4),
)
"""Kinds of requests with their weights, in percent."""
