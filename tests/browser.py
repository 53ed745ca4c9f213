"""A real Chromium for tests of pages."""

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
from playwright.sync_api import Browser, sync_playwright

TOOL: Final = Path(__file__).parents[1] / "tools" / "browser"
_ARGUMENTS: Final = ("--no-sandbox", "--disable-background-networking", "--disable-component-update", "--disable-sync")


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    """Headless, from wherever `tools/browser` finds one; without one the test fails with its sentence."""
    found = subprocess.run([TOOL], capture_output=True, text=True, check=False)
    if found.returncode:
        pytest.fail(found.stderr.strip().splitlines()[-1], pytrace=False)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found.stdout.strip(), args=_ARGUMENTS)
        yield browser
        browser.close()
