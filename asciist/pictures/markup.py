"""Art as text, as text with escape codes for colours, and as an HTML document."""

import html as entities
from collections.abc import Iterator
from typing import Final

from asciist.conversion.document import document
from asciist.pictures.cells import Cells, Run

_RESET: Final = "\x1b[0m"


def text(cells: Cells) -> str:
    """Return the characters alone, in lines joined by newlines."""
    return "\n".join("".join(run.text for run in row) for row in cells.rows)


def ansi(cells: Cells) -> str:
    """Return the art with escape codes for its 24-bit colours, reset at the end of each line. Art without colour has none."""
    if not cells.is_coloured:
        return text(cells)
    return "\n".join("".join(map(_escaped, row)) + _RESET for row in cells.rows)


def _escaped(run: Run) -> str:
    codes = [
        f"{layer};2;{colour >> 16};{colour >> 8 & 255};{colour & 255}"
        for layer, colour in ((38, run.foreground), (48, run.background))
        if colour is not None
    ]
    return f"\x1b[{';'.join(['0', *codes])}m{run.text}"


def html(cells: Cells) -> str:
    """Return the art as a self-contained HTML document, black or white around the art."""
    has_backgrounds = any(run.background is not None for row in cells.rows for run in row)
    body = "".join("".join(_elements(row, cells)) + "\n" for row in cells.rows)
    return document(body, text(cells), is_light=cells.is_light, has_backgrounds=has_backgrounds)


def _elements(row: list[Run], cells: Cells) -> Iterator[str]:
    for run in row:
        escaped = entities.escape(run.text, quote=False)
        has_ink = run.foreground is None and (run.background is not None or not cells.is_coloured)
        colours = (("color", cells.ink if has_ink else run.foreground), ("background", run.background))
        style = ";".join(f"{name}:#{colour:06x}" for name, colour in colours if colour is not None)
        yield f"<b style={style}>{escaped}</b>" if style else escaped
