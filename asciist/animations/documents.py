"""Play an animation in HTML by style sheets alone: each line is there once for each of its looks, of which one is visible.

The style sheet has to come after the lines: all of them then begin to move at once, also if a browser shows the beginning of a
document before it has received the end. Readers who prefer reduced motion see the first frame.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Final

from asciist.animations import Animation

_STACKED: Final = ".row{display:inline-grid}.row>i{grid-area:1/1;font-style:normal}.row>i+i{visibility:hidden}"
"""CSS of a line with several looks, in one place. The first one is visible at first."""

_VISIBILITY: Final = {True: "visible", False: "hidden"}


@dataclass(frozen=True, kw_only=True)
class Moving:
    """Lines in HTML, and the style sheet that lets them move."""

    lines: Sequence[str]
    style: str


def moving(frames: Sequence[Sequence[str]], milliseconds: Sequence[int], *, plays: int) -> Moving:
    """Return the lines of frames, which are in HTML and as many in each frame. 0 plays are endless."""
    windows: set[tuple[int, int]] = set()
    lines = [_line(looks, windows) for looks in zip(*frames, strict=True)]
    starts = [0, *accumulate(milliseconds)]
    times = f"{starts[-1]}ms step-end {plays or 'infinite'} forwards"
    rules = "".join(
        f"@keyframes {name}{{{_steps(starts, *window)}}}.{name}{{animation:{name} {times}}}"
        for window in sorted(windows)
        for name in [_name(*window)]
    )
    return Moving(lines=lines, style=f"{_STACKED}@media (prefers-reduced-motion:no-preference){{{rules}}}")


def document(animation: Animation) -> str:
    """Return an animation whose frames are HTML documents as one document that plays."""
    frames = [_parts(frame.art) for frame in animation.frames]
    head = max((head for head, _, _ in frames), key=len)  # of a frame with the font for blocks, if there is one
    played = moving(
        [lines for _, lines, _ in frames], [frame.milliseconds for frame in animation.frames], plays=animation.plays
    )
    lines = "".join(f"{line}\n" for line in played.lines)
    return f"{head}{lines}</pre>\n<style>{played.style}</style>{frames[0][2]}"


def _parts(html: str) -> tuple[str, list[str], str]:
    """Return the text before the lines of art, the lines, and the text after them."""
    start = html.index("\n", html.index("<pre")) + 1
    lines, _, tail = html[start:].rpartition("</pre>")
    return html[:start], lines.splitlines(), tail


def _line(looks: Sequence[str], windows: set[tuple[int, int]]) -> str:
    """Return a line with all its looks, one for each frame, and add the frames (first, end) in which each is visible."""
    changes = [number for number, look in enumerate(looks) if number and look != looks[number - 1]]
    if not changes:
        return looks[0]
    own = list(pairwise([0, *changes, len(looks)]))
    windows.update(own)
    return f"<span class=row>{''.join(f'<i class={_name(*window)}>{looks[window[0]]}</i>' for window in own)}</span>"


def _name(first: int, end: int) -> str:
    return f"f{first}-{end}"


def _steps(starts: Sequence[int], first: int, end: int) -> str:
    """Return the keyframes of what is visible from the frame `first` on, and before `end`."""
    is_first, is_last = first == 0, end == len(starts) - 1
    steps = [(0, is_first)]
    if not is_first:
        steps.append((starts[first], True))
    if not is_last:
        steps.append((starts[end], False))
    steps.append((starts[-1], is_last))  # the look that stays after the last play
    return "".join(f"{100 * at / starts[-1]:.4f}%{{visibility:{_VISIBILITY[is_shown]}}}" for at, is_shown in steps)
