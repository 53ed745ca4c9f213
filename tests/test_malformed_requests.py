"""Malformed, truncated or misleadingly large requests get an ordinary 4xx, and do not affect
others."""

import re
import select
import socket
import struct
from collections.abc import Iterator

import pytest

from asciist.conversion import ConversionOptions
from asciist.errors import sentences
from asciist.limits import Limits
from tests.serving import Server
from tests.waiting import wait_until
from tools.testing.drawing import convert

pytestmark = pytest.mark.slow

CHUNKED = b"PUT /?width=20 HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
HEALTH_CHECK = b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(
        tmp_path_factory.mktemp("store"),
        ASCIIST_METRICS="emf",
        ASCIIST_WORKERS="1",
        ASCIIST_REQUEST_TIMEOUT="10",
    )
    yield server
    server.stop()
    assert server.tracebacks == []
    assert b'"level": "ERROR"' not in server.log
    # no client's address
    assert b"127.0.0.1" not in server.log.partition(b"ready: ")[2].partition(b"\n")[2]
    assert re.search(rb'"status":"400"', server.log)
    # nothing of this counts as a failure of the service
    assert not re.search(rb'"status":"5', server.log)


def exchange(server: Server, request: bytes, *, ends: bool = False) -> bytes:
    """Send a request on a new connection, and close its sending side if it `ends`. Return all
    answers."""
    with server.connect() as connection:
        connection.sendall(request)
        if ends:
            connection.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: connection.recv(65_536), b""))


def check_error(answer: bytes, status: int, message: str) -> str:
    """Check that the only answer is an error of this service. Return its request id."""
    head, _, body = answer.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    headers = dict(line.split(": ", 1) for line in lines)
    assert first.startswith(f"HTTP/1.1 {status} ")
    assert body.decode() == message + "\n"
    assert headers["Connection"] == "close"
    assert headers["Server"] == "asciist"
    assert headers["Content-Type"] == "text/plain; charset=utf-8"
    assert headers["Content-Length"] == str(len(body))
    assert headers["Cache-Control"] == "no-store"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
    assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert headers["Referrer-Policy"] == "same-origin"
    assert headers["Access-Control-Allow-Origin"] == "*"
    assert len(headers) == len(lines)
    return headers["X-Request-Id"]


@pytest.mark.parametrize(
    "body",
    [
        b"zz\r\nabc\r\n0\r\n\r\n",
        b"-3\r\nabc\r\n0\r\n\r\n",
        b"0x3\r\nabc\r\n0\r\n\r\n",
        b"\r\nabc\r\n0\r\n\r\n",
        b"3\nabc\n0\n\n" + b" " * 10_000,
        b"3\r\nabcd\r\n0\r\n\r\n",
        b"4\r\nabc\r\n0\r\n\r\n",
        b"3" * 100_000,
        b"3;" + b"x" * 100_000,
        b"3;\x00\r\nabc\r\n0\r\n\r\n",
        b"3\r\nabc\r\n0\r\nnonsense\r\n\r\n",
        b"3\r\nabc\r\n0\r\nContent-Length: 5\r\n\r\n",
        b"3\r\nabc\r\n0\r\n" + b"A: b\r\n" * 200_000,
        b"3\r\nabc\r\n0\r\n" + b"A" * 1_000_000,
    ],
    ids=range(14),
)
def test_malformed_chunks_get_400_and_end_the_connection(server: Server, body: bytes) -> None:
    answer = exchange(server, CHUNKED + body + HEALTH_CHECK)

    check_error(answer, 400, sentences.MALFORMED_CHUNKS)


@pytest.mark.parametrize(
    "body",
    [b"", b"3", b"3\r\n", b"3\r\nab", b"3\r\nabc\r\n", b"3\r\nabc\r\n0", b"3\r\nabc\r\n0\r\n"],
)
def test_chunks_that_end_early_get_400(server: Server, body: bytes) -> None:
    answer = exchange(server, CHUNKED + body, ends=True)

    message = sentences.MALFORMED_CHUNKS if body.endswith(b"0\r\n") else sentences.SHORT_CHUNKS
    check_error(answer, 400, message)


def test_chunks_that_stop_coming_get_408(server: Server) -> None:
    check_error(
        exchange(server, CHUNKED + b"3\r\nabc\r\n0\r\nA: b\r\n"), 408, sentences.SLOW_UPLOAD
    )


