"""SQS events in the format of a Lambda function's input."""

import time
from typing import Any


def record(
    message_id: str, body: str, receive_count: int = 1, age_seconds: float = 0.002
) -> dict[str, Any]:
    """Return a record in the format of the Lambda developer guide, "Using Lambda with Amazon SQS".

    SQS accepted the message `age_seconds` ago and delivered it first 2 ms later.
    """
    sent_at = round(1000 * (time.time() - age_seconds))
    return {
        "messageId": message_id,
        "receiptHandle": "AQEBwJnKyrHigUMZj6rYigCgxlaS3SLy0a...",
        "body": body,
        "attributes": {
            "ApproximateReceiveCount": str(receive_count),
            "SentTimestamp": str(sent_at),
            "SenderId": "AIDAIENQZJOLO23YVJ4VO",
            "ApproximateFirstReceiveTimestamp": str(sent_at + 2),
        },
        "messageAttributes": {},
        "md5OfBody": "e4e68fb7bd0e697a0ae8f1bb342846b3",
        "eventSource": "aws:sqs",
        "eventSourceARN": "arn:aws:sqs:us-east-2:123456789012:my-queue",
        "awsRegion": "us-east-2",
    }
