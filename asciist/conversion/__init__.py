"""Convert an image to text art: bytes and options in, a string out.

Pure: no I/O, no clock, no environment. The same input gives the same art on every machine.

The steps are `open_image` (read the header, check the limits), `decode` (pixels near the needed size) and `render`
(characters). `convert` runs all three.
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
"""Version of the art. Increment it when the art of any image changes: stored art of another version is treated as absent."""


def decode(opened: OpenedImage) -> DecodedImage:
    """Decode the pixels of an opened image at the resolution that its style needs.

    Can be called only once for an opened image. Raises DamagedImageError.
    """
    return decoding.decode(opened, samples_per_column=RENDERERS[opened.options.style].samples_per_column)


def render(image: DecodedImage, options: ConversionOptions) -> str:
    """Draw the art: lines of `options.width` characters joined by newlines, with no newline at the end.

    Adds escape codes or HTML if `options.color` asks for them.
    """
    art = RENDERERS[options.style].render(image, options)
    if options.color == "none":
        return art
    from asciist.conversion import colouring  # noqa: PLC0415 - imports numpy, which is not needed without colour

    columns, rows = image.header.grid(options.width)
    colours = image.sample_colour(columns, rows * STYLES[options.style].colours)
    draw = colouring.ansi if options.color == "ansi" else colouring.html
    return draw(art, colours, invert=options.invert)


def convert(image: bytes, options: ConversionOptions, limits: Limits) -> str:
    """Convert `image` to art. Raises what `open_image` and `decode` raise."""
    return render(decode(open_image(image, options, limits)), options)
