"""The web page, tested in a real Chromium against a running server."""

import base64
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from PIL import Image
from playwright.sync_api import Browser, BrowserContext, Page, Request, Route, expect

from asciist import client
from asciist.conversion import STYLES, ConversionOptions
from asciist.limits import Limits
from asciist.protocol.links import CODE_PATTERN
from tests.service.test_animating import blinking
from tests.serving import Server
from tools.testing.drawing import convert
from tools.testing.images import encoded, gradient

pytestmark = pytest.mark.slow

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"
STATIC = Path(__file__).parents[2] / "service" / "static"
DESKTOP = {"viewport": {"width": 1280, "height": 800}}
PHONE = {
    "viewport": {"width": 360, "height": 740},
    "device_scale_factor": 3,
    "is_mobile": True,
    "has_touch": True,
}


def art(image: bytes, width: int, **options: Any) -> str:
    """Return the art that the page shows for an image; its default of `invert` is `auto`."""
    return convert(
        image, ConversionOptions(**{"width": width, "invert": "auto", **options}), Limits()
    )


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    # The default request timeout, because the server shares the machine with Chromium.
    server = Server(tmp_path_factory.mktemp("store"), ASCIIST_REQUEST_TIMEOUT="10")
    yield server
    server.stop()


@dataclass
class Site:
    """Opens pages of the service; records their requests, console messages and script errors."""

    browser: Browser
    url: str
    contexts: list[BrowserContext] = field(default_factory=list)
    messages: list[str] = field(default_factory=list)
    requests: list[Request] = field(default_factory=list)

    def open(self, path: str = "/", **options: Any) -> Page:
        context = self.browser.new_context(**{**DESKTOP, **options})
        self.contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: self.messages.append(message.text))
        page.on("pageerror", lambda error: self.messages.append(str(error)))
        # Playwright rejects built-in methods.
        page.on("request", lambda request: self.requests.append(request))  # noqa: PLW0108
        page.goto(f"{self.url}{path}")
        return page

    def requested(self, method: str) -> list[str]:
        """Return the paths requested with this method."""
        return [
            request.url.removeprefix(self.url)
            for request in self.requests
            if request.method == method
        ]


@pytest.fixture
def site(chromium: Browser, server: Server) -> Iterator[Site]:
    site = Site(chromium, server.url)
    yield site
    for context in site.contexts:
        context.close()
    # Chromium logs "Failed to load resource" for every error response and failed connection, which
    # tests cause on purpose.
    unexpected = [text for text in site.messages if "Failed to load resource" not in text]
    # script errors, violations of the content security policy, missing files
    assert unexpected == []
    assert all(
        request.url.startswith((f"{site.url}/", f"blob:{site.url}/")) for request in site.requests
    )


def shown(page: Page) -> str:
    """Return the art on the page as text."""
    return str(page.locator("#art").text_content())


def choose(page: Page, image: bytes, name: str = "cat.jpg") -> None:
    """Choose an image in the page's file dialog."""
    page.set_input_files(
        "#image", {"name": name, "mimeType": "application/octet-stream", "buffer": image}
    )


def transfer(page: Page, image: bytes | None, name: str = "cat.jpg") -> Any:
    """Create a DataTransfer that contains one file or, without an image, text."""
    return page.evaluate_handle(
        """([content, name]) => {
            const transfer = new DataTransfer();
            if (content === null) transfer.setData("text/plain", "no file");
            else transfer.items.add(new File([Uint8Array.from(atob(content), (c) => c.charCodeAt(0))], name));
            return transfer;
        }""",
        [base64.b64encode(image).decode() if image is not None else None, name],
    )


def expect_art(page: Page, image: bytes, width: int, **options: Any) -> None:
    """Wait until the page shows exactly this art."""
    expect(page.locator("#art")).to_have_text(
        re.compile(f"^{re.escape(art(image, width, **options))}$"), use_inner_text=False
    )


def wait_for_width(page: Page, width: int, *, of: str = "") -> None:
    """Wait until the page shows art of this width, of the image with this name, and no conversion
    is running.

    A test that sets the width before choosing an image must name the image: the page also converts
    its sample at that width.
    """
    expect(page.locator("#art")).to_have_attribute(
        "aria-label", re.compile(f"ASCII art of {re.escape(of)}")
    )
    expect(page.locator("#status")).to_contain_text(f"{width} \N{MULTIPLICATION SIGN} ")
    expect_link(page, f"/width/{width}$")


def expect_link(page: Page, pattern: str) -> None:
    """Wait until the page shows art whose permanent URL matches a pattern."""
    expect(page.locator("#permalink")).to_have_attribute("href", re.compile(pattern))


def link_of(page: Page) -> str:
    """Return the path of the permanent URL of the art on the page."""
    return str(page.locator("#permalink").get_attribute("href"))


class TestChoosingAnImage:
    def test_an_image_dropped_anywhere_becomes_art_that_fits_the_window(
        self, site: Site, cat: bytes
    ) -> None:
        page = site.open()
        width = int(page.locator("#width").input_value())
        page.locator("footer").dispatch_event("dragover", {"dataTransfer": transfer(page, cat)})
        expect(page.locator("body")).to_have_class("dropping")
        page.locator("footer").dispatch_event("drop", {"dataTransfer": transfer(page, cat)})

        wait_for_width(page, width)
        assert 100 <= width <= 140
        assert shown(page) == art(cat, width)
        expect(page.locator("#art")).to_have_attribute(
            "aria-label", re.compile(r"^ASCII art of cat\.jpg, \d+ columns wide and")
        )
        expect(page.locator("body")).not_to_have_class("dropping")

    def test_a_pasted_image_becomes_art(self, site: Site, cat: bytes) -> None:
        page = site.open()
        page.evaluate(
            "data => document.body.dispatchEvent(new ClipboardEvent('paste', {clipboardData: data,"
            " bubbles: true}))",
            transfer(page, cat, "image.png"),
        )

        wait_for_width(page, int(page.locator("#width").input_value()))
        assert shown(page) == art(cat, int(page.locator("#width").input_value()))

    def test_the_same_file_can_be_chosen_again(self, site: Site, cat: bytes) -> None:
        page = site.open()
        for _ in range(2):
            choose(page, cat)
            expect(page.locator("#art")).to_have_attribute("aria-label", re.compile("cat.jpg"))
        other = encoded(gradient(80, 60), "PNG")
        choose(page, other, "gradient.png")
        expect(page.locator("#art")).to_have_attribute("aria-label", re.compile("gradient.png"))
        assert shown(page) == art(other, int(page.locator("#width").input_value()))

    def test_taking_a_photo_is_offered_on_phones_only(self, site: Site, cat: bytes) -> None:
        expect(site.open().get_by_text("Take a photo")).to_be_hidden()
        page = site.open(**PHONE)
        expect(page.get_by_text("Take a photo")).to_be_visible()
        assert page.locator("#photo").get_attribute("capture") == "environment"
        page.set_input_files("#photo", EXAMPLES / "cat.jpg")

        width = int(page.locator("#width").input_value())
        wait_for_width(page, width)
        assert 60 <= width < 80
        assert shown(page) == art(cat, width)

    def test_dropping_or_pasting_text_shows_an_error(self, site: Site) -> None:
        page = site.open()
        page.locator("body").dispatch_event("drop", {"dataTransfer": transfer(page, None)})
        expect(page.locator("#complaint")).to_have_text(
            "This is not a file. Save the image first, then drop it here."
        )
        page.evaluate(
            "data => document.body.dispatchEvent(new ClipboardEvent('paste', {clipboardData: data,"
            " bubbles: true}))",
            transfer(page, None),
        )
        expect(page.locator("#complaint")).to_have_text(
            "There is no image in the clipboard. Copy one and paste it here."
        )


