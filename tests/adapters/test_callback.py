"""A callback port accepts only expected replies, and a worker calls back only addresses inside the
network."""

import http.client
import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import pytest

from asciist.adapters.callback import CallbackInbox, CallbackSender
from asciist.adapters.embedded import EmbeddedMetrics
from asciist.errors import ReplyAddressGoneError, UnavailableError
from asciist.protocol.messages import ConversionReply
from asciist.settings import Settings, parse_networks

REPLY = ConversionReply(correlation_id="a", art="@")
PORTS = range(28_200, 28_216)
LOOPBACK = parse_networks("127.0.0.0/8")
PRIVATE = parse_networks(Settings().callback_networks)


@pytest.fixture
def inbox() -> Iterator[CallbackInbox]:
    inbox = CallbackInbox(host="127.0.0.1", ports=PORTS, metrics=EmbeddedMetrics())
    yield inbox
    inbox.close()


@pytest.fixture
def sender() -> CallbackSender:
    return CallbackSender(ports=PORTS, networks=LOOPBACK)


@contextmanager
def peer(answer: Callable[[socket.socket], None], port: int = PORTS[-1]) -> Iterator[list[bytes]]:
    """Listen in place of a web process; `answer` writes to each connection. Yields the received
    requests."""
    requests: list[bytes] = []
    stopping = threading.Event()

    def serve() -> None:
        while not stopping.is_set():
            try:
                connection, _ = server.accept()
            except OSError:
                return
            with connection:
                requests.append(connection.recv(65_536))
                try:
                    answer(connection)
                except OSError:  # the sender has had enough
                    continue

    with socket.create_server(("127.0.0.1", port)) as server:
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield requests
        stopping.set()
        server.shutdown(socket.SHUT_RDWR)
    thread.join()


def post(address: str, path: str, body: bytes, method: str = "POST", **headers: str) -> int:
    url = urlsplit(address)
    connection = http.client.HTTPConnection(url.hostname or "", url.port, timeout=10)
    connection.request(method, path, body, headers)
    status = connection.getresponse().status
    connection.close()
    return status


def test_any_path_but_that_of_the_reply_address_is_forbidden(inbox: CallbackInbox) -> None:
    body = REPLY.to_json().encode()
    with inbox.expect("a") as pending, inbox.expect("b") as other:
        path, other_path = urlsplit(pending.reply_to).path, urlsplit(other.reply_to).path
        for wrong in (
            "/",
            "//",
            "/a",
            "/a/",
            path[:-1],
            path + "x",
            path.upper(),
            path + "?x",
            "/b/" + path.split("/")[2],
            "/%61",
        ):
            assert post(pending.reply_to, wrong, body) == 403
        assert post(pending.reply_to, other_path, body) == 403  # a reply to another request
        assert pending.wait(0) is None

        assert post(pending.reply_to, path, body) == 204
        assert pending.wait(0) == REPLY
        assert post(pending.reply_to, path, body) == 403  # a token is valid once


def test_a_malformed_reply_is_refused_and_the_wait_continues(inbox: CallbackInbox) -> None:
    with inbox.expect("a") as pending:
        path = urlsplit(pending.reply_to).path
        assert post(pending.reply_to, path, b"{}") == 400
        assert post(pending.reply_to, path, b"\xff") == 400
        assert post(pending.reply_to, path, b"", **{"Content-Length": "99999999"}) == 413
        assert post(pending.reply_to, path, b"", **{"Content-Length": "-1"}) == 413
        assert post(pending.reply_to, path, b"", method="GET") == 501
        assert post(pending.reply_to, path, REPLY.to_json().encode()) == 204


def test_a_stalled_sender_does_not_block_others(
    inbox: CallbackInbox, sender: CallbackSender
) -> None:
    with inbox.expect("a") as pending:
        url = urlsplit(pending.reply_to)
        with socket.create_connection((url.hostname, url.port)) as stalled:
            stalled.sendall(b"POST ")
            sender.send(pending.reply_to, REPLY)
            assert pending.wait(60) == REPLY


def test_each_inbox_takes_the_next_port_until_none_is_free() -> None:
    ports = range(28_960, 28_962)  # which no other test uses
    inboxes = [
        CallbackInbox(host="127.0.0.1", ports=ports, metrics=EmbeddedMetrics()) for _ in ports
    ]
    with pytest.raises(UnavailableError, match="no free port from 28960 to 28961"):
        CallbackInbox(host="127.0.0.1", ports=ports, metrics=EmbeddedMetrics())
    for inbox in inboxes:
        inbox.close()


