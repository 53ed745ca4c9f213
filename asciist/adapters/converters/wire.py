"""Messages between a web process and a converter process.

A message has three parts: the lengths of the other two, a JSON object, and bytes (the image, or the art in UTF-8).
"""

import json
import socket
import struct
from collections.abc import Mapping
from typing import Any, Final

from asciist.options import ConversionOptions
from asciist.protocol.ports import Conversion

_LENGTHS: Final = struct.Struct("!II")
_ENCODER: Final = json.JSONEncoder(separators=(",", ":"))
_CHUNK_BYTES: Final = 262_144


def request(image: bytes, options: ConversionOptions) -> bytes:
    """Return a request to convert an image."""
    return _message(vars(options), image)


def read_request(connection: socket.socket) -> tuple[bytes, ConversionOptions]:
    """Return (image, options) of the next message. Raises EOFError if the connection ends first."""
    fields, image = _read(connection)
    return image, ConversionOptions(**fields)


def answer(conversion: Conversion, process: int) -> bytes:
    """Return the answer to a request from the converter with the id `process`."""
    has_art = conversion.art is not None
    return _message({**vars(conversion), "art": None, "has_art": has_art, "process": process}, (conversion.art or "").encode())


def read_answer(connection: socket.socket) -> tuple[Conversion, int]:
    """Return the next answer and the id of the process that gave it. Raises EOFError if the connection ends first."""
    fields, art = _read(connection)
    fields["art"] = art.decode() if fields.pop("has_art") else None
    process: int = fields.pop("process")
    return Conversion(**fields), process


def _message(fields: Mapping[str, Any], content: bytes) -> bytes:
    header = _ENCODER.encode(fields).encode()
    return b"".join((_LENGTHS.pack(len(header), len(content)), header, content))


def _read(connection: socket.socket) -> tuple[dict[str, Any], bytes]:
    received = bytearray()
    _read_until(connection, received, _LENGTHS.size)
    header_bytes, content_bytes = _LENGTHS.unpack_from(received)
    content_start = _LENGTHS.size + header_bytes
    _read_until(connection, received, content_start + content_bytes)
    view = memoryview(received)
    return json.loads(bytes(view[_LENGTHS.size : content_start])), bytes(view[content_start:])


def _read_until(connection: socket.socket, received: bytearray, size: int) -> None:
    """Append to `received` until it has at least `size` bytes. No more than one message is ever sent in each direction."""
    while len(received) < size:
        chunk = connection.recv(max(_CHUNK_BYTES, size - len(received)))
        if not chunk:
            raise EOFError
        received += chunk
