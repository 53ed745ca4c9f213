"""CPU time and peak memory of conversions, each file in a forked child process.

Memory is the peak of resident memory during a conversion minus the resident memory before it. It
includes the decoder and the art, and excludes the interpreter and the file itself.

`costs` forks the calling process, which should have one thread. `Measurer.costs` forks a separate
process.
"""

import ctypes
import gc
import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from asciist.art.codec import encode
from asciist.conversion import ConversionOptions, convert, decode, open_image, render
from asciist.errors import RejectedError
from asciist.limits import Limits
from tools.testing.images import FORMATS, encoded, gradient

TIMEOUT_SECONDS = 300  # on a machine that is busy with other work

_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
_WARM_UP_WIDTH = 60
_WARM_UPS = [encoded(gradient(), image_format) for image_format in FORMATS]


@dataclass(frozen=True)
class Cost:
    """CPU time, memory and outcome of one conversion."""

    milliseconds: float
    megabytes: float
    """Peak memory; NaN if the process crashed, or ran longer than TIMEOUT_SECONDS."""
    estimated_megabytes: float
    """Estimate compared with the memory limit; NaN if the image was refused before it was
    decoded."""
    outcome: str
    """"art", or the name of the error."""

    @property
    def share(self) -> float:
        """Measured memory as a share of the estimate; NaN without an estimate."""
        return self.megabytes / self.estimated_megabytes


def costs(image: bytes, choices: Sequence[ConversionOptions]) -> list[Cost]:
    """Return the cost of converting `image` with each of `choices`, measured in a forked child
    process."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        gc.freeze()  # collecting the parent's objects would take most of the time
        with os.fdopen(writing, "wb") as pipe:
            pickle.dump(_measured(image, choices), pipe)
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        output = pipe.read()
    os.waitpid(child, 0)
    if not output:
        nan = float("nan")
        return [Cost(1000 * TIMEOUT_SECONDS, nan, nan, "did not end")] * len(choices)
    measured: list[Cost] = pickle.loads(output)  # noqa: S301 - written by the child
    return measured


def warm_up(options: ConversionOptions) -> None:
    """Convert an image of each format, so that imports and tables do not count as memory of the
    next conversion."""
    for image in _WARM_UPS:
        convert(image, options, Limits())


def _measured(image: bytes, choices: Sequence[ConversionOptions]) -> list[Cost]:
    for style, color in {(options.style, options.color) for options in choices}:
        # Copies pages shared with the parent, which would otherwise count as memory of the
        # conversion.
        warm_up(ConversionOptions(width=_WARM_UP_WIDTH, style=style, color=color))
    return [_cost(image, options) for options in choices]


def _cost(image: bytes, options: ConversionOptions) -> Cost:
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)  # returns freed memory, whose reuse would not show in the peak
    _CLEAR.write_text("5")  # resets the peak (VmHWM) to the present resident memory
    signal.alarm(TIMEOUT_SECONDS)
    base = _kilobytes("VmHWM")
    # a conversion never waits, so its CPU time does not depend on the load of the machine
    start = time.process_time()
    estimated, outcome = _converted(image, options)
    milliseconds = 1000 * (time.process_time() - start)
    return Cost(milliseconds, (_kilobytes("VmHWM") - base) * 1024 / 1e6, estimated, outcome)


def _converted(image: bytes, options: ConversionOptions) -> tuple[float, str]:
    """Return (estimated megabytes, outcome) of a conversion. The opened image is held until the
    end, as in a converter."""
    estimated = float("nan")
    try:
        opened = open_image(image, options, Limits())
        estimated = opened.memory_bytes / 1e6
        encode(render(decode(opened), options))
    except RejectedError as error:
        return estimated, type(error).__name__.removesuffix("Error")
    except Exception as error:  # noqa: BLE001
        # Reported as an outcome, on which tests and bench fail.
        return estimated, f"{type(error).__name__}!"
    return estimated, "art"


def _kilobytes(field: str) -> int:
    line = next(line for line in _STATUS.read_text().splitlines() if line.startswith(field))
    return int(line.split()[1])


class Measurer:
    """A process with one thread that calls `costs`."""

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, "-c", "from tools.testing.measuring import serve; serve()"],
            cwd=Path(__file__).parents[2],
            env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        return self

    def __exit__(self, *error: object) -> None:
        self._process.communicate()

    def costs(self, image: bytes, choices: Sequence[ConversionOptions]) -> list[Cost]:
        """Return the costs; see the function `costs`."""
        assert self._process.stdin
        assert self._process.stdout
        pickle.dump((image, list(choices)), self._process.stdin)
        self._process.stdin.flush()
        # Written by this module.
        measured: list[Cost] = pickle.load(self._process.stdout)  # noqa: S301
        return measured


def serve() -> None:
    """Read pickled (image, options) from the standard input until it ends, and write pickled costs
    to the standard output."""
    for color in ("none", "ansi", "html"):
        # so that every child inherits the imported modules
        warm_up(ConversionOptions(width=8, color=color))
    with suppress(EOFError):
        while True:
            image, choices = pickle.load(sys.stdin.buffer)  # noqa: S301 - written by `Measurer`
            pickle.dump(costs(image, choices), sys.stdout.buffer)
            sys.stdout.buffer.flush()
