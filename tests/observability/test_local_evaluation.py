"""Tests of the evaluation of queries and formulas on received values."""

from collections.abc import Iterator
from typing import Any

import pytest

from asciist.telemetry import metrics
from asciist.telemetry.metrics import CATALOGUE
from operations.dashboard.dogstatsd import BUCKET_SECONDS, Receiver
from operations.dashboard.evaluation import Panel
from operations.observability.datadog import dashboard
from operations.observability.queries import QueryError

START = 200_000
"""Number of the first of three buckets; the second is empty."""
BUCKETS = range(START, START + 3)
LINES = {
    START: (
        f"{metrics.REQUESTS}:6|c|#status:200",
        f"{metrics.REQUESTS}:2|c|#status:500",
        f"{metrics.REQUESTS}:1|c|#status:503,env:prod",
        f"{metrics.REQUEST_DURATION}:10:20:30:4000|d|#status:200",
        f"{metrics.REQUEST_DURATION}:5000|d|#status:500",
        f"{metrics.ART_SERVED}:5|c|#source:conversion",
        f"{metrics.IMAGE_DECODE_DURATION}:40:20|d|#format:jpeg",
        f"{metrics.CONVERSION_PIXELS}:2000000|c|#format:jpeg",
        f"{metrics.CONVERSION_PIXELS}:500000|c|#format:png",
    ),
    START + 2: (
        f"{metrics.REQUESTS}:4|c|#status:200",
        f"{metrics.REQUEST_DURATION}:40|d|#status:200",
        f"{metrics.ART_SERVED}:3|c|#source:store",
        f"{metrics.ART_SERVED}:1|c|#source:conversion",
    ),
}


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    now = 0.0
    with Receiver(clock=lambda: now) as receiver:
        for bucket, lines in LINES.items():
            now = bucket * BUCKET_SECONDS + 1.0
            receiver.take("\n".join(lines).encode())
        assert not receiver.errors
        yield receiver


def widget(query: str, formula: str = "a", **more: str) -> dict[str, Any]:
    """Return the definition of a chart of `formula` over the query `a` and `more` queries."""
    queries = [
        {"data_source": "metrics", "name": name, "query": text}
        for name, text in {"a": query, **more}.items()
    ]
    request = {
        "response_format": "timeseries",
        "queries": queries,
        "formulas": [{"formula": formula}],
    }
    return {"type": "timeseries", "requests": [request]}


