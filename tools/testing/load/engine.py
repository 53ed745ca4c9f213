"""Closed and open loops of HTTP requests, in one thread with one epoll."""

import math
import re
import select
import socket
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from tools.testing.load.requests import Parts, RequestSource
from tools.testing.load.results import Result
from tools.testing.load.sockets import CONNECTING, LOOPBACK, Connector, raise_descriptor_limit

_CONTENT_LENGTH: Final = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_CHUNKED: Final = re.compile(rb"\r\ntransfer-encoding: *chunked", re.IGNORECASE)
_CLOSE: Final = re.compile(rb"\r\nconnection: *close", re.IGNORECASE)
_LAST_CHUNK: Final = b"0\r\n\r\n"
_MAX_HEAD_BYTES: Final = 65_536
_UNTIL_CLOSE, _UNTIL_LAST_CHUNK = -1, -2
"""Used in place of the number of missing bytes: the body ends with the connection, or with the last
chunk."""

_BUFFER_BYTES: Final = 1 << 18
_READABLE: Final = select.EPOLLIN | select.EPOLLRDHUP
_WRITABLE: Final = select.EPOLLOUT
_MAX_WAIT_SECONDS: Final = 0.1

_RETRY_SECONDS: Final = 0.1
"""Seconds that a client of a closed loop waits after a request that got no answer."""

Tick = Callable[[float, Sequence[Result]], None]
"""Called during a run with the seconds since its start and the results so far, which the run
continues to extend."""


@dataclass(frozen=True, kw_only=True)
class ClosedLoop:
    """A number of clients, each with one connection. A client sends its next request when the
    previous one is answered."""

    requests: RequestSource
    connections: int
    seconds: float
    start: float = 0.0
    """Seconds from the start of the run."""
    timeout: float = 30.0
    """Seconds from the time due until a request is abandoned and its connection closed."""


@dataclass(frozen=True, kw_only=True)
class OpenLoop:
    """Requests at fixed times, `rate` per second, however fast the server answers. Latency counts
    from the time due.

    A request uses the connection that has been idle for longest, or opens one. If `max_connections`
    are busy, it waits.
    """

    requests: RequestSource
    rate: float
    seconds: float
    start: float = 0.0
    timeout: float = 30.0
    max_connections: int = 2000
    new_connections: bool = False
    """True to open a connection for each request."""


Load = ClosedLoop | OpenLoop


def closed_loop(
    port: int,
    requests: RequestSource,
    *,
    connections: int,
    seconds: float,
    timeout: float = 30.0,
    sources: Sequence[str] = LOOPBACK,
) -> Result:
    """Run one closed loop against a port of this machine."""
    load = ClosedLoop(requests=requests, connections=connections, seconds=seconds, timeout=timeout)
    return run(port, load, sources=sources)[0]


def open_loop(
    port: int,
    requests: RequestSource,
    *,
    rate: float,
    seconds: float,
    timeout: float = 30.0,
    sources: Sequence[str] = LOOPBACK,
) -> Result:
    """Run one open loop against a port of this machine."""
    return run(
        port,
        OpenLoop(requests=requests, rate=rate, seconds=seconds, timeout=timeout),
        sources=sources,
    )[0]


def run(
    port: int,
    *loads: Load,
    tick: Tick | None = None,
    tick_seconds: float = 1.0,
    sources: Sequence[str] = LOOPBACK,
    stopped: Callable[[], bool] = lambda: False,
) -> list[Result]:
    """Run loads side by side; return a result for each when every request has been answered or has
    timed out.

    `tick` is called every `tick_seconds` in the same thread, and delays requests while it runs.
    `sources` are the local addresses of the connections, used in turn. Once `stopped` returns true,
    no more requests are due.
    """
    raise_descriptor_limit()
    cpu = time.process_time()
    engine = _Engine(Connector(port, sources), loads)
    try:
        engine.run(tick, tick_seconds, stopped)
    finally:
        engine.close()
    for result in engine.results:
        result.cpu_seconds = time.process_time() - cpu
    return engine.results


class _Connection:
    """A connection, and its current request if any."""

    __slots__ = (
        "body_left",
        "busy",
        "closing",
        "due",
        "flow",
        "head",
        "serial",
        "socket",
        "status",
        "unsent",
    )

    def __init__(self, flow: "_Flow", connection: socket.socket) -> None:
        self.flow = flow
        self.socket = connection
        self.busy = False
        self.closing = False
        self.serial = 0  # of the request, so that the time-outs of earlier ones are ignored
        self.due = 0.0
        self.unsent: list[bytes | memoryview] = []
        self.head = b""
        self.status = 0
        self.body_left = 0


