"""The parent of converter processes: `python -m asciist.adapters.converters.parent TASKS CONTROL
NUMBER`.

The parent imports and warms up everything that conversions need, and then forks each converter from
itself. A replacement is ready after about 3 ms; a new interpreter takes 150 to 200. The parent
never reads an image. It also holds a copy of each converter's connections: when a converter ends,
it reports the cause on the connection of the conversion in progress, and sends the waiting requests
to other converters at once.
"""

import array
import contextlib
import ctypes
import fcntl
import gc
import itertools
import mmap
import os
import select
import signal
import socket
import sys
import termios
import traceback
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NoReturn

from asciist.adapters.converters import sandbox, wire
from asciist.adapters.converters.in_process import InProcessConverter
from asciist.adapters.converters.process import ConverterProcess, Stage, confine, limit_memory
from asciist.adapters.converters.warm_up import warm_up
from asciist.adapters.variables import interpreter_variables
from asciist.settings import Settings

READY: Final = b"ready "
"""Start of the message to the pool when a converter has started; the rest names what its sandbox
lacks, separated by spaces. Any other message is the exit status of an ended converter, negative for
a signal."""

CONVERTER_NAME: Final = "asciist-convert"
"""Name of the converter processes in `ps` and in the kernel's log. Linux allows 15 characters."""

_FIRST_PAUSE_SECONDS: Final = 0.05
_LONGEST_PAUSE_SECONDS: Final = 5.0


class GrowingPause:
    """Growing pause before replacing a process that ended prematurely, so that a process that
    always fails does not occupy a core."""

    seconds = _FIRST_PAUSE_SECONDS

    def grow(self) -> None:
        """Make the next pause twice as long, up to five seconds."""
        self.seconds = min(2 * self.seconds, _LONGEST_PAUSE_SECONDS)

    def reset(self) -> None:
        """Reset the pause, because a process worked."""
        self.seconds = _FIRST_PAUSE_SECONDS


@dataclass(kw_only=True)
class _Converter:
    process: int
    channel: socket.socket
    """Receives each connection that the process accepts; closed when the process ends."""
    stage: mmap.mmap
    connections: dict[int, socket.socket] = field(default_factory=dict)
    """Accepted connections, by descriptor."""


class ConverterParent:
    """Keeps a fixed number of converter processes running."""

    def __init__(
        self, settings: Settings, *, tasks: socket.socket, control: socket.socket, number: int
    ) -> None:
        control.setblocking(False)  # a pool that does not read its messages loses them
        self._settings = settings
        self._tasks = tasks
        self._control = control
        self._number = number
        self._poll = select.epoll()
        self._converters: dict[int, _Converter] = {}
        """Converters by the descriptors of their channels and of their connections."""
        self._pause = GrowingPause()

    def serve(self) -> None:
        """Serve until the pool closes the other end of `control`; then let each converter finish
        its conversion."""
        warm_up()
        # pages that the garbage collector does not touch remain shared with the converters
        gc.freeze()
        for _ in range(self._number):
            self._fork()
        self._poll.register(self._control, select.EPOLLIN)
        while True:
            # One at a time, because an event may close the descriptor of a later one.
            [(descriptor, _)] = self._poll.poll(maxevents=1)
            if descriptor == self._control.fileno():
                break
            converter = self._converters[descriptor]
            if descriptor in converter.connections:
                self._forget_connection(converter, descriptor).close()
            elif not self._take_message(converter):
                self._replace(converter)
        self._stop()

    def _fork(self) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        stage = mmap.mmap(-1, 1)  # shared with the child
        process = os.fork()
        if process == 0:
            self._convert(theirs, stage)
        theirs.close()
        self._poll.register(ours, select.EPOLLIN)
        self._converters[ours.fileno()] = _Converter(process=process, channel=ours, stage=stage)

    def _convert(self, parent: socket.socket, stage: mmap.mmap) -> NoReturn:
        """Run a converter process."""
        status = 1
        try:
            close_descriptors_but(self._tasks.fileno(), parent.fileno())
            with contextlib.suppress(OSError):
                Path("/proc/self/comm").write_text(CONVERTER_NAME)
            confine(self._settings.limits)
            process = ConverterProcess(
                tasks=self._tasks,
                parent=parent,
                stage=stage,
                converter=InProcessConverter(self._settings.limits, on_estimate=limit_memory),
                timeout_seconds=self._settings.timeouts.worker,
            )
            ready = READY + " ".join(sandbox.enter()).encode()
            with contextlib.suppress(OSError):  # the parent has gone, which `serve` finds out
                parent.send(ready)
            status = process.serve()
        except BaseException:  # noqa: BLE001 - nothing above may run a second time
            traceback.print_exc()
        finally:
            os._exit(status)

    def _take_message(self, converter: _Converter) -> bool:
        """Receive a connection from a converter, or the message that it has started. Return False
        if the converter has ended instead."""
        message, descriptors, _, _ = socket.recv_fds(converter.channel, 64, 1)
        if message.startswith(READY):
            self._tell_pool(message)
        for descriptor in descriptors:
            converter.connections[descriptor] = socket.socket(fileno=descriptor)
            self._converters[descriptor] = converter
            self._poll.register(descriptor, 0)  # its end is reported always
        return bool(message)

    def _forget_connection(self, converter: _Converter, descriptor: int) -> socket.socket:
        """Stop watching a connection, and return it."""
        self._poll.unregister(descriptor)  # the converter may still have it open
        del self._converters[descriptor]
        return converter.connections.pop(descriptor)

    def _replace(self, converter: _Converter) -> None:
        self._poll.unregister(converter.channel)
        del self._converters[converter.channel.fileno()]
        converter.channel.close()
        os.kill(converter.process, signal.SIGKILL)  # in case it has only closed its channel
        ended = os.waitstatus_to_exitcode(os.waitpid(converter.process, 0)[1])
        stage = converter.stage[0]
        converter.stage.close()
        notice = wire.answer(wire.Answer(process=converter.process, ended=ended))
        for descriptor in list(converter.connections):
            connection = self._forget_connection(converter, descriptor)
            # An idle connection gets the notice too. It is not read there, because the next request
            # cannot be sent.
            with connection, contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RD)
                if stage == Stage.CONVERTING and not _unread_bytes(connection):
                    connection.sendall(notice)
        self._tell_pool(str(ended).encode())
        if stage == Stage.STARTING:
            select.select([self._control], [], [], self._pause.seconds)
            self._pause.grow()
        else:
            self._pause.reset()
        self._fork()

    def _stop(self) -> None:
        converters = {converter.process: converter for converter in self._converters.values()}
        for converter in converters.values():
            converter.channel.close()
        for converter in converters.values():
            os.waitpid(converter.process, 0)

    def _tell_pool(self, message: bytes) -> None:
        with contextlib.suppress(OSError):
            self._control.send(message)


