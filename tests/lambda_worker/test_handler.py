"""The Lambda function processes an SQS event and returns the ids of the records that failed."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from asciist.adapters.converters.pool import ConverterPool
from asciist.adapters.embedded import EmbeddedMetrics, EmbeddedQueue, EmbeddedReplies
from asciist.adapters.local_store import LocalStore
from asciist.adapters.object_store import ObjectStore
from asciist.conversion import ConversionOptions
from asciist.errors import sentences
from asciist.limits import Limits
from asciist.protocol.artifacts import StoredArt, art_key, digest_of, image_key
from asciist.protocol.messages import ConversionReply, ConversionRequest
from asciist.protocol.responder import Responder
from asciist.settings import Settings
from asciist.telemetry import metrics
from lambda_worker.handler import respond_to_batch
from tests import flawed_converters
from tests.sqs_event import record
from tools.testing.drawing import convert

OPTIONS = ConversionOptions(width=20)


class Function:
    """Lambda function with a store in memory, and the reply inbox of a web process."""

    def __init__(self, cat: bytes) -> None:
        self.store = ObjectStore.in_memory()
        self.metrics = EmbeddedMetrics()
        self.replies = EmbeddedReplies(self.metrics)
        self.responder = Responder(
            store=self.store,
            queue=EmbeddedQueue(visibility_seconds=60, max_receive_count=5),
            replies=self.replies,
            metrics=self.metrics,
            converter=ConverterPool(Settings(), is_forked=True),
        )
        self.digest = self.put(cat)

    def put(self, image: bytes) -> str:
        """Store an image and return its digest."""
        self.store.create(image_key(digest_of(image)), image)
        return digest_of(image)

    def request(self, correlation_id: str, **changes: Any) -> str:
        fields = {
            "correlation_id": correlation_id,
            "digest": self.digest,
            "options": OPTIONS,
            "deadline": time.time() + 600,
            "reply_to": self.replies.address,
        }
        return ConversionRequest(**(fields | changes)).to_json()

    def invoke(self, *bodies: str, receive_count: int = 1, age_seconds: float = 0.002) -> list[str]:
        """Invoke the function with one record per body; return the ids of the failed records,
        counted from 0."""
        records = [
            record(str(number), body, receive_count, age_seconds)
            for number, body in enumerate(bodies)
        ]
        event = {"Records": records}
        response = respond_to_batch(event, self.responder)
        json.dumps(response)  # the response must be serializable
        return [failure["itemIdentifier"] for failure in response["batchItemFailures"]]


@pytest.fixture
def function(cat: bytes) -> Iterator[Function]:
    function = Function(cat)
    yield function
    function.responder.stop(0)


def test_a_request_is_converted_stored_and_replied_to(function: Function, cat: bytes) -> None:
    with function.replies.expect("a") as pending:
        assert function.invoke(function.request("a")) == []
        expected = convert(cat, OPTIONS, Limits())
        assert pending.wait(0) == ConversionReply(correlation_id="a", art=expected)
    assert StoredArt.from_json(function.store.get(art_key(function.digest, OPTIONS))) == StoredArt(
        expected
    )


def test_a_bad_record_does_not_fail_the_others(function: Function) -> None:
    bodies = [
        function.request("good"),
        "{poison",
        function.request("no image", digest="f" * 64),
        function.request("expired", deadline=time.time() - 1),
        function.request("stopped web process", reply_to="embedded:gone"),
        function.request("good too", options=ConversionOptions(width=30)),
    ]
    with function.replies.expect("good") as first, function.replies.expect("good too") as last:
        assert function.invoke(*bodies) == ["1", "2"]
        assert first.wait(0)
        assert last.wait(0)


def test_an_image_that_crashes_the_decoder_is_rejected_and_fails_no_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cat: bytes
) -> None:
    flawed_converters.install(tmp_path, monkeypatch)
    function = Function(cat)
    fatal = function.put(flawed_converters.KILLER)
    with function.replies.expect("fatal") as rejected, function.replies.expect("good") as converted:
        assert (
            function.invoke(function.request("fatal", digest=fatal), function.request("good")) == []
        )
        assert rejected.wait(0) == ConversionReply(
            correlation_id="fatal", rejection=sentences.DECODER_CRASHED
        )
        assert converted.wait(0) == ConversionReply(
            correlation_id="good", art=convert(cat, OPTIONS, Limits())
        )
    assert function.metrics.total(metrics.CONVERSIONS_ABORTED, cause="crash") == 3
    assert function.metrics.total(metrics.MESSAGES_FAULTED) == 0
    function.responder.stop(0)


def test_every_record_of_a_batch_of_ten_is_converted(function: Function) -> None:
    bodies = [
        function.request(str(width), options=ConversionOptions(width=width))
        for width in range(10, 20)
    ]

    assert function.invoke(*bodies) == []
    assert all(
        function.store.get(art_key(function.digest, ConversionOptions(width=width)))
        for width in range(10, 20)
    )


@pytest.mark.parametrize("skew", [-300, 300])
def test_a_web_process_whose_clock_is_five_minutes_off_gets_an_answer(
    function: Function, skew: float
) -> None:
    published_at = time.time() - skew
    with function.replies.expect("a") as pending:
        assert (
            function.invoke(
                function.request("a", published_at=published_at, deadline=published_at + 10)
            )
            == []
        )
        assert pending.wait(0)
    assert function.metrics.total(metrics.MESSAGES_EXPIRED) == 0


@pytest.mark.parametrize(("age", "expired"), [(5.0, 0), (10.5, 1)])
def test_a_message_is_redelivered_until_its_deadline(
    function: Function, age: float, expired: int
) -> None:
    published_at = time.time() - age
    body = function.request("a", published_at=published_at, deadline=published_at + 10)

    assert function.invoke(body, receive_count=2, age_seconds=age) == []
    assert function.metrics.total(metrics.MESSAGES_EXPIRED) == expired


def test_the_entry_point_reads_its_settings_from_the_environment(tmp_path: Path) -> None:
    """Imports and calls the function in a new process, like Lambda."""
    program = """
