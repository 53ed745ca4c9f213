"""Fidelity of coloured art: the pixels of its cells compared with the image on the same grid.

The art is drawn by `bench.terminal` in cells of 8x16 px, and the image is resized to the same
canvas, in sRGB. Colours are absolute, so nothing is fitted. Transparent images are not scored: the
ground of coloured art is a matter of choice.

- psnr: peak signal-to-noise ratio in dB, over all pixels and the three channels.
- ssim: structural similarity of the luma: the mean over the four levels of the pyramid of
  `bench.scoring`.
- ciede: mean difference CIEDE2000 (ISO/CIE 11664-6:2014; Luo, Cui, Rigg: The development of the CIE
  2000 colour-difference formula, Color Research and Application 26(5), 2001), computed by
  scikit-image after a Gaussian blur of both with sigma = 11.3 px, about one cell: the difference
  that an eye sees which does not resolve the cells. 0 is equal, 1 is just noticeable, 100 is the
  difference of black and white.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from PIL import Image

from bench.scoring import CELL_HEIGHT, CELL_WIDTH, LUMA, Floats, ImagePyramid, blurred, resized

_CELL_SIGMA = (CELL_WIDTH * CELL_HEIGHT) ** 0.5


@dataclass(frozen=True, kw_only=True)
class ColourScore:
    """The score of one piece of coloured art. The module documentation defines the measures."""

    psnr: float
    ssim: float
    ciede: float


class ColourReference:
    """A coloured image resized to the canvas of art of one size."""

    def __init__(self, pixels: Floats, *, columns: int, rows: int) -> None:
        """`pixels` are sRGB, shape (height, width, 3), values from 0 to 1."""
        size = (CELL_HEIGHT * rows, CELL_WIDTH * columns)
        self.canvas = np.stack(
            [
                resized(np.ascontiguousarray(channel), *size)
                for channel in np.moveaxis(pixels, 2, 0)
            ],
            2,
        )
        self._luma = ImagePyramid(self.canvas @ LUMA)
        self._lab = _lab(_seen(self.canvas))

    @classmethod
    def of(cls, file: Path, *, columns: int, rows: int) -> Self:
        """Create a reference from an image file without transparency."""
        with Image.open(file) as image:
            return cls(
                np.asarray(image.convert("RGB"), np.float32) / 255, columns=columns, rows=rows
            )

    def score(self, pixels: Floats) -> ColourScore:
        """Score the pixels of a screen, shape (16 * rows, 8 * columns, 3). Raises ValueError for
        another shape."""
        # In the bench's environment only.
        from skimage.color import deltaE_ciede2000  # noqa: PLC0415

        if pixels.shape != self.canvas.shape:
            raise ValueError(
                f"the art is {pixels.shape} px (height, width, channels), not {self.canvas.shape}"
            )
        error = float(np.mean((pixels - self.canvas) ** 2, dtype=np.float64))
        return ColourScore(
            psnr=float(10 * np.log10(1 / max(error, 1e-6))),
            ssim=self._luma.similarity(pixels @ LUMA),
            ciede=float(deltaE_ciede2000(_lab(_seen(pixels)), self._lab).mean()),
        )


def _seen(pixels: Floats) -> Floats:
    """Blur each channel by about one cell and keep 2x4 px per cell."""
    return np.stack(
        [blurred(pixels[:, :, channel], _CELL_SIGMA)[2::4, 2::4] for channel in range(3)], 2
    )


def _lab(pixels: Floats) -> Floats:
    from skimage.color import rgb2lab  # noqa: PLC0415 - in the bench's environment only

    lab: Floats = rgb2lab(pixels)
    return lab
