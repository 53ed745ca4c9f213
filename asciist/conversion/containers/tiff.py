"""TIFF directories (TIFF 6.0 sections 2 to 18; BigTIFF; TIFF Technical Note 2 for JPEG).

A header of 8 bytes (16 in a BigTIFF) points to the first directory: a count and entries of 12 (20)
bytes, each with a tag, a type, a number of values, and the values or their offset. Pixels are in
strips of rows or in tiles, compressed one by one. The file is rewritten with the strips or tiles of
the first image and a directory of the tags that determine pixels, so the decoder sees neither
metadata nor other directories, which may form a loop. Only variants that Pillow decodes correctly
are accepted.
"""

import struct
from dataclasses import dataclass
from enum import IntEnum
from itertools import accumulate
from math import ceil
from typing import Final

from asciist.conversion.containers.bounds import MAX_BLOCKS
from asciist.conversion.containers.container import Container
from asciist.conversion.containers.jpeg_scans import FRAMES, SOS, UNSUPPORTED_FRAMES
from asciist.conversion.damage import damaged
from asciist.errors import UnknownFormatError, sentences
from asciist.formats import TIFF


class _Tag(IntEnum):
    SUBFILE_TYPE = 254
    WIDTH = 256
    HEIGHT = 257
    BITS = 258
    COMPRESSION = 259
    PHOTOMETRIC = 262
    FILL_ORDER = 266
    STRIP_OFFSETS = 273
    ORIENTATION = 274
    SAMPLES = 277
    ROWS_PER_STRIP = 278
    STRIP_BYTES = 279
    PLANAR = 284
    FAX_3_OPTIONS = 292
    FAX_4_OPTIONS = 293
    PREDICTOR = 317
    COLOUR_MAP = 320
    TILE_WIDTH = 322
    TILE_HEIGHT = 323
    TILE_OFFSETS = 324
    TILE_BYTES = 325
    EXTRA_SAMPLES = 338
    SAMPLE_FORMAT = 339
    JPEG_TABLES = 347
    SUBSAMPLING = 530
    DNG_VERSION = 50_706


_TAGS: Final = frozenset(_Tag)
_LISTS: Final = {
    _Tag.BITS: "H",
    _Tag.COLOUR_MAP: "H",
    _Tag.EXTRA_SAMPLES: "H",
    _Tag.JPEG_TABLES: "B",
    _Tag.SUBSAMPLING: "H",
}
_COPIED: Final = {
    **dict.fromkeys((_Tag.WIDTH, _Tag.HEIGHT, _Tag.FAX_3_OPTIONS, _Tag.FAX_4_OPTIONS), "I"),
    **dict.fromkeys((_Tag.COMPRESSION, _Tag.PHOTOMETRIC, _Tag.FILL_ORDER), "H"),
    **dict.fromkeys((_Tag.SAMPLES, _Tag.PLANAR, _Tag.PREDICTOR), "H"),
    **_LISTS,
}
"""Tags that are copied to the new directory, with struct's format of their values there. Of those
that are not in _LISTS, only the first value is copied."""

_FIELDS: Final = {1: "B", 3: "H", 4: "I", 7: "B", 16: "Q"}
"""struct's format of a value, by type: BYTE, SHORT, LONG, UNDEFINED, LONG8. No tag in _Tag has
values of another type."""
_TYPES: Final = {"B": 7, "H": 3, "I": 4}
"""Types of the values in the new directory, by their format."""

_MAX_ENTRIES: Final = 4096
"""Maximum entries of the directory. Files with much metadata have a hundred."""
_MAX_SAMPLES: Final = 4

_NONE, _FAX_3, _FAX_4, _LZW, _JPEG, _DEFLATE = 1, 3, 4, 5, 7, 8
_OLD_DEFLATE, _PACKBITS = 32_946, 32_773
_FAX: Final = frozenset({_FAX_3, _FAX_4})
_PREDICTABLE: Final = frozenset({_LZW, _DEFLATE, _OLD_DEFLATE})
_COMPRESSIONS: Final = frozenset({_NONE, _JPEG, _PACKBITS, *_FAX, *_PREDICTABLE})

