"""Compresses stored art, which may be five thousand times as large as the image that it was made
from."""

import sys
from typing import Any, Final

from asciist.protocol.artifacts import digest_of_image_key

_MAGIC: Final = b"\x28\xb5\x2f\xfd"
"""First bytes of a zstd frame. No image and no JSON document begins with them."""

# most art for a terminal is smaller, and saves no page of the database
_MIN_BYTES: Final = 8192
"""Minimum size of an object that is compressed."""

_LEVEL: Final = 1
"""Level of zstd. Flat art of 1 MB takes 0.4 ms and becomes 0.2 kB."""


def packed(key: str, body: bytes) -> bytes:
    """Return the bytes to keep for an object. Images, which are compressed already, stay as they
    are."""
    if body.startswith(_MAGIC) or (len(body) >= _MIN_BYTES and digest_of_image_key(key) is None):
        compressed: bytes = _zstd().compress(body, _LEVEL)
        return compressed
    return body


def unpacked(kept: bytes) -> bytes:
    """Return the object that `packed` was given. An object of an older release is not
    compressed."""
    return _zstd().decompress(kept) if kept.startswith(_MAGIC) else kept


def _zstd() -> Any:
    """Return the module, which the worker's packages lack: a function that is tried on one machine
    has this store, too."""
    if sys.version_info >= (3, 14):
        from compression import zstd  # noqa: PLC0415
    else:
        from backports import zstd  # noqa: PLC0415
    return zstd
