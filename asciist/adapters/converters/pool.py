"""Conversions in separate processes, shared by all web processes of a machine.

Web processes and converters share one socket pair, created before the web processes are forked. A
web process opens a connection by passing one end of it through the pair; the first idle converter
accepts it. The web process pools up to three connections to each converter, and uses the one idle
for longest. A worker has its own pool and socket pair.
"""

import contextlib
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final

from asciist.adapters.converters import parent, wire
from asciist.adapters.converters.process import OUT_OF_MEMORY
from asciist.errors import OverloadedError, UnavailableError, sentences
from asciist.options import ConversionOptions
from asciist.protocol.ports import Conversion
from asciist.settings import Settings

# one converter may be killed from outside; if three end, the image is the cause
_CONVERTERS_TO_END: Final = 3
"""Maximum number of converters that may end during one conversion before its image is rejected."""

_ATTEMPTS: Final = 20
"""Maximum number of converters tried for one conversion, including converters that end before they
begin it."""

# While a converter is busy with a large image, all further requests go to others. With two instead
# of three, the service serves 3 to 7% less.
CONNECTIONS_TO_ONE: Final = 3
"""Pooled connections of a process to one converter: one in use, and two for waiting requests."""

_START_SECONDS: Final = 10
"""Maximum seconds to wait for the first converter. After that, requests wait for it or for another
pool's converter."""

_CAUSES: Final = {
    -signal.SIGKILL: "killed",  # by a person, or by the kernel for lack of memory
    -signal.SIGPROF: "time",
    -signal.SIGALRM: "time",
    OUT_OF_MEMORY: "memory",
}
"""Values of the tag `cause` by exit status; `crash` for all other values."""

_log = logging.getLogger(__name__)


class TaskSocket:
    """Socket pair that passes tasks to the converters. Create it before the web processes are
    forked."""

    def __init__(self) -> None:
        # Message boundaries are kept, and the kernel wakes one waiting process for each message.
        given, taken = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.given: Final = given.detach()
        """Descriptor into which web processes pass their tasks."""
        self.taken: Final = taken.detach()
        """Descriptor from which converters take tasks."""

    def close(self) -> None:
        """Close both ends in this process."""
        os.close(self.given)
        os.close(self.taken)


