"""A local AWS Lambda Runtime API: the four calls of a runtime client, as the Lambda developer guide
documents them.

    GET  /2018-06-01/runtime/invocation/next                 waits for the next event
    POST /2018-06-01/runtime/invocation/{request id}/response
    POST /2018-06-01/runtime/invocation/{request id}/error
    POST /2018-06-01/runtime/init/error                      the function could not be loaded

It serves one client, one event at a time, as Lambda does for each execution environment.
"""

import json
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from queue import Empty, SimpleQueue
from typing import Any

_VERSION = "2018-06-01"
_ARN = "arn:aws:lambda:us-east-1:123456789012:function:asciist"
_TRACE_ID = "Root=1-5bef4de7-ad49b0e87f6ef6c87fc2e700;Parent=9a9197af755a6419;Sampled=0"


class FunctionError(Exception):
    """The function failed to load or to handle an event. The message is its error type and
    message."""


class RuntimeApi:
    """The events and outcomes of one function. Created by `serving`."""

    def __init__(self, *, timeout_seconds: float) -> None:
        self.address = ""
        self._timeout_seconds = timeout_seconds
        self._events: SimpleQueue[tuple[str, bytes]] = SimpleQueue()
        self._outcomes: SimpleQueue[tuple[str, str, Any]] = SimpleQueue()

    def invoke(self, event: object) -> Any:
        """Invoke the function with `event` and return its result. Raises FunctionError,
        TimeoutError."""
        request_id = str(uuid.uuid4())
        self._events.put((request_id, json.dumps(event).encode()))
        return self._outcome(request_id)

    def initialization_error(self) -> str:
        """Wait for the function to report an initialization error, and return it. Raises
        TimeoutError."""
        try:
            return str(self._outcome("init"))
        except FunctionError as error:
            return str(error)

    def _outcome(self, expected: str) -> Any:
        try:
            request_id, kind, body = self._outcomes.get(timeout=self._timeout_seconds)
        except Empty:
            raise TimeoutError(f"no outcome of {expected}") from None
        if kind == "error":
            raise FunctionError(f"{body['errorType']}: {body['errorMessage']}")
        assert request_id == expected
        return body

    def next_event(self) -> tuple[dict[str, str], bytes]:
        """Wait for the next invocation and return its headers and body."""
        request_id, event = self._events.get()
        headers = {
            "Lambda-Runtime-Aws-Request-Id": request_id,
            "Lambda-Runtime-Deadline-Ms": str(int(1000 * (time.time() + self._timeout_seconds))),
            "Lambda-Runtime-Invoked-Function-Arn": _ARN,
            "Lambda-Runtime-Trace-Id": _TRACE_ID,
            "Content-Type": "application/json",
        }
        return headers, event

    def report(self, path: list[str], body: Any) -> bool:
        """Record an outcome from the client. Return True if `path` is one of the three calls that
        report outcomes."""
        match path:
            case ["runtime", "invocation", request_id, "response" | "error" as kind]:
                self._outcomes.put((request_id, kind, body))
            case ["runtime", "init", "error"]:
                self._outcomes.put(("init", "error", body))
            case _:
                return False
        return True


@contextmanager
def serving(*, timeout_seconds: float = 20) -> Iterator[RuntimeApi]:
    """Serve a Runtime API on a free port. Its `address` is the value for AWS_LAMBDA_RUNTIME_API."""
    api = RuntimeApi(timeout_seconds=timeout_seconds)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            if self.path != f"/{_VERSION}/runtime/invocation/next":
                self._answer(404)
                return
            headers, event = api.next_event()
            self._answer(200, headers, event)

        def do_POST(self) -> None:
            version, *path = self.path.strip("/").split("/")
            body = json.loads(self._body())
            self._answer(202 if version == _VERSION and api.report(path, body) else 404)

        def _body(self) -> bytes:
            if "Content-Length" in self.headers:
                return self.rfile.read(int(self.headers["Content-Length"]))
            body = b""
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return body

        def _answer(
            self, status: int, headers: dict[str, str] | None = None, body: bytes = b"{}"
        ) -> None:
            self.send_response(status)
            for name, value in (headers or {}).items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        block_on_close = False  # a client waits for its next event without a limit

    with Server(("127.0.0.1", 0), Handler) as server:
        api.address = f"127.0.0.1:{server.server_port}"
        threading.Thread(
            target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True
        ).start()
        yield api
        server.shutdown()