def test_malformed_chunks_of_a_json_request_are_an_error_in_json(server: Server) -> None:
    answer = exchange(
        server,
        CHUNKED.replace(b"Host: x", b"Host: x\r\nContent-Type: application/json") + b"zz\r\n",
    )

    assert answer.startswith(b"HTTP/1.1 400 ")
    assert answer.endswith(f'\r\n\r\n{{"error":"{sentences.MALFORMED_CHUNKS}"}}\n'.encode())


def test_chunks_with_extensions_and_trailers_are_a_body(server: Server, cat: bytes) -> None:
    chunks = b'%x;name=value;other="a b"\r\n%b\r\n' % (len(cat), cat)
    answer = exchange(server, CHUNKED + chunks + b"0\r\nA: b\r\n\r\n" + HEALTH_CHECK)

    assert convert(cat, ConversionOptions(width=20), Limits()).encode() in answer
    assert re.findall(rb"HTTP/1.1 (\d+)", answer) == [b"200", b"200"]


@pytest.mark.parametrize("body", [b"zz\r\n", b"3\r\nabc\r\n0\r\n\r\n", b"1\r\nx\r\n" * 1_000_000])
def test_chunks_that_no_route_reads_end_the_connection_after_its_answer(
    server: Server, body: bytes
) -> None:
    for method, status in ((b"GET", b"200"), (b"DELETE", b"405")):
        answer = exchange(server, CHUNKED.replace(b"PUT", method) + body + HEALTH_CHECK)
        assert re.findall(rb"HTTP/1.1 (\d+)", answer) == [status]
        assert b"\r\nConnection: close\r\n" in answer


def test_others_are_served_while_a_million_chunks_are_parsed(server: Server) -> None:
    with server.connect() as upload:
        upload.sendall(CHUNKED + b"1\r\nx\r\n" * 1_000_000 + b"0\r\n\r\n")
        assert server.request("GET", "/healthz") == (200, b"ok\n")
        assert not select.select([upload], [], [], 0)[0]  # its answer was not first
        assert upload.recv(65_536).startswith(b"HTTP/1.1 4")


def head(*headers: bytes, line: bytes = b"PUT / HTTP/1.1") -> bytes:
    return b"\r\n".join([line, b"Host: x", *headers, b"", b""])


@pytest.mark.parametrize(
    ("request_head", "status", "message"),
    [
        (b"nonsense\r\n\r\n", 400, sentences.MALFORMED_REQUEST_LINE),
        (
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
            400,
            sentences.MALFORMED_REQUEST_LINE,
        ),
        (head(line=b"get / HTTP/1.1"), 400, sentences.MALFORMED_REQUEST_LINE),
        (head(line=b"GET /<\x7f HTTP/1.1"), 400, sentences.MALFORMED_REQUEST_LINE),
        (head(line=b"GET / HTTP/3.0"), 400, sentences.UNSUPPORTED_VERSION),
        (head(line=b"GET / ICAP/1.0"), 400, sentences.UNSUPPORTED_VERSION),
        (head(line=b"GET /%b HTTP/1.1" % (b"x" * 9000)), 414, sentences.LONG_URL),
        (head(b"No colon"), 400, sentences.MALFORMED_HEADER),
        (head(b"A : b"), 400, sentences.MALFORMED_HEADER),
        (head(b"A: b", b" c"), 400, sentences.MALFORMED_HEADER),
        (head(b"A: \0"), 400, sentences.MALFORMED_HEADER),
        (head(b"A: b\nB: c"), 400, sentences.MALFORMED_HEADER),
        (head(b"Host: y"), 400, sentences.MALFORMED_HEADER),
        (b"GET / HTTP/1.1\r\nA: b\r\n\r\n", 400, sentences.INVALID_HOST),
        *[
            (b"GET /healthz HTTP/1.1\r\nHost: %b\r\n\r\n" % host, 400, sentences.INVALID_HOST)
            for host in (
                b"",
                b"a b",
                b'x"><script>',
                b"user@x",
                b"x:99999",
                b"x:0",
                b"x:y",
                b"[::1",
                b"\xe4.example",
            )
        ],
        (head(b"Content-Length: 5", b"Content-Length: 5"), 400, sentences.MALFORMED_HEADER),
        (head(b"Content-Length: -5"), 400, sentences.MALFORMED_HEADER),
        (
            head(b"Content-Length: 5", b"Transfer-Encoding: chunked"),
            400,
            sentences.MALFORMED_HEADER,
        ),
        (head(b"Transfer-Encoding: gzip"), 400, sentences.MALFORMED_HEADER),
        (head(b"Transfer-Encoding: chunked, chunked"), 400, sentences.MALFORMED_HEADER),
        (
            head(b"Transfer-Encoding: chunked", line=b"PUT / HTTP/1.0"),
            400,
            sentences.MALFORMED_HEADER,
        ),
        (head(b"Transfer-Encoding: xchunked"), 400, sentences.UNSUPPORTED_CODING),
        (head(b"Expect: the-unexpected"), 417, sentences.UNSUPPORTED_EXPECTATION),
        (head(*[b"A: b"] * 101), 431, sentences.LARGE_HEAD),
        (head(b"A: " + b"b" * 9000), 431, sentences.LARGE_HEAD),
        (head(*[b"Accept: " + b"a/b," * 2000] * 3), 431, sentences.LARGE_HEAD),
        (head(b"A: " + b"b" * 2_000_000), 431, sentences.LARGE_HEAD),
        (b"GET / HTTP/1.1\r\nHost: x", 408, sentences.SLOW_HEAD),
    ],
    ids=range(36),
)
def test_a_request_that_cannot_be_parsed_gets_an_error_like_any_other_and_is_logged(
    server: Server, request_head: bytes, status: int, message: str
) -> None:
    request_id = check_error(exchange(server, request_head), status, message)

    line = re.search(rb"\{[^\n]*%b[^\n]*\}" % request_id.encode(), server.log)
    assert line
    assert f'"status": {status}, "error": "{message}"'.encode() in line[0]


