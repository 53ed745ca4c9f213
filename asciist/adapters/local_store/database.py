"""The database file of the local store: SQLite with a write-ahead log, bounded in bytes and in age, shared by processes.

- Readers never wait: they see the last committed state. Writers of all processes wait at a `Gate`, for their turn.
- Bounds are kept by the writes. Before each, the oldest objects are deleted until the new one has room.
- A process that is killed loses at most what it was writing. Nothing waits for the disk (`synchronous=off`), so a power failure
  may damage the file. Damage is detected by SQLite or by the checksum of an object, and the file is replaced by an empty one.
- The file may be deleted at any time: the next write creates another.
"""

import logging
import os
import sqlite3
import threading
import time
import zlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

from asciist.adapters.local_store.backoff import Backoff
from asciist.adapters.local_store.failure import DamagedError, StorageError, TooLargeError, from_os_error, from_sqlite_error
from asciist.adapters.local_store.gate import FileId, Gate, file_id
from asciist.errors import sentences
from asciist.protocol.ports import Metrics
from asciist.telemetry.metrics import STORE_EVICTED

_log = logging.getLogger(__name__)

MAX_LOG_BYTES: Final = 4_000_000
"""Size of the write-ahead log that the bound in bytes allows for. It is longer only while it holds a larger image."""
_PAGE_BYTES: Final = 8192
"""Size of a page. With SQLite's default of 4096, a request costs 10% more CPU time, because an image has more pages."""
_CHECKPOINT_PAGES: Final = 64
"""Pages of the write-ahead log after which a write copies them to the database: 0.5 MB, which takes about 0.3 ms."""
MAX_DISK_RESERVE_BYTES: Final = 256_000_000
"""Space that the store leaves free on a disk for others; on a disk of less than 1 GB, a quarter of the disk."""
_EXTRA_BYTES_EVICTED: Final = 250_000
"""Maximum bytes that one write deletes beyond its own size, so that it takes milliseconds even after a bound was lowered."""
_CHECK_SECONDS: Final = 0.2
"""Time between two looks at the disk, unless more than `MAX_LOG_BYTES` is written. What the store itself writes does not change
what the disk leaves to it."""
_ROW_BYTES: Final = 200
"""Size of an object in the database beyond its body: its key, the entry in the index of keys, and its time and checksum."""
_BUSY_SECONDS: Final = 0.02
"""Maximum time that SQLite waits for a lock inside its library, as when a killed process's log is being recovered."""
_SCHEMA_VERSION: Final = 1
_SCHEMA: Final = """
    CREATE TABLE objects (
        id INTEGER PRIMARY KEY,  -- in the order of writing
        key TEXT NOT NULL UNIQUE,
        written REAL NOT NULL,   -- seconds since the epoch
        checksum INTEGER NOT NULL,
        body BLOB NOT NULL       -- last, so that the other columns are read without it
    )
"""
_PRAGMAS: Final = (
    f"page_size={_PAGE_BYTES}",
    "auto_vacuum=incremental",  # so that the file can shrink; costs 5% of a write
    "journal_mode=wal",
    "synchronous=off",
    f"wal_autocheckpoint={_CHECKPOINT_PAGES}",
    f"journal_size_limit={MAX_LOG_BYTES}",
    "secure_delete=off",  # some builds overwrite what they delete by default
)
_GET: Final = "SELECT checksum, body FROM objects WHERE key = ? AND written >= ?"
_EXISTS: Final = "SELECT 1 FROM objects WHERE key = ? AND written >= ?"
_IS_OLD: Final = """
    SELECT 4 * (id - (SELECT min(id) FROM objects)) < (SELECT max(id) FROM objects) - (SELECT min(id) FROM objects)
    FROM objects WHERE key = ?
"""
"""Asks whether an object is among the oldest quarter."""
_INSERT: Final = "INSERT OR REPLACE INTO objects (key, written, checksum, body) VALUES (?, ?, ?, ?)"
_RENEW: Final = "UPDATE objects SET id = 1 + (SELECT max(id) FROM objects), written = ? WHERE key = ?"
_OLDEST: Final = "SELECT id, written, length(body) FROM objects ORDER BY id"
_DELETE: Final = "DELETE FROM objects WHERE id <= ?"