def lines(receiver: Receiver, *arguments: str, **more: str) -> dict[str, list[float | None]]:
    """Return the points of each line of the chart that `widget` defines with these arguments, by
    label."""
    panel = Panel(widget(*arguments, **more))
    return {line["label"]: line["points"] for line in panel.values(receiver, BUCKETS)["lines"]}


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        (f"sum:{metrics.REQUESTS}{{*}}.as_count()", {"a": [9, None, 4]}),
        (f"sum:{metrics.REQUESTS}{{$env}}.as_count()", {"a": [9, None, 4]}),
        (f"sum:{metrics.REQUESTS}{{*}}", {"a": [9 / BUCKET_SECONDS, None, 4 / BUCKET_SECONDS]}),
        (f"sum:{metrics.REQUESTS}{{status:200}}.as_count()", {"a": [6, None, 4]}),
        (f"sum:{metrics.REQUESTS}{{!status:200}}.as_count()", {"a": [3, None, None]}),
        (f"sum:{metrics.REQUESTS}{{$env,status:5*}}.as_count()", {"a": [3, None, None]}),
        (f"sum:{metrics.REQUESTS}{{env:prod,status:5*}}.as_count()", {"a": [1, None, None]}),
        (f"sum:{metrics.REQUESTS}{{status:5}}.as_count()", {"a": [None, None, None]}),
        (
            f"sum:{metrics.REQUESTS}{{*}} by {{status}}.as_count()",
            {"200": [6, None, 4], "500": [2, None, None], "503": [1, None, None]},
        ),
        (
            f"sum:{metrics.REQUESTS}{{status:5*}} by {{status,env}}.as_count()",
            {"500, N/A": [2, None, None], "503, prod": [1, None, None]},
        ),
        (f"count:{metrics.REQUEST_DURATION}{{*}}.as_count()", {"a": [5, None, 1]}),
        (f"sum:{metrics.REQUEST_DURATION}{{*}}.as_count()", {"a": [9060, None, 40]}),
        (f"avg:{metrics.REQUEST_DURATION}{{*}}", {"a": [1812, None, 40]}),
        (f"min:{metrics.REQUEST_DURATION}{{*}}", {"a": [10, None, 40]}),
        (f"max:{metrics.REQUEST_DURATION}{{*}}", {"a": [5000, None, 40]}),
        (f"p50:{metrics.REQUEST_DURATION}{{*}}", {"a": [30, None, 40]}),
        (f"p99.9:{metrics.REQUEST_DURATION}{{status:200}}", {"a": [30, None, 40]}),
        (
            f"p50:{metrics.REQUEST_DURATION}{{*}} by {{status}}",
            {"200": [20, None, 40], "500": [5000, None, None]},
        ),
        (f"count(v: v>3000):{metrics.REQUEST_DURATION}{{*}}.as_count()", {"a": [2, None, 0]}),
        (
            f"count(v: v<=3000):{metrics.REQUEST_DURATION}{{!status:5*}}.as_count()",
            {"a": [3, None, 1]},
        ),
        (f"sum:{metrics.REQUESTS_SHED}{{*}}.as_count()", {"a": [None, None, None]}),
        (f"p50:{metrics.REPLY_WAIT}{{*}} by {{status}}", {}),
    ],
)
def test_a_query_has_a_value_for_each_bucket(
    receiver: Receiver, query: str, expected: dict[str, list[float | None]]
) -> None:
    found = lines(receiver, query)

    assert found.keys() == expected.keys()
    for label, points in expected.items():
        assert found[label] == [
            None if point is None else pytest.approx(point, rel=0.01) for point in points
        ]


REQUESTS = f"sum:{metrics.REQUESTS}{{*}}.as_count()"
FAULTS = f"sum:{metrics.REQUESTS}{{status:5*}}.as_count()"


@pytest.mark.parametrize(
    ("formula", "expected"),
    [
        ("100 * b / a", [100 / 3, None, None]),
        ("100 * default_zero(b) / a", [100 / 3, None, 0]),
        ("100 - 100 * (a - b) / a", [100 / 3, None, None]),
        ("default_zero(a) - -1", [10, 1, 5]),
        ("a / default_zero(b)", [3, None, None]),
        ("2 + 3 * 4", [14, 14, 14]),
        ("0.5", [0.5, 0.5, 0.5]),
    ],
)
def test_a_formula_has_a_value_where_all_its_queries_have_one(
    receiver: Receiver, formula: str, expected: list[float | None]
) -> None:
    [points] = lines(receiver, REQUESTS, formula, b=FAULTS).values()

    assert points == [None if point is None else pytest.approx(point) for point in expected]


def test_a_formula_is_evaluated_per_group_and_shares_ungrouped_queries(receiver: Receiver) -> None:
    pixels = f"sum:{metrics.CONVERSION_PIXELS}{{*}} by {{format}}.as_count()"
    decoding = f"sum:{metrics.IMAGE_DECODE_DURATION}{{*}} by {{format}}.as_count()"

    assert lines(receiver, decoding, "a / (b / 1000000)", b=pixels) == {
        "jpeg": [30, None, None],
        "png": [None, None, None],
    }
    by_status = f"sum:{metrics.REQUESTS}{{*}} by {{status}}.as_count()"
    assert lines(receiver, by_status, "a / b", b=REQUESTS)["200"] == [pytest.approx(6 / 9), None, 1]
    with pytest.raises(QueryError, match="grouped by different tags"):
        lines(receiver, by_status, "a / b", b=pixels)


@pytest.mark.parametrize(
    ("aggregator", "expected"), [("sum", 13), ("avg", 6.5), ("min", 4), ("max", 9)]
)
def test_a_scalar_aggregates_the_points(
    receiver: Receiver, aggregator: str, expected: float
) -> None:
    definition = widget(REQUESTS) | {"type": "query_value"}
    [request] = definition["requests"]
    request["response_format"] = "scalar"
    request["queries"][0]["aggregator"] = aggregator
    request["formulas"][0]["alias"] = "requests"

    assert Panel(definition).values(receiver, BUCKETS)["lines"] == [
        {"label": "requests", "tags": "", "unit": "request", "is_total": True, "points": [expected]}
    ]


