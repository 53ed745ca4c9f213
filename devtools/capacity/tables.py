"""The figures that the computation starts from: list prices, quotas, assumptions and measurements.

`prices.toml`, `quotas.toml` and `assumptions.toml` have the source and the date of each row. `measured.toml` is written by
`python -m tests.emulated.consumption`, and bench/results.md by `make bench`.
"""

import math
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

FOLDER: Final = Path(__file__).parent
MEASURED: Final = FOLDER / "measured.toml"
RESULTS: Final = FOLDER.parents[1] / "bench" / "results.md"

_SPEED_ROW: Final = re.compile(
    r"^\| (?P<mp>[\d.]+) MP, quality 95, (?P<density>[\d.]+) bytes per pixel \| [\d.]+ \| (?P<ms>[\d.]+) \|", re.MULTILINE
)
_STRUCTURE_ROW: Final = re.compile(
    r"^\| JPEG of (?P<mp>[\d.]+) MP, width 80 \| (?P<ramp>[\d.]+) \| (?P<structure>[\d.]+) \|", re.MULTILINE
)
STYLES: Final = ("ramp", "structure")
"""Styles whose conversions are measured by megapixels."""


class ResultsError(Exception):
    """bench/results.md lacks the measurements that the computation needs: run `make bench SECTIONS=speed`."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """Where a figure comes from."""

    key: str
    source: str
    """URL of the source."""
    taken: date
    """Day on which the figure was compared with its source."""
    verified: bool
    """False if the source could not be read."""


@dataclass(frozen=True, kw_only=True)
class Price(Row):
    """A list price in USD for us-east-1."""

    unit: str
    tiers: Sequence[tuple[float, float]]
    """(units a month up to which a tier applies, USD of each unit), in ascending order; the last tier has no bound."""

    def of(self, units: float) -> float:
        """Return the price of so many units a month, in USD."""
        bounds = [0.0, *(bound for bound, _ in self.tiers)]
        return sum(
            max(0.0, min(units, end) - start) * usd for (start, end), (_, usd) in zip(pairwise(bounds), self.tiers, strict=True)
        )


@dataclass(frozen=True, kw_only=True)
class Quota(Row):
    """A default quota of AWS."""

    name: str
    value: float
    raisable: str
    """`yes`, `no`, or how to get more."""


@dataclass(frozen=True, kw_only=True)
class Assumption(Row):
    """A figure that was neither measured nor published."""

    value: float
    meaning: str


@dataclass(frozen=True, kw_only=True)
class Measured:
    """Measurements of `python -m tests.emulated.consumption`. CPU time is in milliseconds, on the machine named."""

    measured: str
    machine: str
    image_bytes: Sequence[int]
    """Sizes of the images."""
    web_fresh_ms: float
    web_fresh_ms_per_mb: float
    web_stored_ms: float
    web_stored_ms_per_mb: float
    poller_ms: float
    """CPU time of a message in a worker, without the conversion."""
    poller_ms_per_mb: float
    web_fresh_log_bytes: float
    web_stored_log_bytes: float
    poller_log_bytes: float
    function_log_bytes: float
    function_log_lines: float
    metric_series: int
    answer_bytes: int
    art_bytes: int
    sqs_call_bytes: int


def _rows(name: str) -> dict[str, dict[str, Any]]:
    return tomllib.loads((FOLDER / f"{name}.toml").read_text())


@cache
def prices() -> Mapping[str, Price]:
    """Return the list prices by key."""
    found = {}
    for key, row in _rows("prices").items():
        usd = row.pop("usd")
        tiers = [(bound, each) for bound, each in usd] if isinstance(usd, list) else [(math.inf, usd)]
        found[key] = Price(key=key, tiers=tiers, **row)
    return found


@cache
def quotas() -> Mapping[str, Quota]:
    """Return the quotas by key."""
    return {key: Quota(key=key, **row) for key, row in _rows("quotas").items()}


@cache
def assumptions() -> Mapping[str, Assumption]:
    """Return the assumptions by key."""
    return {key: Assumption(key=key, **row) for key, row in _rows("assumptions").items()}


@cache
def measured() -> Measured:
    """Return the measurements of both tiers on AWS."""
    return Measured(**tomllib.loads(MEASURED.read_text()))


def conversion_ms(megapixels: float, style: str, results: str | None = None) -> float:
    """Return the CPU time of converting a JPEG to art of width 80, in milliseconds.

    It is interpolated between the sizes in `results`, by default bench/results.md, and proportional above the largest. Raises
    ResultsError.
    """
    text = RESULTS.read_text() if results is None else results
    ramp = {float(row["mp"]): float(row["ms"]) for row in _SPEED_ROW.finditer(text)}
    more = {float(row["mp"]): float(row["structure"]) - float(row["ramp"]) for row in _STRUCTURE_ROW.finditer(text)}
    if len(ramp) < 2 or len(more) < 2:
        raise ResultsError("bench/results.md has no times of JPEGs: run `make bench SECTIONS=speed`")
    largest = max(ramp)
    milliseconds = _interpolated(ramp, min(megapixels, largest)) * max(1.0, megapixels / largest)
    return milliseconds + (_interpolated(more, megapixels) if style == "structure" else 0.0)


def image_bytes(megapixels: float, results: str | None = None) -> int:
    """Return the usual size of a JPEG of quality 95, as measured for the next size in bench/results.md. Raises ResultsError."""
    text = RESULTS.read_text() if results is None else results
    density = {float(row["mp"]): float(row["density"]) for row in _SPEED_ROW.finditer(text)}
    if not density:
        raise ResultsError("bench/results.md has no sizes of JPEGs: run `make bench SECTIONS=speed`")
    return round(1e6 * megapixels * density[min(density, key=lambda size: abs(size - megapixels))])


def _interpolated(points: Mapping[float, float], at: float) -> float:
    """Return the value at `at` on the line through the two nearest points; below and above all, that of the nearest point."""
    ordered = sorted(points)
    at = min(max(at, ordered[0]), ordered[-1])
    below = max(point for point in ordered if point <= at)
    above = min(point for point in ordered if point >= at)
    share = (at - below) / (above - below) if above > below else 0.0
    return points[below] + share * (points[above] - points[below])
