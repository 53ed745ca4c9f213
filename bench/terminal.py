"""A screen as shown by a terminal: text with colours, drawn in cells of 8x16 px.

Printable ASCII is drawn with the glyphs of `bench.scoring`. Blocks, quadrants, eighths, shades,
sextants and braille patterns are drawn exactly: each part or dot fills its share of the cell. Many
terminals draw blocks this way; the dots of a braille font are smaller. Any other character, such as
a wedge, comes from the first font that contains it: the fonts of `bench.scoring`, then GNU Unifont,
whose cell is 8x16 px too. A character missing from all fonts raises GlyphMissingError, because it
would count as a blank.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from bench.scoring import CELL_HEIGHT, CELL_WIDTH, FIRST, FONTS, LAST, Floats, glyphs

_UNIFONT: Final = Path("/usr/share/fonts/opentype/unifont")
_FALLBACKS: Final = (_UNIFONT / "unifont.otf", _UNIFONT / "unifont_upper.otf")
_OVERSAMPLING: Final = 8

_ESCAPE: Final = re.compile(r"\x1b\[([0-9;:?]*)([A-Za-z])|(\r?\n)|([^\x1b\r\n])")
_BASIC: Final = np.array(
    [
        (0, 0, 0), (205, 0, 0), (0, 205, 0), (205, 205, 0),
    (0, 0, 238), (205, 0, 205), (0, 205, 205), (229, 229, 229),
        (127, 127, 127), (255, 0, 0), (0, 255, 0), (255, 255, 0),
    (92, 92, 255), (255, 0, 255), (0, 255, 255), (255, 255, 255),
    ],
    np.uint8,
)  # fmt: skip
"""The 16 default colours of xterm."""

_SEXTANTS: Final = [bits for bits in range(1, 63) if bits not in {0b010101, 0b101010}]
"""Patterns of U+1FB00 to U+1FB3B, by bits from the upper left to the lower right. The two solid
columns are missing, because they are block elements."""
_BRAILLE: Final = ((0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2), (0, 3), (1, 3))
"""Column and row of the dot for each bit of a braille pattern; Unicode 16 section 21.1."""
_QUADRANTS: Final = (4, 8, 1, 13, 9, 7, 11, 2, 6, 14)
"""Patterns of U+2596 to U+259F: 1 upper left, 2 upper right, 4 lower left, 8 lower right."""


class GlyphMissingError(Exception):
    """No installed font contains a character; the message names it and says how to install the
    fonts."""


@dataclass(frozen=True, kw_only=True)
class Screen:
    """Characters with their colours."""

    characters: NDArray[np.str_]
    """(rows, columns)"""
    foreground: NDArray[np.uint8]
    """(rows, columns, 3): sRGB."""
    background: NDArray[np.uint8]

    def coverage(self, font: str) -> Floats:
        """Return the share of each pixel that the characters cover, shape (16 * rows, 8 * columns),
        values from 0 to 1.

        Raises GlyphMissingError and FontMissingError.
        """
        rows, columns = self.characters.shape
        present, numbers = np.unique(self.characters, return_inverse=True)
        bank = np.stack([_glyph(str(character), font) for character in present])
        cells = bank[numbers.reshape(rows, columns)]
        return cells.transpose(0, 2, 1, 3).reshape(rows * CELL_HEIGHT, columns * CELL_WIDTH)

    def pixels(self, font: str) -> Floats:
        """Return the sRGB pixels, shape (16 * rows, 8 * columns, 3), values from 0 to 1. Raises the
        errors of `coverage`."""
        coverage = self.coverage(font)[:, :, None]
        foreground, background = (
            (colours.astype(np.float32) / 255)
            .repeat(CELL_HEIGHT, axis=0)
            .repeat(CELL_WIDTH, axis=1)
            for colours in (self.foreground, self.background)
        )
        return coverage * foreground + (1 - coverage) * background


def screen(art: str, columns: int, *, dark_on_light: bool = False) -> Screen:
    """Render text with the colours of its escape codes (SGR of ISO 6429 and ISO 8613-6) on a black
    or white terminal.

    Short lines are padded with blanks and long ones cut. Other escape codes are ignored.
    """
    default = (np.zeros(3, np.uint8), np.full(3, 255, np.uint8)) if dark_on_light else (
        np.full(3, 229, np.uint8), np.zeros(3, np.uint8)
    )  # fmt: skip
    rows = art.rstrip("\n").count("\n") + 1
    characters = np.full((rows, columns), " ")
    foreground, background = (np.tile(colour, (rows, columns, 1)) for colour in default)
    colours, reverse = list(default), False
    row = column = 0
    for codes, final, newline, character in _ESCAPE.findall(art.rstrip("\n")):
        if newline:
            row, column = row + 1, 0
        elif character:
            if column < columns:
                characters[row, column] = character
                foreground[row, column], background[row, column] = (
                    reversed(colours) if reverse else colours
                )
            column += 1
        elif final == "m":
            reverse = _select(codes, colours, default, reverse=reverse)
    return Screen(characters=characters, foreground=foreground, background=background)


def _select(
    codes: str,
    colours: list[NDArray[np.uint8]],
    default: tuple[NDArray[np.uint8], ...],
    *,
    reverse: bool,
) -> bool:
    """Apply one SGR sequence to `colours`, foreground and background; return True if they are
    swapped."""
    numbers = iter([int(code or 0) for code in re.split("[;:]", codes)])
    for number in numbers:
        if number == 0:
            colours[:], reverse = default, False
        elif number in {7, 27}:
            reverse = number == 7
        elif number in {38, 48}:
            colours[number == 48] = _extended(numbers)
        elif number in {39, 49}:
            colours[number == 49] = default[number == 49]
        elif 30 <= number <= 47:
            colours[number >= 40] = _BASIC[number % 10]
        elif 90 <= number <= 107:
            colours[number >= 100] = _BASIC[8 + number % 10]
    return reverse


def _extended(numbers: Iterator[int]) -> NDArray[np.uint8]:
    """Return the colour after 38 or 48: `2;r;g;b`, or `5;n` in xterm's palette of 256."""
    if next(numbers) == 2:
        return np.array([next(numbers), next(numbers), next(numbers)], np.uint8)
    number = next(numbers)
    if number < 16:
        return _BASIC[number]
    if number >= 232:
        return np.full(3, 8 + 10 * (number - 232), np.uint8)
    levels = (0, 95, 135, 175, 215, 255)
    number -= 16
    return np.array([levels[number // 36], levels[number // 6 % 6], levels[number % 6]], np.uint8)


@cache
def _glyph(character: str, font: str) -> Floats:
    """Return the coverage of one character, shape (16, 8)."""
    if character.isspace():
        return np.zeros((CELL_HEIGHT, CELL_WIDTH), np.float32)
    if FIRST <= character <= LAST:
        return glyphs(font)[ord(character) - ord(FIRST)]
    code = ord(character)
    if 0x2580 <= code <= 0x259F:
        return _block(code)
    if 0x1FB00 <= code <= 0x1FB3B:
        bits = _SEXTANTS[code - 0x1FB00]
        return _boxes(
            [
                (x / 2, y / 3, x / 2 + 1 / 2, y / 3 + 1 / 3)
                for y in range(3)
                for x in range(2)
                if bits >> 2 * y + x & 1
            ]
        )
    if 0x2800 <= code <= 0x28FF:
        dots = [dot for bit, dot in enumerate(_BRAILLE) if code >> bit & 1]
        return _boxes([(x / 2, y / 4, x / 2 + 1 / 2, y / 4 + 1 / 4) for x, y in dots])
    return _from_fonts(character)


def _block(code: int) -> Floats:
    """Return a block element of Unicode, U+2580 to U+259F."""
    eighth = (code & 0xF) / 8
    if code in {0x2591, 0x2592, 0x2593}:
        return np.full((CELL_HEIGHT, CELL_WIDTH), (code - 0x2590) / 4, np.float32)
    if code >= 0x2596:
        bits = _QUADRANTS[code - 0x2596]
        return _boxes(
            [
                (x / 2, y / 2, x / 2 + 1 / 2, y / 2 + 1 / 2)
                for y in (0, 1)
                for x in (0, 1)
                if bits >> 2 * y + x & 1
            ]
        )
    special = {
        0x2580: (0, 0, 1, 0.5),
        0x2590: (0.5, 0, 1, 1),
        0x2594: (0, 0, 1, 1 / 8),
        0x2595: (7 / 8, 0, 1, 1),
    }
    if code in special:
        return _boxes([special[code]])
    if code <= 0x2588:
        return _boxes([(0, 1 - eighth, 1, 1)])
    return _boxes([(0, 0, 1 - (eighth - 1), 1)])


def _boxes(boxes: list[tuple[float, float, float, float]]) -> Floats:
    """Return the coverage of rectangles, each (left, top, right, bottom) in parts of the cell."""
    coverage = np.zeros((CELL_HEIGHT, CELL_WIDTH), np.float32)
    for left, top, right, bottom in boxes:
        across = _overlap(left * CELL_WIDTH, right * CELL_WIDTH, CELL_WIDTH)
        down = _overlap(top * CELL_HEIGHT, bottom * CELL_HEIGHT, CELL_HEIGHT)
        coverage += np.outer(down, across)
    return np.minimum(coverage, 1)


def _overlap(start: float, end: float, size: int) -> Floats:
    """Return the share of each of `size` pixels that lies between `start` and `end`."""
    edges = np.arange(size)
    return np.clip(np.minimum(end, edges + 1) - np.maximum(start, edges), 0, 1).astype(np.float32)


def _from_fonts(character: str) -> Floats:
    for file in (*FONTS.values(), *_FALLBACKS):
        if file.exists() and ord(character) in _code_points(file):
            return _drawn(character, file)
    raise GlyphMissingError(
        f"no font has {character!r} (U+{ord(character):04X}): apt-get install fonts-unifont"
    )


@cache
def _code_points(file: Path) -> frozenset[int]:
    from fontTools.ttLib import TTFont  # noqa: PLC0415 - in the bench's environment only

    with TTFont(file, lazy=True) as font:
        return frozenset(font.getBestCmap())


def _drawn(character: str, file: Path) -> Floats:
    width, height = CELL_WIDTH * _OVERSAMPLING, CELL_HEIGHT * _OVERSAMPLING
    advance = ImageFont.truetype(str(file), 1000).getlength(character) / 1000
    face = ImageFont.truetype(str(file), width / advance)
    ascent, descent = face.getmetrics()
    cell = Image.new("L", (width, height))
    ImageDraw.Draw(cell).text(
        (0, (height - ascent - descent) / 2 + ascent), character, font=face, fill=255, anchor="ls"
    )
    pixels = np.asarray(cell, np.float32).reshape(
        CELL_HEIGHT, _OVERSAMPLING, CELL_WIDTH, _OVERSAMPLING
    )
    return pixels.mean((1, 3)) / 255
