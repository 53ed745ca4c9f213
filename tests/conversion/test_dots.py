"""The styles `braille` and `blocks`: the position and number of the dots."""

import pytest
from PIL import Image

from asciist.conversion import ConversionOptions
from asciist.limits import Limits
from tools.testing.drawing import convert
from tools.testing.images import encoded

BLOCKS = " ▘▝▀▖▌▞▛▗▚▐▜▄▙▟█"
DOTS = {"braille": (2, 4), "blocks": (2, 2)}


def art(image: Image.Image, style: str, width: int = 40, **options: bool | str) -> str:
    return convert(
        encoded(image, "PNG"), ConversionOptions(width=width, style=style, **options), Limits()
    )  # type: ignore[arg-type]


def dots(text: str) -> Image.Image:
    """Return the art as an image with one pixel per dot.

    Unicode numbers the dots of a braille cell down the first three rows of the left column, then of
    the right, then along the fourth row.
    """
    lines = text.split("\n")
    is_braille = ord(lines[0][0]) >= 0x2800
    across, down = DOTS["braille" if is_braille else "blocks"]
    places = (
        [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2), (0, 3), (1, 3)]
        if is_braille
        else [(0, 0), (1, 0), (0, 1), (1, 1)]
    )
    picture = Image.new("L", (across * len(lines[0]), down * len(lines)))
    for row, line in enumerate(lines):
        for column, character in enumerate(line):
            bits = ord(character) - 0x2800 if is_braille else BLOCKS.index(character)
            for bit, (x, y) in enumerate(places):
                picture.putpixel((column * across + x, row * down + y), 255 * (bits >> bit & 1))
    return picture


def lit(picture: Image.Image) -> float:
    return picture.histogram()[255] / (picture.width * picture.height)


@pytest.mark.parametrize("style", DOTS)
def test_black_has_no_dot_and_white_has_all(style: str) -> None:
    full = {"braille": "⣿", "blocks": "█"}[style]
    none = {"braille": "⠀", "blocks": " "}[style]

    assert set(art(Image.new("L", (64, 64), 255), style)) == {full, "\n"}
    assert set(art(Image.new("L", (64, 64), 0), style)) == {none, "\n"}
    assert set(art(Image.new("L", (64, 64), 255), style, invert=True)) == {none, "\n"}


@pytest.mark.parametrize("style", DOTS)
def test_dots_are_lit_where_the_image_is_light(style: str) -> None:
    across, down = DOTS[style]
    pattern = Image.effect_noise((across * 12, down * 6), 255).point(
        lambda level: 255 * (level > 127)
    )
    image = pattern.resize(
        (pattern.width * 4, pattern.height * 4 * (down == 4 or 2)), Image.Resampling.NEAREST
    )

    picture = dots(art(image, style, width=12))
    assert picture.size == pattern.size
    assert picture.tobytes() == pattern.tobytes()


@pytest.mark.parametrize("style", DOTS)
def test_brighter_images_have_more_dots(style: str) -> None:
    shares = [
        lit(dots(art(Image.new("L", (200, 200), level), style))) for level in range(0, 256, 15)
    ]

    assert shares == sorted(shares)
    assert shares[0] == 0
    assert shares[-1] == 1
    assert {0.0, 1.0} == set(shares)  # an image of one grey is a graphic


@pytest.mark.parametrize("style", DOTS)
def test_midtones_of_a_photograph_become_patterns_of_dots(style: str) -> None:
    """A gradient has as many levels as a photograph."""
    picture = dots(art(Image.linear_gradient("L").rotate(90), style, width=80))
    shares = [
        lit(picture.crop((left, 0, left + 16, picture.height)))
        for left in range(0, picture.width, 16)
    ]

    assert shares == sorted(shares)
    assert shares[0] == 0
    assert shares[-1] == 1
    assert sum(0.02 < share < 0.98 for share in shares) >= 4


@pytest.mark.parametrize("style", DOTS)
def test_flat_areas_of_a_graphic_have_no_pattern(style: str) -> None:
    graphic = Image.new("L", (400, 400), 250)
    graphic.paste(70, (100, 100, 300, 300))
    graphic.paste(190, (150, 150, 250, 250))

    inside = dots(art(graphic, style, width=100)).crop((60, 0, 70, 100))  # 120 to 140 px across
    rows = {lit(inside.crop((0, row, 10, row + 1))) for row in range(inside.height)}
    assert rows == {0, 1}


@pytest.mark.parametrize("style", DOTS)
def test_invert_swaps_lit_and_unlit_dots(style: str, cat: bytes) -> None:
    upright, inverted = (
        lit(dots(convert(cat, ConversionOptions(width=60, style=style, invert=invert), Limits())))
        for invert in (False, True)
    )

    assert upright + inverted == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize("style", DOTS)
def test_contrast_is_stretched_but_noise_is_not(style: str) -> None:
    bright = Image.linear_gradient("L")
    dim = bright.point(lambda level: level // 3)
    assert lit(dots(art(dim, style))) == pytest.approx(lit(dots(art(bright, style))), abs=0.03)

    nearly_white = Image.effect_noise((256, 256), 2).point(
        lambda level: 253 if level > 128 else 252
    )
    assert lit(dots(art(nearly_white, style))) > 0.9
