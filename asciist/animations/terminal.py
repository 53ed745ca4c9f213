"""Play an animation on a terminal of unknown size by text alone: the cells that change, at their places on the screen.

The cursor waits below the art after each frame, with the terminal's own colours, so that a reader may stop at any time.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby
from math import inf
from typing import Final, NamedTuple

from asciist.animations import Animation

_CLEAR: Final = "\x1b[2J"
_RESET: Final = "\x1b[0m"
_CODE: Final = re.compile(r"\x1b\[([0-9;]*)m")
_COLOUR: Final = re.compile(r"[34]8;(?:2;\d+;\d+;\d+|5;\d+)|\d+")

_NEAR: Final = 4
"""Cells that stand still between two that change, from which on a code that moves the cursor is shorter than these cells."""


_Colours = tuple[str, str]
"""Parameters of the codes for the foreground and the background; empty for the terminal's own."""

_OWN: Final[_Colours] = ("", "")


class _Line(NamedTuple):
    text: str
    colours: Sequence[_Colours]
    """The colours of each character."""


class Moment(NamedTuple):
    """Text that is written at once, and the time until the next."""

    text: bytes
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Performance:
    """An animation as it is played: all that is written, in order, is what iterating over it yields."""

    moments: Sequence[Moment]
    """The frames of the first play."""
    first_again: Moment
    """The first frame, as it replaces the last."""
    plays: int
    """Times that the frames are shown: at least one."""
    end: bytes
    """Moves the cursor below the art."""

    @property
    def length(self) -> int:
        """Bytes of all that is written."""
        first, *others = (len(moment.text) for moment in self.moments)
        return first + self.plays * sum(others) + (self.plays - 1) * len(self.first_again.text) + len(self.end)

    def __iter__(self) -> Iterator[Moment]:
        # The last frame of the last play stays, so nothing waits for its time.
        *before, last = self.moments
        for play in range(self.plays):
            yield from before if play == 0 else [self.first_again, *before[1:]]
            if play < self.plays - 1:
                yield last
        yield Moment(last.text, 0.0)
        yield Moment(self.end, 0.0)


def perform(
    animation: Animation, *, max_seconds: float, max_bytes: int, pause: Callable[[], None] = lambda: None
) -> Performance:
    """Write what plays an animation for at most `max_seconds`, and in at most `max_bytes` unless it is played once.

    `pause` is called again and again in between, so that others may proceed.

    The animation is repeated as often as the time allows, but not more often than its file says. One that is longer is cut off.
    """
    frames = list(_within(animation, max_seconds))
    rows = len(frames[0][0])
    moments = []
    shown: Sequence[str] = ()
    read = lru_cache(maxsize=2 * rows)(_line)  # a line that changes is read twice: as the new one, and as the old one
    for lines, seconds in [*frames, frames[0]]:
        pieces = _changes(shown, lines, read, pause) if shown else _whole(lines)
        moments.append(Moment(f"{''.join(pieces)}\x1b[{rows + 1};1H".encode(), seconds))
        shown = lines
        pause()
    *first_play, first_again = moments
    play_bytes = sum(len(moment.text) for moment in moments)
    plays = min(max_seconds / sum(seconds for _, seconds in frames), max_bytes / play_bytes, animation.plays or inf)
    return Performance(
        moments=first_play,
        first_again=first_again,
        plays=max(1, int(plays)) if len(frames) > 1 else 1,
        end=f"\x1b[{rows};1H\n".encode(),
    )


def _within(animation: Animation, max_seconds: float) -> Iterator[tuple[Sequence[str], float]]:
    """Yield (lines, seconds) of the frames that begin within a time and fit into it."""
    left = max_seconds
    for frame in animation.frames:
        seconds = min(frame.milliseconds / 1000, left)
        if seconds <= 0:
            return
        yield frame.lines, seconds
        left -= seconds


def _whole(lines: Sequence[str]) -> Iterator[str]:
    """Yield what shows lines on a screen with other text."""
    yield _CLEAR
    for row, line in enumerate(lines):
        yield f"{_position(row, 0)}{line}"


def _changes(
    before: Sequence[str], after: Sequence[str], read: Callable[[str], _Line], pause: Callable[[], None]
) -> Iterator[str]:
    """Yield what replaces the cells that differ, and restores the terminal's own colours."""
    current = _OWN
    for row, (old, new) in enumerate(zip(before, after, strict=True)):
        if old != new:
            line = read(new)
            for first, end in _differing(read(old), line):
                yield _position(row, first)
                for colours, cells in groupby(range(first, end), key=line.colours.__getitem__):
                    if colours != current:
                        yield _code(current, colours)
                        current = colours
                    yield "".join(map(line.text.__getitem__, cells))
            pause()
    if current != _OWN:
        yield _RESET


def _position(row: int, column: int) -> str:
    return f"\x1b[{row + 1};{column + 1}H"


def _line(line: str) -> _Line:
    """Read a line of art, with or without escape codes."""
    text, *coded = _CODE.split(line)
    colours = [_OWN] * len(text)
    foreground = background = ""
    for parameters, run in zip(coded[::2], coded[1::2], strict=True):
        for colour in _COLOUR.findall(parameters):
            if colour == "0":
                foreground = background = ""
            elif colour.startswith(("4", "10")):
                background = colour
            else:
                foreground = colour
        text += run
        colours += [(foreground, background)] * len(run)
    return _Line(text, colours)


def _differing(old: _Line, new: _Line) -> list[tuple[int, int]]:
    """Return (first, end) of the runs of columns in which two lines differ, with the few columns between runs that are near."""
    runs: list[tuple[int, int]] = []
    pairs = zip(old.text, new.text, old.colours, new.colours, strict=True)
    for column, (old_text, new_text, old_colours, new_colours) in enumerate(pairs):
        if old_text == new_text and old_colours == new_colours:
            continue
        if runs and column - runs[-1][1] <= _NEAR:
            runs[-1] = (runs[-1][0], column + 1)
        else:
            runs.append((column, column + 1))
    return runs


def _code(current: _Colours, wanted: _Colours) -> str:
    """Return the escape code that changes the colours."""
    is_reset = any(old and not new for old, new in zip(current, wanted, strict=True))
    codes = [new for old, new in zip(_OWN if is_reset else current, wanted, strict=True) if new != old]
    return f"\x1b[{';'.join(['0'] * is_reset + codes)}m"
