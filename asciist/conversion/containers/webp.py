"""WebP chunks (RFC 9649 section 2).

After a 12-byte RIFF header, each chunk has a 4-byte type, a 4-byte length and content padded to an
even length. The file of a still image is kept unchanged, because libwebp skips metadata at little
cost. The chunks are read for the EXIF orientation, for the size of the canvas (VP8X, or the image
itself), and for the frames of an animation (ANMF).
"""

import math
import struct
from collections.abc import Iterator, Sequence
from typing import Final

from asciist import formats
from asciist.conversion.containers.animated import (
    AnimatedFile,
    EncodedFrame,
    fits,
    shown_milliseconds,
)
from asciist.conversion.containers.bounds import MAX_BLOCKS, is_canvas_mostly_empty
from asciist.conversion.containers.container import Container
from asciist.conversion.containers.exif import exif_orientation
from asciist.conversion.damage import damaged

_EXIF_PREFIX: Final = b"Exif\0\0"
"""Some encoders write it before EXIF metadata, as in a JPEG."""

_CANVAS_BYTES: Final = 10
"""Bytes of a VP8X chunk."""
_PLACE_BYTES: Final = 16
"""Bytes of an ANMF chunk before its image."""
_PIXEL_FLAGS: Final = 0x12
"""Flags of VP8X for transparency and animation."""


def unpack(image: bytes) -> Container:
    """Read the metadata of a WebP."""
    size, exif, lacks_pixels = (0, 0), memoryview(b""), False
    is_first_frame = True
    for kind, content in _chunks(memoryview(image)):
        if kind == b"VP8X" and len(content) >= _CANVAS_BYTES:
            size = _numbers(content, 4)
        elif kind in (b"VP8 ", b"VP8L") and not size[0]:
            size = _size_of(kind, content)
        elif kind == b"ANMF" and is_first_frame:
            lacks_pixels = is_canvas_mostly_empty(math.prod(size), math.prod(_numbers(content, 6)))
            is_first_frame = False
        elif kind == b"EXIF" and not exif:
            exif = content
    if exif[: len(_EXIF_PREFIX)].tobytes() == _EXIF_PREFIX:
        exif = exif[len(_EXIF_PREFIX) :]
    return Container(
        format=formats.WEBP,
        size=size,
        body=image,
        orientation=exif_orientation(exif),
        lacks_pixels=lacks_pixels,
    )


def _chunks(image: memoryview) -> Iterator[tuple[bytes, memoryview]]:
    """Yield (type, content) of each chunk; the last one may be truncated."""
    position, end = 12, min(len(image), 8 + struct.unpack_from("<I", image, 4)[0])
    for _ in range(MAX_BLOCKS):
        if position + 8 > end:
            return
        kind, length = struct.unpack_from("<4sI", image, position)
        yield kind, image[position + 8 : position + 8 + length]
        position += 8 + length + (length & 1)
    raise damaged("too many WebP chunks")


def _numbers(content: memoryview, position: int) -> tuple[int, int]:
    """Two 24-bit fields at `position`, each of a number minus one, such as a width and a height."""
    first, second = struct.unpack_from("<3s3s", content, position)
    return int.from_bytes(first, "little") + 1, int.from_bytes(second, "little") + 1


def _size_of(kind: bytes, content: memoryview) -> tuple[int, int]:
    """(width, height) of an image: in a lossy one after a tag and a start code, in a lossless one
    after a signature byte, in 14 bits each."""
    if kind == b"VP8 ":
        width, height = struct.unpack_from("<HH", content, 6)
        return width & 0x3FFF, height & 0x3FFF
    (bits,) = struct.unpack_from("<I", content, 1)
    return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)


def find_frames(image: bytes, canvas: tuple[int, int]) -> AnimatedFile:
    """Find the frames of an animated WebP."""
    frames, plays, header, animation = [], 1, b"", b""
    for kind, content in _chunks(memoryview(image)):
        if kind == b"VP8X" and len(content) >= _CANVAS_BYTES:
            flags = bytes([content[0] & _PIXEL_FLAGS, 0, 0, 0])
            header = _chunk(kind, flags + content[4:_CANVAS_BYTES])
        elif kind == b"ANIM" and len(content) >= 6:
            animation = _chunk(kind, content)
            plays = struct.unpack_from("<H", content, 4)[0]
        elif kind == b"ANMF" and len(content) >= _PLACE_BYTES:
            left, top = (2 * (number - 1) for number in _numbers(content, 0))
            if not fits(canvas, left, top, *_numbers(content, 6)):
                break
            delay = int.from_bytes(content[12:15], "little")
            frames.append(
                EncodedFrame(data=_chunk(kind, content), milliseconds=shown_milliseconds(delay))
            )

    def build(first: Sequence[EncodedFrame]) -> bytes:
        body = b"".join([b"WEBP", header, animation, *(frame.data for frame in first)])
        return b"RIFF" + struct.pack("<I", len(body)) + body

    return AnimatedFile(
        format=formats.WEBP,
        frames=frames if header and animation else [],
        plays=plays,
        build=build,
    )


def _chunk(kind: bytes, content: bytes | memoryview) -> bytes:
    return kind + struct.pack("<I", len(content)) + content + bytes(len(content) & 1)
