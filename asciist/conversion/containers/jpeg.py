"""JPEG segments (ITU T.81 annex B).

A JPEG starts with an SOI marker. Each segment is a marker (0xFF and a code), a 2-byte length that includes itself, and
content; the first SOS marker begins the first scan. The frame headers (B.2.2), the tables (B.2.4) and the JFIF (APP0) and Adobe
(APP14) segments, from which the decoder derives the colour space, are kept. The EXIF segment (APP1) is read for the
orientation. The scans are stored separately, because the size of the decoded image determines which are needed (`jpeg_scans`).
"""

from asciist.conversion.containers import jpeg_scans
from asciist.conversion.containers.bounds import MAX_BLOCKS
from asciist.conversion.containers.container import Container
from asciist.conversion.containers.exif import exif_orientation
from asciist.conversion.containers.jpeg_scans import ADOBE, EOI, FRAMES, JFIF, MARKER, SOS, TABLES
from asciist.conversion.damage import damaged

_APP1 = 0xE1
_KEPT = FRAMES | TABLES | {JFIF, ADOBE}
_CODES = frozenset(range(0x02, 0xFF)) - frozenset(range(0xD0, 0xD9))
"""Codes of the markers that MARKER matches."""


def unpack(image: bytes) -> Container:
    """Strip a JPEG and separate its scans."""
    kept = [b"\xff\xd8"]
    orientation = 1
    position, size = 2, len(image)
    for _ in range(MAX_BLOCKS):
        if image[position] != 0xFF or image[position + 1] not in _CODES:
            position = _next_marker(image, position)
        code, start = image[position + 1], position + 2
        if code == EOI:
            raise damaged("JPEG ends before its first scan")
        if code == SOS:
            scans = jpeg_scans.read_header(kept, memoryview(image)[position:])
            return Container(format="JPEG", body=b"".join(kept), scans=scans, orientation=orientation)
        length = image[start] << 8 | image[start + 1]
        end = start + length
        if length < 2 or end > size:
            raise damaged("invalid JPEG segment length")
        if code in _KEPT:
            kept.append(image[position:end])
        elif code == _APP1 and image[start + 2 : start + 8] == b"Exif\0\0":
            orientation = exif_orientation(image[start + 8 : end])
        position = end
    raise damaged("too many JPEG segments")


def _next_marker(image: bytes, position: int) -> int:
    """Skip the stray bytes and fill bytes at `position`, between two segments, as libjpeg does."""
    marker = MARKER.search(image, position)
    if marker is None:
        raise damaged("JPEG without a scan")
    return marker.start()
