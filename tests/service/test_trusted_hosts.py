"""Requests with host names that do not belong to the service."""

import pytest
from flask.testing import FlaskClient

from asciist.errors import sentences
from asciist.settings import Settings
from asciist.wiring import WebProcess
from service import create_app

TRUSTED = [
    "art.example.org",
    "art.example.org:8080",
    "ART.example.org",
    "example.com",
    "a.b.example.com",
    "192.0.2.1:27244",
]
OTHERS = [
    "evil.example",
    "example.org",
    "xart.example.org",
    "art.example.org.evil.example",
    "art.example.org@evil.example",
    "evilexample.com",
    "art.example.org:80:80",
    "art.example.org ",
    "10.0.0.1",
    "[::1]",
    "",
    "a b",
]


@pytest.fixture
def client(embedded: WebProcess) -> FlaskClient:
    settings = Settings(metrics="none", trusted_hosts="art.example.org, .example.com,192.0.2.1")
    app = create_app(
        settings=settings,
        requester=embedded.requester,
        metrics=embedded.metrics,
        links=embedded.links,
        is_ready=embedded.is_ready,
    )
    return app.test_client()


@pytest.mark.parametrize("host", TRUSTED)
def test_a_request_for_a_trusted_host_is_served(client: FlaskClient, cat: bytes, host: str) -> None:
    headers = {"Host": host}
    converted = client.post("/?width=20", data=cat, headers=headers)

    assert converted.status_code == 200
    assert client.get(converted.headers["Content-Location"], headers=headers).data == converted.data
    assert f"http://{host.lower()}\n" in client.get("/", headers=headers).text.lower()


@pytest.mark.parametrize("host", OTHERS)
def test_a_request_for_any_other_host_gets_400_without_its_name(
    client: FlaskClient, cat: bytes, host: str
) -> None:
    url = client.post("/?width=20", data=cat, headers={"Host": TRUSTED[0]}).headers[
        "Content-Location"
    ]
    client.get(url, headers={"Host": TRUSTED[0]})  # which is kept in memory
    headers = {"Host": host}
    responses = [
        client.post("/?width=20", data=cat, headers=headers),
        client.put("/healthz", data=cat, headers=headers | {"X-Forwarded-Host": TRUSTED[0]}),
        client.options("/", headers=headers),
        *[
            client.get(path, headers=headers)
            for path in (url, "/", "/docs", "/openapi.json", "/static/page.js", "/nowhere")
        ],
        client.get("/", headers=headers | {"Accept": "text/html"}),
    ]
    for response in responses:
        assert response.status_code == 400
        assert sentences.UNTRUSTED_HOST.casefold() in response.text.casefold()
        assert "evil" not in response.text
        assert response.headers["Cache-Control"] == "no-store"
    assert responses[-1].mimetype == "text/html"
    assert client.post("/", json={}, headers=headers).get_json() == {
        "error": sentences.UNTRUSTED_HOST
    }


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
def test_a_load_balancer_may_check_the_health_of_an_ip_address(
    client: FlaskClient, path: str
) -> None:
    assert client.get(path, headers={"Host": "10.0.0.1:27244"}).status_code == 200


def test_any_host_is_trusted_by_default(embedded: WebProcess) -> None:
    app = create_app(
        settings=embedded.settings,
        requester=embedded.requester,
        metrics=embedded.metrics,
        links=embedded.links,
        is_ready=embedded.is_ready,
    )

    assert app.test_client().get("/", headers={"Host": "anything.example"}).status_code == 200


def test_shared_caches_keep_art_in_json_that_contains_a_trusted_host(
    client: FlaskClient, cat: bytes
) -> None:
    headers = {"Host": "art.example.org", "Accept": "application/json"}
    url = client.post("/?width=20", data=cat, headers=headers).headers["Content-Location"]
    stored = client.get(url, headers=headers)

    assert stored.get_json()["url"] == f"http://art.example.org{url}"
    assert stored.headers["Cache-Control"] == "public, max-age=86400"
