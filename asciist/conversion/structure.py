"""The `structure` style: each cell becomes the character whose glyph is most similar to it, in
shape and in tone.

    4x8 samples per cell -> tone -> nearest glyph -> agreement with neighbours -> characters

A photograph is drawn with a local tone (`tone`). The best tone curve for a graphic depends on it: a
cartoon is clearer with its flat areas blank. Some rows of cells are therefore drawn with every
preset and compared with the image (`similarity`). The whole image is then drawn with the best
preset, and each cell is chosen again so that edges run on across cells (`refining`).

Every choice is made on integers, or on ratios of integers, which IEEE 754 rounds the same way
everywhere, so the art is the same on every machine.
"""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from itertools import accumulate
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops

from asciist.conversion import refining
from asciist.conversion.decoding import DecodedImage
from asciist.conversion.glyphs import COLUMNS, ROWS, GlyphBank, glyph_bank
from asciist.conversion.kinds import histogram_of, is_graphic
from asciist.conversion.similarity import similarity
from asciist.conversion.tone import LocalTone
from asciist.options import ConversionOptions

_Bytes = NDArray[np.uint8]
_Words = NDArray[np.uint32]
"""The four samples of a cell in one row of samples, as one item, so that they are copied
together."""
_SAMPLES: Final = np.dtype("<u4")


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
    """Index of the matcher in the glyph bank: 0 is sharper and covers less, 1 is brighter and keeps
    flat areas even."""


PRESETS: Final = (
    Preset(500, 999, 3, 0),
    Preset(42, 986, 3, 1),
    Preset(50, 902, 8, 0),
    Preset(282, 800, 3, 0),
    Preset(750, 991, 4, 0),
    Preset(300, 990, 3, 0),
)
"""Found by searches for the set with the best scores: the last one together with the second pass
(docs/decisions/0039-midtones-and-edges.md), and the others with the matchers (tools/glyph-bank)."""

_PHOTOGRAPH: Final = Preset(0, 1000, 4, 0)
"""For photographs, whose local tone stretches them already."""

_PREVIEW_CELLS: Final = 520
_PREVIEW_PARTS: Final = 2
"""Presets are compared on about _PREVIEW_CELLS cells, in rows spread evenly over the image. Rows
alternate between the left and the right half, so that details in only one place are rarely
missed."""

_HIDDEN_CHARGE: Final = 0.05
"""Share of its similarity that a blank drawing would lose if the image had no cell near black."""
_DARKEST_MIDTONE: Final = 4 * refining.DARKEST_MIDTONE
"""Minimum mean of a cell's eighths, 0 to 1020, for charging a blank."""

_MATCHED_AT_ONCE: Final = 600
"""Cells matched at a time, so that the intermediate results (0.3 MB) stay in the processor's
cache."""

_MULTIPLIED_AT_ONCE: Final = 300
"""Cells whose scores are computed by one matrix product. With AVX-512, OpenBLAS multiplies up to a
million (cells * 34 * 96) pairs of numbers without first copying the matrices, which saves a sixth
of the time; elsewhere the number matters little."""

_EIGHTHS: Final = np.kron(np.eye(4), np.kron(np.ones((2, 1)), np.kron(np.eye(2), np.ones((2, 1)))))
"""(32, 8): matrix that sums the samples in each eighth of a cell (two across, four down)."""


@dataclass(frozen=True)
class Tuning:
    """The choice for one image, or for all frames of an animation."""

    preset: Preset
    curve: bytes
    """The tone, 0 to 255, for each luma."""
    tone: LocalTone | None = None
    """Applied before the curve, if the image is a photograph."""


def sample(image: DecodedImage, options: ConversionOptions, grid: tuple[int, int]) -> Image.Image:
    """The brightness to draw, with `invert` the share of ink: COLUMNS x ROWS samples for each cell
    of a grid, mode L."""
    columns, rows = grid
    sampled = image.mean_luma(columns * COLUMNS, rows * ROWS)
    return ImageChops.invert(sampled) if options.invert else sampled


