"""Coloured art, parsed as a terminal and a browser parse it, and compared with a plain loop over
the pixels."""

import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from asciist.art import still
from asciist.art.writing import OF_16, OF_256, escaped
from asciist.conversion import (
    STYLES,
    ConversionOptions,
    decode,
    open_image,
    render,
)
from asciist.limits import Limits
from tools.testing.drawing import convert, text_of

Cell = tuple[str, tuple[int, ...] | None, tuple[int, ...] | None]
"""A character, its foreground and its background."""


def selected(
    parameters: list[int], foreground: tuple[int, ...] | None, background: tuple[int, ...] | None
) -> tuple[tuple[int, ...] | None, tuple[int, ...] | None]:
    """Return the foreground and the background after an escape code with these parameters."""
    while parameters:
        kind, *parameters = parameters
        if kind in (38, 48):
            model, *parameters = parameters
            count = {2: 3, 5: 1}[model]
            colour = tuple(parameters[:count]) if model == 2 else xterm(parameters[0])
            parameters = parameters[count:]
        else:
            first = max(code for code in (30, 40, 90, 100) if code <= kind)
            colour = xterm(kind - first + 8 * (first >= 90))
            kind = 38 if first in (30, 90) else 48
        foreground, background = (colour, background) if kind == 38 else (foreground, colour)
    return foreground, background


