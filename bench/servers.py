"""Servers compared in the section `service`, each in its own processes on a free port of this
machine."""

import contextlib
import http.client
import os
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from tools.testing.load import (
    FreshJson,
    FreshUpload,
    ProcessTree,
    RequestSource,
    fixed,
    several,
)
from tools.testing.server import free_port, listens

ROOT: Final = Path(__file__).parent.parent
PROCESSES: Final = 2
"""Processes of thumbor and of the sharp server. Each uses one core per process."""

ORIGINAL: Final = "ORIGINAL"
"""Environment variable with the command that starts the original program; `{port}` in it is
replaced by the port."""

_SHARP_MODULES: Final = ROOT / ".venv-bench" / "sharp" / "node_modules"
_THUMBOR: Final = ROOT / ".venv-thumbor" / "bin" / "thumbor"
_PHOTOGRAPHS: Final = 500
_START_SECONDS: Final = 30
_STOP_SECONDS: Final = 10


class PeerMissingError(Exception):
    """A server is not installed or does not start; the message gives the reason."""


Running = tuple[int, RequestSource, ProcessTree]
"""A running server: its port, the requests for it, and its processes."""


@contextlib.contextmanager
def hello() -> Iterator[Running]:
    """Run a hello-world Flask application with the service's gunicorn settings."""
    command = [
        sys.executable,
        "-m",
        "gunicorn",
        "--config",
        "python:asciist_service.gunicorn_settings",
        "bench.hello:app",
    ]
    with tempfile.TemporaryDirectory() as data_dir:
        port = free_port()
        with _process(command, port, PORT=str(port), ASCIIST_DATA_DIR=data_dir) as tree:
            yield port, fixed("GET", "/"), tree


@contextlib.contextmanager
def thumbor(photograph: bytes) -> Iterator[Running]:
    """Run thumbor on a folder of photographs, without a result storage; the requests shrink them to
    80x40.

    The photographs differ in a comment.
    """
    if not _THUMBOR.exists():
        raise PeerMissingError("not installed: run `make bench SECTIONS=service`")
    with tempfile.TemporaryDirectory() as name:
        folder, port = Path(name), free_port()
        upload = FreshUpload(photograph)
        paths = []
        for number in range(_PHOTOGRAPHS):
            (folder / f"{number}.jpg").write_bytes(b"".join(upload()).partition(b"\r\n\r\n")[2])
            paths.append(f"/unsafe/80x40/{number}.jpg")
        config = folder / "thumbor.conf"
        config.write_text(
            "LOADER = 'thumbor.loaders.file_loader'\n"
            f"FILE_LOADER_ROOT_PATH = {name!r}\n"
            "STORAGE = 'thumbor.storages.no_storage'\n"
            "RESULT_STORAGE = None\n"
        )
        options = [
            "--ip",
            "127.0.0.1",
            "--port",
            str(port),
            "--conf",
            str(config),
            "--log-level",
            "error",
        ]
        with _process([str(_THUMBOR), *options, "--processes", str(PROCESSES)], port) as tree:
            yield port, several(*(fixed("GET", path) for path in paths)), tree


@contextlib.contextmanager
def sharp(photograph: bytes) -> Iterator[Running]:
    """Run a bare Node server that shrinks images with sharp; its requests are like asciist's."""
    if not _SHARP_MODULES.exists():
        raise PeerMissingError("not installed: run `make bench SECTIONS=service`")
    port = free_port()
    command = ["node", str(ROOT / "bench" / "sharp_server.cjs"), str(port), str(PROCESSES)]
    with _process(command, port, NODE_PATH=str(_SHARP_MODULES)) as tree:
        yield port, FreshJson(photograph, width=80, style=None), tree


@contextlib.contextmanager
def original(photograph: bytes) -> Iterator[Running]:
    """Run the original program with the command in `ORIGINAL`; its requests are like asciist's."""
    command = os.environ.get(ORIGINAL, "")
    if not command:
        raise PeerMissingError(
            f"not measured: set {ORIGINAL} to its command line, with {{port}} for the port"
        )
    port = free_port()
    with _process(shlex.split(command.replace("{port}", str(port))), port) as tree:
        yield port, FreshJson(photograph, width=80, style=None), tree


def status_of(port: int, request: RequestSource) -> int:
    """Send one request on a new connection; return the status of the response."""
    with socket.create_connection(("127.0.0.1", port), timeout=_START_SECONDS) as connection:
        connection.sendall(b"".join(request()))
        response = http.client.HTTPResponse(connection)
        response.begin()
        response.read()
        return response.status


@contextlib.contextmanager
def _process(command: list[str], port: int, **environment: str) -> Iterator[ProcessTree]:
    """Run a server until the end of the `with` block; yield its processes. Raises PeerMissingError
    if it does not listen within 30 seconds."""
    with tempfile.TemporaryFile() as output:
        try:
            process = subprocess.Popen(
                command,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                cwd=ROOT,
                env={**os.environ, **environment},
            )
        except OSError as error:
            raise PeerMissingError(f"does not start: {error}") from error
        try:
            deadline = time.monotonic() + _START_SECONDS
            while not listens(port):
                if process.poll() is not None or time.monotonic() > deadline:
                    output.seek(0)
                    raise PeerMissingError(
                        f"does not start: {output.read().decode(errors='replace')[-500:]}"
                    )
                time.sleep(0.05)
            yield ProcessTree(process.pid)
        finally:
            _stop(process)


def _stop(process: "subprocess.Popen[bytes]") -> None:
    """Stop the process group of a server: with SIGTERM, and after ten seconds with SIGKILL."""
    for stop in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, stop)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_STOP_SECONDS)
            return
