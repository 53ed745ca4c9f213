"""CPU time and peak memory of converting each file of `devtools.hostile`, each in a fresh process.

    python -m bench.hostile

Memory is the peak of resident memory during the conversion minus the resident memory before it. It includes the decoder and the
art, and excludes the interpreter and the file itself.
"""

import ctypes
import gc
import os
import pickle
import signal
import statistics
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from asciist.conversion import ConversionOptions, convert
from asciist.errors import RejectedError
from asciist.limits import Limits
from devtools import hostile
from devtools.hostile import bmp, gif, jpeg, png, webp
from devtools.images import encoded

MAX_MILLISECONDS, MAX_MEGABYTES = 150, 80
"""Bounds on the CPU time, in ms, and on the memory, in MB, of one hostile file."""
TIMEOUT_SECONDS = 60
TABLE_ROWS = 10
OPTIONS = {"": ConversionOptions(width=80), "in colour": ConversionOptions(width=80, color="ansi")}
"""Options that each file is converted with: the defaults, and colour, which takes other paths through the decoder."""

_EXAMPLE = Path(__file__).parent.parent / "examples" / "rocket.jpg"
_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
_WARM_UPS = [
    module.valid()[name] for module, name in ((jpeg, "JPEG"), (png, "PNG"), (gif, "GIF"), (webp, "WebP"), (bmp, "BMP"))
]


@dataclass(frozen=True)
class Cost:
    """CPU time, peak memory and outcome of one conversion."""

    milliseconds: float
    megabytes: float
    outcome: str

    @property
    def exceeds_time(self) -> bool:
        return self.milliseconds >= MAX_MILLISECONDS

    @property
    def exceeds_memory(self) -> bool:
        return not self.megabytes < MAX_MEGABYTES  # true for NaN, which stands for a conversion that did not end


def costs(image: bytes) -> list[Cost]:
    """Return the cost of converting `image` with each of OPTIONS, measured in a forked child process.

    If the child crashes or runs longer than TIMEOUT_SECONDS, the memory is NaN.
    """
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        signal.alarm(TIMEOUT_SECONDS)
        with os.fdopen(writing, "wb") as pipe:
            pickle.dump([_measured(image, options) for options in OPTIONS.values()], pipe)
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        output = pipe.read()
    os.waitpid(child, 0)
    if not output:
        return [Cost(1000 * TIMEOUT_SECONDS, float("nan"), "did not end")] * len(OPTIONS)
    measured: list[Cost] = pickle.loads(output)  # noqa: S301 - written by the child
    return measured


def _measured(image: bytes, options: ConversionOptions) -> Cost:
    _warm_up(options)  # copies pages shared with the parent, which would otherwise count as memory of the conversion
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)  # returns freed memory, whose reuse would not show in the peak
    _CLEAR.write_text("5")  # resets the peak (VmHWM) to the present resident memory
    base = _kilobytes("VmHWM")
    start = time.process_time()  # a conversion never waits, so its CPU time does not depend on the load of the machine
    outcome = _outcome(image, options)
    milliseconds = 1000 * (time.process_time() - start)
    return Cost(milliseconds, (_kilobytes("VmHWM") - base) * 1024 / 1e6, outcome)


def _warm_up(options: ConversionOptions) -> None:
    for valid in _WARM_UPS:
        _outcome(valid, options)


def _outcome(image: bytes, options: ConversionOptions) -> str:
    try:
        convert(image, options, Limits())
    except RejectedError as error:
        return type(error).__name__.removesuffix("Error")
    except Exception as error:  # noqa: BLE001 - reported as an outcome; the tests fail on it
        return f"{type(error).__name__}!"
    return "art"


def _kilobytes(field: str) -> int:
    line = next(line for line in _STATUS.read_text().splitlines() if line.startswith(field))
    return int(line.split()[1])


def steady_costs(image: bytes) -> list[Cost]:
    """Return `costs`, or the medians of five runs if a conversion took more than a third of the time bound.

    The medians exclude a conversion that was slow by chance, because the machine was busy.
    """
    first = costs(image)
    if all(cost.milliseconds < MAX_MILLISECONDS / 3 for cost in first):
        return first
    return [
        Cost(
            statistics.median(cost.milliseconds for cost in five),
            statistics.median(cost.megabytes for cost in five),
            five[0].outcome,
        )
        for five in zip(first, *(costs(image) for _ in range(4)), strict=True)
    ]


