"""`asciist serve` with settings and measurements only for tests."""

import contextlib
import os
import re
import socket
from pathlib import Path

from tests.processes import is_converter
from tools.testing import server


def is_read(connection: socket.socket) -> bool:
    """Return whether the server has accepted a connection, and read all that was sent on it."""
    # A connection to another server may have the same port at the client's end.
    ends = connection.getpeername()[1], connection.getsockname()[1]
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        _, local, remote, _, queues, _, _, _, _, inode, *_ = line.split()
        if tuple(int(end.rpartition(":")[2], 16) for end in (local, remote)) == ends:
            return queues.endswith(":00000000") and inode != "0"
    return False


class Server(server.Server):
    """A running server, whose conversions may take as long as on a busy machine."""

    def __init__(self, data_dir: Path, **settings: str) -> None:
        super().__init__(data_dir, **{"ASCIIST_REQUEST_TIMEOUT": "30", **settings})

    @property
    def tracebacks(self) -> list[str]:
        """Each traceback in the log: a line of JSON, or lines as Python prints them."""
        return re.findall(
            r"^.*Traceback.*(?:\n[^{].*)*", self.log.decode(errors="replace"), re.MULTILINE
        )

    def processes(self, command: str) -> list[int]:
        """Return the ids of the server's processes whose command line contains `command`, oldest
        first."""
        found = []
        for process in sorted(Path("/proc").glob("[0-9]*"), key=lambda path: int(path.name)):
            with contextlib.suppress(OSError):
                if (
                    os.getsid(int(process.name)) == self.process.pid
                    and command in (process / "cmdline").read_text()
                ):
                    found.append(int(process.name))
        return found

    def converters(self) -> list[int]:
        """Return the ids of the converter processes, without their parents."""
        return [process for process in self.processes("converters.parent") if is_converter(process)]

    def web_processes(self) -> list[int]:
        """Return the ids of the web processes, without gunicorn's master process."""
        return [
            process
            for process in self.processes("service.gunicorn_settings")
            if process != self.process.pid
        ]

    def peak_megabytes(self) -> float:
        """Return the peak resident memory, in MB, of the server process with the highest peak.

        A sum over the processes would count shared pages of forked processes twice.
        """
        largest = 0
        for status in Path("/proc").glob("[0-9]*/status"):
            with contextlib.suppress(OSError, ProcessLookupError):
                if os.getsid(int(status.parent.name)) == self.process.pid:
                    largest = max(largest, int(re.search(r"VmHWM:\s+(\d+)", status.read_text())[1]))  # type: ignore[index]
        return largest * 1024 / 1e6

    def megabytes(self) -> float:
        """Return the memory of all processes of the server now, in MB; shared pages count once."""
        kilobytes = 0
        for process in self.processes(""):
            with contextlib.suppress(OSError):
                rollup = Path(f"/proc/{process}/smaps_rollup").read_text()
                kilobytes += int(re.search(r"Pss:\s+(\d+)", rollup)[1])  # type: ignore[index]
        return kilobytes * 1024 / 1e6
