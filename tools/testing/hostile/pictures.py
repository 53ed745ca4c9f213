"""Source images and EXIF blocks for hostile files."""

import struct
from functools import cache

from PIL import Image

from tools.testing.images import gradient

BOMB_BYTES = 64_000_000
"""Uncompressed size of a decompression bomb: large enough to show in peak memory, small enough not
to exhaust a machine."""


def frames(count: int, mode: str = "RGB") -> list[Image.Image]:
    """Return `count` images of 32x24 px, each rotated by a different angle, for an animation."""
    image = gradient(32, 24, mode)
    return [image.rotate(7 * turn) for turn in range(count)]


@cache
def noise(length: int) -> bytes:
    """Return incompressible bytes, the same in every run (a linear congruential generator)."""
    state, noise = 1, bytearray()
    for _ in range(length):
        state = (state * 1_103_515_245 + 12_345) & 0x7FFF_FFFF
        noise.append(state >> 16 & 0xFF)
    return bytes(noise)


def exif(orientation: int, order: str = "<") -> bytes:
    """Return the smallest EXIF block with an orientation; `order` is "<" for little-endian or ">"
    for big-endian."""
    mark = b"II" if order == "<" else b"MM"
    return mark + struct.pack(f"{order}HIHHHIHHI", 42, 8, 1, 0x0112, 3, 1, orientation, 0, 0)


def _directory(*entries: bytes, following: int = 0, count: int | None = None) -> bytes:
    return (
        struct.pack("<H", len(entries) if count is None else count)
        + b"".join(entries)
        + struct.pack("<I", following)
    )


def broken_exif() -> dict[str, bytes]:
    """Return malformed EXIF blocks, by name. None has a valid orientation."""
    head = b"II" + struct.pack("<HI", 42, 8)
    entry = struct.pack("<HHII", 0x010F, 2, 4, 0x41414141)
    return {
        "EXIF with nothing but a byte order mark": b"II",
        "EXIF with an invalid byte order mark": b"XX*\0\x08\0\0\0" + bytes(64),
        "EXIF with a directory offset of 4 GB": b"II*\0\xff\xff\xff\xff",
        "EXIF with a directory inside its header": b"II*\0\0\0\0\0" + bytes(64),
        "EXIF with directories in a loop": head + _directory(entry, following=8),
        "EXIF with one entry and a count of 65535": head + _directory(entry, count=65_535),
        "EXIF with 5000 entries and a count of 65535": head
        + _directory(*[entry] * 5000, count=65_535),
        "EXIF with a value of 4 GB": head
        + _directory(struct.pack("<HHII", 0x010F, 2, 2**32 - 1, 26)),
        "EXIF with a value offset of 4 GB": head
        + _directory(struct.pack("<HHII", 0x010F, 2, 100, 2**32 - 1)),
        "EXIF with a GPS directory that points to itself": head
        + _directory(struct.pack("<HHII", 0x8825, 4, 1, 8)),
        "EXIF with a thumbnail of 4 GB": head
        + _directory(
            struct.pack("<HHII", 0x0201, 4, 1, 0), struct.pack("<HHII", 0x0202, 4, 1, 2**32 - 1)
        ),
        "EXIF with orientation 9": exif(9),
        "EXIF with orientation 0": exif(0),
        "EXIF with an unknown value type": head
        + _directory(struct.pack("<HHII", 0x0112, 77, 1, 0)),
    }
