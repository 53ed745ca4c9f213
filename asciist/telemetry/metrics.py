"""Catalogue of all metrics that the service emits: name, type, unit, tags and meaning.
`docs/metrics.md` repeats it.

Never change the type of an existing metric: Datadog allows one type for each name. A distribution
includes a count and a sum, so it needs no separate counter.
"""

from dataclasses import dataclass
from typing import Final, Literal


@dataclass(frozen=True, kw_only=True)
class Metric:
    """A metric in the catalogue."""

    name: str
    type: Literal["count", "distribution"]
    unit: str
    tags: tuple[str, ...]
    """Keys of the tags of every value. Each tag has a small, fixed set of values."""
    meaning: str


CATALOGUE: Final[dict[str, Metric]] = {}
"""Every metric by name."""


def _count(name: str, unit: str, meaning: str, *tags: str) -> str:
    CATALOGUE[name] = Metric(name=name, type="count", unit=unit, tags=tags, meaning=meaning)
    return name


def _distribution(name: str, unit: str, meaning: str, *tags: str) -> str:
    CATALOGUE[name] = Metric(name=name, type="distribution", unit=unit, tags=tags, meaning=meaning)
    return name


# User experience.
REQUESTS: Final = _count(
    "asciist.requests", "request", "Answered requests, with any status.", "status"
)
REQUEST_DURATION: Final = _distribution(
    "asciist.request.duration",
    "millisecond",
    "Time from receiving a request's headers to answering it, without the time spent waiting for"
    " the client's bytes.",
    "status",
)
UPLOAD_DURATION: Final = _distribution(
    "asciist.upload.duration",
    "millisecond",
    "Time spent waiting for the client's bytes, for requests that carry an image.",
)
ART_SERVED: Final = _count(
    "asciist.art.served",
    "art",
    "Art returned to clients: read from the `store`, made by a `conversion`, or `shared` with an"
    " identical in-flight request.",
    "source",
)
REQUESTS_SHED: Final = _count(
    "asciist.requests.shed", "request", "Requests refused with 503 for lack of capacity."
)
REQUESTS_READ_ONLY: Final = _count(
    "asciist.requests.read_only",
    "request",
    "Conversions and deletions refused with 503 because the service is in read-only mode.",
)
REQUESTS_IN_FLIGHT: Final = _distribution(
    "asciist.requests.in_flight",
    "request",
    "In-flight requests with an image in one web process, recorded when such a request arrives.",
)

# Input.
PAYLOAD_DECODE_DURATION: Final = _distribution(
    "asciist.payload.decode.duration",
    "millisecond",
    "Time to extract the image from a JSON request body.",
)
IMAGE_BYTES: Final = _distribution(
    "asciist.image.bytes", "byte", "Size of each accepted image.", "format"
)
IMAGE_PIXELS: Final = _distribution(
    "asciist.image.pixels", "pixel", "Width times height of each accepted image.", "format"
)

# Conversion cost.
IMAGE_DECODE_DURATION: Final = _distribution(
    "asciist.image.decode.duration",
    "millisecond",
    "Time to decode an image into pixels, including images that prove to be damaged.",
    "format",
)
CONVERSION_DURATION: Final = _distribution(
    "asciist.conversion.duration",
    "millisecond",
    "Time to convert decoded pixels to art; for an animation, to decode and draw its frames in"
    " turn.",
    "style",
)
CONVERSION_PIXELS: Final = _count(
    "asciist.conversion.pixels",
    "pixel",
    "Pixels of the images that were decoded: the denominator of decode and conversion time per"
    " pixel.",
    "format",
)
CONVERSIONS_ABORTED: Final = _count(
    "asciist.conversions.aborted",
    "conversion",
    "Conversions whose process ended: by a `crash`, because it was `killed` from outside, or at its"
    " limit on `memory` or CPU `time`. It is tried again after a crash or a kill; after the third,"
    " and at a limit, the image is rejected.",
    "cause",
)
CONVERSIONS_EXPOSED: Final = _count(
    "asciist.conversions.exposed",
    "conversion",
    "Conversions in a process whose sandbox lacks `landlock` or `seccomp`, because the kernel does"
    " not support it.",
    "missing",
)

# Messages and replies.
REPLY_WAIT: Final = _distribution(
    "asciist.reply.wait.duration",
    "millisecond",
    "Time from publishing a message to its reply, or to giving up.",
)
MESSAGE_AGE: Final = _distribution(
    "asciist.message.age",
    "millisecond",
    "Time from the queue taking a message to a worker receiving it, for each delivery.",
)
MESSAGES_EXPIRED: Final = _count(
    "asciist.messages.expired",
    "message",
    "Messages dropped by a worker because their deadline had passed.",
)
MESSAGES_FAULTED: Final = _count(
    "asciist.messages.faulted",
    "message",
    "Deliveries whose processing failed: the message is redelivered or becomes a dead letter.",
)
IMAGES_GONE: Final = _count(
    "asciist.images.gone",
    "message",
    "Messages dropped by a worker because their image is not stored, or may not be read: it has"
    " expired since they were published, or the worker's role is wrong.",
)
REPLIES_ORPHANED: Final = _count(
    "asciist.reply.orphaned", "reply", "Replies that no request was waiting for any longer."
)
REQUESTS_HEDGED: Final = _count(
    "asciist.requests.hedged",
    "request",
    "Requests whose reply was overdue. Most are published again and answered by the `first`"
    " message, by a `repeat`, or by `nothing`; others find their art in the `store`, or are"
    " `throttled`, because the budget for repeats was spent.",
    "outcome",
)
ART_UNSTORED: Final = _count(
    "asciist.art.unstored",
    "art",
    "Art that a worker could not store, and returned in its reply nevertheless.",
)

# Moving between two deployments.
PEER_READS: Final = _count(
    "asciist.peer.reads",
    "object",
    "Images and art that are not stored and were looked for in the peer store: found and `copied`,"
    " found and `served` without a copy, `missing` there too, or `failed` because the peer store"
    " did.",
    "outcome",
)

# The embedded store.
STORE_FAILED: Final = _count(
    "asciist.store.failed",
    "operation",
    "Operations that the embedded store could not perform: the art is served, but not kept, or"
    " converted again.",
    "operation",
)
STORE_EVICTED: Final = _count(
    "asciist.store.evicted",
    "object",
    "Images and art that the embedded store deleted, the oldest first, to keep to its bounds in"
    " bytes and in age.",
)
