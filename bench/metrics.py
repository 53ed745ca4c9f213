"""CPU time of recording a request's metrics, compared with the bare conversion.

First, a receiver in place of the agent records the metrics of a real request, with both tiers in
one process. The same calls are then repeated and timed. The time is the CPU time of all threads,
because the clients assemble and send packets on threads of their own, which compete with requests.
The variants alternate, and the best round of each counts.

    python -m bench.metrics
"""

import io
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from asciist.adapters.dogstatsd import DogStatsDMetrics
from asciist.adapters.emf import EmfMetrics
from asciist.conversion import ConversionOptions
from asciist.limits import Limits
from asciist.protocol.ports import Metrics
from asciist.settings import Settings
from asciist.telemetry.metrics import CATALOGUE
from asciist.wiring import build_web_process
from operations.dashboard.dogstatsd import Receiver, Summary
from service import create_app
from tools.testing.drawing import convert
from tools.testing.images import small_photograph

ROUNDS, REQUESTS = 15, 1000
Call = Callable[[Metrics], None]


def calls_of_requests(image: bytes, agent: Receiver) -> dict[str, list[Call]]:
    """Return the metric calls, received by `agent`, of a fresh request and of a request for stored
    art."""
    calls = {}
    with tempfile.TemporaryDirectory() as data_dir:
        process = build_web_process(Settings(data_dir=Path(data_dir), metrics="dogstatsd"))
        app = create_app(
            settings=process.settings,
            requester=process.requester,
            metrics=process.metrics,
            links=process.links,
            is_ready=process.is_ready,
        )
        client = app.test_client()
        before = agent.series()
        for name in ("fresh", "stored"):
            assert client.put("/?width=80", data=image).status_code == 200
            process.metrics.flush()
            agent.settle()
            calls[name] = [
                _call(metric, dict(tags)) for metric, tags in (agent.series() - before).elements()
            ]
            before = agent.series()
        process.close()
    return calls


def _call(name: str, tags: dict[str, str]) -> Call:
    if CATALOGUE[name].type == "count":
        return lambda metrics: metrics.count(name, 1, **tags)
    return lambda metrics: metrics.distribution(name, 12.345678, **tags)


def microseconds(metrics: Metrics, calls: list[Call]) -> float:
    """Return the CPU time of one request's calls, in microseconds, as the mean of REQUESTS
    repetitions."""
    start = time.process_time()
    for _ in range(REQUESTS):
        for call in calls:
            call(metrics)
    metrics.flush()
    return 1e6 * (time.process_time() - start) / REQUESTS


def percentile_error() -> float:
    """Return the largest relative error of the receiver's percentiles over 100000 lognormal values
    (mu 3, sigma 1)."""
    values = np.random.default_rng(5).lognormal(3, 1, 100_000)
    summary = Summary()
    for value in values:
        summary.add(float(value))
    exact = {
        percent: float(np.percentile(values, percent, method="inverted_cdf"))
        for percent in (50, 90, 95, 99)
    }
    return max(abs(summary.percentile(percent) / value - 1) for percent, value in exact.items())


def report() -> Iterator[str]:
    """Yield Markdown lines: a table of CPU times, and the error of the receiver's percentiles."""
    image = small_photograph()
    with Receiver() as agent:
        os.environ |= {"DD_AGENT_HOST": "127.0.0.1", "DD_DOGSTATSD_PORT": str(agent.port)}
        calls = calls_of_requests(image, agent)
    # The receiver is closed by now, because the CPU time of its thread in this process would be
    # measured too.
    clients = {
        "DogStatsD": DogStatsDMetrics(),
        "embedded metric format": EmfMetrics(
            namespace="bench", flush_interval_seconds=None, stream=io.StringIO()
        ),
    }
    best: dict[tuple[str, str], float] = {}
    bare = float("inf")
    for _ in range(ROUNDS):
        start = time.process_time()
        convert(image, ConversionOptions(width=80), Limits())
        bare = min(bare, 1e6 * (time.process_time() - start))
        for format_name, metrics in clients.items():
            for request in calls:
                spent = microseconds(metrics, calls[request])
                best[format_name, request] = min(best.get((format_name, request), spent), spent)
    yield (
        "CPU time of one request's metrics, in microseconds. The bare conversion takes"
        f" {bare:.0f} µs."
    )
    yield ""
    yield "| format | request | values | µs | ratio to the bare conversion |"
    yield "|---|---|--:|--:|--:|"
    for (format_name, request), spent in best.items():
        yield (
            f"| {format_name} | {request} | {len(calls[request])} | {spent:.1f} |"
            f" {spent / bare:.4f} |"
        )
    yield ""
    error = percentile_error()
    yield (
        f"The local dashboard's percentiles are within {100 * error:.2f}% of the exact ones (100000"
        " lognormal values)."
    )


if __name__ == "__main__":
    print("\n".join(report()))
