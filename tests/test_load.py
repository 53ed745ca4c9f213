"""The load generator counts a server's answers, their times, and missing answers."""

import base64
import hashlib
import json
import os
import socket
import socketserver
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from io import BytesIO

import pytest
from PIL import Image

from tools.testing.images import encoded, gradient
from tools.testing.load import (
    ClosedLoop,
    FreshJson,
    FreshUpload,
    Latencies,
    OpenLoop,
    ProcessTree,
    Result,
    SlowClients,
    closed_loop,
    fixed,
    half_body,
    half_head,
    json_request,
    open_connections,
    open_loop,
    run,
    several,
)
from tools.testing.server import free_port

JPEG = encoded(gradient(), "JPEG")
BIG = 3_000_000


class Handler(BaseHTTPRequestHandler):
    """Answers according to the path of the request, and records the request."""

    protocol_version = "HTTP/1.1"
    server: "Server"

    def do_GET(self) -> None:
        match self.path:
            case "/lost":
                self.close_connection = True
            case "/slow":
                time.sleep(0.2)
                self.answer(200, b"late")
            case "/busy":
                self.answer(503, b"busy")
            case "/chunked":
                self.send_response(200)
                self.send_header("Transfer-Encoding", "chunked")
                self.end_headers()
                self.wfile.write(b"5\r\nhello\r\n")
                self.wfile.flush()
                time.sleep(0.01)
                self.wfile.write(b"0\r\n\r\n")
            case "/until-close":
                self.send_response(200)
                self.end_headers()
                self.wfile.write(b"hello")
                self.close_connection = True
            case "/big":
                self.answer(200, bytes(BIG))
            case _:
                self.answer(200, b"ok")

    def do_POST(self) -> None:
        if self.path == "/at-the-door":
            self.answer(503, b"busy", Connection="close")
            return
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.bodies.append((self.headers["Content-Type"], body))
        self.answer(200, b"ok")

    def do_PUT(self) -> None:
        self.do_POST()

    def answer(self, status: int, body: bytes, **headers: str) -> None:
        self.server.clients.add(self.client_address)
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Keep the output of the tests clean."""


class Server(socketserver.ThreadingTCPServer):
    """A server on a free port that records received bodies and the addresses of its clients."""

    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 256

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.port = self.server_address[1]
        self.bodies: list[tuple[str | None, bytes]] = []
        self.clients: set[tuple[str, int]] = set()

    def handle_error(self, *_: object) -> None:
        """Ignore errors of clients that disconnect."""


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as started:
        thread = threading.Thread(
            target=started.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True
        )
        thread.start()
        yield started
        started.shutdown()
        thread.join()


@pytest.fixture
def closed_port() -> int:
    return free_port()


def test_a_closed_loop_has_one_request_in_flight_on_each_connection(server: Server) -> None:
    result = closed_loop(server.port, fixed("GET", "/slow"), connections=4, seconds=0.5)

    assert result.offered == len(result.served) > 4
    assert result.statuses == {200: result.offered}
    assert result.connections == len(server.clients) == 4
    assert not result.errors
    started, ended = (
        sorted(result.due),
        sorted(due + t for due, t in zip(result.due, result.latency, strict=True)),
    )
    # never five at a time
    assert all(start >= end for start, end in zip(started[4:], ended, strict=False))


def test_goodput_counts_what_was_served_before_the_end() -> None:
    result = Result(start=1, seconds=2)
    for due, latency, status in [
        (1, 0.1, 200),
        (1, 2.1, 200),
        (2, 0.5, 503),
        (2.5, 0.4, 304),
        (2.5, 0, 0),
    ]:
        result.due.append(due)
        result.latency.append(latency)
        result.status.append(status)

    assert result.goodput == 1
    assert (len(result.served), len(result.refused)) == (3, 1)


def test_an_open_loop_sends_on_time_however_slow_the_server_is(server: Server) -> None:
    result = open_loop(server.port, fixed("GET", "/slow"), rate=100, seconds=0.5)

    assert result.offered == len(result.served) == 50
    assert [round(due, 2) for due in sorted(result.due)] == pytest.approx(
        [n / 100 for n in range(50)], abs=0.011
    )
    # 100 requests per second that take 0.2 seconds each need 20 connections
    assert result.connections >= 15


def test_a_load_that_is_stopped_has_its_answers_and_its_true_length(server: Server) -> None:
    answered = []
    load = OpenLoop(requests=fixed("GET", "/slow"), rate=50, seconds=60)
    (result,) = run(
        server.port,
        load,
        tick=lambda now, _: answered.append(now),
        tick_seconds=0.5,
        stopped=lambda: bool(answered),
    )

    assert 0.5 <= result.seconds < 2
    assert result.offered == len(result.served) >= 25


def test_latency_counts_from_the_time_that_a_request_was_due(server: Server) -> None:
    load = OpenLoop(requests=fixed("GET", "/slow"), rate=20, seconds=0.5, max_connections=1)

    result = run(server.port, load)[0]

    assert result.connections == 1
    # the tenth request was due after 0.45 seconds and answered after 2
    assert result.served.max >= 10 * 0.2 - 0.5


def test_each_request_may_have_its_own_connection(server: Server) -> None:
    load = OpenLoop(requests=fixed("GET", "/"), rate=50, seconds=0.4, new_connections=True)

    result = run(server.port, load, sources=("127.0.0.1", "127.0.0.7"))[0]

    assert result.connections == len(result.served) == len(server.clients) == 20
    assert {host for host, _ in server.clients} == {"127.0.0.1", "127.0.0.7"}


@pytest.mark.parametrize("path", ["/chunked", "/until-close", "/big"])
def test_a_response_ends_where_its_framing_says(server: Server, path: str) -> None:
    result = closed_loop(server.port, fixed("GET", path), connections=2, seconds=0.2)

    assert not result.errors
    assert len(result.served) == result.offered > 2


def test_refusals_are_told_from_served_requests(server: Server) -> None:
    result = closed_loop(
        server.port, several(fixed("GET", "/"), fixed("GET", "/busy")), connections=1, seconds=0.2
    )

    assert result.statuses.keys() == {200, 503}
    assert len(result.refused) == result.statuses[503]
    assert len(result.served) == result.statuses[200]


def test_a_refusal_before_the_end_of_the_body_is_an_answer(server: Server) -> None:
    result = open_loop(
        server.port,
        fixed("POST", "/at-the-door", bytes(5_000_000)),
        rate=10,
        seconds=0.5,
        timeout=5,
    )

    # the server may close so early that its answer is lost
    assert len(result.refused) + result.errors["reset"] == 5
    assert len(result.refused) > 0


@pytest.mark.parametrize(
    ("path", "timeout", "reason"), [("/lost", 5, "closed"), ("/slow", 0.05, "timeout")]
)
def test_requests_without_an_answer_are_counted_by_reason(
    server: Server, path: str, timeout: float, reason: str
) -> None:
    result = open_loop(server.port, fixed("GET", path), rate=20, seconds=0.2, timeout=timeout)

    assert result.errors == {reason: 4}
    assert list(result.status) == [0, 0, 0, 0]


def test_a_port_that_refuses_connections_is_not_tried_in_a_busy_loop(closed_port: int) -> None:
    result = closed_loop(closed_port, fixed("GET", "/"), connections=1, seconds=0.5)

    assert result.errors.keys() == {"connection refused"}
    assert result.offered <= 6


def test_loads_run_side_by_side_and_each_at_its_time(server: Server) -> None:
    ticks: list[tuple[float, int]] = []

    first, second = run(
        server.port,
        ClosedLoop(requests=fixed("GET", "/slow"), connections=1, seconds=0.3),
        OpenLoop(requests=fixed("GET", "/"), rate=10, seconds=0.3, start=0.3),
        tick=lambda seconds, results: ticks.append((seconds, len(results[1].due))),
        tick_seconds=0.1,
    )

    assert max(first.due) < 0.3 <= min(second.due)
    assert len(ticks) > 1
    assert ticks == sorted(ticks)  # time passes, and results are added


def test_bodies_in_json_hold_images_that_differ_in_a_comment_only(server: Server) -> None:
    closed_loop(server.port, FreshJson(JPEG, width=64, style="ramp"), connections=1, seconds=0.2)

    payloads = [
        json.loads(body)
        for content_type, body in server.bodies
        if content_type == "application/json"
    ]
    images = [base64.b64decode(payload["image"], validate=True) for payload in payloads]
    assert len(images) == len(server.bodies) == len(set(images)) > 1
    assert {(payload["width"], payload["style"]) for payload in payloads} == {(64, "ramp")}
    assert {hashlib.sha256(Image.open(BytesIO(image)).tobytes()).digest() for image in images} == {
        hashlib.sha256(Image.open(BytesIO(JPEG)).tobytes()).digest()
    }


def test_uploads_hold_images_that_differ_in_a_comment_only(server: Server) -> None:
    closed_loop(server.port, FreshUpload(JPEG), connections=2, seconds=0.2)

    images = [body for _, body in server.bodies]
    assert len(images) == len(set(images)) > 2
    assert {Image.open(BytesIO(image)).tobytes() for image in images} == {
        Image.open(BytesIO(JPEG)).tobytes()
    }


def test_a_stored_request_is_the_same_each_time() -> None:
    source = json_request(JPEG, width=80)

    assert source() == source()
    assert json.loads(source()[1]) == {
        "width": 80,
        "style": "structure",
        "image": base64.b64encode(JPEG).decode(),
    }


def test_slow_clients_are_held_until_the_server_drops_them(server: Server) -> None:
    with SlowClients(server.port) as clients:
        assert clients.open(half_head(), 20) == 20
        assert clients.open(half_body(JPEG), 20) == 20
        assert clients.open(fixed("GET", "/big")()[0], 10, reading=False) == 10
        clients.send(b"x")
        clients.poll()
        assert clients.held == 50
        assert not clients.dropped

        assert clients.open(b"NOTHING / HTTP/1.1\r\n\r\n", 5) == 5
        deadline = time.monotonic() + 60
        while clients.held > 50 and time.monotonic() < deadline:
            clients.poll()
            time.sleep(0.01)
        assert clients.dropped == {"501": 5}
        assert clients.held == 50


def test_percentiles_are_those_of_the_nearest_rank() -> None:
    latencies = Latencies(range(100, 0, -1))

    assert (latencies.p50, latencies.p99, latencies.at(99.9), latencies.max) == (50, 99, 100, 100)
    assert Latencies([]).p50 != Latencies([]).p50  # NaN


def test_recovery_ends_with_the_last_slow_request() -> None:
    result = Result(start=0, seconds=1)
    for due, latency, status in [
        (0, 3, 200),
        (1, 2.5, 200),
        (2, 0.1, 503),
        (4, 0.1, 200),
        (5, 0.1, 200),
    ]:
        result.due.append(due)
        result.latency.append(latency)
        result.status.append(status)

    assert result.recovery_seconds(0.2, after=1) == 2.5
    assert result.recovery_seconds(0.2, after=4.5) == 0
    result.status[-1] = 503
    # NaN: it has not recovered
    assert result.recovery_seconds(0.2, after=1) != result.recovery_seconds(0.2, after=1)


def test_the_connections_that_a_server_holds_are_counted() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        clients = [socket.create_connection(("127.0.0.1", port)) for _ in range(3)]
        accepted = [server.accept()[0] for _ in range(2)]
        assert open_connections(port) == 2

        accepted.pop().close()
        assert open_connections(port) == 1
        for connection in (*clients, *accepted):
            connection.close()


def test_a_process_tree_includes_grandchildren() -> None:
    sleep = "import time; print(flush=True); time.sleep(60)"
    parent = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {sleep!r}])"
    with subprocess.Popen(
        [sys.executable, "-c", parent], stdout=subprocess.PIPE, start_new_session=True
    ) as process:
        assert process.stdout
        process.stdout.readline()
        tree = ProcessTree(process.pid)
        usage = tree.usage()
        for pid in reversed(tree.pids()):
            os.kill(pid, 9)

    assert usage.processes == usage.threads == 2
    assert usage.descriptors >= 6
    assert usage.rss_bytes > 5_000_000
    assert usage.cpu_seconds > 0
