"""A link or a file reveals nothing beyond itself."""

import base64
import hashlib
import json
import logging
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from flask.testing import FlaskClient
from PIL import Image

from asciist.protocol.artifacts import link_key
from asciist.protocol.links import CAPABILITY_PATTERN, CODE_PATTERN, NAME_PATTERN
from asciist.settings import Settings
from asciist.telemetry import logs
from asciist.wiring import WebProcess, build_web_process
from service import create_app
from tests.links import image_path
from tools.testing.hostile import encoded


def test_a_thief_with_a_link_gets_its_art_and_nothing_else(client: FlaskClient, cat: bytes) -> None:
    """The thief has the link to 20 columns, and knows everything about the service but the
    digest."""
    uploaded = client.put("/?width=20", data=cat)
    client.put("/?width=1000&style=ramp", data=cat)
    link = uploaded.headers["Content-Location"]
    name = link.split("/")[1]

    stolen = client.get(link)
    assert stolen.data == uploaded.data
    assert "Link" not in stolen.headers
    page = client.get(link, headers={"Accept": "text/html"})
    assert not re.search(CAPABILITY_PATTERN, page.text)
    for path in (
        f"/{name}/width/21",
        f"/{name}/width/1000",
        f"/{name}/style/ramp/width/1000",
        f"/{name}/style/structure.ansi/width/20",
        f"/{name}/image",
        f"/image/{name}",
        f"/image/{name}AAAAAAAA",
        f"/image/AAAAAAAA{name}",
    ):
        for method in ("GET", "POST", "DELETE"):
            answer = client.open(path, method=method)
            assert answer.status_code in (404, 405), (method, path)
            assert "Link" not in answer.headers
    digest = hashlib.sha256(cat)
    ciphertext = base64.urlsafe_b64decode(name)
    assert digest.digest() not in ciphertext
    assert digest.hexdigest() not in page.text
    assert client.get(link).data == uploaded.data  # it was not deleted


def test_a_prober_with_a_file_cannot_ask_for_its_art_by_an_address(
    client: FlaskClient, cat: bytes
) -> None:
    """The prober has the file, and wants to know whether somebody else has uploaded it."""
    digest = hashlib.sha256(cat).hexdigest()
    padded = base64.urlsafe_b64encode(bytes.fromhex(digest) + bytes(16)).decode()
    paths = [
        f"/{name}{variant}/width/80"
        for name in (digest, padded)
        for variant in ("", "/style/ramp", "/style/structure")
    ]

    def probe() -> list[tuple[int, bytes, list[tuple[str, str]]]]:
        answers = [client.get(path) for path in paths] + [client.post(f"/{digest}/image?width=80")]
        return [
            (
                answer.status_code,
                answer.data,
                [pair for pair in answer.headers if pair[0] != "X-Request-Id"],
            )
            for answer in answers
        ]

    before = probe()
    assert client.put("/?width=80", data=cat).status_code == 200
    assert client.put("/?width=80&style=ramp", data=cat).status_code == 200
    assert probe() == before
    assert {status for status, _, _ in before} == {404, 405}


def test_a_short_link_shows_the_art_of_the_long_one_in_every_form(
    client: FlaskClient, cat: bytes
) -> None:
    uploaded = client.put("/?width=20&style=ramp", data=cat)
    link = uploaded.headers["Content-Location"]
    made = client.post(link)
    short = made.headers["Location"]

    assert (made.status_code, made.text) == (201, f"http://localhost{short}\n")
    assert made.headers["Cache-Control"] == "no-store"
    assert re.fullmatch(f"/{CODE_PATTERN}", short)
    assert client.post(link).headers["Location"] == short
    assert client.post(link, headers={"Accept": "application/json"}).get_json() == {
        "url": f"http://localhost{short}"
    }
    assert client.post(link, headers={"Accept": "text/html"}).status_code == 303
    for accept in ("text/plain", "application/json", "image/png"):
        long_answer, short_answer = (
            client.get(path, headers={"Accept": accept}) for path in (link, short)
        )
        assert short_answer.headers["Content-Location"] == short
        assert short_answer.headers["Vary"] == long_answer.headers["Vary"]
        assert short_answer.data == long_answer.data.replace(link.encode(), short.encode())
    assert client.get(f"{short}.svg").data == client.get(f"{link}.svg").data
    assert client.get(f"{short}.svg?width=9").status_code == 400
    assert client.get(f"{short}?utm_source=mail").data == uploaded.data


