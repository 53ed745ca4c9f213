"""Every panel of the dashboards, defined once for all vendors.

`stacks/dashboard.py` renders `SECTIONS` for CloudWatch, `operations/observability/datadog.py` for
Datadog and for the local dashboard. To add a panel, add it to its section.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final, Literal

from asciist.telemetry import metrics
from operations.observability.objective import OBJECTIVE
from operations.observability.signals import (
    BAD_PERCENT,
    Aws,
    Formula,
    Measured,
    ObjectiveCount,
    Resource,
    Statistic,
    Worker,
    formula,
    plain,
)

Vendor = Literal["cloudwatch", "datadog"]


@dataclass(frozen=True, kw_only=True)
class Line:
    """One line of a chart, or the number of a value panel."""

    label: str
    """Name in the legend; empty for a signal split by a tag, whose lines take the tag's values as
    names."""
    formula: Formula
    worker: Worker | Literal[""] = ""
    """Applicable kind of worker; empty for both."""


@dataclass(frozen=True, kw_only=True)
class Panel:
    """One widget of a dashboard."""

    title: str
    lines: tuple[Line, ...]
    kind: Literal["chart", "value", "top"] = "chart"
    """`value` shows one number over the time range, `top` a list of the largest tag values."""
    unit: str = ""
    """Unit displayed next to a number."""
    bad_below: float | None = None
    """In Datadog, a value below this is red, and any other is green. A missing value has no
    colour."""
    marks: Mapping[str, float] = field(default_factory=dict)
    """Horizontal lines in the chart, by label."""
    span: Literal["", "15 minutes", "objective"] = ""
    """Fixed time range in place of the reader's choice; `objective` is the objective's
    `window_days`."""
    vendor: Vendor | Literal[""] = ""
    """Vendor whose dashboard shows the panel; empty for both."""
    worker: Worker | Literal[""] = ""
    """Applicable kind of worker; empty for both."""

    def applies_to(self, vendor: Vendor, *, worker: str) -> bool:
        """`worker` is empty for a dashboard of deployments of both kinds."""
        return self.vendor in ("", vendor) and (not worker or self.worker in ("", worker))

    def lines_for(self, *, worker: str) -> tuple[Line, ...]:
        return tuple(line for line in self.lines if not worker or line.worker in ("", worker))


@dataclass(frozen=True, kw_only=True)
class Section:
    """Panels that answer one question."""

    question: str
    hint: str
    panels: tuple[Panel, ...]


_STATISTICS: Final[dict[str, Statistic]] = {
    "average": "average",
    "median": "p50",
    "p90": "p90",
    "p95": "p95",
    "p99": "p99",
}
"""Statistics of a duration, by label."""
_TIMES: Final[dict[str, Statistic]] = {"average": "average", "p95": "p95", "p99": "p99"}
"""Statistics of a conversion step, by label; each has its own panel."""


def _line(label: str, metric: str, statistic: Statistic, *, by: str = "", above: float = 0) -> Line:
    return Line(
        label=label, formula=plain(Measured(metric=metric, statistic=statistic, by=by, above=above))
    )


def _aws(
    label: str,
    resource: Resource,
    metric: str,
    statistic: Statistic,
    *,
    worker: Worker | Literal[""] = "",
) -> Line:
    return Line(
        label=label,
        formula=plain(Aws(resource=resource, metric=metric, statistic=statistic)),
        worker=worker,
    )


def _by_tag(title: str, metric: str, statistic: Statistic) -> Panel:
    """A chart with one line for each value of the metric's only tag."""
    (tag,) = metrics.CATALOGUE[metric].tags
    return Panel(title=title, lines=(_line("", metric, statistic, by=tag),))


def _distribution(title: str, metric: str, marks: Mapping[str, float] | None = None) -> Panel:
    lines = tuple(_line(label, metric, statistic) for label, statistic in _STATISTICS.items())
    return Panel(title=title, lines=lines, marks=marks or {})


_GOOD_PERCENT: Final = formula(
    "100 * zero(good) / total", good=ObjectiveCount.GOOD, total=ObjectiveCount.TOTAL
)
_BUDGET_LEFT_PERCENT: Final = formula(
    f"100 - 100 * (100 * (total - zero(good)) / total) / {OBJECTIVE.budget_percent:g}",
    good=ObjectiveCount.GOOD,
    total=ObjectiveCount.TOTAL,
)

