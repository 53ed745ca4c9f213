"""Programs of other sites in a browser: CORS headers, and Chromium itself."""

import threading
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from flask.testing import FlaskClient
from playwright.sync_api import Browser
from werkzeug.serving import make_server
from werkzeug.test import TestResponse
from werkzeug.wrappers import Response

from asciist.conversion import ConversionOptions
from asciist.limits import Limits
from asciist.settings import Settings
from asciist.wiring import WebProcess
from service import create_app
from tests.links import image_path
from tools.testing.drawing import convert

SITE = "https://art.example.org"
ORIGIN = {"Origin": SITE}


def client_with(origins: str, embedded: WebProcess) -> FlaskClient:
    """Return a client of a service with the setting `cors_origins`."""
    settings = Settings(data_dir=embedded.settings.data_dir, metrics="none", cors_origins=origins)
    app = create_app(
        settings=settings,
        requester=embedded.requester,
        metrics=embedded.metrics,
        links=embedded.links,
        is_ready=embedded.is_ready,
    )
    return app.test_client()


def cors_headers(response: TestResponse) -> dict[str, str]:
    return {
        name: value
        for name, value in response.headers.items()
        if name.startswith("Access-Control-")
    }


def preflight(
    client: FlaskClient, method: str, path: str, *, headers: str = "", origin: str = SITE
) -> TestResponse:
    asked = {"Origin": origin, "Access-Control-Request-Method": method}
    return client.options(
        path, headers=asked | ({"Access-Control-Request-Headers": headers} if headers else {})
    )


def test_every_site_may_read_art_and_the_headers_that_describe_it(
    client: FlaskClient, cat: bytes
) -> None:
    converted = client.post("/?width=30", data=cat, headers=ORIGIN)
    url = converted.headers["Content-Location"]

    for response in (
        converted,
        client.get(url, headers=ORIGIN),
        client.get(url),  # a browser may keep it and give it to a program later
        client.head(url, headers=ORIGIN),
        client.get(url, headers=ORIGIN | {"If-None-Match": "*"}),
        client.put("/cat.jpg?width=30", data=cat, headers=ORIGIN),
        client.post(image_path(converted.headers), headers=ORIGIN),
        client.get("/openapi.json", headers=ORIGIN),
        client.get("/", headers=ORIGIN),
    ):
        assert response.status_code in (200, 304)
        assert response.headers["Access-Control-Allow-Origin"] == "*"
        exposed = response.headers["Access-Control-Expose-Headers"].split(", ")
        assert set(exposed) == {
            "Asciist-Invert",
            "Content-Location",
            "Cache-Status",
            "ETag",
            "Link",
            "Retry-After",
            "X-Request-Id",
        }
        assert "Access-Control-Allow-Credentials" not in response.headers
        assert "origin" not in response.vary


def test_every_site_may_read_errors(client: FlaskClient, cat: bytes, embedded: WebProcess) -> None:
    responses = [
        client.post("/", json={}, headers=ORIGIN),
        client.get("/nowhere", headers=ORIGIN),
        client.delete("/", headers=ORIGIN),
        client.post("/", data=cat, headers=ORIGIN | {"Content-Encoding": "gzip"}),
    ]
    with ExitStack() as held:
        for _ in range(embedded.settings.max_requests_in_flight):
            held.enter_context(client.application.extensions["asciist.admission"].admit())
        responses.append(client.post("/", data=cat, headers=ORIGIN))

    assert [response.status_code for response in responses] == [400, 404, 405, 415, 503]
    for response in responses:
        assert response.headers["Access-Control-Allow-Origin"] == "*"
    assert "Retry-After" in responses[-1].headers["Access-Control-Expose-Headers"]


