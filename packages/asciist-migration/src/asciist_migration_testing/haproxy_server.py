"""A HAProxy with two origins behind it."""

import csv
import shutil
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from asciist_migration.shift.request_log import LOG_FORMAT
from tests.waiting import wait_until

BACKEND = "app"


def binary() -> str:
    """Return the path of HAProxy, or skip the test."""
    found = shutil.which("haproxy")
    if not found:
        pytest.skip("HAProxy is not installed: apt-get install haproxy, or APT_INSTALL=1 make test")
    return found


class OriginServer:
    """An origin that can fail or be slow on request."""

    def __init__(self) -> None:
        self.status = 200
        self.delay_seconds = 0.002
        origin = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: object) -> None:
                pass

            def do_GET(self) -> None:
                time.sleep(origin.delay_seconds)
                self.send_response(origin.status)
                self.send_header("Content-Length", "0")
                self.end_headers()

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *_: object) -> None:
                """Print nothing: HAProxy may close connections at any time."""

        self._http = Server(("127.0.0.1", 0), Handler)
        self.port = self._http.server_port
        self._thread = threading.Thread(
            target=self._http.serve_forever, kwargs={"poll_interval": 0.02}
        )
        self._thread.start()

    def stop(self) -> None:
        self._http.shutdown()
        self._thread.join()
        self._http.server_close()


class HaproxyServer:
    """HAProxy in front of `aws`, which has all the weight, and `azure`, with a configured weight of
    0."""

    def __init__(
        self,
        directory: Path,
        ports: Sequence[int],
        *,
        backend: str = "balance roundrobin",
        check: str = "",
        timeout_seconds: int = 5,
    ) -> None:
        """`backend` contains lines of the backend, and `check` the parameters of the servers'
        health checks."""
        self.socket = directory / "admin.sock"  # at most 107 bytes
        self.log = directory / "log"
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        configuration = directory / "haproxy.cfg"
        configuration.write_text(f"""
global
  stats socket {self.socket} level admin
  log stdout format raw local0
defaults
  mode http
  timeout connect 1s
  timeout client {timeout_seconds}s
  timeout server {timeout_seconds}s
  log global
frontend web
  bind 127.0.0.1:{self.port}
  {LOG_FORMAT}
  default_backend {BACKEND}
backend {BACKEND}
  {backend}
  # Cloudflare too tries another origin once, and only if it cannot connect.
  retry-on conn-failure
  retries 1
  option redispatch 1
  server aws 127.0.0.1:{ports[0]} weight 100 {check}
  server azure 127.0.0.1:{ports[1]} weight 0 {check}
""")
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                [binary(), "-db", "-f", configuration], stdout=log, stderr=subprocess.DEVNULL
            )
        wait_until(lambda: self.socket.exists() or self._process.poll() is not None)
        assert self._process.poll() is None, "HAProxy did not start"

    def get(self) -> int:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/", timeout=10) as response:
                return int(response.status)
        except urllib.error.HTTPError as error:
            with error:
                return error.code

    def sessions(self, origin: str) -> int:
        """Return the number of requests in flight at an origin."""
        rows = csv.DictReader(self._ask("show stat").removeprefix("# ").splitlines())
        return next(
            int(row["scur"]) for row in rows if (row["pxname"], row["svname"]) == (BACKEND, origin)
        )

    def call(self, command: str) -> None:
        answer = self._ask(command)
        assert "changed" in answer or not answer.strip(), answer

    def _ask(self, command: str) -> str:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(self.socket))
            connection.sendall(f"{command}\n".encode())
            with connection.makefile() as answer:
                return answer.read()

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait()


class Load:
    """Clients that send requests without pauses."""

    def __init__(self, haproxy: HaproxyServer, clients: int = 4) -> None:
        self._haproxy = haproxy
        self._stopped = threading.Event()
        self.statuses: list[int] = []
        self._threads = [threading.Thread(target=self._send) for _ in range(clients)]
        for thread in self._threads:
            thread.start()

    def _send(self) -> None:
        while not self._stopped.is_set():
            self.statuses.append(self._haproxy.get())

    def stop(self) -> None:
        self._stopped.set()
        for thread in self._threads:
            thread.join()

    @property
    def errors(self) -> int:
        return sum(status >= 500 for status in self.statuses)
