"""Image files as containers: identify the format by its signature and keep only the parts that a decoder needs.

Most parts of an image file are metadata: comments, colour profiles, thumbnails, compressed text. Decoders read them too, which
makes some small files slow or large: a PNG whose text chunks inflate to 64 MB, a JPEG with two million empty segments. A
progressive JPEG may also have three hundred scans. The modules here, one for each format, drop every part that cannot change a
pixel and limit the number of the others before a decoder sees the file. The only metadata read is the EXIF orientation.
"""

import importlib
import struct
from typing import Final

from asciist.conversion.containers.container import Container
from asciist.conversion.damage import damaged
from asciist.errors import UnknownFormatError, sentences

__all__ = ["Container", "unpack"]

_SIGNATURES: Final[tuple[tuple[tuple[tuple[int, bytes], ...], str], ...]] = (
    (((0, b"\xff\xd8\xff"),), "jpeg"),
    (((0, b"\x89PNG\r\n\x1a\n"),), "png"),
    (((0, b"GIF87a"),), "gif"),
    (((0, b"GIF89a"),), "gif"),
    (((0, b"RIFF"), (8, b"WEBP")), "webp"),
    (((0, b"BM"),), "bmp"),
)
"""(signature, module). A signature is (offset, bytes) pairs that must all match. The module, of this package, is imported on
first use; its `unpack` strips the file."""


def unpack(image: bytes) -> Container:
    """Identify the format of `image` and strip it.

    Raises UnknownFormatError if no signature matches, DamagedImageError if the file is truncated or its structure is invalid.
    """
    for signature, module in _SIGNATURES:
        if all(image.startswith(part, offset) for offset, part in signature):
            try:
                container: Container = importlib.import_module(f"{__name__}.{module}").unpack(image)
            except (IndexError, struct.error) as error:
                raise damaged("the file is truncated") from error
            return container
    raise UnknownFormatError(sentences.UNKNOWN_FORMAT)
