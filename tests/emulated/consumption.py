"""Measures the CPU time, the log and the traffic of a request in each tier on AWS: `python -m
tests.emulated.consumption`.

Writes operations/capacity/measured.toml, the input of operations/capacity. Real web processes and a
real poller use the AWS adapters. The emulator answers them over plain HTTP; its CPU time does not
count. Takes about five minutes on an otherwise idle machine.
"""

import contextlib
import io
import json
import os
import platform
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import boto3
from PIL import Image

from asciist.conversion import ConversionOptions
from asciist.limits import Limits
from asciist.settings import Settings
from asciist.telemetry import logs
from asciist.wiring import build_responder
from lambda_worker.handler import respond_to_batch
from operations.capacity import MEASURED
from tests.emulated.emulator import ROOT, Emulator
from tools.testing.drawing import convert
from tools.testing.images import encoded
from tools.testing.load import FreshUpload, ProcessTree, RequestSource, closed_loop, fixed
from tools.testing.provenance import processor
from tools.testing.server import Server, temporary_server

_ROUNDS: Final = 6
_SECONDS: Final = 10.0
_FLUSH_SECONDS: Final = 11.0  # longer than the interval at which processes write their metrics
_CONNECTIONS: Final = 4
_MESSAGES: Final = 40
_WIDTH: Final = 80
_SIZES: Final = {"small": (640, 480), "large": (3000, 2250)}
_TRACE: Final = {"X_Amzn_Trace_Id": "Root=1-67891233-abcdef012345678912345678"}
"""Header that the load balancer adds to every request; both tiers log it."""


def main() -> None:
    images = {name: _photograph(size) for name, size in _SIZES.items()}
    with Emulator() as emulator:
        os.environ |= emulator.environment | _create(emulator)
        found = {name: _measure(image) for name, image in images.items()}
        function_log_bytes, function_log_lines = _function_log(images["small"], emulator)
        sent = _bytes_of_a_call(emulator)
    small, large = found["small"], found["large"]
    megabytes = (len(images["large"]) - len(images["small"])) / 1e6
    values = {
        f"{name}_ms": (small[name] - slope * len(images["small"]) / 1e6, slope)
        for name in ("web_fresh", "web_stored", "poller")
        for slope in [max(0.0, (large[name] - small[name]) / megabytes)]
    }
    lines = [
        (
            "# Written by `python -m tests.emulated.consumption`, whose docstring describes the"
            " method."
        ),
        f'measured = "{datetime.now(UTC):%Y-%m-%d}"',
        (
            f'machine = "{processor()}, {os.cpu_count()} cores, {platform.machine()}; CPython'
            f' {platform.python_version()}"'
        ),
        f"image_bytes = {[len(image) for image in images.values()]}",
        (
            "# CPU time: milliseconds of a request, and of each MB of its image. The poller's is"
            " without the conversion."
        ),
        *(
            f"{name} = {fixed_ms:.2f}\n{name}_per_mb = {slope:.2f}"
            for name, (fixed_ms, slope) in values.items()
        ),
        (
            "# Bytes of the log, metrics included: of a request in the web tier, and of a message"
            " in the worker tier."
        ),
        f"web_fresh_log_bytes = {small['web_fresh_log']:.0f}",
        f"web_stored_log_bytes = {small['web_stored_log']:.0f}",
        f"poller_log_bytes = {small['poller_log']:.0f}",
        f"function_log_bytes = {function_log_bytes:.0f}",
        f"function_log_lines = {function_log_lines:.1f}",
        (
            f"metric_series = {small['series']:.0f}  # time series of CloudWatch metrics, if all"
            " requests succeed"
        ),
        (
            "# Bytes of the answer with its head, of stored art, and of an SQS call and its answer"
            " without message and TLS."
        ),
        f"answer_bytes = {small['answer']:.0f}",
        f"art_bytes = {small['art']:.0f}",
        f"sqs_call_bytes = {sent}",
    ]
    MEASURED.write_text("\n".join(lines) + "\n")
    print(MEASURED.read_text())


def _photograph(size: tuple[int, int]) -> bytes:
    with Image.open(ROOT / "docs/examples/rocket.jpg") as rocket:
        return encoded(rocket.resize(size), "JPEG", quality=95)


def _create(emulator: Emulator) -> dict[str, str]:
    """Create the bucket and the queue, and return the settings that name them."""
    boto3.client("s3", **emulator.client_arguments).create_bucket(Bucket="artifacts")
    queue = boto3.client("sqs", **emulator.client_arguments).create_queue(QueueName="requests")
    return {
        "ASCIIST_BACKEND": "aws",
        "ASCIIST_BUCKET": "artifacts",
        "ASCIIST_REQUEST_QUEUE_URL": queue["QueueUrl"],
        "ASCIIST_METRICS": "emf",
        "ASCIIST_LINK_KEYS": "k" * 32,
        "ASCIIST_WORKERS": "1",
        "ASCIIST_INSTANCE": "127.0.0.1",
    }


