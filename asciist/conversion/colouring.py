"""Colour for finished art: the escape codes of a terminal, or a document for a browser.

Vectorised: a cell becomes a few words of 4 bytes (its codes, then its character) padded with zero bytes, and words are zero
where the colour goes on from the cell before. What is left when all zero bytes are deleted is the text.
This module needs numpy, so `conversion.render` imports it only for colour.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

_Words = NDArray[np.uint32]
"""Four bytes of text each, in the order of memory."""

_BLANKS: Final = " \u2800"
"""Characters that show no foreground, and so need no colour."""

_NO_COLOUR: Final = 1 << 24
"""Differs from every 0xRRGGBB."""

_BAND_CELLS: Final = 16_384
"""Cells at a time: their words take under a megabyte, whatever the size of the art."""

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
"""A font's ▀ does not quite fill the upper half of a line; this does, behind it."""

_ESCAPED: Final = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}


def ansi(art: str, colours: Image.Image, *, invert: bool) -> str:
    """`art` with the codes that set 24-bit colours (SGR 38;2 and 48;2 of ISO 8613-6), reset at the end of each line.

    `colours` is of mode RGB and has a pixel for each character, or two: the upper one for the foreground, which is then shown
    as it is, the lower one for the background. A single one is made brighter (`_legible`), or darker to `invert`.
    """
    text = []
    for band in _bands(art, colours, invert, {}):
        cells = []
        for code, layer in zip(("\x1b[38;2", "\x1b[48;2"), band.layers, strict=False):
            cells += [_joined(_words(code), _channels(_DECIMAL, layer), _words("m"), where=layer.is_new)]
        text.append(_text(_joined(*cells, band.glyphs), _words("\x1b[0m\n")))
    return "".join(text)[:-1]


def html(art: str, colours: Image.Image, *, invert: bool) -> str:
    """`art` in a document that needs nothing else: dark, or light to `invert`. `colours` is as for `ansi`."""
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
    """One colour of each cell."""

    colours: NDArray[np.uint8]
    """(3, rows, columns): red, green, blue."""
    packed: NDArray[np.uint32]
    """(rows, columns): the colour in force after each cell as 0xRRGGBB; `_NO_COLOUR` before the first of a row."""
    before: NDArray[np.uint32]
    """(rows, columns): the colour in force before each cell."""

    @property
    def is_new(self) -> NDArray[np.bool_]:
        return np.not_equal(self.packed, self.before)


@dataclass(frozen=True, kw_only=True)
class _Band:
    """Some rows of the art."""

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
    step = max(1, _BAND_CELLS // columns)
    for band in (slice(start, start + step) for start in range(0, rows, step)):
        planes = np.ascontiguousarray(pixels[band].transpose(1, 3, 0, 2))
        shown = planes if len(planes) > 1 else _legible(planes, invert)
        yield _Band(glyphs=glyphs[numbers[band]], layers=[_layer(layer, blanks[numbers[band]]) for layer in shown])


def _layer(colours: NDArray[np.uint8], is_blank: NDArray[np.bool_]) -> _Layer:
    red, green, blue = colours.astype(np.uint32)
    packed = red << 16 | green << 8 | blue
    if is_blank.any():  # a blank goes on in the colour of what is before it
        packed[is_blank] = _NO_COLOUR
        last_drawn = np.maximum.accumulate(np.where(is_blank, 0, np.arange(packed.shape[1])), axis=1)
        packed = np.take_along_axis(packed, last_drawn, axis=1)
    before = np.full_like(packed, _NO_COLOUR)
    before[:, 1:] = packed[:, :-1]
    return _Layer(colours=colours, packed=packed, before=before)


def _legible(planes: NDArray[np.uint8], invert: bool) -> NDArray[np.uint8]:
    """Half of the brightness is in the glyph already, so the colour (layers, 3, rows, columns) carries the other half.

    Each colour is scaled so that its largest channel v becomes sqrt(255 v); to `invert`, its distance from white is.
    """
    flipped = np.uint8(255 if invert else 0)
    channels = planes ^ flipped
    largest = channels.max(axis=1, keepdims=True).astype(np.uint16)
    scaled: NDArray[np.uint8] = _SCALED[largest << 8 | channels] ^ flipped
    return scaled


def _scaled() -> NDArray[np.uint8]:
    """[256 v + c]: the channel c of a colour whose largest channel is v, when that becomes sqrt(255 v). In integers."""
    largest, channel = np.mgrid[0:256, 0:256]
    target = np.sqrt(255.0 * largest).round().astype(np.int64)
    scaled: NDArray[np.int64] = (channel * target + largest // 2) // np.maximum(largest, 1)
    return np.minimum(scaled, 255).astype(np.uint8).ravel()


def _channels(digits: _Words, layer: _Layer) -> _Words:
    """(rows, columns, words): the channels one after the other."""
    return np.concatenate([digits[channel] for channel in layer.colours], axis=-1)


def _words(text: str) -> _Words:
    return np.frombuffer(_padded(text.encode()), np.uint32)


def _padded(text: bytes) -> bytes:
    return text.ljust(-(-len(text) // 4) * 4, b"\0")


def _table(texts: Iterable[str]) -> _Words:
    """(texts, words) of equal length."""
    encoded = [_padded(text.encode()) for text in texts]
    length = max(map(len, encoded))
    return np.frombuffer(b"".join(text.ljust(length, b"\0") for text in encoded), np.uint32).reshape(-1, length // 4)


def _joined(*parts: _Words, where: NDArray[np.bool_] | None = None) -> _Words:
    """The words of all `parts`, whose last axis they are, one part after the other; zero but `where`."""
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
    """The text of (rows, columns, words), and of the words at the end of each row."""
    rows = cells.shape[0]
    return _joined(cells.reshape(rows, -1), ends).tobytes().translate(None, b"\0").decode()


_DECIMAL: Final = _table(f";{value}" for value in range(256))
_HEXADECIMAL: Final = _table(f"{value:02x}" for value in range(256))
_SCALED: Final = _scaled()
