"""Rendered images of art show its characters in its colours, and other forms of art equal the
conversion's."""

import io
import re
import struct
import subprocess
import sys
import zlib
from typing import Any
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from hypothesis import given, settings
from PIL import Image, ImageDraw, ImageFont, ImageSequence

from asciist import conversion
from asciist.art import Art, forms, merged, still
from asciist.art.forms import FORMS
from asciist.art.pictures import CARD_SIZE
from asciist.art.pictures.moving import moving_png
from asciist.art.pictures.outlines import UNITS, is_drawable
from asciist.art.pictures.raster import _coverage
from asciist.conversion import ConversionOptions
from asciist.errors import UndrawableArtError
from asciist.limits import Limits
from asciist.options import STYLES
from tests.art.drawn import animation, animations, rgb

DARK, LIGHT = 0xEE, 0x11
FONT = "/usr/share/fonts/truetype/dejavu/DejaVuSansMono.ttf"


def art(image: bytes, **options: Any) -> Art:
    return conversion.convert(image, ConversionOptions(**options), Limits())


def plain(text: str, *, is_light: bool = False) -> Art:
    return still(text, is_light=is_light)


def png(art: Art) -> bytes:
    return b"".join(forms.PNG.written(art))


def svg(art: Art) -> str:
    return b"".join(forms.SVG.written(art)).decode()


def card(art: Art) -> bytes:
    return b"".join(FORMS["card.png"].written(art))


def opened(picture: bytes) -> Image.Image:
    return Image.open(io.BytesIO(picture))


def test_a_png_has_each_character_in_its_cell() -> None:
    picture = opened(png(plain("█ \n ▌")))

    assert (picture.size, picture.mode) == ((4 * 16, 3 * 32), "P")
    shades = np.asarray(picture.convert("L"))
    expected = np.zeros_like(shades)
    expected[16:48, 16:32] = DARK
    expected[48:80, 32:40] = DARK
    assert (shades == expected).all()


def test_art_for_a_light_ground_is_dark_on_white() -> None:
    shades = np.asarray(opened(png(plain("█", is_light=True))).convert("L"))

    assert (shades[16:48, 16:32] == LIGHT).all()
    assert (shades[:16] == 255).all()


@settings(max_examples=40, deadline=None)
@given(animations())
def test_each_frame_of_a_moving_png_is_its_still_picture(art: Art) -> None:
    expected = merged(
        (opened(png(frame)).convert("RGB").tobytes(), frame.frames[0].milliseconds)
        for frame in art.stills()
    )

    picture = opened(png(art))

    # Different characters look the same in the colour of their ground, and are frames of their own.
    shown = merged(
        (frame.convert("RGB").tobytes(), round(frame.info.get("duration", 0)))
        for frame in ImageSequence.Iterator(picture)
    )
    different = [*merged(((frame.text, frame.colours), 0) for frame in art.frames)]
    frames = getattr(picture, "n_frames", 1)
    assert frames <= len(different)
    if frames > 1:
        assert art.movement
        assert ([*shown], picture.info["loop"]) == ([*expected], art.movement.plays)
    else:  # a plain PNG
        ((pixels, _),) = expected
        assert ([*shown], "loop" in picture.info) == ([(pixels, 0)], False)


def chunks(png: bytes) -> list[tuple[bytes, bytes]]:
    """Return the type and the data of each chunk of a PNG."""
    found, start = [], 8
    while start < len(png):
        length, kind = struct.unpack_from(">I4s", png, start)
        data = png[start + 8 : start + 8 + length]
        assert struct.unpack_from(">I", png, start + 8 + length)[0] == zlib.crc32(kind + data)
        found.append((kind, data))
        start += 12 + length
    return found


def test_a_frame_of_a_moving_png_is_the_rectangle_of_cells_that_change() -> None:
    art = animation(("abcde\nabcde\nabcde", 100), ("abcde\naXcYe\nabZde", 70_000))

    found = chunks(png(art))

    first, second = (struct.unpack(">5I2H2B", data) for kind, data in found if kind == b"fcTL")
    assert first == (0, 7 * 16, 4 * 32, 0, 0, 100, 1000, 0, 0)
    # 70,000/1000 would need more than 16 bits
    assert second == (1, 3 * 16, 2 * 32, 2 * 16, 16 + 32, 7000, 100, 0, 0)
    numbers = [
        struct.unpack_from(">I", data)[0] for kind, data in found if kind in (b"fcTL", b"fdAT")
    ]
    assert numbers == list(range(len(numbers)))


def test_a_moving_png_of_too_many_bytes_is_the_still_png_of_its_first_frame() -> None:
    art = animation(("ab\ncd", 100), ("aX\ncd", 100), ("aX\ncX", 100))
    most = (4 + 1 + 1) * 16 * 32 // 2

    def moving(max_bytes: int) -> bytes:
        return b"".join(moving_png(art, max_bytes=max_bytes))

    assert getattr(Image.open(io.BytesIO(moving(most))), "n_frames", 1) == 3
    assert moving(most - 1) == png(art.first())


