"""PNG chunks (W3C PNG 3 section 5).

After an 8-byte signature, each chunk has a 4-byte length, a 4-byte type, content and a 4-byte checksum. Only the chunks that
determine pixels are kept, and of them only those that come in their place; eXIf is read for the orientation.
"""

import struct
from typing import Final

from asciist.conversion.containers.bounds import MAX_BLOCKS
from asciist.conversion.containers.container import Container
from asciist.conversion.containers.exif import exif_orientation
from asciist.conversion.damage import damaged

_HEADER = frozenset({b"IHDR", b"PLTE", b"tRNS"})
"""Chunks that determine pixels and come before IDAT (section 5.6)."""

_MAX_HEADER_BYTES: Final = 8192
"""Maximum bytes of these chunks, which Pillow takes 3 ms to read. The largest valid ones have 1,085."""

_MAX_EXPANSION: Final = 1032
"""Maximum ratio of Deflate: a length code and a distance code of one bit each stand for 258 bytes (RFC 1951 section 3.2.5)."""

_CHANNELS: Final = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
"""Channels by colour type."""


def unpack(image: bytes) -> Container:
    """Strip a PNG."""
    view = memoryview(image)
    header, pixels = [view[:8]], []
    exif = view[:0]
    position = 8
    for _ in range(MAX_BLOCKS):
        if position + 12 > len(image):
            # The file is truncated; the decoder detects it if pixels are missing.
            pixels.append(view[position:])
            break
        length, kind = struct.unpack_from(">I4s", image, position)
        end = position + 12 + length
        if kind in _HEADER and not pixels:
            header.append(view[position:end])
        elif kind in (b"IDAT", b"IEND"):
            pixels.append(view[position:end])
        elif kind == b"eXIf":
            exif = view[position + 8 : end - 4]
        if kind == b"IEND":
            break
        position = end
    else:
        raise damaged("too many PNG chunks")
    header_bytes = sum(map(len, header))
    if header_bytes > _MAX_HEADER_BYTES:
        raise damaged("too many bytes in the PNG chunks before the pixels")
    body = image if header_bytes + sum(map(len, pixels)) == len(image) else b"".join([*header, *pixels])
    lacks_pixels = _MAX_EXPANSION * len(body) < _min_pixel_bytes(image)
    return Container(format="PNG", body=body, orientation=exif_orientation(exif), lacks_pixels=lacks_pixels)


def _min_pixel_bytes(image: bytes) -> int:
    """Lower bound of the uncompressed size of the pixels, in bytes, from the fields of IHDR."""
    if len(image) < 26:
        return 0
    width, height, depth, colour = struct.unpack_from(">IIBB", image, 16)
    return int(width) * int(height) * int(depth) * _CHANNELS.get(colour, 0) // 8
