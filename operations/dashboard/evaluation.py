"""Evaluates the queries and formulas of the dashboard's widgets on the values of a `Receiver`."""

import ast
import re
from collections.abc import Callable, Mapping
from fnmatch import fnmatchcase
from functools import partial
from typing import Any, Final, TypeAlias

import numpy as np

from asciist.telemetry.metrics import CATALOGUE
from operations.dashboard.dogstatsd import BUCKET_SECONDS, Receiver, Summary, Tags
from operations.observability.queries import MetricQuery, QueryError, names, parse_formula

Group: TypeAlias = tuple[tuple[str, str], ...]
"""Tags that a query groups by, with their values."""
Points: TypeAlias = np.ndarray[Any, np.dtype[np.float64]]
"""One value for each bucket, or one for all of them; NaN where there is none."""

ABSENT: Final = "Measured by AWS; not available locally."
"""Text in place of a chart with metrics that only AWS measures."""
_FORMATS: Final = {
    "timeseries": "timeseries",
    "query_value": "scalar",
    "toplist": "scalar",
    "note": "",
}
"""Response format of each supported type of widget."""
_AGGREGATORS: Final[dict[str, Callable[[Points], float]]] = {
    "sum": np.nansum,
    "avg": np.nanmean,
    "min": np.nanmin,
    "max": np.nanmax,
}
_MISSING_TAG: Final = "N/A"  # Datadog's name for the group without the tag


class Panel:
    """A widget of the dashboard. Template variables match all values."""

    def __init__(self, definition: Mapping[str, Any]) -> None:
        """Raises QueryError if the page cannot draw the widget as Datadog does."""
        kind = definition["type"]
        if kind not in _FORMATS:
            raise QueryError(f"unsupported widget type {kind}")
        self.is_scalar = _FORMATS[kind] == "scalar"
        self._queries: dict[str, MetricQuery] = {}
        self._aggregators: dict[str, str] = {}
        self._formulas: list[tuple[str, str]] = []
        for request in definition.get("requests", []):
            if (
                request["response_format"] != _FORMATS[kind]
                or request.get("display_type", "line") != "line"
            ):
                raise QueryError(f"unsupported response_format or display_type of a {kind}")
            for query in request["queries"]:
                self._aggregators[query["name"]] = query.get("aggregator", "avg")
                if self._aggregators[query["name"]] not in _AGGREGATORS:
                    raise QueryError(f"unsupported aggregator {query['aggregator']}")
                self._queries[query["name"]] = MetricQuery.parse(
                    re.sub(r"\$\w+", "*", query["query"])
                )
            for formula in request["formulas"]:
                self._check(formula["formula"])
                self._formulas.append((formula["formula"], formula.get("alias", "")))
        self.is_absent = bool(self._queries) and all(
            query.metric not in CATALOGUE for query in self._queries.values()
        )
        """True if only AWS measures the panel's metrics."""

    def _check(self, formula: str) -> None:
        used = set(names(parse_formula(formula)))
        if undefined := used - self._queries.keys():
            raise QueryError(f"undefined query {', '.join(undefined)} in {formula!r}")
        if len({self._queries[name].by for name in used} - {()}) > 1:
            raise QueryError(f"queries grouped by different tags in {formula!r}")

    def values(self, receiver: Receiver, buckets: range) -> dict[str, Any]:
        """Return the lines to draw over `buckets`, ready for JSON: with a point for each bucket, or
        one for all if scalar."""
        tables = {name: _points(query, receiver, buckets) for name, query in self._queries.items()}
        if self.is_scalar:
            for name, table in tables.items():
                aggregate = _AGGREGATORS[self._aggregators[name]]
                tables[name] = {
                    group: np.array([aggregate(points)]) for group, points in table.items()
                }
        count = 1 if self.is_scalar else len(buckets)
        lines = [
            line
            for text, alias in self._formulas
            for line in self._lines(text, alias, tables, count)
        ]
        return {"lines": lines, "absent": ABSENT if self.is_absent else ""}

    def _lines(
        self, text: str, alias: str, tables: Mapping[str, dict[Group, Points]], count: int
    ) -> list[dict[str, Any]]:
        """Return a line for each group of a formula's queries. An ungrouped query has the same
        points in every group."""
        tree = parse_formula(text)
        queries = {name: self._queries[name] for name in names(tree)}
        is_grouped = any(query.by for query in queries.values())
        groups = (
            {group for name in queries for group in tables[name] if group} if is_grouped else {()}
        )
        is_quotient = any(isinstance(node, ast.Div) for node in ast.walk(tree))
        lines = []
        for group in sorted(groups):
            points = {
                name: tables[name].get(group, tables[name].get((), np.full(count, np.nan)))
                for name in queries
            }
            lines.append(
                {
                    "label": ", ".join(value for _, value in group) or alias or text,
                    "tags": ", ".join(key for key, _ in group),
                    "unit": "%"
                    if is_quotient and "100 *" in text
                    else _unit(next(iter(queries.values()), None)),
                    # sum per bucket
                    "is_total": not is_quotient
                    and any(query.as_count for query in queries.values()),
                    "points": calculate(tree, points, count),
                }
            )
        return lines


def _points(query: MetricQuery, receiver: Receiver, buckets: range) -> dict[Group, Points]:
    found = receiver.read(query.metric, buckets, partial(_group, query))
    return {
        group: np.array(
            [
                _value(query, summaries[bucket]) if bucket in summaries else np.nan
                for bucket in buckets
            ]
        )
        for group, summaries in found.items()
    }


def _group(query: MetricQuery, tags: Tags) -> Group | None:
    """Return the group of values with these tags; None if the query filters them out."""
    for term in query.terms:
        matches = any(key == term.key and fnmatchcase(value, term.value) for key, value in tags)
        if term.key and matches == term.negated:
            return None
    values = dict(sorted(tags))
    return tuple((key, values.get(key, _MISSING_TAG)) for key in query.by)


def _value(query: MetricQuery, summary: Summary) -> float:
    """Return the query's value for one bucket."""
    match query.aggregator:
        case "avg":
            return float(summary.avg)
        case "min":
            return summary.min
        case "max":
            return summary.max
        case "sum":
            value = float(summary.sum)
        case "count" if not query.comparator:
            value = float(summary.count)
        case "count":
            # a sketch cannot tell a value equal to the threshold from the next one, so < and <= are
            # the same
            above = summary.count_above(query.threshold)
            value = above if ">" in query.comparator else summary.count - above
        case percentile:
            return summary.percentile(float(percentile[1:]))
    # Without `as_count`, Datadog draws a rate per second.
    return value if query.as_count else value / BUCKET_SECONDS


def calculate(formula: ast.expr, variables: Mapping[str, Points], count: int) -> list[float | None]:
    """Return the formula's value for each bucket; None where a query has no value or a divisor is
    0."""
    scope = {
        "__builtins__": {},
        "default_zero": lambda points: np.where(np.isfinite(points), points, 0.0),
        **variables,
    }
    with np.errstate(divide="ignore", invalid="ignore"):
        # Parsed: only arithmetic.
        result = eval(compile(ast.Expression(formula), "formula", "eval"), scope)  # noqa: S307
    return [
        point if np.isfinite(point) else None for point in np.broadcast_to(result, count).tolist()
    ]


def _unit(query: MetricQuery | None) -> str:
    """Return the unit of a query's values; empty for a number of values, and for a metric that is
    not in the catalogue."""
    return (
        CATALOGUE[query.metric].unit
        if query and query.metric in CATALOGUE and query.aggregator != "count"
        else ""
    )
