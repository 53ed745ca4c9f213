"""Faults and overload: the effects on a client, no lost request, and the log line or metric that
reports each."""

import json
import os
import random
import signal
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from asciist.errors import sentences
from tests import flawed_converters
from tests.processes import gone
from tests.serving import Server, is_read
from tests.waiting import wait_until
from tools.testing.load import (
    ClosedLoop,
    FreshUpload,
    ProcessTree,
    Result,
    closed_loop,
    open_loop,
    run,
)

pytestmark = pytest.mark.slow

UPLOAD = "/?width=20"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """A server with two web processes and the default timeouts. Its metrics are in its log."""
    server = Server(
        tmp_path, ASCIIST_REQUEST_TIMEOUT="10", ASCIIST_WORKERS="2", ASCIIST_METRICS="emf"
    )
    wait_until(lambda: len(server.web_processes()) == len(server.converters()) == 2)
    wait_until(lambda: is_at_rest(server))
    yield server
    server.stop()


def is_at_rest(server: Server) -> bool:
    """Return True if no process uses the CPU. A starting process does, and the server is ready
    before its last process."""
    tree = ProcessTree(server.process.pid)
    before = tree.usage().cpu_seconds
    time.sleep(0.4)
    return tree.usage().cpu_seconds == before


def lines(server: Server) -> list[dict[str, Any]]:
    """Return the lines of the log."""
    return [json.loads(line) for line in server.log.splitlines() if line.startswith(b"{")]


def messages(server: Server, level: str = "ERROR") -> list[str]:
    """Return the messages of a level in the log."""
    return [line["message"] for line in lines(server) if line.get("level") == level]


def total(server: Server, metric: str, **tags: str) -> float:
    """Return the sum of a counter. It is complete once the server has stopped."""
    return sum(
        sum(line[metric])
        for line in lines(server)
        if metric in line and tags.items() <= line.items()
    )


def test_a_conversion_whose_process_is_killed_is_served(server: Server, cat: bytes) -> None:
    converters = server.converters()
    for converter in converters:
        os.kill(converter, signal.SIGSTOP)
    with ThreadPoolExecutor() as pool:
        answers = [
            pool.submit(server.request, "PUT", f"/?width={width}", cat) for width in range(20, 24)
        ]
        time.sleep(0.5)
        assert not any(answer.done() for answer in answers)
        for converter in converters:
            os.kill(converter, signal.SIGKILL)
        assert [answer.result()[0] for answer in answers] == [200] * 4

    wait_until(lambda: len(server.converters()) == 2)
    assert not set(server.converters()) & set(converters)
    assert messages(server) == ["converter process ended (SIGKILL); another replaces it"] * 2
    server.stop()
    assert total(server, "asciist.requests", status="200") == 4
    assert total(server, "asciist.art.served", source="conversion") == 4
    assert server.tracebacks == []


def test_no_request_fails_while_converters_are_killed_at_random(server: Server, cat: bytes) -> None:
    kills, answered = 0, 0

    def kill(seconds: float, results: Sequence[Result]) -> None:
        nonlocal kills, answered
        converters = server.converters()
        # On a busy machine, an answer may take longer than the time between two kills.
        if converters and len(results[0].status) > answered:
            answered = len(results[0].status)
            os.kill(random.choice(converters), signal.SIGKILL)
            kills += 1

    load = ClosedLoop(requests=FreshUpload(cat), connections=8, seconds=4)
    result = run(server.port, load, tick=kill, tick_seconds=0.3)[0]

    assert not result.errors
    assert result.statuses == {200: result.offered}
    server.stop()
    assert 0 < len(messages(server)) <= kills  # a process may have been killed twice
    assert set(messages(server)) == {"converter process ended (SIGKILL); another replaces it"}
    assert server.tracebacks == []


@dataclass(frozen=True, kw_only=True)
class Flaw:
    """Flaw of the converters for one image, and its consequences."""

    code: str
    error: str
    ended: str
    """End of a converter, in the words of the log."""
    cause: str
    times: int
    """Number of converters that end."""


