"""Request queue on Azure Storage Queue, through azure-storage-queue.

Storage Queue supports neither long polls nor dead-letter queues, and reports times in whole
seconds. This adapter polls, moves a message delivered too often to a dead-letter queue, and adds
the time of sending to each message.
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
from asciist.protocol.messages import Message, json_of
from asciist.protocol.ports import Delivery

if TYPE_CHECKING:
    from azure.core.credentials import AzureNamedKeyCredential
    from azure.identity import ManagedIdentityCredential
    from azure.storage.queue import QueueClient

_log = logging.getLogger(__name__)

DEAD_LETTERS: Final = "-dead-letters"
"""Suffix of the dead-letter queue's name, after that of the request queue."""

_API_VERSION: Final = "2025-11-05"  # Azure keeps supporting old versions
"""API version of the service: the newest that its emulator supports."""

# growing the pause after each empty poll would save few calls and delay more messages
_POLL_SECONDS: Final = 0.1
"""Pause between two polls of an empty queue."""
_MAX_BATCH: Final = 32
"""Maximum messages that Storage Queue delivers in one call."""

_REQUEST_SECONDS: Final = 3600
"""Retention of a request in the queue, in seconds: far longer than any deadline, and as long as on
AWS."""
_DEAD_LETTER_SECONDS: Final = 14 * 86_400  # a person inspects each dead letter
"""Retention of a dead letter, in seconds, as long as on AWS."""

_CONNECT_SHARE, _READ_SHARE = 0.1, 0.25
"""Timeouts for connecting and for the answer, in each attempt, as shares of the time allowed for
the whole call."""
# the client's default is three retries, after 15 seconds and more
_RETRIES: Final[dict[str, Any]] = {
    "retry_total": 1,
    "initial_backoff": 0.25,
    "increment_base": 0,
    "random_jitter_range": 0.25,
}
"""One retry, after at most 0.5 seconds."""
_MAX_CONNECTIONS: Final = 100

_STAMPED: Final = re.compile(r"([0-9]{10}\.[0-9]{3}) ", re.ASCII)
"""Prefix of a message with its time of sending, in seconds since the epoch by the sender's
clock."""

_GONE: Final = ("MessageNotFound", "PopReceiptMismatch")
"""Error codes for a message that was deleted, or redelivered with another receipt."""


class StorageQueue:
    """RequestQueue on Storage Queue. Safe to use from many threads.

    Credentials come from Azure's usual variables: AZURE_STORAGE_ACCOUNT_NAME and
    AZURE_STORAGE_ACCOUNT_KEY. Without a key, the machine's managed identity is used;
    AZURE_CLIENT_ID selects one of several.
    """

    def __init__(
        self, url: str, *, visibility_seconds: int, max_receive_count: int, call_seconds: float = 10
    ) -> None:
        """Use the queue at `url`. A message becomes a dead letter at the delivery that exceeds
        `max_receive_count`.

        `call_seconds` limits each call to the queue; it is the request timeout.
        """
        self._url = url
        self._visibility_seconds = visibility_seconds
        self._max_receive_count = max_receive_count
        self._call_seconds = call_seconds

    # Created on first use: a web process never uses the second, and importing the libraries takes
    # 0.2 s or more.
    @cached_property
    def _requests(self) -> "QueueClient":
        return _client(self._url, self._call_seconds)

    @cached_property
    def _dead_letters(self) -> "QueueClient":
        return _client(self._url + DEAD_LETTERS, self._call_seconds)

    def send(self, body: Message) -> None:
        with _translating_errors("send"):
            self._requests.send_message(
                f"{time.time():.3f} {json_of(body)}", time_to_live=_REQUEST_SECONDS
            )

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
            extended = self._requests.update_message(
                message_id, receipt, visibility_timeout=ceil(visibility_seconds)
            )
        return replace(delivery, receipt=f"{message_id} {extended.pop_receipt}")

    def delete(self, deliveries: Sequence[Delivery]) -> None:
        for delivery in deliveries:
            message_id, _, receipt = delivery.receipt.partition(" ")
            self._delete(message_id, receipt)

    def _receive_at_once(self, max_messages: int) -> list[Delivery]:
        with _translating_errors("receive"):
            pages = self._requests.receive_messages(
                messages_per_page=min(max_messages, _MAX_BATCH),
                visibility_timeout=self._visibility_seconds,
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
        """Return a QueueMessage as a delivery. A QueueMessage that is about to be sent has no dates
        and no count."""
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

        A failure is logged and not raised, because the batch contains other messages; the next
        delivery tries again.
        """
        try:
            with _translating_errors("send dead letter"):
                self._dead_letters.send_message(
                    json_of(delivery.body), time_to_live=_DEAD_LETTER_SECONDS
                )
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
                # Set by the storage libraries.
                if error.error_code not in _GONE:  # type: ignore[attr-defined]
                    raise


def _in_second(start: float, estimate: float) -> float:
    """Return the time within the second from `start` that is nearest to `estimate`, in seconds
    since the epoch.

    The queue's clock determines the second, and a machine's clock the fraction. A wrong machine
    clock thus causes an error of less than a second, and a correct one causes none.
    """
    return min(max(start, estimate), start + 0.999)


@contextmanager
def _translating_errors(context: str) -> Iterator[None]:
    """Convert the client's errors in a `with` block to UnavailableError, with a detail that begins
    with `context`.

    If the queue refuses the credentials, raise its subclass AccessDeniedError.
    """
    # Imported on first use.
    from azure.core.exceptions import AzureError, HttpResponseError  # noqa: PLC0415

    try:
        yield
    except AzureError as error:
        if isinstance(error, HttpResponseError) and error.status_code in (401, 403):
            raise AccessDeniedError(f"{context}: {error}") from error
        raise UnavailableError(f"{context}: {error}") from error


def _client(url: str, call_seconds: float) -> "QueueClient":
    import requests  # noqa: PLC0415 - imported on first use

    # Imported on first use.
    from azure.core.pipeline.transport import RequestsTransport  # noqa: PLC0415
    from azure.storage.queue import QueueClient  # noqa: PLC0415 - imported on first use
    from requests.adapters import HTTPAdapter  # noqa: PLC0415 - imported on first use

    timeouts: dict[str, Any] = {
        "connection_timeout": _CONNECT_SHARE * call_seconds,
        "read_timeout": _READ_SHARE * call_seconds,
    }
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
        # Imported on first use.
        from azure.core.credentials import AzureNamedKeyCredential  # noqa: PLC0415

        return AzureNamedKeyCredential(os.environ.get("AZURE_STORAGE_ACCOUNT_NAME", ""), key)
    from azure.identity import ManagedIdentityCredential  # noqa: PLC0415 - imported on first use

    return ManagedIdentityCredential(
        client_id=os.environ.get("AZURE_CLIENT_ID"), retry_total=1, **timeouts
    )
