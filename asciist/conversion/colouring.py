"""Add colour to art: ANSI escape codes for a terminal, or an HTML document for a browser.

Each cell is an array of 4-byte words (colour codes, then the character), padded with zero bytes, so that numpy can build many
cells at once. The words of the codes are zero if the colour is that of the previous cell. Deleting all zero bytes leaves the
text.

Requires numpy, so `conversion.render` imports this module only for colour.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import reduce
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from asciist.conversion.document import document
from asciist.conversion.memory import BAND_CELLS
from asciist.conversion.palettes import dithered, nearest_of_16, nearest_of_256

_Words = NDArray[np.uint32]
"""Pieces of UTF-8 text, 4 bytes each, in memory order."""

_BLANKS: Final = " \u2800"
"""Characters without a visible foreground, which need no colour."""

_SPREAD_OF_256: Final = 12
_SPREAD_OF_16: Final = 32
"""Widths of the range of levels by which colours are dithered. More gives better averages, and hides details."""

_NO_COLOUR: Final = 1 << 24
"""Marker for no colour; larger than any 0xRRGGBB."""

_ENTITIES: Final = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}


def ansi(art: str, colours: Image.Image, *, invert: bool) -> str:
    """`art` with escape codes for 24-bit colours (SGR 38;2 and 48;2 of ISO 8613-6), reset at the end of each line.

    `colours` is an RGB image with one pixel for each character, or two, one above the other. A single pixel is the foreground
    colour, which is brightened, or darkened with `invert` (see `_legible`). Of two pixels, the upper one is the foreground and
    the lower one the background, both unchanged.
    """
    return _escaped(art, colours, invert, _true_colours, ("38;2", "48;2"))


def ansi256(art: str, colours: Image.Image, *, invert: bool) -> str:
    """`art` with escape codes for xterm's 256 colours, otherwise as from `ansi`. Colours between two of them alternate."""
    return _escaped(art, dithered(colours, _SPREAD_OF_256), invert, _indices_of_256, ("38;5", "48;5"))


def ansi16(art: str, colours: Image.Image, *, invert: bool) -> str:
    """`art` with escape codes for 16 colours (SGR 30 to 37 and 40 to 47 of ISO 6429, and 60 more for bright ones).

    Colours between two of them alternate.
    """
    return _escaped(art, dithered(colours, _SPREAD_OF_16), invert, _indices_of_16, ("", ""))


def _escaped(art: str, colours: Image.Image, invert: bool, code: "_Coder", kinds: tuple[str, str]) -> str:
    """`art` with escape codes. Two colours that change at once share one code."""
    text = []
    for band in _bands(art, colours, invert, {}, code):
        is_new = reduce(np.logical_or, (layer.is_new for layer in band.layers))
        cells = [_joined(_words("\x1b["), where=is_new)]
        for kind, layer in zip(kinds, band.layers, strict=False):
            if layer is not band.layers[0]:
                cells.append(_joined(_words(";"), where=layer.is_new & band.layers[0].is_new))
            cells.append(_joined(_words(kind), layer.digits(), where=layer.is_new))
        cells += [_joined(_words("m"), where=is_new), band.glyphs]
        text.append(_text(_joined(*cells), _words("\x1b[0m\n")))
    return "".join(text)[:-1]


def html(art: str, colours: Image.Image, *, invert: bool) -> str:
    """`art` as a self-contained HTML document with a black background, or white with `invert`. `colours` is as for `ansi`."""
    closing, newline = _words("</b>"), _words("\n")
    text = []
    is_filled = False
    for band in _bands(art, colours, invert, _ENTITIES, _hexadecimal):
        foreground, *background = band.layers
        is_filled = bool(background)
        is_new = reduce(np.logical_or, (layer.is_new for layer in band.layers))
        style = [_words("<b style=color:#"), foreground.digits()]
        for layer in background:
            style += [_words(";background:#"), layer.digits()]
        is_first = np.arange(is_new.shape[1]) == 0
        has_colour = band.layers[-1].codes != _NO_COLOUR
        before = np.roll(has_colour, 1, axis=1) & ~is_first
        cells = _joined(_joined(closing, where=is_new & before), _joined(*style, _words(">"), where=is_new), band.glyphs)
        text.append(_text(cells, _joined(_joined(closing, where=has_colour[:, -1]), newline)))
    return document("".join(text), art, is_light=invert, has_backgrounds=is_filled)


