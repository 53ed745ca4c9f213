"""The worker tier's half of the protocol.

A Responder drops a message that is past its deadline. Otherwise it reads the image from the store,
converts it, stores the art and replies. Messages may be published and delivered more than once and
in any order, so every step can be repeated: the key determines the art, and two conversions write
the same bytes.
"""

import logging
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from asciist.errors import (
    AccessDeniedError,
    ArtifactNotFoundError,
    AsciistError,
    OverloadedError,
    ReplyAddressGoneError,
    UnavailableError,
)
from asciist.protocol.artifacts import StoredArt, art_key, digest_of, image_key
from asciist.protocol.message_age import MessageAge
from asciist.protocol.messages import ConversionReply, ConversionRequest
from asciist.protocol.ports import (
    ArtifactStore,
    Conversion,
    Converter,
    Delivery,
    Metrics,
    ReplySender,
    RequestQueue,
)
from asciist.telemetry import logs
from asciist.telemetry.metrics import (
    ART_UNSTORED,
    CONVERSION_DURATION,
    CONVERSION_PIXELS,
    CONVERSIONS_ABORTED,
    CONVERSIONS_EXPOSED,
    IMAGE_DECODE_DURATION,
    IMAGES_GONE,
    MESSAGE_AGE,
    MESSAGES_EXPIRED,
    MESSAGES_FAULTED,
    REPLIES_ORPHANED,
)

_log = logging.getLogger(__name__)

_DELIVERIES_WITHOUT_IMAGE: Final = 3  # sooner than it would become a dead letter
"""Delivery at which a message without its image is dropped."""


def redelivery_backoff(receive_count: int) -> float:
    """Return the delay before a failed message is redelivered, in seconds: 0.5, 1, 2, 4 (SQS rounds
    0.5 up to 1)."""
    return float(0.5 * 2 ** (receive_count - 1))


