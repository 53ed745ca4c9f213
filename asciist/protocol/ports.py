"""Ports: interfaces of the dependencies. Every adapter passes the contract suite of its port in
`tests/contract`; there is none for Metrics.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Protocol, TypeVar

from asciist.art.rendering import Rendering
from asciist.options import ConversionOptions
from asciist.protocol.messages import ConversionReply, ConversionRequest, Message

Result = TypeVar("Result")


class ArtifactStore(Protocol):
    """Store of objects by key. Every method raises UnavailableError if the store fails."""

    def get(self, key: str) -> bytes:
        """Return an object. Raises ArtifactNotFoundError."""

    def put(self, key: str, body: bytes) -> None:
        """Write an object, replacing any previous one. A concurrent reader gets the old or the new
        object, never a mixture."""

    def create(self, key: str, body: bytes) -> bool:
        """Write an object unless the key exists; return whether it was written.

        If several calls race, exactly one writes; the embedded store guarantees this within one
        process only.
        """

    def keep(self, *keys: str) -> None:
        """Delete these objects after all others, if the store deletes any for lack of room."""

    def exists(self, key: str) -> bool:
        """Return whether an object is stored under the key."""

    def delete(self, key: str) -> None:
        """Delete an object, if there is one."""

    def delete_folder(self, folder: str) -> bool:
        """Delete every object of a folder; return whether there were any. Objects written meanwhile
        may remain."""


@dataclass(frozen=True, kw_only=True)
class Delivery:
    """One delivery of a message to a consumer."""

    body: Message
    receipt: str
    """Receipt of this delivery, needed to extend or delete it; invalid once the message is
    delivered again."""
    receive_count: int
    """Number of deliveries of the message so far, this one included; 1 at the first delivery."""
    age_seconds: float | None = None
    """Seconds between sending and delivering the message, by the queue's own clock; None if the
    queue does not report it."""
    sent_at: float | None = None
    """Arrival time of the message in the queue, in seconds since the epoch by the queue's clock;
    None if the queue does not report it."""

    @property
    def request(self) -> ConversionRequest:
        """The request. Raises MalformedMessageError."""
        body = self.body
        return ConversionRequest.from_json(body) if isinstance(body, str) else body


class RequestQueue(Protocol):
    """Queue of requests, with at-least-once delivery in any order.

    A message that has been delivered as often as the queue allows becomes a dead letter. Every
    method raises UnavailableError if the queue fails.
    """

    def send(self, body: Message) -> None:
        """Publish a message, as JSON unless it stays in this process."""

    def receive(self, *, max_messages: int, wait_seconds: float) -> list[Delivery]:
        """Receive up to `max_messages` messages and hide them from other consumers for the
        visibility timeout.

        Return as soon as there is a message; return an empty list if none arrives within
        `wait_seconds`.
        """

    def extend(self, delivery: Delivery, *, visibility_seconds: float) -> Delivery:
        """Hide the message for `visibility_seconds` from now; 0 makes it visible at once.

        Return the delivery to use from now on in place of the argument.
        """

    def delete(self, deliveries: Sequence[Delivery]) -> None:
        """Delete messages. A message that is gone or was redelivered in the meantime is no
        error."""


class PendingReply(Protocol):
    """Reply that a request is waiting for."""

    @property
    def reply_to(self) -> str:
        """Reply address of this request, in a format known only to the inbox and the sender of one
        reply path."""

    def wait(self, seconds: float) -> ConversionReply | None:
        """Wait for the reply and return it, at once if it has already arrived; None if it does not
        arrive in time."""

    def expect_another(self) -> None:
        """Accept one more reply, because the request is published again. Only the first reply
        counts."""


class ReplyInbox(Protocol):
    """Receiver of the replies to one web process."""

    def expect(self, correlation_id: str) -> AbstractContextManager[PendingReply]:
        """Return a context manager that registers a pending reply.

        Enter the block before publishing the request, so that the reply cannot arrive too early.
        Late replies and surplus replies are counted as orphaned.
        """


class ReplySender(Protocol):
    """Sender of replies from a worker to web processes."""

    @property
    def max_reply_bytes(self) -> int:
        """Maximum size of a reply as JSON, in bytes. A larger reply is sent without its art."""

    def send(self, reply_to: str, reply: ConversionReply) -> None:
        """Send the reply, without its art if it is larger than `max_reply_bytes`.

        Raises ReplyAddressGoneError if the process at the address has stopped, UnavailableError if
        the channel fails.
        """


@dataclass(frozen=True, kw_only=True)
class Conversion:
    """Outcome of a conversion, with its measurements."""

    art: str | None = None
    """The art, as `asciist.art.codec` encodes it; None if the image cannot be converted."""
    invert: bool | None = None
    """The choice for `invert=auto`; None if the options left nothing to choose, or there is no
    art."""
    rejection: str | None = None
    """Reason why the image cannot be converted, as an error message for the client; None if there
    is art."""
    format: str = ""
    """Image format in lower case, such as `jpeg`; empty if the image was rejected for its
    header."""
    pixels: int = 0
    """Width times height of the image, times the number of drawn frames; 0 if it was rejected for
    its header."""
    decode_ms: float | None = None
    """Decoding time in milliseconds, also of a damaged image; None if it was not decoded, or is an
    animation."""
    render_ms: float | None = None
    """Time from decoded pixels to art in milliseconds, or for all of an animation; None if there is
    no art."""
    aborted: tuple[str, ...] = ()
    """Cause of each process that ended during this conversion: `crash`, `killed`, `memory` or
    `time`."""
    unsupported: tuple[str, ...] = ()
    """Parts of the sandbox that the process lacked: `landlock` or `seccomp`."""


class Converter(Protocol):
    """Converts images, in this process or in another."""

    def convert(
        self, image: bytes, options: ConversionOptions, *, wait_seconds: float
    ) -> Conversion:
        """Convert an image.

        Raises OverloadedError if the conversion cannot begin within `wait_seconds`;
        UnavailableError if it fails for a reason other than the image.
        """

    def close(self) -> None:
        """Wait for the conversions in progress, then stop the converter processes."""


class Renderer(Protocol):
    """Renders art for answers of the web tier, in this process or in another."""

    def render(
        self, art: str, rendering: Rendering, *, reserve: Callable[[int], None]
    ) -> list[bytes]:
        """Return the parts of a rendering of encoded art.

        `reserve` is called with the bytes of all parts before they are received; what it raises
        ends the call. Raises UndrawableArtError, UnavailableError.
        """


class Metrics(Protocol):
    """Metrics sink. No method raises, and none but `flush` blocks."""

    def count(self, name: str, value: int = 1, **tags: str) -> None:
        """Add `value` to a counter."""

    def distribution(self, name: str, value: float, **tags: str) -> None:
        """Record one value of a distribution."""

    def flush(self) -> None:
        """Send buffered values; may take seconds. Call it before the process stops or is frozen."""


class BoundedCall(Protocol):
    """Function that runs a potentially slow call, such as one to a store, with a time limit."""

    def __call__(self, function: Callable[[], Result], wait_seconds: float) -> Result:
        """Return the result of `function`, or raise its error.

        Raises TimeoutError after `wait_seconds`; the call continues, and its result is discarded.
        """


def call_directly(function: Callable[[], Result], wait_seconds: float) -> Result:
    """BoundedCall for a store and a queue that never block for long: no time limit."""
    return function()


@contextmanager
def timed(metrics: Metrics, name: str, **tags: str) -> Iterator[None]:
    """Record the duration of a `with` block in milliseconds, even if the block raises."""
    start = time.perf_counter()
    try:
        yield
    finally:
        metrics.distribution(name, 1000 * (time.perf_counter() - start), **tags)
