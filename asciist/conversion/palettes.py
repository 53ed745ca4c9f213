"""The colours of terminals that have fewer than 16 million of them."""

from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from asciist.conversion.halftone import thresholds

_STEPS: Final = np.array([0, 95, 135, 175, 215, 255])
"""Levels of each channel in the cube of 6x6x6 colours that begins at index 16 of the 256 colours of xterm."""
_CUBE: Final = 16
_GREYS: Final = 232
"""First indices of the cube, and of 24 greys with the levels 8, 18, … 238."""

_NEAREST_STEP: Final = np.abs(np.arange(256)[:, np.newaxis] - _STEPS).argmin(1)

_ANSI: Final = np.array([
    (0, 0, 0), (205, 0, 0), (0, 205, 0), (205, 205, 0), (0, 0, 238), (205, 0, 205), (0, 205, 205), (229, 229, 229),
    (127, 127, 127), (255, 0, 0), (0, 255, 0), (255, 255, 0), (92, 92, 255), (255, 0, 255), (0, 255, 255), (255, 255, 255),
])  # fmt: skip
"""(16, 3): the colours of ISO 6429 and their bright variants, as xterm shows them by default. Other terminals vary them."""


def dithered(colours: Image.Image, spread: int) -> Image.Image:
    """RGB `colours`, lighter and darker by up to half of `spread` (0 to 250), so that the nearest of few colours alternate."""
    offsets = np.asarray(thresholds(*colours.size, spread=spread)).astype(np.int16) - 128
    shifted = np.asarray(colours) + offsets[..., np.newaxis]
    return Image.fromarray(np.clip(shifted, 0, 255).astype(np.uint8))


def nearest_of_256(colours: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(...): index of the most similar of xterm's 256 colours from 16 on, for colours of shape (..., 3)."""
    steps = _NEAREST_STEP[colours]
    greys = np.clip((colours.sum(-1, dtype=np.int64) // 3 - 3) // 10, 0, 23)
    in_cube = _CUBE + steps @ np.array([36, 6, 1])
    is_grey = _distances(colours, (8 + 10 * greys)[..., np.newaxis]) < _distances(colours, _STEPS[steps])
    nearest: NDArray[np.uint8] = np.where(is_grey, _GREYS + greys, in_cube).astype(np.uint8)
    return nearest


def nearest_of_16(colours: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(...): index of the most similar of the 16 colours, for colours of shape (..., 3)."""
    nearest: NDArray[np.uint8] = _distances(colours[..., np.newaxis, :], _ANSI).argmin(-1).astype(np.uint8)
    return nearest


def colour_of_index(index: int) -> int:
    """Return the colour, 0xRRGGBB, that xterm shows for one of its 256 colours."""
    if index < _CUBE:
        channels = _ANSI[index]
    elif index < _GREYS:
        channels = _STEPS[[(index - _CUBE) // 36, (index - _CUBE) // 6 % 6, (index - _CUBE) % 6]]
    else:
        channels = np.full(3, 8 + 10 * (index - _GREYS))
    red, green, blue = channels.tolist()
    return int(red << 16 | green << 8 | blue)


def _distances(colours: NDArray[np.uint8], others: NDArray[np.int64]) -> NDArray[np.int64]:
    distances: NDArray[np.int64] = ((colours.astype(np.int64) - others) ** 2).sum(-1)
    return distances
