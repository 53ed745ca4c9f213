"""Draw the art of an animation as a moving PNG. Each frame is the smallest rectangle of cells that has all that change."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from math import inf
from typing import Final

import numpy as np
from numpy.typing import NDArray

from asciist.pictures.cells import Cells, lines_of
from asciist.pictures.encoding import Patch, moving, raw_bytes, still
from asciist.pictures.outlines import check_drawable
from asciist.pictures.raster import Brush, Row, cell_width, palette, size_in_pixels, with_margin
from asciist.size import size_of

_READING: Final = 400
"""Bytes of pixels that take as long to draw and to compress as it takes to read a cell in colour: 7 of 26 us."""


def moving_png(frames: Iterable[tuple[str, int]], *, plays: int, is_light: bool, max_bytes: float = inf) -> Iterator[bytes]:
    """Yield the moving PNG of frames, each with its art, of the same size, and its milliseconds. 0 plays are endless.

    Cells, colours and margin are those of `png`, and programs that show only still pictures show the first frame. If the
    frames take more than `max_bytes`, or look the same, the result is the still PNG of the first one. These bytes are those
    of the pixels of all frames before compression, and 400 for each cell of a line in colour that changes.

    Pieces may be empty, where there is nothing but a pause. `is_light` is True for art that is drawn for a light background.
    Raises UndrawableArtError for a character that the font lacks.
    """
    film = _Film(is_light=is_light)
    for art, milliseconds in frames:
        yield from (b"" for _ in film.read(art, milliseconds))
        if film.bytes > max_bytes:
            del film.steps[1:]
            break
    check_drawable(film.characters)
    yield from film.encoded(plays)


@dataclass(frozen=True, kw_only=True)
class _Step:
    """The rectangle of cells that a frame replaces."""

    left: int
    top: int
    rows: list[Row]
    milliseconds: int

    @property
    def columns(self) -> int:
        return len(self.rows[0].code_points)


class _Film:
    """The frames that have been read, as what changes in each."""

    def __init__(self, *, is_light: bool) -> None:
        self.steps: Final[list[_Step]] = []
        self.characters: Final[set[str]] = set()
        """The characters that occur."""
        self.bytes = 0
        """Bytes that bound the steps, for which see `moving_png`."""
        self._is_light: Final = is_light
        self._is_coloured = False
        self._columns = self._cell = 0
        self._lines: list[str] = []
        """The lines of the latest frame, and its rows."""
        self._rows: list[Row] = []

    def read(self, art: str, milliseconds: int) -> Iterator[None]:
        """Add a frame. Pauses after each line that differs from the frame before; other lines are not parsed again."""
        lines, parse = lines_of(art)
        if not self._lines:
            self._columns = size_of(art)[0]
            self._cell = cell_width(self._columns, len(lines))
        rows = list(self._rows)
        for number, line in enumerate(lines):
            if self._lines[number : number + 1] != [line]:
                cells = Cells(rows=[list(parse(line))], is_light=self._is_light)
                self.characters.update(cells.characters)
                self._is_coloured = self._is_coloured or cells.is_coloured
                self.bytes += _READING * self._columns if cells.is_coloured else 0
                rows[number : number + 1] = [Row.of(cells.rows[0], self._columns, cells)]
                yield
        self._add(rows, milliseconds)
        self._lines, self._rows = lines, rows

    def _add(self, rows: list[Row], milliseconds: int) -> None:
        if not self.steps:
            step = _Step(left=0, top=0, rows=rows, milliseconds=milliseconds)
        else:
            changed: NDArray[np.bool_] = np.stack([_changed(*pair) for pair in zip(self._rows, rows, strict=True)])
            if not changed.any():
                self.steps[-1] = replace(self.steps[-1], milliseconds=self.steps[-1].milliseconds + milliseconds)
                return
            top, bottom = _extent(changed)
            left, right = _extent(changed.T)
            cut = [Row(row.code_points[left:right], row.colours[:, left:right]) for row in rows[top:bottom]]
            step = _Step(left=left, top=top, rows=cut, milliseconds=milliseconds)
        self.steps.append(step)
        width, height = step.columns * self._cell, len(step.rows) * 2 * self._cell
        self.bytes += raw_bytes(width, height, is_coloured=self._is_coloured)

    def encoded(self, plays: int) -> Iterator[bytes]:
        """Yield the PNG."""
        cell, paper = self._cell, Cells(rows=[], is_light=self._is_light)
        size = size_in_pixels(self._columns, len(self._rows), cell)
        shades = palette(paper, is_coloured=self._is_coloured)
        brush = Brush(self.characters, cell, is_coloured=self._is_coloured)
        first, *others = self.steps
        whole = with_margin(map(brush.draw, first.rows), size[0], cell, paper.ground if self._is_coloured else None)
        if not others:
            return still(size, shades, whole)
        patches = [
            Patch(left=0, top=0, width=size[0], height=size[1], milliseconds=first.milliseconds, bands=whole),
            *(
                Patch(
                    left=(step.left + 1) * cell,
                    top=(2 * step.top + 1) * cell,
                    width=step.columns * cell,
                    height=len(step.rows) * 2 * cell,
                    milliseconds=step.milliseconds,
                    bands=map(brush.draw, step.rows),
                )
                for step in others
            ),
        ]
        return moving(size, shades, patches, plays=plays)


def _changed(before: Row, after: Row) -> NDArray[np.bool_]:
    """Return (columns,): True for each cell that differs."""
    if before is after:
        return np.zeros(len(after.code_points), np.bool_)
    changed: NDArray[np.bool_] = (before.code_points != after.code_points) | (before.colours != after.colours).any(axis=(0, 2))
    return changed


def _extent(changed: NDArray[np.bool_]) -> tuple[int, int]:
    """Return (first, end) of the rows that have all that is True."""
    places = np.nonzero(changed)[0]
    return int(places.min()), int(places.max()) + 1
