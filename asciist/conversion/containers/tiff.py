"""TIFF directories (TIFF 6.0 sections 2 to 18; BigTIFF; TIFF Technical Note 2 for JPEG).

A header of 8 bytes (16 in a BigTIFF) points to the first directory: a count and entries of 12 (20) bytes, each with a tag, a
type, a number of values, and the values or their offset. Pixels are in strips of rows or in tiles, compressed one by one. The
file is rewritten with the strips or tiles of the first image and a directory of the tags that determine pixels, so the decoder
never sees other directories, which may form a loop, nor metadata. Only variants that Pillow decodes correctly are accepted.
"""

import struct
from dataclasses import dataclass
from itertools import accumulate
from math import ceil
from typing import Final

from asciist.conversion.containers.bounds import MAX_BLOCKS
from asciist.conversion.containers.container import Container
from asciist.conversion.containers.jpeg_scans import FRAMES, SOS, UNSUPPORTED_FRAMES
from asciist.conversion.damage import damaged
from asciist.conversion.memory import StoredImage
from asciist.errors import UnknownFormatError, sentences

_SUBFILE_TYPE, _WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC, _FILL_ORDER = 254, 256, 257, 258, 259, 262, 266
_STRIP_OFFSETS, _ORIENTATION, _SAMPLES, _ROWS_PER_STRIP, _STRIP_BYTES, _PLANAR = 273, 274, 277, 278, 279, 284
_FAX_3_OPTIONS, _FAX_4_OPTIONS, _PREDICTOR, _COLOUR_MAP = 292, 293, 317, 320
_TILE_WIDTH, _TILE_HEIGHT, _TILE_OFFSETS, _TILE_BYTES = 322, 323, 324, 325
_EXTRA_SAMPLES, _SAMPLE_FORMAT, _JPEG_TABLES, _SUBSAMPLING, _DNG_VERSION = 338, 339, 347, 530, 50_706

_COPIED: Final = {
    _WIDTH: "I",
    _HEIGHT: "I",
    _BITS: "H",
    _COMPRESSION: "H",
    _PHOTOMETRIC: "H",
    _FILL_ORDER: "H",
    _SAMPLES: "H",
    _PLANAR: "H",
    _FAX_3_OPTIONS: "I",
    _FAX_4_OPTIONS: "I",
    _PREDICTOR: "H",
    _COLOUR_MAP: "H",
    _EXTRA_SAMPLES: "H",
    _JPEG_TABLES: "B",
    _SUBSAMPLING: "H",
}
"""Tags that are copied to the new directory, with struct's format of their values there."""
_READ: Final = _COPIED.keys() | {
    *(_SUBFILE_TYPE, _STRIP_OFFSETS, _ORIENTATION, _ROWS_PER_STRIP, _STRIP_BYTES),
    *(_TILE_WIDTH, _TILE_HEIGHT, _TILE_OFFSETS, _TILE_BYTES, _SAMPLE_FORMAT, _DNG_VERSION),
}

_LISTS: Final = frozenset({_BITS, _COLOUR_MAP, _EXTRA_SAMPLES, _JPEG_TABLES, _SUBSAMPLING})
"""Tags in _COPIED with several values. Of the others, only the first value is copied."""

_FIELDS: Final = {1: "B", 3: "H", 4: "I", 7: "B", 16: "Q"}
"""struct's format of a value, by type: BYTE, SHORT, LONG, UNDEFINED, LONG8. No tag in _READ has values of another type."""
_TYPES: Final = {"B": 7, "H": 3, "I": 4}
"""Types of the values in the new directory, by their format."""

_MAX_ENTRIES: Final = 4096
"""Maximum entries of the directory. Files with much metadata have a hundred."""
_MAX_SAMPLES: Final = 4

