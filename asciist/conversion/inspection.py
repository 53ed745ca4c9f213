"""Read the header of an image and check it against the limits, without decoding a pixel."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from PIL.ImageFile import ImageFile

from asciist.conversion import pillow_internals
from asciist.conversion.containers import Container, unpack
from asciist.conversion.containers.jpeg_scans import JpegScans
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

_TRANSPOSED: Final = frozenset({5, 6, 7, 8})
"""EXIF orientations of images that are displayed with their width and height exchanged."""

GREY_MODES: Final = frozenset({"1", "L", "LA", "I;16"})
"""Pillow's modes for images without colour."""

_JPEG_MODES: Final = {1: "L", 3: "RGB", 4: "CMYK"}
"""Pillow's modes for JPEGs, by number of components."""

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

    @property
    def pixels(self) -> int:
        return self.width * self.height

    @property
    def is_transposed(self) -> bool:
        """True if the stored image is displayed with its width and height exchanged."""
        return self.orientation in _TRANSPOSED

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
    decode_bytes: int
    """Estimated peak memory of decoding the image, in bytes."""

    @property
    def memory_bytes(self) -> int:
        """Estimated peak memory of decoding the image and drawing its art, in bytes."""
        columns, rows = self.header.grid(self.options.width)
        return self.decode_bytes + _BYTES_PER_CHARACTER * columns * rows * self.options.cell_weight


class _StoredImage(NamedTuple):
    """Properties of an image before its EXIF orientation is applied."""

    width: int
    height: int
    mode: str
    """Pillow's mode of the pixels."""
    bytes_per_pixel: float
    """Peak memory of decoding the brightness and rendering, in bytes per pixel."""
    is_run_length_encoded: bool = False
    """True for a run-length encoded BMP."""


def inspect(image: bytes, options: ConversionOptions, limits: Limits) -> ImageHeader:
    """Read the header of `image` and check it, and the size of the art, against `limits`.

    Returns the header that `open_image` returns and raises the same errors, but most JPEGs take a third of the time, because
    Pillow does not parse them.
    """
    container = _unpack(image, options, limits)
    if container.scans is not None and container.scans.is_plain:
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
    stored = _read_by_pillow(container, source)
    header = _header(container, stored)
    decode_bytes = _check_limits(container, stored, header, options, limits)
    return OpenedImage(source=source, container=container, header=header, options=options, decode_bytes=decode_bytes)


def _unpack(image: bytes, options: ConversionOptions, limits: Limits) -> Container:
    options.check(limits)
    container = unpack(image)
    _check_pixels(container, *container.canvas, limits.max_image_pixels)
    return container


def _open(container: Container) -> ImageFile:
    with rejecting_damage():
        source = pillow_internals.open_as(container.format, container.head)
    if not (source.width > 0 and source.height > 0):
        raise damaged("width or height is not positive")
    return source


def _read_by_pillow(container: Container, source: ImageFile) -> _StoredImage:
    """Describe an image that Pillow has opened."""
    is_run_length_encoded = pillow_internals.is_run_length_encoded(source)
    return _StoredImage(*source.size, source.mode, _bytes_per_pixel(container, source), is_run_length_encoded)


def _read_from_scans(scans: JpegScans) -> _StoredImage:
    """Describe a JPEG as `_read_by_pillow` does. `scans.is_plain` must be true."""
    mode = _JPEG_MODES[len(scans.components)]
    factors = tuple(scans.components.values()) if scans.is_progressive else ()
    return _StoredImage(*scans.size, mode, _jpeg_bytes_per_pixel(mode, factors))


def _header(container: Container, stored: _StoredImage) -> ImageHeader:
    width, height = stored.width, stored.height
    if container.orientation in _TRANSPOSED:
        width, height = height, width
    return ImageHeader(format=container.format, width=width, height=height, orientation=container.orientation)


def _check_limits(
    container: Container, stored: _StoredImage, header: ImageHeader, options: ConversionOptions, limits: Limits
) -> int:
    """Check the image and its art. Return the estimated peak memory of decoding the image, in bytes.

    Raises TooManyPixelsError, BadOptionError.
    """
    bytes_per_pixel = stored.bytes_per_pixel + _colour_bytes_per_pixel(header, options, stored)
    max_pixels = min(limits.max_image_pixels, int(limits.max_decode_bytes / bytes_per_pixel))
    _check_pixels(container, stored.width, stored.height, max_pixels)
    if stored.is_run_length_encoded:
        _check_run_lengths(container, stored.width, stored.height)
    options.check_art(*header.grid(options.width), limits)
    return int(stored.width * stored.height * bytes_per_pixel)


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
            return _jpeg_bytes_per_pixel(
                mode, pillow_internals.sampling_factors(source) if "progressive" in source.info else ()
            )
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


def _colour_bytes_per_pixel(header: ImageHeader, options: ConversionOptions, stored: _StoredImage) -> float:
    """Additional bytes per pixel for colour: the reduced copy and, for a JPEG, three more channels at the decoded size."""
    if options.color == "none" or stored.mode in GREY_MODES:
        return 0.0
    across, down = header.colour_reduction(options, (stored.width, stored.height))
    copy = 4.0 / (across * down)
    if header.format != "JPEG":
        return copy
    columns, rows = header.as_stored(*header.grid(options.width))
    scale = min(stored.width // (_MAX_SAMPLES_PER_COLUMN * columns), stored.height // (_MAX_SAMPLES_PER_COLUMN * rows))
    return copy + 4.0 / min(8, max(1, 1 << scale.bit_length() >> 1)) ** 2  # libjpeg scales by powers of two


def _jpeg_bytes_per_pixel(mode: str, factors: Sequence[tuple[int, int]]) -> float:
    """As `_bytes_per_pixel`. `factors` are the sampling factors of the components of a progressive JPEG; empty for another one.

    A progressive JPEG needs its coefficients, two bytes each, until the last scan.
    """
    output = 9.3 if mode == "CMYK" else 2.3
    if not factors:
        return output
    largest = max(horizontal for horizontal, _ in factors) * max(vertical for _, vertical in factors)
    return output + 2.0 * sum(horizontal * vertical for horizontal, vertical in factors) / max(largest, 1)
