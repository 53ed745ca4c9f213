"""The alarms and dashboards deployed for both vendors follow the model in `observability`, and
contain nothing else."""

import ast
import json
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from asciist.settings import Settings
from asciist.telemetry import metrics
from operations.observability.alarms import ALARMS, NO_REQUESTS, Alarm, Silence, Window
from operations.observability.objective import OBJECTIVE
from operations.observability.panels import MEASURED, SECTIONS, Panel, Vendor
from operations.observability.signals import Aws, Measured
from stacks.environment import Environment
from stacks.limits import alarm_limits
from tests.stacks.synthesis import choose, resources, synthesized
from tests.stacks.test_changes import DOMAIN
from tests.stacks.test_datadog import KEYS, joined
from tests.stacks.test_templates import each_deployment

RUNBOOK = "https://docs.example/runbook.md"
WITH_DATADOG = [
    choose(environment, **KEYS, worker=worker, runbook=RUNBOOK)
    for worker in ("lambda", "asg")
    for environment in ("dev", "prod")
]
COMPLETE = WITH_DATADOG[1]
SECURE = [
    choose("prod", **KEYS, **DOMAIN, worker=worker, runbook=RUNBOOK) for worker in ("lambda", "asg")
]
"""Deployments that together have every alarm."""

each_deployment_with_datadog = pytest.mark.parametrize(
    "environment", WITH_DATADOG, ids=lambda chosen: f"{chosen.worker}-{chosen.environment}"
)
each_alarm_of_datadog = pytest.mark.parametrize(
    "alarm",
    [alarm for alarm in ALARMS if alarm.vendor != "cloudwatch"],
    ids=lambda alarm: alarm.anchor,
)
each_alarm = pytest.mark.parametrize("alarm", ALARMS, ids=lambda alarm: alarm.anchor)

Properties = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Rule:
    """The rule of an alarm, from the model or from a rendering."""

    threshold: float
    comparison: str
    windows: tuple[Window, ...]
    min_events: int
    fires_on_silence: bool
    signal: tuple[str, str]
    """CloudWatch's metric and statistic; empty for the error budget, which is computed from several
    metrics."""


def rule_of_model(alarm: Alarm, environment: Environment) -> Rule:
    signal = next(iter(alarm.signal.signals.values()))
    names = {"sum": "Sum", "maximum": "Maximum", "minimum": "Minimum"}
    return Rule(
        threshold=alarm.threshold_for(alarm_limits(environment, Settings())),
        comparison=alarm.comparison,
        windows=alarm.windows,
        min_events=alarm.minimum.events if alarm.minimum else 0,
        fires_on_silence=alarm.silence is Silence.FIRES,
        signal=(
            (signal.metric, names.get(signal.statistic, signal.statistic))
            if isinstance(signal, Measured | Aws)
            else ("", "")
        ),
    )


def applying(environment: Environment) -> list[Alarm]:
    return [
        a
        for a in ALARMS
        if a.applies_to(worker=environment.worker, has_domain=bool(environment.domain))
    ]


def having(alarm: Alarm) -> Environment:
    """A deployment with the alarm."""
    return next(environment for environment in SECURE if alarm in applying(environment))


# CloudWatch


def cloudwatch_alarms(environment: Environment) -> dict[str, Properties]:
    """Alarms by logical id."""
    kinds = ("AWS::CloudWatch::Alarm", "AWS::CloudWatch::CompositeAlarm")
    return {
        id_: alarm["Properties"]
        for kind in kinds
        for id_, alarm in resources(environment, kind, "observability").items()
    }


_COMPARISONS = {
    "GreaterThanThreshold": ">",
    "GreaterThanOrEqualToThreshold": ">=",
    "LessThanThreshold": "<",
}


