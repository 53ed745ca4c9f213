"""Boxes of the ISO base media file format (ISO/IEC 14496-12 section 4.2): a 4-byte length, a 4-byte type, and content."""

import struct
from collections.abc import Iterator

from asciist.conversion.containers.bounds import MAX_BLOCKS
from asciist.conversion.damage import damaged


def read_boxes(data: memoryview) -> Iterator[tuple[bytes, memoryview]]:
    """Yield (type, content) of each box. Raises DamagedImageError if one exceeds `data`, and struct.error for a part of one."""
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


def box(kind: bytes, *content: bytes) -> bytes:
    """Write a box."""
    return b"".join([struct.pack(">I4s", 8 + sum(map(len, content)), kind), *content])


def full_box(kind: bytes, *content: bytes, version: int = 0, flags: int = 0) -> bytes:
    """Write a box with a version and flags before its content."""
    return box(kind, struct.pack(">I", version << 24 | flags), *content)
