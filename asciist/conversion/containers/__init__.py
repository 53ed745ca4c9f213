"""Image files as containers: identify the format by its signature, read the size, and keep only the
parts that a decoder needs.

Most parts of an image file are metadata: comments, colour profiles, thumbnails, compressed text.
Decoders read them too, which makes some small files slow or large: a PNG whose text chunks inflate
to 64 MB, a JPEG with two million empty segments. A progressive JPEG may also have three hundred
scans. The modules here drop every part that cannot change a pixel and limit the number of the
others before a decoder sees the file; only a still AVIF keeps its metadata. The only metadata read
is the EXIF orientation.

Each row of `asciist.formats` has a module named after its key, which is imported on first use. It
has a function `unpack`, which strips a file, and, if images of the format may move, a function
`find_frames`, as below.
"""

import importlib
import re
import struct
from functools import cache
from types import ModuleType
from typing import Final

from asciist import formats
from asciist.conversion.containers.animated import AnimatedFile
from asciist.conversion.containers.container import Container
from asciist.conversion.damage import damaged
from asciist.errors import UnknownFormatError
from asciist.formats import ImageFormat

__all__ = ["AnimatedFile", "Container", "find_frames", "unpack"]

_SIGNATURE: Final = re.compile(
    b"|".join(b"(?P<%s>%s)" % (row.key.encode(), row.signature) for row in formats.FORMATS),
    re.DOTALL,
)


def unpack(image: bytes) -> Container:
    """Identify the format of `image` and strip it.

    Raises UnknownFormatError if no signature matches, DamagedImageError if the file is truncated or
    its structure is invalid.
    """
    signature = _SIGNATURE.match(image)
    if signature is None or signature.lastgroup is None:
        raise UnknownFormatError(_module("unsupported").sentence(image))
    try:
        container: Container = _module(signature.lastgroup).unpack(image)
    except (IndexError, OverflowError, struct.error) as error:
        # OverflowError: an offset of more than 63 bits
        raise damaged("the file is truncated") from error
    if min(container.size) < 1:
        raise damaged("width or height is not positive")
    return container


def find_frames(
    image: bytes, image_format: ImageFormat, canvas: tuple[int, int]
) -> AnimatedFile | None:
    """Find the frames of a file accepted by `unpack`; None if fewer than two can be decoded.

    `canvas` is (width, height) of the image as stored. Raises DamagedImageError for an AVIF with an
    unreadable track.
    """
    if not image_format.is_animated:
        return None
    found: AnimatedFile | None = _module(image_format.key).find_frames(image, canvas)
    return found if found is not None and len(found.frames) > 1 else None


@cache
def _module(name: str) -> ModuleType:
    return importlib.import_module(f"{__name__}.{name}")
