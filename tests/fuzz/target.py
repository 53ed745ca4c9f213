"""The fuzz target: any bytes with any options must become art or a RejectedError. Any other
exception is a finding.

Run by `tests.fuzz`. The first two bytes of an input select the options; the rest is the image.
Coverage is measured in the conversion and in Pillow's plugins, not in its decoders, which are
written in C.
"""

import importlib
import pkgutil
import struct
import sys
import zlib
from contextlib import suppress

import atheris

with atheris.instrument_imports(
    include=[
        "asciist.conversion",
        "PIL.AvifImagePlugin",
        "PIL.BmpImagePlugin",
        "PIL.GifImagePlugin",
        "PIL.ImageFile",
        "PIL.ImagePalette",
        "PIL.JpegImagePlugin",
        "PIL.MpoImagePlugin",
        "PIL.PngImagePlugin",
        "PIL.TiffImagePlugin",
        "PIL.WebPImagePlugin",
    ]
):
    # Import all modules now, including those that the conversion imports on first use, to
    # instrument them.
    from PIL import (  # noqa: F401
        AvifImagePlugin,
        BmpImagePlugin,
        GifImagePlugin,
        JpegImagePlugin,
        PngImagePlugin,
        TiffImagePlugin,
        WebPImagePlugin,
    )

    from asciist import conversion

    for module in pkgutil.walk_packages(conversion.__path__, "asciist.conversion."):
        importlib.import_module(module.name)

from asciist.conversion import STYLES, ConversionOptions
from asciist.errors import RejectedError
from asciist.limits import Limits
from asciist.options import COLORS
from tools.testing.drawing import convert

OPTION_BYTES = 2
_STYLES, _COLORS, _CHARS = tuple(STYLES), tuple(COLORS), ("", "ab", "^@#")


def options(head: bytes) -> ConversionOptions:
    """Decode options from the first two bytes of an input; zeros are the defaults with width 1."""
    width, choices = head
    choices, style = divmod(choices, len(_STYLES))
    choices, color = divmod(choices, len(_COLORS))
    choices, chars = divmod(choices, len(_CHARS))
    return ConversionOptions(
        width=1 + width % 200,
        style=_STYLES[style],
        color=_COLORS[color],
        # otherwise refused before the image is read
        chars=_CHARS[chars] if STYLES[_STYLES[style]].characters else "",
        invert=bool(choices % 2),
    )


def one_input(data: bytes) -> None:
    """Convert the image in `data` with the options in it."""
    if len(data) >= OPTION_BYTES:
        with suppress(RejectedError):
            convert(data[OPTION_BYTES:], options(data[:OPTION_BYTES]), Limits())


def mutated(data: bytes, max_size: int, seed: int) -> bytes:
    """Mutate an input. In three of four cases, correct the checksums of a PNG: with wrong ones,
    most inputs are refused at once."""
    mutation = atheris.Mutate(data, max_size)
    return (
        mutation
        if seed % 4 == 0
        else mutation[:OPTION_BYTES] + with_correct_checksums(mutation[OPTION_BYTES:])
    )


def with_correct_checksums(image: bytes) -> bytes:
    """Return `image`, with the checksum of each chunk corrected if it is a PNG."""
    if not image.startswith(b"\x89PNG\r\n\x1a\n"):
        return image
    fixed = bytearray(image)
    position = 8
    while position + 12 <= len(fixed):
        (length,) = struct.unpack_from(">I", fixed, position)
        end = position + 8 + length
        if end + 4 > len(fixed):
            break
        struct.pack_into(">I", fixed, end, zlib.crc32(fixed[position + 4 : end]))
        position = end + 4
    return bytes(fixed)


if __name__ == "__main__":
    atheris.Setup(sys.argv, one_input, custom_mutator=mutated)
    atheris.Fuzz()
