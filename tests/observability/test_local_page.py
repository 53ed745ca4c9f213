"""The local dashboard as a person sees it, in a real Chromium, and the command that shows it."""

import os
import re
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from asciist.telemetry import metrics
from devtools.browser import TOOL
from observability.datadog import dashboard
from observability.local.dogstatsd import BUCKET_SECONDS, Receiver
from observability.local.server import ABSENT, create_app, serve

pytestmark = pytest.mark.slow

WIDGETS = [widget["definition"] for group in dashboard()["widgets"] for widget in group["definition"]["widgets"]]
ARRIVES = (
    f"{metrics.REQUESTS}:37|c|#status:200\n{metrics.REQUESTS}:2|c|#status:404\n{metrics.REQUESTS}:1|c|#status:503\n"
    f"{metrics.REQUEST_DURATION}:{':'.join(['10'] * 37)}|d|#status:200\n"
    f"{metrics.REQUEST_DURATION}:5:5|d|#status:404\n{metrics.REQUEST_DURATION}:4000|d|#status:503\n"
    f"{metrics.ART_SERVED}:9|c|#source:store\n{metrics.ART_SERVED}:27|c|#source:conversion\n"
    f"{metrics.IMAGE_BYTES}:{':'.join(['250000'] * 30)}|d|#format:jpeg\n{metrics.IMAGE_BYTES}:9000:9000|d|#format:gif\n"
    f"{metrics.IMAGE_DECODE_DURATION}:6:6|d|#format:jpeg\n{metrics.CONVERSION_DURATION}:3:3|d|#style:structure\n"
    f"{metrics.CONVERSION_PIXELS}:3000000|c|#format:jpeg"
)


@dataclass
class Site:
    """A dashboard whose time stands still unless it is moved."""

    receiver: Receiver
    url: str = ""
    complaints: list[str] = field(default_factory=list)

    def open(self, browser: Browser, **options: Any) -> Page:
        page = browser.new_page(**options)
        page.on("console", lambda message: self.complaints.append(message.text))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.goto(self.url)
        page.wait_for_selector("body[data-drawn]")
        return page

    def send(self, text: str) -> None:
        before = self.receiver.lines
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.sendto(text.encode(), self.receiver.address)
        while self.receiver.lines == before:
            self.receiver.settle(quiet=0.05)


@pytest.fixture
def site() -> Iterator[Site]:
    with Receiver(clock=lambda: 1_000_000 * BUCKET_SECONDS + 1.0) as receiver:
        site = Site(receiver)
        with serve(create_app(receiver=receiver, dashboard=dashboard(), service="http://127.0.0.1:1"), port=0) as url:
            site.url = url
            site.send(ARRIVES)
            assert not receiver.errors
            yield site
        assert site.complaints == []  # of scripts, of the content security policy, of what is missing


def panel(page: Page, title: str) -> Any:
    return page.get_by_role("article", name=title, exact=True)


def legend(page: Page, title: str) -> dict[str, str]:
    items = panel(page, title).locator(".legend li").all()
    return {item.locator(".name").inner_text(): item.locator(".now").inner_text() for item in items}


def test_every_widget_of_the_definition_is_drawn(chromium: Browser, site: Site) -> None:
    page = site.open(chromium)

    assert page.locator("h2").all_inner_texts() == [group["definition"]["title"] for group in dashboard()["widgets"]]
    titles = [widget["title"] for widget in WIDGETS if "title" in widget]
    assert page.locator(".panel h3").all_inner_texts() == titles
    assert page.locator(".note").count() == len(WIDGETS) - len(titles)
    for widget in WIDGETS:
        if widget["type"] != "timeseries":
            continue
        queries = " ".join(query["query"] for query in widget["requests"][0]["queries"])
        chart = panel(page, widget["title"])
        drawn, silence = chart.locator("svg .drawn").count(), chart.locator(".silence")
        if ":aws." in queries:
            expect(silence).to_have_text(ABSENT)
        else:
            assert drawn or silence.inner_text() == "No values yet.", widget["title"]
        assert chart.get_by_role("img").get_attribute("aria-label").startswith(widget["title"])
    page.close()


def test_the_numbers_are_those_that_were_sent(chromium: Browser, site: Site) -> None:
    page = site.open(chromium)

    def number(title: str) -> str:
        return str(panel(page, title).locator(".number").inner_text())

    assert number("Requests") == "40"
    assert number("Good requests, %") == "97.50%"
    assert panel(page, "Good requests, %").locator(".verdict").inner_text() == "✗ below 99.9%"
    assert number("Art that was stored already, %") == "25.00%"
    assert legend(page, "Requests by status") == {"200": "37", "404": "2", "503": "1"}
    assert legend(page, "Time to answer by status, average, ms") == {"200": "10 ms", "404": "5 ms", "503": "4 s"}
    assert legend(page, "Time for a megapixel, ms (decoding and conversion)") == {"ms per megapixel": "6 ms"}
    assert legend(page, "Bytes in by format") == {"gif": "18 kB", "jpeg": "7.5 MB"}
    assert re.split(r"\s+", panel(page, "Images by format").locator(".top").inner_text()) == ["jpeg", "30", "gif", "2"]
    page.close()


def test_it_is_live_and_shows_what_was_refused(chromium: Browser, site: Site) -> None:
    page = site.open(chromium)
    expect(page.locator("#state")).to_have_text("live")
    expect(page.locator("#errors")).to_be_hidden()

    site.send(f"{metrics.REQUESTS}:2|c|#status:200\nnonsense <b>here</b>")

    expect(panel(page, "Requests").locator(".number")).to_have_text("42")
    assert legend(page, "Requests by status")["200"] == "39"
    expect(page.locator("#bad")).to_have_text("1")
    page.locator("#errors summary").click()
    expect(page.locator("#errors li")).to_contain_text("nonsense <b>here</b>")
    page.close()


