"""Bounds of the local store in bytes and in age, enforced by deleting the oldest objects before
each write.

Ids give the order. Those of ordinary objects grow from 0. Those of kept objects, which are deleted
last, are negative: the newest has the smallest, which is less than the one before by the object's
size, so that ids tell how many bytes are kept.
"""

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
"""Allowance in the size bound for the write-ahead log. Only a larger image makes the log longer."""
# with SQLite's default of 4096, a request costs 10% more CPU time, because an image has more pages
PAGE_BYTES: Final = 8192
"""Size of a page, in bytes."""
MAX_DISK_RESERVE_BYTES: Final = 256_000_000
"""Space that the store leaves free on a disk for others; a quarter of a disk of less than 1 GB."""
_EXTRA_BYTES_EVICTED: Final = 250_000  # a write takes milliseconds even after a bound was lowered
"""Maximum bytes that one write evicts beyond its own size."""
_CHECK_SECONDS: Final = 0.2  # the store's own writes do not change the space left to it
"""Seconds between two checks of the disk, unless more than `MAX_LOG_BYTES` is written."""
_ROW_BYTES: Final = 200
"""Size of an object in the database beyond its body: key, index entry, time and checksum."""
_KEPT_SHARE: Final = 4
"""The kept objects take at most this fraction of the store: 1/4."""
_OLDEST: Final = (
    "SELECT id, written, length(body) FROM objects WHERE id >= 0 ORDER BY id",
    "SELECT id, written, length(body) FROM objects WHERE id < 0 ORDER BY id DESC",
)
"""SQL queries of the ordinary and of the kept objects, the oldest of each first."""
_DELETE: Final = "DELETE FROM objects WHERE id BETWEEN ? AND ?"
IS_OLD: Final = """
    SELECT id >= 0 AND 4 * (id - first) < (SELECT max(id) FROM objects) - first
    FROM objects, (SELECT min(id) AS first FROM objects WHERE id >= 0) WHERE key = ?
"""
"""SQL query: whether an object is among the oldest quarter of the ordinary ones."""
RENEW: Final = (
    "UPDATE objects SET id = 1 + (SELECT max(id) FROM objects), written = ? WHERE key = ?"
)
"""SQL statement that makes an ordinary object the newest one."""
# The connection caches a statement together with copies of its latest values. A statement for
# several objects would have a text for each number of objects, and would hold all their bodies.
INSERT: Final = """
    INSERT OR REPLACE INTO objects (key, id, written, checksum, body) VALUES (?, coalesce(
        (SELECT id FROM objects WHERE key = ? AND id < 0),
        max(0, 1 + (SELECT max(id) FROM objects))
    ), ?, ?, ?)
"""
"""SQL statement that inserts one object, executed once for each with its key, its key again, the
time, its checksum and its body. A kept object stays kept."""
_KEEP: Final = """
    UPDATE objects SET written = ?, id = min(0, (SELECT min(id) FROM objects))
        - length(body) - ? WHERE key = ? AND id >= 0
"""
_KEPT_TOO_MUCH: Final = """
    DELETE FROM objects WHERE id < 0 AND id >= ? + (SELECT min(id) FROM objects)
"""


