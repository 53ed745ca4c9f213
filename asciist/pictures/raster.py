"""Draw art as PNG.

The PNG is written a row of art at a time, which Pillow cannot do: it needs the whole picture in memory. Art without
colour has a palette of 16 shades from the ground to the ink, so it takes 4 bits for each pixel.
"""

import struct
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import lru_cache
from math import isqrt
from typing import Final

import numpy as np
from numpy.typing import NDArray

from asciist.pictures.cells import Cells, Run
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
_SHADES: Final = 16
_LEVEL: Final = 6
"""Compression level: 9 takes three times as long for a few percent."""

_Pixels = NDArray[np.uint8]
"""(height, width) numbers of shades, or (height, width, 3) colours."""


def png(cells: Cells) -> Iterator[bytes]:
    """Yield the PNG of art, with a margin of one column on the sides and of half a row above and below.

    A cell is twice as high as wide, and 16 pixels wide, or fewer for art so large that the picture would have more than
    8 megapixels. Raises UndrawableArtError for a character that the font lacks.
    """
    check_drawable(cells)
    area = 2 * (cells.columns + 2) * (len(cells.rows) + 1)
    cell = min(max(isqrt(_MAX_PIXELS // area), _MIN_CELL), _MAX_CELL)
    width, height = (cells.columns + 2) * cell, (len(cells.rows) + 1) * 2 * cell
    return _encoded(width, height, cells, _with_margin(_bands(cells, cell), cells, cell))


def card(cells: Cells) -> Iterator[bytes]:
    """Yield a PNG of CARD_WIDTH x CARD_HEIGHT pixels with the art in its middle, for the preview of a link.

    Pieces are empty while the art is drawn. Of art that is taller than 3:4, it has the middle rows. Raises UndrawableArtError
    for a character that the font lacks.
    """
    check_drawable(cells)
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
    canvas = _blank(cells, CARD_HEIGHT, CARD_WIDTH)
    top, left = (CARD_HEIGHT - height) // 2, (CARD_WIDTH - width) // 2
    canvas[top : top + height, left : left + width] = pixels
    yield from _encoded(CARD_WIDTH, CARD_HEIGHT, cells, [canvas])


def _middle(cells: Cells) -> Cells:
    most = max(1, cells.columns * _CARD_ROWS[0] // _CARD_ROWS[1])
    start = max(0, len(cells.rows) - most) // 2
    return replace(cells, rows=cells.rows[start : start + most])


def _reduced(pixels: _Pixels, factor: int) -> _Pixels:
    """Return a picture of which each pixel is the mean of (factor x factor) pixels."""
    height, width = (length // factor for length in pixels.shape[:2])
    parts = pixels[: height * factor, : width * factor].reshape(height, factor, width, factor, -1)
    reduced: _Pixels = parts.mean((1, 3)).round().astype(np.uint8).reshape(height, width, *pixels.shape[2:])
    return reduced


def _bands(cells: Cells, cell: int) -> Iterator[_Pixels]:
    """Yield the pixels of each row of art. `cell` is the width of a cell in pixels."""
    characters = sorted(cells.characters | {" "})
    code_points = np.array([ord(character) for character in characters])
    shapes = np.stack([_coverage(character, cell) for character in characters])
    for row in cells.rows:
        text = "".join(run.text for run in row).ljust(cells.columns)
        shown = shapes[np.searchsorted(code_points, np.frombuffer(text.encode("utf-32-le"), "<u4"))]
        coverage: _Pixels = shown.swapaxes(0, 1).reshape(2 * cell, -1)
        yield _coloured(coverage, row, cells, cell) if cells.is_coloured else coverage // (256 // _SHADES)


def _coloured(coverage: _Pixels, row: list[Run], cells: Cells, cell: int) -> _Pixels:
    """Return the pixels of a row, (height, width, 3), in its colours. `coverage` is (height, width), from 0 to 255."""
    colours = np.empty((2, cells.columns, 3), np.float32)
    colours[0], colours[1] = _channels(cells.ink), _channels(cells.ground)
    start = 0
    for text, *layers in row:
        for layer, colour in zip(colours, layers, strict=True):
            if colour is not None:
                layer[start : start + len(text)] = _channels(colour)
        start += len(text)
    foreground, background = colours.repeat(cell, axis=1)
    colour = coverage[..., np.newaxis] * ((foreground - background) / 255)
    colour += background + np.float32(0.5)
    pixels: _Pixels = colour.astype(np.uint8)
    return pixels


@lru_cache(maxsize=4096)  # at most some 800 characters, in the few widths of cell that are common
def _coverage(character: str, cell: int) -> _Pixels:
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
    coverage: _Pixels = (inside.mean((1, 3)) * 255).round().astype(np.uint8)
    return coverage


def _blank(cells: Cells, height: int, width: int) -> _Pixels:
    """Return pixels in the colour of the ground."""
    if not cells.is_coloured:
        return np.zeros((height, width), np.uint8)
    return np.full((height, width, 3), _channels(cells.ground), np.uint8)


def _with_margin(bands: Iterable[_Pixels], cells: Cells, cell: int) -> Iterator[_Pixels]:
    edge = _blank(cells, cell, (cells.columns + 2) * cell)
    side = _blank(cells, 2 * cell, cell)
    yield edge
    for band in bands:
        yield np.concatenate([side, band, side], axis=1)
    yield edge


def _encoded(width: int, height: int, cells: Cells, bands: Iterable[_Pixels]) -> Iterator[bytes]:
    """Yield a PNG (RFC 2083) in pieces."""
    depth, colour_type = (8, 2) if cells.is_coloured else (4, 3)  # bits of a channel, and truecolour or indexed
    yield b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", struct.pack(">2I5B", width, height, depth, colour_type, 0, 0, 0))
    if not cells.is_coloured:
        yield _chunk(b"PLTE", _palette(cells))
    compressor = zlib.compressobj(_LEVEL)
    for band in bands:
        data = compressor.compress(_scanlines(band))
        if data:
            yield _chunk(b"IDAT", data)
    yield _chunk(b"IDAT", compressor.flush()) + _chunk(b"IEND", b"")


def _scanlines(pixels: _Pixels) -> bytes:
    """Return rows of a PNG, each after the byte that says that it is not filtered: text repeats, and compresses best so."""
    if pixels.ndim == 2:
        even = np.pad(pixels, ((0, 0), (0, pixels.shape[1] % 2)))
        rows: _Pixels = even[:, ::2] * np.uint8(_SHADES) + even[:, 1::2]
    else:
        rows = pixels.reshape(len(pixels), -1)
    return np.pad(rows, ((0, 0), (1, 0))).tobytes()


def _palette(cells: Cells) -> bytes:
    ground, ink = np.array(_channels(cells.ground)), np.array(_channels(cells.ink))
    shades = ground + (ink - ground) * np.arange(_SHADES)[:, np.newaxis] / (_SHADES - 1)
    return bytes(shades.round().astype(np.uint8).tobytes())


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _channels(colour: int) -> tuple[int, int, int]:
    return colour >> 16, colour >> 8 & 255, colour & 255
