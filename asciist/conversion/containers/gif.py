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


def unpack(image: bytes) -> Container:
    """Strip a GIF."""
    flags = image[10]
    position = 13 + (3 << (flags & 7) + 1 if flags & 0x80 else 0)
    header, control = image[:position], b""
    for _ in range(MAX_BLOCKS):
        introducer = image[position]
        if introducer == _FRAME:
            canvas, frame_pixels = _canvas_and_frame_pixels(header, image[position : position + 9])
            return Container(
                format="GIF",
                body=header + control + image[position:],
                canvas=canvas,
                lacks_pixels=is_canvas_mostly_empty(math.prod(canvas), frame_pixels),
            )
        if introducer != _EXTENSION:
            raise damaged("GIF without a frame")
        start = position
        label = image[position + 1]
        position = _after_sub_blocks(image, position + 2)
        if label == _GRAPHIC_CONTROL:  # holds the transparent colour of the next frame
            transparency = image[start + 3] & 1  # the other flags affect later frames only
            control = image[start : start + 3] + bytes([transparency]) + image[start + 4 : position]
    raise damaged("too many GIF extensions")


def _canvas_and_frame_pixels(header: bytes, frame: bytes) -> tuple[tuple[int, int], int]:
    """((width, height) of the screen, enlarged to contain the frame; number of pixels of the frame)."""
    width, height = struct.unpack_from("<HH", header, 6)
    left, top, frame_width, frame_height = struct.unpack_from("<HHHH", frame, 1)
    return (max(width, left + frame_width), max(height, top + frame_height)), frame_width * frame_height


def _after_sub_blocks(image: bytes, position: int) -> int:
    for _ in range(MAX_BLOCKS):
        size = image[position]
        position += size + 1
        if size == 0:
            return position
    raise damaged("too many sub-blocks in a GIF extension")
