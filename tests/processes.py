"""Processes of this machine, as /proc shows them."""

import contextlib
from collections.abc import Iterable
from pathlib import Path

from asciist.adapters.converters.parent import CONVERTER_NAME


def children(process: int) -> list[int]:
    """Return the ids of the running children of a process."""
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, parent = status.read_text().rpartition(")")[2].split()[:2]
            if int(parent) == process and state != "Z":
                found.append(int(status.parent.name))
    return found


def is_converter(process: int) -> bool:
    """Return True for a converter, and False for the parent of converters."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{process}/comm").read_text() == f"{CONVERTER_NAME}\n"
    return False


def gone(processes: Iterable[int]) -> bool:
    """Return whether none of the processes exists."""
    return not any(Path(f"/proc/{process}").exists() for process in processes)
