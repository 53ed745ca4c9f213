"""Draw art as PNG, a row of art at a time. Art without colour has a palette of shades from the ground to the ink."""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import lru_cache
from math import isqrt
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from asciist.pictures.cells import Cells, Run
from asciist.pictures.encoding import SHADES, Pixels, still
from asciist.pictures.outlines import UNITS, check_drawable, polygons

_MAX_PIXELS: Final = 8_000_000
"""Maximum pixels of a picture, unless its cells are as small as they may be: those of a large screen."""
_MIN_CELL: Final = 2
_MAX_CELL: Final = 16
"""Minimum and maximum width of a cell, in pixels."""
_MAX_CARD_CELL: Final = 32
"""The maximum on a card, which art of few columns does not fill."""

CARD_WIDTH: Final = 1200
CARD_HEIGHT: Final = 630
"""Size of a card in pixels: what sites show of a link, in the aspect ratio that they crop to."""
_CARD_ROWS: Final = (2, 3)
"""Most rows of a card for its columns, as a fraction: those of a picture of 3:4. Of taller art, a card shows the middle."""

_OVERSAMPLING: Final = 4
"""Samples of a pixel, in each direction, of which its shade is the mean."""


class Row(NamedTuple):
    """A row of art, filled with blanks to the width of the picture, or some of its columns."""

    code_points: NDArray[np.uint32]
    """(columns,)"""
    colours: NDArray[np.uint8]
    """(2, columns, 3): foreground and background."""

    @classmethod
    def of(cls, runs: list[Run], columns: int, cells: Cells) -> "Row":
        """Return a row of `cells`, which have the colours of characters that have none."""
        text = "".join(run.text for run in runs).ljust(columns)
        colours = np.empty((2, columns, 3), np.uint8)
        colours[0], colours[1] = channels(cells.ink), channels(cells.ground)
        start = 0
        for characters, *layers in runs:
            for layer, colour in zip(colours, layers, strict=True):
                if colour is not None:
                    layer[start : start + len(characters)] = channels(colour)
            start += len(characters)
        return cls(np.frombuffer(text.encode("utf-32-le"), "<u4"), colours)


class Brush:
    """Draws rows of art. `cell` is the width of a cell in pixels."""

    def __init__(self, characters: Iterable[str], cell: int, *, is_coloured: bool) -> None:
        """`characters` are those that occur, which are drawable."""
        known = sorted({*characters, " "})
        self._code_points: Final = np.array([ord(character) for character in known])
        self._shapes: Final = np.stack([_coverage(character, cell) for character in known])
        self._cell: Final = cell
        self._is_coloured: Final = is_coloured

    def draw(self, row: Row) -> Pixels:
        """Return the pixels of a row."""
        shown = self._shapes[np.searchsorted(self._code_points, row.code_points)]
        coverage: Pixels = shown.swapaxes(0, 1).reshape(2 * self._cell, -1)
        return self._coloured(coverage, row) if self._is_coloured else coverage // (256 // SHADES)

    def _coloured(self, coverage: Pixels, row: Row) -> Pixels:
        """Return (height, width, 3) pixels. `coverage` is (height, width), from 0 to 255."""
        foreground, background = row.colours.astype(np.float32).repeat(self._cell, axis=1)
        colour = coverage[..., np.newaxis] * ((foreground - background) / 255)
        colour += background + np.float32(0.5)
        pixels: Pixels = colour.astype(np.uint8)
        return pixels


def png(cells: Cells) -> Iterator[bytes]:
    """Yield the PNG of art, with a margin of one column on the sides and of half a row above and below.

    A cell is twice as high as wide, and 16 pixels wide, or fewer for art so large that the picture would have more than
    8 megapixels. Raises UndrawableArtError for a character that the font lacks.
    """
    check_drawable(cells.characters)
    cell = cell_width(cells.columns, len(cells.rows))
    size = size_in_pixels(cells.columns, len(cells.rows), cell)
    ground = cells.ground if cells.is_coloured else None
    return still(size, palette(cells, is_coloured=cells.is_coloured), with_margin(_bands(cells, cell), size[0], cell, ground))


