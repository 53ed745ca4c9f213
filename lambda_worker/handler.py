"""The Lambda function: an SQS event in, the failed records out.

Lambda deletes the messages whose ids are not in `batchItemFailures`; the others are delivered again.
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


def handler(event: dict[str, Any], context: object) -> BatchResponse:  # noqa: ARG001 - Lambda passes it
    """The entry point named in the function's configuration."""
    return respond_to_batch(event, _responder())


def respond_to_batch(event: dict[str, Any], responder: Responder) -> BatchResponse:
    """Respond to each record by itself: one that fails is reported and leaves its neighbours alone."""
    failures: list[ItemFailure] = []
    for record in event["Records"]:
        delivery = Delivery(
            body=record["body"],
            receipt=record["receiptHandle"],
            receive_count=int(record["attributes"]["ApproximateReceiveCount"]),
        )
        if not responder.respond(delivery):
            _log.error("message %s will be delivered again", record["messageId"])
            failures.append({"itemIdentifier": record["messageId"]})
    responder.flush()  # from here to the next event the function may be frozen
    return {"batchItemFailures": failures}


@cache
def _responder() -> Responder:
    logs.configure()
    return build_responder(Settings.from_environment(), is_frozen_between_messages=True)


if "AWS_LAMBDA_RUNTIME_API" in os.environ:
    _responder()  # compose while the function initializes, when its processor is not throttled
