"""Cells of two colours: the character and its colours, drawn and compared with the image."""

import re
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from asciist.conversion import ConversionOptions, decode, open_image
from asciist.conversion.painting import paint
from asciist.limits import Limits
from tests.groups import failing
from tools.testing.drawing import convert
from tools.testing.images import encoded

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"
CELL = (16, 48)
"""Pixels of a cell, divisible into eighths, quadrants and sextants; twice as tall as wide after
`stretched`."""

DARK, LIGHT = (10, 40, 200), (250, 200, 20)

Mask = NDArray[np.bool_]


def shape(character: str) -> Mask:
    """Return the pixels of a block that show the foreground, (rows, columns), from its Unicode name
    or number."""
    columns, rows = CELL
    y, x = np.mgrid[0:rows, 0:columns]
    if 0x1FB00 <= ord(character) <= 0x1FB3B:
        pattern = [bits for bits in range(1, 63) if bits not in (0b010101, 0b101010)][
            ord(character) - 0x1FB00
        ]
        part = 2 * (3 * y // rows) + 2 * x // columns
        return np.asarray(pattern >> part & 1, bool)
    if character in "▁▂▃▅▆▇":
        return y >= rows - rows * (ord(character) - 0x2580) // 8
    if character in "▏▎▍▋▊▉":
        return x < columns * (0x2590 - ord(character)) // 8
    part = 2 * (2 * y // rows) + 2 * x // columns
    return np.asarray(" ▘▝▀▖▌▞▛▗▚▐▜▄▙▟█".index(character) >> part & 1, bool)


def picture_of(mask: Mask) -> bytes:
    """Return a PNG of one cell in two colours."""
    pixels = np.where(mask[..., np.newaxis], LIGHT, DARK).astype(np.uint8)
    return encoded(Image.fromarray(pixels).resize((48, 96), Image.Resampling.NEAREST), "PNG")


def drawn(image: bytes, **options: str) -> tuple[str, NDArray[np.uint8]]:
    """Return the art, and its colours: (rows, foreground or background, columns, channels)."""
    choice = ConversionOptions(color="ansi", **({"width": 1} | options))  # type: ignore[arg-type]
    art, colours = paint(decode(open_image(image, choice, Limits())), choice)
    rows = art.count("\n") + 1
    return art, np.asarray(colours).reshape(rows, 2, -1, 3)


SEXTANTS = [chr(code_point) for code_point in range(0x1FB00, 0x1FB3C)]


def test_every_shape_is_drawn_exactly_in_its_two_colours() -> None:
    def is_exact(character: str) -> None:
        mask = shape(character)
        art, colours = drawn(picture_of(mask), style="blocks")
        shown = np.where(shape(art)[..., np.newaxis], colours[0, 0, 0], colours[0, 1, 0])
        assert (shown == np.where(mask[..., np.newaxis], LIGHT, DARK)).all()

    assert failing([*" ▘▝▀▖▌▞▛▗▚▐▜▄▙▟█▁▂▃▅▆▇▏▎▍▋▊▉", *SEXTANTS], is_exact) == {}


def test_without_sextants_the_blocks_are_those_that_older_fonts_have(cat: bytes) -> None:
    for shapes, has_sextants in (("sextants", True), ("quadrants", False)):
        art = convert(
            cat, ConversionOptions(width=60, style="blocks", color="ansi", shapes=shapes), Limits()
        )
        assert bool(set(SEXTANTS) & set(art)) == has_sextants
        assert set(re.sub(r"\x1b\[[\d;]*m", "", art)) <= {*" ▘▝▀▖▌▞▛▁▂▃▅▆▇▏▎▍▋▊▉\n", *SEXTANTS}


def test_a_cell_of_one_colour_is_blank() -> None:
    plain = encoded(Image.new("RGB", (64, 64), (120, 9, 77)), "PNG")

    for style, blank in (("structure", " "), ("braille", "\u2800"), ("blocks", " ")):
        art, colours = drawn(plain, style=style)
        assert set(art) == {blank}
        assert (colours[:, 1] == (120, 9, 77)).all()


@pytest.mark.parametrize("style", ["structure", "braille", "blocks"])
@pytest.mark.parametrize("color", ["ansi", "html", "ansi256", "ansi16"])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_a_strip_of_one_column_can_be_painted(style: str, color: str, mode: str) -> None:
    strip = encoded(Image.new(mode, (4, 80)), "PNG")
    art = convert(strip, ConversionOptions(width=1, style=style, color=color), Limits())

    assert art.count({"structure": " ", "braille": "\u2800", "blocks": " "}[style]) >= 10


@pytest.mark.parametrize("style", ["structure", "braille", "blocks"])
def test_the_red_saucer_of_the_coffee_is_red(style: str) -> None:
    """A character chosen by its brightness alone leaves dark red blank."""
    _, colours = drawn((EXAMPLES / "coffee.webp").read_bytes(), width=80, style=style)  # type: ignore[arg-type]
    red, green, blue = colours[16:22, 1, 18:26].reshape(-1, 3).mean(0)

    assert red > 100
    assert red > 2.5 * green
    assert red > 2.5 * blue


@pytest.mark.parametrize(("style", "most"), [("structure", 16.5), ("braille", 16), ("blocks", 11)])
def test_cells_have_the_colours_of_the_image_on_average(style: str, most: float) -> None:
    """The mean of the two colours estimates the mean of a cell; finer styles are closer."""
    image = (EXAMPLES / "astronaut.jpg").read_bytes()
    _, colours = drawn(image, width=80, style=style)  # type: ignore[arg-type]
    with Image.open(EXAMPLES / "astronaut.jpg") as source:
        means = np.asarray(
            source.convert("RGB").resize((80, len(colours)), Image.Resampling.BOX), np.int64
        )

    low, high = colours.min(1).astype(np.int64) - 3, colours.max(1).astype(np.int64) + 3
    assert ((means >= low) & (means <= high)).mean() > 0.95
    assert np.abs(colours.mean(1) - means).mean() < most


def test_only_the_given_characters_are_drawn(cat: bytes) -> None:
    art, _ = drawn(cat, width=40, chars="oO. ")  # type: ignore[arg-type]

    assert set(art) <= set("oO. \n")


def test_coloured_characters_alone_have_no_background_and_show_colours_that_are_dark() -> None:
    """Pure blue has a ninth of the brightness of white, but is as strong a colour."""
    blue = Image.new("RGB", (80, 80), (0, 0, 0))
    blue.paste((0, 0, 255), (20, 20, 60, 60))

    for style in ("structure", "ramp", "braille", "blocks"):
        options = ConversionOptions(width=20, style=style, color="ansi", paint="text")
        art = convert(encoded(blue, "PNG"), options, Limits())
        assert "48;2" not in art
        assert "\x1b[38;2;0;0;255m" in art
        middle = re.sub(r"\x1b\[[\d;]*m", "", art).split("\n")[5]
        assert not set(middle[7:13]) & set(" \u2800."), style


def test_invert_changes_only_the_page_around_coloured_cells(cat: bytes) -> None:
    upright, inverted = (
        convert(cat, ConversionOptions(width=30, color="html", invert=invert), Limits())
        for invert in (False, True)
    )

    assert upright != inverted
    assert upright.replace("background:#000}", "background:#fff}") == inverted
