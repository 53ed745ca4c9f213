"""A service whose artifacts are being moved, over HTTP: reading through to the peer store, and the
read-only mode."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from flask.testing import FlaskClient

from asciist.adapters.object_store import ObjectStore
from asciist.conversion import ConversionOptions
from asciist.errors import sentences
from asciist.limits import Limits
from asciist.protocol.artifacts import StoredArt, art_key, digest_of, image_key
from asciist.protocol.links import Links
from asciist.settings import Settings
from asciist.wiring import build_web_process
from service import create_app
from tests.links import image_path
from tests.waiting import wait_until
from tools.testing.drawing import convert

KEYS = "k" * 32
OPTIONS = ConversionOptions(width=20)


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., FlaskClient]]:
    """Start a service with the given settings, and return a client of it. All services share the
    link keys."""
    processes = []

    def start(name: str, **settings: str) -> FlaskClient:
        process = build_web_process(
            # All are texts.
            Settings(
                data_dir=tmp_path / name,
                metrics="none",
                link_keys=KEYS,
                request_timeout=4,
                **settings,
            )  # type: ignore[arg-type]
        )
        processes.append(process)
        app = create_app(
            settings=process.settings,
            requester=process.requester,
            metrics=process.metrics,
            links=process.links,
            is_ready=process.is_ready,
            is_healthy=process.is_healthy,
        )
        return app.test_client()

    yield start
    for process in processes:
        process.close()


def fill(peer: str, image: bytes) -> None:
    """Store an image and its art at 20 columns in the store at a URL, like the other deployment."""
    store = ObjectStore.at(peer)
    store.put(image_key(digest_of(image)), image)
    store.put(
        art_key(digest_of(image), OPTIONS), StoredArt(convert(image, OPTIONS, Limits())).to_json()
    )


def test_links_of_the_other_deployment_work_until_their_image_is_deleted(
    serve: Callable[..., FlaskClient], tmp_path: Path, cat: bytes
) -> None:
    peer, links = f"file://{tmp_path}/peer", Links([KEYS], valid_seconds=60)
    link, path = links.art_path(digest_of(cat), OPTIONS), links.image_path(digest_of(cat))
    fill(peer, cat)
    assert serve("without-peer").get(link).status_code == 404
    client = serve("with-peer", peer_store=peer)

    assert client.get(link).text == convert(cat, OPTIONS, Limits()) + "\n"
    assert client.post(f"{path}?width=30").status_code == 200
    assert client.delete(path).status_code == 204
    assert client.get(link).status_code == 404
    assert client.post(f"{path}?width=30").status_code == 404
    assert list(ObjectStore.at(peer).last_modified("")) == []


def test_a_peer_store_out_of_reach_gives_503_and_uploads_are_served(
    serve: Callable[..., FlaskClient], monkeypatch: pytest.MonkeyPatch, cat: bytes
) -> None:
    for name, value in {
        "ENDPOINT_URL": "http://127.0.0.1:9",
        "REGION": "x",
        "ACCESS_KEY_ID": "x",
        "SECRET_ACCESS_KEY": "x",
    }.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    monkeypatch.setenv("AWS_ALLOW_HTTP", "true")
    client = serve("here", peer_store="s3://bucket")

    missed = client.get(Links([KEYS], valid_seconds=60).art_path(digest_of(cat), OPTIONS))

    assert (missed.status_code, missed.text) == (503, "the service is temporarily unavailable\n")
    assert missed.headers["Retry-After"]
    assert client.put("/?width=20", data=cat).status_code == 200


@pytest.mark.slow
def test_read_only_mode_is_switched_on_a_running_service_and_leaves_it_healthy(
    serve: Callable[..., FlaskClient], tmp_path: Path, cat: bytes
) -> None:
    marker = tmp_path / "marker" / "read-only"
    client = serve("here", read_only=f"file://{marker}")
    uploaded = client.put("/?width=20", data=cat)
    width = iter(range(100, 1000))
    marker.touch()
    wait_until(lambda: client.put(f"/?width={next(width)}", data=cat).status_code == 503)

    refused = client.put("/?width=21", data=cat)
    assert refused.text == f"{sentences.READ_ONLY}\n"
    assert refused.headers["Retry-After"] == "30"
    assert client.delete(image_path(uploaded.headers)).status_code == 503
    assert client.put("/?width=20", data=cat).status_code == 200
    assert client.get(uploaded.headers["Content-Location"]).status_code == 200
    assert [client.get(path).status_code for path in ("/healthz", "/readyz")] == [200, 200]

    marker.unlink()
    wait_until(lambda: client.put("/?width=21", data=cat).status_code == 200)
