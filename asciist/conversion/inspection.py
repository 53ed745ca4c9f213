"""Read the header of an image and check it against the limits, without decoding a pixel."""

from dataclasses import dataclass, replace
from typing import Final

from PIL.ImageFile import ImageFile

from asciist.conversion import pillow_internals
from asciist.conversion.containers import Container, unpack
from asciist.conversion.damage import damaged, rejecting_damage
from asciist.errors import TooManyPixelsError, sentences
from asciist.limits import Limits
from asciist.options import STYLES, ConversionOptions

_BYTES_PER_CHARACTER: Final = 5
"""Peak memory of drawing art, per character, as measured: 46 MB for 9.7 million characters."""

_DISPLAY_NAMES: Final = {"WEBP": "WebP"}

_MAX_RLE_PIXELS: Final = 1_000_000
_MAX_RLE_BYTES: Final = 500_000
"""Limits of a run-length encoded BMP. Pillow decodes it in Python and holds the interpreter lock: 0.1 s per megapixel and 0.2 s
per megabyte."""

GREY_MODES: Final = frozenset({"1", "L", "LA", "I;16"})
"""Pillow's modes for images without colour."""

_MAX_COLOUR_REDUCTION: Final = 64
"""Maximum pixels, in each direction, that are averaged into one before sampling. Larger groups would need larger tiles."""

_MAX_SAMPLES_PER_COLUMN: Final = 4
"""Maximum over all styles of `Renderer.samples_per_column`."""


