"""Estimate of the peak memory of a conversion, from properties known before decoding.

The estimate follows the conversion step by step: the file's copies, the decoder, the decoded image,
its brightness and colour, the samples, the art and its colour codes. Each function returns the
memory of a step in addition to the memory held before it. Freed memory of earlier steps is reused,
so the peak is that of the most expensive step. Every number is an upper bound;
tests/conversion/test_memory.py compares the sum with measurements.
"""

from functools import lru_cache
from math import ceil
from typing import Final, NamedTuple

from asciist.conversion.header import GREY_MODES, ImageHeader
from asciist.formats import ImageFormat
from asciist.options import STYLES, ConversionOptions

_Size = tuple[int, int]
"""Width and height, or columns and rows."""

MAX_SAMPLES_PER_COLUMN: Final = 4
"""Maximum over all styles of `Renderer.samples_per_column`."""

REDUCING_GAP: Final = 3.0
"""Pillow's `reducing_gap`: an image with at least twice this many pixels per sample is first
reduced by averaging groups of pixels, to at least this many per sample. That takes a fifth of the
time of the filter alone, and changes samples by at most 1 of 255 levels on average."""

TILE_PIXELS: Final = 262_144
"""Maximum pixels converted at a time where intermediate copies are needed: large enough to be fast,
and at most a megabyte in any mode."""

_FIXED_BYTES: Final = 6_000_000
"""Memory that does not depend on the image: tables of the decoders, buffers of the matcher, Python
objects."""

_RETAINED: Final = 1.06
"""Ratio of peak memory to memory in use. The C library's allocator keeps some freed blocks that are
too small for later ones."""

_FILE_COPIES: Final = 2
"""Copies of the file during decoding, besides the original: the stripped file, and the decoder's
copy. There may be one more while it is opened."""

_BYTES_PER_PIXEL: Final = {"1": 1, "L": 1, "P": 1, "I;16": 2, "I;16B": 2}
"""Bytes of a pixel in Pillow's memory, by mode; 4 in all other modes."""

_TILE_BYTES_PER_PIXEL: Final = 24
"""Memory of converting a tile: a copy, and at most five intermediate images of four bytes per
pixel."""

_LANCZOS_SUPPORT, _BOX_SUPPORT = 3.0, 0.5
"""Number of pixels on either side averaged by Pillow's filters, per pixel of the smaller of the two
images."""

_ROW_BYTES: Final = 110
"""A row of art as a Python string, without its characters, and its place in a list."""

_MATCHING_BYTES_PER_CELL: Final = 24
"""Memory of the means of cells, of their surroundings and eighths, of indices of glyphs, and of the
art as an array, in `structure`."""

PAINTED_AT_ONCE: Final = 512
"""Cells painted at a time, so that the intermediate results stay in the processor's cache."""
_PAINTED_CELL_BYTES: Final = 12_000
"""Memory of the samples of a cell, and of its similarities to all shapes, in all the intermediate
arrays."""
_PAINTING_BYTES_PER_CELL: Final = 48
"""Memory of the arrays that `painting` holds for all cells: characters and colours."""
_PAINTING_BYTES_PER_SAMPLE: Final = 6
"""Memory of the samples as an array, and while they are copied into it."""

_FRAME_FILE_COPIES: Final = 4
"""Copies of an animation's file: its frames, the file with the first ones, the decoder's, and a
piece."""
_COPIES_OF_TEXT: Final = 3
"""Copies of the frames of an animation: separate, as one text, and as a message."""
_COPIES_OF_SAMPLES: Final = 4
"""Copies of the samples of some frames: for either polarity, stacked, and during comparison."""
_CHANGING_BYTES_PER_CELL: Final = 400
"""Memory of comparing a frame's parts of cells with the last drawn ones, and of the characters and
colours of both."""

_INDEX_BYTES: Final = 64
"""Memory of `enlarging` per column and row of the image and of the samples."""

MAX_ANIMATED_CELLS: Final = 250_000
"""Maximum cells of all frames of an animation: 78 frames of 80x40, or 130 of 80x24."""

CODED_CHARACTERS: Final = (1, 5, 9)
"""Characters of a cell with no, one or two colours in stored art: the character, and each colour's
3 bytes in base64."""


class StoredImage(NamedTuple):
    """Properties of an image before its EXIF orientation is applied."""

    width: int
    height: int
    mode: str
    """Pillow's mode of the pixels."""
    has_transparency: bool = False
    """True if one colour, or a part of the palette, is transparent."""
    decoder_bytes: int = 0
    """Memory of the decoder that only the file tells, as `Container.decoder_bytes`."""


