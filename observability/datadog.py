"""Datadog's dashboard, monitors, objective and metric settings, as the bodies that its API takes.

All of it follows from the catalogue (`asciist.metrics`), the objective (`slo.toml`) and the texts of `alarms`. What a query may
say is what `validation` reads and the local dashboard draws: https://docs.datadoghq.com/metrics/#querying-metrics.
"""

from collections.abc import Mapping
from typing import Any, Final

from asciist.telemetry import metrics
from asciist.telemetry.metrics import CATALOGUE
from observability import alarms
from observability.alarms import AlarmText
from observability.objective import Burn, objective

Definition = dict[str, Any]
"""The body of a call of Datadog's API."""

COMMON_TAGS: Final = ("env", "service", "version")
"""Tags that every value of ours carries, whatever the catalogue says of it."""

SLO_ID: Final = "SLO_ID"
"""Stands in the definitions for the id that the objective gets when it is created."""

QUEUE_DEPTH: Final = "aws.sqs.approximate_number_of_messages_visible"
OLDEST_MESSAGE: Final = "aws.sqs.approximate_age_of_oldest_message"
UNHEALTHY_HOSTS: Final = "aws.applicationelb.un_healthy_host_count"
FUNCTION_THROTTLES: Final = "aws.lambda.throttles"
FUNCTION_ERRORS: Final = "aws.lambda.errors"

_RESOURCE_TAGS: Final = ("env", "service")
NEIGHBOURS: Final[dict[str, tuple[str, ...]]] = {
    QUEUE_DEPTH: (*_RESOURCE_TAGS, "queuename"),
    OLDEST_MESSAGE: (*_RESOURCE_TAGS, "queuename"),
    UNHEALTHY_HOSTS: (*_RESOURCE_TAGS, "targetgroup"),
    FUNCTION_THROTTLES: (*_RESOURCE_TAGS, "functionname"),
    FUNCTION_ERRORS: (*_RESOURCE_TAGS, "functionname"),
}
"""Metrics of others, from Datadog's AWS integration, with their tags that are asked for; some are tags of the resources."""

# CloudFormation's names of the queues and of the converter, in lower case, as Datadog keeps tags.
_REQUEST_QUEUE: Final = "queuename:*-requests-*"
_DEAD_LETTERS: Final = "queuename:*-deadletters-*"
_CONVERTER: Final = "functionname:*-worker-converter*"

_CLOUDWATCH_DELAY_SECONDS: Final = 900
"""What Datadog advises for metrics that it has from CloudWatch: they come up to ten minutes late."""

_SLOW: Final = f"{1000 * objective().slow_after_seconds:g}"
_ALLOWED_PERCENT: Final = f"{100 - objective().target_percent:g}"
_STATISTICS: Final = {"average": "avg", "median": "p50", "p90": "p90", "p95": "p95", "p99": "p99"}


def dashboard(env: str = "*", *, runbook: str = "docs/runbook.md") -> Definition:
    """The dashboard of the deployment `env`; another can be chosen on it. `runbook` is the runbook's address."""
    return {
        "title": "asciist" if env == "*" else f"asciist {env}",
        "description": "From what users feel down to what it costs: start at the top.",
        "layout_type": "ordered",
        "reflow_type": "auto",
        "tags": [],
        "template_variables": [{"name": "env", "prefix": "env", "available_values": [], "defaults": [env]}],
        "widgets": [
            _users_are_served(runbook),
            _time_they_wait(),
            _what_they_send(),
            _what_it_costs(),
            _room(),
            _between_the_tiers(),
        ],
    }