class _Flow:
    """The state of one load. Times are in seconds after the start of the run."""

    def __init__(self, load: Load) -> None:
        self.load = load
        self.result = Result(start=load.start, seconds=load.seconds)
        self.end = load.start + load.seconds
        self.open = 0
        self.idle: deque[_Connection] = deque()
        self.waiting: deque[float] = deque()
        self.timeouts: deque[tuple[float, _Connection, int]] = deque()
        self.repeats = isinstance(load, ClosedLoop)
        self.max_connections = (
            load.connections if isinstance(load, ClosedLoop) else load.max_connections
        )
        self.keeps_connections = not (isinstance(load, OpenLoop) and load.new_connections)

    @property
    def next_due(self) -> float:
        """Time of the next request that does not depend on an answer; infinity without one."""
        if isinstance(self.load, ClosedLoop):
            return math.inf if self.result.offered else self.load.start
        due = self.load.start + self.result.offered / self.load.rate
        return due if due < self.end else math.inf

    def take_due(self, now: float) -> None:
        """Append the requests that are due to the queue of waiting requests."""
        while (due := self.next_due) <= now:
            # a closed loop starts with a request on each connection
            count = self.max_connections if self.repeats else 1
            self.waiting.extend([now if self.repeats else due] * count)
            self.result.offered += count

    @property
    def is_finished(self) -> bool:
        return self.next_due == math.inf and not self.waiting and self.open == len(self.idle)


