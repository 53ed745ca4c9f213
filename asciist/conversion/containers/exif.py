"""The orientation tag of EXIF metadata (EXIF 2.32 section 4.6.4 A).

EXIF is a TIFF file: a byte order mark, the offset of the first directory, and 12-byte directory
entries. The tag is read here because Pillow parses the whole directory and warns about damage in
it.
"""

import struct
from typing import Final

_ORIENTATION_TAG: Final = {"<": b"\x12\x01", ">": b"\x01\x12"}
"""Tag 0x0112 in either byte order."""
_LONG: Final = 4

_MAX_ENTRIES: Final = 1000
"""Maximum directory entries read. Cameras write about twenty, in the order of their tags."""


def exif_orientation(tiff: bytes | memoryview) -> int:
    """Return the orientation (1 to 8) in the first directory of an EXIF block; 1 if there is none
    or the block is damaged."""
    order = {b"II": "<", b"MM": ">"}.get(bytes(tiff[:2]))
    if order is None:
        return 1
    try:
        (directory,) = struct.unpack_from(f"{order}I", tiff, 4)
        (entries,) = struct.unpack_from(f"{order}H", tiff, directory)
        for entry in range(
            directory + 2, min(directory + 2 + 12 * min(entries, _MAX_ENTRIES), len(tiff)), 12
        ):
            if tiff[entry : entry + 2] == _ORIENTATION_TAG[order]:
                (kind,) = struct.unpack_from(f"{order}H", tiff, entry + 2)
                (value,) = struct.unpack_from(
                    f"{order}{'I' if kind == _LONG else 'H'}", tiff, entry + 8
                )
                return value if 1 <= value <= 8 else 1
    except struct.error:
        pass
    return 1