_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB, _PALETTE, _CMYK, _YCBCR = 0, 1, 2, 3, 5, 6
_FILTER_ARRAY, _LINEAR_RAW = 32_803, 34_892
_UNSPECIFIED, _ASSOCIATED_ALPHA, _ALPHA = 0, 1, 2
"""Meanings of an extra sample. Associated alpha has been multiplied with the colours."""
_PIXELS: Final[frozenset[tuple[int, int, int, tuple[int, ...]]]] = frozenset(
    {
        *((_WHITE_IS_ZERO, bits, 1, ()) for bits in (1, 2, 4, 8)),
        *((_BLACK_IS_ZERO, bits, 1, ()) for bits in (1, 2, 4, 8, 16)),
        (_BLACK_IS_ZERO, 8, 2, (_ALPHA,)),
        *((_PALETTE, bits, 1, ()) for bits in (1, 2, 4, 8)),
        *((_RGB, bits, 3, ()) for bits in (8, 16)),
        *((_RGB, bits, 4, ()) for bits in (8, 16)),
        *((_RGB, 8, 4, (extra,)) for extra in (_UNSPECIFIED, _ASSOCIATED_ALPHA, _ALPHA)),
        *((_RGB, 16, 4, (extra,)) for extra in (_UNSPECIFIED, _ASSOCIATED_ALPHA, _ALPHA)),
        *((_CMYK, bits, 4, ()) for bits in (8, 16)),
        (_YCBCR, 8, 3, ()),
    }
)
"""Supported pixels: the meaning of their samples, the bits of one, their number, and the meanings
of extra samples."""
_IN_JPEG: Final = frozenset({(_BLACK_IS_ZERO, 8, 1, ()), (_RGB, 8, 3, ()), (_YCBCR, 8, 3, ())})
_IN_PLANES: Final = frozenset({(_RGB, 8, 3, ()), (_CMYK, 8, 4, ())})
"""Pixels that are supported in JPEG, and with each sample in a plane of its own."""
_UNSIGNED: Final = frozenset({1, 4})
"""Formats of a sample: an unsigned number, or not defined."""

_BASELINE: Final = frozenset({0xC0, 0xC1})
"""Frames of a sequential JPEG. Technical Note 2 recommends no other."""
_MAX_JPEG_SEGMENTS: Final = 100
"""Maximum segments read from a strip or tile before its scan. Writers put at most ten there."""


@dataclass(frozen=True, kw_only=True)
class _Directory:
    """The first directory of a file."""

    order: str
    """struct's mark of the byte order, `<` or `>`."""
    values: dict[int, tuple[int, ...]]
    """Values by tag, of the tags in _Tag. None is empty."""

    def number(self, tag: int, default: int = 0) -> int:
        """The first value of a tag."""
        return self.values.get(tag, (default,))[0]

    @property
    def is_tiled(self) -> bool:
        return _Tag.TILE_OFFSETS in self.values

    @property
    def is_planar(self) -> bool:
        """True if each sample of a pixel is in a plane of its own."""
        return self.number(_Tag.PLANAR, 1) != 1 and self.number(_Tag.SAMPLES, 1) > 1

    @property
    def place_tags(self) -> tuple[_Tag, _Tag]:
        """Tags of the offsets and of the lengths of strips or tiles."""
        if self.is_tiled:
            return _Tag.TILE_OFFSETS, _Tag.TILE_BYTES
        return _Tag.STRIP_OFFSETS, _Tag.STRIP_BYTES

    @property
    def bits(self) -> tuple[int, ...]:
        """Bits of each sample of a pixel. A single value stands for all samples."""
        bits = self.values.get(_Tag.BITS, (1,))
        samples = self.number(_Tag.SAMPLES, 1)
        return bits * samples if len(bits) == 1 and samples <= _MAX_SAMPLES else bits