class _Engine:
    def __init__(self, connector: Connector, loads: Sequence[Load]) -> None:
        self._connector = connector
        self._epoll = select.epoll()
        # all responses are read into it; most are only counted
        self._buffer = memoryview(bytearray(_BUFFER_BYTES))
        self._connections: dict[int, _Connection] = {}
        self._began = time.monotonic()
        self._flows = [_Flow(load) for load in loads]

    @property
    def results(self) -> list[Result]:
        return [flow.result for flow in self._flows]

    def _now(self) -> float:
        """Return the seconds since the start of the run."""
        return time.monotonic() - self._began

    def run(self, tick: Tick | None, tick_seconds: float, stopped: Callable[[], bool]) -> None:
        next_tick = tick_seconds
        while not all(flow.is_finished for flow in self._flows):
            now = self._now()
            if stopped():
                self._end(now)
            wake = now + _MAX_WAIT_SECONDS
            for flow in self._flows:
                self._send_due(flow, now)
                self._expire(flow, now)
                wake = min(wake, flow.next_due)
            if tick and now >= next_tick:
                tick(now, self.results)
                next_tick = now + tick_seconds
            for descriptor, events in self._epoll.poll(max(0.0, wake - self._now()), 256):
                connection = self._connections.get(descriptor)
                if connection is None:
                    continue
                if events & _WRITABLE:
                    self._send(connection)
                if events & ~_WRITABLE and connection.socket.fileno() >= 0:
                    self._receive(connection)

    def _end(self, now: float) -> None:
        for flow in self._flows:
            if flow.end > now:
                flow.end = now
                flow.result.seconds = now - flow.load.start

    def close(self) -> None:
        for connection in self._connections.values():
            connection.socket.close()
        self._epoll.close()

    def _send_due(self, flow: _Flow, now: float) -> None:
        flow.take_due(now)
        while flow.waiting and flow.waiting[0] <= now:
            if flow.idle:
                connection = flow.idle.popleft()
            elif flow.open < flow.max_connections:
                opened = self._open(flow)
                if opened is None:
                    continue
                connection = opened
            else:
                return
            self._start(connection, flow.waiting.popleft(), now)

    def _open(self, flow: _Flow) -> _Connection | None:
        """Open a connection. If that fails at once, the request at the head of the queue fails."""
        connected, outcome = self._connector.connect()
        if outcome not in CONNECTING:
            connected.close()
            self._record(flow, flow.waiting.popleft(), 0, "no address")
            return None
        connection = _Connection(flow, connected)
        self._connections[connected.fileno()] = connection
        self._epoll.register(connected.fileno(), _READABLE)
        flow.open += 1
        flow.result.connections += 1
        return connection

    def _start(self, connection: _Connection, due: float, now: float) -> None:
        flow = connection.flow
        if now - due > flow.result.lag and not flow.repeats and flow.open < flow.max_connections:
            flow.result.lag = now - due
        connection.busy = True
        connection.due = due
        connection.serial += 1
        flow.timeouts.append((due + flow.load.timeout, connection, connection.serial))
        parts: Parts = flow.load.requests()
        connection.unsent = list(parts)
        self._send(connection, first=True)

    def _send(self, connection: _Connection, *, first: bool = False) -> None:
        """Send as much of the request as the kernel accepts; let epoll report when it accepts
        more."""
        unsent = connection.unsent
        try:
            sent = connection.socket.sendmsg(unsent) if unsent else 0
        except BlockingIOError:
            sent = 0
        except ConnectionRefusedError:
            self._fail(connection, "connection refused")
            return
        except OSError:
            # The server may have answered before it closed the connection.
            connection.unsent = []
            self._receive(connection, after_failure=True)
            return
        for index, part in enumerate(unsent):
            if sent < len(part):
                connection.unsent = [memoryview(part)[sent:], *unsent[index + 1 :]]
                if first:
                    self._epoll.modify(connection.socket.fileno(), _READABLE | _WRITABLE)
                return
            sent -= len(part)
        connection.unsent = []
        if not first:
            self._epoll.modify(connection.socket.fileno(), _READABLE)

    def _receive(self, connection: _Connection, *, after_failure: bool = False) -> None:
        try:
            size = connection.socket.recv_into(self._buffer)
        except BlockingIOError:
            if after_failure:
                self._fail(connection, "reset")
            return
        except ConnectionRefusedError:
            self._fail(connection, "connection refused")
            return
        except OSError:
            self._fail(connection, "reset")
            return
        if size == 0:
            self._end_of_stream(connection)
        elif connection.busy:
            self._read(connection, size)
        # Anything else is an unrequested answer, such as 408 on an idle connection; the server
        # closes it next.

    def _end_of_stream(self, connection: _Connection) -> None:
        if connection.busy and connection.status and connection.body_left == _UNTIL_CLOSE:
            self._finish(connection)
        else:
            self._fail(connection, "closed")

    def _read(self, connection: _Connection, size: int) -> None:
        """Read the response until its last byte. A chunked body ends with the read that contains
        the end of the last chunk."""
        if not connection.status:
            head = connection.head + bytes(self._buffer[:size])
            end = head.find(b"\r\n\r\n") + 4
            if end < 4:
                connection.head = head
                if len(head) > _MAX_HEAD_BYTES:
                    self._fail(connection, "invalid")
                return
            if not head.startswith(b"HTTP/1.") or not head[9:12].isdigit():
                self._fail(connection, "invalid")
                return
            self._read_head(connection, head[:end])
            tail = head[-len(_LAST_CHUNK) :]
            size = len(head) - end
        else:
            tail = (connection.head + bytes(self._buffer[max(0, size - 5) : size]))[
                -len(_LAST_CHUNK) :
            ]
        connection.head = tail
        if connection.body_left >= 0:
            connection.body_left = max(0, connection.body_left - size)
        if connection.body_left == 0 or (
            connection.body_left == _UNTIL_LAST_CHUNK and tail == _LAST_CHUNK
        ):
            self._finish(connection)

    def _read_head(self, connection: _Connection, head: bytes) -> None:
        connection.status = int(head[9:12])
        length = _CONTENT_LENGTH.search(head)
        if connection.status in (204, 304):
            connection.body_left = 0
        elif length:
            connection.body_left = int(length[1])
        else:
            connection.body_left = _UNTIL_LAST_CHUNK if _CHUNKED.search(head) else _UNTIL_CLOSE
        connection.closing = _CLOSE.search(head) is not None

    def _finish(self, connection: _Connection) -> None:
        """Record a complete response; send the next request, or leave the connection idle."""
        flow = connection.flow
        now = self._now()
        self._record(flow, connection.due, connection.status, "", now)
        connection.busy = False
        # If part of the request is not sent, the server does not read it: the connection cannot be
        # used again.
        if (
            connection.unsent
            or connection.closing
            or not flow.keeps_connections
            or connection.body_left == _UNTIL_CLOSE
        ):
            self._drop(connection)
            if flow.repeats and now < flow.end:
                flow.result.offered += 1
                flow.waiting.appendleft(now)
            return
        connection.status = 0
        connection.head = b""
        if flow.repeats and now < flow.end:
            flow.result.offered += 1
            self._start(connection, now, now)
        else:
            flow.idle.append(connection)

    def _fail(self, connection: _Connection, reason: str) -> None:
        """Close a connection. If it carries a request, record that as failed."""
        flow = connection.flow
        if connection.busy:
            self._record(flow, connection.due, 0, reason)
            retry = self._now() + _RETRY_SECONDS
            if flow.repeats and retry < flow.end:
                flow.result.offered += 1
                flow.waiting.append(retry)
        else:
            flow.idle.remove(connection)
        self._drop(connection)

    def _drop(self, connection: _Connection) -> None:
        connection.busy = False
        connection.flow.open -= 1
        del self._connections[connection.socket.fileno()]
        connection.socket.close()

    def _expire(self, flow: _Flow, now: float) -> None:
        while flow.timeouts and flow.timeouts[0][0] <= now:
            _, connection, serial = flow.timeouts.popleft()
            if connection.busy and connection.serial == serial:
                self._fail(connection, "timeout")
        while flow.waiting and flow.waiting[0] + flow.load.timeout <= now:
            self._record(flow, flow.waiting.popleft(), 0, "timeout")

    def _record(self, flow: _Flow, due: float, status: int, error: str, now: float = 0.0) -> None:
        result = flow.result
        result.due.append(due)
        result.latency.append((now or self._now()) - due)
        result.status.append(status)
        if error:
            result.errors[error] += 1
