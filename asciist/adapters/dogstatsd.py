"""Metrics sent by DogStatsD to a Datadog agent, or to the Datadog extension of a Lambda function.

Datadog's own variables set the agent's address: DD_DOGSTATSD_URL, or DD_AGENT_HOST and DD_DOGSTATSD_PORT; the default is
127.0.0.1:8125. DD_ENV, DD_SERVICE and DD_VERSION become tags of every metric.
"""

from typing import Final

from datadog.dogstatsd.base import DogStatsd

_MAX_QUEUED_PACKETS: Final = 1000
"""Maximum packets, of 1.4 kB each, queued for a slow agent: the metrics of more than a minute at 1000 requests per second."""
_FLUSH_TIMEOUT_SECONDS: Final = 2.0
"""Seconds that `flush` waits for queued packets to be sent."""


class DogStatsDMetrics:
    """Metrics sink for DogStatsD. Create one in each process, after the fork, because the client sends packets from threads.

    Without an agent, values are lost and no error is raised.
    """

    def __init__(self) -> None:
        self._client = DogStatsd(
            disable_buffering=False,
            disable_aggregation=False,  # counts are summed between packets, which are sent three times per second
            disable_background_sender=False,
            sender_queue_size=_MAX_QUEUED_PACKETS,
            disable_telemetry=True,  # no metrics about the client itself: nothing uses them
            origin_detection_enabled=False,
        )

    def count(self, name: str, value: int = 1, **tags: str) -> None:
        self._client.increment(name, value, tags=[f"{key}:{text}" for key, text in tags.items()])

    def distribution(self, name: str, value: float, **tags: str) -> None:
        self._client.distribution(name, round(value, 3), tags=[f"{key}:{text}" for key, text in tags.items()])

    def flush(self) -> None:
        self._client.flush_aggregated_metrics()
        self._client.wait_for_pending(_FLUSH_TIMEOUT_SECONDS)
