"""Animated GIF, PNG, WebP and AVIF files: the frames are found without decoding them, and the first ones become a new file.

The new file has only what determines the pixels of these frames. A frame that is truncated, or reaches outside the canvas,
ends the animation, as does one over the bounds on blocks. Frames of a PNG whose still image is not the first of them are not
read.
"""

import struct
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Final

from asciist.conversion.containers import avif_track
from asciist.conversion.containers.bounds import MAX_BLOCKS

_SHORTEST_DELAY: Final = 10
_USUAL_DELAY: Final = 100
"""Browsers show frames that ask for at most 10 ms for 100 ms."""
_LONGEST_DELAY: Final = 60_000
"""Milliseconds for which a frame is shown at most."""

_MAX_SUB_BLOCKS: Final = 262_144
"""Maximum sub-blocks of a GIF that are read, which takes 30 ms. A GIF of 10 MB has 39,000 if all but the last are full."""

_MAX_PLAYS: Final = 65_535

_PNG_CONTROL_BYTES: Final = 22
"""Bytes of fcTL without the sequence number."""


@dataclass(frozen=True, kw_only=True)
class EncodedFrame:
    """A frame of an animation, not yet decoded."""

    data: bytes | memoryview
    """The part of the file."""
    milliseconds: int
    """Time for which it is shown, 11 to 60,000."""
    coded_frames: int = 1
    """Frames that are decoded for it. An AVIF may have hidden ones, and alpha counts as another one."""


@dataclass(frozen=True, kw_only=True)
class AnimatedFile:
    """The frames of an animation."""

    format: str
    """GIF, PNG, WEBP or AVIF."""
    frames: Sequence[EncodedFrame]
    """The frames that can be decoded: at least two."""
    plays: int
    """Times that the frames are shown; 0 for endless repetition."""
    build: Callable[[Sequence[bytes | memoryview]], bytes]
    """Builds a file from the data of the first frames."""
    decoder_bytes: int = 0
    """Memory of the decoder for the frames that it keeps for later ones to refer to: of an AVIF."""

    def frames_within(self, coded_frames: int) -> int:
        """The number of first frames for which at most so many are decoded."""
        return sum(total <= coded_frames for total in accumulate(frame.coded_frames for frame in self.frames))

    def first(self, count: int) -> bytes:
        """The file with its first `count` frames alone."""
        return self.build([frame.data for frame in self.frames[:count]])


def find_frames(image: bytes, image_format: str, canvas: tuple[int, int]) -> AnimatedFile | None:
    """Find the frames of a file that `unpack` accepts. None if it has fewer than two that can be decoded.

    `canvas` is (width, height) of the image as stored. Raises DamagedImageError for an AVIF whose track cannot be read.
    """
    finder = _FINDERS.get(image_format)
    animated = None if finder is None else finder(image, canvas)
    return animated if animated is not None and len(animated.frames) > 1 else None


def _milliseconds(asked: int) -> int:
    return _USUAL_DELAY if asked <= _SHORTEST_DELAY else min(asked, _LONGEST_DELAY)


def _fits(canvas: tuple[int, int], left: int, top: int, width: int, height: int) -> bool:
    return width > 0 and height > 0 and left + width <= canvas[0] and top + height <= canvas[1]


def _gif(image: bytes, canvas: tuple[int, int]) -> AnimatedFile:
    view = memoryview(image)
    flags = image[10]
    start = 13 + (3 << (flags & 7) + 1 if flags & 0x80 else 0)
    plays = 1
    control = b""
    frames = []
    for kind, content, end in _gif_blocks(image, start):
        if kind == 0xF9:
            control = image[content + 1 : content + 5].ljust(4, b"\0")
        elif kind == 0xFF and image[content : content + 14] == b"\x0bNETSCAPE2.0\x03\x01":
            (repeats,) = struct.unpack_from("<H", image, content + 14)
            plays = repeats + 1 if repeats else 0
        elif kind == 0x2C:
            if not _fits(canvas, *struct.unpack_from("<HHHH", image, content)):
                break
            delay = struct.unpack_from("<H", control.ljust(4, b"\0"), 1)[0]
            extension = b"\x21\xf9\x04" + control + b"\0" if control else b""
            frames.append(EncodedFrame(data=extension + view[content - 1 : end], milliseconds=_milliseconds(10 * delay)))
            control = b""
    return AnimatedFile(format="GIF", frames=frames, plays=plays, build=lambda parts: b"".join([view[:start], *parts, b"\x3b"]))