def conversion_bytes(
    stored: StoredImage, header: ImageHeader, options: ConversionOptions, *, file_bytes: int
) -> int:
    """Estimate the peak memory of converting the image with `options`, in bytes.

    `file_bytes` is the size of the stripped file.
    """
    most = max(file_bytes, _most_beside_file(stored, header, options))
    return int(_FIXED_BYTES + _RETAINED * (_FILE_COPIES * file_bytes + most))


def animation_bytes(
    stored: StoredImage,
    header: ImageHeader,
    options: ConversionOptions,
    *,
    file_bytes: int,
    samples: int,
) -> int:
    """Estimate the peak memory of drawing an animation, in bytes.

    `stored` describes a composited frame; its `decoder_bytes` are held across frames. `samples` is
    the maximum number of samples for the choices made once for all frames.
    """
    columns, rows = header.grid(options)
    kept = (
        _FRAME_FILE_COPIES * file_bytes
        + stored.decoder_bytes
        + header.format.frame_bytes_per_pixel * stored.width * stored.height
        + _COPIES_OF_TEXT * _coded_bytes(MAX_ANIMATED_CELLS, options)
        + _CHANGING_BYTES_PER_CELL * columns * rows
    )
    most = _most_beside_file(stored._replace(decoder_bytes=0), header, options)
    return int(_FIXED_BYTES + _RETAINED * (kept + max(_COPIES_OF_SAMPLES * samples, most)))


@lru_cache(maxsize=256)  # many images have the same size
def _most_beside_file(stored: StoredImage, header: ImageHeader, options: ConversionOptions) -> int:
    """Return the memory of the most expensive step, besides the copies of the file."""
    in_colour = options.color != "none"
    is_coloured = in_colour and stored.mode not in GREY_MODES
    mode = (
        "L" if header.format.is_scaled and stored.mode == "RGB" and not in_colour else stored.mode
    )
    grid = header.grid(options)
    size = _decoded_size(stored, header, header.decoded_grid(options))
    pixels = size[0] * size[1]
    image = _image(*size, _BYTES_PER_PIXEL.get(mode, 4))
    is_luma = mode == "L" and not stored.has_transparency
    sampled, colour, channels = size, 0, 0
    if is_coloured:
        across, down = header.colour_reduction(options, size)
        sampled = ceil(size[0] / across), ceil(size[1] / down)
        colour = _image(*sampled, 4)
        channels = 5 * _image(*sampled, 1)
    luma = image if is_luma else _image(*size, 1)
    tile = _TILE_BYTES_PER_PIXEL * min(pixels, TILE_PIXELS)
    steps = [
        _decoder(stored, header.format) + image,
        (0 if is_luma else image) + luma + colour + tile,
    ]
    if options.colours == 2:
        steps.append(
            luma + colour + _painting(sampled, 4 if is_coloured else 1, header, options, grid)
        )
    else:
        steps.append(luma + colour + channels + _drawing(sampled, header, options, grid))
    if in_colour:
        steps.append(
            luma + colour + _colouring(sampled, 4 if is_coloured else 1, header, options, grid)
        )
    return max(steps)


def _image(width: int, height: int, bytes_per_pixel: int) -> int:
    """Memory of an image: its pixels, and a pointer to each row."""
    return height * (width * bytes_per_pixel + 8)


