"""Time the service adds to a conversion: fresh and stored HTTP requests, compared with the bare conversion.

A fresh request asks for a width that this image was never converted at, so it takes the whole path: store, queue, worker,
reply. The bare conversion of the same round uses the same width. One client sends all requests over one persistent connection.
Client and server share this machine.

    python -m bench.latency
"""

import http.client
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from PIL import Image

from asciist.conversion import ConversionOptions, convert
from asciist.limits import Limits
from devtools.images import encoded
from devtools.server import temporary_server

EXAMPLES = Path(__file__).parent.parent / "examples"
ROUNDS = 300
LABELS = {
    "bare": "bare conversion, in process",
    "stored": "stored request over HTTP",
    "fresh": "fresh request over HTTP: store, queue, worker, reply",
}


def small_photograph() -> bytes:
    """Return a JPEG photograph of 640x480 px (0.3 megapixels)."""
    with Image.open(EXAMPLES / "rocket.jpg") as rocket:
        return encoded(rocket.resize((640, 480)), "JPEG", quality=85)


def milliseconds(call: Callable[[], object]) -> float:
    """Return the wall-clock time of one call, in milliseconds."""
    start = time.perf_counter()
    call()
    return 1000 * (time.perf_counter() - start)


def report() -> Iterator[str]:
    """Yield Markdown lines: a table of latencies and their ratios to the bare conversion."""
    with temporary_server() as server:
        yield from measure(small_photograph(), server.port)


def measure(image: bytes, port: int) -> Iterator[str]:
    """Yield the Markdown lines of `report` for one image and a server on a local port."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)

    def send(width: int, expected_cache_status: str) -> None:
        connection.request("PUT", f"/?width={width}", image)
        response = connection.getresponse()
        response.read()
        assert response.headers["Cache-Status"] == expected_cache_status, response.headers

    send(80, "asciist; fwd=miss; stored")
    times: dict[str, list[float]] = {"bare": [], "stored": [], "fresh": []}
    for width in range(81, 81 + ROUNDS):
        times["bare"].append(milliseconds(lambda width=width: convert(image, ConversionOptions(width=width), Limits())))
        times["stored"].append(milliseconds(lambda: send(80, "asciist; hit")))
        times["fresh"].append(milliseconds(lambda width=width: send(width, "asciist; fwd=miss; stored")))
    bare = statistics.median(times["bare"])
    yield f"0.3-megapixel JPEG of {len(image)} bytes at widths 81 to {80 + ROUNDS}; the three kinds alternate. Milliseconds."
    yield ""
    yield "| | median | 95th percentile | median / bare median |"
    yield "|---|--:|--:|--:|"
    for name, label in LABELS.items():
        median = statistics.median(times[name])
        p95 = statistics.quantiles(times[name], n=20)[-1]
        yield f"| {label} | {median:.2f} | {p95:.2f} | {median / bare:.2f} |"


if __name__ == "__main__":
    for line in report():
        print(line)
