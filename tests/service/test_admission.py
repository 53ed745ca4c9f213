"""Requests beyond the capacity of a web process are refused on arrival, and counted; all others are
served."""

import logging
import os
import re
import select
import signal
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress

import pytest

from asciist.adapters.embedded import EmbeddedMetrics
from asciist.errors import OverloadedError, sentences
from asciist.settings import Settings
from asciist.telemetry import metrics
from service import admission as module
from service.admission import Admission, ReadPlaces
from service.arrivals import has_left
from tests.clock import Clock
from tests.serving import Server
from tests.waiting import wait_until
from tools.testing.images import encoded, gradient
from tools.testing.load import FreshUpload, json_request


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def recorded() -> EmbeddedMetrics:
    return EmbeddedMetrics()


@pytest.fixture
def admission(recorded: EmbeddedMetrics, clock: Clock) -> Admission:
    return Admission(Settings(max_requests_in_flight=20, request_timeout=10), recorded, clock)


@contextmanager
def in_progress(admission: Admission, count: int) -> Iterator[ExitStack]:
    """Hold `count` requests in progress for a `with` block."""
    with ExitStack() as requests:
        for _ in range(count):
            requests.enter_context(admission.admit())
        yield requests


def complete(admission: Admission, clock: Clock, *, seconds: float, times: int) -> None:
    """End a request and admit another, `times` in a row or until none is admitted, with `seconds`
    between them."""
    with suppress(OverloadedError):
        for _ in range(times):
            with admission.admit():
                clock.now += seconds


class TestAdmission:
    def test_as_many_requests_as_the_setting_says_are_in_progress_at_a_time(
        self, admission: Admission
    ) -> None:
        with in_progress(admission, 20) as requests:
            assert admission.is_full
            with pytest.raises(OverloadedError), admission.admit():
                pass
            assert admission.refuses(0)
            requests.pop_all().__exit__(None, None, None)
        assert not admission.is_full
        assert not admission.refuses(0)

    def test_a_request_that_failed_gives_back_its_place(self, admission: Admission) -> None:
        for _ in range(30):
            with pytest.raises(ValueError, match="broken"), admission.admit():
                raise ValueError("broken")
        assert not admission.is_full

    def test_requests_are_refused_if_those_in_progress_take_half_the_timeout(
        self, admission: Admission, clock: Clock
    ) -> None:
        with in_progress(admission, 16):
            complete(admission, clock, seconds=0.2, times=100)
            assert not admission.is_full  # 17 requests take 3.4 seconds

            complete(admission, clock, seconds=0.4, times=100)
            assert admission.is_full  # 5 seconds of 10

    def test_a_process_that_was_slow_once_takes_requests_as_soon_as_few_are_in_progress(
        self, admission: Admission, clock: Clock
    ) -> None:
        with in_progress(admission, 16):
            complete(admission, clock, seconds=5, times=100)
            assert admission.is_full
        with in_progress(admission, 15):
            assert not admission.is_full
            complete(admission, clock, seconds=0.01, times=100)
            assert not admission.is_full

    def test_a_request_that_waited_for_over_a_second_is_refused(self, admission: Admission) -> None:
        assert not admission.refuses(0.99)
        assert admission.refuses(1.01)

    def test_a_promised_place_is_kept_for_a_moment(
        self, admission: Admission, clock: Clock
    ) -> None:
        with in_progress(admission, 19):
            admission.promise_place()
            assert admission.is_full

            with admission.admit():
                pass
            assert not admission.is_full

            admission.promise_place()
            clock.now += 1
            assert not admission.is_full

            admission.end_promise(admission.promise_place())
            assert not admission.is_full

    def test_a_refusal_before_parsing_counts_as_an_answer_and_as_shed(
        self, admission: Admission, recorded: EmbeddedMetrics
    ) -> None:
        assert not admission.refuses(0)
        assert recorded.total(metrics.REQUESTS_SHED) == 0

        assert admission.refuses(5)
        assert recorded.total(metrics.REQUESTS_SHED) == 1
        assert recorded.total(metrics.REQUESTS, status="503") == 1
        assert recorded.total(f"{metrics.REQUEST_DURATION} (values)", status="503") == 1

    def test_the_log_tells_every_10_seconds_how_many_were_refused(
        self, admission: Admission, clock: Clock, caplog: pytest.LogCaptureFixture
    ) -> None:
        for now in (0, 1, 2, 9, 10, 11, 25):
            clock.now = now
            admission.refuses(5)

        warnings = [record for record in caplog.records if record.levelno == logging.WARNING]
        assert [record.refused for record in warnings] == [1, 4, 2]  # type: ignore[attr-defined]

    def test_the_number_of_requests_in_flight_is_recorded(
        self, admission: Admission, recorded: EmbeddedMetrics
    ) -> None:
        with in_progress(admission, 3):
            assert recorded.total(f"{metrics.REQUESTS_IN_FLIGHT} (values)") == 3


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(
        tmp_path_factory.mktemp("store"),
        ASCIIST_REQUEST_TIMEOUT="50",
        ASCIIST_MAX_REQUESTS_IN_FLIGHT="2",
        ASCIIST_WORKERS="1",
        ASCIIST_METRICS="emf",
    )
    yield server
    server.stop()


