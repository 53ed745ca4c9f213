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


STUCK_ONCE: Final = "has_begun[0] or (has_begun.__setitem__(0, 1), time.sleep(100))"
"""Halts the first conversion only, so that its process can be killed; see `has_begun`."""

# A file that is mapped before the processes enter their sandbox, where they can open none.
_FLAWED: Final = """
import ctypes, mmap, os, signal, time

with open({begun!r}, "r+b") as file:
    has_begun = mmap.mmap(file.fileno(), 1)
{setup}

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


def has_begun(folder: Path) -> bool:
    """Return whether a converter with the flaw STUCK_ONCE, installed in `folder`, has begun."""
    return (folder / "begun").read_bytes() == b"\1"


def install(
    folder: Path, monkeypatch: pytest.MonkeyPatch, *, flaw: str = CRASH, setup: str = ""
) -> None:
    """Make converter processes started from now on execute `flaw` for the image KILLER, and their
    parents `setup` at the start. `folder` must exist."""
    (folder / "begun").write_bytes(b"\0")
    source = _FLAWED.format(flaw=flaw, setup=setup, begun=str(folder / "begun"))
    # Python imports a module of this name in each process before anything else.
    (folder / "sitecustomize.py").write_text(source + _IN_EACH_PROCESS)
    monkeypatch.setenv("PYTHONPATH", f"{folder}{os.pathsep}{Path.cwd()}")
    # A converter process may also be a fork of this process.
    defined: dict[str, Any] = {}
    exec(source, defined)  # noqa: S102 - the same source as above
    monkeypatch.setattr(
        InProcessConverter, "convert", defined["flawed"](InProcessConverter.convert)
    )
