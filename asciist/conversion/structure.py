"""The `structure` style: the character of each cell is the one whose glyph looks most like it, in shape and in tone.

    samples, 4x8 a cell  ->  a tone curve  ->  nearest glyph  ->  characters

Which tone curve serves an image best depends on it: a photograph wants all its tones, a cartoon its flat areas blank. So some
rows of cells are drawn with each preset, each drawing is compared with the image as a distant eye would, and the best one's
preset draws the whole.

Every choice is made on integers, or on ratios of integers that IEEE 754 rounds alike everywhere: the art is the same on every
machine.
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
from asciist.conversion.likeness import Glyphs, likeness
from asciist.conversion.options import ConversionOptions

_Bytes = NDArray[np.uint8]


@dataclass(frozen=True)
class Preset:
    """A tone curve, and the matcher for what it gives."""

    dark: int
    """Of 1000 samples, how many are drawn as black."""
    bright: int
    """Of 1000 samples, how many are below white."""
    quarters: int
    """Four times the exponent of the curve between: 4 is straight, more is darker."""
    matcher: int
    """Index of the matcher in the glyph bank: 0 sharpens edges and suits photographs, 1 leaves them and suits graphics."""


PRESETS: Final = (
    Preset(20, 800, 8, 0),
    Preset(200, 800, 6, 0),
    Preset(200, 800, 3, 0),
    Preset(500, 999, 3, 0),
    Preset(750, 990, 3, 0),
    Preset(900, 999, 3, 0),
    Preset(900, 999, 4, 0),
    Preset(50, 990, 3, 1),
)
"""Chosen greedily, each for what it adds to the mean score of photographs and graphics (docs/decisions)."""

MAX_MATCHED_CELLS: Final = 1_000_000
"""Art larger than any screen, of strips mostly, is drawn by tone alone: this many cells take half a second."""

_PREVIEW_CELLS: Final = 1000
"""Presets are compared on whole rows, spread evenly, of about this many cells in all."""

_MATCHED_AT_ONCE: Final = 4096
"""Cells: what is computed of them fits into a processor's cache."""


def render(image: DecodedImage, options: ConversionOptions, presets: Sequence[Preset] = PRESETS) -> str:
    """Lines of `options.width` characters, joined by newlines, drawn with the best of `presets`."""
    columns, rows = image.header.grid(options.width)
    bank = _bank_of(options.characters)
    if columns * rows > MAX_MATCHED_CELLS:
        return ramp.draw(image, columns, rows, ramp=bank.by_tone(), invert=options.invert)
    sampled = image.sample_luma(columns * COLUMNS, rows * ROWS, Image.Resampling.BOX)
    if options.invert:
        sampled = ImageChops.invert(sampled)
    samples = np.asarray(sampled).reshape(rows, ROWS, columns, COLUMNS)
    means = np.asarray(sampled.reduce((COLUMNS, ROWS)))
    curves = _tone_curves(np.array(sampled.histogram()), presets)
    best = _best(presets, curves, samples, means, bank) if len(presets) > 1 else 0
    preset, curve = presets[best], curves[best]
    surroundings = _surroundings(curve[means], np.arange(rows))
    art = np.full((rows, columns + 1), ord("\n"), np.uint8)
    step = max(1, _MATCHED_AT_ONCE // columns)
    for top in range(0, rows, step):
        part = slice(top, top + step)
        cells = _cells(curve[samples[part]], surroundings[part])
        art[part, :-1] = bank.characters[_nearest(cells, bank, preset)].reshape(-1, columns)
    return art.tobytes()[:-1].decode("ascii")


@lru_cache(maxsize=16)
def _bank_of(characters: str) -> GlyphBank:
    return glyph_bank().of(characters)


@lru_cache(maxsize=16)
def _glyphs_of(characters: str) -> Glyphs:
    return Glyphs(_bank_of(characters))


def _tone_curves(histogram: NDArray[np.int64], presets: Sequence[Preset]) -> _Bytes:
    """(presets, 256) tones of 0 to 255."""
    cumulative = 1000 * histogram.cumsum()
    limits = np.searchsorted(cumulative, histogram.sum() * np.array([(preset.dark, preset.bright) for preset in presets]))
    dark = np.minimum(limits[:, :1], 254)
    bright = np.clip(limits[:, 1:], dark + 1, 255)
    fourth_root = np.sqrt(np.sqrt(np.clip((np.arange(256) - dark) / (bright - dark), 0, 1)))
    # Powers by square roots and products, which IEEE 754 rounds correctly; pow() differs between C libraries.
    quarters = [preset.quarters for preset in presets]
    powers = np.cumprod(np.broadcast_to(fourth_root, (max(quarters), *fourth_root.shape)), axis=0)
    chosen: _Bytes = np.rint(255 * powers[np.array(quarters) - 1, np.arange(len(presets))]).astype(np.uint8)
    return chosen


def _surroundings(means: _Bytes, chosen: NDArray[np.intp]) -> NDArray[np.int64]:
    """The mean of the 3x3 cells around each of the `chosen` rows of (…, rows, columns) means; those at the edge count twice."""
    last = means.shape[-2] - 1
    down = means[..., np.maximum(chosen - 1, 0), :].astype(np.int64)
    down += means[..., chosen, :]
    down += means[..., np.minimum(chosen + 1, last), :]
    total = down + 4
    total[..., 1:] += down[..., :-1]
    total[..., :-1] += down[..., 1:]
    total[..., 0] += down[..., 0]
    total[..., -1] += down[..., -1]
    return total // 9


def _cells(samples: _Bytes, surroundings: NDArray[np.int64]) -> NDArray[np.float32]:
    """(rows * columns, 33) of (rows, 8, columns, 4) samples and (rows, columns) means around."""
    rows, columns = surroundings.shape
    cells = np.empty((rows, columns, ROWS * COLUMNS + 1), np.float32)
    cells[..., :-1].reshape(rows, columns, ROWS, COLUMNS)[...] = samples.transpose(0, 2, 1, 3)
    cells[..., -1] = surroundings
    return cells.reshape(rows * columns, -1)


def _nearest(cells: NDArray[np.float32], bank: GlyphBank, preset: Preset) -> NDArray[np.intp]:
    """(cells,) indices of glyphs. Of two that are equally near the first is taken."""
    scores = cells @ bank.weights[preset.matcher]
    scores += bank.bias[preset.matcher]
    return np.asarray(scores.argmax(1))


def _best(presets: Sequence[Preset], curves: _Bytes, samples: _Bytes, means: _Bytes, bank: GlyphBank) -> int:
    """Index of the preset whose drawing of some rows is most like them."""
    rows, _, columns, _ = samples.shape
    count = min(rows, -(-_PREVIEW_CELLS // columns))
    chosen = (2 * np.arange(count) + 1) * rows // (2 * count)
    preview = samples[chosen]
    surroundings = _surroundings(curves[:, means], chosen)
    drawings = np.stack(
        [
            _nearest(_cells(curve[preview], around), bank, preset)
            for preset, curve, around in zip(presets, curves, surroundings, strict=True)
        ]
    )
    halves = preview[..., 0::2].astype(np.float64) + preview[..., 1::2]
    eighths = (halves[:, 0::2] + halves[:, 1::2]).transpose(0, 2, 1, 3).reshape(count, columns, 8)
    alike = likeness(drawings.reshape(-1, count, columns), eighths, _glyphs_of(bank.characters.tobytes().decode("ascii")))
    return alike.index(max(alike))
