"""Metrics as received by an agent: exactly those of the catalogue, each response counted once, none
lost at shutdown."""

import contextlib
import http.client
import io
import json
import os
import re
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from asciist.adapters.converters.in_process import InProcessConverter
from asciist.adapters.converters.pool import ConverterPool
from asciist.adapters.dogstatsd import DogStatsDMetrics
from asciist.adapters.embedded import EmbeddedMetrics, EmbeddedQueue, EmbeddedReplies
from asciist.adapters.emf import EmfMetrics
from asciist.adapters.local_store import LocalStore
from asciist.adapters.object_store import ObjectStore
from asciist.conversion import ConversionOptions
from asciist.errors import (
    ArtifactNotFoundError,
    DeadlineExceededError,
    ImageRejectedError,
    ReadOnlyError,
    UnavailableError,
)
from asciist.limits import Limits
from asciist.protocol.artifacts import digest_of, image_key
from asciist.protocol.requester import Requester
from asciist.protocol.responder import Responder
from asciist.settings import Settings
from asciist.telemetry import metrics
from asciist.telemetry.metrics import CATALOGUE
from asciist.wiring import build_responder, build_web_process
from lambda_worker.handler import respond_to_batch
from operations.dashboard.dogstatsd import Receiver
from tests import flawed_converters
from tests.serving import Server
from tests.sqs_event import record
from tests.waiting import wait_until
from tools.testing.images import encoded, gradient

ROOT = Path(__file__).parents[2]


