"""The dashboard, for someone who was asleep a minute ago: sections that ask a question, in the order in which to ask them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from aws_cdk import Duration
from aws_cdk import aws_cloudwatch as cloudwatch
from constructs import Construct

from asciist.telemetry import metrics
from observability.alarms import AlarmText
from observability.objective import objective
from stacks.environment import Environment
from stacks.instances import InstanceGroup
from stacks.views import HOUR, MINUTE, Views

_WIDTH: Final = 24
_A_ROW: Final = 3
_STATISTICS: Final = {"Average": "average", "p50": "median", "p90": "p90", "p95": "p95", "p99": "p99"}


@dataclass(frozen=True, kw_only=True)
class _Section:
    question: str
    hint: str
    widgets: Sequence[cloudwatch.IWidget]


def add_dashboard(
    scope: Construct, *, environment: Environment, views: Views, alarms: dict[AlarmText, cloudwatch.AlarmBase]
) -> None:
    """Put the dashboard of a deployment, which has its name, into the stack."""
    dashboard = cloudwatch.Dashboard(scope, "Dashboard", dashboard_name=environment.prefix, default_interval=Duration.hours(3))
    dashboard.add_widgets(
        cloudwatch.TextWidget(markdown=_preface(environment, list(alarms)), width=12, height=7),
        cloudwatch.AlarmStatusWidget(title="Who rings?", alarms=list(alarms.values()), width=12, height=7),
    )
    for section in (_users(views), _images(views), _cost(views), _messages(views), _machines(views)):
        dashboard.add_widgets(cloudwatch.TextWidget(markdown=f"## {section.question}\n{section.hint}", width=_WIDTH, height=2))
        for start in range(0, len(section.widgets), _A_ROW):
            dashboard.add_widgets(*section.widgets[start : start + _A_ROW])


def _preface(environment: Environment, texts: Sequence[AlarmText]) -> str:
    lines = [f"# {environment.prefix}", "An alarm rang? Its heading in the runbook says what to do:"]
    for text in texts:
        address = f"{environment.runbook}#{text.anchor}"
        # The default is a path in the repository, which leads nowhere from here.
        lines.append(f"- [{text.title}]({address})" if "://" in address else f"- {text.title}: `{address}`")
    return "\n".join(lines)


def _users(views: Views) -> _Section:
    promise = objective()
    window = f"-P{promise.window_days}D"
    return _Section(
        question="Are users served?",
        hint=(
            f"We promise that {promise.target_percent:g}% of requests in {promise.window_days} days are answered without a 5xx "
            f"within {promise.slow_after_seconds:g} s; the rest is the error budget."
        ),
        widgets=[
            cloudwatch.SingleValueWidget(
                title=f"The promise, over {promise.window_days} days",
                metrics=[views.good_percent_so_far(), views.budget_left_so_far()],
                full_precision=True,
                period=HOUR,
                start=window,
                end="PT0H",
                width=_WIDTH // _A_ROW,
                height=6,
            ),
            cloudwatch.GraphWidget(
                title=f"Error budget left, over {promise.window_days} days",
                left=[views.budget_left_so_far()],
                left_annotations=[cloudwatch.HorizontalAnnotation(value=0, label="the promise is broken")],
                period=HOUR,
                start=window,
                end="PT0H",
                width=_WIDTH // _A_ROW,
            ),
            _graph(
                "Bad requests: failed, or slower than promised",
                [views.bad_percent()],
                {f"the budget burns {burn.rate:g} times too fast": promise.bad_percent(burn) for burn in promise.burns},
            ),
            _graph("Requests", [views.answered(), views.failed(), views.unanswered()]),
            _graph("Requests by status", [views.each(metrics.REQUESTS, "Sum")]),
            _graph("Answers slower than promised", [views.slow_percent()]),
            _graph(
                "Time to answer, ms, less the time spent waiting for the client",
                [views.own(metrics.REQUEST_DURATION, statistic, label) for statistic, label in _STATISTICS.items()],
                {"promised": 1000 * promise.slow_after_seconds},
            ),
            *(
                _graph(f"Time to answer by status, {label}, ms", [views.each(metrics.REQUEST_DURATION, statistic)])
                for statistic, label in _STATISTICS.items()
            ),
            _graph("Turned away for lack of room (503)", [views.own(metrics.REQUESTS_SHED, "Sum", "turned away")]),
            _graph(
                "Requests in flight, of a web process",
                [
                    views.own(metrics.REQUESTS_IN_FLIGHT, "Maximum", "most"),
                    views.own(metrics.REQUESTS_IN_FLIGHT, "Average", "average"),
                ],
            ),
            _graph(
                "Art that cost no conversion",
                [
                    views.served_percent("store", "found in the store, %"),
                    views.served_percent("shared", "shared with an identical request, %"),
                ],
            ),
        ],
    )


def _images(views: Views) -> _Section:
    return _Section(
        question="What do users send?",
        hint="More, larger or other images than usual explain a lot of what is further down.",
        widgets=[
            _graph("Bytes by format", [views.each(metrics.IMAGE_BYTES, "Sum")]),
            _graph("Pixels by format", [views.each(metrics.IMAGE_PIXELS, "Sum")]),
            _graph("Images by format", [views.each(metrics.IMAGE_PIXELS, "SampleCount")]),
            _graph(
                "Largest images, pixels",
                [
                    views.own(metrics.IMAGE_PIXELS, "Maximum", "largest"),
                    views.own(metrics.IMAGE_PIXELS, "p50", "median"),
                ],
            ),
            _durations(views, "Upload: waiting for the client's bytes, ms", metrics.UPLOAD_DURATION),
            _durations(views, "Reading an image out of JSON, ms", metrics.PAYLOAD_DECODE_DURATION),
        ],
    )


def _cost(views: Views) -> _Section:
    return _Section(
        question="What does a conversion cost?",
        hint="The time per megapixel is the same all day. If it rises, CPU is short, or an image was made to hurt.",
        widgets=[
            _graph("Decoding and drawing, ms a megapixel", [views.time_per_megapixel()]),
            _each_duration(views, "Decoding by format, ms", metrics.IMAGE_DECODE_DURATION),
            _each_duration(views, "Drawing by style, ms", metrics.CONVERSION_DURATION),
            _graph("Pixels converted, by format", [views.each(metrics.CONVERSION_PIXELS, "Sum")]),
        ],
    )


def _messages(views: Views) -> _Section:
    return _Section(
        question="Do messages get through?",
        hint="A request travels by queue to a worker, and its reply back. Whatever waits here is a user who waits.",
        widgets=[
            _durations(views, "From publishing to the reply, ms", metrics.REPLY_WAIT),
            _durations(views, "From publishing to a worker, ms", metrics.MESSAGE_AGE),
            _graph("Queue", [views.waiting_requests(), views.requests_in_work()], right=[views.oldest_request()]),
            _graph(
                "Lost on the way",
                [
                    views.own(metrics.MESSAGES_EXPIRED, "Sum", "expired: past their deadline"),
                    views.own(metrics.MESSAGES_FAULTED, "Sum", "faulted: delivered again"),
                    views.own(metrics.REPLIES_ORPHANED, "Sum", "orphaned: nobody waited any more"),
                ],
            ),
            _graph("Dead letters", [views.letters()]),
        ],
    )


def _machines(views: Views) -> _Section:
    function, pollers = views.worker.function, views.worker.instances
    groups = {"web": views.web.instances} | ({"poller": pollers} if pollers else {})
    widgets = [
        _graph("Web instances", [views.healthy_hosts(), views.unhealthy_hosts()]),
        _graph("Instances", [metric for name, group in groups.items() for metric in _sizes(name, group)]),
        _graph("Memory used, %", [group.memory_used().with_(label=name) for name, group in groups.items()]),
        _graph("Disk used, %", [group.disk_used().with_(label=name) for name, group in groups.items()]),
    ]
    if function:
        widgets += [
            _graph(
                "Converter: errors and throttles",
                [function.metric_errors(period=MINUTE), function.metric_throttles(period=MINUTE)],
            ),
            _graph(
                "Converter: time of an invocation, ms",
                [function.metric_duration(period=MINUTE, statistic=s, label=label) for s, label in _STATISTICS.items()],
            ),
            _graph(
                "Converter: at a time",
                [function.metric("ConcurrentExecutions", period=MINUTE, statistic="Maximum", label="invocations")],
            ),
        ]
    return _Section(
        question="Are the machines well?",
        hint="Hosts behind the load balancer, their groups, and the converter.",
        widgets=widgets,
    )


def _sizes(name: str, group: InstanceGroup) -> list[cloudwatch.IMetric]:
    return [
        cloudwatch.Metric(
            namespace="AWS/AutoScaling",
            metric_name=metric,
            dimensions_map={"AutoScalingGroupName": group.group.auto_scaling_group_name},
            statistic="Maximum",
            label=f"{name} {label}",
            period=MINUTE,
        )
        for metric, label in (("GroupInServiceInstances", "in service"), ("GroupDesiredCapacity", "wanted"))
    ]


def _durations(views: Views, title: str, name: str) -> cloudwatch.GraphWidget:
    return _graph(title, [views.own(name, statistic, label) for statistic, label in _STATISTICS.items()])


def _each_duration(views: Views, title: str, name: str) -> cloudwatch.GraphWidget:
    return _graph(title, [views.each(name, "p50", "median"), views.each(name, "p99", "p99")])


def _graph(
    title: str,
    metrics: Sequence[cloudwatch.IMetric],
    lines: dict[str, float] | None = None,
    *,
    right: Sequence[cloudwatch.IMetric] = (),
) -> cloudwatch.GraphWidget:
    return cloudwatch.GraphWidget(
        title=title,
        left=list(metrics),
        left_annotations=[cloudwatch.HorizontalAnnotation(label=label, value=value) for label, value in (lines or {}).items()],
        left_y_axis=cloudwatch.YAxisProps(min=0),
        right=list(right),
        right_y_axis=cloudwatch.YAxisProps(min=0),
        width=_WIDTH // _A_ROW,
    )
