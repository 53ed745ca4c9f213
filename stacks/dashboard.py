"""Renders the panels of `operations/observability/panels.py` as a CloudWatch dashboard."""

from collections.abc import Mapping
from typing import Any, Final

from aws_cdk import Duration
from aws_cdk import aws_cloudwatch as cloudwatch
from constructs import Construct

from operations.observability.alarms import Alarm
from operations.observability.objective import OBJECTIVE
from operations.observability.panels import MEASURED, SECTIONS, Panel
from stacks.environment import Environment
from stacks.views import HOUR, Views

_WIDTH: Final = 24
_COLUMNS: Final = 3
_HEADER_HEIGHT: Final = 9


def add_dashboard(
    scope: Construct,
    *,
    environment: Environment,
    views: Views,
    alarms: Mapping[Alarm, cloudwatch.AlarmBase],
) -> None:
    """Add the dashboard of a deployment to the stack `scope`, under the deployment's name."""
    dashboard = cloudwatch.Dashboard(
        scope, "Dashboard", dashboard_name=environment.prefix, default_interval=Duration.hours(3)
    )
    dashboard.add_widgets(
        _widget(MEASURED, environment, views, height=_HEADER_HEIGHT),
        cloudwatch.AlarmStatusWidget(
            title="Active alarms",
            alarms=list(alarms.values()),
            # Without alarms in state OK, because some alarms are OK while nothing is measured.
            states=[cloudwatch.AlarmState.ALARM, cloudwatch.AlarmState.INSUFFICIENT_DATA],
            width=_WIDTH // _COLUMNS,
            height=_HEADER_HEIGHT,
        ),
        cloudwatch.TextWidget(
            markdown=_preface(environment, list(alarms)),
            width=_WIDTH // _COLUMNS,
            height=_HEADER_HEIGHT,
        ),
    )
    for section in SECTIONS:
        panels = [
            panel
            for panel in section.panels
            if panel.applies_to("cloudwatch", worker=environment.worker)
        ]
        dashboard.add_widgets(
            cloudwatch.TextWidget(
                markdown=f"## {section.question}\n{section.hint}", width=_WIDTH, height=2
            )
        )
        for start in range(0, len(panels), _COLUMNS):
            row = panels[start : start + _COLUMNS]
            dashboard.add_widgets(*(_widget(panel, environment, views) for panel in row))


def _preface(environment: Environment, alarms: list[Alarm]) -> str:
    lines = [
        f"# {environment.prefix}",
        (
            f"If **{MEASURED.title}** has no value, nothing is measured: no panel or alarm proves"
            " that all is well."
        ),
        "",
        "What to do when an alarm fires:",
    ]
    for alarm in alarms:
        url = f"{environment.runbook}#{alarm.anchor}"
        # The default is a path in the repository; the dashboard cannot link to it.
        lines.append(f"- [{alarm.title}]({url})" if "://" in url else f"- {alarm.title}: `{url}`")
    return "\n".join(lines)


def _widget(
    panel: Panel, environment: Environment, views: Views, *, height: int = 6
) -> cloudwatch.IWidget:
    lines = panel.lines_for(worker=environment.worker)
    common: dict[str, Any] = {"title": panel.title, "width": _WIDTH // _COLUMNS, "height": height}
    if panel.span == "objective":
        metrics = [views.formula_so_far(line.formula, label=line.label) for line in lines]
        common |= {"period": HOUR, "start": f"-P{OBJECTIVE.window_days}D", "end": "PT0H"}
    else:
        metrics = [views.formula(line.formula, label=line.label) for line in lines]
    if panel.span == "15 minutes":
        common |= {"start": "-PT15M", "end": "PT0H"}
    if panel.kind == "value":
        # The last value of a running sum, or one value for the whole time range.
        return cloudwatch.SingleValueWidget(
            metrics=metrics,
            full_precision=bool(panel.unit),
            set_period_to_time_range=panel.span != "objective",
            **common,
        )
    return cloudwatch.GraphWidget(
        left=metrics,
        left_annotations=[
            cloudwatch.HorizontalAnnotation(label=label, value=value)
            for label, value in panel.marks.items()
        ],
        left_y_axis=None if panel.span else cloudwatch.YAxisProps(min=0),
        **common,
    )