def xterm(index: int) -> tuple[int, ...]:
    """Return a colour of xterm's palette of 256 colours."""
    if index < 16:
        dim = (
            (229,) * 3
            if index == 7
            else tuple(205 * (index >> channel & 1) for channel in range(3))
        )
        bright = tuple(255 * (index >> channel & 1) for channel in range(3))
        return {4: (0, 0, 238), 8: (127,) * 3, 12: (92, 92, 255)}.get(
            index, dim if index < 8 else bright
        )
    if index >= 232:
        return (8 + 10 * (index - 232),) * 3
    levels = (0, 95, 135, 175, 215, 255)
    return tuple(levels[(index - 16) // 6**place % 6] for place in (2, 1, 0))


def terminal(text: str) -> list[list[Cell]]:
    """Return the cells shown by a terminal, by line."""
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
                case parameters:
                    foreground, background = selected(
                        [int(parameter) for parameter in parameters], foreground, background
                    )
        assert (foreground, background) == (None, None), "the colour continues into the next line"
        lines.append(cells)
    return lines


class Browser(HTMLParser):
    """Parser of a document; `lines` are the cells shown by a browser inside <pre>."""

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
            declarations = dict(
                declaration.split(":") for declaration in (dict(attrs)["style"] or "").split(";")
            )
            self._styles.append(
                {name: tuple(bytes.fromhex(value[1:])) for name, value in declarations.items()}
            )

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
                    self.lines[-1].append((character, style.get("color"), style.get("background")))


def ansi(text: str, colours: Image.Image, *, invert: bool, color: str = "ansi") -> str:
    """Return art with one or two pixels of `colours` for each cell, in a form of text."""
    return text_of(still(text, is_light=invert, colours=colours.tobytes()), color)


def html(text: str, colours: Image.Image, *, invert: bool) -> str:
    return ansi(text, colours, invert=invert, color="html")


def legible(colour: tuple[int, ...], invert: bool) -> tuple[int, ...]:
    if invert:
        return tuple(
            255 - channel for channel in legible(tuple(255 - channel for channel in colour), False)
        )
    largest = max(*colour, 1)
    return tuple(round(channel * 255 * (largest / 255) ** 0.25 / largest) for channel in colour)


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
                abs(actual - expected) <= 1
                for actual, expected in zip(foreground, legible(colour, invert), strict=True)
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
def test_a_terminal_shows_each_character_in_its_colour(
    drawn: tuple[str, Image.Image], invert: bool
) -> None:
    art, colours = drawn

    assert_shows(terminal(ansi(art, colours, invert=invert)), art, colours, invert)


@settings(deadline=None)
@given(coloured_art(), st.booleans())
def test_a_browser_shows_each_character_in_its_colour(
    drawn: tuple[str, Image.Image], invert: bool
) -> None:
    art, colours = drawn

    assert_shows(Browser(html(art, colours, invert=invert)).lines, art, colours, invert)


def test_large_art_is_coloured_down_to_its_last_row(cat: bytes) -> None:
    for color, shown in (("ansi", terminal), ("html", lambda text: Browser(text).lines)):
        # more cells than are processed at a time
        options = ConversionOptions(width=250, style="ramp", color=color)
        image = decode(open_image(cat, options, Limits()))
        art = render(
            image.by_strongest_channel(invert=False), ConversionOptions(width=250, style="ramp")
        ).text
        assert_shows(
            shown(text_of(render(image, options), color)),
            art,
            image.sample_colour(250, art.count("\n") + 1),
            False,
        )


def test_a_code_is_written_only_where_the_colour_changes() -> None:
    colours = Image.new("RGB", (6, 1), (255, 0, 0))
    colours.putpixel((5, 0), (0, 0, 255))

    assert (
        ansi("## ##.", colours, invert=False) == "\x1b[38;2;255;0;0m## ##\x1b[38;2;0;0;255m.\x1b[0m"
    )
    assert "\n<b style=color:#ff0000>## ##</b><b style=color:#0000ff>.</b>\n" in html(
        "## ##.", colours, invert=False
    )


def test_characters_without_a_background_are_not_dim() -> None:
    brown = Image.new("RGB", (1, 1), (64, 32, 0))

    # 255 * (64 / 255) ** 0.25 = 180.5
    assert ansi("#", brown, invert=False) == "\x1b[38;2;180;90;0m#\x1b[0m"
    assert (
        ansi("#", Image.new("RGB", (1, 1), (191, 223, 255)), invert=True)
        == "\x1b[38;2;75;165;255m#\x1b[0m"
    )


def test_two_colours_that_change_at_once_share_a_code_and_blanks_keep_the_foreground() -> None:
    colours = Image.new("RGB", (3, 2), (255, 0, 0))
    colours.paste((0, 0, 255), (0, 1, 3, 2))
    colours.putpixel((1, 0), (9, 9, 9))
    colours.putpixel((1, 1), (0, 255, 0))

    assert (
        ansi("a b", colours, invert=False)
        == "\x1b[38;2;255;0;0;48;2;0;0;255ma\x1b[48;2;0;255;0m \x1b[48;2;0;0;255mb\x1b[0m"
    )
    assert (
        "\n<b style=color:#ff0000;background:#0000ff>a</b><b"
        " style=color:#ff0000;background:#00ff00> </b>" in html("a b", colours, invert=False)
    )


@pytest.mark.parametrize(("color", "indices"), [("ansi256", range(16, 256)), ("ansi16", range(16))])
@pytest.mark.parametrize("layers", [1, 2])
def test_a_terminal_with_few_colours_shows_them_unchanged(
    color: str, indices: range, layers: int
) -> None:
    colours = [xterm(index) for index in indices]
    image = Image.new("RGB", (len(colours), layers))
    image.putdata(colours * layers)
    art = "#" * len(colours)
    coloured = few_colours(color, art, image)

    [cells] = terminal(coloured)
    assert [cell[0] for cell in cells] == list(art)
    if layers == 2:  # a single layer is brightened
        assert [cell[1] for cell in cells] == [cell[2] for cell in cells] == colours


def few_colours(color: str, art: str, colours: Image.Image) -> str:
    """Add colours without dithering, which would shift colours of the palette."""
    palette = replace({"ansi256": OF_256, "ansi16": OF_16}[color], spread=0)
    coloured = still(art, is_light=False, colours=colours.tobytes())
    return "".join(escaped(coloured, palette)).removesuffix("\n")


@pytest.mark.parametrize("color", ["ansi256", "ansi16"])
def test_colours_between_two_of_the_palette_alternate(color: str) -> None:
    between = Image.new(
        "RGB", (64, 32), {"ansi256": (115, 115, 115), "ansi16": (178, 178, 178)}[color]
    )
    art = "\n".join(["#" * 64] * 16)
    cells = [
        cell for line in terminal(ansi(art, between, invert=False, color=color)) for cell in line
    ]

    levels = [
        colour[0]
        for _, foreground, background in cells
        for colour in (foreground, background)
        if colour
    ]
    assert len(set(levels)) >= 2
    assert sum(levels) / len(levels) == pytest.approx(
        {"ansi256": 115, "ansi16": 178}[color], abs=20
    )


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
    assert not re.search(
        r"url\((?!data:font/woff2;base64,)|@import|https?:|src=|href=|\son\w+=", document
    )
    assert f"background:{'#fff' if invert else '#000'}" in document
    assert document == convert(cat, options, Limits())


def test_only_documents_of_blocks_contain_their_font(cat: bytes) -> None:
    documents = {
        style: convert(cat, ConversionOptions(width=30, style=style, color="html"), Limits())
        for style in STYLES
    }

    assert [style for style, document in documents.items() if "@font-face" in document] == [
        "blocks"
    ]
