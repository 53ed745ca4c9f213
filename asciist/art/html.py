"""Art in HTML: a self-contained document, and the elements of a page.

An animation plays by style sheets alone: each line contains every variant of itself, and one of
them is visible. The style sheet comes after the lines, so that all of them start to play at once,
even if a browser shows the beginning of a document before the end has arrived. Readers who prefer
reduced motion see the first frame.
"""

import html as entities
import pkgutil
from base64 import b64encode
from collections.abc import Iterator, Sequence
from functools import cache
from itertools import accumulate, pairwise
from typing import Final, NamedTuple

from asciist.art import INKS, Art, merged

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
"""  # noqa: E501
_TAIL: Final = "\n</body>\n</html>"

_FONT: Final = "@font-face{{font-family:blocks;src:url(data:font/woff2;base64,{font})}}\n"
"""CSS of an embedded font whose blocks fill their cells; most fonts lack some blocks, or draw them
too small."""

_BLOCKS: Final = (range(0x2580, 0x25A0), range(0x1FB00, 0x1FC00))
"""Code points of Block Elements, and of Symbols for Legacy Computing."""

_FILLED: Final = ";display:inline-block"
"""CSS of cells with a background, which then fills the whole line height. The font of blocks fills
it by itself."""


_STACKED: Final = (
    ".row{display:inline-grid}.row>i{grid-area:1/1;font-style:normal}.row>i+i{visibility:hidden}"
)
"""CSS of a line with several variants in one place. Initially the first one is visible."""

_VISIBILITY: Final = {True: "visible", False: "hidden"}


class Elements(NamedTuple):
    """Lines in HTML, each with a final newline, and the style sheet that plays them; empty for
    still art."""

    lines: str
    style: str


def document(art: Art) -> Iterator[str]:
    """Yield the parts of a self-contained document that shows or plays art.

    The page is black, or white for light art.
    """
    yield _head(art)
    if art.movement is None:
        yield from _lines(art, has_ink=True)
        yield f"</pre>{_TAIL}"
    else:
        lines, style = _moving(art, has_ink=True)
        yield f"{lines}</pre>\n<style>{style}</style>{_TAIL}"


def elements(art: Art) -> Elements:
    """Return the elements of art, for a page that sets its own colour for uncoloured characters."""
    if art.movement is not None:
        return _moving(art, has_ink=False)
    return Elements("".join(_lines(art, has_ink=False)), "")


def _head(art: Art) -> str:
    """Return the beginning of a document, up to the lines of art."""
    has_backgrounds = art.frames[0].layers == 2
    characters = set().union(*(frame.text for frame in art.frames))
    has_blocks = has_backgrounds and any(
        ord(character) in block for character in characters for block in _BLOCKS
    )
    return _HEAD.format(
        fonts=_FONT.format(font=_font()) if has_blocks else "",
        family="blocks," if has_blocks else "",
        background="#fff" if art.is_light else "#000",
        filled=_FILLED if has_backgrounds and not has_blocks else "",
        columns=art.size[0],
    )


def _lines(art: Art, *, has_ink: bool) -> Iterator[str]:
    """Yield the lines of the first frame in batches. `has_ink` colours the characters of uncoloured
    art."""
    if art.is_coloured:
        from asciist.art import writing  # noqa: PLC0415 - imports numpy

        yield from writing.elements(art)
        return
    start, end = (f"<b style=color:#{INKS[art.is_light]:06x}>", "</b>") if has_ink else ("", "")
    for line in art.text.split("\n"):
        yield f"{start}{entities.escape(line, quote=False)}{end}\n"


def _moving(art: Art, *, has_ink: bool) -> Elements:
    """Return the elements of an animation."""
    frames = [
        "".join(_lines(frame, has_ink=has_ink)).removesuffix("\n").split("\n")
        for frame in art.stills()
    ]
    times = (frame.milliseconds for frame in art.frames)
    looks, milliseconds = zip(*merged(zip(frames, times, strict=True)), strict=True)
    return moving(looks, milliseconds, plays=art.movement.plays if art.movement else 1)


def moving(frames: Sequence[Sequence[str]], milliseconds: Sequence[int], *, plays: int) -> Elements:
    """Return elements that play frames of equally many HTML lines. With 0 `plays`, they repeat
    endlessly."""
    windows: set[tuple[int, int]] = set()
    lines = [_line(looks, windows) for looks in zip(*frames, strict=True)]
    starts = [0, *accumulate(milliseconds)]
    times = f"{starts[-1]}ms step-end {plays or 'infinite'} forwards"
    rules = "".join(
        f"@keyframes {name}{{{_steps(starts, *window)}}}.{name}{{animation:{name} {times}}}"
        for window in sorted(windows)
        for name in [_name(*window)]
    )
    return Elements(
        "".join(f"{line}\n" for line in lines),
        f"{_STACKED}@media (prefers-reduced-motion:no-preference){{{rules}}}",
    )


def _line(looks: Sequence[str], windows: set[tuple[int, int]]) -> str:
    """Return a line with its variants, one for each frame, and append the frames (first, end) in
    which each is visible."""
    changes = [number for number, look in enumerate(looks) if number and look != looks[number - 1]]
    if not changes:
        return looks[0]
    own = list(pairwise([0, *changes, len(looks)]))
    windows.update(own)
    looks_in_turn = "".join(f"<i class={_name(*window)}>{looks[window[0]]}</i>" for window in own)
    return f"<span class=row>{looks_in_turn}</span>"


def _name(first: int, end: int) -> str:
    return f"f{first}-{end}"


def _steps(starts: Sequence[int], first: int, end: int) -> str:
    """Return the keyframes of an element that is visible from the frame `first` until before
    `end`."""
    is_first, is_last = first == 0, end == len(starts) - 1
    steps = [(0, is_first)]
    if not is_first:
        steps.append((starts[first], True))
    if not is_last:
        steps.append((starts[end], False))
    steps.append((starts[-1], is_last))  # the look that stays after the last play
    return "".join(
        f"{100 * at / starts[-1]:.4f}%{{visibility:{_VISIBILITY[is_shown]}}}"
        for at, is_shown in steps
    )


@cache
def _font() -> str:
    """Return the font written by `tools/page-font`, in base64."""
    font = pkgutil.get_data(__package__, "blocks.woff2")
    # None only for loaders without files.
    assert font is not None, "the package has no data"  # noqa: S101
    return b64encode(font).decode("ascii")