def large_valid_images() -> Iterator[tuple[str, bytes]]:
    """Yield (name, image) for valid images close to the limits: photographs first, then small files of one colour."""
    with Image.open(_EXAMPLE) as example:
        photograph = example.convert("RGB").resize((6000, 4000), Image.Resampling.BICUBIC)
    grain = Image.effect_noise(photograph.size, 30)
    photograph = Image.blend(photograph, Image.merge("RGB", [grain] * 3), 0.15)
    twelve = photograph.resize((4000, 3000))
    yield "JPEG photograph of 24 megapixels", encoded(photograph, "JPEG", quality=75)
    yield "progressive JPEG photograph of 12 megapixels", encoded(twelve, "JPEG", quality=80, progressive=True)
    yield "WebP photograph of 12 megapixels", encoded(twelve, "WEBP", quality=80, method=0)
    yield "PNG photograph of 6 megapixels", encoded(twelve.resize((3000, 2000)), "PNG", compress_level=1)
    yield "progressive JPEG of 12 megapixels and 300 scans", jpeg.scan_bomb(300, 4000, 3000)
    yield (
        "progressive JPEG of 38 megapixels of one colour",
        encoded(Image.new("RGB", (7000, 5400)), "JPEG", progressive=True),
    )
    yield "JPEG of 49 megapixels of one colour", encoded(Image.new("RGB", (7000, 7000)), "JPEG")
    yield "grey PNG of 49 megapixels of one level", encoded(Image.new("L", (7000, 7000)), "PNG")
    yield "PNG of 36 megapixels of one colour", encoded(Image.new("RGB", (6000, 6000)), "PNG")
    yield "RGBA PNG of 28 megapixels of one colour", encoded(Image.new("RGBA", (7000, 4000)), "PNG")
    yield "GIF of 49 megapixels of one colour", encoded(Image.new("P", (7000, 7000)), "GIF")
    yield "lossless WebP of 12 megapixels of one colour", encoded(Image.new("RGB", (4000, 3000)), "WEBP", lossless=True)


def _table(rows: list[tuple[str, bytes, list[Cost]]]) -> Iterator[str]:
    units = " | ".join(f"{unit} {name}".strip() for name in OPTIONS for unit in ("ms", "MB"))
    yield f"| file | bytes | outcome | {units} |"
    yield "|---|--:|---|" + "--:|--:|" * len(OPTIONS)
    for name, image, spent in rows:
        figures = " | ".join(f"{cost.milliseconds:.1f} | {cost.megabytes:.1f}" for cost in spent)
        yield f"| {name} | {len(image)} | {spent[0].outcome} | {figures} |"


def report() -> Iterator[str]:
    """Yield Markdown lines: how many files stay within the bounds, the most expensive ones, and large valid images."""
    for options in OPTIONS.values():
        _warm_up(options)  # so that every child inherits the imported modules
    cases = {case.name: case for case in hostile.corpus()}
    rows = [(name, case.image, steady_costs(case.image)) for name, case in cases.items()]
    kinds = [f"{sum(case.kind is kind for case in cases.values())} {kind.value}" for kind in hostile.Kind]
    unexpected = [name for name, _, spent in rows if not {cost.outcome for cost in spent} <= _allowed(cases[name])]
    over_time = [name for name, _, spent in rows if any(cost.exceeds_time for cost in spent)]
    over_memory = [name for name, _, spent in rows if any(cost.exceeds_memory for cost in spent)]
    yield f"{len(rows)} files ({', '.join(kinds)}), each converted in a process of its own at width 80, without and with"
    yield f"colour, after one valid image of each format. Expected outcome: {len(rows) - len(unexpected)} files."
    median = statistics.median(cost.milliseconds for _, _, spent in rows for cost in spent)
    yield f"CPU time below {MAX_MILLISECONDS} ms: {len(rows) - len(over_time)} files (median {median:.2f} ms)."
    yield f"Peak memory below {MAX_MEGABYTES} MB: {len(rows) - len(over_memory)} files."
    for title, names in (
        ("Unexpected outcome", unexpected),
        ("Over the time bound", over_time),
        ("Over the memory bound", over_memory),
    ):
        if names:
            yield f"\n{title}: {'; '.join(names)}."
    yield f"\nThe {TABLE_ROWS} with the most CPU time:\n"
    yield from _table(sorted(rows, key=lambda row: -max(cost.milliseconds for cost in row[2]))[:TABLE_ROWS])
    yield f"\nThe {TABLE_ROWS} with the highest peak memory:\n"
    yield from _table(sorted(rows, key=lambda row: -max(cost.megabytes for cost in row[2]))[:TABLE_ROWS])
    yield "\nFor comparison, valid images close to the limits, to which the bounds do not apply:\n"
    yield from _table([(name, image, steady_costs(image)) for name, image in large_valid_images()])


def _allowed(case: hostile.Case) -> set[str]:
    return {"art" if error is None else error.__name__.removesuffix("Error") for error in case.outcome.value}


if __name__ == "__main__":
    for line in report():
        sys.stdout.write(line + "\n")
