"""Requests, each as the parts of one `sendmsg` call. A source returns the next request when it is
called."""

import base64
import itertools
import json
import time
from collections.abc import Callable
from typing import Final

Parts = tuple[bytes, ...]
RequestSource = Callable[[], Parts]

_COMMENT_BYTES: Final = 12
"""Length of the comment that makes an image unique: 16 characters of base64."""

_FIRST_NUMBER: Final = time.time_ns() // 1000
"""Number in the first unique image of this process; greater than those of earlier processes."""

_numbers = itertools.count(_FIRST_NUMBER)


def fixed(method: str, path: str, body: bytes = b"", **headers: str) -> RequestSource:
    """Return a source that repeats one request. Underscores in names of headers stand for
    hyphens."""
    head = _head(method, path, len(body), headers)
    request = (head, body) if body else (head,)
    return lambda: request


def json_request(image: bytes, *, width: int, style: str = "structure") -> RequestSource:
    """Return a source that repeats one conversion request in JSON; all but the first are answered
    from the store."""
    body = json.dumps(
        {"width": width, "style": style, "image": base64.b64encode(image).decode()}
    ).encode()
    return fixed("POST", "/", body, Content_Type="application/json")


def several(*sources: RequestSource) -> RequestSource:
    """Return a source that draws its requests from each of `sources` in turn."""
    turns = itertools.cycle(sources)

    def next_request() -> Parts:
        return next(turns)()

    return next_request


class FreshUpload:
    """A source of unique uploads: a comment in each JPEG file contains another number."""

    def __init__(self, jpeg: bytes, *, path: str = "/?width=80", **headers: str) -> None:
        before, after = _around_comment(jpeg)
        self._before = (
            _head("PUT", path, len(before) + _COMMENT_BYTES + len(after), headers) + before
        )
        self._after = after

    def __call__(self) -> Parts:
        return self._before, b"%012x" % (next(_numbers) & 0xFFFFFFFFFFFF), self._after


class FreshJson:
    """A source of unique conversion requests in JSON: a comment in each JPEG file contains another
    number."""

    def __init__(self, jpeg: bytes, *, width: int, style: str | None = "structure") -> None:
        before, after = _around_comment(jpeg)
        # Both parts and the comment have a multiple of three bytes before them, so they are encoded
        # independently.
        options = {"width": width} | ({"style": style} if style else {})
        start = json.dumps(options | {"image": ""}).encode().removesuffix(b'"}') + base64.b64encode(
            before
        )
        self._after = base64.b64encode(after) + b'"}'
        length = len(start) + _COMMENT_BYTES // 3 * 4 + len(self._after)
        self._before = _head("POST", "/", length, {"Content-Type": "application/json"}) + start

    def __call__(self) -> Parts:
        return self._before, b"%016x" % next(_numbers), self._after


def _around_comment(jpeg: bytes) -> Parts:
    """Return the parts of a JPEG file around the text of a comment inserted after its start.

    The first part has six bytes, which base64 encodes as eight characters: start of image, COM
    marker, length.
    """
    if not jpeg.startswith(b"\xff\xd8"):
        raise ValueError("not a JPEG file")
    return b"\xff\xd8\xff\xfe" + (_COMMENT_BYTES + 2).to_bytes(2, "big"), jpeg[2:]


def _head(method: str, path: str, length: int, headers: dict[str, str]) -> bytes:
    """Return a request's head. Without a body it has no Content-Length, as sent by browsers and
    curl."""
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    if length or method in ("POST", "PUT"):
        lines.append(f"Content-Length: {length}")
    return "\r\n".join([*lines, "", ""]).encode()
