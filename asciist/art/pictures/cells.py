"""Art as rows of characters with their colours in pictures."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from asciist.art import GROUNDS, INKS, Art
from asciist.art.writing import NO_COLOUR, TRUE_COLOUR, shown_colours


class Run(NamedTuple):
    """Consecutive characters of a row that have the same colours."""

    text: str
    foreground: int | None
    """0xRRGGBB, or None for the picture's ink."""
    background: int | None
    """0xRRGGBB, or None for the picture's ground."""


@dataclass(frozen=True, kw_only=True)
class Cells:
    """The cells of one frame."""

    rows: list[str]
    """The characters."""
    colours: NDArray[np.uint32] | None
    """(1 or 2, rows, columns): the foregrounds and backgrounds, 0xRRGGBB or `NO_COLOUR`; None
    without colours."""
    is_light: bool
    """True if the ground is white and characters without a colour are dark."""

    @classmethod
    def of(cls, art: Art) -> "Cells":
        """Return the cells of the first frame."""
        colours = shown_colours(art, TRUE_COLOUR) if art.is_coloured else None
        return cls(rows=art.text.split("\n"), colours=colours, is_light=art.is_light)

    def part(self, start: int, end: int) -> "Cells":
        """Return some of the rows."""
        colours = None if self.colours is None else self.colours[:, start:end]
        return Cells(rows=self.rows[start:end], colours=colours, is_light=self.is_light)

    @property
    def columns(self) -> int:
        return len(self.rows[0])

    @property
    def is_coloured(self) -> bool:
        return self.colours is not None

    @cached_property
    def characters(self) -> frozenset[str]:
        """The distinct characters."""
        return frozenset().union(*self.rows)

    @property
    def ground(self) -> int:
        """The background colour, 0xRRGGBB."""
        return GROUNDS[self.is_light]

    @property
    def ink(self) -> int:
        """The colour of uncoloured characters, 0xRRGGBB."""
        return INKS[self.is_light]

    @property
    def label(self) -> str:
        """The size of the art as a phrase, for the alternative text of a picture."""
        return f"ASCII art, {self.columns} columns wide and {len(self.rows)} lines high"

    def runs(self, row: int) -> Iterator[Run]:
        """Yield the runs of a row."""
        text = self.rows[row]
        if self.colours is None:
            yield Run(text, None, None)
            return
        layers = self.colours[:, row].tolist()
        start = 0
        for colours, run in groupby(zip(*layers, strict=True)):
            end = start + len(list(run))
            known = [None if colour == NO_COLOUR else colour for colour in colours]
            yield Run(text[start:end], known[0], known[1] if len(known) > 1 else None)
            start = end
