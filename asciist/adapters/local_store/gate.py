"""A lock between processes."""

import fcntl
import os
import threading
import time
from pathlib import Path
from typing import Final

from asciist.adapters.local_store.failure import StorageError, from_os_error
from asciist.errors import sentences

MAX_WAIT_SECONDS: Final = 0.2
"""Maximum time to wait for the lock. A holder keeps it for less than a millisecond, unless its disk hangs or it is stopped."""
_POLL_SECONDS: Final = 0.0001
"""Time between two attempts: about what a holder needs to write an image of 40 kB."""

FileId = tuple[int, int]
"""Device and inode of a file: the same path may name another file later."""


def file_id(path: Path) -> FileId | None:
    """Return the identity of the file at a path; None if there is none. Raises OSError."""
    try:
        found = os.stat(path)  # noqa: PTH116 - called for each write, and Path.stat takes twice as long
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino


class Gate:
    """Context manager that lets one thread of one process in at a time.

    A process holds the file `.queue` while it waits for the file `.lock`, so a process that enters again at once has to wait
    for its turn. The operating system releases the locks of a process that dies. SQLite's own wait for a lock would sleep for
    up to 100 ms at a time inside the library; this one polls with `time.sleep`, so other greenlets run meanwhile.
    """

    def __init__(self, path: Path) -> None:
        """`path` is that of both files, without their suffixes. They are created with their directory when they are needed."""
        self._lock, self._queue = _FileLock(path.with_suffix(".lock")), _FileLock(path.with_suffix(".queue"))
        self._thread_lock = threading.Lock()

    def __enter__(self) -> None:
        """Wait for the lock. Raises StorageError if it is not free in time or its file cannot be opened."""
        self._thread_lock.acquire()
        try:
            deadline = time.monotonic() + MAX_WAIT_SECONDS
            self._queue.acquire(deadline)
            try:
                self._lock.acquire(deadline)
            finally:
                self._queue.release()
        except BaseException:
            self._thread_lock.release()
            raise

    def __exit__(self, *_error: object) -> None:
        self._lock.release()
        self._thread_lock.release()

    def close(self) -> None:
        """Close the files."""
        with self._thread_lock:
            self._lock.close()
            self._queue.close()


class _FileLock:
    """Exclusive lock on a file, which may be deleted and created again by others."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor: int | None = None
        self._file_id: FileId | None = None

    def acquire(self, deadline: float) -> None:
        """Wait for the lock until `deadline`, a time of `time.monotonic`. Raises StorageError."""
        try:
            while not self._try():
                if time.monotonic() >= deadline:
                    raise StorageError(sentences.STORE_LOCKED, f"{self._path}: locked by another process")
                time.sleep(_POLL_SECONDS)
        except OSError as error:
            raise from_os_error(error, self._path) from error

    def release(self) -> None:
        if self._descriptor is not None:
            fcntl.flock(self._descriptor, fcntl.LOCK_UN)

    def close(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _try(self) -> bool:
        if self._descriptor is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
            opened = os.fstat(self._descriptor)
            self._file_id = opened.st_dev, opened.st_ino
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        if file_id(self._path) == self._file_id:
            return True
        self.close()  # the file was deleted, and other processes lock another one
        return False
