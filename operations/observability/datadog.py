"""Renders alarms, panels, objective and metric settings as request bodies for Datadog's API.

The query language is https://docs.datadoghq.com/metrics/#querying-metrics, limited to the subset
parsed by `queries`, because the local dashboard evaluates the same queries.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from asciist.telemetry import metrics
from asciist.telemetry.metrics import CATALOGUE
from operations.observability.alarms import ALARMS, Alarm, Limit, Silence, Urgency, Window
from operations.observability.objective import OBJECTIVE, Burn
from operations.observability.panels import SECTIONS, Line, Panel, Section
from operations.observability.signals import (
    Aws,
    Formula,
    Measured,
    ObjectiveCount,
    Resource,
    Signal,
    Statistic,
)

Definition = dict[str, Any]
"""Body of an API request."""

COMMON_TAGS: Final = ("env", "service", "version")
"""Tags allowed on every value of the service, besides its tags in the catalogue."""

SLO_ID: Final = "SLO_ID"
"""Placeholder for Datadog's id of the objective."""

_RESOURCES: Final[Mapping[Resource, tuple[str, str]]] = {
    # In lower case, because Datadog stores tags in lower case. CloudFormation generates the names
    # of the queues.
    "request_queue": ("queuename", "queuename:*-requests-*"),
    "dead_letter_queue": ("queuename", "queuename:*-deadletters-*"),
    "converter": ("functionname", "functionname:*-converter"),
    "probe": ("functionname", "functionname:*-probe"),
    "web_instances": ("autoscalinggroupname", "autoscalinggroupname:*-web"),
    "pollers": ("autoscalinggroupname", "autoscalinggroupname:*-poller"),
    "web_targets": ("targetgroup", ""),
    "load_balancer": ("loadbalancer", ""),
}
"""Tag that names a resource, and the filter that selects it; empty if a deployment has only one of
its kind."""

_AWS_NAMES: Final = {
    "ApproximateNumberOfMessagesVisible": "aws.sqs.approximate_number_of_messages_visible",
    "ApproximateNumberOfMessagesNotVisible": "aws.sqs.approximate_number_of_messages_not_visible",
    "ApproximateAgeOfOldestMessage": "aws.sqs.approximate_age_of_oldest_message",
    "RequestCount": "aws.applicationelb.request_count",
    "HTTPCode_Target_5XX_Count": "aws.applicationelb.httpcode_target_5xx",
    "HTTPCode_ELB_5XX_Count": "aws.applicationelb.httpcode_elb_5xx",
    "HealthyHostCount": "aws.applicationelb.healthy_host_count",
    "UnHealthyHostCount": "aws.applicationelb.un_healthy_host_count",
    "Throttles": "aws.lambda.throttles",
    "Errors": "aws.lambda.errors",
    "ConcurrentExecutions": "aws.lambda.concurrent_executions",
    "GroupDesiredCapacity": "aws.autoscaling.group_desired_capacity",
}
"""Datadog's name of each CloudWatch metric."""
_NAMING_TAGS: Final = {
    "sqs": ("queuename",),
    "applicationelb": ("loadbalancer", "targetgroup"),
    "lambda": ("functionname",),
    "autoscaling": ("autoscalinggroupname",),
}
INTEGRATION_METRICS: Final[Mapping[str, tuple[str, ...]]] = {
    name: ("env", "service", *_NAMING_TAGS[name.split(".")[1]]) for name in _AWS_NAMES.values()
}
"""Metrics from Datadog's AWS integration, with the tags that queries may use. `env` and `service`
are tags of the resources."""

_INTEGRATION_DELAY_SECONDS: Final = 900
"""Evaluation delay that Datadog recommends for metrics from CloudWatch, in seconds. They arrive up
to 15 minutes late."""

_PRIORITIES: Final = {Urgency.PAGE: 1, Urgency.TICKET: 3}
"""Datadog's priorities, from 1 (critical) to 5 (info)."""

_AGGREGATORS: Final[Mapping[Statistic, str]] = {
    "average": "avg",
    "minimum": "min",
    "maximum": "max",
}
_SLOW_MS: Final = f"{OBJECTIVE.slow_after_ms:g}"
_SCOPE: Final = "$env"
"""Filter of the dashboard's queries: the template variable for the reader's choice of a
deployment."""


