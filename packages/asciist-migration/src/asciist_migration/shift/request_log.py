"""Metrics from a log of requests in HAProxy's format. HAProxy itself provides only averages, and no
p95.

The configuration manual of HAProxy 3.0 documents the fields in section 8.2.6.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

from asciist_migration.shift.ports import MetricsError, Sample, Window

LOG_FORMAT: Final = 'log-format "asciist-shift %[date(0,ms)] %b %s %ST %Ta %Tc %Tr %ts"'
"""Line of a frontend's configuration. Its fields are the time at which the request ended, its
backend, server and status, its total time, the times to connect and to wait for the server, all in
milliseconds, and two letters for how the session ended."""

_SKIP_BYTES: Final = 1_000_000
"""Bytes of the log that may be read without finding a relevant line."""


@dataclass(frozen=True, kw_only=True)
class _Request:
    ended: float
    began: float
    backend: str
    server: str
    status: int
    waited_ms: float


class RequestLog:
    """A file with a line for each request, which grows."""

    def __init__(self, path: Path, *, backend: str) -> None:
        self._path = path
        self._backend = backend

    def window(self, start: float, end: float) -> Window:
        """Lines are in the order in which requests ended, so the log is complete up to the time of
        the last one."""
        requests: dict[str, list[_Request]] = {}
        as_of = 0.0
        try:
            with self._path.open("rb") as log:
                self._skip_to(log, start)
                for request in filter(None, map(_parsed, log)):
                    as_of = max(as_of, request.ended)
                    if request.backend == self._backend and start <= request.began < end:
                        requests.setdefault(request.server, []).append(request)
        except OSError as error:
            raise MetricsError(f"the log of requests: {error}") from error
        samples = {
            server: Sample(
                began=tuple(request.began for request in found),
                times=tuple(request.waited_ms for request in found),
                statuses=tuple(request.status for request in found),
            )
            for server, found in requests.items()
        }
        return Window(start=start, end=end, as_of=as_of, unit="ms", samples=samples)

    def _skip_to(self, log: IO[bytes], start: float) -> None:
        """Seek by bisection to the start of a line before which every request ended before
        `start`."""
        low, high = 0, log.seek(0, os.SEEK_END)
        while high - low > _SKIP_BYTES:
            middle = (low + high) // 2
            log.seek(middle)
            log.readline()  # the rest of a line
            request = next(filter(None, map(_parsed, log)), None)
            low, high = (middle, high) if request and request.ended < start else (low, middle)
        log.seek(low)
        if low:
            log.readline()


def _parsed(line: bytes) -> _Request | None:
    """Return the request of a line.

    None if the line is not a request or is incomplete, or if the client gave up, because that is
    not the origin's fault.
    """
    _, found, text = line.partition(b"asciist-shift ")
    if not found or not line.endswith(b"\n"):
        return None
    try:
        ended, backend, server, status, whole, connecting, waiting, ending = text.decode().split()
        took = max(0, int(whole.removeprefix("+")))
        # Without an answer, -1 stands for a time that was never measured, and the client has waited
        # for the whole time.
        waited = (
            int(connecting) + int(waiting) if int(connecting) >= 0 and int(waiting) >= 0 else took
        )
        request = _Request(
            ended=int(ended) / 1000,
            began=(int(ended) - took) / 1000,
            backend=backend,
            server=server,
            status=int(status),
            waited_ms=waited,
        )
    except ValueError:
        return None
    return None if ending.startswith("C") or request.status < 100 else request
