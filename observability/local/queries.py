"""Queries and formulas of `observability.queries`, answered from what a `Receiver` remembers."""

import ast
import math
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from asciist.telemetry.metrics import CATALOGUE
from observability.local.dogstatsd import BUCKET_SECONDS, Receiver, Summary, Tags
from observability.queries import MetricQuery, QueryError, Term, names, parse_formula

Points = list[float | None]
"""A value for each bucket of the time shown, or one for all of it; None where there is none."""
Group = tuple[tuple[str, str], ...]
"""The tags by which a query is grouped, with their values."""
Table = dict[Group, Points]

_NO_TAG: Final = "N/A"  # Datadog's name of the group of values without the tag
_ADDITIVE: Final = ("sum", "count")


@dataclass(frozen=True, kw_only=True)
class Query:
    """One metric query, to be answered."""

    asked: MetricQuery
    filters: tuple[Callable[[Tags], bool], ...]

    @classmethod
    def parse(cls, text: str, variables: Mapping[str, str] | None = None) -> "Query":
        """Read `text`; `variables` gives the filter behind each template variable (`{"env": "*"}`). Raises QueryError."""
        asked = MetricQuery.parse(text)
        return cls(asked=asked, filters=tuple(_filter(term, variables or {}) for term in asked.terms))

    @property
    def unit(self) -> str:
        """Of its values, in the singular as the catalogue has it; empty for a number of values."""
        metric = CATALOGUE.get(self.asked.metric)
        return metric.unit if metric and self.asked.aggregator != "count" else ""

    def group(self, tags: Tags) -> Group | None:
        """Where values with these tags belong; None if they are filtered out."""
        if not all(admits(tags) for admits in self.filters):
            return None
        found = dict(sorted(tags))
        return tuple((key, found.get(key, _NO_TAG)) for key in self.asked.by)

    def value(self, summary: Summary, seconds: float) -> float:
        """What the query says of these values, which came in `seconds`."""
        match self.asked.aggregator:
            case "avg":
                return summary.sum / summary.count
            case "min":
                return summary.min
            case "max":
                return summary.max
            case "sum":
                value = summary.sum
            case "count":
                value = self._counted(summary)
            case percentile:
                return summary.percentile(float(percentile[1:]))
        return value if self.asked.as_count else value / seconds

    def _counted(self, summary: Summary) -> float:
        if not self.asked.comparator:
            return summary.count
        # A sketch does not tell values that are equal to the threshold from those next to it.
        above = summary.count_above(self.asked.threshold)
        return above if ">" in self.asked.comparator else summary.count - above


def _filter(term: Term, variables: Mapping[str, str]) -> Callable[[Tags], bool]:
    if term.text.startswith("$"):
        if term.text[1:] not in variables:
            raise QueryError(f"there is no template variable {term.text}")
        term = Term.parse(variables[term.text[1:]])
    if not term.key:
        return lambda _tags: True
    pattern = re.compile(re.escape(term.value).replace(r"\*", ".*"))
    return lambda tags: any(term.key == name and pattern.fullmatch(value) for name, value in tags) != term.negated


@dataclass(frozen=True, kw_only=True)
class Line:
    """What one formula says of one group."""

    label: str
    tags: str
    """The keys of the tags by which it is grouped."""
    unit: str
    """In the singular; `%` for a share; empty if there is none or it is not known."""
    per_bucket: bool
    """Whether each point is what came in one bucket, so that wider buckets had higher points."""
    points: Points


@dataclass(frozen=True, kw_only=True)
class Request:
    """The queries and formulas of one request of a widget, read."""

    queries: Mapping[str, Query]
    aggregators: Mapping[str, str]
    """How the points of each query become one number, of requests for numbers."""
    formulas: Sequence[tuple[str, ast.expr, str]]
    """Each as text and as a tree, with its alias."""
    scalar: bool

    @classmethod
    def parse(cls, definition: Mapping[str, Any], variables: Mapping[str, str] | None = None) -> "Request":
        """Read Datadog's definition; raises QueryError."""
        scalar = definition["response_format"] == "scalar"
        queries = {query["name"]: Query.parse(query["query"], variables) for query in definition["queries"]}
        aggregators = {query["name"]: query.get("aggregator", "avg") for query in definition["queries"]}
        if unknown := set(aggregators.values()) - _REDUCTIONS.keys():
            raise QueryError(f"not an aggregator of the subset: {', '.join(unknown)}")
        formulas = []
        for formula in definition["formulas"]:
            tree = parse_formula(formula["formula"])
            if unknown := set(names(tree)) - queries.keys():
                raise QueryError(f"there is no query {', '.join(unknown)}: {formula['formula']}")
            if len({queries[name].asked.by for name in names(tree) if queries[name].asked.by}) > 1:
                raise QueryError(f"groups of different tags: {formula['formula']}")
            formulas.append((formula["formula"], tree, formula.get("alias", "")))
        return cls(queries=queries, aggregators=aggregators, formulas=formulas, scalar=scalar)

    def evaluate(self, receiver: Receiver, *, buckets: range) -> list[Line]:
        """Every line of a chart, or every number, over these buckets."""
        tables = {
            name: _points(query, receiver, buckets, self.aggregators[name] if self.scalar else "")
            for name, query in self.queries.items()
        }
        lines = []
        for text, tree, alias in self.formulas:
            result = _calculate(tree, tables, 1 if self.scalar else len(buckets))
            unit = _unit(tree, self.queries)
            per_bucket = not self.scalar and _grows_with_time(tree, self.queries)
            for group, points in sorted(result.items()):
                label = ", ".join(value for _, value in group) or alias or text
                keys = ", ".join(key for key, _ in group)
                lines.append(Line(label=label, tags=keys, unit=unit, per_bucket=per_bucket, points=points))
        return lines