class TestControls:
    def test_the_slider_changes_the_width_and_the_image_is_uploaded_once(
        self, site: Site, cat: bytes
    ) -> None:
        page = site.open()
        choose(page, cat)
        for width in (60, 61, 240, 20):
            page.locator("#slider").fill(str(width))
            wait_for_width(page, width)
            assert shown(page) == art(cat, width)
            assert page.locator("#width").input_value() == str(width)

        assert len(site.requested("PUT")) == 1
        assert len(site.requested("POST")) == 4

    def test_only_the_latest_change_is_kept_while_a_conversion_is_running(
        self, site: Site, cat: bytes
    ) -> None:
        page = site.open()
        choose(page, cat)
        page.evaluate(
            """() => {
                const slider = document.getElementById("slider");
                for (let width = 30; width <= 200; width++) {
                    slider.value = width;
                    slider.dispatchEvent(new Event("input", {bubbles: true}));
                }
            }"""
        )
        wait_for_width(page, 200)
        assert len(site.requested("PUT") + site.requested("POST")) < 10

    @pytest.mark.parametrize("style", STYLES)
    def test_every_style_can_be_inverted(self, site: Site, cat: bytes, style: str) -> None:
        page = site.open()
        page.locator("#width").fill("60")
        choose(page, cat)
        page.locator("#style").select_option(style)
        page.get_by_label("Background").select_option("light")
        expect(page.locator("#stage")).to_have_class("light")
        if style != "structure":
            expect_link(page, f"/style/{style}.invert/width/60$")
        expect_art(page, cat, 60, style=style, invert=True)

    def test_the_background_follows_the_image_until_one_is_chosen(self, site: Site) -> None:
        page = site.open()
        for file, is_light in (("horse.png", True), ("rocket.jpg", False)):
            choose(page, (EXAMPLES / file).read_bytes(), file)
            wait_for_width(page, int(page.locator("#width").input_value()), of=file)
            expect(page.locator("#stage")).to_have_class("light" if is_light else "")
            linked = site.open(link_of(page), java_script_enabled=False)
            expect(linked.locator("#stage")).to_have_class(
                "light" if is_light else re.compile("^$")
            )
        page.get_by_label("Background").select_option("light")
        expect(page.locator("#stage")).to_have_class("light")
        expect_link(page, r"/style/structure\.invert/")

    def test_art_has_the_colours_of_the_image(self, site: Site) -> None:
        image = BytesIO()
        Image.new("RGB", (8, 8), (255, 0, 0)).save(image, "PNG")
        page = site.open()
        choose(page, image.getvalue(), "red.png")
        page.locator("#width").fill("8")
        page.locator("#style").select_option("ramp")
        page.get_by_label("In colour").check()

        expect_link(page, r"/style/ramp\.invert-auto\.ansi/width/8$")
        expect(page.locator("#art span").first).to_have_css("color", "rgb(255, 0, 0)")
        assert shown(page) == "\n".join(["@" * 8] * 4)
        page.locator("#style").select_option("blocks")
        expect(page.locator("#art span").first).to_have_css("background-color", "rgb(255, 0, 0)")

    def test_colour_is_of_whole_cells_or_of_characters_alone(self, site: Site, cat: bytes) -> None:
        page = site.open()
        choose(page, cat)
        page.locator("#width").fill("40")
        expect(page.locator("#paint")).to_be_disabled()
        page.get_by_label("In colour").check()
        expect_link(page, r"/style/structure\.invert-auto\.ansi/width/40$")
        cells = page.locator("#art span")
        expect(cells.first).not_to_have_css("background-color", "rgba(0, 0, 0, 0)")
        page.locator("#paint").select_option("text")
        expect_link(page, r"/style/structure\.invert-auto\.ansi\.text/width/40$")
        expect(cells.first).to_have_css("background-color", "rgba(0, 0, 0, 0)")

    def test_the_font_of_the_page_has_every_block(self, site: Site, cat: bytes) -> None:
        """Characters missing from the font would be drawn in another font, with another width."""
        page = site.open()
        choose(page, cat)
        page.locator("#width").fill("60")
        page.locator("#style").select_option("blocks")
        page.get_by_label("In colour").check()
        expect_link(page, r"/style/blocks\.invert-auto\.ansi/width/60$")
        widths = page.evaluate(
            """async () => {
                await document.fonts.ready;
                const pen = document.createElement("canvas").getContext("2d");
                pen.font = '100px "asciist mono"';
                const characters = [...new Set(document.getElementById("art").textContent)].filter((c) => c !== "\\n");
                return [...new Set(characters.map((c) => Math.round(pen.measureText(c).width)))];
            }"""
        )
        assert widths == [60]

    def test_characters_can_be_chosen_for_styles_that_use_them(
        self, site: Site, cat: bytes
    ) -> None:
        page = site.open()
        choose(page, cat)
        page.locator("#width").fill("30")
        page.locator("#style").select_option("ramp")
        page.get_by_text("More options").click()
        page.get_by_label("Draw with").fill(" .oO")
        expect_art(page, cat, 30, style="ramp", chars=" .oO")
        page.get_by_label("Draw with").fill("漢")
        expect(page.get_by_role("alert")).to_contain_text(
            "Chars must be printable characters, each one column wide"
        )
        page.locator("#style").select_option("braille")
        expect(page.get_by_label("Draw with")).to_be_disabled()
        expect_art(page, cat, 30, style="braille")
        expect(page.get_by_role("alert")).to_be_hidden()

    def test_controls_apply_to_the_sample_until_an_image_is_chosen(self, site: Site) -> None:
        page = site.open()
        coffee = (STATIC / "coffee.webp").read_bytes()
        assert shown(page) == art(coffee, 100)
        page.locator("#slider").fill("50")
        wait_for_width(page, 50)

        assert shown(page) == art(coffee, 50)

    def test_every_control_is_reachable_with_the_keyboard(self, site: Site, cat: bytes) -> None:
        page = site.open()
        choose(page, cat)
        wait_for_width(page, int(page.locator("#width").input_value()))
        page.locator("h1 a").focus()
        reached = []
        for _ in range(23):
            page.keyboard.press("Tab")
            reached.append(
                page.evaluate("document.activeElement.id || document.activeElement.textContent")
            )
        assert reached[:8] == [
            "HTTP API",
            "image",
            "width",
            "slider",
            "style",
            "invert",
            "color",
            "animate",
        ]
        assert reached[8:14] == [
            "Adjustments",
            "More options",
            "Ink and paper",
            "copy-link",
            "copy",
            ".png",
        ]
        assert reached[14:21] == [".svg", ".html", ".txt", "compare", "zoom", "delete", "permalink"]

        page.locator("#slider").focus()
        before = int(page.locator("#slider").input_value())
        page.keyboard.press("ArrowLeft")
        wait_for_width(page, before - 1)


