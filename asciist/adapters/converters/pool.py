"""Conversions in processes of their own, which all web processes of a machine share.

Web processes and converters share one socket pair, made before the web processes are forked. For each conversion, a web process
passes one end of a new connection through it; the converter that is free first takes it. So every web process can use every
converter, and a task waits only while all of them are busy.
"""

import contextlib
import logging
import os
import socket
import subprocess
import sys
import threading
from typing import Final

from asciist.adapters.converters import wire
from asciist.errors import OverloadedError, UnavailableError
from asciist.options import ConversionOptions
from asciist.protocol.ports import Conversion
from asciist.settings import Settings

_RESTART_SECONDS: Final = 0.05
"""Pause before a converter that died is replaced, so that one that dies at its start does not occupy a core."""

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
        self._process = self._start()
        self._closing = threading.Event()
        self._supervisor = threading.Thread(target=self._replace_dead, name="converter-supervisor", daemon=True)
        self._supervisor.start()

    def convert(self, image: bytes, options: ConversionOptions, *, wait_seconds: float) -> Conversion:
        if wait_seconds <= 0:
            raise OverloadedError
        ours, theirs = socket.socketpair()
        try:
            with ours:
                with theirs:
                    ours.settimeout(wait_seconds)
                    message = memoryview(wire.request(image, options))
                    # What fits into the socket's buffer is sent first, so that a converter seldom waits for it.
                    sent = ours.send(message)
                    self._given.settimeout(wait_seconds)
                    socket.send_fds(self._given, [b"t"], [theirs.fileno()])
                ours.sendall(message[sent:])
                return wire.read_answer(ours)
        except TimeoutError as error:
            raise OverloadedError from error
        except (OSError, EOFError) as error:
            raise UnavailableError(f"a converter process ended: {error!r}") from error

    def is_alive(self) -> bool:
        """Return whether this pool's process is running or about to be replaced."""
        return self._supervisor.is_alive()

    def close(self) -> None:
        """End the process after its current conversion."""
        self._closing.set()
        self._end(self._process)
        self._supervisor.join(self._timeout_seconds)
        self._given.close()

    def _start(self) -> "subprocess.Popen[bytes]":
        return subprocess.Popen(  # noqa: S603 - no input from outside
            [sys.executable, "-m", f"{__package__}.process", str(self._taken), str(self._timeout_seconds)],
            stdin=subprocess.PIPE,
            pass_fds=[self._taken],
            env={**os.environ, **self._settings.to_environment()},
        )

    def _replace_dead(self) -> None:
        while True:
            status = self._process.wait()
            self._end(self._process)
            if self._closing.wait(_RESTART_SECONDS):
                return
            _log.error("converter process ended with status %d; starting another", status)
            self._process = self._start()

    @staticmethod
    def _end(process: "subprocess.Popen[bytes]") -> None:
        with contextlib.suppress(OSError):
            if process.stdin:
                process.stdin.close()
