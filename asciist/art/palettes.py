"""The palettes of terminals without 24-bit colours."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from asciist.art.halftone import thresholds

_STEPS: Final = np.array([0, 95, 135, 175, 215, 255])
"""Levels of each channel in the cube of 6x6x6 colours that begins at index 16 of the 256 colours of
xterm."""
_CUBE: Final = 16
_GREYS: Final = 232
"""First indices of the cube, and of 24 greys with the levels 8, 18, … 238."""

_NEAREST_STEP: Final = np.abs(np.arange(256)[:, np.newaxis] - _STEPS).argmin(1)

_ANSI: Final = np.array([
    (0, 0, 0), (205, 0, 0), (0, 205, 0), (205, 205, 0),
    (0, 0, 238), (205, 0, 205), (0, 205, 205), (229, 229, 229),
    (127, 127, 127), (255, 0, 0), (0, 255, 0), (255, 255, 0),
    (92, 92, 255), (255, 0, 255), (0, 255, 255), (255, 255, 255),
])  # fmt: skip
"""(16, 3): the colours of ISO 6429 and their bright variants, with xterm's default values. Other
terminals vary them."""


def dithered(colours: NDArray[np.uint8], spread: int) -> NDArray[np.uint8]:
    """Return RGB `colours`, (height, width, 3), made lighter and darker by up to half of `spread`
    (0 to 250), so that similar colours of a palette alternate."""
    height, width, _ = colours.shape
    offsets = np.asarray(thresholds(width, height, spread=spread)).astype(np.int16) - 128
    shifted: NDArray[np.int16] = colours + offsets[..., np.newaxis]
    return np.clip(shifted, 0, 255).astype(np.uint8)


def nearest_of_256(colours: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the index of the most similar of xterm's 256 colours, from 16 on, for colours of shape
    (..., 3)."""
    steps = _NEAREST_STEP[colours]
    greys = np.clip((colours.sum(-1, dtype=np.int64) // 3 - 3) // 10, 0, 23)
    in_cube = _CUBE + steps @ np.array([36, 6, 1])
    is_grey = _distances(colours, (8 + 10 * greys)[..., np.newaxis]) < _distances(
        colours, _STEPS[steps]
    )
    nearest: NDArray[np.uint8] = np.where(is_grey, _GREYS + greys, in_cube).astype(np.uint8)
    return nearest


def nearest_of_16(colours: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the index of the most similar of the 16 colours, for colours of shape (..., 3)."""
    nearest: NDArray[np.uint8] = (
        _distances(colours[..., np.newaxis, :], _ANSI).argmin(-1).astype(np.uint8)
    )
    return nearest


def _distances(colours: NDArray[np.uint8], others: NDArray[np.int64]) -> NDArray[np.int64]:
    distances: NDArray[np.int64] = ((colours.astype(np.int64) - others) ** 2).sum(-1)
    return distances
