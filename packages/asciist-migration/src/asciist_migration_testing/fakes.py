"""Stand-ins for the ports of a shift, with their own clock."""

import itertools
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from asciist_migration.shift.controller import Controller
from asciist_migration.shift.journal import Journal, Record
from asciist_migration.shift.ports import (
    CdnError,
    CdnState,
    Comparison,
    MetricsError,
    Origin,
    Sample,
    Window,
)
from asciist_migration.shift.state import Plan
from operations.observability.objective import OBJECTIVE

OLD, NEW = "aws", "azure"
INTERVAL = 600.0
PLAN = Plan(
    old=OLD,
    new=NEW,
    interval_seconds=INTERVAL,
    min_requests=30,
    poll_seconds=300,
    late_seconds=15,
    addresses={OLD: "192.0.2.1:443", NEW: "192.0.2.2:443"},
)


class CrashError(BaseException):
    """The process ends here; no code catches it."""


@dataclass
class Clock:
    """A clock that advances only in `sleep`."""

    now: float = 1_000_000.0
    on_sleep: Callable[[], object] = lambda: None

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.on_sleep()


@dataclass
class FakeCdn:
    """A CDN that records every set of weights in force, and can misbehave."""

    origins: dict[str, Origin] = field(
        default_factory=lambda: {
            OLD: Origin(weight=100, address=PLAN.addresses[OLD], available=True),
            NEW: Origin(weight=0, address=PLAN.addresses[NEW], available=True),
        }
    )
    affinity: str = ""
    history: list[dict[str, int]] = field(default_factory=list)
    """Weights before the first and after each change."""
    written: list[dict[str, int]] = field(default_factory=list)
    """Requested writes."""
    errors: int = 0
    """Number of next calls that fail."""
    ignores_writes: bool = False
    """Acknowledge writes without applying them."""
    before_write: Callable[[], object] = lambda: None
    after_write: Callable[[], object] = lambda: None

    def __post_init__(self) -> None:
        self.history.append(self.weights)

    @property
    def weights(self) -> dict[str, int]:
        return {name: origin.weight for name, origin in self.origins.items()}

    def change(self, name: str, **values: object) -> None:
        self.origins[name] = replace(self.origins[name], **values)  # type: ignore[arg-type] # fields of an origin
        self.history.append(self.weights)

    def read(self) -> CdnState:
        self._maybe_fail()
        return CdnState(origins=dict(self.origins), affinity=self.affinity)

    def write(self, weights: Mapping[str, int]) -> None:
        self._maybe_fail()
        self.before_write()
        self.written.append(dict(weights))
        if not self.ignores_writes:
            # one by one, in the worst order
            for name, weight in sorted(weights.items(), key=lambda item: item[1]):
                self.change(name, weight=weight)
        self.after_write()

    def _maybe_fail(self) -> None:
        if self.errors:
            self.errors -= 1
            raise CdnError("not reachable")


@dataclass
class Traffic:
    """Behaviour of an origin."""

    milliseconds: float = 50
    error_rate: float = 0.0


@dataclass
class FakeMetrics:
    """Metrics of traffic that follows the weights of a CDN."""

    cdn: FakeCdn
    clock: Clock
    requests_per_second: float = 6
    origins: dict[str, Traffic] = field(default_factory=lambda: {OLD: Traffic(), NEW: Traffic()})
    weights: dict[str, int] | None = None
    """Weights in force at the edge, if they differ from those reported by the CDN."""
    alter: Callable[[Window], Window] = lambda window: window
    broken: bool = False

    def window(self, start: float, end: float) -> Window:
        if self.broken:
            raise MetricsError("no such file")
        weights = self.weights or self.cdn.weights
        total = (end - start) * self.requests_per_second
        samples = {
            name: sample(
                self.origins[name], round(total * weight / sum(weights.values())), start, end
            )
            for name, weight in weights.items()
        }
        return self.alter(
            Window(start=start, end=end, as_of=self.clock.now, unit="ms", samples=samples)
        )


def sample(traffic: Traffic, count: int, start: float = 0, end: float = INTERVAL) -> Sample:
    """Return `count` requests, evenly spread, with times around those of the traffic. The result is
    deterministic."""
    failing = round(count * traffic.error_rate)
    return Sample(
        began=tuple(start + (end - start) * (index + 0.5) / count for index in range(count)),
        times=_times(count, traffic.milliseconds),
        statuses=(*itertools.repeat(503, failing), *itertools.repeat(200, count - failing)),
    )


@lru_cache
def _times(count: int, milliseconds: float) -> tuple[float, ...]:
    generator = random.Random(count)
    return tuple(milliseconds * generator.lognormvariate(0, 0.4) for _ in range(count))


@dataclass
class FakeArt:
    """A comparison of art that returns a given result."""

    comparisons: tuple[Comparison, ...] = (
        Comparison(image="cat.jpg", same=True, detail="both 1234"),
    )
    problems: dict[str, str] = field(default_factory=dict)

    def compare(self) -> tuple[Comparison, ...]:
        return self.comparisons

    def problem(self, origin: str) -> str:
        return self.problems.get(origin, "")


class CrashingJournal(Journal):
    """A journal whose process is killed before or after writing its n-th record."""

    crash_at: int | None = None
    after: bool = False
    written = 0

    def append(self, record: Record) -> None:
        self.written += 1
        crashes = self.written == self.crash_at
        if crashes and not self.after:
            raise CrashError
        super().append(record)
        if crashes:
            raise CrashError


class World:
    """Two clouds, a CDN, and one journal. Each controller represents a new process."""

    def __init__(self, directory: Path) -> None:
        self.journal = directory / "journal"
        self.clock = Clock()
        self.cdn = FakeCdn()
        self.metrics = FakeMetrics(self.cdn, self.clock)
        self.art = FakeArt()
        self.said: list[str] = []

    @property
    def text(self) -> str:
        return "\n".join(self.said)

    def controller(self, journal: Journal) -> Controller:
        return Controller(
            journal=journal,
            cdn=self.cdn,
            metrics=self.metrics,
            art=self.art,
            objective=OBJECTIVE,
            say=self.said.append,
            clock=self.clock,
            sleep=self.clock.sleep,
        )

    def do(
        self, command: Callable[[Controller], Any], journal: Callable[[Path], Journal] = Journal
    ) -> Any:
        with journal(self.journal) as opened:
            return command(self.controller(opened))

    def plan(self) -> None:
        self.do(lambda controller: controller.plan(PLAN))

    def shift_to(self, weight: int) -> None:
        """Plan a shift and continue until the new origin has this weight, in percent."""
        self.plan()
        while self.cdn.weights[NEW] < weight:
            self.do(Controller.step)