class TestExports:
    def test_copy_copies_the_characters(self, site: Site, cat: bytes) -> None:
        page = site.open(permissions=["clipboard-read", "clipboard-write"])
        page.locator("#width").fill("40")
        choose(page, cat)
        wait_for_width(page, 40, of="cat.jpg")
        page.get_by_label("In colour").check()
        for style in ("structure", "blocks"):
            page.locator("#style").select_option(style)
            expect_link(page, f"/style/{style}.invert-auto.ansi/width/40$")
            page.get_by_role("button", name="Copy text").click()
            expect(page.get_by_role("status")).to_have_text("Copied.")
            assert page.evaluate("navigator.clipboard.readText()") == art(cat, 40, style=style)

        page.get_by_role("button", name="Copy link").click()
        expect(page.get_by_role("status")).to_have_text(
            re.compile(f"^Copied: {site.url}/{CODE_PATTERN}$")
        )
        url = page.evaluate("navigator.clipboard.readText()")
        assert page.get_by_role("status").text_content() == f"Copied: {url}"
        assert shown(site.open(url.removeprefix(site.url))) == shown(page)

    def test_copy_works_without_the_clipboard_api(self, site: Site, cat: bytes) -> None:
        page = site.open(permissions=["clipboard-read", "clipboard-write"])
        choose(page, cat)
        wait_for_width(page, int(page.locator("#width").input_value()))
        page.evaluate("Object.defineProperty(navigator, 'clipboard', {value: undefined})")
        page.evaluate(
            "document.addEventListener('copy', () => { window.copied ="
            " String(document.activeElement.value); })"
        )
        page.get_by_role("button", name="Copy text").click()
        expect(page.get_by_role("status")).to_have_text("Copied.")
        assert page.evaluate("window.copied") == shown(page)

    def download(self, page: Page, kind: str) -> tuple[str, bytes]:
        with page.expect_download() as download:
            page.get_by_role("link", name=f".{kind}", exact=True).click()
        return download.value.suggested_filename, download.value.path().read_bytes()

    def test_downloads_as_text_html_and_pictures(self, site: Site, cat: bytes) -> None:
        page = site.open()
        page.locator("#width").fill("40")
        choose(page, cat, "My cat.jpg")
        wait_for_width(page, 40, of="My cat.jpg")

        assert self.download(page, "txt") == ("My-cat-40.txt", art(cat, 40).encode() + b"\n")
        name, document = self.download(page, "html")
        assert name == "My-cat-40.html"
        reader = page.context.new_page()
        reader.set_content(document.decode())
        assert reader.locator("pre").text_content() == art(cat, 40) + "\n"
        name, picture = self.download(page, "png")
        assert name == "My-cat-40.png"
        image = Image.open(BytesIO(picture))
        assert image.size == (42 * 16, (art(cat, 40).count("\n") + 2) * 32)
        # the picture has more light than dark, so the page is white
        assert image.convert("L").getextrema() == (0x11, 255)
        name, drawing = self.download(page, "svg")
        assert name == "My-cat-40.svg"
        assert drawing.startswith(b"<svg ")

    def test_downloads_work_without_script(self, site: Site, cat: bytes) -> None:
        page = site.open(java_script_enabled=False)
        # there is nothing to download yet
        expect(page.get_by_role("group", name="Download")).to_be_hidden()
        choose(page, cat)
        page.locator("#width").fill("40")
        page.get_by_role("button", name="Convert").click()

        assert self.download(page, "txt") == ("asciist-40.txt", art(cat, 40).encode() + b"\n")
        name, picture = self.download(page, "png")
        assert name == "asciist-40.png"
        assert Image.open(BytesIO(picture)).width == 42 * 16

    def test_downloads_contain_the_colours(self, site: Site, cat: bytes) -> None:
        page = site.open()
        page.locator("#width").fill("40")
        choose(page, cat)
        wait_for_width(page, 40, of="cat.jpg")
        page.get_by_label("In colour").check()
        page.locator("#style").select_option("blocks")
        expect_link(page, r"/style/blocks\.invert-auto\.ansi/width/40$")

        assert self.download(page, "txt")[1].decode() == art(cat, 40, style="blocks") + "\n"
        document = self.download(page, "html")[1].decode()
        assert document == art(cat, 40, style="blocks", color="html", invert=True) + "\n"
        image = Image.open(BytesIO(self.download(page, "png")[1])).convert("RGB")
        small = Image.open(BytesIO(cat)).convert("RGB").resize((40, 26))
        middle = image.crop((16, 16, image.width - 16, image.height - 16)).resize((40, 26))
        differences = [abs(a - b) for a, b in zip(small.tobytes(), middle.tobytes(), strict=True)]
        assert sum(differences) / len(differences) < 12

    def test_downloads_are_the_art_shown_even_after_another_image_failed(
        self, site: Site, cat: bytes
    ) -> None:
        page = site.open()
        choose(page, cat)
        page.locator("#width").fill("40")
        page.get_by_label("In colour").check()
        page.locator("#style").select_option("blocks")
        expect_link(page, r"/style/blocks\.invert-auto\.ansi/width/40$")
        choose(page, b"no image", "broken.jpg")
        expect(page.get_by_role("alert")).to_be_visible()

        assert self.download(page, "txt") == (
            "cat-40.txt",
            art(cat, 40, style="blocks").encode() + b"\n",
        )
        name, document = self.download(page, "html")
        assert name == "cat-40.html"
        assert document.count(b";background:#") > 100

    def test_the_largest_png_has_at_most_8_megapixels(self, site: Site, cat: bytes) -> None:
        page = site.open()
        page.locator("#width").fill("1000")
        choose(page, cat)
        wait_for_width(page, 1000, of="cat.jpg")

        image = Image.open(BytesIO(self.download(page, "png")[1]))
        assert 4e6 < image.width * image.height <= 8e6

    def test_the_permanent_link_shows_the_same_art_and_no_other_art_of_the_image(
        self, site: Site, cat: bytes
    ) -> None:
        page = site.open()
        choose(page, cat)
        page.locator("#width").fill("44")
        page.get_by_label("Background").select_option("light")
        expect_link(page, r"/style/structure\.invert/width/44$")
        link = link_of(page)

        for linked in (site.open(link), site.open(link, java_script_enabled=False)):
            assert shown(linked) == art(cat, 44, invert=True)
            assert linked.title() == "ASCII art, 44 \N{MULTIPLICATION SIGN} 14"
            expect(linked.locator("#stage")).to_have_class("light")
            expect(linked.locator("form:visible input")).to_have_count(0)
        assert len(site.requested("PUT")) == 1

    def test_the_uploader_can_change_the_art_without_another_upload_after_a_reload(
        self, site: Site, cat: bytes
    ) -> None:
        page = site.open()
        choose(page, cat)
        page.locator("#width").fill("44")
        wait_for_width(page, 44)
        page.reload()
        page.locator("#slider").fill("45")

        wait_for_width(page, 45)
        assert shown(page) == art(cat, 45)
        assert len(site.requested("PUT")) == 1

    def test_the_uploader_can_delete_the_image_and_all_its_art(
        self, site: Site, cat: bytes
    ) -> None:
        page = site.open()
        choose(page, cat)
        addresses = []
        for width in (44, 45):
            page.locator("#width").fill(str(width))
            wait_for_width(page, width)
            addresses.append(link_of(page))
        page.get_by_role("button", name="Delete").click()

        expect(page.locator("#status")).to_have_text(re.compile("^Deleted from the service"))
        expect(page.get_by_role("button", name="Delete")).to_be_hidden()
        for hidden in ("#permalink", "#copy-link", "#files"):
            expect(page.locator(hidden)).to_be_hidden()
        for address in addresses:
            expect(site.open(address).locator("#complaint")).to_contain_text(
                "There is nothing at this address."
            )

    def test_the_permanent_link_of_coloured_art_shows_its_colours(
        self, site: Site, cat: bytes
    ) -> None:
        page = site.open()
        page.locator("#width").fill("44")
        page.get_by_label("In colour").check()
        choose(page, cat)
        wait_for_width(page, 44, of="cat.jpg")
        colour = page.locator("#art span").first.evaluate("span => getComputedStyle(span).color")

        for script in (True, False):
            linked = site.open(link_of(page), java_script_enabled=script)
            expect(linked.locator("#art b").first).to_have_css("color", colour)

    def test_a_link_to_nothing_says_so_and_shows_nothing_else(self, site: Site) -> None:
        for path in (f"/{'0' * 64}/width/44", "/0123-4567-89ab"):
            page = site.open(path)
            expect(page.get_by_role("heading", name="Nothing here")).to_be_visible()
            expect(page.locator("#complaint")).to_contain_text("There is nothing at this address.")
            expect(page.locator("form, pre, button")).to_have_count(0)

    def test_the_page_asks_for_an_image_that_has_expired(self, site: Site, cat: bytes) -> None:
        page = site.open()
        choose(page, cat)
        page.locator("#width").fill("19")
        wait_for_width(page, 19)
        page.reload()
        page.route(
            "**/image/*?*",
            lambda route: route.fulfill(status=404, content_type="text/plain", body="no\n"),
        )
        page.locator("#slider").fill("45")

        expect(page.locator("#complaint")).to_have_text(
            "The service no longer has this image. Choose it again."
        )


