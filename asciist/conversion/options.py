"""What a caller may choose about a conversion."""

from dataclasses import dataclass
from typing import Final

from asciist.errors import BadOptionError
from asciist.limits import Limits

DEFAULT_STYLE: Final = "ramp"
STYLES: Final = (DEFAULT_STYLE,)
"""Every style by name; `conversion.rendering` knows how each one is drawn."""

DEFAULT_WIDTH: Final = 80
"""Columns of the classic terminal, for callers that do not say."""

COLORS: Final = ("none", "ansi", "html")
"""How art is coloured: not at all, with the escape codes of a terminal, or as a document for a browser."""


@dataclass(frozen=True, kw_only=True)
class ConversionOptions:
    """How an image becomes art. Together with the image's bytes it determines the art completely."""

    width: int
    """Columns of the art."""
    style: str = DEFAULT_STYLE
    """One of `STYLES`."""
    invert: bool = False
    """Draw for dark characters on a light background."""
    chars: str = ""
    """The characters to draw with; empty for the style's own."""
    color: str = "none"
    """One of `COLORS`."""

    def check(self, limits: Limits) -> None:
        """Raise BadOptionError if a value is out of its range."""
        if not 1 <= self.width <= limits.max_width:
            raise BadOptionError(width_message(limits))
        if self.style not in STYLES:
            raise BadOptionError(f"style must be one of: {', '.join(STYLES)}")
        if self.color not in COLORS:
            raise BadOptionError(f"color must be one of: {', '.join(COLORS)}")


def width_message(limits: Limits) -> str:
    """The one sentence for every wrong width, whatever is wrong with it."""
    return f"width must be a whole number from 1 to {limits.max_width}"
