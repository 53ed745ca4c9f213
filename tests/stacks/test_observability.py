"""What on-call sees and is woken by: every alarm speaks, rings when it should and not before, and every metric is shown."""

import json
import math
import re
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from asciist.settings import Timeouts
from asciist.telemetry import metrics
from asciist.telemetry.metrics import CATALOGUE
from observability import alarms as texts
from observability.alarms import ALARMS, AlarmText
from stacks.environment import Environment
from tests.stacks.test_templates import COMBINATIONS, each_deployment, only, resources

PROD = Environment(environment="prod", runbook="https://docs.example/runbook.md")
OF_THE_CONVERTER = (texts.THROTTLES, texts.CONVERTER_ERRORS)
OF_AWS = ("AWS/ApplicationELB", "AWS/AutoScaling", "AWS/Lambda", "AWS/SQS")
OF_THE_AGENT = {"mem_used_percent", "disk_used_percent"}
PROMISE = tomllib.loads((Path(__file__).parents[2] / "observability/slo.toml").read_text())
BURNS = list(zip((texts.BUDGET_BURNS_FAST, texts.BUDGET_BURNS), PROMISE["burn"], strict=True))

Properties = dict[str, Any]
Used = tuple[str, str, frozenset[str]]  # namespace, name, keys of the dimensions


def alarms(environment: Environment) -> dict[str, Properties]:
    """All of them by their names without the deployment's, the parts of others too."""
    kinds = ("AWS::CloudWatch::Alarm", "AWS::CloudWatch::CompositeAlarm")
    found = [alarm["Properties"] for kind in kinds for alarm in resources(environment, kind, "observability").values()]
    return {alarm["AlarmName"].removeprefix(f"{environment.prefix}: "): alarm for alarm in found}


def announced(environment: Environment) -> dict[str, Properties]:
    return {name: alarm for name, alarm in alarms(environment).items() if "(part: " not in name}


def expected(environment: Environment) -> list[AlarmText]:
    """An idle `dev` is no news, and only a function is throttled."""
    return [
        text
        for text in ALARMS
        if (environment.worker == "lambda" or text not in OF_THE_CONVERTER)
        and (environment.environment == "prod" or text is not texts.NO_TRAFFIC)
    ]


def dashboard(environment: Environment) -> Properties:
    body = only(resources(environment, "AWS::CloudWatch::Dashboard"))["DashboardBody"]
    parts = body["Fn::Join"][1]
    read: Properties = json.loads("".join(part if isinstance(part, str) else "token" for part in parts))
    return read


def shown(environment: Environment) -> Iterator[Used]:
    """The metrics of all graphs, those that are searched for too."""
    for widget in dashboard(environment)["widgets"]:
        for row in widget["properties"].get("metrics", []):
            if isinstance(row[0], str):
                namespace, name, *dimensions = [cell for cell in row if isinstance(cell, str)]
                yield namespace, name, frozenset(dimensions[::2])
            elif search := re.fullmatch(r"""SEARCH\('\{"(.*)",(.*)\} MetricName="(.*)"', '.*'\)""", row[0]["expression"]):
                namespace, dimensions_, name = search.groups()
                yield namespace, name, frozenset(dimensions_.split(","))
            else:
                assert "SEARCH" not in row[0]["expression"]


def watched(environment: Environment) -> Iterator[Used]:
    for alarm in alarms(environment).values():
        statistics = [query["MetricStat"]["Metric"] for query in alarm.get("Metrics", []) if "MetricStat" in query]
        for metric in [*statistics, alarm]:
            if "MetricName" in metric:
                keys = frozenset(dimension["Name"] for dimension in metric.get("Dimensions", []))
                yield metric["Namespace"], metric["MetricName"], keys


