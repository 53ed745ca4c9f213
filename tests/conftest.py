"""Fixtures that more than one folder of tests uses."""

import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.serving import make_server

from asciist.settings import Settings
from asciist.wiring import WebProcess, build_web_process
from service import create_app
from tests.browser import chromium
from tests.emulated.emulator import Emulator
from tests.emulated.fixtures import emulator

__all__ = ["chromium", "emulator"]

# The CDK's libraries run on Node, and the one that comes with the environment is the one that is pinned.
os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"

EXAMPLES = Path(__file__).parent.parent / "examples"


@pytest.fixture(scope="session")
def cat() -> bytes:
    """A photograph, JPEG."""
    return (EXAMPLES / "cat.jpg").read_bytes()


@pytest.fixture
def aws(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> Emulator:
    """The emulated account, as this process's environment names it."""
    for name, value in emulator.environment.items():
        monkeypatch.setenv(name, value)
    return emulator


@pytest.fixture
def embedded(tmp_path: Path) -> Iterator[WebProcess]:
    """Both tiers in this process, started."""
    service = build_web_process(Settings(data_dir=tmp_path, metrics="none"))
    yield service
    service.close()


@pytest.fixture
def app(embedded: WebProcess) -> Flask:
    """The WSGI application of the embedded service."""
    return create_app(
        settings=embedded.settings,
        requester=embedded.requester,
        metrics=embedded.metrics,
        is_ready=embedded.is_ready,
    )


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    """An HTTP client of the embedded service."""
    return app.test_client()


@pytest.fixture
def url(app: Flask) -> Iterator[str]:
    """The address of the embedded service, for clients that need a socket."""
    server = make_server("127.0.0.1", 0, app, threaded=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield f"http://127.0.0.1:{server.port}"
    server.shutdown()
    thread.join()
    server.server_close()