class Responder:
    """Answers conversion requests: deliveries passed to `respond`, and deliveries that its own
    threads receive after `start`."""

    def __init__(
        self,
        *,
        store: ArtifactStore,
        queue: RequestQueue,
        replies: ReplySender,
        metrics: Metrics,
        converter: Converter,
        checks_images: bool = True,
        backoff: Callable[[int], float] = redelivery_backoff,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Build a Responder. With `checks_images`, it converts an image only if its bytes match the
        SHA-256 in its key."""
        self._store = store
        self._queue = queue
        self._replies = replies
        self._metrics = metrics
        self._converter = converter
        self._checks_images = checks_images
        self._backoff = backoff
        self._clock = clock
        self._age = MessageAge(clock)
        self._threads: list[threading.Thread] = []
        self._stopping = threading.Event()
        self._has_consumed = threading.Event()
        self._denied_since: float | None = None

    def start(self, threads: int, *, wait_seconds: float = 1.0) -> None:
        """Start `threads` threads that consume the queue, each with long polls of
        `wait_seconds`."""
        for number in range(threads):
            thread = threading.Thread(
                target=self._consume, args=(wait_seconds,), name=f"worker-{number}", daemon=True
            )
            thread.start()
            self._threads.append(thread)

    def is_alive(self) -> bool:
        """Return whether every started thread is still consuming the queue."""
        return not self._stopping.is_set() and all(thread.is_alive() for thread in self._threads)

    def has_consumed(self) -> bool:
        """Return whether the queue has ever answered a thread, with messages or without."""
        return self._has_consumed.is_set()

    def denied_seconds(self) -> float:
        """Return how long the queue has been refusing the credentials of this process, in seconds;
        0 if its last answer was not a refusal."""
        since = self._denied_since
        return 0.0 if since is None else time.monotonic() - since

    def request_stop(self) -> None:
        """Ask each thread to stop after its current message; do not wait for them."""
        self._stopping.set()

    def stop(self, wait_seconds: float) -> None:
        """Let each thread finish its current message, waiting at most `wait_seconds` for each; then
        end the converter.

        Flush the metrics, too.
        """
        self.request_stop()
        for thread in self._threads:
            thread.join(wait_seconds)
        self._converter.close()
        self.flush()

    def flush(self) -> None:
        """Send buffered metrics. Call it before the process is frozen."""
        self._metrics.flush()

    def respond(self, delivery: Delivery) -> bool:
        """Process one delivery. Return True if it succeeded, and the caller must delete the
        message. Never raises.

        If it failed, the message stays in the queue and becomes visible again after a backoff,
        because its visibility timeout would end only after its deadline.
        """
        with logs.scope():
            logs.add(receive_count=delivery.receive_count)
            try:
                self.process(delivery)
            except Exception as error:  # noqa: BLE001
                # The message is redelivered, and the worker must survive.
                self._metrics.count(MESSAGES_FAULTED)
                # no converter was free, so a traceback would tell nothing more
                is_late = isinstance(error, OverloadedError)
                logs.add(error=str(error))
                _log.error("message processing failed", exc_info=not is_late)
                with suppress(AsciistError):
                    self._queue.extend(
                        delivery, visibility_seconds=self._backoff(delivery.receive_count)
                    )
                return False
            return True

    def process(self, delivery: Delivery) -> None:
        """Process one delivery. Raises any error if processing failed, and the message must stay in
        the queue."""
        started = time.perf_counter()
        request = delivery.request
        logs.add(request_id=request.trace.request_id, trace=request.trace.headers)
        logs.add(style=request.options.style, width=request.options.width)
        seconds_left = self._seconds_left(request, delivery)
        if seconds_left <= 0:
            self._metrics.count(MESSAGES_EXPIRED)
            _log.warning("message expired")
            return
        # An earlier delivery or message may have stored the art, while its reply was lost or is
        # under way.
        may_be_stored = delivery.receive_count > 1 or request.attempt > 1
        reply = self._reply_from_store(request) if may_be_stored else None
        try:
            reply = reply or self._convert_and_store(request, seconds_left)
        except ArtifactNotFoundError:
            if delivery.receive_count < _DELIVERIES_WITHOUT_IMAGE:
                # a worker whose role is about to change may not read an image, and another one may
                raise
            # It has expired since the request was published. If the web process still has it, it
            # stores it and publishes again.
            self._metrics.count(IMAGES_GONE)
            _log.warning("message dropped: its image is no longer stored")
            return
        try:
            self._replies.send(request.reply_to, reply)
        except ReplyAddressGoneError:
            # The web process has stopped. The art is stored for the next request.
            self._metrics.count(REPLIES_ORPHANED)
            logs.add(orphaned=True)
        logs.add(duration_ms=round(1000 * (time.perf_counter() - started), 1))
        _log.info("image converted" if reply.rejection is None else "image rejected")

    def _consume(self, wait_seconds: float) -> None:
        """Receive and process one message at a time until asked to stop. If the queue fails, wait
        and try again."""
        while not self._stopping.is_set():
            try:
                deliveries = self._queue.receive(max_messages=1, wait_seconds=wait_seconds)
                self._denied_since = None
                self._has_consumed.set()
                for delivery in deliveries:
                    if self.respond(delivery):
                        self._queue.delete([delivery])
            except Exception as error:  # noqa: BLE001
                # Without its threads, a worker would be idle for ever.
                if isinstance(error, AccessDeniedError):
                    self._denied_since = self._denied_since or time.monotonic()
                _log.exception("request queue failed")
                self._stopping.wait(wait_seconds)

    def _seconds_left(self, request: ConversionRequest, delivery: Delivery) -> float:
        """Record the age of a message, and return the seconds until its deadline."""
        if request.published_at is None:
            return request.deadline - self._clock()
        timeout = request.deadline - request.published_at
        age = self._age.seconds(request.published_at, delivery)
        self._metrics.distribution(MESSAGE_AGE, 1000 * age)
        logs.add(age_ms=round(1000 * age, 1))
        return timeout - age

    def _reply_from_store(self, request: ConversionRequest) -> ConversionReply | None:
        with suppress(ArtifactNotFoundError):
            if stored := StoredArt.from_json(
                self._store.get(art_key(request.digest, request.options))
            ):
                return request.reply(art=stored.art, invert=stored.invert)
        return None

    def _convert_and_store(
        self, request: ConversionRequest, seconds_left: float
    ) -> ConversionReply:
        """Return a reply with the art, or with the reason why the image is rejected."""
        image = self._image(request.digest)
        converted = self._converter.convert(image, request.options, wait_seconds=seconds_left)
        self._record(converted, request.options.style)
        if converted.art is None:
            return request.reply(rejection=converted.rejection)
        return self._store_art(request, StoredArt(converted.art, converted.invert))

    def _image(self, digest: str) -> bytes:
        """Return a stored image. Raises UnavailableError if its bytes have changed, and errors of
        the store.

        The check takes 0.5 ms for 1 MB.
        """
        image = self._store.get(image_key(digest))
        if self._checks_images and digest_of(image) != digest:
            raise UnavailableError(
                f"the SHA-256 of {image_key(digest)} is another one: its {len(image)} bytes are"
                " damaged"
            )
        return image

    def _store_art(self, request: ConversionRequest, art: StoredArt) -> ConversionReply:
        """Store art and return a reply with it. If storing fails, the reply still delivers the art,
        if it fits."""
        reply = request.reply(art=art.art, invert=art.invert)
        try:
            self._store.put(art_key(request.digest, request.options), art.to_json())
        except UnavailableError:
            if len(reply.to_json()) > self._replies.max_reply_bytes:
                raise
            self._metrics.count(ART_UNSTORED)
            logs.add(unstored=True)
            _log.exception("storing the art failed")
        return reply

    def _record(self, converted: Conversion, style: str) -> None:
        for cause in converted.aborted:
            self._metrics.count(CONVERSIONS_ABORTED, cause=cause)
        for part in converted.unsupported:
            self._metrics.count(CONVERSIONS_EXPOSED, missing=part)
        if converted.decode_ms is not None or converted.render_ms is not None:
            self._metrics.count(CONVERSION_PIXELS, converted.pixels, format=converted.format)
        if converted.decode_ms is not None:
            self._metrics.distribution(
                IMAGE_DECODE_DURATION, converted.decode_ms, format=converted.format
            )
        if converted.render_ms is not None:
            self._metrics.distribution(CONVERSION_DURATION, converted.render_ms, style=style)