_USERS: Final = Section(
    question="Are users served?",
    hint=(
        "A request is **good** if it is answered without a 5xx within"
        f" {OBJECTIVE.slow_after_seconds:g} s. The objective is {OBJECTIVE.target_percent:g}% good"
        f" requests in {OBJECTIVE.window_days} days; the rest is the error budget. A panel without"
        " a value means that nothing was measured, not that all is well."
    ),
    panels=(
        Panel(title="Requests", kind="value", lines=(_line("requests", metrics.REQUESTS, "sum"),)),
        Panel(
            title="Good requests, %",
            kind="value",
            lines=(Line(label="good requests, %", formula=_GOOD_PERCENT),),
            unit="%",
            bad_below=OBJECTIVE.target_percent,
        ),
        Panel(
            title="Error budget left, % (over the time shown)",
            kind="value",
            lines=(Line(label="error budget left, %", formula=_BUDGET_LEFT_PERCENT),),
            unit="%",
            bad_below=0,
        ),
        Panel(
            title=f"Good requests, % over {OBJECTIVE.window_days} days",
            kind="value",
            lines=(Line(label="good requests, %", formula=_GOOD_PERCENT),),
            unit="%",
            span="objective",
            vendor="cloudwatch",  # Datadog shows it with the objective itself
        ),
        Panel(
            title=f"Error budget left, % over {OBJECTIVE.window_days} days",
            lines=(Line(label="error budget left, %", formula=_BUDGET_LEFT_PERCENT),),
            marks={"the objective is missed": 0},
            span="objective",
            vendor="cloudwatch",
        ),
        Panel(
            title="Good requests, % (not failed or slow)",
            lines=(Line(label="good", formula=_GOOD_PERCENT),),
        ),
        Panel(
            title="Bad requests, % (failed or slow)",
            lines=(Line(label="bad", formula=BAD_PERCENT),),
            marks={
                f"burn rate {burn.rate:g}": OBJECTIVE.bad_percent(burn) for burn in OBJECTIVE.burns
            },
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
                        failed=Measured(
                            metric=metrics.REQUESTS, statistic="sum", where=("status", "5*")
                        ),
                        requests=Measured(metric=metrics.REQUESTS, statistic="sum"),
                    ),
                ),
            ),
            vendor="datadog",  # CloudWatch matches no tag by its beginning
        ),
    ),
)

_WAITING: Final = Section(
    question="How long do they wait?",
    hint=(
        "Times are measured from the arrival of a request's headers, without the time spent waiting"
        " for the client's upload."
    ),
    panels=(
        _distribution(
            "Time to answer, ms", metrics.REQUEST_DURATION, {"slow": OBJECTIVE.slow_after_ms}
        ),
        *(
            _by_tag(f"Time to answer by status, {label}, ms", metrics.REQUEST_DURATION, statistic)
            for label, statistic in _STATISTICS.items()
        ),
        Panel(
            title=f"Requests that take longer than {OBJECTIVE.slow_after_seconds:g} s, %",
            lines=(
                _line(
                    "slow", metrics.REQUEST_DURATION, "percent_above", above=OBJECTIVE.slow_after_ms
                ),
            ),
        ),
        Panel(
            title=f"Requests that take longer than {OBJECTIVE.slow_after_seconds:g} s by status, %",
            lines=(
                _line(
                    "",
                    metrics.REQUEST_DURATION,
                    "percent_above",
                    above=OBJECTIVE.slow_after_ms,
                    by="status",
                ),
            ),
            vendor="datadog",
        ),
        _distribution("Upload time, ms (not part of the time to answer)", metrics.UPLOAD_DURATION),
    ),
)

_IMAGES: Final = Section(
    question="What do they send?",
    hint="More, larger or different images than usual often explain what the other sections show.",
    panels=(
        Panel(
            title="Images by format",
            kind="top",
            lines=(_line("", metrics.IMAGE_BYTES, "count", by="format"),),
        ),
        _by_tag("Bytes received by format", metrics.IMAGE_BYTES, "sum"),
        _by_tag("Pixels received by format", metrics.IMAGE_PIXELS, "sum"),
        _by_tag("Size of an image by format, p95, bytes", metrics.IMAGE_BYTES, "p95"),
        _by_tag("Size of an image by format, p95, pixels", metrics.IMAGE_PIXELS, "p95"),
        Panel(
            title="Largest image, pixels",
            lines=(
                _line("largest", metrics.IMAGE_PIXELS, "maximum"),
                _line("median", metrics.IMAGE_PIXELS, "p50"),
            ),
        ),
        _distribution("Time to decode a JSON body, ms", metrics.PAYLOAD_DECODE_DURATION),
    ),
)


