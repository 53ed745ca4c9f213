"""Needs and costs of a deployment on AWS under a load, and the limits that the load reaches.

    environment = Environment.load("prod", {"plain_http": "true", "pages_nobody": "true"})
    needed = capacity(Load(requests_per_second=1000), environment)
    print(needed.web_instances, needed.usd_a_month, needed.limits[0].name)

`bench/capacity.py` is the command, and docs/operations.md quotes its output.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Final

from asciist.limits import Limits
from operations.capacity.figures import MEASURED, STYLES, ResultsError, measured, rows
from operations.capacity.needs import KEYS_A_LIST, SQS_SECONDS, SWEEP_SECONDS, VCPUS, Load, Needs
from stacks.environment import Environment

__all__ = ["MEASURED", "Capacity", "Limit", "Load", "LoadError", "ResultsError", "capacity"]

HOURS: Final = 730
SECONDS: Final = 3600 * HOURS
"""Seconds of a month, as in AWS's examples."""

_MAX_REQUESTS_PER_SECOND: Final = 10_000_000
_DISK_GB, _FIREWALL_RULES, _ZONES, _COMPOSITE_ALARMS, _CANARY_METRICS = 8, 3, 2, 2, 2
_PROBE_GB: Final = 0.25
_AGENT_SERIES: Final = 4  # of a group's CloudWatch agents: memory, the disk, its file systems
_SUBNET_ADDRESSES: Final = 2 * (2**14 - 5)
"""Addresses of the private subnets, /18 in two zones of a network of /16, without those reserved by
AWS."""


class LoadError(ValueError):
    """A load is invalid. The message says why."""


@dataclass(frozen=True)
class Line:
    """A line of the bill of a month."""

    name: str
    units: float
    price: str
    """Key of the price."""

    @property
    def usd(self) -> float:
        return rows("prices")[self.price].price(self.units)


@dataclass(frozen=True, kw_only=True)
class Limit:
    """A limit, and the rate at which a load reaches it."""

    key: str
    """Key of the quota, or the name of the environment's maximum."""
    name: str
    value: float
    requests_per_second: float
    """Rate above which further requests do not fit; infinite if they do not use it."""
    raisable: str
    source: str
    """URL of the source, or the file that sets the limit."""
    is_own: bool
    """True for a maximum of the environment, or a constant of the stacks."""


