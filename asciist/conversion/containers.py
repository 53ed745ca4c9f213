"""Image files as containers: recognise one by its first bytes and keep only what a decoder needs.

An image file is a list of blocks, and all but a few are metadata: comments, colour profiles, thumbnails, compressed text.
Decoders read them anyway, and that is where small files become slow or large: a PNG whose text chunks inflate to 64 MB, a JPEG
of two million empty segments, a progressive JPEG of three hundred scans. So the walk here drops every block that cannot
change a pixel and bounds the rest, before a decoder is called. The one piece of metadata that matters is EXIF orientation.

Layouts: JPEG ITU T.81 annex B; PNG W3C PNG 3 section 5; GIF89a sections 17 to 24; WebP RFC 9649 section 2.
"""

import math
import re
import struct
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from asciist.errors import DamagedImageError, UnknownFormatError

_MAX_BLOCKS: Final = 65_536
"""Blocks walked before a file is refused. PNG writers that flush every 4 KB need 2,500 for 10 MB; this many take 30 ms."""

_MAX_JPEG_SCANS: Final = 24
"""Scans read of a JPEG. Encoders write 3 to 12 and each costs a pass over the whole image; what comes after these can only
refine bits that are far below one of our levels."""


@dataclass(frozen=True, kw_only=True)
class JpegScans:
    """The scans of a JPEG, and what its header says of them."""

    process: int
    """The marker of the frame header, which names one of T.81's coding processes."""
    blocks: int
    """Blocks of 8x8 pixels in the whole image."""
    components: dict[int, tuple[int, int]]
    """(horizontal, vertical) sampling factors by identifier, in the frame's order."""
    luma_first: bool
    """Brightness is the first component alone, so that the others matter to colour only."""
    data: memoryview
    """From the first scan's header to the end of the file."""


@dataclass(frozen=True, kw_only=True)
class Container:
    """An image file reduced to its pixels."""

    format: str
    """JPEG, PNG, GIF, WEBP or BMP."""
    body: bytes
    """A valid file of that format without metadata; of a JPEG, what comes before its first scan."""
    scans: JpegScans | None = None
    """The rest of a JPEG, from which `jpeg_of` chooses."""
    orientation: int = 1
    """EXIF orientation, 1 to 8; 1 when absent or unreadable."""
    canvas: tuple[int, int] = (0, 0)
    """(width, height) in pixels that a decoder makes room for before it is asked to decode; only of formats where it does."""
    is_short: bool = False
    """Its data cannot hold the pixels that its header promises, or a sixteenth of them; refused once the size is known."""

    @property
    def opening(self) -> bytes:
        """Enough of the file for its header to be read."""
        return self.body if self.scans is None else self.body + self.scans.data[:_LONGEST_SCAN_HEADER]


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


# A marker with a length, or EOI: not TEM, RST0 to RST7 or SOI, and not the stuffed zeros of entropy-coded data. Without "+": a
# run of fill bytes must not cost a quadratic search.
_JPEG_MARKER = re.compile(rb"\xff([^\x00\x01\xd0-\xd8\xff])")
_EOI, _SOS = 0xD9, 0xDA
_APP0, _APP1, _APP14 = 0xE0, 0xE1, 0xEE
_DHT, _DAC, _DQT, _DRI = 0xC4, 0xCC, 0xDB, 0xDD
_TABLES = frozenset({_DHT, _DAC, _DQT, _DRI})  # they may stand between scans and hold for all that follow
_FRAMES = frozenset(range(0xC0, 0xD0)) - {_DHT, 0xC8, _DAC}  # SOF0 to SOF15; 0xC8 is reserved
_PROGRESSIVE_HUFFMAN: Final = 0xC2
_SEQUENTIAL_HUFFMAN = frozenset({0xC0, 0xC1})
_PROGRESSIVE = frozenset({_PROGRESSIVE_HUFFMAN, 0xC6, 0xCA, 0xCE})
_LONGEST_SCAN_HEADER: Final = 2 + 6 + 2 * 4  # T.81 B.2.3 with its limit of four components, behind the marker


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
        if code == _EOI:
            raise damaged("it ends before its first scan")
        if code == _SOS:
            scans = _jpeg_scans(kept, memoryview(image)[start - 2 :])
            return Container(format="JPEG", body=b"".join(kept), scans=scans, orientation=orientation)
        (length,) = struct.unpack_from(">H", image, start)
        position = start + length
        if length < 2 or position > len(image):
            raise damaged("a segment is longer than the file")
        content = image[start + 2 : position]
        if code == _APP1 and content.startswith(b"Exif\0\0"):
            orientation = exif_orientation(content[6:])
        # what describes frames and tables is kept, and JFIF's and Adobe's segments, which tell the decoder the colour space
        if code in _FRAMES or code in _TABLES or code in (_APP0, _APP14):
            kept.append(image[start - 2 : position])
    raise damaged("it has too many segments")


