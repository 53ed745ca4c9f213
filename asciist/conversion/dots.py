"""The styles `braille` and `blocks`: each cell is a grid of dots, on or off, by the brightness of
the image.

A braille cell has 2x4 square dots, a quadrant block 2x2 dots, each twice as tall as wide. A dot is
lit if its sharpened sample is above a threshold. The thresholds vary for photographs, whose
midtones become patterns, and not for graphics, whose edges stay clean. All arithmetic is in
integers, so the dots are the same on every machine.
"""

import codecs
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from PIL import Image, ImageChops, ImageFilter

from asciist.art.halftone import thresholds
from asciist.conversion.decoding import DecodedImage
from asciist.conversion.kinds import histogram_of, is_graphic
from asciist.options import ConversionOptions

BRAILLE_SAMPLES_PER_COLUMN: Final = 4
"""One pixel per dot vertically, two horizontally."""

BLOCKS_SAMPLES_PER_COLUMN: Final = 4
"""Two pixels per dot horizontally; in colour, sextants need as many vertically."""

_BRAILLE_BITS: Final = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))
"""The bit of each dot, by row and column; Unicode 16 section 21.1."""
_BRAILLE: Final = "".join(chr(0x2800 + dots) for dots in range(256))
"""Patterns by their bits. The empty cell is U+2800 and not a space, so that all patterns come from
the same font."""

_BLOCK_BITS: Final = ((1, 2), (4, 8))
_BLOCKS: Final = " ▘▝▀▖▌▞▛▗▚▐▜▄▙▟█"

_CLIPPED_PER_MILLE: Final = 50
"""Samples per thousand that may be clipped to black, and as many to white, when the contrast is
stretched."""

_MIN_SPAN: Final = 64
"""Minimum contrast, in levels, that is stretched to the whole range. Lower contrast is noise, which
would become a visible pattern."""

_SHARPEN: Final = ImageFilter.UnsharpMask(radius=3, percent=100, threshold=0)
"""Doubles the difference of a sample from those around it. Pillow computes it in integers."""

_SPREAD_OF_PHOTOGRAPHS: Final = 112
"""Width of the range of thresholds, of 256. A wider range shows more midtones and fewer details."""


@dataclass(frozen=True, kw_only=True)
class Patterns:
    """The characters of a style, by the dots that are lit."""

    bits: tuple[tuple[int, int], ...]
    """The bit of each dot, by row and column."""
    characters: str
    """Patterns by their bits."""


BRAILLE: Final = Patterns(bits=_BRAILLE_BITS, characters=_BRAILLE)
BLOCKS: Final = Patterns(bits=_BLOCK_BITS, characters=_BLOCKS)


@dataclass(frozen=True)
class Tuning:
    """The choice for one image, or for all frames of an animation."""

    curve: Sequence[int]
    """The brightness, 0 to 255, for each luma."""
    spread: int
    """Width of the range of thresholds, of 256."""


def sample(
    image: DecodedImage, _options: ConversionOptions, grid: tuple[int, int], *, patterns: Patterns
) -> Image.Image:
    """Return a sample of luma for each dot of a grid of cells, mode L."""
    columns, rows = grid
    return image.sample_luma(2 * columns, len(patterns.bits) * rows, Image.Resampling.LANCZOS)


def tune(frames: Sequence[Image.Image], options: ConversionOptions) -> Tuning:
    """Choose the tone curve and the thresholds' range for samples of one image or of several."""
    histogram = histogram_of(frames)
    return Tuning(
        _curve(histogram, options.invert is True),
        0 if is_graphic(histogram) else _SPREAD_OF_PHOTOGRAPHS,
    )


def draw(sampled: Image.Image, tuning: Tuning, patterns: Patterns) -> str:
    """Return lines of patterns, joined by newlines."""
    bits = patterns.bits
    columns, rows = sampled.width // 2, sampled.height // len(bits)
    lit = sampled.point(tuning.curve).filter(_SHARPEN)
    dots = ImageChops.subtract(lit, thresholds(*sampled.size, spread=tuning.spread)).tobytes()
    # One plane for each dot of a cell, with a byte per cell: the dot's bit or 0. The union of the
    # planes gives the cells.
    cells = 0
    for row, pair in enumerate(bits):
        starts = range(2 * columns * row, len(dots), 2 * columns * len(bits))
        lines = b"".join(dots[start : start + 2 * columns] for start in starts)
        for column, bit in enumerate(pair):
            cells |= int.from_bytes(
                lines[column::2].translate(b"\0" + bytes([bit]) * 255), "little"
            )
    text, _ = codecs.charmap_decode(
        cells.to_bytes(columns * rows, "little"), "strict", patterns.characters
    )
    return "\n".join(text[start : start + columns] for start in range(0, len(text), columns))


def _curve(histogram: list[int], invert: bool) -> list[int]:
    """The brightness, 0 to 255, at each luma: stretched to the whole range, except for clipped
    extremes.

    With `invert`, it is the share of ink.
    """
    clipped = sum(histogram) * _CLIPPED_PER_MILLE // 1000
    darkest, lightest = (
        _level_above(histogram, clipped),
        255 - _level_above(histogram[::-1], clipped),
    )
    missing = max(0, _MIN_SPAN - (lightest - darkest))
    darkest -= missing * darkest // 255  # an image of one grey keeps its level
    span = max(lightest - darkest, _MIN_SPAN)
    stretched = [min(255, max(0, (level - darkest) * 255 // span)) for level in range(256)]
    return [255 - level for level in stretched] if invert else stretched


def _level_above(histogram: list[int], clipped: int) -> int:
    """Return the first level with more than `clipped` samples at or below it."""
    below = 0
    for level, count in enumerate(histogram):
        below += count
        if below > clipped:
            return level
    return 255
