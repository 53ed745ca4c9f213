"""Compresses response bodies with gzip or zstd, as the client's Accept-Encoding header prefers.

A compressed answer cannot reveal a secret by its length (the BREACH attack), because no answer
contains one: the service has no credentials, cookies or form tokens. The art and its URL are
functions of the request.
"""

import sys
import time
import zlib
from functools import lru_cache
from typing import Final

from flask import Request, Response

from .negotiation import coding, may_be_compressed

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

_MIN_BYTES: Final = 1000  # a smaller one fits into the network packet of the response headers
"""Minimum size of a compressed body."""

# At this level, 7 kB of art takes 0.03 ms with zstd and 0.04 ms with gzip. gzip's level 6 takes
# three to eight times as long, for a 7 to 25% smaller result.
_LEVEL: Final = 1
"""Compression level of answers made for one request, for both codings."""

_FILE_LEVEL: Final = 9
"""Compression level of static files; each is compressed once per process and coding."""

PIECE_BYTES: Final = 131_072
"""Bytes compressed at a time, in at most 1 ms. In between, other requests of the process
proceed."""


def encode(response: Response, request: Request) -> None:
    """Compress the body if the client accepts it, and turn the response into a 304 if the client's
    copy is current.

    Each coding of a body has its own ETag, as strong ETags require.
    """
    # a static file, which Flask has compared with the client's copy already
    is_file = response.direct_passthrough
    encoding = _encoding(response, request)
    if encoding != "identity":
        etag, is_weak = response.get_etag()
        if etag:
            response.set_etag(f"{etag}-{encoding}", weak=bool(is_weak))
        response.headers["Content-Encoding"] = encoding
    if "ETag" in response.headers and (encoding != "identity" or not is_file):
        response.make_conditional(request)
    if encoding == "identity" or response.status_code == 304:
        return
    response.headers.pop("Accept-Ranges", None)  # a range would be one of the uncompressed file
    response.direct_passthrough = False  # so that get_data reads the file
    response.set_data(
        _compressed_file(response.get_data(), encoding)
        if is_file
        else _compressed(response.data, encoding)
    )


def _encoding(response: Response, request: Request) -> str:
    """Return the content coding for a response. Add Accept-Encoding to Vary if another request may
    get another coding."""
    if not may_be_compressed(response.mimetype):
        return "identity"
    vary = response.headers.get("Vary")
    response.headers["Vary"] = f"{vary}, Accept-Encoding" if vary else "Accept-Encoding"
    # an animation, which plays while it is sent
    if response.is_streamed and not response.direct_passthrough:
        return "identity"
    if response.status_code in (204, 206, 304) or "Content-Encoding" in response.headers:
        return "identity"
    return coding(request.environ) if (response.content_length or 0) >= _MIN_BYTES else "identity"


@lru_cache(maxsize=32)
def _compressed_file(body: bytes, encoding: str) -> bytes:
    return _compressed(body, encoding, level=_FILE_LEVEL)


def _compressed(body: bytes, encoding: str, level: int = _LEVEL) -> bytes:
    compressor = (
        zstd.ZstdCompressor(level)
        if encoding == "zstd"
        else zlib.compressobj(level, wbits=16 + zlib.MAX_WBITS)
    )
    pieces = []
    for start in range(0, len(body), PIECE_BYTES):
        if start:
            time.sleep(0)
        pieces.append(compressor.compress(body[start : start + PIECE_BYTES]))
    return b"".join([*pieces, compressor.flush()])