def _jpeg_scans(segments: list[bytes], data: memoryview) -> JpegScans:
    """What the `segments` of a header (each a marker, a length and content) say of the scans in `data`."""
    frame = next((segment for segment in segments if segment[1] in _FRAMES), None)
    if frame is None:
        raise damaged("it has no frame")
    height, width, count = struct.unpack_from(">HHB", frame, 5)
    components = {frame[at]: (frame[at + 1] >> 4, frame[at + 1] & 15) for at in range(10, 10 + 3 * count, 3)}
    # as libjpeg's default_decompress_parms tells three components of YCbCr from RGB, or more warily
    jfif = any(segment[1] == _APP0 and segment.startswith(b"JFIF\0", 4) and len(segment) >= 18 for segment in segments)
    adobe = [each[15] for each in segments if each[1] == _APP14 and each.startswith(b"Adobe", 4) and len(each) >= 16]
    luma_first = count == 1 or (count == 3 and (jfif or adobe == [1] or (not adobe and [*components] == [1, 2, 3])))
    return JpegScans(
        process=frame[1],
        blocks=-(-width // 8) * -(-height // 8),
        components=components,
        luma_first=luma_first,
        data=data,
    )


def jpeg_of(container: Container, *, reduction: int, in_colour: bool) -> bytes:
    """The JPEG in `container` with those of its scans that show when it is decoded at 1/`reduction` (1, 2, 4 or 8) of its size.

    A progressive JPEG is refined scan by scan, and most of its bytes are detail that a reduced decode averages away. At 1/8
    brightness is that of the complete file; at 1/4, and in colours, something is lost that hardly shows (docs/decisions/0012).
    Where colour is not wanted, the scans of colour alone are left out. Damage inside of what is left out goes unseen.

    Raises DamagedImageError where a file of several scans ends before its last one does, or its blocks make no sense.
    """
    scans = container.scans
    if scans is None:
        raise ValueError(f"a {container.format} has no scans")
    if scans.process not in _PROGRESSIVE and scans.data[4] == len(scans.components):  # all in one scan
        if scans.process in _SEQUENTIAL_HUFFMAN and 8 * len(scans.data) < 2 * _blocks_of(scans, scans.components):
            raise damaged("its blocks cannot all be there")  # each takes a code of its mean and one of its end, at the least
        return b"".join([container.body, scans.data])
    chosen = _chosen(scans, _transform_sizes(scans, reduction, in_colour))
    return b"".join([container.body, *chosen, b"\xff\xd9"])


def _chosen(scans: JpegScans, sizes: dict[int, int]) -> Iterator[bytes | memoryview]:
    """The scans that show when the blocks of each component become `sizes` pixels across, and all tables between scans."""
    headers: list[bytes] = []
    blank: dict[int, None] = {}
    for segment in _segments_with_data(scans.data):
        if segment[1] in _TABLES:
            yield segment
        if segment[1] != _SOS:
            continue
        header = bytes(segment[5 : 8 + 2 * segment[4]])
        needed = [identifier for identifier in header[:-3:2] if identifier in sizes]
        first, precision = header[-3], header[-1]
        if not any(_shows(sizes[identifier], first, precision) for identifier in needed):
            blank |= dict.fromkeys(needed)
        elif header not in headers:
            # a bit of each block's mean, at the least; of other coefficients one code may stand for 32767 blocks
            if first == 0 and scans.process == _PROGRESSIVE_HUFFMAN and 8 * len(segment) < _blocks_of(scans, header[:-3:2]):
                raise damaged("a scan's blocks cannot all be there")
            yield segment
        headers.append(header)
        if len(headers) == _MAX_JPEG_SCANS:
            break
    if blank:
        yield _BLANK_TABLES
    for identifier in blank:
        yield _blank_scan(identifier, scans.blocks)


def _blocks_of(scans: JpegScans, identifiers: Iterable[int]) -> int:
    """Blocks of 8x8 samples of some components, or a few less."""
    widest, tallest = (max(factors) for factors in zip(*scans.components.values(), strict=True))
    sampling = [scans.components[identifier] for identifier in identifiers]
    return sum(scans.blocks * horizontal * vertical // (widest * tallest) for horizontal, vertical in sampling)


def _segments_with_data(data: memoryview) -> Iterator[memoryview]:
    """The segments of a JPEG up to its end, each with the entropy-coded data that follows it."""
    start = 0
    for _ in range(_MAX_BLOCKS):
        (length,) = struct.unpack_from(">H", data, start + 2)
        following = _JPEG_MARKER.search(data, start + 2 + length)
        if following is None:
            raise damaged("it ends before its last scan does")
        yield data[start : following.start()]
        if following[1][0] == _EOI:
            return
        start = following.start()
    raise damaged("it has too many segments")


def _transform_sizes(scans: JpegScans, reduction: int, in_colour: bool) -> dict[int, int]:
    """How many pixels wide the inverse transform of a block is, 1 to 8, of each component that is needed.

    libjpeg's jpeg_calc_output_dimensions: it transforms a component that is sampled at half to twice the size, if it can.
    """
    widest, tallest = (max(factors) for factors in zip(*scans.components.values(), strict=True))
    # Only with its plain progressive process do we know how to say that the rest of a block is zero.
    least = 8 // reduction if scans.process == _PROGRESSIVE_HUFFMAN else 8
    sizes = {}
    for identifier, (horizontal, vertical) in scans.components.items():
        size = least
        while size < 8 and widest * least % (2 * size * horizontal) == 0 == tallest * least % (2 * size * vertical):
            size *= 2
        sizes[identifier] = size
        if scans.luma_first and not in_colour:
            break
    return sizes


def _shows(size: int, first: int, precision: int) -> bool:
    """Whether a scan shows that begins at coefficient `first` of each block, when a block becomes `size` pixels across.

    One pixel is the mean, coefficient 0. Two are a gradient as well: the coefficients from 1 to 5 carry it, and the last two
    bits of those are worth 0.3 of 255 levels (at quality 85). `precision` is T.81's Ah and Al: the bit that was last sent
    before, or 0, and the one that is sent now.
    """
    before, now = precision >> 4, precision & 15
    return first == 0 or size > 2 or (size == 2 and first <= 5 and (before == 0 or now >= 2))


# Where libjpeg knows only the first coefficients, it guesses the others from the blocks around (block smoothing), which blurs
# the mean too. So what is left out is not left open: one more scan says that the coefficients 1 to 63 of all blocks are zero.
# Its code table has one entry, a single zero bit: a run of 16384 such blocks, plus the number in the 14 bits that follow.
_BLANK_TABLES: Final = b"\xff\xdd\0\4\0\0" + b"\xff\xc4\0\x14\x10" + b"\1" + bytes(15) + b"\xe0"


def _blank_scan(identifier: int, blocks: int) -> bytes:
    return b"\xff\xda\0\x08\1" + bytes([identifier, 0, 1, 63, 0]) + bytes(15 * (blocks // 16_384 + 1) // 8 + 1)


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
    is_short = _PNG_MAX_EXPANSION * len(body) < _png_bytes(image)
    return Container(format="PNG", body=body, orientation=orientation, is_short=is_short)


_PNG_MAX_EXPANSION: Final = 1032
"""Deflate's best: 258 bytes from a length code and a distance code of one bit each (RFC 1951 section 3.2.5)."""
_PNG_CHANNELS: Final = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}


def _png_bytes(image: bytes) -> int:
    """The least that the pixels of a PNG take before they are compressed."""
    if len(image) < 26:
        return 0
    width, height, depth, colour = struct.unpack_from(">IIBB", image, 16)
    return int(width) * int(height) * int(depth) * _PNG_CHANNELS.get(colour, 0) // 8


_FREE_CANVAS: Final = 4_000_000
_MAX_EMPTINESS: Final = 16
"""Of an animation above so many pixels: how often its first frame may fit into the canvas that is made for it. Encoders write
the first frame whole."""


def _is_empty(canvas: int, frame: int) -> bool:
    return canvas > max(_FREE_CANVAS, _MAX_EMPTINESS * frame)


def _gif(image: bytes) -> Container:
    flags = image[10]
    position = 13 + (3 << (flags & 7) + 1 if flags & 0x80 else 0)
    header, control = image[:position], b""
    for _ in range(_MAX_BLOCKS):
        introducer = image[position]
        if introducer == 0x2C:  # the first frame: the decoder is never asked for another
            body = header + control + image[position:]
            canvas, pixels = _gif_canvas(header, image[position : position + 9])
            return Container(format="GIF", body=body, canvas=canvas, is_short=_is_empty(math.prod(canvas), pixels))
        if introducer != 0x21:
            raise damaged("it has no frame")
        start = position
        label = image[position + 1]
        position = _after_sub_blocks(image, position + 2)
        if label == 0xF9:  # graphic control: holds the transparent colour of the frame that follows
            transparency = image[start + 3] & 1  # the other flags are about the frames after it
            control = image[start : start + 3] + bytes([transparency]) + image[start + 4 : position]
    raise damaged("it has too many extensions")


def _gif_canvas(header: bytes, frame: bytes) -> tuple[tuple[int, int], int]:
    """The screen, or more where the frame goes past it, and the pixels of the frame."""
    width, height = struct.unpack_from("<HH", header, 6)
    left, top, frame_width, frame_height = struct.unpack_from("<HHHH", frame, 1)
    return (max(width, left + frame_width), max(height, top + frame_height)), frame_width * frame_height


def _after_sub_blocks(image: bytes, position: int) -> int:
    for _ in range(_MAX_BLOCKS):
        size = image[position]
        position += size + 1
        if size == 0:
            return position
    raise damaged("an extension is too long")


def _webp(image: bytes) -> Container:
    # libwebp skips metadata itself and cheaply; the walk is for the orientation, and for an animation's first frame
    orientation, canvas, is_short = 1, 0, False
    position = 12
    for _ in range(_MAX_BLOCKS):
        if position + 8 > len(image):
            break
        kind, length = struct.unpack_from("<4sI", image, position)
        start = position + 8
        if kind == b"VP8X":
            canvas = _webp_pixels(image, start + 4)
        elif kind == b"ANMF" and canvas:
            is_short = _is_empty(canvas, _webp_pixels(image, start + 6))
            canvas = 0  # later frames may be as small as they like
        elif kind == b"EXIF":
            orientation = exif_orientation(image[start : start + length].removeprefix(b"Exif\0\0"))
            break
        position = start + length + (length & 1)
    return Container(format="WEBP", body=image, orientation=orientation, is_short=is_short)


def _webp_pixels(image: bytes, at: int) -> int:
    """Of a canvas or frame: width less one and height less one stand there, three bytes each."""
    width, height = (int.from_bytes(image[start : start + 3], "little") + 1 for start in (at, at + 3))
    return width * height


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
