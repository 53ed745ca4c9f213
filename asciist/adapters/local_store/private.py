"""Keeps the data directory and its files private to the account of the service.

They contain other people's images. If others could write to the directory, they could plant links
that redirect the store's writes to other files. Therefore new files are private, existing ones are
checked, and links in the directory are not followed.
"""

import os
import re
import stat
from pathlib import Path
from typing import Final

from asciist.adapters.local_store.failure import StorageError
from asciist.errors import sentences

_STORED: Final = re.compile(r"artifacts\..*|link\.key.*")
"""Names that the service creates in the directory."""


def secure_directory(directory: Path) -> None:
    """Create the directory and its parents unless they exist, and make it private if it contains
    only files of the store.

    A directory with other files is accepted if only this account can write to it. Raises
    StorageError, OSError.
    """
    _make(directory)
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        found = os.fstat(descriptor)
        if found.st_uid != os.geteuid():
            raise StorageError(
                sentences.STORE_NOT_PRIVATE, f"{directory}: belongs to another account"
            )
        if found.st_mode & 0o077 and _has_only_stored_files(descriptor):
            os.fchmod(descriptor, 0o700)
        elif found.st_mode & 0o022:
            detail = f"{directory}: other accounts can write to it, and it has other files"
            raise StorageError(sentences.STORE_NOT_PRIVATE, detail)
    finally:
        os.close(descriptor)


def _make(directory: Path) -> None:
    """Create a directory and its missing parents with mode 0700. With `Path.mkdir`, the umask would
    determine the mode of the parents."""
    try:
        directory.mkdir(mode=0o700, exist_ok=True)
    except FileNotFoundError:
        _make(directory.parent)
        directory.mkdir(mode=0o700, exist_ok=True)


def _has_only_stored_files(directory: int) -> bool:
    with os.scandir(directory) as entries:
        return all(_STORED.fullmatch(entry.name) for entry in entries)


def secure_file(path: Path) -> None:
    """Create an empty file unless it exists, and make it private. Raises StorageError, OSError.

    An existing file is not opened: closing it would release the locks that SQLite holds on it in
    this process.
    """
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    except FileExistsError:
        secure_existing_file(path)


def secure_existing_file(path: Path) -> None:
    """Make a file private if it exists. Raises StorageError if it is a link or belongs to another
    account; OSError."""
    try:
        found = path.lstat()
    except FileNotFoundError:
        return
    # of two names of a file, one may be outside the directory
    if not stat.S_ISREG(found.st_mode) or found.st_nlink > 1:
        raise StorageError(sentences.STORE_NOT_PRIVATE, f"{path}: a link, or not a file")
    if found.st_uid != os.geteuid():
        raise StorageError(sentences.STORE_NOT_PRIVATE, f"{path}: belongs to another account")
    if found.st_mode & 0o077:
        path.chmod(0o600)
