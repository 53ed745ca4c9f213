"""Image files as containers: recognise one by its first bytes and keep only what a decoder needs.

An image file is a list of blocks, and all but a few are metadata: comments, colour profiles, thumbnails, compressed text.
Decoders read them anyway, and that is where small files become slow or large: a PNG whose text chunks inflate to 64 MB, a JPEG
of two million empty segments, a progressive JPEG of three hundred scans. So the walk here drops every block that cannot
change a pixel and bounds the rest, before a decoder is called. The one piece of metadata that matters is EXIF orientation.

Layouts: JPEG ITU T.81 annex B; PNG W3C PNG 3 section 5; GIF89a sections 17 to 24; WebP RFC 9649 section 2.
"""

import re
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from asciist.errors import DamagedImageError, UnknownFormatError

_MAX_BLOCKS: Final = 65_536
"""Blocks walked before a file is refused. PNG writers that flush every 4 KB need 2,500 for 10 MB; this many take 30 ms."""

_MAX_JPEG_SCANS: Final = 24
"""Scans kept of a progressive JPEG. Encoders write 3 to 12 and each costs a pass over the whole image; what comes after
these can only refine bits that are far below one of our levels."""


@dataclass(frozen=True, kw_only=True)
class Container:
    """An image file reduced to its pixels."""

    format: str
    """JPEG, PNG, GIF, WEBP or BMP."""
    body: bytes
    """A valid file of that format without metadata."""
    orientation: int = 1
    """EXIF orientation, 1 to 8; 1 when absent or unreadable."""
    canvas: tuple[int, int] = (0, 0)
    """(width, height) in pixels that a decoder makes room for before it is asked to decode; only of formats where it does."""


def unpack(image: bytes) -> Container:
    """Recognise `image` by its signature and strip it.

    Raises UnknownFormatError when no signature of the allow-list matches, DamagedImageError when its blocks make no sense.
    """
    for signature, walk in _WALKS:
        if signature.match(image):
            try:
                return walk(image)
            except (IndexError, struct.error) as error:
                raise damaged("it ends too early") from error
    raise UnknownFormatError("unknown image format; JPEG, PNG, GIF, WebP and BMP can be converted")


def damaged(why: str) -> DamagedImageError:
    """The one sentence for damage; why it was found is for the log."""
    return DamagedImageError("the image is damaged and cannot be decoded", detail=why)


_JPEG_MARKER = re.compile(rb"\xff([^\x00\xff])")  # without "+": a run of fill bytes must not cost a quadratic search
_SOI, _EOI, _SOS, _COM, _TEM = 0xD8, 0xD9, 0xDA, 0xFE, 0x01
_APP0, _APP1, _APP14, _APP15 = 0xE0, 0xE1, 0xEE, 0xEF
_STANDALONE = frozenset({_TEM, *range(0xD0, 0xD9)})  # markers without a length: TEM, RST0 to RST7, SOI


def _jpeg(image: bytes) -> Container:
    kept = [b"\xff\xd8"]
    orientation = 1
    position = 2
    for _ in range(_MAX_BLOCKS):
        # search, not match: like libjpeg, skip stray bytes and fill bytes between segments
        marker = _JPEG_MARKER.search(image, position)
        if marker is None:
            raise damaged("it has no scan")
        code, start = marker[1][0], marker.end()
        if code in _STANDALONE:
            position = start
            continue
        if code == _EOI:
            raise damaged("it ends before its first scan")
        if code == _SOS:
            return Container(format="JPEG", body=b"".join([*kept, _scans(image, start - 2)]), orientation=orientation)
        (length,) = struct.unpack_from(">H", image, start)
        position = start + length
        if length < 2 or position > len(image):
            raise damaged("a segment is longer than the file")
        content = image[start + 2 : position]
        if code == _APP1 and content.startswith(b"Exif\0\0"):
            orientation = exif_orientation(content[6:])
        # JFIF and Adobe segments tell the decoder the colour space; all other application segments and comments go
        if not (_APP0 <= code <= _APP15 or code == _COM) or code in (_APP0, _APP14):
            kept.append(image[start - 2 : position])
    raise damaged("it has too many segments")


def _scans(image: bytes, start: int) -> bytes:
    """The scans from `start`, at most `_MAX_JPEG_SCANS` of them. Entropy-coded data cannot contain a marker."""
    position = start
    for _ in range(_MAX_JPEG_SCANS):
        position = image.find(b"\xff\xda", position + 2)
        if position < 0:
            return image[start:]
    return image[start:position] + b"\xff\xd9"


