"""Pictures of finished art, and the art in other forms: SVG, PNG, HTML, and text with escape codes for colours.

Pure, like the conversion: no I/O, no clock, no environment. The input is the text of the art as it is stored: characters alone,
with escape codes, or an HTML document. The image is not needed, so nothing is converted again.

`svg` and `png` yield pieces, a row of art at a time, so that memory stays small and a caller may pause in between.
"""

from asciist.pictures.cells import Cells, cells_of
from asciist.pictures.markup import ansi, html, text
from asciist.pictures.raster import CARD_HEIGHT, CARD_WIDTH, card, png
from asciist.pictures.vector import svg

__all__ = ["CARD_HEIGHT", "CARD_WIDTH", "Cells", "ansi", "card", "cells_of", "html", "png", "svg", "text"]
