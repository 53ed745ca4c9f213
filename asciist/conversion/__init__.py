"""Bytes and options in, art out. Pure: no I/O, no clock, no environment; the same input gives the same art everywhere.

The steps, in order: `open_image` (header, limits), `decode` (luma near the needed size), `render` (characters).
`convert` is all three.
"""

from typing import Final

from asciist.conversion import decoding
from asciist.conversion.decoding import DecodedImage
from asciist.conversion.inspection import ImageHeader, OpenedImage, open_image
from asciist.conversion.rendering import RENDERERS
from asciist.limits import Limits
from asciist.options import DEFAULT_STYLE, DEFAULT_WIDTH, STYLES, ConversionOptions

__all__ = [
    "DEFAULT_STYLE",
    "DEFAULT_WIDTH",
    "ENGINE_VERSION",
    "STYLES",
    "ConversionOptions",
    "DecodedImage",
    "ImageHeader",
    "OpenedImage",
    "convert",
    "decode",
    "open_image",
    "render",
]

ENGINE_VERSION: Final = 2
"""Raised whenever any image's art changes; stored art of another version counts as absent."""


def decode(opened: OpenedImage) -> DecodedImage:
    """Decode the pixels of an opened image at the detail that its style needs; once only. Raises DamagedImageError."""
    return decoding.decode(opened, samples_per_column=RENDERERS[opened.options.style].samples_per_column)


def render(image: DecodedImage, options: ConversionOptions) -> str:
    """Draw the art: rows of `options.width` characters joined by newlines, none at the end; then colour it as they ask."""
    art = RENDERERS[options.style].render(image, options)
    if options.color == "none":
        return art
    from asciist.conversion import colouring  # noqa: PLC0415 - imports numpy, which art without colour does not need

    columns, rows = image.header.grid(options.width)
    colours = image.sample_colour(columns, rows * STYLES[options.style].colours)
    draw = colouring.ansi if options.color == "ansi" else colouring.html
    return draw(art, colours, invert=options.invert)


def convert(image: bytes, options: ConversionOptions, limits: Limits) -> str:
    """The art of `image`. Raises what `open_image` and `decode` raise."""
    return render(decode(open_image(image, options, limits)), options)