def _art_percent(source: str, label: str) -> Line:
    """Percentage of art from the source `source`."""
    served = Measured(metric=metrics.ART_SERVED, statistic="sum")
    return Line(
        label=label,
        formula=formula(
            f"100 * zero({source}) / served",
            **{source: replace(served, where=("source", source))},
            served=served,
        ),
    )


_COST: Final = Section(
    question="What does a conversion cost?",
    hint=(
        "The time per megapixel is nearly constant. If it rises, CPU is short, or images were"
        " crafted to be slow."
    ),
    panels=(
        Panel(
            title="Art served from the store, %",
            kind="value",
            lines=(_art_percent("store", "from the store, %"),),
            unit="%",
        ),
        Panel(
            title="Art served without a conversion, %",
            lines=(
                _art_percent("store", "from the store"),
                _art_percent("shared", "shared with an identical request"),
            ),
        ),
        _by_tag("Art by source", metrics.ART_SERVED, "sum"),
        Panel(
            title="Time for a megapixel, ms (decoding and conversion)",
            lines=(
                Line(
                    label="ms per megapixel",
                    formula=formula(
                        "(decoding + conversion) / (pixels / 1000000)",
                        decoding=Measured(metric=metrics.IMAGE_DECODE_DURATION, statistic="sum"),
                        conversion=Measured(metric=metrics.CONVERSION_DURATION, statistic="sum"),
                        pixels=Measured(metric=metrics.CONVERSION_PIXELS, statistic="sum"),
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
                        decoding=Measured(
                            metric=metrics.IMAGE_DECODE_DURATION, statistic="sum", by="format"
                        ),
                        pixels=Measured(
                            metric=metrics.CONVERSION_PIXELS, statistic="sum", by="format"
                        ),
                    ),
                ),
            ),
            vendor="datadog",  # CloudWatch does not divide searches line by line
        ),
        *(
            _by_tag(
                f"Time to decode an image by format, {label}, ms",
                metrics.IMAGE_DECODE_DURATION,
                statistic,
            )
            for label, statistic in _TIMES.items()
        ),
        *(
            _by_tag(
                f"Time to convert decoded pixels by style, {label}, ms",
                metrics.CONVERSION_DURATION,
                statistic,
            )
            for label, statistic in _TIMES.items()
        ),
        _by_tag("Pixels converted by format", metrics.CONVERSION_PIXELS, "sum"),
        _by_tag("Conversions whose process ended, by cause", metrics.CONVERSIONS_ABORTED, "sum"),
        _by_tag("Conversions without a part of the sandbox", metrics.CONVERSIONS_EXPOSED, "sum"),
    ),
)

_CAPACITY: Final = Section(
    question="Is there room?",
    hint="A web process that is at its limit turns further requests away with a 503.",
    panels=(
        Panel(
            title="Requests in flight, per web process",
            lines=(
                _line("maximum", metrics.REQUESTS_IN_FLIGHT, "maximum"),
                _line("average", metrics.REQUESTS_IN_FLIGHT, "average"),
            ),
        ),
        Panel(
            title="Requests turned away (503)",
            lines=(_line("turned away", metrics.REQUESTS_SHED, "sum"),),
        ),
        Panel(
            title="Refused in read-only mode (503)",
            lines=(_line("refused", metrics.REQUESTS_READ_ONLY, "sum"),),
        ),
        _by_tag("Objects looked for in the peer store", metrics.PEER_READS, "sum"),
        _by_tag("Embedded store: operations that failed", metrics.STORE_FAILED, "sum"),
        Panel(
            title="Embedded store: images and art evicted",
            lines=(_line("evicted", metrics.STORE_EVICTED, "sum"),),
        ),
    ),
)

