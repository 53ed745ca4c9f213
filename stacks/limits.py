"""Limits of a deployment used as thresholds of its alarms."""

from asciist.settings import Settings
from operations.observability.alarms import Limit
from stacks.environment import Environment


def alarm_limits(environment: Environment, settings: Settings) -> dict[Limit, float]:
    """Return the limits of a deployment by name."""
    sizes = environment.sizes
    return {
        "request timeout": settings.timeouts.request,
        "web instances": sizes.web_max_instances,
        "pollers": sizes.poller_max_instances,
        "conversions": sizes.worker_max_concurrency,
    }
