"""Clients that send slowly, never read, or connect by the hundred do not keep the service from
serving others."""

import http.client
import re
import resource
import socket
import struct
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from asciist.conversion import ConversionOptions
from asciist.limits import Limits
from service import outbox as outbox_module
from tests.serving import Server
from tests.waiting import wait_until
from tools.testing.drawing import convert
from tools.testing.images import encoded, gradient
from tools.testing.load import (
    FreshUpload,
    ProcessTree,
    SlowClients,
    closed_loop,
    half_body,
    half_head,
)

pytestmark = pytest.mark.slow

LIVE_SECONDS = 9
"""Maximum seconds for an answer to a health check. A service that waits for its slow clients needs
longer."""

SPARE = 24
"""Descriptors that may have been opened in the meantime, mostly for connections to the
converters."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(
        tmp_path_factory.mktemp("store"), ASCIIST_METRICS="none", ASCIIST_REQUEST_TIMEOUT="5"
    )
    yield server
    server.stop()
    assert server.tracebacks == []


def is_alive(server: Server) -> bool:
    """Return True if a health check is answered in time."""
    started = time.monotonic()
    status, _ = server.request("GET", "/healthz")
    return status == 200 and time.monotonic() - started < LIVE_SECONDS


def is_alive_or_closed(server: Server) -> bool:
    """Return True if a health check is answered in time, False if its own connection was closed to
    make room."""
    try:
        return is_alive(server)
    except (ConnectionError, http.client.BadStatusLine):
        return False


def fresh(server: Server, cat: bytes) -> int:
    """Return the status of a conversion that is not stored."""
    return server.request(
        "PUT", "/?width=20", b"".join(FreshUpload(cat)()[0:]).partition(b"\r\n\r\n")[2]
    )[0]


def dropped(clients: SlowClients) -> int:
    clients.poll()
    return clients.dropped.total()


def descriptors(server: Server) -> int:
    return ProcessTree(server.process.pid).usage().descriptors


def test_half_heads_do_not_delay_others_and_end_with_408(server: Server, cat: bytes) -> None:
    assert fresh(server, cat) == 200
    before = descriptors(server)
    with SlowClients(server.port) as silent, SlowClients(server.port) as slow:
        assert silent.open(b"", 50) == 50
        assert slow.open(half_head(), 400) == 400
        for _ in range(5):
            assert is_alive(server)
            assert fresh(server, cat) == 200
            slow.send(b"x")  # a byte now and then does not prolong the time for a head
        assert descriptors(server) >= before + 400
        wait_until(lambda: dropped(slow) == 400)
        assert slow.dropped == {"408": 400}
        wait_until(lambda: dropped(silent) == 50)
        assert silent.dropped == {"closed": 50}
    wait_until(lambda: descriptors(server) <= before + SPARE)


def test_half_bodies_do_not_delay_others_and_end_with_408(server: Server, cat: bytes) -> None:
    assert fresh(server, cat) == 200
    before = descriptors(server)
    with SlowClients(server.port) as clients:
        assert clients.open(half_body(cat), 3000) == 3000
        assert is_alive(server)
        assert fresh(server, cat) == 200
        wait_until(lambda: dropped(clients) == 3000)
        # beyond the bound on connections, the one idle for longest gives way
        assert clients.dropped.keys() <= {"408", "503"}
    wait_until(lambda: descriptors(server) <= before + SPARE)


def test_clients_that_never_read_do_not_delay_others_and_are_dropped(
    server: Server, cat: bytes
) -> None:
    before = descriptors(server)
    head = f"PUT /?width=1000 HTTP/1.1\r\nHost: x\r\nContent-Length: {len(cat)}\r\n\r\n".encode()
    with SlowClients(server.port) as clients:
        # Each answer has 330 kB. The system's buffers hold some; the service holds the rest of one.
        clients.open((head + cat) * 20, 20, reading=False)
        for _ in range(3):
            assert is_alive(server)
            wait_until(lambda: fresh(server, cat) == 200)  # a busy machine may refuse some
        # A client does not see the end of a connection whose answers are still in the system's
        # buffers.
        wait_until(lambda: descriptors(server) <= before + SPARE)
    assert server.peak_megabytes() < 300


def test_conversions_go_on_beside_slow_clients_of_all_kinds(server: Server, cat: bytes) -> None:
    with SlowClients(server.port) as clients:
        clients.open(half_head(), 200)
        clients.open(half_body(cat), 200)
        result = closed_loop(server.port, FreshUpload(cat), connections=4, seconds=1)

    assert not result.errors
    assert result.statuses[200] > 0


DESCRIPTORS = 300


@pytest.fixture
def small_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A server with one web process, in which each process may open 300 descriptors."""
    command = tmp_path / "python"
    command.write_text(f'#!/bin/sh\nulimit -n {DESCRIPTORS}\nexec {sys.executable} "$@"\n')
    command.chmod(0o755)
    with monkeypatch.context() as patched:
        patched.setattr(sys, "executable", str(command))
        server = Server(tmp_path / "store", ASCIIST_WORKERS="1", ASCIIST_REQUEST_TIMEOUT="50")
    yield server
    server.stop()
    assert server.tracebacks == []