class Database:
    """Objects by key in one file. Every method but `close` raises StorageError."""

    def __init__(
        self, directory: Path, *, max_bytes: int, max_age_seconds: float, metrics: Metrics, clock: Callable[[], float]
    ) -> None:
        """Nothing is opened yet, so that a process can fork. `clock` returns seconds since the epoch."""
        self._directory = directory
        self._path = directory / "artifacts.sqlite3"
        self._log_path = directory / "artifacts.sqlite3-wal"
        self._max_bytes = max_bytes
        self._max_age_seconds = max_age_seconds
        self._metrics = metrics
        self._clock = clock
        self._gate = Gate(directory / "artifacts")
        self._opening, self._writing = Backoff(), Backoff()
        self._lock = threading.Lock()  # held while a statement or a transaction runs, never while waiting for the gate
        self._connection: sqlite3.Connection | None = None
        self._is_closed = False
        self._file_id: FileId | None = None
        self._damaged_id: FileId | None = None
        self._allowed_bytes = self._surplus_bytes = 0
        self._oldest_expires_at = 0.0
        self._next_check_at = 0.0
        self._unchecked_bytes = 0

    def get(self, key: str) -> bytes | None:
        """Return an object, or None if there is none."""
        row = self._read(_GET, key, self._oldest_allowed())
        if row is None:
            return None
        checksum, body = row
        if not isinstance(body, bytes) or checksum != _checksum(key, body):
            failure = DamagedError(f"{self._path}: the checksum of {key} is wrong")
            with self._lock:
                self._discard(failure)
            raise failure
        return body

    def exists(self, key: str) -> bool:
        """Return whether there is an object, and renew it if it is among the oldest quarter: it is about to be read."""
        if self._read(_EXISTS, key, self._oldest_allowed()) is None:
            return False
        if self._read(_IS_OLD, key) == (True,):
            with suppress(StorageError):
                self._write(lambda connection: self._renew(connection, key))
        return True

    def put(self, key: str, body: bytes) -> bool:
        """Write an object, replacing any previous one. Return True."""
        checksum = _checksum(key, body)
        return self._write(lambda connection: self._insert(connection, key, body, checksum))

    def create(self, key: str, body: bytes) -> bool:
        """Write an object unless the key exists; return whether it was written."""
        if self.exists(key):
            return False
        checksum = _checksum(key, body)

        def insert_if_absent(connection: sqlite3.Connection) -> bool:
            found = connection.execute(_EXISTS, (key, self._oldest_allowed())).fetchone()  # another process may be faster
            return found is None and self._insert(connection, key, body, checksum)

        return self._write(insert_if_absent)

    def close(self) -> None:
        """Close the files. Every later call raises StorageError."""
        with self._lock:
            self._is_closed = True
            self._disconnect()
        self._gate.close()

    def _oldest_allowed(self) -> float:
        return self._clock() - self._max_age_seconds

    def _read(self, query: str, *parameters: object) -> tuple[object, ...] | None:
        if self._connection is None:
            self._open()
        with self._lock:
            if self._connection is None:
                raise StorageError(sentences.STORE_UNUSABLE, f"{self._path}: closed")
            try:
                row: tuple[object, ...] | None = self._connection.execute(query, parameters).fetchone()
            except sqlite3.Error as error:
                raise self._failed(error) from error
            return row

    def _write(self, change: Callable[[sqlite3.Connection], bool]) -> bool:
        """Make a change in a transaction, once more if the file proves to be damaged and has been replaced."""
        with self._writing:
            try:
                return self._write_once(change)
            except DamagedError:
                return self._write_once(change)

    def _write_once(self, change: Callable[[sqlite3.Connection], bool]) -> bool:
        if self._connection is None:
            self._open()
        with self._gate, self._lock:
            try:
                connection = self._connection if file_id(self._path) == self._file_id else None
                if connection is None:
                    self._disconnect()
                    connection = self._connect()
                return self._transaction(connection, change)
            except (sqlite3.Error, OSError) as error:
                raise self._failed(error) from error

    def _transaction(self, connection: sqlite3.Connection, change: Callable[[sqlite3.Connection], bool]) -> bool:
        self._check_disk(connection)
        connection.execute("BEGIN IMMEDIATE")
        try:
            result = change(connection)
            connection.execute("COMMIT")
        finally:
            if connection.in_transaction:
                with suppress(sqlite3.Error):
                    connection.execute("ROLLBACK")
        if self._surplus_bytes >= _PAGE_BYTES:
            # Not `execute`, which frees one page only: it stops at the first row of a statement without columns.
            connection.executescript(f"PRAGMA incremental_vacuum({self._surplus_bytes // _PAGE_BYTES})")
            self._surplus_bytes = 0
        return result

    def _insert(self, connection: sqlite3.Connection, key: str, body: bytes, checksum: int) -> bool:
        self._make_room(connection, len(body) + _ROW_BYTES)
        connection.execute(_INSERT, (key, self._clock(), checksum, body))
        self._unchecked_bytes += len(body)
        return True

    def _renew(self, connection: sqlite3.Connection, key: str) -> bool:
        connection.execute(_RENEW, (self._clock(), key))
        return True

    def _make_room(self, connection: sqlite3.Connection, new_bytes: int) -> None:
        """Delete what is too old, and the oldest objects until `new_bytes` fit."""
        if new_bytes > self._max_bytes - MAX_LOG_BYTES:
            raise TooLargeError(f"{self._path}: an object of {new_bytes} bytes is larger than the store")
        file_bytes = _PAGE_BYTES * _number(connection, "PRAGMA page_count")
        if file_bytes + new_bytes <= self._allowed_bytes and self._clock() < self._oldest_expires_at:
            return
        free_bytes = _PAGE_BYTES * _number(connection, "PRAGMA freelist_count")
        excess_bytes = file_bytes - free_bytes + new_bytes - self._allowed_bytes
        last, number, freed_bytes = self._oldest(connection, excess_bytes, max_bytes=new_bytes + _EXTRA_BYTES_EVICTED)
        free_bytes += freed_bytes
        if freed_bytes < excess_bytes and free_bytes < new_bytes:
            raise StorageError(sentences.STORE_FULL, f"{self._path}: the disk leaves no room for {new_bytes} bytes")
        if number:
            connection.execute(_DELETE, (last,))
            self._metrics.count(STORE_EVICTED, number)
        self._surplus_bytes = min(file_bytes - self._allowed_bytes, free_bytes - new_bytes, _EXTRA_BYTES_EVICTED)

    def _oldest(self, connection: sqlite3.Connection, excess_bytes: int, *, max_bytes: int) -> tuple[int, int, int]:
        """Find the objects that are too old, and the oldest that have `excess_bytes`, but not more than about `max_bytes`.

        Return the id of the last one, their number and their bytes.
        """
        oldest_allowed = self._oldest_allowed()
        self._oldest_expires_at = self._clock() + self._max_age_seconds  # of an object written at this moment
        last = number = found_bytes = 0
        for object_id, written, size in connection.execute(_OLDEST):
            if found_bytes >= max_bytes or (found_bytes >= excess_bytes and written >= oldest_allowed):
                self._oldest_expires_at = written + self._max_age_seconds
                break
            last, number, found_bytes = object_id, number + 1, found_bytes + size + _ROW_BYTES
        return last, number, found_bytes

    def _check_disk(self, connection: sqlite3.Connection) -> None:
        """Measure what the disk leaves to the store, and shorten a log that a large image or a slow reader made long."""
        if time.monotonic() < self._next_check_at and self._unchecked_bytes < MAX_LOG_BYTES:
            return
        if self._log_bytes() > MAX_LOG_BYTES:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            if self._log_bytes() > 4 * MAX_LOG_BYTES:
                raise StorageError(sentences.STORE_LOCKED, f"{self._log_path}: held by a process that stopped while reading")
        disk = os.statvfs(self._directory)
        reserve = min(disk.f_blocks * disk.f_frsize // 4, MAX_DISK_RESERVE_BYTES)
        left = self._path.stat().st_size + self._log_bytes() + disk.f_bavail * disk.f_frsize - reserve
        self._allowed_bytes = min(self._max_bytes, left) - MAX_LOG_BYTES
        self._next_check_at = time.monotonic() + _CHECK_SECONDS
        self._unchecked_bytes = 0

    def _log_bytes(self) -> int:
        try:
            return self._log_path.stat().st_size
        except FileNotFoundError:
            return 0

    def _open(self) -> None:
        with self._opening, self._gate, self._lock:
            if self._connection is None:
                try:
                    self._connect()
                except (sqlite3.Error, OSError) as error:
                    raise self._failed(error) from error

    def _connect(self) -> sqlite3.Connection:
        """Open the file, create it or replace it, and return the connection.

        The caller holds the gate, so that no other process replaces the file at the same time.
        """
        if self._is_closed:
            raise StorageError(sentences.STORE_UNUSABLE, f"{self._path}: closed")
        if self._damaged_id is not None and self._damaged_id == file_id(self._path):
            self._delete_files()
        self._damaged_id = None
        try:
            connection = _prepared_connection(self._path)
        except sqlite3.Error as error:
            failure = from_sqlite_error(error, self._path)
            if not isinstance(failure, DamagedError):
                raise
            _log.warning("the store is damaged and is replaced: %s", failure.detail)
            self._delete_files()
            connection = _prepared_connection(self._path)
        self._file_id = file_id(self._path)
        self._connection = connection
        return connection

    def _disconnect(self) -> None:
        if self._connection is not None:
            with suppress(sqlite3.Error):
                self._connection.close()
            self._connection = None

    def _discard(self, failure: DamagedError) -> None:
        """Close a damaged file. `_connect` replaces it, unless another process has done so."""
        _log.warning("the store is damaged and is replaced: %s", failure.detail)
        self._disconnect()
        self._damaged_id = self._file_id

    def _delete_files(self) -> None:
        for suffix in ("", "-wal", "-shm"):
            self._path.with_name(self._path.name + suffix).unlink(missing_ok=True)

    def _failed(self, error: sqlite3.Error | OSError) -> StorageError:
        """Return the failure that an error stands for, after closing the file if it is damaged or cannot be used."""
        if isinstance(error, OSError):
            return from_os_error(error, self._path)
        failure = from_sqlite_error(error, self._path)
        if isinstance(failure, DamagedError):
            self._discard(failure)
        elif failure.reason not in (sentences.STORE_FULL, sentences.STORE_LOCKED):
            self._disconnect()
        return failure


def _prepared_connection(path: Path) -> sqlite3.Connection:
    """Return a connection to the database at `path`; create its table if it is new. Raises sqlite3.Error."""
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=_BUSY_SECONDS)
    try:
        for pragma in _PRAGMAS:
            connection.execute(f"PRAGMA {pragma}").fetchall()
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if version != _SCHEMA_VERSION:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute(_SCHEMA)  # fails if another version has created it, so that the file is replaced
            connection.execute(f"PRAGMA user_version={_SCHEMA_VERSION}")
            connection.execute("COMMIT")
    except BaseException:
        connection.close()
        raise
    return connection


def _number(connection: sqlite3.Connection, query: str) -> int:
    (number,) = connection.execute(query).fetchone()
    return int(number)


def _checksum(key: str, body: bytes) -> int:
    return zlib.crc32(body, zlib.crc32(key.encode()))
