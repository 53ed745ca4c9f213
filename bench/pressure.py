"""Load tests beyond the service's capacity, and with clients that hold idle connections."""

import contextlib
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from bench.goals import HEAD, goal, milliseconds
from tools.testing.load import (
    ClosedLoop,
    FreshJson,
    OpenLoop,
    ProcessTree,
    RequestSource,
    Result,
    SlowClients,
    closed_loop,
    fixed,
    half_body,
    half_head,
    json_request,
    run,
)
from tools.testing.server import Server, temporary_server

FACTORS: Final = (0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 10.0)
"""Offered rates, as multiples of the peak."""

_LONG: Final = frozenset({1.0, 3.0, 10.0})
_LONG_SECONDS, _SHORT_SECONDS = 8.0, 3.0
_PROBE_SECONDS: Final = 4.0
_PROBE_RATE: Final = 20.0
"""Requests per second after the load, to detect when the service has recovered."""

_TIMEOUT_SECONDS: Final = 15.0
_PEAK_ROUNDS: Final = 3
_MIN_NORMAL_SECONDS: Final = 0.05
_SAMPLE_SECONDS: Final = 0.25

_ALONE_SECONDS, _BUSY_SECONDS = 2.0, 4.0
_HEALTH_RATE: Final = 10.0
_DROP_SECONDS: Final = 13.0
"""Seconds until clients without progress must have been dropped: a timeout of ten seconds, and a
margin."""


@dataclass(kw_only=True)
class Overload:
    """One offered rate and its outcome."""

    peak: float
    """Requests per second in a closed loop."""
    factor: float
    rate: float
    result: Result
    max_rss_bytes: int
    recovery_seconds: float
    """Seconds from the end of the load until requests are as fast as without load; NaN if that was
    not observed."""

    @property
    def failed(self) -> int:
        """Number of requests without an answer, or with an error other than a refusal."""
        return len(self.result.status) - len(self.result.served) - len(self.result.refused)

    @property
    def recovery_text(self) -> str:
        """Recovery time in seconds; empty if it was not measured."""
        if self.factor not in _LONG:
            return ""
        return (
            f"> {_PROBE_SECONDS:.0f}"
            if math.isnan(self.recovery_seconds)
            else f"{self.recovery_seconds:.2f}"
        )


def overloads(
    port: int, requests: RequestSource, tree: ProcessTree, connections: int
) -> list[Overload]:
    """Measure the peak with a closed loop, then an open loop at each multiple of it."""
    closed_loop(port, requests, connections=connections, seconds=1)
    peak = max(
        closed_loop(port, requests, connections=connections, seconds=2).goodput
        for _ in range(_PEAK_ROUNDS)
    )
    unloaded = closed_loop(port, requests, connections=1, seconds=1)
    normal = max(_MIN_NORMAL_SECONDS, 2 * unloaded.served.p99)
    return [
        _overload(port, requests, tree, peak=peak, factor=factor, normal=normal)
        for factor in FACTORS
    ]


def _overload(
    port: int,
    requests: RequestSource,
    tree: ProcessTree,
    *,
    peak: float,
    factor: float,
    normal: float,
) -> Overload:
    seconds = _LONG_SECONDS if factor in _LONG else _SHORT_SECONDS
    max_rss_bytes = 0

    def sample(_seconds: float, _results: object) -> None:
        nonlocal max_rss_bytes
        max_rss_bytes = max(max_rss_bytes, tree.usage().rss_bytes)

    loads = [
        OpenLoop(requests=requests, rate=factor * peak, seconds=seconds, timeout=_TIMEOUT_SECONDS)
    ]
    if factor in _LONG:
        loads.append(
            OpenLoop(
                requests=requests,
                rate=_PROBE_RATE,
                start=seconds,
                seconds=_PROBE_SECONDS,
                timeout=_TIMEOUT_SECONDS,
            )
        )
    results = run(port, *loads, tick=sample, tick_seconds=_SAMPLE_SECONDS)
    return Overload(
        peak=peak,
        factor=factor,
        rate=factor * peak,
        result=results[0],
        max_rss_bytes=max_rss_bytes,
        recovery_seconds=(
            results[-1].recovery_seconds(normal, after=seconds) if factor in _LONG else math.nan
        ),
    )


Responsiveness = tuple[Result, Result, Result]
"""Health checks alone, health checks during conversions, and the conversions."""


def stored_art(server: Server, photograph: bytes, width: int) -> str:
    """Convert a photograph; return the path of its art."""
    with contextlib.closing(server.connect()) as connection:
        connection.sendall(b"".join(json_request(photograph, width=width)()))
        answer = b""
        while b"\r\n\r\n" not in answer:
            answer += connection.recv(65_536)
    head = answer.partition(b"\r\n\r\n")[0].decode()
    return next(
        line.partition(": ")[2]
        for line in head.split("\r\n")
        if line.lower().startswith("content-location:")
    )


