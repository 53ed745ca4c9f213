"""Structured logs: every line is JSON, a request id links both tiers, and nothing private is
logged."""

import ast
import io
import json
import logging
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from asciist.conversion import ConversionOptions
from asciist.errors import UnavailableError
from asciist.protocol.artifacts import digest_of
from asciist.protocol.messages import ConversionRequest, Trace
from asciist.telemetry import logs
from tests.serving import Server
from tests.sqs_event import record

TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture
def lines() -> Iterator[io.StringIO]:
    """Return the stream of the lines logged during a test."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    stream = io.StringIO()
    logs.configure(stream)
    yield stream
    root.handlers[:] = handlers
    root.setLevel(level)


def parsed(text: str) -> list[dict[str, Any]]:
    assert all(line.startswith("{") for line in text.splitlines()), text
    return [json.loads(line) for line in text.splitlines()]


@pytest.mark.slow
def test_each_request_is_logged_once_with_its_id(tmp_path: Path, cat: bytes) -> None:
    server = Server(tmp_path)
    try:
        headers = {
            "X-Request-Id": "Root=1-67891233",
            "traceparent": TRACEPARENT,
            "User-Agent": "a browser",
        }
        assert server.request("PUT", "/my-name.jpg?width=20", cat, **headers)[0] == 200
        assert server.request("PUT", "/?width=20", cat, **headers)[0] == 200
        assert server.request("POST", "/", b"no image", **headers)[0] == 400
        assert server.request("GET", "/healthz")[0] == 200
    finally:
        server.stop()

    all_lines = parsed(server.log.decode())
    assert all({"timestamp", "level", "logger", "message"} <= line.keys() for line in all_lines)
    requests = [line for line in all_lines if line.get("request_id")]
    assert {line["request_id"] for line in requests} == {"Root=1-67891233"}
    assert all(line["trace"] == {"traceparent": TRACEPARENT} for line in requests)
    fresh, stored, bad = sorted(requests, key=lambda line: line["timestamp"])
    assert fresh["image"] == stored["image"]
    assert digest_of(cat).encode() not in server.log
    assert (fresh["message"], fresh["method"], fresh["route"]) == ("request", "PUT", "/<name:name>")
    assert (fresh["status"], fresh["source"], stored["source"]) == (200, "conversion", "store")
    assert fresh.keys() >= {
        "duration_ms",
        "upload_ms",
        "image",
        "format",
        "bytes",
        "pixels",
        "style",
        "width",
    }
    assert (bad["status"], bad["error"]) == (
        400,
        "unknown image format: send JPEG, PNG, GIF, WebP, AVIF, TIFF or BMP",
    )
    for private in (b"my-name", b"127.0.0.1:5", b"a browser"):
        assert private not in server.log


@pytest.mark.parametrize("given", ["", "x" * 129, "a b", 'a"b', "\x7f", "café"])
def test_an_unsafe_request_id_is_replaced(client: FlaskClient, given: str) -> None:
    answer = client.get("/", headers={"X-Request-Id": given.encode("latin-1").decode("latin-1")})

    assert re.fullmatch("[0-9a-f]{32}", answer.headers["X-Request-Id"])


@pytest.mark.parametrize("path", ["/", "/healthz", "/nowhere", f"/{64 * '0'}/width/9"])
def test_every_answer_returns_the_request_id_that_was_sent(client: FlaskClient, path: str) -> None:
    assert client.get(path, headers={"X-Request-Id": "abc-1"}).headers["X-Request-Id"] == "abc-1"


def test_each_request_without_an_id_gets_a_new_one(client: FlaskClient) -> None:
    assert client.get("/").headers["X-Request-Id"] != client.get("/").headers["X-Request-Id"]


def test_tracing_headers_are_logged_and_others_are_not(
    client: FlaskClient, lines: io.StringIO
) -> None:
    tracing = {
        "traceparent": TRACEPARENT,
        "x-amzn-trace-id": "Root=1-5759e988",
        "x-datadog-trace-id": "123",
    }
    client.get(
        "/",
        headers={**tracing, "b3": "x" * 513, "Cookie": "secret", "X-Forwarded-For": "203.0.113.9"},
    )

    (line,) = parsed(lines.getvalue())
    assert line["trace"] == tracing
    assert "203.0.113.9" not in lines.getvalue()
    assert "secret" not in lines.getvalue()


def test_the_function_logs_the_request_id_in_its_message(tmp_path: Path) -> None:
    """Runs the function in a new process, like Lambda."""
    program = (
        "import json, sys; from lambda_worker.handler import handler; handler(json.load(sys.stdin),"
        " None)"
    )
    request = ConversionRequest(
        correlation_id="a",
        digest="0" * 64,
        options=ConversionOptions(width=9),
        deadline=1.5,
        reply_to="embedded:x",
        published_at=1.0,
        trace=Trace(request_id="abc-1", headers={"traceparent": TRACEPARENT}),
    )
    child = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        input=json.dumps({"Records": [record("a", request.to_json())]}),
        capture_output=True,
        text=True,
        check=True,
        env={"ASCIIST_DATA_DIR": str(tmp_path), "ASCIIST_METRICS": "emf"},
    )
    line, *metrics = parsed(child.stdout)

    assert (line["message"], line["request_id"], line["trace"]) == (
        "message expired",
        "abc-1",
        {"traceparent": TRACEPARENT},
    )
    assert [value for line in metrics for value in line.get("asciist.messages.expired", [])] == [1]


def test_an_exception_is_one_line_with_its_traceback(lines: io.StringIO) -> None:
    with logs.scope():
        logs.add(request_id="abc-1")
        try:
            raise ValueError("first\nsecond")
        except ValueError:
            logging.getLogger("asciist").exception("message processing failed")
    logging.getLogger("asciist").info("outside")

    failed, outside = parsed(lines.getvalue())
    assert failed["request_id"] == "abc-1"
    assert "ValueError: first\nsecond" in failed["exc_info"]
    assert "request_id" not in outside


def test_an_error_of_the_store_does_not_name_the_image(lines: io.StringIO, cat: bytes) -> None:
    key = f"{digest_of(cat)}/width/80"
    try:
        raise UnavailableError(f"get {key}: Forbidden: https://bucket.example.org/{key}")
    except UnavailableError:
        logging.getLogger("test").exception("reading %s failed", key)

    (line,) = map(json.loads, lines.getvalue().splitlines())
    assert line["message"] == "reading {sha256}/width/80 failed"
    assert (
        "get {sha256}/width/80: Forbidden: https://bucket.example.org/{sha256}/width/80"
        in line["exc_info"]
    )
    assert digest_of(cat) not in lines.getvalue()


def test_every_field_that_is_logged_is_in_the_catalogue_and_the_reverse() -> None:
    root = Path(__file__).parents[2]
    logged = set()
    for file in (
        file
        for folder in ("asciist", "service", "lambda_worker")
        for file in (root / folder).rglob("*.py")
    ):
        for call in (
            node for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.Call)
        ):
            if ast.unparse(call.func) == "logs.add":
                logged |= {keyword.arg for keyword in call.keywords}
            for keyword in call.keywords:
                if keyword.arg == "extra":
                    logged |= {ast.literal_eval(key) for key in keyword.value.keys}  # type: ignore[attr-defined]

    assert logged == set(logs.FIELDS)