MODES: Final = {"ansi": ansi, "html": html, "ansi256": ansi256, "ansi16": ansi16}
"""The functions that add colour, by value of the option `color`."""


@dataclass(frozen=True, kw_only=True)
class _Layer:
    """The foreground or the background colours of some cells."""

    codes: NDArray[np.uint32]
    """(rows, columns): a number for the colour at each cell; `_NO_COLOUR` before the first visible character of a row."""
    before: NDArray[np.uint32]
    """(rows, columns): `codes` of the cell on the left; `_NO_COLOUR` in the first column."""
    digits: Callable[[], _Words]
    """Returns (rows, columns, words): the text of each colour."""

    @property
    def is_new(self) -> NDArray[np.bool_]:
        """(rows, columns): True where the colour changes."""
        return np.not_equal(self.codes, self.before)


@dataclass(frozen=True, kw_only=True)
class _Band:
    """Consecutive rows of the art."""

    glyphs: _Words
    """(rows, columns, words): the characters in UTF-8."""
    layers: list[_Layer]
    """The foreground, and the background if cells have one."""


_Coder = Callable[[NDArray[np.uint8], int], tuple[NDArray[np.uint32], Callable[[], _Words]]]
"""Returns the codes of colours of shape (3, rows, columns), and a function that returns their text.

The number tells the layer: 0 is the foreground, 1 the background.
"""