class TestAlarms:
    @each_deployment
    def test_every_alarm_of_the_list_is_there_and_no_other(self, environment: Environment) -> None:
        assert announced(environment).keys() == {text.title for text in expected(environment)}

    @each_deployment
    def test_every_alarm_tells_someone_when_it_begins_and_ends_and_parts_tell_nobody(self, environment: Environment) -> None:
        (topic,) = resources(environment, "AWS::SNS::Topic", "observability")
        for name, alarm in alarms(environment).items():
            told = None if "(part: " in name else [{"Ref": topic}]
            assert (alarm.get("AlarmActions"), alarm.get("OKActions")) == (told, told), name
            assert not alarm.get("InsufficientDataActions")
            assert alarm.get("ActionsEnabled", True) is True

    def test_every_alarm_says_what_users_feel_and_where_the_runbook_is(self) -> None:
        for text in ALARMS:
            description = announced(PROD)[text.title]["AlarmDescription"]
            assert description == text.description("https://docs.example/runbook.md")
            assert len(description) <= 1024

    def test_no_alarm_watches_more_than_cloudwatch_computes_with(self) -> None:
        for alarm in alarms(PROD).values():
            queries = alarm.get("Metrics", [])
            periods = {query["MetricStat"]["Period"] for query in queries if "MetricStat" in query} or {alarm.get("Period", 60)}
            assert len([query for query in queries if "MetricStat" in query]) <= 10
            assert len(periods) == 1
            assert len([query for query in queries if query["ReturnData"]]) <= 1
            assert "SEARCH" not in json.dumps(queries)
            assert periods.pop() * alarm.get("EvaluationPeriods", 1) <= 86_400

    def test_a_message_that_waits_past_its_deadline_is_an_alarm(self) -> None:
        alarm = announced(PROD)[texts.STALE_QUEUE.title]
        assert only_metric(alarm)["MetricName"] == "ApproximateAgeOfOldestMessage"
        assert "RequestsQueueName" in json.dumps(only_metric(alarm)["Dimensions"])
        assert alarm["Threshold"] == Timeouts().request

    def test_one_dead_letter_is_an_alarm(self) -> None:
        alarm = announced(PROD)[texts.DEAD_LETTERS.title]
        assert "DeadLettersQueueName" in json.dumps(only_metric(alarm)["Dimensions"])
        assert (alarm["Threshold"], alarm["ComparisonOperator"]) == (0, "GreaterThanThreshold")

    def test_silence_is_an_alarm_where_it_means_that_nobody_is_served_and_nowhere_else(self) -> None:
        for name, alarm in alarms(PROD).items():
            if "AlarmRule" not in alarm:
                silence = name == texts.NO_TRAFFIC.title
                assert alarm["TreatMissingData"] == ("breaching" if silence else "notBreaching"), name
        alarm = announced(PROD)[texts.NO_TRAFFIC.title]
        assert only_metric(alarm)["MetricName"] == "RequestCount"
        assert (alarm["Threshold"], alarm["ComparisonOperator"]) == (1, "LessThanThreshold")

    def test_alarms_are_mailed_where_an_address_is_given(self) -> None:
        subscriptions = resources(Environment(alarm_email="on-call@example.org"), "AWS::SNS::Subscription")
        assert only(subscriptions)["Endpoint"] == "on-call@example.org"
        assert resources(Environment(), "AWS::SNS::Subscription") == {}