@pytest.mark.parametrize(
    "request_head",
    [
        b"GET /healthz HTTP/1.0\r\n\r\n",
        *[
            b"GET /healthz HTTP/1.1\r\nHost: %b\r\nConnection: close\r\n\r\n" % host
            for host in (b"art_1.example.", b"192.0.2.1:27244", b"[2001:db8::1]:65535", b"x:")
        ],
    ],
)
def test_a_request_with_any_well_formed_host_is_served(server: Server, request_head: bytes) -> None:
    assert b" 200 OK\r\n" in exchange(server, request_head)


def test_a_request_that_cannot_be_parsed_does_not_keep_the_answers_before_it_from_the_client(
    server: Server,
) -> None:
    answer = exchange(
        server, b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n" + b"nonsense\r\n\r\n" + HEALTH_CHECK
    )

    assert re.findall(rb"HTTP/1.1 (\d+)", answer) == [b"200", b"400"]


def test_clients_that_leave_are_no_error(server: Server, cat: bytes) -> None:
    upload = b"PUT /?width=1000 HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(cat)
    for beginning in (
        CHUNKED + b"5\r\nab",
        CHUNKED + b"zz\r\n",
        upload + cat[:1000],
        upload + cat,
        (upload + cat) * 5,
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * 50,
        b"GET / HTTP/1.1\r\nHo",
        b"nonsense\r\n\r\n",
    ):
        # the first resets the connection
        for linger in (struct.pack("ii", 1, 0), struct.pack("ii", 0, 0)):
            with server.connect() as connection:
                connection.sendall(beginning)
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    wait_until(lambda: server.request("PUT", "/?width=20", cat)[0] == 200)


@pytest.mark.parametrize(
    "header",
    [
        "SCRIPT_NAME: /evil",
        "Script_Name: /evil",
        "Script-Name: /evil",
        "PATH_INFO: /docs",
        "X-Script-Name: /evil",
        "X-Forwarded-Prefix: /evil",
        "X-Forwarded-Host: evil.example",
        "X-Forwarded-Port: 666",
        "X-Forwarded-Protocol: ssl",
        "X-Forwarded-Ssl: on",
        "X_Forwarded_Proto: https",
        "X-Forwarded-Proto: javascript",
        "Forwarded: host=evil.example;proto=https",
        "X-Original-URL: /docs",
        "X-Rewrite-URL: /docs",
        "X-HTTP-Method-Override: DELETE",
    ],
)
def test_no_header_changes_the_path_or_the_address_of_the_service(
    server: Server, header: str
) -> None:
    name, value = header.split(": ")
    plain, changed = (
        server.request("GET", "/", Accept="text/html", Host="a.example", **headers)
        for headers in ({}, {name: value})
    )

    assert plain == changed
    assert b"http://a.example" in plain[1]


def test_a_proxy_that_contradicts_itself_about_the_scheme_is_no_error(server: Server) -> None:
    answer = exchange(
        server,
        HEALTH_CHECK.replace(
            b"Host: x", b"Host: x\r\nX-Forwarded-Proto: http\r\nX-Forwarded-Ssl: on"
        ),
    )

    assert answer.startswith(b"HTTP/1.1 200 ")
