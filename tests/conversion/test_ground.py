"""The colour behind the transparent parts of an image."""

import pytest
from PIL import Image, ImageDraw

from asciist.conversion import STYLES, ConversionOptions
from asciist.limits import Limits
from tools.testing.drawing import convert
from tools.testing.images import encoded

BLACK, WHITE = (0, 0, 0), (255, 255, 255)
LIMITS = Limits()


def logo(ink: tuple[int, int, int], mode: str = "RGBA") -> bytes:
    """Return a logo in one colour on a transparent ground, as a PNG with one of the encodings of
    transparency."""
    image = Image.new("RGBA", (300, 160), (127, 127, 127, 0))
    pen = ImageDraw.Draw(image)
    pen.ellipse((20, 20, 140, 140), fill=(*ink, 255))
    pen.ellipse((60, 60, 100, 100), fill=(127, 127, 127, 0))
    pen.rectangle((170, 60, 280, 100), fill=(*ink, 255))
    if mode in ("RGB", "L"):  # one colour is transparent
        return encoded(
            image.convert(mode), "PNG", transparency=(127, 127, 127) if mode == "RGB" else 127
        )
    if mode == "I;16":
        grey = image.convert("L").convert("I").point(lambda level: 257 * level)
        return encoded(grey.convert("I;16"), "PNG", transparency=257 * 127)
    return encoded(image.quantize(8) if mode == "P" else image.convert(mode), "PNG")


def art(image: bytes, **options: object) -> str:
    # Of the caller.
    return convert(image, ConversionOptions(**{"width": 40, **options}), LIMITS)  # type: ignore[arg-type]


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "RGB", "L", "I;16"])
@pytest.mark.parametrize(
    ("ink", "ground"), [(BLACK, "#ffffff"), (WHITE, "#000000"), ((20, 20, 90), "#ffffff")]
)
def test_a_logo_stands_out_from_its_ground(
    mode: str, ink: tuple[int, int, int], ground: str
) -> None:
    image = logo(ink, mode)
    for invert in (False, True):
        drawn = art(image, invert=invert)
        rows = drawn.split("\n")
        assert drawn == art(image, invert=invert, background=ground)
        assert rows[5][30] != rows[0][0] != rows[5][4]  # in the rectangle, in the ring, and outside
        assert rows[5][10] != rows[5][4]  # in the hole of the ring


@pytest.mark.parametrize("style", STYLES)
def test_a_logo_of_either_colour_is_drawn_in_every_style_and_polarity(style: str) -> None:
    for ink in (BLACK, WHITE):
        for color in ("none", "html"):
            for invert in (False, True, "auto"):
                assert len(set(art(logo(ink), style=style, color=color, invert=invert))) > 2


@pytest.mark.parametrize("color", ["none", "ansi"])
@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "RGB", "L"])
def test_the_background_replaces_what_is_transparent(mode: str, color: str) -> None:
    image = logo((200, 200, 200), mode)
    flat = Image.new("RGB", (300, 160), (90, 90, 90))
    pen = ImageDraw.Draw(flat)
    pen.ellipse((20, 20, 140, 140), fill=(200, 200, 200))
    pen.ellipse((60, 60, 100, 100), fill=(90, 90, 90))
    pen.rectangle((170, 60, 280, 100), fill=(200, 200, 200))

    assert art(image, background="#5a5a5a", color=color) == art(
        encoded(flat.convert("L" if mode in ("L", "LA") else "RGB"), "PNG"), color=color
    )


def test_a_logo_in_two_colours_gets_the_ground_that_hides_less() -> None:
    image = Image.new("RGBA", (200, 100))
    image.paste((255, 255, 255, 255), (10, 10, 60, 90))
    for black_columns, ground in ((100, "#ffffff"), (20, "#000000")):
        both = image.copy()
        both.paste((0, 0, 0, 255), (70, 10, 70 + black_columns, 90))
        assert art(encoded(both, "PNG")) == art(encoded(both, "PNG"), background=ground)


def test_colourful_clip_art_is_not_surrounded_by_characters() -> None:
    image = Image.new("RGBA", (200, 100))
    pen = ImageDraw.Draw(image)
    # half of it is black
    pen.ellipse((50, 10, 150, 90), fill=(240, 180, 60, 255), outline=(0, 0, 0, 255), width=16)
    for invert in (False, True):
        assert set(art(encoded(image, "PNG"), invert=invert).split("\n")[0]) == {" "}


def test_an_image_without_transparency_has_no_ground(cat: bytes) -> None:
    assert art(cat, background="#ffffff") == art(cat)


@pytest.mark.parametrize("size", [(1, 1), (1, 3000), (3000, 1), (255, 257), (700, 900)])
def test_a_transparent_image_of_any_size_is_converted(size: tuple[int, int]) -> None:
    for pixel in ((0, 0, 0, 0), (0, 0, 0, 255), (0, 0, 0, 60)):
        assert art(encoded(Image.new("RGBA", size, pixel), "PNG"), width=4)
