"""Metrics sent to CloudWatch as log lines in the embedded metric format (EMF).

https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html

This module does not use AWS's own library, aws-embedded-metrics: it imports an HTTP library at
every cold start, and the format is only one JSON object.
"""

import json
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, Final, TextIO

from asciist.telemetry.metrics import CATALOGUE

_MAX_VALUES_PER_LINE: Final = 100
"""Maximum values of one metric in a log line; CloudWatch rejects more."""

_UNITS: Final = {"millisecond": "Milliseconds", "byte": "Bytes"}
"""CloudWatch's unit for each unit of the catalogue; units not listed are reported as Count."""

_Tags = tuple[tuple[str, str], ...]


class EmfMetrics:
    """Metrics sink that buffers values and writes them in batches.

    CloudWatch shows each metric in total and for each combination of its tags.
    """

    def __init__(
        self,
        *,
        namespace: str,
        flush_interval_seconds: float | None,
        stream: TextIO | None = None,
    ) -> None:
        """Write buffered values to `stream`, by default standard output, every
        `flush_interval_seconds`.

        If the interval is None, only `flush` writes them. A Lambda function needs that, because it
        is frozen between invocations.
        """
        self._namespace = namespace
        self._stream = stream or sys.stdout
        self._lock = threading.Lock()
        self._values: dict[_Tags, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
        if flush_interval_seconds is not None:
            threading.Thread(
                target=self._flush_periodically,
                args=(flush_interval_seconds,),
                name="emf",
                daemon=True,
            ).start()

    def count(self, name: str, value: int = 1, **tags: str) -> None:
        with self._lock:
            counted = self._values[tuple(tags.items())][name]
            counted[:] = [sum(counted) + value]

    def distribution(self, name: str, value: float, **tags: str) -> None:
        with self._lock:
            self._values[tuple(tags.items())][name].append(round(value, 3))

    def flush(self) -> None:
        with self._lock:
            values, self._values = self._values, defaultdict(lambda: defaultdict(list))
        # a full disk or a closed stream must not fail a request
        with suppress(OSError, ValueError):
            for tags, metrics in values.items():
                for batch in _batches(metrics):
                    self._stream.write(
                        json.dumps(self._line(dict(tags), batch), separators=(",", ":")) + "\n"
                    )
            self._stream.flush()

    def _line(self, tags: dict[str, str], metrics: dict[str, list[float]]) -> dict[str, Any]:
        directive = {
            "Namespace": self._namespace,
            "Dimensions": [[], list(tags)] if tags else [[]],
            "Metrics": [
                {"Name": name, "Unit": _UNITS.get(CATALOGUE[name].unit, "Count")}
                for name in metrics
            ],
        }
        # The timestamp is in milliseconds since the epoch.
        return {
            "_aws": {"Timestamp": round(1000 * time.time()), "CloudWatchMetrics": [directive]},
            **tags,
            **metrics,
        }

    def _flush_periodically(self, seconds: float) -> None:
        while True:
            time.sleep(seconds)
            self.flush()


def _batches(metrics: dict[str, list[float]]) -> Iterator[dict[str, list[float]]]:
    """Split values into the fewest batches that fit into one line each."""
    while metrics:
        yield {name: values[:_MAX_VALUES_PER_LINE] for name, values in metrics.items()}
        metrics = {
            name: rest
            for name, values in metrics.items()
            if (rest := values[_MAX_VALUES_PER_LINE:])
        }
