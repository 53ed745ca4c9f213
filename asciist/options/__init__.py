"""The table of conversion options.

Each field of `ConversionOptions` is a row of the table: the field defines the option's name, type
and default, and its metadata everything else. Parsing (HTTP and JSON), storage keys, messages, the
OpenAPI document, the usage text, the command's `--help`, the controls on the page and the reference
are generated from the rows. To add an option, add a field here, the code in `asciist.conversion`
that applies it, and its type to `asciist.client.Options`.
"""

from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields, replace
from typing import Any, Final

from asciist.errors import BadOptionError, sentences
from asciist.limits import Limits
from asciist.options.kinds import (
    AUTO,
    BoolOrAuto,
    Characters,
    Choice,
    Colour,
    Flag,
    Integer,
)
from asciist.options.option import Option, row
from asciist.options.styles import DEFAULT_STYLE, STYLES, Style

__all__ = [
    "AUTO",
    "COLORS",
    "DEFAULT_STYLE",
    "DEFAULT_WIDTH",
    "OPTIONS",
    "STYLES",
    "ConversionOptions",
    "Option",
    "Style",
    "with_defaults",
]

DEFAULT_WIDTH: Final = 80
"""Default width of art, in columns: that of the classic terminal."""

_COLOUR_CHARACTERS: Final = {
    "none": (0, 0, 0),
    "ansi": (0, 19, 36),
    "html": (0, 31, 50),
    "ansi256": (0, 11, 20),
    "ansi16": (0, 5, 9),
}
"""Maximum characters that no, one or two colours add to a cell: an escape code, or tags and HTML
escaping."""

COLORS: Final = tuple(_COLOUR_CHARACTERS)
"""Colour modes of art: none, terminal escape codes for 24-bit colours, an HTML document, codes for
256 or for 16 colours."""

PAINTS: Final = ("cells", "text")
"""Extents of colour: the foreground and the background of each cell, or the characters alone."""

SHAPES: Final = ("sextants", "quadrants")
"""Shapes of coloured blocks: all, or only those of Unicode 1.1 to 3.2."""

MAX_CHARS_BYTES: Final = 100
"""Maximum bytes of `chars` in UTF-8. Printable ASCII (95 characters) fits, and so does a segment of
a storage key (at most 255 characters)."""


_ALWAYS_ALLOWED_CELLS: Final = 60_000
"""Cells that art of any image may have: 240 columns, the maximum of the page's slider, of an icon
twice as tall as wide."""

_MOST_ADJUSTMENT: Final = 100
"""Maximum of `brightness` and `contrast` in percent, and their minimum below zero."""


