"""Files of art: the forms that its permanent URL has by suffix, made from the stored text.

A web process makes them itself: most take a few milliseconds, and a message to a worker would take longer. Those that it made
last are kept, one is made at a time, and between the rows of art other requests proceed.
"""

import threading
import time
from collections import OrderedDict
from contextlib import suppress
from typing import Final

from asciist.options import ConversionOptions
from asciist.protocol.requester import ServedArt
from service.admission import Admission

_MAX_BYTES: Final = 16_000_000
"""Maximum bytes of the files that one process keeps, with what it takes to keep them."""

_ENTRY_BYTES: Final = 1024
"""Bytes of the place of a file, at most about."""

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

        pieces = []
        for piece in pictures.file(served.art, key[-1], is_light=served.is_dark_on_light):
            pieces.append(piece)
            time.sleep(0)
        made = self._kept[key] = b"".join(pieces)
        self._bytes += len(made) + _ENTRY_BYTES
        while self._bytes > _MAX_BYTES:
            self._bytes -= len(self._kept.popitem(last=False)[1]) + _ENTRY_BYTES
        return made


def text_of(served: ServedArt) -> str:
    """Return the characters of art, in lines joined by newlines."""
    from asciist import pictures  # noqa: PLC0415 - as above

    return pictures.text(pictures.cells_of(served.art, is_light=served.is_dark_on_light))


def is_drawable(art: str) -> bool:
    """Return whether pictures of art with these characters can be drawn."""
    from asciist.pictures.outlines import is_drawable  # noqa: PLC0415 - as above

    return all(map(is_drawable, set(art) - {"\n"}))