def _measure(image: bytes) -> dict[str, float]:
    """Return milliseconds of CPU time and bytes of the log, for each request or message.

    The round with the least CPU time counts, because other load on the machine can only increase
    it.
    """
    with temporary_server() as server, _poller() as (poller, poller_log):
        kinds: Mapping[str, RequestSource] = {
            "web_fresh": FreshUpload(image, **_TRACE),
            "web_stored": fixed("PUT", f"/?width={_WIDTH}", image, **_TRACE),
        }
        found: dict[str, float] = {}
        for kind, requests in kinds.items():
            closed_loop(server.port, requests, connections=_CONNECTIONS, seconds=1.0)
            logged, count = [len(server.log), poller_log.stat().st_size], 0
            for _ in range(_ROUNDS):
                web, worker, served = _round(server, poller.pid, requests)
                found[kind] = min(found.get(kind, web), web)
                if kind == "web_fresh":
                    beyond = worker - _conversion_ms(image)
                    found["poller"] = min(found.get("poller", beyond), beyond)
                count += served
            found[f"{kind}_log"] = (len(server.log) - logged[0]) / count
            if kind == "web_fresh":
                found["poller_log"] = (poller_log.stat().st_size - logged[1]) / count
        time.sleep(_FLUSH_SECONDS)
        answer = _answer(server, image)
        series = _metric_series(server.log + poller_log.read_bytes())
        return found | {
            "answer": len(answer),
            "art": len(answer.partition(b"\r\n\r\n")[2]),
            "series": len(series),
        }


def _round(server: Server, poller: int, requests: RequestSource) -> tuple[float, float, int]:
    """Return milliseconds of CPU time of a request in the web tier and in the worker tier, and the
    number of requests."""
    trees = [ProcessTree(server.process.pid), ProcessTree(poller)]
    before = [tree.usage().cpu_seconds for tree in trees]
    result = closed_loop(server.port, requests, connections=_CONNECTIONS, seconds=_SECONDS)
    assert result.statuses.keys() == {200}, result.statuses
    count = len(result.served)
    web, worker = (
        1000 * (tree.usage().cpu_seconds - start) / count
        for tree, start in zip(trees, before, strict=True)
    )
    return web, worker, count


def _answer(server: Server, image: bytes) -> bytes:
    """Return the answer to an upload, with its head."""
    with server.connect() as connection:
        connection.sendall(b"".join(fixed("PUT", f"/?width={_WIDTH}", image, Connection="close")()))
        return b"".join(iter(lambda: connection.recv(65536), b""))


def _metric_series(log: bytes) -> set[tuple[str, ...]]:
    """Return the time series of the metrics in a log: each name with the values of its
    dimensions."""
    found = set()
    for line in log.splitlines():
        if line.startswith(b'{"_aws"'):
            values = json.loads(line)
            for directive in values["_aws"]["CloudWatchMetrics"]:
                for dimensions in directive["Dimensions"]:
                    found |= {
                        (metric["Name"], *(values[key] for key in dimensions))
                        for metric in directive["Metrics"]
                    }
    return found


@contextlib.contextmanager
def _poller() -> Iterator[tuple["subprocess.Popen[bytes]", Path]]:
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory) / "log"
        with file.open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "asciist.poller"], stdout=log, stderr=subprocess.STDOUT
            )
        try:
            yield process, file
        finally:
            process.terminate()
            process.wait(30)


def _conversion_ms(image: bytes) -> float:
    start = time.process_time()
    for _ in range(_MESSAGES):
        convert(image, ConversionOptions(width=_WIDTH), Limits())
    return 1000 * (time.process_time() - start) / _MESSAGES


def _function_log(image: bytes, emulator: Emulator) -> tuple[float, float]:
    """Return the bytes and the lines logged by the function for a message, which comes from this
    process instead of Lambda."""
    sqs = boto3.client("sqs", **emulator.client_arguments)
    url = os.environ["ASCIIST_REQUEST_QUEUE_URL"]
    output = io.StringIO()
    with temporary_server() as server, contextlib.redirect_stdout(output):
        logs.configure(output)
        responder = build_responder(Settings.from_environment(), is_frozen_between_messages=True)
        requests = FreshUpload(image, **_TRACE)
        load = threading.Thread(
            target=closed_loop,
            args=(server.port, requests),
            kwargs={"connections": 1, "seconds": 5.0},
        )
        load.start()
        handled = 0
        while load.is_alive():
            received: list[dict[str, Any]] = sqs.receive_message(
                QueueUrl=url, WaitTimeSeconds=1, MessageSystemAttributeNames=["All"]
            ).get("Messages", [])
            for message in received:
                record = {
                    "body": message["Body"],
                    "receiptHandle": message["ReceiptHandle"],
                    "attributes": message["Attributes"],
                    "messageId": message["MessageId"],
                }
                respond_to_batch({"Records": [record]}, responder)
                sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
                handled += 1
        responder.stop(1)
    return len(output.getvalue()) / handled, output.getvalue().count("\n") / handled


def _bytes_of_a_call(emulator: Emulator) -> int:
    """Return the bytes of the HTTP request and answer for sending a message, without the
    message."""
    sqs = boto3.client("sqs", **emulator.client_arguments)
    sizes: list[int] = []

    def count(request: Any, **_: object) -> None:
        sizes.append(len(request.method) + len(request.url) + len(request.body))
        sizes.extend(len(name) + len(value) + 4 for name, value in request.headers.items())

    sqs.meta.events.register("before-send.sqs.SendMessage", count)
    answer = sqs.send_message(QueueUrl=os.environ["ASCIIST_REQUEST_QUEUE_URL"], MessageBody="m")
    metadata = answer.pop("ResponseMetadata")
    return (
        sum(sizes)
        + len(json.dumps(answer))
        + sum(len(name) + len(value) + 4 for name, value in metadata["HTTPHeaders"].items())
    )


if __name__ == "__main__":
    main()
