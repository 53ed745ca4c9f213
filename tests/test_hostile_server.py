"""The command and its client against a hostile server. A terminal gets only printable text and
colours, and every call ends."""

import asyncio
import gzip
import os
import pty
import re
import socket
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from itertools import cycle
from pathlib import Path

import pytest

from asciist import client
from asciist.client import aio
from asciist.client.response import MAX_RESPONSE_BYTES
from asciist.errors import RejectedError, ServiceError
from tests.groups import failing
from tests.reading import read_head

CAT = Path(__file__).parent.parent / "docs" / "examples" / "cat.jpg"

HOSTILE_TEXTS = {
    "a write to the clipboard": "\x1b]52;c;cHduZWQ=\x07",
    "a window title": "\x1b]0;pwned\x1b\\",
    "a hyperlink": "\x1b]8;;http://evil.example\x1b\\click\x1b]8;;\x1b\\",
    "a device control string": "\x1bP$q m\x1b\\",
    "an application command": "\x1b_Gf=100;AAAA\x1b\\",
    "a cursor position": "\x1b[1;1H",
    "an erased screen": "\x1b[2J",
    "an alternate screen": "\x1b[?1049h",
    "a query that the terminal answers": "\x1b[6n",
    "a private sequence that ends like a colour": "\x1b[>4;2m",
    "a colour with colons": "\x1b[38:2::1:2:3m",
    "a colour of a thousand digits": f"\x1b[{'1' * 1000}m",
    "a control character inside a colour": "\x1b[3\x081m",
    "a sequence around a colour": "\x1b\x1b[0m[2J",
    "an unfinished sequence": "\x1b[",
    "a reset of the terminal": "\x1bc",
    "a C1 control sequence": "\x9b2J",
    "a C1 operating system command": "\x9d0;pwned\x9c",
    "a C1 next line": "a\x85b",
    "a carriage return": "harmful\rharmless",
    "a backspace": "harmful\b\b\b\b\b\b\bharmless",
    "a bell": "\x07",
    "a null": "\x00",
    "a tab": "\t",
    "a vertical tab": "\v",
    "a form feed": "\f",
    "another character set": "\x0e",
    "a delete": "\x7f",
    "a right-to-left override": "\u202egpj.exe",
    "a left-to-right embedding": "\u202a",
    "a right-to-left isolate": "\u2067",
    "a first strong isolate": "\u2068",
    "a right-to-left mark": "\u200f",
    "an Arabic letter mark": "\u061c",
    "a zero width space": "\u200b",
    "a zero width joiner": "\u200d",
    "a byte order mark": "\ufeff",
    "a soft hyphen": "\u00ad",
    "a line separator": "\u2028",
    "a tag character": "\U000e0041",
    "an interlinear annotation": "\ufff9",
    "a private use character": "\ue000",
}

UNSAFE_ART = HOSTILE_TEXTS | {
    "letters written from right to left": "\u05d0\u05d1",
    "a wide character": "漢",
    "a combining character": "e\u0301",
}
"""Art must also have only characters one column wide; an error message may have others."""


def response(status: str = "200 OK", body: bytes = b"", **headers: str) -> bytes:
    """Return an HTTP response like the service's; an underscore in the name of a header stands for
    a hyphen."""
    fields = {
        "Content_Type": "text/plain; charset=utf-8",
        "Content_Length": str(len(body)),
        "Content_Location": "/5eed/width/2",
        "Cache_Status": "asciist; fwd=miss; stored",
        **headers,
    }
    lines = [
        f"HTTP/1.1 {status}",
        *(f"{name.replace('_', '-')}: {value}" for name, value in fields.items() if value),
    ]
    return "\r\n".join([*lines, "", ""]).encode() + body


ART = response(body=b".:\n:.\n")