def dashboard(env: str = "*", *, worker: str = "", runbook: str = "docs/runbook.md") -> Definition:
    """The dashboard of the deployment `env`, or of all; the reader can select another deployment.

    `worker` is `lambda` or `asg`, or empty for the panels of both. `runbook` is the URL or path of
    the runbook.
    """
    return {
        "title": "asciist" if env == "*" else f"asciist {env}",
        "description": f"Read it from the top: users come first, machines last. Runbook: {runbook}",
        "layout_type": "ordered",
        "reflow_type": "auto",
        "tags": [],
        "template_variables": [
            {"name": "env", "prefix": "env", "available_values": [], "defaults": [env]}
        ],
        "widgets": [_group(section, worker) for section in SECTIONS],
    }


def monitors(
    *,
    env: str,
    worker: str,
    runbook: str,
    limits: Mapping[Limit, float],
    notify: str = "",
    has_domain: bool = True,
) -> dict[str, Definition]:
    """Return the monitors of a deployment by name: the title of an alarm, or the name of a silent
    part of one.

    A composite monitor refers to its parts by `reference(NAME)`, and comes after them. `notify` is
    a recipient in Datadog's syntax, such as `@pagerduty-asciist`.
    """
    made: dict[str, Definition] = {}
    for alarm in ALARMS:
        if alarm.vendor == "cloudwatch" or not alarm.applies_to(
            worker=worker, has_domain=has_domain
        ):
            continue
        priority = {"priority": _PRIORITIES[alarm.urgency]}
        text = f"{alarm.description(runbook)} {notify}".strip()
        conditions = dict(_conditions(alarm, env=env, limits=limits))
        if len(conditions) == 1:
            (condition,) = conditions.values()
            made[alarm.title] = _named(alarm.title, text, env) | priority | condition
            continue
        for part, condition in conditions.items():
            name = f"{alarm.title} (part: {part})"
            made[name] = (
                _named(name, f'Part of the alarm "{alarm.title}"; notifies nobody.', env)
                | condition
            )
        made[alarm.title] = (
            _named(alarm.title, text, env)
            | priority
            | {
                "type": "composite",
                "query": " && ".join(
                    reference(f"{alarm.title} (part: {part})") for part in conditions
                ),
                "options": {"include_tags": False},
            }
        )
    return made


def reference(name: str) -> str:
    """Placeholder for Datadog's id of the monitor `name`."""
    return f"<{name}>"


def slo(env: str) -> Definition:
    """The service-level objective on the share of good requests."""
    window = f"{OBJECTIVE.window_days}d"
    return {
        "name": f"asciist {env}: good requests",
        "description": (
            f"Requests answered without a 5xx within {OBJECTIVE.slow_after_seconds:g} seconds."
        ),
        "type": "metric",
        "query": {
            "numerator": _good(f"env:{env}"),
            "denominator": _durations(f"env:{env}"),
        },
        "thresholds": [{"timeframe": window, "target": OBJECTIVE.target_percent}],
        "timeframe": window,
        "target_threshold": OBJECTIVE.target_percent,
        "tags": ["service:asciist", f"env:{env}"],
    }


def metric_configurations() -> dict[str, Definition]:
    """Settings of distributions, by metric name. They enable percentiles and threshold queries, and
    list the tags to keep."""
    return {
        metric.name: {
            "data": {
                "type": "manage_tags",
                "id": metric.name,
                "attributes": {
                    "metric_type": "distribution",
                    "include_percentiles": True,
                    "tags": sorted((*metric.tags, *COMMON_TAGS)),
                },
            }
        }
        for metric in CATALOGUE.values()
        if metric.type == "distribution"
    }


# Queries


def _query(signal: Measured | Aws, scope: str, *, split: bool = False) -> str:
    """Query for a signal. `split` draws each resource of an AWS signal as a separate line."""
    if isinstance(signal, Aws):
        tag, selector = _RESOURCES[signal.resource]
        terms, by = (
            ",".join(filter(None, (scope, "service:asciist", selector))),
            tag if split else "",
        )
        metric = _AWS_NAMES[signal.metric]
    else:
        terms = f"{scope},{':'.join(signal.where)}" if signal.where else scope
        by, metric = signal.by, signal.metric
    aggregator = _AGGREGATORS.get(signal.statistic, signal.statistic)
    grouping = f" by {{{by}}}" if by else ""
    return f"{aggregator}:{metric}{{{terms}}}{grouping}" + (
        ".as_count()" if aggregator in ("sum", "count") else ""
    )


def _count(metric: str, terms: str, *, condition: str = "", by: str = "") -> str:
    """Query for the number of values of a distribution, optionally of values under a condition such
    as `>3000`."""
    aggregator = f"count(v: v{condition})" if condition else "count"
    grouping = f" by {{{by}}}" if by else ""
    return f"{aggregator}:{metric}{{{terms}}}{grouping}.as_count()"