@dataclass(frozen=True, kw_only=True)
class ImageHeader:
    """Properties of an image that are known before it is decoded."""

    format: str
    """JPEG, PNG, GIF, WEBP or BMP."""
    width: int
    """Pixels across, as displayed (EXIF orientation applied)."""
    height: int
    """Pixels down, as displayed."""
    orientation: int
    """EXIF orientation, 1 to 8."""
    decode_bytes: int
    """Estimated peak memory of decoding the image, in bytes."""

    @property
    def pixels(self) -> int:
        return self.width * self.height

    @property
    def is_transposed(self) -> bool:
        """True if the stored image is displayed with its width and height exchanged (EXIF orientations 5 to 8)."""
        return _is_transposed(self.orientation)

    def grid(self, columns: int) -> tuple[int, int]:
        """(columns, rows) of art with the aspect ratio of the image, for characters twice as tall as wide."""
        return columns, max(1, columns * self.height // (2 * self.width))

    def as_stored(self, columns: int, rows: int) -> tuple[int, int]:
        """Convert (columns, rows) of the displayed image to (across, down) of the image as stored."""
        return (rows, columns) if self.is_transposed else (columns, rows)

    def colour_reduction(self, options: ConversionOptions, size: tuple[int, int]) -> tuple[int, int]:
        """(across, down): pixels of a stored image of `size` (width, height) to average into one before sampling colours.

        Leaves at least two pixels per sample in each direction, if the image has them.
        """
        columns, rows = self.grid(options.width)
        samples = self.as_stored(columns, rows * STYLES[options.style].colours)
        across, down = (min(_MAX_COLOUR_REDUCTION, max(1, s // (2 * n))) for s, n in zip(size, samples, strict=True))
        return across, down


@dataclass(frozen=True, kw_only=True)
class OpenedImage:
    """An image whose header is within the limits, ready to be decoded with `options`."""

    source: ImageFile
    container: Container
    header: ImageHeader
    options: ConversionOptions

    @property
    def memory_bytes(self) -> int:
        """Estimated peak memory of decoding the image and drawing its art, in bytes."""
        columns, rows = self.header.grid(self.options.width)
        return self.header.decode_bytes + _BYTES_PER_CHARACTER * columns * rows * self.options.cell_weight


def open_image(image: bytes, options: ConversionOptions, limits: Limits) -> OpenedImage:
    """Read the header of `image` and check it, and the size of the art, against `limits`.

    Raises BadOptionError, UnknownFormatError, DamagedImageError or TooManyPixelsError. Takes about 0.1 ms whatever the size of
    the image.
    """
    options.check(limits)
    container = unpack(image)
    _check_pixels(container, *container.canvas, limits.max_image_pixels)
    with rejecting_damage():
        source = pillow_internals.open_as(container.format, container.head)
    width, height = source.size
    if not (width > 0 and height > 0):
        raise damaged("width or height is not positive")
    is_transposed = _is_transposed(container.orientation)
    header = ImageHeader(
        format=container.format,
        width=height if is_transposed else width,
        height=width if is_transposed else height,
        orientation=container.orientation,
        decode_bytes=0,  # replaced below; the estimate needs the other fields
    )
    bytes_per_pixel = _bytes_per_pixel(container, source) + _colour_bytes_per_pixel(header, options, source)
    _check_pixels(container, width, height, min(limits.max_image_pixels, int(limits.max_decode_bytes / bytes_per_pixel)))
    if pillow_internals.is_run_length_encoded(source):
        _check_run_lengths(container, width, height)
    options.check_art(*header.grid(options.width), limits)
    header = replace(header, decode_bytes=int(width * height * bytes_per_pixel))
    return OpenedImage(source=source, container=container, header=header, options=options)


def _is_transposed(orientation: int) -> bool:
    return orientation >= 5


def _check_pixels(container: Container, width: int, height: int, max_pixels: int) -> None:
    if width * height > max_pixels:
        kind = _DISPLAY_NAMES.get(container.format, container.format)
        raise TooManyPixelsError(sentences.too_many_pixels(width, height, kind=kind, max_pixels=max_pixels))


def _check_run_lengths(container: Container, width: int, height: int) -> None:
    _check_pixels(container, width, height, _MAX_RLE_PIXELS)
    if len(container.body) > _MAX_RLE_BYTES:
        raise TooManyPixelsError(sentences.too_large_rle(_MAX_RLE_BYTES))


def _bytes_per_pixel(container: Container, source: ImageFile) -> float:
    """Peak bytes per pixel of decoding and rendering, as measured for each kind of image (docs/decisions/0004)."""
    match container.format, source.mode:
        case "WEBP", _:
            return 15.1  # libwebp holds two canvases and, for a lossless image, its colours; Pillow makes one copy
        case "JPEG", mode:
            output = 9.3 if mode == "CMYK" else 2.3
            return output + (_coefficient_bytes(source) if source.info.get("progressive") else 0.0)
        case _, "1" | "L" | "P":
            return 2.3
        case _, "I;16":
            return 7.3
        case _, "RGB" if "transparency" not in source.info:
            return 5.7
        case _, "RGB":
            return 10.3
        case _:
            return 6.3


def _colour_bytes_per_pixel(header: ImageHeader, options: ConversionOptions, source: ImageFile) -> float:
    """Additional bytes per pixel for colour: the reduced copy and, for a JPEG, three more channels at the decoded size."""
    if options.color == "none" or source.mode in GREY_MODES:
        return 0.0
    across, down = header.colour_reduction(options, source.size)
    copy = 4.0 / (across * down)
    if header.format != "JPEG":
        return copy
    columns, rows = header.as_stored(*header.grid(options.width))
    scale = min(source.width // (_MAX_SAMPLES_PER_COLUMN * columns), source.height // (_MAX_SAMPLES_PER_COLUMN * rows))
    return copy + 4.0 / min(8, max(1, 1 << scale.bit_length() >> 1)) ** 2  # libjpeg scales by powers of two


def _coefficient_bytes(jpeg: ImageFile) -> float:
    """Bytes per pixel of the coefficients of a progressive JPEG, two bytes each, all held until the last scan."""
    factors = pillow_internals.sampling_factors(jpeg)
    largest = max((horizontal for horizontal, _ in factors), default=1) * max((vertical for _, vertical in factors), default=1)
    return 2.0 * sum(horizontal * vertical for horizontal, vertical in factors) / max(largest, 1)
