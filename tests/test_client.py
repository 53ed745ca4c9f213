"""The client as scripts use it: against the service itself, and against what else may be found at an address."""

import os
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from typing import Any
from urllib.request import urlopen

import pytest

from asciist import client
from asciist.client import Art
from asciist.conversion import ConversionOptions
from asciist.conversion import convert as convert_here
from asciist.errors import RejectedError, ServiceError
from asciist.limits import Limits

ART = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: 6\r\n"
    b"Content-Location: /5eed/width/2\r\nCache-Status: asciist; fwd=miss; stored\r\n\r\n.:\n:.\n"
)


def art(image: bytes, **options: Any) -> str:
    return convert_here(image, ConversionOptions(**options), Limits())


class Somebody:
    """Who takes one connection after the other, and answers each with the same bytes."""

    def __init__(self, listener: socket.socket, answer: bytes, reads_body: bool) -> None:
        self.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        self.requests: list[bytes] = []
        self._listener = listener
        self._answer = answer
        self._reads_body = reads_body

    def serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection, connection.makefile("rb") as stream:
                head = b"".join(iter(stream.readline, b"\r\n"))
                self.requests.append(head)
                if self._reads_body:
                    stream.read(int(re.findall(rb"Content-Length: (\d+)", head)[0]))
                connection.sendall(self._answer)


@contextmanager
def somebody(answer: bytes, *, reads_body: bool = True) -> Iterator[Somebody]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        found = Somebody(listener, answer, reads_body)
        thread = threading.Thread(target=found.serve)
        thread.start()
        yield found
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()


def test_art_comes_with_its_address_and_whether_it_was_stored(url: str, cat: bytes) -> None:
    first = client.convert(cat, url=url, width=40)
    assert (first.text, first.was_stored) == (art(cat, width=40), False)

    again = client.convert(cat, url=url, width=40)
    assert again == Art(text=first.text, url=first.url, was_stored=True)

    assert first.url.startswith(url)
    with urlopen(first.url) as stored:  # noqa: S310 - the address of our own server
        assert stored.read().decode() == first.text + "\n"


@pytest.mark.parametrize(
    "options",
    [
        {"width": 30, "style": "braille"},
        {"width": 30, "style": "ramp", "chars": " .&+é█", "invert": True},
        {"width": 30, "invert": False, "color": "ansi"},
        {"width": 30, "style": "blocks", "color": "html"},
    ],
)
def test_the_options_are_those_of_a_conversion(url: str, cat: bytes, options: dict[str, Any]) -> None:
    assert client.convert(cat, url=url, **options).text == art(cat, **options)


def test_what_is_not_chosen_is_left_to_the_service(cat: bytes) -> None:
    with somebody(ART) as there:
        client.convert(cat, url=there.url)
        client.convert(cat, url=there.url, invert=True, chars="&é")

    heads = [request.decode().splitlines() for request in there.requests]
    assert [head[0] for head in heads] == ["PUT /? HTTP/1.1", "PUT /?invert=true&chars=%26%C3%A9 HTTP/1.1"]
    assert f"User-Agent: asciist/{version('asciist')}" in heads[0]
    assert f"Content-Length: {len(cat)}" in heads[0]
    assert "Accept: text/plain" in heads[0]


def test_a_service_may_be_below_a_path() -> None:
    with somebody(ART) as there:
        found = client.convert(b"image", url=f"{there.url}/art/", width=2)

    assert there.requests[0].startswith(b"PUT /art/?width=2 HTTP/1.1\r\n")
    assert found == Art(text=".:\n:.", url=f"{there.url}/5eed/width/2", was_stored=False)


@pytest.mark.parametrize(
    ("status", "was_stored"),
    [
        ("asciist; hit", True),
        ("asciist;hit;ttl=60", True),
        ("asciist; fwd=miss; collapsed", False),
        ("asciist; fwd=miss; stored, cdn; hit", False),
        ("cdn; fwd=method, asciist; hit", True),
    ],
)
def test_of_several_caches_its_own_counts(status: str, was_stored: bool) -> None:
    with somebody(ART.replace(b"asciist; fwd=miss; stored", status.encode())) as there:
        assert client.convert(b"image", url=there.url).was_stored == was_stored


def test_progress_is_told_up_to_the_last_byte(url: str, cat: bytes) -> None:
    steps: list[tuple[int, int]] = []
    client.convert(cat, url=url, width=10, on_progress=lambda sent, total: steps.append((sent, total)))

    assert len(steps) > 2
    assert steps == sorted(steps)
    assert (steps[0], steps[-1]) == ((0, len(cat)), (len(cat), len(cat)))


def test_what_the_service_refuses_is_its_own_sentence(url: str, cat: bytes) -> None:
    with pytest.raises(RejectedError) as refused:
        client.convert(b"not an image", url=url)
    assert refused.value.public_message.startswith("unknown image format")

    with pytest.raises(RejectedError) as refused:
        client.convert(cat, url=url, style="oil")
    assert refused.value.public_message.startswith("style must be one of")

    with pytest.raises(RejectedError, match="must be text"):
        client.convert(cat, url=url, style="ramp", chars="\udcff.")


