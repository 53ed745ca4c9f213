"""Amazon SQS adapters: the request queue, and one reply queue for each web process."""

from asciist.adapters.aws.reply_queues import (
    SETTLE_SECONDS,
    ReplyQueueRegistry,
    SqsReplyInbox,
    SqsReplySender,
)
from asciist.adapters.aws.sqs import Sqs, SqsRequestQueue

__all__ = [
    "SETTLE_SECONDS",
    "ReplyQueueRegistry",
    "Sqs",
    "SqsReplyInbox",
    "SqsReplySender",
    "SqsRequestQueue",
]
