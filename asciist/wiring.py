"""The composition root: settings in, a working web process or worker out. The only module that knows the adapters."""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from asciist.adapters.embedded import EmbeddedMetrics, EmbeddedQueue, EmbeddedReplies
from asciist.adapters.object_store import ObjectStore
from asciist.errors import ArtifactNotFoundError, AsciistError
from asciist.protocol.ports import ArtifactStore, Delivery, Metrics, ReplyInbox, ReplySender, RequestQueue
from asciist.protocol.request_reply import Requester, Responder, consume, respond_or_retry
from asciist.settings import CALLBACK_PORTS, Settings


@dataclass(kw_only=True)
class Worker:
    """The worker tier's half: a responder, and the queue that its messages come from."""

    responder: Responder
    queue: RequestQueue
    metrics: Metrics
    threads: list[threading.Thread] = field(default_factory=list)
    stopping: threading.Event = field(default_factory=threading.Event)

    def respond(self, delivery: Delivery) -> bool:
        """Respond to one message that was handed over; whether it is done with. Never raises."""
        return respond_or_retry(delivery, self.queue, self.responder, self.metrics)

    def start(self, number: int) -> None:
        """Consume the queue with `number` threads. Threads suffice: decoding and scaling hold no interpreter lock."""
        for index in range(number):
            thread = threading.Thread(
                target=consume,
                args=(self.queue, self.responder, self.metrics),
                kwargs={"stopping": self.stopping},
                name=f"worker-{index}",
                daemon=True,
            )
            thread.start()
            self.threads.append(thread)

    def is_alive(self) -> bool:
        """Whether every thread that was started consumes."""
        return not self.stopping.is_set() and all(thread.is_alive() for thread in self.threads)

    def stop(self, wait_seconds: float) -> None:
        """Let each thread finish the message in its hands, for as long as `wait_seconds`."""
        self.stopping.set()
        for thread in self.threads:
            thread.join(wait_seconds)
        self.metrics.flush()


class _EachOf:
    """Several Metrics as one."""

    def __init__(self, metricss: Sequence[Metrics]) -> None:
        self._metricss = metricss

    def count(self, name: str, value: int = 1, **tags: str) -> None:
        for metrics in self._metricss:
            metrics.count(name, value, **tags)

    def distribution(self, name: str, value: float, **tags: str) -> None:
        for metrics in self._metricss:
            metrics.distribution(name, value, **tags)

    def flush(self) -> None:
        for metrics in self._metricss:
            metrics.flush()


class _Inbox(ReplyInbox, Protocol):
    def is_alive(self) -> bool: ...
    def close(self) -> None: ...


@dataclass(kw_only=True)
class WebProcess:
    """The web tier's half, with what must be asked and stopped around it."""

    settings: Settings
    metrics: Metrics
    requester: Requester
    store: ArtifactStore
    inbox: _Inbox
    worker: Worker | None = None
    """The worker tier too, where everything is embedded in this process."""
    _closing: list[Callable[[], None]] = field(default_factory=list)

    def is_ready(self) -> bool:
        """Whether a request sent now would be answered: replies can arrive, the store answers, embedded workers live."""
        try:
            self.store.get("readiness")
        except ArtifactNotFoundError:
            pass
        except AsciistError:
            return False
        return self.inbox.is_alive() and (self.worker is None or self.worker.is_alive())

    def close(self) -> None:
        """Stop what runs beside the requests, once the last of them is answered."""
        for close in self._closing:
            close()
        self.inbox.close()
        self.metrics.flush()


def build_web_process(settings: Settings) -> WebProcess:
    """What one web process needs, running. Raises UnavailableError."""
    return _embedded(settings) if settings.backend == "embedded" else _web_on_aws(settings)


