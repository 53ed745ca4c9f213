"""Bounds of the local store in bytes and in age, kept by deleting the oldest objects before others are written."""

import os
import sqlite3
import time
from pathlib import Path
from typing import Final

from asciist.adapters.local_store.failure import StorageError
from asciist.errors import sentences
from asciist.protocol.ports import Metrics
from asciist.telemetry.metrics import STORE_EVICTED

MAX_LOG_BYTES: Final = 4_000_000
"""Size of the write-ahead log that the bound in bytes allows for. It is longer only while it holds a larger image."""
PAGE_BYTES: Final = 8192
"""Size of a page. With SQLite's default of 4096, a request costs 10% more CPU time, because an image has more pages."""
MAX_DISK_RESERVE_BYTES: Final = 256_000_000
"""Space that the store leaves free on a disk for others; on a disk of less than 1 GB, a quarter of the disk."""
_EXTRA_BYTES_EVICTED: Final = 250_000
"""Maximum bytes that one write deletes beyond its own size, so that it takes milliseconds even after a bound was lowered."""
_CHECK_SECONDS: Final = 0.2
"""Time between two looks at the disk, unless more than `MAX_LOG_BYTES` is written. What the store itself writes does not change
what the disk leaves to it."""
_ROW_BYTES: Final = 200
"""Size of an object in the database beyond its body: its key, the entry in the index of keys, and its time and checksum."""
_OLDEST: Final = "SELECT id, written, length(body) FROM objects ORDER BY id"
_DELETE: Final = "DELETE FROM objects WHERE id <= ?"


class Bounds:
    """Bounds of one database file. The caller of a method is alone in writing to it, and handles sqlite3.Error and OSError."""

    def __init__(self, path: Path, *, max_bytes: int, max_age_seconds: float, metrics: Metrics) -> None:
        """`path` is that of the file, `max_bytes` the bound of all files together."""
        self.max_bytes = max_bytes - MAX_LOG_BYTES
        """Maximum size of the database file, in bytes, if the disk leaves it as much."""
        self.max_age_seconds = max_age_seconds
        self.file_bytes = 0
        """Size of the file, in bytes, once the log is copied into it; more than that, rather than less, between two checks."""
        self.next_check_at = 0.0
        """Time of `time.monotonic` for the next look at the disk."""
        self._path = path
        self._log_path = path.with_name(path.name + "-wal")
        self._metrics = metrics
        self._allowed_bytes = self._unchecked_bytes = 0
        self._oldest_expires_at = 0.0

    def make_room(self, connection: sqlite3.Connection, new_bytes: int, now: float) -> None:
        """Delete old objects if a write of `new_bytes` needs their room. `now` is the time in seconds since the epoch."""
        if time.monotonic() >= self.next_check_at or self._unchecked_bytes >= MAX_LOG_BYTES:
            self._check(connection)
        if self.file_bytes + new_bytes > self._allowed_bytes or now >= self._oldest_expires_at:
            self._evict(connection, new_bytes, now)
        self.file_bytes += new_bytes
        self._unchecked_bytes += new_bytes

    def _evict(self, connection: sqlite3.Connection, new_bytes: int, now: float) -> None:
        """Delete what is too old, and the oldest objects until `new_bytes` fit, and those of the next few writes.

        Then return pages to the disk if the file is larger than it may be.
        """
        self.file_bytes = PAGE_BYTES * _number(connection, "PRAGMA page_count")
        free_bytes = PAGE_BYTES * _number(connection, "PRAGMA freelist_count")
        excess_bytes = self.file_bytes - free_bytes + new_bytes - self._allowed_bytes
        if excess_bytes <= 0 and now < self._oldest_expires_at:
            return
        wanted_bytes = excess_bytes + _EXTRA_BYTES_EVICTED // 2 if excess_bytes > 0 else 0
        last, number, freed_bytes = self._oldest(connection, now, wanted_bytes, max_bytes=new_bytes + _EXTRA_BYTES_EVICTED)
        free_bytes += freed_bytes
        if freed_bytes < excess_bytes and free_bytes < new_bytes:
            raise StorageError(sentences.STORE_FULL, f"{self._path}: the disk leaves no room for {new_bytes} bytes")
        if number:
            connection.execute(_DELETE, (last,))
            self._metrics.count(STORE_EVICTED, number)
        surplus_bytes = min(self.file_bytes - self._allowed_bytes, free_bytes - new_bytes, _EXTRA_BYTES_EVICTED)
        if surplus_bytes >= PAGE_BYTES:
            # Not `execute`, which frees one page only: it stops at the first row of a statement without columns.
            connection.executescript(f"PRAGMA incremental_vacuum({surplus_bytes // PAGE_BYTES})")

    def _oldest(self, connection: sqlite3.Connection, now: float, wanted_bytes: int, *, max_bytes: int) -> tuple[int, int, int]:
        """Find the objects that are too old, and the oldest that have `wanted_bytes`, but not more than about `max_bytes`.

        Return the id of the last one, their number and their bytes.
        """
        oldest_allowed = now - self.max_age_seconds
        self._oldest_expires_at = now + self.max_age_seconds  # of an object written at this moment
        last = number = found_bytes = 0
        for object_id, written, size in connection.execute(_OLDEST):
            if found_bytes >= max_bytes or (found_bytes >= wanted_bytes and written >= oldest_allowed):
                self._oldest_expires_at = written + self.max_age_seconds
                break
            last, number, found_bytes = object_id, number + 1, found_bytes + size + _ROW_BYTES
        return last, number, found_bytes

    def _check(self, connection: sqlite3.Connection) -> None:
        """Measure the file and what the disk leaves to it, and shorten a log that a large image or a slow reader made long."""
        if self._log_bytes() > MAX_LOG_BYTES:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            if self._log_bytes() > 4 * MAX_LOG_BYTES:
                raise StorageError(sentences.STORE_LOCKED, f"{self._log_path}: held by a process that stopped while reading")
        disk = os.statvfs(self._path.parent)
        reserve = min(disk.f_blocks * disk.f_frsize // 4, MAX_DISK_RESERVE_BYTES)
        left = self._path.stat().st_size + self._log_bytes() + disk.f_bavail * disk.f_frsize - reserve
        self._allowed_bytes = min(self.max_bytes, left - MAX_LOG_BYTES)
        self.file_bytes = PAGE_BYTES * _number(connection, "PRAGMA page_count")
        self.next_check_at = time.monotonic() + _CHECK_SECONDS
        self._unchecked_bytes = 0

    def _log_bytes(self) -> int:
        try:
            return self._log_path.stat().st_size
        except FileNotFoundError:
            return 0


def _number(connection: sqlite3.Connection, query: str) -> int:
    (number,) = connection.execute(query).fetchone()
    return int(number)
