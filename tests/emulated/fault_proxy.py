"""A proxy in front of an emulated HTTP service that makes it slow, silent, refusing or throttling.

    with FaultProxy(emulator.port) as proxy:
        ...                               # send requests to proxy.url
        proxy.fault = Fault.SILENT        # open connections are closed; the next ones get no answer

It runs in its own thread.
"""

import asyncio
import contextlib
import re
import threading
from collections.abc import Callable
from enum import Enum
from typing import Final, Self

_THROTTLED: Final = {
    "s3": (
        b"503 Slow Down",
        b"application/xml",
        b"<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>",
    ),
    "sqs": (
        b"400 Bad Request",
        b"application/x-amz-json-1.0",
        b'{"__type":"com.amazonaws.sqs#RequestThrottled","message":"Rate exceeded"}',
    ),
    "azure": (
        b"503 Server Busy",
        b"application/xml",
        b"<Error><Code>ServerBusy</Code><Message>The server is busy.</Message></Error>",
    ),
}
_LENGTH: Final = re.compile(rb"\r\ncontent-length: *(\d+)\r\n", re.IGNORECASE)


class Fault(Enum):
    """A fault of the service."""

    NONE = "none"
    SLOW = "slow"
    """Each part of a request arrives late."""
    SILENT = "silent"
    """Requests arrive and are never answered."""
    REFUSING = "refusing"
    """Connections are closed at once."""
    THROTTLING = "throttling"
    """Requests are answered with the cloud's error for exceeding a limit."""


_FORWARDING: Final = {Fault.NONE: 0.0, Fault.SLOW: 0.05}
"""Delay of each part of a request, in seconds, for the faults that still answer."""


class FaultProxy:
    """Listens on a free port of this machine and forwards to another."""

    def __init__(self, port: int, service: str) -> None:
        """`service` is "s3", "sqs" or "azure", which throttle in different ways."""
        self._upstream = port
        self._service = service
        self._fault = Fault.NONE
        self._connections: set[asyncio.StreamWriter] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    @property
    def url(self) -> str:
        """Address of the proxy."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def fault(self) -> Fault:
        """Current fault of all requests."""
        return self._fault

    @fault.setter
    def fault(self, fault: Fault) -> None:
        """Set the fault. Close open connections unless both the old and the new fault forward
        requests."""
        closes = not {fault, self._fault} <= _FORWARDING.keys()
        self._fault = fault
        if closes:
            self._loop.call_soon_threadsafe(self._close_connections)

    def __enter__(self) -> Self:
        self._thread.start()
        listening = asyncio.run_coroutine_threadsafe(
            asyncio.start_server(self._serve, "127.0.0.1", 0), self._loop
        )
        self._server = listening.result()
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    async def _end(self) -> None:
        self._server.close()
        self._close_connections()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    def _close_connections(self) -> None:
        for writer in self._connections:
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._connections.add(writer)
        try:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                match self._fault:
                    case Fault.REFUSING:
                        pass
                    case Fault.SILENT:
                        await asyncio.Event().wait()
                    case Fault.THROTTLING:
                        await self._throttle(reader, writer)
                    case _:
                        await self._forward(reader, writer)
        finally:
            self._connections.discard(writer)
            writer.transport.abort()

    async def _throttle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        status, kind, body = _THROTTLED[self._service]
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            if length := _LENGTH.search(head):
                await reader.readexactly(int(length[1]))
            writer.write(
                b"HTTP/1.1 %b\r\nContent-Type: %b\r\nContent-Length: %d\r\n\r\n%b"
                % (status, kind, len(body), body)
            )
            await writer.drain()

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        upstream_reader, upstream_writer = await asyncio.open_connection(
            "127.0.0.1", self._upstream
        )
        self._connections.add(upstream_writer)
        try:
            ways = [
                asyncio.create_task(
                    _pump(reader, upstream_writer, lambda: _FORWARDING.get(self._fault, 0.0))
                ),
                asyncio.create_task(_pump(upstream_reader, writer, lambda: 0.0)),
            ]
            _, rest = await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            for way in rest:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
        finally:
            self._connections.discard(upstream_writer)
            upstream_writer.transport.abort()


async def _pump(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, delay: Callable[[], float]
) -> None:
    while data := await reader.read(65_536):
        await asyncio.sleep(delay())
        writer.write(data)
        await writer.drain()
