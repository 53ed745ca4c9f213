"""Coloured art, parsed as a terminal and a browser parse it, and compared with a plain loop over the pixels."""

import re
from html.parser import HTMLParser
from math import sqrt

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from asciist.conversion import STYLES, ConversionOptions, convert, decode, open_image, render
from asciist.conversion.colouring import ansi, html
from asciist.limits import Limits

Cell = tuple[str, tuple[int, ...] | None, tuple[int, ...] | None]
"""A character, its foreground and its background."""


def terminal(text: str) -> list[list[Cell]]:
    """Return the cells, by line, that a terminal shows."""
    lines = []
    for line in text.split("\n"):
        foreground = background = None
        cells: list[Cell] = []
        for codes, character in re.findall(r"\x1b\[([0-9;]*)m|(.)", line):
            match codes.split(";"):
                case [""]:
                    cells.append((character, foreground, background))
                case ["0"]:
                    foreground = background = None
                case ["38", "2", *channels]:
                    foreground = tuple(map(int, channels))
                case ["48", "2", *channels]:
                    background = tuple(map(int, channels))
                case other:
                    raise AssertionError(other)
        assert (foreground, background) == (None, None), "the colour continues into the next line"
        lines.append(cells)
    return lines


class Browser(HTMLParser):
    """Parser of a document; `lines` are the cells that a browser shows inside <pre>."""

    def __init__(self, document: str) -> None:
        super().__init__()
        self.lines: list[list[Cell]] = [[]]
        self.tags: list[str] = []
        self.open: list[str] = []
        self._styles: list[dict[str, tuple[int, ...]]] = [{}]
        self.feed(document)
        self.close()
        assert self.lines.pop() == []
        assert self.lines.pop(0) == []  # HTML ignores a line break directly after <pre>

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag in ("html", "head", "body", "title", "style", "pre", "b"):
            self.open.append(tag)
        if tag == "b":
            declarations = dict(declaration.split(":") for declaration in (dict(attrs)["style"] or "").split(";"))
            self._styles.append({name: tuple(bytes.fromhex(value[1:])) for name, value in declarations.items()})

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag
        if tag == "b":
            self._styles.pop()

    def handle_data(self, data: str) -> None:
        if "pre" in self.open:
            style = self._styles[-1]
            for character in data:
                if character == "\n":
                    assert self.open[-1] == "pre"
                    self.lines.append([])
                else:
                    self.lines[-1].append((character, style.get("color"), style.get("background-color")))


def legible(colour: tuple[int, ...], invert: bool) -> tuple[int, ...]:
    if invert:
        return tuple(255 - channel for channel in legible(tuple(255 - channel for channel in colour), False))
    largest = max(*colour, 1)
    return tuple(round(channel * sqrt(255 * largest) / largest) for channel in colour)


def assert_shows(shown: list[list[Cell]], art: str, colours: Image.Image, invert: bool) -> None:
    lines = art.split("\n")
    assert ["".join(cell[0] for cell in cells) for cells in shown] == lines
    for y, cells in enumerate(shown):
        for x, (character, foreground, background) in enumerate(cells):
            if character in " \u2800":
                continue
            colour = colours.getpixel((x, y))
            assert isinstance(colour, tuple)
            assert foreground is not None
            assert all(
                abs(actual - expected) <= 1 for actual, expected in zip(foreground, legible(colour, invert), strict=True)
            )
            assert background is None


@st.composite
def coloured_art(draw: st.DrawFn) -> tuple[str, Image.Image]:
    columns, rows = draw(st.integers(1, 9)), draw(st.integers(1, 4))
    characters = draw(st.sampled_from(["@ ", "<&>\"' ", "⠀⣿⡇", "é░█ ", "𝄐 a"]))
    few = st.sampled_from([(0, 0, 0), (255, 255, 255), (7, 80, 200), (7, 80, 201)])
    colours = Image.new("RGB", (columns, rows))
    colours.putdata(draw(st.lists(few, min_size=columns * rows, max_size=columns * rows)))
    line = st.text(st.sampled_from(characters), min_size=columns, max_size=columns)
    return "\n".join(draw(st.lists(line, min_size=rows, max_size=rows))), colours


@settings(deadline=None)
@given(coloured_art(), st.booleans())
def test_a_terminal_shows_each_character_in_its_colour(drawn: tuple[str, Image.Image], invert: bool) -> None:
    art, colours = drawn

    assert_shows(terminal(ansi(art, colours, invert=invert)), art, colours, invert)


@settings(deadline=None)
@given(coloured_art(), st.booleans())
def test_a_browser_shows_each_character_in_its_colour(drawn: tuple[str, Image.Image], invert: bool) -> None:
    art, colours = drawn

    assert_shows(Browser(html(art, colours, invert=invert)).lines, art, colours, invert)


def test_large_art_is_coloured_down_to_its_last_row(cat: bytes) -> None:
    for color, shown in (("ansi", terminal), ("html", lambda text: Browser(text).lines)):
        options = ConversionOptions(width=250, style="ramp", color=color)  # more cells than are processed at a time
        image = decode(open_image(cat, options, Limits()))
        art = render(image, ConversionOptions(width=250, style="ramp"))
        assert_shows(shown(render(image, options)), art, image.sample_colour(250, art.count("\n") + 1), False)


def test_a_code_is_written_only_where_the_colour_changes() -> None:
    colours = Image.new("RGB", (6, 1), (255, 0, 0))
    colours.putpixel((5, 0), (0, 0, 255))

    assert ansi("## ##.", colours, invert=False) == "\x1b[38;2;255;0;0m## ##\x1b[38;2;0;0;255m.\x1b[0m"
    assert "\n<b style=color:#ff0000>## ##</b><b style=color:#0000ff>.</b>\n" in html("## ##.", colours, invert=False)


def test_the_colour_shows_half_of_the_brightness() -> None:
    grey = Image.new("RGB", (1, 1), (64, 32, 0))

    assert ansi("#", grey, invert=False) == "\x1b[38;2;128;64;0m#\x1b[0m"  # sqrt(255 * 64) = 127.7
    assert ansi("#", Image.new("RGB", (1, 1), (191, 223, 255)), invert=True) == "\x1b[38;2;127;191;255m#\x1b[0m"


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("invert", [False, True])
def test_a_document_is_self_contained(cat: bytes, style: str, invert: bool) -> None:
    options = ConversionOptions(width=30, style=style, color="html", invert=invert)
    document = convert(cat, options, Limits())
    browser = Browser(document)

    assert document.startswith("<!doctype html>\n")
    assert document.endswith("</html>")
    assert set(browser.tags) == {"html", "head", "meta", "title", "style", "body", "pre", "b"}
    assert browser.open == []
    assert not re.search(r"url\(|@import|https?:|src=|href=|\son\w+=", document)
    assert f"background:{'#fff' if invert else '#000'}" in document
    assert document == convert(cat, options, Limits())


def test_blocks_show_true_colours_in_a_document(cat: bytes) -> None:
    options = ConversionOptions(width=30, style="blocks", color="html")
    image = decode(open_image(cat, options, Limits()))
    shown = Browser(render(image, options)).lines
    colours = image.sample_colour(30, 2 * len(shown))

    for y, cells in enumerate(shown):
        for x, cell in enumerate(cells):
            assert cell == ("▀", colours.getpixel((x, 2 * y)), colours.getpixel((x, 2 * y + 1)))