def exchange(server: Server, *pieces: bytes) -> tuple[bytes, bytes]:
    """Send bytes on a new connection; return the head and the body of the answer once the server
    has closed the connection."""
    with server.connect() as connection:
        for piece in pieces:
            connection.sendall(piece)
        answer = b"".join(iter(lambda: connection.recv(65_536), b""))
    head, _, body = answer.partition(b"\r\n\r\n")
    return head, body


@contextmanager
def full(server: Server) -> Iterator[list[socket.socket]]:
    """Stop the converter and occupy all slots of the only web process; resume the converter at the
    end of the block."""
    image = encoded(gradient(), "JPEG")
    source = FreshUpload(image)
    connections: list[socket.socket] = []

    def is_full() -> bool:
        # A converter that has ended, for example for lack of memory, has been replaced.
        signal_converters(server, signal.SIGSTOP)
        # refused, because an earlier probe had the place
        for answered in select.select(connections, [], [], 0)[0]:
            connections.remove(answered)
            answered.close()
        while len(connections) < 2:
            connections.append(server.connect())
            connections[-1].sendall(b"".join(source()))
        is_refused = exchange(server, upload_head(1) + b"x")[0].startswith(b"HTTP/1.1 503")
        return is_refused and not select.select(connections, [], [], 0)[0]

    try:
        wait_until(is_full)
        yield connections
    finally:
        signal_converters(server, signal.SIGCONT)
        for connection in connections:
            connection.close()
        wait_until(lambda: server.request("PUT", "/?width=20", image)[0] == 200)


def signal_converters(server: Server, signal_number: signal.Signals) -> None:
    for converter in server.converters():
        with suppress(ProcessLookupError):
            os.kill(converter, signal_number)


