"""The database file of the local store: SQLite with a write-ahead log, bounded in bytes and in age,
shared by processes.

- Objects are staged in memory. One transaction writes all that are due, or none. A new object is
  due when another one of its folder is put: until then it is read from memory.
- Readers never wait: they see the last committed state. Writers of all processes wait at a `Gate`,
  for their turn.
- Bounds are kept by the writes. Before each, the oldest objects are deleted until the new ones have
  room; objects that are to be kept go last.
- A process that is killed loses at most what is staged. Nothing waits for the disk
  (`synchronous=off`), so a power failure may damage the file. Damage is detected by SQLite or by
  the checksum of an object, and the file is replaced by an empty one.
- The file may be deleted at any time: the next write creates another.
"""

import logging
import os
import sqlite3
import threading
import zlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from asciist.adapters.local_store import bounds
from asciist.adapters.local_store.backoff import Backoff
from asciist.adapters.local_store.failure import (
    DamagedError,
    StorageError,
    TooLargeError,
    from_os_error,
    from_sqlite_error,
)
from asciist.adapters.local_store.gate import FileId, Gate, file_id
from asciist.adapters.local_store.overflow import Overflow
from asciist.adapters.local_store.private import secure_existing_file, secure_file
from asciist.errors import sentences
from asciist.protocol.ports import Metrics

_log = logging.getLogger(__name__)

_CHECKPOINT_PAGES: Final = 64  # takes about 0.3 ms
"""Pages of the write-ahead log after which a write copies them to the database: 0.5 MB."""
# they fit into the bound of the log, and writing them takes about 10 ms
MAX_STAGED_BYTES: Final = 4_000_000
"""Size of the staged objects above which they are written at once: about 80 images of 42 kB."""
_MAX_WAITING_BYTES: Final = 8 * MAX_STAGED_BYTES
"""Size of the staged objects above which no more are staged, because a write is waiting for the
lock."""
_BUSY_SECONDS: Final = 0.02
"""Maximum seconds that SQLite waits for a lock inside its library, for example during recovery of a
killed process's log."""
_SCHEMA_VERSION: Final = 1
_SCHEMA: Final = """
    CREATE TABLE objects (
        id INTEGER PRIMARY KEY,  -- in the order of eviction, see bounds.py
        key TEXT NOT NULL UNIQUE,
        written REAL NOT NULL,   -- seconds since the epoch
        checksum INTEGER NOT NULL,
        body BLOB NOT NULL       -- last, so that the other columns are read without it
    )
"""
_PRAGMAS: Final = (
    f"page_size={bounds.PAGE_BYTES}",
    "auto_vacuum=incremental",  # so that the file can shrink; costs 5% of a write
    "journal_mode=wal",
    "synchronous=off",
    f"wal_autocheckpoint={_CHECKPOINT_PAGES}",
    f"journal_size_limit={bounds.MAX_LOG_BYTES}",
    "secure_delete=off",  # some builds overwrite what they delete by default
)
_GET: Final = "SELECT written, checksum, body FROM objects WHERE key = ?"
_FIND: Final = "SELECT written FROM objects WHERE key = ?"
_DELETE: Final = "DELETE FROM objects WHERE key >= ? AND key < ?"