def monitors(*, env: str, runbook: str, deadline_seconds: float, notify: str = "") -> dict[AlarmText, Definition]:
    """What wakes someone, by its text. `runbook` is the runbook's address, `notify` whom Datadog tells (`@pagerduty-asciist`),
    `deadline_seconds` how long a message is worth being read. Two are of a function, and of no use where instances poll.
    """
    fast, slow = objective().burns
    scope = f"env:{env}"
    aws = f"{scope},service:asciist"
    queries = {
        alarms.BUDGET_BURNS_FAST: _burn_rate(fast),
        alarms.BUDGET_BURNS: _burn_rate(slow),
        alarms.SLOW_ANSWERS: (f"percentile(last_15m):p99:{metrics.REQUEST_DURATION}{{{scope}}}", ">", float(_SLOW)),
        alarms.DEAD_LETTERS: (f"max(last_5m):max:{QUEUE_DEPTH}{{{aws},{_DEAD_LETTERS}}}", ">", 0.0),
        alarms.STALE_QUEUE: (f"min(last_5m):max:{OLDEST_MESSAGE}{{{aws},{_REQUEST_QUEUE}}}", ">", deadline_seconds),
        alarms.UNHEALTHY_HOSTS: (f"min(last_5m):max:{UNHEALTHY_HOSTS}{{{aws}}}", ">", 0.0),
        alarms.THROTTLES: (f"sum(last_5m):sum:{FUNCTION_THROTTLES}{{{aws},{_CONVERTER}}}.as_count()", ">", 0.0),
        alarms.CONVERTER_ERRORS: (f"sum(last_5m):sum:{FUNCTION_ERRORS}{{{aws},{_CONVERTER}}}.as_count()", ">", 0.0),
        alarms.NO_TRAFFIC: (f"sum(last_15m):sum:{metrics.REQUESTS}{{{scope}}}.as_count()", "<", 1.0),
    }
    return {text: _monitor(text, *query, env=env, runbook=runbook, notify=notify) for text, query in queries.items()}


def slo(env: str) -> Definition:
    """The objective: of all requests, those that are answered in time and without a fault of ours."""
    promise = objective()
    window = f"{promise.window_days}d"
    return {
        "name": f"asciist {env}: requests are answered well",
        "description": f"Answered without a 5xx, in {promise.slow_after_seconds:g} seconds.",
        "type": "metric",
        "query": {"numerator": _good(f"env:{env}"), "denominator": _all(f"env:{env}")},
        "thresholds": [{"timeframe": window, "target": promise.target_percent}],
        "timeframe": window,
        "target_threshold": promise.target_percent,
        "tags": ["service:asciist", f"env:{env}"],
    }


def metric_configurations() -> dict[str, Definition]:
    """The settings of each distribution, by its name: Datadog has percentiles and threshold queries where they are enabled, and
    keeps the tags that are listed."""
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


def _users_are_served(runbook: str) -> Definition:
    target = f"{objective().target_percent:g}"
    good = {"good": _good("$env"), "total": _all("$env")}
    return _group(
        "Are users served?",
        _note(
            f"A request is **good** when it is answered without a 5xx in {objective().slow_after_seconds:g} s. "
            f"We promise {target}% of them. Red here means that someone waits in vain. What to do: {runbook}"
        ),
        _value("Good requests, %", "100 * default_zero(good) / total", good, unit="%", bad_below=objective().target_percent),
        _value(
            "Error budget left, % (of the time shown)",
            f"100 - 100 * (100 * (total - default_zero(good)) / total) / {_ALLOWED_PERCENT}",
            good,
            unit="%",
            bad_below=0,
        ),
        _value("Requests", "requests", {"requests": _sum(metrics.REQUESTS)}),
        _lines("Good requests, % (the objective)", good, {"good": "100 * default_zero(good) / total"}),
        _by_tag("Requests by status", _sum(metrics.REQUESTS, by="status")),
        _lines(
            "Answers that are our fault, % of requests",
            {"faults": _sum(metrics.REQUESTS, "$env,status:5*"), "requests": _sum(metrics.REQUESTS)},
            {"5xx": "100 * default_zero(faults) / requests"},
        ),
    )


def _time_they_wait() -> Definition:
    duration = metrics.REQUEST_DURATION
    slower = f"count(v: v>{_SLOW}):{duration}{{$env}}"
    return _group(
        "How long do they wait?",
        _lines("Time to answer, ms", {name: _query(of, duration) for name, of in _STATISTICS.items()}),
        *(
            _by_tag(f"Time to answer by status, {name}, ms", _query(of, duration, by="status"))
            for name, of in _STATISTICS.items()
        ),
        _lines(
            f"Requests that take longer than {objective().slow_after_seconds:g} s, %",
            {"slower": f"{slower}.as_count()", "total": _count(duration)},
            {"slower": "100 * default_zero(slower) / total"},
        ),
        _by_tag(
            f"Requests that take longer than {objective().slow_after_seconds:g} s by status",
            f"{slower} by {{status}}.as_count()",
        ),
        _lines(
            "Time of uploads, ms (the client's part, not in the above)",
            {name: _query(of, metrics.UPLOAD_DURATION) for name, of in _STATISTICS.items()},
        ),
    )


