"""The text of an animation: one text for all its frames, each as the lines that differ from the frame before.

It is stored and sent where the art of a still image is, and begins with a character that art never contains::

    U+001C "1" <plays> <frames of the image that are shown> <frames of the image>
    <milliseconds> <lines of the frame> [<first>-<last> ...]
    <the lines of these ranges, from 0>
    <milliseconds> <lines of the frame> [<first>-<last> ...]
    ...

The number after U+001C is the version of the format. 0 plays are endless.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Final, Self

MAX_CHARACTERS: Final = 4_000_000
"""Maximum characters of all the lines that change: 50 frames of 80x40 cells that all change, in 24-bit colour."""

_MARK: Final = "\x1c"
_VERSION: Final = "1"

_HEAD: Final = re.compile(rf"{_MARK}{_VERSION} (\d{{1,9}}) (\d{{1,9}}) (\d{{1,9}})")
_FRAME: Final = re.compile(r"(\d{1,9}) (\d{1,9})((?: \d{1,9}-\d{1,9})*)")


@dataclass(frozen=True, kw_only=True)
class Frame:
    """One picture of an animation."""

    milliseconds: int
    """Time for which it is shown."""
    lines: Sequence[str]
    """All its lines."""
    changed: Sequence[tuple[int, int]]
    """(first, last) of each range of lines that differ from the frame before, in order; all lines in the first frame."""

    @property
    def art(self) -> str:
        """The whole frame, as the art of a still image."""
        return "\n".join(self.lines)


@dataclass(frozen=True, kw_only=True)
class Animation:
    """The art of an animation."""

    plays: int
    """Times that the frames are shown; 0 for endless repetition."""
    shown_frames: int
    """Frames of the image that the art shows, from the first."""
    image_frames: int
    """Frames of the image. They are more than `shown_frames` if they are too many, or some cannot be decoded."""
    frames: Sequence[Frame]
    """At least one. Frames that look the same are one."""

    @classmethod
    def from_text(cls, text: str) -> Self:
        """Parse the text of an animation. Raises ValueError if it is malformed or of another version."""
        head, *lines = text.split("\n")
        match = _HEAD.fullmatch(head)
        if match is None:
            raise ValueError("not an animation of this version")
        frames = tuple(_frames(iter(lines)))
        if not frames:
            raise ValueError("an animation without frames")
        plays, shown_frames, image_frames = map(int, match.groups())
        return cls(plays=plays, shown_frames=shown_frames, image_frames=image_frames, frames=frames)


def is_animation(text: str) -> bool:
    """Return whether a text is that of an animation, and not the art of a still image."""
    return text.startswith(_MARK)


def first_frame(text: str) -> str:
    """Return the art of the first frame of an animation's text. Raises ValueError if it is malformed."""
    _, _, lines = text.partition("\n")
    head = _FRAME.fullmatch(lines.partition("\n")[0])
    if head is None:
        raise ValueError("a malformed frame")
    return next(_frames(iter(lines.split("\n", int(head[2]) + 1)))).art


def _frames(lines: Iterator[str]) -> Iterator[Frame]:
    shown: list[str] = []
    for head in lines:
        match = _FRAME.fullmatch(head)
        if match is None:
            raise ValueError("a malformed frame")
        changed = [(int(first), int(last)) for first, last in re.findall(r"(\d+)-(\d+)", match[3])]
        del shown[int(match[2]) :]
        for first, last in changed:
            if not first <= last < int(match[2]) or first > len(shown):
                raise ValueError("a frame changes lines that it lacks")
            new = list(islice(lines, last - first + 1))
            if len(new) <= last - first:
                raise ValueError("a frame is truncated")
            shown[first : last + 1] = new
        if len(shown) != int(match[2]):
            raise ValueError("a frame lacks lines")
        yield Frame(milliseconds=int(match[1]), lines=tuple(shown), changed=changed)


class AnimationWriter:
    """Builds the text of an animation from its frames, up to a number of characters."""

    def __init__(self, *, max_characters: int) -> None:
        self._most: Final = max_characters
        self._characters = self._added = 0
        self._shown: list[str] = []
        self._frames: list[tuple[int, str, list[str]]] = []

    def add(self, art: str, milliseconds: int) -> bool:
        """Add a frame. Return False, and add nothing, if it does not fit; the first one always fits.

        A frame that looks like the one before prolongs it.
        """
        lines = art.split("\n")
        ranges = _ranges(number for number, line in enumerate(lines) if self._shown[number : number + 1] != [line])
        if self._frames and not ranges and len(lines) == len(self._shown):
            self.prolong(milliseconds)
            return True
        changed = [line for first, last in ranges for line in lines[first : last + 1]]
        characters = sum(map(len, changed)) + len(changed)
        if self._frames and self._characters + characters > self._most:
            return False
        self._added += 1
        self._characters += characters
        self._shown = lines
        places = "".join(f" {first}-{last}" for first, last in ranges)
        self._frames.append((milliseconds, f"{len(lines)}{places}", changed))
        return True

    def prolong(self, milliseconds: int) -> None:
        """Show the last frame for longer."""
        self._added += 1
        shown, head, changed = self._frames[-1]
        self._frames[-1] = (shown + milliseconds, head, changed)

    def text(self, *, plays: int, image_frames: int) -> str:
        """Return the text of the animation."""
        lines = [f"{_MARK}{_VERSION} {plays} {self._added} {image_frames}"]
        for milliseconds, head, changed in self._frames:
            lines += [f"{milliseconds} {head}", *changed]
        return "\n".join(lines)


def _ranges(numbers: Iterable[int]) -> list[tuple[int, int]]:
    """Return (first, last) of each run of consecutive numbers. `numbers` are in order."""
    ranges: list[tuple[int, int]] = []
    for number in numbers:
        if ranges and ranges[-1][1] == number - 1:
            ranges[-1] = (ranges[-1][0], number)
        else:
            ranges.append((number, number))
    return ranges
