"""PNG chunks (W3C PNG 3 section 5).

After an 8-byte signature, each chunk consists of a 4-byte length, a 4-byte type, content and a
4-byte checksum. Only chunks that determine pixels are kept, if they are in their proper place; eXIf
is read for the orientation.
"""

import struct
import zlib
from collections.abc import Iterator, Sequence
from typing import Final

from asciist import formats
from asciist.conversion.containers.animated import (
    AnimatedFile,
    EncodedFrame,
    fits,
    shown_milliseconds,
)
from asciist.conversion.containers.bounds import MAX_BLOCKS
from asciist.conversion.containers.container import Container
from asciist.conversion.containers.exif import exif_orientation
from asciist.conversion.damage import damaged

_HEADER = frozenset({b"IHDR", b"PLTE", b"tRNS"})
"""Chunks that determine pixels and come before IDAT (section 5.6)."""
_CONTROL_BYTES: Final = 26
"""Bytes of an fcTL chunk, which controls a frame."""

_SIZE_BYTES: Final = 25
"""Bytes of an IHDR chunk."""
_MAX_HEADER_BYTES: Final = 8192
"""Maximum total bytes of these chunks, which Pillow reads in 3 ms. The largest valid ones have
1,085."""

_MAX_EXPANSION: Final = 1032
"""Maximum ratio of Deflate: a length code and a distance code of one bit each stand for 258 bytes
(RFC 1951 section 3.2.5)."""

_CHANNELS: Final = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
"""Channels by colour type."""

_MAX_PLAYS: Final = 65_535


def unpack(image: bytes) -> Container:
    """Strip a PNG."""
    view = memoryview(image)
    header, pixels = [view[:8]], list[memoryview]()
    exif = view[:0]
    for kind, chunk in _chunks(view):
        if kind in _HEADER and not pixels:
            header.append(chunk)
        elif kind in (b"IDAT", b"IEND"):
            pixels.append(chunk)
        elif kind == b"eXIf":
            exif = chunk[8:-4]
    header_bytes = sum(map(len, header))
    if header_bytes > _MAX_HEADER_BYTES:
        raise damaged("too many bytes in the PNG chunks before the pixels")
    body = (
        image
        if header_bytes + sum(map(len, pixels)) == len(image)
        else b"".join([*header, *pixels])
    )
    # Pillow reads all of them.
    last = next((chunk for chunk in reversed(header) if bytes(chunk[4:8]) == b"IHDR"), view[:0])
    if len(last) < _SIZE_BYTES:
        raise damaged("PNG without a size")
    width, height, depth, colour = struct.unpack_from(">IIBB", last, 8)
    least = width * height * depth * _CHANNELS.get(colour, 0) // 8
    return Container(
        format=formats.PNG,
        size=(width, height),
        body=body,
        orientation=exif_orientation(exif),
        lacks_pixels=_MAX_EXPANSION * len(body) < least,
    )


def _chunks(image: memoryview) -> Iterator[tuple[bytes, memoryview]]:
    """Yield (type, whole chunk) of each chunk up to IEND; the last one may be truncated."""
    position, kind = 8, b""
    for _ in range(MAX_BLOCKS):
        if position + 12 > len(image) or kind == b"IEND":
            return
        length, kind = struct.unpack_from(">I4s", image, position)
        yield kind, image[position : position + 12 + length]
        position += 12 + length
    raise damaged("too many PNG chunks")


def find_frames(image: bytes, canvas: tuple[int, int]) -> AnimatedFile:
    """Find the frames of an animated PNG, each with its control chunk and its pixels. Those of a
    PNG whose still image is not the first of them are not read."""
    header, frames, chunks = [image[:8]], list[EncodedFrame](), list[memoryview]()
    plays, milliseconds = -1, 0
    for kind, chunk in _chunks(memoryview(image)):
        content = chunk[8:-4]
        if len(chunk) != 12 + int.from_bytes(chunk[:4]):
            break
        if kind in (b"fcTL", b"IEND") and chunks[1:]:
            frames.append(EncodedFrame(data=b"".join(chunks), milliseconds=milliseconds))
            chunks = []
        if kind in _HEADER and not frames and not chunks:
            header.append(bytes(chunk))
        elif kind == b"acTL" and len(content) == 8:
            plays = struct.unpack_from(">I", content, 4)[0]
        elif kind == b"fcTL" and (asked := _milliseconds(content, canvas)) >= 0:
            chunks, milliseconds = [chunk], shown_milliseconds(asked)
        elif kind == (b"fdAT" if frames else b"IDAT") and chunks:
            chunks.append(chunk)
        elif kind in (b"fcTL", b"IDAT"):  # outside the canvas, or the still image is not a frame
            break

    def build(first: Sequence[EncodedFrame]) -> bytes:
        control = _chunk(b"acTL", struct.pack(">II", len(first), plays))
        return b"".join([*header, control, *(frame.data for frame in first), _chunk(b"IEND", b"")])

    return AnimatedFile(
        format=formats.PNG,
        frames=frames if plays >= 0 else [],
        plays=min(plays, _MAX_PLAYS),
        build=build,
    )


def _milliseconds(control: memoryview, canvas: tuple[int, int]) -> int:
    """Time that a frame asks for; -1 if it is not inside the canvas."""
    if len(control) != _CONTROL_BYTES:
        return -1
    width, height, left, top, delay, divisor = struct.unpack_from(">IIIIHH", control, 4)
    return 1000 * delay // (divisor or 100) if fits(canvas, left, top, width, height) else -1


def _chunk(kind: bytes, content: bytes) -> bytes:
    checksum = zlib.crc32(kind + content)
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)