def cell_width(columns: int, rows: int) -> int:
    """Return the width, in pixels, of the cells of a PNG."""
    area = 2 * (columns + 2) * (rows + 1)
    return min(max(isqrt(_MAX_PIXELS // area), _MIN_CELL), _MAX_CELL)


def size_in_pixels(columns: int, rows: int, cell: int) -> tuple[int, int]:
    """Return (width, height) of a picture with its margin."""
    return (columns + 2) * cell, (rows + 1) * 2 * cell


def card(cells: Cells) -> Iterator[bytes]:
    """Yield a PNG of CARD_WIDTH x CARD_HEIGHT pixels with the art in its middle, for the preview of a link.

    Pieces are empty while the art is drawn. Of art that is taller than 3:4, it has the middle rows. Raises UndrawableArtError
    for a character that the font lacks.
    """
    check_drawable(cells.characters)
    cells = _middle(cells)
    cell = min(CARD_WIDTH // (cells.columns + 2), CARD_HEIGHT // (2 * len(cells.rows) + 2), _MAX_CARD_CELL)
    bands = []
    for band in _bands(cells, max(cell, 1)):
        bands.append(band)
        yield b""
    pixels = np.concatenate(bands)
    if cell == 0:
        pixels = _reduced(pixels, max(-(-pixels.shape[1] // CARD_WIDTH), -(-pixels.shape[0] // CARD_HEIGHT)))
    height, width = pixels.shape[:2]
    canvas = _blank(CARD_HEIGHT, CARD_WIDTH, cells.ground if cells.is_coloured else None)
    top, left = (CARD_HEIGHT - height) // 2, (CARD_WIDTH - width) // 2
    canvas[top : top + height, left : left + width] = pixels
    yield from still((CARD_WIDTH, CARD_HEIGHT), palette(cells, is_coloured=cells.is_coloured), [canvas])


def _middle(cells: Cells) -> Cells:
    most = max(1, cells.columns * _CARD_ROWS[0] // _CARD_ROWS[1])
    start = max(0, len(cells.rows) - most) // 2
    return replace(cells, rows=cells.rows[start : start + most])


def _reduced(pixels: Pixels, factor: int) -> Pixels:
    """Return a picture of which each pixel is the mean of (factor x factor) pixels."""
    height, width = (length // factor for length in pixels.shape[:2])
    parts = pixels[: height * factor, : width * factor].reshape(height, factor, width, factor, -1)
    reduced: Pixels = parts.mean((1, 3)).round().astype(np.uint8).reshape(height, width, *pixels.shape[2:])
    return reduced


def _bands(cells: Cells, cell: int) -> Iterator[Pixels]:
    """Yield the pixels of each row of art. `cell` is the width of a cell in pixels."""
    brush = Brush(cells.characters, cell, is_coloured=cells.is_coloured)
    for runs in cells.rows:
        yield brush.draw(Row.of(runs, cells.columns, cells))


@lru_cache(maxsize=4096)  # at most some 800 characters, in the few widths of cell that are common
def _coverage(character: str, cell: int) -> Pixels:
    """Return (2 * cell, cell) shares of pixels that a character covers, from 0 to 255.

    A sample is inside the character if an odd number of its edges cross the sample's row to the left of it.
    """
    width, height = cell * _OVERSAMPLING, 2 * cell * _OVERSAMPLING
    crossings = np.zeros((height, width + 1), np.uint8)
    rows = (np.arange(height) + 0.5) * (UNITS / width)
    for polygon in polygons(character):
        start = np.array(polygon)
        end = np.roll(start, -1, axis=0)
        (x0, y0), (x1, y1) = start.T[..., np.newaxis], end.T[..., np.newaxis]
        edge, row = np.nonzero((y0 <= rows) != (y1 <= rows))
        x = x0[edge, 0] + (rows[row] - y0[edge, 0]) / (y1 - y0)[edge, 0] * (x1 - x0)[edge, 0]
        column = np.clip(np.ceil(x * width / UNITS - 0.5), 0, width).astype(np.intp)
        np.add.at(crossings, (row, column), 1)
    inside = (crossings.cumsum(axis=1)[:, :-1] & 1).reshape(2 * cell, _OVERSAMPLING, cell, _OVERSAMPLING)
    coverage: Pixels = (inside.mean((1, 3)) * 255).round().astype(np.uint8)
    return coverage


def _blank(height: int, width: int, ground: int | None) -> Pixels:
    """Return pixels in the colour of the ground; None for a picture with a palette."""
    if ground is None:
        return np.zeros((height, width), np.uint8)
    return np.full((height, width, 3), channels(ground), np.uint8)


def with_margin(bands: Iterable[Pixels], width: int, cell: int, ground: int | None) -> Iterator[Pixels]:
    """Yield the pixels of a picture from those of its rows of art. `ground` is None for a picture with a palette."""
    edge = _blank(cell, width, ground)
    side = _blank(2 * cell, cell, ground)
    yield edge
    for band in bands:
        yield np.concatenate([side, band, side], axis=1)
    yield edge


def palette(cells: Cells, *, is_coloured: bool) -> bytes | None:
    """Return the shades from the ground to the ink, in 3 bytes each; None for a picture in colour."""
    if is_coloured:
        return None
    ground, ink = np.array(channels(cells.ground)), np.array(channels(cells.ink))
    shades = ground + (ink - ground) * np.arange(SHADES)[:, np.newaxis] / (SHADES - 1)
    return bytes(shades.round().astype(np.uint8).tobytes())


def channels(colour: int) -> tuple[int, int, int]:
    """Return red, green and blue of 0xRRGGBB."""
    return colour >> 16, colour >> 8 & 255, colour & 255
