"""What the service adds to a conversion: a fresh and a stored request over HTTP against the bare conversion, in turns.

Fresh means a width that this image never had, so the whole path is walked: store, queue, worker, reply. The bare
conversion of the same round draws the same width. One client, a kept connection, both sides on this machine.

    python -m bench.latency
"""

import http.client
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

from PIL import Image

from asciist.conversion import ConversionOptions, convert
from asciist.limits import Limits

EXAMPLES = Path(__file__).parent.parent / "examples"
ROUNDS = 300
LABELS = {
    "bare": "bare conversion, in process",
    "stored": "stored request over HTTP",
    "fresh": "fresh request over HTTP: store, queue, worker, reply",
}


def photograph() -> bytes:
    """A JPEG of 0.3 megapixels (640x480)."""
    with Image.open(EXAMPLES / "rocket.jpg") as rocket:
        file = BytesIO()
        rocket.resize((640, 480)).save(file, "JPEG", quality=85)
    return file.getvalue()


def milliseconds(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return 1000 * (time.perf_counter() - start)


def report() -> Iterator[str]:
    """Markdown lines: a table of medians and their ratios to the bare conversion."""
    with serving() as port:
        yield from measure(photograph(), port)


@contextmanager
def serving() -> Iterator[int]:
    """The service on this machine, with an empty store; its port."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory() as data_dir:
        environment = {**os.environ, "PORT": str(port), "ASCIIST_DATA_DIR": data_dir}
        command = [sys.executable, "-m", "asciist.cli", "serve"]
        with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
            try:
                wait_for(port)
                yield port
            finally:
                server.terminate()


def measure(image: bytes, port: int) -> Iterator[str]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)

    def ask(width: int, expected: str) -> None:
        connection.request("PUT", f"/?width={width}", image)
        response = connection.getresponse()
        response.read()
        assert response.headers["Cache-Status"] == expected, response.headers

    ask(80, "asciist; fwd=miss; stored")
    figures: dict[str, list[float]] = {"bare": [], "stored": [], "fresh": []}
    for width in range(81, 81 + ROUNDS):
        figures["bare"].append(milliseconds(lambda width=width: convert(image, ConversionOptions(width=width), Limits())))
        figures["stored"].append(milliseconds(lambda: ask(80, "asciist; hit")))
        figures["fresh"].append(milliseconds(lambda width=width: ask(width, "asciist; fwd=miss; stored")))
    bare = statistics.median(figures["bare"])
    yield f"0.3-megapixel JPEG of {len(image)} bytes, widths 81 to {80 + ROUNDS}, each kind in turns; milliseconds."
    yield ""
    yield "| | median | 95th percentile | median, of the bare conversion's |"
    yield "|---|--:|--:|--:|"
    for name, label in LABELS.items():
        median = statistics.median(figures[name])
        p95 = statistics.quantiles(figures[name], n=20)[-1]
        yield f"| {label} | {median:.2f} | {p95:.2f} | {median / bare:.2f} |"


def wait_for(port: int) -> None:
    give_up = time.monotonic() + 30
    while time.monotonic() < give_up:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise SystemExit("the service did not start")


if __name__ == "__main__":
    for line in report():
        print(line)