def cloudwatch_rule(environment: Environment, title: str) -> Rule:
    alarms = cloudwatch_alarms(environment)
    (alarm,) = [
        alarm for alarm in alarms.values() if alarm["AlarmName"] == f"{environment.prefix}: {title}"
    ]
    parts = [alarm]
    if "AlarmRule" in alarm:
        words = alarm["AlarmRule"]["Fn::Join"][1]
        assert (
            "".join(word for word in words if isinstance(word, str)) == '(ALARM("") AND ALARM(""))'
        )
        parts = [alarms[word["Fn::GetAtt"][0]] for word in words if not isinstance(word, str)]
    (threshold,) = {part["Threshold"] for part in parts}
    (comparison,) = {part["ComparisonOperator"] for part in parts}
    (missing,) = {part["TreatMissingData"] for part in parts}
    minimums = [
        re.findall(r">= (\d+), value, 0 \* value", json.dumps(part["Metrics"])) for part in parts
    ]
    assert all(not found for found in minimums[1:])
    statistics = [query["MetricStat"] for query in parts[0]["Metrics"] if "MetricStat" in query]
    signals = {
        (s["Metric"]["MetricName"], s["Stat"]) for s in statistics if s["Stat"] != "SampleCount"
    }
    return Rule(
        threshold=threshold,
        comparison=_COMPARISONS[comparison],
        windows=tuple(map(cloudwatch_window, parts)),
        min_events=int(minimums[0][0]) if minimums[0] else 0,
        fires_on_silence=missing == "breaching",
        signal=next(iter(signals)) if len(signals) == 1 else ("", ""),
    )


def cloudwatch_window(alarm: Properties) -> Window:
    (period,) = {
        query["MetricStat"]["Period"] for query in alarm["Metrics"] if "MetricStat" in query
    }
    return Window(
        period_minutes=period // 60,
        periods=alarm["EvaluationPeriods"],
        breaching=alarm["DatapointsToAlarm"],
    )


def cloudwatch_dashboard(environment: Environment) -> list[Properties]:
    (dashboard,) = resources(environment, "AWS::CloudWatch::Dashboard", "observability").values()
    body = joined(dashboard["Properties"]["DashboardBody"])
    widgets: list[Properties] = json.loads(body)["widgets"]
    return widgets


# Datadog


def datadog_objects(environment: Environment, kind: str) -> dict[str, Properties]:
    """Definitions by logical id; a reference to another resource reads `(ID)`."""
    return {
        id_: json.loads(joined(resource["Properties"]["Definition"]))
        for id_, resource in synthesized(environment)["datadog"]["Resources"].items()
        if resource["Type"] == f"Custom::Datadog{kind}"
    }


METRIC_MONITOR = re.compile(
    r"(?P<over>\w+)\(last_(?P<window>\w+)\):(?P<query>.+) (?P<comparison>>=|>|<)"
    r" (?P<threshold>[\d.]+)"
)
BURN_MONITOR = re.compile(
    r'burn_rate\("\(Objective\)"\)\.over\("30d"\)\.long_window\("(\w+)"\)\.short_window\("(\w+)"\)'
    r" > ([\d.]+)"
)
QUERY = re.compile(
    r"(?:default_zero\()?(?P<aggregator>\w+):(?P<metric>[\w.]+)\{.*?\}.*?(?:\.rollup\(\w+,"
    r" (?P<period>\d+)\).*)?"
)


def minutes(duration: str) -> int:
    return int(duration[:-1]) * {"m": 1, "h": 60}[duration[-1]]


