"""Play an animation on a terminal, in place below the prompt."""

import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import count
from typing import Any, Final

from asciist.errors import AsciistError

_HIDE_CURSOR: Final = "\x1b[?25l"
_SHOW_CURSOR: Final = "\x1b[?25h"
_RESET: Final = "\x1b[0m"
_ERASE_REST: Final = "\x1b[K"


def play(frames: Sequence[dict[str, Any]], write: Callable[[str], None], *, plays: int) -> None:
    """Show the frames, with `art` and `milliseconds` each, `plays` times or, if that is 0, until
    Ctrl-C.

    Only changed lines are written. At the end, and after Ctrl-C, the frame stays, and the cursor is
    visible below it. Raises AsciistError if the terminal has too few lines.
    """
    height = frames[0]["art"].count("\n") + 1
    if height >= shutil.get_terminal_size().lines:
        raise AsciistError(
            f"the terminal has too few lines for an animation of {height}: choose a smaller"
            " --height"
        )
    shown: list[str] = []
    due = time.monotonic()
    try:
        write(_HIDE_CURSOR + "\n" * height)
        for _ in range(plays) if plays else count():
            for frame in frames:
                lines = frame["art"].split("\n")
                write("".join(_changes(shown, lines)))
                shown = lines
                # after a pause, frames do not hurry
                due = max(due + frame["milliseconds"] / 1000, time.monotonic())
                time.sleep(max(0.0, due - time.monotonic()))
    finally:
        write(_SHOW_CURSOR)


def _changes(shown: Sequence[str], lines: Sequence[str]) -> Iterator[str]:
    """Yield the text that replaces each changed line. The cursor is below all lines before and
    after it."""
    for number, line in enumerate(lines):
        if shown[number : number + 1] != [line]:
            up = len(lines) - number
            yield f"\x1b[{up}A\r{line}{_RESET}{_ERASE_REST}\x1b[{up}B\r"
