"""Image files as containers: identify the format by its signature and keep only the parts that a decoder needs.

Most parts of an image file are metadata: comments, colour profiles, thumbnails, compressed text. Decoders read them too, which
makes some small files slow or large: a PNG whose text chunks inflate to 64 MB, a JPEG with two million empty segments. A
progressive JPEG may also have three hundred scans. The modules here, one for each format, drop every part that cannot change a
pixel and limit the number of the others before a decoder sees the file. The only metadata read is the EXIF orientation.
"""

import importlib
import re
import struct
from functools import cache
from types import ModuleType
from typing import Final

from asciist.conversion.containers.container import Container
from asciist.conversion.damage import damaged
from asciist.errors import UnknownFormatError

__all__ = ["Container", "unpack"]

_SIGNATURE: Final = re.compile(
    rb"(?P<jpeg>\xff\xd8\xff)|(?P<png>\x89PNG\r\n\x1a\n)|(?P<gif>GIF8[79]a)|(?P<webp>RIFF.{4}WEBP)|(?P<bmp>BM)"
    rb"|(?P<tiff>II[*+]\0(?!.{4}CR)|MM\0[*+])|(?P<avif>\0\0.{2}ftyp(?:.{4}){0,30}?avi[fs])",
    re.DOTALL,
)
"""The signatures, each in a group named for the module, of this package, whose `unpack` strips the file. The module is imported
on first use. An AVIF has its brand (ISO/IEC 14496-12 section 4.3) first or among the compatible ones. `CR` marks a camera's raw
data in a TIFF."""


def unpack(image: bytes) -> Container:
    """Identify the format of `image` and strip it.

    Raises UnknownFormatError if no signature matches, DamagedImageError if the file is truncated or its structure is invalid.
    """
    signature = _SIGNATURE.match(image)
    if signature is None or signature.lastgroup is None:
        raise UnknownFormatError(_module("unsupported").sentence(image))
    try:
        container: Container = _module(signature.lastgroup).unpack(image)
    except (IndexError, OverflowError, struct.error) as error:  # OverflowError: an offset of more than 63 bits
        raise damaged("the file is truncated") from error
    return container


@cache
def _module(name: str) -> ModuleType:
    return importlib.import_module(f"{__name__}.{name}")
