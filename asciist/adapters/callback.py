"""Replies by HTTP, posted by the worker directly to the web process that sent the request.

Each web process listens on its own port, in a small range that only workers can reach. The reply
address of a request is a URL with a token that is valid for that request only, until its reply
arrives. A POST to any other path is answered with 403.

A worker posts only to ports of this range on addresses of its own network, and reads only the
status of the answer.
"""

import hmac
import http
import ipaddress
import logging
import re
import secrets
import socket
import threading
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final
from urllib.parse import urlsplit

from asciist.errors import MalformedMessageError, ReplyAddressGoneError, UnavailableError
from asciist.protocol.messages import ConversionReply
from asciist.protocol.pending_replies import PendingReplies
from asciist.protocol.ports import Metrics, PendingReply
from asciist.settings import Network

_MAX_REPLY_BYTES: Final = 1_000_000
"""Maximum size of a reply, in bytes. A larger reply is sent without its art; the web tier then
reads it from the store."""

_TIMEOUT_SECONDS: Final = 3  # both sides are in one network and take milliseconds
"""Maximum seconds for each of connecting, sending a reply and receiving the answer."""

_ADDRESS: Final = re.compile(r"http://([\w.-]{1,253}):([0-9]{1,5})(/[\w-]+/[\w-]+)", re.ASCII)
"""Pattern of a reply address made by `CallbackInbox.expect`, with groups for host, port and
path."""

_STATUS: Final = re.compile(rb"HTTP/1\.[01] ([0-9]{3})[ \r]")
_MAX_STATUS_LINE_BYTES: Final = 1000

_log = logging.getLogger(__name__)


class CallbackInbox:
    """ReplyInbox that listens for replies on the first free port of a range."""

    def __init__(self, *, host: str, ports: range, metrics: Metrics) -> None:
        """Start listening on `host`, the name or address at which workers reach this machine.

        Raises UnavailableError if every port is taken.
        """
        self._pending = PendingReplies(metrics)
        self._host = host
        self._server = _listen(host, ports, _handler(self._pending))
        self._thread = threading.Thread(
            target=self._server.serve_forever, name="callback-inbox", daemon=True
        )
        self._thread.start()

    def expect(self, correlation_id: str) -> AbstractContextManager[PendingReply]:
        address = f"http://{self._host}:{self._server.server_port}/{correlation_id}/{secrets.token_urlsafe(24)}"
        return self._pending.expect(correlation_id, address)

    def is_alive(self) -> bool:
        """Return whether replies can arrive."""
        return self._thread.is_alive()

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class CallbackSender:
    """ReplySender that posts each reply to its address, if the address is inside the network.

    It uses a socket rather than an HTTP client: it connects to exactly the address that it checked,
    follows no redirect, uses no proxy, and bounds the size and the duration of an answer.
    """

    max_reply_bytes: Final = _MAX_REPLY_BYTES

    def __init__(self, *, ports: range, networks: Sequence[Network]) -> None:
        """Accept only addresses with a port of the range inside `networks`; any other counts as the
        address of a stopped process."""
        self._ports = ports
        self._networks = networks

    def send(self, reply_to: str, reply: ConversionReply) -> None:
        body = reply.to_json()
        if len(body) > self.max_reply_bytes:
            body = reply.without_art().to_json()
        match = _ADDRESS.fullmatch(reply_to)
        if not match or int(match[2]) not in self._ports:
            _log.error("reply refused: its address is not one for callbacks")
            raise ReplyAddressGoneError(reply_to)
        host, port, path = match[1], int(match[2]), match[3]
        with self._connect(host, port, reply_to) as connection:
            try:
                status = _post(connection, host=f"{host}:{port}", path=path, body=body.encode())
            except OSError as error:
                raise UnavailableError(f"reply to {host}:{port}: {error}") from error
        if status == http.HTTPStatus.FORBIDDEN:
            raise ReplyAddressGoneError(reply_to)
        if status != http.HTTPStatus.NO_CONTENT:
            raise UnavailableError(f"reply to {host}:{port}: status {status or 'missing'}")

    def _connect(self, host: str, port: int, reply_to: str) -> socket.socket:
        """Connect to an address of `host`, which is looked up once. Raises
        ReplyAddressGoneError."""
        try:
            found = [
                str(entry[4][0])
                for entry in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            ]
            inside = [address for address in found if self._is_inside(address)]
            if inside:
                return socket.create_connection((inside[0], port), timeout=_TIMEOUT_SECONDS)
        except (OSError, UnicodeError) as error:
            # unknown, refused or unreachable: the process or its machine is gone
            raise ReplyAddressGoneError(reply_to) from error
        _log.error("reply refused: %s is outside the network", host)
        raise ReplyAddressGoneError(reply_to)

    def _is_inside(self, address: str) -> bool:
        return any(ipaddress.ip_address(address) in network for network in self._networks)


def _post(connection: socket.socket, *, host: str, path: str, body: bytes) -> int | None:
    """Post a body and return the status of the answer; None if it is not HTTP. Raises OSError."""
    head = (
        f"POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: {len(body)}\r\nConnection:"
        " close\r\n\r\n"
    )
    connection.sendall(head.encode() + body)
    give_up = time.monotonic() + _TIMEOUT_SECONDS
    answer = b""
    while b"\n" not in answer and len(answer) < _MAX_STATUS_LINE_BYTES:
        connection.settimeout(max(0.001, give_up - time.monotonic()))
        received = connection.recv(_MAX_STATUS_LINE_BYTES)
        if not received:
            break
        answer += received
    match = _STATUS.match(answer)
    return int(match[1]) if match else None


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = False  # a port in use belongs to another process
    request_queue_size = 128

    # Signature of the base class.
    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002
        _log.warning("incomplete reply from %s", client_address[0], exc_info=True)


def _listen(host: str, ports: range, handler: type[BaseHTTPRequestHandler]) -> _Server:
    for port in ports:
        with suppress(OSError):
            return _Server((host, port), handler)
    raise UnavailableError(f"no free port from {ports.start} to {ports.stop - 1} on {host}")


def _handler(pending: PendingReplies) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        timeout = _TIMEOUT_SECONDS
        server_version = "asciist"
        sys_version = ""

        def do_POST(self) -> None:
            correlation_id = self.path.split("/")[1] if self.path.startswith("/") else ""
            expected = pending.reply_to(correlation_id)
            if expected is None or not hmac.compare_digest(
                urlsplit(expected).path.encode(), self.path.encode()
            ):
                self._answer(http.HTTPStatus.FORBIDDEN)
                return
            length = self.headers.get("Content-Length", "")
            if not (length.isascii() and length.isdigit() and int(length) <= _MAX_REPLY_BYTES):
                self._answer(http.HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
                return
            try:
                reply = ConversionReply.from_json(
                    self.rfile.read(int(length)).decode("utf-8", "replace")
                )
            except MalformedMessageError:
                self._answer(http.HTTPStatus.BAD_REQUEST)
                return
            if reply.correlation_id != correlation_id:
                self._answer(http.HTTPStatus.FORBIDDEN)
                return
            pending.resolve(reply)
            self._answer(http.HTTPStatus.NO_CONTENT)

        def _answer(self, status: http.HTTPStatus) -> None:
            with suppress(ConnectionError, socket.timeout):
                self.send_response(status)
                self.send_header("Content-Length", "0")
                self.end_headers()

        # Signature of the base class.
        def log_message(self, format: str, *arguments: Any) -> None:  # noqa: A002
            _log.debug(format, *arguments)

    return Handler