@pytest.mark.parametrize(
    ("formula", "unit", "is_total"),
    [
        ("a", "request", True),
        ("100 * b / a", "%", False),
        ("c / (a / 1000000)", "millisecond", False),
        ("c", "millisecond", False),
    ],
)
def test_a_formula_has_a_unit(
    receiver: Receiver, formula: str, unit: str, *, is_total: bool
) -> None:
    panel = Panel(widget(REQUESTS, formula, b=FAULTS, c=f"avg:{metrics.REQUEST_DURATION}{{*}}"))
    [line] = panel.values(receiver, BUCKETS)["lines"]

    assert (line["unit"], line["is_total"]) == (unit, is_total)


@pytest.mark.parametrize(
    "query",
    [
        "",
        f"median:{metrics.REQUEST_DURATION}{{*}}",
        f"p100:{metrics.REQUEST_DURATION}{{*}}",
        f"avg:{metrics.REQUEST_DURATION}",
        f"avg:{metrics.REQUEST_DURATION}{{}}",
        f"avg:{metrics.REQUEST_DURATION}{{status}}",
        f"avg:{metrics.REQUEST_DURATION}{{status:200 OR status:404}}",
        f"avg:{metrics.REQUEST_DURATION}{{*}} by {{}}",
        f"avg:{metrics.REQUEST_DURATION}{{*}}.rollup(60)",
        f"count(v: v=3):{metrics.REQUEST_DURATION}{{*}}",
    ],
)
def test_an_unsupported_query_is_rejected(query: str) -> None:
    with pytest.raises(QueryError):
        Panel(widget(query))


@pytest.mark.parametrize(
    "formula",
    ["", "a +", "b", "a ** 2", "a if a else a", "'x'", "True", "abs(a)", "a.real", "a > 1", "a[0]"],
)
def test_an_unsupported_formula_is_rejected(receiver: Receiver, formula: str) -> None:
    with pytest.raises(QueryError):
        lines(receiver, REQUESTS, formula)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"type": "heatmap"}, "unsupported widget type heatmap"),
        ({"type": "query_value"}, "unsupported response_format or display_type of a query_value"),
        (
            {"requests": [{"response_format": "timeseries", "display_type": "bars"}]},
            "display_type of a timeseries",
        ),
    ],
)
def test_an_unsupported_widget_is_rejected(change: dict[str, object], reason: str) -> None:
    with pytest.raises(QueryError, match=reason):
        Panel(widget(REQUESTS) | change)


def test_an_unsupported_aggregator_is_rejected() -> None:
    definition = widget(REQUESTS)
    definition["requests"][0]["queries"][0]["aggregator"] = "l2norm"
    with pytest.raises(QueryError, match="unsupported aggregator l2norm"):
        Panel(definition)


def test_every_widget_of_the_dashboard_has_lines_once_all_metrics_have_values() -> None:
    with Receiver(clock=lambda: START * BUCKET_SECONDS + 1.0) as receiver:
        for metric in CATALOGUE.values():
            values = {"status": ("200", "503"), "source": ("store", "conversion")}.get(
                "".join(metric.tags), ("x", "y")
            )
            for value in values:
                tags = f"|#{metric.tags[0]}:{value}" if metric.tags else ""
                receiver.take(
                    f"{metric.name}:1500|{'c' if metric.type == 'count' else 'd'}{tags}".encode()
                )
        assert not receiver.errors

        definitions = [
            widget["definition"]
            for group in dashboard()["widgets"]
            for widget in group["definition"]["widgets"]
        ]
        drawn = {definition.get("title", ""): Panel(definition) for definition in definitions}
        assert any(panel.is_absent for panel in drawn.values())
        for title, panel in drawn.items():
            shown = panel.values(receiver, BUCKETS)
            assert bool(shown["lines"]) is not (panel.is_absent or not title), title
            for line in shown["lines"]:
                assert line["points"][0] is not None, title
