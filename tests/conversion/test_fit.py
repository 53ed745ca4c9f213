"""Art that fits a width and a height."""

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from asciist.conversion import STYLES, ConversionOptions, ImageHeader
from asciist.formats import PNG
from asciist.limits import Limits
from tests.groups import failing
from tools.testing.drawing import convert
from tools.testing.images import encoded

SIDES = st.integers(1, 3000)
CELLS = st.integers(1, 1000)


def header(width: int, height: int, orientation: int = 1) -> ImageHeader:
    return ImageHeader(format=PNG, width=width, height=height, orientation=orientation)


@given(SIDES, SIDES, CELLS, CELLS)
def test_contained_art_is_the_largest_within_both_bounds_that_keeps_the_shape(
    width: int, height: int, columns: int, rows: int
) -> None:
    found = header(width, height).grid(ConversionOptions(width=columns, height=rows))

    assert 1 <= found[0] <= columns
    assert 1 <= found[1] <= rows
    assert found[0] == columns or found[1] == rows
    by_width = (columns, max(1, columns * height // (2 * width)))
    by_height = (min(columns, max(1, 2 * width * rows // height)), rows)
    assert found == (by_width if by_width[1] <= rows else by_height)


@given(SIDES, SIDES, CELLS)
def test_without_a_height_the_width_alone_decides(width: int, height: int, columns: int) -> None:
    for fit in ("contain", "cover", "fill"):
        options = ConversionOptions(width=columns, fit=fit)
        assert header(width, height).grid(options) == (
            columns,
            max(1, columns * height // (2 * width)),
        )
        assert header(width, height).uncropped_grid(options) == header(width, height).grid(options)


@given(SIDES, SIDES, CELLS, CELLS)
def test_covering_and_filling_art_has_exactly_the_size(
    width: int, height: int, columns: int, rows: int
) -> None:
    for fit in ("cover", "fill"):
        options = ConversionOptions(width=columns, height=rows, fit=fit)
        assert header(width, height).grid(options) == (columns, rows)
        across, down = header(width, height).uncropped_grid(options)
        assert across >= columns
        assert down >= rows


def stripes(*colours: str, turned: bool = False) -> Image.Image:
    """Return an image of vertical stripes of 100x200 pixels, or of horizontal ones."""
    image = Image.new("RGB", (100 * len(colours), 200))
    for number, colour in enumerate(colours):
        image.paste(colour, (100 * number, 0, 100 * number + 100, 200))
    return image.transpose(Image.Transpose.ROTATE_270) if turned else image


@pytest.mark.parametrize("image_format", ["PNG", "JPEG"])
@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("style", STYLES)
def test_covering_art_shows_the_middle_of_the_image(
    style: str, turned: bool, image_format: str
) -> None:
    image = encoded(stripes("black", "white", "black", turned=turned), image_format)
    width, height = (40, 10) if turned else (20, 20)
    contained, covering = (
        convert(
            image, ConversionOptions(width=width, height=height, style=style, fit=fit), Limits()
        ).split("\n")
        for fit in ("contain", "cover")
    )
    blanks = set(" \u2800")

    assert [len(row) for row in covering] == [width] * height
    # the filters reach over the edge
    assert not blanks & {character for row in covering[2:-2] for character in row[2:-2]}
    assert contained[1 if turned else -1][1] in blanks


def test_the_colours_of_covering_art_are_those_of_the_middle() -> None:
    image = encoded(stripes("blue", "red", "lime"), "PNG")
    art = convert(
        image,
        ConversionOptions(width=10, height=10, style="blocks", color="ansi", fit="cover"),
        Limits(),
    )

    assert "\x1b[48;2;255;0;0m" in art
    assert "0;0;255m" not in art
    assert "0;255;0m" not in art


def test_filling_art_is_distorted() -> None:
    image = encoded(stripes("black", "white"), "PNG")
    rows = convert(
        image, ConversionOptions(width=40, height=3, style="blocks", fit="fill"), Limits()
    ).split("\n")

    assert rows == [" " * 20 + "█" * 20] * 3


@pytest.mark.parametrize("fit", ["contain", "cover", "fill"])
@pytest.mark.parametrize("style", STYLES)
def test_art_of_any_shape_fits(style: str, fit: str) -> None:
    def fits(shape: tuple[tuple[int, int], str]) -> None:
        size, color = shape
        options = ConversionOptions(width=30, height=7, fit=fit, style=style, color=color)
        art = convert(encoded(Image.new("RGB", size, "orange"), "PNG"), options, Limits())
        if color == "none":
            columns, rows = header(*size).grid(options)
            assert [len(row) for row in art.split("\n")] == [columns] * rows

    sizes = [(1, 1), (1, 3000), (3000, 1), (90, 60)]
    assert failing(product(sizes, ["none", "html"]), fits) == {}
