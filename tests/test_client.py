"""The Python client and its asynchronous twin, tested against the service and against servers that
respond differently."""

import asyncio
import json
import os
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from importlib.metadata import version
from io import BytesIO
from itertools import chain, repeat
from types import NoneType
from typing import Any, get_args, get_type_hints
from urllib.request import urlopen

import pytest
from PIL import Image

from asciist import client
from asciist.art import forms, still
from asciist.client import Art, aio
from asciist.client.response import MAX_FILE_BYTES, seconds_to_retry
from asciist.conversion import ConversionOptions, animating
from asciist.errors import RejectedError, ServiceError
from asciist.limits import Limits
from asciist.options import OPTIONS
from asciist.options.kinds import Flag
from tests.reading import read_head
from tests.waiting import wait_until
from tools.testing.drawing import convert as convert_here

ART = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: 6\r\n"
    b"Content-Location: /5eed/width/2\r\nCache-Status: asciist; fwd=miss; stored\r\n\r\n.:\n:.\n"
)


Convert = Callable[..., Art]


def convert_with_asyncio(image: bytes, **arguments: Any) -> Art:
    return asyncio.run(aio.convert(image, **arguments))


@pytest.fixture(params=[client.convert, convert_with_asyncio], ids=["blocking", "asyncio"])
def convert(request: pytest.FixtureRequest) -> Convert:
    function: Convert = request.param
    return function


Download = Callable[..., bytes]


def download_with_asyncio(art: Art, suffix: Any, **arguments: Any) -> bytes:
    return asyncio.run(aio.download(art, suffix, **arguments))


@pytest.fixture(params=[client.download, download_with_asyncio], ids=["blocking", "asyncio"])
def download(request: pytest.FixtureRequest) -> Download:
    function: Download = request.param
    return function


def art(image: bytes, **options: Any) -> str:
    return convert_here(image, ConversionOptions(**options), Limits())


class FakeServer:
    """A server that accepts one connection at a time and sends its next response to each; the last
    one is repeated."""

    def __init__(
        self, listener: socket.socket, responses: tuple[bytes, ...], reads_body: bool
    ) -> None:
        self.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        self.requests: list[bytes] = []
        self.times: list[float] = []
        """Time of each request, in seconds."""
        self._listener = listener
        self._responses = chain(responses, repeat(responses[-1]))
        self._reads_body = reads_body

    def serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection, connection.makefile("rb") as stream:
                head = read_head(stream)
                self.requests.append(head)
                self.times.append(time.monotonic())
                if self._reads_body:
                    stream.read(int(re.findall(rb"Content-Length: (\d+)", head)[0]))
                with suppress(ConnectionError):  # the call was cancelled
                    connection.sendall(next(self._responses))


@contextmanager
def fake_server(*responses: bytes, reads_body: bool = True) -> Iterator[FakeServer]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = FakeServer(listener, responses, reads_body)
        thread = threading.Thread(target=server.serve)
        thread.start()
        try:
            yield server
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


def test_art_can_be_downloaded_as_a_picture_and_other_files(
    download: Download, url: str, cat: bytes
) -> None:
    plain = client.convert(cat, url=url, width=40)

    assert download(plain, "png").startswith(b"\x89PNG")
    assert download(plain, "svg").startswith(b"<svg ")
    assert download(plain, "txt").decode() == plain.text + "\n"
    assert json.loads(download(plain, "json"))["art"] == plain.text
    unusual = client.convert(
        cat, url=url, width=40, style="ramp", chars=" \N{CYRILLIC SMALL LETTER ZHE}"
    )
    with pytest.raises(RejectedError, match="the font lacks the character"):
        download(unusual, "png")
    with pytest.raises(RejectedError, match="art has no file with the suffix gif: use png, svg"):
        download(plain, "gif")


def test_the_suffixes_of_the_client_are_those_of_the_service() -> None:
    assert set(get_args(client.Suffix)) == set(forms.FORMS)


