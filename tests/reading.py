"""Reading requests in the servers of tests."""

from typing import BinaryIO


def read_head(stream: BinaryIO) -> bytes:
    """Read the head of a request, without its empty line. It ends early if the client leaves."""
    head = b""
    while (line := stream.readline()) not in (b"\r\n", b""):
        head += line
    return head
