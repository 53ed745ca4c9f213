"""A headless Chromium, found or installed by `tools/browser`."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from playwright.sync_api import Browser, sync_playwright

TOOL: Final = Path(__file__).parents[2] / "tools" / "browser"
_ARGUMENTS: Final = (
    "--no-sandbox",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
_LOCALE: Final = {"LANG": "en_US.UTF-8", "LC_ALL": "en_US.UTF-8", "LANGUAGE": "en_US"}
"""Language of Chromium, which becomes `navigator.language`. Without it, that is "en-US@posix"."""


class BrowserMissingError(Exception):
    """No Chromium was found or installed; the message is the output of `tools/browser`."""


@contextmanager
def chromium() -> Iterator[Browser]:
    """Start a headless Chromium and close it on exit. Raises BrowserMissingError."""
    found = subprocess.run([TOOL], capture_output=True, text=True, check=False)
    if found.returncode:
        raise BrowserMissingError(found.stderr.strip().splitlines()[-1])
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=found.stdout.strip(),
            args=_ARGUMENTS,
            env={**os.environ, **_LOCALE},
        )
        yield browser
        browser.close()
