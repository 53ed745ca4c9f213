"""The CloudWatch alarms fire exactly when they should, and the dashboard shows every metric."""

import json
import math
import re
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from asciist.telemetry import metrics
from asciist.telemetry.metrics import CATALOGUE
from operations.observability.alarms import (
    ALARMS,
    BUDGET_BURNS,
    BUDGET_BURNS_FAST,
    DEAD_LETTERS,
    NO_REQUESTS,
    SLOW_ANSWERS,
    STALE_QUEUE,
    Alarm,
    Urgency,
)
from stacks.environment import Environment
from tests.stacks.synthesis import choose, resources
from tests.stacks.test_model import calculated, cloudwatch_alarms, cloudwatch_dashboard
from tests.stacks.test_templates import COMBINATIONS, each_deployment

PROD = choose(environment="prod", runbook="https://docs.example/runbook.md")
AWS_NAMESPACES = ("AWS/ApplicationELB", "AWS/AutoScaling", "AWS/Lambda", "AWS/SQS")
AGENT_METRICS = {"mem_used_percent", "disk_used_percent"}
OBJECTIVE = tomllib.loads(
    (Path(__file__).parents[2] / "operations/observability/slo.toml").read_text()
)
BURNS = list(zip((BUDGET_BURNS_FAST, BUDGET_BURNS), OBJECTIVE["burn"], strict=True))

Properties = dict[str, Any]
Used = tuple[str, str, frozenset[str]]  # namespace, name, keys of the dimensions


def alarms(environment: Environment) -> dict[str, Properties]:
    """All alarms, parts included, by name without the deployment's prefix."""
    found = cloudwatch_alarms(environment).values()
    return {alarm["AlarmName"].removeprefix(f"{environment.prefix}: "): alarm for alarm in found}


def shown(environment: Environment) -> Iterator[Used]:
    """The metrics of all panels, including those of search expressions."""
    for widget in cloudwatch_dashboard(environment):
        for row in widget["properties"].get("metrics", []):
            if isinstance(row[0], str):
                namespace, name, *dimensions = [cell for cell in row if isinstance(cell, str)]
                yield namespace, name, frozenset(dimensions[::2])
            elif search := re.fullmatch(
                r"""SEARCH\('\{"(.*)",(.*)\} MetricName="(.*)"', '.*'\)""", row[0]["expression"]
            ):
                namespace, dimensions_, name = search.groups()
                yield namespace, name, frozenset(dimensions_.split(","))
            else:
                assert "SEARCH" not in row[0]["expression"]


def watched(environment: Environment) -> Iterator[Used]:
    """The metrics of all alarms."""
    for alarm in alarms(environment).values():
        statistics = [
            query["MetricStat"]["Metric"]
            for query in alarm.get("Metrics", [])
            if "MetricStat" in query
        ]
        for metric in [*statistics, alarm]:
            if "MetricName" in metric:
                keys = frozenset(dimension["Name"] for dimension in metric.get("Dimensions", []))
                yield metric["Namespace"], metric["MetricName"], keys


