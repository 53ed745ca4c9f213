"""A soak test: a long mixed load, which verifies that memory and descriptors stay flat and nothing
gets stuck.

    python -m bench.soak MINUTES

The load is half of the service's conversion rate, which is measured first. It consists of fresh
images in two styles, stored art, damaged images, images near the limits, and clients that send half
a head, half a body or never read. The command prints a line each minute, and writes bench/soak.md
and its plot.
"""

import argparse
import contextlib
import importlib
import math
import os
import statistics
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from PIL import Image

from asciist.adapters.converters.pool import CONNECTIONS_TO_ONE
from asciist.cli import SERVER_ENVIRONMENT
from asciist.settings import Settings
from bench.goals import HEAD, goal, milliseconds
from bench.pressure import stored_art
from tools.testing import hostile
from tools.testing.images import EXAMPLES, encoded, small_photograph
from tools.testing.load import (
    REFUSALS,
    FreshJson,
    FreshUpload,
    Latencies,
    OpenLoop,
    ProcessTree,
    RequestSource,
    Result,
    SlowClients,
    Usage,
    closed_loop,
    fixed,
    half_body,
    half_head,
    json_request,
    open_connections,
    run,
    several,
)
from tools.testing.provenance import machine, revision
from tools.testing.server import Server, temporary_server

REPORT: Final = Path(__file__).with_name("soak.md")
LOAD: Final = 0.5
"""Rate of fresh images, as a share of the peak."""

_WIDTH: Final = 80
_MAX_PEAK: Final = 2000.0  # requests per second; more would test the client
_TIMEOUT_SECONDS: Final = 30.0
_SAMPLE_SECONDS: Final = 3.7
"""Maximum seconds between two samples. The largest images are due every 5 seconds. Sampling at that
interval, or at half of it, would catch every one of their conversions for some minutes and none for
others."""
_SETTLE_SECONDS: Final = 20.0
"""Seconds after the load until the server must have closed everything it opened for clients."""

SLOW_CLIENTS: Final = 120
"""Concurrent slow clients: a third with half a head, a third with half a body, a third that never
read."""

_MAX_GROWTH: Final = 0.05
_MIN_GROWTH_BYTES: Final = 5_000_000
_MIN_GROWTH_DESCRIPTORS: Final = 10
_DESCRIPTORS_OF_CONNECTION: Final = 3
"""Descriptors of a connection to a converter: in the web process, the converter and its parent."""
_MB: Final = 1e6


@dataclass(frozen=True, kw_only=True)
class Part:
    """Requests of one kind in the load, with their expected status."""

    name: str
    requests: RequestSource
    rate: float
    status: int = 200


@dataclass(frozen=True, kw_only=True)
class SlowGroup:
    """Slow clients of one kind."""

    clients: SlowClients
    beginning: bytes
    """Bytes sent by each client."""
    reading: bool


@dataclass(frozen=True, kw_only=True)
class Sample:
    """The state of the server, and the outcomes since the previous sample."""

    seconds: float
    usage: Usage
    connections: int
    """Client connections held by the server."""
    answered: float
    """Requests per second."""
    fresh: Latencies
    refused: int
    unexpected: int
    slow_clients: int
    data_bytes: int


