"""Stands in for the part of Datadog's API that the handler calls: objects in memory, and errors on demand."""

import json
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Final, Self

KEYS: Final = ("0123456789abcdef0123456789abcdef", "0123456789abcdef0123456789abcdef01234567")
"""API key and application key."""

Call = tuple[str, str]
"""Method and path."""


@dataclass
class Account:
    """Objects of an account, and the calls it received."""

    objects: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Definitions by path, such as /api/v1/monitor/17."""
    known_metrics: set[str] = field(default_factory=set)
    """Names of metrics that have had a value."""
    calls: list[Call] = field(default_factory=list)
    faults: list[int] = field(default_factory=list)
    """Error statuses with which the next calls are answered."""
    refuses: str = ""
    """Text that makes a definition invalid; empty to accept all."""

    def answer(self, method: str, path: str, keys: tuple[str | None, str | None], body: Any) -> tuple[int, Any]:
        self.calls.append((method, path))
        path = path.partition("?")[0]
        if keys != KEYS:
            return 403, {"errors": ["Forbidden"]}
        if self.faults:
            return self.faults.pop(0), {"errors": ["not now"]}
        if self.refuses and self.refuses in json.dumps(body):
            return 400, {"errors": ["invalid message"]}
        if path == "/api/v1/distribution_points":
            self.known_metrics |= {series["metric"] for series in body["series"]}
            return 202, {"status": "ok"}
        if path.startswith("/api/v2/metrics/"):
            return self._metric(method, path, body)
        return self._object(method, path, body)

    def _object(self, method: str, path: str, body: Any) -> tuple[int, Any]:
        if method == "POST":
            kind = path.rpartition("/")[2]
            identity: object = {"monitor": 1000 + len(self.calls)}.get(kind, f"{kind}-{len(self.calls)}")
            self.objects[f"{path}/{identity}"] = body
            created = {"id": identity, **body}
            return 200, {"data": [created], "error": None} if kind == "slo" else created
        if path not in self.objects:
            return 404, {"errors": ["not found"]}
        if method == "DELETE":
            del self.objects[path]
            return 200, {}
        self.objects[path] = body
        return 200, body

    def _metric(self, method: str, path: str, body: Any) -> tuple[int, Any]:
        name = path.split("/")[4]
        if name not in self.known_metrics:
            return 400, {"errors": ["Cannot configure tags on a metric that does not exist."]}
        if method == "POST" and path in self.objects:
            return 409, {"errors": ["conflicts with existing tag configuration, use PATCH to update"]}
        if method == "PATCH" and "metric_type" in body["data"]["attributes"]:
            return 400, {"errors": ["metric_type cannot be changed"]}
        if method == "POST":
            self.objects[path] = body
            return 201, body
        return self._object(method, path, body)


class DatadogServer:
    """Serves an account on a local port while the context is open."""

    def __init__(self) -> None:
        self.account = account = Account()
        lock = threading.Lock()

        class Handler(BaseHTTPRequestHandler):
            def answer(self) -> None:
                text = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                keys = (self.headers.get("DD-API-KEY"), self.headers.get("DD-APPLICATION-KEY"))
                with lock:
                    status, body = account.answer(self.command, self.path, keys, json.loads(text) if text else None)
                answer = json.dumps(body).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = answer  # noqa: N815

            def log_message(self, *arguments: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self._server.shutdown()
        self._server.server_close()
