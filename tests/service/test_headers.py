"""Headers that protect browsers and caches, on every response."""

import re

from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from tests.links import image_path

PAGE = {"Accept": "text/html"}


def responses(client: FlaskClient, cat: bytes) -> dict[str, TestResponse]:
    """Return a response of each kind, by name."""
    art = client.post("/?width=30", data=cat)
    url = art.headers["Content-Location"]
    return {
        "art": art,
        "stored art": client.get(url),
        "stored art from memory": client.get(url),
        "unchanged art": client.get(url, headers={"If-None-Match": "*"}),
        "art in JSON": client.get(url, headers={"Accept": "application/json"}),
        "art on a page": client.get(url, headers=PAGE),
        "art as a document": client.post("/?width=30&color=html", data=cat),
        "picture": client.get(f"{url}.png"),
        "drawing": client.get(f"{url}.svg"),
        "file": client.get(f"{url}.html"),
        "front page": client.get("/", headers=PAGE),
        "usage text": client.get("/"),
        "OpenAPI document": client.get("/openapi.json"),
        "API documentation": client.get("/docs"),
        "script": client.get("/static/page.js"),
        "icon": client.get("/static/icon.svg"),
        "health check": client.get("/healthz"),
        "readiness check": client.get("/readyz"),
        "options": client.options("/"),
        "error": client.post("/", data=b"<script>"),
        "error in JSON": client.post("/", json={}),
        "error on a page": client.post("/", data=b"x", headers=PAGE),
        "unknown URL": client.get("/nowhere"),
        "wrong method": client.delete("/"),
        "deletion": client.delete(
            image_path(client.post("/?width=30", data=cat + b"more").headers)
        ),
    }


def policy(response: TestResponse) -> list[str]:
    return response.headers["Content-Security-Policy"].split("; ")


def test_every_response_protects_browsers(client: FlaskClient, cat: bytes) -> None:
    for name, response in responses(client, cat).items():
        headers = response.headers
        assert headers["X-Content-Type-Options"] == "nosniff", name
        assert headers["Referrer-Policy"] == "same-origin", name  # a URL of art grants access to it
        assert headers["Cross-Origin-Resource-Policy"] == "same-origin", name
        assert {"default-src 'none'", "base-uri 'none'", "frame-ancestors 'none'"} <= set(
            policy(response)
        ), name
        assert len(headers) == len({header.lower() for header, _ in headers}), name
        response.close()


def test_only_pages_load_scripts_and_only_their_own(client: FlaskClient, cat: bytes) -> None:
    pages = {"front page", "art on a page", "error on a page", "API documentation"}
    for name, response in responses(client, cat).items():
        scripts = [
            directive for directive in policy(response) if directive.startswith("script-src")
        ]
        assert scripts == (["script-src 'self'"] if name in pages else []), name
        response.close()


def test_art_that_is_a_document_is_in_a_sandbox(client: FlaskClient, cat: bytes) -> None:
    converted = client.post("/?width=30&color=html", data=cat)

    for response in (converted, client.get(converted.headers["Content-Location"])):
        assert "sandbox" in policy(response)


def test_shared_caches_keep_nothing_that_contains_the_host_name_of_its_request(
    client: FlaskClient, cat: bytes
) -> None:
    """Otherwise a request with a false host name could put it on the page that a cache gives to
    others."""
    url = client.post("/?width=30", data=cat).headers["Content-Location"]
    seen = set()
    kept_by_itself = client.get(url, headers={"Accept": "application/json"}).headers[
        "Cache-Control"
    ]
    # in a browser: the host name is that of its own request
    assert kept_by_itself == "private, max-age=86400"
    for path in ("/", url, "/openapi.json", "/docs", "/nowhere", "/healthz", "/static/page.js"):
        for accept in ("text/html", "text/plain", "application/json"):
            with client.get(path, headers={"Accept": accept, "Host": "evil.example"}) as response:
                if b"evil.example" in response.data:
                    seen.add(path)
                    directives = re.split(", *", response.headers["Cache-Control"])
                    assert {"private", "no-store"} & set(directives)
    assert seen == {"/", url, "/openapi.json", "/docs"}


def test_art_as_text_is_the_same_for_every_host_and_kept_by_shared_caches(
    client: FlaskClient, cat: bytes
) -> None:
    url = client.post("/?width=30", data=cat).headers["Content-Location"]
    one, other = (client.get(url, headers={"Host": host}) for host in ("a.example", "b.example"))

    assert one.data == other.data
    assert one.headers["Cache-Control"] == "public, max-age=86400"
    assert one.headers["ETag"] == other.headers["ETag"]
