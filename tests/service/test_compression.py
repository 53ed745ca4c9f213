"""Compressed responses: their recipients, their headers, and conditional requests."""

import re
import sys
import zlib
from typing import Any

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from asciist.conversion import ConversionOptions
from asciist.limits import Limits
from tests.links import image_path
from tools.testing.drawing import convert

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

ENCODINGS = ("gzip", "zstd")


def decoded(response: TestResponse) -> bytes:
    """Return the decompressed body, after checking its headers."""
    body = response.get_data()
    assert int(response.headers["Content-Length"]) == len(body)
    match response.headers.get("Content-Encoding"):
        case "gzip":
            return zlib.decompress(body, wbits=16 + zlib.MAX_WBITS)
        case "zstd":
            return zstd.decompress(body)
        case encoding:
            assert encoding is None
            return body


def art(image: bytes, **options: Any) -> bytes:
    return convert(image, ConversionOptions(**options), Limits()).encode() + b"\n"


@pytest.fixture
def url(client: FlaskClient, cat: bytes) -> str:
    """The URL of stored art."""
    return client.post("/?width=80", data=cat).headers["Content-Location"]


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_art_is_compressed_in_every_form_and_for_every_call(
    client: FlaskClient, cat: bytes, url: str, encoding: str
) -> None:
    for accept in ("text/plain", "application/json", "text/html"):
        plain = client.get(url, headers={"Accept": accept})
        image = image_path(client.post("/?width=80", data=cat).headers)
        for response in (
            client.get(url, headers={"Accept": accept, "Accept-Encoding": encoding}),
            client.post(
                "/?width=80", data=cat, headers={"Accept": accept, "Accept-Encoding": encoding}
            ),
            client.put(
                "/cat.jpg?width=80",
                data=cat,
                headers={"Accept": accept, "Accept-Encoding": encoding},
            ),
            client.post(
                f"{image}?width=80", headers={"Accept": accept, "Accept-Encoding": encoding}
            ),
        ):
            assert response.headers["Content-Encoding"] == encoding
            # that of the uploader
            assert re.sub(rb' data-image="[^"]+"', b"", decoded(response)) == plain.data
            assert len(response.data) < 0.7 * len(plain.data)
            assert response.mimetype == accept


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize(
    "options", [{"width": 1000, "style": "ramp"}, {"width": 280, "color": "html", "invert": True}]
)
def test_large_art_is_compressed_in_pieces_and_arrives_whole(
    client: FlaskClient, cat: bytes, encoding: str, options: dict[str, Any]
) -> None:
    response = client.post(
        "/", query_string=options, data=cat, headers={"Accept-Encoding": encoding}
    )

    assert decoded(response) == art(cat, **options)
    assert len(decoded(response)) > 300_000


