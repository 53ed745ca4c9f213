"""The table of styles. A new style is a module beside `ramp` and a row here."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from asciist.conversion import ramp
from asciist.conversion.decoding import DecodedImage
from asciist.conversion.options import ConversionOptions


@dataclass(frozen=True, kw_only=True)
class Renderer:
    """How a style is drawn."""

    samples_per_column: int
    """Pixels across a column, at least, that the decoded image must have where the original has them."""
    render: Callable[[DecodedImage, ConversionOptions], str]
    """Pixels to art, without colour."""


RENDERERS: Final = {"ramp": Renderer(samples_per_column=ramp.SAMPLES_PER_COLUMN, render=ramp.render)}
