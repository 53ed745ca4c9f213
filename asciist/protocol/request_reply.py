"""Both halves of the protocol between the tiers: the Requester asks for art, the Responder makes it.

Requester (web tier)                          Responder (worker tier)
    look for stored art                           drop what is past its deadline
    store the image if it is not there            fetch the image, convert, store the art
    publish a request, wait for the reply         reply
    look once more before giving up               (its caller deletes the message)

Delivery is at least once and in no order, and replies may come late, twice or never, so every step can be repeated. Art
is a function of its key: two conversions write the same bytes.
"""

import logging
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from enum import Enum
from typing import Final

from asciist import conversion
from asciist.conversion import ConversionOptions
from asciist.errors import (
    ArtifactNotFoundError,
    AsciistError,
    DeadlineExceededError,
    ImageRejectedError,
    RejectedError,
    ReplyAddressGoneError,
    UnavailableError,
)
from asciist.limits import Limits
from asciist.protocol.artifacts import StoredArt, art_key, digest_of, image_key
from asciist.protocol.capacity import Capacity
from asciist.protocol.messages import ConversionReply, ConversionRequest, Trace
from asciist.protocol.ports import ArtifactStore, Delivery, Metrics, ReplyInbox, ReplySender, RequestQueue, timed
from asciist.settings import retry_delay
from asciist.telemetry import logs
from asciist.telemetry.metrics import (
    ART_SERVED,
    CONVERSION_DURATION,
    CONVERSION_PIXELS,
    IMAGE_BYTES,
    IMAGE_DECODE_DURATION,
    IMAGE_PIXELS,
    MESSAGE_AGE,
    MESSAGES_EXPIRED,
    MESSAGES_FAULTED,
    REPLIES_ORPHANED,
    REPLY_WAIT,
)

_log = logging.getLogger(__name__)


NO_TRACE: Final = Trace()


class ArtSource(Enum):
    """Where the art of an answer came from."""

    STORE = "store"
    CONVERSION = "conversion"
    SHARED = "shared"
    """An identical request was in flight already, and both were answered by its art."""


@dataclass(frozen=True, kw_only=True)
class ServedArt:
    """Art for a client, and where it can be had again."""

    art: str
    digest: str
    options: ConversionOptions
    source: ArtSource

    @property
    def key(self) -> str:
        return art_key(self.digest, self.options)


