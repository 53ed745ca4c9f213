"""Everything that a conversion loads lazily, loaded before converters are forked: they cannot open
files, and share these pages."""

import base64
import io
import traceback
from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from PIL import Image

from asciist import formats
from asciist.adapters.converters.in_process import InProcessConverter
from asciist.limits import Limits
from asciist.options import AUTO, STYLES, ConversionOptions

_ENCODED: Final = {
    formats.WEBP: "UklGRhoAAABXRUJQVlA4TA4AAAAvAAAAAAcQEf0PRET/Aw==",
    formats.AVIF: (
        "AAAAIGZ0eXBhdmlmAAAAAGF2aWZtaWYxbWlhZk1BMUIAAADrbWV0YQAAAAAAAAAhaGRscgAAAAAAAAAAcGljdAAA"
        "AAAAAAAAAAAAAAAAAAAOcGl0bQAAAAAAAQAAAB5pbG9jAAAAAEQAAAEAAQAAAAEAAAETAAAAIAAAAChpaW5mAAAA"
        "AAABAAAAGmluZmUCAAAAAAEAAGF2MDFDb2xvcgAAAABqaXBycAAAAEtpcGNvAAAAFGlzcGUAAAAAAAAAAQAAAAEA"
        "AAAQcGl4aQAAAAADCAgIAAAADGF2MUOBAAwAAAAAE2NvbHJuY2x4AAEADQAGgAAAABdpcG1hAAAAAAAAAAEAAQQB"
        "AoMEAAAAKG1kYXQSAAoIGAAGiAhoNCAyEh/3h4UV3///4sAAAJA1jjx+3A=="
    ),
    formats.TIFF: (
        "SUkqABIAAAB4nGMAAAABAAEACQAAAQMAAQAAAAEAAAABAQMAAQAAAAEAAAACAQMAAQAAAAgAAAADAQMAAQAAAAgA"
        "AAAGAQMAAQAAAAEAAAARAQQAAQAAAAgAAAAWAQMAAQAAAAEAAAAXAQQAAQAAAAkAAAAcAQMAAQAAAAEAAAAAAAAA"
    ),
}
"""Images of one pixel, by Pillow. Encoding them here would load the encoders, 0.2 s of CPU time."""


def warm_up() -> None:
    """Convert an image of each format, in each style, with and without colour, and fail as a
    conversion may fail."""
    small = ConversionOptions(width=4, invert=AUTO)
    images = [*_images()]
    cases = [(image, small) for image in images]
    cases += [(image, replace(small, animate=True)) for image in images]
    cases += [
        (images[0], replace(small, style=style, color=color))
        for style in STYLES
        for color in ("none", "ansi")
    ]
    cases.append((images[0], replace(small, style="ramp", chars=" é", background="#ffffff")))
    cases.append((b"unknown", small))
    converter = InProcessConverter(Limits())
    for image, options in cases:
        converter.convert(image, options, wait_seconds=0)
    try:
        raise RuntimeError
    except RuntimeError:
        traceback.format_exc()


def _images() -> Iterator[bytes]:
    """Yield an image of each format, first one in colour."""
    frames = [Image.new("RGB", (4, 2), colour) for colour in ("red", "blue")]
    for row in formats.FORMATS:
        if row in _ENCODED:
            yield base64.b64decode(_ENCODED[row])
            continue
        file = io.BytesIO()
        moving = {"save_all": True, "append_images": frames[1:]} if row.is_animated else {}
        frames[0].save(file, row.key, **moving)
        yield file.getvalue()