def test_it_says_when_it_was_stopped(chromium: Browser) -> None:
    with Receiver() as receiver:
        site = Site(receiver)
        with serve(create_app(receiver=receiver, dashboard=dashboard()), port=0) as site.url:
            page = site.open(chromium)
            expect(page.locator("#state")).to_have_text("waiting for the first datagram")
        expect(page.locator("#state")).to_have_text("the dashboard was stopped")
        page.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_follows_the_systems_theme_until_another_is_chosen(chromium: Browser, site: Site, scheme: Any) -> None:
    page = site.open(chromium, color_scheme=scheme)

    def brightness() -> int:
        colour = page.evaluate("getComputedStyle(document.body).backgroundColor")
        return sum(map(int, re.findall(r"\d+", colour)[:3])) // 3

    assert (brightness() > 128) is (scheme == "light")
    page.locator("#theme").click()
    assert (brightness() > 128) is (scheme == "dark")
    page.reload()
    page.wait_for_selector("body[data-drawn]")
    assert (brightness() > 128) is (scheme == "dark")
    page.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_and_lines_stand_out_from_their_background(chromium: Browser, site: Site, scheme: Any) -> None:
    """WCAG 2: text 4.5 to 1, graphics 3 to 1."""
    page = site.open(chromium, color_scheme=scheme)

    def luminance(variable: str) -> float:
        colour = page.evaluate(
            """name => {
                document.querySelector("h1").style.color = `var(${name})`;
                return getComputedStyle(document.querySelector("h1")).color;
            }""",
            variable,
        )
        channels = [int(number) / 255 for number in re.findall(r"\d+", colour)[:3]]
        linear = [value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in channels]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    def contrast(one: str, other: str) -> float:
        low, high = sorted((luminance(one), luminance(other)))
        return (high + 0.05) / (low + 0.05)

    for text in ("--text", "--quiet", "--accent", "--good", "--bad"):
        assert contrast(text, "--card") >= 4.5, text
    for series in range(8):
        assert contrast(f"--series-{series}", "--card") >= 3, series
    page.close()


def test_it_fits_a_phone(chromium: Browser, site: Site) -> None:
    page = site.open(chromium, viewport={"width": 360, "height": 740}, device_scale_factor=2)

    assert page.evaluate("document.documentElement.scrollWidth") == 360
    boxes = [chart.bounding_box() for chart in page.locator(".panel").all()]
    assert {(box["x"], box["width"]) for box in boxes} == {(boxes[0]["x"], boxes[0]["width"])}
    page.close()


def test_the_keyboard_reads_a_chart(chromium: Browser, site: Site) -> None:
    page = site.open(chromium)
    chart = panel(page, "Requests by status").get_by_role("img")

    chart.focus()
    page.keyboard.press("End")
    expect(chart).to_have_attribute("aria-label", re.compile(r"\d\d:\d\d:\d\d 200 37, 404 2, 503 1$"))
    page.keyboard.press("ArrowLeft")
    expect(chart).to_have_attribute("aria-label", re.compile("200 none, 404 none, 503 none$"))
    assert page.locator(".crosshair").count() > 10  # in all charts at once
    page.keyboard.press("Escape")
    expect(chart).to_have_attribute("aria-label", re.compile("latest 200 37, 404 2, 503 1$"))
    page.close()


def test_a_browser_that_does_not_start_is_one_sentence() -> None:
    found = subprocess.run([TOOL], env={**os.environ, "CHROMIUM": "/bin/false"}, capture_output=True, text=True, check=False)

    assert (found.returncode, found.stdout) == (1, "")
    assert found.stderr == "tools/browser: $CHROMIUM is /bin/false, which does not start\n"


def command(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "observability.local", "--port", "0", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
        start_new_session=True,
    )


def test_one_command_shows_a_service_at_work_and_leaves_nothing_behind(chromium: Browser) -> None:
    with command("--rate", "20") as process:
        assert process.stdout
        addresses = re.findall(r"http://\S+?(?=[,.] )", process.stdout.readline())
        site = Site(Receiver(), addresses[0])
        site.receiver.close()
        page = site.open(chromium)
        expect(panel(page, "Requests").locator(".number")).to_have_text(re.compile(r"^\d\d+$"), timeout=30_000)
        expect(page.locator("#state")).to_have_text("live")
        expect(page.locator("#bad")).to_have_text("0")
        assert "200" in legend(page, "Requests by status")
        page.close()
        assert site.complaints == []
        assert urllib.request.urlopen(f"{addresses[1]}/readyz").status == 200  # noqa: S310

        process.send_signal(signal.SIGINT)
        assert process.wait(40) == 0
        assert process.stderr
        assert process.stderr.read() == ""
    for address in addresses:
        with pytest.raises(OSError, match="refused"):
            socket.create_connection(("127.0.0.1", int(address.rpartition(":")[2])))


def test_what_it_cannot_do_is_one_sentence() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, Receiver() as receiver:
        port = taken.getsockname()[1]
        for option, value, sentence in (
            ("--port", f"{port}", f"port {port} is taken: choose another with --port"),
            ("--statsd-port", f"{receiver.port}", f"UDP port {receiver.port} is taken: choose another with --statsd-port"),
            ("--service", "http://127.0.0.1:1", "no service answers at http://127.0.0.1:1"),
            ("--service", "ftp://127.0.0.1", "no service answers at ftp://127.0.0.1"),
        ):
            with command("--no-load", option, value) as process:
                assert process.communicate(timeout=60) == ("", f"dashboard: {sentence}\n")
                assert process.returncode == 1
