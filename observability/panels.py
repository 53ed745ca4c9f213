"""Every panel of the dashboards, once for all vendors.

`stacks/dashboard.py` renders `SECTIONS` for CloudWatch, `observability/datadog.py` for Datadog and for the local dashboard.
To add a panel, add it to its section.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from asciist.telemetry import metrics
from observability.objective import objective
from observability.signals import (
    BAD_PERCENT,
    GOOD,
    TOTAL,
    VENDORS,
    Aws,
    Formula,
    Measured,
    Resource,
    Signal,
    Statistic,
    Vendor,
    formula,
    plain,
)

_OBJECTIVE: Final = objective()
_SLOW_MS: Final = 1000 * _OBJECTIVE.slow_after_seconds


@dataclass(frozen=True, kw_only=True)
class Line:
    """One line of a chart, or the number of a value panel."""

    label: str
    """Its name in the legend; empty for a signal that is split by a tag, whose lines are named by the tag's values."""
    formula: Formula
    worker: Literal["", "lambda", "asg"] = ""
    """The worker it applies to; empty for both."""


@dataclass(frozen=True, kw_only=True)
class Panel:
    """One widget of a dashboard."""

    title: str
    lines: tuple[Line, ...]
    kind: Literal["chart", "value", "top"] = "chart"
    """`value` is one number over the time shown, `top` a list of the largest values by tag."""
    unit: str = ""
    """Unit that is written next to a number."""
    bad_below: float | None = None
    """A value below is red. No value has no colour, because nothing was measured."""
    marks: Mapping[str, float] = field(default_factory=dict)
    """Horizontal lines in the chart, by label."""
    span: Literal["", "15 minutes", "objective"] = ""
    """Fixed time to show, instead of the time that the reader chooses: the objective's window is `window_days`."""
    vendors: tuple[Vendor, ...] = VENDORS
    worker: Literal["", "lambda", "asg"] = ""
    """The worker it applies to; empty for both."""

    def applies_to(self, vendor: Vendor, *, worker: str) -> bool:
        """`worker` is empty for a dashboard of deployments of both kinds."""
        return vendor in self.vendors and (not worker or self.worker in ("", worker))

    def lines_for(self, *, worker: str) -> tuple[Line, ...]:
        return tuple(line for line in self.lines if not worker or line.worker in ("", worker))


@dataclass(frozen=True, kw_only=True)
class Section:
    """Panels that answer one question."""

    question: str
    hint: str
    panels: tuple[Panel, ...]


_STATISTICS: Final[dict[str, Statistic]] = {"average": "average", "median": "p50", "p90": "p90", "p95": "p95", "p99": "p99"}
"""Statistics of a duration, by label."""
_TIMES: Final[dict[str, Statistic]] = {"average": "average", "p95": "p95", "p99": "p99"}
"""Statistics of a duration that is split by a tag, by label."""
CLOUDWATCH_ONLY: Final[tuple[Vendor, ...]] = ("cloudwatch",)
DATADOG_ONLY: Final[tuple[Vendor, ...]] = ("datadog",)


def _measured(
    metric: str, statistic: Statistic, *, by: str = "", where: tuple[str, str] | None = None, above: float = 0
) -> Measured:
    return Measured(metric=metric, statistic=statistic, by=by, where=where, above=above)


def _line(label: str, signal: Signal) -> Line:
    return Line(label=label, formula=plain(signal))


def _aws(
    label: str, resource: Resource, metric: str, statistic: Statistic, *, worker: Literal["", "lambda", "asg"] = ""
) -> Line:
    return Line(label=label, formula=plain(Aws(resource=resource, metric=metric, statistic=statistic)), worker=worker)


def _by_tag(title: str, metric: str, statistic: Statistic) -> Panel:
    """A line for each value of the metric's tag."""
    (tag,) = metrics.CATALOGUE[metric].tags
    return Panel(title=title, lines=(_line("", _measured(metric, statistic, by=tag)),))


def _distribution(title: str, metric: str, marks: Mapping[str, float] | None = None) -> Panel:
    lines = tuple(_line(label, _measured(metric, statistic)) for label, statistic in _STATISTICS.items())
    return Panel(title=title, lines=lines, marks=marks or {})


