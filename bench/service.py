"""The service under load, beside other servers on the same machine: rates, CPU time, overload and
slow clients.

Client and servers share the machine. Each request is a JPEG photograph of 0.3 megapixels at width
80; fresh requests differ in a comment of the image. Rates and CPU time are measured in a closed
loop with 32 connections, in short alternating rounds. Of the rates, the best round counts, because
connections may be spread unevenly over a server's processes. The CPU time of a request is the user
and system time of all processes of its server, divided by the requests. It is compared within each
round, which other work on the machine slows down alike; the median round counts. In an open loop,
requests are due at fixed times, however fast the server answers, and latency counts from the time
due; the load generator has a core of its own.
"""

import contextlib
import math
import os
import statistics
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from asciist.conversion import ConversionOptions
from asciist.limits import Limits
from bench import servers
from bench.goals import HEAD, goal, milliseconds
from bench.plots import load_plot
from bench.pressure import Overload, overloads, slow_client_tables, stored_art
from tools.testing.drawing import convert
from tools.testing.images import small_photograph
from tools.testing.load import (
    REFUSALS,
    FreshJson,
    ProcessTree,
    RequestSource,
    Result,
    closed_loop,
    fixed,
    json_request,
)
from tools.testing.server import Server, temporary_server

CONNECTIONS: Final = 32
ROUNDS: Final = 5
ROUND_SECONDS: Final = 3.0
_WARM_UP_SECONDS: Final = 1.0
_CONVERSIONS: Final = 40
WIDTH: Final = 80

STRUCTURE, RAMP = "asciist, fresh, structure", "asciist, fresh, ramp"
STORED, STORED_POST, HEALTH = (
    "asciist, stored art: GET",
    "asciist, stored art: POST of the image",
    "asciist, /healthz",
)
THUMBOR, SHARP, HELLO, ORIGINAL = (
    "thumbor 7.8, 2 processes",
    "sharp, bare Node server, 2 processes",
    "hello-world",
    "original",
)

_CPU_GOAL_MS: Final = 1.3


@dataclass(kw_only=True)
class Contestant:
    """A server with one kind of request, and its rounds."""

    name: str
    port: int
    requests: RequestSource
    tree: ProcessTree
    """Processes of the server."""
    rounds: list[Result] = field(default_factory=list)
    cpu_ms: list[float] = field(default_factory=list)
    """CPU time of a request in each round, in milliseconds."""

    @property
    def best(self) -> Result:
        return max(self.rounds, key=lambda result: result.goodput)

    @property
    def median_rate(self) -> float:
        return statistics.median(result.goodput for result in self.rounds)

    def measure(self, seconds: float) -> Result:
        """Run one round. Raises AssertionError if a request fails. Refusals are allowed, but do not
        count as goodput."""
        before = self.tree.usage().cpu_seconds
        result = closed_loop(self.port, self.requests, connections=CONNECTIONS, seconds=seconds)
        self.cpu_ms.append(1000 * (self.tree.usage().cpu_seconds - before) / len(result.served))
        assert result.statuses.keys() <= {200, *REFUSALS}, (self.name, result.statuses)
        assert not result.errors, (self.name, result.errors)
        return result


@dataclass(kw_only=True)
class Figures:
    """Figures that the goals are compared with."""

    contestants: dict[str, Contestant]
    missing: dict[str, str]
    conversion_ms: dict[str, float]
    overloads: list[Overload] = field(default_factory=list)

    def cpu_ratio(self, name: str, other: str) -> float:
        """Return the CPU time of a request of one contestant over that of another: the median of
        the rounds; NaN if one is missing."""
        if not {name, other} <= self.contestants.keys():
            return math.nan
        rounds = zip(self.contestants[name].cpu_ms, self.contestants[other].cpu_ms, strict=True)
        return statistics.median(ours / theirs for ours, theirs in rounds)


def report() -> Iterator[str]:
    """Yield Markdown lines: rates, CPU time, goals, overload and slow clients; write the plot."""
    photograph = small_photograph()
    yield (__doc__ or "").strip()
    yield ""
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(_asciist())
        figures = _race(photograph, server, stack)
    yield from _rates(figures)
    yield from _cpu_times(figures)
    yield from _goals(figures)
    with _asciist_apart() as server:
        tree = ProcessTree(server.process.pid)
        requests = FreshJson(photograph, width=WIDTH)
        figures.overloads = overloads(server.port, requests, tree, CONNECTIONS)
    yield from _overload_tables(figures.overloads)
    yield from slow_client_tables(photograph, WIDTH, CONNECTIONS)
    yield from load_plot(
        figures.overloads, {name: each.best.goodput for name, each in figures.contestants.items()}
    )


