"""Similarity of a drawing in glyphs to the original, by which the style `structure` chooses a
preset.

The similarity is a cheaper variant of the score in bench/scoring.py, computed on eighths of cells.
It is the product of

- structural similarity (Wang et al., "Image quality assessment", IEEE Transactions on Image
  Processing 13, 2004), with cells as windows,
- the share of the variance of tone that the drawing explains,
- the square root of the correlation of slopes.

The structural similarity is computed after fitting the brightness and contrast of the drawing to
the original, because a viewer's eye adapts to them.

All sums are of integers, or of eighths of integers, below 2^50 and therefore exact in any order.
Structural similarities are rounded to integers before they are summed.
"""

from dataclasses import dataclass
from math import sqrt
from typing import Final

import numpy as np
from numpy.typing import NDArray

_Floats = NDArray[np.float64]

_WHITE: Final = 1020
"""Value of an eighth of a cell that is white, or fully covered: four samples of 255."""

_C1: Final = (0.01 * _WHITE) ** 2
_C2: Final = (0.03 * _WHITE) ** 2
"""The constants of structural similarity, for values from 0 to _WHITE."""

_UNIT: Final = 1 << 20
"""Similarities are rounded to multiples of 1/_UNIT."""

_MEAN: Final = np.full(8, 1 / 8)
"""Weights that give the mean of a cell's eighths, exactly, because the eighths are integers."""

_SLOPES: Final = np.array(
    [
        [-1, 1, 0, 0, 0, 0, 0, 0],
        [0, 0, -1, 1, 0, 0, 0, 0],
        [0, 0, 0, 0, -1, 1, 0, 0],
        [0, 0, 0, 0, 0, 0, -1, 1],
    ]
    + [
        [-1 if eighth == upper else int(eighth == upper + 2) for eighth in range(8)]
        for upper in range(6)
    ],
    np.float64,
).T
"""(8, 10): matrix that gives the differences within a cell, between each eighth and those on its
right and below it."""

_SLOPE_PRODUCTS: Final = _SLOPES @ _SLOPES.T
"""(8, 8): matrix L; x @ L @ y is the sum of the products of the slopes of two cells x and y."""


@dataclass(frozen=True, kw_only=True)
class GlyphStatistics:
    """Sums over the eighths of each glyph, from which the similarity of a drawing is computed."""

    coverage: _Floats
    """(glyphs, 8): coverage of each eighth, 0 to _WHITE."""
    means: _Floats
    """(glyphs,): mean of the coverage."""
    variances: _Floats
    """(glyphs,): variance of the coverage."""
    steepness: _Floats
    """(glyphs,): sum of the squares of the slopes within the glyph."""
    steepness_between: _Floats
    """(glyphs * glyphs,): sum of the squares of the slopes between two glyphs, at index `left *
    glyphs + right`."""

    @classmethod
    def of(cls, coverage: _Floats) -> "GlyphStatistics":
        """Compute the statistics of glyphs with the given coverage, (glyphs, 8)."""
        means = coverage.sum(1) / 8
        between = coverage[:, 0::2] - coverage[:, np.newaxis, 1::2]
        return cls(
            coverage=coverage,
            means=means,
            variances=(coverage**2).sum(1) / 8 - means * means,
            steepness=((coverage @ _SLOPES) ** 2).sum(1),
            steepness_between=(between**2).sum(2).ravel(),
        )


def similarity(
    drawings: NDArray[np.intp], original: _Floats, glyphs: GlyphStatistics
) -> list[float]:
    """Score each of several drawings against the original; higher is more similar.

    `drawings` is (drawings, rows, columns) glyph indices, `original` is (rows, columns, 8) eighths
    of cells.
    """
    coverage = glyphs.coverage.take(drawings, axis=0)
    means, true_means = glyphs.means.take(drawings), original @ _MEAN
    gains, offsets, explained = _fits(means, true_means)
    structural = _structural_similarities(
        np.array(gains)[:, np.newaxis, np.newaxis],
        np.array(offsets)[:, np.newaxis, np.newaxis],
        means,
        true_means,
        variances=glyphs.variances.take(drawings),
        true_variances=(original * original) @ _MEAN - true_means * true_means,
        covariances=(coverage * original) @ _MEAN - means * true_means,
    )
    correlations = _correlations(drawings, coverage, original, glyphs)
    return [
        max(0.0, mean) * share * sqrt(correlation)
        for mean, share, correlation in zip(structural, explained, correlations, strict=True)
    ]


