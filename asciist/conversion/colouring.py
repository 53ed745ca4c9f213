"""Add colour to art: ANSI escape codes for a terminal, or an HTML document for a browser.

Each cell is an array of 4-byte words (colour codes, then the character), padded with zero bytes, so that numpy can build many
cells at once. The words of the codes are zero if the colour is that of the previous cell. Deleting all zero bytes leaves the
text.

Requires numpy, so `conversion.render` imports this module only for colour.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from asciist.conversion.memory import BAND_CELLS

_Words = NDArray[np.uint32]
"""Pieces of UTF-8 text, 4 bytes each, in memory order."""

_BLANKS: Final = " \u2800"
"""Characters without a visible foreground, which need no colour."""

_NO_COLOUR: Final = 1 << 24
"""Marker for no colour; larger than any 0xRRGGBB."""

_HEAD: Final = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>ASCII art</title>
<style>
body{{margin:0;background:{background}}}
pre{{margin:0;padding:1em;width:max-content;font:10px/1.2 "DejaVu Sans Mono",Menlo,Consolas,monospace}}
b{{font-weight:400{halves}}}
</style>
</head>
<body>
<pre role="img" aria-label="ASCII art, {columns} columns wide">
"""
_TAIL: Final = "</pre>\n</body>\n</html>"

_HALVES: Final = ";display:inline-block;background-image:linear-gradient(currentColor 50%,transparent 50%)"
"""CSS that paints the upper half of each cell as a background, because the font's ▀ does not fill it completely."""

_ESCAPED: Final = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}


def ansi(art: str, colours: Image.Image, *, invert: bool) -> str:
    """`art` with escape codes for 24-bit colours (SGR 38;2 and 48;2 of ISO 8613-6), reset at the end of each line.

    `colours` is an RGB image with one pixel for each character, or two, one above the other. A single pixel is the foreground
    colour, which is brightened, or darkened with `invert` (see `_legible`). Of two pixels, the upper one is the foreground and
    the lower one the background, both unchanged.
    """
    text = []
    for band in _bands(art, colours, invert, {}):
        cells = []
        for code, layer in zip(("\x1b[38;2", "\x1b[48;2"), band.layers, strict=False):
            cells += [_joined(_words(code), _channels(_DECIMAL, layer), _words("m"), where=layer.is_new)]
        text.append(_text(_joined(*cells, band.glyphs), _words("\x1b[0m\n")))
    return "".join(text)[:-1]


def html(art: str, colours: Image.Image, *, invert: bool) -> str:
    """`art` as a self-contained HTML document with a black background, or white with `invert`. `colours` is as for `ansi`."""
    closing, newline = _words("</b>"), _words("\n")
    text = []
    halves = False
    for band in _bands(art, colours, invert, _ESCAPED):
        foreground, *background = band.layers
        halves = bool(background)
        is_new = foreground.is_new
        style = [_words("<b style=color:#"), _channels(_HEXADECIMAL, foreground)]
        for layer in background:
            style += [_words(";background-color:#"), _channels(_HEXADECIMAL, layer)]
            is_new = is_new | layer.is_new
        cells = _joined(
            _joined(closing, where=is_new & (foreground.before != _NO_COLOUR)),
            _joined(*style, _words(">"), where=is_new),
            band.glyphs,
        )
        last = foreground.packed[:, -1]
        text.append(_text(cells, _joined(_joined(closing, where=last != _NO_COLOUR), newline)))
    background_colour = "#fff" if invert else "#000"
    head = _HEAD.format(background=background_colour, halves=_HALVES if halves else "", columns=(art + "\n").index("\n"))
    return f"{head}{''.join(text)}{_TAIL}"


