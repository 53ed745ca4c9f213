"""Figures for computing the capacity: list prices, quotas, assumptions and measurements.

`prices.toml`, `quotas.toml` and `assumptions.toml` state the source and the date of each row;
`python -m tests.emulated.consumption` writes `measured.toml`, and `make bench` bench/results.md.
"""

import math
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import cache
from pathlib import Path
from typing import Any, Final

MEASURED: Final = Path(__file__).with_name("measured.toml")
RESULTS: Final = Path(__file__).parents[2] / "bench" / "results.md"
STYLES: Final = ("ramp", "structure")
"""Styles whose conversions are measured by megapixels."""

_SPEED_ROW: Final = (
    r"^\| ([\d.]+) MP, quality 95, ([\d.]+) bytes per pixel \| [\d.]+ \| ([\d.]+) \|"
)
_STRUCTURE_ROW: Final = r"^\| JPEG of ([\d.]+) MP, width 80 \| ([\d.]+) \| ([\d.]+) \|"


class ResultsError(Exception):
    """bench/results.md lacks the measurements for the computation: run `make bench
    SECTIONS=speed`."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """A figure and its source. Prices are in USD for us-east-1."""

    key: str
    source: str
    """URL of the source."""
    taken: date
    """Day on which the figure was compared with its source."""
    verified: bool
    """False if the source could not be read."""
    value: float = 0.0
    name: str = ""
    meaning: str = ""
    unit: str = ""
    raisable: str = ""
    """How to raise a quota: `yes` (on request to AWS), `no`, or another way to get more."""
    usd: float | Sequence[tuple[float, float]] = 0.0
    """USD of each unit, or tiers in ascending order: (units a month up to which the tier applies,
    USD of each unit)."""

    def price(self, units: float) -> float:
        """Return the price of `units` units a month, in USD."""
        total = start = 0.0
        for end, usd in [(math.inf, self.usd)] if isinstance(self.usd, float) else self.usd:
            total += max(0.0, min(units, end) - start) * usd
            start = end
        return total


@cache
def rows(table: str) -> Mapping[str, Row]:
    """Return the rows of `prices`, `quotas` or `assumptions` by key."""
    found = tomllib.loads(Path(__file__).with_name(f"{table}.toml").read_text())
    return {key: Row(key=key, **row) for key, row in found.items()}


@cache
def measured() -> Mapping[str, Any]:
    """Return the measurements of `python -m tests.emulated.consumption`: CPU time in milliseconds
    on the machine named, and bytes."""
    return tomllib.loads(MEASURED.read_text())


def conversion_ms(megapixels: float, style: str, results: str | None = None) -> float:
    """Return the CPU time of converting a JPEG to art of width 80, in milliseconds.

    It is interpolated between the sizes in `results`, by default bench/results.md, and proportional
    above the largest. Raises ResultsError.
    """
    ramp = {size: ms for size, _, ms in _measured_rows(_SPEED_ROW, results)}
    more = {size: ms - of_ramp for size, of_ramp, ms in _measured_rows(_STRUCTURE_ROW, results)}
    largest = max(ramp)
    milliseconds = _interpolated(ramp, min(megapixels, largest)) * max(1.0, megapixels / largest)
    return milliseconds + (_interpolated(more, megapixels) if style == "structure" else 0.0)


def image_bytes(megapixels: float, results: str | None = None) -> int:
    """Return the usual size of a JPEG of quality 95, as measured for the next size in
    bench/results.md. Raises ResultsError."""
    density = {size: bytes_ for size, bytes_, _ in _measured_rows(_SPEED_ROW, results)}
    return round(1e6 * megapixels * density[min(density, key=lambda size: abs(size - megapixels))])


def _measured_rows(pattern: str, results: str | None) -> list[tuple[float, float, float]]:
    text = RESULTS.read_text() if results is None else results
    found = re.findall(pattern, text, re.MULTILINE)
    if len(found) < 2:
        raise ResultsError(
            "bench/results.md has no times of JPEGs: run `make bench SECTIONS=speed`"
        )
    return [(float(first), float(second), float(third)) for first, second, third in found]


def _interpolated(points: Mapping[float, float], at: float) -> float:
    """Return the value at `at` on the line through the two nearest points; outside their range, the
    value of the nearest point."""
    at = min(max(at, min(points)), max(points))
    below = max(point for point in points if point <= at)
    above = min(point for point in points if point >= at)
    share = (at - below) / (above - below) if above > below else 0.0
    return points[below] + share * (points[above] - points[below])