@dataclass(kw_only=True)
class Soak:
    """A completed soak test."""

    peak: float
    seconds: float
    before: Usage
    after: Usage
    """Usage after the load, when all clients have left."""
    parts: Sequence[Part]
    results: Sequence[Result]
    slow_clients: int
    dropped: Counter[str]
    """Slow clients that the server dropped, by reason."""
    pids: tuple[set[int], set[int]]
    """Processes before and after the load."""
    max_pooled: int
    """Maximum descriptors of connections to converters, which web processes open on demand."""
    answers_after: bool
    """True if the server converts an image and is ready after the load."""
    samples: list[Sample] = field(default_factory=list)

    @property
    def unanswered(self) -> int:
        """Requests without an answer."""
        return sum(result.errors.total() for result in self.results)

    @property
    def refused(self) -> int:
        """Requests answered with 429 or 503."""
        return sum(len(result.refused) for result in self.results)

    @property
    def unexpected(self) -> int:
        """Requests answered with a status other than the expected one, except refusals."""
        return sum(
            _unexpected(part, result.status)
            for part, result in zip(self.parts, self.results, strict=True)
        )

    def sixths(self, value: Callable[[Sample], float]) -> tuple[float, float]:
        """Return the medians of a value in the second and in the last sixth of the load."""
        second = [
            value(s) for s in self.samples if self.seconds / 6 <= s.seconds < self.seconds / 3
        ]
        last = [value(s) for s in self.samples if s.seconds >= 5 * self.seconds / 6]
        return tuple(statistics.median(values) if values else math.nan for values in (second, last))  # type: ignore[return-value]

    def verdict(self) -> Iterator[tuple[str, str, str, bool]]:
        """Yield the criteria: the measure, its limit, the figure, and whether it is met."""
        for name, value, floor, unit in (
            ("memory", lambda s: s.usage.rss_bytes, _MIN_GROWTH_BYTES, _MB),
            ("descriptors besides those of clients", _own_descriptors, _MIN_GROWTH_DESCRIPTORS, 1),
        ):
            second, last = self.sixths(value)
            limit = second + max(_MAX_GROWTH * second, floor)
            label = f"{name}{', MB' if unit == _MB else ''}: median of the last sixth"
            yield label, f"≤ {limit / unit:.0f}", f"{last / unit:.0f}", last <= limit
        left, limit = (
            self.after.descriptors - self.before.descriptors,
            _MIN_GROWTH_DESCRIPTORS + self.max_pooled,
        )
        yield "descriptors left open after the load", f"≤ {limit}", str(left), left <= limit
        yield "requests without an answer", "0", str(self.unanswered), self.unanswered == 0
        yield "requests refused with 429 or 503", "0", str(self.refused), self.refused == 0
        yield "requests with another wrong status", "0", str(self.unexpected), self.unexpected == 0
        replaced = len(self.pids[0] - self.pids[1])
        yield "processes that ended", "0", str(replaced), replaced == 0
        yield (
            "converts an image and is ready after the load",
            "yes",
            "yes" if self.answers_after else "no",
            self.answers_after,
        )


def soak(
    server: Server,
    seconds: float,
    *,
    slow_clients: int = SLOW_CLIENTS,
    tell: Callable[[str], None] = lambda _line: None,
) -> Soak:
    """Run the load against a server for `seconds`; call `tell` with a line of progress each
    minute."""
    photograph = small_photograph()
    fresh = FreshJson(photograph, width=_WIDTH)
    peak = min(
        _MAX_PEAK,
        max(
            closed_loop(server.port, fresh, connections=32, seconds=min(2, seconds / 6)).goodput
            for _ in "12"
        ),
    )
    parts = mixed_load(server, photograph, LOAD * peak)
    tell(
        f"peak {peak:.0f} fresh requests/s; load: "
        + ", ".join(f"{part.rate:.1f}/s {part.name}" for part in parts)
    )
    tree = ProcessTree(server.process.pid)
    before, pids = tree.usage(), set(tree.pids())
    with contextlib.ExitStack() as stack:
        slow = [
            SlowGroup(
                clients=stack.enter_context(SlowClients(server.port)),
                beginning=beginning,
                reading=reading,
            )
            for beginning, reading in (
                (half_head(), True),
                (half_body(photograph), True),
                (10 * b"".join(fixed("GET", stored_art(server, photograph, 1000))()), False),
            )
        ]
        sampler = _Sampler(
            parts=parts,
            port=server.port,
            tree=tree,
            data_dir=server.data_dir,
            slow=slow,
            slow_in_group=slow_clients // len(slow),
            tell=tell,
        )
        loads = [
            OpenLoop(
                requests=part.requests, rate=part.rate, seconds=seconds, timeout=_TIMEOUT_SECONDS
            )
            for part in parts
        ]
        results = run(
            server.port,
            *loads,
            tick=sampler.sample,
            tick_seconds=max(0.5, min(_SAMPLE_SECONDS, seconds / 60)),
        )
        dropped = sum((group.clients.dropped for group in slow), Counter[str]())
    after, deadline = tree.usage(), time.monotonic() + _SETTLE_SECONDS
    while after.descriptors > before.descriptors and time.monotonic() < deadline:
        time.sleep(0.2)
        after = tree.usage()
    alive = closed_loop(server.port, fresh, connections=1, seconds=0.5)
    return Soak(
        peak=peak,
        seconds=seconds,
        before=before,
        after=after,
        parts=parts,
        results=results,
        slow_clients=slow_clients,
        dropped=dropped,
        pids=(pids, set(tree.pids())),
        # Of each web process to each converter.
        max_pooled=_DESCRIPTORS_OF_CONNECTION * CONNECTIONS_TO_ONE * Settings().workers ** 2,
        answers_after=alive.statuses.keys() == {200} and server.request("GET", "/readyz")[0] == 200,
        samples=sampler.samples,
    )