class TestBudget:
    """Each alarm on the error budget is two parts, of which both must ring; both are computed here as CloudWatch would."""

    @pytest.mark.parametrize(("text", "burn"), BURNS)
    def test_it_rings_when_the_budget_burns_over_the_long_window_and_still_over_the_short_one(
        self, text: AlarmText, burn: dict[str, float]
    ) -> None:
        parts = parts_of(text)
        minutes = [metric_statistics(part)[0]["Period"] / 60 for part in parts.values()]
        rule = announced(PROD)[text.title]["AlarmRule"]["Fn::Join"][1]

        assert minutes == [burn["long_minutes"], burn["short_minutes"]]
        for part in parts.values():
            assert part["Threshold"] == pytest.approx(burn["rate"] * (100 - PROMISE["target_percent"]))
            assert (part["ComparisonOperator"], part["EvaluationPeriods"]) == ("GreaterThanThreshold", 1)
        assert [word for word in rule if isinstance(word, str)] == ['(ALARM("', '") AND ALARM("', '"))']
        assert [word["Fn::GetAtt"][0] for word in rule if not isinstance(word, str)] == list(parts)

    @pytest.mark.parametrize("text", [texts.BUDGET_BURNS_FAST, texts.BUDGET_BURNS])
    def test_failures_and_slow_answers_ring_and_healthy_traffic_does_not(self, text: AlarmText) -> None:
        budget = 100 - PROMISE["target_percent"]
        too_many = 2 * PROMISE["burn"][0]["rate"] * budget  # percent of all requests
        healthy: Properties = {"RequestCount": 10_000, "200": (10_000, budget / 2)}  # how many, and percent of them slow
        assert not rings(text, healthy)
        assert rings(text, healthy | {"HTTPCode_Target_5XX_Count": 100 * too_many})
        assert rings(text, healthy | {"HTTPCode_ELB_5XX_Count": 100 * too_many})
        assert rings(text, healthy | {"200": (10_000, too_many)})
        assert rings(text, healthy | {"400": (100 * too_many, 100.0)})
        assert rings(text, {"HTTPCode_ELB_5XX_Count": 50})  # nobody is left who could answer

    @pytest.mark.parametrize("text", [texts.BUDGET_BURNS_FAST, texts.BUDGET_BURNS])
    def test_one_failure_among_three_requests_wakes_nobody(self, text: AlarmText) -> None:
        assert not rings(text, {"RequestCount": 3, "200": (2, 0.0), "HTTPCode_Target_5XX_Count": 1})
        assert not rings(text, {})

    def test_a_failure_that_was_slow_too_counts_once(self) -> None:
        """A 504 takes ten seconds. Its duration carries its status, and no status of a failure is among the slow ones."""
        for part in parts_of(texts.BUDGET_BURNS_FAST).values():
            statuses = {
                tags["status"] for query in metric_statistics(part) if (tags := dimensions(query["Metric"])).get("status")
            }
            assert statuses
            assert not [status for status in statuses if status.startswith("5")]

    def test_slow_is_what_the_objective_says(self) -> None:
        text = json.dumps([parts_of(texts.BUDGET_BURNS_FAST), dashboard(PROD)])
        assert set(re.findall(r"PR\([^)]*\)", text)) == {f"PR({1000 * PROMISE['slow_after_seconds']:g}:)"}

    def test_slow_answers_ring_at_a_p99_of_many(self) -> None:
        alarm = announced(PROD)[texts.SLOW_ANSWERS.title]
        slow = 1000 * PROMISE["slow_after_seconds"]
        assert alarm["Threshold"] == slow
        assert metric_statistics(alarm)[0]["Period"] == 300

        def p99(answers: float, value: float) -> float:
            return computed(alarm, lambda query: answers if query["Stat"] == "SampleCount" else value)

        assert p99(1000, slow + 1) > slow
        assert p99(20, slow + 1) < slow  # the slowest of twenty is no hundredth


def parts_of(text: AlarmText) -> dict[str, Properties]:
    found = resources(PROD, "AWS::CloudWatch::Alarm", "observability")
    return {
        key: alarm["Properties"]
        for key, alarm in found.items()
        if f": {text.title} (part: " in alarm["Properties"]["AlarmName"]
    }


def only_metric(alarm: Properties) -> Properties:
    metric: Properties = metric_statistics(alarm)[0]["Metric"]
    return metric


def metric_statistics(alarm: Properties) -> list[Properties]:
    return [query["MetricStat"] for query in alarm["Metrics"] if "MetricStat" in query]


def dimensions(metric: Properties) -> dict[str, Any]:
    return {dimension["Name"]: dimension["Value"] for dimension in metric.get("Dimensions", [])}


def rings(text: AlarmText, traffic: Properties) -> bool:
    """Whether both parts are above their thresholds, with the same traffic in both windows."""

    def value(query: Properties) -> float:
        status = dimensions(query["Metric"]).get("status")
        if not status:
            return float(traffic.get(query["Metric"]["MetricName"], math.nan))
        count, slow_percent = traffic.get(status, (math.nan, math.nan))
        return float(count if query["Stat"] == "SampleCount" else slow_percent)

    return all(computed(part, value) > part["Threshold"] for part in parts_of(text).values())


def computed(alarm: Properties, value: Callable[[Properties], float]) -> float:
    """The value that the alarm watches, at one point in time; nan is a missing value."""
    queries = {query["Id"]: query for query in alarm["Metrics"]}

    def of(name: str) -> float:
        query = queries[name]
        if "MetricStat" in query:
            return value(query["MetricStat"])
        names = {word for word in re.findall(r"[a-z]\w*", query["Expression"]) if word in queries}
        result = eval(  # noqa: S307 - an expression of ours, which is one of Python's too
            re.sub(r"IF\((.*), (.*), (.*)\)", r"((\2) if (\1) else (\3))", query["Expression"]),
            {"FILL": lambda number, filling: filling if math.isnan(number) else number, **{name: of(name) for name in names}},
        )
        return float(result)

    (watched_,) = [name for name, query in queries.items() if query["ReturnData"]]
    return of(watched_)


