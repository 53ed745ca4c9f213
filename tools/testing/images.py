"""Images made in memory, for tests and measurements."""

from io import BytesIO
from pathlib import Path
from typing import Final

from PIL import Image

from asciist import formats

EXAMPLES: Final = Path(__file__).parents[2] / "docs" / "examples"
FORMATS: Final = tuple(row.key.upper() for row in formats.FORMATS)
"""Pillow's name of each format that is converted."""
ANIMATED_FORMATS: Final = tuple(row.key.upper() for row in formats.FORMATS if row.is_animated)


def encoded(image: Image.Image, image_format: str, **options: object) -> bytes:
    """Return `image` as a file in a format supported by Pillow, such as "JPEG"; `options` are those
    of `Image.save`."""
    file = BytesIO()
    image.save(file, image_format, **options)
    return file.getvalue()


def small_photograph() -> bytes:
    """Return a JPEG photograph of 640x480 px (0.3 megapixels)."""
    with Image.open(EXAMPLES / "rocket.jpg") as rocket:
        return encoded(rocket.resize((640, 480)), "JPEG", quality=85)


def gradient(width: int = 64, height: int = 48, mode: str = "RGB") -> Image.Image:
    """Return a smooth gradient from black at the top to white at the bottom."""
    return Image.linear_gradient("L").resize((width, height)).convert(mode)
