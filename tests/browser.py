"""A real Chromium for tests of pages."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser

from bench import browser


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    """Headless, from wherever `tools/browser` finds one; without one the test fails with its sentence."""
    try:
        with browser.chromium() as running:
            yield running
    except browser.BrowserMissingError as error:
        pytest.fail(str(error), pytrace=False)