@pytest.mark.parametrize(
    "flaw",
    [
        Flaw(
            code=flawed_converters.CRASH,
            error=sentences.DECODER_CRASHED,
            ended="SIGSEGV",
            cause="crash",
            times=3,
        ),
        Flaw(
            code="os.abort()",
            error=sentences.DECODER_CRASHED,
            ended="SIGABRT",
            cause="crash",
            times=3,
        ),
        Flaw(
            code="signal.raise_signal(9)",
            error=sentences.DECODER_CRASHED,
            ended="SIGKILL",
            cause="killed",
            times=3,
        ),
        Flaw(
            code=flawed_converters.MEMORY_HOG,
            error=sentences.TOO_MUCH_MEMORY,
            ended="out of memory",
            cause="memory",
            times=1,
        ),
    ],
    ids=lambda flaw: flaw.ended,
)
def test_an_image_that_ends_its_converters_is_a_client_error_and_fails_alone(
    tmp_path: Path, cat: bytes, monkeypatch: pytest.MonkeyPatch, flaw: Flaw
) -> None:
    with monkeypatch.context() as patched:
        flawed_converters.install(tmp_path, patched, flaw=flaw.code)
        server = Server(
            tmp_path / "store",
            ASCIIST_REQUEST_TIMEOUT="10",
            ASCIIST_WORKERS="2",
            ASCIIST_METRICS="emf",
        )
    try:
        with ThreadPoolExecutor() as pool:
            fatal = pool.submit(server.request, "PUT", UPLOAD, flawed_converters.KILLER)
            result = closed_loop(server.port, FreshUpload(cat), connections=4, seconds=2)
            assert fatal.result() == (400, f"{flaw.error}\n".encode())
        assert not result.errors
        assert result.statuses == {200: result.offered}
        assert server.request("PUT", UPLOAD, cat)[0] == 200
        assert server.request("GET", "/readyz")[0] == 200
    finally:
        server.stop()
    assert (
        messages(server)
        == [f"converter process ended ({flaw.ended}); another replaces it"] * flaw.times
    )
    warnings = [line for line in lines(server) if line.get("level") == "WARNING"]
    assert [line["message"] for line in warnings] == [
        f"a converter process ended while it converted this image: {flaw.ended}"
    ] * flaw.times
    assert len({line["request_id"] for line in warnings}) == 1
    assert total(server, "asciist.conversions.aborted", cause=flaw.cause) == flaw.times
    assert total(server, "asciist.messages.faulted") == 0
    assert total(server, "asciist.requests", status="400") == 1
    assert server.tracebacks == []


