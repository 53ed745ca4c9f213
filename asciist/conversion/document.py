"""The HTML document around art: its colours, its font, and a label for screen readers."""

import pkgutil
from base64 import b64encode
from functools import cache
from typing import Final

_HEAD: Final = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>ASCII art</title>
<style>
{fonts}body{{margin:0;background:{background}}}
pre{{margin:0;padding:1em;width:max-content;font:10px/1.2 {family}"DejaVu Sans Mono",Menlo,Consolas,monospace}}
b{{font-weight:400{filled}}}
</style>
</head>
<body>
<pre role="img" aria-label="ASCII art, {columns} columns wide">
"""
_TAIL: Final = "</pre>\n</body>\n</html>"

_FONT: Final = "@font-face{{font-family:blocks;src:url(data:font/woff2;base64,{font})}}\n"
"""CSS of a font, in the document, whose blocks fill their cells: most fonts lack some of them, or draw them too small."""

_BLOCKS: Final = (range(0x2580, 0x25A0), range(0x1FB00, 0x1FC00))
"""Code points of Block Elements, and of Symbols for Legacy Computing."""

_FILLED: Final = ";display:inline-block"
"""CSS of cells with a background, which then fills the whole line height. The font of blocks fills it by itself."""


def document(body: str, art: str, *, is_light: bool, has_backgrounds: bool) -> str:
    """Return a self-contained HTML document.

    `body` is the art in HTML, each line with a newline at its end, and `art` has the same characters as text. The page is
    black, or white if `is_light`. `has_backgrounds` is True if cells have colours behind their characters.
    """
    has_blocks = has_backgrounds and any(ord(character) in block for character in set(art) for block in _BLOCKS)
    head = _HEAD.format(
        fonts=_FONT.format(font=_font()) if has_blocks else "",
        family="blocks," if has_blocks else "",
        background="#fff" if is_light else "#000",
        filled=_FILLED if has_backgrounds and not has_blocks else "",
        columns=(art + "\n").index("\n"),
    )
    return f"{head}{body}{_TAIL}"


@cache
def _font() -> str:
    """The font that `tools/page-font` writes, in base64."""
    font = pkgutil.get_data(__package__, "blocks.woff2")
    assert font is not None, "the package has no data"  # noqa: S101 - None only for loaders without files
    return b64encode(font).decode("ascii")
