"""Tests of the local dashboard in a real Chromium, and of its command."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from asciist.telemetry import metrics
from operations.dashboard.dogstatsd import BUCKET_SECONDS, Receiver
from operations.dashboard.evaluation import ABSENT
from operations.dashboard.load import Load
from operations.dashboard.server import create_app, serve
from operations.observability.datadog import dashboard
from tools.testing.browser import TOOL

pytestmark = pytest.mark.slow

WIDGETS = [
    widget["definition"]
    for group in dashboard()["widgets"]
    for widget in group["definition"]["widgets"]
]
LINES = (
    f"{metrics.REQUESTS}:37|c|#status:200\n{metrics.REQUESTS}:2|c|#status:404\n{metrics.REQUESTS}:1|c|#status:503\n"
    f"{metrics.REQUEST_DURATION}:{':'.join(['10'] * 37)}|d|#status:200\n"
    f"{metrics.REQUEST_DURATION}:5:5|d|#status:404\n{metrics.REQUEST_DURATION}:4000|d|#status:503\n"
    f"{metrics.ART_SERVED}:9|c|#source:store\n{metrics.ART_SERVED}:27|c|#source:conversion\n"
    f"{metrics.IMAGE_BYTES}:{':'.join(['250000'] * 30)}|d|#format:jpeg\n{metrics.IMAGE_BYTES}:9000:9000|d|#format:gif\n"
    f"{metrics.IMAGE_DECODE_DURATION}:6:6|d|#format:jpeg\n{metrics.CONVERSION_DURATION}:3:3|d|#style:structure\n"
    f"{metrics.CONVERSION_PIXELS}:3000000|c|#format:jpeg"
)
START = 1_000_000 * BUCKET_SECONDS + 1.0


def title_of(kind: str, *parts: str) -> str:
    """Return the title of the first widget of this type whose definition contains `parts`."""
    return next(
        widget["title"]
        for widget in WIDGETS
        if widget["type"] == kind and all(part in json.dumps(widget) for part in parts)
    )


REQUESTS = title_of("query_value", f"sum:{metrics.REQUESTS}")
REQUESTS_BY_STATUS = title_of("timeseries", f"sum:{metrics.REQUESTS}", "by {status}")
GOOD_REQUESTS = title_of("query_value", "count(v: v<=")
BYTES_BY_FORMAT = title_of("timeseries", f"sum:{metrics.IMAGE_BYTES}", "by {format}")


def open_page(browser: Browser, url: str, console: list[str], **options: Any) -> Page:
    """Open the dashboard, wait for its first values, and collect what the browser logs."""
    page = browser.new_page(**options)
    page.on("console", lambda message: console.append(message.text))
    page.on("pageerror", lambda error: console.append(str(error)))
    page.goto(url)
    page.wait_for_selector("body[data-drawn]")
    return page


class Site:
    """A dashboard whose clock only `wait` advances."""

    def __init__(self) -> None:
        self.now = START
        self.receiver = Receiver(clock=lambda: self.now)
        self.url = ""
        self.console: list[str] = []

    def open(self, browser: Browser, **options: Any) -> Page:
        return open_page(browser, self.url, self.console, **options)

    def send(self, text: str) -> None:
        before = self.receiver.lines
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.sendto(text.encode(), self.receiver.server_address)
        while self.receiver.lines == before:
            self.receiver.settle(quiet=0.05)

    def wait(self, seconds: float = BUCKET_SECONDS) -> None:
        """Advance the clock; charts show a bucket once it is complete."""
        self.now += seconds


@pytest.fixture
def site() -> Iterator[Site]:
    site = Site()
    with (
        site.receiver,
        serve(create_app(receiver=site.receiver, dashboard=dashboard()), port=0) as site.url,
    ):
        site.send(LINES)
        assert not site.receiver.errors
        site.wait()
        yield site
    # no script errors, violations of the content security policy, or missing files
    assert site.console == []


def panel(page: Page, title: str) -> Any:
    return page.get_by_role("article", name=title, exact=True)


def legend(page: Page, title: str) -> dict[str, str]:
    rows = panel(page, title).locator(".u-legend .u-series").all()[1:]  # the first is the time
    return {
        row.locator(".u-label").inner_text(): row.locator(".u-value").inner_text() for row in rows
    }


def test_every_widget_of_the_definition_is_drawn(chromium: Browser, site: Site) -> None:
    page = site.open(chromium)

    assert page.locator("h2").all_inner_texts() == [
        group["definition"]["title"] for group in dashboard()["widgets"]
    ]
    titles = [widget["title"] for widget in WIDGETS if "title" in widget]
    assert page.locator(".panel h3").all_inner_texts() == titles
    assert page.locator(".notes p").count() == len(WIDGETS) - len(titles)
    for widget in WIDGETS:
        if widget["type"] != "timeseries":
            continue
        queries = " ".join(query["query"] for query in widget["requests"][0]["queries"])
        chart = panel(page, widget["title"])
        drawn, silence = chart.locator("canvas").count(), chart.locator(".silence")
        if ":aws." in queries:
            expect(silence).to_have_text(ABSENT)
        else:
            assert drawn or silence.inner_text() == "No values yet.", widget["title"]
        assert chart.get_by_role("img").get_attribute("aria-label").startswith(widget["title"])
    page.close()


def test_the_values_are_those_received(chromium: Browser, site: Site) -> None:
    page = site.open(chromium)

    def number(title: str) -> str:
        return str(panel(page, title).locator(".number").inner_text())

    assert number(REQUESTS) == "40"
    assert number(GOOD_REQUESTS) == "97.50%"
    assert panel(page, GOOD_REQUESTS).locator(".quiet").inner_text() == "✗ below 99.9%"
    assert number(title_of("query_value", metrics.ART_SERVED)) == "25.00%"
    assert legend(page, REQUESTS_BY_STATUS) == {"200": "37", "404": "2", "503": "1"}
    assert legend(
        page, title_of("timeseries", f"avg:{metrics.REQUEST_DURATION}", "by {status}")
    ) == {
        "200": "10 ms",
        "404": "5 ms",
        "503": "4 s",
    }
    per_megapixel = title_of("timeseries", metrics.CONVERSION_PIXELS, metrics.CONVERSION_DURATION)
    assert list(legend(page, per_megapixel).values()) == ["6 ms"]
    assert legend(page, BYTES_BY_FORMAT) == {"gif": "18 kB", "jpeg": "7.5 MB"}
    assert re.split(
        r"\s+", panel(page, title_of("toplist", metrics.IMAGE_BYTES)).locator(".top").inner_text()
    ) == [
        "jpeg",
        "30",
        "gif",
        "2",
    ]
    page.close()


def test_values_and_invalid_lines_update(chromium: Browser, site: Site) -> None:
    page = site.open(chromium)
    expect(page.locator("#status")).to_have_text("Receiving metrics.")
    expect(page.locator("#errors li")).to_have_count(0)

    site.wait(-BUCKET_SECONDS)  # back to the bucket of the first values
    site.send(f"{metrics.REQUESTS}:2|c|#status:200\nnonsense <b>here</b>")
    site.wait()

    expect(panel(page, REQUESTS).locator(".number")).to_have_text("42")
    assert legend(page, REQUESTS_BY_STATUS)["200"] == "39"
    expect(page.locator("#datagrams")).to_contain_text("1 invalid lines")
    expect(page.locator("#errors li")).to_contain_text("nonsense <b>here</b>")
    page.close()


def expect_no_data(page: Page) -> None:
    """Check that every value is replaced by "no data"."""
    assert page.locator(".number").count() > 2
    for number in page.locator(".number").all():
        expect(number).to_have_text("no data")
        expect(number).to_have_attribute("data-state", "none")
    expect(page.locator(".panel", has_text="✓")).to_have_count(0)


def first_line(page: Page) -> str:
    """Return the text at the top of the page."""
    return str(page.locator("body").inner_text()).strip().splitlines()[0]


def test_without_any_metrics_no_value_is_green(chromium: Browser) -> None:
    with (
        Receiver() as receiver,
        serve(create_app(receiver=receiver, dashboard=dashboard()), port=0) as url,
    ):
        page = open_page(chromium, url, [])
        assert first_line(page) == "No metrics received yet."
        expect_no_data(page)
        page.close()


def test_old_values_are_not_shown_as_current(chromium: Browser, site: Site) -> None:
    site.send(f"{metrics.REQUEST_DURATION}:{':'.join(['10'] * 9_999)}|d|#status:200")
    page = site.open(chromium)
    good = panel(page, GOOD_REQUESTS).locator(".number")
    expect(good).to_have_attribute("data-state", "good")

    site.wait(32)
    expect(page.locator("#status")).to_have_text(
        "No metrics received for 32 s. The values below are older."
    )
    assert first_line(page) == page.locator("#status").inner_text()
    expect_no_data(page)

    site.send(f"{metrics.REQUESTS}:1|c|#status:200")
    expect(page.locator("#status")).to_have_text("Receiving metrics.")
    expect(good).to_have_attribute("data-state", "good")
    page.close()


def test_no_value_is_green_while_requests_fail(chromium: Browser) -> None:
    site = Site()
    with (
        site.receiver,
        Load("http://127.0.0.1:1", rate=50) as load,
        serve(
            create_app(receiver=site.receiver, dashboard=dashboard(), load=load), port=0
        ) as site.url,
    ):
        site.send(f"{metrics.REQUEST_DURATION}:10|d|#status:200")
        page = site.open(chromium)
        expect(page.locator("#status")).to_have_text(
            "12 of the last 12 requests failed (Connection refused)."
        )
        expect(panel(page, GOOD_REQUESTS).locator(".number")).to_have_text("100.00%")
        expect(panel(page, GOOD_REQUESTS).locator(".number")).to_have_attribute("data-state", "")
        expect(page.locator(".panel", has_text="✓")).to_have_count(0)
        page.close()


def test_a_stopped_server_is_reported(chromium: Browser) -> None:
    site = Site()
    with site.receiver:
        with serve(create_app(receiver=site.receiver, dashboard=dashboard()), port=0) as site.url:
            site.send(LINES)
            page = site.open(chromium)
            expect(page.locator("#status")).to_have_text("Receiving metrics.")
        expect(page.locator("#status")).to_have_text(
            "The dashboard's server does not respond. The values below are older."
        )
        expect_no_data(page)
        page.close()


def test_a_browser_without_a_valid_language_draws_the_page(chromium: Browser, site: Site) -> None:
    with chromium.new_context() as context:
        context.add_init_script(
            "Object.defineProperty(navigator, 'language',"
            " { value: 'en-US@posix', configurable: true })"
        )
        page = context.new_page()
        page.on("pageerror", lambda error: site.console.append(str(error)))
        page.goto(site.url)
        page.wait_for_selector("body[data-drawn]")
        assert legend(page, REQUESTS_BY_STATUS)


def test_a_hanging_server_is_reported(chromium: Browser, site: Site) -> None:
    page = site.open(chromium)
    page.route("**/data*", lambda _route: None)  # no response

    expect(page.locator("#status")).to_contain_text("does not respond", timeout=120_000)
    expect_no_data(page)
    page.unroute_all(behavior="ignoreErrors")
    expect(page.locator("#status")).to_have_text("Receiving metrics.", timeout=120_000)
    page.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_follows_the_system_theme(chromium: Browser, site: Site, scheme: Any) -> None:
    page = site.open(chromium, color_scheme=scheme)

    def brightness() -> int:
        colour = page.evaluate("getComputedStyle(document.body).backgroundColor")
        return sum(map(int, re.findall(r"\d+", colour)[:3])) // 3

    assert (brightness() > 128) is (scheme == "light")
    page.emulate_media(color_scheme="light" if scheme == "dark" else "dark")
    assert (brightness() > 128) is (scheme == "dark")
    page.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_and_lines_have_enough_contrast(chromium: Browser, site: Site, scheme: Any) -> None:
    """Check the ratios of WCAG 2: 4.5 to 1 for text, 3 to 1 for graphics."""
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
        linear = [
            value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4
            for value in channels
        ]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    def contrast(one: str, other: str) -> float:
        low, high = sorted((luminance(one), luminance(other)))
        return (high + 0.05) / (low + 0.05)

    for text in ("--text", "--quiet", "--accent", "--good", "--bad"):
        assert contrast(text, "--card") >= 4.5, text
    for series in range(8):
        assert contrast(f"--series-{series}", "--card") >= 3, series
    page.close()


def test_the_page_fits_a_phone(chromium: Browser, site: Site) -> None:
    page = site.open(chromium, viewport={"width": 360, "height": 740}, device_scale_factor=2)

    assert page.evaluate("document.documentElement.scrollWidth") == 360
    boxes = [chart.bounding_box() for chart in page.locator(".panel").all()]
    assert {(box["x"], box["width"]) for box in boxes} == {(boxes[0]["x"], boxes[0]["width"])}
    page.close()


def test_pointing_at_a_chart_shows_the_values_of_that_time_in_all_charts(
    chromium: Browser, site: Site
) -> None:
    page = site.open(chromium)
    chart = panel(page, REQUESTS_BY_STATUS)

    box = chart.locator(".u-over").bounding_box()
    page.mouse.move(box["x"] + box["width"] - 1, box["y"] + 20)
    assert legend(page, REQUESTS_BY_STATUS) == {"200": "37", "404": "2", "503": "1"}
    time = chart.locator(".u-value").first.inner_text()
    assert re.fullmatch(r"\d\d:\d\d:\d\d", time)
    assert panel(page, BYTES_BY_FORMAT).locator(".u-value").first.inner_text() == time
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 20)
    assert legend(page, REQUESTS_BY_STATUS) == {"200": "none", "404": "none", "503": "none"}
    page.close()


def test_a_chart_can_be_read_with_the_keyboard(chromium: Browser, site: Site) -> None:
    page = site.open(chromium)
    chart = panel(page, REQUESTS_BY_STATUS).get_by_role("img")

    chart.focus()
    page.keyboard.press("End")
    expect(chart).to_have_attribute(
        "aria-label", re.compile(r"\d\d:\d\d:\d\d 200 37, 404 2, 503 1$")
    )
    page.keyboard.press("ArrowLeft")
    expect(chart).to_have_attribute("aria-label", re.compile("200 none, 404 none, 503 none$"))
    moved = re.search(r"\d\d:\d\d:\d\d", chart.get_attribute("aria-label"))
    assert moved
    assert page.get_by_role("img", name=moved[0]).count() > 10  # the crosshair moves in all charts
    page.keyboard.press("Escape")
    expect(chart).to_have_attribute("aria-label", re.compile("latest 200 37, 404 2, 503 1$"))
    page.close()


def test_a_chromium_that_does_not_start_is_reported_in_one_sentence() -> None:
    found = subprocess.run(
        [TOOL],
        env={**os.environ, "CHROMIUM": "/bin/false"},
        capture_output=True,
        text=True,
        check=False,
    )

    assert (found.returncode, found.stdout) == (1, "")
    assert found.stderr == "tools/browser: $CHROMIUM is /bin/false, which does not start\n"


@contextmanager
def command(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Run the command. If the test has not ended it, it is killed at the end, without waiting."""
    with subprocess.Popen(
        [sys.executable, "-m", "operations.dashboard", "--port", "0", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
        start_new_session=True,
    ) as process:
        try:
            yield process
        finally:
            process.terminate()


def test_the_command_runs_and_stops_the_service(chromium: Browser) -> None:
    with command("--rate", "20") as process:
        addresses = addresses_of(process)
        console: list[str] = []
        page = open_page(chromium, addresses[0], console)
        expect(panel(page, REQUESTS).locator(".number")).to_have_text(
            re.compile(r"^\d\d+$"), timeout=120_000
        )
        expect(page.locator("#status")).to_have_text("Receiving metrics.", timeout=120_000)
        expect(page.locator("#datagrams")).to_contain_text(" 0 invalid lines")
        expect(panel(page, REQUESTS_BY_STATUS).locator(".u-label", has_text="200")).to_be_visible(
            timeout=120_000
        )
        page.close()
        assert console == []
        assert urllib.request.urlopen(f"{addresses[1]}/readyz").status == 200  # noqa: S310

        process.send_signal(signal.SIGINT)
        assert process.wait(300) == 0
        assert process.stderr
        assert process.stderr.read() == ""
    for address in addresses:
        with pytest.raises(OSError, match="refused"):
            socket.create_connection(("127.0.0.1", int(address.rpartition(":")[2])))


def addresses_of(process: subprocess.Popen[str]) -> list[str]:
    """Return the URLs of the page and of the service once both respond."""
    assert process.stdout
    return re.findall(r"http://\S+?(?=[,.] )", process.stdout.readline())


def test_an_outage_is_shown_until_the_service_recovers(chromium: Browser) -> None:
    with command("--rate", "20") as process:
        page = open_page(chromium, addresses_of(process)[0], [])
        expect(page.locator("#status")).to_have_text("Receiving metrics.", timeout=120_000)
        expect(panel(page, REQUESTS).locator(".number")).to_have_text(
            re.compile(r"\d"), timeout=120_000
        )

        [service] = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        os.killpg(int(service), signal.SIGSTOP)  # gunicorn and its workers
        try:
            expect(page.locator("#status")).to_have_text(
                re.compile(
                    r"^No metrics received for \d\d s\. The values below are older\. \d+ of the"
                    r" last \d+ requests failed"
                ),
                timeout=40_000,
            )
            assert first_line(page).startswith("No metrics received for")
            expect_no_data(page)
        finally:
            os.killpg(int(service), signal.SIGCONT)
        expect(page.locator("#status")).to_have_text("Receiving metrics.", timeout=120_000)
        expect(panel(page, REQUESTS).locator(".number")).to_have_text(re.compile(r"\d"))
        page.close()
        process.send_signal(signal.SIGINT)
        assert process.wait(300) == 0


def test_a_failure_to_start_is_reported_in_one_sentence() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, Receiver() as receiver:
        port = taken.getsockname()[1]
        for option, value, sentence in (
            ("--port", f"{port}", f"port {port} is taken: choose another with --port"),
            (
                "--statsd-port",
                f"{receiver.port}",
                f"UDP port {receiver.port} is taken: choose another with --statsd-port",
            ),
            ("--service", "http://127.0.0.1:1", "no service responds at http://127.0.0.1:1"),
            ("--service", "ftp://127.0.0.1", "no service responds at ftp://127.0.0.1"),
        ):
            with command("--no-load", option, value) as process:
                assert process.communicate(timeout=60) == ("", f"Error: {sentence}\n")
                assert process.returncode == 1
