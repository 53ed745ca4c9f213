"""CPU time and peak memory of converting each file of `tools.testing.hostile`, each in its own
process (`tools.testing.measuring`).

    python -m bench.hostile

Takes about ten minutes on two cores, mostly for comparing the memory of every style and colour with
its estimate.
"""

import math
import os
import statistics
import sys
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from PIL import Image

from asciist.conversion import ConversionOptions
from asciist.limits import Limits
from asciist.options import COLORS, STYLES
from tools.testing import hostile
from tools.testing.hostile import Kind, jpeg
from tools.testing.images import encoded
from tools.testing.measuring import Cost, Measurer, costs, warm_up

MAX_MILLISECONDS, MAX_MEGABYTES = 150, 80
"""Bounds on the CPU time, in ms, and on the memory, in MB, of one hostile file. They do not apply
to files that are hostile only by their size (`Kind.LARGE`): `Limits.max_conversion_bytes` bounds
their memory."""
TABLE_ROWS = 10
OPTIONS = {"": ConversionOptions(width=80), "in colour": ConversionOptions(width=80, color="ansi")}
"""Options whose cost is reported for each file: the defaults, and colour, which uses other code of
the decoder."""
EVERY_OPTION = [
    ConversionOptions(width=width, style=style, color=color)
    for width in (1, 80, 1000)
    for style in STYLES
    for color in COLORS
]
"""Options used to compare the memory of each file with its estimate."""

_EXAMPLE = Path(__file__).parent.parent / "docs" / "examples" / "rocket.jpg"


def exceeds_time(cost: Cost) -> bool:
    """Return whether a conversion took longer than MAX_MILLISECONDS."""
    return cost.milliseconds >= MAX_MILLISECONDS


def exceeds_memory(cost: Cost) -> bool:
    """Return whether a conversion took more than MAX_MEGABYTES, or did not finish."""
    return not cost.megabytes < MAX_MEGABYTES


def steady_costs(image: bytes) -> list[Cost]:
    """Return `costs`, or the medians of five runs if a conversion took more than a third of the
    time bound.

    The medians exclude a conversion that was slow by chance, because the machine was busy.
    """
    first = costs(image, [*OPTIONS.values()])
    if all(cost.milliseconds < MAX_MILLISECONDS / 3 for cost in first):
        return first
    return [
        Cost(
            statistics.median(cost.milliseconds for cost in five),
            statistics.median(cost.megabytes for cost in five),
            five[0].estimated_megabytes,
            five[0].outcome,
        )
        for five in zip(first, *(costs(image, [*OPTIONS.values()]) for _ in range(4)), strict=True)
    ]


def large_valid_images() -> Iterator[tuple[str, bytes]]:
    """Yield (name, image) for valid images close to the limits: photographs first, then small files
    of a single colour."""
    with Image.open(_EXAMPLE) as example:
        photograph = example.convert("RGB").resize((6000, 4000), Image.Resampling.BICUBIC)
    grain = Image.effect_noise(photograph.size, 30)
    photograph = Image.blend(photograph, Image.merge("RGB", [grain] * 3), 0.15)
    twelve = photograph.resize((4000, 3000))
    yield "JPEG photograph of 24 megapixels", encoded(photograph, "JPEG", quality=75)
    yield (
        "progressive JPEG photograph of 12 megapixels",
        encoded(twelve, "JPEG", quality=80, progressive=True),
    )
    yield "WebP photograph of 12 megapixels", encoded(twelve, "WEBP", quality=80, method=0)
    yield "AVIF photograph of 12 megapixels", encoded(twelve, "AVIF", quality=60, speed=10)
    yield (
        "LZW TIFF photograph of 2 megapixels",
        encoded(twelve.resize((1600, 1200)), "TIFF", compression="tiff_lzw"),
    )
    yield (
        "PNG photograph of 6 megapixels",
        encoded(twelve.resize((3000, 2000)), "PNG", compress_level=1),
    )
    yield "JPEG of 48 megapixels", encoded(photograph.resize((8000, 6000)), "JPEG", quality=30)
    yield "progressive JPEG of 12 megapixels and 300 scans", jpeg.scan_bomb(300, 4000, 3000)
    yield (
        "progressive JPEG of 38 megapixels of one colour",
        encoded(Image.new("RGB", (7000, 5400)), "JPEG", progressive=True),
    )
    yield "JPEG of 49 megapixels of one colour", encoded(Image.new("RGB", (7000, 7000)), "JPEG")
    yield "grey PNG of 49 megapixels of one level", encoded(Image.new("L", (7000, 7000)), "PNG")
    yield "PNG of 32 megapixels of one colour", encoded(Image.new("RGB", (5700, 5700)), "PNG")
    yield "RGBA PNG of 28 megapixels of one colour", encoded(Image.new("RGBA", (7000, 4000)), "PNG")
    yield "GIF of 49 megapixels of one colour", encoded(Image.new("P", (7000, 7000)), "GIF")
    yield (
        "lossless WebP of 12 megapixels of one colour",
        encoded(Image.new("RGB", (4000, 3000)), "WEBP", lossless=True),
    )


