"""SQS client and request queue, on boto3.

No library offers the same at-least-once delivery on every cloud provider's queues, so each provider
has its own adapter.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Any, Final

from asciist.errors import AccessDeniedError, UnavailableError
from asciist.protocol.messages import Message, json_of
from asciist.protocol.ports import Delivery

MAX_BATCH: Final = 10
"""Maximum messages that SQS receives or deletes in one call."""
MAX_WAIT_SECONDS: Final = 20
"""Maximum duration of a long poll, in seconds, that SQS allows."""

_ATTEMPTS: Final = 2
_CONNECT_SHARE, _READ_SHARE = 0.1, 0.25
"""Timeouts for connecting and for the answer, in each attempt, as shares of the time allowed for
the whole call.

All attempts and a pause of at most one second between them fit into that time. SQS answers in
milliseconds.
"""


class QueueNotFoundError(UnavailableError):
    """No queue exists at the URL.

    If it is a reply queue, its web process has stopped. A missing request queue is an error in the
    deployment.
    """


class Sqs:
    """SQS client shared by the adapters of one process; safe to use from many threads.

    The boto3 clients are created on first use, because importing boto3 and creating a client take
    most of a second. A Lambda function that sends no message to SQS never pays for it.
    """

    def __init__(self, *, call_seconds: float = 10, is_eager: bool = False) -> None:
        """`call_seconds` limits every call but long polls; it is the request timeout. With
        `is_eager`, the client for all other calls is created now, as a web process does before it
        is ready: its first requests would wait meanwhile."""
        self._connect_timeout = _CONNECT_SHARE * call_seconds
        self._read_timeout = _READ_SHARE * call_seconds
        if is_eager:
            _ = self.client

    @cached_property
    def client(self) -> Any:
        """The boto3 client for every operation but long polls."""
        return _client(connect_timeout=self._connect_timeout, read_timeout=self._read_timeout)

    @cached_property
    def _polling_client(self) -> Any:
        # A separate client, so that no call waits for a connection that a long poll occupies.
        return _client(
            connect_timeout=self._connect_timeout,
            read_timeout=MAX_WAIT_SECONDS + self._read_timeout,
        )

    @contextmanager
    def translating_errors(self, context: str) -> Iterator[None]:
        """Convert boto3's errors in a `with` block to UnavailableError, with a detail that begins
        with `context`.

        If the queue does not exist, raise its subclass QueueNotFoundError; if no policy allows the
        call, AccessDeniedError.
        """
        # Imported on first use.
        from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415

        try:
            yield
        except ClientError as error:
            if error.response["Error"]["Code"] in (
                "AWS.SimpleQueueService.NonExistentQueue",
                "QueueDoesNotExist",
            ):
                raise QueueNotFoundError(context) from error
            if error.response["Error"]["Code"] in ("AccessDenied", "AccessDeniedException"):
                raise AccessDeniedError(f"{context}: {error}") from error
            raise UnavailableError(f"{context}: {error}") from error
        except BotoCoreError as error:
            raise UnavailableError(f"{context}: {error}") from error

    def call(self, operation: str, context: str, **parameters: Any) -> Any:
        """Call an operation by its boto3 name. Raises the errors of `translating_errors`."""
        with self.translating_errors(context):
            client = self._polling_client if operation == "receive_message" else self.client
            return getattr(client, operation)(**parameters)

    def receive(self, url: str, *, max_messages: int, wait_seconds: float) -> list[dict[str, Any]]:
        """Receive up to ten messages, each a dict as boto3 returns it; wait up to 20 seconds for
        the first one."""
        return list(
            self.call(
                "receive_message",
                "receive",
                QueueUrl=url,
                MaxNumberOfMessages=min(max_messages, MAX_BATCH),
                WaitTimeSeconds=min(math.ceil(wait_seconds), MAX_WAIT_SECONDS),
                MessageSystemAttributeNames=[
                    "ApproximateReceiveCount",
                    "SentTimestamp",
                    "ApproximateFirstReceiveTimestamp",
                ],
            ).get("Messages", [])
        )

    def delete(self, url: str, receipts: Sequence[str]) -> None:
        """Delete messages in batches of ten. A message that cannot be deleted is no error and does
        not affect the others."""
        for start in range(0, len(receipts), MAX_BATCH):
            entries = [
                {"Id": str(number), "ReceiptHandle": receipt}
                for number, receipt in enumerate(receipts[start : start + MAX_BATCH])
            ]
            self.call("delete_message_batch", "delete", QueueUrl=url, Entries=entries)


class SqsRequestQueue:
    """RequestQueue on SQS. Visibility timeout, redrive policy and retention are set on the queue at
    deployment."""

    def __init__(self, url: str, sqs: Sqs) -> None:
        self._url = url
        self._sqs = sqs

    def send(self, body: Message) -> None:
        self._sqs.call("send_message", "send", QueueUrl=self._url, MessageBody=json_of(body))

    def receive(self, *, max_messages: int, wait_seconds: float) -> list[Delivery]:
        return [
            Delivery(
                body=message["Body"],
                receipt=message["ReceiptHandle"],
                receive_count=int(message["Attributes"]["ApproximateReceiveCount"]),
                age_seconds=_age_seconds(message["Attributes"]),
                sent_at=int(message["Attributes"]["SentTimestamp"]) / 1000,
            )
            for message in self._sqs.receive(
                self._url, max_messages=max_messages, wait_seconds=wait_seconds
            )
        ]

    def extend(self, delivery: Delivery, *, visibility_seconds: float) -> Delivery:
        self._sqs.call(
            "change_message_visibility",
            "extend",
            QueueUrl=self._url,
            ReceiptHandle=delivery.receipt,
            VisibilityTimeout=math.ceil(visibility_seconds),
        )
        return delivery

    def delete(self, deliveries: Sequence[Delivery]) -> None:
        self._sqs.delete(self._url, [delivery.receipt for delivery in deliveries])


def _client(*, connect_timeout: float, read_timeout: float) -> Any:
    import boto3  # noqa: PLC0415 - imported on first use
    from botocore.config import Config  # noqa: PLC0415 - imported on first use

    # A new session, because that of boto3.client is shared and not thread-safe, and several threads
    # may create clients.
    return boto3.Session().client(
        "sqs",
        config=Config(
            connect_timeout=connect_timeout,
            read_timeout=read_timeout,
            retries={"mode": "standard", "total_max_attempts": _ATTEMPTS},
            max_pool_connections=100,
        ),
    )


def _age_seconds(attributes: dict[str, str]) -> float | None:
    """Return the age of a message at its first delivery; None for a redelivery, whose time SQS does
    not report."""
    if attributes["ApproximateReceiveCount"] != "1":
        return None
    return (
        int(attributes["ApproximateFirstReceiveTimestamp"]) - int(attributes["SentTimestamp"])
    ) / 1000
