"""The catalogue of all metrics that the service emits: name, type, unit, tags, meaning. `docs/metrics.md` is for people.

A name belongs to one type for ever: Datadog stores distributions apart from all else and wants no name used for two.
A distribution has a count and a sum besides its percentiles, so that nothing needs to be counted next to it.
"""

from dataclasses import dataclass
from typing import Final, Literal


@dataclass(frozen=True, kw_only=True)
class Metric:
    """One entry of the catalogue."""

    name: str
    type: Literal["count", "distribution"]
    unit: str
    tags: tuple[str, ...]
    """Keys of the tags that every value carries; their values are of bounded sets."""
    meaning: str


CATALOGUE: Final[dict[str, Metric]] = {}
"""Every metric, by its name."""


def _count(name: str, unit: str, meaning: str, *tags: str) -> str:
    CATALOGUE[name] = Metric(name=name, type="count", unit=unit, tags=tags, meaning=meaning)
    return name


def _distribution(name: str, unit: str, meaning: str, *tags: str) -> str:
    CATALOGUE[name] = Metric(name=name, type="distribution", unit=unit, tags=tags, meaning=meaning)
    return name


# What users feel.
REQUESTS: Final = _count("asciist.requests", "request", "Answered requests, whatever the answer.", "status")
REQUEST_DURATION: Final = _distribution(
    "asciist.request.duration",
    "millisecond",
    "From a request's head to its answer, less the time spent waiting for the client's bytes.",
    "status",
)
UPLOAD_DURATION: Final = _distribution(
    "asciist.upload.duration", "millisecond", "Time spent waiting for the client's bytes, of requests that carry an image."
)
ART_SERVED: Final = _count(
    "asciist.art.served",
    "art",
    "Art handed to a request: found in the `store`, made by a `conversion`, or `shared` with an identical request in flight.",
    "source",
)
REQUESTS_SHED: Final = _count("asciist.requests.shed", "request", "Requests turned away with 503 for lack of room.")
REQUESTS_IN_FLIGHT: Final = _distribution(
    "asciist.requests.in_flight", "request", "Requests with an image that a web process holds, seen by each as it comes."
)

# What they send.
PAYLOAD_DECODE_DURATION: Final = _distribution(
    "asciist.payload.decode.duration", "millisecond", "From the bytes of a JSON body to the image in it."
)
IMAGE_BYTES: Final = _distribution("asciist.image.bytes", "byte", "Size of each accepted image.", "format")
IMAGE_PIXELS: Final = _distribution("asciist.image.pixels", "pixel", "Width times height of each accepted image.", "format")

# What it costs.
IMAGE_DECODE_DURATION: Final = _distribution(
    "asciist.image.decode.duration", "millisecond", "From image bytes to pixels, also of images that prove damaged.", "format"
)
CONVERSION_DURATION: Final = _distribution("asciist.conversion.duration", "millisecond", "From pixels to art.", "style")
CONVERSION_PIXELS: Final = _count(
    "asciist.conversion.pixels",
    "pixel",
    "Pixels of the images that were decoded: what the two durations above are divided by.",
    "format",
)

# What happens between the tiers.
REPLY_WAIT: Final = _distribution(
    "asciist.reply.wait.duration", "millisecond", "From publishing a message to its reply, or to giving up."
)
MESSAGE_AGE: Final = _distribution(
    "asciist.message.age", "millisecond", "From publishing a message to a worker taking it, at each delivery."
)
MESSAGES_EXPIRED: Final = _count(
    "asciist.messages.expired", "message", "Messages dropped by a worker because their deadline had passed."
)
MESSAGES_FAULTED: Final = _count(
    "asciist.messages.faulted",
    "message",
    "Deliveries that met a fault of ours: the message comes back, or becomes a dead letter.",
)
REPLIES_ORPHANED: Final = _count("asciist.reply.orphaned", "reply", "Replies that nobody waited for any more.")
