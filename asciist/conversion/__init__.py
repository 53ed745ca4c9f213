"""Convert an image to text art: bytes and options in, `Art` out.

Pure: no I/O, no clock, no environment. The same input gives the same art on every machine.

The steps are `open_image` (read the header and check the limits), `decode` (decode the pixels, of a
JPEG at a reduced size), `resolve` (choose what the options leave to the image) and `render` (draw
the characters). `convert` runs them all. `inspect` only reads the header and checks the limits.
"""

from dataclasses import replace
from typing import Final

from asciist.art import Art, still
from asciist.conversion import decoding, polarity
from asciist.conversion.decoding import DecodedImage
from asciist.conversion.header import ImageHeader
from asciist.conversion.inspection import OpenedImage, inspect, open_image
from asciist.conversion.rendering import RENDERERS
from asciist.limits import Limits
from asciist.options import AUTO, DEFAULT_STYLE, DEFAULT_WIDTH, STYLES, ConversionOptions

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
    "inspect",
    "open_image",
    "render",
    "resolve",
]

ENGINE_VERSION: Final = 5
"""Version of the engine. Increment it if the art of any image changes: stored art of another
version is treated as absent."""


def decode(opened: OpenedImage) -> DecodedImage:
    """Decode the pixels of an opened image with at least the resolution that its style needs.

    Call it only once for an opened image. Raises DamagedImageError.
    """
    renderer = RENDERERS[opened.options.style]
    return decoding.decode(
        opened, samples_per_column=renderer.samples_per_column, evens_light=renderer.evens_light
    )


def resolve(image: DecodedImage, options: ConversionOptions) -> ConversionOptions:
    """Replace the value `auto` of `options.invert` with the choice for this image."""
    if options.invert != AUTO:
        return options
    is_page = image.paper is not None
    return replace(options, invert=is_page or polarity.is_better_dark_on_light(image.luma))


def render(image: DecodedImage, options: ConversionOptions) -> Art:
    """Draw the art: `options.width` columns, with colours for its cells unless `options.color` is
    `none`. Its other values give the same art."""
    options = resolve(image, options)
    is_light = options.invert is True
    if not options.colours:
        return still(RENDERERS[options.style].render(image, options), is_light=is_light)
    if options.colours == 2:
        # Import numpy, which is not needed without colour.
        from asciist.conversion import painting  # noqa: PLC0415

        text, colours = painting.paint(image, options)
    else:
        strongest = image.by_strongest_channel(invert=is_light)
        text = RENDERERS[options.style].render(strongest, options)
        colours = image.sample_colour(*image.header.grid(options))
    return still(text, is_light=is_light, colours=colours.tobytes())


def convert(image: bytes, options: ConversionOptions, limits: Limits) -> Art:
    """Convert `image` to art. Raises the errors of `open_image` and `decode`, all subclasses of
    RejectedError."""
    return render(decode(open_image(image, options, limits)), options)
