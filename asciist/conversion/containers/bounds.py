"""Bounds shared by the container formats."""

from typing import Final

MAX_BLOCKS: Final = 16_384
"""Maximum blocks (segments, chunks, extensions) read from a file, in 10 ms. A PNG of 10 MB in
chunks of 4 kB has only 2,500."""

_MAX_UNCHECKED_CANVAS_PIXELS: Final = 4_000_000
_MAX_CANVAS_TO_FRAME_RATIO: Final = 16
"""Maximum pixels of an animation's canvas per pixel of its first frame, if the canvas has more than
_MAX_UNCHECKED_CANVAS_PIXELS. Encoders write the first frame at the full size of the canvas."""


def is_canvas_mostly_empty(canvas_pixels: int, first_frame_pixels: int) -> bool:
    """Return True if the first frame covers implausibly little of a large canvas."""
    return canvas_pixels > max(
        _MAX_UNCHECKED_CANVAS_PIXELS, _MAX_CANVAS_TO_FRAME_RATIO * first_frame_pixels
    )