import json, sys
from lambda_worker.handler import handler
print(json.dumps(handler(json.load(sys.stdin), None)))
"""
    event = json.dumps({"Records": [record("a", "{poison")]})
    child = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        input=event,
        capture_output=True,
        text=True,
        check=True,
        env={"ASCIIST_DATA_DIR": str(tmp_path), "AWS_LAMBDA_RUNTIME_API": "127.0.0.1:9001"},
    )
    *lines, response = map(json.loads, child.stdout.splitlines())
    assert response == {"batchItemFailures": [{"itemIdentifier": "a"}]}
    assert [line["message"] for line in lines] == [
        "message processing failed",
        "message a will be redelivered",
    ]


def test_a_crash_does_not_end_the_function(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cat: bytes
) -> None:
    """Lambda would restart the function, and count a failed invocation."""
    flawed_converters.install(tmp_path, monkeypatch)
    store = LocalStore(
        tmp_path / "store", max_bytes=100_000_000, max_age_seconds=60, metrics=EmbeddedMetrics()
    )
    events = []
    for image in (flawed_converters.KILLER, cat):
        store.put(image_key(digest_of(image)), image)
        request = ConversionRequest(
            correlation_id="a",
            digest=digest_of(image),
            options=OPTIONS,
            deadline=time.time() + 60,
            # a web process that has stopped; the art is stored all the same
            reply_to="embedded:elsewhere",
        )
        events.append({"Records": [record("a", request.to_json())]})
    program = """
import json, sys
from lambda_worker.handler import handler
print(json.dumps([handler(event, None) for event in json.load(sys.stdin)]))
"""
    child = subprocess.run(
        [sys.executable, "-c", program],
        input=json.dumps(events),
        capture_output=True,
        text=True,
        check=True,
        env={
            **os.environ,
            "ASCIIST_DATA_DIR": str(tmp_path / "store"),
            "AWS_LAMBDA_RUNTIME_API": "127.0.0.1:9001",
        },
    )
    *lines, responses = map(json.loads, child.stdout.splitlines())
    assert responses == [{"batchItemFailures": []}] * 2
    outcomes = [line["message"] for line in lines if line["logger"].endswith("responder")]
    assert outcomes == ["image rejected", "image converted"]
    art = StoredArt.from_json(store.get(art_key(digest_of(cat), OPTIONS)))
    store.close()
    assert art == StoredArt(convert(cat, OPTIONS, Limits()))


def test_a_cold_start_imports_no_web_tier_and_no_unneeded_library() -> None:
    program = "import sys, lambda_worker.handler; print(*sys.modules)"
    modules = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    ).stdout.split()

    unneeded = {
        "flask",
        "werkzeug",
        "gunicorn",
        "numpy",
        "boto3",
        "azure",
        "requests",
        "click",
        "datadog",
        "service",
        "unittest",
    }
    assert not unneeded & set(modules)