def _bands(art: str, colours: Image.Image, invert: bool, entities: Mapping[str, str], code: _Coder) -> Iterator[_Band]:
    code_points = np.frombuffer(art.replace("\n", "").encode("utf-32-le"), "<u4")
    present = np.flatnonzero(np.bincount(code_points))
    number_of = np.zeros(present[-1] + 1, np.uint32)
    number_of[present] = np.arange(len(present))
    characters = [chr(code_point) for code_point in present]
    glyphs = _table(entities.get(character, character) for character in characters)
    blanks = np.array([character in _BLANKS for character in characters])

    columns = (art + "\n").index("\n")
    numbers = number_of[code_points].reshape(-1, columns)
    rows = len(numbers)
    pixels = np.asarray(colours).reshape(rows, -1, columns, 3)
    step = max(1, BAND_CELLS // columns)
    for band in (slice(start, start + step) for start in range(0, rows, step)):
        planes = np.array(pixels[band].transpose(1, 3, 0, 2), order="C")
        shown = planes if len(planes) > 1 else _legible(planes, invert)
        is_blank = blanks[numbers[band]]
        has_colour = np.ones_like(is_blank)
        if is_blank.any():  # a blank keeps the foreground of the cell before it
            last_drawn = np.maximum.accumulate(np.where(is_blank, 0, np.arange(columns)), axis=1)
            shown[0] = np.take_along_axis(shown[0], last_drawn[np.newaxis], axis=2)
            has_colour = ~np.take_along_axis(is_blank, last_drawn, axis=1)
        layers = []
        for number, colours_of_layer in enumerate(shown):
            codes, digits = code(colours_of_layer, number)
            layers.append(_layer(np.where(has_colour, codes, _NO_COLOUR) if number == 0 else codes, digits))
        yield _Band(glyphs=glyphs[numbers[band]], layers=layers)


def _layer(codes: NDArray[np.uint32], digits: Callable[[], _Words]) -> _Layer:
    before = np.full_like(codes, _NO_COLOUR)
    before[:, 1:] = codes[:, :-1]
    return _Layer(codes=codes, before=before, digits=digits)


def _true_colours(colours: NDArray[np.uint8], _number: int) -> tuple[NDArray[np.uint32], Callable[[], _Words]]:
    return _packed(colours), lambda: _channels(_DECIMAL, colours)


def _hexadecimal(colours: NDArray[np.uint8], _number: int) -> tuple[NDArray[np.uint32], Callable[[], _Words]]:
    return _packed(colours), lambda: _channels(_HEXADECIMAL, colours)


def _packed(colours: NDArray[np.uint8]) -> NDArray[np.uint32]:
    red, green, blue = colours.astype(np.uint32)
    packed: NDArray[np.uint32] = red << 16 | green << 8 | blue
    return packed


def _indices_of_256(colours: NDArray[np.uint8], _number: int) -> tuple[NDArray[np.uint32], Callable[[], _Words]]:
    indices = nearest_of_256(colours.transpose(1, 2, 0))
    return indices.astype(np.uint32), lambda: _DECIMAL[indices]


def _indices_of_16(colours: NDArray[np.uint8], number: int) -> tuple[NDArray[np.uint32], Callable[[], _Words]]:
    indices = nearest_of_16(colours.transpose(1, 2, 0))
    return indices.astype(np.uint32), lambda: _SIXTEEN[number][indices]


def _legible(planes: NDArray[np.uint8], invert: bool) -> NDArray[np.uint8]:
    """Brighten foreground colours; with `invert`, darken them. `planes` is (layers, 3, rows, columns).

    The density of the glyph shows the brightness, so the colour is nearly as bright as its hue can be: it is scaled so that its
    largest channel v, of 255, becomes 255 (v / 255)^(1/4). With `invert`, its distance from white is scaled in the same way.
    """
    flipped = np.uint8(255 if invert else 0)
    channels = planes ^ flipped
    largest = channels.max(axis=1, keepdims=True).astype(np.uint16)
    scaled: NDArray[np.uint8] = _SCALED[largest << 8 | channels] ^ flipped
    return scaled


def _scaled() -> NDArray[np.uint8]:
    """(65536,): at index 256 v + c, a channel c of a colour with largest channel v, scaled as by `_legible`."""
    largest, channel = np.mgrid[0:256, 0:256]
    target = (255 * np.sqrt(np.sqrt(largest / 255))).round().astype(np.int64)
    scaled: NDArray[np.int64] = (channel * target + largest // 2) // np.maximum(largest, 1)
    return np.minimum(scaled, 255).astype(np.uint8).ravel()


def _channels(digits: _Words, colours: NDArray[np.uint8]) -> _Words:
    """(rows, columns, words): the digits of red, green and blue."""
    return np.concatenate([digits[channel] for channel in colours], axis=-1)


def _words(text: str) -> _Words:
    return np.frombuffer(_padded(text.encode()), np.uint32)


def _padded(text: bytes) -> bytes:
    return text.ljust(-(-len(text) // 4) * 4, b"\0")


def _table(texts: Iterable[str]) -> _Words:
    """(texts, words): each text padded to the length of the longest."""
    encoded = [_padded(text.encode()) for text in texts]
    length = max(map(len, encoded))
    return np.frombuffer(b"".join(text.ljust(length, b"\0") for text in encoded), np.uint32).reshape(-1, length // 4)


def _joined(*parts: _Words, where: NDArray[np.bool_] | None = None) -> _Words:
    """Concatenate `parts` along the last axis, broadcasting the others. Cells outside `where` become zero."""
    shape = np.broadcast_shapes(*(part.shape[:-1] for part in parts), () if where is None else where.shape)
    words = np.empty((*shape, sum(part.shape[-1] for part in parts)), np.uint32)
    start = 0
    for part in parts:
        words[..., start : start + part.shape[-1]] = part
        start += part.shape[-1]
    if where is not None:
        words[~where] = 0
    return words


def _text(cells: _Words, ends: _Words) -> str:
    """Convert (rows, columns, words) to text, with the words `ends` at the end of each row."""
    rows = cells.shape[0]
    return _joined(cells.reshape(rows, -1), ends).tobytes().translate(None, b"\0").decode()


_DECIMAL: Final = _table(f";{value}" for value in range(256))
_HEXADECIMAL: Final = _table(f"{value:02x}" for value in range(256))
_SIXTEEN: Final = [_table(str(first + index + (60 - 8) * (index >= 8)) for index in range(16)) for first in (30, 40)]
"""The codes of the 16 colours, as foreground and as background."""
_SCALED: Final = _scaled()
