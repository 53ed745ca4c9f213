"""What a query or a formula of a dashboard says of what has arrived."""

from collections.abc import Iterator

import pytest

from asciist.telemetry import metrics
from asciist.telemetry.metrics import CATALOGUE
from observability.datadog import dashboard
from observability.local.dogstatsd import BUCKET_SECONDS, Receiver
from observability.local.queries import Query, Request
from observability.local.server import Panel, panels
from observability.queries import QueryError

START = 200_000
"""Number of the first of three buckets that have values; the second has none."""
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


def lines(receiver: Receiver, query: str, formula: str = "a", **more: str) -> dict[str, list[float | None]]:
    """The points of each group, or of the formula; `more` are other queries."""
    body = {
        "response_format": "timeseries",
        "queries": [{"data_source": "metrics", "name": name, "query": text} for name, text in {"a": query, **more}.items()],
        "formulas": [{"formula": formula}],
    }
    return {line.label: line.points for line in Request.parse(body, {"env": "*"}).evaluate(receiver, buckets=BUCKETS)}


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
        (f"p50:{metrics.REQUEST_DURATION}{{*}} by {{status}}", {"200": [20, None, 40], "500": [5000, None, None]}),
        (f"count(v: v>3000):{metrics.REQUEST_DURATION}{{*}}.as_count()", {"a": [2, None, 0]}),
        (f"count(v: v<=3000):{metrics.REQUEST_DURATION}{{!status:5*}}.as_count()", {"a": [3, None, 1]}),
        (f"sum:{metrics.REQUESTS_SHED}{{*}}.as_count()", {"a": [None, None, None]}),
        (f"p50:{metrics.REPLY_WAIT}{{*}} by {{status}}", {}),
    ],
)
def test_a_query_gives_a_value_for_each_bucket(receiver: Receiver, query: str, expected: dict[str, list[float | None]]) -> None:
    found = lines(receiver, query)

    assert found.keys() == expected.keys()
    for label, points in expected.items():
        assert found[label] == [None if point is None else pytest.approx(point, rel=0.01) for point in points]


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


def test_a_formula_goes_group_by_group_and_a_total_stands_beside_each(receiver: Receiver) -> None:
    pixels = f"sum:{metrics.CONVERSION_PIXELS}{{*}} by {{format}}.as_count()"
    decoding = f"sum:{metrics.IMAGE_DECODE_DURATION}{{*}} by {{format}}.as_count()"

    assert lines(receiver, decoding, "a / (b / 1000000)", b=pixels) == {"jpeg": [30, None, None], "png": [None, None, None]}
    by_status = f"sum:{metrics.REQUESTS}{{*}} by {{status}}.as_count()"
    assert lines(receiver, by_status, "a / b", b=REQUESTS)["200"] == [pytest.approx(6 / 9), None, 1]
    with pytest.raises(QueryError, match="groups of different tags"):
        lines(receiver, by_status, "a / b", b=pixels)


@pytest.mark.parametrize(("aggregator", "expected"), [("sum", 13), ("avg", 6.5), ("min", 4), ("max", 9), ("last", 4)])
def test_a_number_is_what_its_aggregator_makes_of_the_points(receiver: Receiver, aggregator: str, expected: float) -> None:
    body = {
        "response_format": "scalar",
        "queries": [{"data_source": "metrics", "name": "a", "query": REQUESTS, "aggregator": aggregator}],
        "formulas": [{"formula": "a", "alias": "requests"}],
    }
    [line] = Request.parse(body).evaluate(receiver, buckets=BUCKETS)

    assert (line.label, line.unit, line.per_bucket, line.points) == ("requests", "request", False, [expected])


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
        f"avg:{metrics.REQUEST_DURATION}{{$region}}",
        f"avg:{metrics.REQUEST_DURATION}{{*}} by {{}}",
        f"avg:{metrics.REQUEST_DURATION}{{*}}.rollup(60)",
        f"count(v: v=3):{metrics.REQUEST_DURATION}{{*}}",
    ],
)
def test_a_query_that_would_mean_something_else_to_datadog_is_refused(query: str) -> None:
    with pytest.raises(QueryError):
        Query.parse(query, {"env": "*"})


@pytest.mark.parametrize(
    "formula", ["", "a +", "b", "a ** 2", "a if a else a", "'x'", "True", "abs(a)", "a.real", "a > 1", "a[0]"]
)
def test_a_formula_with_anything_else_is_refused(receiver: Receiver, formula: str) -> None:
    with pytest.raises(QueryError):
        lines(receiver, REQUESTS, formula)


def test_another_deployment_may_be_the_one_that_is_shown(receiver: Receiver) -> None:
    query = Query.parse(f"sum:{metrics.REQUESTS}{{$env}}.as_count()", {"env": "env:prod"})

    assert [query.group(frozenset({("status", "503"), ("env", env)})) for env in ("prod", "staging")] == [(), None]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"type": "heatmap"}, "heatmap is not drawn here"),
        ({"type": "query_value"}, "a query_value of timeseries values"),
        ({"requests": [{"response_format": "timeseries", "display_type": "bars"}]}, "bars are not drawn here"),
    ],
)
def test_a_widget_that_would_be_drawn_wrong_is_refused(change: dict[str, object], reason: str) -> None:
    definition = {"type": "timeseries", "title": "x", "requests": [{"response_format": "timeseries"}]} | change
    with pytest.raises(QueryError, match=reason):
        Panel(definition, {})


def test_every_widget_of_the_dashboard_has_lines_once_everything_has_arrived() -> None:
    with Receiver(clock=lambda: START * BUCKET_SECONDS + 1.0) as receiver:
        for metric in CATALOGUE.values():
            values = {"status": ("200", "503"), "source": ("store", "conversion")}.get("".join(metric.tags), ("x", "y"))
            for value in values:
                tags = f"|#{metric.tags[0]}:{value}" if metric.tags else ""
                receiver.take(f"{metric.name}:1500|{'c' if metric.type == 'count' else 'd'}{tags}".encode())
        assert not receiver.errors

        drawn = list(panels(dashboard()))
        assert any(panel.is_absent for panel in drawn)
        for panel in drawn:
            shown = panel.values(receiver, BUCKETS)
            assert bool(shown["lines"]) is not (panel.is_absent or not panel.title), panel.title
            for line in shown["lines"]:
                assert line["points"][0] is not None, panel.title
