"""What files made to hurt cost: each of devtools/hostile converted in a fresh process, its time and its peak of memory.

    python -m bench.hostile

Time is of the processor. Memory is the peak of resident memory during the conversion, above what the process held before it:
what the decoder takes and what the art needs, and not the interpreter or the file itself.
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
"""What a hostile file may cost at most."""
GIVE_UP_SECONDS = 60
ROWS = 10
OPTIONS = {"": ConversionOptions(width=80), "in colour": ConversionOptions(width=80, color="ansi")}
"""What is asked for of each file: the defaults, and colour, which decodes otherwise."""

_EXAMPLE = Path(__file__).parent.parent / "examples" / "rocket.jpg"
_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
_WARM_UPS = [
    module.valid()[name] for module, name in ((jpeg, "JPEG"), (png, "PNG"), (gif, "GIF"), (webp, "WebP"), (bmp, "BMP"))
]


@dataclass(frozen=True)
class Cost:
    """What one conversion took, and what came of it."""

    milliseconds: float
    megabytes: float
    outcome: str

    @property
    def is_slow(self) -> bool:
        return self.milliseconds >= MAX_MILLISECONDS

    @property
    def is_hungry(self) -> bool:
        return not self.megabytes < MAX_MEGABYTES  # where it did not end, it is no number


def costs(image: bytes) -> list[Cost]:
    """Convert `image` under each of OPTIONS, in a forked child of its own."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        signal.alarm(GIVE_UP_SECONDS)
        with os.fdopen(writing, "wb") as pipe:
            pickle.dump([_measured(image, options) for options in OPTIONS.values()], pipe)
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        answer = pipe.read()
    os.waitpid(child, 0)
    if not answer:
        return [Cost(1000 * GIVE_UP_SECONDS, float("nan"), "did not end")] * len(OPTIONS)
    measured: list[Cost] = pickle.loads(answer)  # noqa: S301 - what the child wrote
    return measured


def _measured(image: bytes, options: ConversionOptions) -> Cost:
    _warm_up(options)  # pages that the child shares with its parent until it touches them
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)  # memory that was freed and is still held would be used again unseen
    _CLEAR.write_text("5")  # the peak becomes what is held now
    base = _kilobytes("VmHWM")
    start = time.process_time()  # a conversion waits for nothing, so this is its time, however busy the machine is
    outcome = _outcome(image, options)
    milliseconds = 1000 * (time.process_time() - start)
    return Cost(milliseconds, (_kilobytes("VmHWM") - base) * 1024 / 1e6, outcome)


def _warm_up(options: ConversionOptions) -> None:
    for valid in _WARM_UPS:
        _outcome(valid, options)


def _outcome(image: bytes, options: ConversionOptions) -> str:
    try:
        convert(image, options, Limits())
    except RejectedError as refusal:
        return type(refusal).__name__.removesuffix("Error")
    except Exception as error:  # noqa: BLE001 - a bench reports what the tests would fail on
        return f"{type(error).__name__}!"
    return "art"


def _kilobytes(field: str) -> int:
    line = next(line for line in _STATUS.read_text().splitlines() if line.startswith(field))
    return int(line.split()[1])


def steady_costs(image: bytes) -> list[Cost]:
    """The same, and the median of five where one was dear: on a busy machine any conversion may be slow once."""
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


def honest() -> Iterator[tuple[str, bytes]]:
    """Images as large as the limits admit, of which nothing is wrong: photographs first, then small files of one colour."""
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
    yield f"| file | bytes | becomes | {units} |"
    yield "|---|--:|---|" + "--:|--:|" * len(OPTIONS)
    for name, image, spent in rows:
        figures = " | ".join(f"{cost.milliseconds:.1f} | {cost.megabytes:.1f}" for cost in spent)
        yield f"| {name} | {len(image)} | {spent[0].outcome} | {figures} |"


def report() -> Iterator[str]:
    """Markdown lines: how many files keep within bounds, the slowest and the hungriest, and honest large images."""
    for options in OPTIONS.values():
        _warm_up(options)  # what it imports, all children have
    cases = {case.name: case for case in hostile.corpus()}
    rows = [(name, case.image, steady_costs(case.image)) for name, case in cases.items()]
    kinds = [f"{sum(case.kind is kind for case in cases.values())} {kind.value}" for kind in hostile.Kind]
    wrong = [name for name, _, spent in rows if not {cost.outcome for cost in spent} <= _allowed(cases[name])]
    slow = [name for name, _, spent in rows if any(cost.is_slow for cost in spent)]
    hungry = [name for name, _, spent in rows if any(cost.is_hungry for cost in spent)]
    yield f"{len(rows)} files ({', '.join(kinds)}), each in a process of its own, at width 80, without and with"
    yield f"colour, after one valid image of each format. {len(rows) - len(wrong)} become what they should,"
    median = statistics.median(cost.milliseconds for _, _, spent in rows for cost in spent)
    yield f"{len(rows) - len(slow)} in less than {MAX_MILLISECONDS} ms (median {median:.2f}),"
    yield f"{len(rows) - len(hungry)} in less than {MAX_MEGABYTES} MB above base."
    for title, names in (("Wrong", wrong), ("Slower", slow), ("Hungrier", hungry)):
        if names:
            yield f"\n{title}: {'; '.join(names)}."
    yield "\nThe slowest ten:\n"
    yield from _table(sorted(rows, key=lambda row: -max(cost.milliseconds for cost in row[2]))[:ROWS])
    yield "\nThe hungriest ten:\n"
    yield from _table(sorted(rows, key=lambda row: -max(cost.megabytes for cost in row[2]))[:ROWS])
    yield "\nFor comparison, honest images as large as the limits admit, which may cost more:\n"
    yield from _table([(name, image, steady_costs(image)) for name, image in honest()])


def _allowed(case: hostile.Case) -> set[str]:
    return {"art" if error is None else error.__name__.removesuffix("Error") for error in case.outcome.value}


if __name__ == "__main__":
    for line in report():
        sys.stdout.write(line + "\n")
