"""Storage Queue adapter against the emulator: refusals, dead letters, the time of sending, and the
limit on calls."""

import json
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from azure.storage.queue import QueueClient

from asciist import wiring
from asciist.adapters.azure import DEAD_LETTERS, StorageQueue, storage_queue
from asciist.adapters.object_store import ObjectStore
from asciist.errors import AccessDeniedError, SettingsError, UnavailableError
from asciist.protocol.ports import Delivery, RequestQueue
from asciist.settings import Settings
from tests.emulated.azurite import Azurite
from tests.emulated.fault_proxy import Fault, FaultProxy
from tests.local_http import Handler, served

MAX_RECEIVE_COUNT = 2
OTHER_KEY = "b3RoZXI="
IDENTITY = "11111111-2222-3333-4444-555555555555"


def adapter(url: str, *, call_seconds: float = 10) -> StorageQueue:
    return StorageQueue(
        url, visibility_seconds=30, max_receive_count=MAX_RECEIVE_COUNT, call_seconds=call_seconds
    )


@pytest.fixture
def client(azure: Azurite) -> Iterator[QueueClient]:
    """A client of a new queue, without a dead-letter queue."""
    name = uuid.uuid4().hex
    azure.create_queue(name)
    with azure.queue(name) as client:
        yield client


@pytest.fixture
def queue(client: QueueClient) -> StorageQueue:
    return adapter(client.url)


def receive(queue: RequestQueue) -> list[Delivery]:
    return queue.receive(max_messages=10, wait_seconds=0)


def make_poison(queue: StorageQueue, body: str) -> None:
    """Send a message and let each of its allowed deliveries fail."""
    queue.send(body)
    for _ in range(MAX_RECEIVE_COUNT):
        (delivery,) = receive(queue)
        queue.extend(delivery, visibility_seconds=0)


def test_a_missing_queue_is_unavailable(azure: Azurite) -> None:
    missing = adapter(azure.queue_url(uuid.uuid4().hex))
    with pytest.raises(UnavailableError, match="QueueNotFound"):
        missing.send("{}")
    with pytest.raises(UnavailableError, match="QueueNotFound"):
        receive(missing)