_REDUCTIONS: Final[dict[str, Callable[[Sequence[float]], float]]] = {
    "sum": math.fsum,
    "avg": lambda points: math.fsum(points) / len(points),
    "min": min,
    "max": max,
    "last": lambda points: points[-1],
}


def _points(query: Query, receiver: Receiver, buckets: range, reduction: str) -> Table:
    """A point for each bucket, or one for all with a `reduction`; ungrouped queries always have their one group."""
    found = receiver.read(query.asked.metric, since=buckets.start * BUCKET_SECONDS, group=query.group)
    table: Table = {} if query.asked.by else {(): [None] * len(buckets)}
    for group, summaries in found.items():
        table[group] = [query.value(summaries[index], BUCKET_SECONDS) if index in summaries else None for index in buckets]
    if reduction:
        reduce = _REDUCTIONS[reduction]
        for group, points in table.items():
            known = [point for point in points if point is not None]
            table[group] = [reduce(known) if known else None]
    return table


_OPERATORS: Final[dict[type[ast.operator], Callable[[float, float], float]]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}


def _calculate(tree: ast.expr, tables: Mapping[str, Table], length: int) -> Table:
    match tree:
        case ast.Constant(value=int() | float() as number):
            return {(): [float(number)] * length}
        case ast.Name(id=name):
            return tables[name]
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return _combine(operator.sub, {(): [0.0] * length}, _calculate(operand, tables, length))
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _OPERATORS:
            return _combine(_OPERATORS[type(op)], _calculate(left, tables, length), _calculate(right, tables, length))
        case ast.Call(func=ast.Name(id="default_zero"), args=[operand], keywords=[]):
            table = _calculate(operand, tables, length)
            return {group: [point or 0.0 for point in points] for group, points in table.items()}
    raise AssertionError(ast.unparse(tree))  # what parse_formula refuses


def _combine(operation: Callable[[float, float], float], left: Table, right: Table) -> Table:
    """Group by group; what is not grouped stands beside each group."""
    if left.keys() == {()}:
        groups = list(right)
    elif right.keys() == {()}:
        groups = list(left)
    else:
        groups = list(left | right)
    return {group: [_apply(operation, *pair) for pair in zip(*_beside(group, left, right), strict=True)] for group in groups}


def _beside(group: Group, left: Table, right: Table) -> tuple[Points, Points]:
    one, other = left.get(group, left.get(())), right.get(group, right.get(()))
    return one or [None] * len(other or ()), other or [None] * len(one or ())


def _apply(operation: Callable[[float, float], float], left: float | None, right: float | None) -> float | None:
    """Where one of two has no value, there is none; nor is there a share of nothing."""
    if left is None or right is None or (operation is operator.truediv and right == 0):
        return None
    return operation(left, right)


def _unit(tree: ast.expr, queries: Mapping[str, Query]) -> str:
    """Of one query it is the query's, of a share in a hundred `%`, and of a quotient the dividend's: the title says of what."""
    match tree:
        case ast.Name(id=name):
            return queries[name].unit
        case ast.BinOp(left=left, op=ast.Div(), right=right):
            dividend, divisor = names(left), names(right)
            if not divisor:
                return _unit(left, queries)
            alike = {queries[name].unit for name in dividend} == {queries[name].unit for name in divisor}
            return "%" if alike and dividend else _unit(left, queries)
        case ast.BinOp(left=left, right=right):
            return _unit(left, queries) or _unit(right, queries)
        case ast.UnaryOp(operand=operand) | ast.Call(args=[operand]):
            return _unit(operand, queries)
    return ""


def _grows_with_time(tree: ast.expr, queries: Mapping[str, Query]) -> bool:
    """Whether wider buckets had larger values; a quotient of two that do has not."""
    match tree:
        case ast.BinOp(left=left, op=ast.Div(), right=right):
            return _grows_with_time(left, queries) and not _grows_with_time(right, queries)
        case _:
            return any(queries[name].asked.as_count for name in names(tree))
