"""Metrics to a Datadog agent, or to the Datadog extension of a function, by DogStatsD.

Where the agent listens is what Datadog's own variables say: DD_DOGSTATSD_URL, or DD_AGENT_HOST and DD_DOGSTATSD_PORT;
127.0.0.1:8125 without them. DD_ENV, DD_SERVICE and DD_VERSION become tags of every metric.
"""

from typing import Final

from datadog.dogstatsd.base import DogStatsd

_QUEUED_PACKETS: Final = 1000
"""Of 1.4 kB, for an agent that cannot take them at once: more than a minute of 1000 requests a second."""
_LAST_PACKETS_SECONDS: Final = 2.0


class DogStatsDMetrics:
    """One for each process, made after its fork: packets are put together and sent by threads of this client.

    Without an agent what is recorded is lost, and nobody notices.
    """

    def __init__(self) -> None:
        self._client = DogStatsd(
            disable_buffering=False,
            disable_aggregation=False,  # counts are added up until their packet leaves, three times a second
            disable_background_sender=False,
            sender_queue_size=_QUEUED_PACKETS,
            disable_telemetry=True,  # figures about the client, which nobody asked for
            origin_detection_enabled=False,
        )

    def count(self, name: str, value: int = 1, **tags: str) -> None:
        self._client.increment(name, value, tags=[f"{key}:{text}" for key, text in tags.items()])

    def distribution(self, name: str, value: float, **tags: str) -> None:
        self._client.distribution(name, round(value, 3), tags=[f"{key}:{text}" for key, text in tags.items()])

    def flush(self) -> None:
        self._client.flush_aggregated_metrics()
        self._client.wait_for_pending(_LAST_PACKETS_SECONDS)
