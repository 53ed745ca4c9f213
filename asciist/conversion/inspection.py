"""Read the header of an image and check it against the limits, without decoding a pixel."""

from dataclasses import dataclass
from typing import Final

from PIL.ImageFile import ImageFile

from asciist.conversion import pillow_internals
from asciist.conversion.containers import Container, unpack
from asciist.conversion.containers.jpeg_scans import JpegScans
from asciist.conversion.damage import damaged, rejecting_damage
from asciist.conversion.header import TRANSPOSED, ImageHeader
from asciist.conversion.memory import StoredImage, conversion_bytes
from asciist.errors import TooManyPixelsError, sentences
from asciist.limits import Limits
from asciist.options import ConversionOptions

_DISPLAY_NAMES: Final = {"WEBP": "WebP"}

_MAX_RLE_PIXELS: Final = 1_000_000
_MAX_RLE_BYTES: Final = 500_000
"""Limits of a run-length encoded BMP. Pillow decodes it in Python and holds the interpreter lock: 0.1 s per megapixel and 0.2 s
per megabyte."""

_JPEG_MODES: Final = {1: "L", 3: "RGB", 4: "CMYK"}
"""Pillow's modes for JPEGs, by number of components."""


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
    """Read the header of `image` and check it, and the size of the art, against `limits`.

    Returns the header that `open_image` returns and raises the same errors, but most JPEGs take a third of the time, because
    Pillow does not parse them; nor does it parse TIFFs and AVIFs.
    """
    container = _unpack(image, options, limits)
    if container.stored is not None:
        stored = container.stored
    elif container.scans is not None and container.scans.is_plain:
        stored = _read_from_scans(container.scans)
    else:
        stored = _read_by_pillow(container, _open(container))
    header = _header(container, stored)
    _check_limits(container, stored, header, options, limits)
    return header


def open_image(image: bytes, options: ConversionOptions, limits: Limits) -> OpenedImage:
    """Read the header of `image`, check it, and the size of the art, against `limits`, and prepare to decode it.

    Raises BadOptionError, UnknownFormatError, DamagedImageError or TooManyPixelsError. Takes about 0.1 ms whatever the size of
    the image.
    """
    container = _unpack(image, options, limits)
    source = _open(container)
    stored = container.stored or _read_by_pillow(container, source)
    if (source.width, source.height, source.mode) != stored[:3]:
        raise damaged("opened with another size or mode than announced")
    header = _header(container, stored)
    memory_bytes = _check_limits(container, stored, header, options, limits)
    return OpenedImage(source=source, container=container, header=header, options=options, memory_bytes=memory_bytes)


def _unpack(image: bytes, options: ConversionOptions, limits: Limits) -> Container:
    options.check(limits)
    container = unpack(image)
    _check_pixels(*container.canvas, limits)
    if container.stored is not None and container.lacks_pixels:
        raise damaged("too little data for the pixels in the header")
    return container


def _open(container: Container) -> ImageFile:
    with rejecting_damage():
        source = pillow_internals.open_as(container.format, container.head)
    if not (source.width > 0 and source.height > 0):
        raise damaged("width or height is not positive")
    return source


def _read_by_pillow(container: Container, source: ImageFile) -> StoredImage:
    """Describe an image that Pillow has opened."""
    return StoredImage(
        width=source.width,
        height=source.height,
        mode=source.mode,
        has_transparency="transparency" in source.info,
        is_run_length_encoded=pillow_internals.is_run_length_encoded(source),
        coefficient_factors=_coefficient_factors(container.scans),
    )


def _read_from_scans(scans: JpegScans) -> StoredImage:
    """Describe a JPEG as `_read_by_pillow` does. `scans.is_plain` must be true."""
    return StoredImage(
        *scans.size,
        mode=_JPEG_MODES[len(scans.components)],
        coefficient_factors=_coefficient_factors(scans),
    )


def _coefficient_factors(scans: JpegScans | None) -> tuple[tuple[int, int], ...]:
    return scans.factors if scans is not None and not scans.is_single else ()


def _header(container: Container, stored: StoredImage) -> ImageHeader:
    width, height = stored.width, stored.height
    if container.orientation in TRANSPOSED:
        width, height = height, width
    return ImageHeader(format=container.format, width=width, height=height, orientation=container.orientation)


def _check_limits(
    container: Container, stored: StoredImage, header: ImageHeader, options: ConversionOptions, limits: Limits
) -> int:
    """Check the image and its art. Return the estimated peak memory of the conversion, in bytes.

    Raises TooManyPixelsError, BadOptionError.
    """
    width, height = stored.width, stored.height
    _check_pixels(width, height, limits)
    if stored.is_run_length_encoded:
        _check_run_lengths(container, width, height)
    options.check_art(*header.grid(options), limits)
    memory_bytes = conversion_bytes(stored, header, options, file_bytes=container.size)
    if memory_bytes > limits.max_conversion_bytes:
        raise TooManyPixelsError(
            sentences.too_much_memory(
                width,
                height,
                kind=_kind(container),
                columns=header.grid(options)[0],
                needed=memory_bytes,
                limit=limits.max_conversion_bytes,
            )
        )
    return memory_bytes


def _check_pixels(width: int, height: int, limits: Limits) -> None:
    if width * height > limits.max_image_pixels:
        raise TooManyPixelsError(sentences.too_many_pixels(width, height, limits.max_image_pixels))
    if max(width, height) > limits.max_image_side:
        raise TooManyPixelsError(sentences.too_long_side(width, height, limits.max_image_side))


def _check_run_lengths(container: Container, width: int, height: int) -> None:
    if width * height > _MAX_RLE_PIXELS:
        raise TooManyPixelsError(sentences.too_many_pixels(width, height, _MAX_RLE_PIXELS, kind="run-length encoded BMP"))
    if len(container.body) > _MAX_RLE_BYTES:
        raise TooManyPixelsError(sentences.too_large_rle(_MAX_RLE_BYTES))


def _kind(container: Container) -> str:
    return _DISPLAY_NAMES.get(container.format, container.format)
