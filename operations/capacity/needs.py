"""Instances, processes, concurrent invocations, calls and bytes needed for a load on AWS.

The counts follow the code: the calls of both tiers to S3 and SQS, batches of one message, long
polls, the registry of reply queues, and the traffic through the NAT gateways (everything but S3).
CPU times were measured on x86-64 and are assumed to be the same on Graviton.
"""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from asciist.conversion import ConversionOptions
from asciist.protocol.messages import ConversionReply, ConversionRequest, Trace
from asciist.protocol.read_only import POLL_SECONDS
from operations.capacity.figures import conversion_ms, image_bytes, measured, rows
from stacks.environment import Environment

VCPUS: Final = 2
"""Virtual CPUs of every type of instance in the stacks, each with one web process or one thread of
a poller."""
CPU_TARGET: Final = 0.6
"""CPU utilization above which a group adds instances (stacks/instances.py)."""
IN_FLIGHT_TARGET: Final = 0.4
"""Share of the maximum in-flight requests above which the web tier adds instances
(stacks/web.py)."""

_RATE_SECONDS: Final = 300  # over which the firewall counts the requests of an address
_REPLIES_A_POLL: Final = 10  # received and deleted with one call each
_VCPU_MB: Final = 1769  # memory at which a function has one whole virtual CPU
_LONG_POLL_SECONDS, _POLLER_WAIT_SECONDS = 20, 1
_LAMBDA_POLLERS: Final = 5
"""Long polls of Lambda at a queue without messages, for a mapping with a maximum concurrency
(https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-scaling.html)."""
_HEARTBEAT_SECONDS, SWEEP_SECONDS, KEYS_A_LIST = 60, 150, 1000
_NEW_CONNECTIONS, _ACTIVE_CONNECTIONS, _GB_AN_HOUR = 25, 3000, 1
"""Use included in one load-balancer capacity unit; the few rules of the listener are free
(https://handbook.vantage.sh/aws/services/elb-pricing)."""


@dataclass(frozen=True, kw_only=True)
class Load:
    """Requests for art of width 80, each of which uploads its image."""

    requests_per_second: float
    megapixels: float = 2.0
    image_bytes: int = 0
    """Size of an image, in bytes; 0 for the usual size of a JPEG of quality 95."""
    hit_share: float = 0.0
    """Share of the requests with stored art, from 0 to 1."""
    style: str = "structure"

    @property
    def upload_bytes(self) -> int:
        return self.image_bytes or image_bytes(self.megapixels)

    @property
    def fresh_per_second(self) -> float:
        return self.requests_per_second * (1 - self.hit_share)

    @property
    def stored_per_second(self) -> float:
        return self.requests_per_second * self.hit_share


