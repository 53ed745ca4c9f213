"""Brightness and contrast."""

from itertools import product

import pytest
from PIL import Image

from asciist.conversion import STYLES, ConversionOptions
from asciist.conversion.adjusting import adjustment
from asciist.limits import Limits
from tests.groups import failing
from tools.testing.drawing import convert
from tools.testing.images import encoded

AMOUNTS = (-100, -37, -1, 0, 1, 37, 100)


def levels(**amounts: int) -> list[int]:
    return list(adjustment(**{"brightness": 0, "contrast": 0, **amounts}) or range(256))


def test_the_order_of_levels_black_and_white_never_change() -> None:
    def keeps_them(amounts: tuple[int, int]) -> None:
        adjusted = levels(brightness=amounts[0], contrast=amounts[1])
        assert adjusted == sorted(adjusted)
        assert (len(adjusted), adjusted[0], adjusted[-1]) == (256, 0, 255)

    assert failing(product(AMOUNTS, AMOUNTS), keeps_them) == {}


def test_brightness_moves_the_middle_and_contrast_moves_levels_away_from_it() -> None:
    assert [levels(brightness=amount)[128] for amount in (-100, -50, 0, 50, 100)] == [
        26,
        77,
        128,
        179,
        230,
    ]
    assert [levels(contrast=amount)[64] for amount in (-100, 0, 100)] == [115, 64, 13]
    assert [levels(contrast=amount)[191] for amount in (-100, 0, 100)] == [140, 191, 242]


def test_without_amounts_nothing_is_adjusted() -> None:
    assert adjustment(brightness=0, contrast=0) is None


@pytest.mark.parametrize("style", STYLES)
def test_a_brighter_image_has_more_ink(style: str, cat: bytes) -> None:
    def ink(brightness: int) -> int:
        art = convert(
            cat, ConversionOptions(width=60, style=style, brightness=brightness), Limits()
        )
        return sum(art.count(blank) for blank in " \u2800.`'")

    assert ink(-60) > ink(0) > ink(60)


def test_colours_are_adjusted_too() -> None:
    image = encoded(Image.new("RGB", (8, 8), (128, 64, 0)), "PNG")
    art = convert(
        image, ConversionOptions(width=2, style="blocks", color="ansi", brightness=100), Limits()
    )

    assert f"48;2;{levels(brightness=100)[128]};{levels(brightness=100)[64]};0m" in art
