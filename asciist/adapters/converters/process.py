"""The converter process: `python -m asciist.adapters.converters.process DESCRIPTOR SECONDS`.

When it has nothing to do, it takes connections to web processes from a socket that all converters share. A request on a
connection is an image with its options, and the answer is the art. An image that crashes a decoder kills only this process, and
a web process starts another.
"""

import contextlib
import os
import selectors
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


class ConverterProcess:
    """Answers the requests on the connections that it takes from `tasks`, one at a time and each connection in its turn."""

    def __init__(self, tasks: socket.socket, converter: InProcessConverter, timeout_seconds: int) -> None:
        """A conversion that takes longer than `timeout_seconds` ends the process with SIGALRM."""
        tasks.setblocking(False)
        self._tasks = tasks
        self._converter = converter
        self._timeout_seconds = timeout_seconds
        self._selector = selectors.DefaultSelector()

    def serve(self, parent: int) -> None:
        """Serve until the descriptor `parent` is readable, which means that the web process has closed its end."""
        self._selector.register(self._tasks, selectors.EVENT_READ)
        self._selector.register(parent, selectors.EVENT_READ)
        try:
            self._serve(parent)
        finally:
            for key in [*self._selector.get_map().values()]:
                if isinstance(key.fileobj, socket.socket) and key.fileobj is not self._tasks:
                    key.fileobj.close()
            self._selector.close()

    def _serve(self, parent: int) -> None:
        while True:
            readable = [key.fileobj for key, _ in self._selector.select()]
            if parent in readable:
                return
            for connection in readable:
                if connection is self._tasks:
                    self._take_connection()
                elif isinstance(connection, socket.socket) and not self._answer(connection):
                    self._selector.unregister(connection)
                    connection.close()

    def _take_connection(self) -> None:
        with contextlib.suppress(BlockingIOError):  # another converter took it
            _, descriptors, _, _ = socket.recv_fds(self._tasks, 1, 1)
            if not descriptors:  # no web process is left
                self._selector.unregister(self._tasks)
                return
            connection = socket.socket(fileno=descriptors[0])
            connection.settimeout(_PEER_TIMEOUT_SECONDS)
            self._selector.register(connection, selectors.EVENT_READ)

    def _answer(self, connection: socket.socket) -> bool:
        """Answer the next request on a connection. Return False if the connection has ended."""
        signal.alarm(self._timeout_seconds)
        try:
            image, options = wire.read_request(connection)
            conversion = self._converter.convert(image, options, wait_seconds=0)
            connection.sendall(wire.answer(conversion, os.getpid()))
        except (OSError, EOFError):
            return False
        finally:
            signal.alarm(0)
        return True


def main(descriptor: str, seconds: str) -> None:
    """Serve until the standard input ends. A byte on the standard output says that the process is ready."""
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(_OUT_OF_MEMORY_SCORE)
    converter = InProcessConverter(Settings.from_environment().limits)
    converter.warm_up()
    os.write(sys.stdout.fileno(), b"1")
    with socket.socket(fileno=int(descriptor)) as tasks:
        ConverterProcess(tasks, converter, int(seconds)).serve(sys.stdin.fileno())


if __name__ == "__main__":
    main(*sys.argv[1:])
