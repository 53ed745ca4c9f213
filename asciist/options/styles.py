"""The styles of art: their properties that the options depend on. `asciist.conversion.rendering` has their renderers."""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, kw_only=True)
class Style:
    """Properties of one style."""

    characters: str = ""
    """Characters that the style draws with, unless `chars` replaces or restricts them; empty if its patterns are fixed."""
    takes_any_character: bool = False
    """True if `chars` may contain any character one column wide, False if only the style's own characters."""
    samples: int = 1
    """Brightness samples per cell."""
    colours: int = 1
    """Colours per cell: 1, or 2 for the upper half (foreground) and the lower half (background)."""


STYLES: Final = {
    "structure": Style(characters=bytes(range(32, 127)).decode("ascii")),
    "ramp": Style(characters=" .:-=+*#%@", takes_any_character=True),
    "braille": Style(samples=8),
    "blocks": Style(samples=4, colours=2),
}
"""Every style by name. The characters of `ramp` go from dark to light, for light characters on a dark background."""

DEFAULT_STYLE: Final = "structure"
