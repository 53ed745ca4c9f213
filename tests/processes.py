"""Processes of this machine, as /proc shows them."""

import contextlib
import ctypes
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


def landlock_is_supported() -> bool:
    """Return whether the kernel can deny files to a process."""
    create_ruleset, version = 444, 1  # returns the version of Landlock
    return int(ctypes.CDLL(None).syscall(create_ruleset, None, ctypes.c_size_t(0), version)) > 0


def gone(processes: Iterable[int]) -> bool:
    """Return whether none of the processes exists."""
    return not any(Path(f"/proc/{process}").exists() for process in processes)
