"""Stands in for the part of Datadog's API that the handler calls: objects in memory, and errors on
demand."""

import json
import threading
from dataclasses import dataclass, field
from typing import Any, Final, Self

from tests.local_http import Handler, served

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
    """Names of metrics that have received a value."""
    calls: list[Call] = field(default_factory=list)
    faults: list[int] = field(default_factory=list)
    """Error statuses of the next calls."""
    refuses: str = ""
    """Text that makes a definition invalid; empty to accept all."""

    def answer(
        self, method: str, path: str, keys: tuple[str | None, str | None], body: Any
    ) -> tuple[int, Any]:
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
            identity: object = {"monitor": 1000 + len(self.calls)}.get(
                kind, f"{kind}-{len(self.calls)}"
            )
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
            return 409, {
                "errors": ["conflicts with existing tag configuration, use PATCH to update"]
            }
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

        class Api(Handler):
            def answer(self) -> None:
                text = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                keys = (self.headers.get("DD-API-KEY"), self.headers.get("DD-APPLICATION-KEY"))
                with lock:
                    status, body = account.answer(
                        self.command, self.path, keys, json.loads(text) if text else None
                    )
                self.respond(status, json.dumps(body).encode())

        self._serving = served(Api)

    def __enter__(self) -> Self:
        self.address = f"http://127.0.0.1:{self._serving.__enter__()}"
        return self

    def __exit__(self, *_: object) -> None:
        self._serving.__exit__(None, None, None)