_MESSAGES: Final = Section(
    question="Do messages get through?",
    hint=(
        "A message in the request queue carries a request to a worker, which sends a reply. A user"
        " waits for each of them."
    ),
    panels=(
        _distribution("Wait for a reply, ms", metrics.REPLY_WAIT),
        _distribution("Age of messages when a worker takes them, ms", metrics.MESSAGE_AGE),
        Panel(
            title="Messages expired or failed, and replies that came too late",
            lines=(
                _line("expired", metrics.MESSAGES_EXPIRED, "sum"),
                _line("failed (delivered again)", metrics.MESSAGES_FAULTED, "sum"),
                _line("replies that came too late", metrics.REPLIES_ORPHANED, "sum"),
                _line("messages whose image is gone", metrics.IMAGES_GONE, "sum"),
            ),
        ),
        _by_tag("Overdue requests, by what answered them", metrics.REQUESTS_HEDGED, "sum"),
        Panel(
            title="Art served but not stored",
            lines=(_line("not stored", metrics.ART_UNSTORED, "sum"),),
        ),
        Panel(
            title="Messages waiting and in flight",
            lines=(
                _aws("waiting", "request_queue", "ApproximateNumberOfMessagesVisible", "maximum"),
                _aws(
                    "in flight", "request_queue", "ApproximateNumberOfMessagesNotVisible", "maximum"
                ),
            ),
        ),
        Panel(
            title="Age of the oldest message, s",
            lines=(
                _aws(
                    "oldest message, s", "request_queue", "ApproximateAgeOfOldestMessage", "maximum"
                ),
            ),
        ),
        Panel(
            title="Messages in the dead-letter queue",
            lines=(
                _aws(
                    "dead letters",
                    "dead_letter_queue",
                    "ApproximateNumberOfMessagesVisible",
                    "maximum",
                ),
            ),
        ),
    ),
)

_MACHINES: Final = Section(
    question="Are the machines healthy?",
    hint=(
        "The instances behind the load balancer, the auto-scaling groups, and the converter (the"
        " Lambda function)."
    ),
    panels=(
        Panel(
            title="Web instances, by health check",
            lines=(
                _aws("healthy", "web_targets", "HealthyHostCount", "minimum"),
                _aws("unhealthy", "web_targets", "UnHealthyHostCount", "maximum"),
            ),
        ),
        Panel(
            title="Converter: errors and throttles",
            lines=(
                _aws("errors", "converter", "Errors", "sum"),
                _aws("throttles", "converter", "Throttles", "sum"),
            ),
            worker="lambda",
        ),
        Panel(
            title="Converter: duration of an invocation, ms",
            lines=tuple(
                _aws(label, "converter", "Duration", statistic)
                for label, statistic in _STATISTICS.items()
            ),
            vendor="cloudwatch",
            worker="lambda",
        ),
        Panel(
            title="Converter: concurrent invocations",
            lines=(_aws("invocations", "converter", "ConcurrentExecutions", "maximum"),),
            vendor="cloudwatch",
            worker="lambda",
        ),
        Panel(
            title="Instances",
            lines=(
                _aws("web in service", "web_instances", "GroupInServiceInstances", "maximum"),
                _aws("web desired", "web_instances", "GroupDesiredCapacity", "maximum"),
                _aws(
                    "pollers in service",
                    "pollers",
                    "GroupInServiceInstances",
                    "maximum",
                    worker="asg",
                ),
                _aws("pollers desired", "pollers", "GroupDesiredCapacity", "maximum", worker="asg"),
            ),
            vendor="cloudwatch",
        ),
        *(
            Panel(
                title=title,
                lines=(
                    _aws("web", "web_instances", metric, "average"),
                    _aws("pollers", "pollers", metric, "average", worker="asg"),
                ),
                vendor="cloudwatch",  # Datadog's agent measures its hosts itself
            )
            for title, metric in (
                ("Memory used, %", "mem_used_percent"),
                ("Disk used, %", "disk_used_percent"),
            )
        ),
    ),
)

SECTIONS: Final = (_USERS, _WAITING, _IMAGES, _COST, _CAPACITY, _MESSAGES, _MACHINES)
"""All sections, in the order of the dashboard."""

MEASURED: Final = Panel(
    title="Requests measured in the last 15 minutes",
    kind="value",
    lines=(_line("requests", metrics.REQUESTS, "sum"),),
    span="15 minutes",
    vendor="cloudwatch",  # in Datadog, "Requests" is the first panel
)
"""First panel of the CloudWatch dashboard, which shows whether anything is measured. Without
metrics, an alarm in state OK proves nothing."""
