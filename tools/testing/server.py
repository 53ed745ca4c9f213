"""A running `asciist serve`, for tests and measurements that need real processes, sockets and
signals."""

import contextlib
import http.client
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

_START_SECONDS: Final = 300
_STOP_SECONDS: Final = 120
_CLIENT_TIMEOUT_SECONDS: Final = 120


def free_port() -> int:
    """Return the number of a local TCP port that nobody uses."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


def listens(port: int) -> bool:
    """Return whether a process accepts connections to a local port."""
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


class ServerStartError(Exception):
    """The server exited, or was not ready within 30 seconds; the message is its output."""


class Server:
    """A running `asciist serve` on a free local port, in its own process group, as a shell with job
    control would start it.

    `settings` are environment variables, and `checkout` is a directory with the code, if it differs
    from this process's. The constructor returns when `/readyz` answers 200, or raises
    ServerStartError.
    """

    def __init__(self, data_dir: Path, checkout: Path | None = None, /, **settings: str) -> None:
        self.port = free_port()
        self.data_dir = data_dir
        self._log = b""
        self._output = tempfile.TemporaryFile()  # noqa: SIM115 - `stop` closes it
        self.process = subprocess.Popen(
            [sys.executable, "-m", "asciist.cli", "serve"],
            stdout=self._output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            cwd=checkout,  # comes first in the path of `python -m`
            env={
                **os.environ,
                "PORT": str(self.port),
                "ASCIIST_DATA_DIR": str(data_dir),
                **settings,
            },
        )
        deadline = time.monotonic() + _START_SECONDS
        while b"ready" not in self.log or not self._is_ready():
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise ServerStartError(self.log.decode())
            time.sleep(0.05)

    @property
    def url(self) -> str:
        """The server's base URL, without a trailing slash."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def log(self) -> bytes:
        """Output of the server so far, standard output and standard error together."""
        if not self._output.closed:
            descriptor = self._output.fileno()
            # Unlike read, pread does not move the file offset, which the server's processes share.
            self._log = os.pread(descriptor, os.fstat(descriptor).st_size, 0)
        return self._log

    def connect(self) -> socket.socket:
        """Return a new TCP connection to the server."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=_CLIENT_TIMEOUT_SECONDS)

    def request(
        self, method: str, path: str, body: bytes | None = None, **headers: str
    ) -> tuple[int, bytes]:
        """Send one HTTP request on a connection of its own; return the status and the body of the
        response."""
        connection = http.client.HTTPConnection(
            "127.0.0.1", self.port, timeout=_CLIENT_TIMEOUT_SECONDS
        )
        with contextlib.closing(connection):
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            return response.status, response.read()

    def interrupt(self) -> None:
        """Send SIGINT to every process of the group, as Ctrl-C in a terminal does."""
        os.killpg(self.process.pid, signal.SIGINT)

    def stop(self) -> int:
        """Interrupt the server if it is running, wait until it exits, and return its exit status.
        May be called again."""
        if self.process.poll() is None:
            self.interrupt()
        status = self.process.wait(_STOP_SECONDS)
        self._log = self.log
        self._output.close()
        return status

    def _is_ready(self) -> bool:
        with contextlib.suppress(OSError):
            return self.request("GET", "/readyz")[0] == 200
        return False


@contextlib.contextmanager
def temporary_server(**settings: str) -> Iterator[Server]:
    """Start a server with an empty data directory; stop it and delete the directory on exit."""
    with tempfile.TemporaryDirectory() as data_dir:
        server = Server(Path(data_dir), **settings)
        try:
            yield server
        finally:
            server.stop()