_NONE, _FAX_3, _FAX_4, _LZW, _JPEG, _DEFLATE, _OLD_DEFLATE, _PACKBITS = 1, 3, 4, 5, 7, 8, 32_946, 32_773
_FAX: Final = frozenset({_FAX_3, _FAX_4})
_PREDICTABLE: Final = frozenset({_LZW, _DEFLATE, _OLD_DEFLATE})
_MAX_EXPANSION: Final = {_NONE: 1, _PACKBITS: 64, _LZW: 2048, _JPEG: 1024, _DEFLATE: 1032, _OLD_DEFLATE: 1032}
"""Upper bound of the bytes of pixels for a byte of the file, by compression. PackBits: two bytes for 128. LZW: a code of at
most 12 bits for a string of up to 3,839 bytes, half of that on average. JPEG: two bits for each block of 64 samples, each of
which stands for at most 4 bytes. Deflate: as in `png`."""

_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB, _PALETTE, _CMYK, _YCBCR, _FILTER_ARRAY, _LINEAR_RAW = 0, 1, 2, 3, 5, 6, 32_803, 34_892
_UNSPECIFIED, _ASSOCIATED_ALPHA, _ALPHA = 0, 1, 2
"""Meanings of an extra sample. Associated alpha has been multiplied with the colours."""
_MODES: Final[dict[tuple[int, int, int, tuple[int, ...]], str]] = {
    **{(grey, 1, 1, ()): "1" for grey in (_WHITE_IS_ZERO, _BLACK_IS_ZERO)},
    **{(grey, bits, 1, ()): "L" for grey in (_WHITE_IS_ZERO, _BLACK_IS_ZERO) for bits in (2, 4, 8)},
    (_BLACK_IS_ZERO, 16, 1, ()): "I;16",
    (_BLACK_IS_ZERO, 8, 2, (_ALPHA,)): "LA",
    **{(_PALETTE, bits, 1, ()): "P" for bits in (1, 2, 4, 8)},
    **{(_RGB, bits, 3, ()): "RGB" for bits in (8, 16)},
    **{(_RGB, bits, 4, (_UNSPECIFIED,)): "RGB" for bits in (8, 16)},
    **{(_RGB, bits, 4, extra): "RGBA" for bits in (8, 16) for extra in ((), (_ASSOCIATED_ALPHA,), (_ALPHA,))},
    **{(_CMYK, bits, 4, ()): "CMYK" for bits in (8, 16)},
    (_YCBCR, 8, 3, ()): "RGB",
}
"""Pillow's mode of the decoded pixels, by the meaning of the samples of a pixel, their bits, their number, and the meaning of
extra samples. 16-bit grey of the other byte order has the mode "I;16B"."""
_IN_JPEG: Final = frozenset({(_BLACK_IS_ZERO, 1), (_RGB, 3), (_YCBCR, 3)})
_IN_PLANES: Final = frozenset({(_RGB, 3), (_CMYK, 4)})
"""Meanings and numbers of the samples of a pixel that are supported in JPEG, and in separate planes."""
_UNSIGNED: Final = frozenset({1, 4})
"""Formats of a sample: an unsigned number, or not defined."""

_BASELINE: Final = frozenset({0xC0, 0xC1})
"""Frames of a sequential JPEG. Technical Note 2 recommends no other."""
_MAX_JPEG_SEGMENTS: Final = 100
"""Maximum segments read of a strip or tile before its scan. Writers put at most ten there."""


@dataclass(frozen=True, kw_only=True)
class _Directory:
    """The first directory of a file."""

    order: str
    """struct's mark of the byte order, `<` or `>`."""
    values: dict[int, tuple[int, ...]]
    """Values by tag, of the tags in _READ. None is empty."""

    def number(self, tag: int, default: int = 0) -> int:
        """The first value of a tag."""
        return self.values.get(tag, (default,))[0]

    @property
    def bits(self) -> tuple[int, ...]:
        """Bits of each sample of a pixel. A single value stands for all samples."""
        bits = self.values.get(_BITS, (1,))
        samples = self.number(_SAMPLES, 1)
        return bits * samples if len(bits) == 1 and samples <= _MAX_SAMPLES else bits


