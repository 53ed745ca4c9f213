"""The second pass of the style `structure`: each cell's character is chosen again, beside those of
its neighbours.

The first pass matches every cell alone, so an edge that crosses cells may break up between them.
This pass compares slopes across the borders. Let x be the drawing and s the image, in eighths of
cells; B a blur of 1:2:1 in both directions, and D the differences between adjacent eighths. The
drawing is good if the slopes DBx and DBs correlate. To replace the glyph c of a cell by the glyph i
changes the correlation, to second order and up to a factor, by

    <K (r s - x), i - c> - kappa / 2 <i - c, K (i - c)>,    K = B'D'DB,    r = <x, Kx> / <x, Ks>.

With kappa = 1, this is the decrease of |DB (r s - x)|^2 / 2. A greater kappa allows for cells
nearby that change as well. Slopes do not see the tone of an even area, so L = K + tau J, where J is
all ones, takes the place of K in the second term: it charges the square of the change in tone. As
the expression is linear in i but for a constant of each glyph, one matrix product compares all
glyphs with all cells:

    argmax over i of <K (r s - x) + kappa L c, i> - kappa / 2 <i, L i>

Three charges are subtracted: one for any change, so that cells change only where it matters; one
for a blank in a midtone, which would hide what the image shows there; and one for a stroke beside
an equal one in a flat area that is not near black, because both would look like a line.

All cells are chosen at once, beside the glyphs of the first pass. Only every second cell, as on a
checkerboard, is charged for strokes: otherwise its neighbours would change to the same glyph.

All sums are of integers below 2^24 in single precision, and below 2^53 in double precision: exact
in any order.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

_Bytes = NDArray[np.uint8]
_Floats = NDArray[np.float32]

ROWS: Final = 4
COLUMNS: Final = 2
"""Eighths of a cell, vertically and horizontally."""

_PAIR: Final = np.dtype(np.complex64)
"""Two adjacent eighths as one item, so that they are copied together."""

_KAPPA: Final = 1.3  # with _TAU and the charges: see docs/decisions/0039-midtones-and-edges.md
_TAU: Final = 14

_FINENESS: Final = 4
"""Factor for eighths, 0 to 255, so that r s can be rounded to integers."""
_MAX_RATIO: Final = 4.0
"""Upper bound of r. It is about 1/3 for most images, because a white cell is drawn with glyphs that
cover a third of it."""
_UNIT: Final = 32
"""Gradients are rounded to multiples of this."""
_MAX_GRADIENT: Final = 4000
"""Upper bound of gradients, in units of _UNIT, so that their products with glyphs are exact; few
come near it."""

_CHANGE_CHARGE: Final = 9000
_BLANK_CHARGE: Final = 9500
_STROKE_CHARGE: Final = 13000
"""The charges, in the unit of the scores: an eighth, 0 to 255, times a gradient."""
_STROKES: Final = "!()/1I[\\]_jl{|}"
_FLAT: Final = 4
"""Maximum difference of a cell's mean, 0 to 255, from the mean around it where strokes are
charged."""
DARKEST_MIDTONE: Final = 38
"""Minimum mean of a cell, 0 to 255, where a blank is charged: 0.15, as in bench/scoring.py."""

_CELLS_AT_ONCE: Final = 3300
"""Cells refined at a time, so that the intermediate results (3 MB) stay in the processor's
cache."""


@dataclass(frozen=True, kw_only=True)
class RefiningTables:
    """Tables of a set of glyphs, with a row or a column for each glyph."""

    eighths: _Floats
    """(glyphs, 8): coverage of each eighth, times _FINENESS: integers up to 1020."""
    own: _Floats
    """(glyphs, 8): kappa L c, in units of _UNIT."""
    weights: _Floats
    """(10, glyphs): the eighths, 0 to 255, the charge for a blank in a midtone, and -kappa / 2 <i,
    L i>."""
    strokes: _Floats
    """(glyphs,): the charge for a glyph next to an equal one."""

    @classmethod
    def of(cls, characters: _Bytes, coverage: NDArray[np.float64]) -> Self:
        """Compute the tables for glyphs with the given ASCII codes and coverage, (glyphs, 8), of 0
        to 1020."""
        eighths = np.rint(coverage / 4)
        alone = np.zeros((len(eighths), 3 * ROWS, 5 * COLUMNS), np.float32)
        middle = slice(2 * COLUMNS, 3 * COLUMNS)
        alone[:, ROWS:-ROWS, middle] = eighths.reshape(-1, ROWS, COLUMNS)
        pull = np.array(
            [_response(glyph)[:, middle].ravel() for glyph in alone]
        ) + _TAU * eighths.sum(1, keepdims=True)
        own = np.rint(_KAPPA * _FINENESS / _UNIT * pull)
        bias = np.rint(-_KAPPA / 2 * _FINENESS / _UNIT * (pull * eighths).sum(1))
        blank = np.where(characters == ord(" "), -_BLANK_CHARGE, 0)
        strokes = np.isin(characters, np.frombuffer(_STROKES.encode("ascii"), np.uint8))
        return cls(
            eighths=(_FINENESS * eighths).astype(np.float32),
            own=own.astype(np.float32),
            weights=np.vstack([eighths.T, blank, bias]).astype(np.float32),
            strokes=np.where(strokes, _STROKE_CHARGE, 0).astype(np.float32),
        )


def refined(
    nearest: _Bytes, image: _Bytes, means: _Bytes, surroundings: _Bytes, tables: RefiningTables
) -> _Bytes:
    """Return the indices of glyphs, (rows, columns), after the second pass.

    `nearest` are the glyphs of the first pass, and `image` the eighths of the image, (4 * rows, 2 *
    columns). `means` and `surroundings` are the mean of each cell and the mean around it, (rows,
    columns).
    """
    ratio = _ratio(nearest, image, tables)
    chosen = np.empty_like(nearest)
    is_charged = (np.abs(means.astype(np.int16) - surroundings) <= _FLAT) & (
        means >= DARKEST_MIDTONE
    )
    is_charged[::2, ::2] = is_charged[1::2, 1::2] = False
    for band in _bands(*nearest.shape):
        gradients = _response(_wanted(image, band, ratio) - _drawn(nearest, band, tables))
        inner = band[1:-1]
        inputs = _inputs(gradients, nearest[inner], means[inner], tables)
        chosen[inner] = _chosen(inputs @ tables.weights, nearest[band], is_charged[inner], tables)
    return chosen


def _bands(rows: int, columns: int) -> Iterator[NDArray[np.intp]]:
    """Yield the row indices of each band, including one row above and one below. Edge rows are
    repeated outside the image."""
    at_once = max(1, _CELLS_AT_ONCE // columns)
    for top in range(0, rows, at_once):
        yield np.arange(top - 1, min(top + at_once, rows) + 1).clip(0, rows - 1)


def _ratio(nearest: _Bytes, image: _Bytes, tables: RefiningTables) -> float:
    """Return r: the energy of the drawing's slopes over their product with the image's; 0 if the
    drawing has none."""
    energy = product = 0
    for band in _bands(*nearest.shape):
        drawn = _drawn(nearest, band, tables)
        response = _response(drawn).astype(np.float64)
        energy += int(np.vdot(response, drawn[ROWS:-ROWS]))
        product += int(np.vdot(response, _wanted(image, band[1:-1], 1)))
    return min(max(energy, 0) / max(product, 1), _MAX_RATIO)


def _inputs(gradients: _Floats, nearest: _Bytes, means: _Bytes, tables: RefiningTables) -> _Floats:
    """(cells, 10): the factors of `tables.weights` for the cells of a band."""
    rows, columns = nearest.shape
    words = gradients.view(_PAIR).reshape(rows, ROWS, columns).swapaxes(1, 2)
    patches = np.ascontiguousarray(words).view(np.float32).reshape(rows * columns, -1)
    patches = np.rint(patches / _UNIT) + tables.own.take(nearest.ravel(), axis=0)
    inputs = np.ones((len(patches), len(tables.weights)), np.float32)
    np.clip(patches, -_MAX_GRADIENT, _MAX_GRADIENT, out=inputs[:, :-2])
    inputs[:, -2] = means.ravel() >= DARKEST_MIDTONE
    return inputs


def _chosen(
    scores: _Floats, around: _Bytes, is_charged: NDArray[np.bool_], tables: RefiningTables
) -> _Bytes:
    """Return (rows, columns): the best glyphs of a band, after the charges that depend on the
    glyphs of the first pass.

    `around` contains those glyphs, with the row above and the row below. Strokes are charged where
    `is_charged`.
    """
    rows, columns = is_charged.shape
    scores[np.arange(len(scores)), around[1:-1].ravel()] += _CHANGE_CHARGE
    padded = around.take(np.arange(-1, columns + 1), axis=1, mode="clip")
    row, column = np.nonzero(is_charged)
    for down, right in ((0, 1), (2, 1), (1, 0), (1, 2)):
        beside = padded[row + down, column + right]
        scores[row * columns + column, beside] -= tables.strokes.take(beside)
    chosen: _Bytes = scores.argmax(1).astype(np.uint8).reshape(rows, columns)
    return chosen


def _drawn(nearest: _Bytes, band: NDArray[np.intp], tables: RefiningTables) -> _Floats:
    """The eighths of the glyphs in a band, times _FINENESS."""
    glyphs = nearest[band]
    drawn = np.empty((len(band), ROWS, glyphs.shape[1]), _PAIR)
    for row, pairs in enumerate(tables.eighths.view(_PAIR).T):
        drawn[:, row] = pairs.take(glyphs)
    eighths: _Floats = drawn.view(np.float32).reshape(len(band) * ROWS, -1)
    return eighths


def _wanted(image: _Bytes, band: NDArray[np.intp], ratio: float) -> _Floats:
    """The eighths of the image in a band, times `ratio` and _FINENESS, rounded."""
    eighths = image.reshape(-1, ROWS, image.shape[1])[band].reshape(-1, image.shape[1])
    wanted: _Floats = np.rint(eighths * np.float32(_FINENESS * ratio))
    return wanted


def _response(field: _Floats) -> _Floats:
    """K of `field`, without its first and last row of cells; its first and last columns repeat
    outside it."""
    field = np.pad(field[1:-1], ((0, 0), (3, 3)), mode="edge")
    for _ in range(2 * 2):  # 1:2:1 is 1:1 twice, and B is applied twice
        field = field[:-1] + field[1:]
        field = field[:, :-1] + field[:, 1:]
    down, across = np.diff(field[:, 1:-1], axis=0), np.diff(field[1:-1], axis=1)
    response: _Floats = down[:-1] - down[1:] + across[:, :-1] - across[:, 1:]
    return response
