"""Pictures of art show its characters in its colours, and other forms of art are what the conversion would have made."""

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
from hypothesis import strategies as st
from PIL import Image, ImageDraw, ImageFont, ImageSequence

from asciist import conversion, pictures
from asciist.conversion import ConversionOptions
from asciist.errors import UndrawableArtError
from asciist.limits import Limits
from asciist.options import OPTIONS, STYLES
from asciist.pictures.outlines import UNITS, is_drawable
from asciist.pictures.raster import _coverage

COLOURED_MODES = [color for color in OPTIONS["color"].kind.choices if color != "none"]
DARK, LIGHT = 0xEE, 0x11
FONT = "/usr/share/fonts/truetype/dejavu/DejaVuSansMono.ttf"


def art(image: bytes, **options: Any) -> str:
    return conversion.convert(image, ConversionOptions(**options), Limits())


def cells(art: str, *, is_light: bool = False) -> pictures.Cells:
    return pictures.cells_of(art, is_light=is_light)


def opened(pieces: Any) -> Image.Image:
    return Image.open(io.BytesIO(b"".join(pieces)))


def test_a_png_has_each_character_in_its_cell() -> None:
    picture = opened(pictures.png(cells("█ \n ▌")))

    assert (picture.size, picture.mode) == ((4 * 16, 3 * 32), "P")
    shades = np.asarray(picture.convert("L"))
    expected = np.zeros_like(shades)
    expected[16:48, 16:32] = DARK
    expected[48:80, 32:40] = DARK
    assert (shades == expected).all()


def test_art_for_a_light_ground_is_dark_on_white() -> None:
    shades = np.asarray(opened(pictures.png(cells("█", is_light=True))).convert("L"))

    assert (shades[16:48, 16:32] == LIGHT).all()
    assert (shades[:16] == 255).all()


COLOURS = st.sampled_from(["38;2;1;2;3", "48;2;200;100;0", "31;42"])
CELLS = {
    "none": st.sampled_from("ab ░"),
    "ansi": st.builds("\x1b[0;{}m{}\x1b[0m".format, COLOURS, st.sampled_from("ab▚")),
    "html": st.builds(
        "<b style=color:#{};background:#{}>{}</b>".format,
        st.sampled_from(["000000", "fedcba"]),
        st.sampled_from(["808080", "dc143c"]),
        st.sampled_from("a▚"),
    ),
}


@st.composite
def films(draw: st.DrawFn) -> list[tuple[str, int]]:
    """Frames of 5x3 cells, of which few change, in one of the forms in which art is stored, and their milliseconds."""
    form = draw(st.sampled_from(sorted(CELLS)))
    frame = draw(st.lists(CELLS[form], min_size=15, max_size=15))
    frames = []
    for _ in range(draw(st.integers(1, 5))):
        for place, cell in draw(st.dictionaries(st.integers(0, 14), CELLS[form], max_size=3)).items():
            frame[place] = cell
        lines = "\n".join("".join(frame[start : start + 5]) for start in (0, 5, 10))
        text = f"<!doctype html>\n<pre>\n{lines}\n</pre>" if form == "html" else lines
        frames.append((text, draw(st.integers(11, 2000))))
    return frames


@settings(max_examples=40, deadline=None)
@given(films(), st.integers(0, 3), st.booleans())
def test_each_frame_of_a_moving_png_is_its_still_picture(frames: list[tuple[str, int]], plays: int, is_light: bool) -> None:
    expected: list[tuple[bytes, int]] = []
    for art, milliseconds in frames:
        pixels = opened(pictures.png(cells(art, is_light=is_light))).convert("RGB").tobytes()
        if expected and expected[-1][0] == pixels:
            expected[-1] = pixels, expected[-1][1] + milliseconds
        else:
            expected.append((pixels, milliseconds))

    picture = opened(pictures.moving_png(frames, plays=plays, is_light=is_light))

    assert getattr(picture, "n_frames", 1) == len(expected)
    shown = [
        (frame.convert("RGB").tobytes(), round(frame.info.get("duration", 0))) for frame in ImageSequence.Iterator(picture)
    ]
    if len(expected) > 1:
        assert (shown, picture.info["loop"]) == (expected, plays)
    else:  # a plain PNG
        assert (shown, "loop" in picture.info) == ([(expected[0][0], 0)], False)


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
    frames = [("abcde\nabcde\nabcde", 100), ("abcde\naXcYe\nabZde", 70_000)]

    found = chunks(b"".join(pictures.moving_png(frames, plays=0, is_light=False)))

    first, second = (struct.unpack(">5I2H2B", data) for kind, data in found if kind == b"fcTL")
    assert first == (0, 7 * 16, 4 * 32, 0, 0, 100, 1000, 0, 0)
    assert second == (1, 3 * 16, 2 * 32, 2 * 16, 16 + 32, 7000, 100, 0, 0)  # 70,000/1000 would need more than 16 bits
    numbers = [struct.unpack_from(">I", data)[0] for kind, data in found if kind in (b"fcTL", b"fdAT")]
    assert numbers == list(range(len(numbers)))


