"""Messages between converter processes and the processes that use them.

A message has three parts: the lengths of the other two, a JSON object, and bytes (the image, or the
art in UTF-8).
"""

import json
import socket
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from asciist.options import ConversionOptions
from asciist.protocol.ports import Conversion

_LENGTHS: Final = struct.Struct("!II")
_ENCODER: Final = json.JSONEncoder(separators=(",", ":"))
_CHUNK_BYTES: Final = 262_144
_MAX_BYTES: Final = 64_000_000
"""Maximum bytes of a part of a message: the largest image has 10 MB, and the largest art 40 MB."""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """Answer to a request, from the converter process or, if it ended during the conversion, from
    its parent."""

    process: int
    """Id of the converter process."""
    conversion: Conversion | None = None
    """The outcome; None if there is none, because the conversion failed or the process ended."""
    failure: str = ""
    """Traceback of an unexpected error, which the process survived; empty if there was none."""
    ended: int | None = None
    """Exit status of a process that has ended or is about to, negative for a signal; None if it
    continues."""


def request(image: bytes, options: ConversionOptions) -> bytes:
    """Return a request to convert an image."""
    return _message(vars(options), image)


def read_request(connection: socket.socket) -> tuple[bytes, ConversionOptions]:
    """Return (image, options) of the next message. Raises EOFError if the connection ends first."""
    fields, image = _read(connection)
    return image, ConversionOptions(**fields)


def answer(answer: Answer) -> bytes:
    """Return an answer to a request."""
    art = None if answer.conversion is None else answer.conversion.art
    conversion = None if answer.conversion is None else {**vars(answer.conversion), "art": None}
    return _message(
        {**vars(answer), "conversion": conversion, "has_art": art is not None}, (art or "").encode()
    )


def read_answer(connection: socket.socket) -> Answer:
    """Return the next answer. Raises EOFError if the connection ends first."""
    fields, art = _read(connection)
    has_art, conversion = fields.pop("has_art"), fields.pop("conversion")
    if conversion is not None:
        changes = {
            "art": art.decode() if has_art else None,
            "aborted": tuple(conversion["aborted"]),
            "unsupported": tuple(conversion["unsupported"]),
        }
        conversion = Conversion(**conversion | changes)
    return Answer(**fields, conversion=conversion)


def _message(fields: Mapping[str, Any], content: bytes) -> bytes:
    header = _ENCODER.encode(fields).encode()
    return b"".join((_LENGTHS.pack(len(header), len(content)), header, content))


def _read(connection: socket.socket) -> tuple[dict[str, Any], bytes]:
    received = bytearray()
    _read_until(connection, received, _LENGTHS.size)
    header_bytes, content_bytes = _LENGTHS.unpack_from(received)
    if max(header_bytes, content_bytes) > _MAX_BYTES:
        raise EOFError("a message that no honest process sends")
    content_start = _LENGTHS.size + header_bytes
    _read_until(connection, received, content_start + content_bytes)
    view = memoryview(received)
    return json.loads(bytes(view[_LENGTHS.size : content_start])), bytes(view[content_start:])


def _read_until(connection: socket.socket, received: bytearray, size: int) -> None:
    """Append to `received` until it has at least `size` bytes. Each direction carries at most one
    message at a time."""
    while len(received) < size:
        chunk = connection.recv(max(_CHUNK_BYTES, size - len(received)))
        if not chunk:
            raise EOFError
        received += chunk