def slow_client_tables(photograph: bytes, width: int, connections: int) -> Iterator[str]:
    """Yield Markdown lines: the effect of slow clients on health checks and conversions, and how
    they are dropped."""
    yield "### Slow clients"
    yield ""
    yield (
        "`/healthz` is asked ten times a second, first alone, then while a closed loop converts"
        " fresh images. The ratio\ncompares conversions with those of the same measurement without"
        " slow clients, directly before on the same server."
    )
    yield ""
    yield (
        "| | held | /healthz p50, ms | max, ms | p50 during conversions, ms | max, ms | failed |"
        f" conversions/s | ratio | dropped within {_DROP_SECONDS:.0f} s |"
    )
    yield "|---|--:|--:|--:|--:|--:|--:|--:|--:|---|"
    verdicts = []
    for name, count, reading in (
        ("half heads", 5000, True),
        ("half bodies", 5000, True),
        ("never reading", 1000, False),
    ):
        with temporary_server() as server:
            beginning = {
                "half heads": half_head(),
                "half bodies": half_body(photograph),
                # More than the buffers of a socket hold: ten times the art at the maximum width,
                # 0.4 MB each.
                "never reading": (
                    10 * b"".join(fixed("GET", stored_art(server, photograph, 1000))())
                ),
            }[name]
            requests = FreshJson(photograph, width=width)
            before = _responsiveness(server.port, requests, connections, None)
            yield _slow_row("none", 0, before, before, "")
            with SlowClients(server.port) as clients:
                opened = time.monotonic()
                held = clients.open(beginning, count, reading=reading)
                during = _responsiveness(server.port, requests, connections, clients)
                while clients.held and time.monotonic() < opened + _DROP_SECONDS:
                    clients.poll()
                    time.sleep(0.05)
                dropped = ", ".join(
                    f"{number} {reason}" for reason, number in sorted(clients.dropped.items())
                )
            yield _slow_row(f"{count} {name}", held, before, during, dropped or "none")
        verdicts.append((f"{count} {name}", before, during))
    yield ""
    yield from HEAD
    for name, before, during in verdicts:
        slowest = 1000 * max(_slowest(result) for result in during[:2])
        ratio = _ratio(before, during)
        yield goal(
            f"slowest /healthz with {name}, ms", "< 100", f"{slowest:.0f}", met=slowest < 100
        )
        yield goal(f"conversions with {name} / without", "≥ 0.9", f"{ratio:.2f}", met=ratio >= 0.9)
    yield ""


def _responsiveness(
    port: int, requests: RequestSource, connections: int, clients: SlowClients | None
) -> Responsiveness:
    """Measure health checks alone, health checks during conversions, and conversions."""
    health = fixed("GET", "/healthz")

    def poll(_seconds: float, _results: object) -> None:
        if clients is not None:
            clients.poll()

    alone, busy, conversions = run(
        port,
        OpenLoop(
            requests=health,
            rate=_HEALTH_RATE,
            seconds=_ALONE_SECONDS,
            timeout=5,
            new_connections=True,
        ),
        OpenLoop(
            requests=health,
            rate=_HEALTH_RATE,
            start=_ALONE_SECONDS,
            seconds=_BUSY_SECONDS,
            timeout=5,
            new_connections=True,
        ),
        ClosedLoop(
            requests=requests,
            connections=connections,
            start=_ALONE_SECONDS,
            seconds=_BUSY_SECONDS,
            timeout=5,
        ),
        tick=poll,
        tick_seconds=_SAMPLE_SECONDS,
    )
    return alone, busy, conversions


def _slowest(health: Result) -> float:
    """Return the longest latency in seconds; infinity if a health check was not answered with
    200."""
    return health.served.max if len(health.served) == health.offered else math.inf


def _ratio(before: Responsiveness, during: Responsiveness) -> float:
    """Return the ratio of conversions per second; NaN if there were none before."""
    return during[2].goodput / before[2].goodput if before[2].goodput else math.nan


def _slow_row(
    name: str, held: int, before: Responsiveness, measured: Responsiveness, dropped: str
) -> str:
    alone, busy, conversions = measured
    failed = sum(result.offered - len(result.served) for result in (alone, busy))
    latencies = [
        milliseconds(t)
        for t in (alone.served.p50, alone.served.max, busy.served.p50, busy.served.max)
    ]
    ratio = "" if measured is before else f"{_ratio(before, measured):.2f}"
    return (
        f"| {name} | {held} | {' | '.join(latencies)} | {failed} | {conversions.goodput:.0f} |"
        f" {ratio} | {dropped} |"
    )