class Requester:
    """The web tier's half. One for each process; safe to call from many threads."""

    def __init__(
        self,
        *,
        store: ArtifactStore,
        queue: RequestQueue,
        inbox: ReplyInbox,
        metrics: Metrics,
        limits: Limits,
        timeout_seconds: float,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._queue = queue
        self._inbox = inbox
        self._metrics = metrics
        self._limits = limits
        self._timeout_seconds = timeout_seconds
        self._clock = clock
        self._flights: dict[str, Future[ServedArt]] = {}
        self._flights_lock = threading.Lock()

    def art(self, image: bytes, options: ConversionOptions, trace: Trace = NO_TRACE) -> ServedArt:
        """The art of `image`, stored or converted for this call.

        Raises RejectedError for what cannot be converted, DeadlineExceededError, UnavailableError.
        """
        header = conversion.open_image(image, options, self._limits).header
        image_format = header.format.lower()  # as Datadog would make it
        self._metrics.distribution(IMAGE_BYTES, len(image), format=image_format)
        self._metrics.distribution(IMAGE_PIXELS, header.pixels, format=image_format)
        digest = digest_of(image)
        logs.add(digest=digest, format=image_format, bytes=len(image), pixels=header.pixels)
        return self._art(digest, options, trace, ensure_image=lambda: self._store.create(image_key(digest), image))

    def art_of_stored_image(self, digest: str, options: ConversionOptions, trace: Trace = NO_TRACE) -> ServedArt:
        """The art of an image that was sent before, stored or converted for this call.

        Raises ArtifactNotFoundError if the image is not stored (any more), and what `art` raises.
        """
        options.check(self._limits)
        logs.add(digest=digest)

        def find_image() -> None:
            if not self._store.exists(image_key(digest)):
                raise ArtifactNotFoundError(image_key(digest))

        return self._art(digest, options, trace, ensure_image=find_image)

    def stored_art(self, digest: str, options: ConversionOptions) -> ServedArt:
        """Art that is already stored. Raises BadOptionError, ArtifactNotFoundError, UnavailableError."""
        options.check(self._limits)
        art = self._look(art_key(digest, options))
        if art is None:
            raise ArtifactNotFoundError(art_key(digest, options))
        logs.add(digest=digest, style=options.style, width=options.width)
        return self._served(ServedArt(art=art, digest=digest, options=options, source=ArtSource.STORE))

    def _art(self, digest: str, options: ConversionOptions, trace: Trace, *, ensure_image: Callable[[], object]) -> ServedArt:
        deadline = self._clock() + self._timeout_seconds

        def lead() -> ServedArt:
            art = self._look(art_key(digest, options))
            source = ArtSource.STORE
            if art is None:
                ensure_image()
                art = self._converted(digest, options, deadline, trace)
                source = ArtSource.CONVERSION
            return ServedArt(art=art, digest=digest, options=options, source=source)

        return self._served(self._fly(art_key(digest, options), deadline, lead))

    def _served(self, served: ServedArt) -> ServedArt:
        self._metrics.count(ART_SERVED, source=served.source.value)
        logs.add(source=served.source.value)
        return served

    def _fly(self, key: str, deadline: float, lead: Callable[[], ServedArt]) -> ServedArt:
        """Of identical requests at a time one leads, and its outcome serves all of them."""
        while True:
            with self._flights_lock:
                under_way = self._flights.get(key)
                flight = under_way or self._flights.setdefault(key, Future())
            if under_way is None:
                return self._land(key, flight, lead)
            try:
                return replace(flight.result(deadline - self._clock()), source=ArtSource.SHARED)
            except ArtifactNotFoundError:
                continue  # the leader had no image: whoever has one flies again
            except (TimeoutError, DeadlineExceededError) as error:
                # The leader began earlier, so its deadline comes first: whoever still has time flies again.
                if self._clock() >= deadline:
                    raise _too_late() from error

    def _land(self, key: str, flight: "Future[ServedArt]", lead: Callable[[], ServedArt]) -> ServedArt:
        try:
            served = lead()
        except BaseException as error:
            flight.set_exception(error)
            raise
        else:
            flight.set_result(served)
            return served
        finally:
            # After the outcome: a request that finds no flight finds the art in the store.
            with self._flights_lock:
                del self._flights[key]

    def _converted(self, digest: str, options: ConversionOptions, deadline: float, trace: Trace) -> str:
        correlation_id = uuid.uuid4().hex
        with self._inbox.expect(correlation_id) as pending:
            request = ConversionRequest(
                correlation_id=correlation_id,
                digest=digest,
                options=options,
                deadline=deadline,
                reply_to=pending.reply_to,
                published_at=self._clock(),
                trace=trace,
            )
            self._queue.send(request.to_json())
            with timed(self._metrics, REPLY_WAIT):
                reply = pending.wait(max(0.0, deadline - self._clock()))
        if reply is not None and reply.rejection is not None:
            raise ImageRejectedError(reply.rejection)
        if reply is not None and reply.art is not None:
            return reply.art
        # Either the art did not fit into the reply, or the reply is lost: it may be stored all the same.
        art = self._look(art_key(digest, options))
        if art is not None:
            return art
        if reply is None:
            raise _too_late()
        raise UnavailableError(f"{art_key(digest, options)} was reported done and is not stored")

    def _look(self, key: str) -> str | None:
        try:
            stored = StoredArt.from_json(self._store.get(key))
        except ArtifactNotFoundError:
            return None
        return stored.art if stored else None


def _too_late() -> DeadlineExceededError:
    return DeadlineExceededError("the art was not ready in time: try again")


class Responder:
    """The worker tier's half."""

    def __init__(
        self,
        *,
        store: ArtifactStore,
        replies: ReplySender,
        metrics: Metrics,
        limits: Limits,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._replies = replies
        self._metrics = metrics
        self._limits = limits
        self._clock = clock
        # Of conversions that share a process, so that two large ones take turns and not twice the memory.
        self._decode_bytes = Capacity(limits.max_decode_bytes)

    def respond(self, body: str, *, receive_count: int) -> None:
        """Carry out one request. After a normal return the message is done with and must be deleted.

        Anything raised is a fault of ours or of a neighbour: the message must stay in the queue, to be delivered again and
        to become a dead letter in the end.
        """
        started = time.perf_counter()
        request = ConversionRequest.from_json(body)
        logs.add(request_id=request.trace.request_id, trace=request.trace.headers, digest=request.digest)
        logs.add(style=request.options.style, width=request.options.width)
        now = self._clock()
        if request.published_at is not None:
            age = 1000 * max(0.0, now - request.published_at)  # the clocks of two machines
            self._metrics.distribution(MESSAGE_AGE, age)
            logs.add(age_ms=round(age, 1))
        if now >= request.deadline:
            self._metrics.count(MESSAGES_EXPIRED)
            _log.warning("expired")
            return
        # A redelivered request may have been carried out up to its reply: then the reply is all that is missing.
        reply = (self._reply_from_store(request) if receive_count > 1 else None) or self._reply(request)
        try:
            self._replies.send(request.reply_to, reply)
        except ReplyAddressGoneError:
            # The web process has stopped since. The art is stored for whoever asks next.
            self._metrics.count(REPLIES_ORPHANED)
            logs.add(orphaned=True)
        logs.add(duration_ms=round(1000 * (time.perf_counter() - started), 1))
        _log.info("converted" if reply.rejection is None else "rejected")

    def _reply_from_store(self, request: ConversionRequest) -> ConversionReply | None:
        with suppress(ArtifactNotFoundError):
            if stored := StoredArt.from_json(self._store.get(art_key(request.digest, request.options))):
                return ConversionReply(correlation_id=request.correlation_id, art=stored.art)
        return None

    def _reply(self, request: ConversionRequest) -> ConversionReply:
        image = self._store.get(image_key(request.digest))
        try:
            art = self._convert(image, request)
        except RejectedError as error:
            return ConversionReply(correlation_id=request.correlation_id, rejection=error.public_message)
        self._store.put(art_key(request.digest, request.options), StoredArt(art).to_json())
        return ConversionReply(correlation_id=request.correlation_id, art=art)

    def _convert(self, file: bytes, request: ConversionRequest) -> str:
        opened = conversion.open_image(file, request.options, self._limits)
        image_format = opened.header.format.lower()
        patience = request.deadline - self._clock()
        with self._decode_bytes.reserve(opened.header.decode_bytes, wait_seconds=patience):
            self._metrics.count(CONVERSION_PIXELS, opened.header.pixels, format=image_format)
            with timed(self._metrics, IMAGE_DECODE_DURATION, format=image_format):
                image = conversion.decode(opened)
            with timed(self._metrics, CONVERSION_DURATION, style=request.options.style):
                return conversion.render(image, request.options)


def respond_or_retry(delivery: Delivery, queue: RequestQueue, responder: Responder, metrics: Metrics) -> bool:
    """Whether the message is done with, and must be deleted. Never raises.

    A message that met a fault is shown again soon: its visibility timeout is longer than its deadline.
    """
    with logs.scope():
        logs.add(receive_count=delivery.receive_count)
        try:
            responder.respond(delivery.body, receive_count=delivery.receive_count)
        except Exception:  # noqa: BLE001 - whatever it is, the message comes back and the worker goes on
            metrics.count(MESSAGES_FAULTED)
            _log.exception("met a fault")
            with suppress(AsciistError):
                queue.extend(delivery, visibility_seconds=retry_delay(delivery.receive_count))
            return False
        return True


def consume(
    queue: RequestQueue, responder: Responder, metrics: Metrics, *, stopping: threading.Event, wait_seconds: float = 1.0
) -> None:
    """Receive and respond, a message at a time, until `stopping` is set. Never raises: a worker outlives every fault."""
    while not stopping.is_set():
        try:
            for delivery in queue.receive(max_messages=1, wait_seconds=wait_seconds):
                if respond_or_retry(delivery, queue, responder, metrics):
                    queue.delete([delivery])
        except AsciistError:
            _log.exception("the request queue failed")
            stopping.wait(wait_seconds)


class PendingReplies:
    """The replies that one process waits for, by correlation id. The part of a reply inbox that all adapters share."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._waiting: dict[str, _Pending] = {}
        self._lock = threading.Lock()

    @contextmanager
    def expect(self, correlation_id: str, reply_to: str) -> Iterator["_Pending"]:
        """See ReplyInbox.expect."""
        pending = _Pending(reply_to)
        with self._lock:
            self._waiting[correlation_id] = pending
        try:
            yield pending
        finally:
            with self._lock:
                self._waiting.pop(correlation_id, None)

    def reply_to(self, correlation_id: str) -> str | None:
        """The reply address that was given out for a request; None if nobody waits for its reply (any more)."""
        with self._lock:
            pending = self._waiting.get(correlation_id)
        return pending.reply_to if pending else None

    def resolve(self, reply: ConversionReply) -> None:
        """Hand a reply to whoever waits for it. One that nobody waits for (late, or the second of two) is counted."""
        with self._lock:
            pending = self._waiting.pop(reply.correlation_id, None)
        if pending is None:
            self._metrics.count(REPLIES_ORPHANED)
        else:
            pending.resolve(reply)


class _Pending:
    def __init__(self, reply_to: str) -> None:
        self.reply_to: Final = reply_to
        self._came: Final = threading.Event()
        self._reply: ConversionReply | None = None

    def resolve(self, reply: ConversionReply) -> None:
        self._reply = reply
        self._came.set()

    def wait(self, seconds: float) -> ConversionReply | None:
        self._came.wait(seconds)
        return self._reply
