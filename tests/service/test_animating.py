"""Animations over HTTP: text that plays, frames in JSON, animated documents and pages."""

import base64
import hashlib
import re
import time
from collections.abc import Iterator
from io import BytesIO
from typing import Any

import pytest
from flask.testing import FlaskClient
from PIL import Image, ImageSequence

from asciist.art import forms, rendering
from asciist.art.codec import encode
from asciist.art.rendering import Rendering
from asciist.conversion import ConversionOptions, animating
from asciist.errors import OverloadedError
from asciist.limits import Limits
from service import streams
from service.renderings import Rendered
from service.streams import Streams
from tests.art.drawn import animation
from tests.screen import Screen
from tests.serving import Server

JSON = {"Accept": "application/json"}
PAGE = {"Accept": "text/html"}


def blinking(
    milliseconds: int = 40, frames: int = 3, loop: int = 0, image_format: str = "PNG"
) -> bytes:
    """An animation of a square that moves over a black ground."""
    images = []
    for number in range(frames):
        image = Image.new("L", (80, 40))
        image.paste(255, (20 * number, 10, 20 * number + 10, 30))
        images.append(image)
    file = BytesIO()
    images[0].save(
        file,
        image_format,
        save_all=True,
        append_images=images[1:],
        duration=milliseconds,
        loop=loop,
    )
    return file.getvalue()


def drawn(image: bytes, **options: Any) -> list[str]:
    """Return the frames as text without colours."""
    opened = animating.open_animation(image, ConversionOptions(**options), Limits())
    assert opened is not None
    return [text for text, _ in forms.texts(animating.draw(opened), forms.TXT)]


def decoded(png: bytes) -> list[tuple[bytes, float]]:
    """Return the pixels and the milliseconds of each frame of a PNG; 0 for a still one."""
    picture = Image.open(BytesIO(png))
    return [
        (frame.convert("RGB").tobytes(), frame.info.get("duration", 0))
        for frame in ImageSequence.Iterator(picture)
    ]


@pytest.mark.parametrize("image_format", ["GIF", "PNG", "WEBP"])
def test_json_has_the_frames_and_their_times(client: FlaskClient, image_format: str) -> None:
    image = blinking(60, image_format=image_format)
    first = client.post("/?width=20&style=ramp&animate=true", data=image, headers=JSON).get_json()
    again = client.post("/?width=20&style=ramp&animate=true", data=image, headers=JSON).get_json()
    expected = drawn(image, width=20, style="ramp")

    assert first["frames"] == [{"milliseconds": 60, "art": text} for text in expected]
    assert first["art"] == expected[0]
    assert (first["columns"], first["rows"], first["plays"]) == (20, 5, 0)
    assert (first["shown_frames"], first["image_frames"]) == (3, 3)
    assert again == first | {"stored": True}
    assert client.get(first["url"], headers=JSON).get_json() == again


def test_text_plays_on_a_terminal_with_its_exact_length(client: FlaskClient) -> None:
    image = blinking(20, loop=2)
    response = client.post("/?width=20&style=ramp&animate=true", data=image)
    body = response.get_data()
    screen = Screen(20, 8)
    screen.write(body.decode())

    assert response.content_type == "text/plain; charset=utf-8"
    assert response.content_length == len(body)
    assert response.headers["Cache-Control"] == "no-store"  # a cache would send it all at once
    assert "ETag" not in response.headers
    assert (
        "Content-Encoding"
        not in client.post(
            "/?width=20&style=ramp&animate=true", data=image, headers={"Accept-Encoding": "gzip"}
        ).headers
    )
    assert (
        "\n".join("".join(character for character, _ in line) for line in screen.cells[:5])
        == (drawn(image, width=20, style="ramp")[-1])
    )
    assert (screen.row, screen.column) == (5, 0)


def test_every_form_is_made_from_one_artifact(client: FlaskClient) -> None:
    image = blinking(20, loop=1)
    address = client.post("/?width=20&animate=true", data=image, headers=JSON).get_json()["url"]

    for form in ("application/json", "text/html", "text/plain"):
        for answer in (
            client.get(address, headers={"Accept": form}),
            client.head(address, headers={"Accept": form}),
        ):
            assert (answer.status_code, answer.mimetype) == (200, form)
            assert answer.headers["Cache-Status"] == "asciist; hit"


