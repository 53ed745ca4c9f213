"""From dropping an image on the page to seeing its art, against the same conversion over HTTP without a browser.

Chromium and the service are on this machine, so that there is no network to wait for: what is left is reading the file, sending
it, converting it, and drawing the art. Each drop has a width that the image never had. In turns, and all of them once before.

    python -m bench.page
"""

import base64
import http.client
import statistics
from collections.abc import Iterator

from playwright.sync_api import Page, Response

from bench.browser import chromium
from bench.latency import milliseconds, serving
from bench.speed import encoded, photograph

ROUNDS = 15
SIZES = {"0.3 megapixels": (640, 480), "12 megapixels": (4000, 3000)}

_DROP = """async ([content, width]) => {
    const file = new File([Uint8Array.from(atob(content), (c) => c.charCodeAt(0))], "photograph.jpg");
    const transfer = new DataTransfer();
    transfer.items.add(file);
    document.getElementById("width").value = width;
    const drawn = new Promise((resolve) => new MutationObserver((_, observer) => {
        observer.disconnect();
        requestAnimationFrame(() => setTimeout(resolve)); // once the frame with the art is made
    }).observe(document.getElementById("art"), {childList: true}));
    const start = performance.now();
    document.body.dispatchEvent(new DragEvent("drop", {dataTransfer: transfer, bubbles: true}));
    await drawn;
    return performance.now() - start;
}"""


def report() -> Iterator[str]:
    """Markdown lines."""
    with serving() as port, chromium() as browser:
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        loaded: list[Response] = []
        page.on("response", lambda response: loaded.append(response))  # noqa: PLW0108 - a bound built-in does not do
        page.goto(f"http://127.0.0.1:{port}/", wait_until="networkidle")
        weight = {response.url: len(response.body()) for response in loaded}
        yield f"Chromium {browser.version}, {ROUNDS} drops of each JPEG at widths 82 to {81 + ROUNDS}; milliseconds, median."
        yield ""
        yield "| image | bytes | from drop to art | over HTTP alone | ratio |"
        yield "|---|--:|--:|--:|--:|"
        for name, size in SIZES.items():
            image = encoded(photograph(*size), "JPEG", quality=85)
            dropped, asked = measure(page, image, port)
            yield f"| {name} | {len(image)} | {dropped:.0f} | {asked:.0f} | {dropped / asked:.2f} |"
    parts = ", ".join(f"{url.partition(str(port))[2].partition('?')[0]} {size}" for url, size in weight.items())
    yield ""
    yield f"The first look at the page loads {sum(weight.values())} bytes: {parts}."


def measure(page: Page, image: bytes, port: int) -> tuple[float, float]:
    """Medians, in milliseconds, of a drop on the page and of a request without it."""
    content = base64.b64encode(image).decode()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)

    def ask(width: int) -> None:
        # Inverted, at the same cost: the page has just had this width made.
        connection.request("PUT", f"/?width={width}&style=structure&invert=true", image)
        connection.getresponse().read()

    dropped, asked = [], []
    for width in range(81, 82 + ROUNDS):
        dropped.append(page.evaluate(_DROP, [content, width]))
        asked.append(milliseconds(lambda width=width: ask(width)))
    return statistics.median(dropped[1:]), statistics.median(asked[1:])


if __name__ == "__main__":
    for line in report():
        print(line)