class TestErrors:
    def test_an_image_over_the_size_limit_is_not_sent(self, site: Site) -> None:
        page = site.open()
        before = shown(page)
        choose(page, b"x" * 12_345_678, "huge.jpg")

        expect(page.locator("#complaint")).to_have_text(
            "The image is too large: 12.3 MB, and the limit is 10 MB. Make it smaller and try"
            " again."
        )
        assert site.requested("PUT") == []
        assert shown(page) == before

    @pytest.mark.parametrize("image_format", ["TIFF", "AVIF"])
    def test_an_image_that_a_browser_may_not_show_becomes_art(
        self, site: Site, image_format: str
    ) -> None:
        page = site.open()
        image = encoded(gradient(64, 48), image_format)
        choose(page, image, f"photo.{image_format.lower()}")

        wait_for_width(page, int(page.locator("#width").input_value()))
        expect(page.get_by_role("alert")).to_be_hidden()
        assert f"image/{image_format.lower()}" in (
            page.locator("#image").get_attribute("accept") or ""
        ).split(",")

    @pytest.mark.parametrize(
        ("image", "sentence"),
        [
            (b"", "This file is empty. Choose an image."),
            (b"no image", "Unknown image format: send JPEG, PNG, GIF, WebP, AVIF, TIFF or BMP."),
            (b"\0\0\0\x18ftypheic\0\0\0\0heicmif1", "HEIC images are not supported"),
            ((EXAMPLES / "cat.jpg").read_bytes()[:9000], "The image is damaged"),
        ],
    )
    def test_a_broken_file_shows_an_error_and_the_next_file_works(
        self, site: Site, cat: bytes, image: bytes, sentence: str
    ) -> None:
        page = site.open()
        choose(page, image, "broken.jpg")
        expect(page.get_by_role("alert")).to_contain_text(sentence)
        expect(page.get_by_role("button", name="Try again")).to_be_hidden()
        choose(page, cat)

        wait_for_width(page, int(page.locator("#width").input_value()))
        expect(page.get_by_role("alert")).to_be_hidden()

    def test_the_browser_reports_a_width_out_of_range(self, site: Site) -> None:
        page = site.open()
        page.locator("#width").fill("1001")

        assert page.locator("#width").evaluate("input => input.validity.rangeOverflow")
        assert site.requested("PUT") == []

    def test_a_request_that_got_no_response_can_be_retried(self, site: Site, cat: bytes) -> None:
        page = site.open()
        page.route("**/?*", lambda route: route.abort())
        choose(page, cat)
        expect(page.get_by_role("alert")).to_contain_text(
            "The service does not answer. Check the connection and try again."
        )
        page.unroute("**/?*")
        page.get_by_role("button", name="Try again").click()

        wait_for_width(page, int(page.locator("#width").input_value()))
        expect(page.get_by_role("alert")).to_be_hidden()

    def test_the_failure_of_a_superseded_request_is_ignored(self, site: Site, cat: bytes) -> None:
        page = site.open()
        choose(page, cat)
        wait_for_width(page, int(page.locator("#width").input_value()))
        held: list[Route] = []
        # Playwright rejects built-in methods.
        page.route("**/image/*?width=30&*", lambda route: held.append(route))  # noqa: PLW0108
        with page.expect_request("**/image/*?width=30&*"):
            page.locator("#slider").fill("30")
        page.locator("#slider").fill("40")
        expect(page.locator("#progress")).to_be_visible()
        held[0].fulfill(status=400, content_type="text/plain", body="no\n")

        wait_for_width(page, 40)
        expect(page.get_by_role("alert")).to_be_hidden()

    def test_a_sample_that_cannot_be_loaded_shows_an_error_and_can_be_retried(
        self, site: Site
    ) -> None:
        page = site.open()
        page.route("**/coffee.webp*", lambda route: route.abort())
        page.locator("#slider").fill("50")
        expect(page.get_by_role("alert")).to_contain_text(
            "The service does not answer. Check the connection and try again."
        )
        page.unroute("**/coffee.webp*")
        page.get_by_role("button", name="Try again").click()

        wait_for_width(page, 50)

    def test_an_error_of_a_proxy_is_reported(self, site: Site, cat: bytes) -> None:
        page = site.open()
        page.route(
            "**/?*",
            lambda route: route.fulfill(
                status=502, content_type="text/html", body="<h1>Bad Gateway</h1>"
            ),
        )
        choose(page, cat)

        expect(page.get_by_role("alert")).to_contain_text(
            "The service failed with status 502. Try again."
        )
        expect(page.get_by_role("button", name="Try again")).to_be_visible()

    def test_a_slow_upload_shows_its_progress_and_can_be_cancelled(self, site: Site) -> None:
        page = site.open()
        network = page.context.new_cdp_session(page)
        slow = {
            "offline": False,
            "latency": 0,
            "downloadThroughput": -1,
            "uploadThroughput": 1_000_000,
        }
        choose(page, b"no image")
        expect(page.get_by_role("alert")).to_be_visible()
        network.send("Network.emulateNetworkConditions", slow)
        choose(page, encoded(gradient(2, 2), "BMP") + bytes(8_000_000), "large.bmp")

        expect(page.locator("#doing")).to_have_text(re.compile(r"^Sending: [1-9][\d.]* of 8 MB$"))
        value = page.locator("#bar").evaluate("bar => bar.value")
        assert 0 < value < 1
        expect(page.get_by_role("alert")).to_be_hidden()  # the error of the previous image
        page.get_by_role("button", name="Cancel").click()
        expect(page.get_by_role("status")).to_have_text("Cancelled.")
        expect(page.locator("#progress")).to_be_hidden()
        expect(page.get_by_role("alert")).to_be_hidden()

    def test_choosing_another_image_aborts_the_upload_of_the_previous_one(
        self, site: Site, cat: bytes
    ) -> None:
        page = site.open()
        held = []
        page.route("**/?*", lambda route: held.append(route) if not held else route.continue_())
        choose(page, encoded(gradient(30, 20), "PNG"), "first.png")
        expect(page.locator("#doing")).to_have_text("Waiting for the art")
        choose(page, cat)

        wait_for_width(page, int(page.locator("#width").input_value()))
        assert shown(page) == art(cat, int(page.locator("#width").input_value()))
        page.unroute_all(behavior="ignoreErrors")


