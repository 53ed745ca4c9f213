"""`asciist serve` as a running process, tested over real sockets and with real signals."""

import re
import select
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from asciist.conversion import ConversionOptions, convert
from asciist.limits import Limits
from devtools import hostile
from devtools.images import encoded, gradient
from tests.serving import Server

pytestmark = pytest.mark.slow


def receive(connection: socket.socket) -> bytes:
    """Read one response: until its Content-Length is complete or the server closes the connection."""
    received = b""
    while chunk := connection.recv(65_536):
        received += chunk
        length = re.search(rb"Content-Length: (\d+)", received)
        if length and len(received.partition(b"\r\n\r\n")[2]) >= int(length[1]):
            break
    return received


def raw(server: Server, *pieces: bytes) -> bytes:
    """Send bytes unchanged over a new connection; return the response."""
    with server.connect() as connection:
        for piece in pieces:
            connection.sendall(piece)
        return receive(connection)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("store"))
    yield server
    server.stop()


def head(method: str, path: str, **headers: object) -> bytes:
    """Return the request line and headers. Underscores in header names become hyphens."""
    lines = [f"{method} {path} HTTP/1.1", "Host: x", *(f"{name.replace('_', '-')}: {value}" for name, value in headers.items())]
    return "\r\n".join([*lines, "", ""]).encode()


def test_the_log_contains_an_example_command_with_the_port(server: Server) -> None:
    assert f"curl --data-binary @examples/cat.jpg 'http://localhost:{server.port}/?width=80'".encode() in server.log


def test_responses_do_not_reveal_the_server_software(server: Server, cat: bytes) -> None:
    answer = raw(server, head("PUT", "/?width=20", Content_Length=len(cat)) + cat)

    assert answer.startswith(b"HTTP/1.1 200 OK\r\nServer: asciist\r\n")
    assert not re.search(rb"gunicorn|werkzeug|python", answer, re.IGNORECASE)


def test_200_requests_from_16_concurrent_clients_all_succeed(server: Server, cat: bytes) -> None:
    def succeeds(number: int) -> bool:
        width = 20 + number % 50
        status, body = server.request("PUT", f"/?width={width}", cat)
        return status == 200 and len(body.split(b"\n")[0]) == width

    with ThreadPoolExecutor(16) as pool:
        assert all(pool.map(succeeds, range(200)))


def test_a_content_length_above_the_bytes_sent_is_a_timeout(server: Server, cat: bytes) -> None:
    answer = raw(server, head("PUT", "/", Content_Length=len(cat) + 1000) + cat)

    assert answer.startswith(b"HTTP/1.1 408")
    assert b"the request body did not arrive in time: check its Content-Length" in answer


def test_a_content_length_below_the_bytes_sent_is_a_damaged_image(server: Server, cat: bytes) -> None:
    answer = raw(server, head("PUT", "/", Content_Length=2000, Connection="close") + cat)

    assert answer.startswith(b"HTTP/1.1 400")
    assert b"the image is damaged" in answer


def test_a_client_that_stops_sending_in_mid_body_is_answered_400(server: Server, cat: bytes) -> None:
    with server.connect() as connection:
        connection.sendall(head("PUT", "/", Content_Length=len(cat)) + cat[:1000])
        connection.shutdown(socket.SHUT_WR)
        answer = receive(connection)

    assert answer.startswith(b"HTTP/1.1 400")
    assert b"the request body is shorter than its Content-Length" in answer


def test_a_slow_upload_is_cut_off(server: Server, cat: bytes) -> None:
    """The upload as a whole is limited in time, even if the connection is never idle for long."""
    start = time.monotonic()
    with server.connect() as connection:
        connection.sendall(head("PUT", "/", Content_Length=len(cat)))
        for byte in cat:
            if select.select([connection], [], [], 0)[0]:
                break
            connection.sendall(bytes([byte]))
            time.sleep(0.2)
            assert time.monotonic() - start < 60
        answer = receive(connection)

    assert answer.startswith(b"HTTP/1.1 408")


def test_a_chunked_body_is_accepted_up_to_the_size_limit(server: Server, cat: bytes) -> None:
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in (cat[:5000], cat[5000:]))
    answer = raw(server, head("PUT", "/?width=20", Transfer_Encoding="chunked") + chunks + b"0\r\n\r\n")
    assert convert(cat, ConversionOptions(width=20), Limits()).encode() in answer

    endless = b"%x\r\n%b\r\n" % (1_000_000, bytes(1_000_000))
    answer = raw(server, head("PUT", "/", Transfer_Encoding="chunked"), endless * 11, b"0\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 413")


def test_an_upload_one_byte_over_the_limit_gets_a_response(server: Server) -> None:
    status, body = server.request("PUT", "/", bytes(10_000_001))

    assert (status, body) == (413, b"the image is too large: the limit is 10 MB\n")


@pytest.mark.parametrize(
    "request_bytes",
    [
        head("PUT", "/", Content_Length="many"),
        head("PUT", "/", Content_Length="-5"),
        head("PUT", "/", Content_Length="5", Transfer_Encoding="chunked") + b"0\r\n\r\n",
        b"nonsense\r\n\r\n",
        b"PUT / HTTP/9.9\r\n\r\n",
        head("PUT", "/" + "x" * 10_000),
    ],
)
def test_invalid_http_is_refused(server: Server, request_bytes: bytes) -> None:
    assert re.match(rb"HTTP/1.1 (4\d\d|505) ", raw(server, request_bytes))


def test_hostile_images_cause_no_5xx_no_hang_and_no_peak_above_300_mb(tmp_path: Path) -> None:
    server = Server(tmp_path, ASCIIST_REQUEST_TIMEOUT="10")  # the default; on a busy machine, 2 s may be too short
    images = [*hostile.refused().values(), *hostile.converted().values()]
    images += [
        encoded(gradient(5200, 5400, "RGBA"), "PNG", compress_level=1),
        encoded(gradient(4032, 3024), "WEBP", quality=50),
        encoded(gradient(8600, 5800), "JPEG"),
        encoded(gradient(1, 3000), "PNG"),
    ]
    try:
        with ThreadPoolExecutor(4) as pool:
            answers = list(pool.map(lambda image: server.request("PUT", "/", image), images * 2))
        assert {status for status, _ in answers} <= {200, 400, 413}
        assert server.peak_megabytes() < 300
        assert server.request("GET", "/readyz")[0] == 200
    finally:
        server.stop()


def test_ctrl_c_finishes_in_flight_requests_and_a_restart_serves_their_art(tmp_path: Path, cat: bytes) -> None:
    server = Server(tmp_path)
    with server.connect() as connection:
        connection.sendall(head("PUT", "/?width=33", Content_Length=len(cat)) + cat[:1000])
        time.sleep(0.3)
        server.interrupt()
        time.sleep(0.5)
        connection.sendall(cat[1000:])
        answer = receive(connection)
    assert answer.startswith(b"HTTP/1.1 200")
    assert server.stop() == 0
    assert b"Traceback" not in server.log

    address = re.search(rb"Content-Location: (\S+)", answer)
    assert address
    again = Server(tmp_path)
    try:
        status, art = again.request("GET", address[1].decode())
        assert (status, art.decode()) == (200, convert(cat, ConversionOptions(width=33), Limits()) + "\n")
    finally:
        again.stop()
