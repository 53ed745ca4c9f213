"""`asciist serve` as a running process, tested over real sockets and with real signals."""

import http.client
import os
import re
import select
import shutil
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from pathlib import Path

import pytest

from asciist.conversion import ConversionOptions
from asciist.limits import Limits
from tests.serving import Server, is_read
from tests.waiting import wait_until
from tools.testing import hostile
from tools.testing.drawing import convert
from tools.testing.images import encoded, gradient

pytestmark = pytest.mark.slow


def receive(connection: socket.socket) -> bytes:
    """Read one response: until its Content-Length is complete or the server closes the
    connection."""
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


@pytest.fixture(scope="module")
def hasty_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server whose stalled uploads end after 2 s, and its slow ones after 12 s."""
    server = Server(tmp_path_factory.mktemp("store"), ASCIIST_REQUEST_TIMEOUT="2")
    yield server
    server.stop()


def head(method: str, path: str, **headers: object) -> bytes:
    """Return the request line and headers. Underscores in header names become hyphens."""
    lines = [
        f"{method} {path} HTTP/1.1",
        "Host: x",
        *(f"{name.replace('_', '-')}: {value}" for name, value in headers.items()),
    ]
    return "\r\n".join([*lines, "", ""]).encode()


def test_the_log_contains_an_example_command_with_the_port(server: Server) -> None:
    assert (
        f"curl --data-binary @docs/examples/cat.jpg 'http://localhost:{server.port}/?width=80'".encode()
        in server.log
    )


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


def test_a_content_length_above_the_bytes_sent_is_a_timeout(
    hasty_server: Server, cat: bytes
) -> None:
    answer = raw(hasty_server, head("PUT", "/", Content_Length=len(cat) + 1000) + cat)

    assert answer.startswith(b"HTTP/1.1 408")
    assert b"the request body did not arrive in time: check its Content-Length" in answer


def test_a_content_length_below_the_bytes_sent_is_a_damaged_image(
    server: Server, cat: bytes
) -> None:
    answer = raw(server, head("PUT", "/", Content_Length=2000, Connection="close") + cat)

    assert answer.startswith(b"HTTP/1.1 400")
    assert b"the image is damaged" in answer


def test_a_client_that_stops_sending_in_mid_body_is_answered_400(
    server: Server, cat: bytes
) -> None:
    with server.connect() as connection:
        connection.sendall(head("PUT", "/", Content_Length=len(cat)) + cat[:1000])
        connection.shutdown(socket.SHUT_WR)
        answer = receive(connection)

    assert answer.startswith(b"HTTP/1.1 400")
    assert b"the request body is shorter than its Content-Length" in answer


def test_a_slow_upload_is_cut_off(hasty_server: Server, cat: bytes) -> None:
    """The whole upload has a time limit, even if the connection is never idle for long: six times
    the request timeout."""
    start = time.monotonic()
    with hasty_server.connect() as connection:
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
    answer = raw(
        server, head("PUT", "/?width=20", Transfer_Encoding="chunked") + chunks + b"0\r\n\r\n"
    )
    assert convert(cat, ConversionOptions(width=20), Limits()).encode() in answer

    endless = b"%x\r\n%b\r\n" % (1_000_000, bytes(1_000_000))
    answer = raw(server, head("PUT", "/", Transfer_Encoding="chunked"), endless * 11, b"0\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 413")


def test_an_upload_one_byte_over_the_limit_gets_a_response(server: Server) -> None:
    status, body = server.request("PUT", "/", bytes(10_000_001))

    assert (status, body) == (413, b"the image is too large: the limit is 10 MB\n")


def curl(*arguments: str) -> bytes:
    assert shutil.which("curl"), "curl is needed to send requests as users do: apt-get install curl"
    return subprocess.run(
        ["curl", "--silent", "--show-error", *arguments], capture_output=True, check=True
    ).stdout


def test_curl_gets_compressed_art_and_a_304_for_its_copy(server: Server, tmp_path: Path) -> None:
    url, image = f"{server.url}/?width=200", "docs/examples/astronaut.jpg"
    plain = curl("-T", image, url)
    answer, headers, etag = tmp_path / "answer", tmp_path / "headers", tmp_path / "etag"
    size = curl(
        "--compressed",
        "-D",
        str(headers),
        "-o",
        str(answer),
        "-w",
        "%{size_download}",
        "-T",
        image,
        url,
    )

    assert answer.read_bytes() == plain
    assert int(size) < 0.6 * len(plain)
    assert re.search(rb"^Content-Encoding: (gzip|zstd)\r$", headers.read_bytes(), re.MULTILINE)
    assert f"Content-Length: {size.decode()}\r\n".encode() in headers.read_bytes()
    address = re.search(r"Content-Location: (\S+)", headers.read_text())
    assert address
    again = (
        "--compressed",
        f"{server.url}{address[1]}",
        "-o",
        "/dev/null",
        "-w",
        "%{http_code} %{size_download}",
    )
    assert curl("--etag-save", str(etag), *again) == b"200 " + size
    assert curl("--etag-compare", str(etag), *again) == b"304 0"


@pytest.mark.parametrize(
    "path", ["/", "/healthz", "/readyz", "/openapi.json", "/docs", "/static/page.js", "/nowhere"]
)
@pytest.mark.parametrize("encoding", ["identity", "gzip"])
def test_head_sends_the_headers_of_get_without_a_body(
    server: Server, path: str, encoding: str
) -> None:
    fixed = {"Accept_Encoding": encoding, "X_Request_Id": "1", "Connection": "close"}
    get, _, body = raw(server, head("GET", path, **fixed)).partition(b"\r\n\r\n")
    with server.connect() as connection:
        connection.sendall(head("HEAD", path, **fixed))
        answer = b"".join(iter(lambda: connection.recv(65_536), b""))

    assert answer.endswith(b"\r\n\r\n")
    without_date = re.compile(rb"\r\nDate: [^\r]+")
    assert without_date.sub(b"", answer).removesuffix(b"\r\n\r\n") == without_date.sub(b"", get)
    assert f"\r\nContent-Length: {len(body)}\r\n".encode() in get + b"\r\n"


def test_options_is_answered_for_a_path_and_for_the_server(server: Server) -> None:
    for target, methods in (
        ("/", b"GET, HEAD, OPTIONS, POST, PUT"),
        ("*", b"GET, HEAD, OPTIONS, POST, PUT"),
        ("/x", b"OPTIONS, PUT"),
    ):
        answer = raw(server, head("OPTIONS", target, Connection="close"))
        assert answer.startswith(b"HTTP/1.1 204 ")
        assert b"\r\nAllow: " + methods + b"\r\n" in answer


@pytest.mark.parametrize("method", ["TRACE", "CONNECT", "PROPFIND", "get"])
def test_other_methods_get_a_4xx(server: Server, method: str) -> None:
    assert raw(server, head(method, "/", Connection="close")).startswith(b"HTTP/1.1 4")


def test_the_options_of_serve_win_over_its_variables(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.2", 0)) as free:
        port = free.getsockname()[1]
    variables = {
        "HOST": "127.0.0.1",
        "ASCIIST_HOST": "nonsense",
        "PORT": "1",
        "ASCIIST_PORT": "many",
    }
    with subprocess.Popen(
        [sys.executable, "-m", "asciist.cli", "serve", "--host", "127.0.0.2", "--port", str(port)],
        env={**os.environ, **variables, "ASCIIST_DATA_DIR": str(tmp_path)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as command:

        def is_ready() -> bool:
            assert command.poll() is None
            with (
                suppress(OSError),
                closing(http.client.HTTPConnection("127.0.0.2", port, timeout=5)) as connection,
            ):
                connection.request("GET", "/readyz")
                return connection.getresponse().status == 200
            return False

        wait_until(is_ready)
        command.terminate()
        assert command.wait(120) == 0


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
    # The maximum, because a busy machine may take longer than the default for a file.
    server = Server(tmp_path, ASCIIST_REQUEST_TIMEOUT="50")
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
        assert Counter(status for status, _ in answers).keys() <= {200, 400, 413}
        assert server.peak_megabytes() < 300
        assert server.request("GET", "/readyz")[0] == 200
    finally:
        server.stop()


def test_a_service_that_is_stopped_while_it_starts_logs_no_error(tmp_path: Path) -> None:
    """It is ready with its first process, while the others still load the application."""
    server = Server(tmp_path, ASCIIST_WORKERS="6")
    assert server.stop() == 0
    assert b'"level": "WARNING"' not in server.log
    assert b'"level": "ERROR"' not in server.log


def test_ctrl_c_finishes_in_flight_requests_and_a_restart_serves_their_art(
    tmp_path: Path, cat: bytes
) -> None:
    server = Server(tmp_path)
    with server.connect() as connection:
        connection.sendall(head("PUT", "/?width=33", Content_Length=len(cat)) + cat[:1000])
        wait_until(lambda: is_read(connection))
        server.interrupt()
        time.sleep(0.5)
        connection.sendall(cat[1000:])
        answer = receive(connection)
    assert answer.startswith(b"HTTP/1.1 200")
    assert server.stop() == 0
    assert server.tracebacks == []

    address = re.search(rb"Content-Location: (\S+)", answer)
    assert address
    again = Server(tmp_path)
    try:
        status, art = again.request("GET", address[1].decode())
        assert (status, art.decode()) == (
            200,
            convert(cat, ConversionOptions(width=33), Limits()) + "\n",
        )
    finally:
        again.stop()
