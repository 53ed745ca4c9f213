"""The journal of a shift: a file with one writer that survives a crash at any moment.

Each line is a record, as JSON after its CRC-32, and is on the disk before the controller continues.
A crash can leave an incomplete last line, which is ignored: nothing was done because of it.
"""

import errno
import fcntl
import json
import os
import time
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Self

from asciist_migration.shift.ports import JournalError

Record = Mapping[str, Any]
"""An entry: `event` and `at` (seconds since the epoch), and the fields of the event."""

_POLL_SECONDS: Final = 0.1


class Journal:
    """An open journal, locked against other processes. A context manager."""

    def __init__(self, path: Path, *, wait_seconds: float = 0) -> None:
        """Open or create the journal. If another controller holds it, ask that controller to give
        way and wait.

        With `wait_seconds` of 0, no controller is asked. Raises JournalError if another controller
        still holds the journal, or if a record other than the last is damaged; OSError if the file
        cannot be used.
        """
        self._path = path
        self._request = path.with_name(f"{path.name}.give-way")
        self._file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            self._lock(wait_seconds)
            self._request.unlink(missing_ok=True)
            self.records, self._end = _parse(path)
            _sync_directory(path.parent)
        except BaseException:
            os.close(self._file)
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._file)  # which releases the lock

    @property
    def must_give_way(self) -> bool:
        """True if another controller waits for this one to end, in order to abort, pause or
        finish."""
        return self._request.exists()

    def append(self, record: Record) -> None:
        """Write a record to the disk. Raises OSError; the record may or may not exist after a
        restart."""
        line = _line(record)
        os.ftruncate(self._file, self._end)  # what a crash or a full disk has left of a line
        if os.pwrite(self._file, line, self._end) != len(line):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self._path))
        os.fsync(self._file)
        self._end += len(line)
        self.records.append(record)

    def _lock(self, wait_seconds: float) -> None:
        give_up = time.monotonic() + wait_seconds
        while True:
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() >= give_up:
                    raise JournalError(f"another controller holds {self._path}") from None
                self._request.touch()
                time.sleep(_POLL_SECONDS)
            else:
                return


def read(path: Path) -> list[Record]:
    """Return the records of a journal that another process may hold; empty without a journal.
    Raises JournalError."""
    return _parse(path)[0] if path.exists() else []


def _parse(path: Path) -> tuple[list[Record], int]:
    """Return the records, and their end in bytes. Raises JournalError if a record other than the
    last is damaged."""
    records: list[Record] = []
    end = 0
    *lines, _incomplete = path.read_bytes().split(b"\n")
    for number, line in enumerate(lines, 1):
        checksum, _, text = line.partition(b" ")
        if checksum != _checksum(text):
            if number == len(lines):
                break  # a page of the line did not reach the disk, although its end did
            raise JournalError(
                f"{path}, line {number}: damaged. Move the file away, and set the weights at the"
                " CDN by hand"
            )
        records.append(json.loads(text))
        end += len(line) + 1
    return records, end


def _line(record: Record) -> bytes:
    text = json.dumps(record, allow_nan=False).encode()
    return b"%b %b\n" % (_checksum(text), text)


def _checksum(text: bytes) -> bytes:
    return b"%08x" % zlib.crc32(text)


def _sync_directory(path: Path) -> None:
    """Write the directory to the disk; otherwise a new journal might have no name after a crash."""
    directory = os.open(path, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
