"""Every definition for Datadog is valid, and the validation finds errors that Datadog would
silently ignore."""

import copy
import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from asciist.telemetry import metrics
from asciist.telemetry.metrics import CATALOGUE
from operations.observability import datadog
from operations.observability.alarms import ALARMS, BUDGET_BURNS, BUDGET_BURNS_FAST, Alarm, Urgency
from operations.observability.objective import OBJECTIVE
from operations.observability.queries import MetricQuery
from operations.observability.validation import DefinitionError, Kind, check

Place = tuple[str | int, ...]

DASHBOARD = datadog.dashboard("prod")
MONITORS = datadog.monitors(
    env="prod",
    worker="lambda",
    runbook="https://runbook.example/",
    limits={"request timeout": 10, "web instances": 10, "pollers": 20, "conversions": 50},
    notify="@pagerduty-asciist",
)
OF_LAMBDA = [alarm for alarm in ALARMS if alarm.vendor != "cloudwatch" and alarm.worker != "asg"]
SLOW_PART = MONITORS["Answers are slow (part: threshold)"]
BURN_PART = MONITORS[f"{BUDGET_BURNS.title} (part: burn rate)"]
SLO = datadog.slo("prod")
DEFINITIONS: list[tuple[Kind, datadog.Definition]] = [
    ("dashboard", DASHBOARD),
    ("dashboard", datadog.dashboard()),
    *(("monitor", monitor) for monitor in MONITORS.values()),  # type: ignore[list-item]
    ("slo", SLO),
    *(("metric", configuration) for configuration in datadog.metric_configurations().values()),  # type: ignore[list-item]
]

GROUP: Place = ("widgets", 0, "definition")
WIDGET: Place = (*GROUP, "widgets", 2, "definition")
"""Place of a widget with one number, computed from two queries."""
REQUEST: Place = (*WIDGET, "requests", 0)
QUERY: Place = (*REQUEST, "queries", 0)


def strings(value: Any) -> Iterator[str]:
    if isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from strings(item)
    elif isinstance(value, str):
        yield value


def changed(definition: datadog.Definition, place: Place, value: Any) -> datadog.Definition:
    """A copy of a definition with `value` at `place`."""
    copied = copy.deepcopy(definition)
    inner: Any = copied
    for step in place[:-1]:
        inner = inner[step]
    inner[place[-1]] = value
    return copied


def refusal(kind: Kind, definition: datadog.Definition) -> str:
    with pytest.raises(DefinitionError) as refused:
        check(kind, definition)
    return str(refused.value)


class TestDefinitions:
    @pytest.mark.parametrize(("kind", "definition"), DEFINITIONS)
    def test_every_definition_is_valid_json_and_valid_for_datadog(
        self, kind: Kind, definition: datadog.Definition
    ) -> None:
        check(kind, definition)
        assert json.loads(json.dumps(definition)) == definition

    def test_every_metric_of_the_catalogue_is_on_the_dashboard(self) -> None:
        shown = {word for text in strings(DASHBOARD) for word in re.findall(r"[\w.]+", text)}
        assert set(CATALOGUE) <= shown

    @pytest.mark.parametrize("aggregator", ["avg", "p50", "p90", "p95", "p99"])
    def test_the_time_to_answer_is_shown_overall_and_by_status(self, aggregator: str) -> None:
        query = f"{aggregator}:{metrics.REQUEST_DURATION}{{$env}}"
        assert {query, f"{query} by {{status}}"} <= set(strings(DASHBOARD))

    def test_the_dashboard_has_only_widgets_that_the_local_page_draws(self) -> None:
        assert set(re.findall(r'"definition": \{"type": "(\w+)"', json.dumps(DASHBOARD))) == {
            "group",
            "note",
            "query_value",
            "timeseries",
            "toplist",
        }

    def test_titles_are_unique(self) -> None:
        titles = re.findall(r'"title": "([^"]+)"', json.dumps(DASHBOARD))
        assert len(titles) == len(set(titles))

    def test_the_first_group_asks_if_users_are_served(self) -> None:
        assert DASHBOARD["widgets"][0]["definition"]["title"] == "Are users served?"

    def test_percentiles_are_enabled_for_every_distribution(self) -> None:
        configurations = datadog.metric_configurations()

        assert configurations.keys() == {
            metric.name for metric in CATALOGUE.values() if metric.type == "distribution"
        }
        for name, configuration in configurations.items():
            attributes = configuration["data"]["attributes"]
            assert attributes["include_percentiles"] is True
            assert set(attributes["tags"]) == {*CATALOGUE[name].tags, "env", "service", "version"}

    def test_the_objective_is_that_of_slo_toml(self) -> None:
        assert SLO["thresholds"] == [
            {"timeframe": f"{OBJECTIVE.window_days}d", "target": OBJECTIVE.target_percent}
        ]
        good, total = (
            MetricQuery.parse(SLO["query"]["numerator"]),
            MetricQuery.parse(SLO["query"]["denominator"]),
        )
        assert (good.metric, total.metric) == (metrics.REQUEST_DURATION, metrics.REQUEST_DURATION)
        assert (good.aggregator, good.comparator, good.threshold) == (
            "count",
            "<=",
            OBJECTIVE.slow_after_ms,
        )
        assert (total.aggregator, total.comparator) == ("count", "")
        assert {term.text for term in set(good.terms) - set(total.terms)} == {"!status:5*"}


