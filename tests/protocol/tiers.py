"""Both tiers in one process, with dependencies that fail on demand."""

import time
from collections.abc import Callable
from pathlib import Path

from asciist.adapters.converters.in_process import InProcessConverter
from asciist.adapters.embedded import EmbeddedMetrics, EmbeddedQueue, EmbeddedReplies
from asciist.adapters.object_store import ObjectStore
from asciist.conversion import ConversionOptions
from asciist.errors import UnavailableError
from asciist.limits import Limits
from asciist.protocol.artifacts import art_key, digest_of, image_key
from asciist.protocol.messages import ConversionRequest, Message, json_of
from asciist.protocol.ports import ArtifactStore, BoundedCall, Delivery, ReplySender, call_directly
from asciist.protocol.requester import Requester
from asciist.protocol.responder import Responder, redelivery_backoff
from asciist.telemetry import metrics
from tools.testing.drawing import convert

CAT = (Path(__file__).parents[2] / "docs" / "examples" / "cat.jpg").read_bytes()
OPTIONS = ConversionOptions(width=20)
ART = convert(CAT, OPTIONS, Limits())
KEY = art_key(digest_of(CAT), OPTIONS)


def delivery(
    body: str,
    *,
    receive_count: int = 1,
    age_seconds: float | None = None,
    sent_at: float | None = None,
) -> Delivery:
    """Return a delivery without a queue."""
    return Delivery(
        body=body, receipt="", receive_count=receive_count, age_seconds=age_seconds, sent_at=sent_at
    )


class FlakyStore:
    """An in-memory store that records every call and raises UnavailableError for calls selected by
    `failing`."""

    def __init__(self) -> None:
        self._store = ObjectStore.in_memory()
        self.calls: list[tuple[str, str]] = []
        self.failing: Callable[[str, str], bool] = lambda _call, _key: False

    def _record(self, call: str, key: str) -> None:
        self.calls.append((call, key))
        if self.failing(call, key):
            raise UnavailableError(f"injected failure of {call} {key}")

    def get(self, key: str) -> bytes:
        self._record("get", key)
        return self._store.get(key)

    def put(self, key: str, body: bytes) -> None:
        self._record("put", key)
        self._store.put(key, body)

    def create(self, key: str, body: bytes) -> bool:
        self._record("create", key)
        return self._store.create(key, body)

    def keep(self, *keys: str) -> None:
        self._record("keep", " ".join(keys))
        self._store.keep(*keys)

    def exists(self, key: str) -> bool:
        self._record("exists", key)
        return self._store.exists(key)

    def delete(self, key: str) -> None:
        self._store.delete(key)

    def delete_folder(self, folder: str) -> bool:
        self._record("delete_folder", folder)
        return self._store.delete_folder(folder)


class _JsonQueue(EmbeddedQueue):
    """A queue in memory whose messages are JSON, as in a cloud."""

    def send(self, body: Message) -> None:
        super().send(json_of(body))


class Tiers:
    """Both tiers in one process, with embedded dependencies."""

    # A test of a reply that is overdue sets a short `overdue_seconds`, and a timeout that leaves
    # time for the reply on a busy machine.
    def __init__(
        self,
        *,
        timeout_seconds: float = 5,
        overdue_seconds: float | None = None,
        visibility_seconds: float = 30,
        call: BoundedCall = call_directly,
        peer: ArtifactStore | None = None,
    ) -> None:
        self.metrics = EmbeddedMetrics()
        self.store = FlakyStore()
        self.is_read_only = False
        self.queue = _JsonQueue(visibility_seconds=visibility_seconds, max_receive_count=5)
        self.replies = EmbeddedReplies(self.metrics)
        self.requester = Requester(
            store=self.store,
            queue=self.queue,
            inbox=self.replies,
            metrics=self.metrics,
            limits=Limits(),
            timeout_seconds=timeout_seconds,
            call=call,
            peer=peer,
            is_read_only=lambda: self.is_read_only,
        )
        if overdue_seconds is not None:
            self.requester._hedging._max_overdue_seconds = overdue_seconds
        self.responder = self.responder_with()

    def responder_with(
        self,
        *,
        replies: ReplySender | None = None,
        backoff: Callable[[int], float] = redelivery_backoff,
        clock: Callable[[], float] = time.time,
    ) -> Responder:
        """Return a Responder with the same dependencies, except for the given ones."""
        return Responder(
            store=self.store,
            queue=self.queue,
            replies=replies or self.replies,
            metrics=self.metrics,
            converter=InProcessConverter(Limits()),
            backoff=backoff,
            clock=clock,
        )

    def extend_timeout(self) -> None:
        """Give requests that begin from now on as much time as a busy machine may need."""
        self.requester._timeout_seconds = 60

    def start(self, threads: int = 1) -> None:
        self.responder.start(threads, wait_seconds=0.1)

    def stop(self) -> None:
        self.responder.request_stop()
        self.queue.close()
        self.responder.stop(30)

    def request(self, **changes: object) -> ConversionRequest:
        """Store the image and return a request for it, like the Requester's."""
        self.store.create(image_key(digest_of(CAT)), CAT)
        fields = {
            "correlation_id": "test",
            "digest": digest_of(CAT),
            "options": OPTIONS,
            "deadline": time.time() + 60,
            "reply_to": self.replies.address,
        }
        return ConversionRequest(**(fields | changes))  # type: ignore[arg-type]

    def conversions(self) -> int:
        return self.metrics.total(f"{metrics.CONVERSION_DURATION} (values)")
