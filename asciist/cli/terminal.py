"""The background colour of the terminal, obtained by querying it."""

import os
import re
import select
import sys
import time
from typing import Final

_TIMEOUT_SECONDS: Final = 0.2
"""Seconds to wait for the terminal's answer. A local one takes about a millisecond, a remote one a
round trip more."""

_ASK: Final = b"\x1b]11;?\x1b\\\x1b[c"
"""Queries for the background (OSC 11 of xterm) and for the kind of terminal (DA1 of ECMA-48). Every
terminal answers the second, so an unsupported first query causes no wait."""

_BACKGROUND: Final = re.compile(
    rb"\x1b\]11;rgba?:([0-9a-fA-F]{1,4})/([0-9a-fA-F]{1,4})/([0-9a-fA-F]{1,4})"
)
_LAST_ANSWER: Final = re.compile(rb"\x1b\[\?[0-9;]*c")
_MAX_ANSWER_BYTES: Final = 1000

_LIGHT_COLOURS: Final = ("7", "9", "10", "11", "12", "13", "14", "15")
"""Light colours in COLORFGBG: white, and the bright colours except grey."""


def is_background_light() -> bool | None:
    """Return True if the terminal of standard output has a light background; None without a
    terminal, or if the colour is unknown.

    The variable COLORFGBG, set by some terminals, takes precedence. Other terminals are queried,
    which takes at most 0.2 s.
    """
    if not sys.stdout or not sys.stdout.isatty() or os.environ.get("TERM", "dumb") == "dumb":
        return None
    background = os.environ.get("COLORFGBG", "").rpartition(";")[2]
    if background.isdigit():
        return background in _LIGHT_COLOURS
    colour = _BACKGROUND.search(_answer())
    if colour is None:
        return None
    red, green, blue = (int(digits, 16) / (16 ** len(digits) - 1) for digits in colour.groups())
    # Rec. 601 luma, as for images
    is_light: bool = 0.299 * red + 0.587 * green + 0.114 * blue > 0.5
    return is_light


def _answer() -> bytes:
    """Query the terminal, and return its answer; empty if it cannot be queried or does not answer
    in time."""
    try:
        import termios
        import tty

        terminal = os.open(os.ttyname(sys.stdout.fileno()), os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    except (ImportError, OSError):
        return b""
    try:
        # A background process would be stopped, and what the user has typed ahead would be lost.
        # Another terminal than the controlling one raises OSError.
        if os.tcgetpgrp(terminal) != os.getpgrp() or _is_readable(terminal, 0):
            return b""
        before = termios.tcgetattr(terminal)
        tty.setcbreak(terminal, termios.TCSADRAIN)
        try:
            os.write(terminal, _ASK)
            return _read_answer(terminal)
        finally:
            termios.tcsetattr(terminal, termios.TCSADRAIN, before)
    except (OSError, termios.error):
        return b""
    finally:
        os.close(terminal)


def _read_answer(terminal: int) -> bytes:
    answer = b""
    deadline = time.monotonic() + _TIMEOUT_SECONDS
    while not _LAST_ANSWER.search(answer) and len(answer) < _MAX_ANSWER_BYTES:
        if not _is_readable(terminal, max(0.0, deadline - time.monotonic())):
            break
        answer += os.read(terminal, _MAX_ANSWER_BYTES)
    return answer


def _is_readable(terminal: int, seconds: float) -> bool:
    return bool(select.select([terminal], [], [], seconds)[0])
