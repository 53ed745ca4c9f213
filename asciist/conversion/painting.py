"""Draw the cells of art in two colours each: a character, its foreground and its background, chosen
together.

A cell is drawn as background + coverage * (foreground - background), with the coverage of the
character. For each character, least squares give the two colours; the character with the smallest
error is chosen:

    samples of the cell  ->  axis of its colours  ->  nearest shape  ->  two colours

The characters are compared on one axis through the colours of the cell, along which they vary most.
That takes a third of the time of comparing three channels, with an equally good result.

All sums are of integers below 2^24, which single precision holds exactly, so they do not depend on
the library that computes them. The remaining operations are single operations on single numbers,
which IEEE 754 rounds the same way everywhere.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from asciist.conversion.decoding import DecodedImage
from asciist.conversion.glyphs import glyph_bank
from asciist.conversion.memory import PAINTED_AT_ONCE
from asciist.options import ConversionOptions

_Floats = NDArray[np.float32]

_MULTIPLIED_AT_ONCE: Final = 1_000_000
"""Pairs of numbers multiplied by one matrix product. OpenBLAS multiplies so few without starting
threads, which would take longer than the product."""

_AXIS_STEPS: Final = 32
"""The direction of the axis is rounded to multiples of 1/_AXIS_STEPS in each channel."""
_LEVELS: Final = 127
"""Samples on the axis are rounded to integers from -_LEVELS to _LEVELS."""

_INVISIBLE: Final = 2
"""Maximum difference of two colours, in each channel, that are drawn as one: the cell becomes a
blank."""

_EIGHTHS_DOWN: Final = "\u2581\u2582\u2583\u2585\u2586\u2587"
"""Lower blocks of 1, 2, 3, 5, 6 and 7 eighths; quadrant patterns include the half block."""
_EIGHTHS_ACROSS: Final = "\u258f\u258e\u258d\u258b\u258a\u2589"
"""Left blocks of 1, 2, 3, 5, 6 and 7 eighths."""
_QUADRANTS: Final = "\u2598\u259d\u2580\u2596\u258c\u259e\u259b"
"""Patterns of 2x2 quadrants: bits 1 and 2 are the upper ones. Exchanging the colours gives the
other patterns."""
_FIRST_SEXTANT: Final = 0x1FB00
_LEFT_HALF: Final = 0b010101
"""The only pattern of 2x3 sextants below 32 without a sextant in Unicode: it is a quadrant
pattern."""

_LIT_DOT: Final = 3
"""Coverage of the part of a cell around a braille dot, in eighths."""


@dataclass(frozen=True, kw_only=True)
class _Shapes:
    """The characters of a style, and their shapes. The first is used for a cell of one colour."""

    code_points: NDArray[np.uint32]
    """(shapes,)"""
    unit: int
    """Value in `coverage` of a fully covered sample."""
    coverage: _Floats
    """(shapes, samples): integers from 0 to `unit`."""
    covered: NDArray[np.float64]
    """(shapes,): sums of `coverage`."""
    weights: _Floats
    """(samples, shapes): samples * coverage - covered, integers."""
    variances: NDArray[np.float64]
    """(shapes,): variance of the coverage within a cell, times the square of samples * unit;
    infinite without any."""
    precisions: _Floats
    """(shapes,): 1 / variances."""


def paint(image: DecodedImage, options: ConversionOptions) -> tuple[str, Image.Image]:
    """Return (art, colours): lines of `options.width` characters, and an RGB image with two pixels
    for each character.

    The upper pixel is the foreground, the lower one the background.
    """
    columns, rows = image.header.grid(options)
    across, down = options.colour_grid
    shapes = _shapes(options)
    pixels = np.asarray(image.sample_colour(columns * across, rows * down))
    art = np.full((rows, columns + 1), ord("\n"), np.uint32)
    colours = np.empty((rows, 2, columns, 3), np.uint8)
    step = max(1, PAINTED_AT_ONCE // columns)
    for top in range(0, rows, step):
        samples = pixels[top * down : (top + step) * down].reshape(-1, down, columns, across, 3)
        cells = samples.transpose(0, 2, 4, 1, 3).reshape(-1, 3, down * across).astype(np.float32)
        chosen = _nearest(cells, shapes)
        foreground, background = _colours(cells, chosen, shapes)
        chosen[(np.abs(foreground - background) <= _INVISIBLE).all(1)] = 0
        art[top : top + step, :-1] = shapes.code_points.take(chosen).reshape(-1, columns)
        colours[top : top + step, 0] = foreground.reshape(-1, columns, 3)
        colours[top : top + step, 1] = background.reshape(-1, columns, 3)
    text = art.astype("<u4").tobytes().decode("utf-32-le")[:-1]
    return text, Image.fromarray(colours.reshape(2 * rows, columns, 3))


def _nearest(cells: _Floats, shapes: _Shapes) -> NDArray[np.intp]:
    """(cells,): index of the shape nearest to each cell. `cells` is (cells, 3, samples): integers
    from 0 to 255."""
    samples = cells.shape[2]
    totals = cells.sum(2).astype(np.float64)
    squares = np.einsum("ijk,ijk->ij", cells, cells).astype(np.float64)
    strongest = (samples * squares - totals * totals).argmax(1)[:, np.newaxis]
    channel = np.take_along_axis(cells, strongest[..., np.newaxis], 1)[:, 0]
    products = np.einsum("ijk,ik->ij", cells, channel).astype(np.float64)
    axis = samples * products - totals * np.take_along_axis(totals, strongest, 1)
    axis = np.rint(axis * _AXIS_STEPS / np.maximum(np.abs(axis).max(1, keepdims=True), 1))
    levels = np.einsum("ij,ijk->ik", axis.astype(np.float32), cells)
    levels -= np.floor(levels.sum(1, keepdims=True) / samples)
    levels *= _LEVELS / np.maximum(np.abs(levels).max(1, keepdims=True), 1)
    np.rint(levels, out=levels)
    covariances = np.empty((len(cells), shapes.weights.shape[1]), np.float32)
    at_once = _MULTIPLIED_AT_ONCE // shapes.weights.size
    for start in range(0, len(cells), at_once):
        part = slice(start, start + at_once)
        np.matmul(levels[part], shapes.weights, out=covariances[part])
    nearest: NDArray[np.intp] = (covariances * covariances * shapes.precisions).argmax(1)
    return nearest


def _colours(
    cells: _Floats, chosen: NDArray[np.intp], shapes: _Shapes
) -> tuple[NDArray[np.int16], NDArray[np.int16]]:
    """(foreground, background) of each cell, (cells, 3) integers from 0 to 255, by least squares
    for its chosen shape."""
    samples = cells.shape[2]
    totals = cells.sum(2).astype(np.float64)
    products = np.einsum("ijk,ik->ij", cells, shapes.coverage.take(chosen, axis=0)).astype(
        np.float64
    )
    covered = shapes.covered.take(chosen)[:, np.newaxis]
    slopes = (samples * products - covered * totals) / shapes.variances.take(chosen)[:, np.newaxis]
    background = (totals - slopes * covered) / samples
    foreground = background + shapes.unit * slopes
    return _rounded(foreground), _rounded(background)


def _rounded(colours: NDArray[np.float64]) -> NDArray[np.int16]:
    rounded: NDArray[np.int16] = np.clip(np.rint(colours), 0, 255).astype(np.int16)
    return rounded


@lru_cache(maxsize=16)
def _shapes_of(characters: str, coverage: bytes, *, unit: int, ink: int) -> _Shapes:
    """Compute the tables of shapes. `coverage` has a byte for each sample of each character.

    A half-covered sample may consist of fully covered and uncovered parts (`ink` is 8), or be half
    covered throughout (0). Only the variance of the coverage depends on it, and with it the
    contrast of the colours.
    """
    covers = np.frombuffer(coverage, np.uint8).reshape(len(characters), -1).astype(np.int64)
    samples = covers.shape[1]
    covered = covers.sum(1)
    squares = (8 * covers * covers + ink * covers * (unit - covers)).sum(1)
    variances = (samples * squares - 8 * covered * covered) / 8
    variances[variances == 0] = np.inf
    return _Shapes(
        code_points=np.array([ord(character) for character in characters], np.uint32),
        unit=unit,
        coverage=covers.astype(np.float32),
        covered=covered.astype(np.float64),
        weights=np.ascontiguousarray((samples * covers - covered[:, np.newaxis]).T, np.float32),
        variances=variances,
        precisions=(1 / variances).astype(np.float32),
    )


def _shapes(options: ConversionOptions) -> _Shapes:
    match options.style:
        case "structure":
            return _letters(options.characters)
        case "braille":
            return _braille()
        case _:
            return _blocks(options.shapes == "sextants")


@lru_cache(maxsize=16)
def _letters(characters: str) -> _Shapes:
    bank = glyph_bank()
    characters = "".join(sorted(set(characters)))
    chosen = [bank.characters.tolist().index(ord(character)) for character in characters]
    # Six bits of the coverage keep the sums exact.
    return _shapes_of(characters, (bank.samples[chosen] >> 2).tobytes(), unit=63, ink=3)


@lru_cache(maxsize=1)
def _braille() -> _Shapes:
    bits = np.array([0x01, 0x08, 0x02, 0x10, 0x04, 0x20, 0x40, 0x80])
    lit = (np.arange(256)[:, np.newaxis] & bits) > 0
    return _shapes_of(
        "".join(chr(0x2800 + pattern) for pattern in range(256)),
        (_LIT_DOT * lit).astype(np.uint8).tobytes(),
        unit=8,
        ink=5,
    )


@lru_cache(maxsize=2)
def _blocks(with_sextants: bool) -> _Shapes:
    across, down = ConversionOptions(width=1, style="blocks", color="ansi").colour_grid
    rows, columns = np.mgrid[0:down, 0:across]
    shapes = {" ": np.zeros((down, across), np.int64)}
    for pattern, character in enumerate(_QUADRANTS, 1):
        shapes[character] = 2 * (pattern >> (2 * (2 * rows // down) + 2 * columns // across) & 1)
    for character, eighths in zip(_EIGHTHS_DOWN, (1, 2, 3, 5, 6, 7), strict=True):
        shapes[character] = np.clip(2 * (rows + 1) - 2 * down * (8 - eighths) // 8, 0, 2)
    for character, eighths in zip(_EIGHTHS_ACROSS, (1, 2, 3, 5, 6, 7), strict=True):
        shapes[character] = 2 * (8 * columns < across * eighths)
    if with_sextants:
        for pattern in sorted(set(range(1, 32)) - {_LEFT_HALF}):
            character = chr(_FIRST_SEXTANT + pattern - 1 - (pattern > _LEFT_HALF))
            shapes[character] = 2 * (
                pattern >> (2 * (3 * rows // down) + 2 * columns // across) & 1
            )
    return _shapes_of(
        "".join(shapes), np.stack(list(shapes.values())).astype(np.uint8).tobytes(), unit=2, ink=0
    )
