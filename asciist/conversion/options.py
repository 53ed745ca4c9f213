"""What a caller may choose about a conversion."""

from dataclasses import dataclass

from asciist.errors import BadOptionError
from asciist.limits import Limits

DEFAULT_STYLE = "ramp"
STYLES = (DEFAULT_STYLE,)
"""Every style by name; `conversion.rendering` knows how each one is drawn."""

DEFAULT_WIDTH = 80
"""Columns of the classic terminal, for callers that do not say."""


@dataclass(frozen=True, kw_only=True)
class ConversionOptions:
    """How an image becomes art. Together with the image's bytes it determines the art completely."""

    width: int
    style: str = DEFAULT_STYLE

    def check(self, limits: Limits) -> None:
        """Raise BadOptionError if a value is out of its range."""
        if not 1 <= self.width <= limits.max_width:
            raise BadOptionError(width_message(limits))
        if self.style not in STYLES:
            raise BadOptionError(f"style must be one of: {', '.join(STYLES)}")


def width_message(limits: Limits) -> str:
    """The one sentence for every wrong width, whatever is wrong with it."""
    return f"width must be a whole number from 1 to {limits.max_width}"
