"""The colour behind the transparent parts of an image."""

from collections.abc import Callable
from typing import Final

from PIL import Image, ImageChops

Colour = tuple[int, int, int]
"""Red, green and blue, 0 to 255."""

BLACK: Final = (0, 0, 0)
WHITE: Final = (255, 255, 255)

_SAMPLED_SIDE: Final = 256
"""Maximum samples in each direction from which the ground is chosen."""

_NEAR: Final = 64
"""Maximum difference in luma of a pixel that does not stand out from the ground."""

_OPAQUE: Final = 128
"""Minimum alpha of a pixel compared with the ground."""


def luma_of(colour: Colour) -> int:
    """Rec. 601 luma of a colour, 0 to 255, rounded as Pillow does."""
    return Image.new("RGB", (1, 1), colour).convert("L").tobytes()[0]


def ground_of(
    source: Image.Image,
    luma_over: Callable[[Image.Image, Colour], Image.Image],
    *,
    blank: Colour | None,
) -> Colour:
    """Choose the ground of a loaded image with transparency: black or white, whichever more of the
    image stands out from.

    `blank` is the colour of blank cells in the art, black or white, or None if unknown. It is the
    ground if more than a third of the image stands out from it, because the other ground is drawn
    as a wall of characters.

    `luma_over` returns an image over a ground, in mode L. All arithmetic is in integers.
    """
    sample = _sample(source)
    on_black, on_white = luma_over(sample, BLACK), luma_over(sample, WHITE)
    # A pixel is 255 - alpha lighter on white than on black.
    transparent = 255 - _OPAQUE
    is_opaque = ImageChops.subtract(on_white, on_black).point(
        [255 if shown <= transparent else 0 for shown in range(256)]
    )
    histogram = on_black.histogram(is_opaque)
    hidden_on_black = sum(histogram[:_NEAR])
    hidden_on_white = sum(on_white.histogram(is_opaque)[-_NEAR:])
    if blank is not None and 3 * (hidden_on_black if blank == BLACK else hidden_on_white) < 2 * sum(
        histogram
    ):
        return blank
    return WHITE if hidden_on_black > hidden_on_white else BLACK


def _sample(source: Image.Image) -> Image.Image:
    """Return every n-th pixel of every m-th row. Whole numbers make the choice of pixels exact."""
    across, down = (max(1, side // _SAMPLED_SIDE) for side in source.size)
    columns, rows = source.width // across, source.height // down
    return source.resize(
        (columns, rows), Image.Resampling.NEAREST, box=(0, 0, columns * across, rows * down)
    )