class Database:
    """Objects by key in one file. Every method but `close` raises StorageError."""

    def __init__(
        self,
        directory: Path,
        overflow: Overflow,
        *,
        max_bytes: int,
        max_age_seconds: float,
        metrics: Metrics,
        clock: Callable[[], float],
    ) -> None:
        """Open nothing yet, so that a process can fork. `clock` returns seconds since the epoch.

        Objects that cannot be written move to `overflow`.
        """
        self._path = directory / "artifacts.sqlite3"
        # for each write, because a Path is converted by each call of `os.stat`
        self._path_string = str(self._path)
        self._overflow = overflow
        self._clock = clock
        self._bounds = bounds.Bounds(
            self._path, max_bytes=max_bytes, max_age_seconds=max_age_seconds, metrics=metrics
        )
        self._gate = Gate(directory / "artifacts")
        self._opening = Backoff()
        self.writing = Backoff()
        self.has_written = False
        # held while statements run and objects are staged, never while waiting for the gate
        self._lock = threading.Lock()
        self.staged: dict[str, bytes] = {}
        """Objects not yet in the file, for reading."""
        self.staged_bytes = 0
        """Approximate space that the staged objects will take in the file."""
        self._due: set[str] = set()  # keys of the staged objects that the next write writes
        self._created: dict[str, list[str]] = {}  # keys of the others, by folder
        self._connection: sqlite3.Connection | None = None
        self._is_closed = False
        self._file_id: FileId | None = None
        self._damaged_id: FileId | None = None

    def get(self, key: str) -> bytes | None:
        """Return an object of the file, or None if there is none."""
        row = self._read(_GET, key)
        if row is None or not self._is_allowed(row):
            return None
        _, checksum, body = row
        if not isinstance(body, bytes) or checksum != _checksum(key, body):
            failure = DamagedError(f"{self._path}: the checksum of {key} is wrong")
            with self._lock:
                self._discard(failure)
            raise failure
        return body

    def exists(self, key: str) -> bool:
        """Return whether an object is in the file, and renew it if it is among the oldest
        quarter."""
        if not self._is_allowed(self._read(_FIND, key)):
            return False
        self._renew_if_old(key)
        return True

    def stage(self, key: str, body: bytes, *, is_new: bool) -> bool:
        """Hold an object in memory until `write_staged`, replacing any previous one unless it must
        be new.

        Return whether it was staged. Exactly one of several racing threads stages a new object.
        """
        if self.writing.failure is not None:
            self.writing.check()
        size = len(body) + bounds.PAGE_BYTES  # the last page of an object is partly empty
        if size > self._bounds.max_bytes:
            raise TooLargeError(
                f"{self._path}: an object of {len(body)} bytes is larger than the store"
            )
        if self.staged_bytes >= _MAX_WAITING_BYTES:
            raise StorageError(
                sentences.STORE_LOCKED,
                f"{self._path}: {self.staged_bytes} bytes wait to be written",
            )
        if is_new and self._connection is None:
            self._open()
        with self._lock:
            is_staged = not is_new or not (
                key in self.staged
                or key in self._overflow.bodies
                or self._is_allowed(self._row(_FIND, key))
            )
            if is_staged:
                if key in self.staged:
                    size -= len(self.staged[key]) + bounds.PAGE_BYTES
                self.staged[key] = body
                self.staged_bytes += size
                if is_new:
                    self._created.setdefault(_folder(key), []).append(key)
                else:
                    self._due.add(key)
                    self._due.update(self._created.pop(_folder(key), ()))
                return True
        self._renew_if_old(key)
        return False

    def write_staged(self, renewed_key: str = "", *, all_of_them: bool = False) -> None:
        """Write the staged objects that are due, unless another thread has done so, and renew an
        object.

        Write them again if the file proves to be damaged or deleted and is replaced. On failure,
        move all staged objects to the overflow.
        """
        if all_of_them:
            with self._lock:
                self._due.update(self.staged)
                self._created.clear()
        if not self._due and not renewed_key:
            return
        try:
            try:
                self._write_once(renewed_key)
            except DamagedError:
                self._write_once(renewed_key)
        except StorageError as failure:
            with self._lock:
                for key, body in self.staged.items():
                    self._overflow.put(key, body)
                self.staged.clear()
                self.staged_bytes = 0
                self._due.clear()
                self._created.clear()
                self.writing.note(failure)
            raise

    def keep(self, *keys: str) -> None:
        """Make objects of the file kept ones."""
        if self._connection is None:
            self._open()
        with self._gate, self._lock:
            try:
                for key in keys:
                    self._bounds.keep(self._current_connection(), key, self._clock())
            except (sqlite3.Error, OSError) as error:
                raise self._failed(error) from error

    def delete_folder(self, folder: str) -> bool:
        """Delete every object of a folder, from the file and from memory; return whether there were
        any."""
        return self._delete(f"{folder}/", f"{folder}0")  # 0 follows the slash

    def delete(self, key: str) -> None:
        """Delete an object, from the file and from memory."""
        self._delete(key, f"{key}\0")

    def _delete(self, first: str, end: str) -> bool:
        """Delete the objects with keys from `first` up to, not including, `end`; return whether
        there were any.

        Retry if the file proves to be damaged or deleted and is replaced.
        """
        try:
            return self._delete_once(first, end)
        except DamagedError:
            return self._delete_once(first, end)

    def _delete_once(self, first: str, end: str) -> bool:
        with self._lock:  # also if the file cannot be opened
            found = self._delete_from_memory(first, end)
        if self._connection is None:
            self._open()
        with self._gate, self._lock:
            found |= self._delete_from_memory(first, end)
            try:
                cursor = self._current_connection().execute(_DELETE, (first, end))
            except (sqlite3.Error, OSError) as error:
                raise self._failed(error) from error
            return found or cursor.rowcount > 0

    def _delete_from_memory(self, first: str, end: str) -> bool:
        staged = [key for key in self.staged if first <= key < end]
        kept = [key for key in list(self._overflow.bodies) if first <= key < end]
        for key in staged:
            self.staged_bytes -= len(self.staged.pop(key)) + bounds.PAGE_BYTES
            if key in self._created.get(_folder(key), ()):
                self._created[_folder(key)].remove(key)
        self._created = {folder: keys for folder, keys in self._created.items() if keys}
        for key in kept:
            self._overflow.remove(key)
        return bool(staged or kept)

    def close(self) -> None:
        """Close the files. Every later call raises StorageError."""
        with self._lock:
            self._is_closed = True
            self._disconnect()
        self._gate.close()

    def _is_allowed(self, row: tuple[Any, ...] | None) -> bool:
        """Return whether a row contains an object that is not too old."""
        return row is not None and row[0] >= self._clock() - self._bounds.max_age_seconds

    def _renew_if_old(self, key: str) -> None:
        """Make an object of the oldest quarter the newest one, because it is about to be read."""
        with suppress(StorageError):
            if self._read(bounds.IS_OLD, key) == (True,):
                self.writing.check()
                self.write_staged(renewed_key=key)

    def _read(self, query: str, key: str) -> tuple[Any, ...] | None:
        if self._connection is None:
            self._open()
        with self._lock:
            return self._row(query, key)

    def _row(self, query: str, key: str) -> tuple[Any, ...] | None:
        """Return the first row of a query, or None if there is none. The caller holds the lock."""
        if self._connection is None:
            raise StorageError(sentences.STORE_UNUSABLE, f"{self._path}: closed")
        try:
            row: tuple[Any, ...] | None = self._connection.execute(query, (key,)).fetchone()
        except sqlite3.Error as error:
            raise self._failed(error) from error
        return row

    def _write_once(self, renewed_key: str) -> None:
        if self._connection is None:
            self._open()
        with self._gate, self._lock:
            if not self._due and not renewed_key:
                return
            try:
                connection = self._current_connection()
                if renewed_key:
                    connection.execute(bounds.RENEW, (self._clock(), renewed_key))
                if self._due:
                    self._insert_due(connection)
            except (sqlite3.Error, OSError) as error:
                raise self._failed(error) from error
            self.writing.failure = None
            self.has_written = True

    def _current_connection(self) -> sqlite3.Connection:
        """Return the connection. Raises DamagedError if it is closed, or if the file has been
        deleted or replaced."""
        try:
            # called for each write, and Path.lstat takes twice as long
            found = os.lstat(self._path_string)
        except FileNotFoundError:
            found = None
        if (
            self._connection is None
            or found is None
            or (found.st_dev, found.st_ino) != self._file_id
        ):
            self._disconnect()
            self._gate.distrust()
            raise DamagedError(f"{self._path}: closed or deleted")
        # other processes write, too
        self._bounds.file_bytes = max(self._bounds.file_bytes, found.st_size)
        return self._connection

    def _insert_due(self, connection: sqlite3.Connection) -> None:
        now = self._clock()
        # or it has been deleted
        due = {key: self.staged[key] for key in self._due if key in self.staged}
        size = sum(map(len, due.values())) + bounds.PAGE_BYTES * len(due)
        self._bounds.make_room(connection, size, now)
        with connection:  # commits, or rolls back after an error
            connection.execute("BEGIN IMMEDIATE")
            connection.executemany(
                bounds.INSERT,
                [(key, key, now, _checksum(key, body), body) for key, body in due.items()],
            )
        for key in due:
            del self.staged[key]
            if self._overflow.bodies:
                self._overflow.remove(key)
        self.staged_bytes -= size
        self._due.clear()

    def _open(self) -> None:
        self._opening.check()
        try:
            with self._gate, self._lock:
                if self._connection is None:
                    try:
                        self._connect()
                    except (sqlite3.Error, OSError) as error:
                        raise self._failed(error) from error
        except StorageError as failure:
            self._opening.note(failure)
            raise
        self._opening.failure = None

    def _connect(self) -> None:
        """Open the file, create it or replace it.

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
        self._bounds.next_check_at = 0.0

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
        """Return the failure for an error, after closing the file if it is damaged or unusable."""
        if isinstance(error, OSError):
            return from_os_error(error, self._path)
        failure = from_sqlite_error(error, self._path)
        if isinstance(failure, DamagedError):
            self._discard(failure)
        elif failure.reason not in (sentences.STORE_FULL, sentences.STORE_LOCKED):
            self._disconnect()
        return failure


def _prepared_connection(path: Path) -> sqlite3.Connection:
    """Return a connection to the database at `path`; create its table if it is new.

    SQLite creates its other files with the mode of the database. Raises sqlite3.Error,
    StorageError, OSError.
    """
    secure_file(path)
    for suffix in ("-wal", "-shm", "-journal"):
        secure_existing_file(path.with_name(path.name + suffix))
    connection = sqlite3.connect(
        path, isolation_level=None, check_same_thread=False, timeout=_BUSY_SECONDS
    )
    try:
        for pragma in _PRAGMAS:
            connection.execute(f"PRAGMA {pragma}").fetchall()
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if version != _SCHEMA_VERSION:
            connection.execute("BEGIN IMMEDIATE")
            # fails if another version has created it, so that the file is replaced
            connection.execute(_SCHEMA)
            connection.execute(f"PRAGMA user_version={_SCHEMA_VERSION}")
            connection.execute("COMMIT")
    except BaseException:
        connection.close()
        raise
    return connection


def _folder(key: str) -> str:
    return key.partition("/")[0]


def _checksum(key: str, body: bytes) -> int:
    return zlib.crc32(body, zlib.crc32(key.encode()))
