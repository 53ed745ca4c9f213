"""The styles `braille` and `blocks`: each cell is a grid of dots, on or off, dithered to the brightness of the image.

A braille cell has 2x4 square dots, a quadrant block 2x2 dots, each twice as tall as wide. All arithmetic is Pillow's, in
integers, so the dots are the same on every machine. Blocks in colour are not dithered: `▀` shows two pixels, one above the
other.
"""

import codecs
from typing import Final

from PIL import Image, ImageFilter

from asciist.conversion.decoding import DecodedImage
from asciist.options import ConversionOptions

BRAILLE_SAMPLES_PER_COLUMN: Final = 4
"""One pixel per dot vertically, two horizontally."""

BLOCKS_SAMPLES_PER_COLUMN: Final = 2

_BRAILLE_BITS: Final = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))
"""The bit of each dot, by row and column; Unicode 16 section 21.1."""
_BRAILLE: Final = "".join(chr(0x2800 + dots) for dots in range(256))
"""Patterns by their bits. The empty cell is U+2800 and not a space, so that all patterns come from the same font."""

_BLOCK_BITS: Final = ((1, 2), (4, 8))
_BLOCKS: Final = " ▘▝▀▖▌▞▛▗▚▐▜▄▙▟█"
_UPPER_HALF: Final = "▀"

_CLIPPED_PER_MILLE: Final = 5
"""Dots per thousand that may be clipped to black, and as many to white, when the contrast is stretched."""

_MIN_SPAN: Final = 64
"""Minimum contrast, in levels, that is stretched to the whole range. Less is noise, which would become a visible pattern."""

_SHARPEN: Final = ImageFilter.Kernel((3, 3), (0, -1, 0, -1, 8, -1, 0, -1, 0), scale=4)
"""Adds a quarter of the Laplacian. The weights are exact in binary, so the result is the same on every processor."""


def render_braille(image: DecodedImage, options: ConversionOptions) -> str:
    """Lines of `options.width` braille patterns, joined by newlines."""
    return _draw(image, options, _BRAILLE_BITS, _BRAILLE)


def render_blocks(image: DecodedImage, options: ConversionOptions) -> str:
    """Lines of `options.width` blocks, joined by newlines: quadrants, or upper half blocks if the art is coloured."""
    if options.color != "none":
        columns, rows = image.header.grid(options)
        return "\n".join([_UPPER_HALF * columns] * rows)
    return _draw(image, options, _BLOCK_BITS, _BLOCKS)


def _draw(image: DecodedImage, options: ConversionOptions, bits: tuple[tuple[int, int], ...], patterns: str) -> str:
    columns, rows = image.header.grid(options)
    luma = image.sample_luma(2 * columns, len(bits) * rows, Image.Resampling.LANCZOS)
    dots = _coverage(luma, options.invert is True).filter(_SHARPEN).convert("1").convert("L").tobytes()
    # One plane for each dot of a cell, with a byte per cell: the dot's bit or 0. The union of the planes gives the cells.
    cells = 0
    for row, pair in enumerate(bits):
        starts = range(2 * columns * row, len(dots), 2 * columns * len(bits))
        lines = b"".join(dots[start : start + 2 * columns] for start in starts)
        for column, bit in enumerate(pair):
            cells |= int.from_bytes(lines[column::2].translate(bytes(255) + bytes([bit])), "little")
    text, _ = codecs.charmap_decode(cells.to_bytes(columns * rows, "little"), "strict", patterns)
    return "\n".join(text[start : start + columns] for start in range(0, len(text), columns))


def _coverage(luma: Image.Image, invert: bool) -> Image.Image:
    """The share of each sample to be lit (with `invert`, to be inked), 0 to 255.

    Luma is stretched to the whole range, except for clipped extremes. Dots add up in linear light, and luma is roughly its
    square root. The result is therefore a mix of luma and its square: luma alone overexposes faces, the square alone makes dark
    scenes vanish.
    """
    histogram = luma.histogram()
    clipped = luma.width * luma.height * _CLIPPED_PER_MILLE // 1000
    darkest, lightest = _level_above(histogram, clipped), 255 - _level_above(histogram[::-1], clipped)
    missing = max(0, _MIN_SPAN - (lightest - darkest))
    darkest -= missing * darkest // 255  # an image of one grey keeps its level
    span = max(lightest - darkest, _MIN_SPAN)
    stretched = [min(255, max(0, (level - darkest) * 255 // span)) for level in range(256)]
    lit = [(level + 2 * level * level // 255) // 3 for level in stretched]
    return luma.point([255 - level for level in lit] if invert else lit)


def _level_above(histogram: list[int], clipped: int) -> int:
    """Return the first level with more than `clipped` samples at or below it."""
    below = 0
    for level, count in enumerate(histogram):
        below += count
        if below > clipped:
            return level
    return 255