def test_the_largest_files_fit_the_limit_of_a_download() -> None:
    limit, sextant = Limits().max_art_characters, "\N{BLOCK SEXTANT-1}"
    assert len(json.dumps(sextant).strip('"')) * limit < MAX_FILE_BYTES

    row = "".join(chr(ord(sextant) + column % 60) for column in range(1000))
    colours = b"".join(bytes([255 - column % 2, column % 251, 17]) for column in range(2000))
    art = still(row, is_light=False, colours=colours)
    row_bytes = max(len(b"".join(form.written(art))) for form in (forms.SVG, forms.HTML))
    largest = limit // ConversionOptions(width=1000, style="blocks", color="ansi16").cell_weight
    assert row_bytes * largest / 1000 < MAX_FILE_BYTES


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Location: /name/width/2\r\nCache-Status: asciist; hit\r\n",
        b"HTTP/1.1 302 Found\r\nLocation: /name/width/2.png\r\n",
        (
            b"HTTP/1.1 200 OK\r\nContent-Location: /name/width/2.png\r\nCache-Status: asciist;"
            b" hit\r\nContent-Encoding: gzip\r\n"
        ),
    ],
)
def test_a_download_from_another_server_is_an_error(download: Download, head: bytes) -> None:
    with (
        fake_server(head + b"Content-Length: 5\r\n\r\nhello", reads_body=False) as server,
        pytest.raises(
            ServiceError, match=r"is it an asciist service|use that address if it is the service"
        ),
    ):
        download(Art(text="", url=f"{server.url}/name/width/2", was_stored=True), "png")


def test_a_download_that_is_refused_for_lack_of_capacity_is_retried(download: Download) -> None:
    busy = (
        b"HTTP/1.1 503 Unavailable\r\nRetry-After: 0\r\nContent-Type: text/plain\r\nContent-Length:"
        b" 5\r\n\r\nbusy\n"
    )
    file = (
        b"HTTP/1.1 200 OK\r\nContent-Location: /name/width/2.txt\r\nCache-Status: asciist; hit\r\n"
        b"Content-Length: 6\r\n\r\n.:\n:.\n"
    )
    with fake_server(busy, file, reads_body=False) as server:
        assert (
            download(Art(text="", url=f"{server.url}/name/width/2", was_stored=True), "txt")
            == b".:\n:.\n"
        )
        assert len(server.requests) == 2


def test_a_download_ends_early_with_an_error(download: Download) -> None:
    head = (
        b"HTTP/1.1 200 OK\r\nContent-Location: /name/width/2.txt\r\nCache-Status: asciist;"
        b" hit\r\nContent-Length: 9\r\n\r\n"
    )
    with (
        fake_server(head + b".:\n", reads_body=False) as server,
        pytest.raises(ServiceError, match="incomplete"),
    ):
        download(Art(text="", url=f"{server.url}/name/width/2", was_stored=True), "txt")


def test_art_has_its_url_and_was_stored_is_true_from_the_second_request(
    convert: Convert, url: str, cat: bytes
) -> None:
    first = convert(cat, url=url, width=40)
    assert (first.text, first.was_stored) == (art(cat, width=40), False)

    again = convert(cat, url=url, width=40)
    assert again == Art(text=first.text, url=first.url, was_stored=True)

    assert first.url.startswith(url)
    with urlopen(first.url) as stored:  # noqa: S310 - the URL of the test server
        assert stored.read().decode() == first.text + "\n"


@pytest.mark.parametrize(
    "options",
    [
        {"width": 30, "style": "braille"},
        {"width": 30, "style": "ramp", "chars": " .&+é█", "invert": True},
        {"width": 30, "invert": False, "color": "ansi"},
        {"width": 30, "style": "blocks", "color": "html", "invert": "auto"},
    ],
)
def test_every_conversion_option_is_accepted(
    convert: Convert, url: str, cat: bytes, options: dict[str, Any]
) -> None:
    converted = convert(cat, url=url, **options)
    plain = art(cat, **options | {"color": "none"})

    assert converted.text == art(cat, **options)
    assert (converted.columns, converted.rows) == (30, plain.count("\n") + 1)


