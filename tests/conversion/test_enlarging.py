"""Enlarged images equal those of Pillow's filter BOX."""

from itertools import product

import pytest
from PIL import Image, ImageChops

from asciist.conversion.enlarging import enlarge
from tests.groups import failing

NOISE = Image.effect_noise((64, 48), 100)


def resized(
    pixels: Image.Image, size: tuple[int, int], box: tuple[float, float, float, float]
) -> Image.Image:
    return pixels.resize(size, Image.Resampling.BOX, box=box)


@pytest.mark.parametrize("box", [(0.0, 0.0, 64.0, 48.0), (0.0, 0.0, 63.5, 47.125)])
def test_an_enlarged_image_equals_that_of_the_filter(
    box: tuple[float, float, float, float],
) -> None:
    def equals_the_filter(size: tuple[int, int]) -> None:
        enlarged = enlarge(NOISE, size, box)
        assert enlarged is not None
        assert ImageChops.difference(enlarged, resized(NOISE, size, box)).getbbox() is None

    sizes = product([64, 65, 80, 96, 320, 999], [49, 60, 191, 1000])
    assert failing(sizes, equals_the_filter) == {}


@pytest.mark.parametrize("size", [(63, 96), (128, 47), (1, 1)])
def test_an_image_that_becomes_smaller_in_one_direction_is_left_to_the_filter(
    size: tuple[int, int],
) -> None:
    assert enlarge(NOISE, size, (0.0, 0.0, 64.0, 48.0)) is None