def datadog_rule(environment: Environment, title: str) -> Rule:
    monitors = datadog_objects(environment, "Monitor")
    (monitor,) = [
        m for m in monitors.values() if m["name"] == f"{title} (asciist {environment.environment})"
    ]
    parts = [monitor]
    if monitor["type"] == "composite":
        parts = [monitors[part.strip("()")] for part in monitor["query"].split(" && ")]
    first, *rest = parts
    min_events, minimum_window = 0, None
    for part in rest:
        match = METRIC_MONITOR.fullmatch(part["query"])
        assert match
        assert (match["over"], match["comparison"]) == ("sum", ">=")
        min_events, minimum_window = int(match["threshold"]), minutes(match["window"])
    if burn := BURN_MONITOR.fullmatch(first["query"]):
        long, short, rate = burn.groups()
        windows = (Window(period_minutes=minutes(long)), Window(period_minutes=minutes(short)))
        rule = Rule(
            threshold=OBJECTIVE.bad_percent(
                next(burn for burn in OBJECTIVE.burns if burn.rate == float(rate))
            ),
            comparison=">",
            windows=windows,
            min_events=min_events,
            fires_on_silence=False,
            signal=("", ""),
        )
    else:
        rule = datadog_metric_rule(first, min_events)
    assert minimum_window in (None, rule.windows[0].minutes)
    return rule


def datadog_metric_rule(monitor: Properties, min_events: int) -> Rule:
    match = METRIC_MONITOR.fullmatch(monitor["query"])
    assert match
    query = QUERY.fullmatch(match["query"])
    assert query
    length = minutes(match["window"])
    period = int(query["period"]) // 60 if query["period"] else length
    periods = length // period
    # min(…) is above the threshold if all periods are, max(…) if any is.
    window = Window(
        period_minutes=period, periods=periods, breaching=periods if match["over"] == "min" else 1
    )
    return Rule(
        threshold=float(match["threshold"]),
        comparison=match["comparison"],
        windows=(window,),
        min_events=min_events,
        fires_on_silence=monitor["options"]["notify_no_data"],
        signal=(query["metric"], query["aggregator"]),
    )


def datadog_widgets(environment: Environment) -> list[Properties]:
    """Definitions of the dashboard's groups and widgets, in order: each group, then the widgets in
    it."""
    (dashboard,) = datadog_objects(environment, "Dashboard").values()
    found = []
    for group in dashboard["widgets"]:
        found += [
            group["definition"],
            *(widget["definition"] for widget in group["definition"]["widgets"]),
        ]
    return found


