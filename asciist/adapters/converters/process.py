"""The converter process: decodes untrusted files, in a fork of its parent (`parent.py`) confined by
resource limits.

When idle, it accepts connections from a socket shared by all converters. A request on a connection
is an image with its options, and the answer is the art. An image that crashes a decoder ends only
this process, and the parent replaces it.
"""

import contextlib
import errno
import math
import mmap
import os
import resource
import selectors
import signal
import socket
import traceback
from enum import IntEnum
from functools import cache
from pathlib import Path
from typing import Final

from asciist.adapters.converters import wire
from asciist.adapters.converters.in_process import InProcessConverter
from asciist.conversion.memory import CODED_CHARACTERS, MAX_ANIMATED_CELLS
from asciist.errors import sentences
from asciist.limits import Limits
from asciist.options import ConversionOptions
from asciist.protocol.ports import Conversion

OUT_OF_MEMORY: Final = errno.ENOMEM
"""Exit status after running out of memory."""

_PEER_TIMEOUT_SECONDS: Final = 5
"""Maximum seconds for the other process to send the rest of a request or to read the answer."""

_OUT_OF_MEMORY_SCORE: Final = "500"
"""Adjustment of the kernel's out-of-memory score: of all processes of the service, the kernel kills
a converter first."""

# The slowest valid images need half a second. The rest is for waiting, and for answering the
# client.
_CPU_SHARE: Final = 0.25
"""Share of a conversion's timeout that it may spend on the CPU: 3 seconds of 10."""

_COPIES_OF_AN_IMAGE: Final = 6
"""Maximum copies of a file in memory: as received, as a message, and stripped of metadata and
unneeded scans."""

_BYTES_PER_CHARACTER: Final = 12
"""Memory per character of art beyond the estimate of a conversion: the art as text, in UTF-8, and
in the answer."""

_MAX_ANIMATED_CHARACTERS: Final = max(CODED_CHARACTERS) * MAX_ANIMATED_CELLS
"""Maximum characters of an animation."""

_SPARE_BYTES: Final = 96_000_000
"""Address space for fragmentation, and for libraries loaded with the first image of their kind."""

_SPARE_BYTES_OF_A_CONVERSION: Final = 48_000_000
"""Address space beyond the estimate of a conversion: for fragmentation and libraries, and for the
film grain, tiles and layers of an AVIF, which its boxes do not describe."""


class Stage(IntEnum):
    """Current work of a converter process; its parent reads it when the process ends."""

    STARTING = 0
    WAITING = 1
    """Between conversions, or receiving a request or sending an answer."""
    CONVERTING = 2


