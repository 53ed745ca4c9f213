"""Time until a new instance of the function has converted its first image, compared with a
baseline.

Each step is timed in fresh processes, in turns. The baseline imports boto3, Pillow and NumPy and
creates clients for S3 and SQS, as any such worker must. The worker is timed up to its second
conversion. Lambda adds the start of its virtual machine, and its processors differ. Calls to S3 and
SQS are left out, because they depend on the network.

    python -m bench.coldstart
"""

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parent.parent
ROUNDS: Final = 15
_IMAGE: Final = ROOT / "docs" / "examples" / "cat.jpg"
_ENVIRONMENT: Final = {
    "ASCIIST_BACKEND": "aws",
    "ASCIIST_BUCKET": "bucket",
    "ASCIIST_REQUEST_QUEUE_URL": "https://sqs.eu-west-1.amazonaws.com/123456789012/requests",
    "AWS_REGION": "eu-west-1",
    "AWS_DEFAULT_REGION": "eu-west-1",
    "AWS_ACCESS_KEY_ID": "none",
    "AWS_SECRET_ACCESS_KEY": "none",
    "AWS_LAMBDA_FUNCTION_NAME": "converter",
    "PYTHONDONTWRITEBYTECODE": "1",
}
_STEPS: Final = {
    "least": (
        """
import boto3, numpy
from PIL import Image
boto3.client("s3"), boto3.client("sqs")
done("imports and clients")
"""
    ),
    "worker": (
        f"""
import lambda_worker.handler
done("imports")
responder = lambda_worker.handler._responder()
done("clients and the process that converts")
from asciist.conversion import ConversionOptions
image = open({str(_IMAGE)!r}, "rb").read()
responder._converter.convert(image, ConversionOptions(width=80), wait_seconds=10)
done("first conversion")
responder._converter.convert(image, ConversionOptions(width=80), wait_seconds=10)
done("second conversion")
"""
    ),
}
_TIMER: Final = """
import json, os, time
started, times = time.perf_counter(), {}
def done(name):
    global started
    now = time.perf_counter()
    times[name], started = now - started, now
"""


def report() -> Iterator[str]:
    """Yield Markdown lines: a table of times, and their ratios to the baseline."""
    measured: dict[str, list[dict[str, float]]] = {kind: [] for kind in _STEPS}
    for _ in range(ROUNDS):
        for kind, steps in _STEPS.items():
            measured[kind].append(_times(steps))
    least = _median(measured["least"], "imports and clients")
    yield (
        f"Medians of {ROUNDS} fresh processes of each kind, in turns; the photograph has"
        " 451x300 px."
    )
    yield ""
    yield "| | ms | of the least |"
    yield "|---|--:|--:|"
    yield f"| the least: boto3, Pillow, NumPy, two clients | {least:.0f} | 1.00 |"
    for name in measured["worker"][0]:
        milliseconds = _median(measured["worker"], name)
        yield f"| {name} | {milliseconds:.0f} | {milliseconds / least:.2f} |"
    total = statistics.median(
        1000 * (sum(times.values()) - times["second conversion"]) for times in measured["worker"]
    )
    yield f"| **until the first conversion is done** | {total:.0f} | {total / least:.2f} |"


def _times(steps: str) -> dict[str, float]:
    """Return the seconds of each step of a fresh process."""
    code = f"{_TIMER}\n{steps}\nprint(json.dumps(times), flush=True)\nos._exit(0)"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={**os.environ, **_ENVIRONMENT},
        capture_output=True,
        text=True,
        check=True,
    )
    times: dict[str, float] = json.loads(done.stdout)
    return times


def _median(measured: list[dict[str, float]], name: str) -> float:
    return statistics.median(1000 * times[name] for times in measured)


if __name__ == "__main__":
    for line in report():
        print(line)
