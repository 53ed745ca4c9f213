"""Time from dropping an image on the web page to seeing its art, compared with the same conversion
over HTTP without a browser.

Chromium and the service share the machine, so no network time is included. The difference consists
of reading the file, sending it, and drawing the art. Every drop uses a new width for the image. The
two measurements alternate, and the first round of each is discarded.

    python -m bench.page
"""

import base64
import http.client
import statistics
import time
from collections.abc import Callable, Iterator

from playwright.sync_api import Page, Response

from bench.speed import photograph
from tools.testing.browser import chromium
from tools.testing.images import encoded
from tools.testing.server import temporary_server

ROUNDS = 15
SIZES = {"0.3 megapixels": (640, 480), "12 megapixels": (4000, 3000)}

_DROP = """async ([content, width]) => {
    const file = new File([Uint8Array.from(atob(content), (c) => c.charCodeAt(0))], "photograph.jpg");
    const transfer = new DataTransfer();
    transfer.items.add(file);
    document.getElementById("width").value = width;
    const drawn = new Promise((resolve) => new MutationObserver((_, observer) => {
        observer.disconnect();
        requestAnimationFrame(() => setTimeout(resolve)); // runs after the frame that contains the art
    }).observe(document.getElementById("art"), {childList: true}));
    const start = performance.now();
    document.body.dispatchEvent(new DragEvent("drop", {dataTransfer: transfer, bubbles: true}));
    await drawn;
    return performance.now() - start;
}"""


def milliseconds(call: Callable[[], object]) -> float:
    """Return the wall-clock time of one call, in milliseconds."""
    start = time.perf_counter()
    call()
    return 1000 * (time.perf_counter() - start)


def report() -> Iterator[str]:
    """Yield Markdown lines: a table of times, and the bytes that the page loads."""
    with temporary_server() as server, chromium() as browser:
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        responses: list[Response] = []
        # Playwright rejects built-in methods.
        page.on("response", lambda response: responses.append(response))  # noqa: PLW0108
        page.goto(f"{server.url}/", wait_until="networkidle")
        sizes = {response.url: len(response.body()) for response in responses}
        yield (
            f"Chromium {browser.version}, {ROUNDS} drops of each JPEG at widths 82 to"
            f" {81 + ROUNDS}. Median milliseconds."
        )
        yield ""
        yield "| image | bytes | drop to art | HTTP alone | ratio |"
        yield "|---|--:|--:|--:|--:|"
        for name, size in SIZES.items():
            image = encoded(photograph(*size), "JPEG", quality=85)
            drop, http_alone = measure(page, image, server.port)
            yield (
                f"| {name} | {len(image)} | {drop:.0f} | {http_alone:.0f} |"
                f" {drop / http_alone:.2f} |"
            )
    parts = ", ".join(
        f"{url.removeprefix(server.url).partition('?')[0]} {size}" for url, size in sizes.items()
    )
    yield ""
    yield f"A first visit to the page loads {sum(sizes.values())} bytes: {parts}."


def measure(page: Page, image: bytes, port: int) -> tuple[float, float]:
    """Return the median times, in milliseconds, of a drop on the page and of an HTTP request
    without it."""
    content = base64.b64encode(image).decode()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)

    def send(width: int) -> None:
        # The drop has just stored the art of this width: request it inverted, which takes as long
        # and is not stored yet.
        connection.request("PUT", f"/?width={width}&style=structure&invert=true", image)
        connection.getresponse().read()

    drop_times, http_times = [], []
    for width in range(81, 82 + ROUNDS):
        drop_times.append(page.evaluate(_DROP, [content, width]))
        http_times.append(milliseconds(lambda width=width: send(width)))
    return statistics.median(drop_times[1:]), statistics.median(http_times[1:])


if __name__ == "__main__":
    for line in report():
        print(line)