def moving(image_format: str = "GIF") -> bytes:
    """An animation of a square that moves over a black ground: 60 ms a frame, three times."""
    frames = [Image.new("L", (80, 40)) for _ in range(3)]
    for number, frame in enumerate(frames):
        frame.paste(255, (20 * number, 10, 20 * number + 10, 30))
    file = BytesIO()
    frames[0].save(file, image_format, save_all=True, append_images=frames[1:], duration=60, loop=3)
    return file.getvalue()


@pytest.mark.parametrize("color", ["none", "ansi"])
def test_an_animation_has_its_frames(convert: Convert, url: str, color: Any) -> None:
    converted = convert(moving("PNG"), url=url, width=20, style="ramp", color=color, animate=True)
    opened = animating.open_animation(
        moving("PNG"), ConversionOptions(width=20, style="ramp", color=color), Limits()
    )
    assert opened
    expected = list(forms.texts(animating.draw(opened), forms.of_colour(color)))

    assert converted.animation
    assert [frame.text for frame in converted.animation.frames] == [text for text, _ in expected]
    assert [frame.milliseconds for frame in converted.animation.frames] == [60, 60, 60]
    assert (
        converted.animation.plays,
        converted.animation.shown_frames,
        converted.animation.image_frames,
    ) == (3, 3, 3)
    assert converted.text == expected[0][0]
    assert (converted.columns, converted.rows) == (20, 5)
    assert converted.url.endswith(".m/width/20")


def test_a_still_image_has_no_frames_and_a_document_moves_by_itself(
    convert: Convert, url: str, cat: bytes
) -> None:
    still = convert(cat, url=url, width=20, animate=True)
    document = convert(moving(), url=url, width=20, color="html", animate=True)

    assert (still.text, still.animation) == (art(cat, width=20), None)
    assert "@keyframes" in document.text
    assert document.animation is None


def test_a_rejection_of_an_animation_has_the_message_of_the_service(
    convert: Convert, url: str
) -> None:
    with pytest.raises(RejectedError, match="chars must be printable ASCII"):
        convert(moving(), url=url, chars="é", animate=True)


@pytest.mark.parametrize("error", [["x"], {"a": 1}, None, "a\x1b[2Jb", "two\nlines"])
def test_an_error_in_json_is_a_sentence_or_none_of_the_service_s(
    convert: Convert, error: object
) -> None:
    body = json.dumps({"error": error})
    with (
        fake_server(http_response("400 X", body, "application/json")) as server,
        pytest.raises(ServiceError, match="unexpected response"),
    ):
        convert(b"image", url=server.url, animate=True)


FRAME = {"milliseconds": 60, "art": "ab\ncd"}


