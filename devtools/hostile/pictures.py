"""The pictures that hostile files are made from, and EXIF."""

import struct
from functools import cache

from PIL import Image

from devtools.images import gradient

BOMB_BYTES = 64_000_000
"""What a bomb inflates to: enough to be seen in a peak, too little to bring a machine down when the defence fails."""


def frames(count: int, mode: str = "RGB") -> list[Image.Image]:
    """Small pictures that differ, for an animation."""
    picture = gradient(32, 24, mode)
    return [picture.rotate(7 * turn) for turn in range(count)]


@cache
def noise(length: int) -> bytes:
    """Bytes that do not compress, the same at every run (a linear congruential generator)."""
    state, noise = 1, bytearray()
    for _ in range(length):
        state = (state * 1_103_515_245 + 12_345) & 0x7FFF_FFFF
        noise.append(state >> 16 & 0xFF)
    return bytes(noise)


def exif(orientation: int, order: str = "<") -> bytes:
    """The smallest EXIF block that holds an orientation."""
    mark = b"II" if order == "<" else b"MM"
    return mark + struct.pack(f"{order}HIHHHIHHI", 42, 8, 1, 0x0112, 3, 1, orientation, 0, 0)


def _directory(*entries: bytes, following: int = 0, count: int | None = None) -> bytes:
    return struct.pack("<H", len(entries) if count is None else count) + b"".join(entries) + struct.pack("<I", following)


def broken_exif() -> dict[str, bytes]:
    """EXIF blocks made to trap those who walk them. None has an orientation."""
    head = b"II" + struct.pack("<HI", 42, 8)
    entry = struct.pack("<HHII", 0x010F, 2, 4, 0x41414141)
    return {
        "EXIF of nothing but its byte order": b"II",
        "EXIF of no byte order": b"XX*\0\x08\0\0\0" + bytes(64),
        "EXIF whose directory is far away": b"II*\0\xff\xff\xff\xff",
        "EXIF whose directory begins inside its header": b"II*\0\0\0\0\0" + bytes(64),
        "EXIF whose directories loop": head + _directory(entry, following=8),
        "EXIF of 65535 entries of which one is there": head + _directory(entry, count=65_535),
        "EXIF of 65535 entries": head + _directory(*[entry] * 5000, count=65_535),
        "EXIF whose value is 4 GB long": head + _directory(struct.pack("<HHII", 0x010F, 2, 2**32 - 1, 26)),
        "EXIF whose value is far away": head + _directory(struct.pack("<HHII", 0x010F, 2, 100, 2**32 - 1)),
        "EXIF whose directory of GPS is itself": head + _directory(struct.pack("<HHII", 0x8825, 4, 1, 8)),
        "EXIF whose thumbnail is 4 GB long": head
        + _directory(struct.pack("<HHII", 0x0201, 4, 1, 0), struct.pack("<HHII", 0x0202, 4, 1, 2**32 - 1)),
        "EXIF of orientation 9": exif(9),
        "EXIF of orientation 0": exif(0),
        "EXIF of a type that there is not": head + _directory(struct.pack("<HHII", 0x0112, 77, 1, 0)),
    }
