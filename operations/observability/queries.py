"""Parses the subset of Datadog's query language used by our definitions.

A query is `AGGREGATOR:METRIC{FILTER}[ by {TAG,…}][.as_count()]`. The aggregator is sum, avg, min,
max, count, a percentile (`p99`), or a count of the values on one side of a threshold (`count(v:
v>3000)`): https://docs.datadoghq.com/metrics/distributions. A formula consists of + - * /, numbers,
parentheses, names of queries, and `default_zero`:
https://docs.datadoghq.com/dashboards/querying/#advanced-graphing.
"""

import ast
import re
from dataclasses import dataclass
from typing import Final

_QUERY: Final = re.compile(
    r"""(?: (?P<aggregator> sum | avg | min | max | count | p\d\d (?:\.\d\d?)? )
          | count\( v:\ v (?P<comparator> <=? | >=? ) (?P<threshold> \d+ (?:\.\d+)? ) \) )
        : (?P<metric> [a-z][\w.]* )
        \{ (?P<filter> [^{}]+ ) \}
        (?: \ by\ \{ (?P<by> [^{}]+ ) \} )?
        (?P<as_count> \.as_count\(\) )?""",
    re.VERBOSE,
)
_TERM: Final = re.compile(r"(?P<negated>!?)(?P<key>[a-z][\w-]*):(?P<value>\*?[\w./-]+\*?)")


class QueryError(ValueError):
    """A query or formula is outside the supported subset; the message quotes it."""


@dataclass(frozen=True, kw_only=True)
class Term:
    """One term of a filter: `*`, `$variable`, `tag:value` or `!tag:value`; a value may begin or end
    with `*`."""

    text: str
    key: str
    """Key of the tag; empty for `*` and `$variable`."""
    value: str
    negated: bool

    @classmethod
    def parse(cls, text: str) -> "Term":
        """Parse one term; raises QueryError."""
        if text == "*" or text.startswith("$"):
            return cls(text=text, key="", value="", negated=False)
        match = _TERM.fullmatch(text)
        if not match:
            raise QueryError(f"{text!r} is not a filter term")
        return cls(
            text=text, key=match["key"], value=match["value"], negated=bool(match["negated"])
        )


@dataclass(frozen=True, kw_only=True)
class MetricQuery:
    """A metric query, parsed."""

    aggregator: str
    """`sum`, `avg`, `min`, `max`, `count` or `pNN`."""
    comparator: str
    """Comparison of counted values with `threshold`: `<`, `<=`, `>` or `>=`. Empty if `count`
    counts all values."""
    threshold: float
    """0 without a comparator."""
    metric: str
    terms: tuple[Term, ...]
    """Terms of the filter, all of which must match."""
    by: tuple[str, ...]
    """Keys of the tags to group by."""
    as_count: bool

    @classmethod
    def parse(cls, text: str) -> "MetricQuery":
        """Parse a query; raises QueryError."""
        match = _QUERY.fullmatch(text)
        if not match:
            raise QueryError(f"{text!r} is not a metric query")
        return cls(
            aggregator=match["aggregator"] or "count",
            comparator=match["comparator"] or "",
            threshold=float(match["threshold"] or 0),
            metric=match["metric"],
            terms=tuple(Term.parse(term.strip()) for term in match["filter"].split(",")),
            by=tuple(tag.strip() for tag in match["by"].split(",")) if match["by"] else (),
            as_count=bool(match["as_count"]),
        )

    @property
    def is_percentile(self) -> bool:
        return self.aggregator.startswith("p")


def parse_formula(text: str) -> ast.expr:
    """Parse a formula into a syntax tree; raises QueryError."""
    try:
        tree = ast.parse(text, mode="eval").body
    except (SyntaxError, ValueError) as error:
        raise QueryError(f"{text!r} is not a formula") from error
    _check(tree)
    return tree


def _check(tree: ast.expr) -> None:
    match tree:
        case ast.Constant(value=int() | float() as number) if not isinstance(number, bool):
            return
        case ast.Name():
            return
        case (
            ast.UnaryOp(op=ast.USub(), operand=part)
            | ast.Call(func=ast.Name(id="default_zero"), args=[part], keywords=[])
        ):
            _check(part)
        case ast.BinOp(left=left, op=ast.Add() | ast.Sub() | ast.Mult() | ast.Div(), right=right):
            _check(left)
            _check(right)
        case _:
            raise QueryError(f"{ast.unparse(tree)!r} is not allowed in a formula")


def names(formula: ast.expr) -> list[str]:
    """Names of the queries in a formula, with repetitions."""
    return [
        node.id
        for node in ast.walk(formula)
        if isinstance(node, ast.Name) and node.id != "default_zero"
    ]
