"""A stand-in for the Datadog Agent: takes DogStatsD datagrams, refuses what Datadog would rewrite or drop, remembers the rest.

Values are kept the way Datadog keeps them: counts as sums, distributions as DDSketches, which merge without loss across time
and tags and give every percentile within 1% of the value (https://arxiv.org/abs/1908.10693).
"""

import contextlib
import math
import re
import socket
import threading
import time
from bisect import bisect_right
from collections import Counter, deque
from collections.abc import Callable, Container, Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Self, TypeAlias, TypeVar

from ddsketch import DDSketch

from asciist.telemetry.metrics import CATALOGUE, Metric
from observability.datadog import COMMON_TAGS

RELATIVE_ACCURACY: Final = 0.01
BUCKET_SECONDS: Final = 5
"""Width of a bucket, and so of a point in a chart."""
BUCKETS: Final = 180
"""Remembered: a quarter of an hour."""

TYPES: Final = {"c": "count", "g": "gauge", "ms": "timer", "h": "histogram", "s": "set", "d": "distribution"}

_NAME: Final = re.compile(r"[a-zA-Z][a-zA-Z0-9_.]{0,199}")
_NUMBER: Final = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_TAG: Final = re.compile(r"[a-zA-Z][a-zA-Z0-9_\-:./]{0,198}[a-zA-Z0-9_\-./]|[a-zA-Z]")
_LARGEST_DATAGRAM: Final = 65_536
_QUEUE_BYTES: Final = 8 * 2**20  # a burst of seconds; the system may grant less
_SO_RCVBUFFORCE: Final = 33  # of Linux; the socket module has no name for it

Tags: TypeAlias = frozenset[tuple[str, str]]
"""Keys and values, in lower case as Datadog keeps them; a tag without a colon has the value ""."""

Group = TypeVar("Group", bound=Hashable)


class DogStatsDError(ValueError):
    """A line that is refused; the message says why."""


@dataclass(frozen=True, kw_only=True)
class Message:
    """One line of a datagram: `NAME:VALUE[:VALUE…]|TYPE[|@RATE][|#TAG,…][|c:…][|T…][|e:…][|card:…]`."""

    name: str
    type: str
    """A key of `TYPES`."""
    values: tuple[float, ...] = ()
    member: str = ""
    """What a set counts, instead of values."""
    rate: float = 1
    """Share of the values that were sent: each stands for 1 / rate of them."""
    tags: Tags = frozenset()
    timestamp: int | None = None
    container: str = ""
    external_data: str = ""
    cardinality: str = ""


def parse_line(line: str) -> Message:
    """Read one line, by https://docs.datadoghq.com/developers/dogstatsd/datagram_shell (protocol 1.0 to 1.6).

    Raises DogStatsDError for all else, also for what Datadog would take and rewrite; capitals in tags become small ones, here
    as there.
    """
    if line.startswith(("_e{", "_sc|")):
        raise DogStatsDError("an event or a service check, not a metric")
    head, *fields = line.split("|")
    name, colon, packed = head.partition(":")
    if not _NAME.fullmatch(name):
        raise DogStatsDError(f"the name {name!r} is not a letter and then up to 199 letters, digits, underscores and periods")
    if not colon or not fields:
        raise DogStatsDError("not NAME:VALUE|TYPE")
    kind = fields.pop(0)
    if kind not in TYPES:
        raise DogStatsDError(f"there is no type {kind!r}")
    if kind == "s":
        if not packed:
            raise DogStatsDError("a set without a value")
        return Message(name=name, type=kind, member=packed, **_read_fields(kind, fields))
    values = tuple(_number(value) for value in packed.split(":"))
    return Message(name=name, type=kind, values=values, **_read_fields(kind, fields))


def _tags(joined: str) -> Tags:
    tags = set()
    for text in joined.split(","):
        if not _TAG.fullmatch(text):
            raise DogStatsDError(f"the tag {text!r} would be rewritten: letters, digits and _-:./ from a letter on, up to 200")
        key, _, value = text.lower().partition(":")  # as Datadog keeps them
        if (key, value) in tags:
            raise DogStatsDError(f"the tag {text!r} is given twice")
        tags.add((key, value))
    return frozenset(tags)


@dataclass(frozen=True)
class _Field:
    """One of the fields that may follow the type, in any order."""

    key: str
    """Of `Message`."""
    prefix: str
    form: re.Pattern[str]
    read: Callable[[str], Any]
    types: Container[str] = tuple(TYPES)
    """The types that have it."""


_FIELDS: Final = (
    _Field("rate", "@", re.compile(r"(?=.*[1-9])0?\.\d+|1(\.0*)?|[1-9](\.\d*)?e-\d+"), float, types=("c", "ms", "h", "d")),
    _Field("tags", "#", re.compile(r".+"), _tags),
    _Field("timestamp", "T", re.compile(r"[1-9]\d{0,11}"), int, types=("c", "g")),
    _Field("container", "c:", re.compile(r"\S+"), str),
    _Field("external_data", "e:", re.compile(r"\S+"), str),
    _Field("cardinality", "card:", re.compile(r"none|low|orchestrator|high"), str),
)


