"""Capacities as a table in plain text, with a column for each load, and as JSON."""

import dataclasses
import json
import math
import textwrap
from collections.abc import Iterable, Iterator, Sequence

from devtools.capacity.limits import Limit
from devtools.capacity.model import Capacity
from devtools.capacity.tables import measured

_WIDTH = 120
_LABEL_WIDTH = 36
_CELL_WIDTH = 13


_NOT_COUNTED = (
    "Not counted: the images that the probe sends (one a minute, deleted at once), CloudFront, free tiers, discounts, tax, the "
    "flow log, repeated messages, traffic between zones, addresses that the load balancer adds, surplus credits of burstable "
    "instances, and Datadog."
)


def as_json(capacities: Sequence[Capacity]) -> str:
    """Return a JSON array with an object for each load. A limit that the load can never meet has no rate."""
    return json.dumps([_fields(each) for each in capacities], indent=2, allow_nan=False)


def as_text(capacities: Sequence[Capacity]) -> str:
    """Return a table for loads that differ in their rate only, without a newline at its end."""
    return "\n".join(line.rstrip() for line in _text(capacities))


def _fields(capacity: Capacity) -> dict[str, object]:
    fields = dataclasses.asdict(capacity)
    for limit in fields["limits"]:
        if math.isinf(limit["requests_per_second"]):
            limit["requests_per_second"] = None
    totals = {"usd_a_month": capacity.usd_a_month, "usd_a_thousand_requests": capacity.usd_a_thousand_requests}
    return fields | totals | {"image_bytes": capacity.load.upload_bytes}


def _text(capacities: Sequence[Capacity]) -> Iterator[str]:
    first = capacities[0]
    load = first.load
    kind = f"{load.megapixels:g} megapixels, {load.upload_bytes:,} bytes, {load.style}, {load.hit_share:.0%} hits"
    yield f"{first.environment}, worker {first.worker}: {kind}"
    yield ""
    yield _row("requests per second", (f"{each.load.requests_per_second:,.15g}" for each in capacities))
    yield _row("web instances", (f"{each.web_instances:,}" for each in capacities))
    yield _row("  bound by", (each.web_bound for each in capacities))
    if first.worker == "lambda":
        yield _row("worker concurrency", (f"{each.worker_concurrency:,}" for each in capacities))
        yield _row("  minutes to reach it", (_minutes(each) for each in capacities))
    else:
        yield _row("pollers", (f"{each.pollers:,}" for each in capacities))
    yield _row("load-balancer units are set by", (each.capacity_unit_of for each in capacities))
    yield ""
    yield "USD a month"
    for lines in zip(*(each.lines for each in capacities), strict=True):
        yield _row(f"  {lines[0].name}", (_usd(line.usd) for line in lines))
    yield _row("total", (_usd(each.usd_a_month) for each in capacities))
    yield _row("USD for a thousand requests", (_thousand(each) for each in capacities))
    yield ""
    yield "first limit of the environment, of AWS"
    for each in capacities:
        own, of_aws = (_shown(each.first_limit(is_own=is_own)) for is_own in (True, False))
        met = f"{each.limits_met} of {len(each.limits)} limits"
        yield f"  at {each.load.requests_per_second:,.15g} requests/s: {own}; {of_aws}; {met}"
    yield ""
    yield from _limits(capacities[-1].limits)
    if first.address_requests_per_second is not None:
        yield f"  The firewall allows one address {first.address_requests_per_second:g} requests/s (requests_per_address)."
    yield ""
    unverified = dict.fromkeys(key for each in capacities for key in each.unverified)
    yield from textwrap.wrap(f"Unverified: {', '.join(unverified)}.", _WIDTH)
    yield from textwrap.wrap(_NOT_COUNTED, _WIDTH)
    yield f"CPU times: {measured().machine}, taken to be the same on the instances and in the function."


def _limits(limits: Sequence[Limit]) -> Iterator[str]:
    yield f"{'limits':<62}{'met at, requests/s':>18}  raisable"
    for limit in limits:
        rate = "never" if math.isinf(limit.requests_per_second) else f"{limit.requests_per_second:,.0f}"
        yield f"  {limit.name}: {limit.value:,.0f}".ljust(62) + f"{rate:>18}  {limit.raisable}"
        yield f"      {limit.source}"


def _row(label: str, cells: Iterable[str]) -> str:
    return f"{label:<{_LABEL_WIDTH}}" + "".join(f"{cell:>{_CELL_WIDTH}}" for cell in cells)


def _usd(usd: float) -> str:
    return f"{usd:,.2f}" if usd < 10_000 else f"{usd:,.0f}"


def _minutes(capacity: Capacity) -> str:
    minutes = capacity.worker_growth_minutes
    return "never" if minutes is None else f"{minutes:,.1f}"


def _thousand(capacity: Capacity) -> str:
    usd = capacity.usd_a_thousand_requests
    return "" if usd is None else f"{usd:.4f}"


def _shown(limit: Limit | None) -> str:
    return "none" if limit is None else f"{limit.name} {limit.value:,.0f} at {limit.requests_per_second:,.0f}"
