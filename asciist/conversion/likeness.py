"""How like the original a drawing in glyphs is: what the style `structure` chooses its preset by.

A cheap kin of the score in bench/scoring.py, on eighths of cells: structural similarity (Wang et al., "Image quality
assessment", IEEE Transactions on Image Processing 13, 2004) with cells as its windows, times the square root of the correlation
of slopes, times the share of tone that is explained, all after tone and contrast are fitted as a viewer's eye does.

Sums are of integers below 2^53, and so exact in any order; the similarity is made one before it is summed.
"""

from math import sqrt
from typing import Final

import numpy as np
from numpy.typing import NDArray

from asciist.conversion.glyphs import GlyphBank

_Floats = NDArray[np.float64]

_WHITE: Final = 1020
"""An eighth of a cell that is white, or fully covered: four samples of 255."""

_C1: Final = (0.01 * _WHITE) ** 2
_C2: Final = (0.03 * _WHITE) ** 2
"""The constants of structural similarity, for values up to white."""

_UNIT: Final = 1 << 20
"""Similarities are rounded to this part of one."""

_SLOPES: Final = np.array(
    [[-1, 1, 0, 0, 0, 0, 0, 0], [0, 0, -1, 1, 0, 0, 0, 0], [0, 0, 0, 0, -1, 1, 0, 0], [0, 0, 0, 0, 0, 0, -1, 1]]
    + [[-1 if eighth == upper else int(eighth == upper + 2) for eighth in range(8)] for upper in range(6)],
    np.float64,
).T
"""(8, 10): the differences within a cell, of each eighth with the one to its right and with the one below."""


class Glyphs:
    """What is compared of each glyph of a bank, computed once."""

    def __init__(self, bank: GlyphBank) -> None:
        self.eighths = bank.coverage
        self.tone = self.eighths.sum(1)
        self.energy = (self.eighths**2).sum(1)
        self.slopes = self.eighths @ _SLOPES
        self.steepness = (self.slopes**2).sum(1)


def likeness(drawings: NDArray[np.intp], original: _Floats, glyphs: Glyphs) -> list[float]:
    """One number for each of (drawings, rows, columns) glyphs against (rows, columns, 8) eighths; more is more alike."""
    drawn = glyphs.eighths[drawings]
    tones, true_tones = glyphs.tone[drawings], original.sum(2)
    true_smooth = _smooth(true_tones)
    true_variance = _covariance(true_smooth, true_smooth)
    gains, explained = [], []
    for smooth in _smooth(tones):
        covariance = max(0, _covariance(smooth, true_smooth))
        variance = _covariance(smooth, smooth) or 1
        gains.append(covariance / variance)
        explained.append(covariance**2 / (variance * (true_variance or 1)))

    gain = np.array(gains)[:, np.newaxis, np.newaxis]
    means, true_means = tones / 8, true_tones / 8
    scatter = glyphs.energy[drawings] / 8 - means * means
    true_scatter = np.einsum("rce,rce->rc", original, original) / 8 - true_means * true_means
    joint = np.einsum("drce,rce->drc", drawn, original) / 8 - means * true_means
    brightness = (true_tones.sum() - gain * tones.sum((1, 2), keepdims=True)) / (8 * true_tones.size)
    fitted = gain * means + brightness
    similarities = ((2 * fitted * true_means + _C1) * (2 * gain * joint + _C2)) / (
        (fitted * fitted + true_means * true_means + _C1) * (gain * gain * scatter + true_scatter + _C2)
    )
    similar = np.rint(similarities * _UNIT).sum((1, 2)) / (_UNIT * true_tones.size)

    slopes = original @ _SLOPES
    aligned = glyphs.slopes[drawings].reshape(len(drawings), -1) @ slopes.ravel()
    between, true_between = _between_cells(drawn), _between_cells(original[np.newaxis])
    aligned += np.einsum("drce,rce->d", between, true_between[0])
    steepness = glyphs.steepness[drawings].sum((1, 2)) + np.einsum("drce,drce->d", between, between)
    true_steepness = int((slopes**2).sum()) + int((true_between**2).sum()) or 1
    return [
        max(0.0, similarity) * sqrt(max(0.0, alignment / sqrt(mine * true_steepness or 1))) * share
        for similarity, alignment, mine, share in zip(
            similar.tolist(), aligned.tolist(), steepness.tolist(), explained, strict=True
        )
    ]


def _covariance(one: _Floats, other: _Floats) -> int:
    """Of all elements, times the square of their number."""
    return one.size * int(np.vdot(one, other)) - int(one.sum()) * int(other.sum())


def _smooth(tones: _Floats) -> _Floats:
    """Each tone with its neighbours in the row, 1:2:1, times four."""
    left = np.concatenate([tones[..., :1], tones[..., :-1]], axis=-1)
    right = np.concatenate([tones[..., 1:], tones[..., -1:]], axis=-1)
    return np.asarray(left + 2 * tones + right)


def _between_cells(eighths: _Floats) -> _Floats:
    """(…, columns - 1, 4): the differences of a cell's right half with the left half of the next."""
    return np.asarray(eighths[..., 1:, 0::2] - eighths[..., :-1, 1::2])
