"""The converter process: `python -m asciist.adapters.converters.process DESCRIPTOR SECONDS`.

It takes one task at a time from a socket that all converter processes share. A task is a file descriptor: a connection to the
web process, from which the image and the options are read and on which the art is sent. An image that crashes a decoder kills
only this process, and a web process starts another.
"""

import contextlib
import os
import select
import signal
import socket
import sys
from pathlib import Path
from typing import Final

from asciist.adapters.converters import wire
from asciist.adapters.converters.in_process import InProcessConverter
from asciist.settings import Settings

_PEER_TIMEOUT_SECONDS: Final = 5
"""Seconds that the web process has to send the rest of a request or to read the answer."""

_OUT_OF_MEMORY_SCORE: Final = "500"
"""Adjustment of the kernel's out-of-memory score: of all processes of the service, a converter is killed first."""


def serve(tasks: socket.socket, parent: int, converter: InProcessConverter, timeout_seconds: int) -> None:
    """Answer tasks until the descriptor `parent` is readable, which means that the web process has closed its end.

    A conversion that takes longer than `timeout_seconds` ends the process with SIGALRM.
    """
    tasks.setblocking(False)
    while parent not in select.select([tasks.fileno(), parent], [], [])[0]:
        with contextlib.suppress(BlockingIOError):  # another converter took the task
            _, descriptors, _, _ = socket.recv_fds(tasks, 1, 1)
            if not descriptors:
                return
            signal.alarm(timeout_seconds)
            with socket.socket(fileno=descriptors[0]) as connection, contextlib.suppress(OSError, EOFError):
                connection.settimeout(_PEER_TIMEOUT_SECONDS)
                image, options = wire.read_request(connection)
                connection.sendall(wire.answer(converter.convert(image, options, wait_seconds=0)))
            signal.alarm(0)


def main(descriptor: str, seconds: str) -> None:
    """Serve until the standard input ends. A byte on the standard output says that the process is ready."""
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(_OUT_OF_MEMORY_SCORE)
    converter = InProcessConverter(Settings.from_environment().limits)
    converter.warm_up()
    os.write(sys.stdout.fileno(), b"1")
    with socket.socket(fileno=int(descriptor)) as tasks:
        serve(tasks, sys.stdin.fileno(), converter, int(seconds))


if __name__ == "__main__":
    main(*sys.argv[1:])
