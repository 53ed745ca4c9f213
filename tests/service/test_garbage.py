"""Failed requests free their memory at once, above all their image, without the garbage collector.

An error refers to the frames that it passed. If one of them refers to the error, all of them wait
for the garbage collector, which rarely runs in a web process.
"""

import gc
import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import FrameType
from typing import Any

import pytest
from flask import Flask

from asciist.adapters.threads import ThreadedCalls
from asciist.settings import Settings
from asciist.wiring import build_web_process
from service import create_app


@pytest.fixture
def app(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Flask]:
    monkeypatch.setenv("ASCIIST_DATA_DIR", str(tmp_path_factory.mktemp("store")))
    monkeypatch.setenv("ASCIIST_METRICS", "none")
    settings = Settings.from_environment()
    web = build_web_process(settings)
    yield create_app(
        settings=settings,
        requester=web.requester,
        metrics=web.metrics,
        links=web.links,
        is_ready=web.is_ready,
    )
    web.close()


def frames_left_by(action: Callable[[], object]) -> list[str]:
    """Return the names of the functions whose frames only the garbage collector frees."""
    action()  # caches are filled, modules are imported
    gc.collect()
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        action()
        gc.collect()
        return [found.f_code.co_qualname for found in gc.garbage if isinstance(found, FrameType)]
    finally:
        gc.set_debug(0)
        gc.garbage.clear()


@dataclass(frozen=True, kw_only=True)
class Upload:
    """The part of an image that is sent, and how it is sent."""

    share: float = 1.0
    missing_bytes: int = 0
    """Bytes declared in the length but not sent."""
    query: str = "width=80"


def put(app: Flask, image: bytes, upload: Upload) -> str:
    """Send a request without the test client, which would keep the exception; return the status."""
    body = image[: int(len(image) * upload.share)]
    environ = {
        "REQUEST_METHOD": "PUT",
        "PATH_INFO": "/",
        "QUERY_STRING": upload.query,
        "SERVER_NAME": "localhost",
        "SERVER_PORT": "80",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "CONTENT_LENGTH": str(len(body) + upload.missing_bytes),
        "wsgi.url_scheme": "http",
        "wsgi.input": io.BytesIO(body),
    }
    statuses = []

    def start_response(status: str, _headers: Any, _exc_info: Any = None) -> None:
        statuses.append(status[:3])

    parts = app(environ, start_response)
    b"".join(parts)
    getattr(parts, "close", lambda: None)()
    return statuses[0]


@pytest.mark.parametrize(
    ("upload", "status"),
    [
        (Upload(), "200"),
        (Upload(share=0.5), "400"),  # a damaged image, which the worker rejects
        (Upload(share=0.01), "400"),  # not even its header is complete
        (Upload(missing_bytes=100), "400"),  # less than the declared length
        (Upload(query="width=none"), "400"),
        (Upload(missing_bytes=20_000_000), "413"),
    ],
    ids=str,
)
def test_a_request_leaves_no_frames(app: Flask, cat: bytes, upload: Upload, status: str) -> None:
    seen = []

    def request() -> None:
        seen.append(put(app, cat, upload))

    assert not frames_left_by(request)
    assert seen == [status, status]


def test_a_failed_call_in_a_thread_leaves_no_frames() -> None:
    call = ThreadedCalls(1)

    def fail() -> None:
        raise ValueError("broken")

    def attempt() -> None:
        with pytest.raises(ValueError, match="broken"):
            call(fail, 1)

    assert not frames_left_by(attempt)