def test_a_moving_png_of_too_many_bytes_is_the_still_png_of_its_first_frame() -> None:
    frames = [("ab\ncd", 100), ("aX\ncd", 100), ("aX\ncX", 100)]
    most = (4 + 1 + 1) * 16 * 32 // 2

    def moving(max_bytes: int) -> bytes:
        return b"".join(pictures.moving_png(frames, plays=0, is_light=False, max_bytes=max_bytes))

    assert getattr(Image.open(io.BytesIO(moving(most))), "n_frames", 1) == 3
    assert moving(most - 1) == b"".join(pictures.png(cells(frames[0][0])))


@pytest.mark.parametrize("color", COLOURED_MODES)
def test_a_coloured_png_looks_like_the_image(cat: bytes, color: str) -> None:
    picture = opened(pictures.png(cells(art(cat, width=40, style="blocks", color=color, invert=True), is_light=True)))

    inside = picture.crop((16, 16, picture.width - 16, picture.height - 16)).resize((20, 13), Image.Resampling.BOX)
    image = Image.open(io.BytesIO(cat)).convert("RGB").resize((20, 13), Image.Resampling.BOX)
    difference = np.abs(np.asarray(inside).astype(int) - np.asarray(image)).mean()
    assert difference < (30 if color == "ansi16" else 12)


def test_escape_codes_have_the_colours_of_xterm() -> None:
    codes = {
        "31": 0xCD0000,
        "97": 0xFFFFFF,
        "38;5;1": 0xCD0000,
        "38;5;196": 0xFF0000,
        "38;5;244": 0x808080,
        "38;2;1;2;3": 0x010203,
    }
    for code, colour in codes.items():
        background = code.replace("38", "48", 1) if code.startswith("38") else str(int(code) + 10)
        (run,) = cells(f"\x1b[{code};{background}mx\x1b[0m").rows[0]
        assert run == ("x", colour, colour), code


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("paint", ["cells", "text"])
@pytest.mark.parametrize("invert", [True, False])
def test_a_document_made_of_escape_codes_is_that_of_the_conversion(cat: bytes, style: str, paint: str, invert: bool) -> None:
    options = {"width": 60, "style": style, "paint": paint, "invert": invert}
    document, escaped = art(cat, **options, color="html"), art(cat, **options, color="ansi")

    of_document, of_codes = cells(document, is_light=invert), cells(escaped, is_light=invert)
    assert pictures.html(of_document) == document
    assert pictures.text(of_codes) == pictures.text(of_document) == re.sub("\x1b\\[[0-9;]*m", "", escaped)
    for other in (
        of_codes,
        cells(pictures.ansi(of_document), is_light=invert),
        cells(pictures.html(of_codes), is_light=invert),
    ):
        assert list(pictures.png(other)) == list(pictures.png(of_document))


def test_plain_art_has_no_escape_codes_and_its_document_shows_every_character() -> None:
    plain = cells("<b>&amp;\n  @  ")

    assert pictures.ansi(plain) == pictures.text(plain) == "<b>&amp;\n  @  "
    document = pictures.html(plain)
    assert "<b style=color:#eeeeee>&lt;b&gt;&amp;amp;</b>\n<b style=color:#eeeeee>  @  </b>\n</pre>" in document
    assert pictures.text(cells(document)) == pictures.text(plain)