@dataclass(frozen=True, kw_only=True)
class _Layout:
    """The strips or tiles of an image."""

    width: int
    """Pixels across a tile; of a strip, those of the image."""
    height: int
    """Rows of a tile or strip."""
    number: int
    """Tiles or strips, of all planes."""
    planes: int
    """Planes, each with a part of the samples: 1 or the number of samples."""
    is_tiled: bool


def unpack(image: bytes) -> Container:
    """Rewrite a TIFF with its first image alone. Raises UnknownFormatError for a variant that is not supported."""
    directory = _read(image)
    width, height = directory.number(_WIDTH), directory.number(_HEIGHT)
    if not (width and height):
        raise damaged("TIFF without a size")
    _reject_camera_raw(directory)
    mode, compression = _mode(directory), directory.number(_COMPRESSION, _NONE)
    layout = _layout(directory, width, height)
    blocks = _blocks(image, directory, layout)
    if compression == _JPEG:
        for block in blocks:
            _check_jpeg(block)
    row_bytes = ceil(width * sum(directory.bits) / 8)
    least = height // 8 if compression in _FAX else height * row_bytes // _MAX_EXPANSION[compression]
    block_bytes = layout.height * ceil(layout.width * sum(directory.bits) / 8)
    orientation = directory.number(_ORIENTATION, 1)
    return Container(
        format="TIFF",
        body=_rewritten(directory, layout, blocks),
        orientation=orientation if 1 <= orientation <= 8 else 1,
        canvas=(width, height),
        lacks_pixels=not blocks or sum(map(len, blocks)) < least,
        stored=StoredImage(width=width, height=height, mode=mode, decoder_bytes=0 if compression == _NONE else block_bytes),
    )


def _read(image: bytes) -> _Directory:
    """Read the values of the tags that matter. A tag that occurs again, or has too many values, is ignored."""
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
        if tag not in _READ or tag in values or field is None or not 0 < length <= MAX_BLOCKS:
            continue
        content = entry + 4 + word_bytes
        if length * struct.calcsize(field) > word_bytes:
            (content,) = struct.unpack_from(f"{order}{word}", image, content)
        values[tag] = struct.unpack_from(f"{order}{length}{field}", image, content)
    return _Directory(order=order, values=values)


def _reject_camera_raw(directory: _Directory) -> None:
    """Raise an error for the raw data of a camera, whose first image is often a thumbnail."""
    is_raw = directory.number(_PHOTOMETRIC) in (_FILTER_ARRAY, _LINEAR_RAW)
    is_reduced = directory.number(_SUBFILE_TYPE) & 1
    if is_raw or is_reduced or _DNG_VERSION in directory.values:
        raise UnknownFormatError(sentences.CAMERA_RAW)


def _mode(directory: _Directory) -> str:
    """Pillow's mode of the decoded pixels. Raises UnknownFormatError for a variant that is not supported."""
    bits, extra = directory.bits, directory.values.get(_EXTRA_SAMPLES, ())
    mode = _MODES.get((directory.number(_PHOTOMETRIC), bits[0], len(bits), extra))
    lacks_palette = mode == "P" and len(directory.values.get(_COLOUR_MAP, ())) != 3 << bits[0]
    if mode is None or lacks_palette or not _has_supported_encoding(directory):
        raise UnknownFormatError(sentences.UNSUPPORTED_TIFF)
    return "I;16B" if mode == "I;16" and directory.order == ">" else mode


def _has_supported_encoding(directory: _Directory) -> bool:
    """Return whether the samples have a supported type, order and compression."""
    bits, samples, compression = directory.bits, directory.number(_SAMPLES, 1), directory.number(_COMPRESSION, _NONE)
    photometric, predictor = directory.number(_PHOTOMETRIC), directory.number(_PREDICTOR, 1)
    fill_order = directory.number(_FILL_ORDER, 1)
    is_bilevel = bits == (1,) and photometric in (_WHITE_IS_ZERO, _BLACK_IS_ZERO)
    is_jpeg = compression == _JPEG
    return (
        len(bits) == samples
        and len({*bits}) == 1
        and {*directory.values.get(_SAMPLE_FORMAT, (1,))} <= _UNSIGNED
        and (compression in _MAX_EXPANSION or (compression in _FAX and is_bilevel))
        and (not is_jpeg or (bits[0] == 8 and (photometric, samples) in _IN_JPEG))
        and (is_jpeg or photometric != _YCBCR)
        and (predictor == 1 or (predictor == 2 and compression in _PREDICTABLE and bits[0] >= 8))
        and (fill_order == 1 or (fill_order == 2 and is_bilevel))
        and (directory.number(_PLANAR, 1) == 1 or samples == 1 or _has_supported_planes(directory))
    )


