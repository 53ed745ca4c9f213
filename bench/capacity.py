"""Print the needs and costs of a deployment on AWS under load, and the limits it would reach.

    python -m bench.capacity --environment prod --requests-per-second 0 10 1000

Each rate is a column. Capacity beyond the environment's maxima is priced as if they were raised.
Prices are list prices of us-east-1. The computation is in operations/capacity, with the source of
each figure.
"""

import argparse
import math
import textwrap
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from operations.capacity import Capacity, Limit, Load, LoadError, ResultsError, capacity
from operations.capacity.figures import measured
from stacks.environment import CHOICES, Environment
from stacks.values import ContextError

_DEPLOYABLE = {"plain_http": "true", "pages_nobody": "true"}
"""Values that make a file valid before its domain and its recipient of alarms are filled in."""
_NOT_COUNTED = (
    "Not counted: the images that the probe sends (one a minute, deleted at once), CloudFront, free"
    " tiers, discounts, tax, the flow log, repeated messages, traffic between zones, addresses that"
    " the load balancer adds, surplus credits of burstable instances, and Datadog."
)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = _parser()
    given = parser.parse_args(arguments)
    overrides = _DEPLOYABLE | ({"worker": given.worker} if given.worker else {})
    try:
        environment = Environment.load(given.environment, overrides)
        found = [
            capacity(
                Load(
                    requests_per_second=rate,
                    megapixels=given.megapixels,
                    image_bytes=given.image_bytes,
                    hit_share=given.hit_share,
                    style=given.style,
                ),
                environment,
            )
            for rate in given.requests_per_second
        ]
    except (ContextError, LoadError, ResultsError) as error:
        parser.error(str(error))
    print("\n".join(line.rstrip() for line in _lines(found)))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m bench.capacity",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )

    def add(name: str, of: Callable[[str], Any], default: object, metavar: str, text: str) -> None:
        parser.add_argument(name, type=of, default=default, metavar=metavar, help=text)

    parser.add_argument(
        "--requests-per-second",
        type=float,
        nargs="+",
        default=[10.0],
        metavar="N",
        help="rates; default: 10",
    )
    add("--megapixels", float, Load.megapixels, "M", "of each image; default: 2")
    quality = "of each image; default: those of a JPEG of quality 95"
    add("--image-bytes", int, 0, "BYTES", quality)
    add("--hit-share", float, 0.0, "H", "requests with stored art, 0 to 1; default: 0")
    add("--style", str, Load.style, "STYLE", "structure or ramp; default: structure")
    add("--environment", str, "prod", "NAME", "a file of environments/; default: prod")
    parser.add_argument(
        "--worker", choices=CHOICES["worker"], help="default: that of the environment"
    )
    return parser


def _lines(columns: Sequence[Capacity]) -> Iterator[str]:
    """Yield a table with a column for each load. The loads differ only in their rate."""

    def row(label: str, cell: Callable[[Capacity], str]) -> str:
        return f"{label:<36}" + "".join(f"{cell(each):>13}" for each in columns)

    first, load = columns[0], columns[0].load
    yield (
        f"{first.environment.environment}, worker {first.environment.worker}:"
        f" {load.megapixels:g} megapixels, {load.upload_bytes:,} bytes, {load.style},"
        f" {load.hit_share:.0%} hits"
    )
    yield ""
    yield row("requests per second", lambda each: f"{each.load.requests_per_second:,.15g}")
    yield row("web instances", lambda each: f"{each.web_instances:,}")
    yield row("  bound by", lambda each: each.web_bound)
    if first.uses_lambda:
        yield row("worker concurrency", lambda each: f"{each.worker_concurrency:,}")
        yield row("  minutes to reach it", _minutes)
    else:
        yield row("pollers", lambda each: f"{each.pollers:,}")
    yield row("load-balancer units are set by", lambda each: each.capacity_unit_of)
    yield ""
    yield "USD a month"
    for lines in zip(*(each.lines for each in columns), strict=True):
        yield f"{'  ' + lines[0].name:<36}" + "".join(f"{_usd(line.usd):>13}" for line in lines)
    yield row("total", lambda each: _usd(each.usd_a_month))
    yield row("USD for a thousand requests", _thousand)
    yield ""
    yield "first limit of the environment, of AWS"
    for each in columns:
        own, of_aws = (_shown(each.first_limit(is_own=is_own)) for is_own in (True, False))
        met = f"{each.limits_met} of {len(each.limits)} limits"
        yield f"  at {each.load.requests_per_second:,.15g} requests/s: {own}; {of_aws}; {met}"
    yield ""
    yield from _limits(columns[-1])
    yield ""
    yield from _notes(columns)


def _limits(needed: Capacity) -> Iterator[str]:
    yield f"{'limits':<62}{'met at, requests/s':>18}  raisable"
    for limit in needed.limits:
        rate = limit.requests_per_second
        met_at = "never" if math.isinf(rate) else f"{rate:,.0f}"
        yield f"  {limit.name}: {limit.value:,.0f}".ljust(62) + f"{met_at:>18}  {limit.raisable}"
        yield f"      {limit.source}"
    if needed.address_requests_per_second is not None:
        yield (
            f"  The firewall allows one address {needed.address_requests_per_second:g} requests/s"
            " (requests_per_address)."
        )


def _notes(columns: Sequence[Capacity]) -> Iterator[str]:
    unverified = dict.fromkeys(key for each in columns for key in each.unverified)
    yield from textwrap.wrap(f"Unverified: {', '.join(unverified)}.", 120)
    yield from textwrap.wrap(_NOT_COUNTED, 120)
    machine = measured()["machine"]
    yield f"CPU times: {machine}, taken to be the same on the instances and in the function."


def _usd(usd: float) -> str:
    return f"{usd:,.2f}" if usd < 10_000 else f"{usd:,.0f}"


def _minutes(needed: Capacity) -> str:
    minutes = needed.worker_growth_minutes
    return "never" if minutes is None else f"{minutes:,.1f}"


def _thousand(needed: Capacity) -> str:
    usd = needed.usd_a_thousand_requests
    return "" if usd is None else f"{usd:.4f}"


def _shown(limit: Limit | None) -> str:
    if limit is None:
        return "none"
    return f"{limit.name} {limit.value:,.0f} at {limit.requests_per_second:,.0f}"


if __name__ == "__main__":
    main()
