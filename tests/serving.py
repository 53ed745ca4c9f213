"""`asciist serve` in a process group of its own, for the tests that need the real thing."""

import contextlib
import http.client
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

REQUEST_TIMEOUT = 2
"""Short, since uploads that never end take a multiple of it."""


class Server:
    """One `asciist serve`, in a process group of its own as a terminal would give it."""

    def __init__(self, data_dir: Path, **settings: str) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "asciist.cli", "serve"],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env={
                **os.environ,
                "PORT": str(self.port),
                "ASCIIST_DATA_DIR": str(data_dir),
                "ASCIIST_REQUEST_TIMEOUT": str(REQUEST_TIMEOUT),
                **settings,
            },
        )
        self.log = b""
        self._reader = threading.Thread(target=self._read)
        self._reader.start()
        give_up = time.monotonic() + 30
        while b"ready" not in self.log or not self._answers():
            if self.process.poll() is not None or time.monotonic() > give_up:
                self.stop()
                raise AssertionError(self.log.decode())
            time.sleep(0.05)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def _read(self) -> None:
        assert self.process.stdout
        for line in self.process.stdout:
            self.log += line

    def _answers(self) -> bool:
        with contextlib.suppress(OSError):
            return self.request("GET", "/readyz")[0] == 200
        return False

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=30)

    def request(self, method: str, path: str, body: bytes | None = None, **headers: str) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        with contextlib.closing(connection):
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            return response.status, response.read()

    def interrupt(self) -> None:
        """Ctrl-C: the terminal sends it to every process of the group."""
        os.killpg(self.process.pid, signal.SIGINT)

    def stop(self) -> int:
        if self.process.poll() is None:
            self.interrupt()
        status = self.process.wait(30)
        self._reader.join()
        assert self.process.stdout
        self.process.stdout.close()
        return status

    def peak_megabytes(self) -> float:
        """The largest peak of any process of the service; forked ones share what they began with, so sums count it twice."""
        largest = 0
        for status in Path("/proc").glob("[0-9]*/status"):
            with contextlib.suppress(OSError, ProcessLookupError):
                if os.getpgid(int(status.parent.name)) == self.process.pid:
                    largest = max(largest, int(re.search(r"VmHWM:\s+(\d+)", status.read_text())[1]))  # type: ignore[index]
        return largest * 1024 / 1e6
