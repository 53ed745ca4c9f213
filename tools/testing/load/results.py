"""Results of a load: the number of requests by outcome, and their latencies."""

import math
from array import array
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

REFUSALS: Final = frozenset({429, 503})
"""Status codes of an overloaded server's refusals."""


def percentile(ordered: Sequence[float], percent: float) -> float:
    """Return a percentile of sorted values by nearest rank; NaN if there are none."""
    if not ordered:
        return math.nan
    return ordered[max(0, math.ceil(percent / 100 * len(ordered)) - 1)]


class Latencies:
    """Latencies of a set of requests, in seconds. All percentiles of an empty set are NaN."""

    def __init__(self, seconds: Iterable[float]) -> None:
        self._ordered: Final = sorted(seconds)

    def __len__(self) -> int:
        return len(self._ordered)

    def at(self, percent: float) -> float:
        """Return a percentile, in seconds."""
        return percentile(self._ordered, percent)

    @property
    def p50(self) -> float:
        return self.at(50)

    @property
    def p99(self) -> float:
        return self.at(99)

    @property
    def max(self) -> float:
        return self.at(100)


@dataclass(kw_only=True)
class Result:
    """Outcomes of one load's requests, in the order in which they ended.

    The request at an index was due `due[index]` seconds after the start of the run. Its response
    was complete `latency[index]` seconds later, with `status[index]`, which is 0 without an answer.
    """

    start: float
    """Seconds from the start of the run to the start of the load."""
    seconds: float
    """Duration of the load; later responses are recorded but do not count as goodput."""
    due: "array[float]" = field(default_factory=lambda: array("d"))
    latency: "array[float]" = field(default_factory=lambda: array("d"))
    status: "array[int]" = field(default_factory=lambda: array("h"))
    errors: Counter[str] = field(default_factory=Counter)
    """Requests without an answer by reason: `connection refused`, `reset`, `closed`, `timeout`,
    `invalid` or `no address`."""
    offered: int = 0
    """Requests that were due."""
    connections: int = 0
    """Connections that were opened."""
    lag: float = 0.0
    """Maximum seconds that the generator itself was late with a request although a connection was
    free."""
    cpu_seconds: float = 0.0
    """CPU time of the generator in the whole run, for all of its loads."""

    @property
    def statuses(self) -> Counter[int]:
        """Number of answers with each status code."""
        return Counter(status for status in self.status if status)

    @property
    def served(self) -> Latencies:
        """Latencies of the requests answered with a status below 400."""
        return Latencies(
            t for t, status in zip(self.latency, self.status, strict=True) if 0 < status < 400
        )

    @property
    def refused(self) -> Latencies:
        """Latencies of the requests answered with 429 or 503."""
        return Latencies(
            t for t, status in zip(self.latency, self.status, strict=True) if status in REFUSALS
        )

    @property
    def goodput(self) -> float:
        """Served requests per second: requests answered before the load ended."""
        end = self.start + self.seconds
        outcomes = zip(self.due, self.latency, self.status, strict=True)
        return (
            sum(0 < status < 400 and due + latency <= end for due, latency, status in outcomes)
            / self.seconds
        )

    def recovery_seconds(self, normal: float, after: float) -> float:
        """Return the seconds from `after` until requests are served in at most `normal` seconds;
        NaN if they never are.

        `after` is a time in seconds after the start of the run. The end of the last request that
        was slower, or was not served, counts.
        """
        pairs = sorted(zip(self.due, self.latency, self.status, strict=True))
        last_bad, first_good = after, math.nan
        for due, latency, status in pairs:
            if due + latency < after:
                continue
            if latency > normal or not 0 < status < 400:
                last_bad, first_good = max(last_bad, due + latency), math.nan
            elif math.isnan(first_good):
                first_good = due
        return math.nan if math.isnan(first_good) else last_bad - after
