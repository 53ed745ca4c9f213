"""The style `structure`: characters match shape and tone, and are the same on every machine."""

import os
import subprocess
import sys
from collections import Counter
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from asciist.conversion import ConversionOptions
from asciist.conversion.glyphs import CHARACTERS, COLUMNS, ROWS, glyph_bank
from asciist.limits import Limits
from tools.testing.drawing import convert
from tools.testing.hostile import encoded, exif, gradient, png_chunk

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"


def art(image: Image.Image, width: int = 40, **options: object) -> list[str]:
    return convert(
        encoded(image, "PNG"),
        ConversionOptions(width=width, style="structure", **options),
        Limits(max_cells_per_pixel=10_000),
    ).split("\n")


def drawing(*lines: tuple[int, int, int, int], size: tuple[int, int] = (320, 320)) -> Image.Image:
    """Return an image of white lines on black."""
    image = Image.new("L", size)
    for line in lines:
        ImageDraw.Draw(image).line(line, fill=255, width=2)
    return image


@pytest.mark.parametrize(
    ("line", "drawn"),
    [
        ((164, 0, 164, 320), "|Il![]()"),
        ((0, 171, 320, 171), "-=~"),
        ((0, 318, 320, 318), "_"),
        ((0, 320, 160, 0), "/"),
        ((0, 0, 160, 320), "\\"),
    ],
)
def test_a_line_is_drawn_with_characters_of_its_shape(
    line: tuple[int, int, int, int], drawn: str
) -> None:
    cells = Counter("".join(art(drawing(line), 80)).replace(" ", ""))

    assert sum(cells[character] for character in drawn) > 0.8 * cells.total()


def test_brighter_areas_get_denser_characters() -> None:
    coverage = dict(zip(CHARACTERS, glyph_bank().coverage.sum(1), strict=True))
    rows = art(gradient(320, 320), 40)
    tones = [sum(coverage[character] for character in row) for row in rows]

    assert tones[0] == 0
    assert all(brighter >= darker - 0.1 * tones[-1] for darker, brighter in pairwise(tones))
    assert tones[-1] > 0.18 * 40 * 8 * 1020


def test_black_is_blank() -> None:
    assert set("".join(art(Image.new("L", (100, 100))))) == {" "}


@pytest.mark.parametrize("level", [40, 128, 200])
def test_flat_areas_are_not_drawn_as_stripes(level: int) -> None:
    image = Image.new("L", (400, 400), level)
    image.paste(0, (0, 0, 130, 400))
    image.paste(255, (330, 0, 400, 400))
    flat = "".join(row[40:60] for row in art(image, 80))

    assert not set(flat) & set("|_-=")


def test_exif_orientation_is_applied() -> None:
    image = gradient(200, 300)
    rotated = encoded(image.transpose(Image.Transpose.ROTATE_90), "PNG")
    upright = convert(encoded(image, "PNG"), ConversionOptions(width=30), Limits())
    tagged = rotated[:33] + png_chunk(b"eXIf", exif(6)) + rotated[33:]

    assert convert(tagged, ConversionOptions(width=30), Limits()) == upright


def test_inverted_art_equals_the_art_of_the_negative() -> None:
    image = gradient(320, 320)  # at width 80, a sample is one pixel: none is rounded

    assert art(image, 80, invert=True) == art(image.point(lambda luma: 255 - luma), 80)


def test_only_the_characters_in_chars_are_drawn() -> None:
    image = Image.open(EXAMPLES / "astronaut.jpg").convert("L")

    assert set("".join(art(image, chars=" .oO@"))) <= set(" .oO@")
    assert not set("".join(art(image, chars="^|@g"))) & set("|@g")
    assert set("".join(art(image, chars="#"))) == {"#"}


@pytest.mark.parametrize("size", [(1, 1), (1, 400), (3000, 1), (2, 2), (7, 5)])
@pytest.mark.parametrize("width", [1, 2, 3, 80])
def test_tiny_and_thin_images_are_converted(size: tuple[int, int], width: int) -> None:
    columns, rows = width, max(1, width * size[1] // (2 * size[0]))

    drawn = art(gradient(*size), width)

    assert [len(row) for row in drawn] == [columns] * rows


def test_every_sum_is_exact_in_single_precision() -> None:
    weights = glyph_bank().weights
    # samples, the mean around them, the constant
    largest_inputs = np.array([255.0] * (COLUMNS * ROWS + 1) + [1.0])

    assert (weights == np.rint(weights)).all()
    assert (largest_inputs @ np.abs(weights.astype(np.float64))).max() < 2**24


ALL_EXAMPLES = """
import pathlib, sys
from asciist.conversion import ConversionOptions, convert
from asciist.limits import Limits
for path in sorted(pathlib.Path("examples").iterdir()):
    if path.suffix != ".md":
        for width in (33, 120):
            print(convert(path.read_bytes(), ConversionOptions(width=width), Limits()))
        for style in ("structure", "braille", "blocks"):
            print(convert(path.read_bytes(), ConversionOptions(width=60, style=style, color="ansi"), Limits()))
"""


def test_the_art_is_the_same_with_every_matrix_multiplication_kernel() -> None:
    """Covers two kernels of OpenBLAS, one and two threads, and NumPy without its optimizations for
    newer processors."""
    environments: list[dict[str, str]] = [
        {},
        {"OPENBLAS_CORETYPE": "Prescott", "OPENBLAS_NUM_THREADS": "1"},
        {"OPENBLAS_CORETYPE": "Haswell", "OPENBLAS_NUM_THREADS": "2"},
        {"NPY_DISABLE_CPU_FEATURES": "AVX512F AVX512CD AVX512_SKX AVX2 FMA3"},
    ]
    outputs = {
        subprocess.run(
            [sys.executable, "-c", ALL_EXAMPLES],
            env={**os.environ, **environment},
            cwd=EXAMPLES.parent,
            capture_output=True,
            check=True,
        ).stdout
        for environment in environments
    }

    assert len(outputs) == 1
    assert len(outputs.pop()) > 10_000
