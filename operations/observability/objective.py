"""The service-level objective, read from `slo.toml`."""

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_FILE: Final = Path(__file__).with_name("slo.toml")


@dataclass(frozen=True, kw_only=True)
class Burn:
    """Burn rate of the error budget that pages a person, and the two windows for measuring it."""

    rate: float
    """Multiple of the rate that spends the error budget in exactly `window_days`."""
    long_minutes: int
    short_minutes: int


@dataclass(frozen=True, kw_only=True)
class Objective:
    """In any `window_days`, at least `target_percent` of requests are answered without a 5xx within
    `slow_after_seconds`."""

    target_percent: float
    window_days: int
    slow_after_seconds: float
    burns: tuple[Burn, Burn]
    """The fast burn rate, then the slow one."""

    @property
    def slow_after_ms(self) -> float:
        return 1000 * self.slow_after_seconds

    @property
    def budget_percent(self) -> float:
        """The error budget: permitted percentage of bad requests."""
        return round(100 - self.target_percent, 6)  # not 0.0999...

    def bad_percent(self, burn: Burn) -> float:
        """Percentage of bad requests while the budget is spent at the rate of `burn`."""
        return round(burn.rate * self.budget_percent, 6)  # not 1.43999...


def _read() -> Objective:
    content = tomllib.loads(_FILE.read_text())
    fast, slow = (Burn(**burn) for burn in content.pop("burn"))
    return Objective(**content, burns=(fast, slow))


OBJECTIVE: Final = _read()
"""The objective of every deployment."""