class HostileServer:
    """A server that sends the next of `starts` to each connection, and then `piece` every `seconds`
    until the client leaves."""

    def __init__(
        self, listener: socket.socket, starts: tuple[bytes, ...], piece: bytes, seconds: float
    ) -> None:
        self.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        self.sent = 0
        """Bytes that the system accepted for the clients."""
        self._listener = listener
        self._starts = cycle(starts)
        self._piece = piece
        self._seconds = seconds

    def serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection, connection.makefile("rb") as stream, suppress(OSError):
                head = read_head(stream)
                stream.read(sum(map(int, re.findall(rb"Content-Length: (\d+)", head))))
                self._send(connection, next(self._starts))
                while self._piece:
                    self._send(connection, self._piece)
                    time.sleep(self._seconds)

    def _send(self, connection: socket.socket, data: bytes) -> None:
        connection.sendall(data)
        self.sent += len(data)


@contextmanager
def hostile_server(
    *starts: bytes, piece: bytes = b"", seconds: float = 0
) -> Iterator[HostileServer]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = HostileServer(listener, starts, piece, seconds)
        thread = threading.Thread(target=server.serve)
        thread.start()
        try:
            yield server
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


Run = tuple[int, bytes, bytes]
"""Exit status, standard output and standard error of the command."""


