"""Failures of the local store, translated from errors of SQLite and of the operating system."""

import errno
import os
import sqlite3
from contextlib import suppress
from pathlib import Path
from typing import Final

from asciist.errors import UnavailableError, sentences


class StorageError(UnavailableError):
    """The disk or the database failed. `reason` is a sentence for clients; the message contains the
    details for the log."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


class DamagedError(StorageError):
    """The database file is damaged."""

    def __init__(self, detail: str) -> None:
        super().__init__(sentences.STORE_DAMAGED, detail)


class TooLargeError(StorageError):
    """The object is larger than the size bound of the store."""

    def __init__(self, detail: str) -> None:
        super().__init__(sentences.STORE_FULL, detail)


_UNWRITABLE: Final = frozenset({errno.EROFS, errno.EACCES, errno.EPERM})
_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})


def from_os_error(error: OSError, path: Path) -> StorageError:
    """Translate an error of the operating system into a failure."""
    if error.errno in _FULL:
        reason = sentences.STORE_FULL
    elif error.errno in _UNWRITABLE:
        reason = sentences.STORE_UNWRITABLE
    else:
        reason = sentences.STORE_UNUSABLE
    return StorageError(reason, f"{path}: {error.strerror or error}")


_REASONS: Final = {
    sqlite3.SQLITE_FULL: sentences.STORE_FULL,
    sqlite3.SQLITE_READONLY: sentences.STORE_UNWRITABLE,
    sqlite3.SQLITE_PERM: sentences.STORE_UNWRITABLE,
    sqlite3.SQLITE_BUSY: sentences.STORE_LOCKED,
    sqlite3.SQLITE_LOCKED: sentences.STORE_LOCKED,
}
# includes `SQLITE_ERROR`: our statements are correct, so the schema must be foreign
_DAMAGE: Final = frozenset(
    {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR, sqlite3.SQLITE_MISMATCH}
)
"""Result codes of a damaged database."""
_PRIMARY_CODE: Final = 0xFF
"""Mask of the primary code in an extended result code (https://www.sqlite.org/rescode.html)."""


def from_sqlite_error(error: sqlite3.Error, path: Path) -> StorageError:
    """Translate an error of SQLite into a failure."""
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_INTERNAL) & _PRIMARY_CODE
    detail = f"{path}: {error}"
    if code in _DAMAGE:
        return DamagedError(detail)
    # SQLite reports some writes to a full disk like this
    if code == sqlite3.SQLITE_IOERR and _is_full(path.parent):
        return StorageError(sentences.STORE_FULL, detail)
    return StorageError(_REASONS.get(code, sentences.STORE_UNUSABLE), detail)


def _is_full(directory: Path) -> bool:
    with suppress(OSError):
        return os.statvfs(directory).f_bavail == 0
    return False
