"""Draw the art of an animation as an animated PNG. Each frame is the smallest rectangle that
contains all changed cells."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import inf
from typing import Final

import numpy as np
from numpy.typing import NDArray

from asciist.art import Art
from asciist.art.pictures.cells import Cells
from asciist.art.pictures.encoding import Patch, moving, raw_bytes, still
from asciist.art.pictures.outlines import check_drawable
from asciist.art.pictures.raster import Brush, Row, cell_width, palette, size_in_pixels, with_margin


def moving_png(art: Art, *, max_bytes: float = inf) -> Iterator[bytes]:
    """Yield the animated PNG of an animation.

    Cells, colours and margin are like those of `png`; programs without support for animation show
    the first frame. If the pixels of all frames exceed `max_bytes` before compression, or the
    frames look the same, the result is the still PNG of the first one.

    Raises UndrawableArtError for a character that the font lacks.
    """
    film = _Film(art)
    for frame in art.stills():
        film.add(Cells.of(frame), frame.frames[0].milliseconds)
        if film.bytes > max_bytes:
            del film.steps[1:]
            break
    check_drawable(film.characters)
    yield from film.encoded(art.movement.plays if art.movement else 1)


@dataclass(frozen=True, kw_only=True)
class _Step:
    """The rectangle of cells replaced by a frame."""

    left: int
    top: int
    rows: list[Row]
    milliseconds: int

    @property
    def columns(self) -> int:
        return len(self.rows[0].code_points)


class _Film:
    """The frames added so far, as the changes of each."""

    def __init__(self, art: Art) -> None:
        self.steps: Final[list[_Step]] = []
        self.characters: Final[set[str]] = set()
        """The distinct characters."""
        self.bytes = 0
        """Bytes of the pixels of all steps, before compression."""
        self._paper: Final = Cells.of(art)
        self._columns, self._height = art.size
        self._cell: Final = cell_width(*art.size)
        self._rows: list[Row] = []
        """The rows of the latest frame."""

    def add(self, cells: Cells, milliseconds: int) -> None:
        """Add a frame."""
        self.characters.update(cells.characters)
        rows = [Row.of(cells, number) for number in range(self._height)]
        before, self._rows = self._rows, rows
        if not self.steps:
            step = _Step(left=0, top=0, rows=rows, milliseconds=milliseconds)
        else:
            changed: NDArray[np.bool_] = np.stack(
                [_changed(*pair) for pair in zip(before, rows, strict=True)]
            )
            if not changed.any():
                self.steps[-1] = replace(
                    self.steps[-1], milliseconds=self.steps[-1].milliseconds + milliseconds
                )
                return
            top, bottom = _extent(changed)
            left, right = _extent(changed.T)
            cut = [
                Row(row.code_points[left:right], row.colours[:, left:right])
                for row in rows[top:bottom]
            ]
            step = _Step(left=left, top=top, rows=cut, milliseconds=milliseconds)
        self.steps.append(step)
        width, height = step.columns * self._cell, len(step.rows) * 2 * self._cell
        self.bytes += raw_bytes(width, height, is_coloured=self._paper.is_coloured)

    def encoded(self, plays: int) -> Iterator[bytes]:
        """Yield the PNG."""
        cell, paper, is_coloured = self._cell, self._paper, self._paper.is_coloured
        size = size_in_pixels(self._columns, self._height, cell)
        shades = palette(paper, is_coloured=is_coloured)
        brush = Brush(self.characters, cell, is_coloured=is_coloured)
        first, *others = self.steps
        whole = with_margin(
            map(brush.draw, first.rows), size[0], cell, paper.ground if is_coloured else None
        )
        if not others:
            return still(size, shades, whole)
        patches = [
            Patch(
                left=0,
                top=0,
                width=size[0],
                height=size[1],
                milliseconds=first.milliseconds,
                bands=whole,
            ),
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
    """Return (columns,): True for each changed cell."""
    changed: NDArray[np.bool_] = (before.code_points != after.code_points) | (
        before.colours != after.colours
    ).any(axis=0)
    return changed


def _extent(changed: NDArray[np.bool_]) -> tuple[int, int]:
    """Return (first, end) of the smallest range that contains every True."""
    places = np.nonzero(changed)[0]
    return int(places[0]), int(places[-1]) + 1  # they ascend
