"""The local tone of photographs: differences between large areas are reduced, and details are
enhanced.

    samples -> base (smooth but for strong edges) + detail -> base * .8 + detail * 1.4 -> stretch

Characters show few tones, so a curve for the whole image either loses the dark half of a face or
leaves no steps in the bright one. The base is the result of a guided filter (He, Sun, Tang: Guided
Image Filtering, IEEE TPAMI 35(6), 2013) whose coefficients are computed on a small copy of the
image, as in the fast variant (He, Sun: Fast Guided Filter, arXiv:1505.00996), so they are the same
at every width. docs/decisions/0053-the-tone-of-photographs.md has the measurements.

All arithmetic is in integers, so the tones are the same on every machine.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image

_SMALL: Final = 64
"""Maximum pixels across and down of the copy on which the coefficients are computed."""
_RADIUS: Final = 5
"""Pixels of the copy on either side that are averaged."""
_VARIANCE: Final = 1300
"""Variance of the luma in a window, in levels squared, at which half of a detail is kept in the
base."""
_BASE_TENTHS: Final = 8
_DETAIL_TENTHS: Final = 14
"""Factors of base and detail, in tenths."""
_BLACK_PER_MILLE: Final = 90
_WHITE_PER_MILLE: Final = 10
"""Samples per thousand drawn as black, and as white, but for rounding and ties: on 52 of 54
photographs of the bench at most 12% become black."""

_ANALYSED_ROWS: Final = 5
"""One row of samples in so many is counted for the stretch."""

_LOWEST: Final = (_BASE_TENTHS - _DETAIL_TENTHS) * 255
_HIGHEST: Final = _DETAIL_TENTHS * 255
"""Range of the sum of base and detail before it is stretched, in tenths of a level."""

_ROWS_AT_ONCE: Final = 160
"""Rows of samples computed at a time, so that the intermediate results stay in the processor's
cache."""

_Bytes = NDArray[np.uint8]
_Shorts = NDArray[np.int16]


@dataclass(frozen=True)
class LocalTone:
    """The stretch for one image, or for all frames of an animation."""

    black: int
    """Maximum sum of base and detail that is drawn as black, in tenths of a level."""
    white: int
    """Minimum sum that is drawn as white."""

    @classmethod
    def of(cls, frames: Sequence[Image.Image]) -> Self:
        """Choose the stretch for samples of one image or of several, mode L."""
        counts = np.zeros(_HIGHEST - _LOWEST + 1, np.int64)
        for frame in frames:
            for _, mixed in _mixed(frame, _ANALYSED_ROWS):
                counts += np.bincount(mixed.ravel() - _LOWEST, minlength=len(counts))
        below = counts.cumsum() * 1000
        black, white = (
            int(np.searchsorted(below, counts.sum() * per_mille))
            for per_mille in (_BLACK_PER_MILLE, 1000 - _WHITE_PER_MILLE)
        )
        return cls(black + _LOWEST, max(white, black + 1) + _LOWEST)

    def apply(self, sampled: Image.Image) -> None:
        """Replace samples in mode L by their tones, 0 to 255, in place: a copy would take as much
        memory as anything that follows."""
        span = self.white - self.black
        for top, mixed in _mixed(sampled):
            above = np.minimum(np.maximum(mixed - np.int16(self.black), 0), span)
            tones = (above * np.int32((255 << 16) // span + 1) >> 16).astype(np.uint8)
            sampled.paste(Image.fromarray(tones), (0, top))


def _mixed(sampled: Image.Image, step: int = 1) -> Iterator[tuple[int, _Shorts]]:
    """Yield (top, sums) for bands of rows: the weighted sum of base and detail, in tenths of a
    level, of every `step`th row from the row `top`."""
    coefficients = [
        np.asarray(
            Image.fromarray(each).resize((sampled.width, len(each)), Image.Resampling.BILINEAR)
        ).astype(np.uint16)
        for each in _coefficients(sampled)
    ]
    for top in range(0, sampled.height, _ROWS_AT_ONCE):
        bottom = min(top + _ROWS_AT_ONCE, sampled.height)
        rows = np.arange(top, bottom, step)
        gain, shift = (_interpolated(each, rows, sampled.height) for each in coefficients)
        mixed = np.asarray(sampled.crop((0, top, sampled.width, bottom)))[::step].astype(np.uint16)
        mixed *= gain
        mixed >>= np.uint16(8)
        mixed *= np.uint16(_DETAIL_TENTHS)
        shift *= np.uint16(_DETAIL_TENTHS - _BASE_TENTHS)
        yield top, np.subtract(mixed.view(np.int16), shift.view(np.int16))


def _interpolated(
    small: NDArray[np.uint16], rows: NDArray[np.intp], height: int
) -> NDArray[np.uint16]:
    """Return the given ones of `height` rows, interpolated between those of a small image."""
    place = ((2 * rows + 1) * len(small) * 128 // height - 128).clip(0, (len(small) - 1) * 256)
    above, part = place >> 8, (place & 255).astype(np.uint16)[:, np.newaxis]
    mixed = small.take(above, axis=0) * (256 - part)
    mixed += small.take(above + 1, axis=0, mode="clip") * part
    mixed >>= np.uint16(8)
    return mixed


def _coefficients(sampled: Image.Image) -> tuple[_Bytes, _Bytes]:
    """Return the gain, in 256ths of _DETAIL_TENTHS, and the shift, in levels, for a small copy.

    The guided filter's base is a I + b for the luma I. Then base * .8 + (I - base) * 1.4 is
    (1.4 - .6 a) I - .6 b.
    """
    longest = max(sampled.size)
    size = max(1, sampled.width * _SMALL // longest), max(1, sampled.height * _SMALL // longest)
    small = np.asarray(sampled.resize(size, Image.Resampling.BOX)).astype(np.int64)
    pixels = (2 * _RADIUS + 1) ** 2
    total, squares = _window_sums(np.stack([small, small * small]))
    variance = pixels * squares - total * total  # times pixels squared
    a = (255 * variance) // (variance + _VARIANCE * pixels * pixels)
    b = (255 - a) * total // (255 * pixels)
    a, b = _window_sums(np.stack([a, b])) // pixels
    gain = 255 - (_DETAIL_TENTHS - _BASE_TENTHS) * a // _DETAIL_TENTHS
    return gain.astype(np.uint8), b.astype(np.uint8)


def _window_sums(layers: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the sum of the window around each pixel of (layers, rows, columns). Pixels at the edge
    are repeated outside it."""
    window = 2 * _RADIUS + 1
    for axis in (1, 2):
        places = np.arange(-_RADIUS - 1, layers.shape[axis] + _RADIUS)
        sums = layers.take(places, axis=axis, mode="clip").cumsum(axis).swapaxes(0, axis)
        layers = (sums[window:] - sums[:-window]).swapaxes(0, axis)
    return layers