_GOOD_PERCENT: Final = formula("100 * zero(good) / total", good=GOOD, total=TOTAL)
_BUDGET_LEFT_PERCENT: Final = formula(
    f"100 - 100 * (100 * (total - zero(good)) / total) / {_OBJECTIVE.budget_percent:g}", good=GOOD, total=TOTAL
)
_REQUESTS: Final = _measured(metrics.REQUESTS, "sum")

_USERS: Final = Section(
    question="Are users served?",
    hint=(
        f"A request is **good** if it is answered without a 5xx within {_OBJECTIVE.slow_after_seconds:g} s. "
        f"The objective is {_OBJECTIVE.target_percent:g}% good requests in {_OBJECTIVE.window_days} days; the rest is the "
        "error budget. A panel without a value means that nothing was measured, not that all is well."
    ),
    panels=(
        Panel(title="Requests", kind="value", lines=(_line("requests", _REQUESTS),)),
        Panel(
            title="Good requests, %",
            kind="value",
            lines=(Line(label="good requests, %", formula=_GOOD_PERCENT),),
            unit="%",
            bad_below=_OBJECTIVE.target_percent,
        ),
        Panel(
            title="Error budget left, % (of the time shown)",
            kind="value",
            lines=(Line(label="error budget left, %", formula=_BUDGET_LEFT_PERCENT),),
            unit="%",
            bad_below=0,
        ),
        Panel(
            title=f"Good requests, % over {_OBJECTIVE.window_days} days",
            kind="value",
            lines=(Line(label="good requests, %", formula=_GOOD_PERCENT),),
            unit="%",
            span="objective",
            vendors=CLOUDWATCH_ONLY,  # Datadog shows it with the objective itself
        ),
        Panel(
            title=f"Error budget left, % over {_OBJECTIVE.window_days} days",
            lines=(Line(label="error budget left, %", formula=_BUDGET_LEFT_PERCENT),),
            marks={"the objective is missed": 0},
            span="objective",
            vendors=CLOUDWATCH_ONLY,
        ),
        Panel(title="Good requests, % (the objective)", lines=(Line(label="good", formula=_GOOD_PERCENT),)),
        Panel(
            title="Bad requests, % (failed or slow)",
            lines=(Line(label="bad", formula=BAD_PERCENT),),
            marks={f"burn rate {burn.rate:g}": _OBJECTIVE.bad_percent(burn) for burn in _OBJECTIVE.burns},
        ),
        _by_tag("Requests by status", metrics.REQUESTS, "sum"),
        Panel(
            title="Requests at the load balancer",
            lines=(
                _aws("requests", "web_targets", "RequestCount", "sum"),
                _aws("5xx of instances", "web_targets", "HTTPCode_Target_5XX_Count", "sum"),
                _aws("5xx of the load balancer", "load_balancer", "HTTPCode_ELB_5XX_Count", "sum"),
            ),
        ),
        Panel(
            title="Server errors (5xx), % of requests",
            lines=(
                Line(
                    label="5xx",
                    formula=formula(
                        "100 * zero(failed) / requests",
                        failed=_measured(metrics.REQUESTS, "sum", where=("status", "5*")),
                        requests=_REQUESTS,
                    ),
                ),
            ),
            vendors=DATADOG_ONLY,  # CloudWatch matches no tag by its beginning
        ),
    ),
)

_WAITING: Final = Section(
    question="How long do they wait?",
    hint="Times begin when the request's head has arrived and leave out the wait for the client's upload.",
    panels=(
        _distribution("Time to answer, ms", metrics.REQUEST_DURATION, {"slow": _SLOW_MS}),
        *(
            _by_tag(f"Time to answer by status, {label}, ms", metrics.REQUEST_DURATION, statistic)
            for label, statistic in _STATISTICS.items()
        ),
        Panel(
            title=f"Requests that take longer than {_OBJECTIVE.slow_after_seconds:g} s, %",
            lines=(_line("slow", _measured(metrics.REQUEST_DURATION, "percent_above", above=_SLOW_MS)),),
        ),
        Panel(
            title=f"Requests that take longer than {_OBJECTIVE.slow_after_seconds:g} s by status, %",
            lines=(_line("", _measured(metrics.REQUEST_DURATION, "percent_above", above=_SLOW_MS, by="status")),),
            vendors=DATADOG_ONLY,
        ),
        _distribution("Upload time, ms (not part of the time to answer)", metrics.UPLOAD_DURATION),
    ),
)

