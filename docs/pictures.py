"""Take the screenshots of the page in docs/images: page.webp (animated), page-phone.png, and the
gallery.

    python -m docs.pictures

Each picture of the gallery is the output of the command below it in docs/gallery.md.
"""

import json
import re
import subprocess
from io import BytesIO
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, Page, expect

from tools.testing.browser import chromium
from tools.testing.server import temporary_server

ROOT = Path(__file__).parent.parent
IMAGES = ROOT / "docs" / "images"
SIZE = {"width": 1000, "height": 620}
GALLERY_WIDTH = 900
"""Width of a gallery picture, in pixels."""


class Film:
    """An animation of a page: screenshots, each shown for a given time."""

    def __init__(self, page: Page) -> None:
        self._page = page
        self._frames: list[Image.Image] = []
        self._durations: list[int] = []

    def take(self, milliseconds: int) -> None:
        """Append a screenshot that is shown for `milliseconds`."""
        self._page.wait_for_timeout(60)
        self._frames.append(Image.open(BytesIO(self._page.screenshot())).convert("RGB"))
        self._durations.append(milliseconds)

    def save(self, path: Path) -> None:
        """Write the animation as WebP."""
        first, *others = self._frames
        first.save(
            path,
            save_all=True,
            append_images=others,
            duration=self._durations,
            loop=0,
            quality=60,
            method=6,
        )


def wait_for_art(page: Page, columns: int) -> None:
    """Wait until the page shows art of this width."""
    expect(page.locator("#status")).to_have_text(re.compile(rf"^{columns} \S "))


def film(browser: Browser, url: str) -> None:
    """Write page.webp: drop an image, move the slider, and change the styles."""
    page = browser.new_page(viewport=SIZE, color_scheme="light")
    page.goto(url)
    page.wait_for_load_state("networkidle")
    shots = Film(page)
    shots.take(1500)
    page.evaluate("document.body.classList.add('dropping')")
    shots.take(700)
    page.evaluate("document.body.classList.remove('dropping')")
    page.set_input_files("#image", ROOT / "docs" / "examples" / "astronaut.jpg")
    wait_for_art(page, int(page.locator("#width").input_value()))
    shots.take(1500)
    for columns in (*range(90, 29, -10), *range(40, 161, 15)):
        page.locator("#slider").fill(str(columns))
        wait_for_art(page, columns)
        shots.take(120)
    shots.take(1200)
    for style, is_coloured in (("structure", True), ("braille", False), ("blocks", True)):
        # with ten thousand coloured spans, Playwright takes seconds for a click
        page.locator("#color").set_checked(False)
        page.locator("#style").select_option(style)
        page.locator("#color").set_checked(is_coloured)
        variant = ".".join([style, "invert-auto", *(["ansi"] if is_coloured else [])])
        expect(page.locator("#permalink")).to_have_attribute(
            "href", re.compile(re.escape(f"/style/{variant}/"))
        )
        shots.take(1700)
    shots.save(IMAGES / "page.webp")
    page.close()


def phone(browser: Browser, url: str) -> None:
    """Write page-phone.png: the page on a phone, dark, with coloured art."""
    page = browser.new_page(
        viewport={"width": 390, "height": 780},
        device_scale_factor=2,
        is_mobile=True,
        has_touch=True,
        color_scheme="dark",
    )
    page.goto(url)
    page.set_input_files("#image", ROOT / "docs" / "examples" / "coffee.webp")
    wait_for_art(page, int(page.locator("#width").input_value()))
    page.locator("#color").check()
    expect(page.locator("#permalink")).to_have_attribute("href", re.compile("ansi"))
    page.wait_for_timeout(300)
    save(Image.open(BytesIO(page.screenshot())), IMAGES / "page-phone.png")
    page.close()


def gallery(browser: Browser, url: str) -> None:
    """Write the pictures of docs/gallery.md: run each command, open the art on the page, and
    download it as PNG."""
    (IMAGES / "gallery").mkdir(parents=True, exist_ok=True)
    text = (ROOT / "docs" / "gallery.md").read_text()
    page = browser.new_page(viewport=SIZE)
    for name, command in re.findall(r"\]\(images/gallery/(\S+)\)\n\n```sh\n(.+)\n```", text):
        curl = (
            "curl --silent --show-error --fail-with-body --output /dev/null --write-out"
            " '%{header_json}' "
        )
        local_command = command.replace("http://localhost:27244", url).replace("curl ", curl, 1)
        answer = subprocess.run(
            ["bash", "-c", local_command], cwd=ROOT, capture_output=True, text=True, check=True
        )
        page.goto(url + json.loads(answer.stdout)["content-location"][0])
        if "color=" in command:
            expect(page.locator("#art b").first).to_be_attached()
        with page.expect_download() as download:
            page.get_by_role("link", name=".png").click()
        picture = Image.open(download.value.path()).convert("RGB")
        height = picture.height * GALLERY_WIDTH // picture.width
        save(
            picture.resize((GALLERY_WIDTH, height), Image.Resampling.LANCZOS),
            IMAGES / "gallery" / name,
        )
    page.close()


def save(picture: Image.Image, path: Path) -> None:
    """Write a PNG with a palette of 64 colours."""
    picture.convert("RGB").quantize(64, dither=Image.Dither.NONE).save(path, optimize=True)


def main() -> None:
    with temporary_server() as server, chromium() as browser:
        for make in (film, phone, gallery):
            make(browser, server.url)


if __name__ == "__main__":
    main()