class TestMetrics:
    @each_deployment
    def test_every_metric_that_is_shown_or_watched_is_measured(self, environment: Environment) -> None:
        for namespace, name, keys in [*shown(environment), *watched(environment)]:
            if namespace == environment.prefix:
                assert name in CATALOGUE
                assert keys in ({*()}, {*CATALOGUE[name].tags}), f"{name} has no value for {set(keys)} alone"
            elif namespace == "asciist":
                assert name in OF_THE_AGENT
                assert keys == {"Group"}
            else:
                assert namespace in OF_AWS, f"nobody measures {namespace}"

    @each_deployment
    def test_every_metric_of_the_catalogue_is_shown(self, environment: Environment) -> None:
        names = {name for namespace, name, _ in shown(environment) if namespace == environment.prefix}
        assert names == CATALOGUE.keys()

    def test_every_metric_that_is_watched_is_shown(self) -> None:
        assert {used[:2] for used in watched(PROD)} <= {used[:2] for used in shown(PROD)}

    def test_every_metric_with_a_tag_is_shown_by_it(self) -> None:
        by_tag = {name for _, name, keys in shown(PROD) if keys and name in CATALOGUE}
        assert by_tag == {name for name, metric in CATALOGUE.items() if metric.tags}

    def test_the_groups_that_are_shown_are_those_that_the_agents_report(self) -> None:
        for environment in COMBINATIONS:
            scripts = json.dumps(resources(environment, "AWS::EC2::LaunchTemplate"))
            reported = set(re.findall(rf"{environment.prefix}-(?:web|poller)(?=[ \\\"])", scripts))
            body = json.dumps(dashboard(environment))
            assert set(re.findall(r'"Group", "([^"]*)"', body)) == reported


class TestDashboard:
    @each_deployment
    def test_its_sections_ask_what_someone_who_was_asleep_asks(self, environment: Environment) -> None:
        texts_ = [widget["properties"]["markdown"] for widget in dashboard(environment)["widgets"] if widget["type"] == "text"]
        questions = [text.splitlines()[0].removeprefix("## ") for text in texts_[1:]]

        assert questions[0] == "Are users served?"
        assert all(question.endswith("?") for question in questions)

    @each_deployment
    def test_it_says_who_rings_and_where_the_runbook_is(self, environment: Environment) -> None:
        first, second, *_ = dashboard(environment)["widgets"]
        for text in expected(environment):
            assert f"{environment.runbook}#{text.anchor}" in first["properties"]["markdown"]
        assert len(second["properties"]["alarms"]) == len(expected(environment))

    def test_an_address_of_the_runbook_can_be_clicked(self) -> None:
        markdown = dashboard(PROD)["widgets"][0]["properties"]["markdown"]
        assert "- [Answers are slow](https://docs.example/runbook.md#answers-are-slow)" in markdown

    @pytest.mark.parametrize("statistic", ["Average", "p50", "p90", "p95", "p99"])
    def test_durations_of_requests_are_shown_over_all_and_by_status(self, statistic: str) -> None:
        rows = [row for widget in dashboard(PROD)["widgets"] for row in widget["properties"].get("metrics", [])]
        search = f"""SEARCH('{{"asciist-prod",status}} MetricName="{metrics.REQUEST_DURATION}"', '{statistic}')"""

        assert statistic in [
            row[-1].get("stat", "Average") for row in rows if row[:-1] == ["asciist-prod", metrics.REQUEST_DURATION]
        ]
        assert search in [row[0]["expression"] for row in rows if isinstance(row[0], dict)]

    def test_nothing_overlaps(self) -> None:
        cells = [
            (x, y)
            for widget in dashboard(PROD)["widgets"]
            for x in range(widget["x"], widget["x"] + widget["width"])
            for y in range(widget["y"], widget["y"] + widget["height"])
        ]
        assert len(cells) == len(set(cells))
        assert max(x for x, _ in cells) < 24
