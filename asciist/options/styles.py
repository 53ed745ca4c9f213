"""The styles of art, as far as the options depend on them; `asciist.conversion.rendering` draws them."""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, kw_only=True)
class Style:
    """One style."""

    characters: str = ""
    """Characters it draws with, which the option `chars` replaces or restricts; empty if its patterns are fixed."""
    takes_any_character: bool = False
    """True if `chars` may name any character one column wide; otherwise only the style's own."""
    samples: int = 1
    """Brightness samples per cell."""
    colours: int = 1
    """Colours per cell: one, or two for its upper half (foreground) and its lower half (background)."""


STYLES: Final = {
    "structure": Style(characters=bytes(range(32, 127)).decode("ascii")),
    "ramp": Style(characters=" .:-=+*#%@", takes_any_character=True),
    "braille": Style(samples=8),
    "blocks": Style(samples=4, colours=2),
}
"""Every style by name. The characters of `ramp` go from dark to light, for light characters on a dark background."""

DEFAULT_STYLE: Final = "structure"