def through_pipes(*arguments: str, **environment: str) -> Run:
    """Run the command and return its status, standard output and standard error."""
    run = subprocess.run(
        [sys.executable, "-W", "error", "-m", "asciist.cli", *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
        env={**os.environ, "PYTHONUTF8": "1", **environment},
    )
    return run.returncode, run.stdout, run.stderr


def on_terminals(*arguments: str, **environment: str) -> Run:
    """Run the command with a terminal as its standard output and another as its standard error;
    return the same as `through_pipes`."""
    terminals = [pty.openpty() for _ in range(2)]
    (_, output), (_, errors) = terminals
    command = subprocess.Popen(
        [sys.executable, "-W", "error", "-m", "asciist.cli", *arguments],
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=errors,
        env={
            **os.environ,
            "PYTHONUTF8": "1",
            "TERM": "xterm-256color",
            "COLORTERM": "truecolor",
            **environment,
        },
    )
    written = [bytearray(), bytearray()]

    def read(terminal: int, into: bytearray) -> None:
        with suppress(OSError):  # Linux raises EIO once the other end is closed
            while part := os.read(terminal, 65_536):
                into += part

    readers = [threading.Thread(target=read, args=(terminals[i][0], written[i])) for i in range(2)]
    for reader in readers:
        reader.start()
    status = command.wait()
    for _, slave in terminals:
        os.close(slave)
    for reader in readers:
        reader.join()
    for master, _ in terminals:
        os.close(master)
    return status, *(bytes(part).replace(b"\r\n", b"\n") for part in written)


def is_safe(written: bytes) -> bool:
    """Return whether output consists of printable text, newlines and colours."""
    text = re.sub(r"\x1b\[[0-9;]*m", "", written.decode())
    return all(character == "\n" or character.isprintable() for character in text)


@pytest.fixture(
    scope="module", params=[on_terminals, through_pipes], ids=["on terminals", "through pipes"]
)
def asciist(request: pytest.FixtureRequest) -> Callable[..., Run]:
    """The command, run with pipes or with terminals."""
    run: Callable[..., Run] = request.param
    return run


def assert_one_sentence(run: Run, excerpt: str, *, status: int = 3) -> None:
    actual_status, output, errors = run
    assert (actual_status, output) == (status, b"")
    assert is_safe(errors)
    assert errors.startswith(b"asciist: ")
    assert errors.count(b"\n") == 1
    assert len(errors) < 1000
    assert excerpt in errors.decode()


def test_art_and_its_colours_reach_a_terminal_unchanged(asciist: Callable[..., Run]) -> None:
    art = "\x1b[38;2;1;2;3;48;2;4;5;6m▀é\x1b[0m\n⣿.\x1b[1;31m:\x1b[m.\x1b[0m\n".encode()
    with hostile_server(response(body=art)) as server:
        assert asciist("convert", "-u", server.url, str(CAT)) == (0, art, b"")


def test_a_terminal_has_its_own_colours_again_after_art_that_does_not_reset_them(
    asciist: Callable[..., Run],
) -> None:
    with hostile_server(response(body=b"\x1b[8mhidden\n")) as server:
        assert asciist("convert", "-u", server.url, str(CAT)) == (0, b"\x1b[8mhidden\x1b[0m\n", b"")


def test_an_html_document_with_anything_but_text_is_an_error() -> None:
    def is_an_error(name: str) -> None:
        body = f"<pre>{UNSAFE_ART[name]}</pre>\n".encode()
        document = response(body=body, Content_Type="text/html")
        with hostile_server(document) as server, pytest.raises(ServiceError, match="invalid art"):
            client.convert(b"image", url=server.url, color="html")

    assert failing(UNSAFE_ART, is_an_error) == {}


@pytest.mark.parametrize(
    "answer",
    [
        lambda text: response("400 Bad Request", f"{text}\n".encode()),
        lambda text: response("503 Busy", f"{text}\n".encode()),
        lambda text: response(f"200 {text}", b"hello", Cache_Status=""),
        lambda text: response("302 Found", Location=f"http://evil.example/{text}"),
        lambda text: response("302 Found", Location=text),
        lambda text: response(body=b"@\n", Content_Location=f"/{text}"),
        lambda text: response(body=b"@\n", Content_Type=f"text/{text}"),
        lambda text: response(body=b"@\n", Content_Encoding=text),
        lambda text: response(body=b"@\n", Content_Length=f"2{text}"),
        lambda text: (
            response(body=b"@\n", Transfer_Encoding="chunked", Content_Length="")
            + f"{text}\r\n".encode()
        ),
        lambda text: f"HTTP/{text} 200 OK\r\n\r\n".encode(),
        lambda text: f"{text}\r\n".encode(),
    ],
    ids=[
        *(
            "a rejection",
            "an error",
            "the reason of a status",
            "the path of a redirect",
            "a redirect",
            "Content-Location",
        ),
        *(
            "Content-Type",
            "Content-Encoding",
            "Content-Length",
            "the size of a chunk",
            "the version of HTTP",
            "no head",
        ),
    ],
)
def test_an_error_message_is_one_line_of_printable_text(answer: Callable[[str], bytes]) -> None:
    with hostile_server(*map(answer, HOSTILE_TEXTS.values())) as server:
        for name in HOSTILE_TEXTS:
            with pytest.raises((ServiceError, RejectedError)) as error:
                client.convert(b"image", url=server.url)
            assert error.value.public_message.isprintable(), name
            assert is_safe(
                "".join(traceback.format_exception(error.value)).encode("utf-8", "surrogateescape")
            ), name


UNEXPECTED = "unexpected response from "
INCOMPLETE = "incomplete response from "
TOO_LARGE = "the response from "
NOT_HTTP = " did not send a valid HTTP response"
INVALID_URL = " sent an invalid address of the art"
INVALID_ART = "invalid art from "
TIMED_OUT = ": timed out"
CHUNKED = response(Content_Length="", Transfer_Encoding="chunked")

ANSWERS: dict[str, tuple[bytes, str]] = {
    **{
        f"art with {name}": (response(body=f"@@\n@{text}\n".encode()), INVALID_ART)
        for name, text in UNSAFE_ART.items()
    },
    "nothing": (b"", INCOMPLETE),
    "another protocol": (b"SSH-2.0-OpenSSH_9.2p1\r\n", NOT_HTTP),
    "an unknown version of HTTP": (b"HTTP/9.9 200 OK\r\n\r\n", NOT_HTTP),
    "a status that is not a number": (b"HTTP/1.1 OK\r\n\r\n", NOT_HTTP),
    "a status of ten digits": (b"HTTP/1.1 2000000000 OK\r\n\r\n", NOT_HTTP),
    "a header line of 100 kB": (response(X=100_000 * "x"), NOT_HTTP),
    "1000 headers": (response(**{f"X{number}": "x" for number in range(1000)}), NOT_HTTP),
    "a head that ends early": (ART[:60], UNEXPECTED),
    "art that ends early": (ART[:-3], INCOMPLETE),
    "art shorter than its Content-Length": (response(body=b"@\n", Content_Length="3"), INCOMPLETE),
    "art longer than its Content-Length": (
        response(body=b"@@\n@@\n", Content_Length="4"),
        INCOMPLETE,
    ),
    "an empty body": (response(), INCOMPLETE),
    "a negative Content-Length": (response(body=b"@\n", Content_Length="-1"), UNEXPECTED),
    "a Content-Length that is not a number": (
        response(body=b"@\n", Content_Length="many"),
        UNEXPECTED,
    ),
    "a Content-Length of 1 EB": (response(body=b"@\n", Content_Length=str(10**18)), UNEXPECTED),
    "a Content-Length of 999 TB": (response(body=b"@\n", Content_Length="9" * 15), INCOMPLETE),
    "a Content-Length of 5000 digits": (
        response(body=b"@\n", Content_Length="9" * 5000),
        UNEXPECTED,
    ),
    "two lengths": (response(body=b"@\n", content_length="1"), UNEXPECTED),
    "a chunk of negative size": (CHUNKED + b"-1\r\n@\n", INCOMPLETE),
    "another chunk of negative size": (CHUNKED + b"-5\r\n@\n", INCOMPLETE),
    "a chunk larger than an address space": (CHUNKED + b"f" * 20 + b"\r\n@\n", INCOMPLETE),
    "a chunk of no size": (CHUNKED + b"chunk\r\n@\n", INCOMPLETE),
    "a chunk that ends early": (CHUNKED + b"5\r\n@\n", INCOMPLETE),
    "chunks without an end": (CHUNKED + b"2\r\n@\n\r\n", INCOMPLETE),
    "gzip that was not asked for": (
        response(body=gzip.compress(bytes(10_000_000)), Content_Encoding="gzip"),
        UNEXPECTED,
    ),
    "a transfer coding that was not asked for": (
        response(body=b"@\r\n", Transfer_Encoding="gzip, chunked"),
        "invalid art",
    ),
    "art that is not UTF-8": (response(body=b"@\xff\n"), INCOMPLETE),
    "art in which a surrogate is encoded": (response(body=b"@\xed\xa0\x80\n"), INCOMPLETE),
    "art in UTF-16": (response(body="@\n".encode("utf-16")), INCOMPLETE),
    "art wider than it was asked for": (
        response(body=b"@" * 71 + b"\n"),
        "has 71 columns instead of 70",
    ),
    "HTML instead of art": (
        response(body=b"<script>alert(1)</script>\n", Content_Type="text/html"),
        UNEXPECTED,
    ),
    "JSON instead of art": (
        response(body=b'{"art": "@"}\n', Content_Type="application/json"),
        UNEXPECTED,
    ),
    "an error in JSON": (
        response("400 No", b'{"error": ["x"]}', Content_Type="application/json"),
        UNEXPECTED,
    ),
    "an error in broken JSON": (
        response("500 No", b'{"error": ', Content_Type="application/json"),
        UNEXPECTED,
    ),
    "an error in HTML": (
        response("502 No", b"<h1>Bad gateway</h1>", Content_Type="text/html"),
        UNEXPECTED,
    ),
    "an error that is longer than a sentence": (response("500 No", b"x" * 2001), UNEXPECTED),
    "an error of two lines": (response("500 No", b"asciist:\nasciist: trust me"), UNEXPECTED),
    "an error that ends early": (response("500 No", b"busy", Content_Length="5"), INCOMPLETE),
    "an error in gzip": (
        response("500 No", gzip.compress(b"busy"), Content_Encoding="gzip"),
        UNEXPECTED,
    ),
    "a status of success without art": (response("204 No Content"), UNEXPECTED),
    "an early hint and no more": (b"HTTP/1.1 103 Early Hints\r\n\r\n", UNEXPECTED),
    "a demand for a password": (
        response("401 No", WWW_Authenticate='Basic realm="x"', Content_Type="text/html"),
        UNEXPECTED,
    ),
    "a redirect to another host": (
        response("302 Found", Location="http://evil.example/?x"),
        "redirects to http://evil.example/: ",
    ),
    "a redirect to a script": (response("302 Found", Location="javascript:alert(1)"), UNEXPECTED),
    "a redirect to a file": (response("302 Found", Location="file:///etc/passwd"), UNEXPECTED),
    "a redirect with a user name": (
        response("302 Found", Location="http://asciist@evil.example"),
        UNEXPECTED,
    ),
    "a redirect of 60 kB": (
        response("302 Found", Location="http://evil.example/" + "x" * 60_000),
        UNEXPECTED,
    ),
    "a redirect to no address": (response("302 Found", Location="http://[::1"), UNEXPECTED),
    "Content-Location on another host": (
        response(body=b"@\n", Content_Location="http://evil.example/x"),
        INVALID_URL,
    ),
    "Content-Location without a scheme": (
        response(body=b"@\n", Content_Location="//evil.example/x"),
        INVALID_URL,
    ),
    "Content-Location on another port": (
        response(body=b"@\n", Content_Location="http://127.0.0.1:1/x"),
        INVALID_URL,
    ),
    "Content-Location with a script": (
        response(body=b"@\n", Content_Location="javascript:alert(1)"),
        INVALID_URL,
    ),
    "Content-Location with data": (
        response(body=b"@\n", Content_Location="data:text/html,x"),
        INVALID_URL,
    ),
    "Content-Location with a file": (
        response(body=b"@\n", Content_Location="file:///etc/passwd"),
        INVALID_URL,
    ),
    "Content-Location with a control character": (
        response(body=b"@\n", Content_Location="/\x1b]0;x\x07"),
        INVALID_URL,
    ),
    "Content-Location with a tab": (response(body=b"@\n", Content_Location="/a\tb"), INVALID_URL),
    "Content-Location with a space": (response(body=b"@\n", Content_Location="/a b"), INVALID_URL),
    "Content-Location on two lines": (
        response(body=b"@\n", Content_Location="/a\r\n b"),
        INVALID_URL,
    ),
    "Content-Location that is no address": (
        response(body=b"@\n", Content_Location="http://[::1"),
        INVALID_URL,
    ),
    "Content-Location with a user name": (
        response(body=b"@\n", Content_Location="//asciist@127.0.0.1/x"),
        INVALID_URL,
    ),
    "Content-Location of 60 kB": (
        response(body=b"@\n", Content_Location="/" + "x" * 60_000),
        INVALID_URL,
    ),
}
"""Complete answers, after which the server closes the connection, and a part of the error
message."""


def test_an_answer_that_is_not_the_service_s_is_an_error_of_one_sentence(
    asciist: Callable[..., Run], tmp_path: Path
) -> None:
    images = {name: tmp_path / str(number) for number, name in enumerate(ANSWERS)}
    for image in images.values():
        image.write_bytes(b"image")
    with hostile_server(*(answer for answer, _ in ANSWERS.values())) as server:
        status, output, errors = asciist(
            "convert", "-w", "70", "-u", server.url, *map(str, images.values())
        )

    def is_one_sentence(name: str) -> None:
        prefix = f"asciist: {images[name]}: ".encode()
        (line,) = (line for line in errors.split(b"\n") if line.startswith(prefix))
        assert is_safe(line)
        assert len(line) < 1000
        assert ANSWERS[name][1] in line.decode()

    assert failing(ANSWERS, is_one_sentence) == {}
    assert (status, output, errors.count(b"\n")) == (3, b"", len(ANSWERS))


ENDLESS: dict[str, tuple[bytes, bytes, str]] = {
    "art": (response(Content_Length=""), b"@" * 65_536, TOO_LARGE),
    "rows": (response(Content_Length=""), b"@\n" * 32_768, TOO_LARGE),
    "art with a length": (response(Content_Length="9" * 15), b"@" * 65_536, TOO_LARGE),
    "a chunk": (CHUNKED + b"f" * 15 + b"\r\n", b"@" * 65_536, TOO_LARGE),
    "a chunk of negative size": (CHUNKED + b"-1\r\n", b"@" * 65_536, TOO_LARGE),
    "chunks": (CHUNKED, b"1\r\n@\r\n" * 10_000, TOO_LARGE),
    "chunks of large extensions": (CHUNKED, b"1;" + b"x" * 60_000 + b"\r\n@\r\n", TOO_LARGE),
    "trailers": (CHUNKED + b"2\r\n@\n\r\n0\r\n", b"X: x\r\n" * 10_000, TOO_LARGE),
    "gzip": (
        response(Content_Length="", Content_Encoding="gzip"),
        gzip.compress(bytes(10_000_000)),
        UNEXPECTED,
    ),
    "a status line": (b"HTTP/1.1 200 ", b"x" * 65_536, NOT_HTTP),
    "a header line": (b"HTTP/1.1 200 OK\r\nX: ", b"x" * 65_536, NOT_HTTP),
    "headers": (b"HTTP/1.1 200 OK\r\n", b"X: x\r\n" * 10_000, NOT_HTTP),
    "a header of many lines": (b"HTTP/1.1 200 OK\r\nX: x\r\n", b" x\r\n" * 10_000, NOT_HTTP),
    "promises to continue": (b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 1000, TOO_LARGE),
    "an error": (response("500 No", Content_Length=""), b"x" * 65_536, UNEXPECTED),
    "a redirect": (
        response("302 Found", Location="http://evil.example/", Content_Length=""),
        b"x" * 65_536,
        "redirects to ",
    ),
}
"""Endless answers, by the part that never ends: their start, the repeated piece, and a part of the
message."""

_MAX_BUFFERED_BYTES = 20_000_000
"""Bytes that the system may buffer from a server without a client that reads them; more than its
socket buffers hold."""


@pytest.mark.parametrize(("start", "piece", "excerpt"), ENDLESS.values(), ids=ENDLESS)
def test_an_answer_without_an_end_is_cut_off(start: bytes, piece: bytes, excerpt: str) -> None:
    with hostile_server(start, piece=piece) as server:
        assert_one_sentence(on_terminals("convert", "-u", server.url, str(CAT)), excerpt)

    assert server.sent < MAX_RESPONSE_BYTES + _MAX_BUFFERED_BYTES


SLOW: dict[str, tuple[bytes, bytes]] = {
    "a status line": (b"HTTP/1.1 ", b"2"),
    "a header line": (b"HTTP/1.1 200 OK\r\nX: ", b"x"),
    "headers": (b"HTTP/1.1 200 OK\r\n", b"X: x\r\n"),
    "promises to continue": (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    "art": (response(Content_Length=""), b"@"),
    "art with a length": (response(Content_Length="1000000"), b"@"),
    "chunks": (CHUNKED, b"1\r\n@\r\n"),
    "the size of a chunk": (CHUNKED, b"0"),
    "trailers": (CHUNKED + b"2\r\n@\n\r\n0\r\n", b"X: x\r\n"),
    "an error": (response("500 No", Content_Length=""), b"x"),
}
"""Answers that arrive in pieces several times a second, and so never exceed the time limit of one
read."""


@pytest.mark.parametrize(("start", "piece"), SLOW.values(), ids=SLOW)
def test_an_answer_that_trickles_in_ends_at_the_time_limit(start: bytes, piece: bytes) -> None:
    with hostile_server(start, piece=piece, seconds=0.2) as server:
        assert_one_sentence(
            on_terminals("convert", "--timeout", "1", "-u", server.url, str(CAT)), TIMED_OUT
        )


def test_a_server_that_reads_a_few_bytes_at_a_time_is_left_at_the_time_limit() -> None:
    stop = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)

        def serve() -> None:
            connection, _ = listener.accept()
            with connection, suppress(OSError):
                while connection.recv(20_000) and not stop.wait(0.05):
                    pass

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        with pytest.raises(ServiceError) as error:
            client.convert(bytes(30_000_000), url=url, timeout_seconds=1)
        stop.set()
        thread.join()

    assert error.value.public_message == f"cannot reach {url}: timed out"


def test_a_server_that_resets_the_connection_is_an_error_of_one_sentence(
    asciist: Callable[..., Run],
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            connection, _ = listener.accept()
            connection.close()  # with unread bytes, which makes the system send a reset

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        assert_one_sentence(asciist("convert", "-u", url, str(CAT)), url)
        thread.join()


def test_a_server_without_tls_at_an_https_address_is_an_error_of_one_sentence(
    asciist: Callable[..., Run],
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(65_536)
                connection.sendall(b"\x1b]0;pwned\x07\r\n")

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        url = f"https://127.0.0.1:{listener.getsockname()[1]}"
        assert_one_sentence(asciist("convert", "-u", url, str(CAT)), f"cannot reach {url}: ")
        thread.join()


@pytest.mark.parametrize(
    "url",
    [
        *(
            "javascript:alert(1)",
            "file:///etc/passwd",
            "data:text/html,x",
            "ftp://example.org",
            "unix:/run/x",
            "",
            "localhost",
        ),
        *(
            "http://a\n.example",
            "http://a\x1b]0;x\x07.example",
            "http://\u202eelpmaxe",
            "http://" + "x" * 100_000,
        ),
    ],
    ids=lambda url: f"{ascii(url)[:30]}",
)
def test_an_address_of_another_kind_is_an_error_of_one_sentence(
    asciist: Callable[..., Run], url: str
) -> None:
    assert_one_sentence(asciist("convert", str(CAT), "-u", url), "is not an http address", status=1)
    if url:  # an empty variable counts as none
        assert_one_sentence(
            asciist("convert", str(CAT), ASCIIST_URL=url), "is not an http address", status=1
        )


@pytest.mark.parametrize(
    "url",
    [
        *(
            "http://user:s3cret@example.org",
            "http://s3cret@example.org/?x",
            "http://user:s3/cret@example.org",
        ),
        *(
            "http://user:s3?cret@example.org",
            "http://user:s3#cret@example.org",
            "https://user:s3@cret@example.org:x",
        ),
        *(
            "user:s3cret@example.org",
            "http://example.org/?key=s3cret",
            "http://example.org/#s3cret",
        ),
    ],
)
def test_credentials_in_the_address_are_not_printed(url: str) -> None:
    status, output, errors = through_pipes("convert", str(CAT), ASCIIST_URL=url)

    assert (status, output) == (1, b"")
    assert b"example.org" in errors
    assert b"s3" not in errors
    assert b"cret" not in errors


PROXIES = (
    *(
        "http:user:s3cret@proxy.example",
        "http://user:s3cret@proxy.example:port",
        "http://user:s3cret@",
        "http://",
    ),
    *(
        "http://user:s3cret@proxy.example:0",
        f"http://user:s3cret@{'x' * 70}.example",
        "socks5://user:s3cret@127.0.0.1:9",
    ),
    *(
        "http://user:s3cret@[::1",
        "http://user:s3cret@127.0.0.1:9",
        "http://user:s3cret@proxy%0a.example",
    ),
)


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("proxy", PROXIES)
def test_a_proxy_that_cannot_be_used_is_an_error_without_its_password(
    scheme: str, proxy: str
) -> None:
    run = through_pipes(
        "convert",
        str(CAT),
        "-u",
        f"{scheme}://art.example",
        **{f"{scheme}_proxy": proxy, "no_proxy": ""},
    )

    assert_one_sentence(run, f"{scheme}://art.example")
    assert b"s3cret" not in run[2]


def test_the_answer_of_a_hostile_proxy_is_an_error_of_one_sentence(
    asciist: Callable[..., Run],
) -> None:
    for answer, piece, excerpt in (
        (
            f"HTTP/1.1 403 \x1b]0;pwned\x07\u202e{'x' * 60_000}\r\n\r\n".encode(),
            b"",
            "Tunnel connection failed: 403 \\x1b]0;",
        ),
        (b"HTTP/1.1 200 OK\r\n", b"X: x\r\n" * 10_000, ""),
        (b"\x1b]0;pwned\x07\r\n", b"", NOT_HTTP),
    ):
        with hostile_server(answer, piece=piece) as proxy:
            run = asciist(
                "convert", str(CAT), "-u", "https://art.example", https_proxy=proxy.url, no_proxy=""
            )
        assert_one_sentence(run, excerpt)


@pytest.mark.parametrize(
    "arguments",
    [
        *(
            ("convert", "-TEXT"),
            ("convert", "--TEXT"),
            ("convert", "-o", "TEXT.jpg"),
            ("convert", "--timeout", "TEXT"),
        ),
        *(
            ("-TEXT",),
            ("--TEXT",),
            ("-o", "TEXT"),
            ("serve", "TEXT"),
            ("serve", "--host", "TEXT"),
            ("serve", "--port", "TEXT"),
        ),
        *(
            ("completion", "TEXT"),
            ("completion", "bash", "TEXT"),
            ("test", "--json=TEXT"),
            ("test", "-w", "TEXT"),
        ),
        *(("test", "--style", "TEXT"), ("test", "--color", "TEXT"), ("test", "--chars", "TEXT")),
    ],
    ids=" ".join,
)
def test_a_usage_error_repeats_no_argument_that_a_terminal_obeys(
    arguments: tuple[str, ...],
) -> None:
    text = "\x1b]0;pwned\x07\x9b2J\r\u202e"
    status, output, errors = on_terminals(
        *(argument.replace("TEXT", text) for argument in arguments)
    )

    assert (status, output) == (2, b"")
    assert is_safe(errors)


def test_serve_reports_invalid_settings_without_control_characters() -> None:
    text = HOSTILE_TEXTS["a window title"]
    run = on_terminals("serve", ASCIIST_BACKEND=text, **{f"ASCIIST_{text}": text})

    assert_one_sentence(run, "ASCIIST_BACKEND=", status=1)


def test_titles_and_messages_of_files_have_no_control_characters(tmp_path: Path) -> None:
    odd = [
        tmp_path / f"{text.replace('/', '')[:99]}.jpg"
        for text in HOSTILE_TEXTS.values()
        if "\0" not in text
    ]
    for path in odd:
        path.write_bytes(b"not an image" if len(path.name) % 2 else CAT.read_bytes())
    status, output, errors = on_terminals("test", "-w", "10", *map(str, odd))

    assert status == 1
    assert is_safe(output)
    assert is_safe(errors)
    assert output.count(b"==>") + errors.count(b"asciist: ") == len(odd)


def test_answers_to_calls_of_asyncio_that_trickle_in_end_at_the_time_limit() -> None:
    async def call_all(urls: list[str]) -> list[object]:
        calls = [aio.convert(b"image", url=url, timeout_seconds=1) for url in urls]
        return list(await asyncio.gather(*calls, return_exceptions=True))

    with ExitStack() as stack:
        servers = [
            stack.enter_context(hostile_server(*slow[:1], piece=slow[1], seconds=0.2))
            for slow in SLOW.values()
        ]
        started = time.monotonic()
        errors = asyncio.run(call_all([server.url for server in servers]))
        assert time.monotonic() - started < 60  # they would trickle on without end

    assert [type(error) for error in errors] == [ServiceError] * len(SLOW)
    assert all("timed out" in str(error) for error in errors)
