"""Pictures of art: PNG and SVG.

They are drawn one row of art at a time, so that memory stays small.
"""

from typing import Final

CARD_SIZE: Final = (1200, 630)
"""Width and height, in pixels, of a card: the preview of a link on other sites, in the aspect ratio
to which they crop."""