@pytest.mark.parametrize(
    "fields",
    [
        {"frames": [], "plays": 0, "shown_frames": 0, "image_frames": 0},
        {"frames": [FRAME, {"milliseconds": 60}], "plays": 0, "shown_frames": 2, "image_frames": 2},
        {"frames": [FRAME | {"milliseconds": 0}], "plays": 0, "shown_frames": 1, "image_frames": 1},
        {
            "frames": [FRAME | {"milliseconds": 1e300}],
            "plays": 0,
            "shown_frames": 1,
            "image_frames": 1,
        },
        {
            "frames": [FRAME, FRAME | {"art": "ab"}],
            "plays": 0,
            "shown_frames": 2,
            "image_frames": 2,
        },
        {
            "frames": [FRAME | {"art": "a\x1b[2Jb"}],
            "plays": 0,
            "shown_frames": 1,
            "image_frames": 1,
        },
        {"frames": [FRAME | {"art": 1000 * "a"}], "plays": 0, "shown_frames": 1, "image_frames": 1},
        {"frames": [FRAME], "plays": -1, "shown_frames": 1, "image_frames": 1},
        {"frames": 5 * [FRAME], "plays": "x", "shown_frames": 1, "image_frames": 1},
        {"art": ["ab"]},
        {"frames": 100_000 * [[]]},
        [],
    ],
)
def test_frames_that_are_not_the_service_s_are_an_error(convert: Convert, fields: object) -> None:
    answer = ART.replace(b"text/plain; charset=utf-8", b"application/json").partition(
        b"Content-Length"
    )[0]
    body = json.dumps(fields).encode() + b"\n"
    location = b"Content-Location: /5eed/width/2\r\nCache-Status: asciist; fwd=miss; stored\r\n"
    with (
        fake_server(
            answer + location + f"Content-Length: {len(body)}\r\n\r\n".encode() + body
        ) as server,
        pytest.raises(ServiceError, match="invalid art from"),
    ):
        convert(b"image", url=server.url, width=80, animate=True)


def test_only_the_given_options_are_sent(convert: Convert, cat: bytes) -> None:
    with fake_server(ART) as server:
        convert(cat, url=server.url)
        convert(cat, url=server.url, invert=True, chars="&é")

    heads = [request.decode().splitlines() for request in server.requests]
    assert [head[0] for head in heads] == [
        "PUT /? HTTP/1.1",
        "PUT /?invert=true&chars=%26%C3%A9 HTTP/1.1",
    ]
    assert f"User-Agent: asciist/{version('asciist')}" in heads[0]
    assert f"Content-Length: {len(cat)}" in heads[0]
    assert "Accept: text/plain" in heads[0]


def test_the_service_may_have_a_path_prefix(convert: Convert) -> None:
    with fake_server(ART) as server:
        converted = convert(b"image", url=f"{server.url}/art/", width=2)

    assert server.requests[0].startswith(b"PUT /art/?width=2 HTTP/1.1\r\n")
    assert converted == Art(text=".:\n:.", url=f"{server.url}/5eed/width/2", was_stored=False)


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
def test_was_stored_ignores_the_cache_status_of_other_caches(
    convert: Convert, status: str, was_stored: bool
) -> None:
    with fake_server(ART.replace(b"asciist; fwd=miss; stored", status.encode())) as server:
        assert convert(b"image", url=server.url).was_stored == was_stored


def test_progress_is_reported_from_zero_to_the_last_byte(
    convert: Convert, url: str, cat: bytes
) -> None:
    steps: list[tuple[int, int]] = []
    convert(cat, url=url, width=10, on_progress=lambda sent, total: steps.append((sent, total)))

    assert len(steps) > 2
    assert steps == sorted(steps)
    assert (steps[0], steps[-1]) == ((0, len(cat)), (len(cat), len(cat)))


def test_a_rejection_has_the_message_of_the_service(convert: Convert, url: str, cat: bytes) -> None:
    with pytest.raises(RejectedError) as error:
        convert(b"not an image", url=url)
    assert error.value.public_message.startswith("unknown image format")

    with pytest.raises(RejectedError) as error:
        convert(cat, url=url, style="oil")
    assert error.value.public_message.startswith("style must be one of")

    with pytest.raises(RejectedError, match="must be text"):
        convert(cat, url=url, style="ramp", chars="\udcff.")


def http_response(
    status: str, body: str, content_type: str = "text/plain; charset=utf-8", **headers: str
) -> bytes:
    lines = [
        f"HTTP/1.1 {status}",
        f"Content-Type: {content_type}",
        *(f"{name}: {value}" for name, value in headers.items()),
    ]
    return "\r\n".join([*lines, f"Content-Length: {len(body)}", "", body]).encode()


