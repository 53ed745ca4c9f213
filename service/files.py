"""Files of art: forms of stored art that are expensive to write.

A web process renders them itself: most take a few milliseconds, and a message to a worker would
take longer. The latest files are cached. One is rendered at a time, and other requests proceed
between the rows of art.
"""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import nullcontext, suppress
from typing import Final, TypeVar

from asciist.art import forms
from asciist.art.forms import Form
from asciist.options import ConversionOptions
from asciist.protocol.requester import ServedArt
from .admission import Admission

_MAX_BYTES: Final = 16_000_000
"""Maximum bytes of the files cached by one process, including overhead."""

_ENTRY_BYTES: Final = 1024
"""Approximate maximum overhead of a cached file, in bytes."""

_MAX_MOVING_BYTES: Final = 100_000_000
"""Maximum bytes of an animated PNG before compression, as counted by `asciist.art`: 65,000 cells in
colour, in about 2 s of CPU time and less than 20 MB."""

_ELEMENTS: Final = "elements"
"""Name of the elements of a page in the cache; they are not a file."""

_Piece = TypeVar("_Piece")

_Key = tuple[str, ConversionOptions, bool, str]


class Files:
    """Renders files, and caches the latest ones."""

    def __init__(self, admission: Admission) -> None:
        """Rendering a file that is not cached takes a slot of `admission`, unless its request
        already has one."""
        self._admission = admission
        self._lock = threading.Lock()
        self._kept: OrderedDict[_Key, tuple[bytes, ...]] = OrderedDict()
        self._bytes = 0

    def file(self, served: ServedArt, form: Form, *, is_admitted: bool = False) -> bytes:
        """Return art in a form. Raises UndrawableArtError, OverloadedError."""

        def make() -> tuple[bytes]:
            return (b"".join(_paused(form.written(served.art, _MAX_MOVING_BYTES))),)

        return self._made(served, form.suffix, make, is_admitted=is_admitted)[0]

    def elements(self, served: ServedArt, *, is_admitted: bool = False) -> tuple[str, str]:
        """Return the HTML elements of art on a page, and the style sheet that plays them; empty for
        still art. Raises OverloadedError."""
        from asciist.art import html  # noqa: PLC0415 - for colours it imports numpy

        def make() -> tuple[bytes, ...]:
            *_, made = _paused(html.elements(served.art))
            return tuple(text.encode() for text in made or ())

        lines, style = self._made(served, _ELEMENTS, make, is_admitted=is_admitted)
        return lines.decode(), style.decode()

    def texts(
        self, served: ServedArt, form: Form, *, is_admitted: bool = False
    ) -> list[tuple[str, int]]:
        """Return each frame of an animation in a textual form, and its milliseconds. Raises
        OverloadedError."""

        def make() -> tuple[bytes, ...]:
            return tuple(
                f"{milliseconds} {text}".encode()
                for text, milliseconds in _paused(forms.texts(served.art, form))
            )

        made = self._made(served, f"{form.suffix} frames", make, is_admitted=is_admitted)
        frames = (frame.decode().partition(" ") for frame in made)
        return [(text, int(milliseconds)) for milliseconds, _, text in frames]

    def _made(
        self,
        served: ServedArt,
        name: str,
        make: Callable[[], tuple[bytes, ...]],
        *,
        is_admitted: bool,
    ) -> tuple[bytes, ...]:
        key = (served.digest, served.options.as_drawn(), served.art.is_light, name)
        kept = self._kept.get(key)
        if kept is not None:
            with suppress(KeyError):  # another thread has dropped it
                self._kept.move_to_end(key)
            return kept
        # One at a time, because several would take as long together, and as much memory as all of
        # them.
        with nullcontext() if is_admitted else self._admission.admit(), self._lock:
            return self._kept.get(key) or self._keep(key, make())

    def _keep(self, key: _Key, made: tuple[bytes, ...]) -> tuple[bytes, ...]:
        """Cache a rendered file, and return it."""
        self._kept[key] = made
        self._bytes += _size(made)
        while self._bytes > _MAX_BYTES:
            self._bytes -= _size(self._kept.popitem(last=False)[1])
        return made


def _paused(pieces: Iterator[_Piece]) -> Iterator[_Piece]:
    """Let other requests proceed after each piece."""
    for piece in pieces:
        yield piece
        time.sleep(0)


def _size(made: tuple[bytes, ...]) -> int:
    return sum(map(len, made)) + _ENTRY_BYTES
