"""The service-level objective, read from `slo.toml`."""

import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

_FILE: Final = Path(__file__).with_name("slo.toml")


@dataclass(frozen=True, kw_only=True)
class Burn:
    """A pace of spending the error budget that wakes someone."""

    rate: float
    """Times the pace at which the budget lasts exactly for the window."""
    long_minutes: int
    short_minutes: int


@dataclass(frozen=True, kw_only=True)
class Objective:
    """Of the requests in `window_days`, `target_percent` are good: answered without a 5xx in `slow_after_seconds`."""

    target_percent: float
    window_days: int
    slow_after_seconds: float
    burns: tuple[Burn, Burn]
    """The fast one first."""

    def bad_percent(self, burn: Burn) -> float:
        """The share of bad requests, in percent, at which the budget is spent at the pace of `burn`."""
        return round(burn.rate * (100 - self.target_percent), 6)  # and not 1.43999...


@cache
def objective() -> Objective:
    """The objective of every deployment."""
    promise = tomllib.loads(_FILE.read_text())
    fast, slow = (Burn(**burn) for burn in promise.pop("burn"))
    return Objective(**promise, burns=(fast, slow))
