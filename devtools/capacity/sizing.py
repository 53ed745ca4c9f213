"""How many instances, processes and concurrent invocations a load needs, from the CPU and the time that a request takes.

The CPU times were measured on x86-64 and are taken to be the same on Graviton.
"""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from asciist.settings import Settings
from devtools.capacity.tables import assumptions, conversion_ms, image_bytes, measured
from stacks.environment import Environment

VCPUS: Final = 2
"""Virtual CPUs of every type of instance in the stacks, each with one web process or one thread of a poller."""
CPU_TARGET: Final = 0.6
"""Share of the CPU above which a group adds instances (stacks/instances.py)."""
IN_FLIGHT_TARGET: Final = 0.4
"""Share of the requests that may be in flight above which the web tier adds instances (stacks/web.py)."""
REPLIES_A_POLL: Final = 10
"""Replies that a web process receives and deletes with one call each (asciist/adapters/aws/reply_queues.py)."""
_VCPU_MB: Final = 1769
"""Memory at which a function has one whole virtual CPU."""


@dataclass(frozen=True, kw_only=True)
class Load:
    """Requests for art of width 80, each of which uploads its image."""

    requests_per_second: float
    megapixels: float = 2.0
    image_bytes: int = 0
    """Size of an image, in bytes; 0 for that of a JPEG of quality 95."""
    hit_share: float = 0.0
    """Share of the requests whose art is stored, from 0 to 1."""
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
class Sizing:
    """Instances and concurrency that a load needs. The maxima of the deployment do not bound them: they are limits."""

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
        load = self.load
        overhead = measured().poller_ms + measured().poller_ms_per_mb * load.upload_bytes / 1e6
        cpu = (overhead + conversion_ms(load.megapixels, load.style)) / 1000
        return cpu * max(1.0, _VCPU_MB / self.environment.sizes.function_memory_mb) if self.uses_lambda else cpu

    @cached_property
    def worker_seconds(self) -> float:
        """Duration of one message in a worker: its CPU time, reading the image, storing the art and sending the reply."""
        replies = _seconds("sqs_call_ms") if self.uses_reply_queues else 0.0
        return self.worker_cpu_seconds + 2 * _seconds("s3_call_ms") + replies

    @cached_property
    def response_seconds(self) -> float:
        """Mean duration of a request in the web tier, after its upload."""
        hit = _seconds("s3_call_ms")
        # Looks for the art, stores the image, sends the message; the message and its reply are received.
        fresh = hit + _seconds("s3_call_ms") + (3 if self.uses_reply_queues else 2) * _seconds("sqs_call_ms")
        return (1 - self.load.hit_share) * (fresh + self.worker_seconds) + self.load.hit_share * hit

    @property
    def web_rate(self) -> float:
        """Requests per second of one web instance: the least of those in `web_rates`."""
        return min(self.web_rates.values())

    @cached_property
    def web_rates(self) -> dict[str, float]:
        """Requests per second of one web instance that its CPU, its requests in flight and its reply queues allow."""
        sizes, load, figures = self.environment.sizes, self.load, measured()
        megabytes = load.upload_bytes / 1e6
        fresh = figures.web_fresh_ms + figures.web_fresh_ms_per_mb * megabytes
        stored = figures.web_stored_ms + figures.web_stored_ms_per_mb * megabytes
        cpu_seconds = ((1 - load.hit_share) * fresh + load.hit_share * stored) / 1000
        by_cpu = VCPUS * _cpu_share(sizes.web_instance_type) / cpu_seconds
        by_flight = VCPUS * IN_FLIGHT_TARGET * Settings.max_requests_in_flight / self.response_seconds
        poll_seconds = 2 * _seconds("sqs_call_ms")
        fresh_share = 1 - load.hit_share
        limited = self.uses_reply_queues and fresh_share > 0
        by_replies = VCPUS * REPLIES_A_POLL / poll_seconds / fresh_share if limited else math.inf
        return {"CPU": by_cpu, "in flight": by_flight, "replies": by_replies}

    @cached_property
    def poller_rate(self) -> float:
        """Messages per second of one poller, which has a thread for each virtual CPU."""
        by_cpu = VCPUS * _cpu_share(self.environment.sizes.poller_instance_type) / self.worker_cpu_seconds
        by_threads = VCPUS / (self.worker_seconds + 2 * _seconds("sqs_call_ms"))
        return min(by_cpu, by_threads)

    @property
    def web_instances(self) -> int:
        return max(self.environment.sizes.web_min_instances, math.ceil(self.load.requests_per_second / self.web_rate))

    @property
    def web_processes(self) -> int:
        return VCPUS * self.web_instances

    @property
    def pollers(self) -> int:
        if self.uses_lambda:
            return 0
        return max(self.environment.sizes.poller_min_instances, math.ceil(self.load.fresh_per_second / self.poller_rate))

    @property
    def concurrency(self) -> int:
        """Concurrent invocations of the function: the product of their rate and their duration (Little's law)."""
        return math.ceil(self.load.fresh_per_second * self.worker_seconds) if self.uses_lambda else 0


def _seconds(assumption: str) -> float:
    return assumptions()[assumption].value / 1000


def _cpu_share(instance_type: str) -> float:
    """Return the share of its CPU that an instance can use for long."""
    return assumptions()["burstable_baseline"].value if instance_type.startswith("t") else CPU_TARGET
