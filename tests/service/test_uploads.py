"""Memory for request bodies is bounded. Under pressure, idle uploads end and active ones
continue."""

import io
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from flask import Request

from asciist.errors import BadRequestError, OverloadedError, SlowUploadError
from asciist.settings import Settings
from service import uploads as module
from service.uploads import Uploads
from tests.serving import Server
from tests.waiting import wait_until
from tools.testing.load import SlowClients, half_body

STEP = 65_536


class Client:
    """A client with an upload over a real connection. `uploads` receives it in a separate
    thread."""

    def __init__(self, uploads: Uploads, length: int) -> None:
        listener = socket.create_server(("127.0.0.1", 0))
        self._client = socket.create_connection(listener.getsockname())
        self._server, _ = listener.accept()
        listener.close()
        self._uploads = uploads
        self.environ: dict[str, Any] = {
            "REQUEST_METHOD": "PUT",
            "CONTENT_LENGTH": str(length),
            "CONTENT_TYPE": "image/jpeg",
            "gunicorn.socket": self._server,
            "wsgi.input": self,
        }
        self._thread = threading.Thread(target=uploads.read_ahead, args=(self.environ,))
        self._thread.start()

    def read(self, size: int = -1, /) -> bytes:
        """Read like gunicorn's body: return once `size` bytes have arrived, or fewer at the end."""
        received = b""
        while len(received) < size and (part := self._server.recv(size - len(received))):
            received += part
        return received

    def send(self, size: int) -> None:
        self._client.sendall(bytes(size))

    @property
    def is_received(self) -> bool:
        """Return whether the upload has ended, complete or not."""
        return not self._thread.is_alive()

    def receive(self) -> bytes:
        """Return the body as received by the application, and release its memory. Raises the errors
        of `Uploads.receive`."""
        self._thread.join(30)
        request = Request(self.environ)
        with self._uploads.receive(request):
            return request.get_data()

    def close(self) -> None:
        self._client.close()
        self._thread.join(30)
        self._server.close()
        self._uploads.release(self.environ)


@pytest.fixture
def opened() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def bounded(steps: int, *, request_timeout: int = 50) -> Uploads:
    """Return Uploads with memory for `steps` steps."""
    return Uploads(
        Settings(max_upload_bytes_in_flight=steps * STEP, request_timeout=request_timeout)
    )


def upload(opened: ExitStack, uploads: Uploads, length: int, *, sent: int) -> Client:
    """Begin an upload of `length` bytes; `sent` of them are sent."""
    client = Client(uploads, length)
    opened.callback(client.close)
    client.send(sent)
    return client