class TestMonitors:
    @pytest.mark.parametrize("alarm", OF_LAMBDA, ids=lambda alarm: alarm.anchor)
    def test_each_alarm_is_a_monitor_that_explains_itself_and_notifies(self, alarm: Alarm) -> None:
        monitor = MONITORS[alarm.title]

        assert monitor["name"] == f"{alarm.title} (asciist prod)"
        assert monitor["priority"] == {Urgency.PAGE: 1, Urgency.TICKET: 3}[alarm.urgency]
        assert (
            monitor["message"] == f"{alarm.meaning} Runbook:"
            f" https://runbook.example/#{alarm.anchor} @pagerduty-asciist"
        )

    @pytest.mark.parametrize("name", MONITORS)
    def test_each_monitor_watches_its_own_deployment_only(self, name: str) -> None:
        query = MONITORS[name]["query"]
        parts = [part for part in MONITORS if datadog.reference(part) in query]

        assert parts or "{env:prod" in query or datadog.SLO_ID in query

    def test_a_composite_monitor_comes_after_its_parts(self) -> None:
        names = list(MONITORS)
        composites = [name for name, monitor in MONITORS.items() if monitor["type"] == "composite"]

        assert composites == [alarm.title for alarm in ALARMS if alarm.minimum]
        for name in composites:
            parts = re.findall(r"<([^<>]+)>", MONITORS[name]["query"])
            assert len(parts) == 2
            assert all(names.index(part) < names.index(name) for part in parts)

    def test_the_budget_burns_at_the_rates_of_the_objective(self) -> None:
        for alarm, burn in zip((BUDGET_BURNS_FAST, BUDGET_BURNS), OBJECTIVE.burns, strict=True):
            assert MONITORS[f"{alarm.title} (part: burn rate)"]["query"].endswith(
                f" > {burn.rate:g}"
            )
        fast = MONITORS[f"{BUDGET_BURNS_FAST.title} (part: burn rate)"]["query"]
        assert '.long_window("1h").short_window("5m")' in fast

    def test_the_minimum_of_bad_requests_counts_those_that_failed_and_those_that_were_slow(
        self,
    ) -> None:
        slow = OBJECTIVE.slow_after_ms
        duration = metrics.REQUEST_DURATION
        assert (
            MONITORS[f"{BUDGET_BURNS_FAST.title} (part: minimum)"]["query"]
            == f"sum(last_1h):count(v: v>{slow:g}):{duration}{{env:prod,!status:5*}}.as_count()"
            f" + count:{duration}{{env:prod,status:5*}}.as_count() >= 10"
        )

    def test_metrics_of_aws_are_evaluated_late(self) -> None:
        delayed = {
            name
            for name, monitor in MONITORS.items()
            if monitor["options"].get("evaluation_delay") == 900
        }
        assert delayed == {
            name for name, monitor in MONITORS.items() if ":aws." in monitor["query"]
        }

    def test_only_missing_requests_notify_without_data(self) -> None:
        notifying = {
            name for name, monitor in MONITORS.items() if monitor["options"].get("notify_no_data")
        }
        assert notifying == {"No requests arrive"}


