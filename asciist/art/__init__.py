"""Art: characters in rows, the colours of their cells, and the frames of an animation.

Art is independent of its form: `asciist.art.forms` writes text, escape codes, HTML and pictures
from it, and `asciist.art.codec` encodes it for storage and messages.

Pure: no I/O, no clock, no environment. Art without colours needs no numpy.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from operator import itemgetter
from typing import Final, TypeVar

_Look = TypeVar("_Look")

RGB_BYTES: Final = 3
"""Bytes of a colour."""

GROUNDS: Final = {False: 0x000000, True: 0xFFFFFF}
INKS: Final = {False: 0xEEEEEE, True: 0x111111}
"""Default colours of the background and of characters, 0xRRGGBB, for forms that set them: of dark
and of light art."""


@dataclass(frozen=True, kw_only=True)
class Frame:
    """One image of cells: a still image, or a frame of an animation."""

    text: str
    """The characters, in rows of equal length joined by newlines."""
    colours: bytes = b""
    """RGB of the cells, of shape (rows, layers, columns, 3): each row has its foregrounds and then,
    with two layers, its backgrounds. Empty without colours."""
    milliseconds: int = 0
    """Duration in an animation, in milliseconds."""

    @property
    def size(self) -> tuple[int, int]:
        """Columns and rows."""
        return len(self.text.partition("\n")[0]), self.text.count("\n") + 1

    @property
    def layers(self) -> int:
        """Colours of a cell: 0, 1 (the foreground) or 2 (the foreground and the background)."""
        columns, rows = self.size
        return len(self.colours) // (RGB_BYTES * max(1, columns * rows))


@dataclass(frozen=True, kw_only=True)
class Movement:
    """Playback of the frames of an animation."""

    plays: int
    """Number of repetitions of the frames; 0 for endless repetition."""
    shown_frames: int
    """Number of frames shown, counted from the first."""
    image_frames: int
    """Frames of the image. There are more than `shown_frames` if they exceed a limit, or some
    cannot be decoded."""


@dataclass(frozen=True, kw_only=True)
class Art:
    """Finished art, still or animated."""

    frames: Sequence[Frame]
    """At least one, all of the same size and with as many layers."""
    is_light: bool
    """True if the art is drawn for a light background, in dark characters."""
    movement: Movement | None = None
    """None for the art of a still image, which has one frame."""

    @property
    def text(self) -> str:
        """The characters of the first frame, in rows joined by newlines."""
        return self.frames[0].text

    @property
    def size(self) -> tuple[int, int]:
        """Columns and rows."""
        return self.frames[0].size

    @property
    def is_coloured(self) -> bool:
        return bool(self.frames[0].colours)

    def first(self) -> "Art":
        """Return the first frame as still art."""
        return replace(self, frames=self.frames[:1], movement=None)

    def stills(self) -> Iterator["Art"]:
        """Yield each frame as still art."""
        for frame in self.frames:
            yield replace(self, frames=(frame,), movement=None)


def still(text: str, *, is_light: bool, colours: bytes = b"") -> Art:
    """Return the art of a still image; see `Frame` for the fields."""
    return Art(frames=(Frame(text=text, colours=colours),), is_light=is_light)


def merged(looks: Iterable[tuple[_Look, int]]) -> Iterator[tuple[_Look, int]]:
    """Yield the looks of frames and their milliseconds, merging equal ones: in a form with few
    colours, different colours may look the same."""
    for look, frames in groupby(looks, key=itemgetter(0)):
        yield look, sum(milliseconds for _, milliseconds in frames)
