"""Contract of RequestQueue, run against every adapter. A new adapter is one more parameter."""

import json
import threading
import time
import uuid
from collections.abc import Callable

import boto3
import pytest

from asciist.adapters.aws import Sqs, SqsRequestQueue
from asciist.adapters.azure import DEAD_LETTERS, StorageQueue
from asciist.adapters.embedded import EmbeddedQueue
from asciist.protocol.ports import Delivery, RequestQueue
from tests.emulated.azurite import Azurite

VISIBILITY_SECONDS = 3
"""A busy machine may need seconds from a delivery to the next call."""
MAX_RECEIVE_COUNT = 3


class QueueUnderTest:
    """RequestQueue together with its dead letters."""

    def __init__(self, queue: RequestQueue, dead_letters: Callable[[], list[str]]) -> None:
        self.port = queue
        self.dead_letters = dead_letters

    def receive(self, wait_seconds: float = 0, max_messages: int = 10) -> list[Delivery]:
        return self.port.receive(max_messages=max_messages, wait_seconds=wait_seconds)


def embedded(_request: pytest.FixtureRequest) -> QueueUnderTest:
    queue = EmbeddedQueue(
        visibility_seconds=VISIBILITY_SECONDS, max_receive_count=MAX_RECEIVE_COUNT
    )
    return QueueUnderTest(queue, lambda: list(queue.dead_letters))


def sqs(request: pytest.FixtureRequest) -> QueueUnderTest:
    request.getfixturevalue("aws")
    client = boto3.client("sqs")
    name = uuid.uuid4().hex
    dead = client.create_queue(QueueName=f"{name}-dead")["QueueUrl"]
    arn = client.get_queue_attributes(QueueUrl=dead, AttributeNames=["QueueArn"])["Attributes"][
        "QueueArn"
    ]
    redrive = json.dumps({"deadLetterTargetArn": arn, "maxReceiveCount": MAX_RECEIVE_COUNT})
    attributes = {"VisibilityTimeout": str(VISIBILITY_SECONDS), "RedrivePolicy": redrive}
    url = client.create_queue(QueueName=name, Attributes=attributes)["QueueUrl"]

    def dead_letters() -> list[str]:
        messages = client.receive_message(
            QueueUrl=dead, MaxNumberOfMessages=10, WaitTimeSeconds=2
        ).get("Messages", [])
        return [message["Body"] for message in messages]

    return QueueUnderTest(SqsRequestQueue(url, Sqs()), dead_letters)


def storage_queue(request: pytest.FixtureRequest) -> QueueUnderTest:
    azurite: Azurite = request.getfixturevalue("azure")
    name = uuid.uuid4().hex
    azurite.create_queue(name + DEAD_LETTERS)
    url = azurite.create_queue(name)
    queue = StorageQueue(
        url, visibility_seconds=VISIBILITY_SECONDS, max_receive_count=MAX_RECEIVE_COUNT
    )
    return QueueUnderTest(queue, lambda: azurite.messages(name + DEAD_LETTERS))


QUEUES: dict[str, Callable[[pytest.FixtureRequest], QueueUnderTest]] = {
    "embedded": embedded,
    "sqs": sqs,
    "storage queue": storage_queue,
}


@pytest.fixture(params=QUEUES)
def queue(request: pytest.FixtureRequest) -> QueueUnderTest:
    return QUEUES[request.param](request)


def test_a_message_is_delivered_with_its_body(queue: QueueUnderTest) -> None:
    queue.port.send('{"text": "größer ☃"}')

    (delivery,) = queue.receive(wait_seconds=1)
    assert (delivery.body, delivery.receive_count) == ('{"text": "größer ☃"}', 1)


def test_the_first_delivery_tells_the_age_of_the_message(queue: QueueUnderTest) -> None:
    queue.port.send("old")
    time.sleep(0.3)

    (delivery,) = queue.receive(wait_seconds=1)
    assert delivery.age_seconds is not None
    assert 0.25 < delivery.age_seconds < 30


def test_a_later_delivery_tells_the_whole_age_or_none(queue: QueueUnderTest) -> None:
    queue.port.send("older")
    (delivery,) = queue.receive(wait_seconds=1)
    queue.port.extend(delivery, visibility_seconds=1)

    (again,) = queue.receive(wait_seconds=15)
    assert again.age_seconds is None or again.age_seconds > 0.5