class TestAlarms:
    @each_deployment
    def test_cloudwatch_has_the_alarms_that_apply_and_no_other(
        self, environment: Environment
    ) -> None:
        names = [
            alarm["AlarmName"].removeprefix(f"{environment.prefix}: ")
            for alarm in cloudwatch_alarms(environment).values()
        ]
        titles = [name for name in names if "(part: " not in name]
        parts = {name.partition(" (part: ")[0] for name in names if "(part: " in name}

        assert sorted(titles) == sorted(alarm.title for alarm in applying(environment))
        assert parts == {alarm.title for alarm in applying(environment) if len(alarm.windows) > 1}

    @each_deployment_with_datadog
    def test_datadog_has_the_alarms_that_apply_and_no_other(self, environment: Environment) -> None:
        suffix = f" (asciist {environment.environment})"
        names = [
            monitor["name"].removesuffix(suffix)
            for monitor in datadog_objects(environment, "Monitor").values()
        ]
        titles = [name for name in names if "(part: " not in name]
        parts = {name.partition(" (part: ")[0] for name in names if "(part: " in name}

        expected = [alarm for alarm in applying(environment) if alarm.vendor != "cloudwatch"]
        assert sorted(titles) == sorted(alarm.title for alarm in expected)
        assert parts == {alarm.title for alarm in expected if alarm.minimum}

    def test_every_alarm_applies_somewhere(self) -> None:
        assert {alarm for environment in SECURE for alarm in applying(environment)} == set(ALARMS)

    @each_alarm
    def test_cloudwatch_has_the_rule_of_the_model(self, alarm: Alarm) -> None:
        deployed = having(alarm)
        assert cloudwatch_rule(deployed, alarm.title) == rule_of_model(alarm, deployed)

    @each_alarm_of_datadog
    def test_datadog_has_the_rule_of_the_model(self, alarm: Alarm) -> None:
        deployed = having(alarm)
        rule, expected = datadog_rule(deployed, alarm.title), rule_of_model(alarm, deployed)
        metric, aggregator = rule.signal
        snake = re.sub(r"(?<!^)(?=[A-Z])", "_", expected.signal[0]).lower()

        if alarm is NO_REQUESTS:
            # No event in any of three periods is no event in the sum of them.
            ((window,), (whole,)) = expected.windows, rule.windows
            assert (expected.threshold, expected.comparison, window.breaching) == (
                1,
                "<",
                window.periods,
            )
            assert whole == Window(period_minutes=window.minutes)
        else:
            assert rule.windows == expected.windows
        assert rule.threshold == pytest.approx(expected.threshold)
        assert (rule.comparison, rule.min_events) == (expected.comparison, expected.min_events)
        assert rule.fires_on_silence == expected.fires_on_silence
        assert metric in (
            expected.signal[0],
            *(
                f"aws.{service}.{snake}"
                for service in ("sqs", "applicationelb", "lambda", "autoscaling")
            ),
        )
        assert aggregator == {"Sum": "sum", "Maximum": "max"}.get(
            expected.signal[1], expected.signal[1]
        )

    @each_alarm
    def test_both_vendors_explain_an_alarm_and_link_to_its_section_of_the_runbook(
        self, alarm: Alarm
    ) -> None:
        text = f"{alarm.meaning} Runbook: {RUNBOOK}#{alarm.anchor}"
        described = {
            a["AlarmName"]: a["AlarmDescription"] for a in cloudwatch_alarms(having(alarm)).values()
        }
        messages = {
            m["name"]: m["message"] for m in datadog_objects(having(alarm), "Monitor").values()
        }

        assert described[f"asciist-prod: {alarm.title}"] == text
        assert messages.get(f"{alarm.title} (asciist prod)", text) == text
        assert len(text) <= 1024  # CloudWatch's limit

    @each_alarm
    def test_the_treatment_of_missing_data_is_chosen_and_has_a_reason(self, alarm: Alarm) -> None:
        treatments = {
            Silence.IS_HEALTHY: "notBreaching",
            Silence.FIRES: "breaching",
            Silence.KEEPS_STATE: "ignore",
        }
        rendered = {
            a["TreatMissingData"]
            for a in cloudwatch_alarms(having(alarm)).values()
            if alarm.title in a["AlarmName"] and "AlarmRule" not in a
        }

        assert rendered == {treatments[alarm.silence]}
        assert alarm.silence_reason.endswith(".")
        # Metrics of the service can be lost on their way, so missing values must not end an alarm,
        # unless a healthy service sends none.
        measured = [
            signal.metric
            for signal in alarm.signal.signals.values()
            if isinstance(signal, Measured)
        ]
        if measured and measured != [metrics.REQUESTS_SHED]:
            assert alarm.silence is not Silence.IS_HEALTHY

    def test_a_part_of_an_alarm_notifies_nobody(self) -> None:
        for alarm in cloudwatch_alarms(COMPLETE).values():
            assert bool(alarm.get("AlarmActions")) is ("(part: " not in alarm["AlarmName"])
        notified = choose(**KEYS, datadog_notify="@pagerduty-asciist")
        for monitor in datadog_objects(notified, "Monitor").values():
            assert ("@" in monitor["message"]) is ("(part: " not in monitor["name"])


