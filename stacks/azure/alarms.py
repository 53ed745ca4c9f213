"""The signals of Azure for the alarms of `operations/observability/alarms.py`, and the alarms
without a signal."""

from dataclasses import dataclass
from typing import Final, Literal

from operations.observability import alarms
from operations.observability.alarms import ALARMS, Alarm, Minimum
from operations.observability.objective import OBJECTIVE
from stacks.azure.environment import Environment

WITHOUT_SIGNAL: Final = {
    alarms.PROBE_FAILS: "Nothing converts an image every minute.",
    alarms.TURNED_AWAY: (
        "The service measures it, and its metrics reach no database. The burn rates count its 503s."
    ),
    alarms.DEAD_LETTERS: (
        "Azure counts the messages of all queues of an account together, once a day."
    ),
    alarms.STALE_QUEUE: (
        "Azure has no age of messages. Requests that wait too long get a 504, which the burn rates"
        " count."
    ),
    alarms.NO_REQUESTS: "Without a probe, a quiet deployment has no requests.",
    alarms.CERTIFICATE_EXPIRES: (
        "Key Vault renews a certificate, and sends an e-mail to its contacts if it cannot."
    ),
}
"""Alarms without a signal in Azure Monitor, each with the reason."""

_BAD: Final = (
    f"HttpStatus >= 500 or todouble(ServerResponseLatency) > {OBJECTIVE.slow_after_seconds:g}"
)


@dataclass(frozen=True, kw_only=True)
class Metric:
    """A metric of a resource, and its threshold."""

    resource: Literal["gateway", "web_autoscale", "worker_autoscale"]
    namespace: str
    name: str
    aggregation: Literal["Minimum", "Average", "Maximum"]
    operator: Literal["GreaterThan", "GreaterThanOrEqual"]
    threshold: float


@dataclass(frozen=True, kw_only=True)
class Query:
    """Log query that returns a row while the alarm should fire."""

    text: str
    window: str
    """Time range of the query, as an ISO 8601 duration."""


def duration(minutes: int) -> str:
    """Return an ISO 8601 duration, in whole hours if possible: Azure accepts PT1H and rejects
    PT60M."""
    return f"PT{minutes // 60}H" if minutes % 60 == 0 else f"PT{minutes}M"


def azure_alarms(environment: Environment) -> dict[Alarm, Metric | Query]:
    """Return the signal of each alarm of a deployment, without alarms that have no signal."""
    sizes = environment.sizes
    signals: dict[Alarm, Metric | Query] = {
        alarms.BUDGET_BURNS_FAST: _burn(alarms.BUDGET_BURNS_FAST),
        alarms.BUDGET_BURNS: _burn(alarms.BUDGET_BURNS),
        alarms.SLOW_ANSWERS: _slow(alarms.SLOW_ANSWERS),
        alarms.UNHEALTHY_HOSTS: Metric(
            resource="gateway",
            namespace="Microsoft.Network/applicationGateways",
            name="UnhealthyHostCount",
            aggregation="Minimum",  # at least one in every minute of the window
            operator="GreaterThan",
            threshold=0,
        ),
        alarms.WEB_AT_MAXIMUM: _at_maximum("web_autoscale", sizes.web_max_instances),
        alarms.POLLERS_AT_MAXIMUM: _at_maximum("worker_autoscale", sizes.poller_max_instances),
        alarms.DISK_FILLS: Query(
            text=(
                'Perf | where CounterName == "% Used Space" and InstanceName == "/" '
                "| summarize used = min(CounterValue) by Computer "
                f"| where used > {alarms.MAX_DISK_PERCENT}"
            ),
            window=duration(alarms.DISK_FILLS.windows[0].minutes),
        ),
    }
    return {
        alarm: signals[alarm]
        for alarm in ALARMS
        if alarm not in WITHOUT_SIGNAL
        and alarm.applies_to(worker="asg", has_domain=bool(environment.domain))
    }


def _at_maximum(resource: Literal["web_autoscale", "worker_autoscale"], most: int) -> Metric:
    return Metric(
        resource=resource,
        namespace="Microsoft.Insights/autoscalesettings",
        name="ObservedCapacity",
        aggregation="Minimum",
        operator="GreaterThanOrEqual",
        threshold=most,
    )


def _events(minimum: Minimum | None) -> int:
    return minimum.events if minimum else 0


def _burn(alarm: Alarm) -> Query:
    """Return the query of a burn rate: the share of bad requests in both windows, with a minimum
    number in the first."""
    long, short = (window.minutes for window in alarm.windows)
    threshold = alarm.threshold_for({})
    counts = ", ".join(
        f"bad_{minutes} = countif(bad and TimeGenerated > ago({minutes}m)), "
        f"total_{minutes} = countif(TimeGenerated > ago({minutes}m))"
        for minutes in (long, short)
    )
    exceeds = " and ".join(
        f"100.0 * bad_{minutes} > {threshold:g} * total_{minutes} and total_{minutes} > 0"
        for minutes in (long, short)
    )
    return Query(
        text=(
            f"AGWAccessLogs | extend bad = {_BAD} | summarize {counts} "
            f"| where {exceeds} and bad_{long} >= {_events(alarm.minimum)}"
        ),
        window=duration(long),
    )


def _slow(alarm: Alarm) -> Query:
    (window,) = alarm.windows
    seconds = alarm.threshold_for({}) / 1000
    return Query(
        text=(
            "AGWAccessLogs | summarize p99 = percentile(todouble(ServerResponseLatency), 99),"
            f" answers = count() | where p99 > {seconds:g} and answers >= {_events(alarm.minimum)}"
        ),
        window=duration(window.minutes),
    )
