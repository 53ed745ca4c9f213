"""Image files as containers: identify the format by its signature and keep only the parts that a decoder needs.

Most parts of an image file are metadata: comments, colour profiles, thumbnails, compressed text. Decoders read them too, and
some small files become slow or large there: a PNG whose text chunks inflate to 64 MB, a JPEG with two million empty segments, a
progressive JPEG with three hundred scans. The modules here, one for each format, drop every part that cannot change a pixel and
bound the number of the others before a decoder sees the file. The only metadata read is the EXIF orientation.
"""

import struct
from collections.abc import Callable
from typing import Final

from asciist.conversion.containers import gif, jpeg, png, webp
from asciist.conversion.containers.container import Container
from asciist.conversion.damage import damaged
from asciist.errors import UnknownFormatError

__all__ = ["Container", "unpack"]


def _unpack_bmp(image: bytes) -> Container:
    """A BMP has no metadata to strip."""
    return Container(format="BMP", body=image)


_FORMATS: Final[tuple[tuple[tuple[tuple[int, bytes], ...], Callable[[bytes], Container]], ...]] = (
    (((0, b"\xff\xd8\xff"),), jpeg.unpack),
    (((0, b"\x89PNG\r\n\x1a\n"),), png.unpack),
    (((0, b"GIF87a"),), gif.unpack),
    (((0, b"GIF89a"),), gif.unpack),
    (((0, b"RIFF"), (8, b"WEBP")), webp.unpack),
    (((0, b"BM"),), _unpack_bmp),
)
"""For each signature, as (offset, bytes) pairs that must all match, the function that strips the file."""


def unpack(image: bytes) -> Container:
    """Identify the format of `image` and strip it.

    Raises UnknownFormatError if no signature matches, DamagedImageError if the file breaks the rules of its format.
    """
    for signature, unpack_format in _FORMATS:
        if all(image.startswith(part, offset) for offset, part in signature):
            try:
                return unpack_format(image)
            except (IndexError, struct.error) as error:
                raise damaged("the file is truncated") from error
    raise UnknownFormatError("unknown image format; JPEG, PNG, GIF, WebP and BMP can be converted")