_PNG_KEPT = frozenset({b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"})


def _png(image: bytes) -> Container:
    view = memoryview(image)
    kept = [view[:8]]
    orientation = 1
    position = 8
    for _ in range(_MAX_BLOCKS):
        if position + 12 > len(image):
            # cut short: let the decoder say whether the pixels are all there
            kept.append(view[position:])
            break
        length, kind = struct.unpack_from(">I4s", image, position)
        end = position + 12 + length
        if kind in _PNG_KEPT:
            kept.append(view[position:end])
        elif kind == b"eXIf":
            orientation = exif_orientation(image[position + 8 : end - 4])
        if kind == b"IEND":
            break
        position = end
    else:
        raise damaged("it has too many chunks")
    body = image if sum(map(len, kept)) == len(image) else b"".join(kept)
    return Container(format="PNG", body=body, orientation=orientation)


def _gif(image: bytes) -> Container:
    flags = image[10]
    position = 13 + (3 << (flags & 7) + 1 if flags & 0x80 else 0)
    header, control = image[:position], b""
    for _ in range(_MAX_BLOCKS):
        introducer = image[position]
        if introducer == 0x2C:  # the first frame: the decoder is never asked for another
            body = header + control + image[position:]
            return Container(format="GIF", body=body, canvas=_gif_canvas(header, image[position : position + 9]))
        if introducer != 0x21:
            raise damaged("it has no frame")
        start = position
        label = image[position + 1]
        position = _after_sub_blocks(image, position + 2)
        if label == 0xF9:  # graphic control: holds the transparent colour of the frame that follows
            transparency = image[start + 3] & 1  # the other flags are about the frames after it
            control = image[start : start + 3] + bytes([transparency]) + image[start + 4 : position]
    raise damaged("it has too many extensions")


def _gif_canvas(header: bytes, frame: bytes) -> tuple[int, int]:
    """The screen, or more where the frame goes past it."""
    width, height = struct.unpack_from("<HH", header, 6)
    left, top, frame_width, frame_height = struct.unpack_from("<HHHH", frame, 1)
    return max(width, left + frame_width), max(height, top + frame_height)


def _after_sub_blocks(image: bytes, position: int) -> int:
    for _ in range(_MAX_BLOCKS):
        size = image[position]
        position += size + 1
        if size == 0:
            return position
    raise damaged("an extension is too long")


def _webp(image: bytes) -> Container:
    # libwebp skips metadata itself and cheaply; the walk is for the orientation alone
    orientation = 1
    position = 12
    for _ in range(_MAX_BLOCKS):
        if position + 8 > len(image):
            break
        kind, length = struct.unpack_from("<4sI", image, position)
        if kind == b"EXIF":
            exif = image[position + 8 : position + 8 + length]
            orientation = exif_orientation(exif.removeprefix(b"Exif\0\0"))
            break
        position += 8 + length + (length & 1)
    return Container(format="WEBP", body=image, orientation=orientation)


def _bmp(image: bytes) -> Container:
    return Container(format="BMP", body=image)


_WALKS: Final[tuple[tuple[re.Pattern[bytes], Callable[[bytes], Container]], ...]] = (
    (re.compile(rb"\xff\xd8\xff"), _jpeg),
    (re.compile(rb"\x89PNG\r\n\x1a\n"), _png),
    (re.compile(rb"GIF8[79]a"), _gif),
    (re.compile(rb"RIFF....WEBP", re.DOTALL), _webp),
    (re.compile(rb"BM"), _bmp),
)

_ORIENTATION_TAG: Final = 0x0112
_LONG: Final = 4


def exif_orientation(tiff: bytes) -> int:
    """The orientation (1 to 8) in the first directory of an EXIF block; 1 when there is none or the block is nonsense.

    EXIF 2.32 section 4.6.4 A. Read here and not by Pillow, which parses the whole directory and warns about damage in it.
    """
    order = {b"II": "<", b"MM": ">"}.get(tiff[:2])
    if order is None:
        return 1
    try:
        (directory,) = struct.unpack_from(f"{order}I", tiff, 4)
        (entries,) = struct.unpack_from(f"{order}H", tiff, directory)
        for entry in range(directory + 2, directory + 2 + 12 * entries, 12):
            tag, kind = struct.unpack_from(f"{order}HH", tiff, entry)
            if tag == _ORIENTATION_TAG:
                (value,) = struct.unpack_from(f"{order}{'I' if kind == _LONG else 'H'}", tiff, entry + 8)
                return value if 1 <= value <= 8 else 1
    except struct.error:
        pass
    return 1
