"""A local emulator of Azure Storage: Azurite, from npm at the version and the hash in
`tools/azurite`.

    with Azurite() as azurite:
        url = azurite.create_queue("requests")
        subprocess.run([...], env={**os.environ, **azurite.environment})

It checks the signatures of an account's key. It knows no managed identities, roles or networks.
"""

import contextlib
import fcntl
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final, Self

import obstore
import requests
from azure.core.credentials import AzureNamedKeyCredential
from azure.storage.queue import (
    AccountSasPermissions,
    QueueClient,
    ResourceTypes,
    Services,
    generate_account_sas,
)
from obstore.store import AzureStore

from tools.testing.server import free_port, listens

ROOT: Final = Path(__file__).parents[2]
ACCOUNT: Final = "devstoreaccount1"
KEY: Final = (
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
)
"""Azurite's account, with the key from its documentation."""

_NODE: Final = Path(sys.executable).with_name("node")
_INSTALLED: Final = ROOT / ".venv-azurite"
_LOCK: Final = ROOT / "tools/azurite/package-lock.json"
_PROGRAM: Final = "node_modules/azurite/dist/src"
_API_VERSION: Final = "2025-11-05"
_START_SECONDS: Final = 300
_COLLECTION_MS: Final = 24 * 3600 * 1000
"""Interval at which Azurite frees the memory of deleted blobs. The default is ten minutes, and
freeing blocks all requests: for 14 s after 4,000 deletions."""


class AzuriteError(Exception):
    """Azurite could not be installed or did not start. The message ends with its output."""


class Azurite:
    """One account, empty at the start. Leaving the context removes all its processes and files."""

    def __init__(self, *, any_api_version: bool = False) -> None:
        """`any_api_version` accepts API versions unknown to Azurite. The service does not need
        it."""
        self._options = ["--skipApiVersionCheck"] if any_api_version else []
        self.blob_port, self.queue_port = free_port(), free_port()
        self._directory = tempfile.TemporaryDirectory(prefix="azurite-")
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def environment(self) -> dict[str, str]:
        """Variables with which the service and Azure's libraries use this account."""
        return {
            "AZURE_STORAGE_ACCOUNT_NAME": ACCOUNT,
            "AZURE_STORAGE_ACCOUNT_KEY": KEY,
            "AZURE_STORAGE_ENDPOINT": f"http://127.0.0.1:{self.blob_port}/{ACCOUNT}",
            "AZURE_ALLOW_HTTP": "true",
            "NO_PROXY": "127.0.0.1,localhost",
            "no_proxy": "127.0.0.1,localhost",
        }

    @property
    def process_group(self) -> int:
        """Id of the process group that ends with the emulator."""
        assert self._process
        return self._process.pid

    @property
    def log(self) -> str:
        """Output of Azurite so far."""
        return (Path(self._directory.name) / "log").read_text(errors="replace")

    def queue_url(self, name: str) -> str:
        return f"http://127.0.0.1:{self.queue_port}/{ACCOUNT}/{name}"

    def queue(self, name: str) -> QueueClient:
        """Return a client of a queue, for an operator's actions."""
        return QueueClient.from_queue_url(
            self.queue_url(name),
            credential=AzureNamedKeyCredential(ACCOUNT, KEY),
            api_version=_API_VERSION,
        )

    def create_queue(self, name: str) -> str:
        """Create a queue and return its URL."""
        with self.queue(name) as client:
            client.create_queue()
        return self.queue_url(name)

    def messages(self, queue: str) -> list[str]:
        """Return the messages that a queue would deliver now, at most 32, without removing them."""
        with self.queue(queue) as client:
            return [message.content for message in client.peek_messages(32)]

    def create_container(self, name: str) -> None:
        """Create a container for blobs."""
        # No library of the service creates containers.
        signature = generate_account_sas(
            ACCOUNT,
            KEY,
            resource_types=ResourceTypes(container=True),
            permission=AccountSasPermissions(create=True),
            expiry=datetime.now(UTC) + timedelta(hours=1),
            services=Services(blob=True),
        )
        url = f"http://127.0.0.1:{self.blob_port}/{ACCOUNT}/{name}?restype=container&{signature}"
        requests.put(url, timeout=10).raise_for_status()

    def create_blob(self, container: str, key: str, body: bytes) -> None:
        """Store a blob in a container."""
        store = AzureStore(
            container,
            account_name=ACCOUNT,
            account_key=KEY,
            endpoint=self.environment["AZURE_STORAGE_ENDPOINT"],
            client_options={"allow_http": True},
        )
        obstore.put(store, key, body)

    def __enter__(self) -> Self:
        """Start Azurite and wait until it listens. Raises AzuriteError with its log after 30
        seconds."""
        program = _installed() / _PROGRAM
        constants = json.dumps(str(program / "blob/utils/constants.js"))
        settings = Path(self._directory.name) / "settings.cjs"  # there is no option for it
        settings.write_text(f"require({constants}).DEFAULT_GC_INTERVAL_MS = {_COLLECTION_MS};\n")
        options = [
            "--silent",
            "--disableTelemetry",
            "--inMemoryPersistence",
            "--tablePort",
            str(free_port()),
            *self._options,
        ]
        for service, port in (("blob", self.blob_port), ("queue", self.queue_port)):
            options += [f"--{service}Host", "127.0.0.1", f"--{service}Port", str(port)]
        with (Path(self._directory.name) / "log").open("wb") as log:
            self._process = subprocess.Popen(
                [_NODE, "--require", settings, program / "azurite.js", *options],
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self._directory.name,
                process_group=0,
            )
        give_up = time.monotonic() + _START_SECONDS
        while not all(map(listens, (self.blob_port, self.queue_port))):
            if self._process.poll() is not None or time.monotonic() > give_up:
                message = f"Azurite did not start:\n{self.log[-4000:]}"
                self._stop()
                raise AzuriteError(message)
            time.sleep(0.05)
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()

    def _stop(self) -> None:
        assert self._process
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)  # it has no state to save
        self._process.wait()
        self._directory.cleanup()


def _installed() -> Path:
    """Return the directory with Azurite, after installing it if it is missing or its lock has
    changed."""
    root = os.open(ROOT, os.O_RDONLY)
    try:
        fcntl.flock(root, fcntl.LOCK_EX)  # concurrent test runs wait for the one that installs it
        stamp = _INSTALLED / ".complete"
        if not stamp.exists() or stamp.read_bytes() != _LOCK.read_bytes():
            tool = [ROOT / "tools/npm-install", "azurite", _INSTALLED]
            done = subprocess.run(tool, capture_output=True, text=True, check=False)
            if done.returncode:
                raise AzuriteError(f"Azurite could not be installed:\n{done.stdout}{done.stderr}")
            stamp.write_bytes(_LOCK.read_bytes())
    finally:
        os.close(root)
    return _INSTALLED
