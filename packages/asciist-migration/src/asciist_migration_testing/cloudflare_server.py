"""A strict stand-in for the part of Cloudflare's API used by a shift. It can be made to misbehave.

It accepts only the types of Cloudflare's own client, and fields that it has itself returned.
"""

import json
import threading
import time
from collections.abc import Callable
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from cloudflare.types.load_balancers.header_param import HeaderParam
from cloudflare.types.load_balancers.origin_param import OriginParam
from cloudflare.types.load_balancers.pool_edit_params import PoolEditParams
from pydantic import ConfigDict, TypeAdapter, ValidationError

from asciist_migration.shift.cloudflare import CloudflareCdn

ACCOUNT, ZONE, BALANCER, POOL = "a" * 32, "b" * 32, "c" * 32, "d" * 32
TOKEN = "t" * 40
UNKNOWN_FIELD = "future_field"
"""A field unknown to the client's types. The API returns it, and keeps it only if it is sent
back."""

for _type in (PoolEditParams, OriginParam, HeaderParam):
    # Read by pydantic. Noqa: a typed dictionary does not declare it.
    setattr(_type, "__pydantic_config__", ConfigDict(extra="forbid"))  # noqa: B010
_PATCH: TypeAdapter[Any] = TypeAdapter(PoolEditParams)


class CloudflareServer:
    """One load balancer with one pool."""

    def __init__(self) -> None:
        self.balancer: dict[str, Any] = {
            "id": BALANCER,
            "name": "art.example.org",
            "session_affinity": "none",
            "rules": [],
        }
        self.pool: dict[str, Any] = {
            "id": POOL,
            "name": "art",
            "enabled": True,
            "origins": [
                {
                    "name": name,
                    "address": address,
                    "enabled": True,
                    "weight": weight,
                    "header": {"Host": ["art.example.org"]},
                }
                | {UNKNOWN_FIELD: {"of": name}}
                for name, address, weight in (
                    ("aws", "192.0.2.1", 1.0),
                    ("azure", "192.0.2.2", 0.0),
                )
            ],
        }
        self.requests: list[tuple[str, dict[str, Any]]] = []
        """Method and body of each request, including failed ones."""
        self.fail = 0
        """Number of next requests answered with a 500."""
        self.delay_seconds = 0.0
        self.alter: Callable[[list[dict[str, Any]]], list[dict[str, Any]]] | None = None
        """Returns the origins stored by an acknowledged write."""
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._thread = threading.Thread(
            target=self._http.serve_forever, kwargs={"poll_interval": 0.02}
        )
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._http.server_port}/client/v4"

    @property
    def patches(self) -> list[dict[str, Any]]:
        return [body for method, body in self.requests if method == "PATCH"]

    def origin(self, name: str) -> dict[str, Any]:
        return next(origin for origin in self.pool["origins"] if origin["name"] == name)

    def stop(self) -> None:
        self._http.shutdown()
        self._thread.join()
        self._http.server_close()

    def answer(self, method: str, path: str, body: dict[str, Any]) -> tuple[int, Any]:
        """Return a status, and the result or an error message."""
        self.requests.append((method, body))
        time.sleep(self.delay_seconds)
        if self.fail:
            self.fail -= 1
            return 500, "internal error"
        match method, path.removeprefix("/client/v4"):
            case "GET", path if path == f"/zones/{ZONE}/load_balancers/{BALANCER}":
                return 200, self.balancer
            case "GET", path if path == f"/accounts/{ACCOUNT}/load_balancers/pools/{POOL}":
                return 200, self.pool
            case "PATCH", path if path == f"/accounts/{ACCOUNT}/load_balancers/pools/{POOL}":
                return self._edit(body)
        return 404, "not found"

    def _edit(self, body: dict[str, Any]) -> tuple[int, Any]:
        origins = body.get("origins", [])
        known = [_in_terms_of_the_types(origin) for origin in origins]
        try:
            valid = _PATCH.validate_json(
                json.dumps({**body, "origins": known, "account_id": ACCOUNT})
            )
            list(valid["origins"])  # an Iterable, which pydantic validates only as it is read
        except ValidationError as error:
            return 400, str(error)
        for origin in origins:
            weight = origin.get("weight", 1)
            if not 0 <= weight <= 1 or Decimal(str(weight)) % Decimal("0.01"):
                return 400, f"weight {weight} is not from 0 to 1 in steps of 0.01"
        applied = self.alter(origins) if self.alter else origins
        self.pool = {
            **self.pool,
            **body,
            "origins": sorted(applied, key=lambda origin: str(origin["name"])),
        }
        return 200, {**self.pool, "origins": origins}

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        server = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_: object) -> None:
                pass

            def do_GET(self) -> None:
                self._answer({})

            def do_PATCH(self) -> None:
                self._answer(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

            def _answer(self, body: dict[str, Any]) -> None:
                if self.headers["Authorization"] != f"Bearer {TOKEN}":
                    status, result = 401, "no token"
                else:
                    status, result = server.answer(self.command, self.path, body)
                failed = status >= 400
                envelope = {
                    "success": not failed,
                    "errors": [{"code": 10000, "message": result}] if failed else [],
                    "messages": [],
                    "result": None if failed else result,
                }
                content = json.dumps(envelope).encode()
                try:
                    self.send_response(status)
                    self.send_header("Content-Type", "application/json")
                    self.send_header("Content-Length", str(len(content)))
                    self.end_headers()
                    self.wfile.write(content)
                except (BrokenPipeError, ConnectionResetError):  # the client gave up
                    pass

        return Handler


def _in_terms_of_the_types(origin: dict[str, Any]) -> dict[str, Any]:
    """Return an origin in the spelling of the client's types: without the unknown field, and with
    `host` for `Host`."""
    known = {name: value for name, value in origin.items() if name != UNKNOWN_FIELD}
    if isinstance(header := origin.get("header"), dict):
        known["header"] = {
            {"Host": "host", "host": "not a name of the API"}.get(name, name): value
            for name, value in header.items()
        }
    return known


def cdn_of(server: CloudflareServer, *, token: str = TOKEN) -> CloudflareCdn:
    """Return the adapter that a shift would use with the server."""
    return CloudflareCdn(
        token=token,
        account_id=ACCOUNT,
        zone_id=ZONE,
        load_balancer_id=BALANCER,
        pool_id=POOL,
        base_url=server.url,
    )
