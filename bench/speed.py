"""Time of a conversion compared with the fastest known decode of the same file, and time of
imports.

The baseline for a JPEG is libjpeg-turbo (simplejpeg) decoding only the luma at the same reduction;
for PNG and WebP it is Pillow's own load. Each pair runs alternately in one process; the ratio is
that of the medians. The images are made from one photograph of scikit-image, enlarged and with
added noise, so that they compress like photographs of a camera.
"""

import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Final

import imagecodecs
import numpy as np
import simplejpeg
import skimage.data
from PIL import Image

from asciist.conversion import ConversionOptions
from asciist.limits import Limits
from tools.testing.drawing import convert
from tools.testing.images import encoded

EXAMPLE: Final = Path(__file__).parent.parent / "docs" / "examples" / "rocket.jpg"
SECONDS_PER_ROW: Final = 4.0
MIN_ROUNDS, MAX_ROUNDS = 7, 400

SIZES: Final = {
    "0.3 MP": (640, 480),
    "2 MP": (1632, 1224),
    "12 MP": (4000, 3000),
    "24 MP": (6000, 4000),
}
# standard deviation, of 255 levels: gives about 0.2 to 0.3 bytes per pixel at quality 85
_NOISE: Final = 5.0

STRUCTURE_GOALS: Final[dict[str, dict[int, float | None]]] = {
    "0.3 MP": {80: 1.2, 200: 3.5},
    "12 MP": {80: None, 200: None},
}
"""Maximum difference in milliseconds between the styles structure and ramp, by image size and width
of the art.

12 MP has no goal, because the styles decode that photograph at different sizes.
"""

_LIMITS: Final = Limits(max_image_bytes=100_000_000)

Call = Callable[[], object]


def report() -> Iterator[str]:
    """Yield Markdown lines: a table for each comparison."""
    yield __doc__.strip()
    yield ""
    yield from _jpegs()
    yield from _progressive()
    yield from _structure()
    yield from _pngs_and_webp()
    yield from _other_decoders()
    yield from _imports()


@cache
def photograph(width: int, height: int) -> Image.Image:
    """Return a photograph of the given size. If that enlarges the original, noise with a fixed seed
    is added."""
    image = Image.fromarray(skimage.data.stereo_motorcycle()[0]).resize(
        (width, height), Image.Resampling.LANCZOS
    )
    if width < 741:  # the width of the original
        return image
    noise = np.random.default_rng(0).normal(0, _NOISE, (height, width, 1))
    return Image.fromarray(np.clip(np.asarray(image) + noise, 0, 255).astype(np.uint8))


def alternate(baseline: Call, ours: Call) -> tuple[float, float]:
    """Call both alternately; return their median times in milliseconds."""
    start = time.perf_counter()
    baseline()
    ours()
    rounds = min(MAX_ROUNDS, max(MIN_ROUNDS, int(SECONDS_PER_ROW / (time.perf_counter() - start))))
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(rounds):
        for call, spent in zip((baseline, ours), times, strict=True):
            start = time.perf_counter()
            call()
            spent.append(time.perf_counter() - start)
    return 1000 * statistics.median(times[0]), 1000 * statistics.median(times[1])


def art(image: bytes, width: int = 80, style: str = "ramp") -> Call:
    """Return a call that converts an image file to art."""
    options = ConversionOptions(width=width, style=style)
    return lambda: convert(image, options, _LIMITS)


