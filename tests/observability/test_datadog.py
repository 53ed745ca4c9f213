"""What goes to Datadog is what it takes, and what it would ignore in silence is refused here."""

import copy
import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from asciist.telemetry import metrics
from asciist.telemetry.metrics import CATALOGUE
from observability import alarms, datadog
from observability.objective import objective
from observability.queries import MetricQuery
from observability.validation import DefinitionError, Kind, check

Place = tuple[str | int, ...]

DASHBOARD = datadog.dashboard("prod")
MONITORS = datadog.monitors(env="prod", runbook="https://runbook.example/", deadline_seconds=10, notify="@pagerduty-asciist")
SLO = datadog.slo("prod")
DEFINITIONS: list[tuple[Kind, datadog.Definition]] = [
    ("dashboard", DASHBOARD),
    ("dashboard", datadog.dashboard()),
    *(("monitor", monitor) for monitor in MONITORS.values()),  # type: ignore[list-item]
    ("slo", SLO),
    *(("metric", configuration) for configuration in datadog.metric_configurations().values()),  # type: ignore[list-item]
]

GROUP: Place = ("widgets", 0, "definition")
WIDGET: Place = (*GROUP, "widgets", 1, "definition")
REQUEST: Place = (*WIDGET, "requests", 0)
QUERY: Place = (*REQUEST, "queries", 0)


def strings(value: Any) -> Iterator[str]:
    if isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from strings(item)
    elif isinstance(value, str):
        yield value


def changed(definition: datadog.Definition, place: Place, value: Any) -> datadog.Definition:
    """A copy of a definition with another value at a place."""
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
    def test_datadog_takes_each_of_ours(self, kind: Kind, definition: datadog.Definition) -> None:
        check(kind, definition)
        assert json.loads(json.dumps(definition)) == definition

    def test_every_metric_of_the_catalogue_is_on_the_dashboard(self) -> None:
        drawn = {word for text in strings(DASHBOARD) for word in re.findall(r"[\w.]+", text)}
        assert set(CATALOGUE) <= drawn

    @pytest.mark.parametrize("aggregator", ["avg", "p50", "p90", "p95", "p99"])
    def test_the_time_to_answer_is_drawn_overall_and_by_status(self, aggregator: str) -> None:
        query = f"{aggregator}:{metrics.REQUEST_DURATION}{{$env}}"
        assert {query, f"{query} by {{status}}"} <= set(strings(DASHBOARD))

    def test_the_dashboard_is_of_widgets_that_are_drawn_everywhere(self) -> None:
        """The local page draws these."""
        assert set(re.findall(r'"definition": \{"type": "(\w+)"', json.dumps(DASHBOARD))) == {
            "group",
            "note",
            "query_value",
            "timeseries",
            "toplist",
        }

    def test_every_title_says_something_else(self) -> None:
        titles = re.findall(r'"title": "([^"]+)"', json.dumps(DASHBOARD))
        assert len(titles) == len(set(titles))

    def test_the_first_group_says_whether_users_are_served(self) -> None:
        assert DASHBOARD["widgets"][0]["definition"]["title"] == "Are users served?"

    def test_percentiles_are_enabled_for_every_distribution(self) -> None:
        configurations = datadog.metric_configurations()

        assert configurations.keys() == {metric.name for metric in CATALOGUE.values() if metric.type == "distribution"}
        for name, configuration in configurations.items():
            attributes = configuration["data"]["attributes"]
            assert attributes["include_percentiles"] is True
            assert set(attributes["tags"]) == {*CATALOGUE[name].tags, "env", "service", "version"}

    def test_the_objective_is_the_one_that_is_promised(self) -> None:
        promise = objective()

        assert SLO["thresholds"] == [{"timeframe": f"{promise.window_days}d", "target": promise.target_percent}]
        good, total = MetricQuery.parse(SLO["query"]["numerator"]), MetricQuery.parse(SLO["query"]["denominator"])
        assert (good.metric, total.metric) == (metrics.REQUEST_DURATION, metrics.REQUEST_DURATION)
        assert (good.aggregator, good.comparator, good.threshold) == ("count", "<=", 1000 * promise.slow_after_seconds)
        assert (total.aggregator, total.comparator) == ("count", "")
        assert {term.text for term in set(good.terms) - set(total.terms)} == {"!status:5*"}