class TestPanels:
    @each_deployment
    def test_cloudwatch_has_the_panels_that_apply_and_no_other(
        self, environment: Environment
    ) -> None:
        titles = [
            widget["properties"]["title"]
            for widget in cloudwatch_dashboard(environment)
            if widget["type"] == "metric"
        ]
        assert titles == [
            MEASURED.title,
            *(panel.title for panel in applying_panels("cloudwatch", environment)),
        ]

    @each_deployment_with_datadog
    def test_datadog_has_the_panels_that_apply_and_no_other(self, environment: Environment) -> None:
        titles = [
            widget["title"]
            for widget in datadog_widgets(environment)
            if widget["type"] not in ("group", "note")
        ]
        assert titles == [panel.title for panel in applying_panels("datadog", environment)]

    def test_both_vendors_ask_the_questions_of_the_model_in_its_order(self) -> None:
        questions = [section.question for section in SECTIONS]
        texts = [
            widget["properties"]["markdown"]
            for widget in cloudwatch_dashboard(COMPLETE)
            if widget["type"] == "text"
        ]

        assert [text.splitlines()[0] for text in texts[1:]] == [
            f"## {question}" for question in questions
        ]
        assert [
            widget["title"] for widget in datadog_widgets(COMPLETE) if widget["type"] == "group"
        ] == questions
        assert questions[0] == "Are users served?"

    def test_both_vendors_draw_the_lines_and_marks_of_the_model(self) -> None:
        cloudwatch = {
            w["properties"].get("title"): w["properties"] for w in cloudwatch_dashboard(COMPLETE)
        }
        datadog = {widget.get("title"): widget for widget in datadog_widgets(COMPLETE)}
        for panel in applying_panels("cloudwatch", COMPLETE):
            drawn = [
                row[-1]
                for row in cloudwatch[panel.title]["metrics"]
                if row[-1].get("visible", True)
            ]
            marks = cloudwatch[panel.title].get("annotations", {}).get("horizontal", [])
            labels = [line.label for line in panel.lines_for(worker=COMPLETE.worker)]
            assert [re.sub(r"^\$\{.*\}", "", row["label"]) for row in drawn] == labels
            assert {mark["label"]: mark["value"] for mark in marks} == panel.marks
        for panel in applying_panels("datadog", COMPLETE):
            widget = datadog[panel.title]
            marks = widget.get("markers", [])
            assert len(widget["requests"][0]["formulas"]) == len(
                panel.lines_for(worker=COMPLETE.worker)
            )
            assert {mark["label"]: mark["value"] for mark in marks} == {
                k: f"y = {v:g}" for k, v in panel.marks.items()
            }


def applying_panels(vendor: Vendor, environment: Environment) -> list[Panel]:
    return [
        panel
        for section in SECTIONS
        for panel in section.panels
        if panel.applies_to(vendor, worker=environment.worker)
    ]


