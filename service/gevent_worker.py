"""The gunicorn worker of the service: one process with an event loop, in which a waiting client
costs next to nothing.

It adds to gunicorn's gevent worker what a server needs that faces slow clients and more requests
than it can serve:

- time limits for the head of a request, for an idle connection and for reading the answer;
- a bound on connections: beyond it, the connection that has waited longest for its head gives way,
  or else an idle upload;
- refusal of uploads before anything is parsed, while the application takes on no more;
- answers to malformed requests that look like all others of the service, and never count as its
  failure;
- a graceful stop that does not wait for idle connections.
"""

import random
import socket
import time
from collections.abc import Callable, MutableMapping, Sequence
from contextlib import suppress
from functools import partial
from http import HTTPStatus
from typing import Any, Final, Protocol

import gevent
from gevent.server import StreamServer
from gunicorn import util
from gunicorn.http import Request, RequestParser, wsgi
from gunicorn.http.body import ChunkedReader
from gunicorn.http.errors import NoMoreData, ParseException
from gunicorn.workers.ggevent import GeventWorker

from asciist.errors import sentences
from .arrivals import seconds_since_data, unread_bytes
from .listener import Listener, Turns
from .outbox import Answer, Outbox
from .refusal import InvalidHostError, Refusal, is_host, rejection, request_bytes

HEAD_SECONDS: Final = 10
"""Maximum seconds for the head of a request, from its first byte or from the start of the
connection."""

_SPREAD: Final = 0.2
"""Maximum random reduction of a time limit, as a share, so that thousands of slow clients that
connected together do not end together."""

# gunicorn's own bound is a hundred times that of a single header, 800 kB, and a list in Accept
# takes a millisecond to parse for each kilobyte
_HEADERS_BYTES: Final = 16_384
"""Approximate maximum bytes of all headers of a request, and of all its trailers."""

_PEEKED_BYTES: Final = 2048
"""Bytes at the start of a request that the refusal searches for the method and for JSON."""

_LAST_REQUEST_SECONDS: Final = 3.0
"""Seconds during which a stopping process still reads requests from idle connections.

A proxy may send a request on a connection that this process is closing, and may not repeat it. The
proxy's health checks fail once nobody accepts connections, and must take the process out of use in
less time.
"""

# closing a connection with unread data would lose the answer
_UNREAD_BODY_BYTES: Final = 16_000_000
"""Maximum bytes of a refused body that are read and discarded."""

_SKIPPED_AT_ONCE: Final = 65_536  # the parser copies everything received so far each time
"""Bytes of a refused body read at a time."""

# by default it takes megabytes, which a thousand clients that do not read would fill with answers
_SEND_BUFFER_BYTES: Final = 65_536
"""Bytes of answers that the system buffers for a client; Linux takes twice as much."""

_ANSWER_SECONDS: Final = 60
"""Maximum seconds for a client to read an answer: as long as an upload may take."""


class Gate(Protocol):
    """Interface to the application's decision on conversion requests."""

    def refuses(self, age_seconds: float) -> bool: ...
    def promise_place(self) -> float: ...
    def end_promise(self, promise: float) -> None: ...
    def count_refused_unparsed(self) -> None: ...


class Bodies(Protocol):
    """Interface to the application's reception of request bodies."""

    def read_ahead(self, environ: MutableMapping[str, Any]) -> None: ...
    def release(self, environ: MutableMapping[str, Any]) -> None: ...
    def make_room(self) -> bool: ...


class _CachedConfig:
    """Cached copy of gunicorn's configuration, which no longer changes. Gunicorn looks up dozens of
    settings for each request."""

    def __init__(self, config: Any) -> None:
        self._config = config

    def __getattr__(self, name: str) -> Any:
        value = self.__dict__[name] = getattr(self._config, name)
        return value


class _Request(Request):
    def _peer_is_trusted_proxy(self) -> bool:
        return False  # no header changes what the application is told, see gunicorn_settings

    def parse(self, unreader: Any) -> Any:
        self.max_buffer_headers = _HEADERS_BYTES
        rest = super().parse(unreader)
        # the parser refuses several
        host = next((value for name, value in self.headers if name == "HOST"), None)
        if (self.version != (1, 0)) if host is None else not is_host(host):
            raise InvalidHostError
        return rest


class _Parser(RequestParser):
    mesg_class = _Request


