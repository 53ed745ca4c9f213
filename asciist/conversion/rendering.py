"""The table of renderers. A new style needs a module beside `ramp`, a row here and a row in
`asciist.options.STYLES`."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from PIL import Image

from asciist.conversion import dots, ramp
from asciist.conversion.decoding import DecodedImage
from asciist.options import ConversionOptions


@dataclass(frozen=True, kw_only=True)
class Renderer:
    """The steps for drawing a style, without colour, and the required resolution."""

    samples_per_column: int
    """Minimum pixels per column of art in the decoded image, if the original has as many."""
    sample: Callable[[DecodedImage, ConversionOptions, tuple[int, int]], Image.Image]
    """Samples the brightness of an image for a grid of (columns, rows), in mode L."""
    tune: Callable[[Sequence[Image.Image], ConversionOptions], Any]
    """Makes the choices for an image as a whole, or for all frames of an animation, from the
    samples of `ImageHeader.analysis_grid`."""
    draw: Callable[[Image.Image, ConversionOptions, Any], str]
    """Draws art from the samples, with the choices of `tune`."""
    evens_light: bool = True
    """True if a page in uneven light is evened out first."""
    is_tuned: bool = True
    """True if the style makes choices for the image as a whole."""

    def render(self, image: DecodedImage, options: ConversionOptions) -> str:
        """Draw the art of an image: lines joined by newlines."""
        grid = image.header.grid(options)
        sampled = self.sample(image, options, grid)
        tuning = None
        if self.is_tuned:
            analysed = image.header.analysis_grid(options)
            tuning = self.tune(
                [sampled if analysed == grid else self.sample(image, options, analysed)], options
            )
        return self.draw(sampled, options, tuning)


def _structure(step: str) -> Callable[..., Any]:
    """Return a function of the module `structure`, which is imported when called."""

    def call(*arguments: Any) -> Any:
        # Imports numpy, which no other style needs.
        from asciist.conversion import structure  # noqa: PLC0415

        return getattr(structure, step)(*arguments)

    return call


def _of_dots(patterns: dots.Patterns, *, samples_per_column: int) -> Renderer:
    return Renderer(
        samples_per_column=samples_per_column,
        sample=partial(dots.sample, patterns=patterns),
        tune=dots.tune,
        draw=lambda sampled, _options, tuning: dots.draw(sampled, tuning, patterns),
    )


RENDERERS: Final = {
    "structure": Renderer(
        samples_per_column=4,
        sample=_structure("sample"),
        tune=_structure("tune"),
        draw=_structure("draw"),
    ),
    "ramp": Renderer(
        samples_per_column=ramp.SAMPLES_PER_COLUMN,
        sample=ramp.sample,
        tune=lambda _frames, _options: None,
        draw=lambda sampled, options, _tuning: ramp.draw(sampled, options),
        evens_light=False,
        is_tuned=False,
    ),
    "braille": _of_dots(dots.BRAILLE, samples_per_column=dots.BRAILLE_SAMPLES_PER_COLUMN),
    "blocks": _of_dots(dots.BLOCKS, samples_per_column=dots.BLOCKS_SAMPLES_PER_COLUMN),
}