def mixed_load(server: Server, photograph: bytes, fresh_rate: float) -> list[Part]:
    """Return the parts of the load, for `fresh_rate` fresh images per second."""
    large_jpeg, large_webp = _large_images()
    # The WebP file is the same each time, but not its width.
    webp = [fixed("PUT", f"/?width={width}", large_webp) for width in range(80, 1000)]
    bad = [
        fixed("PUT", "/?width=80", image)
        for image in hostile.refused().values()
        if len(image) < 1_000_000
    ]
    too_large = fixed("PUT", "/?width=80", bytes(10_000_001))
    return [
        Part(
            name="fresh, structure, JSON",
            requests=FreshJson(photograph, width=_WIDTH),
            rate=0.6 * fresh_rate,
        ),
        Part(
            name="fresh, ramp, bytes",
            requests=FreshUpload(photograph, path="/?width=80&style=ramp"),
            rate=0.4 * fresh_rate,
        ),
        Part(
            name="stored, GET",
            requests=fixed("GET", stored_art(server, photograph, _WIDTH)),
            rate=0.4 * fresh_rate,
        ),
        Part(
            name="stored, POST",
            requests=json_request(photograph, width=_WIDTH),
            rate=0.2 * fresh_rate,
        ),
        Part(name="damaged", requests=several(*bad), rate=0.1 * fresh_rate, status=400),
        Part(name="JPEG of 48 MP", requests=FreshUpload(large_jpeg), rate=0.2),
        Part(name="WebP of 12 MP", requests=several(*webp), rate=0.2),
        Part(name="10,000,001 bytes", requests=too_large, rate=0.2, status=413),
    ]


def _large_images() -> tuple[bytes, bytes]:
    """Return a JPEG file of 48 megapixels and a WebP file of 12, the largest that the memory limit
    allows."""
    with Image.open(EXAMPLES / "rocket.jpg") as rocket:
        jpeg = encoded(rocket.resize((8000, 6000)), "JPEG", quality=85)
        return jpeg, encoded(rocket.resize((4000, 3000)), "WEBP", quality=80, method=0)


@dataclass(kw_only=True)
class _Sampler:
    """Samples the server during the load, maintains the number of slow clients, and reports
    progress."""

    parts: Sequence[Part]
    port: int
    tree: ProcessTree
    data_dir: Path
    slow: Sequence[SlowGroup]
    slow_in_group: int
    tell: Callable[[str], None]
    samples: list[Sample] = field(default_factory=list)
    _seen: list[int] = field(default_factory=list)
    _told: float = 0.0
    _data_bytes: int = 0

    def sample(self, seconds: float, results: Sequence[Result]) -> None:
        """Take a sample; called by the load generator, which waits for it."""
        self._hold_slow_clients()
        seen = self._seen or [0] * len(results)
        self._seen = [len(result.status) for result in results]
        new = [result.status[start:] for result, start in zip(results, seen, strict=True)]
        if seconds - self._told >= 60 or not self.samples:  # counting files takes long
            self._data_bytes = _size(self.data_dir)
        elapsed = seconds - (self.samples[-1].seconds if self.samples else 0.0)
        self.samples.append(
            Sample(
                seconds=seconds,
                usage=self.tree.usage(),
                connections=open_connections(self.port),
                answered=sum(map(len, new)) / elapsed,
                fresh=Latencies(results[0].latency[seen[0] :]),
                refused=sum(status in REFUSALS for statuses in new for status in statuses),
                unexpected=sum(
                    _unexpected(part, statuses)
                    for part, statuses in zip(self.parts, new, strict=True)
                ),
                slow_clients=sum(group.clients.held for group in self.slow),
                data_bytes=self._data_bytes,
            )
        )
        if seconds - self._told >= 60:
            self._told = seconds
            self._report_progress()

    def _hold_slow_clients(self) -> None:
        """Replace the slow clients of a group when the server has dropped half of them."""
        for group in self.slow:
            group.clients.poll()
            missing = self.slow_in_group - group.clients.held
            if missing > self.slow_in_group / 2:
                group.clients.open(group.beginning, missing, reading=group.reading, seconds=1)

    def _report_progress(self) -> None:
        last = [sample for sample in self.samples if sample.seconds > self.samples[-1].seconds - 60]
        usage = last[-1].usage
        self.tell(
            f"{last[-1].seconds / 60:.0f} min:"
            f" {statistics.fmean(s.answered for s in last):.0f} answers/s, fresh p50"
            f" {1000 * last[-1].fresh.p50:.1f} ms, p99 {1000 * last[-1].fresh.p99:.1f} ms, refused"
            f" {sum(s.refused for s in self.samples)}, unexpected"
            f" {sum(s.unexpected for s in self.samples)}; {usage.rss_bytes / _MB:.0f} MB,"
            f" {usage.descriptors} descriptors, {usage.threads} threads,"
            f" {usage.processes} processes, {last[-1].data_bytes / _MB:.0f} MB of data"
        )


