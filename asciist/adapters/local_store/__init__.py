"""Artifact store in a directory of this machine, for one service of several processes.

Artifacts are kept in a `Database`, bounded in bytes and in age. If the disk fails, they are kept in memory instead, so that
requests in flight are served.
"""

import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeVar

from asciist.adapters.local_store.database import Database
from asciist.adapters.local_store.failure import StorageError, TooLargeError
from asciist.adapters.local_store.older_files import OlderFiles
from asciist.adapters.local_store.overflow import Overflow
from asciist.errors import ArtifactNotFoundError
from asciist.protocol.ports import Metrics
from asciist.telemetry.metrics import STORE_FAILED

__all__ = ["LocalStore"]

_log = logging.getLogger(__name__)
_Result = TypeVar("_Result")

_MIN_SECONDS_BETWEEN_WARNINGS: Final = 60.0
"""Time in which at most one warning is logged, if a disk fails and recovers again and again."""
_PROBE_KEY: Final = "readiness"


class LocalStore:
    """ArtifactStore in a directory. Failures of the disk are logged, counted and shown by `problem`; no method raises them.

    An object that cannot be written is kept in the memory of this process. An object that cannot be read counts as missing.
    """

    def __init__(
        self,
        directory: Path,
        *,
        max_bytes: int,
        max_age_seconds: float,
        metrics: Metrics,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Nothing is opened before the first call, so that a process can fork. `clock` returns seconds since the epoch."""
        self._database = Database(directory, max_bytes=max_bytes, max_age_seconds=max_age_seconds, metrics=metrics, clock=clock)
        self._older_files = OlderFiles(directory)
        self._overflow = Overflow()
        self._metrics = metrics
        self._failure: StorageError | None = None
        self._has_written = False
        self._has_warned = False
        self._next_warning_at = 0.0

    def get(self, key: str) -> bytes:
        body = self._overflow.get(key)
        if body is None:
            body = self._try("get", lambda: self._database.get(key))
        if body is None:
            raise ArtifactNotFoundError(key)
        return body

    def put(self, key: str, body: bytes) -> None:
        if self._write("put", lambda: self._database.put(key, body)) is None:
            self._overflow.put(key, body)
        else:
            self._overflow.remove(key)

    def create(self, key: str, body: bytes) -> bool:
        if self._overflow.get(key) is not None:
            return False
        is_created = self._write("create", lambda: self._database.create(key, body))
        return self._overflow.create(key, body) if is_created is None else is_created

    def exists(self, key: str) -> bool:
        return self._overflow.get(key) is not None or bool(self._try("exists", lambda: self._database.exists(key)))

    def problem(self) -> str:
        """Return why artifacts are not being stored, in a sentence for clients; empty if they are.

        Unless the latest write has succeeded, write a small object to find out.
        """
        if self._failure is not None or not self._has_written:
            self._write("put", lambda: self._database.put(_PROBE_KEY, b""))
        return self._failure.reason if self._failure is not None else ""

    def close(self) -> None:
        """Stop the background thread and close the files. Later calls fail like those on a disk that cannot be used."""
        self._older_files.close()
        self._database.close()

    def _write(self, operation: str, write: Callable[[], bool]) -> bool | None:
        """Return the result of a write to the disk, or None if it failed. Log the first failure and the recovery."""

        def written() -> bool:
            try:
                result = write()
            except TooLargeError:
                raise  # others may fit
            except StorageError as error:
                self._note_failure(error)
                raise
            self._note_success()
            return result

        return self._try(operation, written)

    def _try(self, operation: str, call: Callable[[], _Result]) -> _Result | None:
        """Return the result of an operation on the disk, or None if it failed, which is counted."""
        self._older_files.start()
        try:
            return call()
        except StorageError:
            self._metrics.count(STORE_FAILED, operation=operation)
            return None

    def _note_failure(self, failure: StorageError) -> None:
        if self._failure is None and time.monotonic() >= self._next_warning_at:
            _log.warning("art is not being stored: %s (%s)", failure.reason, failure.detail)
            self._has_warned = True
            self._next_warning_at = time.monotonic() + _MIN_SECONDS_BETWEEN_WARNINGS
        self._failure = failure

    def _note_success(self) -> None:
        self._has_written = True
        self._failure = None
        if self._has_warned:
            self._has_warned = False
            _log.info("art is being stored again")