@dataclass(frozen=True)
class Needs:
    """Needs of a load. They may exceed the environment's maxima, which count as limits."""

    load: Load
    environment: Environment

    @property
    def uses_lambda(self) -> bool:
        return self.environment.worker == "lambda"

    @property
    def uses_reply_queues(self) -> bool:
        return self.environment.replies == "queue"

    @cached_property
    def worker_cpu_seconds(self) -> float:
        """CPU time of one message."""
        load, figures = self.load, measured()
        overhead = figures["poller_ms"] + figures["poller_ms_per_mb"] * load.upload_bytes / 1e6
        cpu: float = (overhead + conversion_ms(load.megapixels, load.style)) / 1000
        memory_mb = self.environment.sizes.function_memory_mb
        return cpu * max(1.0, _VCPU_MB / memory_mb) if self.uses_lambda else cpu

    @cached_property
    def worker_seconds(self) -> float:
        """Duration of one message in a worker: CPU time, reading the image, storing the art and
        sending the reply."""
        replies = SQS_SECONDS if self.uses_reply_queues else 0.0
        return self.worker_cpu_seconds + 2 * _S3_SECONDS + replies

    @cached_property
    def response_seconds(self) -> float:
        """Mean duration of a request in the web tier, after its upload."""
        # A fresh request looks for the art, stores the image, sends the message; the message and
        # its reply are received.
        calls = 2 * _S3_SECONDS + (3 if self.uses_reply_queues else 2) * SQS_SECONDS
        hits = self.load.hit_share
        return (1 - hits) * (calls + self.worker_seconds) + hits * _S3_SECONDS

    @cached_property
    def web_rates(self) -> dict[str, float]:
        """Capacity of one web instance in requests per second, as bounded by its CPU, its requests
        in flight and its reply queues."""
        fresh_share, figures = 1 - self.load.hit_share, measured()
        megabytes = self.load.upload_bytes / 1e6
        fresh = figures["web_fresh_ms"] + figures["web_fresh_ms_per_mb"] * megabytes
        stored = figures["web_stored_ms"] + figures["web_stored_ms_per_mb"] * megabytes
        cpu_seconds = (fresh_share * fresh + self.load.hit_share * stored) / 1000
        in_flight = IN_FLIGHT_TARGET * self.environment.settings.max_requests_in_flight
        replies = _REPLIES_A_POLL / (2 * SQS_SECONDS)
        limited = self.uses_reply_queues and fresh_share > 0
        return {
            "CPU": VCPUS * _cpu_share(self.environment.sizes.web_instance_type) / cpu_seconds,
            "in flight": VCPUS * in_flight / self.response_seconds,
            "replies": VCPUS * replies / fresh_share if limited else math.inf,
        }

    @property
    def web_rate(self) -> float:
        """Requests per second of one web instance."""
        return min(self.web_rates.values())

    @property
    def web_bound(self) -> str:
        """Resource that bounds a web instance: `CPU`, `in flight` (requests), or `replies` (from
        its queues)."""
        return min(self.web_rates, key=lambda name: self.web_rates[name])

    @cached_property
    def poller_rate(self) -> float:
        """Messages per second of one poller, which has a thread for each virtual CPU."""
        share = _cpu_share(self.environment.sizes.poller_instance_type)
        by_cpu = VCPUS * share / self.worker_cpu_seconds
        return min(by_cpu, VCPUS / (self.worker_seconds + 2 * SQS_SECONDS))

    @cached_property
    def web_instances(self) -> int:
        needed = math.ceil(self.load.requests_per_second / self.web_rate)
        return max(self.environment.sizes.web_min_instances, needed)

    @property
    def web_processes(self) -> int:
        return VCPUS * self.web_instances

    @cached_property
    def pollers(self) -> int:
        if self.uses_lambda:
            return 0
        needed = math.ceil(self.load.fresh_per_second / self.poller_rate)
        return max(self.environment.sizes.poller_min_instances, needed)

    @property
    def worker_concurrency(self) -> int:
        """Concurrent invocations of the function: arrival rate times duration (Little's law); 0 for
        pollers."""
        busy = self.load.fresh_per_second * self.worker_seconds
        return math.ceil(busy) if self.uses_lambda else 0

    @property
    def worker_growth_minutes(self) -> float | None:
        """Minutes until Lambda reaches the concurrency, starting without load; None if a single
        queue cannot reach it, and 0 for pollers."""
        if self.worker_concurrency > _quota("event_source_concurrency"):
            return None
        of_function = self.worker_concurrency / _quota("lambda_growth") * 10 / 60
        return max(of_function, self.worker_concurrency / _quota("event_source_growth"))

    @property
    def address_requests_per_second(self) -> float | None:
        """Requests per second of one client address above which the firewall refuses more; None
        without a firewall."""
        sizes = self.environment.sizes
        return sizes.requests_per_address / _RATE_SECONDS if self.environment.firewall else None

    @cached_property
    def capacity_units(self) -> dict[str, float]:
        """Load-balancer capacity units by dimension; the largest is billed. Every request opens a
        connection."""
        rate = self.load.requests_per_second
        gigabytes = rate * (self.load.upload_bytes + measured()["answer_bytes"]) * 3600 / 1e9
        return {
            "opening": rate / _NEW_CONNECTIONS,
            "connections": rate * self.response_seconds / _ACTIVE_CONNECTIONS,
            "bytes": gigabytes / _GB_AN_HOUR,
        }

    @property
    def capacity_unit_of(self) -> str:
        """Dimension that determines the load-balancer capacity units; empty without load."""
        units = self.capacity_units
        return max(units, key=lambda n: units[n]) if self.load.requests_per_second else ""

    @property
    def s3_puts_and_lists(self) -> float:
        """PUT and LIST requests per second: images, art and heartbeats of reply queues; listings of
        all reply queues by every web process; checks for the marker."""
        total = 2 * self.load.fresh_per_second + self._marker_looks
        if self.uses_reply_queues:
            lists = math.ceil(self.web_processes / KEYS_A_LIST) / SWEEP_SECONDS
            total += self.web_processes * (1 / _HEARTBEAT_SECONDS + lists)
        return total

    @property
    def s3_gets(self) -> float:
        """GET requests per second: a lookup of the art of each request, the worker's read of the
        image, and checks for the marker."""
        return self.load.requests_per_second + self.load.fresh_per_second + self._marker_looks

    @property
    def _marker_looks(self) -> float:
        """Checks per second for the marker of the read-only mode. Each is a GET and, if the marker
        is absent, a LIST."""
        return self.web_processes / POLL_SECONDS if self.environment.peer_store else 0.0

    @cached_property
    def sqs_calls(self) -> dict[str, float]:
        """SQS requests per second by kind, empty receives included. One receive of a web process
        returns up to ten replies that arrived since the last."""
        fresh = self.load.fresh_per_second
        calls = {"send": fresh, "receive": self._worker_receives, "delete": fresh}
        if self.uses_reply_queues:
            of_process = fresh / self.web_processes
            of_poll = min(max(of_process * 2 * SQS_SECONDS, 1.0), _REPLIES_A_POLL)
            polls = max(1 / _LONG_POLL_SECONDS, of_process / of_poll)
            calls["send reply"] = fresh
            calls["receive replies"] = self.web_processes * polls
            calls["delete replies"] = fresh / of_poll
        return calls

    @property
    def _worker_receives(self) -> float:
        fresh = self.load.fresh_per_second
        if self.uses_lambda:
            return max(fresh, _LAMBDA_POLLERS / _LONG_POLL_SECONDS)
        busy = fresh * (self.worker_seconds + 2 * SQS_SECONDS)
        return fresh + max(0.0, VCPUS * self.pollers - busy) / _POLLER_WAIT_SECONDS

    @cached_property
    def nat_bytes(self) -> float:
        """Bytes per second through the NAT gateways: calls to SQS and logs. Lambda's own polling
        and logging do not use them."""
        calls, call = self.sqs_calls, measured()["sqs_call_bytes"]
        fresh = self.load.fresh_per_second
        total: float = fresh * (call + _REQUEST_BYTES) + self.web_log_bytes
        if self.uses_reply_queues:
            reply = ConversionReply(correlation_id="0" * 32, art="x" * measured()["art_bytes"])
            total += fresh * (call + 2 * len(reply.to_json()))
            total += (calls["receive replies"] + calls["delete replies"]) * call
        if not self.uses_lambda:
            total += (calls["receive"] + calls["delete"]) * call
            total += fresh * _REQUEST_BYTES + self.worker_log_bytes
        return total

    @property
    def web_log_bytes(self) -> float:
        """Bytes per second of the log of the web tier."""
        figures, line = measured(), _assumed("log_event_bytes")
        fresh: float = self.load.fresh_per_second * (figures["web_fresh_log_bytes"] + line)
        stored: float = self.load.stored_per_second * (figures["web_stored_log_bytes"] + line)
        return fresh + stored

    @property
    def worker_log_bytes(self) -> float:
        """Bytes per second of the log of the worker tier."""
        figures, line = measured(), _assumed("log_event_bytes")
        if self.uses_lambda:
            of_lambda = _assumed("function_report_bytes") + 3 * line
            lines = line * figures["function_log_lines"]
            of_message: float = figures["function_log_bytes"] + lines + of_lambda
        else:
            of_message = figures["poller_log_bytes"] + line
        return self.load.fresh_per_second * of_message


def _cpu_share(instance_type: str) -> float:
    """Return the share of its CPU that an instance can use permanently."""
    return _assumed("burstable_baseline") if instance_type.startswith("t") else CPU_TARGET


def _assumed(key: str) -> float:
    return rows("assumptions")[key].value


def _quota(key: str) -> float:
    return rows("quotas")[key].value


_S3_SECONDS: Final = _assumed("s3_call_ms") / 1000
SQS_SECONDS: Final = _assumed("sqs_call_ms") / 1000
_REQUEST_BYTES: Final = len(
    ConversionRequest(
        correlation_id="0" * 32,
        digest="0" * 64,
        options=ConversionOptions(width=80),
        deadline=1.7e9 + 0.123456,
        reply_to="https://sqs.us-east-1.amazonaws.com/123456789012/asciist-prod-reply-10-0-100-100-0123456789ab",
        published_at=1.7e9 + 0.123456,
        trace=Trace(
            request_id="0" * 32,
            headers={"x-amzn-trace-id": "Root=1-67891233-abcdef012345678912345678"},
        ),
    ).to_json()
)
"""Bytes of a request message."""