def refusal(status: str, sentence: str, kind: str = "text/plain; charset=utf-8", **headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Type: {kind}", *(f"{name}: {value}" for name, value in headers.items())]
    return "\r\n".join([*lines, f"Content-Length: {len(sentence)}", "", sentence]).encode()


def test_an_image_that_is_refused_before_it_is_there_is_refused_with_the_services_sentence() -> None:
    with (
        somebody(refusal("413 X", "the image is too large\n"), reads_body=False) as there,
        pytest.raises(RejectedError) as refused,
    ):
        client.convert(bytes(30_000_000), url=there.url)

    assert refused.value.public_message == "the image is too large"


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        (refusal("503 Busy", "too busy: try again later\n"), "too busy: try again later"),
        (refusal("500 X", "internal error\n"), "internal error"),
        (
            refusal("502 Bad Gateway", "<h1>Bad Gateway</h1>", "text/html"),
            "unexpected response from URL with status 502: is it an asciist service?",
        ),
        (
            refusal("405 No", "<h1>No</h1>", "text/html"),
            "unexpected response from URL with status 405: is it an asciist service?",
        ),
        (refusal("400 No", "two\nlines"), "unexpected response from URL with status 400: is it an asciist service?"),
        (refusal("400 No", "\x1b[2J"), "unexpected response from URL with status 400: is it an asciist service?"),
        (refusal("200 OK", "hello"), "unexpected response from URL with status 200: is it an asciist service?"),
        (refusal("204 OK", ""), "unexpected response from URL with status 204: is it an asciist service?"),
        (refusal("304 Same", ""), "unexpected response from URL with status 304: is it an asciist service?"),
        (ART.replace(b"asciist", b"squid"), "unexpected response from URL with status 200: is it an asciist service?"),
        (ART[:-3], "incomplete response from URL"),
        (ART[:40], "unexpected response from URL with status 200: is it an asciist service?"),
        (ART[:-2] + b"\xff\xff", "incomplete response from URL"),
        (b"", "incomplete response from URL: Remote end closed connection without response"),
        (b"SSH-2.0-OpenSSH_9.2p1\r\n", "URL did not send a valid HTTP response"),
    ],
)
def test_what_asking_later_may_mend_is_an_error_of_the_service(answer: bytes, sentence: str) -> None:
    with somebody(answer) as there, pytest.raises(ServiceError) as failed:
        client.convert(b"image", url=there.url)

    assert failed.value.public_message == sentence.replace("URL", there.url)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_told_of_and_not_followed(status: int) -> None:
    with somebody(refusal(f"{status} There", "", Location="https://example.org/?width=9")) as there:
        with pytest.raises(ServiceError) as failed:
            client.convert(b"image", url=there.url, width=9)
        assert failed.value.public_message.startswith(f"{there.url} redirects to https://example.org/: ")
        assert len(there.requests) == 1


def test_a_service_that_cannot_be_reached() -> None:
    with socket.socket() as reserved:  # so that nobody else listens there
        reserved.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{reserved.getsockname()[1]}"
        with pytest.raises(ServiceError) as failed:
            client.convert(b"image", url=url)
    assert failed.value.public_message == f"cannot reach {url}: Connection refused"


def test_a_service_that_is_silent_is_not_waited_for_any_longer() -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        url = f"http://127.0.0.1:{mute.getsockname()[1]}"
        with pytest.raises(ServiceError) as failed:
            client.convert(b"image", url=url, timeout_seconds=0.2)
        assert failed.value.public_message == f"incomplete response from {url}: timed out"

        with pytest.raises(ServiceError) as failed:
            client.convert(bytes(30_000_000), url=url, timeout_seconds=0.2)
        assert failed.value.public_message == f"cannot reach {url}: timed out"


@pytest.mark.parametrize(
    "url",
    [
        *("", "localhost:27244", "ftp://example.org", "file:///etc/passwd", "http://", "http:///path", "http://:80"),
        *("http://[::1", "http://a b", "http://a\n.org", "http://a..b", "http://host:port", "http://host:99999"),
        *("http://somebody:secret@example.org", "http://bücher.example", f"http://{'a' * 70}.org"),
    ],
)
def test_what_is_not_an_http_address_is_refused(url: str) -> None:
    with pytest.raises(RejectedError, match="is not an http address"):
        client.convert(b"image", url=url)


@pytest.mark.parametrize("url", ["http://localhost:27244/?width=80", "http://localhost/#top"])
def test_an_address_ends_before_its_query(url: str) -> None:
    with pytest.raises(RejectedError, match="remove the query"):
        client.convert(b"image", url=url)


def run(script: str, **environment: str) -> str:
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", script], capture_output=True, text=True, check=True, env=os.environ | environment
    ).stdout


def test_importing_it_imports_no_http() -> None:
    script = "import asciist.client, sys; print([name for name in ('http', 'ssl', 'email', 'click') if name in sys.modules])"

    assert run(script) == "[]\n"


def test_the_environments_proxy_is_used() -> None:
    with somebody(ART) as proxy:
        script = "from asciist.client import convert; print(convert(b'image', url='http://art.example').url)"
        assert run(script, http_proxy=proxy.url, no_proxy="") == "http://art.example/5eed/width/2\n"

    assert proxy.requests[0].startswith(b"PUT http://art.example/? HTTP/1.1\r\n")
