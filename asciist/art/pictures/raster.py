"""Draw art as PNG, one row of art at a time. Uncoloured art has a palette of shades from the ground
to the ink."""

from collections.abc import Iterable, Iterator
from functools import lru_cache
from math import isqrt
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from asciist.art.pictures import CARD_SIZE
from asciist.art.pictures.cells import Cells
from asciist.art.pictures.encoding import SHADES, Pixels, still
from asciist.art.pictures.outlines import UNITS, check_drawable, polygons
from asciist.art.writing import NO_COLOUR

_MAX_PIXELS: Final = 8_000_000
"""Maximum pixels of a picture with cells above the minimum size: those of a large screen."""
_MIN_CELL: Final = 2
_MAX_CELL: Final = 16
"""Minimum and maximum width of a cell, in pixels."""
_MAX_CARD_CELL: Final = 32
"""Maximum width of a cell on a card, in pixels; art with few columns does not fill the card."""

_CARD_ROWS: Final = (2, 3)
"""Maximum ratio of a card's rows to its columns, as a fraction: that of a picture of 3:4. Of taller
art, a card shows the middle."""

_OVERSAMPLING: Final = 4
"""Samples per pixel in each direction; the shade of a pixel is their mean."""


class Row(NamedTuple):
    """A row of art, or some of its columns."""

    code_points: NDArray[np.uint32]
    """(columns,)"""
    colours: NDArray[np.uint32]
    """(2, columns): foreground and background, 0xRRGGBB; (0, columns) without colours."""

    @classmethod
    def of(cls, cells: Cells, number: int) -> "Row":
        """Return a row of `cells`."""
        code_points = np.frombuffer(cells.rows[number].encode("utf-32-le"), "<u4")
        if cells.colours is None:
            return cls(code_points, np.empty((0, len(code_points)), np.uint32))
        colours = np.full((2, len(code_points)), cells.ground, np.uint32)
        colours[: len(cells.colours)] = cells.colours[:, number]
        colours[0][colours[0] == NO_COLOUR] = cells.ink
        return cls(code_points, colours)


class Brush:
    """Draws rows of art. `cell` is the width of a cell in pixels."""

    def __init__(self, characters: Iterable[str], cell: int, *, is_coloured: bool) -> None:
        """`characters` are the distinct characters, all of them drawable."""
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
        channels = np.stack([row.colours >> shift & 255 for shift in (16, 8, 0)], axis=-1)
        foreground, background = channels.astype(np.float32).repeat(self._cell, axis=1)
        colour = coverage[..., np.newaxis] * ((foreground - background) / 255)
        colour += background + np.float32(0.5)
        pixels: Pixels = colour.astype(np.uint8)
        return pixels


def png(cells: Cells) -> Iterator[bytes]:
    """Yield the PNG of art, with a margin of one column on the sides and of half a row above and
    below.

    A cell is twice as high as wide, and 16 pixels wide, or narrower where the picture would exceed
    8 megapixels. Raises UndrawableArtError for a character that the font lacks.
    """
    check_drawable(cells.characters)
    cell = cell_width(cells.columns, len(cells.rows))
    size = size_in_pixels(cells.columns, len(cells.rows), cell)
    ground = cells.ground if cells.is_coloured else None
    return still(
        size,
        palette(cells, is_coloured=cells.is_coloured),
        with_margin(_bands(cells, cell), size[0], cell, ground),
    )