def _what_they_send() -> Definition:
    return _group(
        "What do they send?",
        _top("Images by format", _count(metrics.IMAGE_BYTES, by="format")),
        _by_tag("Bytes in by format", _sum(metrics.IMAGE_BYTES, by="format")),
        _by_tag("Pixels in by format", _sum(metrics.IMAGE_PIXELS, by="format")),
        _by_tag("Size of an image by format, p95, bytes", _query("p95", metrics.IMAGE_BYTES, by="format")),
        _by_tag("Size of an image by format, p95, pixels", _query("p95", metrics.IMAGE_PIXELS, by="format")),
        _lines(
            "Time to decode a JSON body, ms",
            {name: _query(of, metrics.PAYLOAD_DECODE_DURATION) for name, of in _STATISTICS.items()},
        ),
    )


def _what_it_costs() -> Definition:
    decode, draw = metrics.IMAGE_DECODE_DURATION, metrics.CONVERSION_DURATION
    served = {"stored": _sum(metrics.ART_SERVED, "$env,source:store"), "served": _sum(metrics.ART_SERVED)}
    megapixels = "(pixels / 1000000)"
    return _group(
        "What does it cost?",
        _value("Art that was stored already, %", "100 * default_zero(stored) / served", served, unit="%"),
        _by_tag("Art by where it came from", _sum(metrics.ART_SERVED, by="source")),
        _lines(
            "Time for a megapixel, ms (decoding and conversion)",
            {"decoding": _sum(decode), "conversion": _sum(draw), "pixels": _sum(metrics.CONVERSION_PIXELS)},
            {"ms per megapixel": f"(decoding + conversion) / {megapixels}"},
        ),
        _lines(
            "Time to decode a megapixel by format, ms",
            {"decoding": _sum(decode, by="format"), "pixels": _sum(metrics.CONVERSION_PIXELS, by="format")},
            {"": f"decoding / {megapixels}"},
        ),
        _by_tag("Time to decode an image by format, average, ms", _query("avg", decode, by="format")),
        _by_tag("Time to decode an image by format, p95, ms", _query("p95", decode, by="format")),
        _by_tag("Time from pixels to art by style, average, ms", _query("avg", draw, by="style")),
        _by_tag("Time from pixels to art by style, p95, ms", _query("p95", draw, by="style")),
    )


def _room() -> Definition:
    return _group(
        "Is there room?",
        _lines("Requests in flight, the most of a process", {"held": _query("max", metrics.REQUESTS_IN_FLIGHT)}),
        _lines("Requests turned away", {"shed": _sum(metrics.REQUESTS_SHED)}, {"shed": "default_zero(shed)"}),
    )


def _between_the_tiers() -> Definition:
    lost = {
        "expired": _sum(metrics.MESSAGES_EXPIRED),
        "faulted": _sum(metrics.MESSAGES_FAULTED),
        "orphaned": _sum(metrics.REPLIES_ORPHANED),
    }
    return _group(
        "What happens between the tiers?",
        _lines("Wait for a reply, ms", {name: _query(of, metrics.REPLY_WAIT) for name, of in _STATISTICS.items()}),
        _lines(
            "Age of messages when a worker takes them, ms",
            {name: _query(of, metrics.MESSAGE_AGE) for name, of in _STATISTICS.items()},
        ),
        _lines(
            "Messages past their deadline, faults, replies for nobody", lost, {name: f"default_zero({name})" for name in lost}
        ),
        _by_tag("Messages that wait", _query("max", QUEUE_DEPTH, f"$env,service:asciist,{_REQUEST_QUEUE}", by="queuename")),
        _by_tag("Oldest message, s", _query("max", OLDEST_MESSAGE, f"$env,service:asciist,{_REQUEST_QUEUE}", by="queuename")),
        _by_tag("Dead letters", _query("max", QUEUE_DEPTH, f"$env,service:asciist,{_DEAD_LETTERS}", by="queuename")),
    )


# Queries


def _query(aggregator: str, metric: str, scope: str = "$env", *, by: str = "") -> str:
    return f"{aggregator}:{metric}{{{scope}}}" + (f" by {{{by}}}" if by else "")


def _sum(metric: str, scope: str = "$env", *, by: str = "") -> str:
    """The total of a count, or of all values of a distribution."""
    return _query("sum", metric, scope, by=by) + ".as_count()"


