"""The computation as one function."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from asciist.limits import Limits
from devtools.capacity.costs import SECONDS, Costs, Line
from devtools.capacity.limits import Limit, limits
from devtools.capacity.sizing import Load, Sizing
from devtools.capacity.tables import STYLES, Row, assumptions, prices, quotas
from stacks.environment import Environment

_MAX_REQUESTS_PER_SECOND: Final = 10_000_000
_RATE_SECONDS: Final = 300
"""Seconds over which the firewall counts the requests of an address (stacks/edge.py)."""


class LoadError(ValueError):
    """A load is invalid. The message says why."""


@dataclass(frozen=True, kw_only=True)
class Capacity:
    """Needs of a load, and their costs. The environment's maxima do not bound them: they are limits."""

    load: Load
    environment: str
    worker: str
    web_instances: int
    web_bound: str
    """Bound on the requests of a web instance: `CPU`, `in flight` (requests), or `replies` (from its queues)."""
    worker_concurrency: int
    """Concurrent invocations of the function; 0 for pollers."""
    pollers: int
    worker_ms: float
    """Duration of a message in a worker, in milliseconds."""
    worker_growth_minutes: float | None
    """Minutes that Lambda takes to reach the concurrency, after no load; None if one queue cannot, and 0 for pollers."""
    capacity_unit_of: str
    """Use that decides the number of load-balancer capacity units: `opening` (connections), `connections`, `bytes` or `rules`.

    Empty without load.
    """
    address_requests_per_second: float | None
    """Requests per second above which the firewall refuses those of one client address; None without a firewall."""
    lines: Sequence[Line]
    limits: Sequence[Limit]
    """The environment's own limits, then those of AWS, each in the order in which a growing load meets them."""
    unverified: Sequence[str]
    """Keys of the prices, quotas and assumptions that no source confirms."""

    @property
    def usd_a_month(self) -> float:
        return sum(line.usd for line in self.lines)

    @property
    def usd_a_thousand_requests(self) -> float | None:
        """USD; None without load."""
        requests = SECONDS * self.load.requests_per_second
        return 1000 * self.usd_a_month / requests if requests else None

    @property
    def limits_met(self) -> int:
        """Number of limits that this load exceeds."""
        return sum(limit.requests_per_second < self.load.requests_per_second for limit in self.limits)

    def first_limit(self, *, is_own: bool) -> Limit | None:
        """Return the first limit of the environment or of AWS that this load exceeds; None if it exceeds none."""
        met = (limit for limit in self.limits if limit.is_own is is_own)
        return next((limit for limit in met if limit.requests_per_second < self.load.requests_per_second), None)


def capacity(load: Load, environment: Environment) -> Capacity:
    """Return what a load needs of a deployment in us-east-1, what it costs, and the limits on the way. Raises LoadError."""
    if mistakes := _mistakes(load):
        raise LoadError("; ".join(mistakes))
    costs = Costs(Sizing(load, environment))
    sizing, lines = costs.sizing, costs.lines()
    # Without load, the limits are those of the first request.
    busy = costs if load.requests_per_second else Costs(Sizing(replace(load, requests_per_second=1.0), environment))
    units, met = costs.capacity_units, limits(busy)
    return Capacity(
        load=load,
        environment=environment.environment,
        worker=environment.worker,
        web_instances=sizing.web_instances,
        web_bound=min(sizing.web_rates, key=lambda name: sizing.web_rates[name]),
        worker_concurrency=sizing.concurrency,
        pollers=sizing.pollers,
        worker_ms=1000 * sizing.worker_seconds,
        worker_growth_minutes=_growth_minutes(sizing.concurrency),
        capacity_unit_of=max(units, key=lambda name: units[name]) if load.requests_per_second else "",
        address_requests_per_second=environment.sizes.requests_per_address / _RATE_SECONDS if environment.firewall else None,
        lines=lines,
        limits=met,
        unverified=_unverified(lines, met),
    )


def _growth_minutes(concurrency: int) -> float | None:
    figures = quotas()
    if concurrency > figures["event_source_concurrency"].value:
        return None
    of_function = concurrency / figures["lambda_growth"].value * 10 / 60
    return max(of_function, concurrency / figures["event_source_growth"].value)


def _unverified(lines: Sequence[Line], limits: Sequence[Limit]) -> list[str]:
    used: list[Row] = [prices()[line.price] for line in lines if line.usd]
    used += [quotas()[limit.key] for limit in limits if not limit.is_own]
    used += assumptions().values()
    return [row.key for row in used if not row.verified]


def _mistakes(load: Load) -> list[str]:
    limits = Limits()
    ranges = (
        ("requests per second", load.requests_per_second, 0, _MAX_REQUESTS_PER_SECOND),
        ("the share of hits", load.hit_share, 0, 1),
        ("megapixels", load.megapixels, 0.01, limits.max_image_pixels / 1e6),
        ("the size of an image in bytes", load.image_bytes, 0, limits.max_image_bytes),
    )
    mistakes = [
        f"{name} must be from {low:,} to {high:,.15g}, not {value}"
        for name, value, low, high in ranges
        if not (math.isfinite(value) and low <= value <= high)
    ]
    if load.style not in STYLES:
        mistakes.append(f"the style must be one of {', '.join(STYLES)}, whose times are measured, not {load.style!r}")
    return mistakes