def cell_width(columns: int, rows: int) -> int:
    """Return the width, in pixels, of the cells of a PNG."""
    area = 2 * (columns + 2) * (rows + 1)
    return min(max(isqrt(_MAX_PIXELS // area), _MIN_CELL), _MAX_CELL)


def size_in_pixels(columns: int, rows: int, cell: int) -> tuple[int, int]:
    """Return (width, height) of a picture with its margin."""
    return (columns + 2) * cell, (rows + 1) * 2 * cell


def card(cells: Cells) -> Iterator[bytes]:
    """Yield a PNG of CARD_SIZE pixels with the art in its middle, for the preview of a link.

    Art taller than 3:4 is cropped to its middle rows. Raises UndrawableArtError for a character
    that the font lacks.
    """
    check_drawable(cells.characters)
    cells = _middle(cells)
    width, height = CARD_SIZE
    cell = min(width // (cells.columns + 2), height // (2 * len(cells.rows) + 2), _MAX_CARD_CELL)
    pixels = np.concatenate(list(_bands(cells, max(cell, 1))))
    if cell == 0:
        pixels = _reduced(pixels, max(-(-pixels.shape[1] // width), -(-pixels.shape[0] // height)))
    rows, columns = pixels.shape[:2]
    canvas = _blank(height, width, cells.ground if cells.is_coloured else None)
    top, left = (height - rows) // 2, (width - columns) // 2
    canvas[top : top + rows, left : left + columns] = pixels
    yield from still(CARD_SIZE, palette(cells, is_coloured=cells.is_coloured), [canvas])


def _middle(cells: Cells) -> Cells:
    most = max(1, cells.columns * _CARD_ROWS[0] // _CARD_ROWS[1])
    start = max(0, len(cells.rows) - most) // 2
    return cells.part(start, start + most)


def _reduced(pixels: Pixels, factor: int) -> Pixels:
    """Return a picture in which each pixel is the mean of (factor x factor) pixels."""
    height, width = (length // factor for length in pixels.shape[:2])
    parts = pixels[: height * factor, : width * factor].reshape(height, factor, width, factor, -1)
    reduced: Pixels = (
        parts.mean((1, 3)).round().astype(np.uint8).reshape(height, width, *pixels.shape[2:])
    )
    return reduced


def _bands(cells: Cells, cell: int) -> Iterator[Pixels]:
    """Yield the pixels of each row of art. `cell` is the width of a cell in pixels."""
    brush = Brush(cells.characters, cell, is_coloured=cells.is_coloured)
    for number in range(len(cells.rows)):
        yield brush.draw(Row.of(cells, number))


@lru_cache(maxsize=4096)  # at most some 800 characters, in the few widths of cell that are common
def _coverage(character: str, cell: int) -> Pixels:
    """Return the share of each pixel that a character covers, from 0 to 255, shape (2 * cell,
    cell).

    A sample is inside the character if an odd number of its edges cross the sample's row to the
    left of it.
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
    inside = (crossings.cumsum(axis=1)[:, :-1] & 1).reshape(
        2 * cell, _OVERSAMPLING, cell, _OVERSAMPLING
    )
    coverage: Pixels = (inside.mean((1, 3)) * 255).round().astype(np.uint8)
    return coverage


def _blank(height: int, width: int, ground: int | None) -> Pixels:
    """Return pixels in the colour of the ground; None for a picture with a palette."""
    if ground is None:
        return np.zeros((height, width), np.uint8)
    return np.full((height, width, 3), channels(ground), np.uint8)


def with_margin(
    bands: Iterable[Pixels], width: int, cell: int, ground: int | None
) -> Iterator[Pixels]:
    """Yield the pixels of a picture, given those of its rows of art. `ground` is None for a picture
    with a palette."""
    edge = _blank(cell, width, ground)
    side = _blank(2 * cell, cell, ground)
    yield edge
    for band in bands:
        yield np.concatenate([side, band, side], axis=1)
    yield edge


def palette(cells: Cells, *, is_coloured: bool) -> bytes | None:
    """Return the shades from the ground to the ink, in 3 bytes each; None for a picture in
    colour."""
    if is_coloured:
        return None
    ground, ink = np.array(channels(cells.ground)), np.array(channels(cells.ink))
    shades = ground + (ink - ground) * np.arange(SHADES)[:, np.newaxis] / (SHADES - 1)
    return bytes(shades.round().astype(np.uint8).tobytes())


def channels(colour: int) -> tuple[int, int, int]:
    """Return red, green and blue of 0xRRGGBB."""
    return colour >> 16, colour >> 8 & 255, colour & 255
