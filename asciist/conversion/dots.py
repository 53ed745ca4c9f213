"""The styles `braille` and `blocks`: a cell is a small grid of dots, each on or off, dithered to the brightness of the image.

Braille has 2 x 4 square dots a cell, a quadrant block 2 x 2 dots that are twice as tall as wide. The steps are Pillow's, in
integers: the same dots on every machine. Blocks in colour need no dither: `▀` shows two pixels, one above the other.
"""

import codecs
from typing import Final

from PIL import Image, ImageFilter

from asciist.conversion.decoding import DecodedImage
from asciist.options import ConversionOptions

BRAILLE_SAMPLES_PER_COLUMN: Final = 4
"""One pixel a dot down a cell, two across."""

BLOCKS_SAMPLES_PER_COLUMN: Final = 2

_BRAILLE_BITS: Final = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))
"""The bit of each dot, row by row; Unicode 16 section 21.1."""
_BRAILLE: Final = "".join(chr(0x2800 + dots) for dots in range(256))
"""By bits. The empty cell is a pattern too and not a space: fonts that lack the patterns borrow all of them from one."""

_BLOCK_BITS: Final = ((1, 2), (4, 8))
_BLOCKS: Final = " ▘▝▀▖▌▞▛▗▚▐▜▄▙▟█"
_UPPER_HALF: Final = "▀"

_CLIPPED_PER_MILLE: Final = 5
"""The darkest and the lightest dots that the contrast may lose."""

_MIN_SPAN: Final = 64
"""The least contrast that is stretched to the whole range: below it is noise, which would become a pattern."""

_SHARPEN: Final = ImageFilter.Kernel((3, 3), (0, -1, 0, -1, 8, -1, 0, -1, 0), scale=4)
"""A quarter of the Laplacian. Its weights are exact in binary, so no processor rounds it differently."""


def render_braille(image: DecodedImage, options: ConversionOptions) -> str:
    """Lines of `options.width` braille patterns, joined by newlines."""
    return _draw(image, options, _BRAILLE_BITS, _BRAILLE)


def render_blocks(image: DecodedImage, options: ConversionOptions) -> str:
    """Lines of `options.width` blocks, joined by newlines: quadrants, or upper halves where colour makes the picture."""
    if options.color != "none":
        columns, rows = image.header.grid(options.width)
        return "\n".join([_UPPER_HALF * columns] * rows)
    return _draw(image, options, _BLOCK_BITS, _BLOCKS)


def _draw(image: DecodedImage, options: ConversionOptions, bits: tuple[tuple[int, int], ...], patterns: str) -> str:
    columns, rows = image.header.grid(options.width)
    luma = image.sample_luma(2 * columns, len(bits) * rows, Image.Resampling.LANCZOS)
    dots = _coverage(luma, options.invert).filter(_SHARPEN).convert("1").convert("L").tobytes()
    # Every dot of a cell in a plane of its own, as its bit or 0; the union of the planes is the cells.
    cells = 0
    for row, pair in enumerate(bits):
        starts = range(2 * columns * row, len(dots), 2 * columns * len(bits))
        lines = b"".join(dots[start : start + 2 * columns] for start in starts)
        for column, bit in enumerate(pair):
            cells |= int.from_bytes(lines[column::2].translate(bytes(255) + bytes([bit])), "little")
    text, _ = codecs.charmap_decode(cells.to_bytes(columns * rows, "little"), "strict", patterns)
    return "\n".join(text[start : start + columns] for start in range(0, len(text), columns))


def _coverage(luma: Image.Image, invert: bool) -> Image.Image:
    """The part of each sample that is to be lit (or inked, to `invert`), 0 to 255.

    The luma is stretched to the whole range but for its extremes. Dots mix their light and not its luma, which is about the
    square root of it: without the square faces burn out, with nothing else dark scenes vanish.
    """
    histogram = luma.histogram()
    clipped = luma.width * luma.height * _CLIPPED_PER_MILLE // 1000
    darkest, lightest = _level_above(histogram, clipped), 255 - _level_above(histogram[::-1], clipped)
    missing = max(0, _MIN_SPAN - (lightest - darkest))
    darkest -= missing * darkest // 255  # an even grey stays the grey that it is
    span = max(lightest - darkest, _MIN_SPAN)
    stretched = [min(255, max(0, (level - darkest) * 255 // span)) for level in range(256)]
    lit = [(level + 2 * level * level // 255) // 3 for level in stretched]
    return luma.point([255 - level for level in lit] if invert else lit)


def _level_above(histogram: list[int], clipped: int) -> int:
    """The first level with more than `clipped` samples at or below it."""
    below = 0
    for level, count in enumerate(histogram):
        below += count
        if below > clipped:
            return level
    return 255