class ConverterPool:
    """Converter that hands conversions to the processes behind a TaskSocket, and keeps a number of
    them running."""

    def __init__(
        self,
        settings: Settings,
        tasks: TaskSocket | None = None,
        *,
        processes: int = 1,
        is_forked: bool = False,
    ) -> None:
        """Start the parent of `processes` converters, in a new interpreter or as a fork of this
        process.

        A new interpreter is ready when this returns. A fork starts faster and may still be
        starting: use it in a process that has no threads yet. Without `tasks`, no other pool uses
        these converters.
        """
        self._tasks = tasks or TaskSocket()
        self._owns_tasks = tasks is None
        self._settings = settings
        self._timeout_seconds = settings.timeouts.worker
        self._number = processes
        self._start_process = self._fork if is_forked else self._spawn
        # A socket object of this process: the one created before the fork is not cooperative under
        # gevent.
        self._given = socket.socket(fileno=os.dup(self._tasks.given))
        self._lock = threading.Lock()
        self._idle: deque[socket.socket] = deque()
        # converter id for each pooled connection
        self._processes: dict[socket.socket, int] = {}
        self.unsupported: tuple[str, ...] = ()
        """Parts of the sandbox that converters lack, because the kernel does not support them."""
        self._start()
        self._closing = threading.Event()
        self._has_started = threading.Event()
        self._supervisor = threading.Thread(
            target=self._supervise, name="converter-supervisor", daemon=True
        )
        self._supervisor.start()
        if not is_forked:
            # A web process accepts connections once this returns, so its first request does not
            # wait for a process to start.
            self._has_started.wait(_START_SECONDS)

    def convert(
        self, image: bytes, options: ConversionOptions, *, wait_seconds: float
    ) -> Conversion:
        """Convert an image. If the converter ends, try another at once: an interrupted conversion
        leaves no trace.

        Rejects an image if several converters end while converting it.
        """
        message = wire.request(image, options)
        ends_at = time.monotonic() + wait_seconds
        aborted: list[str] = []
        for _ in range(_ATTEMPTS):
            seconds = ends_at - time.monotonic()
            if seconds <= 0:
                raise OverloadedError
            try:
                answer = self._exchange(message, seconds)
            except TimeoutError as error:
                raise OverloadedError from error
            except (OSError, EOFError):
                if self._closing.is_set():
                    break
                continue  # the converter ended before it began, and is not this image's fault
            if answer.ended is not None:
                aborted.append(_CAUSES.get(answer.ended, "crash"))
                _log.warning(
                    "a converter process ended while it converted this image: %s",
                    _described(answer.ended),
                )
            if answer.failure:
                raise UnavailableError(f"a conversion failed: {answer.failure}")
            if conversion := answer.conversion or _rejection(aborted):
                if not aborted and not self.unsupported:
                    return conversion
                return replace(conversion, aborted=tuple(aborted), unsupported=self.unsupported)
        raise UnavailableError("the converter processes end before they begin")

    def _exchange(self, message: bytes, seconds: float) -> wire.Answer:
        """Send a request to a converter and return its answer. Raises TimeoutError, OSError,
        EOFError."""
        connection = self._idle_connection() or self._connect(seconds)
        try:
            connection.settimeout(seconds)
            connection.sendall(message)
            answer = wire.read_answer(connection)
        except BaseException:
            self._close(connection)
            self._close_idle()  # the other connections to the same process have ended too
            raise
        if answer.ended is None:
            self._keep(connection, answer.process)
        else:
            self._close(connection)
            self._close_idle()
        return answer

    def _keep(self, connection: socket.socket, process: int) -> None:
        """Pool a connection to the converter `process` for the next conversion, up to the limit."""
        with self._lock:
            if connection not in self._processes:
                if (
                    sum(known == process for known in self._processes.values())
                    >= CONNECTIONS_TO_ONE
                ):
                    connection.close()
                    return
                self._processes[connection] = process
            self._idle.append(connection)

    def _close(self, connection: socket.socket) -> None:
        with self._lock:
            self._processes.pop(connection, None)
        connection.close()

    def _idle_connection(self) -> socket.socket | None:
        with self._lock:
            return self._idle.popleft() if self._idle else None

    def _connect(self, seconds: float) -> socket.socket:
        """Open a connection; the first idle converter accepts it."""
        ours, theirs = socket.socketpair()
        with theirs:
            self._given.settimeout(seconds)
            socket.send_fds(self._given, [b"t"], [theirs.fileno()])
        return ours

    def _close_idle(self) -> None:
        while connection := self._idle_connection():
            self._close(connection)

    def is_ready(self) -> bool:
        """Return whether this pool's converters have started, and will be replaced when they
        end."""
        return self._has_started.is_set() and self._supervisor.is_alive()

    def close(self) -> None:
        """End each converter after its current conversion."""
        if self._closing.is_set():
            return
        self._closing.set()
        self._end()
        self._supervisor.join(self._timeout_seconds)
        self._close_idle()
        self._given.close()
        if self._owns_tasks:
            self._tasks.close()

    def _start(self) -> None:
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._wait = self._start_process(theirs.fileno())

    def _spawn(self, control: int) -> Callable[[], int]:
        """Start the parent in a new interpreter. Return a function that waits for its end and
        returns its exit status."""
        process = subprocess.Popen(  # noqa: S603 - no input from outside
            [
                sys.executable,
                "-m",
                parent.__name__,
                str(self._tasks.taken),
                str(control),
                str(self._number),
            ],
            stdin=subprocess.DEVNULL,
            process_group=0,  # Ctrl-C in a terminal does not reach it: this process still needs it
            pass_fds=[self._tasks.taken, control],
            env=parent.environment(self._settings),
        )
        return process.wait

    def _fork(self, control: int) -> Callable[[], int]:
        """Start the parent in a fork of this process; return the same function as `_spawn`."""
        process = os.fork()
        if process == 0:
            parent.run(
                self._settings, tasks=self._tasks.taken, control=control, number=self._number
            )
        return lambda: os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])

    def _end(self) -> None:
        """Ask the parent and its converters to end."""
        with contextlib.suppress(OSError):
            self._control.shutdown(socket.SHUT_WR)

    def _supervise(self) -> None:
        """Log the end of every converter, and start their parent again if it ends."""
        pause = parent.GrowingPause()
        while True:
            if self._closing.is_set():
                self._end()
            with self._control, contextlib.suppress(OSError):
                while message := self._control.recv(64):
                    if message.startswith(parent.READY):
                        missing = message.removeprefix(parent.READY)
                        self.unsupported = tuple(missing.decode().split())
                        self._has_started.set()
                        pause.reset()
                    else:
                        _log.error(
                            "converter process ended (%s); another replaces it",
                            _described(int(message)),
                        )
            status = self._wait()
            if self._closing.wait(pause.seconds):
                return
            _log.error(
                "parent of the converter processes ended (%s); starting another", _described(status)
            )
            pause.grow()
            self._start()


def _rejection(aborted: Sequence[str]) -> Conversion | None:
    """Return the rejection of an image whose conversion ended processes for these causes; None to
    try again."""
    if "time" in aborted:
        return Conversion(rejection=sentences.TOO_SLOW)
    return (
        Conversion(rejection=sentences.DECODER_CRASHED)
        if len(aborted) == _CONVERTERS_TO_END
        else None
    )


def _described(status: int) -> str:
    """Describe an exit status, negative for a signal."""
    if status == OUT_OF_MEMORY:
        return "out of memory"
    with contextlib.suppress(ValueError):
        return signal.Signals(-status).name
    return f"status {status}"
