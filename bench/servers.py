"""The servers that the section `service` compares, each in processes of its own on a free port of this machine."""

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

from devtools.load import FreshJson, FreshUpload, RequestSource, fixed, several

ROOT: Final = Path(__file__).parent.parent
PROCESSES: Final = 2
"""Processes of thumbor and of the sharp server. Both use one core each."""

ORIGINAL: Final = "ORIGINAL"
"""Environment variable with the command that starts the original program; `{port}` in it stands for the port."""

_SHARP_MODULES: Final = ROOT / ".venv-bench" / "sharp" / "node_modules"
_THUMBOR: Final = ROOT / ".venv-thumbor" / "bin" / "thumbor"
_PHOTOGRAPHS: Final = 500
_START_SECONDS: Final = 30
_STOP_SECONDS: Final = 10


class PeerMissingError(Exception):
    """A server is not installed or does not start; the message says why."""


@contextlib.contextmanager
def hello() -> Iterator[int]:
    """Run a hello-world Flask application with the service's gunicorn settings; yield its port."""
    command = [sys.executable, "-m", "gunicorn", "--config", "python:service.gunicorn_settings", "bench.hello:app"]
    with tempfile.TemporaryDirectory() as data_dir:
        port = _free_port()
        with _process(command, port, PORT=str(port), ASCIIST_DATA_DIR=data_dir):
            yield port


@contextlib.contextmanager
def thumbor(photograph: bytes) -> Iterator[tuple[int, RequestSource]]:
    """Run thumbor over a folder of photographs, and store no result; yield its port and requests that shrink them to 80x40.

    The photographs differ in a comment.
    """
    if not _THUMBOR.exists():
        raise PeerMissingError("not installed: run `make bench SECTIONS=service`")
    with tempfile.TemporaryDirectory() as name:
        folder, port = Path(name), _free_port()
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
        options = ["--ip", "127.0.0.1", "--port", str(port), "--conf", str(config), "--log-level", "error"]
        with _process([str(_THUMBOR), *options, "--processes", str(PROCESSES)], port):
            yield port, several(*(fixed("GET", path) for path in paths))


@contextlib.contextmanager
def sharp(photograph: bytes) -> Iterator[tuple[int, RequestSource]]:
    """Run a bare Node server that shrinks images with sharp; yield its port and requests like those of asciist."""
    if not _SHARP_MODULES.exists():
        raise PeerMissingError("not installed: run `make bench SECTIONS=service`")
    port = _free_port()
    command = ["node", str(ROOT / "bench" / "sharp_server.cjs"), str(port), str(PROCESSES)]
    with _process(command, port, NODE_PATH=str(_SHARP_MODULES)):
        yield port, FreshJson(photograph, width=80, style=None)


@contextlib.contextmanager
def original(photograph: bytes) -> Iterator[tuple[int, RequestSource]]:
    """Run the original program as the variable `ORIGINAL` says; yield its port and requests like those of asciist."""
    command = os.environ.get(ORIGINAL, "")
    if not command:
        raise PeerMissingError(f"not measured: set {ORIGINAL} to its command line, with {{port}} for the port")
    port = _free_port()
    with _process(shlex.split(command.replace("{port}", str(port))), port):
        yield port, FreshJson(photograph, width=80, style=None)


def status_of(port: int, request: RequestSource) -> int:
    """Send one request on a new connection; return the status of the response."""
    with socket.create_connection(("127.0.0.1", port), timeout=_START_SECONDS) as connection:
        connection.sendall(b"".join(request()))
        response = http.client.HTTPResponse(connection)
        response.begin()
        response.read()
        return response.status


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


@contextlib.contextmanager
def _process(command: list[str], port: int, **environment: str) -> Iterator[None]:
    """Run a server until the end of the `with` block. Raises PeerMissingError if it does not listen within 30 seconds."""
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
            while not _listens(port):
                if process.poll() is not None or time.monotonic() > deadline:
                    output.seek(0)
                    raise PeerMissingError(f"does not start: {output.read().decode(errors='replace')[-500:]}")
                time.sleep(0.05)
            yield
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


def _listens(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False
