"""What the service adds to a conversion: a fresh and a stored request over HTTP against the bare conversion, in turns.

Fresh means a width that this image never had, so the whole path is walked: store, queue, worker, reply. The bare
conversion of the same round draws the same width. One client, a kept connection, both sides on this machine.
Prints medians and their ratios to the bare conversion.
"""

import http.client
import os
import platform
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

from PIL import Image

from asciist.conversion import ConversionOptions, convert
from asciist.limits import Limits

EXAMPLES = Path(__file__).parent.parent / "examples"
ROUNDS = 300


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


def main() -> None:
    image = photograph()
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory() as data_dir:
        environment = {**os.environ, "PORT": str(port), "ASCIIST_DATA_DIR": data_dir}
        command = [sys.executable, "-m", "asciist.cli", "serve"]
        with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
            try:
                measure(image, port)
            finally:
                server.terminate()


def measure(image: bytes, port: int) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)

    def ask(width: int, expected: str) -> None:
        connection.request("PUT", f"/?width={width}", image)
        response = connection.getresponse()
        response.read()
        assert response.headers["Cache-Status"] == expected, response.headers

    wait_for(port)
    ask(80, "asciist; fwd=miss; stored")
    figures: dict[str, list[float]] = {"bare": [], "stored": [], "fresh": []}
    for width in range(81, 81 + ROUNDS):
        figures["bare"].append(milliseconds(lambda width=width: convert(image, ConversionOptions(width=width), Limits())))
        figures["stored"].append(milliseconds(lambda: ask(80, "asciist; hit")))
        figures["fresh"].append(milliseconds(lambda width=width: ask(width, "asciist; fwd=miss; stored")))
    bare = statistics.median(figures["bare"])
    print(f"0.3 MP JPEG of {len(image)} bytes, {ROUNDS} rounds, {platform.machine()}, {os.cpu_count()} cores")
    for name, values in figures.items():
        median = statistics.median(values)
        p95 = statistics.quantiles(values, n=20)[-1]
        print(f"  {name:7} median {median:6.2f} ms   p95 {p95:6.2f} ms   {median / bare:5.2f} x bare")


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
    main()
