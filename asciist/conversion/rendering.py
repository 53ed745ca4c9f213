"""The table of renderers. A new style needs a module beside `ramp`, a row here and a row in `asciist.options.STYLES`."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from asciist.conversion import dots, ramp
from asciist.conversion.decoding import DecodedImage
from asciist.options import ConversionOptions


@dataclass(frozen=True, kw_only=True)
class Renderer:
    """The function that draws a style, and the resolution that it needs."""

    samples_per_column: int
    """Minimum pixels per column of art in the decoded image, if the original has as many."""
    render: Callable[[DecodedImage, ConversionOptions], str]
    """Draws art, without colour, from the pixels."""
    evens_light: bool = True
    """False if a page in uneven light is drawn as it is."""


def _render_structure(image: DecodedImage, options: ConversionOptions) -> str:
    from asciist.conversion import structure  # noqa: PLC0415 - imports numpy, which no other style needs

    return structure.render(image, options)


RENDERERS: Final = {
    "structure": Renderer(samples_per_column=4, render=_render_structure),
    "ramp": Renderer(samples_per_column=ramp.SAMPLES_PER_COLUMN, render=ramp.render, evens_light=False),
    "braille": Renderer(samples_per_column=dots.BRAILLE_SAMPLES_PER_COLUMN, render=dots.render_braille),
    "blocks": Renderer(samples_per_column=dots.BLOCKS_SAMPLES_PER_COLUMN, render=dots.render_blocks),
}
