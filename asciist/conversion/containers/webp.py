"""WebP chunks (RFC 9649 section 2).

After a 12-byte RIFF header, each chunk has a 4-byte type, a 4-byte length and content padded to an even length. The file is
kept unchanged, because libwebp skips metadata at little cost. The chunks are read for the EXIF orientation, and for the sizes
of the canvas (VP8X, or the image itself) and of an animation's first frame (ANMF).
"""

import math
import struct
from typing import Final

from asciist.conversion.containers.bounds import MAX_BLOCKS, is_canvas_mostly_empty
from asciist.conversion.containers.container import Container
from asciist.conversion.containers.exif import exif_orientation
from asciist.conversion.damage import damaged

_Size = tuple[int, int]

_EXIF_PREFIX: Final = b"Exif\0\0"
"""Some encoders write it before EXIF metadata, as in a JPEG."""

_CANVAS_BYTES: Final = 10
"""Bytes of a VP8X chunk."""


def unpack(image: bytes) -> Container:
    """Read the metadata of a WebP."""
    canvas, exif, lacks_pixels = (0, 0), memoryview(b""), False
    is_first_frame = True
    (riff_bytes,) = struct.unpack_from("<I", image, 4)
    position, end = 12, min(len(image), 8 + riff_bytes)
    for _ in range(MAX_BLOCKS):
        if position + 8 > end:
            break
        kind, length = struct.unpack_from("<4sI", image, position)
        start = position + 8
        if kind == b"VP8X" and length >= _CANVAS_BYTES:
            canvas = _size(image, start + 4)
        elif kind == b"ANMF" and is_first_frame:
            lacks_pixels = is_canvas_mostly_empty(math.prod(canvas), math.prod(_size(image, start + 6)))
            is_first_frame = False
        elif kind == b"EXIF" and not exif:
            exif = memoryview(image)[start : start + length]
        position = start + length + (length & 1)
    else:
        raise damaged("too many WebP chunks")
    if exif[: len(_EXIF_PREFIX)].tobytes() == _EXIF_PREFIX:
        exif = exif[len(_EXIF_PREFIX) :]
    orientation = exif_orientation(exif)
    return Container(format="WEBP", body=image, orientation=orientation, canvas=canvas, lacks_pixels=lacks_pixels)


def _size(image: bytes, position: int) -> _Size:
    """(width, height) of a canvas or frame, from 24-bit fields at `position`: width minus one, height minus one."""
    width, height = (int.from_bytes(image[start : start + 3], "little") + 1 for start in (position, position + 3))
    return width, height