@pytest.mark.parametrize(
    ("method", "path", "methods"),
    [
        ("POST", "/", "GET, HEAD, OPTIONS, POST, PUT"),
        ("PUT", "/cat.jpg", "OPTIONS, PUT"),
        ("POST", f"/image/{'A' * 72}", "DELETE, OPTIONS, POST, PUT"),
        ("GET", f"/{'0' * 64}/width/80", "GET, HEAD, OPTIONS, POST, PUT"),
    ],
)
def test_a_preflight_request_permits_the_methods_of_the_path_and_any_header(
    client: FlaskClient, method: str, path: str, methods: str
) -> None:
    headers = "content-type,traceparent,x-datadog-trace-id,x-request-id"
    response = preflight(client, method, path, headers=headers)

    assert (response.status_code, response.data) == (204, b"")
    assert cors_headers(response) == {
        "Access-Control-Allow-Origin": "*",
        "Access-Control-Allow-Methods": methods,
        "Access-Control-Allow-Headers": headers,
        "Access-Control-Expose-Headers": (
            "Asciist-Invert, Cache-Status, Content-Location, ETag, Link, Retry-After, X-Request-Id"
        ),
        "Access-Control-Max-Age": "86400",
    }
    assert "Access-Control-Allow-Headers" not in preflight(client, method, path).headers


def test_a_list_of_origins_permits_these_and_no_other(embedded: WebProcess, cat: bytes) -> None:
    client = client_with(f"{SITE}, http://localhost:3000", embedded)
    url = client.post("/?width=30", data=cat).headers["Content-Location"]

    for origin in (SITE, "http://localhost:3000"):
        for response in (
            client.get(url, headers={"Origin": origin}),
            preflight(client, "PUT", "/x", origin=origin),
        ):
            assert response.headers["Access-Control-Allow-Origin"] == origin
            assert "origin" in response.vary
    for origin in (
        "https://example.org",
        "https://art.example.org.evil.example",
        "http://localhost",
        "null",
        "",
    ):
        for response in (
            client.get(url, headers={"Origin": origin}),
            preflight(client, "PUT", "/x", origin=origin),
        ):
            assert response.status_code in (200, 204)
            assert cors_headers(response) == {}
            assert "origin" in response.vary


def test_without_origins_no_site_is_permitted(embedded: WebProcess) -> None:
    client = client_with("none", embedded)

    for response in (client.get("/", headers=ORIGIN), preflight(client, "PUT", "/x")):
        assert cors_headers(response) == {}
        assert "origin" not in response.vary


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/docs", "/static/page.css"])
def test_health_checks_and_the_files_of_the_page_are_not_shared(
    client: FlaskClient, path: str
) -> None:
    with client.get(path, headers=ORIGIN) as response:
        assert cors_headers(response) == {}


@pytest.fixture
def other_site() -> Iterator[str]:
    """The URL of an empty page on another origin."""
    server = make_server(
        "127.0.0.1",
        0,
        Response("<title>Another site</title>", content_type="text/html"),
        threaded=True,
    )
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield f"http://127.0.0.1:{server.port}"
    server.shutdown()
    thread.join()
    server.server_close()


PROGRAM = """async ([service, bytes]) => {
    const image = new Uint8Array(bytes);
    const headers = {"Content-Type": "image/jpeg", "X-Request-Id": "program-1", "Accept": "application/json"};
    const converted = await fetch(service + "/cat.jpg?width=80", {method: "PUT", body: image, headers});
    const url = converted.headers.get("Content-Location");
    const stored = await fetch(service + url);
    const refused = await fetch(service + "/?width=0", {method: "POST", body: image});
    return {
        id: converted.headers.get("X-Request-Id"),
        art: (await converted.json()).art + "\\n",
        url,
        status: stored.headers.get("Cache-Status"),
        stored: await stored.text(),
        refused: [refused.status, await refused.text()],
    };
}"""
"""A program that converts an image, reads the art again from its URL, and makes a mistake."""


@pytest.mark.slow
def test_a_program_of_another_site_converts_an_image_and_reads_its_url(
    url: str, other_site: str, chromium: Browser, cat: bytes
) -> None:
    with chromium.new_context() as context:
        page = context.new_page()
        page.goto(other_site)
        result = page.evaluate(PROGRAM, [url, list(cat)])

    art = convert(cat, ConversionOptions(width=80), Limits()) + "\n"
    assert result["art"] == result["stored"] == art
    assert (result["id"], result["status"]) == ("program-1", "asciist; hit")
    assert result["url"].endswith("/width/80")
    assert result["refused"] == [400, "width must be a whole number from 1 to 1000\n"]
