"""What every RequestQueue promises. A new adapter is one more parameter."""

import json
import threading
import time
import uuid
from collections.abc import Callable

import boto3
import pytest

from asciist.adapters.aws import Sqs, SqsRequestQueue
from asciist.adapters.embedded import EmbeddedQueue
from asciist.protocol.ports import Delivery, RequestQueue

VISIBILITY_SECONDS = 1
MAX_RECEIVE_COUNT = 3


class Bench:
    """A queue with its dead letters in reach."""

    def __init__(self, queue: RequestQueue, dead_letters: Callable[[], list[str]]) -> None:
        self.queue = queue
        self.dead_letters = dead_letters

    def receive(self, wait_seconds: float = 0, max_messages: int = 10) -> list[Delivery]:
        return self.queue.receive(max_messages=max_messages, wait_seconds=wait_seconds)


def embedded(_request: pytest.FixtureRequest) -> Bench:
    queue = EmbeddedQueue(visibility_seconds=VISIBILITY_SECONDS, max_receive_count=MAX_RECEIVE_COUNT)
    return Bench(queue, lambda: list(queue.dead_letters))


def sqs(request: pytest.FixtureRequest) -> Bench:
    request.getfixturevalue("aws")
    client = boto3.client("sqs")
    name = uuid.uuid4().hex
    dead = client.create_queue(QueueName=f"{name}-dead")["QueueUrl"]
    arn = client.get_queue_attributes(QueueUrl=dead, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    redrive = json.dumps({"deadLetterTargetArn": arn, "maxReceiveCount": MAX_RECEIVE_COUNT})
    attributes = {"VisibilityTimeout": str(VISIBILITY_SECONDS), "RedrivePolicy": redrive}
    url = client.create_queue(QueueName=name, Attributes=attributes)["QueueUrl"]

    def dead_letters() -> list[str]:
        messages = client.receive_message(QueueUrl=dead, MaxNumberOfMessages=10, WaitTimeSeconds=2).get("Messages", [])
        return [message["Body"] for message in messages]

    return Bench(SqsRequestQueue(url, Sqs()), dead_letters)


QUEUES: dict[str, Callable[[pytest.FixtureRequest], Bench]] = {"embedded": embedded, "sqs": sqs}


@pytest.fixture(params=QUEUES)
def bench(request: pytest.FixtureRequest) -> Bench:
    return QUEUES[request.param](request)


def test_a_message_is_delivered_with_its_body(bench: Bench) -> None:
    bench.queue.send('{"text": "größer ☃"}')

    (delivery,) = bench.receive(wait_seconds=1)
    assert (delivery.body, delivery.receive_count) == ('{"text": "größer ☃"}', 1)


def test_every_message_is_delivered(bench: Bench) -> None:
    sent = {str(number) for number in range(25)}
    for body in sent:
        bench.queue.send(body)

    received: set[str] = set()
    while batch := bench.receive(wait_seconds=0.2):
        assert len(batch) <= 10
        received |= {delivery.body for delivery in batch}
    assert received == sent


def test_an_empty_queue_delivers_nothing(bench: Bench) -> None:
    assert bench.receive(wait_seconds=0.05) == []


def test_a_waiting_consumer_is_woken_by_a_message(bench: Bench) -> None:
    threading.Timer(0.2, bench.queue.send, ["late"]).start()
    start = time.monotonic()

    (delivery,) = bench.receive(wait_seconds=30)
    assert delivery.body == "late"
    assert time.monotonic() - start < 15  # woken, and not by the end of the wait


def test_a_delivered_message_is_hidden_until_its_visibility_timeout(bench: Bench) -> None:
    bench.queue.send("once more")
    bench.receive(wait_seconds=1)

    assert bench.receive() == []
    (again,) = bench.receive(wait_seconds=VISIBILITY_SECONDS + 1)
    assert (again.body, again.receive_count) == ("once more", 2)


def test_a_deleted_message_never_comes_back(bench: Bench) -> None:
    bench.queue.send("done")
    (delivery,) = bench.receive(wait_seconds=1)
    bench.queue.delete([delivery])
    bench.queue.delete([delivery])  # twice is no error

    assert bench.receive(wait_seconds=VISIBILITY_SECONDS + 0.3) == []


def test_a_message_that_is_given_back_is_delivered_at_once(bench: Bench) -> None:
    bench.queue.send("again")
    (delivery,) = bench.receive(wait_seconds=1)
    bench.queue.extend(delivery, visibility_seconds=0)

    (again,) = bench.receive(wait_seconds=0.5)
    assert again.receive_count == 2


def test_an_extended_message_stays_hidden_longer(bench: Bench) -> None:
    bench.queue.send("long work")
    (delivery,) = bench.receive(wait_seconds=1)
    extended = bench.queue.extend(delivery, visibility_seconds=VISIBILITY_SECONDS + 2)

    assert bench.receive(wait_seconds=VISIBILITY_SECONDS + 0.5) == []
    bench.queue.delete([extended])
    assert bench.receive(wait_seconds=2) == []


def test_a_message_delivered_too_often_becomes_a_dead_letter(bench: Bench) -> None:
    bench.queue.send("poison")
    for count in range(1, MAX_RECEIVE_COUNT + 1):
        (delivery,) = bench.receive(wait_seconds=1)
        assert delivery.receive_count == count
        bench.queue.extend(delivery, visibility_seconds=0)

    assert bench.receive(wait_seconds=0.2) == []
    assert bench.dead_letters() == ["poison"]


def test_an_old_receipt_does_not_delete_a_message_that_was_delivered_again(bench: Bench) -> None:
    bench.queue.send("twice")
    (first,) = bench.receive(wait_seconds=1)
    (second,) = bench.receive(wait_seconds=VISIBILITY_SECONDS + 1)
    bench.queue.delete([first])
    bench.queue.extend(second, visibility_seconds=0)

    (third,) = bench.receive(wait_seconds=1)
    assert third.receive_count == 3


def test_racing_consumers_share_the_messages(bench: Bench) -> None:
    sent = [str(number) for number in range(100)]
    received: list[str] = []

    def consume() -> None:
        while batch := bench.receive(wait_seconds=0.2, max_messages=3):
            for delivery in batch:
                received.append(delivery.body)
                bench.queue.delete([delivery])

    consumers = [threading.Thread(target=consume) for _ in range(8)]
    for consumer in consumers:
        consumer.start()
    for body in sent:
        bench.queue.send(body)
    for consumer in consumers:
        consumer.join()

    assert sorted(received) == sorted(sent)