class TestSeveralImages:
    def test_each_image_is_converted_and_has_its_own_art_link_and_files(
        self, site: Site, cat: bytes
    ) -> None:
        page = site.open()
        page.locator("#width").fill("40")
        horse = (EXAMPLES / "horse.png").read_bytes()
        page.set_input_files("#image", [EXAMPLES / "cat.jpg", EXAMPLES / "horse.png"])
        listed = page.get_by_role("list", name="Images").get_by_role("button")

        expect_art(page, cat, 40)
        # "waiting" follows a name until its art is there
        expect(listed).to_have_text(["cat.jpg", "horse.png"])
        link = link_of(page)
        listed.nth(1).click()
        expect_art(page, horse, 40)
        expect(listed.nth(1)).to_have_attribute("aria-current", "true")
        assert link_of(page) != link
        assert page.locator("[data-file=png]").get_attribute("download") == "horse-40.png"
        page.locator("#width").fill("41")
        expect_art(page, horse, 41)
        listed.nth(0).click()
        expect_art(page, cat, 41)
        assert len(site.requested("PUT")) == 2 + 1  # the sample, at 40 columns, and each image once

    def test_an_image_that_cannot_be_converted_is_named_and_does_not_stop_the_others(
        self, site: Site, cat: bytes
    ) -> None:
        page = site.open()
        files = [("broken.jpg", b"no image"), ("empty.jpg", b""), ("cat.jpg", cat)]
        page.set_input_files(
            "#image",
            [{"name": name, "mimeType": "image/jpeg", "buffer": body} for name, body in files],
        )
        listed = page.get_by_role("list", name="Images").get_by_role("button")

        expect(listed).to_have_text(
            ["broken.jpgnot converted", "empty.jpgnot converted", "cat.jpg"]
        )
        expect(page.get_by_role("alert")).to_contain_text("Unknown image format")
        expect(page.locator("#art")).to_be_hidden()  # it would be that of something else
        listed.nth(1).click()
        expect(page.get_by_role("alert")).to_contain_text("This file is empty.")
        listed.nth(2).click()
        expect(page.get_by_role("alert")).to_be_hidden()
        expect_art(page, cat, int(page.locator("#width").input_value()))

    def test_the_images_outlive_a_reload(self, site: Site, cat: bytes) -> None:
        page = site.open()
        page.set_input_files("#image", [EXAMPLES / "horse.png", EXAMPLES / "cat.jpg"])
        listed = page.get_by_role("list", name="Images").get_by_role("button")
        expect(listed).to_have_text(["horse.png", "cat.jpg"])
        listed.nth(1).click()
        page.reload()

        expect(listed).to_have_text(["horse.png", "cat.jpg"])
        expect_art(page, cat, int(page.locator("#width").input_value()))
        assert len(site.requested("PUT")) == 2


class TestOriginal:
    def test_the_original_is_beside_the_art_on_a_wide_screen(self, site: Site, cat: bytes) -> None:
        page = site.open()
        expect(page.locator("#original")).to_be_hidden()
        choose(page, cat)
        original = page.get_by_role("img", name="The original: cat.jpg")
        expect(original).to_be_visible()
        expect_art(page, cat, 100)
        left, right = original.bounding_box(), page.locator("#stage").bounding_box()
        assert left
        assert right
        assert left["x"] + left["width"] <= right["x"]
        page.get_by_role("button", name="Original").click()
        expect(original).to_be_hidden()

    def test_a_phone_shows_the_original_in_place_of_the_art(self, site: Site, cat: bytes) -> None:
        page = site.open(**PHONE)
        choose(page, cat)
        expect_art(page, cat, 64)
        original, drawing = (
            page.get_by_role("img", name="The original: cat.jpg"),
            page.locator("#art"),
        )
        expect(original).to_be_hidden()
        page.get_by_role("button", name="Original").click()
        expect(original).to_be_visible()
        expect(drawing).to_be_hidden()
        page.get_by_role("button", name="Original").click()
        expect(drawing).to_be_visible()

    def test_an_original_that_the_browser_does_not_show_is_replaced_by_a_sentence(
        self, site: Site
    ) -> None:
        page = site.open()
        choose(page, encoded(gradient(64, 48), "TIFF"), "scan.tiff")
        expect(page.get_by_text("This browser cannot show the original.")).to_be_visible()


class TestInkAndPaper:
    def test_they_apply_to_the_art_and_to_its_files_and_are_remembered(
        self, site: Site, cat: bytes
    ) -> None:
        page = site.open()
        page.locator("#width").fill("40")
        choose(page, cat)
        wait_for_width(page, 40, of="cat.jpg")
        page.get_by_text("Ink and paper").click()
        page.get_by_label("Ink").fill("#ffcc00")
        page.get_by_label("Paper").fill("#001133")
        expect_art(page, cat, 40, invert=False)  # light on dark, as the colours are
        expect(page.locator("#stage")).to_have_css("background-color", "rgb(0, 17, 51)")
        expect(page.locator("#art")).to_have_css("color", "rgb(255, 204, 0)")
        files = {kind: TestExports().download(page, kind)[1] for kind in ("svg", "html", "png")}
        assert all(colour in files["svg"] for colour in (b'fill="#001133"', b'fill="#ffcc00"'))
        assert b"background:#001133;color:#ffcc00" in files["html"]
        picture = Image.open(BytesIO(files["png"])).convert("RGB")
        assert picture.width == 42 * 16
        assert {(0, 17, 51), (255, 204, 0)} <= {
            colour for _, colour in picture.getcolors(picture.width * picture.height)
        }

        page.reload()
        expect(page.locator("#stage")).to_have_css("background-color", "rgb(0, 17, 51)")
        page.get_by_text("Ink and paper").click()
        page.get_by_role("button", name="As drawn").click()
        expect_art(page, cat, 40)
        expect(page.locator("#stage")).to_have_css("background-color", "rgb(255, 255, 255)")


