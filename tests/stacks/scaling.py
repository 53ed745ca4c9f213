"""A simulation of an auto-scaling group over a day, minute by minute, with the policies of its
template.

Target tracking is modelled as far as AWS documents it. The number of instances removed at once is
undocumented, and assumed to be one. Metrics of a minute are known at its end.
"""

import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Final, Protocol

MINUTES_OF_A_DAY: Final = 1440
_OUT_PERIODS, _IN_PERIODS = 3, 15
"""Minutes above the target before target tracking adds instances, and below nine tenths of it
before it removes any.
https://docs.aws.amazon.com/autoscaling/ec2/userguide/as-scaling-target-tracking.html"""
_IN_SHARE: Final = 0.9
_COOLDOWN_MINUTES: Final = 5
"""Minutes from the removal of an instance to the next one."""
_BOOT_MINUTES: Final = 4
"""Minutes from the launch of an instance to its first request: two or three for booting, the rest
for health checks."""

WEB_CAPACITY: Final = 300.0
POLLER_CAPACITY: Final = 60.0
"""Requests per second that occupy all cores of an instance. The figures are estimates, with little
effect on the simulation."""

PEAK_SHARE: Final = 0.45
"""Peak of the day, as a share of the largest group's capacity. A burst on top stays within the
capacity."""

_METRICS: Final = {
    "FILL(requests, 0) / 60 * FILL(seconds, 0)": "in_flight",
    "FILL(visible, 0) / IF(running > 0, running, 1)": "backlog",
}
_STEP_METRICS: Final = {"ApproximateAgeOfOldestMessage": "age"}

Metrics = Mapping[str, float]


class Policy(Protocol):
    """Determines a number of instances from the metrics of each minute."""

    insists: bool
    """True if it removes instances even if another policy needs them, like step scaling."""

    def wants(self, metrics: Metrics, running: int, booting: int) -> int | None:
        """Return the desired number of instances, including booting ones; None for no change."""


@dataclass
class Tracking:
    """Target tracking of one metric."""

    metric: str
    target: float
    insists: bool = False
    _last: deque[float] = field(default_factory=lambda: deque(maxlen=_IN_PERIODS))

    def wants(self, metrics: Metrics, running: int, booting: int) -> int | None:
        value = metrics[self.metric]
        self._last.append(value)
        recent = list(self._last)
        if len(recent) >= _OUT_PERIODS and all(
            value > self.target for value in recent[-_OUT_PERIODS:]
        ):
            return max(running + booting, math.ceil(running * value / self.target))
        is_low = len(recent) == _IN_PERIODS and all(
            value < _IN_SHARE * self.target for value in recent
        )
        # Rounded up, so that the others do not exceed the target when one is removed.
        return (
            max(running + booting - 1, math.ceil(running * value / self.target))
            if is_low
            else running + booting
        )


@dataclass
class Steps:
    """Step scaling on one metric: the change of the number of instances for each lower bound, in
    ascending order."""

    metric: str
    steps: Sequence[tuple[float, int]]
    insists: bool = True

    def wants(self, metrics: Metrics, running: int, booting: int) -> int | None:
        value = metrics[self.metric]
        return next(
            (
                running + booting + change
                for bound, change in reversed(self.steps)
                if value >= bound
            ),
            None,
        )


@dataclass(kw_only=True)
class Group:
    """An auto-scaling group, and the capacity of an instance."""

    min_instances: int
    max_instances: int
    capacity: float
    """Requests per second that occupy all cores of an instance."""
    policies: Sequence[Policy]
    seconds: float = 0.2
    """Duration of a request without waiting."""


@dataclass(frozen=True, kw_only=True)
class Minute:
    """A minute of the simulation."""

    rate: float
    """Requests per second that arrive."""
    running: int
    booting: int
    backlog: float
    """Requests waiting at its end or, in a group that refuses them, refused during the minute."""
    age_seconds: float