class TestMistakes:
    @pytest.mark.parametrize(
        ("kind", "definition", "place"),
        [
            ("dashboard", DASHBOARD, ()),
            ("dashboard", DASHBOARD, ("template_variables", 0)),
            ("dashboard", DASHBOARD, ("widgets", 0)),
            ("dashboard", DASHBOARD, GROUP),
            ("dashboard", DASHBOARD, WIDGET),
            ("dashboard", DASHBOARD, REQUEST),
            ("dashboard", DASHBOARD, QUERY),
            ("dashboard", DASHBOARD, (*REQUEST, "formulas", 0)),
            ("dashboard", DASHBOARD, (*REQUEST, "conditional_formats", 0)),
            ("monitor", SLOW_PART, ()),
            ("monitor", SLOW_PART, ("options",)),
            ("monitor", SLOW_PART, ("options", "thresholds")),
            ("slo", SLO, ()),
            ("slo", SLO, ("query",)),
            ("slo", SLO, ("thresholds", 0)),
            ("metric", datadog.metric_configurations()[metrics.IMAGE_BYTES], ("data",)),
            (
                "metric",
                datadog.metric_configurations()[metrics.IMAGE_BYTES],
                ("data", "attributes"),
            ),
        ],
    )
    def test_a_misspelled_key_is_refused_at_every_level(
        self, kind: Kind, definition: datadog.Definition, place: Place
    ) -> None:
        message = refusal(kind, changed(definition, (*place, "titel"), "x"))

        path = kind + "".join(
            f"[{step}]" if isinstance(step, int) else f".{step}" for step in place
        )
        assert f"{path}.titel: unknown key" in message.splitlines()

    @pytest.mark.parametrize(
        ("kind", "definition", "place", "value"),
        [
            ("dashboard", DASHBOARD, ("layout_type",), "orderd"),
            ("dashboard", DASHBOARD, (*WIDGET, "type"), "query_valu"),
            ("dashboard", DASHBOARD, (*QUERY, "data_source"), "metric"),
            ("dashboard", DASHBOARD, (*QUERY, "aggregator"), "summ"),
            (
                "dashboard",
                DASHBOARD,
                (*REQUEST, "conditional_formats", 0, "palette"),
                "white_on_rot",
            ),
            ("monitor", SLOW_PART, ("type",), "query alarm"),
            ("slo", SLO, ("thresholds", 0, "timeframe"), "31d"),
            (
                "metric",
                datadog.metric_configurations()[metrics.IMAGE_BYTES],
                ("data", "attributes", "metric_type"),
                "sketch",
            ),
        ],
    )
    def test_an_unknown_value_is_refused(
        self, kind: Kind, definition: datadog.Definition, place: Place, value: str
    ) -> None:
        assert f".{place[-1]}: {value!r} is not one of " in refusal(
            kind, changed(definition, place, value)
        )

    def test_a_value_of_another_type_is_refused(self) -> None:
        assert "options.thresholds.critical: 'x' is not of type " in refusal(
            "monitor", changed(SLOW_PART, ("options", "thresholds", "critical"), "x")
        )
        assert "dashboard.widgets: must be a list" in refusal(
            "dashboard", changed(DASHBOARD, ("widgets",), {})
        )

    def test_a_missing_key_is_refused(self) -> None:
        lacking = copy.deepcopy(SLO)
        del lacking["thresholds"]
        assert refusal("slo", lacking) == "slo.thresholds: is missing"

    @pytest.mark.parametrize(
        ("query", "mistake"),
        [
            ("sum:asciist.request{$env}.as_count()", "unknown metric 'asciist.request'"),
            (
                "sum:asciist.requests{$env,code:200}.as_count()",
                "asciist.requests has no tag 'code'",
            ),
            (
                "sum:asciist.requests{$env} by {staus}.as_count()",
                "asciist.requests has no tag 'staus'",
            ),
            (
                "max:aws.sqs.approximate_age_of_oldest_message{queue:x}",
                "approximate_age_of_oldest_message has no tag 'queue'",
            ),
            (
                "p99:asciist.requests{$env}",
                "p99 needs a distribution, and asciist.requests is not one",
            ),
            ("count(v: v>3):asciist.requests{$env}.as_count()", "count needs a distribution"),
            (
                "sum:asciist.requests{$env}",
                "asciist.requests is a count: query it by sum and .as_count()",
            ),
            (
                "p99:asciist.request.duration{$env}.as_count()",
                ".as_count() needs sum or count, not p99",
            ),
            (
                "sum:asciist.requests{$environment}.as_count()",
                "unknown template variable '$environment'",
            ),
            (
                "total:asciist.requests{$env}",
                "'total:asciist.requests{$env}' is not a metric query",
            ),
            ("sum:asciist.requests", "'sum:asciist.requests' is not a metric query"),
        ],
    )
    def test_a_query_of_something_unknown_is_refused(self, query: str, mistake: str) -> None:
        assert mistake in refusal("dashboard", changed(DASHBOARD, (*QUERY, "query"), query))
        assert mistake in refusal("slo", changed(SLO, ("query", "numerator"), query))

    @pytest.mark.parametrize(
        ("formula", "mistake"),
        [
            ("100 * god / total", "unknown query 'god'"),
            ("100 * good", "no formula uses the query 'total'"),
            ("100 * total /", "is not a formula"),
            (
                "moving_average(good, total)",
                "'moving_average(good, total)' is not allowed in a formula",
            ),
        ],
    )
    def test_a_formula_with_something_unknown_is_refused(self, formula: str, mistake: str) -> None:
        assert mistake in refusal(
            "dashboard", changed(DASHBOARD, (*REQUEST, "formulas", 0, "formula"), formula)
        )

    def test_a_query_of_a_scalar_needs_an_aggregator(self) -> None:
        scalar = copy.deepcopy(DASHBOARD)
        request = scalar["widgets"][0]["definition"]["widgets"][2]["definition"]["requests"][0]
        del request["queries"][0]["aggregator"]
        assert ".queries[0].aggregator: must be set for a scalar request" in refusal(
            "dashboard", scalar
        )

    @pytest.mark.parametrize(
        ("monitor", "query", "mistake"),
        [
            (
                SLOW_PART,
                "avg(last_15m):p99:asciist.request.duration{*} > 3000",
                "percentile(…) aggregates percentiles over time",
            ),
            (
                SLOW_PART,
                "percentile(last_15m):p99:asciist.request.duration{*} > 4",
                "differs from the threshold of the query, 4",
            ),
            (
                SLOW_PART,
                "percentile(last_15m):p99:asciist.requests{*} > 3000",
                "p99 needs a distribution",
            ),
            (SLOW_PART, "p99:asciist.request.duration{*} > 3000", "is not a query of a monitor"),
            (
                SLOW_PART,
                "min(last_15m):sum:asciist.requests{*}.as_count() > 3000",
                "Datadog accepts .as_count() only with sum(…) over time",
            ),
            (
                SLOW_PART,
                "sum(last_15m):default_zero(sum:asciist.requests{*}.as_count()) > 3000",
                "Datadog advises against default_zero with .as_count() in monitors",
            ),
            (
                SLOW_PART,
                "sum(last_15m):sum:asciist.requests{*}.as_count() + x > 3000",
                "'x' is not a metric query",
            ),
            (
                BURN_PART,
                'burn_rate("SLO_ID").over("31d") > 6',
                "is not a query of a monitor of type 'slo alert'",
            ),
            (
                MONITORS["Answers are slow"],
                "<a> & <b>",
                "is not a query of a monitor of type 'composite'",
            ),
        ],
    )
    def test_a_wrong_query_of_a_monitor_is_refused(
        self, monitor: datadog.Definition, query: str, mistake: str
    ) -> None:
        assert mistake in refusal("monitor", changed(monitor, ("query",), query))
