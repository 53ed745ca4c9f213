"""The web tier's half of the protocol.

A Requester returns the art from the store if it is there. Otherwise it stores the image, publishes
a conversion request and waits for the reply. If the reply is overdue, the Requester looks in the
store and publishes the request again. If no reply comes, or it does not contain the art, the
Requester looks in the store once more before it gives up. Replies may come late, twice or never.
Every step ends before the deadline of the request.

While artifacts are moved between two deployments, each uses the other's store as its peer. An
object requested by a link but missing here is copied from the peer
(docs/decisions/0035-moving-the-data.md).
"""

import logging
import secrets
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

from asciist import conversion
from asciist.errors import (
    ArtifactNotFoundError,
    AsciistError,
    DeadlineExceededError,
    ImageRejectedError,
    ReadOnlyError,
    UnavailableError,
)
from asciist.limits import Limits
from asciist.options import ConversionOptions
from asciist.protocol.artifacts import StoredArt, art_key, digest_of, image_key, link_key
from asciist.protocol.copying import delete_everywhere, fetch, put_copy
from asciist.protocol.hedging import MAX_ATTEMPTS, Hedging
from asciist.protocol.messages import NO_TRACE, ConversionReply, ConversionRequest, Trace
from asciist.protocol.ports import (
    ArtifactStore,
    BoundedCall,
    Metrics,
    PendingReply,
    ReplyInbox,
    RequestQueue,
    Result,
    call_directly,
    timed,
)
from asciist.protocol.served import ArtSource, ServedArt, served_art
from asciist.protocol.single_flight import SingleFlight
from asciist.telemetry import logs
from asciist.telemetry.metrics import (
    ART_SERVED,
    IMAGE_BYTES,
    IMAGE_PIXELS,
    PEER_READS,
    REPLY_WAIT,
    REQUESTS_HEDGED,
    REQUESTS_READ_ONLY,
)

_log = logging.getLogger(__name__)

_BRIEF_SECONDS: Final = 0.5  # healthy dependencies answer in less than 0.1 s
"""Maximum seconds for a call to the store or the queue while awaiting a reply, and for the last
look in the store."""
_BRIEF_SHARE: Final = 0.05
"""The same limit as a share of the request timeout, for timeouts of less than 10 s."""
_PEER_SHARE: Final = 0.5  # the rest is for its conversion
"""Maximum time for reading an object from the peer store, as a share of the request timeout."""


@dataclass(frozen=True, kw_only=True)
class _ArtRequest:
    """A request for art that the Requester is processing."""

    digest: str
    options: ConversionOptions
    key: str
    """Storage key of the art."""
    image: bytes | None
    """Bytes of the image; None if the client refers to an image uploaded earlier by its digest."""
    deadline: float
    """Time at which the Requester gives up, in seconds since the epoch."""
    trace: Trace