@dataclass(frozen=True, kw_only=True)
class ConversionOptions:
    """The options of one conversion. Image bytes and options together determine the art.

    The order of the fields is the order of their parts in a storage key.
    """

    width: int = field(
        metadata=row(
            Integer(minimum=1, maximum=lambda limits: limits.max_width),
            default=DEFAULT_WIDTH,
            summary="columns of the art",
            description=("Width of the art, in columns; the maximum with `height` and `contain`."),
            label="Width",
            short_flag="-w",
            required_in_json=True,
            message_version=1,
        )
    )
    style: str = field(
        default=DEFAULT_STYLE,
        metadata=row(
            Choice(choices=tuple(STYLES), key_pattern_of_any="[a-z]+"),
            summary=f"drawing style: {', '.join(STYLES)}",
            description=(
                "How the art is drawn. `structure`: the character most similar to each cell in"
                " shape and tone; `ramp`: a character for each brightness; `braille`: 2x4 dots per"
                " cell; `blocks`: 2x2 blocks per cell, and finer shapes in colour."
            ),
            label="Style",
            short_flag="-s",
            message_version=1,
        ),
    )
    invert: BoolOrAuto = field(
        default=False,
        metadata=row(
            Flag(has_auto=True),
            summary="dark characters on a light background: true, false or auto (by the image)",
            description=(
                "Draw dark characters on a light background. Coloured cells do not change, only the"
                " page around them. `auto` does so if the image looks better, such as paper, plots"
                " and logos on white; the response header `Asciist-Invert` reports the choice."
                " `auto` is the default of the page and of `color=html`, which set their"
                " background."
            ),
            label="Background",
            page_choices={AUTO: "automatic", "false": "dark", "true": "light"},
            message_version=2,
            newer_values={AUTO: 3},
        ),
    )
    color: str = field(
        default="none",
        metadata=row(
            Choice(choices=COLORS),
            summary=f"colour: {', '.join(COLORS)}",
            description=(
                "Colour of the art. `none`; `ansi`: 24-bit terminal escape codes; `html`: an HTML"
                " document, sent as text/html (or as `art` in JSON); `ansi256`, `ansi16`: codes for"
                " terminals with 256 or 16 colours. All but `none` are forms of the same art."
            ),
            label="In colour",
            checkbox_value="html",
            script_value="ansi",
            message_version=2,
            newer_values={"ansi256": 3, "ansi16": 3},
        ),
    )
    paint: str = field(
        default="cells",
        metadata=row(
            Choice(choices=PAINTS),
            summary=f"what is coloured: {', '.join(PAINTS)}",
            description=(
                "What is coloured. `cells`: the character and the background of each cell, chosen"
                " together; `text`: the characters alone, as always in `ramp`."
            ),
            label="Coloured",
            message_version=3,
        ),
    )
    shapes: str = field(
        default="sextants",
        metadata=row(
            Choice(choices=SHAPES),
            summary=f"shapes of coloured blocks: {', '.join(SHAPES)}",
            description=(
                "Shapes of coloured `blocks`. `sextants`: including the sextants of Unicode 13, for"
                " the most detail; `quadrants`: older shapes only, for fonts without sextants."
            ),
            label="Shapes of blocks",
            message_version=3,
        ),
    )
    chars: str = field(
        default="",
        metadata=row(
            Characters(max_bytes=MAX_CHARS_BYTES),
            summary="characters to draw with, dark to light; after ^, characters to exclude",
            description=(
                "Characters to draw with, from dark to light; after `^`, characters to exclude. At"
                f" most {MAX_CHARS_BYTES} bytes in UTF-8. `ramp` takes any characters one column"
                " wide, `structure` any printable ASCII; `braille` and `blocks` draw fixed"
                " patterns. Empty for the style's own characters."
            ),
            label="Draw with",
            section="More options",
            placeholder="the style\u2019s own",
            hint="From dark to light; after ^, characters to exclude. For structure and ramp.",
            message_version=2,
        ),
    )

    background: str = field(
        default=AUTO,
        metadata=row(
            Colour(),
            summary="colour behind transparency: auto, #rrggbb or a name",
            description=(
                "Colour behind the transparent parts of an image, which is drawn like the image:"
                " `#rrggbb`, `#rgb`, either without `#`, or a name of CSS. `auto`: black or white,"
                " whichever suits the image and `invert`."
            ),
            label="Behind transparency",
            section="More options",
            page_choices={AUTO: "automatic", "#000000": "black", "#ffffff": "white"},
            message_version=3,
        ),
    )

    height: int = field(
        default=0,
        metadata=row(
            Integer(minimum=0, maximum=lambda limits: limits.max_width),
            summary="maximum rows of the art; 0: derived from the width",
            description="Maximum rows of the art; see `fit`. 0: derived from the width.",
            label="Maximum rows",
            section="More options",
            message_version=3,
        ),
    )
    fit: str = field(
        default="contain",
        metadata=row(
            Choice(choices=("contain", "cover", "fill")),
            summary="how art fits a height: contain, cover (crops), fill (distorts)",
            description=(
                "How art fits `width` and `height`, as in CSS. `contain`: within both, whole and"
                " undistorted; `cover`: exactly as large, with the middle of the image; `fill`:"
                " exactly as large, distorted. No effect without `height`."
            ),
            label="Fit",
            section="More options",
            message_version=3,
        ),
    )

    brightness: int = field(
        default=0,
        metadata=row(
            Integer(minimum=-_MOST_ADJUSTMENT, maximum=lambda _: _MOST_ADJUSTMENT),
            summary="brightness of the middle tones",
            description=(
                "Brighten the middle tones, or darken them. 0: as the style chooses for the image."
            ),
            label="Brightness",
            section="Adjustments",
            is_slider=True,
            message_version=3,
        ),
    )
    contrast: int = field(
        default=0,
        metadata=row(
            Integer(minimum=-_MOST_ADJUSTMENT, maximum=lambda _: _MOST_ADJUSTMENT),
            summary="contrast of the middle tones",
            description=(
                "Increase the contrast of the middle tones, or reduce it. 0: as the style chooses"
                " for the image."
            ),
            label="Contrast",
            section="Adjustments",
            is_slider=True,
            message_version=3,
        ),
    )
    animate: bool = field(
        default=False,
        metadata=row(
            Flag(key="m"),
            summary="draw every frame of an animated image",
            description=(
                "Draw every frame of an animated GIF, PNG, WebP or AVIF, not only the first one."
                " Text plays in a terminal, for at most 20 seconds; an HTML document plays"
                " without a script; JSON lists the frames and their times. No effect on a still"
                " image."
            ),
            label="Animate",
            message_version=4,
        ),
    )

    def check(self, limits: Limits) -> None:
        """Raise BadOptionError if a value is invalid, or `chars` does not suit the style."""
        for option in OPTIONS.values():
            value = getattr(self, option.name)
            # The limits may exclude the default width; every other default is always valid.
            if value != option.default or option.name == "width":
                option.kind.check(option.name, value, limits)
        if self.chars:
            self._check_chars_of_style()

    def _check_chars_of_style(self) -> None:
        style = STYLES[self.style]
        if not style.characters:
            raise BadOptionError(sentences.chars_not_supported(self.style))
        if not style.takes_any_character and not set(self._excluded or self.chars) <= set(
            style.characters
        ):
            raise BadOptionError(sentences.chars_not_ascii(self.style))
        if not self.characters:
            raise BadOptionError(sentences.CHARS_EXCLUDES_ALL)

    def check_art(self, columns: int, rows: int, limits: Limits, *, pixels: int) -> None:
        """Raise BadOptionError if art of (columns x rows) cells would exceed
        `Limits.max_art_characters`, or `Limits.max_cells_per_pixel` for an image of `pixels`."""
        max_characters = limits.max_art_characters // self.cell_weight
        if columns * rows > max_characters:
            raise BadOptionError(sentences.art_too_large(columns, rows, max_characters))
        max_cells = max(_ALWAYS_ALLOWED_CELLS, limits.max_cells_per_pixel * pixels)
        if columns * rows > max_cells:
            raise BadOptionError(sentences.image_too_small(columns, rows, max_cells))

    @property
    def characters(self) -> str:
        """Characters to draw with, for options that `check` accepts; empty for a style with fixed
        patterns."""
        own = STYLES[self.style].characters
        if self._excluded:
            return "".join(character for character in own if character not in self._excluded)
        return self.chars or own

    @property
    def is_cropping(self) -> bool:
        """True if the art shows only the middle of an image with another aspect ratio."""
        return self.fit == "cover" and self.height > 0

    def as_drawn(self) -> "ConversionOptions":
        """Return the options under which the same art is stored: the values of `color` but `none`
        are forms of it."""
        return self if self.color in ("none", "ansi") else replace(self, color="ansi")

    @property
    def colours(self) -> int:
        """Colours of a cell: 0, 1 (the foreground) or 2 (the foreground and the background)."""
        if self.color == "none":
            return 0
        return 1 if self.paint == "text" or STYLES[self.style].painted_grid is None else 2

    @property
    def colour_grid(self) -> tuple[int, int]:
        """(across, down): samples of colour per cell of art in colour."""
        style = STYLES[self.style]
        return (style.painted_grid or style.grid) if self.colours == 2 else style.grid

    @property
    def cell_weight(self) -> int:
        """Weight of one cell in `Limits.max_art_characters`: its maximum number of characters, or
        its number of samples if larger."""
        return max(STYLES[self.style].samples, 1 + _COLOUR_CHARACTERS[self.color][self.colours])

    @property
    def _excluded(self) -> str:
        return self.chars[1:] if self.chars.startswith("^") else ""


def with_defaults(values: Mapping[str, Any]) -> ConversionOptions:
    """Return the options of a request from `values` by name.

    `invert` defaults to `auto` for an HTML document, which sets its background, and to false
    elsewhere, because the reader's background is unknown.
    """
    invert = {"invert": AUTO} if values.get("color") == "html" else {}
    return ConversionOptions(**{"width": DEFAULT_WIDTH, **invert, **values})


def _table() -> dict[str, Option]:
    rows = {}
    for each in fields(ConversionOptions):
        default = {} if each.default is MISSING else {"default": each.default}
        rows[each.name] = Option(name=each.name, **(each.metadata | default))
    return rows


OPTIONS: Final[Mapping[str, Option]] = _table()
"""Every option by name, in the order of `ConversionOptions`."""
