"""Request queue on Azure Storage Queue, through azure-storage-queue.

Storage Queue has neither long polls nor dead-letter queues, and tells times in whole seconds. This adapter polls, moves a
message that was delivered too often to a dead-letter queue, and sends the time of sending with each message.
"""

import logging
import os
import re
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property
from math import ceil
from typing import TYPE_CHECKING, Any, Final

from asciist.errors import AccessDeniedError, UnavailableError
from asciist.protocol.ports import Delivery

if TYPE_CHECKING:
    from azure.core.credentials import AzureNamedKeyCredential
    from azure.identity import ManagedIdentityCredential
    from azure.storage.queue import QueueClient

_log = logging.getLogger(__name__)

DEAD_LETTERS: Final = "-dead-letters"
"""Name of the dead-letter queue, after that of the request queue."""

_API_VERSION: Final = "2025-11-05"
"""Version of the service's API: the newest that its emulator has, too. Azure keeps the old ones."""

_POLL_SECONDS: Final = 0.1
"""Pause between two polls of an empty queue. A longer pause after each empty poll saves few calls and delays more messages."""
_MAX_BATCH: Final = 32
"""Maximum messages that Storage Queue delivers in one call."""

_REQUEST_SECONDS: Final = 3600
"""Seconds that the queue keeps a request: far longer than any deadline, and as long as on AWS."""
_DEAD_LETTER_SECONDS: Final = 14 * 86_400
"""Seconds that the queue keeps a dead letter, since a person inspects each: as long as on AWS."""

_CONNECT_SHARE, _READ_SHARE = 0.1, 0.25
"""Time of each attempt of a call to connect and to be answered, as shares of the time that the whole call may take."""
_RETRIES: Final[dict[str, Any]] = {"retry_total": 1, "initial_backoff": 0.25, "increment_base": 0, "random_jitter_range": 0.25}
"""One retry, after at most 0.5 seconds. The client's defaults are three, after 15 seconds and more."""
_MAX_CONNECTIONS: Final = 100

_STAMPED: Final = re.compile(r"([0-9]{10}\.[0-9]{3}) ", re.ASCII)
"""Beginning of a message: the time of sending, in seconds since the epoch by the sender's clock."""

_GONE: Final = ("MessageNotFound", "PopReceiptMismatch")
"""Error codes for a message that was deleted, or that was delivered again and so has another receipt."""


class StorageQueue:
    """RequestQueue on Storage Queue. Safe to use from many threads.

    The variables of Azure's own libraries give the credentials: AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY, or
    without a key the managed identity of the machine, which AZURE_CLIENT_ID names if it has several.
    """

    def __init__(self, url: str, *, visibility_seconds: int, max_receive_count: int, call_seconds: float = 10) -> None:
        """Use the queue at `url`. A message becomes a dead letter at the delivery that exceeds `max_receive_count`.

        No call to the queue takes longer than `call_seconds`: the time that a request has.
        """
        self._url = url
        self._visibility_seconds = visibility_seconds
        self._max_receive_count = max_receive_count
        self._call_seconds = call_seconds

    # Created on first use: a web process never uses the second, and importing the libraries takes 0.2 s or more.
    @cached_property
    def _requests(self) -> "QueueClient":
        return _client(self._url, self._call_seconds)

    @cached_property
    def _dead_letters(self) -> "QueueClient":
        return _client(self._url + DEAD_LETTERS, self._call_seconds)

    def send(self, body: str) -> None:
        with _translating_errors("send"):
            self._requests.send_message(f"{time.time():.3f} {body}", time_to_live=_REQUEST_SECONDS)

    def receive(self, *, max_messages: int, wait_seconds: float) -> list[Delivery]:
        give_up = time.monotonic() + wait_seconds
        while True:
            deliveries = self._receive_at_once(max_messages)
            seconds_left = give_up - time.monotonic()
            if deliveries or seconds_left <= 0:
                return deliveries
            time.sleep(min(_POLL_SECONDS, seconds_left))

    def extend(self, delivery: Delivery, *, visibility_seconds: float) -> Delivery:
        message_id, _, receipt = delivery.receipt.partition(" ")
        with _translating_errors("extend"):
            extended = self._requests.update_message(message_id, receipt, visibility_timeout=ceil(visibility_seconds))
        return replace(delivery, receipt=f"{message_id} {extended.pop_receipt}")

    def delete(self, deliveries: Sequence[Delivery]) -> None:
        for delivery in deliveries:
            message_id, _, receipt = delivery.receipt.partition(" ")
            self._delete(message_id, receipt)

    def _receive_at_once(self, max_messages: int) -> list[Delivery]:
        with _translating_errors("receive"):
            pages = self._requests.receive_messages(
                messages_per_page=min(max_messages, _MAX_BATCH), visibility_timeout=self._visibility_seconds
            ).by_page()
            messages = list(next(pages, ()))
        received_at = time.time()
        deliveries = []
        for message in messages:
            delivery = self._delivery(message, received_at)
            if delivery.receive_count > self._max_receive_count:
                self._move_to_dead_letters(delivery)
            else:
                deliveries.append(delivery)
        return deliveries

    def _delivery(self, message: Any, received_at: float) -> Delivery:
        """Return a QueueMessage as a delivery. Its type has no dates and no count in messages that are to be sent."""
        stamp = _STAMPED.match(message.content)
        inserted_at = message.inserted_on.timestamp()
        delivered_at = message.next_visible_on.timestamp() - self._visibility_seconds
        sent_at = _in_second(inserted_at, float(stamp[1]) if stamp else inserted_at)
        return Delivery(
            body=message.content[stamp.end() :] if stamp else message.content,
            receipt=f"{message.id} {message.pop_receipt}",
            receive_count=message.dequeue_count,
            age_seconds=max(0.0, _in_second(delivered_at, received_at) - sent_at),
            sent_at=sent_at,
        )

    def _move_to_dead_letters(self, delivery: Delivery) -> None:
        """Copy a message to the dead-letter queue and then delete it, so that it is never lost.

        A failure is logged and not raised, because other messages came with it; it is tried again at the next delivery.
        """
        try:
            with _translating_errors("send dead letter"):
                self._dead_letters.send_message(delivery.body, time_to_live=_DEAD_LETTER_SECONDS)
            self.delete([delivery])
        except UnavailableError:
            _log.exception("moving a message to the dead-letter queue failed")
        else:
            _log.error("message moved to the dead-letter queue")

    def _delete(self, message_id: str, receipt: str) -> None:
        from azure.core.exceptions import HttpResponseError  # noqa: PLC0415 - imported on first use

        with _translating_errors("delete"):
            try:
                self._requests.delete_message(message_id, receipt)
            except HttpResponseError as error:
                if error.error_code not in _GONE:  # type: ignore[attr-defined]  # set by the storage libraries
                    raise