class ConverterProcess:
    """Answers requests on the connections that it accepts from `tasks`: one at a time, taking turns
    between connections."""

    def __init__(
        self,
        *,
        tasks: socket.socket,
        parent: socket.socket,
        stage: mmap.mmap,
        converter: InProcessConverter,
        timeout_seconds: int,
    ) -> None:
        """A conversion that takes longer than `timeout_seconds` ends the process with SIGALRM.

        `parent` receives each connection; when it is closed, the process must end. The first byte
        of `stage` is memory shared with the parent.
        """
        tasks.setblocking(False)
        self._tasks = tasks
        self._parent = parent
        self._stage = stage
        self._converter = converter
        self._timeout_seconds = timeout_seconds
        self._cpu_seconds = math.ceil(_CPU_SHARE * timeout_seconds)
        self._is_out_of_memory = False
        self._selector = selectors.DefaultSelector()

    def serve(self) -> int:
        """Serve until the parent has closed its end, or until memory runs out. Return the exit
        status."""
        self._selector.register(self._tasks, selectors.EVENT_READ)
        self._selector.register(self._parent, selectors.EVENT_READ)
        self._stage[0] = Stage.WAITING
        while True:
            readable = [key.fileobj for key, _ in self._selector.select()]
            if self._parent in readable:
                return 0
            for connection in readable:
                if connection is self._tasks:
                    self._take_connection()
                elif isinstance(connection, socket.socket) and not self._answer(connection):
                    self._selector.unregister(connection)
                    connection.shutdown(socket.SHUT_RDWR)  # the parent has it too
                    connection.close()
                if self._is_out_of_memory:
                    return OUT_OF_MEMORY

    def _take_connection(self) -> None:
        with contextlib.suppress(BlockingIOError):  # another converter took it
            _, descriptors, _, _ = socket.recv_fds(self._tasks, 1, 1)
            if not descriptors:  # no process is left that needs conversions
                self._selector.unregister(self._tasks)
                return
            connection = socket.socket(fileno=descriptors[0])
            connection.settimeout(_PEER_TIMEOUT_SECONDS)
            with contextlib.suppress(OSError):  # the parent has gone
                socket.send_fds(self._parent, [b"c"], descriptors)
            self._selector.register(connection, selectors.EVENT_READ)

    def _answer(self, connection: socket.socket) -> bool:
        """Answer the next request on a connection. Return False if the connection has ended."""
        signal.alarm(self._timeout_seconds)
        try:
            image, options = wire.read_request(connection)
            self._limit_cpu_time()
            connection.sendall(wire.answer(self._convert(image, options)))
        except (OSError, EOFError):
            return False
        finally:
            signal.alarm(0)
        return True

    def _convert(self, image: bytes, options: ConversionOptions) -> wire.Answer:
        process = os.getpid()
        self._stage[0] = Stage.CONVERTING
        try:
            return wire.Answer(
                process=process, conversion=self._converter.convert(image, options, wait_seconds=0)
            )
        except MemoryError:
            # A library may not have cleaned up after it, and another process costs little.
            self._is_out_of_memory = True
            rejected = Conversion(rejection=sentences.TOO_MUCH_MEMORY)
            return wire.Answer(process=process, conversion=rejected, ended=OUT_OF_MEMORY)
        except Exception:  # noqa: BLE001
            # The process that asked reports it, and the next image is another one.
            return wire.Answer(process=process, failure=traceback.format_exc())
        finally:
            lift_memory_limit()
            self._stage[0] = Stage.WAITING

    def _limit_cpu_time(self) -> None:
        """Have the kernel end this process with SIGPROF once the next conversion has used its share
        of the timeout.

        It sets a timer and not RLIMIT_CPU: that limit counts from the start of the process and by
        sampling, and after minutes under load it is seconds ahead of the CPU time that the process
        can read.
        """
        signal.setitimer(signal.ITIMER_PROF, self._cpu_seconds)


def confine(limits: Limits) -> None:
    """Limit the memory of this process to its current size and the maximum for one conversion
    within `limits`.

    The limit applies to address space, because Linux cannot limit resident memory. Core files are
    disabled, since they would contain the image.
    """
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(_OUT_OF_MEMORY_SCORE)
    conversion = (
        limits.max_conversion_bytes
        + _COPIES_OF_AN_IMAGE * limits.max_image_bytes
        + _BYTES_PER_CHARACTER * max(limits.max_art_characters, _MAX_ANIMATED_CHARACTERS)
    )
    _limit(resource.RLIMIT_AS, _mapped_bytes() + conversion + _SPARE_BYTES)
    _limit(resource.RLIMIT_CORE, 0)


def limit_memory(estimated_bytes: int) -> None:
    """Limit the memory of this process to its current size and the estimate of a conversion, until
    `lift_memory_limit`.

    This stops a file whose pixels need more memory than its header claims.
    """
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    value = _mapped_bytes() + estimated_bytes + _SPARE_BYTES_OF_A_CONVERSION
    resource.setrlimit(resource.RLIMIT_AS, (_at_most(hard, value), hard))


def lift_memory_limit() -> None:
    """Restore the limit of `confine`."""
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    resource.setrlimit(resource.RLIMIT_AS, (hard, hard))


def _mapped_bytes() -> int:
    return int(os.pread(_memory_statistics(), 64, 0).split()[0]) * resource.getpagesize()


@cache
def _memory_statistics() -> int:
    """Return a descriptor that `confine` opens, because no file can be opened in the sandbox."""
    return os.open("/proc/self/statm", os.O_RDONLY)


def _limit(which: int, value: int) -> None:
    value = _at_most(resource.getrlimit(which)[1], value)
    resource.setrlimit(which, (value, value))


def _at_most(hard: int, value: int) -> int:
    return value if hard == resource.RLIM_INFINITY else min(value, hard)
