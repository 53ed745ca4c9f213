"""Renders art in a process of its own, which cannot hold up the event loop of a web process.

The process starts with the first rendering and ends when it has been idle for some minutes. It is
nice to other processes, so that conversions come first. The kernel bounds its memory and the CPU
time of a rendering.

A message is a line of JSON, followed by bytes of the lengths in it: a rendering and the art, or the
parts of the answer.
"""

import json
import os
import resource
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from io import BufferedRWPair
from pathlib import Path
from typing import Any, Final

from asciist.adapters.variables import interpreter_variables
from asciist.art.rendering import Rendering
from asciist.errors import OverloadedError, UnavailableError, UndrawableArtError

_NAME: Final = "asciist-render"
"""Name of the process in `ps`. Linux allows 15 characters."""

_IDLE_SECONDS: Final = 300.0
_NICENESS: Final = 10

_CPU_SECONDS: Final = 10
"""Maximum CPU time of a rendering, in seconds: five times that of the slowest picture."""

_WAIT_SECONDS: Final = 30
"""Maximum seconds that a web process waits for a rendering."""

_MEMORY_BYTES: Final = 1_000_000_000
"""Maximum address space of the process: numpy reserves a third of it for its threads, and the
elements of a large page take 200 MB."""


class RendererProcess:
    """Renderer in a separate process. Used by one caller at a time."""

    def __init__(self, idle_seconds: float = _IDLE_SECONDS) -> None:
        """The process ends after `idle_seconds` without a rendering."""
        self._idle_seconds = idle_seconds
        self._process: subprocess.Popen[bytes] | None = None
        self._stream: BufferedRWPair | None = None

    def render(
        self, art: str, rendering: Rendering, *, reserve: Callable[[int], None]
    ) -> list[bytes]:
        """Return the parts of a rendering; see `asciist.protocol.ports.Renderer`."""
        try:
            answer = self._send(art, rendering) or self._send(art, rendering)
            if answer is None:
                raise EOFError("it ended while it was idle, twice")
            if "undrawable" in answer:
                raise UndrawableArtError(answer["undrawable"])
            if "malformed" in answer:
                raise UnavailableError(f"stored art is malformed: {answer['malformed']}")
            reserve(sum(answer["parts"]))
            assert self._stream is not None  # noqa: S101 - `_send` returned an answer
            return [_read(self._stream, size) for size in answer["parts"]]
        except (OSError, ValueError, EOFError, subprocess.TimeoutExpired) as error:
            self.close()
            raise UnavailableError(f"the renderer failed: {error!r}") from error
        except OverloadedError:
            self.close()
            raise

    def close(self) -> None:
        """End the process, if it runs. Another one starts with the next rendering."""
        if self._stream is not None:
            with suppress(OSError):
                self._stream.close()
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        self._stream = self._process = None

    def _send(self, art: str, rendering: Rendering) -> dict[str, Any] | None:
        """Request a rendering, and return the head of the answer; None if the process has ended
        because it was idle."""
        if self._stream is None:
            self._start()
        stream, content = self._stream, art.encode()
        assert stream is not None  # noqa: S101 - `_start` opened it
        try:
            _write(stream, {**vars(rendering), "bytes": len(content)}, content)
            head = stream.readline()
        except BrokenPipeError:
            head = b""
        if not head:
            assert self._process is not None  # noqa: S101 - as above
            status = self._process.wait(_WAIT_SECONDS)
            self.close()
            if status:
                raise EOFError(f"the process ended with {status}")
            return None
        answer: dict[str, Any] = json.loads(head)
        return answer

    def _start(self) -> None:
        ours, theirs = socket.socketpair()
        with ours, theirs:
            self._process = subprocess.Popen(  # noqa: S603 - no input from outside
                [sys.executable, "-m", __name__, str(self._idle_seconds)],
                stdin=theirs.fileno(),
                env=interpreter_variables(),
            )
            ours.settimeout(_WAIT_SECONDS)
            self._stream = ours.makefile("rwb")


def _serve(connection: socket.socket, idle_seconds: float) -> None:
    """Answer requests until the web process closes its end, or sends none for `idle_seconds`."""
    with connection.makefile("rwb") as stream:
        while select.select([connection], [], [], idle_seconds)[0]:
            if not (head := stream.readline()):
                return
            request = json.loads(head)
            art = _read(stream, request.pop("bytes")).decode()
            signal.setitimer(signal.ITIMER_PROF, _CPU_SECONDS)
            try:
                parts = Rendering(**request).of(art)
            except UndrawableArtError as error:
                _write(stream, {"undrawable": error.public_message})
            except ValueError as error:
                _write(stream, {"malformed": str(error)})
            else:
                _write(stream, {"parts": list(map(len, parts))}, *parts)
            signal.setitimer(signal.ITIMER_PROF, 0)
            parts = []


def _write(stream: BufferedRWPair, head: dict[str, Any], *parts: bytes) -> None:
    stream.write(json.dumps(head).encode() + b"\n")
    stream.writelines(parts)
    stream.flush()


def _read(stream: BufferedRWPair, size: int) -> bytes:
    content = stream.read(size)
    if len(content) < size:
        raise EOFError("the answer is incomplete")
    return content


def _main() -> None:
    with suppress(OSError):
        Path("/proc/self/comm").write_text(_NAME)
    with suppress(OSError):  # where a sandbox forbids it
        os.nice(_NICENESS)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_BYTES, hard))
    # numpy's own threads would take memory, and nothing here uses them
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # of a terminal; the web process ends this one
    with socket.socket(fileno=sys.stdin.fileno()) as connection, suppress(OSError):
        _serve(connection, float(sys.argv[1]))


if __name__ == "__main__":
    _main()