def luma_of_jpeg(image: bytes, reduction: int) -> Call:
    """Return a call that decodes the luma of a JPEG file with simplejpeg, at 1/reduction of its
    size."""
    height, width, _, _ = simplejpeg.decode_jpeg_header(image)
    least = {"min_width": -(-width // reduction), "min_height": -(-height // reduction)}
    return lambda: simplejpeg.decode_jpeg(image, colorspace="GRAY", **least)


def reduction_for(size: tuple[int, int], width: int, samples_per_column: int) -> int:
    """Return the largest reduction (8, 4, 2 or 1) that leaves `samples_per_column` samples. The
    decoder chooses it the same way."""
    rows = width * size[1] // (2 * size[0])
    spare = min(size[0] // (width * samples_per_column), size[1] // (rows * samples_per_column))
    return max(reduction for reduction in (1, 2, 4, 8) if reduction <= max(1, spare))


def loaded(image: bytes) -> Call:
    """Return a call that decodes an image file with Pillow."""
    return lambda: Image.open(BytesIO(image)).load()


def row(name: str, baseline: Call, ours: Call, goal: float | None) -> str:
    """Time a conversion and its baseline; return a table row. `goal` is the maximum ratio, or None
    if there is no goal."""
    baseline_ms, our_ms = alternate(baseline, ours)
    ratio = our_ms / baseline_ms
    verdict = "|" if goal is None else f"{goal:.2f} | {'yes' if ratio <= goal else 'no'}"
    return f"| {name} | {baseline_ms:.2f} | {our_ms:.2f} | {ratio:.2f} | {verdict} |"


def _head(title: str, baseline: str, ours: str) -> Iterator[str]:
    yield f"### {title}"
    yield ""
    yield f"| | {baseline}, ms | {ours}, ms | ratio | maximum ratio (goal) | met |"
    yield "|---|--:|--:|--:|--:|---|"


def _jpegs() -> Iterator[str]:
    yield from _head(
        "JPEG, style ramp at width 80", "simplejpeg, luma at the same reduction", "asciist"
    )
    for name, size in SIZES.items():
        for quality in (85, 95):
            jpeg = encoded(photograph(*size), "JPEG", quality=quality)
            baseline = luma_of_jpeg(jpeg, reduction_for(size, 80, 2))
            label = (
                f"{name}, quality {quality}, {len(jpeg) / (size[0] * size[1]):.2f} bytes per pixel"
            )
            yield row(label, baseline, art(jpeg), 1.15 if name == "0.3 MP" else 1.10)
    yield ""


def _progressive() -> Iterator[str]:
    size = SIZES["12 MP"]
    yield from _head("Progressive JPEG of 12 MP", "simplejpeg, luma of all scans", "asciist")
    for name, subsampling in (("4:2:0", 2), ("4:4:4", 0)):
        jpeg = encoded(
            photograph(*size), "JPEG", quality=85, progressive=True, subsampling=subsampling
        )
        for style, samples in (("ramp", 2), ("structure", 4)):
            for width in (80, 200):
                reduction = reduction_for(size, width, samples)
                at_same, at_full = luma_of_jpeg(jpeg, reduction), luma_of_jpeg(jpeg, 1)
                label = f"{name}, {style} at width {width}"
                yield row(f"{label}, scaled 1/{reduction}", at_same, art(jpeg, width, style), 0.25)
                yield row(f"{label}, full size", at_full, art(jpeg, width, style), 0.25)
    yield ""


def _structure() -> Iterator[str]:
    yield "### Style structure compared with style ramp"
    yield ""
    yield "| | ramp, ms | structure, ms | difference, ms | maximum difference (goal) | met |"
    yield "|---|--:|--:|--:|--:|---|"
    for name, goals in STRUCTURE_GOALS.items():
        jpeg = encoded(photograph(*SIZES[name]), "JPEG", quality=85)
        for width, goal in goals.items():
            ramp_ms, structure_ms = alternate(art(jpeg, width), art(jpeg, width, "structure"))
            difference = structure_ms - ramp_ms
            verdict = (
                "|" if goal is None else f"{goal:.1f} | {'yes' if difference <= goal else 'no'}"
            )
            yield (
                f"| JPEG of {name}, width {width} | {ramp_ms:.2f} | {structure_ms:.2f} |"
                f" {difference:.2f} | {verdict} |"
            )
    yield ""


def _with_alpha(width: int, height: int) -> Image.Image:
    image = photograph(width, height).copy()
    image.putalpha(Image.radial_gradient("L").resize(image.size))
    return image


def _pngs_and_webp() -> Iterator[str]:
    yield from _head("PNG and WebP, style ramp at width 80", "Pillow's load", "asciist")
    smooth = Image.radial_gradient("L").resize((480, 420)).convert("RGBA")
    smooth.putalpha(Image.linear_gradient("L").resize(smooth.size))
    for name, image, image_format, goal in (
        ("PNG, RGB, 512x512", photograph(512, 512), "PNG", None),
        ("PNG, RGB, 12 MP", photograph(4000, 3000), "PNG", None),
        ("PNG, RGBA, 0.2 MP photograph", _with_alpha(480, 420), "PNG", 1.3),
        ("PNG, RGBA, 0.2 MP graphic", smooth, "PNG", 1.3),
        ("PNG, RGBA, 12 MP", _with_alpha(4000, 3000), "PNG", 1.3),
        ("WebP, 12 MP", photograph(4000, 3000), "WEBP", None),
    ):
        file = encoded(image, image_format)
        yield row(name, loaded(file), art(file), goal)
    yield ""


def _other_decoders() -> Iterator[str]:
    yield from _head("Other decoders, for information", "Pillow's load", "imagecodecs")
    for name, image, image_format, decoder in (
        ("PNG, RGB, 512x512", photograph(512, 512), "PNG", imagecodecs.spng_decode),
        ("PNG, RGB, 12 MP", photograph(4000, 3000), "PNG", imagecodecs.spng_decode),
        ("PNG, RGBA, 12 MP", _with_alpha(4000, 3000), "PNG", imagecodecs.spng_decode),
        ("WebP, 12 MP", photograph(4000, 3000), "WEBP", imagecodecs.webp_decode),
    ):
        file = encoded(image, image_format)
        yield row(name, loaded(file), lambda file=file, decoder=decoder: decoder(file), None)
    yield ""


def _imports() -> Iterator[str]:
    """Time the start of fresh interpreters that import different modules; yield a table."""
    first_art = "from asciist.conversion import *; from asciist.limits import Limits; import sys; "
    first_art += (
        "convert(open(sys.argv[1], 'rb').read(), ConversionOptions(width=80, style='ramp'),"
        " Limits()); "
    )
    first_art += "assert 'numpy' not in sys.modules"
    programs = {
        "the interpreter alone": "pass",
        "asciist.conversion": "import asciist.conversion",
        "asciist.conversion, and converting a JPEG of 0.2 MP": first_art,
        "asciist.conversion and numpy": "import asciist.conversion, numpy",
        "asciist.conversion, numpy and imagecodecs": (
            "import asciist.conversion, numpy; from imagecodecs import spng_decode"
        ),
    }
    spent: dict[str, list[float]] = {name: [] for name in programs}
    for _ in range(12):
        for name, program in programs.items():
            start = time.perf_counter()
            subprocess.run([sys.executable, "-c", program, str(EXAMPLE)], check=True)
            spent[name].append(1000 * (time.perf_counter() - start))
    medians = {name: statistics.median(values) for name, values in spent.items()}
    yield "### Imports in a fresh interpreter"
    yield ""
    yield "| | ms | above the interpreter alone, ms |"
    yield "|---|--:|--:|"
    for name, median in medians.items():
        yield f"| {name} | {median:.0f} | {median - medians['the interpreter alone']:.0f} |"
    yield ""
