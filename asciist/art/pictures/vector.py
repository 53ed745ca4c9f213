"""Draw art as SVG.

Each distinct character is a path, and each cell refers to one, so a picture looks the same in every
program, without a font. A unit is the width of a cell. The picture contains no script, style sheet,
link or font.
"""

from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby
from typing import Final

from asciist.art.pictures.cells import Cells, Run
from asciist.art.pictures.outlines import UNITS, check_drawable, outline
from asciist.errors import UndrawableArtError, sentences

_MAX_CELLS: Final = 250_000
"""Maximum cells of an SVG: 1000 columns and 250 rows. Programs need about a second to display as
many."""

_PIXELS: Final = 8
"""Width of a cell, in pixels, at the picture's default size."""

_LETTERS: Final = "abcdefghijklmnopqrstuvwxyz"


def svg(cells: Cells) -> Iterator[str]:
    """Yield the SVG of art, with a margin of one column on the sides and of half a row above and
    below.

    Raises UndrawableArtError for a character that the font lacks, and for more than 250,000 cells.
    """
    if cells.columns * len(cells.rows) > _MAX_CELLS:
        raise UndrawableArtError(sentences.too_large_for_svg(_MAX_CELLS))
    check_drawable(cells.characters)
    return _pieces(cells)


def _pieces(cells: Cells) -> Iterator[str]:
    width, height = cells.columns + 2, 2 * len(cells.rows) + 2
    outlines = {character: outline(character) for character in sorted(cells.characters)}
    ids = {
        character: _id(number)
        for number, character in enumerate(each for each in outlines if outlines[each])
    }
    yield (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_PIXELS * width}"'
        f' height="{_PIXELS * height}" viewBox="-1 -1 {width} {height}"'
        f' role="img">\n<title>{cells.label}</title>\n<defs>\n'
    )
    for character, name in ids.items():
        yield f'<path id="{name}" transform="scale({1 / UNITS:g})" d="{outlines[character]}"/>\n'
    yield f'</defs>\n<path fill="{_colour(cells.ground)}" d="M-1-1h{width}v{height}h-{width}z"/>\n'
    # otherwise adjacent backgrounds have a seam where pixels are shared
    yield '<g shape-rendering="crispEdges">\n'
    for number in range(len(cells.rows)):
        yield "".join(_backgrounds(cells.runs(number), 2 * number))
    yield f'</g>\n<g fill="{_colour(cells.ink)}">\n'
    for number in range(len(cells.rows)):
        glyphs = "".join(_glyphs(cells.runs(number), ids))
        if glyphs:
            yield f'<g transform="translate(0 {2 * number})">{glyphs}</g>\n'
    yield "</g>\n</svg>\n"


def _backgrounds(row: Iterable[Run], top: int) -> Iterator[str]:
    left = 0
    for background, runs in groupby(row, lambda run: run.background):
        width = sum(len(run.text) for run in runs)
        if background is not None:
            yield f'<path fill="{_colour(background)}" d="M{left} {top}h{width}v2h-{width}z"/>'
        left += width


def _glyphs(row: Iterable[Run], ids: Mapping[str, str]) -> Iterator[str]:
    left = 0
    for foreground, runs in groupby(row, lambda run: run.foreground):
        text = "".join(run.text for run in runs)
        places = [
            (left + column, ids[character])
            for column, character in enumerate(text)
            if character in ids
        ]
        left += len(text)
        uses = "".join(f'<use href="#{name}" x="{column}"/>' for column, name in places)
        yield (
            f'<g fill="{_colour(foreground)}">{uses}</g>'
            if uses and foreground is not None
            else uses
        )


def _id(number: int) -> str:
    """Return a short name: a to z, then aa and so on."""
    rest, last = divmod(number, len(_LETTERS))
    return (_id(rest - 1) if rest else "") + _LETTERS[last]


def _colour(colour: int) -> str:
    text = f"{colour:06x}"
    is_short = text[::2] == text[1::2]
    return f"#{text[::2] if is_short else text}"