class TestAlarms:
    @each_deployment
    def test_every_alarm_notifies_the_topic_when_it_fires_and_when_it_ends(
        self, environment: Environment
    ) -> None:
        topics = {
            topic["Properties"]["DisplayName"].rpartition(" ")[2]: name
            for name, topic in resources(environment, "AWS::SNS::Topic", "observability").items()
        }
        told = {
            alarm.title: topics[{Urgency.PAGE: "alarms", Urgency.TICKET: "tickets"}[alarm.urgency]]
            for alarm in ALARMS
        }
        for name, alarm in alarms(environment).items():
            notified = None if "(part: " in name else [{"Ref": told[name]}]
            assert (alarm.get("AlarmActions"), alarm.get("OKActions")) == (notified, notified), name
            assert not alarm.get("InsufficientDataActions")
            assert alarm.get("ActionsEnabled", True) is True

    def test_no_alarm_exceeds_the_limits_of_cloudwatch(self) -> None:
        for alarm in alarms(PROD).values():
            queries = alarm.get("Metrics", [])
            periods = {
                query["MetricStat"]["Period"] for query in queries if "MetricStat" in query
            } or {alarm.get("Period", 60)}
            assert len([query for query in queries if "MetricStat" in query]) <= 10
            assert len(periods) == 1
            assert len([query for query in queries if query["ReturnData"]]) <= 1
            assert "SEARCH" not in json.dumps(queries)
            assert periods.pop() * alarm.get("EvaluationPeriods", 1) <= 86_400

    @pytest.mark.parametrize(
        ("alarm", "queue"),
        [(STALE_QUEUE, "RequestsQueueName"), (DEAD_LETTERS, "DeadLettersQueueName")],
    )
    def test_an_alarm_on_messages_watches_its_queue(self, alarm: Alarm, queue: str) -> None:
        assert queue in json.dumps(only_metric(alarms(PROD)[alarm.title])["Dimensions"])

    def test_missing_requests_are_those_that_the_web_tier_would_measure(self) -> None:
        metric = only_metric(alarms(PROD)[NO_REQUESTS.title])
        assert (metric["Namespace"], metric["MetricName"]) == ("asciist-prod", metrics.REQUESTS)

    def test_alarms_are_mailed_where_an_address_is_given(self) -> None:
        def mailed(**values: str) -> dict[str, str]:
            """The addresses by topic, without the digits added by the CDK."""
            return {
                subscription["Properties"]["TopicArn"]["Ref"][:-8]: subscription["Properties"][
                    "Endpoint"
                ]
                for subscription in resources(choose(**values), "AWS::SNS::Subscription").values()
            }

        on_call, office = "on-call@example.org", "office@example.org"
        assert mailed() == {}
        assert mailed(alarm_email=on_call) == {"Alarms": on_call, "Tickets": on_call}
        assert mailed(alarm_email=on_call, ticket_email=office) == {
            "Alarms": on_call,
            "Tickets": office,
        }


