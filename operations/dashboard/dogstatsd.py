"""A stand-in for the Datadog Agent: receives DogStatsD datagrams, rejects invalid lines and stores
the rest in memory."""

import math
import re
import socketserver
import threading
import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass
from socket import SO_RCVBUF, SOL_SOCKET
from typing import Any, Final, TypeAlias

from ddsketch import DDSketch

from asciist.telemetry.metrics import CATALOGUE
from operations.observability.datadog import COMMON_TAGS

BUCKET_SECONDS: Final = 5
"""Width of a bucket, in seconds; each bucket is one point of a chart."""
BUCKETS: Final = 180
"""Number of buckets in memory: 15 minutes."""

_TYPES: Final = {"c": "count", "d": "distribution"}
_NUMBER: Final = r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"
_TAG: Final = r"(?:[a-zA-Z][a-zA-Z0-9_\-:./]{0,198}[a-zA-Z0-9_\-./]|[a-zA-Z])"
_LINE: Final = re.compile(
    rf"""(?P<name> [a-zA-Z][a-zA-Z0-9_.]{{0,199}} )
        : (?P<values> {_NUMBER} (?: :{_NUMBER} )* ) \| (?P<type> [cd] )
        (?: \|@ (?P<rate> (?=.*[1-9])0?\.\d+ | 1(?:\.0*)? | [1-9](?:\.\d*)?e-\d+ ) )?
        (?: \|\# (?P<tags> {_TAG} (?: ,{_TAG} )* ) )?
        (?: \|(?:c|e):[^\s|]+ | \|card:(?:none|low|orchestrator|high) )*""",
    re.VERBOSE | re.ASCII,
)
_RECEIVE_BUFFER_BYTES: Final = 8 * 2**20  # a burst of several seconds; the kernel may grant less
_SO_RCVBUFFORCE: Final = 33  # Linux; missing from the socket module

Tags: TypeAlias = frozenset[tuple[str, str]]
"""Keys and values in lower case, as Datadog stores them; a tag without a colon has the value ""."""


class DogStatsDError(ValueError):
    """A line is rejected because it is invalid or contradicts the metric catalogue; the message
    gives the reason."""


@dataclass(frozen=True, kw_only=True)
class Message:
    """One line of a datagram."""

    name: str
    type: str
    """`count` or `distribution`: the service sends no other type."""
    values: tuple[float, ...]
    rate: float
    """Sampling rate: each value stands for 1 / rate values."""
    tags: Tags


def parse_line(line: str) -> Message:
    """Parse one line (https://docs.datadoghq.com/developers/dogstatsd/datagram_shell).

    Tags become lower case, as in Datadog. Raises DogStatsDError if the line is invalid, or if
    Datadog would change it in another way, such as by replacing characters of a tag.
    """
    match = _LINE.fullmatch(line)
    values = tuple(map(float, match["values"].split(":"))) if match else ()
    if not match or math.inf in map(abs, values):
        raise DogStatsDError("not NAME:VALUE[:VALUE…]|c or d[|@RATE][|#TAG[,TAG…]]")
    tags = [text.partition(":")[::2] for text in (match["tags"] or "").lower().split(",") if text]
    if len(tags) > len(set(tags)):
        raise DogStatsDError("duplicate tag")
    rate = float(match["rate"] or 1)
    return Message(
        name=match["name"],
        type=_TYPES[match["type"]],
        values=values,
        rate=rate,
        tags=frozenset(tags),
    )


def check_against_catalogue(message: Message) -> None:
    """Raise DogStatsDError unless `message` matches the name, type and tags of a metric in the
    catalogue.

    It may also carry COMMON_TAGS, the tags of a deployment.
    """
    metric = CATALOGUE.get(message.name)
    if metric is None:
        raise DogStatsDError(f"{message.name} is not in the metric catalogue")
    if message.type != metric.type:
        raise DogStatsDError(f"{message.name} is a {metric.type}, not a {message.type}")
    keys = sorted(key for key, _ in message.tags if key not in COMMON_TAGS)
    if keys != sorted(metric.tags):
        raise DogStatsDError(f"{message.name} has the tags {keys}, not {sorted(metric.tags)}")


class Summary(DDSketch):
    """Count, sum, minimum and maximum of a set of values, and any percentile within 1% of its
    value.

    Datadog stores distributions the same way. Merging loses no accuracy
    (https://arxiv.org/abs/1908.10693).
    """

    @property
    def min(self) -> float:
        return float(self._min)

    @property
    def max(self) -> float:
        return float(self._max)

    def percentile(self, percent: float) -> float:
        """Return the value below which `percent` (from 0 to 100) of the values lie; NaN if there
        are none."""
        value = self.get_quantile_value(percent / 100)
        return math.nan if value is None else value

    def count_above(self, threshold: float) -> float:
        """Return the number of values above `threshold`, which is at least 0. Values within 1% of
        it may be counted or not."""
        bins = enumerate(self._store.bins, self._store.offset)
        return float(
            sum(count for key, count in bins if count and self._mapping.value(key) > threshold)
        )