def _table(rows: list[tuple[str, bytes, list[Cost]]]) -> Iterator[str]:
    units = " | ".join(f"{unit} {name}".strip() for name in OPTIONS for unit in ("ms", "MB"))
    yield f"| file | bytes | outcome | {units} |"
    yield "|---|--:|---|" + "--:|--:|" * len(OPTIONS)
    for name, image, spent in rows:
        figures = " | ".join(f"{cost.milliseconds:.1f} | {cost.megabytes:.1f}" for cost in spent)
        yield f"| {name} | {len(image)} | {spent[0].outcome} | {figures} |"


def report() -> Iterator[str]:
    """Yield Markdown lines: how many files stay within the bounds, the most expensive ones, and
    large valid images."""
    for options in OPTIONS.values():
        warm_up(options)  # so that every child inherits the imported modules
    cases = {case.name: case for case in hostile.corpus()}
    rows = [(name, case.image, steady_costs(case.image)) for name, case in cases.items()]
    bounded = [row for row in rows if cases[row[0]].kind is not Kind.LARGE]
    kinds = [f"{sum(case.kind is kind for case in cases.values())} {kind.value}" for kind in Kind]
    unexpected = [
        name
        for name, _, spent in rows
        if not {cost.outcome for cost in spent} <= _allowed(cases[name])
    ]
    over_time = [name for name, _, spent in bounded if any(map(exceeds_time, spent))]
    over_memory = [name for name, _, spent in bounded if any(map(exceeds_memory, spent))]
    yield (
        f"{len(rows)} files ({', '.join(kinds)}), each converted in a process of its own at width"
        " 80, without and with"
    )
    yield (
        "colour, after one valid image of each format. Expected outcome:"
        f" {len(rows) - len(unexpected)} files."
    )
    yield f"The bounds apply to the {len(bounded)} files that are not large."
    median = statistics.median(cost.milliseconds for _, _, spent in rows for cost in spent)
    yield (
        f"CPU time below {MAX_MILLISECONDS} ms: {len(bounded) - len(over_time)} files (median"
        f" {median:.2f} ms)."
    )
    yield f"Peak memory below {MAX_MEGABYTES} MB: {len(bounded) - len(over_memory)} files."
    for title, names in (
        ("Unexpected outcome", unexpected),
        ("Over the time bound", over_time),
        ("Over the memory bound", over_memory),
    ):
        if names:
            yield f"\n{title}: {'; '.join(names)}."
    yield f"\nThe {TABLE_ROWS} with the most CPU time:\n"
    yield from _table(
        sorted(bounded, key=lambda row: -max(cost.milliseconds for cost in row[2]))[:TABLE_ROWS]
    )
    yield f"\nThe {TABLE_ROWS} with the highest peak memory:\n"
    yield from _table(
        sorted(bounded, key=lambda row: -max(cost.megabytes for cost in row[2]))[:TABLE_ROWS]
    )
    yield (
        "\nFor comparison, large files and valid images close to the limits, to which the bounds do"
        " not apply:\n"
    )
    large = dict(large_valid_images())
    yield from _table([row for row in rows if row not in bounded])
    yield from [*_table([(name, image, steady_costs(image)) for name, image in large.items()])][2:]
    yield from _estimates({**{name: case.image for name, case in cases.items()}, **large})