@pytest.fixture
def agent(monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    """Stand-in for a Datadog agent, at the address in Datadog's variables."""
    with Receiver() as receiver:
        monkeypatch.setenv("DD_AGENT_HOST", "127.0.0.1")
        monkeypatch.setenv("DD_DOGSTATSD_PORT", str(receiver.port))
        yield receiver


@contextlib.contextmanager
def stopping(server: Server) -> Iterator[Server]:
    try:
        yield server
    finally:
        server.stop()


def documented_metrics() -> dict[str, tuple[str, ...]]:
    """Return (type, unit, tags, meaning) by metric name from the tables in `docs/metrics.md`."""
    text = (ROOT / "docs" / "metrics.md").read_text()
    rows = re.findall(
        r"^\| `(asciist\.[a-z._]+)` \| (\w+) \| (\w+) \| (.*?) \| (.+) \|$", text, re.MULTILINE
    )
    return {
        name: (kind, unit, tags.replace("`", ""), meaning)
        for name, kind, unit, tags, meaning in rows
    }


def test_the_document_matches_the_catalogue() -> None:
    catalogue = {
        name: (m.type, m.unit, ", ".join(m.tags), m.meaning) for name, m in CATALOGUE.items()
    }

    assert documented_metrics() == catalogue


@pytest.mark.slow
def test_a_run_emits_the_catalogue_and_nothing_else(
    agent: Receiver, cat: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Most metrics come from requests over HTTP; metrics of failures between the tiers come from
    direct calls."""
    images = {kind: encoded(gradient(80, 60), kind) for kind in ("PNG", "GIF", "WEBP", "BMP")} | {
        "JPEG": cat
    }
    statuses = Counter[str]()
    server = Server(
        tmp_path,
        ASCIIST_WORKERS="1",
        ASCIIST_MAX_REQUESTS_IN_FLIGHT="1",
        ASCIIST_REQUEST_TIMEOUT="10",
    )

    def send(method: str, path: str, body: bytes | None = None, **headers: str) -> None:
        statuses[str(server.request(method, path, body, **headers)[0])] += 1

    with stopping(server):
        for image in images.values():
            send("PUT", "/?width=20", image)
        send("PUT", "/?width=20", cat)
        send("PUT", "/?width=20&style=ramp", cat)
        send(
            "POST",
            "/",
            b'{"width": 9, "image": "bm8gaW1hZ2U="}',
            **{"Content-Type": "application/json"},
        )
        send("POST", "/", b"no image at all")
        send("PUT", "/?width=0", cat)
        send("GET", "/")
        send("GET", f"/{64 * '0'}/width/7")
        send("DELETE", "/")
        assert server.request("GET", "/healthz")[0] == 200  # health checks are not counted
        (converter,) = server.converters()
        os.kill(converter, signal.SIGSTOP)
        waiting = threading.Thread(target=send, args=("PUT", "/?width=21", cat))
        waiting.start()
        wait_until(lambda: agent.values(metrics.REQUESTS_IN_FLIGHT) == 11)
        send("PUT", "/", cat)
        os.kill(converter, signal.SIGCONT)
        waiting.join()
    record_failures_between_the_tiers()
    record_a_small_store(tmp_path / "small")
    record_a_move()
    record_a_crash(tmp_path, monkeypatch)
    agent.settle()

    assert not agent.errors
    assert statuses == {"200": 9, "400": 3, "404": 1, "405": 1, "503": 1}
    for status, number in statuses.items():
        assert agent.total(metrics.REQUESTS, status=status) == number
        assert agent.values(metrics.REQUEST_DURATION, status=status) == number
    assert (
        agent.total(metrics.REQUESTS) == agent.values(metrics.REQUEST_DURATION) == statuses.total()
    )
    assert agent.total(metrics.REQUESTS_SHED) == 1
    assert agent.total(metrics.ART_SERVED, source="store") == 1
    assert agent.total(metrics.ART_SERVED, source="conversion") == 7
    assert agent.values(metrics.PAYLOAD_DECODE_DURATION) == 1
    assert agent.values(metrics.UPLOAD_DURATION) == 11
    assert agent.total(metrics.IMAGE_BYTES, format="gif") == len(images["GIF"])
    assert agent.values(metrics.IMAGE_BYTES, format="jpeg") == 4
    assert agent.total(metrics.IMAGE_PIXELS, format="png") == 80 * 60 + 8 * 6
    assert agent.total(metrics.CONVERSION_PIXELS, format="jpeg") == 3 * 451 * 300
    assert agent.values(metrics.CONVERSION_DURATION, style="ramp") == 1
    assert agent.total(metrics.CONVERSIONS_ABORTED, cause="crash") == 3
    assert agent.total(metrics.CONVERSIONS_EXPOSED, missing="seccomp") == 1
    assert agent.total(metrics.STORE_EVICTED) == 1
    assert agent.total(metrics.STORE_FAILED, operation="put") == 1
    assert {name for name, _ in agent.series()} == CATALOGUE.keys()


class FullStore(ObjectStore):
    """A store that accepts images, but no art."""

    def put(self, key: str, body: bytes) -> None:
        raise UnavailableError(f"injected failure of put {key}, {len(body)} bytes")


def record_failures_between_the_tiers() -> None:
    """Record overdue, expired and malformed messages, a missing image, unstored art and an orphaned
    reply.

    Both tiers are called directly.
    """
    recorded = DogStatsDMetrics()
    replies, queue = (
        EmbeddedReplies(recorded),
        EmbeddedQueue(visibility_seconds=30, max_receive_count=5),
    )
    store = FullStore.in_memory()
    requester = Requester(
        store=store,
        queue=queue,
        inbox=replies,
        metrics=recorded,
        limits=Limits(),
        timeout_seconds=0.05,
    )
    responder = Responder(
        store=store,
        queue=queue,
        replies=replies,
        metrics=recorded,
        converter=InProcessConverter(Limits()),
    )
    with pytest.raises(DeadlineExceededError):
        requester.convert(image := encoded(gradient(8, 6), "PNG"), ConversionOptions(width=8))
    late, *_repeats = queue.receive(max_messages=3, wait_seconds=0)
    queue.send(replace(late.request, deadline=time.time() + 60))
    queue.send("malformed")
    (orphan,) = queue.receive(max_messages=1, wait_seconds=0)
    (poison,) = queue.receive(max_messages=1, wait_seconds=0)
    assert responder.respond(late)
    assert responder.respond(orphan)
    store.delete(image_key(digest_of(image)))
    assert responder.respond(replace(orphan, receive_count=3))
    assert not responder.respond(poison)
    recorded.flush()


def record_a_crash(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Record the metrics of an image that crashes its converters, on an architecture without a
    filter of system calls."""
    flawed_converters.install(folder, monkeypatch)
    monkeypatch.setattr("platform.machine", lambda: "riscv64")
    recorded = DogStatsDMetrics()
    store, replies = ObjectStore.in_memory(), EmbeddedReplies(recorded)
    queue = EmbeddedQueue(visibility_seconds=30, max_receive_count=5)
    converter = ConverterPool(Settings(), is_forked=True)
    wait_until(converter.is_ready)
    responder = Responder(
        store=store,
        queue=queue,
        replies=replies,
        metrics=recorded,
        converter=converter,
    )
    requester = Requester(
        store=store,
        queue=queue,
        inbox=replies,
        metrics=EmbeddedMetrics(),
        limits=Limits(),
        timeout_seconds=30,
    )
    responder.start(1)
    with pytest.raises(ImageRejectedError):
        requester.convert(flawed_converters.KILLER, ConversionOptions(width=8))
    responder.stop(30)


def record_a_move() -> None:
    """Record the metrics of a deployment in read-only mode that looks for art in an empty peer
    store."""
    recorded = DogStatsDMetrics()
    requester = Requester(
        store=ObjectStore.in_memory(),
        queue=EmbeddedQueue(visibility_seconds=30, max_receive_count=5),
        inbox=EmbeddedReplies(recorded),
        metrics=recorded,
        limits=Limits(),
        timeout_seconds=30,
        peer=ObjectStore.in_memory(),
        is_read_only=lambda: True,
    )
    with pytest.raises(ArtifactNotFoundError):
        requester.stored_art("0" * 64, ConversionOptions(width=8))
    with pytest.raises(ReadOnlyError):
        requester.delete("0" * 64)
    recorded.flush()


def record_a_small_store(directory: Path) -> None:
    """Record the metrics of a store that evicts an object, and that cannot store another."""
    recorded = DogStatsDMetrics()
    store = LocalStore(directory, max_bytes=16_000_000, max_age_seconds=60, metrics=recorded)
    store.put("a", os.urandom(9_000_000))
    store.put("b", os.urandom(9_000_000))
    store.put("c", os.urandom(20_000_000))
    store.close()
    recorded.flush()


@pytest.mark.slow
def test_every_response_is_counted_once_when_the_server_stops_under_load(
    agent: Receiver, tmp_path: Path
) -> None:
    """Stop the server once clients have read 150 responses. Its metrics must count every response
    that a client read."""
    clients, responses_before_stop = 8, 150
    image = encoded(gradient(300, 200), "PNG")
    responses = Counter[str]()
    lock = threading.Lock()
    is_loaded = threading.Event()

    def send_until_refused(client: int) -> None:
        for request in range(client, 1000, clients):
            try:
                status, _ = server.request("PUT", f"/?width={1 + request % 60}", image)
            except (OSError, http.client.HTTPException):
                return
            with lock:
                responses[str(status)] += 1
                if responses.total() >= responses_before_stop:
                    is_loaded.set()

    with stopping(Server(tmp_path)) as server, ThreadPoolExecutor(clients) as pool:
        loads = [pool.submit(send_until_refused, client) for client in range(clients)]
        assert is_loaded.wait(60)
        server.process.send_signal(signal.SIGTERM)
        for load in loads:
            load.result()
        assert server.process.wait(120) == 0
    agent.settle()

    assert not agent.errors
    assert responses.total() > 100
    assert {
        status: agent.total(metrics.REQUESTS, status=status) for status in responses
    } == responses
    assert (
        agent.total(metrics.REQUESTS) == agent.values(metrics.REQUEST_DURATION) == responses.total()
    )
    assert (
        agent.total(metrics.ART_SERVED) == agent.values(metrics.IMAGE_PIXELS) == responses.total()
    )


@pytest.mark.parametrize(
    "address", ["udp://127.0.0.1:9", "udp://no-such-host.invalid:8125", "unix:///no/such/socket"]
)
def test_a_missing_agent_causes_no_error_and_no_delay(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DD_DOGSTATSD_URL", address)
    recorded = DogStatsDMetrics()

    for _ in range(1000):  # several packets
        recorded.count(metrics.REQUESTS, status="200")
        recorded.distribution(metrics.REQUEST_DURATION, 1.5, status="200")
    recorded.flush()


def test_datadog_variables_become_tags(agent: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DD_ENV", "prod")
    monkeypatch.setenv("DD_SERVICE", "asciist")
    recorded = DogStatsDMetrics()
    recorded.count(metrics.REQUESTS, status="200")
    recorded.flush()
    agent.settle()

    assert agent.total(metrics.REQUESTS, status="200", env="prod", service="asciist") == 1


class EmfUnderTest:
    """EmfMetrics with access to the lines it writes, parsed."""

    def __init__(self) -> None:
        self.stream = io.StringIO()
        self.metrics = EmfMetrics(
            namespace="asciist-test", flush_interval_seconds=None, stream=self.stream
        )

    def lines(self) -> list[dict[str, Any]]:
        self.metrics.flush()
        return [json.loads(line) for line in self.stream.getvalue().splitlines()]


class TestEmbeddedMetricFormat:
    """The format at
    https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html"""

    @pytest.fixture
    def emf(self) -> EmfUnderTest:
        return EmfUnderTest()

    def test_a_metric_can_be_read_in_total_and_by_its_tags(self, emf: EmfUnderTest) -> None:
        emf.metrics.count(metrics.REQUESTS, status="200")
        emf.metrics.count(metrics.REQUESTS, status="200")
        emf.metrics.distribution(metrics.REQUEST_DURATION, 1.23456, status="200")
        emf.metrics.distribution(metrics.REQUEST_DURATION, 7, status="200")
        (line,) = emf.lines()

        assert line["_aws"]["CloudWatchMetrics"] == [
            {
                "Namespace": "asciist-test",
                "Dimensions": [[], ["status"]],
                "Metrics": [
                    {"Name": "asciist.requests", "Unit": "Count"},
                    {"Name": "asciist.request.duration", "Unit": "Milliseconds"},
                ],
            }
        ]
        assert abs(line["_aws"]["Timestamp"] / 1000 - time.time()) < 60
        assert line["status"] == "200"
        assert line["asciist.requests"] == [2]
        assert line["asciist.request.duration"] == [1.235, 7]

    def test_each_combination_of_tag_values_has_its_own_line(self, emf: EmfUnderTest) -> None:
        for status in ("200", "400", "200"):
            emf.metrics.count(metrics.REQUESTS, status=status)
        emf.metrics.count(metrics.REQUESTS_SHED)

        assert [
            (line.get("status"), line["_aws"]["CloudWatchMetrics"][0]["Dimensions"])
            for line in emf.lines()
        ] == [
            ("200", [[], ["status"]]),
            ("400", [[], ["status"]]),
            (None, [[]]),
        ]

    def test_no_line_exceeds_the_maximum_values_of_a_metric(self, emf: EmfUnderTest) -> None:
        for value in range(250):
            emf.metrics.distribution(metrics.REPLY_WAIT, value)
            emf.metrics.count(metrics.REQUESTS_SHED)
        lines = emf.lines()

        assert [len(line["asciist.reply.wait.duration"]) for line in lines] == [100, 100, 50]
        assert [value for line in lines for value in line["asciist.reply.wait.duration"]] == list(
            range(250)
        )
        assert sum(sum(line.get("asciist.requests.shed", [])) for line in lines) == 250

    def test_values_are_written_once(self, emf: EmfUnderTest) -> None:
        emf.metrics.count(metrics.REQUESTS_SHED)

        assert len(emf.lines()) == len(emf.lines()) == 1

    def test_buffered_values_are_written_periodically(self) -> None:
        stream = io.StringIO()
        recorded = EmfMetrics(namespace="asciist-test", flush_interval_seconds=0.01, stream=stream)
        recorded.count(metrics.REQUESTS_SHED)

        wait_until(lambda: '"asciist.requests.shed":[1]' in stream.getvalue())

    def test_a_function_writes_its_values_before_it_is_frozen(
        self, capsys: pytest.CaptureFixture[str], tmp_path: Path
    ) -> None:
        settings = Settings(data_dir=tmp_path, metrics="emf", metrics_namespace="asciist-test")
        worker = build_responder(settings, is_frozen_between_messages=True)
        respond_to_batch({"Records": [record("a", "malformed")]}, worker)

        (line,) = [
            json.loads(line) for line in capsys.readouterr().out.splitlines() if "_aws" in line
        ]
        assert line["asciist.messages.faulted"] == [1]


def test_both_vendors_receive_the_same_metrics(
    agent: Receiver, capsys: pytest.CaptureFixture[str], tmp_path: Path, cat: bytes
) -> None:
    process = build_web_process(Settings(data_dir=tmp_path, metrics="dogstatsd+emf"))
    process.requester.convert(cat, ConversionOptions(width=9))
    process.close()
    agent.settle()

    emitted = {
        name
        for line in capsys.readouterr().out.splitlines()
        for name in json.loads(line)
        if name in CATALOGUE
    }
    assert emitted == {name for name, _ in agent.series()} != set()