class Receiver(socketserver.UDPServer):
    """Listens for DogStatsD on a UDP port of 127.0.0.1 from its creation until `close`; a context
    manager.

    It holds values in buckets of `BUCKET_SECONDS` for 15 minutes, and their totals since the start.
    """

    max_packet_size = 65_536  # of UDP; the default, 8 kB, would truncate a datagram

    def __init__(self, port: int = 0, *, clock: Callable[[], float] = time.time) -> None:
        """Port 0 picks a free port. Raises OSError if the port is taken."""
        super().__init__(("127.0.0.1", port), socketserver.BaseRequestHandler)
        try:
            self.socket.setsockopt(SOL_SOCKET, _SO_RCVBUFFORCE, _RECEIVE_BUFFER_BYTES)
        except OSError:  # only root may exceed the kernel's limit
            self.socket.setsockopt(SOL_SOCKET, SO_RCVBUF, _RECEIVE_BUFFER_BYTES)
        self.port: int = self.server_address[1]
        self.clock = clock
        self.datagrams = 0
        self.lines = 0
        self.bad_lines = 0
        self.errors: deque[str] = deque(maxlen=10)
        """The latest rejected lines, each preceded by the reason; `bad_lines` counts all of
        them."""
        self.last_arrival: float | None = None
        """Time of the latest datagram, in seconds of `clock`."""
        self._lock = threading.Lock()
        self._totals: defaultdict[str, defaultdict[Tags, Summary]] = _series()
        self._buckets: deque[tuple[int, defaultdict[str, defaultdict[Tags, Summary]]]] = deque(
            maxlen=BUCKETS
        )
        self._thread = threading.Thread(
            target=self.serve_forever, args=(0.1,), name="dogstatsd", daemon=True
        )
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop listening; received values stay readable."""
        self.shutdown()
        self._thread.join()
        self.server_close()

    # The signature of socketserver.
    def finish_request(self, request: Any, client_address: Any) -> None:  # noqa: ARG002
        self.take(request[0])

    def take(self, datagram: bytes) -> None:
        """Store the values in `datagram` as if it had arrived on the socket."""
        now = self.clock()
        with self._lock:
            self.datagrams += 1
            self.last_arrival = now
            for line in datagram.removesuffix(b"\n").split(b"\n"):
                self.lines += 1
                try:
                    message = parse_line(line.decode())
                    check_against_catalogue(message)
                except ValueError as error:  # includes UnicodeDecodeError
                    self.bad_lines += 1
                    self.errors.append(f"{error}: {line.decode(errors='replace')}")
                else:
                    self._store(message, int(now // BUCKET_SECONDS))

    def _store(self, message: Message, bucket: int) -> None:
        if not self._buckets or self._buckets[-1][0] < bucket:
            self._buckets.append((bucket, _series()))
        for series in (self._totals, self._buckets[-1][1]):
            for value in message.values:
                # A sampled value stands for several.
                series[message.name][message.tags].add(value, 1 / message.rate)

    def read(
        self, name: str, buckets: range, group: Callable[[Tags], Any]
    ) -> dict[Any, dict[int, Summary]]:
        """Return the metric's values by group and by bucket number (seconds since 1970 /
        `BUCKET_SECONDS`).

        `group` maps tags to a group, or to None for values to leave out. Empty buckets are missing
        from the result.
        """
        merged: defaultdict[Any, defaultdict[int, Summary]] = defaultdict(
            lambda: defaultdict(Summary)
        )
        with self._lock:
            for bucket, metrics in self._buckets:
                for tags, summary in metrics.get(name, {}).items() if bucket in buckets else ():
                    if (key := group(tags)) is not None:
                        merged[key][bucket].merge(summary)
        return {key: dict(summaries) for key, summaries in merged.items()}

    def summary(self, name: str, **tags: str) -> Summary:
        """Return the metric's values with these tags since the start."""
        wanted = {(key, value.lower()) for key, value in tags.items()}
        merged = Summary()
        with self._lock:
            for found, summary in self._totals.get(name, {}).items():
                if found >= wanted:
                    merged.merge(summary)
        return merged

    def total(self, name: str, **tags: str) -> float:
        """Return the sum of the metric's values with these tags since the start."""
        return float(self.summary(name, **tags).sum)

    def values(self, name: str, **tags: str) -> int:
        """Return the number of the metric's values with these tags since the start, corrected for
        sampling."""
        return round(float(self.summary(name, **tags).count))

    def series(self) -> Counter[tuple[str, Tags]]:
        """Return the number of values of each metric and set of tags."""
        with self._lock:
            return Counter(
                {
                    (name, tags): round(found.count)
                    for name, each in self._totals.items()
                    for tags, found in each.items()
                }
            )

    def settle(self, *, quiet: float = 0.3, timeout: float = 10) -> None:
        """Wait until no datagram has arrived for `quiet` seconds, but at most about `timeout`
        seconds."""
        give_up, seen = time.monotonic() + timeout, -1
        while seen != self.datagrams and time.monotonic() < give_up:
            seen = self.datagrams
            time.sleep(quiet)


def _series() -> defaultdict[str, defaultdict[Tags, Summary]]:
    """Create an empty table of values by metric name and tags."""
    return defaultdict(lambda: defaultdict(Summary))