def test_every_delivery_tells_when_the_queue_took_the_message(queue: QueueUnderTest) -> None:
    before = time.time()
    queue.port.send("old")
    after = time.time()
    (first,) = queue.receive(wait_seconds=1)
    queue.port.extend(first, visibility_seconds=1)

    (again,) = queue.receive(wait_seconds=15)
    for delivery in (first, again):
        assert delivery.sent_at is not None
        assert before - 0.01 < delivery.sent_at < after + 0.01  # SQS tells milliseconds


def test_every_message_is_delivered(queue: QueueUnderTest) -> None:
    sent = {str(number) for number in range(25)}
    for body in sent:
        queue.port.send(body)

    received: set[str] = set()
    while batch := queue.receive(wait_seconds=0.2):
        assert len(batch) <= 10
        received |= {delivery.body for delivery in batch}
    assert received == sent


def test_an_empty_queue_delivers_nothing(queue: QueueUnderTest) -> None:
    assert queue.receive(wait_seconds=0.05) == []


def test_a_message_ends_the_wait_of_a_consumer(queue: QueueUnderTest) -> None:
    threading.Timer(0.2, queue.port.send, ["late"]).start()
    start = time.monotonic()

    (delivery,) = queue.receive(wait_seconds=30)
    assert delivery.body == "late"
    assert time.monotonic() - start < 15  # ended by the message, not by the end of the wait


def test_a_delivered_message_is_hidden_until_its_visibility_timeout(queue: QueueUnderTest) -> None:
    queue.port.send("once more")
    queue.receive(wait_seconds=1)

    assert queue.receive() == []
    (again,) = queue.receive(wait_seconds=VISIBILITY_SECONDS + 10)
    assert (again.body, again.receive_count) == ("once more", 2)


def test_a_deleted_message_is_not_redelivered(queue: QueueUnderTest) -> None:
    queue.port.send("done")
    (delivery,) = queue.receive(wait_seconds=1)
    queue.port.delete([delivery])
    queue.port.delete([delivery])  # twice is no error

    assert queue.receive(wait_seconds=VISIBILITY_SECONDS + 0.3) == []


def test_a_message_with_zero_visibility_is_redelivered_at_once(queue: QueueUnderTest) -> None:
    queue.port.send("again")
    (delivery,) = queue.receive(wait_seconds=1)
    queue.port.extend(delivery, visibility_seconds=0)

    (again,) = queue.receive(wait_seconds=0.5)
    assert again.receive_count == 2


def test_an_extended_message_stays_hidden_longer(queue: QueueUnderTest) -> None:
    queue.port.send("long work")
    (delivery,) = queue.receive(wait_seconds=1)
    extended = queue.port.extend(delivery, visibility_seconds=VISIBILITY_SECONDS + 3)

    assert queue.receive(wait_seconds=VISIBILITY_SECONDS + 0.5) == []
    queue.port.delete([extended])
    assert queue.receive(wait_seconds=4) == []


def test_a_message_delivered_too_often_becomes_a_dead_letter(queue: QueueUnderTest) -> None:
    queue.port.send("poison")
    for count in range(1, MAX_RECEIVE_COUNT + 1):
        (delivery,) = queue.receive(wait_seconds=1)
        assert delivery.receive_count == count
        queue.port.extend(delivery, visibility_seconds=0)

    assert queue.receive(wait_seconds=0.2) == []
    assert queue.dead_letters() == ["poison"]


def test_an_old_receipt_does_not_delete_a_redelivered_message(queue: QueueUnderTest) -> None:
    queue.port.send("twice")
    (first,) = queue.receive(wait_seconds=1)
    (second,) = queue.receive(wait_seconds=VISIBILITY_SECONDS + 10)
    queue.port.delete([first])
    queue.port.extend(second, visibility_seconds=0)

    (third,) = queue.receive(wait_seconds=1)
    assert third.receive_count == 3


def test_each_message_goes_to_at_least_one_of_many_concurrent_consumers(
    queue: QueueUnderTest,
) -> None:
    sent = {str(number) for number in range(100)}
    received: set[str] = set()

    def consume() -> None:
        give_up = time.monotonic() + 120
        while not received.issuperset(sent) and time.monotonic() < give_up:
            for delivery in queue.receive(wait_seconds=0.2, max_messages=3):
                received.add(delivery.body)
                queue.port.delete([delivery])

    consumers = [threading.Thread(target=consume) for _ in range(8)]
    for consumer in consumers:
        consumer.start()
    for body in sent:
        queue.port.send(body)
    for consumer in consumers:
        consumer.join()

    assert received == sent