class TestNoData:
    """A dashboard over metrics without values shows no value, never a good one."""

    @each_deployment
    def test_no_expression_on_cloudwatch_has_a_value(self, environment: Environment) -> None:
        evaluated = 0
        for widget in cloudwatch_dashboard(environment):
            rows = widget["properties"].get("metrics", [])
            for row in rows:
                if (
                    "expression" in row[-1]
                    and row[-1].get("visible", True)
                    and "SEARCH" not in row[-1]["expression"]
                ):
                    evaluated += 1
                    assert math.isnan(cloudwatch_value(rows, row, math.nan)), widget["properties"][
                        "title"
                    ]
        assert evaluated >= 8

    def test_without_a_bad_request_all_requests_are_good(self) -> None:
        for widget in cloudwatch_dashboard(COMPLETE):
            if str(widget["properties"].get("title")).startswith("Good requests, %"):
                rows = widget["properties"]["metrics"]
                assert (
                    cloudwatch_value(
                        rows, rows[0], lambda row: 50 if row[1] == "RequestCount" else math.nan
                    )
                    == 100
                )

    @each_deployment_with_datadog
    def test_no_formula_on_datadog_has_a_value(self, environment: Environment) -> None:
        for widget in datadog_widgets(environment):
            for request in widget.get("requests", []):
                names = {query["name"]: math.nan for query in request["queries"]}
                for formula in request["formulas"]:
                    value = calculated(formula["formula"], names)
                    assert math.isnan(value), widget["title"]

    def test_a_number_on_datadog_has_a_colour_only_with_a_value(self) -> None:
        for widget in datadog_widgets(COMPLETE):
            for request in widget.get("requests", []):
                for rule in request.get("conditional_formats", []):
                    assert rule["comparator"] in ("<", ">=")
                    assert isinstance(rule["value"], int | float)

    @each_deployment
    def test_the_first_panel_on_cloudwatch_is_the_number_of_requests_measured_lately(
        self, environment: Environment
    ) -> None:
        first, *_ = cloudwatch_dashboard(environment)
        properties = first["properties"]

        assert properties["title"] == "Requests measured in the last 15 minutes"
        assert (properties["start"], properties["end"], properties["setPeriodToTimeRange"]) == (
            "-PT15M",
            "PT0H",
            True,
        )
        assert [row[:2] for row in properties["metrics"]] == [
            [environment.prefix, "asciist.requests"]
        ]

    @each_deployment_with_datadog
    def test_the_first_panel_on_datadog_is_the_number_of_requests(
        self, environment: Environment
    ) -> None:
        group, note, first, *_ = datadog_widgets(environment)
        (request,) = first["requests"]

        assert (group["type"], note["type"], first["type"]) == ("group", "note", "query_value")
        assert "without a value means that nothing was measured" in note["content"]
        assert [query["query"] for query in request["queries"]] == [
            "sum:asciist.requests{$env}.as_count()"
        ]
        assert request["formulas"] == [{"formula": "value"}]

    @each_deployment
    def test_the_list_of_active_alarms_on_cloudwatch_shows_none_in_state_ok(
        self, environment: Environment
    ) -> None:
        (widget,) = [
            widget for widget in cloudwatch_dashboard(environment) if widget["type"] == "alarm"
        ]

        assert widget["properties"]["title"] == "Active alarms"
        assert widget["properties"]["states"] == ["ALARM", "INSUFFICIENT_DATA"]
        assert len(widget["properties"]["alarms"]) == len(applying(environment))


def fill(value: float, filling: float) -> float:
    return filling if math.isnan(value) else value


def when(condition: bool, value: float, otherwise: float = math.nan) -> float:
    return value if condition else otherwise


def divide(dividend: float, divisor: float) -> float:
    """Quotient; infinite if the divisor is 0, because no formula may depend on a vendor's treatment
    of it."""
    return math.copysign(math.inf, dividend) if divisor == 0 else dividend / divisor


class Divisions(ast.NodeTransformer):
    """Replaces each `/` by a call of `divide`."""

    def visit_BinOp(self, node: ast.BinOp) -> ast.expr:
        self.generic_visit(node)
        if not isinstance(node.op, ast.Div):
            return node
        return ast.Call(
            func=ast.Name(id="divide", ctx=ast.Load()), args=[node.left, node.right], keywords=[]
        )


def calculated(expression: str, values: dict[str, float]) -> float:
    """The value of a formula of either vendor at one point in time; nan is a missing value."""
    functions = {
        "divide": divide,
        "FILL": fill,
        "IF": when,
        "RUNNING_SUM": lambda value: value,  # there is only one period
        "default_zero": lambda value: fill(value, 0),
    }
    tree = ast.fix_missing_locations(Divisions().visit(ast.parse(expression, mode="eval")))
    # A formula of the product.
    return float(eval(compile(tree, "formula", "eval"), functions | values))  # noqa: S307


def cloudwatch_value(
    rows: list[list[Any]], row: list[Any], metric: float | Callable[[list[Any]], float]
) -> float:
    """The value of a row of a widget; `metric` is the value of each metric, or a function of its
    row."""
    if "expression" not in row[-1]:
        return metric(row) if callable(metric) else metric
    named = {other[-1]["id"]: other for other in rows if "id" in other[-1]}
    used = set(re.findall(r"[a-z]\w*", row[-1]["expression"])) & named.keys()
    return calculated(
        row[-1]["expression"], {name: cloudwatch_value(rows, named[name], metric) for name in used}
    )
