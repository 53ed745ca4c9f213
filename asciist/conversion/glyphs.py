"""The glyphs of printable ASCII as integers, from the table that `tools/glyph-bank` makes and explains.

Every number here is an integer held in floating point, and so small that no sum of any order is rounded: the same bytes give
the same art whatever library multiplies the matrices.
"""

import pkgutil
from dataclasses import dataclass
from functools import cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

CHARACTERS: Final = bytes(range(32, 127)).decode("ascii")

COLUMNS: Final = 4
ROWS: Final = 8
"""Samples of a cell, across and down."""

_MATCHERS: Final = 2


@dataclass(frozen=True, kw_only=True)
class GlyphBank:
    """What a matcher knows of some characters."""

    characters: NDArray[np.uint8]
    """(glyphs,) ASCII codes."""
    coverage: NDArray[np.float64]
    """(glyphs, 8): how much of each eighth of its cell, two across and four down, a glyph covers, 0 to 1020."""
    weights: NDArray[np.float32]
    """(matchers, 33, glyphs): how much 32 samples of 0 to 255, in rows, and the mean around the cell speak for a glyph."""
    bias: NDArray[np.float32]
    """(matchers, glyphs): what speaks for it in any case."""

    def of(self, characters: str) -> "GlyphBank":
        """The same knowledge of fewer characters, each in `CHARACTERS`."""
        chosen = sorted({CHARACTERS.index(character) for character in characters})
        return GlyphBank(
            characters=self.characters[chosen],
            coverage=self.coverage[chosen],
            weights=np.ascontiguousarray(self.weights[:, :, chosen]),
            bias=self.bias[:, chosen],
        )

    def by_tone(self) -> str:
        """The characters from the one that covers least to the one that covers most."""
        order = self.coverage.sum(1).argsort(kind="stable")
        return bytes(self.characters[order]).decode("ascii")


@cache
def glyph_bank() -> GlyphBank:
    """The glyphs of all `CHARACTERS`."""
    table = pkgutil.get_data(__package__, "glyphs.bin")
    assert table is not None, "the package has no data"  # noqa: S101 - None is for loaders that have no files
    glyphs, samples = len(CHARACTERS), COLUMNS * ROWS
    shape = (_MATCHERS, samples + 1, glyphs)
    coverage = np.frombuffer(table, "u1", count=glyphs * samples)
    weights = np.frombuffer(table, "<i2", count=int(np.prod(shape)), offset=coverage.nbytes)
    bias = np.frombuffer(table, "<i4", count=_MATCHERS * glyphs, offset=coverage.nbytes + weights.nbytes)
    return GlyphBank(
        characters=np.frombuffer(CHARACTERS.encode("ascii"), np.uint8),
        coverage=coverage.reshape(glyphs, 4, ROWS // 4, 2, COLUMNS // 2).sum((2, 4), dtype=np.float64).reshape(glyphs, 8),
        weights=weights.reshape(shape).astype(np.float32),
        bias=bias.reshape(_MATCHERS, glyphs).astype(np.float32),
    )
