"""The `ramp` style: the character of each cell depends only on its brightness."""

import codecs
from functools import lru_cache
from typing import Final

from PIL import Image

from asciist.conversion.decoding import DecodedImage
from asciist.options import ConversionOptions

SAMPLES_PER_COLUMN: Final = 2
"""Minimum pixels per column in the decoded image. From a JPEG decoded at one pixel per column, up
to 10% of the characters differ from a full decode; at two, under 4% do."""


def sample(image: DecodedImage, _options: ConversionOptions, grid: tuple[int, int]) -> Image.Image:
    """Return the luma of each cell of a grid, mode L."""
    return image.sample_luma(*grid, Image.Resampling.LANCZOS)


def draw(sampled: Image.Image, options: ConversionOptions) -> str:
    """Return lines of characters, joined by newlines."""
    table = _character_of_luma(options.characters, options.invert is True)
    cells, _ = codecs.charmap_decode(sampled.tobytes(), "strict", table)
    columns = sampled.width
    return "\n".join(cells[start : start + columns] for start in range(0, len(cells), columns))


@lru_cache(maxsize=64)
def _character_of_luma(ramp: str, invert: bool) -> str:
    """Return the character for each luma, 0 to 255. With a ramp of ten, its index is floor(luma /
    255 * 10), at most 9."""
    characters = "".join(ramp[min(len(ramp) - 1, luma * len(ramp) // 255)] for luma in range(256))
    return characters[::-1] if invert else characters
