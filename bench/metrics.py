"""What the metrics of a request cost: the calls that one makes, made again and again, against the bare conversion.

The calls are those that a receiver saw of a real request, both tiers in one process. Time is of the processor, over all
threads: packets are put together and sent by threads of their own, which compete with requests. In turns, best of the rounds.

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
from asciist.conversion import ConversionOptions, convert
from asciist.limits import Limits
from asciist.protocol.ports import Metrics
from asciist.settings import Settings
from asciist.telemetry.metrics import CATALOGUE
from asciist.wiring import build_web_process
from bench.latency import photograph
from observability.local.dogstatsd import Receiver, Summary
from service import create_app

ROUNDS, REQUESTS = 15, 1000
Call = Callable[[Metrics], None]


def calls_of_requests(image: bytes, agent: Receiver) -> dict[str, list[Call]]:
    """The calls to its Metrics of a fresh request and of one for stored art."""
    calls = {}
    with tempfile.TemporaryDirectory() as data_dir:
        process = build_web_process(Settings(data_dir=Path(data_dir), metrics="dogstatsd"))
        app = create_app(
            settings=process.settings, requester=process.requester, metrics=process.metrics, is_ready=process.is_ready
        )
        client = app.test_client()
        seen = agent.series()
        for name in ("fresh", "stored"):
            assert client.put("/?width=80", data=image).status_code == 200
            process.metrics.flush()
            agent.settle()
            calls[name] = [_call(metric, dict(tags)) for metric, tags in (agent.series() - seen).elements()]
            seen = agent.series()
        process.close()
    return calls


def _call(name: str, tags: dict[str, str]) -> Call:
    if CATALOGUE[name].type == "count":
        return lambda recorded: recorded.count(name, 1, **tags)
    return lambda recorded: recorded.distribution(name, 12.345678, **tags)


def microseconds(recorded: Metrics, calls: list[Call]) -> float:
    """Of the processor, for the calls of one request."""
    start = time.process_time()
    for _ in range(REQUESTS):
        for call in calls:
            call(recorded)
    recorded.flush()
    return 1e6 * (time.process_time() - start) / REQUESTS


def percentile_error() -> float:
    """The largest relative error of the receiver's percentiles on 100000 values of a time to answer."""
    values = np.random.default_rng(5).lognormal(3, 1, 100_000)
    summary = Summary()
    for value in values:
        summary.add(float(value))
    exact = {percent: float(np.percentile(values, percent, method="inverted_cdf")) for percent in (50, 90, 95, 99)}
    return max(abs(summary.percentile(percent) / value - 1) for percent, value in exact.items())


def report() -> Iterator[str]:
    """Markdown lines."""
    image = photograph()
    with Receiver() as agent:
        os.environ |= {"DD_AGENT_HOST": "127.0.0.1", "DD_DOGSTATSD_PORT": str(agent.port)}
        calls = calls_of_requests(image, agent)
    # Nobody reads from here on: a receiver in this process would be measured with it.
    recorders = {
        "DogStatsD": DogStatsDMetrics(),
        "embedded metric format": EmfMetrics(namespace="bench", every_seconds=None, stream=io.StringIO()),
    }
    best: dict[tuple[str, str], float] = {}
    bare = float("inf")
    for _ in range(ROUNDS):
        start = time.process_time()
        convert(image, ConversionOptions(width=80), Limits())
        bare = min(bare, 1e6 * (time.process_time() - start))
        for kind, recorded in recorders.items():
            for name in calls:
                spent = microseconds(recorded, calls[name])
                best[kind, name] = min(best.get((kind, name), spent), spent)
    yield f"Metrics of one request, in microseconds of the processor; the bare conversion takes {bare:.0f}."
    yield ""
    yield "| to | request | values | µs | of the bare conversion |"
    yield "|---|---|--:|--:|--:|"
    for (kind, name), spent in best.items():
        yield f"| {kind} | {name} | {len(calls[name])} | {spent:.1f} | {spent / bare:.4f} |"
    yield ""
    yield f"The dashboard's percentiles are within {100 * percentile_error():.2f}% of the exact ones (100000 lognormal values)."


if __name__ == "__main__":
    print("\n".join(report()))
