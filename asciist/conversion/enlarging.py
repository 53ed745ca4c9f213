"""Enlarge an image by repeating its pixels: the result of Pillow's filter BOX, in a third of the
time.

Requires numpy, so `decoding` imports this module only for the style that needs numpy anyway.
"""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

_Indices = NDArray[np.intp]


def enlarge(
    pixels: Image.Image, size: tuple[int, int], box: tuple[float, float, float, float]
) -> Image.Image | None:
    """Return `box` of `pixels`, mode L, resized to `size` with the filter BOX.

    None if a sample is not a copy of one pixel, or if Pillow is faster because the size is
    unchanged.
    """
    if size == pixels.size:
        return None
    left, upper, right, lower = box
    across = _copied(pixels.width, left, right, size[0])
    down = _copied(pixels.height, upper, lower, size[1])
    if across is None or down is None:
        return None
    samples = np.asarray(pixels).take(across, axis=1).take(down, axis=0)
    return Image.frombuffer("L", size, samples, "raw", "L", 0, 1)


def _copied(pixels: int, start: float, stop: float, samples: int) -> _Indices | None:
    """Return (samples,): index of the pixel copied by each sample between `start` and `stop`; None
    if one averages several."""
    if samples < stop - start:
        return None
    # Pillow's own filter tells which: a pixel on the edge between two samples may fall to either,
    # depending on rounding.
    ruler = Image.fromarray(np.arange(pixels, dtype=np.float32)[np.newaxis])
    copied = np.asarray(ruler.resize((samples, 1), Image.Resampling.BOX, box=(start, 0, stop, 1)))[
        0
    ]
    indices = copied.astype(np.intp)
    return indices if (copied == indices).all() else None
