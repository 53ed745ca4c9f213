"""Objects in Datadog are created, changed and deleted with their custom resources, and every event
is answered."""

import json
import re
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import takewhile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from operations.observability import datadog
from stacks.datadog_api import handler as api
from tests.local_http import Handler, served
from tests.stacks.datadog_server import KEYS, Account, DatadogServer

Event = dict[str, Any]

SELF_SIGNED = Path(__file__).with_name("self_signed.pem")
"""A certificate for 127.0.0.1 that nobody trusts, with its key. Made by

openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout key.pem -out
certificate.pem -days 36500 \\
    -subj /CN=127.0.0.1 -addext subjectAltName=IP:127.0.0.1
"""

MONITOR = {"name": "Answers are slow", "type": "query alert"}
METRIC, CONFIGURATION = next(iter(datadog.metric_configurations().items()))


class Context:
    """Lambda context of an invocation with `seconds` left."""

    def __init__(self, seconds: float = 840) -> None:
        self.seconds = seconds

    def get_remaining_time_in_millis(self) -> int:
        return int(1000 * self.seconds)


class CloudFormation:
    """Receives the answers of custom resources, like an event's presigned URL."""

    def __init__(self) -> None:
        self.answers: list[dict[str, str]] = []
        answers = self.answers

        class Receiver(Handler):
            def answer(self) -> None:
                assert self.command == "PUT"
                assert not self.headers.get("Content-Type")
                answers.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                self.respond(200)

        self.handler = Receiver
        self.port = 0

    def send(
        self,
        request: str,
        kind: str,
        definition: Any,
        physical_id: str = "",
        *,
        seconds: float = 840,
    ) -> dict[str, str]:
        """Let the handler process an event; returns its answer."""
        event: Event = {
            "RequestType": request,
            "ResponseURL": f"http://127.0.0.1:{self.port}/answer?signature=x",
            "StackId": "stack",
            "RequestId": f"request-{len(self.answers)}",
            "LogicalResourceId": "AnswersAreSlow",
            "ResourceProperties": {"Kind": kind, "Definition": json.dumps(definition)},
        }
        if physical_id:
            event["PhysicalResourceId"] = physical_id
        api.handler(event, Context(seconds))
        answer = self.answers[-1]
        assert answer["RequestId"] == event["RequestId"]
        return answer


@pytest.fixture
def cloudformation() -> Iterator[CloudFormation]:
    made = CloudFormation()
    with served(made.handler) as made.port:
        yield made


class Secrets:
    """Stands in for boto3: a Secrets Manager with both keys."""

    def __init__(self) -> None:
        self.held = dict(zip(("arn:api", "arn:app"), KEYS, strict=True))

    def client(self, service: str) -> "Secrets":
        assert service == "secretsmanager"
        return self

    def get_secret_value(self, *, SecretId: str) -> dict[str, str]:  # noqa: N803 - boto3's name
        return {"SecretString": self.held[SecretId]}


