"""Tell graphics, such as logos, plots and screenshots, from photographs."""

from collections.abc import Sequence
from typing import Final

from PIL import Image

_FLAT_LEVELS: Final = 8
_FLAT_PER_CENT: Final = 60
"""Minimum share of the samples at the _FLAT_LEVELS most frequent levels in a graphic."""


def histogram_of(frames: Sequence[Image.Image]) -> list[int]:
    """Return the number of samples at each of 256 levels, in images of mode L."""
    return [sum(counts) for counts in zip(*(frame.histogram() for frame in frames), strict=True)]


def is_graphic(histogram: Sequence[int]) -> bool:
    """Return True if samples with this histogram belong to a graphic, which has few levels."""
    flat = sum(sorted(histogram)[-_FLAT_LEVELS:])
    return 100 * flat >= _FLAT_PER_CENT * sum(histogram)
