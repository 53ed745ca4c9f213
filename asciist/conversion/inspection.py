"""From bytes to an opened image whose header is known and within limits; no pixel is decoded here.

Pillow's decoders are called by class and not through `Image.open`: the signature has already decided the format, only the
plugin that is needed is imported (a cold start pays for every import), and no other format can ever be tried.
"""

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from io import BytesIO
from typing import Final

from PIL import Image
from PIL.ImageFile import ImageFile

from asciist.conversion.containers import Container, damaged, unpack
from asciist.errors import ImageRejectedError, TooManyPixelsError
from asciist.limits import Limits
from asciist.options import STYLES, ConversionOptions

# Pillow's own limit (89 megapixels, as a warning) is looser than ours and would be tried first.
Image.MAX_IMAGE_PIXELS = None

_PLUGINS: Final = {
    "JPEG": ("PIL.JpegImagePlugin", "JpegImageFile"),
    "PNG": ("PIL.PngImagePlugin", "PngImageFile"),
    "GIF": ("PIL.GifImagePlugin", "GifImageFile"),
    "WEBP": ("asciist.conversion.webp", "OneFrameWebPFile"),
    "BMP": ("PIL.BmpImagePlugin", "BmpImageFile"),
}

_DISPLAY_NAMES: Final = {"WEBP": "WebP"}

_MAX_RLE_PIXELS: Final = 1_000_000
_MAX_RLE_BYTES: Final = 500_000
"""Pillow expands run-length encoded BMPs in Python, holding the interpreter lock: 0.1 s a megapixel, 0.2 s a megabyte."""

GREY_MODES: Final = frozenset({"1", "L", "LA", "I;16"})
"""Pillow's modes of images without colour."""

_MAX_COLOUR_REDUCTION: Final = 64
"""Pixels across and down that are averaged to one colour at once, at most; more would need more of the image in one piece."""

_MAX_SAMPLES_PER_COLUMN: Final = 4
"""Of any style: what a JPEG is decoded for, at most."""