def close_descriptors_but(*kept: int) -> None:
    """Close all inherited descriptors except the given and the standard ones."""
    for before, after in itertools.pairwise([2, *sorted(kept), os.sysconf("SC_OPEN_MAX")]):
        os.closerange(before + 1, after)


def _unread_bytes(connection: socket.socket) -> int:
    count = array.array("i", [0])
    fcntl.ioctl(connection, termios.FIONREAD, count)
    return count[0]


def environment(settings: Settings) -> dict[str, str]:
    """Return the environment of the parent and its converters: what the interpreter and its
    libraries read, the limits and the timeout, but no secret."""
    own = Settings(limits=settings.limits, request_timeout=settings.request_timeout)
    return interpreter_variables() | own.to_tier_environment("worker")


def _forget_other_variables(settings: Settings) -> None:
    """Erase all other variables from the environment of a fork, and from its memory, where exec and
    Python keep them."""
    kept = environment(settings)
    block = ctypes.POINTER(ctypes.c_void_p).in_dll(ctypes.CDLL(None), "environ")
    for address in itertools.takewhile(bool, map(block.__getitem__, itertools.count())):
        if address and os.fsdecode(ctypes.string_at(address)).partition("=")[0] not in kept:
            ctypes.memset(address, 0, len(ctypes.string_at(address)))
    for name in set(os.environ) - set(kept):
        value = os.environb[os.fsencode(name)]
        if len(value) > 1:  # Python has one object for each value of one byte
            ctypes.memset(id(value) + bytes.__basicsize__ - 1, 0, len(value))
        del os.environ[name]
    os.environ.update(kept)


def run(settings: Settings, *, tasks: int, control: int, number: int) -> NoReturn:
    """Run as the parent of `number` converters in this process, possibly a fork; never return.

    `tasks` and `control` are descriptors.
    """
    status = 1
    try:
        gc.freeze()  # what another process has opened is not closed again here
        close_descriptors_but(tasks, control)
        _forget_other_variables(settings)
        for signal_number in (signal.SIGALRM, signal.SIGPROF, signal.SIGTERM):
            signal.signal(signal_number, signal.SIG_DFL)
        # a fork would end its threads; read when numpy is imported
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
        ConverterParent(
            settings,
            tasks=socket.socket(fileno=tasks),
            control=socket.socket(fileno=control),
            number=number,
        ).serve()
        status = 0
    except BaseException:  # noqa: BLE001 - nothing above may run a second time
        traceback.print_exc()
    finally:
        os._exit(status)


if __name__ == "__main__":
    _tasks, _control, _number = map(int, sys.argv[1:])
    run(Settings.from_environment(), tasks=_tasks, control=_control, number=_number)
