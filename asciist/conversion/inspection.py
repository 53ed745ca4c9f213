"""Read the header of an image and check it against the limits, without decoding a pixel."""

from dataclasses import dataclass

from PIL.ImageFile import ImageFile

from asciist.conversion import pillow_internals
from asciist.conversion.containers import Container, unpack
from asciist.conversion.damage import damaged, rejecting_damage
from asciist.conversion.header import TRANSPOSED, ImageHeader
from asciist.conversion.memory import StoredImage, conversion_bytes
from asciist.errors import TooManyPixelsError, sentences
from asciist.limits import Limits
from asciist.options import ConversionOptions


@dataclass(frozen=True, kw_only=True)
class OpenedImage:
    """An image whose header is within the limits, ready to be decoded with `options`."""

    source: ImageFile
    container: Container
    header: ImageHeader
    options: ConversionOptions
    memory_bytes: int
    """Estimated peak memory of decoding the image and drawing its art, in bytes."""


def inspect(image: bytes, options: ConversionOptions, limits: Limits) -> ImageHeader:
    """Read the size of `image` and check it, and the size of the art, against `limits`.

    Accepts options that `ConversionOptions.check` accepts, because whoever parses a request has
    checked them. Returns the header that `open_image` returns, without a decoder: what else an
    image is refused for is left to the process that converts it. Raises BadOptionError,
    UnknownFormatError, DamagedImageError or TooManyPixelsError.
    """
    return _read(image, options, limits)[1]


def open_image(image: bytes, options: ConversionOptions, limits: Limits) -> OpenedImage:
    """Check an image as `inspect` does, and the memory that its conversion takes, and prepare to
    decode it. Raises the errors of `inspect`."""
    options.check(limits)  # a message from a queue may hold any value
    container, header = _read(image, options, limits)
    with rejecting_damage():
        source = pillow_internals.open_as(container.format, container.head)
    if source.size != container.size:
        raise damaged("opened with another size than announced")
    stored = StoredImage(
        *container.size,
        mode=source.mode,
        has_transparency="transparency" in source.info,
        decoder_bytes=container.decoder_bytes,
    )
    memory_bytes = conversion_bytes(stored, header, options, file_bytes=container.file_bytes)
    if memory_bytes > limits.max_conversion_bytes:
        raise TooManyPixelsError(
            sentences.too_much_memory(
                *container.size,
                kind=container.format.name,
                columns=header.grid(options)[0],
                needed=memory_bytes,
                limit=limits.max_conversion_bytes,
                large_tile=container.large_tile,
            )
        )
    return OpenedImage(
        source=source,
        container=container,
        header=header,
        options=options,
        memory_bytes=memory_bytes,
    )


def _read(
    image: bytes, options: ConversionOptions, limits: Limits
) -> tuple[Container, ImageHeader]:
    container = unpack(image)
    width, height = container.size
    max_side = min(limits.max_image_side, container.format.max_side)
    if width * height > limits.max_image_pixels:
        raise TooManyPixelsError(sentences.too_many_pixels(width, height, limits.max_image_pixels))
    if max(width, height) > max_side:
        raise TooManyPixelsError(sentences.too_long_side(width, height, max_side))
    if container.orientation in TRANSPOSED:
        width, height = height, width
    header = ImageHeader(
        format=container.format, width=width, height=height, orientation=container.orientation
    )
    options.check_art(*header.grid(options), limits, pixels=header.pixels)
    return container, header
