"""Metrics sent by DogStatsD to a Datadog agent, or to the Datadog extension of a Lambda function.

Datadog's own variables set the agent's address: DD_DOGSTATSD_URL, or DD_AGENT_HOST and
DD_DOGSTATSD_PORT; the default is 127.0.0.1:8125. DD_ENV, DD_SERVICE and DD_VERSION become tags of
every metric.

This module aggregates values and hands them to the client three times per second: the sum of each
counter, and the values of each distribution packed into few lines. The client alone takes two to
three times as long for a value.
"""

from collections import defaultdict, deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any, Final, TypeVar

from datadog.dogstatsd.base import DogStatsd

_MAX_QUEUED_PACKETS: Final = 1000  # the metrics of more than a minute at 1000 requests per second
"""Maximum packets, of 1.4 kB each, queued for a slow agent."""
_FLUSH_TIMEOUT_SECONDS: Final = 2.0
"""Seconds that `flush` waits for queued packets to be sent."""
# agents read such lines since 7.25
# (https://docs.datadoghq.com/extend/dogstatsd/datagram_shell/#dogstatsd-protocol-v11)
_VALUES_PER_LINE: Final = 64
"""Maximum values in one line, `name:value:value|d|#tag:text`; such a line fits into a packet."""

_Value = TypeVar("_Value")
_Series = tuple[str, tuple[tuple[str, str], ...]]
"""Name and tags of a metric."""


class DogStatsDMetrics:
    """Metrics sink for DogStatsD. Create one in each process, after the fork, because the client
    sends packets from threads.

    Without an agent, values are lost and no error is raised.
    """

    def __init__(self) -> None:
        # Appending takes no lock, which with gevent costs more than all the rest.
        self._counts: deque[tuple[str, dict[str, str], int]] = deque()
        self._values: deque[tuple[str, dict[str, str], float]] = deque()
        self._client = _Client(
            self._hand_over,
            disable_buffering=False,
            # runs `flush_aggregated_metrics` before packets are sent, three times per second
            disable_aggregation=False,
            disable_background_sender=False,
            sender_queue_size=_MAX_QUEUED_PACKETS,
            disable_telemetry=True,  # no metrics about the client itself: nothing uses them
            origin_detection_enabled=False,
        )

    def count(self, name: str, value: int = 1, **tags: str) -> None:
        self._counts.append((name, tags, value))

    def distribution(self, name: str, value: float, **tags: str) -> None:
        self._values.append((name, tags, value))

    def flush(self) -> None:
        self._client.flush_aggregated_metrics()
        self._client.wait_for_pending(_FLUSH_TIMEOUT_SECONDS)

    def _hand_over(self) -> None:
        """Hand all collected values to the client."""
        totals: defaultdict[_Series, int] = defaultdict(int)
        for name, tags, value in _taken(self._counts):
            totals[name, tuple(tags.items())] += value
        for (name, series), total in totals.items():
            self._client.increment(name, total, tags=_texts(series))
        values: defaultdict[_Series, list[str]] = defaultdict(list)
        for name, tags, measured in _taken(self._values):
            values[name, tuple(tags.items())].append(f"{measured:.3f}")
        for (name, series), collected in values.items():
            for start in range(0, len(collected), _VALUES_PER_LINE):
                packed = ":".join(collected[start : start + _VALUES_PER_LINE])
                # Written as it is.
                self._client.distribution(name, packed, tags=_texts(series))  # type: ignore[arg-type]


class _Client(DogStatsd):
    """Client that calls `collect` before each flush, also in the thread that flushes regularly."""

    def __init__(self, collect: Callable[[], None], **options: Any) -> None:
        self._collect = collect
        super().__init__(**options)

    def flush_aggregated_metrics(self) -> bool:
        self._collect()
        return bool(super().flush_aggregated_metrics())


def _taken(collected: deque[_Value]) -> Iterator[_Value]:
    """Yield and remove the values collected so far; others may be added meanwhile."""
    with suppress(IndexError):  # two threads may flush at a time
        for _ in range(len(collected)):
            yield collected.popleft()


def _texts(tags: tuple[tuple[str, str], ...]) -> list[str]:
    return [f"{key}:{text}" for key, text in tags]
