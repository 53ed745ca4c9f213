"""Similarity of a drawing in glyphs to the original, by which the style `structure` chooses a preset.

The similarity is a cheaper variant of the score in bench/scoring.py, computed on eighths of cells. It is the product of

- structural similarity (Wang et al., "Image quality assessment", IEEE Transactions on Image Processing 13, 2004), with cells as
  windows,
- the share of the variance of tone that the drawing explains,
- the square root of the correlation of slopes.

The structural similarity is computed after fitting the brightness and contrast of the drawing to the original, because a
viewer's eye adapts to them.

All sums are of integers below 2^53 and therefore exact in any order. Structural similarities are rounded to integers before
they are summed.
"""

from math import sqrt
from typing import Final

import numpy as np
from numpy.typing import NDArray

from asciist.conversion.glyphs import GlyphBank

_Floats = NDArray[np.float64]

_WHITE: Final = 1020
"""Value of an eighth of a cell that is white, or fully covered: four samples of 255."""

_C1: Final = (0.01 * _WHITE) ** 2
_C2: Final = (0.03 * _WHITE) ** 2
"""The constants of structural similarity, for values from 0 to _WHITE."""

_UNIT: Final = 1 << 20
"""Similarities are rounded to multiples of 1/_UNIT."""

_SLOPES: Final = np.array(
    [[-1, 1, 0, 0, 0, 0, 0, 0], [0, 0, -1, 1, 0, 0, 0, 0], [0, 0, 0, 0, -1, 1, 0, 0], [0, 0, 0, 0, 0, 0, -1, 1]]
    + [[-1 if eighth == upper else int(eighth == upper + 2) for eighth in range(8)] for upper in range(6)],
    np.float64,
).T
"""(8, 10): matrix that gives the differences within a cell, between each eighth and those on its right and below it."""


def similarity(drawings: NDArray[np.intp], original: _Floats, bank: GlyphBank) -> list[float]:
    """Score each of several drawings against the original; higher is more similar.

    `drawings` is (drawings, rows, columns) glyph indices, `original` is (rows, columns, 8) eighths of cells.
    """
    coverage = bank.coverage
    tones, true_tones = coverage.sum(1)[drawings], original.sum(2)
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
    scatter = (coverage**2).sum(1)[drawings] / 8 - means * means
    true_scatter = (original**2).sum(2) / 8 - true_means * true_means
    joint = _select_drawn(original @ coverage.T, drawings) / 8 - means * true_means
    brightness = (true_tones.sum() - gain * tones.sum((1, 2), keepdims=True)) / (8 * true_tones.size)
    fitted = gain * means + brightness
    similarities = ((2 * fitted * true_means + _C1) * (2 * gain * joint + _C2)) / (
        (fitted * fitted + true_means * true_means + _C1) * (gain * gain * scatter + true_scatter + _C2)
    )
    mean_similarities = np.rint(similarities * _UNIT).sum((1, 2)) / (_UNIT * true_tones.size)

    correlations = _correlations(drawings, original, coverage)
    return [
        max(0.0, mean) * share * sqrt(correlation)
        for mean, share, correlation in zip(mean_similarities.tolist(), explained, correlations, strict=True)
    ]


def _covariance(one: _Floats, other: _Floats) -> int:
    """Covariance of all elements, times the square of their number."""
    return one.size * int(np.vdot(one, other)) - int(one.sum()) * int(other.sum())


def _smooth(tones: _Floats) -> _Floats:
    """Each tone averaged with its neighbours in the row (1:2:1), times four."""
    left = np.concatenate([tones[..., :1], tones[..., :-1]], axis=-1)
    right = np.concatenate([tones[..., 1:], tones[..., -1:]], axis=-1)
    return np.asarray(left + 2 * tones + right)


def _select_drawn(by_glyph: _Floats, drawings: NDArray[np.intp]) -> _Floats:
    """Pick the values of the drawn glyphs: (rows, columns, glyphs) to (drawings, rows, columns)."""
    drawn: _Floats = np.take_along_axis(by_glyph, drawings.transpose(1, 2, 0), axis=2).transpose(2, 0, 1)
    return drawn


def _correlations(drawings: NDArray[np.intp], original: _Floats, coverage: _Floats) -> list[float]:
    """Correlation of the slopes of each drawing with those of the original, within and between cells; 0 if negative."""
    glyph_slopes, slopes = coverage @ _SLOPES, original @ _SLOPES
    aligned = _select_drawn(slopes @ glyph_slopes.T, drawings).sum((1, 2))
    steepness = (glyph_slopes**2).sum(1)[drawings].sum((1, 2))
    between = coverage[:, 0::2][drawings[..., 1:]] - coverage[:, 1::2][drawings[..., :-1]]
    true_between = original[:, 1:, 0::2] - original[:, :-1, 1::2]
    aligned += between.reshape(len(drawings), -1) @ true_between.ravel()
    steepness += np.einsum("drce,drce->d", between, between)
    true_steepness = int((slopes**2).sum()) + int((true_between**2).sum())
    return [
        one / sqrt(int(mine) * true_steepness) if one > 0 else 0.0
        for one, mine in zip(aligned.tolist(), steepness.tolist(), strict=True)
    ]
