"""Selection of JPEG scans: leave out scans without effect at the decoded size.

A progressive JPEG (ITU T.81 annex G) is refined scan by scan, and most of its bytes are detail that
a reduced decode averages away. libjpeg nevertheless decodes every scan, so scans without effect are
removed before it sees the file:

- at 1/8 of the size, each block becomes one pixel, its mean: only the scans of coefficient 0
  matter;
- at 1/4, a block becomes 2x2 pixels: coefficients 1 to 5 matter as well, except for refinements of
  their last two bits;
- at 1/2 and 1/1, every scan of brightness matters;
- without colour, the scans of chroma alone never matter.

The result equals a full decode at 1/8 (brightness), 1/2 and 1/1; at 1/4 and in colour the
difference is barely visible. The measurements are in docs/decisions/0012. Damage inside omitted
scans goes undetected.
"""

import re
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from math import ceil
from typing import Final

from asciist.conversion.containers.bounds import MAX_BLOCKS
from asciist.conversion.damage import damaged

MARKER: Final = re.compile(rb"\xff([^\x00\x01\xd0-\xd8\xff])")
"""Pattern of a marker with a length, or EOI. TEM, RST0 to RST7, SOI and the stuffed zeros of
entropy-coded data do not match. The first byte has no "+", because the search would take quadratic
time in a run of fill bytes."""

EOI, SOS = 0xD9, 0xDA
JFIF, ADOBE = 0xE0, 0xEE
"""APP0 and APP14."""
_DHT, _DQT, _DRI = 0xC4, 0xDB, 0xDD
TABLES = frozenset({_DHT, _DQT, _DRI})
"""Tables and the restart interval. They may also come between scans, and apply to all later
ones."""
FRAMES = frozenset({0xC0, 0xC1, 0xC2})
"""SOF0, SOF1 and SOF2: baseline, extended sequential and progressive, all with Huffman codes."""
UNSUPPORTED_FRAMES = frozenset({*range(0xC3, 0xD0), 0xDE, 0xF7}) - {_DHT, 0xC8, 0xCC}
"""Frames of other processes, all uncommon: arithmetic coding, which takes twenty times as long,
lossless and hierarchical coding, and JPEG-LS. 0xC8 is reserved, and 0xCC defines arithmetic
conditioning."""
_SEQUENTIAL = frozenset({0xC0, 0xC1})

MAX_HEADER_BYTES: Final = 2 + 6 + 2 * 4
"""Maximum bytes of a marker and a scan header (T.81 B.2.3), which has at most four components."""

_BLOCK_BYTES: Final = 128
"""Memory of the coefficients of 8x8 samples, held by libjpeg for a JPEG with several scans."""

_MAX_SCANS: Final = 24
"""Maximum scans read. Encoders write 3 to 12. Each scan costs a pass over the whole image, and
scans after the first 24 can only refine bits far below one level of brightness."""


