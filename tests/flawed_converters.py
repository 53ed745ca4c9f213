"""Converter processes with a flaw, like an error in an image decoder. The product has no switch for
it."""

import os
from pathlib import Path
from typing import Any, Final

import pytest

from asciist.adapters.converters.in_process import InProcessConverter
from tools.testing.images import encoded, gradient

KILLER = b"\xff\xd8\xff\xfe\x00\x16kills its converter" + encoded(gradient(), "JPEG")[2:]
"""An image that passes all checks of its header."""

CRASH: Final = "ctypes.string_at(0)"
"""A real segmentation fault."""
MEMORY_HOG: Final = "bytearray(4_000_000_000)"
ENDLESS: Final = "while True: pass"
STUCK: Final = "time.sleep(100)"


def crash_once(marker: Path) -> str:
    """Return a flaw that halts the first conversion only, so that its process can be killed. It
    creates `marker`."""
    return (
        f"os.path.exists({str(marker)!r}) or (open({str(marker)!r}, 'w').close(), time.sleep(100))"
    )


_FLAWED: Final = """
import ctypes, os, time

def flawed(convert):
    def converted(self, image, options, *, wait_seconds):
        if b"kills its converter" in image:
            {flaw}
        return convert(self, image, options, wait_seconds=wait_seconds)

    return converted
"""

_IN_EACH_PROCESS: Final = """
import sys

if "asciist.adapters.converters.parent" in sys.orig_argv or "lambda_worker" in sys.orig_argv[-1]:
    from asciist.adapters.converters.in_process import InProcessConverter

    InProcessConverter.convert = flawed(InProcessConverter.convert)
"""


def install(folder: Path, monkeypatch: pytest.MonkeyPatch, *, flaw: str = CRASH) -> None:
    """Make converter processes started from now on execute `flaw` for the image KILLER. `folder`
    must exist."""
    source = _FLAWED.format(flaw=flaw)
    # Python imports a module of this name in each process before anything else.
    (folder / "sitecustomize.py").write_text(source + _IN_EACH_PROCESS)
    monkeypatch.setenv("PYTHONPATH", f"{folder}{os.pathsep}{Path.cwd()}")
    # A converter process may also be a fork of this process.
    defined: dict[str, Any] = {}
    exec(source, defined)  # noqa: S102 - the same source as above
    monkeypatch.setattr(
        InProcessConverter, "convert", defined["flawed"](InProcessConverter.convert)
    )
