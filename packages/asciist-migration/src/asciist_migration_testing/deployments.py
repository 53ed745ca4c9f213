"""Two deployments and a move between them, in one thread: the real code, driven step by step like
the model.

An upload, a copy and a deletion run as greenlets, which pause before each call that changes a store
or looks for a source. Any of their steps can therefore follow any step of another.
"""

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from greenlet import GreenletExit, getcurrent, greenlet
from obstore.store import MemoryStore

from asciist.adapters.embedded import EmbeddedMetrics, EmbeddedReplies
from asciist.adapters.object_store import ObjectStore
from asciist.errors import ArtifactNotFoundError, UnavailableError
from asciist.limits import Limits
from asciist.options import ConversionOptions
from asciist.protocol.artifacts import art_key, digest_of
from asciist.protocol.ports import Conversion, Delivery
from asciist.protocol.requester import Requester
from asciist.protocol.responder import Responder
from asciist.settings import READ_ONLY_MARKER
from asciist_migration.move.copying import Copier
from asciist_migration.move.journal import Journal, MoveError
from asciist_migration.move.steps import Steps
from asciist_migration.move.stores import Side
from tools.testing.images import encoded, gradient

IMAGE = encoded(gradient(8, 6), "PNG")
DIGEST = digest_of(IMAGE)
OPTIONS = ConversionOptions(width=8)
KEY = art_key(DIGEST, OPTIONS)


class _Converter:
    # A port.
    def convert(
        self,
        image: bytes,  # noqa: ARG002
        options: ConversionOptions,  # noqa: ARG002
        *,
        wait_seconds: float,  # noqa: ARG002
    ) -> Conversion:
        return Conversion(art="art")

    def close(self) -> None:
        pass


class _InlineQueue:
    """Request queue that processes messages at once, in the sender."""

    def __init__(self, responder: Callable[[], Responder]) -> None:
        self._responder = responder

    def send(self, body: str) -> None:
        self._responder().process(Delivery(body=body, receipt="", receive_count=1))


def _pause() -> None:
    current = getcurrent()
    if current.parent is not None and not getattr(current, "is_ending", False):
        current.parent.switch()


class _SteppedStore(ObjectStore):
    """A store of art in which changes and source look-ups are steps. Images are kept apart, because
    the model has one object."""

    def __init__(self, store: MemoryStore) -> None:
        super().__init__(store)
        self._images: dict[str, bytes] = {}

    def get(self, key: str) -> bytes:
        return self._images[key] if key in self._images else super().get(key)

    def create(self, key: str, body: bytes) -> bool:
        _pause()
        if key.endswith("/image"):
            self._images[key] = body
            return True
        return super().create(key, body)

    def exists(self, key: str) -> bool:
        _pause()
        return super().exists(key)

    def delete(self, key: str) -> None:
        if key != READ_ONLY_MARKER:
            _pause()
        super().delete(key)

    def delete_folder(self, folder: str) -> bool:
        _pause()
        return super().delete_folder(folder)