def _has_supported_planes(directory: _Directory) -> bool:
    """Return whether the samples may be stored in a plane each."""
    is_without_extra = (
        _EXTRA_SAMPLES not in directory.values and (directory.number(_PHOTOMETRIC), len(directory.bits)) in _IN_PLANES
    )
    return is_without_extra and directory.bits[0] == 8 and directory.number(_COMPRESSION, _NONE) != _JPEG


def _layout(directory: _Directory, width: int, height: int) -> _Layout:
    samples = directory.number(_SAMPLES, 1)
    planes = samples if directory.number(_PLANAR, 1) == 2 else 1
    if _TILE_OFFSETS in directory.values:
        across, down = directory.number(_TILE_WIDTH), directory.number(_TILE_HEIGHT)
        if not (across and down):
            raise damaged("TIFF with tiles without a size")
        number = ceil(width / across) * ceil(height / down) * planes
        return _Layout(width=across, height=down, number=number, planes=planes, is_tiled=True)
    down = min(height, directory.number(_ROWS_PER_STRIP, height) or height)
    return _Layout(width=width, height=down, number=ceil(height / down) * planes, planes=planes, is_tiled=False)


def _blocks(image: bytes, directory: _Directory, layout: _Layout) -> list[memoryview]:
    """Return the compressed strips or tiles; none if the directory has too few, or too many. Raises DamagedImageError."""
    tags = (_TILE_OFFSETS, _TILE_BYTES) if layout.is_tiled else (_STRIP_OFFSETS, _STRIP_BYTES)
    offsets, lengths = (directory.values.get(tag, ()) for tag in tags)
    if min(len(offsets), len(lengths)) < layout.number:
        return []
    view = memoryview(image)
    places = [*zip(offsets[: layout.number], lengths[: layout.number], strict=True)]
    if sum(length for _, length in places) > len(image) or any(start + length > len(image) for start, length in places):
        raise damaged("TIFF with strips or tiles past its end, or over each other")
    return [view[start : start + length] for start, length in places]


def _check_jpeg(block: memoryview) -> None:
    """Raise an error unless a strip or tile is a sequential JPEG of one scan, whose coefficients libjpeg does not keep."""
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
    raise UnknownFormatError(sentences.UNSUPPORTED_TIFF)


def _rewritten(directory: _Directory, layout: _Layout, blocks: list[memoryview]) -> bytes:
    """A TIFF of the given strips or tiles, with a directory of the tags that determine pixels."""
    order = directory.order
    lengths = [*map(len, blocks)]
    offsets = [8 + end - length for end, length in zip(accumulate(lengths), lengths, strict=True)]
    tags = {
        tag: (field, directory.values[tag][: None if tag in _LISTS else 1])
        for tag, field in _COPIED.items()
        if tag in directory.values
    }
    tags[_BITS] = ("H", directory.bits)
    if layout.planes == 1:
        tags.pop(_PLANAR, None)
    if layout.is_tiled:
        tags |= {_TILE_WIDTH: ("I", (layout.width,)), _TILE_HEIGHT: ("I", (layout.height,))}
        tags |= {_TILE_OFFSETS: ("I", (*offsets,)), _TILE_BYTES: ("I", (*lengths,))}
    else:
        tags |= {_ROWS_PER_STRIP: ("I", (layout.height,))}
        tags |= {_STRIP_OFFSETS: ("I", (*offsets,)), _STRIP_BYTES: ("I", (*lengths,))}
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
