"""Coloured art as text: rows with ANSI escape codes for a terminal, or with HTML elements for a
browser.

Each cell is an array of 4-byte words (colour codes, then the character), padded with zero bytes, so
that numpy can build many cells at once. The words of the codes are zero if the colour is that of
the previous cell. Deleting all zero bytes leaves the text.

Requires numpy, so `asciist.art.forms` imports this module only for colour.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import reduce
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from asciist.art import Art
from asciist.art.palettes import dithered, nearest_of_16, nearest_of_256

Words = NDArray[np.uint32]
"""Pieces of UTF-8 text, 4 bytes each, in memory order."""

_BLANKS: Final = " \u2800"
"""Characters without a visible foreground, which need no colour."""

_SPREAD_OF_256: Final = 12
_SPREAD_OF_16: Final = 16
"""Width of the range of levels for dithering with 256 and with 16 colours. A wider range gives
better averages, and hides details (docs/decisions/0054-what-colour-cannot-gain.md)."""

NO_COLOUR: Final = 1 << 24
"""Marker for no colour; larger than any 0xRRGGBB."""

_BAND_CELLS: Final = 4096
"""Cells written at a time, in about 1 ms and 3 MB of memory."""

_ENTITIES: Final = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}


Colours = NDArray[np.uint32]
"""A number for the colour of each cell: 0xRRGGBB, or an index of a palette."""


@dataclass(frozen=True, kw_only=True)
class Palette:
    """The colours supported by a terminal or a browser, and their notation."""

    nearest: Callable[[NDArray[np.uint8]], Colours]
    """Returns the numbers (rows, columns) of RGB colours of shape (3, rows, columns)."""
    digits: Callable[[Colours, int], Words]
    """Returns the text of each number, with a last axis of words. The second argument is the layer:
    0 for the foreground, 1 for the background."""
    kinds: tuple[str, str]
    """Text before a foreground, and before a background."""
    spread: int = 0
    """Width of the range of levels for dithering, which makes neighbouring colours of the palette
    alternate."""


class _Layer(NamedTuple):
    """The foreground or the background colours of some rows."""

    colours: Colours
    """(rows, columns); `NO_COLOUR` before the first visible character of a row."""
    is_new: NDArray[np.bool_]
    """(rows, columns): True where the colour differs from that of the cell on the left."""
    written: Colours
    """(rows, columns): the same colours, with any colour for `NO_COLOUR`."""


def escaped(art: Art, palette: Palette) -> Iterator[str]:
    """Yield the rows of the first frame in batches, with escape codes. Each row ends with a reset
    and a newline. Two colours that change at once share one code.

    The only colour of a cell is brightened, or darkened in light art (see `_legible`); pairs of
    colours are unchanged.
    """
    for layers, glyphs in _bands(art, palette):
        is_new = reduce(np.logical_or, (layer.is_new for layer in layers))
        cells = [_joined(_words("\x1b["), where=is_new)]
        for number, layer in enumerate(layers):
            if number:
                cells.append(_joined(_words(";"), where=layer.is_new & layers[0].is_new))
            cells.append(
                _joined(
                    _words(palette.kinds[number]),
                    palette.digits(layer.written, number),
                    where=layer.is_new,
                )
            )
        cells += [_joined(_words("m"), where=is_new), glyphs]
        yield _text(_joined(*cells), _words("\x1b[0m\n"))


def elements(art: Art) -> Iterator[str]:
    """Yield the rows of the first frame in batches, in HTML. Each ends with a newline; colours are
    as for `escaped`."""
    closing, newline = _words("</b>"), _words("\n")
    for layers, glyphs in _bands(art, _HTML, entities=_ENTITIES):
        is_new = reduce(np.logical_or, (layer.is_new for layer in layers))
        style = [
            part
            for number, layer in enumerate(layers)
            for part in (_words(_HTML.kinds[number]), _HTML.digits(layer.written, number))
        ]
        is_first = np.arange(is_new.shape[1]) == 0
        has_colour = layers[-1].colours != NO_COLOUR
        before = np.roll(has_colour, 1, axis=1) & ~is_first
        cells = _joined(
            _joined(closing, where=is_new & before),
            _joined(*style, _words(">"), where=is_new),
            glyphs,
        )
        yield _text(cells, _joined(_joined(closing, where=has_colour[:, -1]), newline))


def shown_colours(art: Art, palette: Palette) -> Colours:
    """Return (layers, rows, columns): the colours of the first frame, as written by `escaped`."""
    bands = ([layer.colours for layer in layers] for layers in _layers(art, palette))
    return np.concatenate([np.stack(band) for band in bands], axis=1)


def parameters(colours: Colours, palette: Palette, layer: int) -> list[str]:
    """Return the parameters of the escape code for each colour of a layer, a one-dimensional array
    without `NO_COLOUR`."""
    words = _joined(_words(palette.kinds[layer]), palette.digits(colours, layer), _words("\n"))
    return words.tobytes().translate(None, b"\0").decode().split("\n")[:-1]


def _bands(
    art: Art, palette: Palette, *, entities: Mapping[str, str] | None = None
) -> Iterator[tuple[list[_Layer], Words]]:
    """Yield the layers and the characters in UTF-8, (rows, columns, words), in batches of rows."""
    code_points = code_points_of(art)
    present = np.flatnonzero(np.bincount(code_points.ravel()))
    number_of = np.zeros(present[-1] + 1, np.uint32)
    number_of[present] = np.arange(len(present))
    characters = [chr(code_point) for code_point in present]
    glyphs = _table((entities or {}).get(character, character) for character in characters)
    numbers = number_of[code_points]
    start = 0
    for layers in _layers(art, palette):
        end = start + len(layers[0].colours)
        yield layers, glyphs[numbers[start:end]]
        start = end


def _layers(art: Art, palette: Palette) -> Iterator[list[_Layer]]:
    """Yield the layers of the first frame in batches of rows."""
    columns, rows = art.size
    blanks = np.isin(code_points_of(art), [ord(blank) for blank in _BLANKS])
    colours = np.frombuffer(art.frames[0].colours, np.uint8).reshape(-1, columns, 3)
    if palette.spread:
        colours = dithered(colours, palette.spread)
    pixels = colours.reshape(rows, -1, columns, 3)
    step = max(1, _BAND_CELLS // columns)
    for band in (slice(start, start + step) for start in range(0, rows, step)):
        planes = np.array(pixels[band].transpose(1, 3, 0, 2), order="C")
        shown = planes if len(planes) > 1 else _legible(planes, art.is_light)
        is_blank = blanks[band]
        has_colour = np.ones_like(is_blank)
        if is_blank.any():  # a blank keeps the foreground of the cell before it
            last_drawn = np.maximum.accumulate(np.where(is_blank, 0, np.arange(columns)), axis=1)
            shown[0] = np.take_along_axis(shown[0], last_drawn[np.newaxis], axis=2)
            has_colour = ~np.take_along_axis(is_blank, last_drawn, axis=1)
        foreground, *background = map(palette.nearest, shown)
        masked = np.where(has_colour, foreground, np.uint32(NO_COLOUR))
        yield [_layer(masked, foreground), *(_layer(each, each) for each in background)]


def code_points_of(art: Art) -> NDArray[np.uint32]:
    """Return (rows, columns): the characters of the first frame."""
    columns, rows = art.size
    encoded = art.text.replace("\n", "").encode("utf-32-le")
    return np.frombuffer(encoded, "<u4").reshape(rows, columns)


def _layer(colours: Colours, written: Colours) -> _Layer:
    before = np.full_like(colours, NO_COLOUR)
    before[:, 1:] = colours[:, :-1]
    return _Layer(colours, colours != before, written)


def _packed(colours: NDArray[np.uint8]) -> Colours:
    red, green, blue = colours.astype(np.uint32)
    packed: Colours = red << 16 | green << 8 | blue
    return packed


def _legible(planes: NDArray[np.uint8], invert: bool) -> NDArray[np.uint8]:
    """Brighten foreground colours; with `invert`, darken them. `planes` is (layers, 3, rows,
    columns).

    The density of the glyph shows the brightness, so the colour is nearly as bright as its hue can
    be: it is scaled so that its largest channel v, of 255, becomes 255 (v / 255)^(1/4). With
    `invert`, its distance from white is scaled in the same way.
    """
    flipped = np.uint8(255 if invert else 0)
    channels = planes ^ flipped
    largest = channels.max(axis=1, keepdims=True).astype(np.uint16)
    scaled: NDArray[np.uint8] = _SCALED[largest << 8 | channels] ^ flipped
    return scaled


def _scaled() -> NDArray[np.uint8]:
    """(65536,): at index 256 v + c, a channel c of a colour with largest channel v, scaled as by
    `_legible`."""
    largest, channel = np.mgrid[0:256, 0:256]
    target = (255 * np.sqrt(np.sqrt(largest / 255))).round().astype(np.int64)
    scaled: NDArray[np.int64] = (channel * target + largest // 2) // np.maximum(largest, 1)
    return np.minimum(scaled, 255).astype(np.uint8).ravel()


def _channels(table: Words, colours: Colours) -> Words:
    """Return the text of red, green and blue of 0xRRGGBB."""
    channels = (colours >> 16 & 255, colours >> 8 & 255, colours & 255)
    return np.concatenate([table[channel] for channel in channels], axis=-1)


def _words(text: str) -> Words:
    return np.frombuffer(_padded(text.encode()), np.uint32)


def _padded(text: bytes) -> bytes:
    return text.ljust(-(-len(text) // 4) * 4, b"\0")


def _table(texts: Iterable[str]) -> Words:
    """(texts, words): each text padded to the length of the longest."""
    encoded = [_padded(text.encode()) for text in texts]
    length = max(map(len, encoded))
    return np.frombuffer(
        b"".join(text.ljust(length, b"\0") for text in encoded), np.uint32
    ).reshape(-1, length // 4)


def _joined(*parts: Words, where: NDArray[np.bool_] | None = None) -> Words:
    """Concatenate `parts` along the last axis, broadcasting the others. Cells outside `where`
    become zero."""
    shape = np.broadcast_shapes(
        *(part.shape[:-1] for part in parts), () if where is None else where.shape
    )
    words = np.empty((*shape, sum(part.shape[-1] for part in parts)), np.uint32)
    start = 0
    for part in parts:
        words[..., start : start + part.shape[-1]] = part
        start += part.shape[-1]
    if where is not None:
        words[~where] = 0
    return words


def _text(cells: Words, ends: Words) -> str:
    """Convert (rows, columns, words) to text, with the words `ends` at the end of each row."""
    rows = cells.shape[0]
    return _joined(cells.reshape(rows, -1), ends).tobytes().translate(None, b"\0").decode()


_DECIMAL: Final = _table(f";{value}" for value in range(256))
_HEXADECIMAL: Final = _table(f"{value:02x}" for value in range(256))
_SIXTEEN: Final = [
    _table(str(first + index + (60 - 8) * (index >= 8)) for index in range(16))
    for first in (30, 40)
]
"""Codes of the 16 colours, as foreground and as background."""
_SCALED: Final = _scaled()

TRUE_COLOUR: Final = Palette(
    nearest=_packed,
    digits=lambda colours, _layer: _channels(_DECIMAL, colours),
    kinds=("38;2", "48;2"),
)
"""24-bit colours (SGR 38;2 and 48;2 of ISO 8613-6)."""

OF_256: Final = Palette(
    nearest=lambda colours: nearest_of_256(colours.transpose(1, 2, 0)).astype(np.uint32),
    digits=lambda colours, _layer: _DECIMAL[colours],
    kinds=("38;5", "48;5"),
    spread=_SPREAD_OF_256,
)
"""xterm's 256 colours."""

OF_16: Final = Palette(
    nearest=lambda colours: nearest_of_16(colours.transpose(1, 2, 0)).astype(np.uint32),
    digits=lambda colours, layer: _SIXTEEN[layer][colours],
    kinds=("", ""),
    spread=_SPREAD_OF_16,
)
"""16 colours (SGR 30 to 37 and 40 to 47 of ISO 6429, and 60 more for bright ones)."""

_HTML: Final = Palette(
    nearest=_packed,
    digits=lambda colours, _layer: _channels(_HEXADECIMAL, colours),
    kinds=("<b style=color:#", ";background:#"),
)
"""Colours in a style sheet."""
