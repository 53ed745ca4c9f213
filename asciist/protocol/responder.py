"""The worker tier's half of the protocol.

A Responder drops a message that is past its deadline. Otherwise it reads the image from the store, converts it, stores the art
and replies. Messages may be delivered twice and in any order, so every step can be repeated: the key determines the art, and
two conversions write the same bytes.
"""

import logging
import threading
import time
from collections.abc import Callable
from contextlib import suppress

from asciist.errors import ArtifactNotFoundError, AsciistError, ReplyAddressGoneError
from asciist.protocol.artifacts import StoredArt, art_key, image_key
from asciist.protocol.messages import ConversionReply, ConversionRequest
from asciist.protocol.ports import ArtifactStore, Conversion, Converter, Delivery, Metrics, ReplySender, RequestQueue
from asciist.telemetry import logs
from asciist.telemetry.metrics import (
    CONVERSION_DURATION,
    CONVERSION_PIXELS,
    IMAGE_DECODE_DURATION,
    MESSAGE_AGE,
    MESSAGES_EXPIRED,
    MESSAGES_FAULTED,
    REPLIES_ORPHANED,
)

_log = logging.getLogger(__name__)


def redelivery_backoff(receive_count: int) -> float:
    """Return the seconds until a message whose processing failed is delivered again: 0.5, 1, 2, 4 (SQS rounds 0.5 up to 1)."""
    return float(0.5 * 2 ** (receive_count - 1))


class Responder:
    """Answers conversion requests: those passed to `respond`, and those that its own threads receive after `start`."""

    def __init__(
        self,
        *,
        store: ArtifactStore,
        queue: RequestQueue,
        replies: ReplySender,
        metrics: Metrics,
        converter: Converter,
        backoff: Callable[[int], float] = redelivery_backoff,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._queue = queue
        self._replies = replies
        self._metrics = metrics
        self._converter = converter
        self._backoff = backoff
        self._clock = clock
        self._threads: list[threading.Thread] = []
        self._stopping = threading.Event()

    def start(self, threads: int, *, wait_seconds: float = 1.0) -> None:
        """Start `threads` threads that consume the queue, each with long polls of `wait_seconds`."""
        for number in range(threads):
            thread = threading.Thread(target=self._consume, args=(wait_seconds,), name=f"worker-{number}", daemon=True)
            thread.start()
            self._threads.append(thread)

    def is_alive(self) -> bool:
        """Return whether every started thread is still consuming the queue."""
        return not self._stopping.is_set() and all(thread.is_alive() for thread in self._threads)

    def request_stop(self) -> None:
        """Ask each thread to stop after its current message; do not wait for them."""
        self._stopping.set()

    def stop(self, wait_seconds: float) -> None:
        """Let each thread finish its current message, waiting at most `wait_seconds` for each; then flush the metrics."""
        self.request_stop()
        for thread in self._threads:
            thread.join(wait_seconds)
        self.flush()

    def flush(self) -> None:
        """Send buffered metrics. Call it before the process is frozen."""
        self._metrics.flush()

    def respond(self, delivery: Delivery) -> bool:
        """Process one delivery. Return True if it succeeded, and the caller must delete the message. Never raises.

        If it failed, the message stays in the queue and becomes visible again after a backoff. Its visibility timeout would
        end only after its deadline.
        """
        with logs.scope():
            logs.add(receive_count=delivery.receive_count)
            try:
                self.process(delivery.body, receive_count=delivery.receive_count)
            except Exception:  # noqa: BLE001 - the message is redelivered, and the worker must survive
                self._metrics.count(MESSAGES_FAULTED)
                _log.exception("message processing failed")
                with suppress(AsciistError):
                    self._queue.extend(delivery, visibility_seconds=self._backoff(delivery.receive_count))
                return False
            return True

    def process(self, body: str, *, receive_count: int) -> None:
        """Process one message body. Raises any error if processing failed, and the message must stay in the queue."""
        started = time.perf_counter()
        request = ConversionRequest.from_json(body)
        logs.add(request_id=request.trace.request_id, trace=request.trace.headers, digest=request.digest)
        logs.add(style=request.options.style, width=request.options.width)
        self._record_age(request)
        if self._clock() >= request.deadline:
            self._metrics.count(MESSAGES_EXPIRED)
            _log.warning("message expired")
            return
        # An earlier delivery may have stored the art and failed to send the reply.
        reply = (self._reply_from_store(request) if receive_count > 1 else None) or self._convert_and_store(request)
        try:
            self._replies.send(request.reply_to, reply)
        except ReplyAddressGoneError:
            # The web process has stopped. The art is stored for the next request.
            self._metrics.count(REPLIES_ORPHANED)
            logs.add(orphaned=True)
        logs.add(duration_ms=round(1000 * (time.perf_counter() - started), 1))
        _log.info("image converted" if reply.rejection is None else "image rejected")

    def _consume(self, wait_seconds: float) -> None:
        """Receive and process one message at a time until asked to stop. If the queue fails, wait and try again."""
        while not self._stopping.is_set():
            try:
                for delivery in self._queue.receive(max_messages=1, wait_seconds=wait_seconds):
                    if self.respond(delivery):
                        self._queue.delete([delivery])
            except AsciistError:
                _log.exception("request queue failed")
                self._stopping.wait(wait_seconds)

    def _record_age(self, request: ConversionRequest) -> None:
        if request.published_at is not None:
            age_ms = 1000 * max(0.0, self._clock() - request.published_at)  # two machines' clocks may disagree
            self._metrics.distribution(MESSAGE_AGE, age_ms)
            logs.add(age_ms=round(age_ms, 1))

    def _reply_from_store(self, request: ConversionRequest) -> ConversionReply | None:
        with suppress(ArtifactNotFoundError):
            if stored := StoredArt.from_json(self._store.get(art_key(request.digest, request.options))):
                return ConversionReply(correlation_id=request.correlation_id, art=stored.art)
        return None

    def _convert_and_store(self, request: ConversionRequest) -> ConversionReply:
        """Return a reply with the stored art, or with the reason why the image is rejected."""
        image = self._store.get(image_key(request.digest))
        converted = self._converter.convert(image, request.options, wait_seconds=request.deadline - self._clock())
        self._record(converted, request.options.style)
        if converted.art is None:
            return ConversionReply(correlation_id=request.correlation_id, rejection=converted.rejection)
        self._store.put(art_key(request.digest, request.options), StoredArt(converted.art).to_json())
        return ConversionReply(correlation_id=request.correlation_id, art=converted.art)

    def _record(self, converted: Conversion, style: str) -> None:
        if converted.decode_ms is not None:
            self._metrics.count(CONVERSION_PIXELS, converted.pixels, format=converted.format)
            self._metrics.distribution(IMAGE_DECODE_DURATION, converted.decode_ms, format=converted.format)
        if converted.render_ms is not None:
            self._metrics.distribution(CONVERSION_DURATION, converted.render_ms, style=style)