def _count(metric: str, scope: str = "$env", *, by: str = "") -> str:
    """How many values a distribution has."""
    return _query("count", metric, scope, by=by) + ".as_count()"


def _good(scope: str) -> str:
    """Requests that were answered in time and without a fault of ours."""
    return f"count(v: v<={_SLOW}):{metrics.REQUEST_DURATION}{{{scope},!status:5*}}.as_count()"


def _all(scope: str) -> str:
    return _count(metrics.REQUEST_DURATION, scope)


def _burn_rate(burn: Burn) -> tuple[str, str, float]:
    windows = f'.long_window("{_duration(burn.long_minutes)}").short_window("{_duration(burn.short_minutes)}")'
    return f'burn_rate("{SLO_ID}").over("{objective().window_days}d"){windows}', ">", burn.rate


def _duration(minutes: int) -> str:
    return f"{minutes}m" if minutes % 60 else f"{minutes // 60}h"


# Monitors


def _monitor(
    text: AlarmText, query: str, comparator: str, threshold: float, *, env: str, runbook: str, notify: str
) -> Definition:
    burns = query.startswith("burn_rate")
    monitor: Definition = {
        "name": f"{text.title} (asciist {env})",
        "type": "slo alert" if burns else "query alert",
        "query": f"{query} {comparator} {threshold:g}",
        "message": f"{text.description(runbook)} {notify}".strip(),
        "tags": ["service:asciist", f"env:{env}"],
        "options": {"thresholds": {"critical": threshold}, "include_tags": False},
    }
    if burns:
        return monitor
    # Silence is nothing to be woken for, since idle queues and functions are silent; but for the one that listens for it.
    monitor["options"] |= {"require_full_window": False, "notify_no_data": text is alarms.NO_TRAFFIC}
    if text is alarms.NO_TRAFFIC:
        monitor["options"]["no_data_timeframe"] = 30  # minutes: Datadog wants twice the window at least
    if ":aws." in query:
        monitor["options"]["evaluation_delay"] = _CLOUDWATCH_DELAY_SECONDS
    return monitor


# Widgets


def _group(title: str, *widgets: Definition) -> Definition:
    return {"definition": {"type": "group", "layout_type": "ordered", "title": title, "widgets": list(widgets)}}


def _note(text: str) -> Definition:
    return {"definition": {"type": "note", "content": text}}


def _by_tag(title: str, query: str) -> Definition:
    """A line for each value of the tag that the query is grouped by."""
    return _lines(title, {"value": query}, {"": "value"})


def _lines(title: str, queries: Mapping[str, str], formulas: Mapping[str, str] | None = None) -> Definition:
    """A line for each formula, under its name; without formulas, one for each query."""
    return {
        "definition": {
            "type": "timeseries",
            "title": title,
            "requests": [
                {
                    "response_format": "timeseries",
                    "queries": [{"data_source": "metrics", "name": name, "query": query} for name, query in queries.items()],
                    "formulas": [
                        {"formula": formula, "alias": name} if name else {"formula": formula}
                        for name, formula in (formulas or {name: name for name in queries}).items()
                    ],
                    "display_type": "line",
                }
            ],
        }
    }


def _value(
    title: str, formula: str, queries: Mapping[str, str], *, unit: str = "", bad_below: float | None = None
) -> Definition:
    """One number for the time shown; red below `bad_below`, and green otherwise."""
    request = _scalar(formula, queries)
    if bad_below is not None:
        request["conditional_formats"] = [
            {"comparator": "<", "value": bad_below, "palette": "white_on_red"},
            {"comparator": ">=", "value": bad_below, "palette": "white_on_green"},
        ]
    definition: Definition = {"type": "query_value", "title": title, "requests": [request], "precision": 2 if unit else 0}
    if unit:
        definition |= {"autoscale": False, "custom_unit": unit}
    return {"definition": definition}


def _top(title: str, query: str) -> Definition:
    return {"definition": {"type": "toplist", "title": title, "requests": [_scalar("value", {"value": query})]}}


def _scalar(formula: str, queries: Mapping[str, str]) -> Definition:
    return {
        "response_format": "scalar",
        "queries": [
            {"data_source": "metrics", "name": name, "query": query, "aggregator": "sum"} for name, query in queries.items()
        ],
        "formulas": [{"formula": formula}],
    }