class TestFirstWidth:
    @pytest.mark.parametrize(
        ("device", "width"), [(DESKTOP, 100), (PHONE, 64)], ids=["desktop", "phone"]
    )
    def test_the_control_has_the_width_of_the_sample_and_of_the_first_conversion(
        self, site: Site, cat: bytes, device: dict[str, Any], width: int
    ) -> None:
        page = site.open(**device)
        assert shown(page).index("\n") == width
        assert (
            page.locator("#width").input_value()
            == page.locator("#slider").input_value()
            == str(width)
        )
        choose(page, cat)
        expect_art(page, cat, width)
        assert all(f"width={width}&" in path for path in site.requested("PUT"))


class TestRecipient:
    """The page of a link, as seen by recipients, who did not make the art."""

    @pytest.fixture
    def link(self, site: Site, server: Server, cat: bytes) -> str:
        long_url = client.convert(cat, url=server.url, width=90).url
        return str(site.browser.new_context().request.post(long_url).headers["location"])

    @pytest.mark.parametrize("device", [DESKTOP, PHONE], ids=["desktop", "phone"])
    def test_the_art_and_the_next_step_fit_the_first_screen(
        self, site: Site, link: str, device: dict[str, Any]
    ) -> None:
        page = site.open(link, **device)
        drawing, window = (
            page.get_by_role("img", name="ASCII art, 90 columns wide and 29 lines high"),
            device["viewport"],
        )
        box = drawing.bounding_box()
        assert box
        assert max(box["width"] / window["width"], box["height"] / window["height"]) > 0.6
        assert box["y"] + box["height"] < window["height"]
        expect(page.get_by_role("link", name="Make your own")).to_be_in_viewport()
        assert page.evaluate("document.documentElement.scrollWidth") == window["width"]
        expect(page.locator("dl")).to_contain_text("Size90 \N{MULTIPLICATION SIGN} 29 characters")

    def test_the_link_is_shown_copied_and_shared(self, site: Site, link: str) -> None:
        page = site.open(link, permissions=["clipboard-read", "clipboard-write"])
        expect(page.locator("#link")).to_have_text(f"{site.url.removeprefix('http://')}{link}")
        # this browser has nothing to share with
        expect(page.get_by_role("button", name="Share")).to_be_hidden()
        page.get_by_role("button", name="Copy link").click()
        expect(page.get_by_role("status")).to_have_text(f"Copied: {site.url}{link}")
        assert page.evaluate("navigator.clipboard.readText()") == f"{site.url}{link}"

        context = page.context
        context.add_init_script("navigator.share = async (shared) => { window.shared = shared; }")
        page.reload()
        page.get_by_role("button", name="Share").click()
        assert page.evaluate("window.shared") == {"title": page.title(), "url": f"{site.url}{link}"}
        assert site.requested("POST") == []

    def test_make_your_own_opens_the_editor(self, site: Site, link: str) -> None:
        page = site.open(link)
        page.get_by_role("link", name="Make your own").click()
        expect(page.get_by_text("Choose an image")).to_be_visible()

    @pytest.mark.parametrize(
        ("device", "scheme"),
        [(DESKTOP, "light"), (PHONE, "dark")],
        ids=["light desktop", "dark phone"],
    )
    def test_axe_finds_no_accessibility_violations(
        self, site: Site, link: str, scheme: str, device: dict[str, Any]
    ) -> None:
        for path in (link, "/0123-4567-89ab"):
            page = site.open(path, **device, color_scheme=scheme)
            assert Axe().run(page).response["violations"] == []


def frame_of(page: Page) -> str:
    """Return the visible art."""
    return page.locator("#art").inner_text()


class TestAnimation:
    """An animation plays on the page, with and without its script, unless the visitor prefers
    reduced motion."""

    IMAGE = blinking(100, frames=2)

    def changes(self, page: Page, before: str) -> bool:
        page.wait_for_function(
            "before => document.getElementById('art').innerText !== before", arg=before
        )
        return True

    def test_it_plays_while_it_is_chosen(self, site: Site) -> None:
        page = site.open()
        page.get_by_label("Animate").check()
        choose(page, self.IMAGE, "square.png")
        wait_for_width(page, int(page.locator("#width").input_value()), of="square.png")
        assert self.changes(page, frame_of(page))
        linked = site.open(link_of(page))
        assert self.changes(linked, frame_of(linked))
        page.get_by_label("Animate").uncheck()
        wait_for_width(page, int(page.locator("#width").input_value()), of="square.png")
        expect(page.locator("#permalink")).not_to_have_attribute("href", re.compile(r"\.m/"))
        still = frame_of(page)
        page.wait_for_timeout(300)
        assert frame_of(page) == still

    def test_it_stands_still_for_those_who_prefer_reduced_motion(self, site: Site) -> None:
        link = client.convert(self.IMAGE, url=site.url, width=40, animate=True).url.removeprefix(
            site.url
        )
        for script in (True, False):
            page = site.open(link, java_script_enabled=script, reduced_motion="reduce")
            still = frame_of(page)
            page.wait_for_timeout(300)
            assert frame_of(page) == still

    @pytest.mark.parametrize("color", ["none", "html"])
    def test_it_plays_without_a_script(self, site: Site, color: Any) -> None:
        link = client.convert(
            self.IMAGE, url=site.url, width=40, color=color, animate=True
        ).url.removeprefix(site.url)
        page = site.open(link, java_script_enabled=False)
        art = page.locator("pre")
        seen = {art.inner_text() for _ in range(20) if page.wait_for_timeout(25) is None}

        # A browser adds line breaks to the text of what lies in one place.
        assert {len(text.replace("\n", "")) for text in seen} == {40 * 10}
        assert len(seen) == 2


