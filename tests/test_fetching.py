"""Images from URLs: permitted addresses, limits, and error messages of the command."""

import json
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import takewhile
from pathlib import Path

import pytest

from asciist.cli import fetching
from asciist.cli.fetching import MAX_REDIRECTS, fetch
from asciist.conversion import ConversionOptions
from asciist.errors import RejectedError, ServiceError, TooManyBytesError
from asciist.limits import Limits
from tools.testing.drawing import convert

CAT = Path(__file__).parent.parent / "docs" / "examples" / "cat.jpg"
SELF_SIGNED = Path(__file__).parent / "stacks" / "self_signed.pem"
"""A certificate for 127.0.0.1 that no client trusts, with its key."""

PROXIES = ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in PROXIES:
        monkeypatch.delenv(name, raising=False)


def answer(status: str = "200 OK", body: bytes = b"", **headers: str) -> bytes:
    """Return an HTTP response; an underscore in the name of a header stands for a hyphen."""
    fields = {"Content_Length": str(len(body)), **headers}
    lines = [
        f"HTTP/1.1 {status}",
        *(f"{name.replace('_', '-')}: {value}" for name, value in fields.items() if value),
    ]
    return "\r\n".join([*lines, "", ""]).encode() + body


@contextmanager
def server(
    respond: Callable[[str], bytes], *, tls: ssl.SSLContext | None = None, stays: bool = False
) -> Iterator[tuple[str, list[bytes]]]:
    """Answer each request with `respond(path)`; `stays` keeps the connection open. Yield the URL
    and the heads of requests."""
    heads: list[bytes] = []
    left = threading.Event()

    def exchange(connection: socket.socket) -> None:
        with (
            suppress(OSError),
            tls.wrap_socket(connection, server_side=True) if tls else connection as stream,
        ):
            lines = takewhile(lambda line: line != b"\r\n", stream.makefile("rb"))
            heads.append(b"".join(lines))
            stream.sendall(respond(heads[-1].split()[1].decode()))
            if stays:
                left.wait(120)

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return  # the test has ended
            with connection:
                exchange(connection)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"http{'s' if tls else ''}://127.0.0.1:{listener.getsockname()[1]}", heads
        finally:
            left.set()
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


def asciist(*arguments: str) -> tuple[int, str, str]:
    run = subprocess.run(
        [sys.executable, "-W", "error", "-m", "asciist.cli", *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    return run.returncode, run.stdout, run.stderr


def test_the_command_converts_an_image_at_a_url_whatever_type_the_server_declares() -> None:
    with server(lambda _: answer(body=CAT.read_bytes(), Content_Type="text/html")) as (url, heads):
        run = asciist("-w", "40", f"{url}/a%20cat.jpg?size=9#top")

    assert run == (0, convert(CAT.read_bytes(), ConversionOptions(width=40), Limits()) + "\n", "")
    assert heads[0].startswith(b"GET /a%20cat.jpg?size=9 HTTP/1.1\r\n")


def test_the_service_gets_the_bytes_of_an_image_that_the_command_fetched(url: str) -> None:
    with server(lambda _: answer(body=CAT.read_bytes())) as (there, heads):
        status, output, errors = asciist("convert", "-u", url, "--json", f"{there}/cat.jpg")

    assert (status, errors, len(heads)) == (0, "", 1)
    assert json.loads(output)["url"].startswith(url)


def test_a_url_that_fails_does_not_stop_the_others() -> None:
    def respond(path: str) -> bytes:
        return (
            answer(body=CAT.read_bytes())
            if path == "/cat.jpg"
            else answer("503 Service Unavailable")
        )

    with server(respond) as (url, _):
        status, output, errors = asciist(
            "--json", f"{url}/none.jpg", f"{url}/cat.jpg", "ftp://example.org/cat.jpg"
        )
        alone = asciist(f"{url}/none.jpg")

    failed, converted, refused = map(json.loads, output.splitlines())
    assert (status, errors) == (3, "")
    message = "cannot fetch the image: the server answers 503 Service Unavailable"
    assert failed == {"file": f"{url}/none.jpg", "error": message}
    assert converted["file"] == f"{url}/cat.jpg"
    assert refused["error"] == "only http and https URLs can be fetched"
    assert alone == (3, "", f"asciist: {url}/none.jpg: {message}\n")


@pytest.mark.parametrize(
    ("response", "error", "message"),
    [
        (answer("404 Not Found"), RejectedError, "the server answers 404 Not Found"),
        (answer("429 Too Many Requests"), ServiceError, "the server answers 429 Too Many Requests"),
        (answer("500 \x1b[2Jpwned"), ServiceError, "the server answers 500 \\x1b[2Jpwned"),
        (answer("204 No Content"), RejectedError, "the server answers 204 No Content"),
        (answer("302 Found"), RejectedError, "the server answers 302 Found"),
        (
            answer("302 Found", Location="file:///etc/passwd"),
            RejectedError,
            "redirects to an address that cannot be fetched",
        ),
        (
            answer("302 Found", Location="http://[::1"),
            RejectedError,
            "redirects to an address that cannot be fetched",
        ),
        (
            answer("302 Found", Location="http://me@127.0.0.1/"),
            RejectedError,
            "redirects to an address that cannot be fetched",
        ),
        (
            answer(body=b"x", Content_Encoding="gzip"),
            RejectedError,
            "the server sends it compressed",
        ),
        (answer(body=b"x", Content_Length="9"), ServiceError, "the connection ended early"),
        (
            answer(body=b"9\r\nx", Content_Length="", Transfer_Encoding="chunked"),
            ServiceError,
            "the connection ended early",
        ),
        (b"\x1b[2J\r\n", ServiceError, "the server did not send a valid HTTP response"),
        (b"", ServiceError, "the server did not send a valid HTTP response"),
        (
            b"HTTP/1.1 200 OK\r\n" + b"X: x\r\n" * 1000,
            ServiceError,
            "the server did not send a valid HTTP response",
        ),
    ],
)
def test_an_answer_that_is_no_image_is_an_error_of_one_printable_sentence(
    response: bytes, error: type[Exception], message: str
) -> None:
    with server(lambda _: response) as (url, _), pytest.raises(error) as raised:
        fetch(url)

    assert str(raised.value).startswith("cannot fetch the image: ")
    assert message in str(raised.value)
    assert str(raised.value).isprintable()


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("ftp://example.org/photo.jpg", "only http and https URLs can be fetched"),
        ("file:///etc/passwd", "only http and https URLs can be fetched"),
        ("gopher://127.0.0.1:6379/_x", "only http and https URLs can be fetched"),
        ("http://", "the URL is malformed"),
        ("http://[::1", "the URL is malformed"),
        ("http://example.org:port/", "the URL is malformed"),
        (f"http://{'x' * 70}.example/", "the URL is malformed"),
        ("https://me:s3cret@example.org/", "URLs with a user name or a password are not supported"),
    ],
)
def test_a_url_that_cannot_be_fetched_is_refused_without_a_request(url: str, message: str) -> None:
    with pytest.raises(RejectedError, match=message) as raised:
        fetch(url)

    assert "s3cret" not in str(raised.value)


