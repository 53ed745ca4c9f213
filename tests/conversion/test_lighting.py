"""Even light on photographed pages."""

import hashlib
from dataclasses import replace
from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageChops, ImageDraw, ImageOps

from asciist.conversion import ConversionOptions, decode, open_image, render, resolve
from asciist.conversion.lighting import evened, paper_of
from asciist.conversion.polarity import is_better_dark_on_light
from asciist.limits import Limits
from tests.conversion.goldens import EXAMPLES
from tests.conversion.test_memory import MARGIN
from tools.testing.drawing import convert
from tools.testing.hostile import exif
from tools.testing.images import encoded, gradient
from tools.testing.measuring import Measurer

STYLES = ("structure", "braille", "blocks")


@cache
def page(width: int = 400, height: int = 520) -> Image.Image:
    """Return a page with lines of words, a rule and a circle."""
    image = Image.new("L", (width, height), 255)
    pen = ImageDraw.Draw(image)
    for row in range(40, 280, 24):
        for column in range(40, width - 90 - row % 48, 56):
            pen.rectangle((column, row, column + 40, row + 9), fill=20)
    pen.line((40, 310, width - 40, 310), fill=20, width=4)
    pen.ellipse((150, 340, 290, 480), outline=20, width=8)
    return image


@cache
def light(size: tuple[int, int], darkest: int) -> Image.Image:
    """Return light that falls from 255 at the upper right to `darkest` at the lower left."""
    vertical = Image.linear_gradient("L")
    diagonal = ImageChops.add(vertical, vertical.transpose(Image.Transpose.ROTATE_270), 2)
    return diagonal.resize(size, Image.Resampling.BILINEAR).point(
        [255 - level * (255 - darkest) // 255 for level in range(256)]
    )


def shaded(image: Image.Image, darkest: int = 110) -> Image.Image:
    return ImageChops.multiply(image, light(image.size, darkest))


def paper(image: Image.Image) -> Image.Image | None:
    return paper_of(image, (0, 0, *image.size))


def art(image: Image.Image, options: ConversionOptions, **saving: object) -> str:
    return convert(encoded(image, "PNG", **saving), options, Limits())


def share_of_different_characters(one: str, other: str) -> float:
    assert len(one) == len(other)
    return sum(a != b for a, b in zip(one, other, strict=True)) / len(one)


@pytest.mark.parametrize("invert", [True, False, "auto"])
@pytest.mark.parametrize("style", STYLES)
def test_a_page_in_uneven_light_is_drawn_like_one_in_even_light(
    style: str, invert: bool | str
) -> None:
    options = ConversionOptions(width=60, style=style, invert=invert)
    even = art(page(), options)
    uneven = encoded(shaded(page()), "PNG")
    opened = decode(open_image(uneven, options, Limits()))
    as_it_is = render(replace(opened, paper=None), options).text

    assert share_of_different_characters(convert(uneven, options, Limits()), even) < 0.1
    assert share_of_different_characters(as_it_is, even) > 0.15


@pytest.mark.parametrize("darkest", [60, 90, 120, 150, 180])
def test_the_paper_becomes_white_and_ink_stays_dark(darkest: int) -> None:
    image = shaded(page(), darkest)
    found = paper(image)

    assert found is not None
    even = evened(image, found)
    is_white = [level == 255 for level in page().tobytes()]
    assert min(level for level, white in zip(even.tobytes(), is_white, strict=True) if white) > 240
    assert (
        max(level for level, white in zip(even.tobytes(), is_white, strict=True) if not white) < 60
    )


def test_even_light_is_left_as_it_is() -> None:
    for brightest in (255, 200):
        assert (
            paper(page().point(lambda level, brightest=brightest: level * brightest // 255)) is None
        )
    assert paper(shaded(page(), 235)) is None


@pytest.mark.parametrize(
    "name", sorted(file.name for file in EXAMPLES.iterdir() if file.suffix != ".md")
)
def test_no_example_is_a_page(name: str) -> None:
    with Image.open(EXAMPLES / name) as image:
        assert paper(image.convert("L")) is None


def drawings() -> dict[str, Image.Image]:
    """Return images, even and unevenly lit, that are not pages."""
    sphere = ImageOps.invert(Image.radial_gradient("L")).resize((300, 300))
    on_white = Image.new("L", (400, 400), 255)
    on_white.paste(sphere, (50, 50))
    two_walls = Image.new("L", (400, 300), 240)
    two_walls.paste(150, (200, 0, 400, 300))
    drawn = ImageDraw.Draw(two_walls)
    for column in range(20, 380, 40):
        drawn.rectangle((column, 100, column + 20, 130), fill=10)
    return {
        "a gradient": gradient(400, 300, "L"),
        "light without ink": light((400, 300), 110),
        "a sphere": sphere,
        "a sphere on white": on_white,
        "a wall with an edge": two_walls,
        "a page at night": shaded(page()).point(lambda level: level // 2),
        "white on black": ImageOps.invert(shaded(page())),
        "noise": Image.effect_noise((400, 300), 60),
        "a fractal": Image.effect_mandelbrot((400, 300), (-2.2, -1.2, 1.0, 1.2), 60),
    }


@pytest.mark.parametrize("name", drawings())
def test_what_is_no_page_is_left_as_it_is(name: str) -> None:
    assert paper(drawings()[name]) is None


@given(st.integers(1, 40), st.integers(1, 40), st.binary(min_size=1, max_size=16))
def test_an_image_of_any_size_is_accepted(width: int, height: int, levels: bytes) -> None:
    image = Image.frombytes("L", (len(levels), 1), levels).resize((width, height))
    found = paper(image)

    assert found is None or evened(image, found).size == image.size


@pytest.mark.parametrize("size", [(1, 60_000), (60_000, 1)])
def test_a_strip_is_accepted(size: tuple[int, int]) -> None:
    assert paper(light(size, 110)) is None


@pytest.mark.parametrize("orientation", range(2, 9))
def test_light_is_evened_out_in_any_orientation(orientation: int) -> None:
    upright = shaded(page())
    stored = {
        2: upright.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
        3: upright.transpose(Image.Transpose.ROTATE_180),
        4: upright.transpose(Image.Transpose.FLIP_TOP_BOTTOM),
        5: upright.transpose(Image.Transpose.TRANSPOSE),
        6: upright.transpose(Image.Transpose.ROTATE_90),
        7: upright.transpose(Image.Transpose.TRANSVERSE),
        8: upright.transpose(Image.Transpose.ROTATE_270),
    }[orientation]
    options = ConversionOptions(width=60, style="braille")

    assert (
        share_of_different_characters(
            art(stored, options, exif=exif(orientation)), art(upright, options)
        )
        < 0.02
    )


def test_a_cropped_page_is_evened_out_by_the_light_on_the_part_that_is_shown() -> None:
    options = ConversionOptions(width=60, height=20, fit="cover", style="braille")

    assert share_of_different_characters(art(shaded(page()), options), art(page(), options)) < 0.1


def test_a_reduced_jpeg_is_evened_out() -> None:
    large = shaded(page()).resize((3200, 4160), Image.Resampling.BICUBIC)
    options = ConversionOptions(width=60, style="structure", invert=True)
    drawn = convert(encoded(large, "JPEG", quality=80), options, Limits())

    assert share_of_different_characters(drawn, art(page(), options)) < 0.1


@pytest.mark.parametrize(
    "options", [{"style": "ramp"}, {"color": "ansi"}, {"color": "html", "style": "blocks"}]
)
def test_ramp_and_colour_show_the_light_as_it_is(options: dict[str, str]) -> None:
    opened = open_image(
        encoded(shaded(page()), "PNG"), ConversionOptions(width=60, **options), Limits()
    )

    assert decode(opened).paper is None


@pytest.mark.parametrize("mode", ["LA", "RGBA"])
def test_an_image_with_transparency_is_left_as_it_is(mode: str) -> None:
    opened = open_image(
        encoded(shaded(page()).convert(mode), "PNG"), ConversionOptions(width=60), Limits()
    )

    assert decode(opened).paper is None


def test_a_page_is_drawn_dark_on_light_where_most_of_it_lies_in_the_dark() -> None:
    lamp_above = Image.linear_gradient("L").point(
        [round(255 - 0.7 * (255 * level) ** 0.5) for level in range(256)]
    )
    image = ImageChops.multiply(page(), lamp_above.resize(page().size, Image.Resampling.BILINEAR))
    options = ConversionOptions(width=60, style="structure", invert="auto")

    assert not is_better_dark_on_light(image)
    assert (
        resolve(decode(open_image(encoded(image, "PNG"), options, Limits())), options).invert
        is True
    )


def test_brightness_and_contrast_adjust_the_page_in_even_light() -> None:
    options = ConversionOptions(width=60, style="braille", brightness=-60, contrast=40)

    assert share_of_different_characters(art(shaded(page()), options), art(page(), options)) < 0.1


@pytest.mark.slow
@pytest.mark.parametrize("style", STYLES)
def test_a_page_takes_no_more_memory_than_its_estimate(style: str) -> None:
    image = encoded(shaded(page()).resize((1000, 1300), Image.Resampling.BICUBIC), "PNG")
    with Measurer() as measurer:
        (cost,) = measurer.costs(image, [ConversionOptions(width=500, style=style)])

    assert cost.outcome == "art"
    assert cost.megabytes <= cost.estimated_megabytes * MARGIN


GOLDENS = {
    "structure": "728d81848ae37824f8deaa89e1538462ae2b2b9ef343ecf2bfa81265aac609aa",
    "braille": "6eaa0a2b5fee51561e2fd979b6b1414ccdb74abb6a2b018f429b439b2930e935",
    "blocks": "381f0faad8234771857ce2fc66972f881c43843ba598d0135ecc325f0da06059",
}


@pytest.mark.parametrize("style", GOLDENS)
def test_the_art_of_a_page_is_the_same_on_every_machine(style: str) -> None:
    drawn = art(shaded(page()), ConversionOptions(width=60, style=style, invert=True))

    assert hashlib.sha256(drawn.encode()).hexdigest() == GOLDENS[style]
