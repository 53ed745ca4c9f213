"""The `structure` style: each cell becomes the character whose glyph is most similar to it, in shape and in tone.

    4x8 samples per cell  ->  tone curve  ->  nearest glyph  ->  characters

The best tone curve depends on the image: a photograph needs all its tones, and a cartoon is clearer with its flat areas blank.
Some rows of cells are therefore drawn with every preset and compared with the image (`similarity`). The whole image is then
drawn with the best preset.

Every choice is made on integers, or on ratios of integers, which IEEE 754 rounds the same way everywhere, so the art is the
same on every machine.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops

from asciist.conversion import ramp
from asciist.conversion.decoding import DecodedImage
from asciist.conversion.glyphs import COLUMNS, ROWS, GlyphBank, glyph_bank
from asciist.conversion.similarity import similarity
from asciist.options import ConversionOptions

_Bytes = NDArray[np.uint8]


@dataclass(frozen=True)
class Preset:
    """A tone curve, and the matcher to use with it."""

    dark: int
    """Samples per thousand drawn as black."""
    bright: int
    """Samples per thousand drawn darker than white."""
    quarters: int
    """Exponent of the curve between black and white, in quarters: 4 is linear, more is darker."""
    matcher: int
    """Index of the matcher in the glyph bank: 0 is sharper and covers less, 1 is brighter and keeps flat areas even."""


PRESETS: Final = (
    Preset(42, 986, 3, 1),
    Preset(50, 902, 8, 0),
    Preset(282, 800, 3, 0),
    Preset(500, 999, 3, 0),
    Preset(750, 991, 4, 0),
)
"""Found together with the matchers, by a search for the set with the best scores (tools/glyph-bank)."""

MAX_MATCHED_CELLS: Final = 1_000_000
"""Maximum cells matched by shape, which takes half a second. Larger art, mostly of thin strips, does not fit on a screen and is
drawn by tone alone."""

_PREVIEW_CELLS: Final = 520
_PREVIEW_PARTS: Final = 2
"""Presets are compared on about _PREVIEW_CELLS cells, in rows spread evenly over the image. Rows alternate between the left and
the right half, so that a detail that occurs in only one place is rarely missed."""

_MATCHED_AT_ONCE: Final = 1024
"""Cells matched at a time, so that the intermediate results (0.4 MB) fit into the processor's cache."""


def render(image: DecodedImage, options: ConversionOptions, presets: Sequence[Preset] = PRESETS) -> str:
    """Lines of `options.width` characters, joined by newlines, drawn with the best preset."""
    columns, rows = image.header.grid(options.width)
    bank = _bank_of(options.characters)
    if columns * rows > MAX_MATCHED_CELLS:
        return ramp.draw(image, columns, rows, ramp=bank.by_tone(), invert=options.invert)
    sampled = image.sample_luma(columns * COLUMNS, rows * ROWS, Image.Resampling.BOX)
    if options.invert:
        sampled = ImageChops.invert(sampled)
    samples = np.asarray(sampled).reshape(rows, ROWS, columns, COLUMNS)
    surroundings = _surroundings(np.asarray(sampled.reduce((COLUMNS, ROWS))))
    curves = _tone_curves(np.array(sampled.histogram()), presets)
    matcher = _Matcher(bank, columns)
    best = _best(presets, curves, samples, surroundings, matcher) if len(presets) > 1 else 0
    nearest = matcher.nearest(samples, surroundings, curves[best], presets[best])
    art = np.full((rows, columns + 1), ord("\n"), np.uint8)
    art[:, :-1] = bank.characters[nearest]
    return art.tobytes()[:-1].decode("ascii")


@lru_cache(maxsize=16)
def _bank_of(characters: str) -> GlyphBank:
    return glyph_bank().restricted_to(characters)