def _estimates(images: dict[str, bytes]) -> Iterator[str]:
    """Yield a comparison of the memory of all conversions with their estimates."""
    names, cores = [*images], os.cpu_count() or 1
    with ThreadPoolExecutor(cores) as pool:
        parts = pool.map(
            _with_every_option,
            [[images[name] for name in names[core::cores]] for core in range(cores)],
        )
        spent = {
            name: rows
            for core, part in enumerate(parts)
            for name, rows in zip(names[core::cores], part, strict=True)
        }
    measured = [(name, *row) for name in names for row in spent[name]]
    estimated = [row for row in measured if not math.isnan(row[2].estimated_megabytes)]
    too_low = [row for row in estimated if not row[2].share <= 1]
    ended = [cost.megabytes for _, _, cost in measured if not math.isnan(cost.megabytes)]
    limit = Limits().max_conversion_bytes / 1e6
    yield (
        f"\nMemory and its estimate: all {len(images)} files at widths 1, 80 and 1000 in every"
        " style and colour, in"
    )
    yield (
        f"{len(measured)} conversions: {len(estimated)} begun,"
        f" {len(measured) - len(estimated)} refused by their headers."
    )
    yield (
        f"Estimate below the measured memory: {len(too_low)}. Did not end:"
        f" {len(measured) - len(ended)}."
    )
    yield (
        f"Highest peak: {max(ended):.1f} MB, with a limit of {limit:g} MB. The files that use most"
        " of their estimates:\n"
    )
    yield from _estimate_table(estimated, lambda cost: cost.share)
    yield "\nThe highest peaks:\n"
    yield from _estimate_table(estimated, lambda cost: cost.megabytes)


def _with_every_option(images: Iterable[bytes]) -> list[list[tuple[ConversionOptions, Cost]]]:
    """Return the costs of each image with each of EVERY_OPTION, or only with the first if the image
    is refused with any options."""
    rows = []
    with Measurer() as measurer:
        for image in images:
            first = measurer.costs(image, EVERY_OPTION[:1])
            is_refused = math.isnan(first[0].estimated_megabytes) and first[0].outcome in {
                "UnknownFormat",
                "DamagedImage",
            }
            measured = first if is_refused else measurer.costs(image, EVERY_OPTION)
            rows.append([*zip(EVERY_OPTION, measured, strict=False)])
    return rows


def _estimate_table(
    rows: Iterable[tuple[str, ConversionOptions, Cost]], key: Callable[[Cost], float]
) -> Iterator[str]:
    """Yield a table of the files with the highest `key`, each with the options that maximize it."""
    highest = {row[0]: row for row in sorted(rows, key=lambda row: key(row[2]))}
    yield "| file | width | style | colour | outcome | MB | MB estimated | share |"
    yield "|---|--:|---|---|---|--:|--:|--:|"
    for name, options, cost in sorted(highest.values(), key=lambda row: -key(row[2]))[:TABLE_ROWS]:
        choice = f"{options.width} | {options.style} | {options.color}"
        figures = f"{cost.megabytes:.1f} | {cost.estimated_megabytes:.1f} | {cost.share:.2f}"
        yield f"| {name} | {choice} | {cost.outcome} | {figures} |"


def _allowed(case: hostile.Case) -> set[str]:
    return {
        "art" if error is None else error.__name__.removesuffix("Error")
        for error in case.outcome.value
    }


if __name__ == "__main__":
    for line in report():
        sys.stdout.write(line + "\n")