@pytest.mark.parametrize("color", ["none", "ansi", "html"])
def test_files_of_an_animation_show_its_first_frame_or_move(
    client: FlaskClient, color: str
) -> None:
    image = blinking()
    query = f"/?width=20&style=ramp&invert=false&color={color}"
    still = client.post(query, data=image, headers=JSON).get_json()["url"]
    moving = client.post(f"{query}&animate=true", data=image, headers=JSON).get_json()["url"]

    for suffix in ("txt", "ansi", "svg", "card.png"):
        assert client.get(f"{moving}.{suffix}").data == client.get(f"{still}.{suffix}").data
    html = client.get(f"{moving}.html")
    assert (html.status_code, html.data.count(b"@keyframes") >= 3) == (200, True)
    assert ("frames" in client.get(f"{moving}.json").get_json()) is (color != "html")
    accepted = client.get(moving, headers={"Accept": "image/png"})
    assert accepted.data == client.get(f"{moving}.png").data
    frames = decoded(accepted.data)
    assert [milliseconds for _, milliseconds in frames] == [40, 40, 40]
    assert frames[0][0] == decoded(client.get(f"{still}.png").data)[0][0]


def test_a_png_whose_frames_change_too_much_shows_the_first_one(
    client: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    query = "/?width=20&style=ramp&invert=false"
    still = client.post(query, data=blinking(), headers=JSON).get_json()["url"]
    # the first frame, and no cell more
    monkeypatch.setattr(rendering, "_MAX_MOVING_BYTES", 20 * 5 * 16 * 32 // 2)
    moving = client.post(f"{query}&animate=true", data=blinking(), headers=JSON).get_json()["url"]

    assert client.get(f"{moving}.png").data == client.get(f"{still}.png").data


def test_a_preview_of_a_link_shows_the_first_frame(client: FlaskClient) -> None:
    url = client.post(
        "/?width=20&color=html&animate=true", data=blinking(), headers=JSON
    ).get_json()["url"]
    page = client.get(url, headers={"User-Agent": "Slackbot 1.0", "Accept": "*/*"}).get_data(
        as_text=True
    )

    assert "card.png" in page
    assert "<style" not in page.partition('<pre id="art"')[2].partition("</pre>")[0]


def test_a_still_image_stays_what_it_is(client: FlaskClient, cat: bytes) -> None:
    still = client.post("/?width=20", data=cat)
    animated = client.post("/?width=20&animate=true", data=cat)

    assert animated.get_data() == still.get_data()
    assert "ETag" in animated.headers
    assert "frames" not in client.post("/?width=20&animate=true", data=cat, headers=JSON).get_json()


def test_only_the_first_frame_is_drawn_without_the_option(client: FlaskClient) -> None:
    response = client.post("/?width=20&style=ramp", data=blinking())

    assert response.get_data(as_text=True) == drawn(blinking(), width=20, style="ramp")[0] + "\n"


def test_a_document_plays_without_a_script(client: FlaskClient) -> None:
    response = client.post("/?width=20&color=html&animate=true", data=blinking())
    html = response.get_data(as_text=True)
    in_json = client.post(
        "/?width=20&color=html&animate=true", data=blinking(), headers=JSON
    ).get_json()

    assert response.content_type == "text/html; charset=utf-8"
    assert "sandbox" in response.headers["Content-Security-Policy"]
    assert html.count("@keyframes") >= 3
    assert "<script" not in html
    assert in_json["art"] == html.removesuffix("\n")
    assert "frames" not in in_json
    assert (in_json["columns"], in_json["rows"]) == (20, 5)


def test_the_page_plays_without_a_script_and_its_policy_allows_only_its_styles(
    client: FlaskClient,
) -> None:
    form = {"image": (BytesIO(blinking()), "a.png"), "width": "20", "animate": "on"}
    response = client.post("/", data=form, headers=PAGE, follow_redirects=True)
    html = response.get_data(as_text=True)
    styles = re.findall(r"<style>(.*?)</style>", html, re.DOTALL)
    hashes = [
        base64.b64encode(hashlib.sha256(style.encode()).digest()).decode() for style in styles
    ]

    assert "@keyframes" in styles[1]
    assert (
        "style-src 'self' " + " ".join(f"'sha256-{each}'" for each in hashes)
        in response.headers["Content-Security-Policy"]
    )
    assert "<dt>Animate</dt><dd>yes</dd>" in html
    assert "5 lines high" in html


def test_characters_of_html_are_escaped_on_the_page(client: FlaskClient) -> None:
    answer = client.post(
        "/?width=20&style=ramp&chars=%3C%26%3E&animate=true", data=blinking(), headers=JSON
    )
    response = client.get(answer.get_json()["url"], headers=PAGE)
    art = (
        response.get_data(as_text=True)
        .partition('<pre id="art"')[2]
        .partition("</pre>")[0]
        .partition(">")[2]
    )

    assert set(re.sub(r"</?(?:span|i)[^>]*>", "", art)) <= set("&amplgt;\n")


@pytest.mark.parametrize("value", ["auto", "2", "yess"])
def test_an_invalid_value_is_refused(client: FlaskClient, value: str) -> None:
    response = client.post(f"/?animate={value}", data=blinking())

    assert (response.status_code, response.get_data(as_text=True)) == (
        400,
        "animate must be true or false\n",
    )


def test_an_animation_that_needs_too_much_memory_is_refused(client: FlaskClient) -> None:
    frames = [Image.new("P", (3000, 2500), number) for number in range(2)]
    file = BytesIO()
    frames[0].save(file, "GIF", save_all=True, append_images=frames[1:], duration=100)
    response = client.post("/?animate=true", data=file.getvalue())

    assert response.status_code == 400
    assert response.get_data(as_text=True).startswith(
        "drawing the frames of this animation, of 3000x2500 pixels each,"
    )


class TestStreams:
    """Bounds of the animations streamed by one process."""

    def rendered(self) -> Rendered:
        texts = (("a", 11), ("b", 11))
        encoded = encode(animation(*texts, plays=1))
        return Rendered(Rendering("stream", "txt", is_light=False).of(encoded))

    def test_too_many_are_refused_until_one_has_ended(self) -> None:
        kept, rendered = Streams(), self.rendered()
        begun = [kept.begin(rendered) for _ in range(320)]

        with pytest.raises(OverloadedError):
            kept.begin(rendered)
        begun[0].close()
        begun[0].close()  # only once counts
        kept.begin(rendered)
        with pytest.raises(OverloadedError):
            kept.begin(rendered)

    def test_a_client_that_reads_too_slowly_is_cut_off(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(streams, "_ANSWER_SECONDS", 0.05)
        stream = Streams().begin(self.rendered())

        parts = iter(stream)
        next(parts)
        time.sleep(0.1)
        with pytest.raises(TimeoutError):
            next(parts)


@pytest.fixture
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("store"), ASCIIST_WORKERS="1")
    yield server
    server.stop()


@pytest.mark.slow
def test_frames_are_sent_at_their_times_and_others_are_served_meanwhile(server: Server) -> None:
    image = blinking(2500, frames=4, loop=1)
    head = (
        "PUT /?width=20&style=ramp&animate=true HTTP/1.1\r\nHost: x\r\nContent-Length:"
        f" {len(image)}\r\n\r\n".encode()
    )
    server.request("PUT", "/?width=20&style=ramp&animate=true", image, Accept="application/json")
    with server.connect() as connection, server.connect() as leaving:
        leaving.sendall(head + image)
        leaving.recv(100)
        leaving.close()  # in the middle, which nobody else may notice
        began = time.monotonic()
        connection.sendall(head + image)
        received = connection.recv(65_536)
        first = time.monotonic() - began
        assert server.request("GET", "/healthz")[0] == 200
        others = time.monotonic() - began
        length = int(re.search(rb"Content-Length: (\d+)", received)[1])  # type: ignore[index]
        while len(received.partition(b"\r\n\r\n")[2]) < length:
            received += connection.recv(65_536)
        last = time.monotonic() - began
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")  # the connection goes on
        assert connection.recv(1000).startswith(b"HTTP/1.1 200")

    assert first <= others < 7.5 <= last  # seconds, when the last of the four frames is due
    assert server.tracebacks == []