def _durations(terms: str, *, condition: str = "") -> str:
    return _count(metrics.REQUEST_DURATION, terms, condition=condition)


def _good(scope: str) -> str:
    return _durations(f"{scope},!status:5*", condition=f"<={_SLOW_MS}")


def _counts(signal: Measured | ObjectiveCount, scope: str) -> dict[str, str]:
    """Queries with the signal as their sum, by the suffixes of their names."""
    match signal:
        case ObjectiveCount.TOTAL:
            return {"": _durations(scope)}
        case ObjectiveCount.GOOD:
            return {"": _good(scope)}
        case ObjectiveCount.BAD:
            return {
                "_slow": _durations(f"{scope},!status:5*", condition=f">{_SLOW_MS}"),
                "_failed": _durations(f"{scope},status:5*"),
            }
        case Measured():
            return {"": _query(signal, scope)}


def _expanded(name: str, signal: Signal) -> tuple[str, dict[str, str]]:
    """A formula for a signal of the dashboard, and the queries in it by name."""
    match signal:
        case ObjectiveCount():
            queries = {name + suffix: query for suffix, query in _counts(signal, _SCOPE).items()}
            text = (
                name
                if len(queries) == 1
                else f"({' + '.join(f'default_zero({query})' for query in queries)})"
            )
            return text, queries
        case Measured(statistic="percent_above"):
            return f"100 * default_zero({name}_above) / {name}_all", {
                f"{name}_above": _count(
                    signal.metric, _SCOPE, condition=f">{signal.above:g}", by=signal.by
                ),
                f"{name}_all": _count(signal.metric, _SCOPE, by=signal.by),
            }
    return name, {name: _query(signal, _SCOPE, split=True)}


def _rendered(formula: Formula, *, prefix: str = "") -> tuple[str, dict[str, str]]:
    """A formula in Datadog's language, and its queries by name; `prefix` distinguishes the names of
    several formulas."""
    texts = {"zero": "default_zero"}
    queries: dict[str, str] = {}
    for name, signal in formula.signals.items():
        texts[name], more = _expanded(f"{prefix}{name}", signal)
        queries |= more
    return re.sub(r"[a-z]\w*", lambda word: texts[word[0]], formula.text), queries


# Monitors


def _named(name: str, message: str, env: str) -> Definition:
    return {
        "name": f"{name} (asciist {env})",
        "message": message,
        "tags": ["service:asciist", f"env:{env}"],
    }


def _conditions(
    alarm: Alarm, *, env: str, limits: Mapping[Limit, float]
) -> Iterator[tuple[str, Definition]]:
    """The conditions, by name; all of them must hold."""
    scope = f"env:{env}"
    if alarm.burn:
        yield "burn rate", _burn_condition(alarm.burn)
    else:
        threshold = alarm.threshold_for(limits)
        yield (
            "threshold",
            _condition(
                alarm, f"{_over_time(alarm, scope)} {alarm.comparison} {threshold:g}", threshold
            ),
        )
    if alarm.minimum:
        # Counts are zero where they have no values: Datadog advises against default_zero with
        # as_count in monitors.
        count = " + ".join(_counts(alarm.minimum.of, scope).values())
        events = alarm.minimum.events
        yield (
            "minimum",
            _condition(alarm, f"sum({_last(alarm.windows[0])}):{count} >= {events}", events),
        )


def _burn_condition(burn: Burn) -> Definition:
    long, short = _duration(burn.long_minutes), _duration(burn.short_minutes)
    windows = f'.long_window("{long}").short_window("{short}")'
    return {
        "type": "slo alert",
        "query": f'burn_rate("{SLO_ID}").over("{OBJECTIVE.window_days}d"){windows} > {burn.rate:g}',
        "options": {"thresholds": {"critical": burn.rate}, "include_tags": False},
    }


def _condition(alarm: Alarm, query: str, threshold: float) -> Definition:
    fires_on_silence = alarm.silence is Silence.FIRES
    options: Definition = {
        "thresholds": {"critical": float(threshold)},
        "include_tags": False,
        "require_full_window": False,
        "notify_no_data": fires_on_silence,
    }
    if fires_on_silence:
        # the least that Datadog advises
        options["no_data_timeframe"] = 2 * alarm.windows[0].minutes
    if ":aws." in query:
        options["evaluation_delay"] = _INTEGRATION_DELAY_SECONDS
    return {"type": "query alert", "query": query, "options": options}