def upload_head(length: int, **headers: str) -> bytes:
    lines = ["PUT /?width=20 HTTP/1.1", "Host: x", f"Content-Length: {length}", "Connection: close"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode()


@pytest.mark.slow
class TestAFullServer:
    def test_refuses_an_upload_without_reading_it(self, server: Server) -> None:
        with full(server):
            head, body = exchange(server, upload_head(10_000_000))

        assert head.startswith(b"HTTP/1.1 503 Service Unavailable\r\nServer: asciist\r\n")
        assert re.search(rb"\r\nRetry-After: [1-9]\d*", head)
        assert b"\r\nConnection: close" in head
        assert b"\r\nCache-Control: no-store" in head
        assert b"\r\nX-Content-Type-Options: nosniff" in head
        assert re.search(rb"\r\nContent-Security-Policy: .*frame-ancestors 'none'", head)
        assert b"\r\nContent-Type: text/plain; charset=utf-8" in head
        assert body.decode() == sentences.BUSY + "\n"
        assert f"\r\nContent-Length: {len(body)}".encode() in head

    def test_lets_a_client_that_sends_its_whole_body_first_read_the_refusal(
        self, server: Server
    ) -> None:
        with full(server):
            for size in (20, 100_000, 3_000_000):
                head, body = exchange(server, upload_head(size), bytes(size))
                assert head.startswith(b"HTTP/1.1 503")
                assert body.decode() == sentences.BUSY + "\n"

    def test_answers_a_json_request_with_json(self, server: Server) -> None:
        with full(server):
            head, body = exchange(server, *json_request(encoded(gradient(), "JPEG"), width=80)())

        assert b"\r\nContent-Type: application/json" in head
        assert body.decode() == f'{{"error":"{sentences.BUSY}"}}\n'

    def test_lets_programs_of_other_sites_read_the_refusal(self, server: Server) -> None:
        with full(server):
            head, _ = exchange(server, upload_head(20, Origin="https://a.example"))

        assert b"\r\nAccess-Control-Allow-Origin: *" in head
        assert re.search(rb"\r\nAccess-Control-Expose-Headers: .*Retry-After", head)

    def test_answers_get_requests(self, server: Server, cat: bytes) -> None:
        with server.connect() as connection:
            connection.sendall(upload_head(len(cat)) + cat)
            address = re.search(rb"Content-Location: (\S+)", connection.recv(65_536))
        assert address
        with full(server):
            for path in ("/healthz", "/readyz", "/", "/openapi.json", address[1].decode()):
                assert server.request("GET", path)[0] == 200

    def test_takes_no_part_of_a_body_for_a_request(self, server: Server) -> None:
        """The unread body of a request must not be parsed as another request."""
        size = 14_000_000  # more than is read before the application runs
        body = (b"PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n" * (size // 40))[:size]
        with full(server), server.connect() as connection:
            connection.sendall(
                f"DELETE / HTTP/1.1\r\nHost: x\r\nContent-Length: {size}\r\n\r\n".encode()
            )
            answer = connection.recv(65_536)
            connection.sendall(
                body + b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
            )
            answer += b"".join(iter(lambda: connection.recv(65_536), b""))

        assert re.findall(rb"HTTP/1.1 (\d+)", answer) == [b"405", b"200"]

    def test_answers_those_it_had_admitted_and_then_all_others(
        self, server: Server, cat: bytes
    ) -> None:
        with full(server) as admitted:
            signal_converters(server, signal.SIGCONT)
            for connection in admitted:
                assert connection.recv(65_536).startswith(b"HTTP/1.1 200")
            assert server.request("PUT", "/?width=31", cat)[0] == 200

    def test_counts_and_logs_what_it_refused(self, server: Server) -> None:
        with full(server), ThreadPoolExecutor(5) as pool:
            heads = list(pool.map(lambda _: exchange(server, upload_head(20))[0], range(5)))
        assert all(head.startswith(b"HTTP/1.1 503") for head in heads)

        assert re.search(
            rb'"message": "requests refused: the service is busy".*"refused": [1-9]', server.log
        )
        server.stop()
        assert re.search(rb'"asciist.requests.shed":\[[1-9]', server.log)
        assert re.search(rb'"status":"503".*"asciist.requests":\[[1-9]', server.log)
        assert server.tracebacks == []


class TestReadPlaces:
    """Reads of links that are not answered from memory."""

    def test_a_client_that_left_while_it_waited_is_not_served(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(module, "_READS", 1)
        reads = ReadPlaces(Admission(Settings(), EmbeddedMetrics()))
        with ThreadPoolExecutor(1) as pool, ExitStack() as first:
            first.enter_context(reads.take())

            def read() -> None:
                with reads.take(lambda: True):
                    pytest.fail("it is served")

            waiting = pool.submit(read)
            wait_until(lambda: reads._waiting == 1)
            first.close()
            with pytest.raises(ConnectionAbortedError):
                waiting.result(60)
        with reads.take(lambda: True):  # nobody waited, so it is not asked
            pass

    def test_reads_take_only_a_share_of_the_time_beside_conversions(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        used = iter([0.0, 1.0, 1.0, 1.1])
        monkeypatch.setattr(module.time, "process_time", lambda: next(used))
        clock = Clock()
        conversions = Admission(Settings(), EmbeddedMetrics())
        reads = ReadPlaces(conversions, clock)
        with conversions.admit(), reads.take():
            pass

        assert reads._debt_seconds() == pytest.approx(2 - 0.05)  # at most two seconds
        clock.now += 3
        with reads.take():
            pass
        assert reads._debt_seconds() == pytest.approx(0.1 - 0.05)  # no conversion is in progress

    def test_a_closed_connection_is_noticed(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            client = socket.create_connection(server.getsockname())
            connection, _ = server.accept()
            with connection:
                assert not has_left(connection)
                client.close()
                wait_until(lambda: has_left(connection))
        assert not has_left(None)