@pytest.mark.parametrize("kind", ["heads", "bodies", "idle"])
def test_more_clients_than_descriptors_do_not_keep_others_from_being_served(
    small_server: Server, cat: bytes, kind: str
) -> None:
    server = small_server
    beginning = {
        "heads": half_head(),
        "bodies": half_body(cat),
        "idle": b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n",
    }[kind]
    with SlowClients(server.port) as clients:
        for _ in range(4):
            clients.open(beginning, 100, reading=kind != "idle")
            if kind == "bodies":
                time.sleep(1.2)  # an upload gives way once it is idle
            assert is_alive(server)
            assert fresh(server, cat) == 200
        clients.poll()
        # those that do not read do not see their end
        assert clients.held < DESCRIPTORS or kind == "idle"
        for _ in range(3):
            assert is_alive(server)
    assert is_alive(server)


def test_connections_refused_because_there_are_too_many_are_counted(
    small_server: Server, cat: bytes
) -> None:
    with SlowClients(small_server.port) as clients:

        def one_more_is_refused() -> bool:
            clients.send(b"x")  # so that no upload is idle for long enough to give way
            clients.open(half_body(cat), 1)
            clients.poll()
            return clients.dropped["503"] > 0

        wait_until(one_more_is_refused)
    wait_until(lambda: b"requests refused" in small_server.log)


def test_a_process_that_runs_out_of_descriptors_closes_connections_that_wait(
    server: Server, cat: bytes
) -> None:
    for process in server.web_processes():
        hard = resource.prlimit(process, resource.RLIMIT_NOFILE)[1]
        resource.prlimit(process, resource.RLIMIT_NOFILE, (40, hard))
    with SlowClients(server.port) as clients:
        for _ in range(3):
            clients.open(half_head(), 100)
            wait_until(lambda: is_alive_or_closed(server))
        assert dropped(clients) > 200  # those that had waited longest
    for process in server.web_processes():
        resource.prlimit(process, resource.RLIMIT_NOFILE, (hard, hard))

    wait_until(lambda: is_alive(server))
    assert fresh(server, cat) == 200


def receive(connection: socket.socket, count: int = 1) -> list[bytes]:
    """Return the next `count` responses, each with its head. Without a Content-Length, a response
    has no body."""
    received, responses = b"", []
    while len(responses) < count:
        head, separator, rest = received.partition(b"\r\n\r\n")
        length = re.search(rb"\r\nContent-Length: (\d+)", head)
        size = int(length[1]) if length else 0
        if separator and len(rest) >= size:
            responses.append(head + separator + rest[:size])
            received = rest[size:]
            continue
        chunk = connection.recv(65_536)
        assert chunk, received
        received += chunk
    assert not received
    return responses


def put(path: str, body: bytes, *more: str) -> bytes:
    head = [f"PUT {path} HTTP/1.1", "Host: x", f"Content-Length: {len(body)}", *more]
    return "\r\n".join([*head, "", ""]).encode() + body


def art(cat: bytes, width: int) -> bytes:
    return convert(cat, ConversionOptions(width=width), Limits()).encode() + b"\n"


def test_pipelined_requests_are_answered_in_order(server: Server, cat: bytes) -> None:
    widths = [30, 20, 40, 25, 35]
    get = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
    requests = b"".join(put(f"/?width={width}", cat) + get for width in widths)
    with server.connect() as connection:
        connection.sendall(requests)
        responses = receive(connection, 2 * len(widths))

    assert [response.partition(b"\r\n\r\n")[2] for response in responses[::2]] == [
        art(cat, width) for width in widths
    ]
    assert all(response.endswith(b"\r\n\r\nok\n") for response in responses[1::2])