def unpack(image: bytes) -> Container:
    """Rewrite a TIFF with only its first image. Raises UnknownFormatError for an unsupported
    variant."""
    directory = _read(image)
    width, height = directory.number(_Tag.WIDTH), directory.number(_Tag.HEIGHT)
    if not (width and height):
        raise damaged("TIFF without a size")
    _reject_camera_raw(directory)
    if not _is_supported(directory):
        raise UnknownFormatError(TIFF.unsupported)
    across, down = _block_size(directory)
    planes = len(directory.bits) if directory.is_planar else 1
    blocks = _blocks(image, directory, planes * ceil(width / across) * ceil(height / down))
    compression = directory.number(_Tag.COMPRESSION, _NONE)
    if compression == _JPEG:
        for block in blocks:
            _check_jpeg(block)
    block_bytes = down * ceil(across * sum(directory.bits) / 8)
    orientation = directory.number(_Tag.ORIENTATION, 1)
    return Container(
        format=TIFF,
        size=(width, height),
        body=_rewritten(directory, (across, down), blocks),
        orientation=orientation if 1 <= orientation <= 8 else 1,
        lacks_pixels=not blocks,
        decoder_bytes=0 if compression == _NONE else block_bytes,
        large_tile=(across, down) if across * down > width * height else None,
    )


def _read(image: bytes) -> _Directory:
    """Read the values of the needed tags. A repeated tag, or one with too many values, is
    ignored."""
    order = "<" if image[:1] == b"I" else ">"
    is_big = 43 in image[2:4]
    word, word_bytes, number, number_bytes = ("Q", 8, "Q", 8) if is_big else ("I", 4, "H", 2)
    (start,) = struct.unpack_from(f"{order}{word}", image, word_bytes)
    (count,) = struct.unpack_from(f"{order}{number}", image, start)
    if count > _MAX_ENTRIES:
        raise damaged("too many TIFF entries")
    values: dict[int, tuple[int, ...]] = {}
    for index in range(count):
        entry = start + number_bytes + (4 + 2 * word_bytes) * index
        tag, kind, length = struct.unpack_from(f"{order}HH{word}", image, entry)
        field = _FIELDS.get(kind)
        if tag not in _TAGS or tag in values or field is None or not 0 < length <= MAX_BLOCKS:
            continue
        content = entry + 4 + word_bytes
        if length * struct.calcsize(field) > word_bytes:
            (content,) = struct.unpack_from(f"{order}{word}", image, content)
        values[tag] = struct.unpack_from(f"{order}{length}{field}", image, content)
    return _Directory(order=order, values=values)


def _reject_camera_raw(directory: _Directory) -> None:
    """Raise an error for a camera's raw data, whose first image is often a thumbnail."""
    is_raw = directory.number(_Tag.PHOTOMETRIC) in (_FILTER_ARRAY, _LINEAR_RAW)
    is_reduced = directory.number(_Tag.SUBFILE_TYPE) & 1
    if is_raw or is_reduced or _Tag.DNG_VERSION in directory.values:
        raise UnknownFormatError(sentences.CAMERA_RAW)


def _is_supported(directory: _Directory) -> bool:
    """Return whether Pillow decodes such pixels correctly."""
    bits, samples = directory.bits, directory.number(_Tag.SAMPLES, 1)
    photometric = directory.number(_Tag.PHOTOMETRIC)
    pixel = photometric, bits[0], samples, directory.values.get(_Tag.EXTRA_SAMPLES, ())
    compression = directory.number(_Tag.COMPRESSION, _NONE)
    predictor = directory.number(_Tag.PREDICTOR, 1)
    colours = len(directory.values.get(_Tag.COLOUR_MAP, ()))
    is_bilevel = pixel[:3] in {(_WHITE_IS_ZERO, 1, 1), (_BLACK_IS_ZERO, 1, 1)}
    return (
        pixel in _PIXELS
        and bits == (bits[0],) * samples
        and {*directory.values.get(_Tag.SAMPLE_FORMAT, (1,))} <= _UNSIGNED
        and compression in _COMPRESSIONS
        and (photometric != _PALETTE or colours == 3 << bits[0])
        and (photometric != _YCBCR or compression == _JPEG)
        and (compression not in _FAX or is_bilevel)
        and (compression != _JPEG or pixel in _IN_JPEG)
        and (predictor == 1 or (predictor == 2 and compression in _PREDICTABLE and bits[0] >= 8))
        and directory.number(_Tag.FILL_ORDER, 1) in ((1, 2) if is_bilevel else (1,))
        and (not directory.is_planar or (pixel in _IN_PLANES and compression != _JPEG))
    )


