"""The choice between light characters on dark and dark characters on light."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from asciist.conversion import STYLES, ConversionOptions
from asciist.conversion.polarity import is_better_dark_on_light
from asciist.limits import Limits
from tools.testing.drawing import convert
from tools.testing.images import encoded, gradient


def drawing(ink: int, ground: int) -> Image.Image:
    """Return a drawing of thin lines."""
    image = Image.new("L", (200, 120), ground)
    pen = ImageDraw.Draw(image)
    pen.ellipse((60, 20, 140, 100), outline=ink, width=3)
    pen.line((0, 110, 200, 100), fill=ink, width=2)
    return image


@pytest.mark.parametrize(
    ("ink", "ground", "is_light"),
    [(0, 255, True), (90, 230, True), (40, 130, True), (255, 0, False), (200, 90, False)],
)
def test_the_ground_decides_and_not_its_brightness(ink: int, ground: int, is_light: bool) -> None:
    assert is_better_dark_on_light(drawing(ink, ground)) is is_light


def test_images_without_a_ground_stay_light_on_dark() -> None:
    for level in (0, 128, 255):
        assert not is_better_dark_on_light(Image.new("L", (9, 9), level))
    assert not is_better_dark_on_light(gradient(64, 256, "L"))


@given(st.lists(st.integers(0, 255), min_size=1, max_size=60), st.integers(1, 9))
def test_the_choice_is_the_same_at_any_size_and_differs_for_an_image_and_its_negative(
    levels: list[int], times: int
) -> None:
    image = Image.frombytes("L", (len(levels), 1), bytes(levels))
    negative = image.point(lambda level: 255 - level)

    assert is_better_dark_on_light(
        image.resize((times * len(levels), times), Image.Resampling.NEAREST)
    ) == (is_better_dark_on_light(image))
    assert not (is_better_dark_on_light(image) and is_better_dark_on_light(negative))


@pytest.mark.parametrize("color", ["none", "ansi", "html"])
@pytest.mark.parametrize("style", STYLES)
def test_art_is_drawn_as_if_the_choice_had_been_given(style: str, color: str) -> None:
    for ink, ground in ((0, 255), (255, 0)):
        image = encoded(drawing(ink, ground), "PNG")
        chosen, given_ = (
            convert(
                image,
                ConversionOptions(width=40, style=style, color=color, invert=invert),
                Limits(),
            )
            for invert in ("auto", ground == 255)
        )
        assert chosen == given_