@dataclass(frozen=True)
class Capacity(Needs):
    """Needs of a load, their costs, and the limits that it reaches."""

    @cached_property
    def lines(self) -> Sequence[Line]:
        """Lines of a month, free ones included."""
        return [
            *self._instances(),
            *self._network(),
            *self._storage_and_messages(),
            *self._observability(),
        ]

    @property
    def usd_a_month(self) -> float:
        return sum(line.usd for line in self.lines)

    @property
    def usd_a_thousand_requests(self) -> float | None:
        """USD; None without load."""
        requests = SECONDS * self.load.requests_per_second
        return 1000 * self.usd_a_month / requests if requests else None

    @cached_property
    def limits(self) -> Sequence[Limit]:
        """The environment's own limits, then AWS's, each in the order in which a growing load
        reaches them. Without load, the limits on the first request."""
        one = replace(self, load=replace(self.load, requests_per_second=1.0))
        busy = self if self.load.requests_per_second else one
        found = [*busy.own_limits(), *busy.limits_of_aws()]
        return sorted(found, key=lambda limit: (not limit.is_own, limit.requests_per_second))

    @property
    def limits_met(self) -> int:
        """Number of limits that this load exceeds."""
        return sum(map(self._exceeds, self.limits))

    @property
    def unverified(self) -> Sequence[str]:
        """Keys of the prices, quotas and assumptions without a confirmed source."""
        used = [rows("prices")[line.price] for line in self.lines if line.usd]
        used += [rows("quotas")[limit.key] for limit in self.limits if not limit.is_own]
        used += rows("assumptions").values()
        return [row.key for row in used if not row.verified]

    def first_limit(self, *, is_own: bool) -> Limit | None:
        """Return the first limit of the environment or of AWS that this load exceeds; None if it
        exceeds none."""
        met = (limit for limit in self.limits if limit.is_own is is_own and self._exceeds(limit))
        return next(met, None)

    def _exceeds(self, limit: Limit) -> bool:
        return limit.requests_per_second < self.load.requests_per_second

    def _instances(self) -> Iterator[Line]:
        environment, sizes = self.environment, self.environment.sizes
        web_type = environment.instance_type(sizes.web_instance_type)
        yield Line(f"web instances, {web_type}", HOURS * self.web_instances, f"ec2.{web_type}")
        if not self.uses_lambda:
            poller_type = environment.instance_type(sizes.poller_instance_type)
            yield Line(f"pollers, {poller_type}", HOURS * self.pollers, f"ec2.{poller_type}")
        yield Line("disks", _DISK_GB * (self.web_instances + self.pollers), "disk")
        architecture = environment.architecture
        if self.uses_lambda:
            invocations = SECONDS * self.load.fresh_per_second
            gigabytes = sizes.function_memory_mb / 1024
            duration = invocations * self.worker_seconds * gigabytes
            yield Line("Lambda: invocations", invocations, "lambda_request")
            yield Line("Lambda: duration", duration, f"lambda_{architecture}")
            if sizes.function_provisioned:
                ready = SECONDS * sizes.function_provisioned * gigabytes
                yield Line("Lambda: provisioned", ready, f"lambda_provisioned_{architecture}")
        probing = HOURS * 60 * rows("assumptions")["probe_seconds"].value * _PROBE_GB
        yield Line("probe", probing, f"lambda_{architecture}")

    def _network(self) -> Iterator[Line]:
        environment, gateways = self.environment, self.environment.sizes.nat_gateways
        requests = SECONDS * self.load.requests_per_second
        units = HOURS * max(self.capacity_units.values())
        yield Line("load balancer: hours", HOURS, "load_balancer")
        yield Line("load balancer: units", units, "load_balancer_unit")
        yield Line("NAT gateways: hours", HOURS * gateways, "nat_gateway")
        yield Line("NAT gateways: data", self.nat_bytes * SECONDS / 1e9, "nat_data")
        yield Line("public IPv4 addresses", HOURS * (_ZONES + gateways), "public_address")
        answers = requests * measured()["answer_bytes"] / 1e9
        yield Line("data to the internet", answers, "transfer_out")
        if environment.firewall:
            yield Line("firewall", 1, "firewall")
            yield Line("firewall: rules", _FIREWALL_RULES + bool(environment.cdn), "firewall_rule")
            yield Line("firewall: requests", requests, "firewall_request")

    def _storage_and_messages(self) -> Iterator[Line]:
        load, environment, sizes = self.load, self.environment, self.environment.sizes
        yield Line("S3: PUT and LIST requests", SECONDS * self.s3_puts_and_lists, "s3_put")
        yield Line("S3: GET requests", SECONDS * self.s3_gets, "s3_get")
        a_request = load.upload_bytes + measured()["art_bytes"]
        stored = sizes.artifact_days * 86_400 * load.fresh_per_second * a_request
        if environment.access_logs:
            line = rows("assumptions")["access_log_bytes"].value
            stored += sizes.access_log_days * 86_400 * load.requests_per_second * line
        yield Line("S3: storage", stored / 1e9, "s3_storage")
        yield Line("SQS: requests", SECONDS * sum(self.sqs_calls.values()), "sqs")
        yield Line("secrets", 1 + bool(environment.cdn) + bool(environment.peer_store), "secret")

    def _observability(self) -> Iterator[Line]:
        environment = self.environment
        of_web, of_workers = (
            SECONDS * per_second / 1e9 for per_second in (self.web_log_bytes, self.worker_log_bytes)
        )
        of_instances = of_web if self.uses_lambda else of_web + of_workers
        yield Line("logs of instances", of_instances, "log")
        if self.uses_lambda:
            yield Line("logs of the function", of_workers, "function_log")
        kept = (of_web + of_workers) * environment.sizes.log_days / (HOURS / 24)
        compressed = kept * rows("assumptions")["log_compression"].value
        yield Line("logs: storage", compressed, "log_storage")
        series = measured()["metric_series"] if self.load.requests_per_second else 0
        groups = 1 if self.uses_lambda else 2
        yield Line("custom metrics", series + _AGENT_SERIES * groups, "metric")
        # The metrics that the alarms of the templates use.
        alarms = (49 if self.uses_lambda else 48) + bool(environment.domain)
        alarms += _CANARY_METRICS if environment.canary and self.uses_lambda else 0
        # Target tracking has two alarms for each policy, which CloudFormation does not show. A
        # group tracks its CPU, and an expression of two metrics.
        alarms += 2 * (1 + 2) * groups
        yield Line("alarms: metrics", alarms, "alarm")
        yield Line("composite alarms", _COMPOSITE_ALARMS, "composite_alarm")
        yield Line("dashboard", 1, "dashboard")

    def own_limits(self) -> Iterator[Limit]:
        sizes, fresh_share = self.environment.sizes, 1 - self.load.hit_share
        file = f"environments/{self.environment.environment}.toml"
        web, workers = sizes.web_max_instances, sizes.worker_max_concurrency
        pollers = sizes.poller_max_instances
        yield _own("web_max_instances", web, web * self.web_rate, file)
        if self.uses_lambda:
            rate = _rate(workers, fresh_share * self.worker_seconds)
            yield _own("worker_max_concurrency", workers, rate, file)
        else:
            rate = _rate(pollers * self.poller_rate, fresh_share)
            yield _own("poller_max_instances", pollers, rate, file)
        rate = _rate(_SUBNET_ADDRESSES, self._instances_per_request)
        yield _own("addresses of the private subnets", _SUBNET_ADDRESSES, rate, "stacks/network.py")

    def limits_of_aws(self) -> Iterator[Limit]:
        rate, fresh_share = self.load.requests_per_second, 1 - self.load.hit_share
        gateways, quotas = self.environment.sizes.nat_gateways, rows("quotas")
        workers = fresh_share * self.worker_seconds
        whole = VCPUS * (quotas["vcpus"].value // VCPUS) / quotas["vcpus"].value
        yield _of_aws("vcpus", VCPUS * self._instances_per_request, whole)
        yield _of_aws("targets", 1 / self.web_rate)
        yield _of_aws("load_balancer_units", max(self.capacity_units.values()) / rate)
        if self.environment.firewall:
            yield _of_aws("firewall_requests", 1)
        yield _of_aws("s3_put", 2 * fresh_share)
        yield _of_aws("s3_get", 1 + fresh_share)
        if self.uses_reply_queues:
            # The number of lists grows with the square of the number of processes.
            processes = math.sqrt(quotas["s3_get"].value * SWEEP_SECONDS * KEYS_A_LIST)
            lists = quotas["s3_get"].value / processes * VCPUS / self.web_rate
            name = "S3: LIST requests/s of the registry of reply queues"
            yield replace(_of_aws("s3_get", lists), name=name)
        yield _of_aws("sqs_in_flight", workers)
        if self.uses_lambda:
            yield _of_aws("lambda_concurrency", workers)
            yield _of_aws("event_source_concurrency", workers)
        # A connection of each worker, the long poll of each web process, and the sends in progress.
        polls = VCPUS / self.web_rate if self.uses_reply_queues else 0.0
        yield _of_aws("nat_connections", workers + polls + fresh_share * SQS_SECONDS, gateways)
        yield _of_aws("nat_gbps", 8 * self.nat_bytes / rate / 1e9, gateways)

    @property
    def _instances_per_request(self) -> float:
        """Instances of both tiers needed for one request per second."""
        pollers = 0.0 if self.uses_lambda else (1 - self.load.hit_share) / self.poller_rate
        return 1 / self.web_rate + pollers


def capacity(load: Load, environment: Environment) -> Capacity:
    """Return the needs and costs of a load in us-east-1, and the limits that it reaches. Raises
    LoadError."""
    if mistakes := _mistakes(load, environment.settings.limits):
        raise LoadError("; ".join(mistakes))
    return Capacity(load, environment)


def _mistakes(load: Load, limits: Limits) -> list[str]:
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
        styles = ", ".join(STYLES)
        mistakes.append(
            f"the style must be one of {styles}, whose times are measured, not {load.style!r}"
        )
    return mistakes


def _own(name: str, value: float, rate: float, source: str) -> Limit:
    return Limit(
        key=name,
        name=name,
        value=value,
        requests_per_second=rate,
        raisable="yes",
        source=source,
        is_own=True,
    )


def _of_aws(key: str, used_per_request: float, times: float = 1) -> Limit:
    """Return a quota available `times` times. Each request per second uses `used_per_request` of
    it."""
    quota = rows("quotas")[key]
    return Limit(
        key=key,
        name=quota.name,
        value=quota.value,
        requests_per_second=_rate(quota.value * times, used_per_request),
        raisable=quota.raisable,
        source=quota.source,
        is_own=False,
    )


def _rate(limit: float, used_per_request: float) -> float:
    return limit / used_per_request if used_per_request > 0 else math.inf