@dataclass(frozen=True, kw_only=True)
class JpegScans:
    """The scans of a JPEG, and the header fields needed to select among them."""

    process: int
    """Marker code of the frame header, which identifies the coding process of T.81."""
    size: tuple[int, int]
    """(width, height) in pixels."""
    factors: tuple[tuple[int, int], ...]
    """(horizontal, vertical) sampling factors of the components, in frame order."""
    components: dict[int, tuple[int, int]]
    """The same by component identifier."""
    luma_first: bool
    """True if the first component is the brightness, and the others are only colour."""
    data: memoryview
    """The file from the header of the first scan to the end."""

    @property
    def blocks(self) -> int:
        """Blocks of 8x8 pixels in the whole image."""
        width, height = self.size
        return -(-width // 8) * -(-height // 8)

    @property
    def is_single(self) -> bool:
        """True if the first scan is sequential and contains all components: libjpeg then holds no
        coefficients."""
        return self.process in _SEQUENTIAL and self.data[4] == len(self.factors)

    @property
    def coefficient_bytes(self) -> int:
        """Memory of the coefficients of all components: two bytes for each, in whole blocks
        (libjpeg's jdcoefct.c)."""
        if self.is_single or not self.factors:
            return 0
        widest, tallest = (8 * max(1, *factor) for factor in zip(*self.factors, strict=True))
        across, down = ceil(self.size[0] / widest), ceil(self.size[1] / tallest)
        return sum(_BLOCK_BYTES * across * down * h * v for h, v in self.factors)


def read_header(segments: list[bytes], data: memoryview) -> JpegScans:
    """Describe the scans in `data` from the `segments` (marker, length, content) before them.
    Raises DamagedImageError."""
    frames, adobe, jfif = [], [], False
    for segment in segments:
        code = segment[1]
        if code in FRAMES:
            frames.append(segment)
        elif code == ADOBE and segment[4:9] == b"Adobe" and len(segment) >= 16:
            adobe.append(segment[15])
        elif code == JFIF and segment[4:9] == b"JFIF\0" and len(segment) >= 18:
            jfif = True
    if not frames:
        raise damaged("JPEG without a frame")
    frame = frames[0]
    height, width, count = struct.unpack_from(">HHB", frame, 5)
    identifiers = [frame[at] for at in range(10, 10 + 3 * count, 3)]
    factors = tuple((frame[at] >> 4, frame[at] & 15) for at in range(11, 10 + 3 * count, 3))
    components = dict(zip(identifiers, factors, strict=True))
    return JpegScans(
        process=frame[1],
        size=(width, height),
        factors=factors,
        components=components,
        # At least as strict as libjpeg's default_decompress_parms, which distinguishes YCbCr from
        # RGB.
        luma_first=count == 1
        or (count == 3 and (jfif or adobe == [1] or (not adobe and [*components] == [1, 2, 3]))),
        data=data,
    )


def select(scans: JpegScans, *, reduction: int, in_colour: bool) -> Iterator[bytes | memoryview]:
    """Yield the parts of `scans` that matter at 1/`reduction` of the size, up to the end of the
    file.

    Raises DamagedImageError if the file has too little data for its blocks, or has several scans
    and ends before the last one.
    """
    if scans.is_single:
        # Each block takes at least a code for its mean and one for its end.
        if 8 * len(scans.data) < 2 * _min_blocks(scans, scans.components):
            raise damaged("JPEG too short for its blocks")
        yield scans.data
        return
    yield from _visible_scans(scans, _transform_sizes(scans, reduction, in_colour))
    yield b"\xff\xd9"


def _visible_scans(scans: JpegScans, sizes: dict[int, int]) -> Iterator[bytes | memoryview]:
    """Yield the tables between scans, and the scans that matter; `sizes` is the output size of a
    component's blocks."""
    headers: list[bytes] = []
    zeroed: dict[int, None] = {}  # an ordered set of components
    for segment in _segments_with_data(scans.data):
        if segment[1] in TABLES:
            yield segment
        if segment[1] != SOS:
            continue
        header = bytes(segment[5 : 8 + 2 * segment[4]])
        needed = [identifier for identifier in header[:-3:2] if identifier in sizes]
        first, precision = header[-3], header[-1]
        if not any(_is_visible(sizes[identifier], first, precision) for identifier in needed):
            zeroed |= dict.fromkeys(needed)
        elif header not in headers:
            # The mean of each block takes at least one bit. Of other coefficients, one code may
            # cover 32767 blocks.
            if first == 0 and 8 * len(segment) < _min_blocks(scans, header[:-3:2]):
                raise damaged("JPEG scan too short for its blocks")
            yield segment
        headers.append(header)
        if len(headers) == _MAX_SCANS:
            break
    if zeroed:
        yield _ZERO_SCAN_TABLES
    for identifier in zeroed:
        yield _zero_scan(identifier, scans.blocks)


def _min_blocks(scans: JpegScans, identifiers: Iterable[int]) -> int:
    """Number of blocks of 8x8 samples in the given components, rounded down."""
    widest, tallest = (max(factors) for factors in zip(*scans.components.values(), strict=True))
    sampling = [scans.components[identifier] for identifier in identifiers]
    return sum(
        scans.blocks * horizontal * vertical // (widest * tallest)
        for horizontal, vertical in sampling
    )


def _segments_with_data(data: memoryview) -> Iterator[memoryview]:
    """Yield the segments up to EOI, each with the entropy-coded data that follows it."""
    start = 0
    for _ in range(MAX_BLOCKS):
        (length,) = struct.unpack_from(">H", data, start + 2)
        following = MARKER.search(data, start + 2 + length)
        if following is None:
            raise damaged("JPEG ends before its last scan does")
        yield data[start : following.start()]
        if following[1][0] == EOI:
            return
        start = following.start()
    raise damaged("too many JPEG segments")


def _transform_sizes(scans: JpegScans, reduction: int, in_colour: bool) -> dict[int, int]:
    """Return the output size, 1 to 8 pixels across, of the inverse transform of a block, for each
    needed component.

    As in libjpeg's jpeg_calc_output_dimensions: a subsampled component is transformed to a larger
    size instead of being upsampled, where its factors allow that.
    """
    widest, tallest = (max(factors) for factors in zip(*scans.components.values(), strict=True))
    # `_zero_scan` can be used only with the progressive process.
    smallest = 8 if scans.process in _SEQUENTIAL else 8 // reduction
    sizes = {}
    for identifier, (horizontal, vertical) in scans.components.items():
        size = smallest
        while size < 8 and widest * smallest % (
            2 * size * horizontal
        ) == 0 == tallest * smallest % (2 * size * vertical):
            size *= 2
        sizes[identifier] = size
        if scans.luma_first and not in_colour:
            break
    return sizes


def _is_visible(size: int, first: int, precision: int) -> bool:
    """Return whether a scan starting at coefficient `first` matters when a block becomes `size`
    pixels across.

    One pixel is the mean, coefficient 0. Two pixels add a gradient, which coefficients 1 to 5
    carry; their last two bits are worth 0.3 of 255 levels (at quality 85). `precision` holds T.81's
    Ah, the lowest bit sent before (0 for none), and Al, the bit sent now.
    """
    before, now = precision >> 4, precision & 15
    return first == 0 or size > 2 or (size == 2 and first <= 5 and (before == 0 or now >= 2))


_ZERO_SCAN_TABLES: Final = b"\xff\xdd\0\4\0\0" + b"\xff\xc4\0\x14\x10" + b"\1" + bytes(15) + b"\xe0"
"""No restart interval, and a Huffman table with one entry: a single 0 bit stands for a run of 16384
blocks of zeros, plus the number in the 14 bits after it.

libjpeg estimates missing coefficients from the neighbouring blocks (block smoothing), which blurs
the mean too. A final scan that sets the coefficients 1 to 63 of all blocks to zero prevents
that."""


def _zero_scan(identifier: int, blocks: int) -> bytes:
    """Return a scan that sets coefficients 1 to 63 of all blocks of a component to zero."""
    return (
        b"\xff\xda\0\x08\1"
        + bytes([identifier, 0, 1, 63, 0])
        + bytes(15 * (blocks // 16_384 + 1) // 8 + 1)
    )