def test_a_rejection_before_the_end_of_the_upload_has_the_message_of_the_service(
    convert: Convert,
) -> None:
    with (
        fake_server(http_response("413 X", "the image is too large\n"), reads_body=False) as server,
        pytest.raises(RejectedError) as error,
    ):
        convert(bytes(30_000_000), url=server.url)

    assert error.value.public_message == "the image is too large"


@pytest.mark.parametrize(
    ("response", "message"),
    [
        (http_response("503 X", "the service is busy\n"), "the service is busy"),
        (http_response("500 X", "internal error\n"), "internal error"),
        (
            http_response("502 Bad Gateway", "<h1>Bad Gateway</h1>", "text/html"),
            "unexpected response from URL with status 502: is it an asciist service?",
        ),
        (
            http_response("405 No", "<h1>No</h1>", "text/html"),
            "unexpected response from URL with status 405: is it an asciist service?",
        ),
        (
            http_response("400 No", "two\nlines"),
            "unexpected response from URL with status 400: is it an asciist service?",
        ),
        (
            http_response("400 No", "\x1b[2J"),
            "unexpected response from URL with status 400: is it an asciist service?",
        ),
        (
            http_response("200 OK", "hello"),
            "unexpected response from URL with status 200: is it an asciist service?",
        ),
        (
            http_response("204 OK", ""),
            "unexpected response from URL with status 204: is it an asciist service?",
        ),
        (
            http_response("304 Same", ""),
            "unexpected response from URL with status 304: is it an asciist service?",
        ),
        (
            ART.replace(b"asciist", b"squid"),
            "unexpected response from URL with status 200: is it an asciist service?",
        ),
        (ART[:-3], "incomplete response from URL"),
        (ART[:40], "unexpected response from URL with status 200: is it an asciist service?"),
        (ART[:-2] + b"\xff\xff", "incomplete response from URL"),
        (b"", "incomplete response from URL: Remote end closed connection without response"),
        (b"SSH-2.0-OpenSSH_9.2p1\r\n", "URL did not send a valid HTTP response"),
    ],
)
def test_a_failure_or_an_unexpected_response_raises_a_service_error(
    convert: Convert, response: bytes, message: str
) -> None:
    with fake_server(response) as server, pytest.raises(ServiceError) as error:
        convert(b"image", url=server.url)

    assert error.value.public_message == message.replace("URL", server.url)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_raises_a_service_error_and_is_not_followed(
    convert: Convert, status: int
) -> None:
    with fake_server(
        http_response(f"{status} Moved", "", Location="https://example.org/?width=9")
    ) as server:
        with pytest.raises(ServiceError) as error:
            convert(b"image", url=server.url, width=9)
        assert error.value.public_message.startswith(
            f"{server.url} redirects to https://example.org/: "
        )
        assert len(server.requests) == 1


def test_an_unreachable_service_raises_a_service_error(convert: Convert) -> None:
    with socket.socket() as reserved:  # reserves a port that refuses connections
        reserved.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{reserved.getsockname()[1]}"
        with pytest.raises(ServiceError) as error:
            convert(b"image", url=url)
    assert error.value.public_message == f"cannot reach {url}: Connection refused"


def test_a_silent_service_raises_a_service_error_after_the_timeout(convert: Convert) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent_server:
        url = f"http://127.0.0.1:{silent_server.getsockname()[1]}"
        with pytest.raises(ServiceError) as error:
            convert(b"image", url=url, timeout_seconds=0.2)
        assert error.value.public_message == f"incomplete response from {url}: timed out"

        with pytest.raises(ServiceError) as error:
            convert(bytes(30_000_000), url=url, timeout_seconds=0.2)
        assert error.value.public_message == f"cannot reach {url}: timed out"