def test_an_image_that_takes_too_much_cpu_time_is_a_client_error(
    tmp_path: Path, cat: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        flawed_converters.install(tmp_path, patched, flaw=flawed_converters.ENDLESS)
        # On a busy machine, the CPU time of a conversion may take longer than the default timeout.
        server = Server(
            tmp_path / "store",
            ASCIIST_REQUEST_TIMEOUT="30",
            ASCIIST_WORKERS="1",
            ASCIIST_METRICS="emf",
        )
    try:
        assert server.request("PUT", UPLOAD, flawed_converters.KILLER) == (
            400,
            f"{sentences.TOO_SLOW}\n".encode(),
        )
        assert server.request("PUT", UPLOAD, cat)[0] == 200
    finally:
        server.stop()
    # once for each message of the request
    assert total(server, "asciist.conversions.aborted", cause="time") >= 1
    assert total(server, "asciist.requests", status="400") == 1


def test_a_killed_web_process_costs_the_requests_that_it_was_serving(
    server: Server, cat: bytes
) -> None:
    processes, converters = server.web_processes(), server.converters()
    victim = 0

    def kill(seconds: float, results: Sequence[Result]) -> None:
        nonlocal victim
        if not victim and results[0].status:
            victim = processes[0]
            os.kill(victim, signal.SIGKILL)

    load = ClosedLoop(requests=FreshUpload(cat), connections=8, seconds=3)
    result = run(server.port, load, tick=kill, tick_seconds=0.5)[0]

    assert victim
    assert result.statuses.keys() == {200}
    assert result.errors.keys() <= {"closed", "reset"}  # the clients tried again and were served
    assert result.errors.total() <= 8
    wait_until(lambda: len(server.web_processes()) == 2 and len(server.converters()) == 2)
    assert victim not in server.web_processes()
    assert len(set(server.converters()) & set(converters)) == 1  # that of the other process
    wait_until(lambda: server.request("PUT", UPLOAD, cat)[0] == 200)
    assert [
        message for message in messages(server) if f"(pid:{victim}) was sent SIGKILL" in message
    ]
    assert server.tracebacks == []


def test_a_reload_under_load_fails_no_request(server: Server, cat: bytes) -> None:
    processes, converters = server.web_processes(), server.converters()
    reloads = 0

    def reload(seconds: float, results: Sequence[Result]) -> None:
        nonlocal reloads
        if not reloads and results[0].status:
            os.kill(server.process.pid, signal.SIGHUP)
            reloads += 1

    load = ClosedLoop(requests=FreshUpload(cat), connections=8, seconds=4)
    result = run(server.port, load, tick=reload, tick_seconds=0.5)[0]

    assert not result.errors
    assert result.statuses == {200: result.offered}
    assert result.connections > 8  # the old processes closed theirs
    wait_until(lambda: gone(processes + converters))
    assert len(server.web_processes()) == len(server.converters()) == 2
    server.stop()
    assert total(server, "asciist.requests", status="200") == result.offered
    assert server.tracebacks == []


def test_a_stop_finishes_requests_and_does_not_wait_for_idle_connections(
    server: Server, cat: bytes
) -> None:
    get = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
    idle = [server.connect() for _ in range(20)]
    for connection in idle:
        connection.sendall(get)
        assert connection.recv(65_536).startswith(b"HTTP/1.1 200")
    half_head = server.connect()
    half_head.sendall(get[:10])
    with server.connect() as uploading:
        uploading.sendall(
            f"PUT {UPLOAD} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(cat)}\r\n\r\n".encode()
            + cat[:1000]
        )
        wait_until(lambda: is_read(uploading))
        started = time.monotonic()
        server.process.terminate()
        for connection in idle:
            assert connection.recv(1) == b""
            connection.close()
        half_head.close()
        assert server.process.poll() is None
        uploading.sendall(cat[1000:])
        answer = uploading.recv(65_536)
        assert answer.startswith(b"HTTP/1.1 200")
        assert b"\r\nConnection: close\r\n" in answer
    assert server.process.wait(120) == 0
    assert time.monotonic() - started < 15  # of the 20 seconds that requests may take
    assert server.tracebacks == []


def test_a_stopping_process_answers_on_idle_connections_until_a_proxy_has_noticed(
    server: Server,
) -> None:
    get = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
    checks_seconds = 2.0  # of a proxy that takes out a server whose connections are refused
    with server.connect() as early, server.connect() as late:
        for connection in (early, late):
            connection.sendall(get)
            assert connection.recv(65_536).startswith(b"HTTP/1.1 200")
        server.process.terminate()
        wait_until(lambda: not _accepts(server))
        early.sendall(get)
        time.sleep(checks_seconds)
        late.sendall(get)
        for connection in (early, late):
            answer = connection.recv(65_536)
            assert answer.startswith(b"HTTP/1.1 200")
            assert b"\r\nConnection: close\r\n" in answer
    assert server.process.wait(120) == 0


def _accepts(server: Server) -> bool:
    try:
        server.connect().close()
    except ConnectionRefusedError:
        return False
    return True


def test_no_process_survives_a_killed_master_process(server: Server) -> None:
    processes = server.web_processes() + server.converters()
    server.process.kill()
    server.process.wait()

    wait_until(lambda: gone(processes))
    wait_until(lambda: not server.processes(""))
    assert server.tracebacks == []


def test_an_overload_is_refused_and_leaves_nothing_behind(tmp_path: Path, cat: bytes) -> None:
    timeout = 10
    server = Server(tmp_path, ASCIIST_REQUEST_TIMEOUT=str(timeout), ASCIIST_METRICS="emf")
    try:
        requests = FreshUpload(cat)
        peak = closed_loop(server.port, requests, connections=16, seconds=1.5)
        overload = open_loop(
            server.port, requests, rate=3 * peak.goodput, seconds=3, timeout=2 * timeout
        )

        assert not overload.errors
        assert overload.statuses.keys() <= {200, 503}
        assert len(overload.served) > 0
        assert overload.served.max < timeout + overload.lag + 5
        assert server.request("PUT", UPLOAD, cat)[0] == 200
    finally:
        server.stop()
    assert total(server, "asciist.requests.shed") == len(overload.refused) + len(peak.refused)
    assert total(server, "asciist.requests", status="503") == len(overload.refused) + len(
        peak.refused
    )
    assert server.tracebacks == []
