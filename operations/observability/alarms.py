"""Every alarm, defined once for all vendors.

`stacks/observability.py` renders `ALARMS` for CloudWatch, `operations/observability/datadog.py` for
Datadog, and `docs/runbook.md` contains a section for each title. To add an alarm, add it to
`ALARMS` and write its section in the runbook.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final, Literal

from asciist.telemetry import metrics
from operations.observability.objective import OBJECTIVE, Burn
from operations.observability.signals import (
    BAD_PERCENT,
    Aws,
    Formula,
    Measured,
    ObjectiveCount,
    Worker,
    plain,
)

# One failure among three requests at night is 33%, and not worth waking somebody. From 700 requests
# an hour on, ten bad requests are less than the 1.44% of the fast alarm, so the share alone
# decides.
MIN_BAD_REQUESTS_TO_PAGE: Final = 10
"""Minimum bad requests in the long window before a burn-rate alarm fires."""
MIN_ANSWERS_FOR_P99: Final = 100  # with fewer, the percentile is the slowest answer
"""Minimum answers in the window before the alarm on the 99th percentile fires."""

MAX_TURNED_AWAY: Final = 10  # a burst that ends at once needs nobody's attention
"""Refused requests in a minute above which the alarm on them fires."""

Limit = Literal["request timeout", "web instances", "pollers", "conversions"]
"""Limit of the deployment used as a threshold: its request timeout in seconds, the maximum sizes of
its groups, or the maximum number of concurrent conversions of its function."""

DAYS_TO_RENEW: Final = 30  # ACM renews one 60 days before, and retries until it expires
"""Days before a certificate expires at which the alarm fires."""
MAX_DISK_PERCENT: Final = 85


@dataclass(frozen=True, kw_only=True)
class Window:
    """The latest `periods` periods. The alarm fires when at least `breaching` of them are beyond
    the threshold."""

    period_minutes: int
    periods: int = 1
    breaching: int = 1

    @property
    def minutes(self) -> int:
        return self.period_minutes * self.periods


@dataclass(frozen=True, kw_only=True)
class Minimum:
    """Minimum events in the first window before the alarm fires."""

    events: int
    of: Measured | ObjectiveCount


class Urgency(Enum):
    """How soon somebody must look at an alarm."""

    PAGE = "page"
    """At once, at any time: users are affected, or will be within the hour."""
    TICKET = "ticket"
    """On the next working day."""


class Silence(Enum):
    """State of an alarm while its signal has no values."""

    IS_HEALTHY = "healthy"
    FIRES = "fires"
    KEEPS_STATE = "keeps state"


@dataclass(frozen=True, kw_only=True, eq=False)
class Alarm:
    """A rule, its description, and the deployments it applies to."""

    title: str
    """Name of the alarm, and of its section in the runbook."""
    meaning: str
    """The problem and its impact on users, in one or two sentences: the first text that a person
    who is paged reads."""
    urgency: Urgency
    signal: Formula
    threshold: float | Limit
    comparison: Literal[">", ">=", "<"] = ">"
    windows: tuple[Window, ...]
    """The alarm fires while the signal is beyond the threshold in every window."""
    minimum: Minimum | None = None
    silence: Silence
    silence_reason: str
    worker: Worker | Literal[""] = ""
    """Applicable kind of worker; empty for both."""
    needs_domain: bool = False
    """True if the alarm needs a deployment with a domain, and therefore a certificate."""
    vendor: Literal["", "cloudwatch"] = ""
    """Vendor that provides the signal; empty for both."""
    burn: Burn | None = None
    """Burn rate from which `threshold` and `windows` are derived, for an alarm on the error
    budget."""

    @property
    def anchor(self) -> str:
        """Anchor of the section in the runbook, as GitHub generates it."""
        return re.sub(r"[^\w\- ]", "", self.title.lower()).replace(" ", "-")

    def description(self, runbook: str) -> str:
        """Text of the notification; `runbook` is the URL of the runbook."""
        return f"{self.meaning} Runbook: {runbook}#{self.anchor}"

    def applies_to(self, *, worker: str, has_domain: bool) -> bool:
        return self.worker in ("", worker) and (has_domain or not self.needs_domain)

    def threshold_for(self, limits: Mapping[Limit, float]) -> float:
        return limits[self.threshold] if isinstance(self.threshold, str) else self.threshold


_UNMEASURED: Final = (
    "The service itself sends this metric. Without values its state is unknown, so an active alarm"
    " must not return to OK."
)
_IDLE_QUEUE: Final = (
    "SQS stops reporting a queue that has been empty and unused for six hours, so no value means no"
    " message."
)
_IDLE_FUNCTION: Final = (
    "Lambda reports only minutes with invocations. An idle minute must end a series of bad minutes,"
    " or minutes that are hours apart would count as consecutive."
)


def _burn_alarm(burn: Burn, *, title: str, budget_lasts: str, urgency: Urgency) -> Alarm:
    return Alarm(
        title=title,
        urgency=urgency,
        meaning=(
            f"More than {OBJECTIVE.bad_percent(burn):g}% of requests fail (5xx) or take longer than"
            f" {OBJECTIVE.slow_after_seconds:g} seconds. At this rate, the error budget of"
            f" {OBJECTIVE.window_days} days is spent in {budget_lasts}."
        ),
        signal=BAD_PERCENT,
        threshold=OBJECTIVE.bad_percent(burn),
        windows=(
            Window(period_minutes=burn.long_minutes),
            Window(period_minutes=burn.short_minutes),
        ),
        minimum=Minimum(events=MIN_BAD_REQUESTS_TO_PAGE, of=ObjectiveCount.BAD),
        silence=Silence.KEEPS_STATE,
        silence_reason=_UNMEASURED,
        burn=burn,
    )


def _maximum_alarm(
    *, title: str, meaning: str, signal: Aws, most: Limit, worker: Worker | Literal[""] = ""
) -> Alarm:
    return Alarm(
        title=title,
        meaning=f"{meaning} More load would slow requests down, or turn them away.",
        urgency=Urgency.TICKET,
        signal=plain(signal),
        threshold=most,
        comparison=">=",
        windows=(Window(period_minutes=1, periods=15, breaching=15),),
        silence=Silence.IS_HEALTHY,
        silence_reason=(
            "A group at its maximum reports its size every minute, and a busy function its"
            " invocations."
        ),
        worker=worker,
    )


_FAST_BURN, _SLOW_BURN = OBJECTIVE.burns

BUDGET_BURNS_FAST: Final = _burn_alarm(
    _FAST_BURN,
    title="Many requests fail or are slow",
    budget_lasts="about two days",
    urgency=Urgency.PAGE,
)
BUDGET_BURNS: Final = _burn_alarm(
    _SLOW_BURN,
    title="Some requests fail or are slow",
    budget_lasts="five days",
    urgency=Urgency.TICKET,
)
SLOW_ANSWERS: Final = Alarm(
    title="Answers are slow",
    meaning=(
        "At least one answer in a hundred takes longer than"
        f" {OBJECTIVE.slow_after_seconds:g} seconds."
    ),
    urgency=Urgency.TICKET,
    signal=plain(Measured(metric=metrics.REQUEST_DURATION, statistic="p99")),
    threshold=OBJECTIVE.slow_after_ms,
    windows=(Window(period_minutes=5),),
    minimum=Minimum(
        events=MIN_ANSWERS_FOR_P99, of=Measured(metric=metrics.REQUEST_DURATION, statistic="count")
    ),
    silence=Silence.KEEPS_STATE,
    silence_reason=_UNMEASURED,
)
TURNED_AWAY: Final = Alarm(
    title="Requests are turned away",
    meaning="Web processes refuse requests with a 503: they arrive faster than they can be served.",
    urgency=Urgency.PAGE,
    signal=plain(Measured(metric=metrics.REQUESTS_SHED, statistic="sum")),
    threshold=MAX_TURNED_AWAY,
    windows=(Window(period_minutes=1, periods=3, breaching=3),),
    silence=Silence.IS_HEALTHY,
    silence_reason=(
        "A minute without refused requests has no value, and must end the alarm. Lost metrics fire"
        " another alarm."
    ),
)
DEAD_LETTERS: Final = Alarm(
    title="Messages are in the dead-letter queue",
    meaning="Conversions failed at every attempt: their users got a 503 or a 504.",
    urgency=Urgency.TICKET,
    signal=plain(
        Aws(
            resource="dead_letter_queue",
            metric="ApproximateNumberOfMessagesVisible",
            statistic="maximum",
        )
    ),
    threshold=0,
    windows=(Window(period_minutes=1, periods=5, breaching=1),),
    silence=Silence.IS_HEALTHY,
    silence_reason=_IDLE_QUEUE,
)
STALE_QUEUE: Final = Alarm(
    title="Messages wait past their deadline",
    meaning="Workers do not keep up: users wait for the whole request timeout and then get a 504.",
    urgency=Urgency.PAGE,
    signal=plain(
        Aws(resource="request_queue", metric="ApproximateAgeOfOldestMessage", statistic="maximum")
    ),
    threshold="request timeout",
    windows=(Window(period_minutes=1, periods=3, breaching=3),),
    silence=Silence.IS_HEALTHY,
    silence_reason=_IDLE_QUEUE,
)
UNHEALTHY_HOSTS: Final = Alarm(
    title="A web instance is unhealthy",
    meaning=(
        "An instance fails its health check (/healthz). Healthy ones get its requests; if there is"
        " none, requests fail."
    ),
    urgency=Urgency.TICKET,
    signal=plain(Aws(resource="web_targets", metric="UnHealthyHostCount", statistic="maximum")),
    threshold=0,
    windows=(Window(period_minutes=1, periods=5, breaching=5),),
    silence=Silence.KEEPS_STATE,
    silence_reason="The load balancer reports this every minute unless no instance is registered.",
)
THROTTLES: Final = Alarm(
    title="The converter is throttled",
    meaning=(
        "Lambda has no concurrency left for the converter: users wait longer, and get a 504 if this"
        " continues."
    ),
    urgency=Urgency.PAGE,
    signal=plain(Aws(resource="converter", metric="Throttles", statistic="sum")),
    threshold=0,
    windows=(Window(period_minutes=1, periods=3, breaching=3),),
    silence=Silence.IS_HEALTHY,
    silence_reason=_IDLE_FUNCTION,
    worker="lambda",
)
CONVERTER_ERRORS: Final = Alarm(
    title="The converter fails",
    meaning=(
        "Invocations of the converter crash or time out: users wait for another attempt, and get a"
        " 504 if all fail."
    ),
    urgency=Urgency.PAGE,
    signal=plain(Aws(resource="converter", metric="Errors", statistic="sum")),
    threshold=0,
    windows=(Window(period_minutes=1, periods=3, breaching=3),),
    silence=Silence.IS_HEALTHY,
    silence_reason=_IDLE_FUNCTION,
    worker="lambda",
)
PROBE_FAILS: Final = Alarm(
    title="The probe fails",
    meaning=(
        "Every minute, a new image is converted through the public address, as by a user. This"
        " fails or takes too long."
    ),
    urgency=Urgency.PAGE,
    signal=plain(Aws(resource="probe", metric="Errors", statistic="sum")),
    threshold=0,
    windows=(Window(period_minutes=1, periods=3, breaching=3),),
    silence=Silence.KEEPS_STATE,
    silence_reason=(
        'Without the probe, its requests are missing too: "No requests arrive" fires unless others'
        " send any."
    ),
)
NO_REQUESTS: Final = Alarm(
    title="No requests arrive",
    meaning=(
        "No request was measured for 15 minutes, although the probe sends one every minute: nobody"
        " can reach the service, or its metrics are lost."
    ),
    urgency=Urgency.PAGE,
    signal=plain(Measured(metric=metrics.REQUESTS, statistic="sum")),
    threshold=1,
    comparison="<",
    windows=(Window(period_minutes=5, periods=3, breaching=3),),
    silence=Silence.FIRES,
    silence_reason="A web tier without requests sends no values, which is what this alarm detects.",
)
WEB_AT_MAXIMUM: Final = _maximum_alarm(
    title="The web tier cannot grow",
    meaning="The web tier has had its maximum number of instances for a quarter of an hour.",
    signal=Aws(resource="web_instances", metric="GroupDesiredCapacity", statistic="maximum"),
    most="web instances",
)
POLLERS_AT_MAXIMUM: Final = _maximum_alarm(
    title="The pollers cannot grow",
    meaning=(
        "The group of pollers has had its maximum number of instances for a quarter of an hour."
    ),
    signal=Aws(resource="pollers", metric="GroupDesiredCapacity", statistic="maximum"),
    most="pollers",
    worker="asg",
)
CONVERTER_AT_MAXIMUM: Final = _maximum_alarm(
    title="The converter cannot grow",
    meaning=(
        "The converter has run its maximum number of conversions at once in each minute of a"
        " quarter of an hour."
    ),
    signal=Aws(resource="converter", metric="ConcurrentExecutions", statistic="maximum"),
    most="conversions",
    worker="lambda",
)
DISK_FILLS: Final = Alarm(
    title="The disk of a web instance fills",
    meaning=(
        f"The root disk of a web instance is more than {MAX_DISK_PERCENT}% full. It holds logs and"
        " temporary files only."
    ),
    urgency=Urgency.TICKET,
    signal=plain(Aws(resource="web_instances", metric="disk_used_percent", statistic="maximum")),
    threshold=MAX_DISK_PERCENT,
    windows=(Window(period_minutes=5, periods=3, breaching=3),),
    silence=Silence.KEEPS_STATE,
    silence_reason=(
        "The agent of each instance reports this every minute. Without it, nothing is known."
    ),
    vendor="cloudwatch",
)
CERTIFICATE_EXPIRES: Final = Alarm(
    title="The certificate expires",
    meaning=(
        f"The certificate of the domain is valid for less than {DAYS_TO_RENEW} days, and was not"
        " renewed."
    ),
    urgency=Urgency.TICKET,
    signal=plain(Aws(resource="certificate", metric="DaysToExpiry", statistic="minimum")),
    threshold=DAYS_TO_RENEW,
    comparison="<",
    windows=(Window(period_minutes=24 * 60),),
    silence=Silence.KEEPS_STATE,
    silence_reason="Certificate Manager reports this twice a day.",
    needs_domain=True,
    # the certificate is no resource of the deployment, so it lacks the tag by which Datadog knows
    # one
    vendor="cloudwatch",
)

ALARMS: Final = (
    BUDGET_BURNS_FAST,
    PROBE_FAILS,
    BUDGET_BURNS,
    SLOW_ANSWERS,
    TURNED_AWAY,
    DEAD_LETTERS,
    STALE_QUEUE,
    UNHEALTHY_HOSTS,
    THROTTLES,
    CONVERTER_ERRORS,
    NO_REQUESTS,
    WEB_AT_MAXIMUM,
    POLLERS_AT_MAXIMUM,
    CONVERTER_AT_MAXIMUM,
    DISK_FILLS,
    CERTIFICATE_EXPIRES,
)
"""All alarms, by priority."""