def test_a_host_that_cannot_be_reached_is_an_error_that_may_pass() -> None:
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        with pytest.raises(ServiceError, match=r"^cannot fetch the image: Connection refused$"):
            fetch(f"http://127.0.0.1:{reserved.getsockname()[1]}/")
    with pytest.raises(ServiceError, match=r"^cannot fetch the image: "):
        fetch("http://nonsense.invalid/")


@pytest.mark.parametrize("framing", ["a length", "chunks", "neither"])
def test_an_image_has_at_most_the_bytes_of_an_upload(framing: str) -> None:
    def respond(path: str) -> bytes:
        body = bytes(Limits().max_image_bytes + (path == "/more"))
        if framing == "chunks":
            chunked = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
            return answer(Content_Length="", Transfer_Encoding="chunked") + chunked
        return answer(body=body, **({} if framing == "a length" else {"Content_Length": ""}))

    with server(respond) as (url, _):
        assert len(fetch(url)) == Limits().max_image_bytes
        with pytest.raises(TooManyBytesError, match="the image is too large: the limit is 10 MB"):
            fetch(f"{url}/more")


def test_an_endless_head_is_not_read_to_its_end() -> None:
    endless = b"HTTP/1.1 100 Continue\r\n\r\n" * 600_000
    with server(lambda _: endless) as (url, _), pytest.raises(TooManyBytesError):
        fetch(url)


def test_redirects_are_followed_up_to_a_bound() -> None:
    def respond(path: str) -> bytes:
        left = int(path.partition("?left=")[2])
        return (
            answer("302 Found", Location=f"é?left={left - 1}")
            if left
            else answer(body=path.encode())
        )

    with server(respond) as (url, heads):
        assert fetch(f"{url}/a/b?left={MAX_REDIRECTS}") == b"/a/%C3%A9?left=0"
        del heads[:]
        with pytest.raises(RejectedError, match="more than 5 redirects"):
            fetch(f"{url}/a/b?left={MAX_REDIRECTS + 1}")
        assert len(heads) == MAX_REDIRECTS + 1


@pytest.mark.parametrize(
    "silence", [answer(Content_Length="9"), b"", answer("302 Found", Location="/")]
)
def test_a_server_that_stops_sending_is_left_when_the_time_is_up(
    silence: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetching, "TIMEOUT_SECONDS", 0.2)

    with (
        server(lambda _: silence, stays=True) as (url, _),
        pytest.raises(ServiceError, match=r"^cannot fetch the image: timed out$"),
    ):
        fetch(url)


def test_a_certificate_that_nobody_trusts_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(SELF_SIGNED)

    with server(lambda _: answer(body=b"image"), tls=tls) as (url, heads):
        with pytest.raises(
            ServiceError, match=r"the server's certificate is not valid \(self-signed certificate\)"
        ):
            fetch(url)
        assert heads == []
        monkeypatch.setenv("SSL_CERT_FILE", str(SELF_SIGNED))
        assert fetch(url) == b"image"


def test_a_redirect_from_https_to_http_is_not_followed(monkeypatch: pytest.MonkeyPatch) -> None:
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(SELF_SIGNED)
    monkeypatch.setenv("SSL_CERT_FILE", str(SELF_SIGNED))

    with server(lambda _: answer(body=b"image")) as (plain, heads):
        redirect = answer("301 Moved Permanently", Location=plain)
        with (
            server(lambda _: redirect, tls=tls) as (secure, _),
            pytest.raises(RejectedError, match="redirects from https to http"),
        ):
            fetch(secure)

    assert heads == []


def test_the_proxy_of_the_environment_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    with server(lambda _: answer(body=CAT.read_bytes())) as (proxy, heads):
        monkeypatch.setenv("http_proxy", proxy)
        monkeypatch.setenv("no_proxy", "")
        status, _, errors = asciist("http://photos.invalid/cat.jpg")

    assert (status, errors) == (0, "")
    assert heads[0].startswith(b"GET http://photos.invalid/cat.jpg HTTP/1.1\r\n")


def test_names_that_are_not_ascii_are_encoded() -> None:
    with server(lambda path: answer(body=path.encode())) as (url, _):
        assert (
            fetch(f"{url}/café au lait.jpg?größe=9")
            == b"/caf%C3%A9%20au%20lait.jpg?gr%C3%B6%C3%9Fe=9"
        )
