"""Compares the art of two origins, which depends only on the image and the options."""

import hashlib
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from asciist.client import convert
from asciist.errors import AsciistError
from asciist_migration.shift.ports import Comparison

_TIMEOUT_SECONDS: Final = 15
"""Timeout in seconds; longer than the service's request timeout."""
_WIDTHS: Final = range(20, 200)
"""Widths of comparisons. Each comparison uses a new width, so that the art is converted and not
read from the store."""


class HttpArtSampler:
    """Sends images to the origins' own addresses."""

    def __init__(self, urls: Mapping[str, str], images: Sequence[Path]) -> None:
        """`urls` contains the address of each of the two origins by name. Reads the images; raises
        OSError."""
        self._urls = dict(urls)
        self._images = [(path.name, path.read_bytes()) for path in images]

    def compare(self) -> tuple[Comparison, ...]:
        width = _width()
        return tuple(self._compare(name, image, width) for name, image in self._images)

    def problem(self, origin: str) -> str:
        _, image = self._images[0]
        try:
            convert(
                image,
                url=self._urls[origin],
                timeout_seconds=_TIMEOUT_SECONDS,
                attempts=1,
                width=_width(),
            )
        except AsciistError as error:
            return str(error)
        return ""

    def _compare(self, name: str, image: bytes, width: int) -> Comparison:
        def digest(url: str) -> str:
            art = convert(image, url=url, timeout_seconds=_TIMEOUT_SECONDS, attempts=1, width=width)
            return hashlib.sha256(art.text.encode()).hexdigest()[:16]

        with ThreadPoolExecutor() as threads:
            answers = {origin: threads.submit(digest, url) for origin, url in self._urls.items()}
        try:
            digests = {origin: answer.result() for origin, answer in answers.items()}
        except AsciistError as error:
            return Comparison(image=name, same=None, detail=str(error))
        detail = ", ".join(f"{origin} {value}" for origin, value in digests.items())
        return Comparison(
            image=name, same=len(set(digests.values())) == 1, detail=f"width {width}: {detail}"
        )


def _width() -> int:
    return _WIDTHS[int(time.time()) % len(_WIDTHS)]
