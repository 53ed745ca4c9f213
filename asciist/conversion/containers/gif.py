"""GIF blocks (GIF89a sections 17 to 24).

A header, a logical screen descriptor and an optional global palette are followed by extensions (0x21, a label, sub-blocks of
1 to 255 bytes, a zero) and frames (0x2C). Of the blocks before the first frame, only the header, the palette and the last
graphic control extension are kept. The rest of the file is unchanged; the decoder reads only the first frame.
"""

import math
import struct
from typing import Final

from asciist.conversion.containers.bounds import MAX_BLOCKS, is_canvas_mostly_empty
from asciist.conversion.containers.container import Container
from asciist.conversion.damage import damaged

_EXTENSION: Final = 0x21
_FRAME: Final = 0x2C
_GRAPHIC_CONTROL: Final = 0xF9

_MAX_SUB_BLOCKS: Final = 65_536
"""Maximum sub-blocks of all extensions before the first frame, which take 5 ms. Comments of 10 MB have 39,000."""


def unpack(image: bytes) -> Container:
    """Strip a GIF."""
    flags = image[10]
    position = 13 + (3 << (flags & 7) + 1 if flags & 0x80 else 0)
    header, control = image[:position], b""
    sub_blocks = 0
    for _ in range(MAX_BLOCKS):
        introducer = image[position]
        if introducer == _FRAME:
            canvas, frame_pixels = _canvas_and_frame_pixels(header, image[position : position + 9])
            return Container(
                format="GIF",
                body=b"".join([header, _control(control), memoryview(image)[position:]]),
                canvas=canvas,
                lacks_pixels=is_canvas_mostly_empty(math.prod(canvas), frame_pixels),
            )
        if introducer != _EXTENSION:
            raise damaged("GIF without a frame")
        label, content = image[position + 1], position + 2
        position = content
        while size := image[position]:
            position += size + 1
            sub_blocks += 1
            if sub_blocks > _MAX_SUB_BLOCKS:
                raise damaged("too many sub-blocks in GIF extensions")
        position += 1
        if label == _GRAPHIC_CONTROL:  # holds the transparent colour of the next frame
            control = image[content : content + 1 + image[content]]
    raise damaged("too many GIF extensions")


def _control(sub_block: bytes) -> bytes:
    """A graphic control extension of one sub-block, without the flags that affect later frames only; empty if there is none."""
    if not sub_block:
        return b""
    transparency = bytes([byte & 1 for byte in sub_block[1:2]])
    return bytes([_EXTENSION, _GRAPHIC_CONTROL]) + sub_block[:1] + transparency + sub_block[2:] + b"\0"


def _canvas_and_frame_pixels(header: bytes, frame: bytes) -> tuple[tuple[int, int], int]:
    """((width, height) of the screen, enlarged to contain the frame; number of pixels of the frame)."""
    width, height = struct.unpack_from("<HH", header, 6)
    left, top, frame_width, frame_height = struct.unpack_from("<HHHH", frame, 1)
    return (max(width, left + frame_width), max(height, top + frame_height)), frame_width * frame_height