class Requester:
    """Gets art for images, from the store or from the worker tier. One per process; safe to call
    from many threads."""

    def __init__(
        self,
        *,
        store: ArtifactStore,
        queue: RequestQueue,
        inbox: ReplyInbox,
        metrics: Metrics,
        limits: Limits,
        timeout_seconds: float,
        call: BoundedCall = call_directly,
        image_id: Callable[[str], str] | None = None,
        peer: ArtifactStore | None = None,
        is_read_only: Callable[[], bool] = lambda: False,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`call` makes every call to the store and the queue, so that none exceeds the deadline of
        its request.

        `image_id` maps the digest of an image to its name in logs; without it, logs do not name
        images. `peer` is the store of another deployment that exchanges artifacts with this one.
        `is_read_only` returns True while nothing may be written.
        """
        self._store = store
        self._queue = queue
        self._inbox = inbox
        self._metrics = metrics
        self._limits = limits
        self._timeout_seconds = timeout_seconds
        self._brief_seconds = min(_BRIEF_SECONDS, _BRIEF_SHARE * timeout_seconds)
        self._hedging = Hedging(timeout_seconds)
        self._call = call
        self._image_id = image_id
        self._peer = peer
        self._is_read_only = is_read_only
        self._clock = clock
        self._in_flight: SingleFlight[ServedArt] = SingleFlight()

    def convert(
        self, image: bytes, options: ConversionOptions, trace: Trace = NO_TRACE
    ) -> ServedArt:
        """Return the art of `image`, stored or newly converted.

        Raises RejectedError if the image or an option is invalid, DeadlineExceededError,
        UnavailableError, or ReadOnlyError if the art is not stored.
        """
        header = conversion.inspect(image, options, self._limits)
        image_format = header.format.key  # Datadog stores tag values in lower case
        self._metrics.distribution(IMAGE_BYTES, len(image), format=image_format)
        self._metrics.distribution(IMAGE_PIXELS, header.pixels, format=image_format)
        digest = digest_of(image)
        self._log_image(digest)
        logs.add(format=image_format, bytes=len(image), pixels=header.pixels)
        return self._count(self._serve(self._request(digest, options, trace, image=image)))

    def convert_stored_image(
        self, digest: str, options: ConversionOptions, trace: Trace = NO_TRACE
    ) -> ServedArt:
        """Return the art of an image uploaded earlier, stored or newly converted.

        Raises ArtifactNotFoundError if the image is not stored, and every error that `convert`
        raises.
        """
        options.check(self._limits)
        self._log_image(digest)
        return self._count(self._serve(self._request(digest, options, trace, image=None)))

    def stored_art(self, digest: str, options: ConversionOptions) -> ServedArt:
        """Return art that is already stored, here or in the peer store.

        Raises BadOptionError, ArtifactNotFoundError, DeadlineExceededError or UnavailableError.
        """
        options.check(self._limits)
        key = art_key(digest, options)
        deadline = self._clock() + self._timeout_seconds
        stored = self._find(key, deadline) or self._find_in_peer(key, deadline)
        if stored is None:
            raise ArtifactNotFoundError(key)
        self._log_image(digest)
        logs.add(style=options.style, width=options.width)
        return self._count(served_art(stored, digest, options, ArtSource.STORE))

    def store_link(self, codes: Iterable[str], path: str, *, kept_key: str = "") -> str:
        """Store the path of a short link under the first free one of `codes`, and return that code.

        Nothing is written if the path is stored already. The store keeps the link and the art with
        the key `kept_key`, if any. Raises ReadOnlyError, DeadlineExceededError or UnavailableError.
        """
        self._check_writable()
        deadline = self._clock() + self._timeout_seconds
        body = path.encode()
        for code in codes:
            key = link_key(code)
            try:
                stored = self._within(deadline, partial(self._store.get, key))
            except ArtifactNotFoundError:
                self._within(deadline, partial(self._store.put, key, stored := body))
            if stored == body:
                if kept_key:
                    self._within(deadline, partial(self._store.keep, key, kept_key))
                return code
        raise UnavailableError("every code of the link stands for other art")

    def find_link(self, code: str) -> str:
        """Return the path of a short link, from this store or the peer store.

        Raises ArtifactNotFoundError, DeadlineExceededError or UnavailableError.
        """
        key = link_key(code)
        deadline = self._clock() + self._timeout_seconds
        try:
            return self._within(deadline, lambda: self._store.get(key)).decode()
        except ArtifactNotFoundError:
            return self._read_through(key, deadline, may_fail_to_copy=True).decode()

    def delete(self, digest: str) -> None:
        """Delete an image and all its art, in the peer store too. Missing objects are no error.

        A conversion that is in flight may store its art afterwards. Raises ReadOnlyError,
        DeadlineExceededError or UnavailableError; some of the art may then be deleted.
        """
        self._log_image(digest)
        self._check_writable()
        store, peer = self._store, self._peer
        deadline = self._clock() + self._timeout_seconds
        if peer is None:
            self._within(deadline, lambda: store.delete_folder(digest))
        else:
            self._within(deadline, lambda: delete_everywhere(digest, own=store, peer=peer))

    def _request(
        self, digest: str, options: ConversionOptions, trace: Trace, *, image: bytes | None
    ) -> _ArtRequest:
        deadline = self._clock() + self._timeout_seconds
        key = art_key(digest, options)
        return _ArtRequest(
            digest=digest, options=options, key=key, image=image, deadline=deadline, trace=trace
        )

    def _serve(self, request: _ArtRequest) -> ServedArt:
        """Wait for an identical request in flight; if there is none, read the art from the store or
        request its conversion."""
        while True:
            with self._in_flight.join(request.key) as call:
                if call.is_leader:
                    served = self._find_or_convert(request)
                    call.finish(served)
                    return served
                try:
                    return replace(
                        call.wait(request.deadline - self._clock()),
                        options=request.options,
                        source=ArtSource.SHARED,
                    )
                except ArtifactNotFoundError:
                    continue  # the leader had no image, but this request may have it
                except (TimeoutError, DeadlineExceededError) as error:
                    # The leader's deadline is earlier, so this request may have time left to try
                    # again.
                    if self._clock() >= request.deadline:
                        raise DeadlineExceededError from error

    def _log_image(self, digest: str) -> None:
        if self._image_id is not None:
            logs.add(image=self._image_id(digest))

    def _count(self, served: ServedArt) -> ServedArt:
        self._metrics.count(ART_SERVED, source=served.source.value)
        logs.add(source=served.source.value)
        return served

    def _find_or_convert(self, request: _ArtRequest) -> ServedArt:
        source = ArtSource.STORE
        art = self._find(request.key, request.deadline)
        if art is None:
            source = ArtSource.CONVERSION
            self._check_writable()
            self._ensure_image_is_stored(request)
            art = self._request_conversion(request)
        return served_art(art, request.digest, request.options, source)

    def _ensure_image_is_stored(self, request: _ArtRequest) -> None:
        key, image = image_key(request.digest), request.image
        if image is not None:
            self._within(request.deadline, lambda: self._store.create(key, image))
        elif not self._within(request.deadline, lambda: self._store.exists(key)):
            self._read_through(key, request.deadline)

    def _request_conversion(self, request: _ArtRequest) -> StoredArt:
        """Request the conversion from a worker, and return the art."""
        correlation_id = secrets.token_hex(16)
        with self._inbox.expect(correlation_id) as pending:
            message = ConversionRequest(
                correlation_id=correlation_id,
                digest=request.digest,
                options=request.options,
                # leaves time for the last look in the store
                deadline=request.deadline - self._brief_seconds,
                reply_to=pending.reply_to,
                published_at=self._clock(),
                trace=request.trace,
            )
            self._within(request.deadline, lambda: self._queue.send(message))
            self._hedging.record_request()
            with timed(self._metrics, REPLY_WAIT):
                reply = self._wait_for_reply(pending, message, request.image)
        if reply is not None and reply.rejection is not None:
            raise ImageRejectedError(reply.rejection)
        if reply is not None and reply.art is not None:
            return StoredArt(reply.art, reply.invert)
        # If the art was too large for the reply, or the reply was lost, the art may still be in the
        # store.
        art = self._find(request.key, request.deadline)
        if art is not None:
            return art
        if reply is None:
            raise DeadlineExceededError
        raise UnavailableError(f"the reply says that {request.key} is stored, but it is not")

    def _wait_for_reply(
        self, pending: PendingReply, message: ConversionRequest, image: bytes | None
    ) -> ConversionReply | None:
        """Return the reply to a published message, or None at its deadline. While it is overdue,
        publish the message again, unless it may take seconds because the image is animated."""
        published_at = [self._clock()]
        overdue_seconds = self._hedging.overdue_seconds()
        is_overdue = False
        while len(published_at) < MAX_ATTEMPTS and not message.options.animate:
            left_seconds = self._seconds_until(message.deadline) - overdue_seconds
            if left_seconds < self._hedging.usual_seconds():
                break  # a repeat would come too late
            if (reply := pending.wait(overdue_seconds)) is not None:
                return self._replied(published_at, reply, is_overdue=is_overdue)
            is_overdue = True
            if not self._hedging.take(published_at=published_at[-1]):
                continue
            art = self._look_in_store(message)
            if art is not None:
                self._hedging.give_back()
                self._metrics.count(REQUESTS_HEDGED, outcome="store")
                return message.reply(art=art.art, invert=art.invert)
            published_at.append(
                self._publish_again(pending, message, image, attempt=len(published_at) + 1)
            )
            overdue_seconds *= 2
        reply = pending.wait(self._seconds_until(message.deadline))
        return self._replied(published_at, reply, is_overdue=is_overdue)

    def _look_in_store(self, message: ConversionRequest) -> StoredArt | None:
        """Return the stored art of a request whose reply may be lost; None if there is none, or the
        store fails."""
        with suppress(AsciistError):
            return self._find(
                art_key(message.digest, message.options), self._clock() + self._brief_seconds
            )
        return None

    def _publish_again(
        self,
        pending: PendingReply,
        message: ConversionRequest,
        image: bytes | None,
        *,
        attempt: int,
    ) -> float:
        """Publish a message again and return the time. An error is ignored: the first message may
        still be answered.

        The image is stored again if it has expired meanwhile.
        """
        published_at = self._clock()
        repeat = replace(message, attempt=attempt, published_at=published_at)
        pending.expect_another()
        logs.add(attempts=attempt)
        with suppress(AsciistError):
            if image is not None:
                self._within(
                    published_at + self._brief_seconds,
                    lambda: self._store.create(image_key(message.digest), image),
                )
        with suppress(AsciistError):
            self._within(self._clock() + self._brief_seconds, lambda: self._queue.send(repeat))
        return published_at

    def _replied(
        self, published_at: list[float], reply: ConversionReply | None, *, is_overdue: bool
    ) -> ConversionReply | None:
        """Record the latency of a reply, if any, and the outcome of hedging if it was overdue.
        Return the reply.

        `published_at` lists the time of each message of the request.
        """
        answered = (
            reply.attempt if reply is not None and 1 <= reply.attempt <= len(published_at) else 0
        )
        if answered:
            self._hedging.record_reply(published_at=published_at[answered - 1], now=self._clock())
        if answered > 1:
            self._hedging.give_back()  # the repeat was needed
        if is_overdue:
            self._metrics.count(
                REQUESTS_HEDGED, outcome=_hedging_outcome(len(published_at), answered)
            )
        return reply

    def _find(self, key: str, deadline: float) -> StoredArt | None:
        """Return stored art of this engine version, else None. Raises DeadlineExceededError,
        UnavailableError."""
        try:
            return StoredArt.from_json(self._within(deadline, lambda: self._store.get(key)))
        except ArtifactNotFoundError:
            return None

    def _find_in_peer(self, key: str, deadline: float) -> StoredArt | None:
        """Return art of this engine version from the peer store, copied into the own store if
        possible; else None.

        Raises DeadlineExceededError, UnavailableError.
        """
        try:
            return StoredArt.from_json(self._read_through(key, deadline, may_fail_to_copy=True))
        except ArtifactNotFoundError:
            return None

    def _read_through(self, key: str, deadline: float, *, may_fail_to_copy: bool = False) -> bytes:
        """Return an object of the peer store, after copying it into the own store unless in
        read-only mode.

        Raises ArtifactNotFoundError if there is no peer or the peer has no such object;
        DeadlineExceededError; UnavailableError if the peer fails or is too slow, and if the copy
        fails unless `may_fail_to_copy`.
        """
        peer = self._peer
        if peer is None:
            raise ArtifactNotFoundError(key)
        try:
            body = self._fetch_from_peer(key, peer, deadline)
        except ArtifactNotFoundError:
            self._metrics.count(PEER_READS, outcome="missing")
            raise
        except AsciistError:
            self._metrics.count(PEER_READS, outcome="failed")
            raise
        outcome = "served"
        if not self._is_read_only():
            try:
                self._within(
                    deadline, lambda: put_copy(key, body, source=peer, destination=self._store)
                )
                outcome = "copied"
            except (DeadlineExceededError, UnavailableError) as error:
                if not may_fail_to_copy:
                    raise
                _log.warning("art of the peer store is served without a copy: %s", error)
        self._metrics.count(PEER_READS, outcome=outcome)
        return body

    def _fetch_from_peer(self, key: str, peer: ArtifactStore, deadline: float) -> bytes:
        limit = min(deadline, self._clock() + _PEER_SHARE * self._timeout_seconds)
        try:
            return self._within(limit, lambda: fetch(key, peer))
        except DeadlineExceededError as error:
            raise UnavailableError(f"get {key}: the peer store did not answer in time") from error

    def _check_writable(self) -> None:
        """Raise ReadOnlyError while nothing may be written."""
        if self._is_read_only():
            self._metrics.count(REQUESTS_READ_ONLY)
            raise ReadOnlyError

    def _within(self, deadline: float, function: Callable[[], Result]) -> Result:
        """Return the result of a call to the store or the queue. Raises DeadlineExceededError at
        the deadline."""
        seconds = self._seconds_until(deadline)
        if seconds <= 0:
            raise DeadlineExceededError
        try:
            return self._call(function, seconds)
        except TimeoutError as error:
            raise DeadlineExceededError from error

    def _seconds_until(self, deadline: float) -> float:
        return max(0.0, deadline - self._clock())


def _hedging_outcome(messages: int, answered: int) -> str:
    """Return the metric tag of an overdue request: the number of messages, and which one was
    answered (0 for none)."""
    if messages == 1:
        return "throttled"
    return {0: "nothing", 1: "first"}.get(answered, "repeat")
