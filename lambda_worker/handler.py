"""Lambda function that processes the messages of an SQS event and returns the ids of failed
messages.

Lambda deletes all messages but those in `batchItemFailures`, which SQS redelivers.
"""

import logging
import os
from functools import cache
from typing import Any, TypedDict

from asciist.protocol.ports import Delivery
from asciist.protocol.responder import Responder
from asciist.settings import Settings
from asciist.telemetry import logs
from asciist.wiring import build_responder

_log = logging.getLogger(__name__)


class ItemFailure(TypedDict):
    itemIdentifier: str


class BatchResponse(TypedDict):
    batchItemFailures: list[ItemFailure]


# Signature of a Lambda handler.
def handler(event: dict[str, Any], context: object) -> BatchResponse:  # noqa: ARG001
    """Entry point named in the function's configuration."""
    return respond_to_batch(event, _responder())


def respond_to_batch(event: dict[str, Any], responder: Responder) -> BatchResponse:
    """Process each record of an SQS event. A record that fails does not affect the others."""
    failures: list[ItemFailure] = []
    for record in event["Records"]:
        delivery = Delivery(
            body=record["body"],
            receipt=record["receiptHandle"],
            receive_count=int(record["attributes"]["ApproximateReceiveCount"]),
            age_seconds=_age_seconds(record["attributes"]),
            sent_at=int(record["attributes"]["SentTimestamp"]) / 1000,
        )
        if not responder.respond(delivery):
            _log.error("message %s will be redelivered", record["messageId"])
            failures.append({"itemIdentifier": record["messageId"]})
    responder.flush()  # the function may be frozen until the next event
    return {"batchItemFailures": failures}


def _age_seconds(attributes: dict[str, str]) -> float | None:
    """Return the age of a message at its first delivery; None for a redelivery, whose time SQS does
    not report."""
    if attributes["ApproximateReceiveCount"] != "1":
        return None
    return (
        int(attributes["ApproximateFirstReceiveTimestamp"]) - int(attributes["SentTimestamp"])
    ) / 1000


@cache
def _responder() -> Responder:
    logs.configure()
    return build_responder(Settings.from_environment(), is_frozen_between_messages=True)


if "AWS_LAMBDA_RUNTIME_API" in os.environ:
    _responder()  # build during initialization, when the CPU is not throttled
