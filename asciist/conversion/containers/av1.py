"""AV1 open bitstream units (AV1 specification sections 5.3 to 5.9).

A coded image is a sequence header, which has the size and the format of the samples, and one or more frames. Each unit has a
byte with its type, an optional byte of extension, and an optional length.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from math import ceil
from typing import Final

from asciist.conversion.containers.bounds import MAX_BLOCKS
from asciist.conversion.damage import damaged

_SEQUENCE_HEADER, _FRAME_HEADER, _TILE_GROUP, _FRAME, _REPEATED_FRAME_HEADER = 1, 3, 4, 6, 7
_KEPT: Final = frozenset({_SEQUENCE_HEADER, _FRAME_HEADER, _TILE_GROUP, _FRAME, _REPEATED_FRAME_HEADER})
"""Types of the units that determine pixels. Others are delimiters, metadata and padding."""

_MAX_FRAMES: Final = 4
"""Maximum frames of an image: one, or one for each layer of a progressive image. Each costs the time and memory of an image."""

_MAX_SAMPLE_FRAMES: Final = 8
"""Maximum frames of a sample of a track: the one that is shown, and hidden ones before it that later frames refer to."""
_REFERENCES: Final = 8
"""Frames that a decoder keeps for later ones to refer to."""
_FRAME_SIDE: Final = 128
"""dav1d rounds the sides of a frame up to multiples of so many pixels."""
_BLOCKS_BYTES_PER_PIXEL: Final = 0.2
"""Memory of dav1d for the motion and the segments of the blocks of a frame that it keeps."""

_MAX_SEQUENCE_HEADER_BYTES: Final = 512
"""Bytes read of a sequence header. The largest possible one, with 32 operating points, has fewer."""
_READ_FRAME_HEADER_BYTES: Final = 32
"""Bytes of the header of a frame that contain the fields that are read."""

_KEY_FRAME, _SWITCH_FRAME = 0, 3
_SHOWS_EARLIER_FRAME: Final = 0x80
"""Flag in the first byte of a frame header without reduced headers: an earlier frame is shown, and none is coded."""
_MAX_TILES: Final = 64
"""Maximum tiles of a frame in each direction."""
_MIN_TILE: Final = 64
_MAX_TILE_WIDTH, _MAX_TILE_PIXELS = 4096, 4096 * 2304
"""Bounds on a tile, in pixels."""
_CHOSEN_BY_FRAME: Final = 2
"""A tool is on or off in each frame."""
_SRGB: Final = (1, 13, 0)
"""Primaries, transfer characteristics and matrix of an image in RGB, whose chroma is not subsampled."""


@dataclass(frozen=True, kw_only=True)
class Sequence:
    """The fields of a sequence header that determine memory, and those that the headers of frames depend on."""

    width: int
    height: int
    profile: int
    level: int
    tier: int
    depth: int
    """Bits of a sample: 8, 10 or 12."""
    is_monochrome: bool
    subsampling: tuple[int, int]
    """(across, down): 1 where chroma has half the resolution."""
    has_film_grain: bool
    has_reduced_headers: bool
    """True if the headers of frames have none of the fields below, and the frame has the size of the sequence."""
    has_decoder_model: bool
    """True if the headers of frames have the times of a model of the decoder, which are not read."""
    time_bits: int
    """Bits of the time of presentation in the header of a shown frame."""
    frame_number_bits: int
    screen_content_tools: int
    """0 or 1, or _CHOSEN_BY_FRAME."""
    integer_motion: int
    """0 or 1, or _CHOSEN_BY_FRAME."""
    order_bits: int
    """Bits of the place of a frame in the order of display."""
    has_large_blocks: bool
    """True if a superblock has 128x128 pixels instead of 64x64."""
    may_scale: bool
    """True if a frame may be coded with fewer columns than it has."""

    @property
    def sample_bytes(self) -> int:
        """Bytes of the samples of a decoded frame, at one or two bytes each."""
        across, down = (1 + subsampled for subsampled in self.subsampling)
        chroma = 0 if self.is_monochrome else 2 * ceil(self.width / across) * ceil(self.height / down)
        return (1 if self.depth == 8 else 2) * (self.width * self.height + chroma)

    @property
    def animation_bytes(self) -> int:
        """Memory of dav1d for the frames that it keeps while it decodes a track: references, the new one and the one shown.

        Film grain, and columns that are scaled, take another one.
        """
        width, height = (ceil(side / _FRAME_SIDE) * _FRAME_SIDE for side in (self.width, self.height))
        frame_bytes = replace(self, width=width, height=height).sample_bytes + ceil(_BLOCKS_BYTES_PER_PIXEL * width * height)
        return (_REFERENCES + 2 + self.has_film_grain + self.may_scale) * frame_bytes


@dataclass(frozen=True, kw_only=True)
class CodedImage:
    """A coded image without the units that do not determine pixels."""

    sequence: Sequence
    frames: int
    tiles: int
    """Maximum tiles of a frame, which are decoded independently."""
    data: bytes


def read(data: memoryview) -> CodedImage:
    """Read the units of an image.

    Raises DamagedImageError unless it has one sequence header, and one to four frames of the size in it.
    """
    return _Reader(max_frames=_MAX_FRAMES, shows_earlier_frames=False).read(data)


def sample_reader() -> Callable[[memoryview], CodedImage]:
    """Return a function that reads the samples of a track one after the other.

    It raises DamagedImageError, or IndexError if the data is truncated, unless all of them have one sequence header, the first
    begins with it, and each has one to eight frames of the size in it.
    """
    return _Reader(max_frames=_MAX_SAMPLE_FRAMES, shows_earlier_frames=True).read


class _Reader:
    """Reads the units of coded images that share a sequence header."""

    def __init__(self, *, max_frames: int, shows_earlier_frames: bool) -> None:
        self._max_frames: Final = max_frames
        self._shows_earlier_frames: Final = shows_earlier_frames
        self._header: memoryview | None = None
        self._sequence: Sequence | None = None
        self._units = 0

    def read(self, data: memoryview) -> CodedImage:
        kept: list[memoryview] = []
        frames, tiles = 0, 0
        for kind, unit, content in _units(data):
            self._units += 1
            if self._units > MAX_BLOCKS:
                raise damaged("too many AV1 units")
            if kind not in _KEPT:
                continue
            if kind == _SEQUENCE_HEADER:
                self._read_sequence(content)
            elif self._sequence is None:
                raise damaged("AV1 without a sequence header")
            elif kind in (_FRAME, _FRAME_HEADER):
                frames += 1
                if not self._shows_earlier_frame(content, self._sequence):
                    tiles = max(tiles, _tiles(_Bits(content[:_READ_FRAME_HEADER_BYTES]), self._sequence))
            kept.append(unit)
        if self._sequence is None or not 0 < frames <= self._max_frames:
            raise damaged("AV1 without a frame, or with too many")
        return CodedImage(sequence=self._sequence, frames=frames, tiles=tiles, data=b"".join(kept))

    def _shows_earlier_frame(self, content: memoryview, sequence: Sequence) -> bool:
        """Return whether the header of a frame only shows an earlier one, and that is allowed."""
        return self._shows_earlier_frames and not sequence.has_reduced_headers and bool(content[0] & _SHOWS_EARLIER_FRAME)

    def _read_sequence(self, content: memoryview) -> None:
        if self._header is None:
            self._header, self._sequence = content, _sequence(_Bits(content[:_MAX_SEQUENCE_HEADER_BYTES]))
        elif self._header != content:
            raise damaged("AV1 with several sequence headers")


class _Bits:
    """Reader of the bits of a unit. Raises DamagedImageError at its end."""

    def __init__(self, data: memoryview) -> None:
        self._value, self._left = int.from_bytes(data), 8 * len(data)

    def number(self, count: int) -> int:
        self._left -= count
        if self._left < 0:
            raise damaged("AV1 header is truncated")
        return self._value >> self._left & (1 << count) - 1

    def flag(self) -> bool:
        return bool(self.number(1))

    def skip_number_of_any_length(self) -> None:
        """Skip a number after as many zeros as it has bits (section 4.10.3)."""
        zeros = 0
        while not self.flag():
            zeros += 1
        self.number(zeros)


def _units(data: memoryview) -> Iterator[tuple[int, memoryview, memoryview]]:
    """Yield (type, unit, content of the unit)."""
    position = 0
    for _ in range(MAX_BLOCKS):
        if position == len(data):
            return
        first = data[position]
        start = position + (2 if first & 4 else 1)
        end = len(data)
        if first & 2:
            length, start = _length(data, start)
            end = start + length
        if end > len(data) or start > end:
            raise damaged("AV1 unit past the end of the data")
        yield first >> 3 & 15, data[position:end], data[start:end]
        position = end
    raise damaged("too many AV1 units")


def _length(data: memoryview, position: int) -> tuple[int, int]:
    """(length, position behind it) of a number of up to eight bytes, with seven bits in each (section 4.10.5)."""
    length = 0
    for index in range(8):
        byte = data[position + index]
        length |= (byte & 127) << 7 * index
        if byte < 128:
            return length, position + index + 1
    raise damaged("AV1 unit with an endless length")


def _sequence(bits: _Bits) -> Sequence:
    """Read a sequence header (section 5.5)."""
    profile = bits.number(3)
    bits.flag()  # a still picture
    is_reduced = bits.flag()
    has_decoder_model, time_bits, level, tier = False, 0, 0, 0
    if is_reduced:
        level = bits.number(5)
    else:
        has_decoder_model, time_bits, level, tier = _operating_points(bits)
    width_bits, height_bits = bits.number(4) + 1, bits.number(4) + 1
    width, height = bits.number(width_bits) + 1, bits.number(height_bits) + 1
    frame_number_bits = 0
    if not is_reduced and bits.flag():
        frame_number_bits = bits.number(4) + 2 + bits.number(3) + 1
    has_large_blocks = bits.flag()
    bits.number(2)  # filters for intra prediction
    screen_content_tools, integer_motion, order_bits = _CHOSEN_BY_FRAME, _CHOSEN_BY_FRAME, 0
    if not is_reduced:
        screen_content_tools, integer_motion, order_bits = _inter_tools(bits)
    may_scale = bits.flag()
    bits.number(2)  # filters of the decoded image
    depth, is_monochrome, subsampling = _colour(bits, profile)
    return Sequence(
        width=width,
        height=height,
        profile=profile,
        level=level,
        tier=tier,
        depth=depth,
        is_monochrome=is_monochrome,
        subsampling=subsampling,
        has_film_grain=bits.flag(),
        has_reduced_headers=is_reduced,
        has_decoder_model=has_decoder_model,
        time_bits=time_bits,
        frame_number_bits=frame_number_bits,
        screen_content_tools=screen_content_tools,
        integer_motion=integer_motion,
        order_bits=order_bits,
        has_large_blocks=has_large_blocks,
        may_scale=may_scale,
    )


def _operating_points(bits: _Bits) -> tuple[bool, int, int, int]:
    """Read the timing and the operating points.

    Return (whether there is a model of the decoder, bits of the time of presentation, level, tier).
    """
    delay_bits, time_bits, has_equal_intervals = 0, 0, False
    if bits.flag():  # timing
        bits.number(64)
        has_equal_intervals = bits.flag()
        if has_equal_intervals:
            bits.skip_number_of_any_length()
        if bits.flag():  # a model of the decoder
            delay_bits = bits.number(5) + 1
            bits.number(32 + 5)
            time_bits = bits.number(5) + 1
    has_display_delay = bits.flag()
    levels = []
    for _ in range(bits.number(5) + 1):
        bits.number(12)
        level = bits.number(5)
        levels.append((level, bits.number(1) if level > 7 else 0))
        if delay_bits and bits.flag():
            bits.number(2 * delay_bits + 1)
        if has_display_delay and bits.flag():
            bits.number(4)
    return bool(delay_bits), 0 if has_equal_intervals else time_bits, *levels[0]


def _inter_tools(bits: _Bits) -> tuple[int, int, int]:
    """Read the tools for several frames; return (screen content tools, integer motion vectors, bits of the order)."""
    bits.number(4)
    has_order = bits.flag()
    if has_order:
        bits.number(2)
    screen_content_tools = _CHOSEN_BY_FRAME if bits.flag() else bits.number(1)
    integer_motion = _CHOSEN_BY_FRAME
    if screen_content_tools and not bits.flag():
        integer_motion = bits.number(1)
    return screen_content_tools, integer_motion, bits.number(3) + 1 if has_order else 0


def _colour(bits: _Bits, profile: int) -> tuple[int, bool, tuple[int, int]]:
    """Read the format of the samples (section 5.5.2); return (depth, whether it is monochrome, subsampling)."""
    depth = 10 if bits.flag() else 8
    if profile == 2 and depth == 10 and bits.flag():
        depth = 12
    is_monochrome = profile != 1 and bits.flag()
    description = (bits.number(8), bits.number(8), bits.number(8)) if bits.flag() else None
    if is_monochrome:
        bits.flag()  # full range
        return depth, True, (1, 1)
    subsampling = (0, 0)
    if description != _SRGB:
        bits.flag()  # full range
        if profile == 0:
            subsampling = (1, 1)
        elif profile == 2 and depth == 12:
            subsampling = (1, bits.number(1)) if bits.flag() else (0, 0)
        elif profile == 2:
            subsampling = (1, 0)
        if subsampling == (1, 1):
            bits.number(2)  # place of the chroma samples
    bits.flag()  # separate quantization of the chroma planes
    return depth, False, subsampling


def _tiles(bits: _Bits, sequence: Sequence) -> int:
    """Return the number of tiles of a frame from its header (section 5.9.2), or the largest possible one.

    Raises DamagedImageError if the frame has another size than the sequence.
    """
    is_key_frame = True
    if not sequence.has_reduced_headers:
        is_key_frame = _read_kind(bits, sequence)
    has_fixed_probabilities = bits.flag()
    has_tools = bits.flag() if sequence.screen_content_tools == _CHOSEN_BY_FRAME else bool(sequence.screen_content_tools)
    if has_tools and sequence.integer_motion == _CHOSEN_BY_FRAME:
        bits.flag()
    if not sequence.has_reduced_headers:
        bits.number(sequence.frame_number_bits)
        if bits.flag():
            raise damaged("AV1 with a frame of another size than its sequence")
    most = [min(_MAX_TILES, ceil(side / _MIN_TILE)) for side in (sequence.width, sequence.height)]
    bits.number(sequence.order_bits)
    if not is_key_frame or sequence.has_decoder_model or (sequence.may_scale and bits.flag()):
        return most[0] * most[1]
    if bits.flag():  # another size on the screen
        bits.number(32)
    if has_tools:
        bits.flag()  # copies of blocks
    if not (sequence.has_reduced_headers or has_fixed_probabilities):
        bits.flag()
    if not bits.flag():  # tiles of different sizes
        return most[0] * most[1]
    return _equal_tiles(bits, sequence)


def _read_kind(bits: _Bits, sequence: Sequence) -> bool:
    """Read the kind of a frame; return whether it is a key frame that is shown."""
    if bits.flag():
        raise damaged("AV1 that shows an earlier frame")
    kind, is_shown = bits.number(2), bits.flag()
    if kind == _SWITCH_FRAME:
        raise damaged("AV1 with a frame that may have another size than its sequence")
    if is_shown:
        bits.number(sequence.time_bits)
    else:
        bits.flag()  # whether it can be shown later
    is_key_frame = kind == _KEY_FRAME and is_shown
    if not is_key_frame:
        bits.flag()  # resilience against errors
    return is_key_frame


def _equal_tiles(bits: _Bits, sequence: Sequence) -> int:
    """Return the number of tiles of equal sizes (section 5.9.15)."""
    side = 128 if sequence.has_large_blocks else 64
    across, down = ceil(sequence.width / side), ceil(sequence.height / side)
    least_across = _logarithm(across, _MAX_TILE_WIDTH // side)
    columns, number = _tiles_along(bits, across, least_across)
    least = max(least_across, _logarithm(across * down, _MAX_TILE_PIXELS // side**2))
    rows, _ = _tiles_along(bits, down, max(0, least - number))
    return columns * rows


def _tiles_along(bits: _Bits, blocks: int, least: int) -> tuple[int, int]:
    """Return the number of tiles along a side of so many superblocks, and the binary logarithm that it was read as."""
    number, most = least, _logarithm(min(blocks, _MAX_TILES), 1)
    while number < most and bits.flag():
        number += 1
    return ceil(blocks / ceil(blocks / 2**number)), number


def _logarithm(whole: int, part: int) -> int:
    """The smallest number n with part * 2**n >= whole."""
    number = 0
    while part << number < whole:
        number += 1
    return number
