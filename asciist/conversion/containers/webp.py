"""WebP chunks (RFC 9649 section 2).

After a 12-byte RIFF header, each chunk has a 4-byte type, a 4-byte length and content padded to an even length. The file is
kept unchanged, because libwebp skips metadata at little cost. The chunks are read for the EXIF orientation, and for the sizes
of an animation's canvas (VP8X) and first frame (ANMF).
"""

import struct

from asciist.conversion.containers.bounds import MAX_BLOCKS, is_canvas_mostly_empty
from asciist.conversion.containers.container import Container
from asciist.conversion.containers.exif import exif_orientation


def unpack(image: bytes) -> Container:
    """Read the metadata of a WebP."""
    orientation, canvas_pixels, lacks_pixels = 1, 0, False
    position = 12
    for _ in range(MAX_BLOCKS):
        if position + 8 > len(image):
            break
        kind, length = struct.unpack_from("<4sI", image, position)
        start = position + 8
        if kind == b"VP8X":
            canvas_pixels = _pixels(image, start + 4)
        elif kind == b"ANMF" and canvas_pixels:
            lacks_pixels = is_canvas_mostly_empty(canvas_pixels, _pixels(image, start + 6))
            canvas_pixels = 0  # only the first frame is checked
        elif kind == b"EXIF":
            orientation = exif_orientation(image[start : start + length].removeprefix(b"Exif\0\0"))
            break
        position = start + length + (length & 1)
    return Container(format="WEBP", body=image, orientation=orientation, lacks_pixels=lacks_pixels)


def _pixels(image: bytes, position: int) -> int:
    """Pixels of a canvas or frame, from 24-bit fields at `position`: width minus one, height minus one."""
    width, height = (int.from_bytes(image[start : start + 3], "little") + 1 for start in (position, position + 3))
    return width * height
