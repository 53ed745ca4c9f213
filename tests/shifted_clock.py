"""Processes whose clock is wrong, as Python reads it."""

import os
from pathlib import Path


def environment(folder: Path, seconds: float) -> dict[str, str]:
    """Return the variables of a process whose `time.time` is `seconds` fast. `folder` is a new one that this creates.

    The clock of the kernel stays, which only root could set, and for all processes. AWS clients sign with it.
    """
    folder.mkdir()
    # Python imports a module of this name before anything else.
    (folder / "sitecustomize.py").write_text(f"import time\n\nright = time.time\ntime.time = lambda: right() + {seconds}\n")
    return {"PYTHONPATH": f"{folder}{os.pathsep}{Path.cwd()}"}