def tune(frames: Sequence[Image.Image], options: ConversionOptions) -> Tuning:
    """Choose a tone, or a preset and its curve, for samples of one image or of several of the same
    size."""
    histogram = histogram_of(frames)
    if not is_graphic(histogram):
        return Tuning(_PHOTOGRAPH, bytes(range(256)), LocalTone.of(frames))
    curves = _tone_curves(histogram)
    samples, means = _samples_and_means(_stacked(frames))
    best = _best(curves, samples, _surroundings(means), _bank_of(options.characters))
    return Tuning(PRESETS[best], curves[best])


def draw(sampled: Image.Image, options: ConversionOptions, tuning: Tuning) -> str:
    """Return lines of characters, joined by newlines. May replace the samples by their tones."""
    bank = _bank_of(options.characters)
    if tuning.tone is not None:
        tuning.tone.apply(sampled)
    samples, means = _samples_and_means(sampled)
    surroundings = _surroundings(means)
    rows, columns = means.shape
    at_once = max(1, _MATCHED_AT_ONCE // columns)
    matcher = _Matcher(bank, at_once * columns)
    nearest = np.empty((rows, columns), np.uint8)
    for top in range(0, rows, at_once):
        part = slice(top, top + at_once)
        cells = _cells(samples[part], surroundings[part])
        nearest[part] = matcher.nearest(cells, tuning.curve, tuning.preset).reshape(-1, columns)
    art = np.full((rows, columns + 1), ord("\n"), np.uint8)
    eighths = np.asarray(sampled.reduce((COLUMNS // refining.COLUMNS, ROWS // refining.ROWS)))
    art[:, :-1] = bank.characters.take(
        refining.refined(nearest, eighths, means, surroundings, bank.refining)
    )
    return art.tobytes()[:-1].decode("ascii")


def _stacked(frames: Sequence[Image.Image]) -> Image.Image:
    """Return images of one size, one below the other."""
    width, height = frames[0].size
    stacked = Image.new("L", (width, height * len(frames)))
    for number, frame in enumerate(frames):
        stacked.paste(frame, (0, number * height))
    return stacked


def _samples_and_means(sampled: Image.Image) -> tuple[_Words, _Bytes]:
    """(rows, 8, columns): four samples of a cell each; (rows, columns): the mean of each cell."""
    columns, rows = sampled.width // COLUMNS, sampled.height // ROWS
    samples = np.frombuffer(sampled.tobytes(), _SAMPLES).reshape(rows, ROWS, columns)
    return samples, np.asarray(sampled.reduce((COLUMNS, ROWS)))


@lru_cache(maxsize=16)
def _bank_of(characters: str) -> GlyphBank:
    return glyph_bank().restricted_to(characters)


def _tone_curves(histogram: list[int]) -> list[bytes]:
    """For each preset, a table of 256 bytes: the tone, 0 to 255, for each luma."""
    samples = sum(histogram)
    per_mille = [1000 * darker for darker in accumulate(histogram)]
    curves = []
    for preset in PRESETS:
        dark = min(bisect_left(per_mille, samples * preset.dark), 254)
        bright = min(max(bisect_left(per_mille, samples * preset.bright), dark + 1), 255)
        curves.append(
            bytes(dark) + _tones(bright - dark, preset.quarters) + b"\xff" * (255 - bright)
        )
    return curves


@cache
def _tones(white: int, quarters: int) -> bytes:
    """The tone, 255 * (luma / white) ** (quarters / 4), for each luma from 0 to `white`.

    `white` is 1 to 255, so the cache holds at most 255 tables of 256 bytes for each exponent.
    """
    # Powers from square roots and products, which IEEE 754 rounds correctly; pow() differs between
    # C libraries.
    fourth_root = np.sqrt(np.sqrt(np.arange(white + 1) / white))
    power = fourth_root
    for _ in range(quarters - 1):
        power = power * fourth_root
    tones: bytes = np.rint(255 * power).astype(np.uint8).tobytes()
    return tones


def _surroundings(means: _Bytes) -> _Bytes:
    """(rows, columns): the mean of each 3x3 cells of `means`, with cells at the edge repeated
    outside it."""
    rows, columns = means.shape
    padded = means.astype(np.uint16).take(np.arange(-1, rows + 1), axis=0, mode="clip")
    padded = padded.take(np.arange(-1, columns + 1), axis=1, mode="clip")
    across = padded[:, :-2] + padded[:, 1:-1] + padded[:, 2:]
    surroundings: _Bytes = ((across[:-2] + across[1:-1] + across[2:] + 4) // 9).astype(np.uint8)
    return surroundings


def _cells(samples: _Words, surroundings: _Bytes) -> _Bytes:
    """(cells, 36): the 32 samples of each cell by row, the mean around it, and three bytes of
    padding.

    `samples` is (rows, 8, columns), `surroundings` is (rows, columns).
    """
    rows, _, columns = samples.shape
    cells = np.empty((rows, columns, ROWS + 1), _SAMPLES)
    cells[..., :-1] = samples.transpose(0, 2, 1)
    cells[..., -1] = surroundings
    return cells.view(np.uint8).reshape(rows * columns, (ROWS + 1) * COLUMNS)


class _Matcher:
    """Finds the nearest glyphs of at most `most` cells at a time.

    It reuses its buffers, because allocating them takes longer than the sums.
    """

    def __init__(self, bank: GlyphBank, most: int) -> None:
        self._weights: Final = bank.weights
        _, inputs, glyphs = bank.weights.shape
        self._inputs: Final = np.ones((most, inputs), np.float32)
        self._scores: Final = np.empty((most, glyphs), np.float32)

    def nearest(self, cells: _Bytes, curve: bytes, preset: Preset) -> NDArray[np.intp]:
        """(cells,): index of the nearest glyph for each cell; the first one if several are equally
        near.

        `curve` is applied to the samples and to the surroundings.
        """
        inputs, scores = self._inputs[: len(cells)], self._scores[: len(cells)]
        tones = np.frombuffer(cells.tobytes().translate(curve), np.uint8).reshape(cells.shape)
        inputs[:, :-1] = tones[:, : inputs.shape[1] - 1]  # the last input stays 1
        for start in range(0, len(cells), _MULTIPLIED_AT_ONCE):
            part = slice(start, start + _MULTIPLIED_AT_ONCE)
            np.matmul(inputs[part], self._weights[preset.matcher], out=scores[part])
        nearest: NDArray[np.intp] = scores.argmax(1)
        return nearest


def _best(curves: list[bytes], samples: _Words, surroundings: _Bytes, bank: GlyphBank) -> int:
    """Index of the preset whose drawing of the preview is most similar to the image."""
    rows, _, columns = samples.shape
    parts = min(_PREVIEW_PARTS, columns)
    width = columns // parts
    count = min(rows, max(parts, -(-_PREVIEW_CELLS // width)))
    chosen = (2 * np.arange(count) + 1) * rows // (2 * count)
    pieces = [
        (chosen[part::parts], slice(part * width, (part + 1) * width)) for part in range(parts)
    ]
    cells = np.concatenate(
        [_cells(samples[some, :, across], surroundings[some, across]) for some, across in pieces]
    )
    matcher = _Matcher(bank, len(cells))
    drawings = [
        matcher.nearest(cells, curve, preset) for preset, curve in zip(PRESETS, curves, strict=True)
    ]
    eighths = cells[:, : len(_EIGHTHS)].astype(np.float64) @ _EIGHTHS
    drawn = np.stack(drawings)
    hidden = (bank.statistics.means.take(drawn) == 0) & (eighths.sum(1) >= 8 * _DARKEST_MIDTONE)
    scores = similarity(
        drawn.reshape(-1, count, width), eighths.reshape(count, width, -1), bank.statistics
    )
    scores = [
        score * (1 - _HIDDEN_CHARGE * share)
        for score, share in zip(scores, hidden.mean(1).tolist(), strict=True)
    ]
    return scores.index(max(scores))