@pytest.mark.parametrize(
    "url",
    [
        *(
            "",
            "localhost:27244",
            "ftp://example.org",
            "file:///etc/passwd",
            "http://",
            "http:///path",
            "http://:80",
        ),
        *(
            "http://[::1",
            "http://a b",
            "http://a\n.org",
            "http://a..b",
            "http://host:port",
            "http://host:99999",
        ),
        *("http://somebody:secret@example.org", "http://bücher.example", f"http://{'a' * 70}.org"),
    ],
)
def test_an_invalid_url_is_refused(convert: Convert, url: str) -> None:
    with pytest.raises(RejectedError, match="is not an http address"):
        convert(b"image", url=url)


@pytest.mark.parametrize("url", ["http://localhost:27244/?width=80", "http://localhost/#top"])
def test_a_url_with_a_query_or_fragment_is_refused(convert: Convert, url: str) -> None:
    with pytest.raises(RejectedError, match="remove the query"):
        convert(b"image", url=url)


def run(script: str, **environment: str) -> str:
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", script],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | environment,
    ).stdout


def test_importing_the_client_does_not_import_http_libraries() -> None:
    script = (
        "import asciist.client, sys; print([name for name in ('http', 'ssl', 'email', 'click') if"
        " name in sys.modules])"
    )

    assert run(script) == "[]\n"


def test_the_client_works_without_the_packages_of_the_conversion() -> None:
    with fake_server(ART) as server:
        script = (
            "import sys; sys.modules.update(dict.fromkeys(('numpy', 'PIL', 'click')));"
            f" from asciist.client import convert; print(convert(b'', url='{server.url}').columns)"
        )

        assert run(script) == "2\n"


def test_the_proxy_of_the_environment_is_used() -> None:
    with fake_server(ART) as proxy:
        script = (
            "from asciist.client import convert; print(convert(b'image',"
            " url='http://art.example').url)"
        )
        assert run(script, http_proxy=proxy.url, no_proxy="") == "http://art.example/5eed/width/2\n"
        script = (
            "import asyncio; from asciist.client.aio import convert; print(asyncio.run(convert(b'',"
            " url='http://art.example')).url)"
        )
        assert run(script, http_proxy=proxy.url, no_proxy="") == "http://art.example/5eed/width/2\n"

    assert proxy.requests[0].startswith(b"PUT http://art.example/? HTTP/1.1\r\n")
    assert proxy.requests[1].startswith(b"PUT http://art.example/? HTTP/1.1\r\n")


@pytest.mark.parametrize("document", ["", "<pre>", "</pre><pre>\n", "<pre></pre>\n", "<pre\n"])
def test_a_document_without_art_has_no_columns_and_rows(document: str) -> None:
    hostile = Art(text=f"<!doctype html>{document}", url="http://art.example", was_stored=True)

    assert (hostile.columns, hostile.rows) == (0, 0)


def test_the_types_of_the_options_are_those_of_the_table() -> None:
    hints = get_type_hints(client.Options)

    assert list(hints) == list(OPTIONS)
    for name, option in OPTIONS.items():
        values = [
            value
            for kind in get_args(hints[name])
            for value in get_args(kind) or [kind]
            if value is not NoneType
        ]
        schema = option.schema(Limits())
        if isinstance(option.kind, Flag):
            assert values == [bool, "auto"][: 1 + option.kind.has_auto]
        elif "enum" in schema:
            assert values == schema["enum"]
        else:
            assert values == [{"integer": int, "string": str}[schema["type"]]]


def busy(retry_after: str, status: str = "503 X") -> bytes:
    return http_response(status, "the service is busy\n", **{"Retry-After": retry_after})


def test_a_call_waits_as_long_as_the_service_says_and_sends_the_image_again(
    convert: Convert,
) -> None:
    steps: list[tuple[int, int]] = []
    with fake_server(busy("1"), busy("0", "429 X"), ART) as server:
        converted = convert(
            b"image", url=server.url, on_progress=lambda sent, total: steps.append((sent, total))
        )

    first, second, third = server.times
    assert converted.text == ".:\n:."
    assert 1 <= second - first < third - first < 60
    assert steps == 3 * [(0, 5), (5, 5)]


