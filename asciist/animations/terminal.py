"""Play an animation on a terminal of unknown size by text alone: the cells that change, at their places on the screen.

The cursor waits below the art after each frame, with the terminal's own colours, so that a reader may stop at any time.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from asciist.animations import Animation

_CLEAR: Final = "\x1b[2J"
_RESET: Final = "\x1b[0m"
_CODE: Final = re.compile(r"\x1b\[([0-9;]*)m")
_COLOUR: Final = re.compile(r"[34]8;(?:2;\d+;\d+;\d+|5;\d+)|\d+")

_NEAR: Final = 4
"""Cells that stand still between two that change, from which on a code that moves the cursor is shorter than these cells."""


class _Cell(NamedTuple):
    character: str
    foreground: str
    background: str
    """Parameters of the codes for its colours; empty for the terminal's own."""


class Moment(NamedTuple):
    """What is written at once, and the time until the next."""

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


def perform(animation: Animation, *, max_seconds: float, pause: Callable[[], None] = lambda: None) -> Performance:
    """Write what plays an animation for at most `max_seconds`. `pause` is called after each frame is written.

    The animation is repeated as often as the time allows, but not more often than its file says. One that is longer is cut off.
    """
    frames = list(_within(animation, max_seconds))
    rows = len(frames[0][0])
    moments = []
    shown: list[list[_Cell]] = []
    for lines, seconds in [*frames, frames[0]]:
        cells = [_cells(line) for line in lines]
        moments.append(Moment(f"{'' if shown else _CLEAR}{_changes(shown, cells)}\x1b[{rows + 1};1H".encode(), seconds))
        shown = cells
        pause()
    *first_play, first_again = moments
    plays = max(1, int(max_seconds / sum(seconds for _, seconds in frames))) if len(frames) > 1 else 1
    return Performance(
        moments=first_play,
        first_again=first_again,
        plays=min(plays, animation.plays or plays),
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


def _cells(line: str) -> list[_Cell]:
    """Return the cells of a line of art, with or without escape codes."""
    text, *coded = _CODE.split(line)
    cells = [_Cell(character, "", "") for character in text]
    foreground = background = ""
    for parameters, run in zip(coded[::2], coded[1::2], strict=True):
        for colour in _COLOUR.findall(parameters):
            if colour == "0":
                foreground = background = ""
            elif colour.startswith("4") or (len(colour) == 3 and colour.isdigit()):
                background = colour
            else:
                foreground = colour
        cells += [_Cell(character, foreground, background) for character in run]
    return cells


def _changes(before: Sequence[Sequence[_Cell]], after: Sequence[Sequence[_Cell]]) -> str:
    """Return what replaces the cells that differ, and restores the terminal's own colours."""
    text: list[str] = []
    foreground = background = ""
    for row, cells in enumerate(after):
        old = before[row] if row < len(before) else ()
        place = None
        for column, cell in enumerate(cells):
            if column < len(old) and old[column] == cell:
                continue
            if place is None or column - place > _NEAR:
                text.append(f"\x1b[{row + 1};{column + 1}H")
                place = column
            for each in cells[place : column + 1]:
                if (each.foreground, each.background) != (foreground, background):
                    text.append(_code(each, foreground, background))
                    foreground, background = each.foreground, each.background
                text.append(each.character)
            place = column + 1
    return "".join([*text, _RESET if foreground or background else ""])


def _code(cell: _Cell, foreground: str, background: str) -> str:
    """Return the escape code that changes the given colours to those of a cell."""
    is_reset = (foreground and not cell.foreground) or (background and not cell.background)
    wanted = (cell.foreground, cell.background)
    current = ("", "") if is_reset else (foreground, background)
    codes = [new for new, old in zip(wanted, current, strict=True) if new != old]
    return f"\x1b[{';'.join(['0'] * bool(is_reset) + codes)}m"