@contextlib.contextmanager
def _asciist() -> Iterator[Server]:
    """Run the service with an empty data directory. After an error, print the end of its log."""
    with temporary_server() as server:
        try:
            yield server
        except Exception:
            print(
                f"exit status {server.process.poll()}",
                server.log.decode()[-4000:],
                sep="\n",
                file=sys.stderr,
            )
            raise


@contextlib.contextmanager
def _asciist_apart() -> Iterator[Server]:
    """Run the service as `_asciist` does, with the last core for this process alone."""
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, cores[:-1] or cores)  # inherited by the service
    try:
        with _asciist() as server:
            os.sched_setaffinity(0, cores[-1:])
            yield server
    finally:
        os.sched_setaffinity(0, cores)


def _race(photograph: bytes, server: Server, stack: contextlib.ExitStack) -> Figures:
    """Start the other servers, and measure all of them in turns."""
    tree = ProcessTree(server.process.pid)
    contestants = [
        Contestant(
            name=STRUCTURE, port=server.port, requests=FreshJson(photograph, width=WIDTH), tree=tree
        ),
        Contestant(
            name=RAMP,
            port=server.port,
            requests=FreshJson(photograph, width=WIDTH, style="ramp"),
            tree=tree,
        ),
        Contestant(
            name=STORED,
            port=server.port,
            requests=fixed("GET", stored_art(server, photograph, WIDTH)),
            tree=tree,
        ),
        Contestant(
            name=STORED_POST,
            port=server.port,
            requests=json_request(photograph, width=WIDTH),
            tree=tree,
        ),
        Contestant(name=HEALTH, port=server.port, requests=fixed("GET", "/healthz"), tree=tree),
    ]
    missing = {}
    for name, start in (
        (HELLO, servers.hello()),
        (THUMBOR, servers.thumbor(photograph)),
        (SHARP, servers.sharp(photograph)),
        (ORIGINAL, servers.original(photograph)),
    ):
        try:
            port, requests, processes = stack.enter_context(start)
        except servers.PeerMissingError as error:
            missing[name] = str(error)
            continue
        contestants.append(Contestant(name=name, port=port, requests=requests, tree=processes))
    for each in contestants:
        assert servers.status_of(each.port, each.requests) == 200, each.name
        each.measure(_WARM_UP_SECONDS)
        each.cpu_ms.clear()
    conversions: dict[str, list[float]] = {"structure": [], "ramp": []}
    for _ in range(ROUNDS):
        for style, times in conversions.items():
            times.append(_conversion_ms(photograph, style))
        for each in contestants:
            each.rounds.append(each.measure(ROUND_SECONDS))
    return Figures(
        contestants={each.name: each for each in contestants},
        missing=missing,
        conversion_ms={style: statistics.median(times) for style, times in conversions.items()},
    )


def _conversion_ms(photograph: bytes, style: str) -> float:
    """Return the CPU time of one conversion in this process, in milliseconds."""
    options, limits = ConversionOptions(width=WIDTH, style=style), Limits()
    start = time.process_time()
    for _ in range(_CONVERSIONS):
        convert(photograph, options, limits)
    return 1000 * (time.process_time() - start) / _CONVERSIONS


def _rates(figures: Figures) -> Iterator[str]:
    yield (
        f"### Rates: {ROUNDS} rounds of {ROUND_SECONDS:.0f} s each, in turns,"
        f" {CONNECTIONS} connections"
    )
    yield ""
    yield "| | best round, requests/s | median round | p50, ms | p99, ms | refused |"
    yield "|---|--:|--:|--:|--:|--:|"
    for name, each in figures.contestants.items():
        best = each.best
        latencies = f"{1000 * best.served.p50:.1f} | {1000 * best.served.p99:.1f}"
        yield (
            f"| {name} | {best.goodput:.0f} | {each.median_rate:.0f} | {latencies} |"
            f" {len(best.refused)} |"
        )
    for name, reason in figures.missing.items():
        yield f"| {name} | {reason} | | | | |"
    yield ""
    yield "Percentiles and refusals are those of the best round."
    yield ""


