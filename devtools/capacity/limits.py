"""The limits on the way to a load: the maxima of the environment, and the quotas of AWS.

Each is met at a rate of requests, because what a load uses grows in proportion to its rate.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from devtools.capacity.costs import KEYS_A_LIST, SWEEP_SECONDS, Costs
from devtools.capacity.sizing import VCPUS, Sizing
from devtools.capacity.tables import assumptions, quotas

_SUBNET_ADDRESSES: Final = 2 * (2**14 - 5)
"""Addresses of the private subnets, /18 in two zones of a network of /16, less those that AWS reserves."""


@dataclass(frozen=True, kw_only=True)
class Limit:
    """A limit, and the rate at which a load meets it."""

    key: str
    """Key of the quota, or the name of the environment's maximum."""
    name: str
    value: float
    requests_per_second: float
    """Rate from which on more requests do not fit; infinite if they use nothing of it."""
    raisable: str
    """`yes`, `no`, or how to get more."""
    source: str
    """URL of the source, or the file that sets the limit."""
    is_own: bool
    """True for a maximum of the environment, or a constant of the stacks."""
    verified: bool


def limits(costs: Costs) -> list[Limit]:
    """Return all limits for a load of more than nothing: the environment's own, then those of AWS, each in the order in which a
    growing load meets them.
    """
    found = [*_own(costs.sizing), *_of_aws(costs)]
    return sorted(found, key=lambda limit: (not limit.is_own, limit.requests_per_second))


def _own(sizing: Sizing) -> Iterator[Limit]:
    sizes, fresh_share = sizing.environment.sizes, 1 - sizing.load.hit_share
    file = f"environments/{sizing.environment.environment}.toml"

    def own(name: str, value: float, rate: float, source: str = file) -> Limit:
        return Limit(
            key=name,
            name=name,
            value=value,
            requests_per_second=rate,
            raisable="yes",
            source=source,
            is_own=True,
            verified=True,
        )

    yield own("web_max_instances", sizes.web_max_instances, sizes.web_max_instances * sizing.web_rate)
    if sizing.uses_lambda:
        concurrency = sizes.worker_max_concurrency
        yield own("worker_max_concurrency", concurrency, _rate(concurrency, fresh_share * sizing.worker_seconds))
    else:
        rate = _rate(sizes.poller_max_instances * sizing.poller_rate, fresh_share)
        yield own("poller_max_instances", sizes.poller_max_instances, rate)
    rate = _rate(_SUBNET_ADDRESSES, _instances_per_request(sizing))
    yield own("addresses of the private subnets", _SUBNET_ADDRESSES, rate, "stacks/network.py")


def _of_aws(costs: Costs) -> Iterator[Limit]:
    sizing = costs.sizing
    rate, fresh_share = sizing.load.requests_per_second, 1 - sizing.load.hit_share
    gateways = sizing.environment.sizes.nat_gateways

    def of_aws(key: str, used_per_request: float, times: float = 1, name: str = "") -> Limit:
        """Return a quota that the deployment has several times, and of which each request per second uses a part."""
        quota = quotas()[key]
        return Limit(
            key=key,
            name=name or quota.name,
            value=quota.value,
            requests_per_second=_rate(quota.value * times, used_per_request),
            raisable=quota.raisable,
            source=quota.source,
            is_own=False,
            verified=quota.verified,
        )

    whole = VCPUS * (quotas()["vcpus"].value // VCPUS) / quotas()["vcpus"].value
    yield of_aws("vcpus", VCPUS * _instances_per_request(sizing), whole)
    yield of_aws("targets", 1 / sizing.web_rate)
    yield of_aws("load_balancer_units", max(costs.capacity_units.values()) / rate)
    if sizing.environment.firewall:
        yield of_aws("firewall_requests", 1)
    yield of_aws("s3_put", 2 * fresh_share)
    yield of_aws("s3_get", 1 + fresh_share)
    if sizing.uses_reply_queues:
        # The number of lists grows with the square of the number of processes.
        processes = math.sqrt(quotas()["s3_get"].value * SWEEP_SECONDS * KEYS_A_LIST)
        lists_per_request = quotas()["s3_get"].value / processes * VCPUS / sizing.web_rate
        yield of_aws("s3_get", lists_per_request, name="S3: LIST requests/s of the registry of reply queues")
    yield of_aws("sqs_in_flight", fresh_share * sizing.worker_seconds)
    if sizing.uses_lambda:
        yield of_aws("lambda_concurrency", fresh_share * sizing.worker_seconds)
        yield of_aws("event_source_concurrency", fresh_share * sizing.worker_seconds)
    yield of_aws("nat_connections", _connections_per_request(sizing), gateways)
    yield of_aws("nat_gbps", 8 * costs.nat_bytes / rate / 1e9, gateways)


def _connections_per_request(sizing: Sizing) -> float:
    """Return the connections to SQS through the NAT gateways that one request per second keeps open.

    Those are a connection of each worker, the long poll of each web process, and the sends that are in progress.
    """
    fresh_share = 1 - sizing.load.hit_share
    workers = fresh_share * sizing.worker_seconds
    polls = VCPUS / sizing.web_rate if sizing.uses_reply_queues else 0.0
    return workers + polls + fresh_share * assumptions()["sqs_call_ms"].value / 1000


def _instances_per_request(sizing: Sizing) -> float:
    """Return the instances of both tiers that one request per second needs."""
    pollers = 0.0 if sizing.uses_lambda else (1 - sizing.load.hit_share) / sizing.poller_rate
    return 1 / sizing.web_rate + pollers


def _rate(limit: float, used_per_request: float) -> float:
    return limit / used_per_request if used_per_request > 0 else float("inf")
