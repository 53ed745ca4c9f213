"""GIF blocks (GIF89a sections 17 to 24).

A header, a logical screen descriptor and an optional global palette are followed by extensions
(0x21, a label, sub-blocks of 1 to 255 bytes, a zero) and frames (0x2C). Of the blocks before the
first frame, only the header, the palette and the last graphic control extension are kept. The rest
of the file is unchanged; the decoder reads only the first frame, unless the image moves.
"""

import math
import struct
from collections.abc import Iterator
from typing import Final

from asciist import formats
from asciist.conversion.containers.animated import (
    AnimatedFile,
    EncodedFrame,
    fits,
    shown_milliseconds,
)
from asciist.conversion.containers.bounds import MAX_BLOCKS, is_canvas_mostly_empty
from asciist.conversion.containers.container import Container
from asciist.conversion.damage import damaged

_EXTENSION: Final = 0x21
_FRAME: Final = 0x2C
_FRAME_KIND: Final = -1
"""Stands for a frame where the blocks that are not frames have the label of their extension."""
_GRAPHIC_CONTROL: Final = 0xF9
_APPLICATION: Final = 0xFF
_LOOP: Final = b"\x0bNETSCAPE2.0\x03\x01"

_MAX_SUB_BLOCKS: Final = 65_536
"""Maximum sub-blocks of all extensions before the first frame, read in 5 ms. Comments of 10 MB have
39,000."""
_MAX_SUB_BLOCKS_OF_FRAMES: Final = 262_144
"""Maximum sub-blocks that are read to find frames, which takes 30 ms. A GIF of 10 MB has 39,000 if
all but the last are full."""


def unpack(image: bytes) -> Container:
    """Strip a GIF."""
    header, control = image[: _header_bytes(image)], b""
    for kind, content, _ in _blocks(image, len(header), _MAX_SUB_BLOCKS):
        if kind == _FRAME_KIND:
            width, height = struct.unpack_from("<HH", header, 6)
            left, top, across, down = struct.unpack_from("<HHHH", image, content)
            canvas = max(width, left + across), max(height, top + down)
            return Container(
                format=formats.GIF,
                size=canvas,
                body=b"".join([header, _control(control), memoryview(image)[content - 1 :]]),
                lacks_pixels=is_canvas_mostly_empty(math.prod(canvas), across * down),
            )
        if kind == _GRAPHIC_CONTROL:  # holds the transparent colour of the next frame
            control = image[content : content + 1 + image[content]]
    raise damaged("GIF without a frame, or with too many extensions before it")


def _header_bytes(image: bytes) -> int:
    """Bytes before the blocks."""
    return 13 + _palette_bytes(image[10])


def _palette_bytes(flags: int) -> int:
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0


def _blocks(image: bytes, position: int, max_sub_blocks: int) -> Iterator[tuple[int, int, int]]:
    """Yield (label of an extension, or _FRAME_KIND; where its content begins; its end, or 0 if
    it is not read yet) of each block.

    A frame is yielded twice: when it begins, and when its end is found. Ends at a block that is
    truncated, of another kind, or beyond the bounds.
    """
    sub_blocks = 0
    for _ in range(MAX_BLOCKS):
        if position + 11 > len(image):
            return
        if image[position] == _EXTENSION:
            kind, content = image[position + 1], position + 2
            position = content
        elif image[position] == _FRAME:
            kind, content = _FRAME_KIND, position + 1
            yield kind, content, 0
            position += 11 + _palette_bytes(image[position + 9])
        else:
            return
        while position < len(image) and (size := image[position]):
            position += size + 1
            sub_blocks += 1
            if sub_blocks > max_sub_blocks:
                return
        position += 1
        if position > len(image):
            return
        yield kind, content, position


def _control(sub_block: bytes) -> bytes:
    """Return a graphic control extension of one sub-block, without the flags that affect only later
    frames; empty if there is none."""
    if not sub_block:
        return b""
    transparency = bytes([byte & 1 for byte in sub_block[1:2]])
    return (
        bytes([_EXTENSION, _GRAPHIC_CONTROL]) + sub_block[:1] + transparency + sub_block[2:] + b"\0"
    )


def find_frames(image: bytes, canvas: tuple[int, int]) -> AnimatedFile:
    """Find the frames of an animated GIF, each with the extension that controls it."""
    view, start = memoryview(image), _header_bytes(image)
    plays, control, frames = 1, b"", []
    for kind, content, end in _blocks(image, start, _MAX_SUB_BLOCKS_OF_FRAMES):
        if kind == _GRAPHIC_CONTROL:
            control = image[content + 1 : content + 5].ljust(4, b"\0")
        elif kind == _APPLICATION and image[content : content + len(_LOOP)] == _LOOP:
            (repeats,) = struct.unpack_from("<H", image, content + len(_LOOP))
            plays = repeats + 1 if repeats else 0
        elif kind == _FRAME_KIND and end:
            if not fits(canvas, *struct.unpack_from("<HHHH", image, content)):
                break
            (delay,) = struct.unpack_from("<H", control.ljust(4, b"\0"), 1)
            extension = b"\x21\xf9\x04" + control + b"\0" if control else b""
            frames.append(
                EncodedFrame(
                    data=extension + view[content - 1 : end],
                    milliseconds=shown_milliseconds(10 * delay),
                )
            )
            control = b""
    return AnimatedFile(
        format=formats.GIF,
        frames=frames,
        plays=plays,
        build=lambda first: b"".join([view[:start], *(frame.data for frame in first), b"\x3b"]),
    )