@pytest.mark.parametrize(
    ("response", "requests"),
    [
        (busy("0"), 3),
        (busy((datetime.now(UTC) - timedelta(hours=1)).strftime("%a, %d %b %Y %H:%M:%S GMT")), 3),
        (busy("11"), 1),
        (busy(format_datetime(datetime.now(UTC) + timedelta(hours=1), usegmt=True)), 1),
        (busy("6"), 1),  # after the time limit
        (busy("9" * 400), 1),
        (busy("-1"), 1),
        (busy("soon"), 1),
        (busy(""), 1),
        (busy("0", "504 X"), 1),
        (busy("0", "400 X"), 1),
        (http_response("503 X", "the service is busy\n"), 1),
    ],
    ids=[
        "now",
        "past",
        "11 s",
        "an hour",
        "late",
        "huge",
        "negative",
        "word",
        "empty",
        "504",
        "400",
        "no header",
    ],
)
def test_a_call_ends_when_the_service_names_no_time_that_is_soon_or_after_three_requests(
    convert: Convert, response: bytes, requests: int
) -> None:
    with fake_server(response) as server, pytest.raises((ServiceError, RejectedError)) as error:
        convert(b"image", url=server.url, timeout_seconds=5)

    assert error.value.public_message == "the service is busy"
    assert len(server.requests) == requests


@pytest.mark.parametrize(("told", "most"), [(0, 0), (1, 1.25), (8, 10)])
def test_a_call_waits_up_to_a_quarter_longer_than_the_service_says(told: int, most: float) -> None:
    refusal = ServiceError("busy", retry_after_seconds=told)
    waits = [seconds_to_retry(refusal, attempts_left=1, seconds_left=60) for _ in range(100)]

    assert all(seconds is not None and told <= seconds <= most for seconds in waits)


def test_a_call_may_be_limited_to_one_request_and_the_error_has_the_time_to_retry(
    convert: Convert,
) -> None:
    with fake_server(busy("2"), ART) as server, pytest.raises(ServiceError) as error:
        convert(b"image", url=server.url, attempts=1)

    assert len(server.requests) == 1
    assert error.value.retry_after_seconds == 2


def test_calls_of_asyncio_run_at_the_same_time(url: str, cat: bytes) -> None:
    async def run_all() -> list[Art]:
        return await asyncio.gather(
            *(aio.convert(cat, url=url, width=width) for width in range(20, 26))
        )

    assert [converted.text for converted in asyncio.run(run_all())] == [
        art(cat, width=width) for width in range(20, 26)
    ]


def test_a_call_of_asyncio_that_is_cancelled_closes_its_connection() -> None:
    async def cancel(listener: socket.socket) -> bytes:
        call = asyncio.create_task(
            aio.convert(b"image", url=f"http://127.0.0.1:{listener.getsockname()[1]}")
        )
        connection, _ = await asyncio.get_running_loop().sock_accept(listener)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        with connection, connection.makefile("rb") as stream:
            return stream.read()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        received = asyncio.run(cancel(listener))

    # The read ends when the client closes; it may have sent the headers without the body.
    assert not received or received.startswith(b"PUT ")
    wait_until(lambda: not client_threads(), seconds=10)


def test_a_call_of_asyncio_that_is_cancelled_is_not_retried() -> None:
    async def cancel(server: FakeServer) -> None:
        call = asyncio.create_task(aio.convert(b"image", url=server.url))
        while not server.requests:
            await asyncio.sleep(0.01)
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)

    with fake_server(busy("5"), ART) as server:
        asyncio.run(cancel(server))
        wait_until(lambda: not client_threads(), seconds=10)
        assert len(server.requests) == 1


def client_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "asciist-client"]
