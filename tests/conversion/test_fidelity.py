"""The style `ramp` against an independent reference: a full decode and a Lanczos filter in floating
point."""

from functools import cache
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from asciist.conversion import ConversionOptions
from asciist.limits import Limits
from tools.testing.drawing import convert

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"
IMAGES = (
    "cat.jpg",
    "astronaut.jpg",
    "rocket.jpg",
    "galaxies.jpg",
    "camera.png",
    "coffee.webp",
    "horse.png",
    "moon.gif",
)
WIDTHS = (40, 80, 200)
LEVELS = " .:-=+*#%@"

Floats = NDArray[np.float64]


def lanczos(size: int, samples: int) -> Floats:
    """Return the weights of a Lanczos-3 filter (Turkowski 1990), shape (samples, size). When it
    shrinks the image, it is wider by the scale."""
    scale = size / samples
    stretch = max(scale, 1.0)
    centres = (np.arange(samples) + 0.5) * scale
    distance = (np.arange(size)[None, :] + 0.5 - centres[:, None]) / stretch
    weights = np.where(abs(distance) < 3, np.sinc(distance) * np.sinc(distance / 3), 0.0)
    return weights / weights.sum(axis=1, keepdims=True)


@cache
def luma(name: str) -> Floats:
    with Image.open(EXAMPLES / name) as image:
        rgba = np.asarray(image.convert("RGBA"), dtype=np.float64)
    return rgba[:, :, :3] @ np.array([0.299, 0.587, 0.114]) * rgba[:, :, 3] / 255


def reference(name: str, width: int) -> NDArray[np.int64]:
    pixels = luma(name)
    rows = max(1, int(width * pixels.shape[0] / pixels.shape[1] / 2))
    cells = lanczos(pixels.shape[0], rows) @ pixels @ lanczos(pixels.shape[1], width).T
    return np.clip(np.floor(cells / 255 * 10), 0, 9).astype(np.int64)


def levels(name: str, width: int) -> NDArray[np.int64]:
    art = convert(
        (EXAMPLES / name).read_bytes(), ConversionOptions(width=width, style="ramp"), Limits()
    )
    return np.array([[LEVELS.index(character) for character in line] for line in art.split("\n")])


def equal_share(name: str, width: int) -> float:
    return float((levels(name, width) == reference(name, width)).mean())


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", IMAGES)
def test_95_percent_of_characters_are_equal_and_none_differs_by_more_than_one_level(
    name: str, width: int
) -> None:
    actual, expected = levels(name, width), reference(name, width)

    assert actual.shape == expected.shape
    assert abs(actual - expected).max() <= 1
    assert (actual == expected).mean() >= 0.95


def test_97_percent_of_characters_are_equal_on_average() -> None:
    assert np.mean([equal_share(name, width) for name in IMAGES for width in WIDTHS]) >= 0.97
