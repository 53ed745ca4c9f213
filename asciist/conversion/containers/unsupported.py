"""Files of unsupported formats that people send by mistake, each with a helpful sentence."""

import re
import zlib
from typing import Final

from asciist.errors import sentences

_HEAD_BYTES: Final = 4096
"""Bytes searched for the first element of a document."""

_SENTENCES: Final = {
    sentences.HEIC: rb"....ftyp(?:hei[cxms]|hev[cxms]|mif1|msf1)",
    sentences.CAMERA_RAW: rb"II\*\0....CR|II(?:RO|RS|U\0)|FUJIFILMCCD-RAW|....ftypcrx ",
    sentences.VIDEO: rb"....ftyp|....moov|\x1aE\xdf\xa3|RIFF....AVI |\0\0\x01[\xb3\xba]",
    sentences.PDF: rb"%PDF-",
    sentences.PHOTOSHOP: rb"8BPS",
    sentences.SVG: rb"(?:\xef\xbb\xbf)?\s*<(?:svg\b|(?:\?xml|!--|!DOCTYPE svg).*?<(?:\w+:)?svg\b)",
    sentences.HTML: rb"(?:\xef\xbb\xbf)?\s*(?:<!--.*?-->\s*)?<(?:!DOCTYPE\s+html|html|head|body)\b",
}
"""Signatures, by the sentence for their files. The first match counts."""
_PATTERNS: Final = {
    sentence: re.compile(signature, re.DOTALL | re.IGNORECASE)
    for sentence, signature in _SENTENCES.items()
}

_GZIP: Final = b"\x1f\x8b"


def sentence(file: bytes) -> str:
    """Return the sentence for a file of an unsupported format."""
    head = file[:_HEAD_BYTES]
    if head.startswith(_GZIP):
        head = _inflated(head)
    return next(
        (text for text, pattern in _PATTERNS.items() if pattern.match(head)),
        sentences.UNKNOWN_FORMAT,
    )


def _inflated(head: bytes) -> bytes:
    """Return the first bytes of a gzip file, such as a compressed SVG; empty if it is damaged."""
    try:
        return zlib.decompressobj(wbits=31).decompress(head, _HEAD_BYTES)
    except zlib.error:
        return b""
