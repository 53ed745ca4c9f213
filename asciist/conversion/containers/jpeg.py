"""JPEG segments (ITU T.81 annex B).

A JPEG starts with an SOI marker. Each segment is a marker (0xFF and a code), a 2-byte length that
includes itself, and content; the first SOS marker begins the first scan. The frame headers (B.2.2),
the tables (B.2.4) and the start of the JFIF (APP0) and Adobe (APP14) segments, from which the
decoder derives the colour space, are kept. The EXIF segment (APP1) is read for the orientation. The
scans are stored separately, because the size of the decoded image determines which are needed
(`jpeg_scans`).
"""

import re
from typing import Final

from asciist import formats
from asciist.conversion.containers import jpeg_scans
from asciist.conversion.containers.bounds import MAX_BLOCKS
from asciist.conversion.containers.container import Container
from asciist.conversion.containers.exif import exif_orientation
from asciist.conversion.containers.jpeg_scans import (
    ADOBE,
    EOI,
    FRAMES,
    JFIF,
    SOS,
    TABLES,
    UNSUPPORTED_FRAMES,
)
from asciist.conversion.damage import damaged
from asciist.errors import UnknownFormatError

_APP1 = 0xE1
_KEPT_BYTES: Final = dict.fromkeys(FRAMES | TABLES, 2 + 0xFFFF) | {JFIF: 18, ADOBE: 16}
"""Maximum bytes kept of a segment, including its marker, by code. JFIF and Adobe segments may end
with thumbnails."""
_MAX_HEADER_BYTES: Final = 16_384
"""Maximum bytes of the segments kept before the first scan. Four quantization tables and eight code
tables have at most 2,700; Pillow takes 3 ms to read the maximum."""
_FILL: Final = re.compile(rb"\xff+")
_NO_SEGMENT = frozenset({0x00, 0x01, *range(0xD0, 0xD9)})
"""Codes after 0xFF without a length: a stuffed zero, TEM, RST0 to RST7 and SOI."""


def unpack(image: bytes) -> Container:
    """Strip a JPEG and separate its scans."""
    kept, kept_bytes = [b"\xff\xd8"], 0
    exif = b""
    position, size = 2, len(image)
    for _ in range(MAX_BLOCKS):
        if image[position] != 0xFF or image[position + 1] == 0xFF:
            position = _next_marker(image, position)
        code, start = image[position + 1], position + 2
        if code in _NO_SEGMENT:
            position = start
            continue
        if code == SOS:
            scans = jpeg_scans.read_header(kept, memoryview(image)[position:])
            return Container(
                format=formats.JPEG,
                size=scans.size,
                body=b"".join(kept),
                scans=scans,
                orientation=exif_orientation(exif),
                decoder_bytes=scans.coefficient_bytes,
            )
        _check(code)
        length = image[start] << 8 | image[start + 1]
        end = start + length
        if length < 2 or end > size:
            raise damaged("invalid JPEG segment length")
        if code in _KEPT_BYTES:
            kept.append(_shortened(image[position : min(end, position + _KEPT_BYTES[code])]))
            kept_bytes += len(kept[-1])
            if kept_bytes > _MAX_HEADER_BYTES:
                raise damaged("too many JPEG tables")
        elif code == _APP1 and image[start + 2 : start + 8] == b"Exif\0\0":
            exif = image[start + 8 : end]
        position = end
    raise damaged("too many JPEG segments")


def _check(code: int) -> None:
    """Raise an error for a segment that is not allowed before a scan of a supported JPEG."""
    if code == EOI:
        raise damaged("JPEG ends before its first scan")
    if code in UNSUPPORTED_FRAMES:
        raise UnknownFormatError(formats.JPEG.unsupported)


def _shortened(segment: bytes) -> bytes:
    """Return `segment`, possibly truncated, with its length corrected."""
    return segment[:2] + (len(segment) - 2).to_bytes(2) + segment[4:]


def _next_marker(image: bytes, position: int) -> int:
    """Skip stray bytes and fill bytes at `position`, between two segments, like libjpeg."""
    start = image.find(b"\xff", position)  # ten times as fast as a regular expression
    fill = _FILL.match(image, start)
    if start < 0 or fill is None:
        raise damaged("JPEG without a scan")
    return fill.end() - 1