def _cpu_times(figures: Figures) -> Iterator[str]:
    yield "### CPU time of a request, in all processes of the server"
    yield ""
    yield "| | ms, median round | conversion alone, in process, ms | beyond the conversion, ms |"
    yield "|---|--:|--:|--:|"
    for name, each in figures.contestants.items():
        total = statistics.median(each.cpu_ms)
        style = {STRUCTURE: "structure", RAMP: "ramp"}.get(name)
        alone, beyond = "", ""
        if style:
            alone = f"{figures.conversion_ms[style]:.2f}"
            beyond = f"{total - figures.conversion_ms[style]:.2f}"
        yield f"| {name} | {total:.2f} | {alone} | {beyond} |"
    yield ""


def _goals(figures: Figures) -> Iterator[str]:
    yield "### Goals"
    yield ""
    yield from HEAD
    for name, other, factor in (
        (STRUCTURE, SHARP, 1.0),
        (STRUCTURE, THUMBOR, 1.4),
        (STRUCTURE, ORIGINAL, 2.8),
        (RAMP, SHARP, 1.6),
        (RAMP, THUMBOR, 2.4),
        (RAMP, ORIGINAL, 4.5),
    ):
        ratio = figures.cpu_ratio(other, name)
        yield goal(
            f"CPU of {other} / {name}",
            f"≥ {factor}",
            f"{ratio:.2f}",
            met=None if math.isnan(ratio) else ratio >= factor,
        )
    ratio = figures.cpu_ratio(STORED, HELLO)
    met = None if math.isnan(ratio) else ratio <= 0.6
    yield goal(f"CPU of {STORED} / {HELLO}", "≤ 0.6", f"{ratio:.2f}", met=met)
    for name, style in ((STRUCTURE, "structure"), (RAMP, "ramp")):
        beyond = statistics.median(figures.contestants[name].cpu_ms) - figures.conversion_ms[style]
        yield goal(
            f"{name}: CPU beyond the conversion, ms",
            f"≤ {_CPU_GOAL_MS}",
            f"{beyond:.2f}",
            met=beyond <= _CPU_GOAL_MS,
        )
    yield ""


def _overload_tables(measured: list[Overload]) -> Iterator[str]:
    peak = measured[0].peak
    yield f"### Overload: an open loop of fresh requests; the peak is {peak:.0f}/s"
    yield ""
    yield (
        "| offered / peak | offered/s | goodput/s | refused | failed | served p50, ms | served p99,"
        " ms | refused p50, ms | refused p99, ms | max RSS, MB | recovered after, s |"
    )
    yield "|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|"
    for each in measured:
        result = each.result
        latencies = (result.served.p50, result.served.p99, result.refused.p50, result.refused.p99)
        yield (
            f"| {each.factor:g} | {each.rate:.0f} | {result.goodput:.0f} | {len(result.refused)} |"
            f" {each.failed} | {' | '.join(map(milliseconds, latencies))} |"
            f" {each.max_rss_bytes / 1e6:.0f} | {each.recovery_text} |"
        )
    yield ""
    cpu = max(each.result.cpu_seconds / each.result.seconds for each in measured)
    lag = max(each.result.lag for each in measured)
    yield (
        "Failed requests had no answer, or one that is neither served nor a refusal. The load"
        f" generator used at most\n{cpu:.0%} of a core, and sent no request more than"
        f" {1000 * lag:.0f} ms late for which it had a connection.\nMemory that processes share"
        " counts for each of them."
    )
    yield ""
    yield from HEAD
    for each in measured:
        if each.factor < 3:
            continue
        share = each.result.goodput / peak
        refused, served = each.result.refused.p50, each.result.served.p99
        at = f"at {each.factor:g} times the peak"
        yield goal(f"goodput / peak {at}", "≥ 0.9", f"{share:.2f}", met=share >= 0.9)
        yield goal(f"refused, p50 {at}, ms", "< 100", milliseconds(refused), met=refused < 0.1)
        yield goal(f"served, p99 {at}, s", "≤ 10", f"{served:.2f}", met=served <= 10)
        yield goal(
            f"recovered {at}, s after the load's end",
            "≤ 2",
            each.recovery_text,
            met=each.recovery_seconds <= 2,
        )
    yield ""
