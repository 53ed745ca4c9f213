"""Conversions in processes of their own, which all web processes of a machine share.

Web processes and converters share one socket pair, made before the web processes are forked. A web process opens a connection
by passing one end of it through the pair; the converter that has nothing to do first takes it. It keeps up to three connections
to each converter, and uses the one that has been idle for longest.
"""

import contextlib
import logging
import os
import socket
import subprocess
import sys
import threading
import time
from collections import deque
from typing import Final

from asciist.adapters.converters import wire
from asciist.errors import OverloadedError, UnavailableError
from asciist.options import ConversionOptions
from asciist.protocol.ports import Conversion
from asciist.settings import Settings

_RESTART_SECONDS: Final = 0.05
"""Pause before a converter that died is replaced, so that one that dies at its start does not occupy a core."""

_ATTEMPTS: Final = 3
"""Maximum number of converters that begin one conversion. More would not help an image that crashes each of them."""

_CONNECTIONS_TO_ONE: Final = 3
"""Connections to one converter that a web process keeps: one in use, and two whose requests wait. While a converter is busy
with a large image, all further requests go to others. With two instead of three, the service serves 3 to 7% less."""

_START_SECONDS: Final = 10
"""Maximum seconds to wait for the first converter. If it takes longer, requests wait for it, or for another pool's."""

_log = logging.getLogger(__name__)


class TaskSocket:
    """The socket pair through which tasks reach the converters. Create it before the web processes are forked."""

    def __init__(self) -> None:
        # Message boundaries are kept, and the kernel wakes one waiting process for each message.
        given, taken = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.given: Final = given.detach()
        """Descriptor into which web processes pass their tasks."""
        self.taken: Final = taken.detach()
        """Descriptor from which converters take tasks."""


class ConverterPool:
    """Converter that hands conversions to the processes behind a TaskSocket, and keeps one such process running."""

    def __init__(self, settings: Settings, tasks: TaskSocket) -> None:
        self._settings = settings
        self._timeout_seconds = settings.timeouts.worker
        self._taken = tasks.taken
        # A socket object of this process: the one created before the fork is not cooperative under gevent.
        self._given = socket.socket(fileno=os.dup(tasks.given))
        self._lock = threading.Lock()
        self._idle: deque[socket.socket] = deque()
        self._processes: dict[socket.socket, int] = {}  # id of the converter at the other end of each connection that is kept
        self._process = self._start()
        self._closing = threading.Event()
        self._has_started = threading.Event()
        self._supervisor = threading.Thread(target=self._replace_dead, name="converter-supervisor", daemon=True)
        self._supervisor.start()
        # A web process accepts connections once this returns, so its first request does not wait for a process to start.
        self._has_started.wait(_START_SECONDS)

    def convert(self, image: bytes, options: ConversionOptions, *, wait_seconds: float) -> Conversion:
        """Convert an image. If the converter dies, another one begins again at once, because a conversion leaves no trace."""
        message = wire.request(image, options)
        ends_at = time.monotonic() + wait_seconds
        for attempt in range(1, _ATTEMPTS + 1):
            seconds = ends_at - time.monotonic()
            if seconds <= 0:
                break
            try:
                return self._exchange(message, seconds)
            except TimeoutError as error:
                raise OverloadedError from error
            except (OSError, EOFError) as error:
                if attempt == _ATTEMPTS:
                    raise UnavailableError(f"{attempt} converter processes ended: {error!r}") from error
        raise OverloadedError

    def _exchange(self, message: bytes, seconds: float) -> Conversion:
        """Send a request to a converter and return its answer. Raises TimeoutError, OSError, EOFError."""
        connection = self._idle_connection() or self._connect(seconds)
        try:
            connection.settimeout(seconds)
            connection.sendall(message)
            conversion, process = wire.read_answer(connection)
        except BaseException:
            self._close(connection)
            self._close_idle()  # the other connections to the same process have ended too
            raise
        self._keep(connection, process)
        return conversion

    def _keep(self, connection: socket.socket, process: int) -> None:
        """Keep a connection to the converter `process` for the next conversion, unless there are enough to it."""
        with self._lock:
            if connection not in self._processes:
                if sum(known == process for known in self._processes.values()) >= _CONNECTIONS_TO_ONE:
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
        """Return a new connection, which the converter takes that has nothing to do first."""
        ours, theirs = socket.socketpair()
        with theirs:
            self._given.settimeout(seconds)
            socket.send_fds(self._given, [b"t"], [theirs.fileno()])
        return ours

    def _close_idle(self) -> None:
        while connection := self._idle_connection():
            self._close(connection)

    def is_ready(self) -> bool:
        """Return whether this pool's process has started, and will be replaced if it dies."""
        return self._has_started.is_set() and self._supervisor.is_alive()

    def close(self) -> None:
        """End the process after its current conversion."""
        self._closing.set()
        with contextlib.suppress(OSError):
            if self._process.stdin:
                self._process.stdin.close()
        self._supervisor.join(self._timeout_seconds)
        self._close_idle()
        self._given.close()

    def _start(self) -> "subprocess.Popen[bytes]":
        return subprocess.Popen(  # noqa: S603 - no input from outside
            [sys.executable, "-m", f"{__package__}.process", str(self._taken), str(self._timeout_seconds)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            process_group=0,  # Ctrl-C in a terminal does not reach it: the web process still needs it
            pass_fds=[self._taken],
            env={**os.environ, **self._settings.to_environment()},
        )

    def _replace_dead(self) -> None:
        while True:
            if self._process.stdout and self._process.stdout.read(1):
                self._has_started.set()
            status = self._process.wait()
            self._end(self._process)
            if self._closing.wait(_RESTART_SECONDS):
                return
            _log.error("converter process ended with status %d; starting another", status)
            self._process = self._start()

    @staticmethod
    def _end(process: "subprocess.Popen[bytes]") -> None:
        for pipe in (process.stdin, process.stdout):
            with contextlib.suppress(OSError):
                if pipe:
                    pipe.close()
