"""Fixtures shared by several test folders.

A fixture imports what it starts. Each run, and each process of a run, imports this module, and few
need a browser, the service and both emulators.
"""

import os
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

from tests.skipping import skipped_line

if TYPE_CHECKING:
    from flask import Flask
    from flask.testing import FlaskClient
    from playwright.sync_api import Browser

    from asciist.wiring import WebProcess
    from tests.emulated.azurite import Azurite
    from tests.emulated.emulator import Emulator

# The CDK libraries run on Node.js. The pinned version, in the virtual environment, must come first
# in PATH. Debian's PATH of an ordinary user lacks the last two directories, which have HAProxy and
# pivot_root.
os.environ["PATH"] = os.pathsep.join(
    [str(Path(sys.executable).parent), os.environ["PATH"], "/usr/sbin", "/sbin"]
)

# A shell starts background jobs with SIGINT ignored, and processes inherit that. Commands under
# test must end on Ctrl-C all the same.
signal.signal(signal.SIGINT, signal.default_int_handler)

# A busy machine delays any step, so no search fails by the clock. The gate searches the same
# examples each time; the nightly run searches others.
settings.register_profile(
    "gate", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("random", settings.get_profile("gate"), derandomize=False)
settings.load_profile("gate")

EXAMPLES = Path(__file__).parent.parent / "docs" / "examples"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print `skipped_line`, if tests were skipped."""
    reasons = [
        report.longrepr[2].removeprefix("Skipped: ").splitlines()[0]
        for report in terminalreporter.getreports("skipped")
        if isinstance(report.longrepr, tuple)
    ]
    if reasons:
        terminalreporter.write_line(skipped_line(reasons))


def pytest_xdist_auto_num_workers() -> int:
    """Return the number of processes for `--numprocesses auto`: one more than cores, because many
    tests mostly wait."""
    return len(os.sched_getaffinity(0)) + 1


@pytest.fixture(scope="module")
def chromium() -> Iterator["Browser"]:
    """A headless Chromium. Without one, tests that need it fail with the message of
    `tools/browser`.

    It ends with its module: Playwright's event loop counts as running, and would prevent tests of
    other modules from running theirs.
    """
    from playwright.sync_api import expect

    from tools.testing import browser

    expect.set_options(timeout=60_000)  # no wait for a page fails on a busy machine
    try:
        with browser.chromium() as running:
            yield running
    except browser.BrowserMissingError as error:
        pytest.fail(str(error), pytrace=False)


@pytest.fixture(scope="session")
def cat() -> bytes:
    """A photograph of a cat, as JPEG."""
    return (EXAMPLES / "cat.jpg").read_bytes()


@pytest.fixture(scope="session")
def emulator(request: pytest.FixtureRequest) -> Iterator["Emulator"]:
    """One emulated account for all tests of a session. Each test creates its own buckets and
    queues."""
    from tests.emulated.emulator import Emulator

    with Emulator() as running:
        yield running
        if request.session.testsfailed:
            print(f"\nThe emulator's log ends with:\n{running.log[-4000:]}")


@pytest.fixture(scope="session")
def azurite() -> Iterator["Azurite"]:
    """One emulated Azure account for all tests of a session. Each test creates its own containers
    and queues."""
    from tests.emulated.azurite import Azurite

    with Azurite() as running:
        yield running


@pytest.fixture
def aws(emulator: "Emulator", monkeypatch: pytest.MonkeyPatch) -> "Emulator":
    """The emulated AWS account, with this process's AWS environment variables pointing at it."""
    for name, value in emulator.environment.items():
        monkeypatch.setenv(name, value)
    return emulator


@pytest.fixture
def azure(azurite: "Azurite", monkeypatch: pytest.MonkeyPatch) -> "Azurite":
    """The emulated Azure account, with this process's variables pointing at it."""
    for name, value in azurite.environment.items():
        monkeypatch.setenv(name, value)
    return azurite


@pytest.fixture
def embedded(tmp_path: Path) -> Iterator["WebProcess"]:
    """The web and worker tiers, running in this process."""
    from asciist.settings import Settings
    from asciist.wiring import build_web_process

    service = build_web_process(Settings(data_dir=tmp_path, metrics="none", request_timeout=50))
    yield service
    service.close()


@pytest.fixture
def app(embedded: "WebProcess") -> "Flask":
    """The WSGI application of the process `embedded`."""
    from service import create_app

    return create_app(
        settings=embedded.settings,
        requester=embedded.requester,
        metrics=embedded.metrics,
        links=embedded.links,
        is_ready=embedded.is_ready,
        readiness=embedded.readiness,
    )


@pytest.fixture
def client(app: "Flask") -> "FlaskClient":
    """A Flask test client of `app`."""
    return app.test_client()


@pytest.fixture
def url(app: "Flask") -> Iterator[str]:
    """The base URL of `app`, served on a real socket."""
    from werkzeug.serving import make_server

    server = make_server("127.0.0.1", 0, app, threaded=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield f"http://127.0.0.1:{server.port}"
    server.shutdown()
    thread.join()
    server.server_close()
