"""Artifact store in a directory of this machine, for one service of several processes.

A `Database`, bounded in bytes and in age, holds the artifacts. If the disk fails, they stay in
memory instead, so that requests in flight are served.
"""

import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from asciist.adapters.local_store.database import MAX_STAGED_BYTES, Database
from asciist.adapters.local_store.failure import StorageError, TooLargeError
from asciist.adapters.local_store.overflow import Overflow
from asciist.adapters.local_store.packing import packed, unpacked
from asciist.errors import ArtifactNotFoundError
from asciist.protocol.ports import Metrics
from asciist.telemetry.metrics import STORE_FAILED

__all__ = ["LocalStore"]

_log = logging.getLogger(__name__)

_MIN_SECONDS_BETWEEN_WARNINGS: Final = 60.0
"""Minimum seconds between two warnings about a disk that fails and recovers again and again."""
_PROBE_KEY: Final = "readiness"


class LocalStore:
    """ArtifactStore in a directory. Failures of the disk are logged, counted and reported by
    `problem`; only `delete` and `delete_folder` raise them.

    A created object stays in memory until this process puts another object in its folder; both are
    then written at once. The art of an image is usually put milliseconds after the image is
    created, and meanwhile the image is read from memory. A killed process therefore loses the
    images of its unfinished conversions, and if several processes create the same object at the
    same time, each may return True.

    An object that cannot be written stays in the memory of this process. An object that cannot be
    read counts as missing.
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
        """Open nothing before the first call, so that a process can fork. `clock` returns seconds
        since the epoch."""
        self._overflow = Overflow()
        self._database = Database(
            directory,
            self._overflow,
            max_bytes=max_bytes,
            max_age_seconds=max_age_seconds,
            metrics=metrics,
            clock=clock,
        )
        self._metrics = metrics
        self._has_warned = False
        self._next_warning_at = 0.0

    def get(self, key: str) -> bytes:
        # in the order in which an object is moved
        for memory in (self._database.staged, self._overflow.bodies):
            body = memory.get(key)
            if body is not None:
                return unpacked(body)
        try:
            body = self._database.get(key)
        except StorageError:
            self._metrics.count(STORE_FAILED, operation="get")
        if body is None:
            raise ArtifactNotFoundError(key)
        return unpacked(body)

    def put(self, key: str, body: bytes) -> None:
        """Write an object, replacing any previous one, and the staged objects of its folder.

        When it returns, other processes can read them.
        """
        body = packed(key, body)
        try:
            self._database.stage(key, body, is_new=False)
        except StorageError as failure:
            self._note_failure("put", failure)
            self._overflow.put(key, body)
        else:
            self._write_staged("put")

    def create(self, key: str, body: bytes) -> bool:
        """Hold an object in memory until the next `put` in its folder, unless the key exists;
        return whether it was absent.

        Exactly one of several racing calls in this process returns True. Calls in other processes
        may return True as well; the object written last then wins.
        """
        body = packed(key, body)
        try:
            is_created = self._database.stage(key, body, is_new=True)
        except StorageError as failure:
            self._note_failure("create", failure)
            return self._overflow.create(key, body)
        if self._database.staged_bytes > MAX_STAGED_BYTES:
            self._write_staged("create", all_of_them=True)
        return is_created

    def keep(self, *keys: str) -> None:
        """Delete objects later than all that nobody keeps, and no earlier than others kept before
        them.

        Kept objects share a quarter of the store. An object that is not on the disk is not kept.
        """
        try:
            self._database.keep(*keys)
        except StorageError as failure:
            self._note_failure("keep", failure)

    def exists(self, key: str) -> bool:
        try:
            return (
                key in self._database.staged
                or key in self._overflow.bodies
                or self._database.exists(key)
            )
        except StorageError:
            self._metrics.count(STORE_FAILED, operation="exists")
            return False

    def delete_folder(self, folder: str) -> bool:
        """Delete every object of a folder, from the memory of this process too; return whether
        there were any.

        Raises UnavailableError if the disk fails.
        """
        try:
            return self._database.delete_folder(folder)
        except StorageError:
            self._metrics.count(STORE_FAILED, operation="delete")
            raise

    def delete(self, key: str) -> None:
        """Delete an object, from the memory of this process too. Raises UnavailableError if the
        disk fails."""
        try:
            self._database.delete(key)
        except StorageError:
            self._metrics.count(STORE_FAILED, operation="delete")
            raise

    def problem(self) -> str:
        """Return why artifacts are not being stored, as a sentence for clients; empty if they are.

        Unless the latest write succeeded, it tries to write a small object.
        """
        if self._database.writing.failure is not None or not self._database.has_written:
            self.put(_PROBE_KEY, b"")
        failure = self._database.writing.failure
        return failure.reason if failure is not None else ""

    def close(self) -> None:
        """Write what is in memory, stop the background thread and close the files.

        Later calls fail like those on a disk that cannot be used.
        """
        self._write_staged("put", all_of_them=True)
        self._database.close()

    def _write_staged(self, operation: str, *, all_of_them: bool = False) -> None:
        # other greenlets may be about to put objects, which are then written together
        time.sleep(0)
        try:
            self._database.write_staged(all_of_them=all_of_them)
        except StorageError as failure:
            self._note_failure(operation, failure)
        else:
            if self._has_warned and self._database.writing.failure is None:
                self._has_warned = False
                _log.info("art is being stored again")

    def _note_failure(self, operation: str, failure: StorageError) -> None:
        """Count a failed write, and log the first one until a write succeeds. An object that is too
        large is no failure."""
        self._metrics.count(STORE_FAILED, operation=operation)
        if (
            isinstance(failure, TooLargeError)
            or self._has_warned
            or time.monotonic() < self._next_warning_at
        ):
            return
        _log.warning("art is not being stored: %s (%s)", failure.reason, failure.detail)
        self._has_warned = True
        self._next_warning_at = time.monotonic() + _MIN_SECONDS_BETWEEN_WARNINGS