def _in_second(start: float, estimate: float) -> float:
    """Return the time in the second from `start` that is nearest to `estimate`, both in seconds since the epoch.

    The queue's clock tells the second, and this or another machine's clock the fraction. So no machine's clock can be wrong by
    more than that, and those that are right are precise.
    """
    return min(max(start, estimate), start + 0.999)


@contextmanager
def _translating_errors(context: str) -> Iterator[None]:
    """Convert the client's errors in a `with` block to UnavailableError, with a detail that begins with `context`.

    If the queue refuses the credentials, raise its subclass AccessDeniedError.
    """
    from azure.core.exceptions import AzureError, HttpResponseError  # noqa: PLC0415 - imported on first use

    try:
        yield
    except AzureError as error:
        if isinstance(error, HttpResponseError) and error.status_code in (401, 403):
            raise AccessDeniedError(f"{context}: {error}") from error
        raise UnavailableError(f"{context}: {error}") from error


def _client(url: str, call_seconds: float) -> "QueueClient":
    import requests  # noqa: PLC0415 - imported on first use
    from azure.core.pipeline.transport import RequestsTransport  # noqa: PLC0415 - imported on first use
    from azure.storage.queue import QueueClient  # noqa: PLC0415 - imported on first use
    from requests.adapters import HTTPAdapter  # noqa: PLC0415 - imported on first use

    timeouts: dict[str, Any] = {"connection_timeout": _CONNECT_SHARE * call_seconds, "read_timeout": _READ_SHARE * call_seconds}
    session = requests.Session()
    for scheme in ("http://", "https://"):
        session.mount(scheme, HTTPAdapter(pool_maxsize=_MAX_CONNECTIONS))
    return QueueClient.from_queue_url(
        url,
        credential=_credential(timeouts),
        api_version=_API_VERSION,
        transport=RequestsTransport(session=session, **timeouts),
        **_RETRIES,
    )


def _credential(timeouts: dict[str, Any]) -> "AzureNamedKeyCredential | ManagedIdentityCredential":
    if key := os.environ.get("AZURE_STORAGE_ACCOUNT_KEY"):
        from azure.core.credentials import AzureNamedKeyCredential  # noqa: PLC0415 - imported on first use

        return AzureNamedKeyCredential(os.environ.get("AZURE_STORAGE_ACCOUNT_NAME", ""), key)
    from azure.identity import ManagedIdentityCredential  # noqa: PLC0415 - imported on first use

    return ManagedIdentityCredential(client_id=os.environ.get("AZURE_CLIENT_ID"), retry_total=1, **timeouts)