def _block_size(directory: _Directory) -> tuple[int, int]:
    """(pixels across, rows) of a strip or tile."""
    if directory.is_tiled:
        across, down = directory.number(_Tag.TILE_WIDTH), directory.number(_Tag.TILE_HEIGHT)
        if not (across and down):
            raise damaged("TIFF with tiles without a size")
        return across, down
    height = directory.number(_Tag.HEIGHT)
    down = min(height, directory.number(_Tag.ROWS_PER_STRIP, height) or height)
    return directory.number(_Tag.WIDTH), down


def _blocks(image: bytes, directory: _Directory, number: int) -> list[memoryview]:
    """Return the compressed strips or tiles; empty if the directory has too few, or too many.
    Raises DamagedImageError."""
    offsets, lengths = (directory.values.get(tag, ())[:number] for tag in directory.place_tags)
    if min(len(offsets), len(lengths)) < number:
        return []
    view = memoryview(image)
    blocks = [view[start : start + length] for start, length in zip(offsets, lengths, strict=True)]
    if sum(lengths) > len(image) or [*map(len, blocks)] != [*lengths]:
        raise damaged("TIFF with strips or tiles past its end, or over each other")
    return blocks


def _check_jpeg(block: memoryview) -> None:
    """Raise an error unless a strip or tile is a sequential JPEG of one scan: libjpeg then holds no
    coefficients."""
    position, components = 2, 0
    for _ in range(_MAX_JPEG_SEGMENTS):
        mark, code, length = struct.unpack_from(">BBH", block, position)
        if mark != 0xFF:
            break
        if code in FRAMES | UNSUPPORTED_FRAMES:
            components = block[position + 9] if code in _BASELINE and not components else 0
        if code == SOS:
            if block[position + 4] != components:
                break
            return
        position += 2 + length
    raise UnknownFormatError(TIFF.unsupported)


def _rewritten(
    directory: _Directory, block_size: tuple[int, int], blocks: list[memoryview]
) -> bytes:
    """Return a TIFF of the given strips or tiles, with a directory of the tags that determine
    pixels."""
    order = directory.order
    lengths = [*map(len, blocks)]
    offsets = [8 + end - length for end, length in zip(accumulate(lengths), lengths, strict=True)]
    tags = {
        tag: (field, directory.values[tag][: None if tag in _LISTS else 1])
        for tag, field in _COPIED.items()
        if tag in directory.values
    }
    tags[_Tag.BITS] = ("H", directory.bits)
    if not directory.is_planar:
        tags.pop(_Tag.PLANAR, None)
    sizes = (
        {_Tag.TILE_WIDTH: block_size[0], _Tag.TILE_HEIGHT: block_size[1]}
        if directory.is_tiled
        else {_Tag.ROWS_PER_STRIP: block_size[1]}
    )
    tags |= {tag: ("I", (size,)) for tag, size in sizes.items()}
    places = zip(directory.place_tags, (offsets, lengths), strict=True)
    tags |= {tag: ("I", (*numbers,)) for tag, numbers in places}
    data = 8 + sum(lengths)
    entries, values = [], []
    for tag, (field, numbers) in sorted(tags.items()):
        packed = struct.pack(f"{order}{len(numbers)}{field}", *numbers)
        if len(packed) > 4:
            values.append(packed)
            packed = struct.pack(f"{order}I", data)
            data += len(values[-1])
        entries.append(struct.pack(f"{order}HHI4s", tag, _TYPES[field], len(numbers), packed))
    mark = b"II" if order == "<" else b"MM"
    head = mark + struct.pack(f"{order}HI", 42, data)
    count, end = struct.pack(f"{order}H", len(entries)), bytes(4)
    return b"".join([head, *blocks, *values, count, *entries, end])