class Bounds:
    """Bounds of one database file. Callers must hold the write lock and handle sqlite3.Error and
    OSError."""

    def __init__(
        self, path: Path, *, max_bytes: int, max_age_seconds: float, metrics: Metrics
    ) -> None:
        """`path` is the database file; `max_bytes` bounds all files together."""
        self.max_bytes = max_bytes - MAX_LOG_BYTES
        """Maximum size of the database file, in bytes, if the disk has enough space."""
        self.max_age_seconds = max_age_seconds
        self.file_bytes = 0
        """Upper estimate of the file's size after copying the log into it, in bytes."""
        self.next_check_at = 0.0
        """Time of the next disk check, by `time.monotonic`."""
        self._path = path
        self._log_path = path.with_name(path.name + "-wal")
        self._metrics = metrics
        self._allowed_bytes = self._unchecked_bytes = 0
        self._oldest_expires_at = 0.0

    def make_room(self, connection: sqlite3.Connection, new_bytes: int, now: float) -> None:
        """Delete old objects if a write of `new_bytes` needs their room. `now` is the time in
        seconds since the epoch."""
        if time.monotonic() >= self.next_check_at or self._unchecked_bytes >= MAX_LOG_BYTES:
            self._check(connection)
        if self.file_bytes + new_bytes > self._allowed_bytes or now >= self._oldest_expires_at:
            self._evict(connection, new_bytes, now)
        self.file_bytes += new_bytes
        self._unchecked_bytes += new_bytes

    def keep(self, connection: sqlite3.Connection, key: str, now: float) -> None:
        """Make an object, if there is one, the newest of the kept objects, and delete the oldest
        of them beyond their share of the store."""
        if connection.execute(_KEEP, (now, _ROW_BYTES, key)).rowcount:
            deleted = connection.execute(_KEPT_TOO_MUCH, (self.max_bytes // _KEPT_SHARE,)).rowcount
            if deleted:
                self._metrics.count(STORE_EVICTED, deleted)

    def _evict(self, connection: sqlite3.Connection, new_bytes: int, now: float) -> None:
        """Delete objects past their age, and the oldest until `new_bytes` and the next few writes
        fit.

        Then return pages to the disk if the file exceeds its maximum size.
        """
        self.file_bytes = PAGE_BYTES * _number(connection, "PRAGMA page_count")
        free_bytes = PAGE_BYTES * _number(connection, "PRAGMA freelist_count")
        excess_bytes = self.file_bytes - free_bytes + new_bytes - self._allowed_bytes
        if excess_bytes <= 0 and now < self._oldest_expires_at:
            return
        wanted_bytes = excess_bytes + _EXTRA_BYTES_EVICTED // 2 if excess_bytes > 0 else 0
        ranges, number, freed_bytes = self._oldest(
            connection, now, wanted_bytes, max_bytes=new_bytes + _EXTRA_BYTES_EVICTED
        )
        free_bytes += freed_bytes
        if freed_bytes < excess_bytes and free_bytes < new_bytes:
            raise StorageError(
                sentences.STORE_FULL, f"{self._path}: the disk leaves no room for {new_bytes} bytes"
            )
        if number:
            connection.executemany(_DELETE, ranges)
            self._metrics.count(STORE_EVICTED, number)
        surplus_bytes = min(
            self.file_bytes - self._allowed_bytes, free_bytes - new_bytes, _EXTRA_BYTES_EVICTED
        )
        if surplus_bytes >= PAGE_BYTES:
            # Not `execute`, which frees one page only: it stops at the first row of a statement
            # without columns.
            connection.executescript(f"PRAGMA incremental_vacuum({surplus_bytes // PAGE_BYTES})")

    def _oldest(
        self, connection: sqlite3.Connection, now: float, wanted_bytes: int, *, max_bytes: int
    ) -> tuple[list[tuple[int, int]], int, int]:
        """Find the objects past their age, and the oldest that add up to `wanted_bytes`, up to
        about `max_bytes`. Of the kept objects, find more than those past their age only if the
        others are not enough.

        Return ranges of ids, first and last, and the number and the bytes of the objects.
        """
        oldest_allowed = now - self.max_age_seconds
        self._oldest_expires_at = now + self.max_age_seconds  # of an object written at this moment
        ranges: list[tuple[int, int]] = []
        number = found_bytes = 0
        for query in _OLDEST:
            ids: list[int] = []
            for object_id, written, size in connection.execute(query):
                if found_bytes >= max_bytes or (
                    found_bytes >= wanted_bytes and written >= oldest_allowed
                ):
                    self._oldest_expires_at = min(
                        self._oldest_expires_at, written + self.max_age_seconds
                    )
                    break
                ids.append(object_id)
                found_bytes += size + _ROW_BYTES
            if ids:
                ranges.append((min(ids), max(ids)))
                number += len(ids)
        return ranges, number, found_bytes

    def _check(self, connection: sqlite3.Connection) -> None:
        """Measure the file and the free space, and truncate a log that a large image or a slow
        reader made long."""
        if self._log_bytes() > MAX_LOG_BYTES:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            if self._log_bytes() > 4 * MAX_LOG_BYTES:
                raise StorageError(
                    sentences.STORE_LOCKED,
                    f"{self._log_path}: held by a process that stopped while reading",
                )
        disk = os.statvfs(self._path.parent)
        reserve = min(disk.f_blocks * disk.f_frsize // 4, MAX_DISK_RESERVE_BYTES)
        left = (
            self._path.stat().st_size + self._log_bytes() + disk.f_bavail * disk.f_frsize - reserve
        )
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
