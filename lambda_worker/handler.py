"""The Lambda function: an SQS event in, the failed records out.

Lambda deletes the messages whose ids are not in `batchItemFailures`; the others come back after the visibility timeout.
"""

import logging
import os
from functools import cache
from typing import Any, TypedDict

from asciist.request_reply import Responder
from asciist.settings import Settings
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
        try:
            responder.respond(record["body"], receive_count=int(record["attributes"]["ApproximateReceiveCount"]))
        except Exception:  # noqa: BLE001 - whatever it is, its neighbours must not be delivered again
            _log.exception("message %s met a fault and will come back", record["messageId"])
            failures.append({"itemIdentifier": record["messageId"]})
    return {"batchItemFailures": failures}


@cache
def _responder() -> Responder:
    return build_responder(Settings.from_environment())


if "AWS_LAMBDA_RUNTIME_API" in os.environ:
    _responder()  # compose while the function initializes, when its processor is not throttled