@pytest.fixture
def idle_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Count an upload as idle after waiting a tenth of a second for a byte."""
    monkeypatch.setattr(module, "_IDLE_SECONDS", 0.1)


def test_an_upload_arrives_whole(opened: ExitStack) -> None:
    client = upload(opened, bounded(10), 3 * STEP + 7, sent=3 * STEP + 7)

    assert client.receive() == bytes(3 * STEP + 7)


def test_the_memory_of_an_upload_is_given_back(opened: ExitStack) -> None:
    uploads = bounded(3)
    for _ in range(5):
        assert len(upload(opened, uploads, 3 * STEP, sent=3 * STEP).receive()) == 3 * STEP


def test_an_upload_larger_than_the_memory_is_refused(opened: ExitStack) -> None:
    with pytest.raises(OverloadedError):
        upload(opened, bounded(2), 3 * STEP, sent=3 * STEP).receive()


@pytest.mark.usefixtures("idle_at_once")
def test_idle_uploads_end_for_the_sake_of_another_the_longest_idle_first(opened: ExitStack) -> None:
    uploads = bounded(4)
    idle = []
    for _ in range(4):
        idle.append(upload(opened, uploads, STEP, sent=10))
        time.sleep(0.15)

    assert len(upload(opened, uploads, 2 * STEP, sent=2 * STEP).receive()) == 2 * STEP

    for ended in idle[:2]:
        wait_until(lambda ended=ended: ended.is_received)  # type: ignore[misc]
        with pytest.raises(OverloadedError):
            ended.receive()
    assert not idle[2].is_received
    assert not idle[3].is_received
    idle[2].send(STEP - 10)
    assert len(idle[2].receive()) == STEP


def test_an_upload_is_refused_while_all_others_are_active(
    opened: ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_IDLE_SECONDS", 30)
    uploads = bounded(2)
    active = [upload(opened, uploads, STEP, sent=10) for _ in range(2)]
    wait_until(lambda: len(uploads._uploads) == 2)

    with pytest.raises(OverloadedError):
        upload(opened, uploads, STEP, sent=STEP).receive()

    for client in active:
        client.send(STEP - 10)
        assert len(client.receive()) == STEP


def test_an_upload_that_is_slow_but_not_silent_is_active(
    opened: ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_IDLE_SECONDS", 2)
    uploads = bounded(1)
    slow = upload(opened, uploads, STEP, sent=10)
    for _ in range(12):
        time.sleep(0.2)
        slow.send(10)

    with pytest.raises(OverloadedError):
        upload(opened, uploads, STEP, sent=STEP).receive()

    slow.send(STEP - 130)
    assert len(slow.receive()) == STEP


@pytest.mark.usefixtures("idle_at_once")
def test_room_for_a_connection_is_made_by_ending_the_longest_idle_upload(opened: ExitStack) -> None:
    uploads = bounded(10)
    assert not uploads.make_room()
    first = upload(opened, uploads, STEP, sent=10)
    time.sleep(0.15)
    second = upload(opened, uploads, STEP, sent=10)
    wait_until(lambda: len(uploads._uploads) == 2)
    time.sleep(0.15)

    assert uploads.make_room()
    with pytest.raises(OverloadedError):
        first.receive()
    assert not second.is_received


def test_an_upload_that_stops_times_out(opened: ExitStack) -> None:
    with pytest.raises(SlowUploadError):
        upload(opened, bounded(10, request_timeout=1), STEP, sent=10).receive()


def test_an_upload_whose_client_leaves_is_too_short(opened: ExitStack) -> None:
    client = upload(opened, bounded(10), STEP, sent=10)
    client._client.close()

    with pytest.raises(BadRequestError):
        client.receive()


def test_a_body_without_a_connection_is_read_too() -> None:
    environ: dict[str, Any] = {
        "REQUEST_METHOD": "PUT",
        "CONTENT_LENGTH": "5",
        "wsgi.input": io.BytesIO(b"12345"),
    }
    uploads = bounded(1)
    uploads.read_ahead(environ)
    request = Request(environ)
    with uploads.receive(request):
        assert request.get_data() == b"12345"


@pytest.mark.slow
def test_idle_uploads_do_not_keep_a_server_from_serving(tmp_path: Path) -> None:
    image = os.urandom(200_000)
    server = Server(
        tmp_path,
        ASCIIST_REQUEST_TIMEOUT="50",
        ASCIIST_MAX_UPLOAD_BYTES_IN_FLIGHT="3000000",
        ASCIIST_WORKERS="1",
    )
    try:
        with SlowClients(server.port) as clients:
            clients.open(half_body(image), 10)  # each holds 100 kB and waits for more
            time.sleep(1.5)
            clients.open(half_body(image), 30)
            for _ in range(3):
                assert server.request("GET", "/healthz")[0] == 200
            wait_until(lambda: clients.poll() or clients.dropped["503"] >= 10)  # type: ignore[func-returns-value]
            time.sleep(1.5)  # the others are idle too
            status, body = server.request("PUT", "/?width=20", bytes(2_000_000))
            assert (status, body[:28]) == (400, b"unknown image format: send J")
            clients.poll()
            assert clients.dropped.keys() == {"503"}
            assert clients.held > 0
        assert server.request("PUT", "/?width=20", bytes(2_900_000))[0] == 400
        assert server.tracebacks == []
    finally:
        server.stop()