@pytest.mark.parametrize(
    "spell",
    [
        str.upper,
        lambda code: code.replace("-", ""),
        lambda code: code.replace("0", "O").replace("1", "l"),
    ],
)
def test_a_short_link_may_be_written_as_it_was_heard(
    client: FlaskClient, cat: bytes, spell: Callable[[str], str]
) -> None:
    for width in range(20, 30):
        short = client.post(
            client.put(f"/?width={width}", data=cat).headers["Content-Location"]
        ).headers["Location"]
        if spell(short) != short:
            break
    for suffix in ("", ".txt"):
        written = client.get(f"{spell(short)}{suffix}")
        assert (written.status_code, written.headers["Location"]) == (301, f"{short}{suffix}")


def test_an_unknown_code_and_one_of_deleted_art_look_the_same(
    client: FlaskClient, cat: bytes
) -> None:
    uploaded = client.put("/?width=20", data=cat)
    short = client.post(uploaded.headers["Content-Location"]).headers["Location"]
    assert client.get(short).data == uploaded.data
    client.delete(image_path(uploaded.headers))

    gone, unknown = client.get(short), client.get("/0123-4567-89ab")
    assert (
        (gone.status_code, gone.data) == (unknown.status_code, unknown.data) == (404, unknown.data)
    )
    assert client.post(uploaded.headers["Content-Location"]).status_code == 404
    for path in ("/0123-4567-89abc", "/0123-4567-89au", "/0123_4567_89ab", "/0123-4567"):
        assert client.get(path).status_code == 404


def test_the_store_tells_neither_the_code_nor_the_image_of_a_short_link(
    client: FlaskClient, embedded: WebProcess, cat: bytes
) -> None:
    uploaded = client.put("/?width=20", data=cat)
    code = client.post(uploaded.headers["Content-Location"]).headers["Location"].removeprefix("/")

    stored = b"".join(
        path.read_bytes() for path in embedded.settings.data_dir.rglob("*") if path.is_file()
    )
    assert link_key(code).encode() in stored
    assert code.encode() not in stored
    # in which the digest is encrypted
    assert uploaded.headers["Content-Location"].encode() in stored


def test_equal_art_has_one_link_in_every_form_of_request(client: FlaskClient, cat: bytes) -> None:
    image = base64.b64encode(cat).decode()
    answers = [
        client.put("/?width=80", data=cat),
        client.post("/", json={"width": 80, "image": image}),
        client.put("/?width=80&style=structure", data=cat),
    ]

    assert len({answer.headers["Content-Location"] for answer in answers}) == 1
    assert re.fullmatch(f"/{NAME_PATTERN}/width/80", answers[0].headers["Content-Location"])


def test_a_shared_link_outlives_uploads_that_fill_the_store_many_times(
    tmp_path: Path, cat: bytes
) -> None:
    settings = Settings(metrics="none", data_dir=tmp_path / "store", store_max_bytes=16_000_000)
    web = build_web_process(settings)
    client = create_app(
        settings=settings,
        requester=web.requester,
        metrics=web.metrics,
        links=web.links,
        is_ready=web.is_ready,
    ).test_client()
    shared, other = (client.put(f"/?width={width}", data=cat) for width in (30, 31))
    link = client.post(shared.headers["Content-Location"]).headers["Location"]
    for number in range(40):
        stranger = encoded(Image.new("RGB", (700, 700), (number, 0, 0)), "BMP")  # 1.5 MB
        assert client.put("/?width=1", data=stranger).status_code == 200

    assert client.get(other.headers["Content-Location"]).status_code == 404
    answer = client.get(f"{link}.txt")
    assert (answer.status_code, answer.data) == (200, shared.data)
    web.close()


def test_logs_contain_neither_the_digest_nor_a_link(
    client: FlaskClient, cat: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.handler.setFormatter(logs.formatter())
    with caplog.at_level(logging.INFO):
        uploaded = client.put("/?width=20", data=cat)
        image = image_path(uploaded.headers)
        client.get(uploaded.headers["Content-Location"])
        client.get(uploaded.headers["Content-Location"])
        client.post(f"{image}?width=21")
        client.delete(image)
        client.post(f"{image}?width=21")

    assert hashlib.sha256(cat).hexdigest() not in caplog.text
    assert image.rpartition("/")[2] not in caplog.text
    assert uploaded.headers["Content-Location"].split("/")[1] not in caplog.text
    requests = [
        json.loads(line) for line in caplog.text.splitlines() if '"message": "request"' in line
    ]
    assert len(requests) == 6
    assert len({request["image"] for request in requests}) == 1
