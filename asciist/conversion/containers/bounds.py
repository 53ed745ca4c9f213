"""Bounds shared by the container formats."""

from typing import Final

MAX_BLOCKS: Final = 65_536
"""Maximum blocks (segments, chunks, sub-blocks) read from a file. PNG writers that flush every 4 KB need 2,500 for 10 MB;
reading this many takes 30 ms."""

_MAX_UNCHECKED_CANVAS_PIXELS: Final = 4_000_000
_MAX_CANVAS_TO_FRAME_RATIO: Final = 16
"""Maximum pixels of an animation's canvas per pixel of its first frame, for canvases above _MAX_UNCHECKED_CANVAS_PIXELS.
Encoders write the first frame at full size."""


def is_canvas_mostly_empty(canvas_pixels: int, first_frame_pixels: int) -> bool:
    """Return whether the first frame covers implausibly little of a large canvas."""
    return canvas_pixels > max(_MAX_UNCHECKED_CANVAS_PIXELS, _MAX_CANVAS_TO_FRAME_RATIO * first_frame_pixels)