def test_credentials_that_the_queue_refuses_are_denied(
    queue: StorageQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_KEY", OTHER_KEY)
    with pytest.raises(AccessDeniedError, match="AuthenticationFailed"):
        receive(queue)


def test_credentials_that_the_store_refuses_make_it_unavailable(
    azure: Azurite, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Azure refuses the credentials with an error of its own, so objects do not count as absent."""
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_KEY", OTHER_KEY)
    with pytest.raises(UnavailableError):
        ObjectStore.in_container("artifacts").get("key")


def test_an_account_without_a_name_is_an_error_of_the_settings(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("AZURE_STORAGE_ACCOUNT_NAME", raising=False)
    with pytest.raises(SettingsError, match=r"^AZURE_STORAGE_ACCOUNT_NAME"):
        ObjectStore.in_container("artifacts")


def test_a_web_process_refuses_a_reply_path_that_azure_does_not_have() -> None:
    settings = Settings(
        backend="azure",
        bucket="artifacts",
        request_queue_url="http://127.0.0.1:9/a/q",
        link_keys="k" * 32,
    )
    with pytest.raises(SettingsError, match="ASCIIST_REPLY_PATH=callback is required"):
        wiring.build_web_process(settings)


@pytest.mark.parametrize("fault", [Fault.SILENT, Fault.REFUSING, Fault.THROTTLING])
def test_a_call_ends_in_the_time_of_a_request(
    azure: Azurite, client: QueueClient, fault: Fault
) -> None:
    with FaultProxy(azure.queue_port, "azure") as proxy:
        proxy.fault = fault
        failing = adapter(
            client.url.replace(str(azure.queue_port), str(proxy.port)), call_seconds=2
        )
        started = time.monotonic()
        with pytest.raises(UnavailableError):
            failing.send("{}")
        # The client's own retries would begin after 15 s. Ours, by their timeouts and pause:
        assert time.monotonic() - started < 15
        assert 2 * 2 * (storage_queue._CONNECT_SHARE + storage_queue._READ_SHARE) + 0.5 < 2
        proxy.fault = Fault.NONE
        failing.send("{}")


def test_a_message_larger_than_the_queue_takes_is_an_error_and_not_sent(
    queue: StorageQueue,
) -> None:
    queue.send("x" * 65_000)
    with pytest.raises(UnavailableError, match="RequestBodyTooLarge"):
        queue.send("x" * 70_000)
    assert len(receive(queue)) == 1


def test_a_request_is_kept_for_an_hour_and_a_dead_letter_for_two_weeks(
    azure: Azurite, queue: StorageQueue
) -> None:
    dead = queue._url.rpartition("/")[2] + DEAD_LETTERS
    azure.create_queue(dead)
    make_poison(queue, "poison")
    assert receive(queue) == []
    queue.send("request")

    for name, seconds in ((dead.removesuffix(DEAD_LETTERS), 3600), (dead, 14 * 86_400)):
        with azure.queue(name) as client:
            (message,) = client.peek_messages()
            assert (message.expires_on - message.inserted_on).total_seconds() == seconds


def test_a_dead_letter_is_not_lost_and_delays_no_other_message_while_its_queue_fails(
    azure: Azurite, queue: StorageQueue, client: QueueClient, caplog: pytest.LogCaptureFixture
) -> None:
    make_poison(queue, "poison")
    queue.send("good")

    assert [delivery.body for delivery in receive(queue)] == ["good"]
    assert "moving a message to the dead-letter queue failed" in caplog.text
    assert client.get_queue_properties().approximate_message_count == 2


def test_a_message_from_the_dead_letter_queue_can_be_sent_again(
    azure: Azurite, queue: StorageQueue, client: QueueClient
) -> None:
    azure.create_queue(client.queue_name + DEAD_LETTERS)
    make_poison(queue, '{"version": 3}')
    assert receive(queue) == []
    (letter,) = azure.messages(client.queue_name + DEAD_LETTERS)
    client.send_message(letter)

    (delivery,) = receive(queue)
    assert (delivery.body, delivery.receive_count) == ('{"version": 3}', 1)


@pytest.mark.parametrize("seconds_off", [-300, 300])
def test_a_sender_with_a_wrong_clock_changes_the_time_of_sending_by_less_than_a_second(
    client: QueueClient, queue: StorageQueue, seconds_off: float
) -> None:
    before = time.time()
    client.send_message(f"{before + seconds_off:.3f} late")
    client.send_message("without a time")
    deliveries = receive(queue)
    seconds = time.time() - before

    for delivery in deliveries:
        assert delivery.body in ("late", "without a time")
        assert delivery.sent_at is not None
        assert before - 1 < delivery.sent_at < before + seconds + 1
        assert delivery.age_seconds is not None
        assert 0 <= delivery.age_seconds < seconds + 1


def test_an_extended_message_has_a_new_receipt_and_the_time_of_its_delivery(
    queue: StorageQueue,
) -> None:
    queue.send("long work")
    (delivery,) = receive(queue)
    extended = queue.extend(delivery, visibility_seconds=0.5)

    assert extended.receipt != delivery.receipt
    assert (extended.body, extended.sent_at, extended.receive_count) == (
        delivery.body,
        delivery.sent_at,
        1,
    )
    with pytest.raises(UnavailableError, match="PopReceiptMismatch"):
        queue.extend(delivery, visibility_seconds=1)


def test_many_threads_share_a_queue_without_warnings(
    queue: StorageQueue, caplog: pytest.LogCaptureFixture
) -> None:
    with ThreadPoolExecutor(40) as pool:
        list(pool.map(queue.send, map(str, range(80))))
    assert caplog.records == []


class IdentityService(Handler):
    """Issues tokens to managed identities, as Azure documents for services with the address of an
    identity endpoint in their environment."""

    asked: list[str]

    def answer(self) -> None:
        self.asked.append(self.path)
        token = {
            "access_token": "secret",
            "expires_on": str(int(time.time()) + 3600),
            "resource": "r",
            "token_type": "Bearer",
        }
        self.respond(200, json.dumps(token).encode(), Content_Type="application/json")


@pytest.fixture
def asked(azure: Azurite, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Requests for tokens, from a machine with two identities and without an account key."""
    requests: list[str] = []
    with served(type("Service", (IdentityService,), {"asked": requests})) as port:
        monkeypatch.delenv("AZURE_STORAGE_ACCOUNT_KEY")
        monkeypatch.setenv("AZURE_CLIENT_ID", IDENTITY)
        monkeypatch.setenv("IDENTITY_ENDPOINT", f"http://127.0.0.1:{port}/token")
        monkeypatch.setenv("IDENTITY_HEADER", "header")
        yield requests


def test_without_a_key_the_named_identity_of_the_machine_is_used(asked: list[str]) -> None:
    """Covers the queue and the store. The emulator does not accept the token, and the libraries
    send it to queues only over TLS."""
    # A stub's.
    assert (
        storage_queue._credential({}).get_token("https://storage.azure.com/.default").token
        == "secret"  # noqa: S105
    )
    with pytest.raises(UnavailableError, match=r"401|403"):
        ObjectStore.in_container("artifacts").get("key")

    assert len(asked) == 2
    assert all(IDENTITY in request and "storage.azure.com" in request for request in asked)