def _gif_blocks(image: bytes, position: int) -> Iterator[tuple[int, int, int]]:
    """Yield (label of an extension, or 0x2C of a frame; where its content begins; its end) of each complete block."""
    sub_blocks = 0
    for _ in range(MAX_BLOCKS):
        if position + 11 > len(image):
            return
        if image[position] == 0x21:
            kind, content = image[position + 1], position + 2
            position = content
        elif image[position] == 0x2C:
            kind, content, flags = 0x2C, position + 1, image[position + 9]
            position += 11 + (3 << (flags & 7) + 1 if flags & 0x80 else 0)
        else:
            return
        while position < len(image) and (size := image[position]):
            position += size + 1
            sub_blocks += 1
            if sub_blocks > _MAX_SUB_BLOCKS:
                return
        position += 1
        if position > len(image):
            return
        yield kind, content, position


def _png(image: bytes, canvas: tuple[int, int]) -> AnimatedFile | None:
    reader = _PngReader(canvas)
    for kind, chunk in _png_chunks(memoryview(image)):
        if not reader.read(kind, chunk):
            break

    def build(parts: Sequence[bytes | memoryview]) -> bytes:
        control = _png_chunk(b"acTL", struct.pack(">II", len(parts), reader.plays))
        numbered = (_numbered(part, number) for number, part in enumerate(parts))
        return b"".join([image[:8], *reader.header, control, *numbered, _png_chunk(b"IEND", b"")])

    return AnimatedFile(format="PNG", frames=reader.frames, plays=min(reader.plays, _MAX_PLAYS), build=build)


def _png_chunks(image: memoryview) -> Iterator[tuple[bytes, memoryview]]:
    """Yield (type, whole chunk) of each complete chunk."""
    position = 8
    for _ in range(MAX_BLOCKS):
        if position + 12 > len(image):
            return
        length, kind = struct.unpack_from(">I4s", image, position)
        end = position + 12 + length
        if end > len(image):
            return
        yield kind, image[position:end]
        position = end


class _PngReader:
    """Collects the frames from the chunks of a PNG."""

    def __init__(self, canvas: tuple[int, int]) -> None:
        self._canvas: Final = canvas
        self.plays = 0
        self.header: list[memoryview] = []
        """Chunks before the pixels that determine them."""
        self.frames: list[EncodedFrame] = []
        self._control = b""
        self._pixels: list[memoryview] = []
        self._is_animated = False

    def read(self, kind: bytes, chunk: memoryview) -> bool:
        """Read a chunk. Return False if no frame follows."""
        content = chunk[8:-4]
        if kind in (b"fcTL", b"IEND") and self._pixels:
            self._end_frame()
        match kind:
            case b"IHDR" | b"PLTE" | b"tRNS" if not self.frames and not self._pixels:
                self.header.append(chunk)
            case b"acTL" if len(content) == 8:
                self._is_animated, self.plays = True, struct.unpack_from(">I", content, 4)[0]
            case b"fcTL":
                self._control = bytes(content[4:])
                return self._is_within_canvas()
            case b"IDAT" if not self.frames:
                self._pixels.append(content)
                return self._is_animated and bool(self._control)  # else the still image is not a frame
            case b"fdAT" if self.frames and self._control:
                self._pixels.append(content[4:])
        return kind != b"IEND"

    def _is_within_canvas(self) -> bool:
        if len(self._control) != _PNG_CONTROL_BYTES:
            return False
        width, height, left, top = struct.unpack_from(">IIII", self._control)
        return _fits(self._canvas, left, top, width, height)

    def _end_frame(self) -> None:
        """Add a frame: the content of fcTL without its number, then the compressed pixels as one piece."""
        asked, divisor = struct.unpack_from(">HH", self._control, 16)
        delay = 1000 * asked // (divisor or 100)
        self.frames.append(EncodedFrame(data=self._control + b"".join(self._pixels), milliseconds=_milliseconds(delay)))
        self._pixels, self._control = [], b""


