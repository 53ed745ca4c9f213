"""CPU time, memory, descriptors and threads of a process and its descendants, read from /proc."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_TICKS_PER_SECOND: Final = os.sysconf("SC_CLK_TCK")
_PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True, kw_only=True)
class Usage:
    """Resources that a process tree uses. Memory that processes share counts for each of them."""

    processes: int
    threads: int
    descriptors: int
    rss_bytes: int
    cpu_seconds: float
    """User and system time since each process started, including its exited children."""


class ProcessTree:
    """A process and its descendants."""

    def __init__(self, pid: int) -> None:
        self.pid: Final = pid

    def pids(self) -> list[int]:
        """Return the ids of the processes that are running, parents before children."""
        found = [self.pid]
        for pid in found:
            # A thread's `children` lists the processes that this thread has started.
            for thread in _entries(Path(f"/proc/{pid}/task")):
                found += map(int, _text(thread / "children").split())
        return [pid for pid in found if Path(f"/proc/{pid}").exists()]

    def usage(self) -> Usage:
        """Return the sums over all processes of the tree. A process that exits meanwhile counts
        with the values read so far."""
        pids = self.pids()
        # The fields follow the command's name, which is in parentheses and may contain spaces.
        stats = [_text(Path(f"/proc/{pid}/stat")).rpartition(")")[2].split() for pid in pids]
        stats = [fields for fields in stats if fields]
        return Usage(
            processes=len(stats),
            threads=sum(int(fields[17]) for fields in stats),
            descriptors=sum(len(_entries(Path(f"/proc/{pid}/fd"))) for pid in pids),
            rss_bytes=_PAGE_BYTES * sum(int(fields[21]) for fields in stats),
            cpu_seconds=sum(sum(map(int, fields[11:15])) for fields in stats) / _TICKS_PER_SECOND,
        )


def open_connections(port: int) -> int:
    """Return the number of connections to a local TCP port that the process listening on it
    holds."""
    local, listening, no_process = f":{port:04X}", "0A", "0"
    lines = [line.split() for line in _text(Path("/proc/net/tcp")).splitlines()[1:]]
    return sum(
        line[1].endswith(local) and line[3] != listening and line[9] != no_process for line in lines
    )


def _text(file: Path) -> str:
    try:
        return file.read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ""


def _entries(directory: Path) -> list[Path]:
    try:
        return list(directory.iterdir())
    except (FileNotFoundError, ProcessLookupError):
        return []