def _number(text: str) -> float:
    if not _NUMBER.fullmatch(text) or math.isinf(value := float(text)):
        raise DogStatsDError(f"the value {text!r} is not a number")
    return value


def _read_fields(kind: str, texts: Iterable[str]) -> dict[str, Any]:
    read: dict[str, Any] = {}
    for text in texts:
        field = next((field for field in _FIELDS if text.startswith(field.prefix)), None)
        if field is None:
            raise DogStatsDError(f"the field {text!r} is not known")
        if kind not in field.types:
            raise DogStatsDError(f"a {TYPES[kind]} has no {field.key}")
        if field.key in read:
            raise DogStatsDError(f"the {field.key} is given twice")
        value = text.removeprefix(field.prefix)
        if not field.form.fullmatch(value):
            raise DogStatsDError(f"{value!r} is no {field.key}")
        read[field.key] = field.read(value)
    return read


def check_against_catalogue(message: Message, catalogue: Mapping[str, Metric]) -> None:
    """Raise DogStatsDError unless `message` is a value of one of the metrics, with its type and its tags."""
    metric = catalogue.get(message.name)
    if metric is None:
        raise DogStatsDError(f"{message.name} is not in the catalogue of metrics")
    if TYPES[message.type] != metric.type:
        raise DogStatsDError(f"{message.name} is a {metric.type}, not a {TYPES[message.type]}")
    if message.timestamp is not None:
        raise DogStatsDError(f"{message.name} has a timestamp; our values are of the moment they arrive")
    keys = sorted(key for key, _ in message.tags if key not in COMMON_TAGS)
    if keys != sorted(metric.tags):
        raise DogStatsDError(f"{message.name} has the tags {keys}, not {sorted(metric.tags)}")


class Summary:
    """What is remembered of a number of values: enough for each aggregation that Datadog offers. Merges without loss."""

    __slots__ = ("count", "max", "min", "sketch", "sum")

    def __init__(self) -> None:
        self.count = 0.0
        self.sum = 0.0
        self.min = math.inf
        self.max = -math.inf
        self.sketch: DDSketch | None = None

    def add(self, value: float, *, weight: float = 1, sketched: bool) -> None:
        """Take in a value that stands for `weight` of them; `sketched` ones, of distributions, have percentiles."""
        self.count += weight
        self.sum += value * weight
        self.min = min(self.min, value)
        self.max = max(self.max, value)
        if sketched:
            self.sketch = self.sketch or DDSketch(RELATIVE_ACCURACY)
            self.sketch.add(value, weight)

    def merge(self, other: "Summary") -> None:
        """Take in all values of `other`."""
        self.count += other.count
        self.sum += other.sum
        self.min = min(self.min, other.min)
        self.max = max(self.max, other.max)
        if other.sketch:
            self.sketch = self.sketch or DDSketch(RELATIVE_ACCURACY)
            self.sketch.merge(other.sketch)

    def percentile(self, percent: float) -> float:
        """The value at or under which `percent` of the values are, within 1% of it; NaN where there are none."""
        return self._quantile(percent / 100)

    def _quantile(self, quantile: float) -> float:
        value = self.sketch.get_quantile_value(quantile) if self.sketch else None
        return math.nan if value is None else value

    def count_above(self, threshold: float) -> int:
        """How many values exceed `threshold`; those within 1% of it may be on either side."""
        count = round(self.count) if self.sketch else 0
        # Half a rank on, since one that is rounded down at the edge of a bin would be of the bin before.
        return count - bisect_right(
            range(count), threshold, key=lambda rank: self._quantile(min(1, (rank + 0.5) / max(1, count - 1)))
        )


def merge(summaries: Iterable[Summary]) -> Summary:
    """All values of all of them."""
    merged = Summary()
    for summary in summaries:
        merged.merge(summary)
    return merged


@dataclass(frozen=True, kw_only=True)
class BadLine:
    """A line that was refused, and why."""

    line: str
    reason: str

    def __str__(self) -> str:
        return f"{self.reason}: {self.line}"


