"""Finished art as rows of characters and their colours."""

import html
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Final, NamedTuple

from asciist.conversion.palettes import colour_of_index

_ESCAPE_CODE: Final = re.compile(r"\x1b\[([0-9;]*)m")
_TAG: Final = re.compile(r"<b style=color:#([0-9a-f]{6})(?:;background:#([0-9a-f]{6}))?>|</b>")
_DOCUMENT: Final = re.compile(r"<pre[^>]*>\n(.*)</pre>", re.DOTALL)


class Run(NamedTuple):
    """Consecutive characters of a row that have the same colours."""

    text: str
    foreground: int | None
    """0xRRGGBB, or None for the ink of the picture."""
    background: int | None
    """0xRRGGBB, or None for the ground of the picture."""


@dataclass(frozen=True, kw_only=True)
class Cells:
    """Art as runs of characters of one colour."""

    rows: list[list[Run]]
    is_light: bool
    """True if the ground is white and characters without a colour are dark."""

    @cached_property
    def columns(self) -> int:
        return max(sum(len(run.text) for run in row) for row in self.rows)

    @cached_property
    def is_coloured(self) -> bool:
        return any(run.foreground is not None or run.background is not None for row in self.rows for run in row)

    @cached_property
    def characters(self) -> frozenset[str]:
        """The characters that occur."""
        return frozenset().union(*(run.text for row in self.rows for run in row))

    @property
    def ground(self) -> int:
        """The colour behind the art, 0xRRGGBB."""
        return 0xFFFFFF if self.is_light else 0x000000

    @property
    def ink(self) -> int:
        """The colour of characters that have none, 0xRRGGBB."""
        return 0x111111 if self.is_light else 0xEEEEEE

    @property
    def label(self) -> str:
        """The size of the art as a phrase, the alternative text of a picture."""
        return f"ASCII art, {self.columns} columns wide and {len(self.rows)} lines high"


def cells_of(art: str, *, is_light: bool) -> Cells:
    """Return the cells of stored art: text, text with escape codes, or an HTML document as `color=html` makes it.

    `is_light` is True for art that is drawn for a light background.
    """
    return Cells(rows=list(rows_of(art)), is_light=is_light)


def rows_of(art: str) -> Iterator[list[Run]]:
    """Yield the rows of stored art, for which see `cells_of`."""
    lines, parse = lines_of(art)
    for line in lines:
        yield list(parse(line))


def lines_of(art: str) -> tuple[list[str], Callable[[str], Iterator[Run]]]:
    """Return the lines of stored art, for which see `cells_of`, and what parses each of them. A line needs no other."""
    document = _DOCUMENT.search(art) if art.startswith("<!doctype html>") else None
    lines, parse = (document[1].removesuffix("\n"), _runs_of_html) if document else (art, _runs_of_text)
    return lines.split("\n"), parse


def _runs_of_html(line: str) -> Iterator[Run]:
    foreground: int | None = None
    background: int | None = None
    start = 0
    for tag in _TAG.finditer(line):
        if tag.start() > start:
            yield Run(html.unescape(line[start : tag.start()]), foreground, background)
        foreground, background = (int(colour, 16) if colour else None for colour in tag.groups())
        start = tag.end()
    if start < len(line):
        yield Run(html.unescape(line[start:]), foreground, background)


def _runs_of_text(line: str) -> Iterator[Run]:
    foreground: int | None = None
    background: int | None = None
    start = 0
    for code in _ESCAPE_CODE.finditer(line):
        if code.start() > start:
            yield Run(line[start : code.start()], foreground, background)
        foreground, background = _after(code[1], foreground, background)
        start = code.end()
    if start < len(line):
        yield Run(line[start:], foreground, background)


def _after(code: str, foreground: int | None, background: int | None) -> tuple[int | None, int | None]:
    """Return the colours after an escape code whose parameters are `code`: those that `conversion.colouring` writes."""
    numbers = iter([int(number or 0) for number in code.split(";")])
    for number in numbers:
        if number == 0:
            foreground = background = None
        elif number in (38, 48):
            colour = _extended(numbers)
            foreground, background = (colour, background) if number == 38 else (foreground, colour)
        elif number // 10 in (3, 9):
            foreground = colour_of_index(number % 10 + 8 * (number >= 90))
        elif number // 10 in (4, 10):
            background = colour_of_index(number % 10 + 8 * (number >= 100))
    return foreground, background


def _extended(numbers: Iterator[int]) -> int:
    """Return the colour that the parameters after 38 or 48 give: 5 and an index, or 2 and three channels."""
    if next(numbers) == 5:
        return colour_of_index(next(numbers))
    red, green, blue = next(numbers), next(numbers), next(numbers)
    return red << 16 | green << 8 | blue
