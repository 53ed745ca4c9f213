"""Even out the light on a photographed page, where some parts of the paper are darker.

The level of the paper in a part of the image is that of its lightest samples, which contain no ink.
Only a page is evened out: an image that is mostly paper, with some ink, and whose paper changes
smoothly. All arithmetic is in integers, so the result is the same on every machine.
docs/decisions/0040-uneven-light.md contains the measurements.
"""

from collections.abc import Iterator
from typing import Final

from PIL import Image, ImageChops, ImageFilter

_WHITE: Final = 255

_MAP_SIDE: Final = 16
"""Samples of the map of the paper along the longer side of the image."""
_HALVINGS: Final = 4
"""A sample of the map is the lightest of (2 ** _HALVINGS) x (2 ** _HALVINGS) samples of the page:
more than a letter covers."""
_MARGIN: Final = 2
"""Samples on each side of the map that affect the two filters of a closing."""

_MIN_PAPER: Final = 160
"""Minimum level of the lightest paper."""
_MAX_RATIO: Final = 4
"""Maximum ratio of the levels of the lightest and the darkest paper. A larger one is a drawn
gradient."""
_DARK_PER_CENT: Final = 5
"""Share of the map that counts as dark paper."""
_UNEVEN_PER_CENT: Final = 83
"""Maximum level of the dark paper, as a percentage of the lightest, that counts as uneven light."""
_ROUGHNESS_PER_CENT: Final = 11
"""Maximum difference of a sample of the map from its neighbours, as a percentage of the lightest
paper."""
_BEND_PER_CENT: Final = 5
"""Maximum change of the slope of the smoothed map from sample to sample, as a percentage of the
lightest paper. An object has edges that bend the map more than light does."""

_PAPER_PER_CENT: Final = 85
"""Minimum level of a sample that becomes white, as a percentage of the paper's: hides noise, and
small errors of the map."""
_INK_LEVEL: Final = 210
"""Level below which a sample of an evened page is ink: 70% of the paper's."""
_MIN_WHITE_PER_CENT: Final = 55
_MIN_INK_PER_CENT: Final = 3
_MAX_GREY_PER_CENT: Final = 20
"""Shares of the samples of an evened page that are white, ink, and neither. Photographs have more
greys."""


def paper_of(luma: Image.Image, box: tuple[float, float, float, float]) -> Image.Image | None:
    """Return the level of the paper across `box` of an image in mode L, as a map of at most 16x16
    samples.

    Returns None unless the image is a page in uneven light.
    """
    left, upper, right, lower = box
    scale = _MAP_SIDE / max(right - left, lower - upper)
    columns, rows = max(1, round(scale * (right - left))), max(1, round(scale * (lower - upper)))
    size = columns << _HALVINGS, rows << _HALVINGS
    page = luma.resize(size, Image.Resampling.BOX, box=box, reducing_gap=1.0)
    paper = _lightest(page)
    return paper if _is_unevenly_lit(paper) and _is_page(evened(page, paper)) else None


def evened(samples: Image.Image, paper: Image.Image) -> Image.Image:
    """Return `samples`, mode L, of the part of the image covered by `paper`, with all the paper
    white."""
    darkest = min(paper.tobytes())
    # Darken all paper to the level of the darkest, then stretch that to white: each step is exact
    # enough in bytes.
    factors = paper.point([_WHITE * darkest // max(darkest, level) for level in range(_WHITE + 1)])
    darkened = ImageChops.multiply(samples, factors.resize(samples.size, Image.Resampling.BILINEAR))
    return darkened.point(
        [
            min(_WHITE, 100 * _WHITE * level // (_PAPER_PER_CENT * darkest))
            for level in range(_WHITE + 1)
        ]
    )


def _lightest(page: Image.Image) -> Image.Image:
    """Return the level of the paper, at 1 / 2 ** _HALVINGS of the size of `page`."""
    paper = page
    for _ in range(_HALVINGS):
        width, height = paper.size
        paper = ImageChops.lighter(paper, paper.crop((-1, 0, width - 1, height)))
        paper = ImageChops.lighter(paper, paper.crop((0, -1, width, height - 1)))
        # keeps odd columns and rows
        paper = paper.resize((width // 2, height // 2), Image.Resampling.NEAREST)
    # A closing fills small parts without paper. The margin is black, so that it does not flatten
    # the slope at the edges.
    width, height = paper.size
    with_margin = paper.crop((-_MARGIN, -_MARGIN, width + _MARGIN, height + _MARGIN))
    closed = with_margin.filter(ImageFilter.MaxFilter(3)).filter(ImageFilter.MinFilter(3))
    return closed.crop((_MARGIN, _MARGIN, width + _MARGIN, height + _MARGIN))


def _is_unevenly_lit(paper: Image.Image) -> bool:
    smooth = paper.filter(ImageFilter.MedianFilter(3)).filter(ImageFilter.BoxBlur(1))
    levels = sorted(smooth.tobytes())
    dark, lightest = levels[len(levels) * _DARK_PER_CENT // 100], levels[-1]
    if (
        lightest < _MIN_PAPER
        or lightest > _MAX_RATIO * levels[0]
        or 100 * dark > _UNEVEN_PER_CENT * lightest
    ):
        return False
    roughness = max(ImageChops.difference(paper, smooth).tobytes())
    return (
        100 * roughness <= _ROUGHNESS_PER_CENT * lightest
        and 100 * max(_bends(smooth)) <= _BEND_PER_CENT * lightest
    )


def _bends(smooth: Image.Image) -> Iterator[int]:
    """Yield the absolute second differences along the rows and the columns of a map."""
    for across in (smooth, smooth.transpose(Image.Transpose.TRANSPOSE)):
        levels, width = across.tobytes(), across.width
        for start in range(0, len(levels), width):
            line = levels[start : start + width]
            yield from (
                abs(before - 2 * level + after)
                for before, level, after in zip(line, line[1:], line[2:], strict=False)
            )


def _is_page(even: Image.Image) -> bool:
    histogram = even.histogram()
    samples, white, ink = sum(histogram), histogram[_WHITE], sum(histogram[:_INK_LEVEL])
    return (
        100 * white >= _MIN_WHITE_PER_CENT * samples
        and 100 * ink >= _MIN_INK_PER_CENT * samples
        and 100 * (samples - white - ink) <= _MAX_GREY_PER_CENT * samples
    )