class TestBudget:
    """An alarm on the error budget fires while both of its parts do. The tests compute the parts
    like CloudWatch."""

    @pytest.mark.parametrize(("alarm", "burn"), BURNS)
    def test_it_fires_at_the_burn_rate_of_the_objective_over_both_windows(
        self, alarm: Alarm, burn: dict[str, float]
    ) -> None:
        parts = parts_of(alarm)
        periods = [metric_statistics(part)[0]["Period"] / 60 for part in parts.values()]
        rule = alarms(PROD)[alarm.title]["AlarmRule"]["Fn::Join"][1]

        assert periods == [burn["long_minutes"], burn["short_minutes"]]
        for part in parts.values():
            assert part["Threshold"] == pytest.approx(
                burn["rate"] * (100 - OBJECTIVE["target_percent"])
            )
            assert (part["ComparisonOperator"], part["EvaluationPeriods"]) == (
                "GreaterThanThreshold",
                1,
            )
        assert [word for word in rule if isinstance(word, str)] == [
            '(ALARM("',
            '") AND ALARM("',
            '"))',
        ]
        assert [word["Fn::GetAtt"][0] for word in rule if not isinstance(word, str)] == list(parts)

    @pytest.mark.parametrize("alarm", [BUDGET_BURNS_FAST, BUDGET_BURNS])
    def test_it_fires_on_failures_and_slow_answers_and_not_on_healthy_traffic(
        self, alarm: Alarm
    ) -> None:
        budget = 100 - OBJECTIVE["target_percent"]
        too_many = 2 * OBJECTIVE["burn"][0]["rate"] * budget  # percent of all requests
        # count, and percent of slow answers
        healthy: Properties = {"RequestCount": 10_000, "200": (10_000, budget / 2)}
        assert not fires(alarm, healthy)
        assert fires(alarm, healthy | {"HTTPCode_Target_5XX_Count": 100 * too_many})
        assert fires(alarm, healthy | {"HTTPCode_ELB_5XX_Count": 100 * too_many})
        assert fires(alarm, healthy | {"200": (10_000, too_many)})
        assert fires(alarm, healthy | {"400": (100 * too_many, 100.0)})
        assert fires(alarm, {"HTTPCode_ELB_5XX_Count": 50})  # no instance answers

    @pytest.mark.parametrize("alarm", [BUDGET_BURNS_FAST, BUDGET_BURNS])
    def test_one_failure_among_three_requests_does_not_fire(self, alarm: Alarm) -> None:
        assert not fires(
            alarm, {"RequestCount": 3, "200": (2, 0.0), "HTTPCode_Target_5XX_Count": 1}
        )

    @pytest.mark.parametrize("alarm", [BUDGET_BURNS_FAST, BUDGET_BURNS])
    def test_without_requests_both_parts_have_no_value(self, alarm: Alarm) -> None:
        for part in parts_of(alarm).values():
            assert math.isnan(computed(part, lambda _query: math.nan))

    def test_a_slow_failure_counts_once(self) -> None:
        """A 504 is slow too, but counts only as failed: slow answers count only for statuses other
        than 5xx."""
        for part in parts_of(BUDGET_BURNS_FAST).values():
            statuses = {
                tags["status"]
                for query in metric_statistics(part)
                if (tags := dimensions(query["Metric"])).get("status")
            }
            assert statuses
            assert not [status for status in statuses if status.startswith("5")]

    def test_slow_is_defined_by_the_objective(self) -> None:
        text = json.dumps([parts_of(BUDGET_BURNS_FAST), cloudwatch_dashboard(PROD)])
        assert set(re.findall(r"PR\([^)]*\)", text)) == {
            f"PR({1000 * OBJECTIVE['slow_after_seconds']:g}:)"
        }

    def test_slow_answers_fire_only_with_enough_of_them(self) -> None:
        alarm = alarms(PROD)[SLOW_ANSWERS.title]
        slow = 1000 * OBJECTIVE["slow_after_seconds"]
        assert alarm["Threshold"] == slow
        assert metric_statistics(alarm)[0]["Period"] == 300

        def p99(answers: float, value: float) -> float:
            return computed(
                alarm, lambda query: answers if query["Stat"] == "SampleCount" else value
            )

        assert p99(1000, slow + 1) > slow
        assert p99(20, slow + 1) < slow  # the 99th percentile of twenty answers is the slowest one
        assert math.isnan(p99(math.nan, math.nan))


def parts_of(alarm: Alarm) -> dict[str, Properties]:
    """The parts of an alarm by logical id."""
    found = resources(PROD, "AWS::CloudWatch::Alarm", "observability")
    return {
        key: resource["Properties"]
        for key, resource in found.items()
        if f": {alarm.title} (part: " in resource["Properties"]["AlarmName"]
    }


def only_metric(alarm: Properties) -> Properties:
    (statistic,) = metric_statistics(alarm)
    metric: Properties = statistic["Metric"]
    return metric


def metric_statistics(alarm: Properties) -> list[Properties]:
    return [query["MetricStat"] for query in alarm["Metrics"] if "MetricStat" in query]


def dimensions(metric: Properties) -> dict[str, Any]:
    return {dimension["Name"]: dimension["Value"] for dimension in metric.get("Dimensions", [])}


def fires(alarm: Alarm, traffic: Properties) -> bool:
    """Return True if both parts are above their thresholds, with the same traffic in both windows.

    `traffic` contains the value of each AWS metric by name, and (number of answers, percent of slow
    ones) by status.
    """

    def value(query: Properties) -> float:
        status = dimensions(query["Metric"]).get("status")
        if not status:
            return float(traffic.get(query["Metric"]["MetricName"], math.nan))
        count, slow_percent = traffic.get(status, (math.nan, math.nan))
        return float(count if query["Stat"] == "SampleCount" else slow_percent)

    return all(computed(part, value) > part["Threshold"] for part in parts_of(alarm).values())


