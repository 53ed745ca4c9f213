"""Converter processes with a flaw, as an error in an image decoder would be. The product has no switch for it."""

import os
from pathlib import Path

import pytest

from devtools.images import encoded, gradient

KILLER = b"\xff\xd8\xff\xfe\x00\x16kills its converter" + encoded(gradient(), "JPEG")[2:]
"""An image that passes all checks of its header."""


def install(folder: Path, monkeypatch: pytest.MonkeyPatch, *, flaw: str = "os.abort()") -> None:
    """Have converter processes that start from now on execute `flaw` for the image KILLER. `folder` must exist."""
    # Python imports a module of this name in each process before anything else.
    (folder / "sitecustomize.py").write_text(f"""
import os, sys, time

if "asciist.adapters.converters.process" in sys.orig_argv:
    from asciist.adapters.converters.in_process import InProcessConverter

    convert = InProcessConverter.convert

    def flawed(self, image, options, *, wait_seconds):
        if b"kills its converter" in image:
            {flaw}
        return convert(self, image, options, wait_seconds=wait_seconds)

    InProcessConverter.convert = flawed
""")
    monkeypatch.setenv("PYTHONPATH", f"{folder}{os.pathsep}{Path.cwd()}")
