"""SQS client and request queue: a thin layer over boto3.

No library offers the same at-least-once delivery on every provider, so none is used.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Any, Final

from asciist.errors import UnavailableError
from asciist.protocol.ports import Delivery

MAX_BATCH: Final = 10
"""Maximum messages that SQS receives or deletes in one call."""
MAX_WAIT_SECONDS: Final = 20
"""Maximum duration of a long poll that SQS allows."""


class QueueNotFoundError(UnavailableError):
    """No queue exists at the URL.

    A missing reply queue means that its process has stopped; a missing request queue is a fault.
    """


class Sqs:
    """SQS client shared by the adapters of one process; safe to use from many threads.

    The boto3 client is created on first use. Importing boto3 and building a client take most of a second, which a Lambda
    function that needs neither can save.
    """

    @cached_property
    def client(self) -> Any:
        import boto3  # noqa: PLC0415 - imported on first use
        from botocore.config import Config  # noqa: PLC0415 - imported on first use

        return boto3.client(
            "sqs",
            config=Config(
                connect_timeout=2,
                read_timeout=MAX_WAIT_SECONDS + 5,
                retries={"mode": "standard", "total_max_attempts": 3},
                max_pool_connections=100,
            ),
        )

    @contextmanager
    def translating_errors(self, context: str) -> Iterator[None]:
        """Raise boto3's errors in a `with` block as UnavailableError; its detail begins with `context`.

        A queue that does not exist raises the subclass QueueNotFoundError.
        """
        from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415 - imported on first use

        try:
            yield
        except ClientError as error:
            if error.response["Error"]["Code"] in ("AWS.SimpleQueueService.NonExistentQueue", "QueueDoesNotExist"):
                raise QueueNotFoundError(context) from error
            raise UnavailableError(f"{context}: {error}") from error
        except BotoCoreError as error:
            raise UnavailableError(f"{context}: {error}") from error

    def call(self, operation: str, context: str, **parameters: Any) -> Any:
        """Call an operation of the client by its boto3 name. Raises as `translating_errors` does."""
        with self.translating_errors(context):
            return getattr(self.client, operation)(**parameters)

    def receive(self, url: str, *, max_messages: int, wait_seconds: float) -> list[dict[str, Any]]:
        """Receive messages as boto3 returns them, each with its receive count."""
        return list(
            self.call(
                "receive_message",
                "receive",
                QueueUrl=url,
                MaxNumberOfMessages=min(max_messages, MAX_BATCH),
                WaitTimeSeconds=min(math.ceil(wait_seconds), MAX_WAIT_SECONDS),
                MessageSystemAttributeNames=["ApproximateReceiveCount"],
            ).get("Messages", [])
        )

    def delete(self, url: str, receipts: Sequence[str]) -> None:
        """Delete messages in batches of ten. A message that is already gone does not fail its batch."""
        for start in range(0, len(receipts), MAX_BATCH):
            entries = [
                {"Id": str(number), "ReceiptHandle": receipt}
                for number, receipt in enumerate(receipts[start : start + MAX_BATCH])
            ]
            self.call("delete_message_batch", "delete", QueueUrl=url, Entries=entries)


class SqsRequestQueue:
    """RequestQueue on SQS. Visibility timeout, redrive policy and retention are set on the queue at deployment."""

    def __init__(self, url: str, sqs: Sqs) -> None:
        self._url = url
        self._sqs = sqs

    def send(self, body: str) -> None:
        self._sqs.call("send_message", "send", QueueUrl=self._url, MessageBody=body)

    def receive(self, *, max_messages: int, wait_seconds: float) -> list[Delivery]:
        return [
            Delivery(
                body=message["Body"],
                receipt=message["ReceiptHandle"],
                receive_count=int(message["Attributes"]["ApproximateReceiveCount"]),
            )
            for message in self._sqs.receive(self._url, max_messages=max_messages, wait_seconds=wait_seconds)
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
