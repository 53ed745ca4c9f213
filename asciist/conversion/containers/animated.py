"""Animated files: the frames are found without decoding them, and the first ones become a new file.

The new file has only what determines the pixels of these frames. A frame that is truncated, or
reaches outside the canvas, ends the animation, as does one over the bounds on blocks.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Final

from asciist.formats import ImageFormat

_SHORTEST_DELAY: Final = 10
_USUAL_DELAY: Final = 100
"""Delay, in milliseconds, that browsers use for frames with at most 10 ms."""
_LONGEST_DELAY: Final = 60_000
"""Maximum delay of a frame, in milliseconds."""


@dataclass(frozen=True, kw_only=True)
class EncodedFrame:
    """A frame of an animation, not yet decoded."""

    data: bytes | memoryview
    """Part of the file."""
    milliseconds: int
    """Delay, 11 to 60,000 ms."""
    alpha: memoryview | None = None
    """The part of an AVIF with its alpha, which is decoded as another frame."""

    @property
    def coded_frames(self) -> int:
        """Frames that are decoded for it."""
        return 1 if self.alpha is None else 2


@dataclass(frozen=True, kw_only=True)
class AnimatedFile:
    """The frames of an animation."""

    format: ImageFormat
    frames: Sequence[EncodedFrame]
    """The frames that can be decoded."""
    plays: int
    """Number of repetitions; 0 for endless repetition."""
    build: Callable[[Sequence[EncodedFrame]], bytes]
    """Builds a file from the first frames."""
    decoder_bytes: int = 0
    """Bytes that the decoder holds for reference frames; only for AVIF."""

    def frames_within(self, coded_frames: int) -> int:
        """Return how many of the first frames need at most `coded_frames` decoded frames."""
        return sum(
            total <= coded_frames
            for total in accumulate(frame.coded_frames for frame in self.frames)
        )

    def first(self, count: int) -> bytes:
        """Return the file with only its first `count` frames."""
        return self.build(self.frames[:count])


def shown_milliseconds(asked: int) -> int:
    """Time for which a frame is shown that asks for so many milliseconds."""
    return _USUAL_DELAY if asked <= _SHORTEST_DELAY else min(asked, _LONGEST_DELAY)


def fits(canvas: tuple[int, int], left: int, top: int, width: int, height: int) -> bool:
    """Return whether a frame has pixels and lies inside the canvas."""
    return width > 0 and height > 0 and left + width <= canvas[0] and top + height <= canvas[1]