def computed(alarm: Properties, value: Callable[[Properties], float]) -> float:
    """The value compared with an alarm's threshold, at one point in time; nan is a missing
    value."""
    queries = {query["Id"]: query for query in alarm["Metrics"]}

    def of(name: str) -> float:
        query = queries[name]
        if "MetricStat" in query:
            return value(query["MetricStat"])
        names = {word for word in re.findall(r"[a-z]\w*", query["Expression"]) if word in queries}
        return calculated(query["Expression"], {name: of(name) for name in names})

    (returned,) = [name for name, query in queries.items() if query["ReturnData"]]
    return of(returned)


class TestMetrics:
    @each_deployment
    def test_every_metric_that_is_shown_or_watched_exists(self, environment: Environment) -> None:
        for namespace, name, keys in [*shown(environment), *watched(environment)]:
            if namespace == environment.prefix:
                assert name in CATALOGUE
                assert keys in (
                    {*()},
                    {*CATALOGUE[name].tags},
                ), f"{name} has no value for {set(keys)} alone"
            elif namespace == "asciist":
                assert name in AGENT_METRICS
                assert keys == {"Group"}
            else:
                assert namespace in AWS_NAMESPACES, f"unknown namespace {namespace}"

    @each_deployment
    def test_every_metric_of_the_catalogue_is_shown(self, environment: Environment) -> None:
        names = {
            name for namespace, name, _ in shown(environment) if namespace == environment.prefix
        }
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
            body = json.dumps(cloudwatch_dashboard(environment))
            assert set(re.findall(r'"Group", "([^"]*)"', body)) == reported


class TestDashboard:
    @each_deployment
    def test_its_sections_are_questions(self, environment: Environment) -> None:
        texts = [
            w["properties"]["markdown"]
            for w in cloudwatch_dashboard(environment)
            if w["type"] == "text"
        ]
        questions = [text.splitlines()[0].removeprefix("## ") for text in texts[1:]]

        assert questions[0] == "Are users served?"
        assert all(question.endswith("?") for question in questions)

    @each_deployment
    def test_it_begins_with_a_link_to_the_runbook_for_each_alarm(
        self, environment: Environment
    ) -> None:
        _, _, text, *_ = cloudwatch_dashboard(environment)
        for alarm in ALARMS:
            applies = alarm.applies_to(
                worker=environment.worker, has_domain=bool(environment.domain)
            )
            assert (
                f"{environment.runbook}#{alarm.anchor}`" in text["properties"]["markdown"]
            ) is applies

    def test_a_url_of_the_runbook_is_a_link(self) -> None:
        markdown = cloudwatch_dashboard(PROD)[2]["properties"]["markdown"]
        assert "- [Answers are slow](https://docs.example/runbook.md#answers-are-slow)" in markdown

    @pytest.mark.parametrize("statistic", ["Average", "p50", "p90", "p95", "p99"])
    def test_durations_of_requests_are_shown_overall_and_by_status(self, statistic: str) -> None:
        rows = [
            row
            for widget in cloudwatch_dashboard(PROD)
            for row in widget["properties"].get("metrics", [])
        ]
        found = f'{{"asciist-prod",status}} MetricName="{metrics.REQUEST_DURATION}"'
        search = f"SEARCH('{found}', '{statistic}')"

        assert statistic in [
            row[-1].get("stat", "Average")
            for row in rows
            if row[:-1] == ["asciist-prod", metrics.REQUEST_DURATION]
        ]
        assert search in [row[0]["expression"] for row in rows if isinstance(row[0], dict)]

    def test_no_widgets_overlap(self) -> None:
        cells = [
            (x, y)
            for widget in cloudwatch_dashboard(PROD)
            for x in range(widget["x"], widget["x"] + widget["width"])
            for y in range(widget["y"], widget["y"] + widget["height"])
        ]
        assert len(cells) == len(set(cells))
        assert max(x for x, _ in cells) < 24