def _fits(means: _Floats, true_means: _Floats) -> tuple[list[float], list[float], list[float]]:
    """(gains, offsets, shares): gain * mean + offset fits each drawing to the original, and
    explains a share of its variance.

    The gains and shares are those of means smoothed in each row (1:2:1), with the means at the edge
    repeated outside it.
    """
    tones = 8 * np.concatenate([means, true_means[np.newaxis]])
    padded = tones.take(np.arange(-1, tones.shape[2] + 1), axis=2, mode="clip")
    smooth = (padded[..., :-2] + 2 * padded[..., 1:-1] + padded[..., 2:]).reshape(len(tones), -1)
    cells = smooth.shape[1]
    # of the tones: smoothing multiplies their sum by 4
    *sums, true_sum = (smooth.sum(1) / 4).tolist()
    # Covariances times the square of 4 * cells: integers, and below 2^50 for the 1020 cells of the
    # largest preview.
    *products, true_products = (cells * (smooth @ smooth.T)).tolist()
    true_variance = int(true_products[-1] - 16 * true_sum * true_sum) or 1
    gains, offsets, explained = [], [], []
    for drawing, (own_sum, own_products) in enumerate(zip(sums, products, strict=True)):
        covariance = max(0, int(own_products[-1] - 16 * own_sum * true_sum))
        variance = int(own_products[drawing] - 16 * own_sum * own_sum) or 1
        gain = covariance / variance
        gains.append(gain)
        offsets.append((true_sum - gain * own_sum) / (8 * cells))
        explained.append(covariance**2 / (variance * true_variance))
    return gains, offsets, explained


def _structural_similarities(
    gain: _Floats,
    offset: _Floats,
    means: _Floats,
    true_means: _Floats,
    *,
    variances: _Floats,
    true_variances: _Floats,
    covariances: _Floats,
) -> list[float]:
    """Mean structural similarity of the cells of each drawing, fitted by `gain` and `offset`.

    The arrays hold moments of the eighths of each cell: (drawings, rows, columns), or (rows,
    columns) of the original.
    """
    fitted = gain * means + offset
    similarities = ((fitted * (2 * true_means) + _C1) * (2 * gain * covariances + _C2)) / (
        (fitted * fitted + true_means * true_means + _C1)
        * (gain * gain * variances + true_variances + _C2)
    )
    mean: list[float] = (
        np.rint(similarities * _UNIT).sum((1, 2)) / (_UNIT * true_means.size)
    ).tolist()
    return mean


def _correlations(
    drawings: NDArray[np.intp], coverage: _Floats, original: _Floats, glyphs: GlyphStatistics
) -> list[float]:
    """Correlation of the slopes of each drawing with those of the original, within and between
    cells; 0 if negative."""
    # The products of the slopes of the original and of a drawing have a sum that is linear in the
    # eighths of the drawing.
    factors = original @ _SLOPE_PRODUCTS
    between = original[:, 1:, 0::2] - original[:, :-1, 1::2]
    factors[:, 1:, 0::2] += between
    factors[:, :-1, 1::2] -= between
    aligned = coverage.reshape(len(drawings), -1) @ factors.ravel()
    true_steepness = int(np.vdot(original, factors))
    pairs = drawings[..., :-1] * len(glyphs.means) + drawings[..., 1:]
    steepness = glyphs.steepness.take(drawings).sum((1, 2)) + glyphs.steepness_between.take(
        pairs
    ).sum((1, 2))
    return [
        one / sqrt(int(mine) * true_steepness) if one > 0 else 0.0
        for one, mine in zip(aligned.tolist(), steepness.tolist(), strict=True)
    ]