def _decoded_size(stored: StoredImage, header: ImageHeader, grid: _Size) -> _Size:
    """(width, height) of the decoded image, reduced as by `JpegImageFile.draft`."""
    if not header.format.is_scaled:
        return stored.width, stored.height
    columns, rows = header.as_stored(*grid)
    ratio = min(stored.width // columns, stored.height // rows) // MAX_SAMPLES_PER_COLUMN
    reduction = next((reduction for reduction in (8, 4, 2) if ratio >= reduction), 1)
    return ceil(stored.width / reduction), ceil(stored.height / reduction)


def _decoder(stored: StoredImage, image_format: ImageFormat) -> int:
    """Memory of the decoder, beside the file and the decoded image."""
    by_pixel = image_format.bytes_per_pixel.get(stored.mode, 0) * stored.width * stored.height
    return stored.decoder_bytes + image_format.bytes_per_column * stored.width + ceil(by_pixel)


def _resampled(
    size: _Size, samples: _Size, *, support: float, gap: float = 0, bytes_per_pixel: int = 1
) -> int:
    """Memory of Pillow's `resize` at its peak, with its result.

    Pillow computes the filter's coefficients for every column and every row of the result, and
    resamples rows first.
    """
    width, height = size
    across, down = samples
    reduced = 0
    if gap and (width >= 2 * gap * across or height >= 2 * gap * down):
        width = width // max(1, int(width / across / gap)) + 1
        height = height // max(1, int(height / down / gap)) + 1
        reduced = _image(width, height, bytes_per_pixel)
    coefficients = (
        across * ceil(support * max(1, width / across))
        + down * ceil(support * max(1, height / down))
        + across
        + down
    )
    return (
        reduced
        + 16 * coefficients
        + _image(across, height, bytes_per_pixel)
        + _image(across, down, bytes_per_pixel)
    )


def _drawing(size: _Size, header: ImageHeader, options: ConversionOptions, grid: _Size) -> int:
    """Memory of sampling the brightness and drawing the art without its colour."""
    columns, rows = grid
    text = _text(columns, rows, options)
    across, down = STYLES[options.style].grid
    samples = header.as_stored(columns * across, rows * down)
    sampled = _image(*samples, 1)
    count = samples[0] * samples[1]
    if options.style == "structure":
        sampling = _resampled(size, samples, support=_BOX_SUPPORT, gap=REDUCING_GAP)
        if options.is_cropping or (size[0] <= samples[0] and size[1] <= samples[1]):
            enlarging = (
                _INDEX_BYTES * (sum(size) + sum(samples))
                + 2 * size[0] * size[1]
                + samples[0] * size[1]
                + sampled
            )
            sampling = max(sampling, enlarging)
        drawing = count + max(count, _MATCHING_BYTES_PER_CELL * (columns + 2) * (rows + 2))
    else:
        sampling = _resampled(size, samples, support=_LANCZOS_SUPPORT, gap=REDUCING_GAP)
        drawing = (3 if options.style == "ramp" else 5) * count
    # Before, `lighting.evened` holds two bytes for each sample: no more than drawing does in the
    # styles that use it.
    return max(sampling + sampled, sampled + max(sampled, drawing)) + text


def _text(columns: int, rows: int, options: ConversionOptions) -> int:
    """Memory of the art as rows and as a whole."""
    return 3 * _character_bytes(options) * (columns + 1) * rows + _ROW_BYTES * rows


def _character_bytes(options: ConversionOptions) -> int:
    """Return the bytes per character in Python's memory, which depend on the widest character of a
    text."""
    if options.characters:
        return 1 if options.characters.isascii() else 4
    return 4 if options.style == "blocks" and options.colours == 2 else 2


def _painting(
    size: _Size, bytes_per_pixel: int, header: ImageHeader, options: ConversionOptions, grid: _Size
) -> int:
    """Memory of sampling the colours of an image of `size` and drawing cells of two colours."""
    columns, rows = grid
    across, down = options.colour_grid
    samples = header.as_stored(columns * across, rows * down)
    sampled = _image(*samples, 4)
    sampling = _resampled(size, samples, support=_BOX_SUPPORT, bytes_per_pixel=bytes_per_pixel)
    array = _PAINTING_BYTES_PER_SAMPLE * samples[0] * samples[1]
    cells = _PAINTING_BYTES_PER_CELL * (columns + 1) * rows
    painted = _PAINTED_CELL_BYTES * min(columns * rows, max(PAINTED_AT_ONCE, columns))
    return sampled + max(sampling, sampled, array + cells + painted)


def _colouring(
    size: _Size, bytes_per_pixel: int, header: ImageHeader, options: ConversionOptions, grid: _Size
) -> int:
    """Memory of sampling the colours of an image of `size` and adding them to the art."""
    columns, rows = grid
    samples = header.as_stored(columns, rows * options.colours)
    sampled = _image(*samples, 4)
    sampling = 0
    if options.colours == 1:
        sampling = _resampled(size, samples, support=_BOX_SUPPORT, bytes_per_pixel=bytes_per_pixel)
    art = _character_bytes(options) * (columns + 1) * rows
    coded = 3 * _coded_bytes((columns + 1) * rows, options)
    return art + max(sampling + sampled, sampled + art + coded)


def _coded_bytes(cells: int, options: ConversionOptions) -> int:
    """Memory of cells in art that is stored, and of their colours as bytes."""
    colour_bytes = 3 * options.colours
    return cells * (CODED_CHARACTERS[options.colours] * _character_bytes(options) + colour_bytes)
