"""HAProxy as the CDN, through its runtime socket, which needs the level `admin`.

The management guide of HAProxy 3.0 documents the commands, in sections 9.1 (`show stat`) and 9.3
(`set server`, `show table`).
"""

import csv
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from asciist_migration.shift.ports import MAX_WEIGHT, CdnError, CdnState, Origin

_TIMEOUT_SECONDS: Final = 5
_BY_WEIGHT: Final = ("roundrobin", "leastconn", "random")
"""Algorithms that distribute each request by weight. The others choose by client or by URL, or
ignore new weights."""


class HaproxyCdn:
    """The servers of one backend."""

    def __init__(self, socket_path: Path, *, backend: str) -> None:
        self._socket_path = socket_path
        self._backend = backend

    def read(self) -> CdnState:
        rows = [row for row in self._stat() if row["pxname"] == self._backend]
        servers = {
            row["svname"]: row for row in rows if row["svname"] not in ("FRONTEND", "BACKEND")
        }
        backend = next((row for row in rows if row["svname"] == "BACKEND"), None)
        if not backend:
            raise CdnError(f"HAProxy has no backend {self._backend}")
        return CdnState(
            origins={
                name: Origin(
                    weight=int(row["weight"]),
                    address=row["addr"],
                    available=row["status"].startswith("UP") or row["status"] == "no check",
                )
                for name, row in servers.items()
            },
            affinity=self._affinity(backend),
        )

    def write(self, weights: Mapping[str, int]) -> None:
        for name, weight in sorted(weights.items(), key=lambda item: -item[1]):  # never both at 0
            if not 0 <= weight <= MAX_WEIGHT:
                raise CdnError(f"{weight} is not a weight")
            # Absolute: a percentage is relative to the configured weight, and of a configured 0 it
            # is always 0.
            answer = self._call(f"set server {self._backend}/{name} weight {weight}").strip()
            if answer:
                raise CdnError(f"HAProxy refused the weight {weight} of {name}: {answer}")

    def _affinity(self, backend: Mapping[str, str]) -> str:
        if backend["cookie"]:
            return f"cookie {backend['cookie']}"
        if backend["algo"] not in _BY_WEIGHT:
            return f"balance {backend['algo']}"
        tables = [
            line
            for line in self._call("show table").splitlines()
            if line.startswith(f"# table: {self._backend},")
        ]
        return "stick table" if tables else ""

    def _stat(self) -> list[dict[str, str]]:
        text = self._call("show stat")
        if not text.startswith("# "):
            raise CdnError(f"HAProxy did not answer `show stat`: {text[:100]!r}")
        return list(csv.DictReader(text.removeprefix("# ").splitlines()))

    def _call(self, command: str) -> str:
        """Return the answer to one command. HAProxy then closes the connection, because the command
        `prompt` was not sent."""
        try:
            with socket.socket(socket.AF_UNIX) as connection:
                connection.settimeout(_TIMEOUT_SECONDS)
                connection.connect(str(self._socket_path))
                connection.sendall(f"{command}\n".encode())
                with connection.makefile() as answer:
                    return answer.read()
        except (OSError, UnicodeDecodeError) as error:
            raise CdnError(f"HAProxy's socket {self._socket_path}: {error}") from error
