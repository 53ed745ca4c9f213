"""Processes with a wrong clock, as read by Python."""

import os
from pathlib import Path


def environment(folder: Path, seconds: float) -> dict[str, str]:
    """Return the variables of a process whose `time.time` is `seconds` fast. The function creates
    `folder`.

    The kernel's clock is unchanged: only root could set it, and for all processes. AWS clients sign
    with Python's clock.
    """
    folder.mkdir()
    # Python imports a module of this name before anything else.
    (folder / "sitecustomize.py").write_text(
        f"import time\n\nright = time.time\ntime.time = lambda: right() + {seconds}\n"
    )
    return {"PYTHONPATH": f"{folder}{os.pathsep}{Path.cwd()}"}