@pytest.mark.parametrize(
    "address",
    [
        "",
        "http://",
        "file:///etc/passwd",
        "https://127.0.0.1:28215/a/b",
        "http://user@127.0.0.1:28215/a/b",
        "http://127.0.0.1/a/b",
        "http://127.0.0.1:80/a/b",
        "http://127.0.0.1:28199/a/b",
        "http://127.0.0.1:28216/a/b",
        "http://127.0.0.1:999999/a/b",
        "http://127.0.0.1:28215/a/b?c",
        "http://127.0.0.1:28215/a/../b",
        "http://127.0.0.1:28215/a/b HTTP/1.1\r\nX: y",
        "http://127.0.0.1:28215/a/b\n",
        "http://[::1]:28215/a/b",
        "http://[",
    ],
)
def test_only_an_address_such_as_an_inbox_makes_is_called_back(
    address: str, sender: CallbackSender
) -> None:
    with peer(lambda _: None) as requests, pytest.raises(ReplyAddressGoneError):
        sender.send(address, REPLY)
    assert requests == []


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "localhost",
        "2130706433",
        "0x7f.1",
        "0.0.0.0",  # noqa: S104 - nothing listens on it
        "169.254.169.254",
        "8.8.8.8",
        "no-such-host.invalid",
    ],
)
def test_no_host_outside_the_private_networks_is_called_back(host: str) -> None:
    """Loopback counts as outside, in any notation, unless a setting places both tiers on one
    machine."""
    with peer(lambda _: None) as requests, pytest.raises(ReplyAddressGoneError):
        CallbackSender(ports=PORTS, networks=PRIVATE).send(f"http://{host}:{PORTS[-1]}/a/b", REPLY)
    assert requests == []


def test_a_host_name_is_looked_up_once_and_the_checked_address_is_called(
    inbox: CallbackInbox, sender: CallbackSender, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The name resolves to another address at each look-up, as in a DNS rebinding attack."""
    answers = iter(["127.0.0.1", "8.8.8.8"])
    lookup = socket.getaddrinfo
    names: list[str] = []

    def rebinding(host: str, *arguments: object, **options: object) -> object:
        names.append(host)
        # Passed on as they came.
        return lookup(next(answers) if host == "web.internal" else host, *arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(socket, "getaddrinfo", rebinding)
    with inbox.expect("a") as pending:
        sender.send(pending.reply_to.replace("127.0.0.1", "web.internal"), REPLY)
        assert pending.wait(60) == REPLY
    assert names.count("web.internal") == 1


def test_a_redirect_is_not_followed(sender: CallbackSender) -> None:
    target = f"http://127.0.0.1:{PORTS[-2]}/c/d"

    def redirect(connection: socket.socket) -> None:
        connection.sendall(
            f"HTTP/1.1 307 Temporary Redirect\r\nLocation: {target}\r\n"
            "Content-Length: 0\r\n\r\n".encode()
        )

    with (
        peer(lambda _: None, port=PORTS[-2]) as redirected,
        peer(redirect) as requests,
        pytest.raises(UnavailableError, match="status 307"),
    ):
        sender.send(f"http://127.0.0.1:{PORTS[-1]}/a/b", REPLY)
    assert (len(requests), redirected) == (1, [])


def test_no_proxy_is_used(
    inbox: CallbackInbox, sender: CallbackSender, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with inbox.expect("a") as pending:
        sender.send(pending.reply_to, REPLY)
        assert pending.wait(60) == REPLY


def endless_line(connection: socket.socket) -> None:
    while True:
        connection.sendall(os.urandom(100_000).replace(b"\n", b""))


def one_byte_at_a_time(connection: socket.socket) -> None:
    for byte in b"HTTP/1.1 204 No Content, but slowly":
        connection.sendall(bytes([byte]))
        threading.Event().wait(0.3)


def no_http(connection: socket.socket) -> None:
    connection.sendall(b"SSH-2.0-OpenSSH_9.2\r\n")


@pytest.mark.parametrize("answer", [endless_line, one_byte_at_a_time, no_http, lambda _: None])
def test_an_answer_that_is_endless_or_slow_or_not_http_ends_the_call(
    answer: Callable[[socket.socket], None], sender: CallbackSender
) -> None:
    with peer(answer) as requests, pytest.raises(UnavailableError):
        sender.send(f"http://127.0.0.1:{PORTS[-1]}/a/b", REPLY)
    assert len(requests) == 1