def _numbered(frame: bytes | memoryview, number: int) -> bytes:
    """The chunks of a frame. The first has IDAT and takes one sequence number; the others take two."""
    control, pixels = bytes(frame[:_PNG_CONTROL_BYTES]), bytes(frame[_PNG_CONTROL_BYTES:])
    if number == 0:
        return _png_chunk(b"fcTL", struct.pack(">I", 0) + control) + _png_chunk(b"IDAT", pixels)
    sequence = 2 * number - 1
    return _png_chunk(b"fcTL", struct.pack(">I", sequence) + control) + _png_chunk(
        b"fdAT", struct.pack(">I", sequence + 1) + pixels
    )


def _png_chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def _webp(image: bytes, canvas: tuple[int, int]) -> AnimatedFile:
    view = memoryview(image)
    frames = []
    plays = 1
    header = animation = b""
    position, end_of_file = 12, min(len(image), 8 + struct.unpack_from("<I", image, 4)[0])
    for _ in range(MAX_BLOCKS):
        if position + 8 > end_of_file:
            break
        kind, length = struct.unpack_from("<4sI", image, position)
        content, end = position + 8, position + 8 + length + (length & 1)
        if end > end_of_file:
            break
        if kind == b"VP8X" and length >= 10:
            # Of the flags, only those of transparency and animation: metadata is left out.
            header = b"VP8X" + struct.pack("<IBxxx", 10, image[content] & 0x12) + image[content + 4 : content + 10]
        elif kind == b"ANIM" and length >= 6:
            animation = image[position:end]
            plays = struct.unpack_from("<H", image, content + 4)[0]
        elif kind == b"ANMF" and length >= 16:
            left, top = (2 * int.from_bytes(image[at : at + 3], "little") for at in (content, content + 3))
            width, height = (1 + int.from_bytes(image[at : at + 3], "little") for at in (content + 6, content + 9))
            if not _fits(canvas, left, top, width, height):
                break
            delay = int.from_bytes(image[content + 12 : content + 15], "little")
            frames.append(EncodedFrame(data=view[position:end], milliseconds=_milliseconds(delay)))
        position = end

    def build(parts: Sequence[bytes | memoryview]) -> bytes:
        body = b"".join([b"WEBP", header, animation, *parts])
        return b"RIFF" + struct.pack("<I", len(body)) + body

    return AnimatedFile(format="WEBP", frames=frames if header and animation else [], plays=plays, build=build)


def _avif(image: bytes, canvas: tuple[int, int]) -> AnimatedFile | None:
    track = avif_track.read(image, canvas)
    if track is None:
        return None
    frames = [
        EncodedFrame(data=sample, milliseconds=_milliseconds(asked), coded_frames=coded_frames)
        for sample, asked, coded_frames in zip(track.samples, track.milliseconds, track.coded_frames, strict=True)
    ]
    plays = min(track.plays, _MAX_PLAYS)
    return AnimatedFile(format="AVIF", frames=frames, plays=plays, build=track.build, decoder_bytes=track.decoder_bytes)


_FINDERS: Final[dict[str, Callable[[bytes, tuple[int, int]], AnimatedFile | None]]] = {
    "GIF": _gif,
    "PNG": _png,
    "WEBP": _webp,
    "AVIF": _avif,
}
