"""The ports of a shift: a CDN, a source of metrics and a comparison of art, and how these may fail.

::

    ShiftError
    ├── CdnError        The CDN cannot be reached, refused a call, or does not have the origins.
    ├── MetricsError    The figures cannot be read.
    ├── JournalError    The journal is damaged, or another controller holds it.
    └── PlanError       The request does not fit the state of the shift, the CDN or its settings.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Protocol

MAX_WEIGHT: Final = 100
"""Weights are whole numbers from 0 to 100. Cloudflare's go in steps of 0.01 up to 1, HAProxy's in
steps of 1 up to 256."""


class ShiftError(Exception):
    """Base class of the errors of a shift. The text is for the operator."""


class CdnError(ShiftError):
    """The CDN cannot be reached, refused a call, or does not have the origins."""


class MetricsError(ShiftError):
    """The figures cannot be read."""


class JournalError(ShiftError):
    """The journal is damaged, or another controller holds it."""


class PlanError(ShiftError):
    """The request does not fit the state of the shift, the CDN or its settings."""


@dataclass(frozen=True, kw_only=True)
class Origin:
    """An origin with its current settings at the CDN."""

    weight: int
    """Share of new requests, relative to the weights of the other origins; 0 to 100."""
    address: str
    """Address and host name to which the CDN sends requests. If it changes during a shift, the
    figures mix two targets."""
    available: bool
    """False if the CDN sends it no requests, regardless of its weight: disabled, in maintenance, or
    failing its health checks."""


@dataclass(frozen=True, kw_only=True)
class CdnState:
    """The weights and settings in force at the CDN."""

    origins: Mapping[str, Origin]
    """All origins that share the traffic, by name."""
    affinity: str
    """Setting that binds clients to an origin regardless of its weight, such as a cookie; empty if
    there is none."""

    @property
    def weights(self) -> dict[str, int]:
        return {name: origin.weight for name, origin in sorted(self.origins.items())}


class Cdn(Protocol):
    """A CDN, or a load balancer, with the origins of one service."""

    def read(self) -> CdnState:
        """Return the state in force. Raises CdnError, within the adapter's timeout."""
        ...

    def write(self, weights: Mapping[str, int]) -> None:
        """Set the weights of these origins, and change nothing else. Idempotent, because weights
        are absolute.

        Returning means that the CDN has acknowledged the weights, not that they are in force:
        `read` tells. Raises CdnError, within the adapter's timeout; then the weights may or may not
        be set, and even later.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class Sample:
    """The requests that one origin answered, or failed to answer, in a window."""

    began: tuple[float, ...]
    """Start of each request, in seconds since the epoch."""
    times: tuple[float, ...]
    """Time that the CDN waited for each answer, in the unit of the window."""
    statuses: tuple[int, ...]
    """Status of each answer. If the origin did not answer, the CDN's own status, such as 503."""


@dataclass(frozen=True, kw_only=True)
class Window:
    """Figures of the requests that began in a window of time."""

    start: float
    """Seconds since the epoch."""
    end: float
    """Seconds since the epoch."""
    as_of: float
    """Time up to which the source is complete, in seconds since the epoch."""
    unit: str
    """Unit of the times: "ms"."""
    samples: Mapping[str, Sample]
    """By origin. An origin without requests may be missing."""


class Metrics(Protocol):
    """A source of figures for each origin."""

    def window(self, start: float, end: float) -> Window:
        """Return the figures of the requests that began at `start` or later, and before `end`.
        Raises MetricsError."""
        ...


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """The art of the same image from two origins, with the same options."""

    image: str
    """Name of the image that was sent."""
    same: bool | None
    """None if an origin did not answer, so that nothing was compared."""
    detail: str
    """Digests, or the error."""


class ArtSampler(Protocol):
    """Sends requests to the origins directly, without the CDN."""

    def compare(self) -> tuple[Comparison, ...]:
        """Send each image of a sample to both origins and compare their art. Does not raise: an
        error is in the result."""
        ...

    def problem(self, origin: str) -> str:
        """Return why an origin cannot convert an image now; empty if it can. Does not raise."""
        ...
