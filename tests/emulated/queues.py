"""Measure the request queues of both clouds on their emulators: `python -m tests.emulated.queues
[MESSAGES]`.

One consumer receives and deletes, like a thread of a poller. Messages are sent at random times, one
after the other. The command prints the milliseconds from sending to receiving a message, and the
milliseconds that the sender waited.
"""

import os
import random
import statistics
import sys
import threading
import time

import boto3

from asciist.adapters.aws import Sqs, SqsRequestQueue
from asciist.adapters.azure import StorageQueue
from asciist.protocol.ports import RequestQueue
from tests.emulated.azurite import Azurite
from tests.emulated.emulator import Emulator

MAX_PAUSE_SECONDS = 0.2
BODY = "x" * 700
"""Body as long as the message of a request."""


def measure(queue: RequestQueue, messages: int) -> tuple[list[float], list[float]]:
    """Return the milliseconds until each message was received, and until the queue had accepted
    it."""
    received: dict[str, float] = {}

    def consume() -> None:
        while len(received) < messages:
            for delivery in queue.receive(max_messages=1, wait_seconds=1):
                received[delivery.body[len(BODY) :]] = time.perf_counter()
                queue.delete([delivery])

    consumer = threading.Thread(target=consume)
    consumer.start()
    latencies, sending = [], []
    for number in range(messages):
        time.sleep(random.uniform(0, MAX_PAUSE_SECONDS))
        started = time.perf_counter()
        queue.send(f"{BODY}{number}")
        sending.append(1000 * (time.perf_counter() - started))
        latencies.append(started)
    consumer.join()
    return [
        1000 * (received[str(number)] - started) for number, started in enumerate(latencies)
    ], sending


def main() -> None:
    messages = int(sys.argv[1]) if len(sys.argv) > 1 else 300
    with Emulator() as aws, Azurite() as azurite:
        os.environ.update(aws.environment | azurite.environment)
        queues: dict[str, RequestQueue] = {
            "SQS (long polls)": SqsRequestQueue(
                boto3.client("sqs").create_queue(QueueName="q")["QueueUrl"], Sqs()
            ),
            "Storage Queue": StorageQueue(
                azurite.create_queue("requests"), visibility_seconds=60, max_receive_count=5
            ),
        }
        print(f"{messages} messages each, in milliseconds        p50     p95     max")
        for name, queue in queues.items():
            measure(queue, 5)  # creates clients and connections
            for what, values in zip(
                ("sent to received", "sending"), measure(queue, messages), strict=True
            ):
                p95 = statistics.quantiles(values, n=20)[-1]
                print(
                    f"{name:18} {what:20} {statistics.median(values):7.1f} {p95:7.1f} {max(values):7.1f}"
                )


if __name__ == "__main__":
    main()
