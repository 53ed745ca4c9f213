"""Write PNG files, still (RFC 2083) and animated (APNG, in the third edition of the W3C's PNG
specification).

A file is written one row of art at a time, unlike with Pillow, which needs the whole picture in
memory. A picture without colours has a palette of 16 shades, and so 4 bits per pixel.
"""

import struct
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Final

import numpy as np
from numpy.typing import NDArray

SHADES: Final = 16
"""Colours of a palette."""

_LEVEL: Final = 6
"""Compression level: 9 takes three times as long for a few percent."""

_SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"

_DELAY_UNITS: Final = (1000, 100, 10, 1)
"""Supported fractions of a second for a delay, by preference."""
_MAX_DELAY: Final = 0xFFFF
"""Maximum delay in any of these units."""

Pixels = NDArray[np.uint8]
"""(height, width) numbers of shades, or (height, width, 3) colours."""


@dataclass(frozen=True, kw_only=True)
class Patch:
    """A frame: the rectangle of pixels to replace, and the time until the next frame."""

    left: int
    top: int
    width: int
    height: int
    milliseconds: int
    bands: Iterable[Pixels]
    """The pixels, from the top."""


def still(size: tuple[int, int], palette: bytes | None, bands: Iterable[Pixels]) -> Iterator[bytes]:
    """Yield a PNG in pieces. `size` is (width, height) in pixels, and `palette` is None for a
    picture in colour.

    An empty piece means that a row of art has been drawn, but nothing is written yet.
    """
    yield _head(size, palette)
    for data in _compressed(bands):
        yield _chunk(b"IDAT", data) if data else b""
    yield _chunk(b"IEND", b"")


def moving(
    size: tuple[int, int], palette: bytes | None, patches: Sequence[Patch], *, plays: int
) -> Iterator[bytes]:
    """Yield an animated PNG in pieces, like `still`. The first patch is the whole picture; with 0
    `plays`, it repeats endlessly."""
    yield _head(size, palette) + _chunk(b"acTL", struct.pack(">2I", len(patches), plays))
    numbers = count()
    for patch in patches:
        place = patch.width, patch.height, patch.left, patch.top
        # The last two say that the frame stays for the next one to change, and replaces what was
        # there.
        yield _chunk(
            b"fcTL",
            struct.pack(">5I2H2B", next(numbers), *place, *_delay(patch.milliseconds), 0, 0),
        )
        for data in filter(None, _compressed(patch.bands)):
            if patch is patches[0]:
                yield _chunk(b"IDAT", data)
            else:
                yield _chunk(b"fdAT", struct.pack(">I", next(numbers)) + data)
    yield _chunk(b"IEND", b"")


def raw_bytes(width: int, height: int, *, is_coloured: bool) -> int:
    """Return the bytes of pixels before compression."""
    return height * (3 * width if is_coloured else -(-width // 2))


def _delay(milliseconds: int) -> tuple[int, int]:
    """Return a time as a fraction of a second, with two 16-bit numbers."""
    unit = next((unit for unit in _DELAY_UNITS if milliseconds * unit // 1000 <= _MAX_DELAY), 1)
    return min(milliseconds * unit // 1000, _MAX_DELAY), unit


def _head(size: tuple[int, int], palette: bytes | None) -> bytes:
    # bits of a channel, and indexed or truecolour
    depth, colour_type = (4, 3) if palette else (8, 2)
    head = _SIGNATURE + _chunk(b"IHDR", struct.pack(">2I5B", *size, depth, colour_type, 0, 0, 0))
    return head + _chunk(b"PLTE", palette) if palette else head


def _compressed(bands: Iterable[Pixels]) -> Iterator[bytes]:
    compressor = zlib.compressobj(_LEVEL)
    for band in bands:
        yield compressor.compress(_scanlines(band))
    yield compressor.flush()


def _scanlines(pixels: Pixels) -> bytes:
    """Return PNG scanlines with filter type 0 (None), which compresses text best."""
    if pixels.ndim == 2:
        even = np.pad(pixels, ((0, 0), (0, pixels.shape[1] % 2)))
        rows: Pixels = even[:, ::2] * np.uint8(SHADES) + even[:, 1::2]
    else:
        rows = pixels.reshape(len(pixels), -1)
    return np.pad(rows, ((0, 0), (1, 0))).tobytes()


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
