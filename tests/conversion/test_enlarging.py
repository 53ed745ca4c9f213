"""Enlarged images equal those of Pillow's filter BOX."""

import pytest
from PIL import Image, ImageChops

from asciist.conversion.enlarging import enlarge

NOISE = Image.effect_noise((64, 48), 100)


def resized(pixels: Image.Image, size: tuple[int, int], box: tuple[float, float, float, float]) -> Image.Image:
    return pixels.resize(size, Image.Resampling.BOX, box=box)


@pytest.mark.parametrize("box", [(0.0, 0.0, 64.0, 48.0), (0.0, 0.0, 63.5, 47.125)])
@pytest.mark.parametrize("height", [49, 60, 191, 1000])
@pytest.mark.parametrize("width", [64, 65, 80, 96, 320, 999])
def test_an_enlarged_image_equals_that_of_the_filter(width: int, height: int, box: tuple[float, float, float, float]) -> None:
    enlarged = enlarge(NOISE, (width, height), box)

    assert enlarged is not None
    assert ImageChops.difference(enlarged, resized(NOISE, (width, height), box)).getbbox() is None


@pytest.mark.parametrize("size", [(63, 96), (128, 47), (1, 1)])
def test_an_image_that_becomes_smaller_in_one_direction_is_left_to_the_filter(size: tuple[int, int]) -> None:
    assert enlarge(NOISE, size, (0.0, 0.0, 64.0, 48.0)) is None