_IMAGES: Final = Section(
    question="What do they send?",
    hint="More, larger or different images than usual often explain what the sections below show.",
    panels=(
        Panel(title="Images by format", kind="top", lines=(_line("", _measured(metrics.IMAGE_BYTES, "count", by="format")),)),
        _by_tag("Bytes in by format", metrics.IMAGE_BYTES, "sum"),
        _by_tag("Pixels in by format", metrics.IMAGE_PIXELS, "sum"),
        _by_tag("Size of an image by format, p95, bytes", metrics.IMAGE_BYTES, "p95"),
        _by_tag("Size of an image by format, p95, pixels", metrics.IMAGE_PIXELS, "p95"),
        Panel(
            title="Largest image, pixels",
            lines=(
                _line("largest", _measured(metrics.IMAGE_PIXELS, "maximum")),
                _line("median", _measured(metrics.IMAGE_PIXELS, "p50")),
            ),
        ),
        _distribution("Time to decode a JSON body, ms", metrics.PAYLOAD_DECODE_DURATION),
    ),
)


def _art_percent(source: str, label: str) -> Line:
    """Percent of the art that came from `source`."""
    part, served = _measured(metrics.ART_SERVED, "sum", where=("source", source)), _measured(metrics.ART_SERVED, "sum")
    return Line(label=label, formula=formula(f"100 * zero({source}) / served", **{source: part}, served=served))


_COST: Final = Section(
    question="What does a conversion cost?",
    hint="The time per megapixel is nearly constant. If it rises, CPU is short or an image was crafted to be slow.",
    panels=(
        Panel(title="Art that was stored already, %", kind="value", lines=(_art_percent("store", "stored, %"),), unit="%"),
        Panel(
            title="Art served without a conversion, %",
            lines=(_art_percent("store", "from the store"), _art_percent("shared", "shared with an identical request")),
        ),
        _by_tag("Art by source", metrics.ART_SERVED, "sum"),
        Panel(
            title="Time for a megapixel, ms (decoding and conversion)",
            lines=(
                Line(
                    label="ms per megapixel",
                    formula=formula(
                        "(decoding + conversion) / (pixels / 1000000)",
                        decoding=_measured(metrics.IMAGE_DECODE_DURATION, "sum"),
                        conversion=_measured(metrics.CONVERSION_DURATION, "sum"),
                        pixels=_measured(metrics.CONVERSION_PIXELS, "sum"),
                    ),
                ),
            ),
        ),
        Panel(
            title="Time to decode a megapixel by format, ms",
            lines=(
                Line(
                    label="",
                    formula=formula(
                        "decoding / (pixels / 1000000)",
                        decoding=_measured(metrics.IMAGE_DECODE_DURATION, "sum", by="format"),
                        pixels=_measured(metrics.CONVERSION_PIXELS, "sum", by="format"),
                    ),
                ),
            ),
            vendors=DATADOG_ONLY,  # CloudWatch does not divide searches line by line
        ),
        *(
            _by_tag(f"Time to decode an image by format, {label}, ms", metrics.IMAGE_DECODE_DURATION, statistic)
            for label, statistic in _TIMES.items()
        ),
        *(
            _by_tag(f"Time from pixels to art by style, {label}, ms", metrics.CONVERSION_DURATION, statistic)
            for label, statistic in _TIMES.items()
        ),
        _by_tag("Pixels converted by format", metrics.CONVERSION_PIXELS, "sum"),
    ),
)

_CAPACITY: Final = Section(
    question="Is there room?",
    hint="A web process without room for another request turns it away with a 503.",
    panels=(
        Panel(
            title="Requests in flight, per web process",
            lines=(
                _line("maximum", _measured(metrics.REQUESTS_IN_FLIGHT, "maximum")),
                _line("average", _measured(metrics.REQUESTS_IN_FLIGHT, "average")),
            ),
        ),
        Panel(title="Requests turned away (503)", lines=(_line("turned away", _measured(metrics.REQUESTS_SHED, "sum")),)),
    ),
)

