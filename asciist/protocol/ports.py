"""What the core needs of its neighbours. Each port has one contract suite in `tests/contract` that every adapter passes."""

import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Protocol

from asciist.protocol.messages import ConversionReply


class ArtifactStore(Protocol):
    """Objects by key. Every method raises UnavailableError when the store fails."""

    def get(self, key: str) -> bytes:
        """The object; raises ArtifactNotFoundError."""

    def put(self, key: str, body: bytes) -> None:
        """Write the object, over any that is there. A reader sees the old one or the new one, whole."""

    def create(self, key: str, body: bytes) -> bool:
        """Write the object if there is none; whether it did. Of racing calls one wins."""

    def exists(self, key: str) -> bool:
        """Whether there is such an object."""


@dataclass(frozen=True, kw_only=True)
class Delivery:
    """One hand-over of a message to a consumer."""

    body: str
    receipt: str
    """Names this hand-over; worthless once the message is visible again."""
    receive_count: int
    """1 at the first delivery."""


class RequestQueue(Protocol):
    """Messages, at least once and in no order. A message delivered more than the queue's maximum becomes a dead letter.

    Every method raises UnavailableError when the queue fails.
    """

    def send(self, body: str) -> None:
        """Publish a message."""

    def receive(self, *, max_messages: int, wait_seconds: float) -> list[Delivery]:
        """Up to `max_messages`, hidden from other consumers for the visibility timeout; empty if none came in time."""

    def extend(self, delivery: Delivery, *, visibility_seconds: float) -> Delivery:
        """Hide the message for so long from now on; 0 shows it at once. The delivery returned replaces the one given."""

    def delete(self, deliveries: Sequence[Delivery]) -> None:
        """Remove the messages. No error when one is gone, or was delivered again meanwhile."""


class PendingReply(Protocol):
    """A reply that is due."""

    @property
    def reply_to(self) -> str:
        """The reply address of this request; what it says is between the inbox and the sender of one reply path."""

    def wait(self, seconds: float) -> ConversionReply | None:
        """The reply, at once if it came before the call; None if it did not come in time."""


class ReplyInbox(Protocol):
    """Where one web process receives replies."""

    def expect(self, correlation_id: str) -> AbstractContextManager[PendingReply]:
        """Entered before the request is published, so that no reply can come too early. Left, a late reply is an orphan."""


class ReplySender(Protocol):
    """Sends a reply to whichever process asked."""

    def send(self, reply_to: str, reply: ConversionReply) -> None:
        """Deliver the reply, without its art if the channel is too narrow for it.

        Raises ReplyAddressGoneError when nobody listens there any more, UnavailableError when the channel fails.
        """


class Metrics(Protocol):
    """Figures for people who are not here. Never raises and never delays."""

    def count(self, name: str, value: int = 1, **tags: str) -> None:
        """Add to a counter."""

    def distribution(self, name: str, value: float, **tags: str) -> None:
        """Record one value of a distribution."""

    def flush(self) -> None:
        """Hand over what is held back, within seconds. For a process that is about to stop, or to be frozen."""


@contextmanager
def timed(metrics: Metrics, name: str, **tags: str) -> Iterator[None]:
    """Record in milliseconds how long a `with` block takes, whether or not it ends well."""
    start = time.perf_counter()
    try:
        yield
    finally:
        metrics.distribution(name, 1000 * (time.perf_counter() - start), **tags)
