"""Fixtures that more than one folder of tests uses."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from flask.testing import FlaskClient

from asciist.settings import Settings
from asciist.wiring import EmbeddedService, build_service
from service import create_app

EXAMPLES = Path(__file__).parent.parent / "examples"


@pytest.fixture(scope="session")
def cat() -> bytes:
    """A photograph, JPEG."""
    return (EXAMPLES / "cat.jpg").read_bytes()


@pytest.fixture
def embedded(tmp_path: Path) -> Iterator[EmbeddedService]:
    """Both tiers in this process, started."""
    service = build_service(Settings(data_dir=tmp_path))
    service.start()
    yield service
    service.close()


@pytest.fixture
def client(embedded: EmbeddedService) -> FlaskClient:
    """An HTTP client of the embedded service."""
    app = create_app(
        settings=embedded.settings,
        requester=embedded.requester,
        recorder=embedded.recorder,
        is_ready=embedded.is_ready,
    )
    return app.test_client()