@dataclass(frozen=True, kw_only=True)
class _Layer:
    """The foreground or the background colours of some cells."""

    colours: NDArray[np.uint8]
    """(3, rows, columns): red, green, blue."""
    packed: NDArray[np.uint32]
    """(rows, columns): the colour at each cell as 0xRRGGBB; `_NO_COLOUR` before the first visible character of a row."""
    before: NDArray[np.uint32]
    """(rows, columns): `packed` of the cell on the left; `_NO_COLOUR` in the first column."""

    @property
    def is_new(self) -> NDArray[np.bool_]:
        """(rows, columns): True where the colour changes."""
        return np.not_equal(self.packed, self.before)


@dataclass(frozen=True, kw_only=True)
class _Band:
    """Consecutive rows of the art."""

    glyphs: _Words
    """(rows, columns, words): the characters in UTF-8."""
    layers: list[_Layer]


def _bands(art: str, colours: Image.Image, invert: bool, escaped: Mapping[str, str]) -> Iterator[_Band]:
    code_points = np.frombuffer(art.replace("\n", "").encode("utf-32-le"), "<u4")
    present = np.flatnonzero(np.bincount(code_points))
    number_of = np.zeros(present[-1] + 1, np.uint32)
    number_of[present] = np.arange(len(present))
    characters = [chr(code_point) for code_point in present]
    glyphs = _table(escaped.get(character, character) for character in characters)
    blanks = np.array([character in _BLANKS for character in characters])

    columns = (art + "\n").index("\n")
    numbers = number_of[code_points].reshape(-1, columns)
    rows = len(numbers)
    pixels = np.asarray(colours).reshape(rows, -1, columns, 3)
    step = max(1, BAND_CELLS // columns)
    for band in (slice(start, start + step) for start in range(0, rows, step)):
        planes = np.ascontiguousarray(pixels[band].transpose(1, 3, 0, 2))
        shown = planes if len(planes) > 1 else _legible(planes, invert)
        yield _Band(glyphs=glyphs[numbers[band]], layers=[_layer(layer, blanks[numbers[band]]) for layer in shown])


def _layer(colours: NDArray[np.uint8], is_blank: NDArray[np.bool_]) -> _Layer:
    red, green, blue = colours.astype(np.uint32)
    packed = red << 16 | green << 8 | blue
    if is_blank.any():  # a blank keeps the colour of the cell before it
        packed[is_blank] = _NO_COLOUR
        last_drawn = np.maximum.accumulate(np.where(is_blank, 0, np.arange(packed.shape[1])), axis=1)
        packed = np.take_along_axis(packed, last_drawn, axis=1)
    before = np.full_like(packed, _NO_COLOUR)
    before[:, 1:] = packed[:, :-1]
    return _Layer(colours=colours, packed=packed, before=before)


def _legible(planes: NDArray[np.uint8], invert: bool) -> NDArray[np.uint8]:
    """Brighten foreground colours; with `invert`, darken them. `planes` is (layers, 3, rows, columns).

    The density of the glyph already shows half of the brightness, so the colour shows the other half: each colour is scaled so
    that its largest channel v becomes sqrt(255 v). With `invert`, its distance from white is scaled in the same way.
    """
    flipped = np.uint8(255 if invert else 0)
    channels = planes ^ flipped
    largest = channels.max(axis=1, keepdims=True).astype(np.uint16)
    scaled: NDArray[np.uint8] = _SCALED[largest << 8 | channels] ^ flipped
    return scaled


def _scaled() -> NDArray[np.uint8]:
    """(65536,): at index 256 v + c, a channel c of a colour with largest channel v, scaled so that v becomes sqrt(255 v)."""
    largest, channel = np.mgrid[0:256, 0:256]
    target = np.sqrt(255.0 * largest).round().astype(np.int64)
    scaled: NDArray[np.int64] = (channel * target + largest // 2) // np.maximum(largest, 1)
    return np.minimum(scaled, 255).astype(np.uint8).ravel()


def _channels(digits: _Words, layer: _Layer) -> _Words:
    """(rows, columns, words): the digits of red, green and blue."""
    return np.concatenate([digits[channel] for channel in layer.colours], axis=-1)


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
_SCALED: Final = _scaled()
