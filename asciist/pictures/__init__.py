"""Pictures of finished art, and the art in other forms: SVG, PNG, HTML, and text with escape codes for colours.

Pure, like the conversion: no I/O, no clock, no environment. The input is the text of the art as it is stored: characters alone,
with escape codes, or an HTML document. The image is not needed, so nothing is converted again.

`svg`, `png`, `moving_png` and `card` yield pieces, a row of art at a time, so that memory stays small and a caller may pause
in between.
"""

from collections.abc import Iterator

from asciist.pictures.cells import Cells, cells_of, rows_of
from asciist.pictures.markup import ansi, html, text
from asciist.pictures.moving import moving_png
from asciist.pictures.raster import CARD_HEIGHT, CARD_WIDTH, card, png
from asciist.pictures.vector import svg

__all__ = ["CARD_HEIGHT", "CARD_WIDTH", "Cells", "ansi", "card", "cells_of", "file", "html", "moving_png", "png", "svg", "text"]

_ESCAPE = "\x1b"


def file(art: str, suffix: str, *, is_light: bool) -> Iterator[bytes]:
    """Yield the bytes of a file of art: `png`, `card.png`, `svg`, `html`, `ansi` or `txt`. Text ends with a newline.

    Pieces may be empty, where there is nothing but a pause. `is_light` is True for art that is drawn for a light background.
    Raises UndrawableArtError.
    """
    rows = []
    for row in rows_of(art):
        rows.append(row)
        yield b""
    cells = Cells(rows=rows, is_light=is_light)
    match suffix:
        case "png":
            yield from png(cells)
        case "card.png":
            yield from card(cells)
        case "svg":
            yield from (piece.encode() for piece in svg(cells))
        case "html":
            yield f"{html(cells)}\n".encode()
        case "ansi":
            yield f"{art if _ESCAPE in art else ansi(cells)}\n".encode()
        case "txt":
            yield f"{text(cells)}\n".encode()
        case _:
            raise ValueError(f"no file of art has the suffix {suffix}")
