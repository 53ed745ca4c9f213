"""The glyphs of printable ASCII, from the table that `tools/glyph-bank` generates and documents.

All numbers are integers stored as floating point, small enough that no sum is rounded, whatever the
order of summation. The art therefore does not depend on the library that multiplies the matrices.
"""

import pkgutil
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Final

import numpy as np
from numpy.typing import NDArray

from asciist.conversion.refining import RefiningTables
from asciist.conversion.similarity import GlyphStatistics

CHARACTERS: Final = bytes(range(32, 127)).decode("ascii")

COLUMNS: Final = 4
ROWS: Final = 8
"""Samples of a cell, horizontally and vertically."""

_MATCHERS: Final = 2
"""Sets of weights in the table; see `Preset.matcher` in `structure`."""

_GLYPHS_AT_ONCE: Final = 16
"""The weights are padded to a multiple of this many glyphs, which fill a vector register of 512
bits. That saves a tenth of the time of the matrix product and of the search for the maximum."""


@dataclass(frozen=True, kw_only=True)
class GlyphBank:
    """The weights that match cells with characters, for a set of characters."""

    characters: NDArray[np.uint8]
    """(glyphs,) ASCII codes."""
    samples: NDArray[np.uint8]
    """(glyphs, 32): coverage, 0 to 255, of each sample of the cell, by row."""
    coverage: NDArray[np.float64]
    """(glyphs, 8): coverage, 0 to 1020, of each eighth of the cell (two across, four down)."""
    weights: NDArray[np.float32]
    """(matchers, 34, glyphs): weights of the 32 samples of a cell (0 to 255, by row), the mean
    around it and the constant 1.

    `restricted_to` appends copies of the first glyph. They are never chosen, because the first of
    equally near glyphs is.
    """

    @cached_property
    def statistics(self) -> GlyphStatistics:
        """Sums over each glyph, for `similarity`; computed on first use."""
        return GlyphStatistics.of(self.coverage)

    @cached_property
    def refining(self) -> RefiningTables:
        """Tables over each glyph, for `refining`; computed on first use."""
        return RefiningTables.of(self.characters, self.coverage)

    def restricted_to(self, characters: str) -> "GlyphBank":
        """The glyph bank for a subset of `CHARACTERS`."""
        chosen = sorted({CHARACTERS.index(character) for character in characters})
        padded = chosen + [chosen[0]] * (-len(chosen) % _GLYPHS_AT_ONCE)
        return GlyphBank(
            characters=self.characters[chosen],
            samples=self.samples[chosen],
            coverage=self.coverage[chosen],
            weights=np.ascontiguousarray(self.weights[:, :, padded]),
        )


@cache
def glyph_bank() -> GlyphBank:
    """The glyph bank for all `CHARACTERS`."""
    table = pkgutil.get_data(__package__, "glyphs.bin")
    # None only for loaders without files.
    assert table is not None, "the package has no data"  # noqa: S101
    glyphs, samples = len(CHARACTERS), COLUMNS * ROWS
    shape = (_MATCHERS, samples + 1, glyphs)
    coverage = np.frombuffer(table, "u1", count=glyphs * samples)
    weights = np.frombuffer(table, "<i2", count=int(np.prod(shape)), offset=coverage.nbytes)
    bias = np.frombuffer(
        table, "<i4", count=_MATCHERS * glyphs, offset=coverage.nbytes + weights.nbytes
    )
    return GlyphBank(
        characters=np.frombuffer(CHARACTERS.encode("ascii"), np.uint8),
        samples=coverage.reshape(glyphs, samples),
        coverage=coverage.reshape(glyphs, 4, ROWS // 4, 2, COLUMNS // 2)
        .sum((2, 4), dtype=np.float64)
        .reshape(glyphs, 8),
        weights=np.concatenate(
            [weights.reshape(shape), bias.reshape(_MATCHERS, 1, glyphs)], axis=1, dtype=np.float32
        ),
    )
