"""`python -m observability.local.screenshots`: the pictures in `docs/images`, of the dashboard that `make dashboard` shows.

It is worth waiting five minutes first, for charts that are full.
"""

from pathlib import Path
from typing import Final, Literal

import click
from playwright.sync_api import expect

from devtools.browser import chromium
from observability.local.__main__ import PORT

_ROOT: Final = Path(__file__).parents[2]
_IMAGES: Final = _ROOT / "docs" / "images"
_SIZE: Final = (1280, 960)
_THEMES: Final[tuple[Literal["light", "dark"], ...]] = ("light", "dark")


@click.command()
@click.option("--url", default=f"http://127.0.0.1:{PORT}", show_default=True, help="Where the dashboard is.")
def main(url: str) -> None:
    """Photograph the running dashboard, in light and in dark, for the README."""
    _IMAGES.mkdir(exist_ok=True)
    with chromium() as browser:
        for theme in _THEMES:
            page = browser.new_page(viewport={"width": _SIZE[0], "height": _SIZE[1]}, color_scheme=theme)
            page.goto(url)
            expect(page.locator("#rate")).to_contain_text("/s")  # it takes two polls
            page.screenshot(path=_IMAGES / f"dashboard-{theme}.png")


if __name__ == "__main__":
    main()
