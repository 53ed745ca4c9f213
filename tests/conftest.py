"""Fixtures shared by several test folders."""

import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskClient
from playwright.sync_api import Browser
from werkzeug.serving import make_server

from asciist.settings import Settings
from asciist.wiring import WebProcess, build_web_process
from devtools import browser
from service import create_app
from tests.emulated.azurite import Azurite
from tests.emulated.emulator import Emulator
from tests.emulated.fixtures import azurite, emulator

__all__ = ["azurite", "emulator"]

# The CDK libraries run on Node.js. The pinned version, in the virtual environment, must come first in PATH.
os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"

EXAMPLES = Path(__file__).parent.parent / "examples"


def pytest_xdist_auto_num_workers() -> int:
    """Return the number of processes of `--numprocesses auto`: one more than cores, because many tests mostly wait."""
    return len(os.sched_getaffinity(0)) + 1


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """A headless Chromium. Without one, a test that needs it fails with the message of `tools/browser`.

    It ends with its module: Playwright's event loop counts as running, so tests of other modules could not run theirs.
    """
    try:
        with browser.chromium() as running:
            yield running
    except browser.BrowserMissingError as error:
        pytest.fail(str(error), pytrace=False)


@pytest.fixture(scope="session")
def cat() -> bytes:
    """A photograph of a cat, as JPEG."""
    return (EXAMPLES / "cat.jpg").read_bytes()


@pytest.fixture
def aws(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> Emulator:
    """The emulated AWS account, with this process's AWS environment variables pointing at it."""
    for name, value in emulator.environment.items():
        monkeypatch.setenv(name, value)
    return emulator


@pytest.fixture
def azure(azurite: Azurite, monkeypatch: pytest.MonkeyPatch) -> Azurite:
    """The emulated Azure account, with this process's variables pointing at it."""
    for name, value in azurite.environment.items():
        monkeypatch.setenv(name, value)
    return azurite


@pytest.fixture
def embedded(tmp_path: Path) -> Iterator[WebProcess]:
    """The web and worker tiers, running in this process."""
    service = build_web_process(Settings(data_dir=tmp_path, metrics="none"))
    yield service
    service.close()


@pytest.fixture
def app(embedded: WebProcess) -> Flask:
    """The WSGI application of the process `embedded`."""
    return create_app(
        settings=embedded.settings,
        requester=embedded.requester,
        metrics=embedded.metrics,
        links=embedded.links,
        is_ready=embedded.is_ready,
        store_problem=embedded.store_problem,
    )


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    """A Flask test client of `app`."""
    return app.test_client()


@pytest.fixture
def url(app: Flask) -> Iterator[str]:
    """The base URL of `app`, served on a real socket."""
    server = make_server("127.0.0.1", 0, app, threaded=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield f"http://127.0.0.1:{server.port}"
    server.shutdown()
    thread.join()
    server.server_close()
