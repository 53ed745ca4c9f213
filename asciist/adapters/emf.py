"""Metrics to CloudWatch, by lines of its embedded metric format in the log.

https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html

AWS's own library for it brings an HTTP server's worth of packages to every cold start; the format is one JSON object.
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

_VALUES_OF_A_LINE: Final = 100
"""More values of a metric are refused in one line."""

_UNITS: Final = {"millisecond": "Milliseconds", "byte": "Bytes"}
"""CloudWatch's names; everything else is a Count."""

_Tags = tuple[tuple[str, str], ...]


class EmfMetrics:
    """Collects values for a while and writes them as few lines. Every metric can be read over all tags, and by its own."""

    def __init__(
        self,
        *,
        namespace: str,
        every_seconds: float | None,
        stream: TextIO | None = None,
    ) -> None:
        """Lines go to `stream`, standard output by default.

        Without `every_seconds` they are written by `flush` alone: a function is frozen between its invocations.
        """
        self._namespace = namespace
        self._stream = stream or sys.stdout
        self._lock = threading.Lock()
        self._values: dict[_Tags, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
        if every_seconds is not None:
            threading.Thread(target=self._flush_for_ever, args=(every_seconds,), name="emf", daemon=True).start()

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
        with suppress(OSError, ValueError):  # a full disk, a closed stream: nothing that a request should fail for
            for tags, metrics in values.items():
                for batch in _batches(metrics):
                    self._stream.write(json.dumps(self._line(dict(tags), batch), separators=(",", ":")) + "\n")
            self._stream.flush()

    def _line(self, tags: dict[str, str], metrics: dict[str, list[float]]) -> dict[str, Any]:
        directive = {
            "Namespace": self._namespace,
            "Dimensions": [[], list(tags)] if tags else [[]],
            "Metrics": [{"Name": name, "Unit": _UNITS.get(CATALOGUE[name].unit, "Count")} for name in metrics],
        }
        # CloudWatch wants milliseconds since the epoch.
        return {"_aws": {"Timestamp": round(1000 * time.time()), "CloudWatchMetrics": [directive]}, **tags, **metrics}

    def _flush_for_ever(self, seconds: float) -> None:
        while True:
            time.sleep(seconds)
            self.flush()


def _batches(metrics: dict[str, list[float]]) -> Iterator[dict[str, list[float]]]:
    """As few lines' worth as hold all values."""
    while metrics:
        yield {name: values[:_VALUES_OF_A_LINE] for name, values in metrics.items()}
        metrics = {name: rest for name, values in metrics.items() if (rest := values[_VALUES_OF_A_LINE:])}