_MESSAGES: Final = Section(
    question="Do messages get through?",
    hint="A request goes to a worker through the request queue, and its reply comes back. A user waits for each message here.",
    panels=(
        _distribution("Wait for a reply, ms", metrics.REPLY_WAIT),
        _distribution("Age of messages when a worker takes them, ms", metrics.MESSAGE_AGE),
        Panel(
            title="Messages lost: expired, failed, orphaned replies",
            lines=(
                _line("expired", _measured(metrics.MESSAGES_EXPIRED, "sum")),
                _line("failed, delivered again", _measured(metrics.MESSAGES_FAULTED, "sum")),
                _line("orphaned replies", _measured(metrics.REPLIES_ORPHANED, "sum")),
            ),
        ),
        Panel(
            title="Messages waiting and in work",
            lines=(
                _aws("waiting", "request_queue", "ApproximateNumberOfMessagesVisible", "maximum"),
                _aws("in work", "request_queue", "ApproximateNumberOfMessagesNotVisible", "maximum"),
            ),
        ),
        Panel(
            title="Age of the oldest message, s",
            lines=(_aws("oldest message, s", "request_queue", "ApproximateAgeOfOldestMessage", "maximum"),),
        ),
        Panel(
            title="Messages in the dead-letter queue",
            lines=(_aws("dead letters", "dead_letter_queue", "ApproximateNumberOfMessagesVisible", "maximum"),),
        ),
    ),
)

_MACHINES: Final = Section(
    question="Are the machines healthy?",
    hint="The instances behind the load balancer, the auto-scaling groups, and the converter.",
    panels=(
        Panel(
            title="Web instances",
            lines=(
                _aws("healthy", "web_targets", "HealthyHostCount", "minimum"),
                _aws("unhealthy", "web_targets", "UnHealthyHostCount", "maximum"),
            ),
        ),
        Panel(
            title="Converter: errors and throttles",
            lines=(_aws("errors", "converter", "Errors", "sum"), _aws("throttles", "converter", "Throttles", "sum")),
            worker="lambda",
        ),
        Panel(
            title="Converter: duration of an invocation, ms",
            lines=tuple(_aws(label, "converter", "Duration", statistic) for label, statistic in _STATISTICS.items()),
            vendors=CLOUDWATCH_ONLY,
            worker="lambda",
        ),
        Panel(
            title="Converter: concurrent invocations",
            lines=(_aws("invocations", "converter", "ConcurrentExecutions", "maximum"),),
            vendors=CLOUDWATCH_ONLY,
            worker="lambda",
        ),
        Panel(
            title="Instances",
            lines=(
                _aws("web in service", "web_instances", "GroupInServiceInstances", "maximum"),
                _aws("web desired", "web_instances", "GroupDesiredCapacity", "maximum"),
                _aws("pollers in service", "pollers", "GroupInServiceInstances", "maximum", worker="asg"),
                _aws("pollers desired", "pollers", "GroupDesiredCapacity", "maximum", worker="asg"),
            ),
            vendors=CLOUDWATCH_ONLY,
        ),
        *(
            Panel(
                title=title,
                lines=(
                    _aws("web", "web_instances", metric, "average"),
                    _aws("pollers", "pollers", metric, "average", worker="asg"),
                ),
                vendors=CLOUDWATCH_ONLY,  # Datadog's agent measures its hosts itself
            )
            for title, metric in (("Memory used, %", "mem_used_percent"), ("Disk used, %", "disk_used_percent"))
        ),
    ),
)

SECTIONS: Final = (_USERS, _WAITING, _IMAGES, _COST, _CAPACITY, _MESSAGES, _MACHINES)
"""All sections, in the order in which to ask their questions."""

MEASURED: Final = Panel(
    title="Requests measured in the last 15 minutes",
    kind="value",
    lines=(_line("requests", _REQUESTS),),
    span="15 minutes",
    vendors=CLOUDWATCH_ONLY,  # in Datadog, "Requests" is the first panel
)
"""First panel of all: without a value, nothing is measured, and an alarm in state OK means nothing."""
