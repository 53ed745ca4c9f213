"""BMP files: a header of 14 bytes and one that begins with its own length. They have no metadata to
strip."""

import struct
from typing import Final

from asciist import formats
from asciist.conversion.containers.container import Container
from asciist.conversion.damage import damaged
from asciist.errors import TooManyPixelsError, sentences

_OS2_HEADER_BYTES: Final = 12
_HEADER_BYTES: Final = frozenset({40, 52, 56, 64, 108, 124})
"""Lengths of the second header, by which its versions are told apart."""
_RUN_LENGTHS: Final = frozenset({1, 2})
"""Compressions with run lengths, of 8 and 4 bits per pixel."""
_MAX_RLE_PIXELS: Final = 1_000_000
_MAX_RLE_BYTES: Final = 500_000
"""Limits of a run-length encoded BMP. Pillow decodes it in Python while holding the interpreter
lock: 0.1 s per megapixel and 0.2 s per megabyte."""
_RLE_BYTES_PER_PIXEL: Final = 4
"""Bytes per pixel of a run-length encoded BMP, which Pillow decodes into a growing array and then
copies."""


def unpack(image: bytes) -> Container:
    """Return a BMP unchanged."""
    (header_bytes,) = struct.unpack_from("<I", image, 14)
    if header_bytes == _OS2_HEADER_BYTES:
        width, height = struct.unpack_from("<HH", image, 18)
        return Container(format=formats.BMP, size=(width, height), body=image)
    if header_bytes not in _HEADER_BYTES:
        raise damaged("unknown BMP header")
    width, height = struct.unpack_from("<Ii", image, 18)  # a negative height: from the top
    size = width, abs(height)
    is_rle = struct.unpack_from("<I", image, 30)[0] in _RUN_LENGTHS
    if is_rle and width * abs(height) > _MAX_RLE_PIXELS:
        raise TooManyPixelsError(
            sentences.too_many_pixels(*size, _MAX_RLE_PIXELS, kind="run-length encoded BMP")
        )
    if is_rle and len(image) > _MAX_RLE_BYTES:
        raise TooManyPixelsError(sentences.too_large_rle(_MAX_RLE_BYTES))
    return Container(
        format=formats.BMP,
        size=size,
        body=image,
        decoder_bytes=_RLE_BYTES_PER_PIXEL * width * abs(height) if is_rle else 0,
    )