@dataclass(frozen=True, kw_only=True)
class ImageHeader:
    """What is known of an image before it is decoded."""

    format: str
    """JPEG, PNG, GIF, WEBP or BMP."""
    width: int
    """Pixels across, as displayed (EXIF orientation applied)."""
    height: int
    """Pixels down, as displayed."""
    orientation: int
    """EXIF orientation, 1 to 8."""
    decode_bytes: int
    """Estimated peak memory of decoding it, in bytes."""

    @property
    def pixels(self) -> int:
        return self.width * self.height

    def grid(self, columns: int) -> tuple[int, int]:
        """(columns, rows) of art that keeps the aspect of the image with characters twice as tall as wide."""
        return columns, max(1, columns * self.height // (2 * self.width))

    def stored(self, columns: int, rows: int) -> tuple[int, int]:
        """A grid of the image as displayed, as one of the image as it is stored, which may lie on its side."""
        return (rows, columns) if self.orientation >= 5 else (columns, rows)

    def colour_reduction(self, options: ConversionOptions, size: tuple[int, int]) -> tuple[int, int]:
        """(across, down): how many pixels of a stored image of `size` (width, height) can be averaged into one before colours
        are sampled, so that each sample still has two pixels in each direction, where the image has them."""
        columns, rows = self.grid(options.width)
        samples = self.stored(columns, rows * STYLES[options.style].colours)
        across, down = (min(_MAX_COLOUR_REDUCTION, max(1, s // (2 * n))) for s, n in zip(size, samples, strict=True))
        return across, down


@dataclass(frozen=True, kw_only=True)
class OpenedImage:
    """An image whose header is known and within limits, ready to be decoded for some options."""

    source: ImageFile
    container: Container
    header: ImageHeader
    options: ConversionOptions


def open_image(image: bytes, options: ConversionOptions, limits: Limits) -> OpenedImage:
    """Read the header of `image` and hold it, and the art it would become, against `limits`.

    Raises BadOptionError, UnknownFormatError, DamagedImageError or TooManyPixelsError. Costs about 0.1 ms whatever the
    image's size.
    """
    options.check(limits)
    container = unpack(image)
    _check_pixels(container, *container.canvas, limits.max_image_pixels)
    source = _open(container)
    width, height = source.size
    if not (width > 0 and height > 0):
        raise damaged("its header has no size")
    lies = container.orientation >= 5  # 5 to 8 lie on their side
    header = ImageHeader(
        format=container.format,
        width=height if lies else width,
        height=width if lies else height,
        orientation=container.orientation,
        decode_bytes=0,  # until the rest of the header tells
    )
    bytes_per_pixel = _bytes_per_pixel(container, source) + _colour_bytes_per_pixel(header, options, source)
    _check_pixels(container, width, height, min(limits.max_image_pixels, int(limits.max_decode_bytes / bytes_per_pixel)))
    if any(tile[0] == "bmp_rle" for tile in source.tile):
        _check_run_lengths(container, width, height)
    options.check_art(*header.grid(options.width), limits)
    header = replace(header, decode_bytes=int(width * height * bytes_per_pixel))
    return OpenedImage(source=source, container=container, header=header, options=options)


def _check_pixels(container: Container, width: int, height: int, max_pixels: int) -> None:
    if width * height > max_pixels:
        raise TooManyPixelsError(
            f"too many pixels: {width}x{height} is {width * height / 1e6:.1f} megapixels, and the limit for this kind of "
            f"{_DISPLAY_NAMES.get(container.format, container.format)} is {max_pixels / 1e6:.1f}"
        )


def _check_run_lengths(container: Container, width: int, height: int) -> None:
    _check_pixels(container, width, height, _MAX_RLE_PIXELS)
    if len(container.body) > _MAX_RLE_BYTES:
        raise TooManyPixelsError(f"the image is too large: a run-length encoded BMP may have {_MAX_RLE_BYTES / 1e6:g} MB")


def _open(container: Container) -> ImageFile:
    module, name = _PLUGINS[container.format]
    plugin: type[ImageFile] = getattr(importlib.import_module(module), name)
    with rejecting_damage():
        return plugin(BytesIO(container.opening))


@contextmanager
def rejecting_damage() -> Iterator[None]:
    """Turn whatever a decoder raises on bad bytes into DamagedImageError.

    Pillow's plugins document no error type for damage: OSError, SyntaxError, ValueError, EOFError, struct.error, zlib.error,
    IndexError, TypeError, KeyError and OverflowError have all been seen. Lack of memory is ours and not the image's.
    """
    try:
        yield
    except (MemoryError, ImageRejectedError):
        raise
    except Exception as error:
        raise damaged(f"{type(error).__name__}: {error}") from error


def _bytes_per_pixel(container: Container, source: ImageFile) -> float:
    """Peak bytes per pixel of decode and render, as measured for each kind (docs/decisions/0004)."""
    match container.format, source.mode:
        case "WEBP", _:
            return 15.1  # libwebp keeps two canvases and, of a lossless image, its colours; Pillow copies once
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
    """What colour takes besides: its reduced copy, and of a JPEG three more channels at the size at which it is decoded."""
    if options.color == "none" or source.mode in GREY_MODES:
        return 0.0
    across, down = header.colour_reduction(options, source.size)
    copy = 4.0 / (across * down)
    if header.format != "JPEG":
        return copy
    columns, rows = header.stored(*header.grid(options.width))
    scale = min(source.width // (_MAX_SAMPLES_PER_COLUMN * columns), source.height // (_MAX_SAMPLES_PER_COLUMN * rows))
    return copy + 4.0 / min(8, max(1, 1 << scale.bit_length() >> 1)) ** 2  # libjpeg scales by powers of two


def _coefficient_bytes(source: ImageFile) -> float:
    """Bytes per pixel of a progressive JPEG's coefficients, which are all kept (two bytes each) until the last scan."""
    layers: list[tuple[int, int, int, int]] = getattr(source, "layer", [])  # id, horizontal, vertical sampling, table
    widest = max((h for _, h, _, _ in layers), default=1) * max((v for _, _, v, _ in layers), default=1)
    return 2.0 * sum(h * v for _, h, v, _ in layers) / max(widest, 1)
