"""The `ramp` style: one character a cell, chosen by the cell's brightness alone."""

from typing import Final

from PIL import Image

from asciist.conversion.decoding import DecodedImage
from asciist.conversion.options import ConversionOptions

LEVELS: Final = " .:-=+*#%@"
"""Dark to light, as light characters on a dark background."""

SAMPLES_PER_COLUMN: Final = 2
"""A JPEG decoded at one pixel a cell loses up to 10% of characters to the coarse scaling, at two by two under 4%."""

_CHARACTERS: Final = bytes(ord(LEVELS[min(len(LEVELS) - 1, luma * len(LEVELS) // 255)]) for luma in range(256))
"""The character of each luma: level = floor(luma / 255 * 10), at most 9."""


def render(image: DecodedImage, options: ConversionOptions) -> str:
    """Lines of `options.width` characters, joined by newlines."""
    columns, rows = image.header.grid(options.width)
    cells = image.sample_luma(columns, rows, Image.Resampling.LANCZOS).tobytes().translate(_CHARACTERS)
    return b"\n".join(cells[start : start + columns] for start in range(0, len(cells), columns)).decode("ascii")
