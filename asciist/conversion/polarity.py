"""Choose between light characters on a dark background and dark characters on a light one:
`invert=auto`.

Characters cover at most a third of their cell, so art shows details best where the background of
the image is left blank. In an image on paper most pixels are light and the details dark. The
histogram of its brightness then has a long tail towards black: a negative skewness.
docs/decisions/0037-polarity.md compares this with other rules.
"""

from collections.abc import Sequence
from typing import Final

from PIL import Image

_FIFTHS: Final = 5
"""Denominator of the threshold: dark characters are chosen if the skewness is below -1 / _FIFTHS.
Between this and 0, both choices score about the same."""


def is_better_dark_on_light(luma: Image.Image) -> bool:
    """Return True if an image in mode L looks better in dark characters on a light background."""
    return has_dark_details(luma.histogram())


def has_dark_details(histogram: Sequence[int]) -> bool:
    """Return True if luma with this histogram belongs to an image or animation on a light ground.

    The skewness is that of the population, m3 / m2^1.5 with the central moments m2 and m3. All sums
    are integers, so the result is the same on every machine.
    """
    count = sum(histogram)
    total = sum(level * pixels for level, pixels in enumerate(histogram))
    # Deviations from the mean times `count`, so that they are integers.
    deviations = [count * level - total for level in range(256)]
    second = sum(
        pixels * deviation**2 for deviation, pixels in zip(deviations, histogram, strict=True)
    )
    third = sum(
        pixels * deviation**3 for deviation, pixels in zip(deviations, histogram, strict=True)
    )
    # third / count < -(second / count)^1.5 / _FIFTHS, squared
    return third < 0 and _FIFTHS**2 * third**2 * count > second**3