def simulate(group: Group, load: Callable[[int], float], *, waits: bool) -> list[Minute]:
    """Return the minutes of a day under `load`, in requests per second by minute.

    With `waits`, requests above the capacity wait in a queue, and the metrics `backlog` and `age`
    report it. Otherwise they are refused.
    """
    day: list[Minute] = []
    running, booting, backlog, removing_at = group.min_instances, deque[int](), 0.0, 0
    for minute in range(MINUTES_OF_A_DAY):
        running += sum(1 for ready_at in booting if ready_at <= minute)
        booting = deque(ready_at for ready_at in booting if ready_at > minute)
        rate = load(minute)
        possible = running * group.capacity
        offered = rate + (backlog / 60 if waits else 0)
        served = min(offered, possible)
        backlog = max(0.0, 60 * (offered - possible))
        age = backlog / possible
        day.append(
            Minute(
                rate=rate,
                running=running,
                booting=len(booting),
                backlog=backlog,
                age_seconds=age if waits else 0.0,
            )
        )
        busy = served / possible
        metrics = {
            "cpu": 100 * busy,
            # they wait once the cores are nearly busy
            "in_flight": rate / running * group.seconds / max(0.05, 1 - busy**4),
            "backlog": backlog / running,
            "age": age,
        }
        wanted = _decision(group.policies, metrics, running, len(booting))
        desired = min(group.max_instances, max(group.min_instances, wanted))
        while running + len(booting) < desired:
            booting.append(minute + 1 + _BOOT_MINUTES)
        surplus = min(running - group.min_instances, running + len(booting) - desired)
        if surplus > 0 and minute >= removing_at:
            running -= surplus
            removing_at = minute + _COOLDOWN_MINUTES
    return day


def _decision(policies: Sequence[Policy], metrics: Metrics, running: int, booting: int) -> int:
    """Return the joint number of instances of the policies: the maximum, unless one insists on
    fewer."""
    wanted = [(policy.insists, policy.wants(metrics, running, booting)) for policy in policies]
    now = running + booting
    most = max((instances for _, instances in wanted if instances is not None), default=now)
    insisted = [
        instances
        for insists, instances in wanted
        if insists and instances is not None and instances < now
    ]
    return min(insisted) if insisted and most <= now else most


def turns(day: Sequence[Minute], *, within: int) -> int:
    """Return how often instances were added and removed again within `within` minutes."""
    sizes = [minute.running + minute.booting for minute in day]
    changes = [
        (at, after > before)
        for at, (before, after) in enumerate(pairwise(sizes))
        if after != before
    ]
    return sum(
        later - earlier <= within and grew and not grew_later
        for (earlier, grew), (later, grew_later) in pairwise(changes)
    )


def day_with_bursts(peak: float) -> Callable[[int], float]:
    """Return the load of a day in requests per second: a tenth of `peak` at night, `peak` at noon,
    and three bursts."""

    def load(minute: int) -> float:
        base = peak * (0.1 + 0.9 * max(0.0, math.sin(math.pi * (minute - 360) / 960)) ** 2)
        burst = 1.0 if any(start <= minute < start + 12 for start in (180, 700, 1150)) else 0.0
        return base + 0.5 * peak * burst

    return load


def groups_of(templates: Iterable[Mapping[str, Any]]) -> dict[str, Group]:
    """Return the groups of templates, with their policies, by name."""
    found = {}
    for template in templates:
        for resource in template["Resources"].values():
            if resource["Type"] == "AWS::AutoScaling::AutoScalingGroup":
                properties = resource["Properties"]
                is_web = properties["AutoScalingGroupName"].endswith("-web")
                found[properties["AutoScalingGroupName"]] = Group(
                    min_instances=int(properties["MinSize"]),
                    max_instances=int(properties["MaxSize"]),
                    capacity=WEB_CAPACITY if is_web else POLLER_CAPACITY,
                    policies=list(_policies(template)),
                )
    return found


def _policies(template: Mapping[str, Any]) -> Iterator[Policy]:
    """Yield the policies of a template. Raises KeyError for an unknown metric."""
    resources = template["Resources"]
    for name, resource in resources.items():
        if resource["Type"] != "AWS::AutoScaling::ScalingPolicy":
            continue
        properties = resource["Properties"]
        if properties["PolicyType"] == "TargetTrackingScaling":
            tracking = properties["TargetTrackingConfiguration"]
            queries = tracking.get("CustomizedMetricSpecification", {}).get("Metrics", [])
            expressions = [query["Expression"] for query in queries if "Expression" in query]
            yield Tracking(
                _METRICS[expressions[0]] if expressions else "cpu", tracking["TargetValue"]
            )
        else:
            (alarm,) = (
                other["Properties"]
                for other in resources.values()
                if other["Type"] == "AWS::CloudWatch::Alarm"
                and {"Ref": name} in other["Properties"]["AlarmActions"]
            )
            steps = [
                (
                    alarm["Threshold"] + step.get("MetricIntervalLowerBound", 0),
                    step["ScalingAdjustment"],
                )
                for step in properties["StepAdjustments"]
            ]
            yield Steps(_STEP_METRICS[alarm["MetricName"]], sorted(steps))