@pytest.fixture
def secrets(monkeypatch: pytest.MonkeyPatch) -> Secrets:
    held = Secrets()
    monkeypatch.setattr(api, "boto3", held)
    return held


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Pauses of the handler, in seconds. Only its own reference to `time` is replaced, because
    other threads use the module."""
    slept: list[float] = []
    clock = SimpleNamespace(monotonic=time.monotonic, time=time.time, sleep=slept.append)
    monkeypatch.setattr(api, "time", clock)
    return slept


@pytest.fixture
def account(
    monkeypatch: pytest.MonkeyPatch, pauses: list[float], secrets: Secrets
) -> Iterator[Account]:
    with DatadogServer() as server:
        monkeypatch.setenv("DATADOG_API", server.address)
        monkeypatch.setenv("DD_API_KEY_SECRET_ARN", "arn:api")
        monkeypatch.setenv("DD_APP_KEY_SECRET_ARN", "arn:app")
        yield server.account


@pytest.mark.parametrize("kind", ["dashboard", "monitor", "slo"])
def test_an_object_is_created_changed_and_deleted_with_its_resource(
    kind: str, account: Account, cloudformation: CloudFormation
) -> None:
    created = cloudformation.send("Create", kind, {"name": "a"})
    path = f"/api/v1/{kind}/{created['PhysicalResourceId']}"
    assert created["Status"] == "SUCCESS"
    assert account.objects == {path: {"name": "a"}}

    changed = cloudformation.send("Update", kind, {"name": "b"}, created["PhysicalResourceId"])
    assert (changed["Status"], changed["PhysicalResourceId"]) == (
        "SUCCESS",
        created["PhysicalResourceId"],
    )
    assert account.objects == {path: {"name": "b"}}

    assert (
        cloudformation.send("Delete", kind, {"name": "b"}, created["PhysicalResourceId"])["Status"]
        == "SUCCESS"
    )
    assert account.objects == {}


def test_an_object_that_was_deleted_by_hand_is_created_again(
    account: Account, cloudformation: CloudFormation
) -> None:
    answer = cloudformation.send("Update", "monitor", MONITOR, "17")

    assert answer["PhysicalResourceId"] != "17"
    assert account.objects == {f"/api/v1/monitor/{answer['PhysicalResourceId']}": MONITOR}


@pytest.mark.parametrize("kind", ["dashboard", "monitor", "slo"])
def test_deleting_an_object_that_does_not_exist_succeeds(
    kind: str, account: Account, cloudformation: CloudFormation
) -> None:
    assert cloudformation.send("Delete", kind, MONITOR, "17")["Status"] == "SUCCESS"


def test_deleting_an_object_that_was_never_created_makes_no_call(
    account: Account, cloudformation: CloudFormation
) -> None:
    account.faults = [400]
    failed = cloudformation.send("Create", "monitor", MONITOR)
    account.calls.clear()

    assert failed["Status"] == "FAILED"
    assert (
        cloudformation.send("Delete", "monitor", MONITOR, failed["PhysicalResourceId"])["Status"]
        == "SUCCESS"
    )
    assert account.calls == []


def test_a_call_is_retried_while_datadog_is_busy(
    account: Account, cloudformation: CloudFormation, pauses: list[float]
) -> None:
    account.faults = [429, 500, 503]

    assert cloudformation.send("Create", "monitor", MONITOR)["Status"] == "SUCCESS"
    assert pauses == [1, 2, 4]
    assert len(account.objects) == 1


def test_it_gives_up_before_the_function_times_out(
    account: Account, cloudformation: CloudFormation, pauses: list[float]
) -> None:
    account.faults = [503] * 1000
    answer = cloudformation.send("Create", "monitor", MONITOR, seconds=22.5)

    assert answer["Status"] == "FAILED"
    assert (
        answer["Reason"] == 'Datadog answers 503 to POST /api/v1/monitor: {"errors": ["not now"]}'
    )
    assert len(account.calls) == len(pauses) + 1 == 3


def test_a_rejection_fails_at_once_and_quotes_datadog(
    account: Account, cloudformation: CloudFormation, pauses: list[float]
) -> None:
    account.faults = [400]
    answer = cloudformation.send("Update", "monitor", MONITOR, "17")

    assert (answer["Status"], answer["PhysicalResourceId"]) == ("FAILED", "17")
    assert (
        answer["Reason"] == 'Datadog answers 400 to PUT /api/v1/monitor/17: {"errors": ["not now"]}'
    )
    assert pauses == []


def test_an_unreachable_datadog_is_reported(
    account: Account, cloudformation: CloudFormation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATADOG_API", "http://127.0.0.1:9")
    answer = cloudformation.send("Create", "monitor", MONITOR, seconds=21)

    assert answer["Status"] == "FAILED"
    assert answer["Reason"].startswith("Datadog does not answer POST /api/v1/monitor: ")


def test_an_error_in_the_handler_is_answered_too(
    account: Account, cloudformation: CloudFormation
) -> None:
    assert cloudformation.send("Create", "painting", MONITOR)["Reason"] == "KeyError: 'painting'"


@pytest.mark.parametrize("status", [400, 503])
def test_no_key_is_revealed(
    status: int,
    account: Account,
    cloudformation: CloudFormation,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def reveal_keys(self: Account, *arguments: Any) -> tuple[int, Any]:
        return status, {"errors": [f"the keys {' and '.join(KEYS)} are wrong"]}

    monkeypatch.setattr(Account, "answer", reveal_keys)
    answer = cloudformation.send("Create", "monitor", MONITOR, seconds=22)
    output = json.dumps(answer) + "".join(capsys.readouterr())

    assert "the keys … and … are wrong" in answer["Reason"]
    assert not any(key in output for key in KEYS)


@contextmanager
def peer(
    answer: Callable[[socket.socket], None], tls: ssl.SSLContext | None = None
) -> Iterator[tuple[str, list[bytes]]]:
    """Listen in place of Datadog; `answer` writes to each connection. Yields the URL, and the
    requests as they arrive."""
    requests: list[bytes] = []
    connections: list[socket.socket] = []

    def serve() -> None:
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return  # the test has ended
            with suppress(OSError):  # the caller has had enough
                connections.append(
                    tls.wrap_socket(connection, server_side=True) if tls else connection
                )
                requests.append(request(connections[-1]))
                answer(connections[-1])
                connections[-1].close()

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"http{'s' if tls else ''}://127.0.0.1:{server.getsockname()[1]}", requests
        for ended in (server, *connections):
            with suppress(OSError):  # closed already
                ended.shutdown(socket.SHUT_RDWR)
    thread.join(30)
    for connection in connections:
        connection.close()


def request(connection: socket.socket) -> bytes:
    """Read a whole request: closing a connection with unread bytes would lose its answer."""
    with connection.makefile("rb") as stream:
        head = b"".join(takewhile(lambda line: line != b"\r\n", stream))
        return head + stream.read(sum(map(int, re.findall(rb"Content-Length: (\d+)", head))))


def created(connection: socket.socket) -> None:
    connection.sendall(b'HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n{"id": 17}')


@pytest.mark.parametrize("status", [300, 301, 302, 303, 307, 308])
@pytest.mark.parametrize("request_type", ["Create", "Update", "Delete"])
def test_the_keys_follow_no_redirect(
    status: int,
    request_type: str,
    account: Account,
    cloudformation: CloudFormation,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with peer(created) as (elsewhere, stolen):

        def redirect(connection: socket.socket) -> None:
            head = (
                f"HTTP/1.1 {status} Moved\r\nLocation:"
                f" {elsewhere}/api/v1/monitor\r\nContent-Length: 0\r\n\r\n"
            )
            connection.sendall(head.encode())

        with peer(redirect) as (address, requests):
            monkeypatch.setenv("DATADOG_API", address)
            answer = cloudformation.send(
                request_type, "monitor", MONITOR, "" if request_type == "Create" else "17"
            )

    assert (answer["Status"], len(requests), stolen) == ("FAILED", 1, [])
    assert answer["Reason"].startswith(f"Datadog answers {status} to ")


@pytest.mark.parametrize("is_trusted", [False, True])
def test_the_keys_are_sent_only_to_a_server_whose_certificate_is_trusted(
    is_trusted: bool,
    account: Account,
    cloudformation: CloudFormation,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(SELF_SIGNED)
    if is_trusted:
        monkeypatch.setenv("SSL_CERT_FILE", str(SELF_SIGNED))
    with peer(created, tls) as (address, requests):
        monkeypatch.setenv("DATADOG_API", address)
        answer = cloudformation.send("Create", "monitor", MONITOR, seconds=21)

    if is_trusted:
        assert (answer["Status"], answer["PhysicalResourceId"], len(requests)) == (
            "SUCCESS",
            "17",
            1,
        )
    else:
        assert (answer["Status"], requests) == ("FAILED", [])
        assert "CERTIFICATE_VERIFY_FAILED" in answer["Reason"]


def test_no_proxy_is_used(
    account: Account, cloudformation: CloudFormation, monkeypatch: pytest.MonkeyPatch
) -> None:
    with peer(created) as (proxy, stolen):
        for name in ("http_proxy", "https_proxy", "all_proxy"):
            monkeypatch.setenv(name, proxy)
        for name in ("no_proxy", "NO_PROXY"):
            monkeypatch.setenv(name, "")
        assert cloudformation.send("Create", "monitor", MONITOR)["Status"] == "SUCCESS"
    assert (stolen, len(account.objects)) == ([], 1)


def endless(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
    while True:
        connection.sendall(100_000 * b" ")


def headers_in_small_pieces(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\n")
    while True:
        connection.sendall(b"x")
        threading.Event().wait(0.05)


def body_in_small_pieces(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
    while True:
        connection.sendall(b" ")
        threading.Event().wait(0.05)


@pytest.mark.parametrize("answer", [endless, headers_in_small_pieces, body_in_small_pieces])
def test_an_answer_without_an_end_is_given_up(
    answer: Callable[[socket.socket], None],
    account: Account,
    cloudformation: CloudFormation,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with peer(answer) as (address, requests):
        monkeypatch.setenv("DATADOG_API", address)
        reason = cloudformation.send("Create", "monitor", MONITOR, seconds=21)["Reason"]

    assert len(requests) == 1
    assert "more than 2000000 bytes" in reason or "no complete answer within 1 s" in reason


@pytest.mark.parametrize("position", range(975, 1005, 3))
def test_no_part_of_a_key_is_revealed_where_a_message_is_cut_off(
    position: int, account: Account, cloudformation: CloudFormation, monkeypatch: pytest.MonkeyPatch
) -> None:
    def echo(connection: socket.socket) -> None:
        body = (position * "x" + KEYS[0] + 2000 * "x").encode()
        connection.sendall(b"HTTP/1.1 400 Bad\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))

    with peer(echo) as (address, _):
        monkeypatch.setenv("DATADOG_API", address)
        reason = cloudformation.send("Create", "monitor", MONITOR)["Reason"]
    assert KEYS[0][:4] not in reason


def test_a_key_in_an_answer_that_is_not_http_is_not_revealed(
    account: Account,
    cloudformation: CloudFormation,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with peer(lambda connection: connection.sendall(f"{KEYS[1]} {KEYS[0]}\r\n".encode())) as (
        address,
        _,
    ):
        monkeypatch.setenv("DATADOG_API", address)
        reason = cloudformation.send("Create", "monitor", MONITOR, seconds=21)["Reason"]
    assert not any(key in reason + "".join(capsys.readouterr()) for key in KEYS)


@pytest.mark.parametrize(
    "held", ['{\n"key": "0123456789abcdef0123456789abcdef"\n}', "two words", "ключ", ""]
)
def test_a_secret_that_is_not_a_plain_key_is_reported_without_its_text(
    held: str, secrets: Secrets, account: Account, cloudformation: CloudFormation
) -> None:
    secrets.held["arn:app"] = held
    answer = cloudformation.send("Create", "monitor", MONITOR)

    assert answer["Reason"] == "ValueError: secret arn:app must contain only the key, as plain text"


def test_a_new_line_after_a_key_is_ignored(
    secrets: Secrets, account: Account, cloudformation: CloudFormation
) -> None:
    secrets.held["arn:api"] += "\n"
    assert cloudformation.send("Create", "monitor", MONITOR)["Status"] == "SUCCESS"


class Forgetful(set[str]):
    """A set that stays empty."""

    def __contains__(self, item: object) -> bool:
        return False


class TestMetrics:
    PATH = f"/api/v2/metrics/{METRIC}/tags"

    def test_a_metric_is_configured_under_its_own_name(
        self, account: Account, cloudformation: CloudFormation
    ) -> None:
        account.known_metrics = {METRIC}

        assert (
            cloudformation.send("Create", "metric", CONFIGURATION)["PhysicalResourceId"] == METRIC
        )
        assert account.objects == {self.PATH: CONFIGURATION}

    def test_a_metric_that_is_configured_already_is_updated(
        self, account: Account, cloudformation: CloudFormation
    ) -> None:
        account.known_metrics = {METRIC}
        account.objects[self.PATH] = {}

        for request in ("Create", "Update"):
            answer = cloudformation.send(
                request, "metric", CONFIGURATION, METRIC if request == "Update" else ""
            )
            assert (answer["Status"], answer["PhysicalResourceId"]) == ("SUCCESS", METRIC)
        assert account.calls == 2 * [("POST", self.PATH), ("PATCH", self.PATH)]
        assert account.objects[self.PATH]["data"]["attributes"]["include_percentiles"] is True

    def test_a_metric_without_values_gets_one_first(
        self, account: Account, cloudformation: CloudFormation
    ) -> None:
        assert cloudformation.send("Create", "metric", CONFIGURATION)["Status"] == "SUCCESS"
        assert account.known_metrics == {METRIC}
        assert account.objects == {self.PATH: CONFIGURATION}

    def test_a_metric_that_stays_unknown_to_datadog_fails(
        self, account: Account, cloudformation: CloudFormation
    ) -> None:
        account.known_metrics = Forgetful()
        answer = cloudformation.send("Create", "metric", CONFIGURATION, seconds=25)

        assert answer["Status"] == "FAILED"
        assert "a metric that does not exist" in answer["Reason"]

    def test_the_settings_of_a_metric_are_deleted_if_they_exist(
        self, account: Account, cloudformation: CloudFormation
    ) -> None:
        account.known_metrics = {METRIC}
        for objects in ({self.PATH: CONFIGURATION}, {}):
            account.objects = dict(objects)
            assert (
                cloudformation.send("Delete", "metric", CONFIGURATION, METRIC)["Status"]
                == "SUCCESS"
            )
            assert account.objects == {}