class TestWithoutScript:
    @pytest.fixture
    def page(self, site: Site) -> Page:
        return site.open(java_script_enabled=False)

    def test_the_form_converts_an_image(self, page: Page, site: Site, cat: bytes) -> None:
        visible = page.locator("button:visible, input[type=range]:visible").all_inner_texts()
        assert visible == ["Convert"]
        page.set_input_files("#image", EXAMPLES / "cat.jpg")
        page.locator("#width").fill("50")
        page.locator("#style").select_option("ramp")
        page.get_by_role("button", name="Convert").click()

        assert re.fullmatch(f"{site.url}/{CODE_PATTERN}", page.url)
        assert shown(page) == art(cat, 50, style="ramp", invert="auto")
        page.reload()
        assert len(site.requested("POST")) == 1
        page.get_by_role("link", name="Make your own").click()
        expect(page.get_by_role("button", name="Convert")).to_be_visible()

    def test_coloured_art_has_its_colours(self, page: Page, cat: bytes) -> None:
        page.set_input_files("#image", EXAMPLES / "cat.jpg")
        page.get_by_label("In colour").check()
        page.get_by_role("button", name="Convert").click()

        expect(page.locator("#art b").nth(100)).not_to_have_css(
            "background-color", "rgba(0, 0, 0, 0)"
        )
        assert shown(page) == re.sub(r"\x1b\[[\d;]*m", "", art(cat, 100, color="ansi"))

    def test_a_long_link_can_be_made_short(
        self, page: Page, site: Site, server: Server, cat: bytes
    ) -> None:
        page.goto(client.convert(cat, url=server.url, width=44).url)
        page.get_by_role("button", name="Get a short link").click()

        assert re.fullmatch(f"{site.url}/{CODE_PATTERN}", page.url)
        expect(page.locator("#link")).to_have_text(page.url.removeprefix("http://"))
        expect(page.get_by_role("button", name="Get a short link")).to_have_count(0)

    def test_an_error_is_shown(self, page: Page) -> None:
        page.set_input_files(
            "#image", {"name": "a.jpg", "mimeType": "image/jpeg", "buffer": b"no image"}
        )
        page.get_by_role("button", name="Convert").click()

        expect(page.locator("#complaint")).to_have_text(
            "unknown image format: send JPEG, PNG, GIF, WebP, AVIF, TIFF or BMP"
        )
        expect(page.get_by_role("button", name="Convert")).to_be_visible()


class TestAppearance:
    @pytest.mark.parametrize("device", [DESKTOP, PHONE], ids=["desktop", "phone"])
    @pytest.mark.parametrize("script", [True, False], ids=["script", "no script"])
    def test_art_of_every_width_and_style_fits_its_area(
        self, site: Site, server: Server, cat: bytes, device: dict[str, Any], script: bool
    ) -> None:
        page = site.open(**device, java_script_enabled=script)
        for style in STYLES:
            for width in (80, 240, 1000) if style == "structure" else (80,):
                page.goto(client.convert(cat, url=server.url, width=width, style=style).url)
                area, drawn = (
                    page.locator("#stage").bounding_box(),
                    page.locator("#art").bounding_box(),
                )
                assert area
                assert drawn
                assert drawn["width"] <= area["width"] - 16
                assert drawn["height"] <= area["height"] - 16
                filled = max(
                    drawn["width"] / (area["width"] - 20), drawn["height"] / (area["height"] - 20)
                )
                assert filled > 0.95, (style, width)
                lines = art(cat, width, style=style).count("\n") + 1
                # Cells are twice as high as wide in every style.
                assert drawn["height"] / lines / (drawn["width"] / width) == pytest.approx(
                    2, abs=0.03
                ), (style, width)

    @pytest.mark.parametrize("script", [True, False], ids=["script", "no script"])
    def test_tall_art_is_legible_and_scrolls(
        self, site: Site, server: Server, script: bool
    ) -> None:
        strip = encoded(gradient(100, 2000), "PNG")
        page = site.open(
            client.convert(strip, url=server.url, width=100).url.removeprefix(server.url),
            java_script_enabled=script,
        )
        stage = page.locator("#stage")

        assert (
            page.locator("#art").evaluate("art => parseFloat(getComputedStyle(art).fontSize)") >= 8
        )
        assert stage.evaluate(
            "stage => [stage.scrollWidth - stage.clientWidth, stage.tabIndex]"
        ) == [0, 0]
        stage.focus()
        page.keyboard.press("End")
        expect(page.locator("#stage")).to_be_focused()
        if script:
            page.wait_for_function("() => document.getElementById('stage').scrollTop > 1000")
        box, window = stage.bounding_box(), page.viewport_size
        assert box
        assert window
        assert box["height"] < window["height"]

    def test_a_height_and_a_fit_can_be_chosen(self, site: Site, cat: bytes) -> None:
        page = site.open()
        choose(page, cat)
        page.get_by_text("More options").click()
        page.locator("#width").fill("40")
        page.get_by_label("Maximum rows").fill("9")
        page.get_by_label("Fit").select_option("cover")
        expect_art(page, cat, 40, height=9, fit="cover")
        expect_link(page, r"\.height-9\.cover/width/40$")

    def test_sliders_adjust_the_art_while_they_move(self, site: Site, cat: bytes) -> None:
        page = site.open()
        choose(page, cat)
        page.get_by_text("Adjustments").click()
        page.locator("#width").fill("40")
        page.get_by_label("Contrast").fill("60")
        expect_art(page, cat, 40, contrast=60)
        page.get_by_label("Brightness").fill("-30")
        expect_art(page, cat, 40, contrast=60, brightness=-30)
        expect_link(page, r"\.brightness--30\.contrast-60/width/40$")
        expect(page.locator("output[for=brightness]")).to_have_text("-30")
        page.get_by_role("button", name="Reset").click()
        expect_art(page, cat, 40)

    def test_art_can_be_shown_at_its_actual_size(self, site: Site, cat: bytes) -> None:
        page = site.open(**PHONE)
        choose(page, cat)
        wait_for_width(page, int(page.locator("#width").input_value()))
        zoom = page.get_by_role("button", name="Actual size")
        zoom.click()

        expect(zoom).to_have_attribute("aria-pressed", "true")
        assert page.locator("#stage").evaluate(
            "stage => stage.scrollWidth > stage.clientWidth && stage.tabIndex === 0"
        )
        assert page.evaluate("document.documentElement.scrollWidth") == 360
        zoom.click()
        assert page.locator("#stage").evaluate("stage => stage.scrollWidth === stage.clientWidth")

    def test_nothing_overflows_a_small_phone(self, site: Site, cat: bytes) -> None:
        for script in (True, False):
            page = site.open(**PHONE, java_script_enabled=script)
            assert page.evaluate("document.documentElement.scrollWidth") == 360
        page = site.open(**PHONE)
        choose(page, b"no image")
        expect(page.get_by_role("alert")).to_be_visible()
        page.get_by_text("More options").click()
        assert page.evaluate("document.documentElement.scrollWidth") == 360
        choose(page, cat)
        expect(page.get_by_role("alert")).to_be_hidden()
        assert page.evaluate("document.documentElement.scrollWidth") == 360
        # The slider is on the first screen, together with the art.
        slider = page.locator("#slider").bounding_box()
        assert slider
        assert slider["y"] + slider["height"] < 740

    @pytest.mark.parametrize("scheme", ["light", "dark"])
    @pytest.mark.parametrize("device", [DESKTOP, PHONE], ids=["desktop", "phone"])
    def test_axe_finds_no_accessibility_violations(
        self, site: Site, cat: bytes, scheme: str, device: dict[str, Any]
    ) -> None:
        page = site.open(**device, color_scheme=scheme)

        def violations(without: str = "") -> list[str]:
            found = (
                Axe()
                .run(page, context={"exclude": [[without]]} if without else None)
                .response["violations"]
            )
            return [f"{v['id']}: {node['html'][:120]}" for v in found for node in v["nodes"]]

        assert violations() == []
        choose(page, b"no image")
        expect(page.get_by_role("alert")).to_be_visible()
        page.get_by_text("More options").click()
        assert violations() == []
        page.get_by_label("In colour").check()
        choose(page, cat)
        wait_for_width(page, int(page.locator("#width").input_value()))
        page.get_by_role("button", name="Actual size").click()
        # The art is an image with a label. Its characters have the colours of the image, whatever
        # their contrast.
        assert violations(without="#art span") == []

    def test_the_first_visit_loads_at_most_60_kb(self, site: Site) -> None:
        """Total size of all responses of the first visit, before compression."""
        page = site.open()
        page.wait_for_load_state("networkidle")
        sizes = {request.url: len(request.response().body()) for request in site.requests}  # type: ignore[union-attr]

        assert {url.removeprefix(site.url).partition("?")[0] for url in sizes} - {
            "/static/icon.svg"
        } == {
            "/",
            "/static/clipboard.js",
            "/static/colours.js",
            "/static/mono.woff2",
            "/static/page.css",
            "/static/page.js",
            "/static/service.js",
            "/static/text.js",
        }  # not every headless browser requests the icon
        assert sum(sizes.values()) <= 60_000, sizes

    def test_the_sample_is_the_output_of_the_current_engine(self) -> None:
        assert (STATIC / "coffee.webp").read_bytes() == (EXAMPLES / "coffee.webp").read_bytes()
        for width in (100, 64):
            assert (STATIC / f"coffee-{width}.txt").read_text() == art(
                (STATIC / "coffee.webp").read_bytes(), width
            ) + "\n"