def test_a_client_that_pipelines_does_not_hold_up_others(server: Server) -> None:
    with server.connect() as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * 5000)
        assert is_alive(server)
        assert connection.recv(100).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_a_request_may_arrive_in_small_pieces(server: Server, cat: bytes, size: int) -> None:
    small = encoded(gradient(), "PNG") if size == 1 else cat
    request = put("/?width=20", small)
    with server.connect() as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for start in range(0, len(request), size):
            connection.sendall(request[start : start + size])
        (response,) = receive(connection)

    assert response.startswith(b"HTTP/1.1 200")
    assert response.partition(b"\r\n\r\n")[2] == art(small, 20)


def test_a_client_that_asks_first_is_told_to_send_its_image(server: Server, cat: bytes) -> None:
    request = put("/?width=20", cat, "Expect: 100-continue")
    with server.connect() as connection:
        connection.sendall(request[: -len(cat)])
        assert receive(connection) == [b"HTTP/1.1 100 Continue\r\n\r\n"]
        connection.sendall(cat)
        (response,) = receive(connection)

    assert response.partition(b"\r\n\r\n")[2] == art(cat, 20)


def test_chunks_and_pieces_of_chunks_make_a_body(server: Server, cat: bytes) -> None:
    head = b"POST /?width=20 HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    with server.connect() as connection:
        connection.sendall(head)
        for start in range(0, len(cat), 10_000):
            chunk = cat[start : start + 10_000]
            connection.sendall(b"%X\r\n" % len(chunk) + chunk[:100])
            connection.sendall(chunk[100:] + b"\r\n")
        connection.sendall(b"0\r\n\r\n")
        (response,) = receive(connection)
        assert response.partition(b"\r\n\r\n")[2] == art(cat, 20)

        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")  # the connection goes on
        assert receive(connection)[0].endswith(b"ok\n")


def test_head_is_answered_without_a_body_and_the_connection_goes_on(server: Server) -> None:
    with server.connect() as connection:
        connection.sendall(
            b"HEAD / HTTP/1.1\r\nHost: x\r\n\r\nGET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
        )
        received = b""
        while not received.endswith(b"ok\n"):
            received += connection.recv(65_536)

    first, second, body = received.split(b"\r\n\r\n")
    assert re.search(rb"\r\nContent-Length: [1-9]\d+", first)
    assert second.startswith(b"HTTP/1.1 200")
    assert body == b"ok\n"


def test_a_client_that_resets_its_connection_is_no_error(server: Server, cat: bytes) -> None:
    for beginning in (
        b"",
        half_head(),
        half_body(cat),
        put("/?width=1000", cat),
        b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n",
    ):
        for _ in range(20):
            connection = server.connect()
            connection.sendall(beginning)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            connection.close()
    assert is_alive(server)
    assert fresh(server, cat) == 200


def test_answers_that_nobody_reads_are_bounded_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """The answer that has waited longest is cut off; the others are sent once they are read."""
    monkeypatch.setattr(outbox_module, "_UNREAD_BYTES", 10_000_000)
    outbox = outbox_module.Outbox()
    pairs = [socket.socketpair() for _ in range(4)]
    outcomes: list[str] = []

    def send(sender: socket.socket) -> None:
        try:
            outbox.send(sender, b"", bytes(4_000_000))
            outcomes.append("sent")
        except OSError:
            outcomes.append("cut off")
        finally:
            sender.close()

    threads = []
    for number, (sender, _) in enumerate(pairs):
        sender.setblocking(False)
        sender.settimeout(30)
        threads.append(threading.Thread(target=send, args=(sender,)))
        threads[-1].start()
        wait_until(lambda number=number: len(outbox._waiting) + len(outcomes) == number + 1)  # type: ignore[misc]
    assert outcomes == ["cut off"] * 2
    assert outbox._bytes <= 10_000_000

    for _, receiver in pairs[2:]:
        assert (
            sum(len(part) for part in iter(lambda receiver=receiver: receiver.recv(1_000_000), b""))
            == 4_000_000
        )  # type: ignore[misc]
    for thread in threads:
        thread.join()
    assert outcomes == ["cut off", "cut off", "sent", "sent"]
    assert outbox._bytes == 0
    for _, receiver in pairs:
        receiver.close()
