"""Shapes of characters, in a cell of 1000 x 2000 with its origin in the upper left corner.

The outlines come from DejaVu Sans Mono and the page's font; `tools/picture-outlines` writes them.
"""

import json
import pkgutil
import re
from collections.abc import Iterable, Iterator
from functools import cache
from typing import Final

from asciist.errors import UndrawableArtError, sentences

UNITS: Final = 1000
"""Width of a cell in the outlines. Its height is twice that."""

_FIRST_BRAILLE: Final = 0x2800
_BRAILLE_PATTERNS: Final = 256
_DOT_RADIUS: Final = 174
"""Radius of a braille dot, in units."""
_DOTS: Final = ((0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2), (0, 3), (1, 3))
"""Column and row of the dot of each bit of a braille pattern."""

_COMMAND: Final = re.compile(r"([MLHVQZ])([-0-9 ]*)")
_STEPS: Final = (0.25, 0.5, 0.75, 1.0)
"""Positions on a curve, as shares of it, at which the straight lines that approximate it end."""

_Point = tuple[float, float]


def outline(character: str) -> str:
    """Return the SVG path of a character; empty for a blank."""
    pattern = ord(character) - _FIRST_BRAILLE
    if 0 <= pattern < _BRAILLE_PATTERNS:
        return "".join(_dot(*place) for bit, place in enumerate(_DOTS) if pattern >> bit & 1)
    return _outlines()[character]


def is_drawable(character: str) -> bool:
    """Return whether the character has an outline."""
    return character in _outlines() or 0 <= ord(character) - _FIRST_BRAILLE < _BRAILLE_PATTERNS


def check_drawable(characters: Iterable[str]) -> None:
    """Raise UndrawableArtError if one of the characters has no outline."""
    missing = sorted(each for each in characters if not is_drawable(each))
    if missing:
        raise UndrawableArtError(sentences.no_outline(missing[0]))


def polygons(character: str) -> Iterator[list[_Point]]:
    """Yield the contours of a character as polygons. A point inside an odd number of them is inside
    the character."""
    points: list[_Point] = []
    for command, arguments in _COMMAND.findall(outline(character)):
        numbers = [int(number) for number in re.findall("-?[0-9]+", arguments)]
        match command:
            case "M" | "L":
                points += zip(numbers[::2], numbers[1::2], strict=True)
            case "H":
                points += [(x, points[-1][1]) for x in numbers]
            case "V":
                points += [(points[-1][0], y) for y in numbers]
            case "Q":
                for control_x, control_y, x, y in zip(*[iter(numbers)] * 4, strict=True):
                    points += list(_curve(points[-1], (control_x, control_y), (x, y)))
            case _:  # Z
                yield points
                points = []


def _curve(start: _Point, control: _Point, end: _Point) -> Iterator[_Point]:
    for step in _STEPS:
        weights = (1 - step) ** 2, 2 * step * (1 - step), step**2
        x, y = (
            sum(w * point[axis] for w, point in zip(weights, (start, control, end), strict=True))
            for axis in (0, 1)
        )
        yield x, y


@cache
def _dot(column: int, row: int) -> str:
    """Return the path of a braille dot: a circle of eight quadratic curves."""
    x, y = UNITS * (2 * column + 1) // 4, UNITS * (2 * row + 1) // 4
    r, t, d = _DOT_RADIUS, round(_DOT_RADIUS * 0.4142), round(_DOT_RADIUS * 0.7071)
    path = f"M{x} {y - r}"
    for control, end in (
        ((t, -r), (d, -d)), ((r, -t), (r, 0)), ((r, t), (d, d)), ((t, r), (0, r)),
        ((-t, r), (-d, d)), ((-r, t), (-r, 0)), ((-r, -t), (-d, -d)), ((-t, -r), (0, -r)),
    ):  # fmt: skip
        path += f"Q{x + control[0]} {y + control[1]} {x + end[0]} {y + end[1]}"
    return f"{path}Z"


@cache
def _outlines() -> dict[str, str]:
    document = pkgutil.get_data(__package__, "outlines.json")
    # None only for loaders without files.
    assert document is not None, "the package has no data"  # noqa: S101
    paths: dict[str, str] = json.loads(document)
    return paths
