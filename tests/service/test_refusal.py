"""Refused requests on persistent connections: the connection is kept only if the end of the request
is certain."""

import pytest

from service.refusal import request_bytes


def head(*lines: str, end: str = "\r\n") -> bytes:
    return end.join(["POST / HTTP/1.1", "Host: x", *lines, "", ""]).encode()


def test_a_request_ends_after_its_declared_length() -> None:
    start = head("content-LENGTH: 500", "Content-Type: application/json")

    assert (
        request_bytes(start)
        == request_bytes(start + b"the beginning of its body")
        == len(start) + 500
    )


@pytest.mark.parametrize(
    "start",
    [
        head(),
        head("Content-Length: 5", "Content-Length: 6"),
        head("Content-Length: 5, 6"),
        head("Content-Length : 5"),
        head("Content-Length: +5"),
        head("Content-Length: 5", "Transfer-Encoding: chunked"),
        head("Content-Length: 5", "X-Folded: a", " b"),
        head("Content-Length: 5", end="\n"),
        head("Content-Length: 5\nX-Other: 6"),
        head("Content-Length: 5", "Connection: close"),
        head("Content-Length: 5", "Expect: 100-continue"),
        head("Content-Length: 5").replace(b"HTTP/1.1", b"HTTP/1.0"),
        head("Content-Length: 99999999"),
        head("Content-Length: 5")[:-2],
    ],
)
def test_a_request_whose_end_is_uncertain_ends_its_connection(start: bytes) -> None:
    assert request_bytes(start) is None