def _tone_curves(histogram: NDArray[np.int64], presets: Sequence[Preset]) -> _Bytes:
    """(presets, 256): the tone, 0 to 255, for each luma."""
    cumulative = 1000 * histogram.cumsum()
    limits = np.searchsorted(cumulative, histogram.sum() * np.array([(preset.dark, preset.bright) for preset in presets]))
    dark = np.minimum(limits[:, :1], 254)
    bright = np.clip(limits[:, 1:], dark + 1, 255)
    fourth_root = np.sqrt(np.sqrt(np.clip((np.arange(256) - dark) / (bright - dark), 0, 1)))
    # Powers from square roots and products, which IEEE 754 rounds correctly; pow() differs between C libraries.
    quarters = [preset.quarters for preset in presets]
    powers = np.cumprod(np.broadcast_to(fourth_root, (max(quarters), *fourth_root.shape)), axis=0)
    chosen: _Bytes = np.rint(255 * powers[np.array(quarters) - 1, np.arange(len(presets))]).astype(np.uint8)
    return chosen


def _surroundings(means: _Bytes) -> _Bytes:
    """(rows, columns): the mean of each 3x3 cells of `means`, with cells at the edge repeated outside it."""
    padded = np.pad(means.astype(np.uint16), 1, mode="edge")
    across = padded[:, :-2] + padded[:, 1:-1] + padded[:, 2:]
    surroundings: _Bytes = ((across[:-2] + across[1:-1] + across[2:] + 4) // 9).astype(np.uint8)
    return surroundings


class _Matcher:
    """Finds the nearest glyphs, some rows at a time. Reuses its buffers, because allocating them takes longer than the sums."""

    def __init__(self, bank: GlyphBank, columns: int) -> None:
        self.bank: Final = bank
        most = max(_MATCHED_AT_ONCE, columns)
        self._cells = np.empty((most, ROWS * COLUMNS + 1), np.float32)
        self._scores = np.empty((most, bank.characters.size), np.float32)

    def nearest(self, samples: _Bytes, surroundings: _Bytes, curve: _Bytes, preset: Preset) -> NDArray[np.intp]:
        """(rows, columns): index of the nearest glyph for each cell; the first one if several are equally near.

        `samples` is (rows, 8, columns, 4), `surroundings` is (rows, columns); `curve` is applied to both.
        """
        rows, columns = surroundings.shape
        nearest = np.empty((rows, columns), np.intp)
        step = max(1, _MATCHED_AT_ONCE // columns)
        for top in range(0, rows, step):
            part = slice(top, min(top + step, rows))
            count = (part.stop - top) * columns
            cells, scores = self._cells[:count], self._scores[:count]
            by_rows = cells[:, :-1].reshape(-1, columns, ROWS, COLUMNS)
            by_rows[...] = np.take(curve, samples[part]).transpose(0, 2, 1, 3)
            cells[:, -1] = np.take(curve, surroundings[part]).ravel()
            np.matmul(cells, self.bank.weights[preset.matcher], out=scores)
            scores += self.bank.bias[preset.matcher]
            scores.argmax(1, out=nearest[part].reshape(-1))
        return nearest


def _best(presets: Sequence[Preset], curves: _Bytes, samples: _Bytes, surroundings: _Bytes, matcher: _Matcher) -> int:
    """Index of the preset whose drawing of the preview is most similar to the image."""
    rows, _, columns, _ = samples.shape
    parts = min(_PREVIEW_PARTS, columns)
    width = columns // parts
    count = min(rows, max(parts, -(-_PREVIEW_CELLS // width)))
    chosen = (2 * np.arange(count) + 1) * rows // (2 * count)
    pieces = [(chosen[part::parts], slice(part * width, (part + 1) * width)) for part in range(parts)]
    preview = np.concatenate([samples[some, :, across] for some, across in pieces])
    around = np.concatenate([surroundings[some, across] for some, across in pieces])
    drawings = np.stack(
        [matcher.nearest(preview, around, curve, preset) for preset, curve in zip(presets, curves, strict=True)]
    )
    halves = preview[..., 0::2].astype(np.float64) + preview[..., 1::2]
    eighths = (halves[:, 0::2] + halves[:, 1::2]).transpose(0, 2, 1, 3).reshape(count, width, 8)
    scores = similarity(drawings, eighths, matcher.bank)
    return scores.index(max(scores))
