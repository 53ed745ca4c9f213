"""The composition root: settings in, a working service out. The only module that knows which adapters there are."""

import threading
from dataclasses import dataclass, field

from asciist.adapters.embedded import EmbeddedMetrics, EmbeddedQueue, EmbeddedReplies
from asciist.adapters.object_store import ObjectStore
from asciist.errors import ArtifactNotFoundError, AsciistError
from asciist.ports import ArtifactStore, Metrics
from asciist.request_reply import Requester, Responder, consume
from asciist.settings import Settings


@dataclass(kw_only=True)
class EmbeddedService:
    """Both tiers in one process: a requester, and worker threads that respond to it.

    Threads and not processes, since decoding and scaling run outside the interpreter lock.
    """

    settings: Settings
    recorder: Metrics
    requester: Requester
    responder: Responder
    queue: EmbeddedQueue
    store: ArtifactStore
    _stopping: threading.Event = field(default_factory=threading.Event)
    _workers: list[threading.Thread] = field(default_factory=list)

    def start(self) -> None:
        """Start the workers."""
        for number in range(self.settings.workers):
            worker = threading.Thread(
                target=consume,
                args=(self.queue, self.responder, self.recorder),
                kwargs={"stopping": self._stopping},
                name=f"worker-{number}",
                daemon=True,
            )
            worker.start()
            self._workers.append(worker)

    def is_ready(self) -> bool:
        """Whether a request sent now would be answered: workers live and the store answers."""
        try:
            self.store.get("readiness")
        except ArtifactNotFoundError:
            pass
        except AsciistError:
            return False
        return not self._stopping.is_set() and all(worker.is_alive() for worker in self._workers)

    def close(self) -> None:
        """Stop the workers once each has finished the message in its hands."""
        self._stopping.set()
        self.queue.close()
        for worker in self._workers:
            worker.join(self.settings.timeouts.worker)


def build_service(settings: Settings) -> EmbeddedService:
    """The service of one web process, not yet started. Raises UnavailableError."""
    recorder = EmbeddedMetrics()
    store = ObjectStore.in_directory(settings.data_dir)
    queue = EmbeddedQueue(
        visibility_seconds=settings.timeouts.visibility, max_receive_count=settings.timeouts.max_receive_count
    )
    replies = EmbeddedReplies(recorder)
    return EmbeddedService(
        settings=settings,
        recorder=recorder,
        requester=Requester(
            store=store,
            queue=queue,
            inbox=replies,
            recorder=recorder,
            limits=settings.limits,
            timeout_seconds=settings.timeouts.request,
        ),
        responder=Responder(store=store, replies=replies, recorder=recorder, limits=settings.limits),
        queue=queue,
        store=store,
    )


def build_responder(settings: Settings) -> Responder:
    """The responder of one worker process that is handed its messages, as a function is. Raises UnavailableError."""
    recorder = EmbeddedMetrics()
    return Responder(
        store=ObjectStore.in_directory(settings.data_dir),
        replies=EmbeddedReplies(recorder),
        recorder=recorder,
        limits=settings.limits,
    )