def build_worker(settings: Settings, *, is_frozen_between_messages: bool = False) -> Worker:
    """A worker that is handed its messages, as a function is, or is told to `start`. Raises UnavailableError.

    One that is frozen between messages must flush its metrics after each.
    """
    metrics = _metrics(settings, is_frozen_between_messages=is_frozen_between_messages)
    if settings.backend == "embedded":
        # Whoever is handed messages of an embedded web process lives in it; all others' replies are orphans.
        queue: RequestQueue = _embedded_queue(settings)
        store, replies = ObjectStore.in_directory(settings.data_dir), EmbeddedReplies(metrics)
        return Worker(responder=_responder(settings, store, replies, metrics), queue=queue, metrics=metrics)

    from asciist.adapters.aws import Sqs, SqsReplySender, SqsRequestQueue  # noqa: PLC0415 - for those who use it
    from asciist.adapters.callback import CallbackSender  # noqa: PLC0415 - as above

    sqs = Sqs()
    sender: ReplySender = SqsReplySender(sqs) if settings.reply_path == "queue" else CallbackSender()
    return Worker(
        responder=_responder(settings, ObjectStore.in_bucket(settings.bucket), sender, metrics),
        queue=SqsRequestQueue(settings.request_queue_url, sqs),
        metrics=metrics,
    )


def _embedded(settings: Settings) -> WebProcess:
    metrics = _metrics(settings)
    store = ObjectStore.in_directory(settings.data_dir)
    queue = _embedded_queue(settings)
    replies = EmbeddedReplies(metrics)
    worker = Worker(responder=_responder(settings, store, replies, metrics), queue=queue, metrics=metrics)
    worker.start(settings.workers)
    return WebProcess(
        settings=settings,
        metrics=metrics,
        requester=_requester(settings, store, queue, replies, metrics),
        store=store,
        inbox=replies,
        worker=worker,
        _closing=[worker.stopping.set, queue.close, lambda: worker.stop(settings.timeouts.worker)],
    )


def _web_on_aws(settings: Settings) -> WebProcess:
    from asciist.adapters.aws import Sqs, SqsReplyInbox, SqsRequestQueue  # noqa: PLC0415 - for those who use it
    from asciist.adapters.callback import CallbackInbox  # noqa: PLC0415 - as above

    metrics = _metrics(settings)
    store = ObjectStore.in_bucket(settings.bucket)
    sqs = Sqs()
    queue = SqsRequestQueue(settings.request_queue_url, sqs)
    inbox: _Inbox
    if settings.reply_path == "queue":
        inbox = SqsReplyInbox(
            prefix=settings.reply_queue_prefix,
            instance=settings.instance,
            retention_seconds=settings.timeouts.reply_retention,
            sqs=sqs,
            registry_store=store,
            metrics=metrics,
        )
    else:
        ports = range(settings.callback_first_port, settings.callback_first_port + CALLBACK_PORTS)
        inbox = CallbackInbox(host=settings.instance, ports=ports, metrics=metrics)
    return WebProcess(
        settings=settings,
        metrics=metrics,
        requester=_requester(settings, store, queue, inbox, metrics),
        store=store,
        inbox=inbox,
    )


def _metrics(settings: Settings, *, is_frozen_between_messages: bool = False) -> Metrics:
    metricss: list[Metrics] = []
    if "dogstatsd" in settings.metrics:
        from asciist.adapters.dogstatsd import DogStatsDMetrics  # noqa: PLC0415 - a tenth of a second of a cold start

        metricss.append(DogStatsDMetrics())
    if "emf" in settings.metrics:
        from asciist.adapters.emf import EmfMetrics  # noqa: PLC0415 - for those who use it

        flush_interval = None if is_frozen_between_messages else 10.0
        metricss.append(EmfMetrics(namespace=settings.metrics_namespace, flush_interval_seconds=flush_interval))
    if not metricss:
        return EmbeddedMetrics()
    return metricss[0] if len(metricss) == 1 else _EachOf(metricss)


def _embedded_queue(settings: Settings) -> EmbeddedQueue:
    timeouts = settings.timeouts
    return EmbeddedQueue(visibility_seconds=timeouts.visibility, max_receive_count=timeouts.max_receive_count)


def _requester(settings: Settings, store: ArtifactStore, queue: RequestQueue, inbox: ReplyInbox, metrics: Metrics) -> Requester:
    return Requester(
        store=store,
        queue=queue,
        inbox=inbox,
        metrics=metrics,
        limits=settings.limits,
        timeout_seconds=settings.timeouts.request,
    )


def _responder(settings: Settings, store: ArtifactStore, replies: ReplySender, metrics: Metrics) -> Responder:
    return Responder(store=store, replies=replies, metrics=metrics, limits=settings.limits)
