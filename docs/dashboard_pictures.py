"""Take the dashboard's screenshots in docs/images: `python -m docs.dashboard_pictures`.

Run it beside `make dashboard`, five minutes after the start, when the charts are full.
"""

from pathlib import Path
from typing import Final, Literal

import click
from playwright.sync_api import expect

from operations.dashboard.__main__ import PORT
from tools.testing.browser import chromium

_IMAGES: Final = Path(__file__).parent / "images"
_THEMES: Final[tuple[Literal["light", "dark"], ...]] = ("light", "dark")


@click.command()
@click.option(
    "--url", default=f"http://127.0.0.1:{PORT}", show_default=True, help="URL of the dashboard."
)
def main(url: str) -> None:
    """Take a light and a dark screenshot of the running dashboard."""
    with chromium() as browser:
        for theme in _THEMES:
            page = browser.new_page(viewport={"width": 1280, "height": 960}, color_scheme=theme)
            page.goto(url)
            expect(page.locator("#status[data-state=live]")).to_be_visible()
            page.screenshot(path=_IMAGES / f"dashboard-{theme}.png")


if __name__ == "__main__":
    main()