def test_a_coloured_png_looks_like_the_image(cat: bytes) -> None:
    picture = opened(png(art(cat, width=40, style="blocks", color="ansi", invert=True)))

    inside = picture.crop((16, 16, picture.width - 16, picture.height - 16)).resize(
        (20, 13), Image.Resampling.BOX
    )
    image = Image.open(io.BytesIO(cat)).convert("RGB").resize((20, 13), Image.Resampling.BOX)
    difference = np.abs(np.asarray(inside).astype(int) - np.asarray(image)).mean()
    assert difference < 12


def test_plain_art_has_no_escape_codes_and_its_document_shows_every_character() -> None:
    art = plain("<b>&amp;\n  @  ")

    assert forms.text(art, FORMS["ansi"]) == forms.text(art, forms.TXT) == "<b>&amp;\n  @  "
    assert (
        "<b style=color:#eeeeee>&lt;b&gt;&amp;amp;</b>\n<b style=color:#eeeeee>  @  </b>\n</pre>"
        in forms.text(art, forms.HTML)
    )


def test_an_svg_draws_every_cell_and_can_do_nothing(cat: bytes) -> None:
    drawn = art(cat, width=30, color="ansi")
    document = svg(drawn)
    root = ET.fromstring(document)  # noqa: S314 - our own document

    names = {element.tag.partition("}")[2] for element in root.iter()}
    assert names == {"svg", "title", "defs", "path", "g", "use"}
    assert set(re.findall(r'href="([^"])', document)) == {"#"}
    assert not re.search(r" (on\w+|style|class)=", document)
    uses = document.count("<use ")
    assert uses == len(re.sub(r"\s", "", drawn.text))


def test_adjacent_cells_of_one_colour_are_one_element() -> None:
    foregrounds = rgb("010203", columns=2) + rgb("040506", columns=2)
    document = svg(still("abcd", is_light=False, colours=foregrounds + rgb("ff0000", columns=4)))

    assert document.count('fill="#f00"') == 1
    assert '<path fill="#f00" d="M0 0h4v2h-4z"/>' in document
    assert document.count('fill="#010203"') == 1


def test_every_character_of_every_style_can_be_drawn(cat: bytes) -> None:
    characters = set("".join(style.characters for style in STYLES.values())) | {
        chr(0x2800 + pattern) for pattern in range(256)
    }
    for options in ({}, {"color": "ansi"}, {"color": "ansi", "shapes": "quadrants"}):
        characters |= set(art(cat, width=150, style="blocks", **options).text) - {"\n"}

    assert [character for character in characters if not is_drawable(character)] == []


def test_art_that_cannot_be_drawn_is_refused_with_a_sentence() -> None:
    for draw in (png, card, svg):
        with pytest.raises(UndrawableArtError, match=r"the font lacks the character ж \(U\+0436\)"):
            draw(plain("aж"))
    with pytest.raises(UndrawableArtError, match=r"the font lacks the character ж \(U\+0436\)"):
        png(animation(("a", 100), ("ж", 100)))
    with pytest.raises(UndrawableArtError, match="more than 250000 characters"):
        svg(plain("\n".join(["x" * 1000] * 251)))


@pytest.mark.parametrize(
    ("columns", "rows"), [(1, 1), (80, 40), (30, 200), (1000, 3), (1000, 500), (3, 1000)]
)
def test_a_card_has_its_size_whatever_the_art(columns: int, rows: int) -> None:
    picture = opened(card(plain("\n".join(["█" * columns] * rows))))

    assert picture.size == CARD_SIZE
    left, top, right, bottom = picture.convert("L").point(
        lambda shade: 255 * (shade > 0)
    ).getbbox() or (0, 0, 0, 0)
    assert abs(left - (1200 - right)) <= 1
    assert abs(top - (630 - bottom)) <= 1
    assert right - left >= min(1000, 32 * columns) or bottom - top >= min(400, 64 * rows)


def test_a_card_of_tall_art_shows_its_middle() -> None:
    tall = plain("\n".join(["█" * 30] * 40 + [" " * 30] * 20 + ["█" * 30] * 40))

    assert not np.asarray(opened(card(tall)).convert("L")).any()


def test_the_largest_picture_is_made_in_little_memory() -> None:
    program = """
import resource
from asciist.art import forms, still
art = still("\\n".join(["@x" * 500] * 1500), is_light=False)
list(forms.PNG.written(still("@", is_light=False)))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(sum(map(len, forms.PNG.written(art))))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    size, kilobytes = map(int, run.stdout.split())
    assert size < 2_000_000
    assert kilobytes < 20_000


def test_letters_are_drawn_as_freetype_draws_them() -> None:
    font = ImageFont.truetype(
        FONT, round(16 / 1233 * 2048, 3), layout_engine=ImageFont.Layout.BASIC
    )
    for character in "@#%&Q8gBØ¤":
        expected = Image.new("L", (16, 32))
        ImageDraw.Draw(expected).text(
            (0, 32 * 1942 / 2466), character, fill=255, font=font, anchor="ls"
        )
        assert (
            np.abs(np.asarray(expected).astype(int).mean() - _coverage(character, 16).mean()) < 12
        ), character
    assert UNITS == 1000
