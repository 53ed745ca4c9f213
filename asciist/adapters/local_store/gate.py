"""A lock between processes."""

import fcntl
import os
import threading
import time
from pathlib import Path
from typing import Final

from asciist.adapters.local_store.failure import StorageError, from_os_error
from asciist.adapters.local_store.private import secure_directory, secure_file
from asciist.errors import sentences

# a holder needs less than a millisecond, unless its disk hangs or it is stopped
MAX_WAIT_SECONDS: Final = 0.2
"""Maximum seconds to wait for the lock."""
_POLL_SECONDS: Final = 0.0001
"""Seconds between two attempts: about the time to write an image of 40 kB."""
_TURN_SECONDS: Final = 0.001
"""Seconds after a release in which the same process must queue, so that waiting processes can take
the lock."""
_CHECK_SECONDS: Final = 0.2
"""Seconds between two checks whether the lock files have been deleted."""
_CLOSED: Final = -1

FileId = tuple[int, int]
"""Device and inode of a file. A path may name another file later."""


def file_id(path: Path) -> FileId | None:
    """Return the identity of the file or link at a path; None if there is neither. Raises
    OSError."""
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino


class Gate:
    """Context manager that admits one thread of one process at a time.

    A process that finds the lock `.lock` taken, or held it a moment ago, waits for it while holding
    the lock `.queue`, so a process that enters again and again has to wait for its turn. The
    operating system releases the locks of a process that dies. SQLite's own wait for a lock would
    sleep for up to 100 ms at a time inside the library; this one polls with `time.sleep`, so other
    greenlets run meanwhile.
    """

    def __init__(self, path: Path) -> None:
        """`path` is the common path of both files, without their suffixes. They are created with
        their directory on first use."""
        self._lock, self._queue = (
            _FileLock(path.with_suffix(".lock")),
            _FileLock(path.with_suffix(".queue")),
        )
        self._thread_lock = threading.Lock()
        self._direct_from = 0.0
        self._trusted_until = 0.0

    def __enter__(self) -> None:
        """Wait for the lock. Raises StorageError if it is not free in time or its file cannot be
        opened."""
        now = time.monotonic()
        self._thread_lock.acquire()
        try:
            if now >= self._trusted_until:
                self._lock.open()
                self._queue.open()
                self._trusted_until = now + _CHECK_SECONDS
            if now < self._direct_from or not self._lock.try_to_acquire():
                self._wait(now + MAX_WAIT_SECONDS)
        except BaseException:
            self._thread_lock.release()
            raise

    def __exit__(self, *_error: object) -> None:
        self._lock.release()
        self._direct_from = time.monotonic() + _TURN_SECONDS
        self._thread_lock.release()

    def distrust(self) -> None:
        """Check for deleted lock files when a thread enters next. Call it inside the gate."""
        self._trusted_until = 0.0

    def close(self) -> None:
        """Close the files."""
        with self._thread_lock:
            self._trusted_until = 0.0
            self._lock.close()
            self._queue.close()

    def _wait(self, deadline: float) -> None:
        self._queue.acquire(deadline)
        try:
            self._lock.acquire(deadline)
        finally:
            self._queue.release()


class _FileLock:
    """Exclusive lock on a file, which others may delete and create again."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor = _CLOSED

    def open(self) -> None:
        """Open the file, unless the open file is the one at the path. Raises StorageError."""
        try:
            if self._descriptor != _CLOSED:
                opened = os.fstat(self._descriptor)
                if file_id(self._path) == (opened.st_dev, opened.st_ino):
                    return
                self.close()
            secure_directory(self._path.parent)
            secure_file(self._path)
            # Another process may have deleted it since.
            self._descriptor = os.open(
                self._path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600
            )
        except OSError as error:
            raise from_os_error(error, self._path) from error

    def try_to_acquire(self) -> bool:
        """Return whether the lock was free and is held. Raises StorageError."""
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError as error:
            raise from_os_error(error, self._path) from error
        return True

    def acquire(self, deadline: float) -> None:
        """Wait for the lock until `deadline`, a time of `time.monotonic`. Raises StorageError."""
        while not self.try_to_acquire():
            if time.monotonic() >= deadline:
                raise StorageError(
                    sentences.STORE_LOCKED, f"{self._path}: locked by another process"
                )
            time.sleep(_POLL_SECONDS)

    def release(self) -> None:
        fcntl.flock(self._descriptor, fcntl.LOCK_UN)

    def close(self) -> None:
        if self._descriptor != _CLOSED:
            os.close(self._descriptor)
            self._descriptor = _CLOSED
