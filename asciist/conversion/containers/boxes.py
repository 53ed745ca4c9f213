"""Boxes of the ISO base media file format (ISO/IEC 14496-12 section 4.2): a 4-byte length, a 4-byte
type, and content. Those of the AV1 Image File Format are in still images and in animations."""

import struct
from collections.abc import Iterable, Iterator
from math import ceil
from typing import Final

from asciist.conversion.containers.bounds import MAX_BLOCKS
from asciist.conversion.damage import damaged

ALPHA: Final = (b"urn:mpeg:mpegB:cicp:systems:auxiliary:alpha\0", b"urn:mpeg:hevc:2015:auxid:1\0")
"""Types of an auxiliary image that is alpha."""


def read_boxes(data: memoryview) -> Iterator[tuple[bytes, memoryview]]:
    """Yield (type, content) of each box. Raises DamagedImageError if one exceeds `data`, and
    struct.error for a truncated header."""
    position = 0
    for _ in range(MAX_BLOCKS):
        if position == len(data):
            return
        length, kind = struct.unpack_from(">I4s", data, position)
        start, end = position + 8, position + length
        if length == 1:
            start += 8
            end = position + struct.unpack_from(">Q", data, position + 8)[0]
        elif length == 0:
            end = len(data)
        if not start <= end <= len(data):
            raise damaged("AVIF box past the end of the file")
        yield kind, data[start:end]
        position = end
    raise damaged("too many AVIF boxes")


def first_boxes(data: memoryview) -> dict[bytes, memoryview]:
    """Return the content of the first box of each type. Raises the errors of `read_boxes`."""
    return dict(reversed([*read_boxes(data)]))


def box(kind: bytes, *content: bytes | memoryview) -> bytes:
    """Write a box."""
    return b"".join([struct.pack(">I4s", 8 + sum(map(len, content)), kind), *content])


def full_box(kind: bytes, *content: bytes, version: int = 0, flags: int = 0) -> bytes:
    """Write a box with a version and flags before its content."""
    return box(kind, struct.pack(">I", version << 24 | flags), *content)


def sample_bytes(width: int, height: int, configurations: Iterable[bytes | memoryview]) -> int:
    """Bytes of the samples of a frame in all its layers, by the content of their boxes `av1C` (AV1
    in ISOBMFF section 2.3.3)."""
    total = 0
    for configuration in configurations:
        if len(configuration) < 4:
            raise damaged("AVIF without the configuration of a decoder")
        flags = configuration[2]
        across, down = 1 + (flags >> 3 & 1), 1 + (flags >> 2 & 1)
        chroma = 0 if flags & 0x10 else 2 * ceil(width / across) * ceil(height / down)
        total += (2 if flags & 0x40 else 1) * (width * height + chroma)
    return total
