"""The money that a load costs a month, by line.

What is counted follows the code: the calls of both tiers to S3 and SQS, batches of one message, long polls, the registry of
reply queues, and the traffic through the NAT gateways, which all calls but those to S3 take.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from asciist.conversion import ConversionOptions
from asciist.protocol.messages import ConversionReply, ConversionRequest, Trace
from asciist.protocol.read_only import POLL_SECONDS
from devtools.capacity.sizing import REPLIES_A_POLL, VCPUS, Sizing
from devtools.capacity.tables import assumptions, measured, prices

HOURS: Final = 730
SECONDS: Final = 3600 * HOURS
"""A month, as AWS computes its examples."""
_DAYS: Final = HOURS / 24

DISK_GB: Final = 8
FIREWALL_RULES: Final = 3
ZONES: Final = 2
COMPOSITE_ALARMS: Final = 2
_CANARY_METRICS: Final = 2
_PROBE_GB: Final = 0.25
AGENT_SERIES: Final = 4
"""Time series that the CloudWatch agents of a group report, at most: memory, and the disk with and without its file system."""
_LONG_POLL_SECONDS: Final = 20
_POLLER_WAIT_SECONDS: Final = 1
_LAMBDA_POLLERS: Final = 5
"""Long polls of Lambda at a queue without messages, for a mapping with a maximum concurrency
(https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-scaling.html)."""
_HEARTBEAT_SECONDS: Final = 60
SWEEP_SECONDS: Final = 150
KEYS_A_LIST: Final = 1000
_NEW_CONNECTIONS, _ACTIVE_CONNECTIONS, _GB_AN_HOUR, _EVALUATIONS = 25, 3000, 1, 1000
"""Use that a load-balancer capacity unit covers (https://handbook.vantage.sh/aws/services/elb-pricing)."""
_RULES: Final = 1
"""Rules of a listener; the first ten are free."""
_FREE_RULES: Final = 10


@dataclass(frozen=True, kw_only=True)
class Line:
    """A line of the bill."""

    name: str
    units: float
    """Units a month."""
    unit: str
    usd: float
    """USD a month."""
    price: str
    """Key of the price."""


@dataclass(frozen=True)
class Costs:
    """Use of a deployment under a load, and its price."""

    sizing: Sizing

    def lines(self) -> list[Line]:
        """Return the lines of a month, those of no price included."""
        return [*self._instances(), *self._network(), *self._storage_and_messages(), *self._observability()]

    @cached_property
    def capacity_units(self) -> dict[str, float]:
        """Load-balancer capacity units by what they measure. The largest is billed. Every request has its own connection."""
        load = self.sizing.load
        gigabytes = load.requests_per_second * (load.upload_bytes + measured().answer_bytes) * 3600 / 1e9
        return {
            "opening": load.requests_per_second / _NEW_CONNECTIONS,
            "connections": load.requests_per_second * self.sizing.response_seconds / _ACTIVE_CONNECTIONS,
            "bytes": gigabytes / _GB_AN_HOUR,
            "rules": load.requests_per_second * max(0, _RULES - _FREE_RULES) / _EVALUATIONS,
        }

    @cached_property
    def s3_puts(self) -> float:
        """PUT requests per second: images, art, and the heartbeats of reply queues."""
        sizing = self.sizing
        heartbeats = sizing.web_processes / _HEARTBEAT_SECONDS if sizing.uses_reply_queues else 0.0
        return 2 * sizing.load.fresh_per_second + heartbeats

    @cached_property
    def s3_lists(self) -> float:
        """LIST requests per second: every web process lists all reply queues, a thousand at once, and looks for the marker."""
        if not self.sizing.uses_reply_queues:
            return self._marker_looks
        processes = self.sizing.web_processes
        return processes * math.ceil(processes / KEYS_A_LIST) / SWEEP_SECONDS + self._marker_looks

    @cached_property
    def s3_gets(self) -> float:
        """GET requests per second: a look for the art of each request, the worker's for the image, and those for the marker."""
        return self.sizing.load.requests_per_second + self.sizing.load.fresh_per_second + self._marker_looks

    @property
    def _marker_looks(self) -> float:
        """Looks per second for the marker of the read-only mode. Each is a GET and, if it is absent, a LIST."""
        return self.sizing.web_processes / POLL_SECONDS if self.sizing.environment.peer_store else 0.0

    @cached_property
    def _reply_polls(self) -> float:
        """Receive calls per second of all web processes. A call receives what has arrived since the last, up to ten replies."""
        fresh = self._replies_a_process
        return self.sizing.web_processes * max(1 / _LONG_POLL_SECONDS, fresh / self._replies_a_poll)

    @property
    def _replies_a_process(self) -> float:
        return self.sizing.load.fresh_per_second / self.sizing.web_processes

    @property
    def _replies_a_poll(self) -> float:
        cycle = 2 * assumptions()["sqs_call_ms"].value / 1000
        return min(max(self._replies_a_process * cycle, 1.0), REPLIES_A_POLL)

    @cached_property
    def _worker_receives(self) -> float:
        """Receive calls per second on the request queue, empty ones included."""
        sizing, fresh = self.sizing, self.sizing.load.fresh_per_second
        if sizing.uses_lambda:
            return max(fresh, _LAMBDA_POLLERS / _LONG_POLL_SECONDS)
        busy = fresh * (sizing.worker_seconds + 2 * assumptions()["sqs_call_ms"].value / 1000)
        return fresh + max(0.0, VCPUS * sizing.pollers - busy) / _POLLER_WAIT_SECONDS

    @cached_property
    def sqs_calls(self) -> dict[str, float]:
        """SQS requests per second by kind."""
        fresh = self.sizing.load.fresh_per_second
        calls = {"send": fresh, "receive": self._worker_receives, "delete": fresh}
        if self.sizing.uses_reply_queues:
            deletes = fresh / self._replies_a_poll
            calls |= {"send reply": fresh, "receive replies": self._reply_polls, "delete replies": deletes}
        return calls

    @cached_property
    def nat_bytes(self) -> float:
        """Bytes per second through the NAT gateways: calls to SQS and logs. Lambda polls the queue and logs by itself."""
        calls, call, fresh = self.sqs_calls, measured().sqs_call_bytes, self.sizing.load.fresh_per_second
        total = fresh * (call + _REQUEST_BYTES) + self.web_log_bytes
        if self.sizing.uses_reply_queues:
            total += fresh * (call + 2 * _reply_bytes()) + (calls["receive replies"] + calls["delete replies"]) * call
        if not self.sizing.uses_lambda:
            total += (calls["receive"] + calls["delete"]) * call + fresh * _REQUEST_BYTES + self.worker_log_bytes
        return total

    @cached_property
    def web_log_bytes(self) -> float:
        """Bytes per second of the log of the web tier."""
        figures, line = measured(), assumptions()["log_event_bytes"].value
        load = self.sizing.load
        fresh = load.fresh_per_second * (figures.web_fresh_log_bytes + line)
        return fresh + load.stored_per_second * (figures.web_stored_log_bytes + line)

    @cached_property
    def worker_log_bytes(self) -> float:
        """Bytes per second of the log of the worker tier."""
        line = assumptions()["log_event_bytes"].value
        if not self.sizing.uses_lambda:
            return self.sizing.load.fresh_per_second * (measured().poller_log_bytes + line)
        report = assumptions()["function_report_bytes"].value
        return self.sizing.load.fresh_per_second * (
            measured().function_log_bytes + report + line * (measured().function_log_lines + 3)
        )

    def _instances(self) -> Iterator[Line]:
        sizing, sizes, environment = self.sizing, self.sizing.environment.sizes, self.sizing.environment
        web_type = environment.instance_type(sizes.web_instance_type)
        yield _line(f"web instances, {web_type}", HOURS * sizing.web_instances, f"ec2.{web_type}")
        if not sizing.uses_lambda:
            poller_type = environment.instance_type(sizes.poller_instance_type)
            yield _line(f"pollers, {poller_type}", HOURS * sizing.pollers, f"ec2.{poller_type}")
        yield _line("disks", DISK_GB * (sizing.web_instances + sizing.pollers), "disk")
        if sizing.uses_lambda:
            invocations = SECONDS * sizing.load.fresh_per_second
            gigabytes = sizes.function_memory_mb / 1024
            yield _line("Lambda: invocations", invocations, "lambda_request")
            yield _line(
                "Lambda: duration", invocations * sizing.worker_seconds * gigabytes, f"lambda_{environment.architecture}"
            )
            if sizes.function_provisioned:
                ready = SECONDS * sizes.function_provisioned * gigabytes
                yield _line("Lambda: provisioned", ready, f"lambda_provisioned_{environment.architecture}")
        probing = HOURS * 60 * assumptions()["probe_seconds"].value * _PROBE_GB
        yield _line("probe", probing, f"lambda_{environment.architecture}")

    def _network(self) -> Iterator[Line]:
        load, sizes = self.sizing.load, self.sizing.environment.sizes
        yield _line("load balancer: hours", HOURS, "load_balancer")
        yield _line("load balancer: units", HOURS * max(self.capacity_units.values()), "load_balancer_unit")
        yield _line("NAT gateways: hours", HOURS * sizes.nat_gateways, "nat_gateway")
        yield _line("NAT gateways: data", self.nat_bytes * SECONDS / 1e9, "nat_data")
        yield _line("public IPv4 addresses", HOURS * (ZONES + sizes.nat_gateways), "public_address")
        yield _line("data to the internet", load.requests_per_second * measured().answer_bytes * SECONDS / 1e9, "transfer_out")
        if self.sizing.environment.firewall:
            yield _line("firewall", 1, "firewall")
            yield _line("firewall: rules", FIREWALL_RULES + (1 if self.sizing.environment.cdn else 0), "firewall_rule")
            yield _line("firewall: requests", SECONDS * load.requests_per_second, "firewall_request")

    def _storage_and_messages(self) -> Iterator[Line]:
        load, environment = self.sizing.load, self.sizing.environment
        yield _line("S3: PUT and LIST requests", SECONDS * (self.s3_puts + self.s3_lists), "s3_put")
        yield _line("S3: GET requests", SECONDS * self.s3_gets, "s3_get")
        a_day = 86_400 * load.fresh_per_second * (load.upload_bytes + measured().art_bytes)
        stored = environment.sizes.artifact_days * a_day
        if environment.access_logs:
            line = assumptions()["access_log_bytes"].value
            stored += environment.sizes.access_log_days * 86_400 * load.requests_per_second * line
        yield _line("S3: storage", stored / 1e9, "s3_storage")
        yield _line("SQS: requests", SECONDS * sum(self.sqs_calls.values()), "sqs")
        yield _line("secrets", 1 + (1 if environment.cdn else 0) + (1 if environment.peer_store else 0), "secret")

    def _observability(self) -> Iterator[Line]:
        sizing, environment = self.sizing, self.sizing.environment
        from_function = self.worker_log_bytes if sizing.uses_lambda else 0.0
        ingested = (self.web_log_bytes + self.worker_log_bytes) * SECONDS / 1e9
        function = from_function * SECONDS / 1e9
        yield _line("logs of instances", ingested - function, "log")
        if sizing.uses_lambda:
            yield _line("logs of the function", function, "function_log")
        kept = ingested * environment.sizes.log_days / _DAYS * assumptions()["log_compression"].value
        yield _line("logs: storage", kept, "log_storage")
        series = measured().metric_series if sizing.load.requests_per_second else 0
        yield _line("custom metrics", series + AGENT_SERIES * (1 if sizing.uses_lambda else 2), "metric")
        yield _line("alarms: metrics", alarm_metrics(sizing) + scaling_alarm_metrics(sizing), "alarm")
        yield _line("composite alarms", COMPOSITE_ALARMS, "composite_alarm")
        yield _line("dashboard", 1, "dashboard")


def alarm_metrics(sizing: Sizing) -> int:
    """Return the number of metrics that the alarms of the templates use, each of which is billed."""
    environment = sizing.environment
    canary = _CANARY_METRICS if environment.canary and sizing.uses_lambda else 0
    return (49 if sizing.uses_lambda else 48) + (1 if environment.domain else 0) + canary


def scaling_alarm_metrics(sizing: Sizing) -> int:
    """Return the number of metrics that the alarms of target tracking use: two alarms for each policy.

    A group tracks its CPU, and an expression of two metrics. CloudFormation does not show these alarms.
    """
    return 2 * (1 + 2) * (1 if sizing.uses_lambda else 2)


def _line(name: str, units: float, price: str) -> Line:
    return Line(name=name, units=units, unit=prices()[price].unit, usd=prices()[price].of(units), price=price)


_REQUEST_BYTES: Final = len(
    ConversionRequest(
        correlation_id="0" * 32,
        digest="0" * 64,
        options=ConversionOptions(width=80),
        deadline=1.7e9 + 0.123456,
        reply_to="https://sqs.us-east-1.amazonaws.com/123456789012/asciist-prod-reply-10-0-100-100-0123456789ab",
        published_at=1.7e9 + 0.123456,
        trace=Trace(request_id="0" * 32, headers={"x-amzn-trace-id": "Root=1-67891233-abcdef012345678912345678"}),
    ).to_json()
)
"""Bytes of a request message."""


def _reply_bytes() -> int:
    """Return the bytes of a reply message."""
    return len(ConversionReply(correlation_id="0" * 32, art="x" * measured().art_bytes).to_json())