def test_an_svg_draws_every_cell_and_can_do_nothing(cat: bytes) -> None:
    document = "".join(pictures.svg(cells(art(cat, width=30, color="ansi"))))
    root = ET.fromstring(document)  # noqa: S314 - our own document

    names = {element.tag.partition("}")[2] for element in root.iter()}
    assert names == {"svg", "title", "defs", "path", "g", "use"}
    assert set(re.findall(r'href="([^"])', document)) == {"#"}
    assert not re.search(r" (on\w+|style|class)=", document)
    uses = document.count("<use ")
    assert uses == len(re.sub(r"\x1b\[[0-9;]*m|\s", "", art(cat, width=30, color="ansi")))


def test_adjacent_cells_of_one_colour_are_one_element() -> None:
    document = "".join(pictures.svg(cells("\x1b[38;2;1;2;3;48;2;255;0;0mab\x1b[38;2;4;5;6mcd\x1b[0m")))

    assert document.count('fill="#f00"') == 1
    assert '<path fill="#f00" d="M0 0h4v2h-4z"/>' in document
    assert document.count('fill="#010203"') == 1


def test_every_character_of_every_style_can_be_drawn(cat: bytes) -> None:
    characters = set("".join(style.characters for style in STYLES.values())) | {chr(0x2800 + pattern) for pattern in range(256)}
    for options in ({}, {"color": "ansi"}, {"color": "ansi", "shapes": "quadrants"}):
        characters |= cells(art(cat, width=150, style="blocks", **options)).characters

    assert [character for character in characters if not is_drawable(character)] == []


def test_art_that_cannot_be_drawn_is_refused_with_a_sentence() -> None:
    for draw in (pictures.png, pictures.card, pictures.svg):
        with pytest.raises(UndrawableArtError, match=r"the font lacks the character ж \(U\+0436\)"):
            list(draw(cells("aж")))
    with pytest.raises(UndrawableArtError, match=r"the font lacks the character ж \(U\+0436\)"):
        list(pictures.moving_png([("a", 100), ("ж", 100)], plays=0, is_light=False))
    with pytest.raises(UndrawableArtError, match="more than 250000 characters"):
        list(pictures.svg(cells("\n".join(["x" * 1000] * 251))))


@pytest.mark.parametrize(("columns", "rows"), [(1, 1), (80, 40), (30, 200), (1000, 3), (1000, 500), (3, 1000)])
def test_a_card_has_its_size_whatever_the_art(columns: int, rows: int) -> None:
    picture = opened(pictures.card(cells("\n".join(["█" * columns] * rows))))

    assert picture.size == (pictures.CARD_WIDTH, pictures.CARD_HEIGHT)
    left, top, right, bottom = picture.convert("L").point(lambda shade: 255 * (shade > 0)).getbbox() or (0, 0, 0, 0)
    assert abs(left - (1200 - right)) <= 1
    assert abs(top - (630 - bottom)) <= 1
    assert right - left >= min(1000, 32 * columns) or bottom - top >= min(400, 64 * rows)


def test_a_card_of_tall_art_shows_its_middle() -> None:
    tall = cells("\n".join(["█" * 30] * 40 + [" " * 30] * 20 + ["█" * 30] * 40))

    assert not np.asarray(opened(pictures.card(tall)).convert("L")).any()


def test_the_largest_picture_is_made_in_little_memory() -> None:
    program = """
import resource
from asciist import pictures
cells = pictures.cells_of("\\n".join(["@x" * 500] * 1500), is_light=False)
list(pictures.png(pictures.cells_of("@", is_light=False)))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(sum(map(len, pictures.png(cells))))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    size, kilobytes = map(int, run.stdout.split())
    assert size < 2_000_000
    assert kilobytes < 20_000


def test_letters_are_drawn_as_freetype_draws_them() -> None:
    font = ImageFont.truetype(FONT, round(16 / 1233 * 2048, 3), layout_engine=ImageFont.Layout.BASIC)
    for character in "@#%&Q8gBØ¤":
        expected = Image.new("L", (16, 32))
        ImageDraw.Draw(expected).text((0, 32 * 1942 / 2466), character, fill=255, font=font, anchor="ls")
        assert np.abs(np.asarray(expected).astype(int).mean() - _coverage(character, 16).mean()) < 12, character
    assert UNITS == 1000
