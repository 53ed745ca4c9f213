"""Play an animation on a terminal of unknown size by text alone: the changed cells, at their
positions on the screen.

After each frame, the cursor is below the art and the terminal has its own colours, so that a reader
may stop at any time.
"""

from collections.abc import Iterable, Iterator
from itertools import groupby
from math import inf
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from asciist.art import Art, merged
from asciist.art.performance import Moment, Performance
from asciist.art.writing import (
    NO_COLOUR,
    Palette,
    code_points_of,
    escaped,
    parameters,
    shown_colours,
)

_CLEAR: Final = "\x1b[2J"
_RESET: Final = "\x1b[0m"

_NEAR: Final = 4
"""Number of unchanged cells between two changed ones from which on a code that moves the cursor is
shorter than the cells."""


_Colours = tuple[int, ...]
"""Foreground and background of a cell, as from `shown_colours`; empty without colours."""


class _Screen(NamedTuple):
    """The cells that a frame shows."""

    rows: list[str]
    code_points: NDArray[np.uint32]
    """(rows, columns)"""
    colours: NDArray[np.uint32]
    """(layers, rows, columns)"""

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, _Screen)
            and self.rows == other.rows
            and np.array_equal(self.colours, other.colours)
        )

    def __hash__(self) -> int:
        return hash(tuple(self.rows))


def perform(
    art: Art,
    palette: Palette | None,
    *,
    max_seconds: float,
    max_bytes: int,
) -> Performance:
    """Write the playback of an animation in the colours of a palette, or without any, for at most
    `max_seconds`, and in at most `max_bytes` unless it is played once.

    The animation is repeated as often as the time allows, but not more often than its file
    specifies. A longer one is cut off.
    """
    frames = list(_within(_screens(art, palette), max_seconds))
    rows = art.size[1]
    moments = []
    shown: _Screen | None = None
    for screen, seconds in [*frames, frames[0]]:
        pieces = _whole(art, palette) if shown is None else _changes(shown, screen, palette)
        moments.append(Moment(f"{''.join(pieces)}\x1b[{rows + 1};1H".encode(), seconds))
        shown = screen
    *first_play, first_again = moments
    play_bytes = sum(len(moment.text) for moment in moments)
    plays = min(
        max_seconds / sum(seconds for _, seconds in frames),
        max_bytes / play_bytes,
        (art.movement and art.movement.plays) or inf,
    )
    return Performance(
        moments=first_play,
        first_again=first_again,
        plays=max(1, int(plays)) if len(frames) > 1 else 1,
        end=f"\x1b[{rows};1H\n".encode(),
    )


def _within(
    screens: Iterable[tuple[_Screen, int]], max_seconds: float
) -> Iterator[tuple[_Screen, float]]:
    """Yield the screens that begin within a time, and their seconds within it."""
    left = max_seconds
    for screen, milliseconds in screens:
        seconds = min(milliseconds / 1000, left)
        if seconds <= 0:
            return
        yield screen, seconds
        left -= seconds


def _screens(art: Art, palette: Palette | None) -> Iterator[tuple[_Screen, int]]:
    """Yield the contents of each frame, and its milliseconds."""
    return merged((_screen(still, palette), still.frames[0].milliseconds) for still in art.stills())


def _screen(art: Art, palette: Palette | None) -> _Screen:
    colours = (
        np.empty((0, *reversed(art.size)), np.uint32)
        if palette is None or not art.is_coloured
        else shown_colours(art, palette)
    )
    return _Screen(art.text.split("\n"), code_points_of(art), colours)


def _whole(art: Art, palette: Palette | None) -> Iterator[str]:
    """Yield the text that shows art on a screen with other contents."""
    yield _CLEAR
    text = (
        art.text + "\n"
        if palette is None or not art.is_coloured
        else "".join(escaped(art, palette))
    )
    for row, line in enumerate(text.split("\n")[:-1]):
        yield f"{_position(row, 0)}{line}"


def _changes(before: _Screen, after: _Screen, palette: Palette | None) -> Iterator[str]:
    """Yield the text that replaces the changed cells and restores the terminal's own colours."""
    own = (NO_COLOUR,) * len(after.colours)
    current: _Colours = own
    differs = (before.code_points != after.code_points) | (before.colours != after.colours).any(0)
    rows = np.flatnonzero(differs.any(1))
    codes = _Codes(after.colours[:, rows], palette)
    for row in rows.tolist():
        text = after.rows[row]
        colours = list(zip(*after.colours[:, row].tolist(), strict=True)) or [own] * len(text)
        for first, end in _runs(np.flatnonzero(differs[row]).tolist()):
            yield _position(row, first)
            for wanted, cells in groupby(range(first, end), key=colours.__getitem__):
                if wanted != current:
                    yield codes.between(current, wanted)
                    current = wanted
                yield "".join(map(text.__getitem__, cells))
    if current != own:
        yield _RESET


def _position(row: int, column: int) -> str:
    return f"\x1b[{row + 1};{column + 1}H"


def _runs(columns: list[int]) -> list[tuple[int, int]]:
    """Return (first, end) of the runs of columns, merging runs with only few columns between
    them."""
    runs: list[tuple[int, int]] = []
    for column in columns:
        if runs and column - runs[-1][1] <= _NEAR:
            runs[-1] = (runs[-1][0], column + 1)
        else:
            runs.append((column, column + 1))
    return runs


class _Codes:
    """The escape codes for some colours, (layers, rows, columns)."""

    def __init__(self, colours: NDArray[np.uint32], palette: Palette | None) -> None:
        self._parameters: list[dict[int, str]] = []
        for layer, each in enumerate(colours):
            known = np.unique(each)
            known = known[known != NO_COLOUR]
            texts = parameters(known, palette, layer) if palette else []
            self._parameters.append(dict(zip(known.tolist(), texts, strict=True)))

    def between(self, current: _Colours, wanted: _Colours) -> str:
        """Return the code that changes one pair of colours to another."""
        is_reset = any(new == NO_COLOUR != old for old, new in zip(current, wanted, strict=True))
        if is_reset:
            current = (NO_COLOUR,) * len(wanted)
        codes = [
            known[new]
            for known, old, new in zip(self._parameters, current, wanted, strict=True)
            if new != old
        ]
        return f"\x1b[{';'.join(['0'] * is_reset + codes)}m"