def _own_descriptors(sample: Sample) -> int:
    """Return the server's descriptors, not counting one for each client connection.

    Slow clients come and go, and the load generator holds more connections after slow answers.
    """
    return sample.usage.descriptors - sample.connections


def _unexpected(part: Part, statuses: Iterable[int]) -> int:
    return sum(status not in {part.status, 0, *REFUSALS} for status in statuses)


def _size(directory: Path) -> int:
    """Return the bytes of all files below a directory; files may vanish meanwhile."""
    total = 0
    for file in directory.rglob("*"):
        with contextlib.suppress(OSError):
            total += file.stat().st_size
    return total


def report(done: Soak) -> Iterator[str]:
    """Yield the Markdown lines of bench/soak.md, without its plot."""
    yield "# Soak test"
    yield ""
    yield "Written by `make soak`; [README.md](README.md) describes the method."
    yield ""
    yield f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, {revision()}. {machine()}."
    yield ""
    yield (
        f"{done.seconds / 60:.1f} minutes of mixed load. Fresh images are due at {LOAD:.0%} of the"
        f" peak of {done.peak:.0f}/s; {done.slow_clients} slow clients are held at a time."
    )
    yield ""
    yield (
        "| | requests/s | requests | expected status | with it | refused | without an answer | p50,"
        " ms | p99, ms | max, ms |"
    )
    yield "|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|"
    for part, result in zip(done.parts, done.results, strict=True):
        answered = Latencies(
            t
            for t, status in zip(result.latency, result.status, strict=True)
            if status == part.status
        )
        yield (
            f"| {part.name} | {part.rate:.1f} | {result.offered} | {part.status} |"
            f" {len(answered)} | {len(result.refused)} | {result.errors.total()} |"
            f" {' | '.join(milliseconds(t) for t in (answered.p50, answered.p99, answered.max))} |"
        )
    yield ""
    dropped = (
        ", ".join(f"{count} {reason}" for reason, count in sorted(done.dropped.items())) or "none"
    )
    yield f"Slow clients dropped by the server, by the status or event they saw: {dropped}."
    yield ""
    yield "| | second sixth | last sixth |"
    yield "|---|--:|--:|"
    rows: tuple[tuple[str, Callable[[Sample], float]], ...] = (
        ("memory, MB", lambda s: s.usage.rss_bytes / _MB),
        ("descriptors", lambda s: s.usage.descriptors),
        ("connections of clients", lambda s: s.connections),
        ("descriptors besides those of clients", _own_descriptors),
        ("threads", lambda s: s.usage.threads),
        ("processes", lambda s: s.usage.processes),
        ("fresh, p50, ms", lambda s: 1000 * s.fresh.p50),
        ("fresh, p99, ms", lambda s: 1000 * s.fresh.p99),
        ("data directory, MB", lambda s: s.data_bytes / _MB),
    )
    for name, value in rows:
        second, last = done.sixths(value)
        yield f"| {name} | {_figure(second)} | {_figure(last)} |"
    yield ""
    yield (
        "The values are medians of the samples. Memory that processes share counts for each of"
        " them."
    )
    yield ""
    yield from HEAD
    for measure, limit, figure, met in done.verdict():
        yield goal(measure, limit, figure, met=met)
    yield ""


def _figure(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.1f}"


def main() -> int:
    # libraries read these variables on import, so restart with them
    if not SERVER_ENVIRONMENT.items() <= os.environ.items():
        arguments = [sys.executable, "-m", "bench.soak", *sys.argv[1:]]
        # No shell is needed.
        os.execve(sys.executable, arguments, {**os.environ, **SERVER_ENVIRONMENT})  # noqa: S606
    parser = argparse.ArgumentParser(
        prog="python -m bench.soak", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("minutes", type=float, help="duration of the load")
    seconds = 60 * parser.parse_args().minutes
    with temporary_server() as server:
        done = soak(server, seconds, tell=lambda line: print(line, flush=True))
    plots = importlib.import_module("bench.plots")  # needs Matplotlib
    lines = [*report(done), *plots.soak_plot(done)]
    REPORT.write_text("\n".join(lines) + "\n")
    print("\n".join(lines))
    return 0 if all(met for *_, met in done.verdict()) else 1


if __name__ == "__main__":
    raise SystemExit(main())
