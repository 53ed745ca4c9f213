"""What a caller may choose about a conversion."""

from dataclasses import dataclass
from typing import Final

from asciist.errors import BadOptionError
from asciist.limits import Limits


@dataclass(frozen=True, kw_only=True)
class Style:
    """What options need to know about a style; `conversion.rendering` knows how it is drawn."""

    characters: str = ""
    """Its own characters, which the option `chars` replaces or thins out; empty where there is nothing to choose."""
    takes_any_character: bool = False
    """Whether `chars` may name any character one column wide, or some of the style's own alone."""
    samples: int = 1
    """Samples of brightness in a cell."""
    colours: int = 1
    """Colours in a cell: one, or two for its upper half (foreground) and its lower half (background)."""


STYLES: Final = {
    "structure": Style(characters=bytes(range(32, 127)).decode("ascii")),
    "ramp": Style(characters=" .:-=+*#%@", takes_any_character=True),
    "braille": Style(samples=8),
    "blocks": Style(samples=4, colours=2),
}
"""Every style by name. The ramp's characters go from dark to light, as light characters on a dark background."""

DEFAULT_STYLE: Final = "structure"

DEFAULT_WIDTH: Final = 80
"""Columns of the classic terminal, for callers that do not say."""

_COLOUR_CHARACTERS: Final = {"none": 0, "ansi": 19, "html": 31}
"""The characters that naming one colour takes at most, with what ends it and what escaping adds."""

COLORS: Final = tuple(_COLOUR_CHARACTERS)
"""How art is coloured: not at all, with the escape codes of a terminal, or as a document for a browser."""

MAX_CHARS_BYTES: Final = 100
"""Of `chars` in UTF-8: all of printable ASCII fits. In hexadecimal it is part of a file's name, which may have 255 bytes."""


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
    """The characters to draw with, dark to light where the style is a ramp; after `^` those not to draw with; empty for the
    style's own."""
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
        if self.chars:
            self._check_chars(STYLES[self.style])

    def _check_chars(self, style: Style) -> None:
        if not style.characters:
            raise BadOptionError(f"chars cannot be chosen: the style {self.style} has patterns of its own")
        if len(self.chars) > MAX_CHARS_BYTES or len(self.chars.encode("utf-8", "surrogatepass")) > MAX_CHARS_BYTES:
            raise BadOptionError(f"chars must be at most {MAX_CHARS_BYTES} bytes in UTF-8")
        if not all(map(_fills_one_column, self.chars)):
            raise BadOptionError(
                "chars must be printable characters, each one column wide: nothing wide, combining, invisible or right-to-left"
            )
        if not style.takes_any_character and not set(self._excluded or self.chars) <= set(style.characters):
            raise BadOptionError(f"chars of the style {self.style} must be printable ASCII")
        if not self.characters:
            raise BadOptionError("chars excludes every character of the style")

    def check_art(self, columns: int, rows: int, limits: Limits) -> None:
        """Raise BadOptionError if art of (columns x rows) cells would be larger than the limit on characters."""
        most = limits.max_art_characters // self.cell_weight
        if columns * rows > most:
            raise BadOptionError(
                f"the art would have {rows} rows of {columns} characters, and the limit for this style and color is {most} "
                "characters in all: ask for a smaller width"
            )

    @property
    def characters(self) -> str:
        """The characters to draw with, as checked options have them; empty for a style with patterns of its own."""
        own = STYLES[self.style].characters
        if self._excluded:
            return "".join(character for character in own if character not in self._excluded)
        return self.chars or own

    @property
    def cell_weight(self) -> int:
        """What a cell counts for: the characters that it may become, or its samples where they are more."""
        style = STYLES[self.style]
        return max(style.samples, 1 + style.colours * _COLOUR_CHARACTERS[self.color])

    @property
    def _excluded(self) -> str:
        return self.chars[1:] if self.chars.startswith("^") else ""


def width_message(limits: Limits) -> str:
    """The one sentence for every wrong width, whatever is wrong with it."""
    return f"width must be a whole number from 1 to {limits.max_width}"


def _fills_one_column(character: str) -> bool:
    """Whether a terminal gives it one column of its own, where it stands: Unicode annexes 9 (direction) and 11 (width)."""
    if character.isascii() or not character.isprintable():
        return character.isprintable()
    import unicodedata  # noqa: PLC0415 - hardly any request needs it

    return not (
        unicodedata.category(character).startswith("M")
        or unicodedata.east_asian_width(character) in ("W", "F")
        or unicodedata.bidirectional(character) in ("R", "AL", "AN")
        or "\u1160" <= character <= "\u11ff"  # the vowels and finals of Hangul, which join the syllable before them
        or character == "\ufffd"  # what a decoder puts where the bytes were no UTF-8
    )
