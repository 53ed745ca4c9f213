"""The composition root: builds a web process or a worker from settings. The only module that
imports the adapters."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Protocol

from asciist.adapters.converters.in_process import InProcessConverter
from asciist.adapters.converters.pool import ConverterPool, TaskSocket
from asciist.adapters.embedded import EmbeddedMetrics, EmbeddedQueue, EmbeddedReplies
from asciist.adapters.object_store import ObjectStore
from asciist.adapters.renderer import RendererProcess
from asciist.errors import ArtifactNotFoundError, AsciistError, SettingsError, sentences
from asciist.protocol.ports import (
    ArtifactStore,
    BoundedCall,
    Converter,
    Metrics,
    ReplyInbox,
    ReplySender,
    RequestQueue,
    call_directly,
)
from asciist.protocol.read_only import ReadOnlySwitch
from asciist.protocol.requester import Requester
from asciist.protocol.responder import Responder
from asciist.settings import Settings, items_of, parse_networks

if TYPE_CHECKING:
    from asciist.protocol.links import Links

_READINESS_SECONDS: Final = 2.0
"""Maximum seconds that a readiness check waits for the store."""

_TASKS_AHEAD: Final = 4
"""Conversions that a web process queues at its converters beyond their number."""

_SECONDS_PER_DAY: Final = 86_400


class _CombinedMetrics:
    """Metrics sink that passes every value on to several sinks."""

    def __init__(self, sinks: Sequence[Metrics]) -> None:
        self._sinks = sinks

    def count(self, name: str, value: int = 1, **tags: str) -> None:
        for sink in self._sinks:
            sink.count(name, value, **tags)

    def distribution(self, name: str, value: float, **tags: str) -> None:
        for sink in self._sinks:
            sink.distribution(name, value, **tags)

    def flush(self) -> None:
        for sink in self._sinks:
            sink.flush()


class _Inbox(ReplyInbox, Protocol):
    def is_alive(self) -> bool: ...
    def close(self) -> None: ...


class _LocalStore(ArtifactStore, Protocol):
    def problem(self) -> str: ...
    def close(self) -> None: ...


@dataclass(kw_only=True)
class WebProcess:
    """One web process: its Requester, and the dependencies that health checks and shutdown need."""

    settings: Settings
    metrics: Metrics
    requester: Requester
    links: "Links"
    store: ArtifactStore
    inbox: _Inbox
    responder: Responder | None = None
    """The worker tier, if it is embedded in this process."""
    call: BoundedCall = call_directly
    """Runs calls to the store with a time limit."""
    renderer: RendererProcess = field(default_factory=RendererProcess)
    worker_is_ready: Callable[[], bool] = lambda: True
    """Returns True if the worker tier can answer, or is not embedded in this process."""
    readiness: Callable[[], str] = sentences.ready
    """Returns the text for a process that is ready: `ready`, and what it lacks nevertheless, such
    as a store that takes art."""
    _closing: list[Callable[[], None]] = field(default_factory=list)

    def is_healthy(self) -> bool:
        """Return True if the inbox and the embedded worker, if any, of this process work. Calls no
        dependency."""
        return self.inbox.is_alive() and self.worker_is_ready()

    def is_ready(self) -> bool:
        """Return whether a request can be answered now: this process is healthy, and the store
        answers."""
        try:
            self.call(lambda: self.store.get("readiness"), _READINESS_SECONDS)
        except ArtifactNotFoundError:
            pass
        except (AsciistError, TimeoutError):
            return False
        return self.is_healthy()

    def close(self) -> None:
        """Stop the background threads and flush the metrics. Call it after the last request has
        been answered."""
        for close in self._closing:
            close()
        self.renderer.close()
        self.inbox.close()
        self.metrics.flush()


def shared_tasks(settings: Settings) -> TaskSocket | None:
    """Return the queue shared by all web processes of this machine, to be created before they are
    forked; None if they share nothing."""
    return TaskSocket() if settings.backend == "embedded" else None


def link_keys(settings: Settings) -> tuple[str, ...]:
    """Return the secrets of the links, which all web processes need. Raises SettingsError if there
    are none.

    The embedded backend creates one at its first start. If it cannot be saved, links are valid
    until the service stops.
    """
    if settings.link_keys:
        return tuple(items_of(settings.link_keys))
    if settings.backend != "embedded":
        raise SettingsError(
            "ASCIIST_LINK_KEYS is required by web processes when"
            f" ASCIIST_BACKEND={settings.backend}"
        )
    # Only this backend needs it.
    from asciist.adapters.local_store.link_key import secret_in  # noqa: PLC0415

    return (secret_in(settings.data_dir / "link.key"),)


def build_web_process(
    settings: Settings, tasks: TaskSocket | None = None, keys: Sequence[str] | None = None
) -> WebProcess:
    """Build and start one web process with these link keys, by default those of `link_keys`.

    With `tasks`, the embedded backend converts images in separate processes, one of them started by
    this web process. Without, it converts them in threads of this process. Raises UnavailableError,
    SettingsError.
    """
    # Workers do not have the library that it imports.
    from asciist.protocol.links import Links  # noqa: PLC0415

    valid_seconds = settings.store_max_days * _SECONDS_PER_DAY
    links = Links(link_keys(settings) if keys is None else keys, valid_seconds=valid_seconds)
    match settings.backend:
        case "embedded":
            return _embedded(settings, tasks, links)
        case "azure":
            return _web_on_azure(settings, links)
        case _:
            return _web_on_aws(settings, links)


def build_responder(settings: Settings, *, is_frozen_between_messages: bool = False) -> Responder:
    """Build the worker tier's Responder, not yet started. Raises UnavailableError.

    Set `is_frozen_between_messages` for a Lambda function: no thread writes its EMF metrics, so the
    caller must flush them before the function is frozen. It has one converter process, forked from
    this one.
    """
    # First, because a process should have no threads when it is forked.
    converter = ConverterPool(
        settings,
        processes=1 if is_frozen_between_messages else settings.workers,
        is_forked=is_frozen_between_messages,
    )
    metrics = _metrics(settings, is_frozen_between_messages=is_frozen_between_messages)
    if settings.backend == "embedded":
        # An embedded reply address is valid only in its own process: all replies are orphaned.
        queue = _embedded_queue(settings)
        local_store = _local_store(settings, metrics)
        return _embedded_responder(local_store, queue, EmbeddedReplies(metrics), metrics, converter)

    # Only these backends need it.
    from asciist.adapters.callback import CallbackSender  # noqa: PLC0415

    callbacks = CallbackSender(
        ports=settings.callback_ports, networks=parse_networks(settings.callback_networks)
    )
    if settings.backend == "azure":
        store, requests = _store_and_queue_on_azure(settings)
        return Responder(
            store=store, queue=requests, replies=callbacks, metrics=metrics, converter=converter
        )

    # Only this backend needs it.
    from asciist.adapters.aws import Sqs, SqsReplySender, SqsRequestQueue  # noqa: PLC0415
    from asciist.adapters.reply_paths import ReplyToAnyAddress  # noqa: PLC0415 - as above

    sqs = Sqs(call_seconds=settings.timeouts.request)
    replies = ReplyToAnyAddress(
        request_queue_url=settings.request_queue_url,
        queues=SqsReplySender(sqs),
        callbacks=callbacks,
    )
    return Responder(
        store=ObjectStore.in_bucket(settings.bucket),
        queue=SqsRequestQueue(settings.request_queue_url, sqs),
        replies=replies,
        metrics=metrics,
        converter=converter,
    )


def _embedded(settings: Settings, tasks: TaskSocket | None, links: "Links") -> WebProcess:
    metrics = _metrics(settings)
    store = _local_store(settings, metrics)
    queue = _embedded_queue(settings)
    replies = EmbeddedReplies(metrics)
    switch = _read_only_switch(settings)
    call = _threaded_calls(settings) if settings.peer_store else call_directly
    pool = ConverterPool(settings, tasks) if tasks else None
    if tasks:
        # The line of the web tier, in the same log, has the same request id and fields.
        logging.getLogger(Responder.__module__).setLevel(logging.WARNING)
    responder = _embedded_responder(
        store, queue, replies, metrics, pool or InProcessConverter(settings.limits)
    )
    # Enough to keep every converter of the machine busy, and for the next images to wait at the
    # converters.
    responder.start(settings.workers + (_TASKS_AHEAD if pool else 0))
    return WebProcess(
        settings=settings,
        metrics=metrics,
        requester=_requester(
            settings, store, queue, replies, metrics, links=links, call=call, switch=switch
        ),
        links=links,
        store=store,
        inbox=replies,
        responder=responder,
        worker_is_ready=lambda: responder.is_alive() and (pool is None or pool.is_ready()),
        readiness=lambda: sentences.ready(store.problem(), pool.unsupported if pool else ()),
        _closing=[
            *([switch.close] if switch else []),
            responder.request_stop,
            queue.close,
            lambda: responder.stop(settings.timeouts.worker),
            store.close,
        ],
    )


def _web_on_aws(settings: Settings, links: "Links") -> WebProcess:
    # Only this backend needs it.
    from asciist.adapters.aws import Sqs, SqsReplyInbox, SqsRequestQueue  # noqa: PLC0415
    from asciist.adapters.callback import CallbackInbox  # noqa: PLC0415 - as above

    metrics = _metrics(settings)
    store = ObjectStore.in_bucket(settings.bucket)
    sqs = Sqs(call_seconds=settings.timeouts.request, is_eager=True)
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
        inbox = CallbackInbox(
            host=settings.instance, ports=settings.callback_ports, metrics=metrics
        )
    return _web_in_cloud(settings, links, store=store, queue=queue, inbox=inbox, metrics=metrics)


def _web_on_azure(settings: Settings, links: "Links") -> WebProcess:
    # Only these backends need it.
    from asciist.adapters.callback import CallbackInbox  # noqa: PLC0415

    if settings.reply_path != "callback":
        raise SettingsError(
            "ASCIIST_REPLY_PATH=callback is required by web processes when ASCIIST_BACKEND=azure"
        )
    metrics = _metrics(settings)
    store, queue = _store_and_queue_on_azure(settings)
    inbox = CallbackInbox(host=settings.instance, ports=settings.callback_ports, metrics=metrics)
    return _web_in_cloud(settings, links, store=store, queue=queue, inbox=inbox, metrics=metrics)


def _store_and_queue_on_azure(settings: Settings) -> tuple[ArtifactStore, RequestQueue]:
    from asciist.adapters.azure import StorageQueue  # noqa: PLC0415 - only this backend needs it

    timeouts = settings.timeouts
    queue = StorageQueue(
        settings.request_queue_url,
        visibility_seconds=timeouts.visibility,
        max_receive_count=timeouts.max_receive_count,
        call_seconds=timeouts.request,
    )
    return ObjectStore.in_container(settings.bucket), queue


def _web_in_cloud(
    settings: Settings,
    links: "Links",
    *,
    store: ArtifactStore,
    queue: RequestQueue,
    inbox: _Inbox,
    metrics: Metrics,
) -> WebProcess:
    call = _threaded_calls(settings)
    switch = _read_only_switch(settings)
    return WebProcess(
        settings=settings,
        metrics=metrics,
        requester=_requester(
            settings, store, queue, inbox, metrics, links=links, call=call, switch=switch
        ),
        links=links,
        call=call,
        store=store,
        inbox=inbox,
        _closing=[switch.close] if switch else [],
    )


def _metrics(settings: Settings, *, is_frozen_between_messages: bool = False) -> Metrics:
    sinks: list[Metrics] = []
    if "dogstatsd" in settings.metrics:
        # Takes 0.1 s of a cold start.
        from asciist.adapters.dogstatsd import DogStatsDMetrics  # noqa: PLC0415

        sinks.append(DogStatsDMetrics())
    if "emf" in settings.metrics:
        from asciist.adapters.emf import EmfMetrics  # noqa: PLC0415 - only this sink needs it

        flush_interval = None if is_frozen_between_messages else 10.0
        sinks.append(
            EmfMetrics(namespace=settings.metrics_namespace, flush_interval_seconds=flush_interval)
        )
    if not sinks:
        return EmbeddedMetrics()
    return sinks[0] if len(sinks) == 1 else _CombinedMetrics(sinks)


def _local_store(settings: Settings, metrics: Metrics) -> _LocalStore:
    # Only this backend needs it.
    from asciist.adapters.local_store import LocalStore  # noqa: PLC0415

    return LocalStore(
        settings.data_dir,
        max_bytes=settings.store_max_bytes,
        max_age_seconds=settings.store_max_days * _SECONDS_PER_DAY,
        metrics=metrics,
    )


def _embedded_queue(settings: Settings) -> EmbeddedQueue:
    timeouts = settings.timeouts
    return EmbeddedQueue(
        visibility_seconds=timeouts.visibility, max_receive_count=timeouts.max_receive_count
    )


def _requester(
    settings: Settings,
    store: ArtifactStore,
    queue: RequestQueue,
    inbox: ReplyInbox,
    metrics: Metrics,
    *,
    links: "Links",
    call: BoundedCall,
    switch: ReadOnlySwitch | None,
) -> Requester:
    return Requester(
        store=store,
        queue=queue,
        inbox=inbox,
        metrics=metrics,
        limits=settings.limits,
        timeout_seconds=settings.timeouts.request,
        call=call,
        image_id=links.image_id,
        peer=ObjectStore.at(settings.peer_store) if settings.peer_store else None,
        is_read_only=switch.is_on if switch else lambda: False,
    )


def _threaded_calls(settings: Settings) -> BoundedCall:
    # Not needed by an embedded store alone.
    from asciist.adapters.threads import ThreadedCalls  # noqa: PLC0415

    return ThreadedCalls(settings.max_requests_in_flight)


def _read_only_switch(settings: Settings) -> ReadOnlySwitch | None:
    """Return the started switch of the read-only mode; None without one. Raises SettingsError."""
    if not settings.read_only:
        return None
    folder, _, key = settings.read_only.rpartition("/")
    store = ObjectStore.at(f"{folder}/")

    def has_marker() -> bool:
        try:
            store.get(key)
        except ArtifactNotFoundError:
            return False
        return True

    switch = ReadOnlySwitch(has_marker)
    switch.start()
    return switch


def _embedded_responder(
    store: _LocalStore,
    queue: RequestQueue,
    replies: ReplySender,
    metrics: Metrics,
    converter: Converter,
) -> Responder:
    """Return a Responder that does not check images: this machine's store has own checksums."""
    return Responder(
        store=store,
        queue=queue,
        replies=replies,
        metrics=metrics,
        converter=converter,
        checks_images=False,
    )