class Receiver:
    """Listens for DogStatsD on a UDP port of this machine, from the moment it is made until `close`; a context manager.

    Values are remembered in buckets of `BUCKET_SECONDS` for a quarter of an hour, and all together since the start.
    """

    def __init__(
        self, port: int = 0, *, catalogue: Mapping[str, Metric] = CATALOGUE, clock: Callable[[], float] = time.time
    ) -> None:
        """`port` 0 takes a free one. Raises OSError for one that is taken."""
        self._catalogue = catalogue
        self.clock = clock
        self._lock = threading.Lock()
        self._totals: dict[str, dict[Tags, Summary]] = {}
        self._buckets: deque[tuple[int, dict[str, dict[Tags, Summary]]]] = deque(maxlen=BUCKETS)
        self.datagrams = 0
        self.lines = 0
        self.last_arrival: float | None = None
        self.bad_lines = 0
        self.errors: deque[BadLine] = deque(maxlen=100)
        """The last of the lines that were refused; `bad_lines` counts all."""
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _QUEUE_BYTES)
            with contextlib.suppress(OSError):  # past the system's limit, which only root may
                self._socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _QUEUE_BYTES)
            self._socket.bind(("127.0.0.1", port))
        except BaseException:
            self._socket.close()
            raise
        self.address: tuple[str, int] = self._socket.getsockname()
        self._closing = False
        self._thread = threading.Thread(target=self._receive, name="dogstatsd", daemon=True)
        self._thread.start()

    @property
    def port(self) -> int:
        return self.address[1]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop listening; what was received stays readable."""
        self._closing = True
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as waker:
            waker.sendto(b"", self.address)
        self._thread.join()
        self._socket.close()

    def _receive(self) -> None:
        while not self._closing:
            datagram = self._socket.recv(_LARGEST_DATAGRAM)
            if datagram:
                self.take(datagram)

    def take(self, datagram: bytes) -> None:
        """Remember what is in `datagram`, as if it had come through the socket."""
        now = self.clock()
        lines = datagram.removesuffix(b"\n").split(b"\n")
        with self._lock:
            self.datagrams += 1
            self.last_arrival = now
            for line in lines:
                self.lines += 1
                try:
                    message = parse_line(line.decode())
                    check_against_catalogue(message, self._catalogue)
                except ValueError as error:  # UnicodeDecodeError is one, too
                    self.bad_lines += 1
                    self.errors.append(BadLine(line=line.decode(errors="replace"), reason=str(error)))
                else:
                    self._remember(message, int(now // BUCKET_SECONDS))

    def _remember(self, message: Message, index: int) -> None:
        if not self._buckets or self._buckets[-1][0] < index:
            self._buckets.append((index, {}))
        for series in (self._totals, self._buckets[-1][1]):
            summary = series.setdefault(message.name, {}).setdefault(message.tags, Summary())
            for value in message.values:
                summary.add(value, weight=1 / message.rate, sketched=message.type == "d")

    def read(self, name: str, *, since: float, group: Callable[[Tags], Group | None]) -> dict[Group, dict[int, Summary]]:
        """The metric's values in the buckets that end after `since`, merged by what `group` makes of their tags.

        Values of which it makes None are left out. Buckets have their number, of `BUCKET_SECONDS` since 1970; those without a
        value are missing. What is returned may be shared: it is to read.
        """
        merged: dict[Group, dict[int, Summary]] = {}
        with self._lock:
            newest = self._buckets[-1][0] if self._buckets else 0
            for index, metrics in self._buckets:
                if (index + 1) * BUCKET_SECONDS <= since:
                    continue
                parts: dict[Group, list[Summary]] = {}
                for tags, summary in metrics.get(name, {}).items():
                    if (key := group(tags)) is not None:
                        parts.setdefault(key, []).append(summary)
                for key, summaries in parts.items():
                    # The newest bucket is still being filled: a copy of it is taken.
                    alone = len(summaries) == 1 and index != newest
                    merged.setdefault(key, {})[index] = summaries[0] if alone else merge(summaries)
        return merged

    def _matching(self, name: str, wanted: Mapping[str, str]) -> Iterator[Summary]:
        lowered = {(key, value.lower()) for key, value in wanted.items()}
        with self._lock:
            for tags, summary in self._totals.get(name, {}).items():
                if tags >= lowered:
                    yield summary

    def totals(self) -> dict[str, float]:
        """The sum of each metric's values since the start, by name."""
        with self._lock:
            return {name: sum(summary.sum for summary in series.values()) for name, series in self._totals.items()}

    def total(self, name: str, **tags: str) -> float:
        """The sum of the values with these tags since the start: for a count, what was counted."""
        return sum(summary.sum for summary in self._matching(name, tags))

    def values(self, name: str, **tags: str) -> int:
        """How many values with these tags have arrived since the start; sampled ones count for those they stand for."""
        return round(sum(summary.count for summary in self._matching(name, tags)))

    def summary(self, name: str, **tags: str) -> Summary:
        """All values with these tags since the start."""
        return merge(self._matching(name, tags))

    def series(self) -> Counter[tuple[str, Tags]]:
        """Every metric and set of tags that has arrived, with the number of its values."""
        with self._lock:
            return Counter(
                {
                    (name, tags): round(summary.count)
                    for name, series in self._totals.items()
                    for tags, summary in series.items()
                }
            )

    def settle(self, *, quiet: float = 0.3, timeout: float = 10) -> None:
        """Wait until nothing has arrived for `quiet` seconds, or `timeout` has passed: datagrams say no last one."""
        give_up, seen = time.monotonic() + timeout, -1
        while seen != self.datagrams and time.monotonic() < give_up:
            seen = self.datagrams
            time.sleep(quiet)
