"""Removal of the files in which earlier versions stored artifacts: one file for each object, in a folder for each image."""

import fcntl
import os
import re
import threading
from collections.abc import Generator
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Final

_FOLDER: Final = re.compile("[0-9a-f]{64}")
"""Name of the folder of an image: its SHA-256 digest."""
_FILES_A_STEP: Final = 8
"""Files removed without a pause, in about 0.2 ms."""
_PAUSE_SECONDS: Final = 0.005
"""Pause after each step: 60,000 files in 20,000 folders take about 90 seconds, and less than a tenth of a core."""

_Removals = Generator[None, None, None]


class OlderFiles:
    """Files of earlier versions in a data directory, removed in the background. Other files are left alone."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start the removal, unless this process has started it before. It does nothing while another process does it."""
        if self._thread is None and not self._stopping.is_set():
            self._thread = threading.Thread(target=self._run, name="older-files", daemon=True)
            self._thread.start()

    def close(self) -> None:
        """Stop the removal after its current step; the next process continues it."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        with suppress(OSError):  # the next process tries again
            descriptor = os.open(self._directory, os.O_RDONLY | os.O_CLOEXEC)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                self._remove_all(descriptor)
            finally:
                os.close(descriptor)

    def _remove_all(self, descriptor: int) -> None:
        removals = self._removals(descriptor)
        while not self._stopping.is_set() and list(islice(removals, _FILES_A_STEP)):
            self._stopping.wait(_PAUSE_SECONDS)
        removals.close()

    def _removals(self, descriptor: int) -> _Removals:
        with os.scandir(descriptor) as entries:
            for entry in entries:
                if _FOLDER.fullmatch(entry.name) and entry.is_dir(follow_symlinks=False):
                    yield from _remove(entry.name, descriptor)


def _remove(folder: str, parent: int) -> _Removals:
    """Remove a folder and all below it, one file or folder for each item of the iterator. Skip what cannot be removed.

    `parent` is an open directory. A link is removed, not followed: `os.fwalk` enters only the folders that it has seen.
    """
    with suppress(OSError):
        for _, folders, files, descriptor in os.fwalk(folder, topdown=False, dir_fd=parent):
            for name in files:
                with suppress(OSError):
                    os.unlink(name, dir_fd=descriptor)
                yield
            for name in folders:
                with suppress(OSError):
                    _remove_empty(name, descriptor)
                yield
        os.rmdir(folder, dir_fd=parent)
    yield


def _remove_empty(name: str, parent: int) -> None:
    """Remove an empty folder, or a link to a folder. Raises OSError."""
    try:
        os.rmdir(name, dir_fd=parent)
    except NotADirectoryError:
        os.unlink(name, dir_fd=parent)
