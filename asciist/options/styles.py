"""Styles of art: the properties that the options depend on. The renderers are in
`asciist.conversion.rendering`."""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, kw_only=True)
class Style:
    """Properties of one style."""

    characters: str = ""
    """Characters that the style draws with, unless `chars` replaces or restricts them; empty if its
    patterns are fixed."""
    takes_any_character: bool = False
    """True if `chars` may contain any character one column wide, False if only the style's own
    characters."""
    samples: int = 1
    """Weight of a cell of plain text in the limit on the size of the art."""
    grid: tuple[int, int] = (1, 1)
    """(across, down): samples of brightness per cell."""
    painted_grid: tuple[int, int] | None = None
    """(across, down): samples of colour per cell when it has a foreground and a background; None if
    it never has both."""


STYLES: Final = {
    "structure": Style(
        characters=bytes(range(32, 127)).decode("ascii"), grid=(4, 8), painted_grid=(4, 8)
    ),
    "ramp": Style(characters=" .:-=+*#%@", takes_any_character=True),
    "braille": Style(samples=8, grid=(2, 4), painted_grid=(2, 4)),
    "blocks": Style(samples=4, grid=(2, 2), painted_grid=(8, 12)),
}
"""Every style by name. The characters of `ramp` go from dark to light, for light characters on a
dark background."""

DEFAULT_STYLE: Final = "structure"