class TestMonitors:
    def test_there_is_one_for_every_text(self) -> None:
        assert MONITORS.keys() == set(alarms.ALARMS)

    @pytest.mark.parametrize("text", alarms.ALARMS, ids=lambda text: text.anchor)
    def test_each_says_what_users_feel_where_to_read_and_whom_it_tells(self, text: alarms.AlarmText) -> None:
        monitor = MONITORS[text]

        assert monitor["name"] == f"{text.title} (asciist prod)"
        assert monitor["message"] == f"{text.meaning} What to do: https://runbook.example/#{text.anchor} @pagerduty-asciist"

    @pytest.mark.parametrize("text", alarms.ALARMS, ids=lambda text: text.anchor)
    def test_each_is_of_its_own_deployment(self, text: alarms.AlarmText) -> None:
        query = MONITORS[text]["query"]
        assert "{env:prod" in query or datadog.SLO_ID in query

    def test_the_budget_burns_at_the_paces_that_are_promised(self) -> None:
        for text, burn in zip((alarms.BUDGET_BURNS_FAST, alarms.BUDGET_BURNS), objective().burns, strict=True):
            assert MONITORS[text]["query"].endswith(f" > {burn.rate:g}")
        assert '.long_window("1h").short_window("5m")' in MONITORS[alarms.BUDGET_BURNS_FAST]["query"]

    def test_silence_wakes_someone_where_it_is_listened_for_and_nowhere_else(self) -> None:
        woken = {text for text, monitor in MONITORS.items() if monitor["options"].get("notify_no_data")}
        assert woken == {alarms.NO_TRAFFIC}


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
            ("monitor", MONITORS[alarms.SLOW_ANSWERS], ()),
            ("monitor", MONITORS[alarms.SLOW_ANSWERS], ("options",)),
            ("monitor", MONITORS[alarms.SLOW_ANSWERS], ("options", "thresholds")),
            ("slo", SLO, ()),
            ("slo", SLO, ("query",)),
            ("slo", SLO, ("thresholds", 0)),
            ("metric", datadog.metric_configurations()[metrics.IMAGE_BYTES], ("data",)),
            ("metric", datadog.metric_configurations()[metrics.IMAGE_BYTES], ("data", "attributes")),
        ],
    )
    def test_a_misspelled_key_is_refused_at_every_level(self, kind: Kind, definition: datadog.Definition, place: Place) -> None:
        told = refusal(kind, changed(definition, (*place, "titel"), "x"))

        path = kind + "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in place)
        assert f"{path}.titel: Datadog knows no such key" in told.splitlines()

    @pytest.mark.parametrize(
        ("kind", "definition", "place", "value"),
        [
            ("dashboard", DASHBOARD, ("layout_type",), "orderd"),
            ("dashboard", DASHBOARD, (*WIDGET, "type"), "query_valu"),
            ("dashboard", DASHBOARD, (*QUERY, "data_source"), "metric"),
            ("dashboard", DASHBOARD, (*QUERY, "aggregator"), "summ"),
            ("dashboard", DASHBOARD, (*REQUEST, "conditional_formats", 0, "palette"), "white_on_rot"),
            ("monitor", MONITORS[alarms.SLOW_ANSWERS], ("type",), "query alarm"),
            ("slo", SLO, ("thresholds", 0, "timeframe"), "31d"),
            ("metric", datadog.metric_configurations()[metrics.IMAGE_BYTES], ("data", "attributes", "metric_type"), "sketch"),
        ],
    )
    def test_an_unknown_value_is_refused(self, kind: Kind, definition: datadog.Definition, place: Place, value: str) -> None:
        assert f".{place[-1]}: {value!r} is not one of " in refusal(kind, changed(definition, place, value))

    def test_a_value_of_another_type_is_refused(self) -> None:
        assert "options.thresholds.critical: 'x' is no " in refusal(
            "monitor", changed(MONITORS[alarms.SLOW_ANSWERS], ("options", "thresholds", "critical"), "x")
        )
        assert "dashboard.widgets: must be a list" in refusal("dashboard", changed(DASHBOARD, ("widgets",), {}))

    def test_a_missing_key_is_refused(self) -> None:
        lacking = copy.deepcopy(SLO)
        del lacking["thresholds"]
        assert refusal("slo", lacking) == "slo.thresholds: is missing"

    @pytest.mark.parametrize(
        ("query", "mistake"),
        [
            ("sum:asciist.request{$env}.as_count()", "there is no metric 'asciist.request'"),
            ("sum:asciist.requests{$env,code:200}.as_count()", "asciist.requests has no tag 'code'"),
            ("sum:asciist.requests{$env} by {staus}.as_count()", "asciist.requests has no tag 'staus'"),
            ("max:aws.sqs.approximate_age_of_oldest_message{queue:x}", "approximate_age_of_oldest_message has no tag 'queue'"),
            ("p99:asciist.requests{$env}", "p99 is of distributions, and asciist.requests is none"),
            ("count(v: v>3):asciist.requests{$env}.as_count()", "count is of distributions"),
            ("sum:asciist.requests{$env}", "asciist.requests is a count, which is added up"),
            ("p99:asciist.request.duration{$env}.as_count()", ".as_count() is of what is added up, and p99 is not"),
            ("sum:asciist.requests{$environment}.as_count()", "there is no template variable '$environment'"),
            ("total:asciist.requests{$env}", "'total:asciist.requests{$env}' is no query of metrics"),
            ("sum:asciist.requests", "'sum:asciist.requests' is no query of metrics"),
        ],
    )
    def test_a_query_of_what_is_not_there_is_refused(self, query: str, mistake: str) -> None:
        assert mistake in refusal("dashboard", changed(DASHBOARD, (*QUERY, "query"), query))
        assert mistake in refusal("slo", changed(SLO, ("query", "numerator"), query))

    @pytest.mark.parametrize(
        ("formula", "mistake"),
        [
            ("100 * god / total", "there is no query 'god'"),
            ("100 * good", "no formula uses the query 'total'"),
            ("100 * good /", "is no formula"),
            ("moving_average(good, total)", "'moving_average(good, total)' is no part of a formula"),
        ],
    )
    def test_a_formula_of_what_is_not_there_is_refused(self, formula: str, mistake: str) -> None:
        assert mistake in refusal("dashboard", changed(DASHBOARD, (*REQUEST, "formulas", 0, "formula"), formula))

    def test_a_scalar_says_how_it_becomes_one(self) -> None:
        scalar = copy.deepcopy(DASHBOARD)
        request = scalar["widgets"][0]["definition"]["widgets"][1]["definition"]["requests"][0]
        del request["queries"][0]["aggregator"]
        assert ".queries[0].aggregator: belongs to the queries of scalars" in refusal("dashboard", scalar)

    @pytest.mark.parametrize(
        ("text", "query", "mistake"),
        [
            (alarms.SLOW_ANSWERS, "avg(last_15m):p99:asciist.request.duration{*} > 3000", "taken over time by percentile"),
            (
                alarms.SLOW_ANSWERS,
                "percentile(last_15m):p99:asciist.request.duration{*} > 4",
                "is not the threshold of the query",
            ),
            (alarms.SLOW_ANSWERS, "percentile(last_15m):p99:asciist.requests{*} > 3000", "p99 is of distributions"),
            (alarms.SLOW_ANSWERS, "p99:asciist.request.duration{*} > 3000", "is no query of a monitor"),
            (alarms.BUDGET_BURNS, 'burn_rate("SLO_ID").over("31d") > 6', "is no query of a monitor of type 'slo alert'"),
        ],
    )
    def test_a_monitor_of_what_is_not_there_is_refused(self, text: alarms.AlarmText, query: str, mistake: str) -> None:
        assert mistake in refusal("monitor", changed(MONITORS[text], ("query",), query))