def _over_time(alarm: Alarm, scope: str) -> str:
    """The alarm's signal, aggregated over its only window. Raises ValueError for a rule that no
    query here expresses."""
    ((_, signal),), (window,) = alarm.signal.signals.items(), alarm.windows
    if isinstance(signal, ObjectiveCount):
        raise ValueError(f"{alarm.title}: Datadog watches the objective by burn rates only")
    query = _query(signal, scope)
    aggregator = _AGGREGATORS.get(signal.statistic, signal.statistic)
    if window.periods == 1:
        return (
            f"{'percentile' if aggregator.startswith('p') else aggregator}({_last(window)}):{query}"
        )
    if (
        alarm.comparison == "<"
        and aggregator == "sum"
        and alarm.threshold == 1
        and window.breaching == window.periods
    ):
        # no event in any of the periods: no event in all of them together
        return f"sum({_last(window)}):{query}"
    if alarm.comparison == "<" or window.breaching not in (1, window.periods):
        raise ValueError(f"{alarm.title}: Datadog cannot watch {window}")
    # Points of one period each. New monitors must not take the minimum or maximum of as_count().
    query = (
        f"{query.removesuffix('.as_count()')}.rollup({aggregator}, {60 * window.period_minutes})"
    )
    if aggregator == "sum":
        query = f"default_zero({query})"  # a period without values ends a run of bad ones
    return f"{'min' if window.breaching > 1 else 'max'}({_last(window)}):{query}"


def _last(window: Window) -> str:
    return f"last_{_duration(window.minutes)}"


def _duration(minutes: int) -> str:
    return f"{minutes}m" if minutes % 60 else f"{minutes // 60}h"


# Widgets


def _group(section: Section, worker: str) -> Definition:
    panels = [panel for panel in section.panels if panel.applies_to("datadog", worker=worker)]
    note = {"definition": {"type": "note", "content": section.hint}}
    widgets = [note, *(_widget(panel, worker) for panel in panels)]
    return {
        "definition": {
            "type": "group",
            "layout_type": "ordered",
            "title": section.question,
            "widgets": widgets,
        }
    }


def _widget(panel: Panel, worker: str) -> Definition:
    match panel.kind:
        case "chart":
            request = _chart_request(panel.lines_for(worker=worker))
            definition: Definition = {
                "type": "timeseries",
                "title": panel.title,
                "requests": [request],
            }
            if panel.marks:
                definition["markers"] = [
                    {"value": f"y = {value:g}", "display_type": "error dashed", "label": label}
                    for label, value in panel.marks.items()
                ]
            return {"definition": definition}
        case "value":
            return {"definition": _number(panel)}
        case "top":
            return {
                "definition": {
                    "type": "toplist",
                    "title": panel.title,
                    "requests": [_scalar_request(panel.lines[0])],
                }
            }


def _number(panel: Panel) -> Definition:
    """One number, red below `bad_below` and green from there on; without a value, it has no
    colour."""
    request = _scalar_request(panel.lines[0])
    if panel.bad_below is not None:
        request["conditional_formats"] = [
            {"comparator": "<", "value": panel.bad_below, "palette": "white_on_red"},
            {"comparator": ">=", "value": panel.bad_below, "palette": "white_on_green"},
        ]
    definition: Definition = {"type": "query_value", "title": panel.title, "requests": [request]}
    definition["precision"] = 2 if panel.unit else 0
    if panel.unit:
        definition |= {"autoscale": False, "custom_unit": panel.unit}
    return definition


def _chart_request(lines: Sequence[Line]) -> Definition:
    formulas: list[Definition] = []
    queries: dict[str, str] = {}
    for number, line in enumerate(lines):
        text, more = _rendered(line.formula, prefix=f"line{number}_" if len(lines) > 1 else "")
        formulas.append({"formula": text, "alias": line.label} if line.label else {"formula": text})
        queries |= more
    return {
        "response_format": "timeseries",
        "queries": [
            {"data_source": "metrics", "name": name, "query": query}
            for name, query in queries.items()
        ],
        "formulas": formulas,
        "display_type": "line",
    }


def _scalar_request(line: Line) -> Definition:
    text, queries = _rendered(line.formula)
    return {
        "response_format": "scalar",
        "queries": [
            {"data_source": "metrics", "name": name, "query": query, "aggregator": "sum"}
            for name, query in queries.items()
        ],
        "formulas": [{"formula": text}],
    }