@pytest.mark.parametrize(
    ("accept_encoding", "encoding"),
    [
        ("", None),
        ("identity", None),
        ("br", None),
        ("deflate", None),
        ("nonsense;;q=x", None),
        ("gzip;q=0", None),
        ("gzip;q=0, zstd;q=0, *", None),
        ("*;q=0", None),
        ("identity;q=1, gzip;q=0.5", None),
        ("gzip", "gzip"),
        ("GZIP", "gzip"),
        ("gzip, deflate", "gzip"),
        ("gzip, deflate, br", "gzip"),
        ("gzip, deflate, br, zstd", "zstd"),
        ("gzip;q=1.0, zstd;q=0.1", "gzip"),
        ("zstd;q=0, gzip;q=0.1", "gzip"),
        ("*", "zstd"),
    ],
)
def test_accept_encoding_decides_the_coding(
    client: FlaskClient, url: str, accept_encoding: str, encoding: str | None
) -> None:
    response = client.get(url, headers={"Accept-Encoding": accept_encoding})

    assert response.headers.get("Content-Encoding") == encoding
    assert set(response.vary.as_set()) == {"accept", "user-agent", "accept-encoding"}
    assert decoded(response) == client.get(url).data


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_each_coding_has_a_strong_etag_of_its_own_that_gets_a_304(
    client: FlaskClient, url: str, encoding: str
) -> None:
    headers = {"Accept-Encoding": encoding}
    plain, compressed = client.get(url), client.get(url, headers=headers)
    etag, is_weak = compressed.get_etag()
    assert not is_weak
    assert etag == f"{plain.get_etag()[0]}-{encoding}"

    for method in ("GET", "HEAD"):
        current = client.open(
            url, method=method, headers=headers | {"If-None-Match": compressed.headers["ETag"]}
        )
        assert (current.status_code, current.data) == (304, b"")
        assert not {"Content-Encoding", "Content-Length", "Content-Type"} & set(
            current.headers.keys()
        )
        assert current.headers["ETag"] == compressed.headers["ETag"]
        for name in ("Cache-Control", "Content-Location", "Vary"):
            assert current.headers[name] == compressed.headers[name]
    assert client.get(url, headers={"If-None-Match": plain.headers["ETag"]}).status_code == 304
    assert client.get(url, headers={"If-None-Match": compressed.headers["ETag"]}).status_code == 200
    assert (
        client.get(url, headers=headers | {"If-None-Match": plain.headers["ETag"]}).status_code
        == 200
    )
    assert client.get(url, headers=headers | {"If-None-Match": "*"}).status_code == 304


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("name", ["page.css", "page.js", "text.js", "coffee-100.txt"])
def test_static_text_files_are_compressed_and_revalidated(
    client: FlaskClient, name: str, encoding: str
) -> None:
    path, headers = f"/static/{name}", {"Accept-Encoding": encoding}
    with (
        client.get(path) as plain,
        client.get(path, headers=headers) as first,
        client.get(path, headers=headers) as second,
    ):
        assert plain.headers["Vary"] == first.headers["Vary"] == "Accept-Encoding"
        assert first.headers["Content-Encoding"] == encoding
        assert len(first.data) < 0.7 * len(plain.data)
        assert first.data == second.data
        assert decoded(first) == decoded(plain)
        assert first.headers["Cache-Control"] == plain.headers["Cache-Control"]
        etag = first.headers["ETag"]
        assert etag != plain.headers["ETag"]
        assert "Accept-Ranges" not in first.headers
    with client.get(path, headers=headers | {"If-Range": etag, "Range": "bytes=100-"}) as whole:
        assert (whole.status_code, whole.data) == (200, first.data)
    with client.get(path, headers=headers | {"If-None-Match": etag}) as current:
        assert (current.status_code, current.data, current.headers["Vary"]) == (
            304,
            b"",
            "Accept-Encoding",
        )


def test_images_fonts_ranges_and_small_answers_are_not_compressed(
    client: FlaskClient, cat: bytes
) -> None:
    headers = {"Accept-Encoding": "gzip, zstd"}
    for name in ("coffee.webp", "mono.woff2", "heart.png", "icon.svg"):
        with client.get(f"/static/{name}", headers=headers) as file:
            assert "Content-Encoding" not in file.headers
    with client.get("/static/page.css", headers=headers | {"Range": "bytes=0-1999"}) as part:
        assert (part.status_code, len(part.data)) == (206, 2000)
        assert "Content-Encoding" not in part.headers
    for response in (
        client.get("/healthz", headers=headers),
        client.get("/nowhere", headers=headers),
        client.post("/", json={}, headers=headers),
        client.post("/?width=8", data=cat, headers=headers),
        client.options("/", headers=headers),
    ):
        assert "Content-Encoding" not in response.headers


def test_pages_and_the_openapi_document_are_compressed(client: FlaskClient) -> None:
    for path, accept in (("/", "text/html"), ("/docs", "*/*"), ("/openapi.json", "*/*")):
        plain = client.get(path, headers={"Accept": accept})
        compressed = client.get(path, headers={"Accept": accept, "Accept-Encoding": "gzip"})
        assert compressed.headers["Content-Encoding"] == "gzip"
        assert decoded(compressed) == plain.data
        assert "accept-encoding" in plain.vary
        assert plain.headers["Vary"] == compressed.headers["Vary"]
