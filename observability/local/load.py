"""A little load for a service: what its users send, a few times a second, with their mistakes."""

import base64
import contextlib
import http.client
import io
import json
import random
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self
from urllib.parse import urlsplit

from PIL import Image

_EXAMPLES: Final = Path(__file__).parents[2] / "examples"
_USERS: Final = 3
"""Requests at a time at most: one that is slow does not keep the others."""
_TIMEOUT_SECONDS: Final = 30
_STYLES: Final = ("style=ramp", "style=braille", "style=blocks&color=ansi", "invert=true", "color=html")


@dataclass(frozen=True, kw_only=True)
class _Call:
    """One HTTP request."""

    path: str
    body: bytes | None = None
    headers: tuple[tuple[str, str], ...] = ()


class Load:
    """Sends `rate` requests a second to the service at `url`, at random moments, until `close`; a context manager."""

    def __init__(self, url: str, *, rate: float, seed: int | None = None) -> None:
        address = urlsplit(url)
        self._host, self._port = address.hostname or "127.0.0.1", address.port or 80
        self._rate = rate / _USERS
        self._stop = threading.Event()
        self._random = random.Random(seed)  # noqa: S311 - nothing is to be kept secret
        self._images = [path.read_bytes() for path in sorted(_EXAMPLES.glob("*.*")) if path.suffix != ".md"]
        self._threads = [threading.Thread(target=self._send_until_stopped, name=f"user-{user}") for user in range(_USERS)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Send no more; answers that are under way are waited for."""
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _send_until_stopped(self) -> None:
        kinds, weights = zip(*_KINDS, strict=True)
        # What comes of independent users has pauses of this distribution.
        while not self._stop.wait(self._random.expovariate(self._rate)):
            call = self._random.choices(kinds, weights)[0](self._random, self._images)
            # A service that is gone, or that ends a connection before it has read all of a refused body, is no news here.
            with contextlib.suppress(OSError, http.client.HTTPException):
                self._send(call)

    def _send(self, call: _Call) -> None:
        connection = http.client.HTTPConnection(self._host, self._port, timeout=_TIMEOUT_SECONDS)
        with contextlib.closing(connection):
            connection.request("POST" if call.body else "GET", call.path, call.body, dict(call.headers))
            connection.getresponse().read()


def _fresh(chance: random.Random, images: list[bytes]) -> _Call:
    return _Call(path=f"/?width={chance.randint(40, 300)}", body=chance.choice(images))


def _again(chance: random.Random, images: list[bytes]) -> _Call:
    return _Call(path="/?width=80", body=chance.choice(images))


def _styled(chance: random.Random, images: list[bytes]) -> _Call:
    return _Call(path=f"/?width={chance.randint(40, 160)}&{chance.choice(_STYLES)}", body=chance.choice(images))


def _json(chance: random.Random, images: list[bytes]) -> _Call:
    body = {"width": chance.randint(40, 200), "image": base64.b64encode(chance.choice(images)).decode()}
    return _Call(path="/", body=json.dumps(body).encode(), headers=(("Content-Type", "application/json"),))


def _drawn(chance: random.Random, _images: list[bytes]) -> _Call:
    """A smooth picture that nobody sent before."""
    width, height = chance.randint(200, 2000), chance.randint(200, 1500)
    seeds = Image.frombytes("RGB", (8, 6), chance.randbytes(8 * 6 * 3))
    image = seeds.resize((width, height), Image.Resampling.BICUBIC)
    return _Call(path="/?width=100", body=_encode(image, chance.choice(("JPEG", "PNG", "GIF", "WEBP", "BMP"))))


def _slow(chance: random.Random, _images: list[bytes]) -> _Call:
    """Noise as WebP: seven times as slow to decode, for each pixel, as a photograph."""
    size = chance.randint(400, 700)
    image = Image.frombytes("RGB", (size, size), chance.randbytes(size * size * 3))
    return _Call(path="/?width=100", body=_encode(image, "WEBP"))


def _damaged(chance: random.Random, images: list[bytes]) -> _Call:
    image = chance.choice(images)
    return _Call(path="/", body=image[: len(image) // 3])


def _no_image(_chance: random.Random, _images: list[bytes]) -> _Call:
    return _Call(path="/", body=b"Dear service, this is a letter.")


def _wrong_option(chance: random.Random, images: list[bytes]) -> _Call:
    return _Call(path="/?width=-5", body=chance.choice(images))


def _too_large(_chance: random.Random, _images: list[bytes]) -> _Call:
    return _Call(path="/", body=bytes(10_100_000))


def _missing(chance: random.Random, _images: list[bytes]) -> _Call:
    return _Call(path=f"/{chance.randbytes(32).hex()}/width/80")


def _usage(_chance: random.Random, _images: list[bytes]) -> _Call:
    return _Call(path="/")


def _encode(image: Image.Image, name: str) -> bytes:
    file = io.BytesIO()
    image.save(file, name, **{"quality": 90} if name in ("JPEG", "WEBP") else {})
    return file.getvalue()


_KINDS: Final[tuple[tuple[Callable[[random.Random, list[bytes]], _Call], float], ...]] = (
    (_fresh, 24),
    (_again, 24),
    (_styled, 14),
    (_json, 10),
    (_drawn, 12),
    (_slow, 2),
    (_damaged, 2),
    (_no_image, 2),
    (_wrong_option, 1),
    (_too_large, 1),
    (_missing, 4),
    (_usage, 4),
)
"""What is sent, and how often of a hundred."""