class WebWorker(GeventWorker):
    """Serves HTTP/1.1 with one greenlet for each connection."""

    def run(self) -> None:
        """Serve until asked to stop; then finish the requests in progress, within the graceful
        timeout."""
        # Another application than that of this service has neither.
        extensions = getattr(self.wsgi, "extensions", {})
        self._gate: Gate | None = extensions.get("asciist.admission")
        self._bodies: Bodies | None = extensions.get("asciist.uploads")
        self._config: Any = _CachedConfig(self.cfg)
        self._refusal = Refusal(extensions.get("asciist.refusal_headers", {}))
        self._log_unparsed: Callable[[int, str], str] = extensions.get(
            "asciist.log_unparsed", lambda _status, _message: ""
        )
        self._outbox = Outbox()
        self._turns = Turns()
        self._awaiting: dict[Any, None] = {}
        """Connections waiting for the head of a request; the one waiting longest comes first."""
        self._promises: dict[Any, float] = {}
        """Admission slots promised to the requests of connections."""
        self._open = 0
        self._started_at = time.monotonic()
        servers = []
        for listener in self.sockets:
            listener.setblocking(True)
            # inherited by connections
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER_BYTES)
            handle = partial(self.handle, listener.getsockname())
            servers.append(
                Listener(
                    listener,
                    handle=handle,
                    make_room=self._make_room,
                    processes=self.cfg.workers,
                )
            )
        for server in servers:
            server.start()
        while self.alive:
            self.notify()
            gevent.sleep(0.2)
        for server in servers:
            server.close()
        self._finish(servers)

    def _finish(self, servers: Sequence[StreamServer]) -> None:
        # A client may be sending its next request. The answer then tells it that the connection
        # ends, and nothing is lost.
        self._wait_for_connections(servers, _LAST_REQUEST_SECONDS)
        for connection in list(self._awaiting):
            _cut_off(connection)
        self._wait_for_connections(servers, self.cfg.graceful_timeout)
        for server in servers:
            server.stop(timeout=1)

    def _wait_for_connections(self, servers: Sequence[StreamServer], seconds: float) -> None:
        ends_at = time.monotonic() + seconds
        while any(server.pool for server in servers) and time.monotonic() < ends_at:
            self.notify()
            gevent.sleep(0.05)

    def handle(self, name: Any, client: Any, addr: Any) -> None:
        """Serve the requests of one connection, one after the other."""
        self._open += 1
        try:
            if self._open > self.worker_connections and not self._make_room():
                if self._gate is not None:
                    self._gate.count_refused_unparsed()
                self._refusal.send(client)
            else:
                client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._serve(name, client, addr)
        except OSError as error:
            self.log.debug("connection ended: %s", error)
        finally:
            self._open -= 1
            self._awaiting.pop(client, None)
            self._end_promise(client)
            util.close(client)

    def _serve(self, name: Any, client: Any, addr: Any) -> None:
        parser = _Parser(self._config, client, addr)
        wait_seconds = _spread(HEAD_SECONDS)
        try:
            while (req := self._next_request(parser, client, wait_seconds)) is not None:
                self.handle_request(name, req, client, addr)
                # An answer that began before the process was asked to stop invited the client to
                # send another request.
                wait_seconds = self.cfg.keepalive if self.alive else _LAST_REQUEST_SECONDS
        except (StopIteration, NoMoreData):
            return
        except TimeoutError:  # no request in time, or an answer that the client does not read
            return
        except _SlowHeadError:
            self._reject(client, HTTPStatus.REQUEST_TIMEOUT, sentences.SLOW_HEAD)
        except ParseException as error:
            self._reject(client, *rejection(error))
        except OSError:
            raise
        except Exception:
            self.log.exception("unexpected error")
            self._reject(client, HTTPStatus.INTERNAL_SERVER_ERROR, sentences.INTERNAL_ERROR)

    def _reject(self, client: Any, status: HTTPStatus, message: str) -> None:
        self._refusal.reject(client, status, message, self._log_unparsed(status, message))

    def _next_request(self, parser: Any, client: Any, wait_seconds: float) -> Any:
        """Return the next accepted request of a connection; None if there is none.

        Raises TimeoutError if no byte comes within `wait_seconds`, _SlowHeadError, and the errors
        of the parser.
        """
        self._awaiting[client] = None
        if parser.mesg and not _skip_body(parser.mesg.body):
            return None
        start = b""
        if parser.unreader.buf.tell():
            gevent.sleep(0)  # a client that sends many requests at once does not hold up the others
        else:
            first = self._first_bytes(client, wait_seconds)
            if first is None:
                return None
            start = first
        if b"\r\n\r\n" in start:  # the whole head is there, so there is nothing to wait for
            req = next(parser)
        else:
            client.settimeout(None)
            with gevent.Timeout(_spread(HEAD_SECONDS), _SlowHeadError):
                req = next(parser)
        del self._awaiting[client]
        client.settimeout(_ANSWER_SECONDS)
        return req

    def _first_bytes(self, client: Any, wait_seconds: float) -> bytes | None:
        """Return the first bytes of the next accepted request, unread; None if there is none."""
        while True:
            client.settimeout(wait_seconds)
            start: bytes = client.recv(_PEEKED_BYTES, socket.MSG_PEEK)
            if not start:
                return None
            if self._gate is None or start[:4] not in (b"POST", b"PUT "):
                return start
            self._turns.take()
            if client not in self._awaiting:
                return None  # it has made room for another
            if not self._gate.refuses(self._age_seconds(client)):
                # A body that is still arriving, perhaps slowly, occupies no slot.
                size = request_bytes(start)
                if size is not None and unread_bytes(client) >= size:
                    self._promises[client] = self._gate.promise_place()
                return start
            if not self._refusal.send(client, start, may_keep=self.alive):
                return None

    def handle_request(self, listener_name: Any, req: Any, sock: Any, addr: Any) -> bool:
        """Answer one request. Raises StopIteration if the connection must close."""
        answer, environ = wsgi.create(
            req,
            sock,
            addr,
            listener_name,
            self._config,
            response_class=Answer,
            response_args=(self._outbox,),
        )
        environ["wsgi.multithread"] = True
        if self._bodies is not None:
            self._bodies.read_ahead(environ)
            if req.method in ("POST", "PUT"):
                self._turns.take()  # thousands may end together, for lack of time or of memory
        try:
            self._answer(req, answer, environ)
        finally:
            if self._bodies is not None:
                self._bodies.release(environ)
            self._end_promise(sock)
        if _has_lost_its_place(req):
            self._refusal.end(sock)
        if answer.should_close():
            raise StopIteration
        return True

    def _answer(self, req: Any, answer: Any, environ: Any) -> None:
        def start_response(*arguments: Any) -> Any:
            # The process may have been asked to stop while it received or converted the image.
            if not self.alive or _has_lost_its_place(req):
                answer.force_close()
            return answer.start_response(*arguments)

        try:
            parts = self.wsgi(environ, start_response)
            try:
                for part in parts:
                    answer.write(part)
                answer.close()
            finally:
                if hasattr(parts, "close"):
                    parts.close()
        except OSError:
            raise
        except Exception:
            if not answer.headers_sent:
                raise
            # A second answer on the same connection would corrupt the first.
            self.log.exception("answer cut short")
            answer.force_close()

    def _end_promise(self, client: Any) -> None:
        promise = self._promises.pop(client, None)
        if self._gate is not None and promise is not None:
            self._gate.end_promise(promise)

    def _age_seconds(self, client: Any) -> float:
        """Return the seconds that the request has waited for this process since the process's
        start."""
        return min(seconds_since_data(client), time.monotonic() - self._started_at)

    def _make_room(self) -> bool:
        """Close the connection waiting longest for the head of a request, or else end an idle
        upload.

        Return whether there was one.
        """
        longest = next(iter(self._awaiting), None)
        if longest is None:
            return self._bodies is not None and self._bodies.make_room()
        del self._awaiting[longest]
        _cut_off(longest)
        return True


class _SlowHeadError(Exception):
    """The head of a request did not arrive in time."""


def _has_lost_its_place(req: Any) -> bool:
    """Return True if the start of the next request on the connection is unknown.

    It is if the body was malformed or too slow, or has unread chunks: for a megabyte in chunks of a
    byte, the parser takes seconds, and an error in one of them would cause a second answer to this
    request.
    """
    reader = req.body.reader
    return req.body.failed or (isinstance(reader, ChunkedReader) and reader.parser is not None)


def _skip_body(body: Any) -> bool:
    """Read the unread rest of a body, so that it is not parsed as a request. Return False if it is
    too large."""
    unread_bytes = _UNREAD_BODY_BYTES
    with suppress(TimeoutError), gevent.Timeout(HEAD_SECONDS, TimeoutError):
        while unread_bytes > 0:
            part = body.read(_SKIPPED_AT_ONCE)
            if not part:
                return True
            unread_bytes -= len(part)
            gevent.sleep(0)  # other requests proceed
    return False


def _spread(seconds: float) -> float:
    return seconds * random.uniform(1 - _SPREAD, 1)  # noqa: S311 - not a secret


def _cut_off(client: Any) -> None:
    with suppress(OSError):
        client.shutdown(socket.SHUT_RD)
