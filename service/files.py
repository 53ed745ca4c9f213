"""Files of art: the forms that its permanent URL has by suffix, made from the stored text.

A web process makes them itself: most take a few milliseconds, and a message to a worker would take longer. Those that it made
last are kept, one is made at a time, and between the rows of art other requests proceed.
"""

import threading
import time
from collections import OrderedDict
from contextlib import suppress
from dataclasses import replace
from typing import Final

from asciist.animations import Animation, first_frame, is_animation
from asciist.animations.documents import document
from asciist.options import ConversionOptions
from asciist.protocol.requester import ServedArt
from service.admission import Admission

_MAX_BYTES: Final = 16_000_000
"""Maximum bytes of the files that one process keeps, with what it takes to keep them."""

_ENTRY_BYTES: Final = 1024
"""Bytes of the place of a file, at most about."""

_MAX_MOVING_BYTES: Final = 100_000_000
"""Maximum bytes of a moving PNG before compression, as `asciist.pictures` counts them: 50,000 cells in colour, which take at
most 33 us and 325 bytes each, so about 2 s of CPU time and less than 20 MB. Animations without colour, of which a cell takes at
most 8 us, are always within it."""

_TEXT: Final = "text/plain; charset=utf-8"

CONTENT_TYPES: Final = {
    "png": "image/png",
    "svg": "image/svg+xml",
    "card.png": "image/png",
    "html": "text/html; charset=utf-8",
    "ansi": _TEXT,
    "txt": _TEXT,
}
"""Content types of files by suffix."""

JSON_SUFFIX: Final = "json"
"""Suffix of the answer in JSON, which is not made from cells."""

SUFFIXES: Final = (*CONTENT_TYPES, JSON_SUFFIX)
"""Suffixes of a permanent URL, after a dot."""

CARD_SIZE: Final = (1200, 630)
"""Width and height of `card.png` in pixels, as `asciist.pictures` draws it."""

_Key = tuple[str, ConversionOptions, bool, str]


class Files:
    """Makes files, and keeps the latest ones."""

    def __init__(self, admission: Admission) -> None:
        """A file that is not kept is made in one of the places of `admission`."""
        self._admission = admission
        self._lock = threading.Lock()
        self._kept: OrderedDict[_Key, bytes] = OrderedDict()
        self._bytes = 0

    def file(self, served: ServedArt, suffix: str) -> bytes:
        """Return the file of art that has a suffix of CONTENT_TYPES. Raises UndrawableArtError, OverloadedError."""
        key = (served.digest, served.options, served.is_dark_on_light, suffix)
        kept = self._kept.get(key)
        if kept is not None:
            with suppress(KeyError):  # another thread has dropped it
                self._kept.move_to_end(key)
            return kept
        # One at a time, because several would take as long together, and as much memory as all of them.
        with self._admission.admit(), self._lock:
            return self._kept.get(key) or self._make(key, served)

    def _make(self, key: _Key, served: ServedArt) -> bytes:
        from asciist import pictures  # noqa: PLC0415 - imports numpy, which few requests need

        art, suffix, is_light = served.art, key[-1], served.is_dark_on_light
        if is_animation(art) and suffix == "html":
            return self._keep(key, f"{_moving_document(served)}\n".encode())
        if is_animation(art) and suffix == "png":
            animation = Animation.from_text(art)
            frames = ((frame.art, frame.milliseconds) for frame in animation.frames)
            drawn = pictures.moving_png(frames, plays=animation.plays, is_light=is_light, max_bytes=_MAX_MOVING_BYTES)
        else:
            drawn = pictures.file(first_frame(art) if is_animation(art) else art, suffix, is_light=is_light)
        pieces = []
        for piece in drawn:
            pieces.append(piece)
            time.sleep(0)
        return self._keep(key, b"".join(pieces))

    def _keep(self, key: _Key, made: bytes) -> bytes:
        """Keep a file, and return it."""
        self._kept[key] = made
        self._bytes += len(made) + _ENTRY_BYTES
        while self._bytes > _MAX_BYTES:
            self._bytes -= len(self._kept.popitem(last=False)[1]) + _ENTRY_BYTES
        return made


def _moving_document(served: ServedArt) -> str:
    """Return the HTML document of an animation of any colour. Other requests proceed between two frames."""
    from asciist import pictures  # noqa: PLC0415 - as above

    animation = Animation.from_text(served.art)
    if served.options.color == "html":
        return document(animation)
    frames = []
    for frame in animation.frames:
        html = pictures.html(pictures.cells_of(frame.art, is_light=served.is_dark_on_light))
        frames.append(replace(frame, lines=html.split("\n")))
        time.sleep(0)
    return document(replace(animation, frames=frames))


def text_of(served: ServedArt) -> str:
    """Return the characters of art, in lines joined by newlines."""
    from asciist import pictures  # noqa: PLC0415 - as above

    return pictures.text(pictures.cells_of(served.art, is_light=served.is_dark_on_light))


def is_drawable(art: str) -> bool:
    """Return whether pictures of art with these characters can be drawn."""
    from asciist.pictures.outlines import is_drawable  # noqa: PLC0415 - as above

    return all(map(is_drawable, set(art) - {"\n"}))