class TestDocs:
    @pytest.mark.parametrize(
        ("device", "scheme"),
        [(PHONE, "light"), (PHONE, "dark"), (DESKTOP, "dark")],
        ids=["light phone", "dark phone", "desktop"],
    )
    def test_the_api_documentation_is_readable_and_accessible(
        self, site: Site, device: dict[str, Any], scheme: str
    ) -> None:
        page = site.open("/docs", **device, color_scheme=scheme)
        page.set_input_files("#try-image", EXAMPLES / "horse.png")
        page.get_by_role("button", name="Send").click()
        expect(page.get_by_label("Body of the answer")).to_be_visible()

        assert page.evaluate("document.documentElement.scrollWidth") == device["viewport"]["width"]
        assert Axe().run(page).response["violations"] == []
        page.get_by_text("More options").click()
        assert page.evaluate("document.documentElement.scrollWidth") == device["viewport"]["width"]
        page.get_by_role("link", name="POST /image/{capability}").click()
        expect(page.get_by_role("heading", name="POST /image/{capability}")).to_be_in_viewport()

    def test_a_call_can_be_tried_and_is_shown_as_a_command(self, site: Site) -> None:
        page = site.open("/docs")
        page.set_input_files("#try-image", EXAMPLES / "horse.png")
        page.locator("#try-width").fill("30")
        page.locator("#try-style").select_option("ramp")
        page.get_by_text("More options").click()
        page.locator("#try-chars").fill(" .'#")
        query = "?width=30&style=ramp&chars=+.%27%23"
        expect(page.locator("#command")).to_have_text(
            f"curl --data-binary '@horse.png' '{site.url}/{query}'"
        )
        page.get_by_role("button", name="Send").click()
        expect(page.locator("#outcome")).to_contain_text("Status 200")
        horse = (EXAMPLES / "horse.png").read_bytes()
        expected = convert(horse, ConversionOptions(width=30, style="ramp", chars=" .'#"), Limits())
        assert page.locator("#received").text_content() == expected + "\n"
        link = page.get_by_role("link", name="Permanent link").get_attribute("href")
        assert f"content-location: {link}\n" in str(
            page.locator("#received-headers").text_content()
        )

        page.locator("#accept").select_option("application/json")
        page.get_by_role("button", name="Send").click()
        expect(page.locator("#received")).to_have_text(
            re.compile(r'^\{"url":"http://.*"stored":true,')
        )
        page.locator("#try-color").select_option("ansi")
        page.locator("#accept").select_option("text/plain")
        page.get_by_role("button", name="Send").click()
        expect(page.locator("#received")).to_contain_text("␛[38;2;")
        page.locator("#try-chars").fill("漢")
        page.get_by_role("button", name="Send").click()
        expect(page.locator("#outcome")).to_contain_text("Status 400")
        expect(page.locator("#received")).to_contain_text("chars must be printable characters")
        expect(page.get_by_role("link", name="Permanent link")).to_be_hidden()

    def test_a_call_without_an_answer_is_an_error(self, site: Site) -> None:
        page = site.open("/docs")
        page.get_by_role("button", name="Send").click()
        expect(page.locator("#try-image:invalid")).to_be_focused()
        page.set_input_files("#try-image", EXAMPLES / "horse.png")
        assert page.evaluate("document.body.dataset.maxBytes") == str(Limits().max_image_bytes)
        page.evaluate("document.body.dataset.maxBytes = 10000")
        page.get_by_role("button", name="Send").click()
        expect(page.locator("#outcome")).to_have_text(
            "The image is too large: the limit is 0.01 MB."
        )
        page.evaluate("document.body.dataset.maxBytes = 10000000")
        page.route(f"{site.url}/", lambda route: route.abort())
        page.get_by_role("button", name="Send").click()
        expect(page.locator("#outcome")).to_contain_text("The service does not answer.")
        assert len(site.requested("POST")) == 1

    def test_the_keyboard_chooses_the_language_and_copies_an_example(self, site: Site) -> None:
        page = site.open("/docs", permissions=["clipboard-read", "clipboard-write"])
        page.locator("#in-Shell").focus()
        page.keyboard.press("ArrowDown")
        expect(page.locator("#in-Python")).to_be_checked()
        shown = page.get_by_label("A file, in Python", exact=True)
        expect(page.get_by_label("A file, in curl", exact=True).first).to_be_hidden()
        # there is none in Python
        expect(page.get_by_label("A form, in curl", exact=True)).to_be_visible()
        shown.focus()
        page.keyboard.press("Tab")
        expect(page.get_by_role("button", name="Copy: A file, in Python")).to_be_focused()
        page.keyboard.press("Enter")
        expect(page.get_by_role("button", name="Copy: A file, in Python")).to_have_text("Copied")
        assert page.evaluate("navigator.clipboard.readText()") == shown.text_content()

    def test_the_documentation_works_without_script(self, site: Site) -> None:
        page = site.open("/docs", java_script_enabled=False)
        expect(page.get_by_text("Try it")).to_have_count(2)
        for hidden in page.get_by_text("Try it").all():
            expect(hidden).to_be_hidden()
        page.locator("#in-JavaScript").check()
        expect(page.get_by_label("A file, in JavaScript")).to_be_visible()
        expect(page.get_by_role("button")).to_have_count(0)

    def test_the_documentation_loads_at_most_100_kb(self, site: Site) -> None:
        """Total size of all responses, before compression."""
        page = site.open("/docs")
        page.wait_for_load_state("networkidle")
        sizes = {request.url: len(request.response().body()) for request in site.requests}  # type: ignore[union-attr]

        assert {url.removeprefix(site.url).partition("?")[0] for url in sizes} - {
            "/static/icon.svg"
        } == {
            "/docs",
            *(
                f"/static/{name}"
                for name in ("clipboard.js", "docs.css", "docs.js", "mono.woff2", "page.css")
            ),
        }
        assert sum(sizes.values()) <= 100_000, sizes