class Deployments:
    """Deployments 0 and 1, first moved from 0 to 1."""

    def __init__(self, directory: Path) -> None:
        """The journal is kept in `directory`."""
        self._memories = (MemoryStore(), MemoryStore())
        self._stores = tuple(_SteppedStore(memory) for memory in self._memories)
        self._journal = Journal(directory)
        self._move: greenlet | None = None
        self.routed = (True, False)
        self.is_attached = True
        self._steps(0).backfill()  # begins the journal

    def has(self) -> tuple[bool, bool]:
        """Return True for each store that contains the art."""
        # Of two.
        return tuple(self._has(store, KEY) for store in (0, 1))  # type: ignore[return-value]

    def is_read_only(self, at: int) -> bool:
        return self._has(at, READ_ONLY_MARKER)

    def is_readable(self, at: int) -> bool:
        """Return whether a client finds the art through a deployment. Nothing is copied."""
        try:
            self._requester(at, is_observer=True).stored_art(DIGEST, OPTIONS)
        except ArtifactNotFoundError:
            return False
        return True

    def upload(self, at: int) -> greenlet:
        requester = self._requester(at)
        return _started(lambda: requester.convert(IMAGE, OPTIONS))

    def read(self, at: int) -> greenlet:
        requester = self._requester(at)
        return _started(lambda: requester.stored_art(DIGEST, OPTIONS))

    def backfill(self, source: int) -> greenlet:
        """Copy the art like asciist-move."""
        copier = self._steps(source).copier
        (entry,) = copier._source.entries()
        return _started(lambda: copier.copy_object(entry))

    def delete(self, at: int) -> greenlet:
        requester = self._requester(at)
        return _started(lambda: requester.delete(DIGEST))

    def expire(self, at: int) -> None:
        ObjectStore(self._memories[at]).delete_folder(DIGEST)

    def close(self, source: int) -> None:
        """Switch, and begin to finish, up to draining the old deployment."""
        steps = self._steps(source)
        steps.switch(self._weight(source), is_complete=True)

        def finish() -> None:
            self._steps(source, sleep=lambda _seconds: _pause()).finish(
                self._weight(source), is_complete=True
            )

        self._move = _started(finish)

    def drained(self) -> bool:
        """Continue after draining; return True if the move is finished, and False if requests were
        shifted back."""
        assert self._move is not None
        self._move.switch()
        assert self._move.dead
        position = self._journal.position()
        assert position is not None
        return position.phase.value == "finished"

    def invert(self, source: int) -> None:
        """Make `source` the source, and attach the peers."""
        self._steps(source).invert()
        self.is_attached = True

    def end(self) -> None:
        """Let the move end, if it is in progress."""
        if self._move is not None:
            end(self._move)

    def _has(self, store: int, key: str) -> bool:
        try:
            ObjectStore(self._memories[store]).get(key)
        except ArtifactNotFoundError:
            return False
        return True

    def _weight(self, source: int) -> Callable[[], float]:
        return lambda: float(self.routed[source])

    def _steps(self, source: int, sleep: Callable[[float], None] = lambda _seconds: None) -> Steps:
        sides = [Side(memory, f"memory-{number}") for number, memory in enumerate(self._memories)]
        for side, store in zip(sides, self._stores, strict=True):
            side.artifacts = store
        old, new = sides[source], sides[1 - source]
        return Steps(
            journal=self._journal,
            source=old,
            destination=new,
            copier=Copier(old, new, concurrency=1),
            sleep=sleep,
        )

    def _requester(self, at: int, *, is_observer: bool = False) -> Requester:
        metrics = EmbeddedMetrics()
        replies = EmbeddedReplies(metrics)
        store, peer = self._stores[at], self._stores[1 - at]
        queue: Any = _InlineQueue(
            lambda: Responder(
                store=store, queue=queue, replies=replies, metrics=metrics, converter=_Converter()
            )
        )
        return Requester(
            store=store,
            queue=queue,
            inbox=replies,
            metrics=metrics,
            limits=Limits(),
            timeout_seconds=60,
            peer=peer if self.is_attached else None,
            is_read_only=lambda: is_observer or self.is_read_only(at),
        )


def end(running: greenlet) -> None:
    """Run an operation to its end, without a pause."""
    # A greenlet takes any attribute.
    running.is_ending = True  # type: ignore[attr-defined]
    while not running.dead:
        running.switch()


def _started(function: Callable[[], Any]) -> greenlet:
    """Run a function up to its first pause. Ignore its errors, which overlapping operations may
    cause: an object is missing, or reappears after each deletion."""

    def run() -> None:
        with suppress(ArtifactNotFoundError, UnavailableError, MoveError, GreenletExit):
            function()

    running = greenlet(run)
    running.switch()
    return running
