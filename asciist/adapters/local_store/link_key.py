"""The secret of the embedded service's links, stored in the data directory across restarts."""

import logging
import os
import secrets
import stat
import tempfile
from pathlib import Path
from typing import Final

from asciist.adapters.local_store.failure import StorageError
from asciist.adapters.local_store.private import secure_directory

_BYTES: Final = 32
_log = logging.getLogger(__name__)


def secret_in(path: Path) -> str:
    """Return the secret in a file, which is created if it does not exist. Racing processes get the
    same secret.

    If the file cannot be created, log it and return a new secret.
    """
    try:
        secure_directory(path.parent)
        secret = _read(path)
        if not secret:  # no file, or one that a power failure has left empty
            _create(path)
            secret = _read(path)
    except (OSError, UnicodeDecodeError, StorageError) as error:
        _log.warning(
            "links are valid until the service stops, because their key cannot be kept: %s", error
        )
        return secrets.token_hex(_BYTES)
    return secret or secrets.token_hex(_BYTES)


def _read(path: Path) -> str:
    """Return the secret; empty if there is none. Raises OSError if others may read it, or if it is
    not a plain file."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return ""
    with os.fdopen(descriptor, encoding="ascii") as file:
        if stat.S_IMODE(os.fstat(descriptor).st_mode) & 0o077:
            raise PermissionError(f"{path} must have mode 0600, because it holds a secret")
        secret = file.read(1000).strip()
    return secret if len(secret) >= 2 * _BYTES else ""


def _create(path: Path) -> None:
    """Write a new secret beside the file, and give it the file's name unless another process was
    faster."""
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=path.name)  # mode 0600
    try:
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(secrets.token_hex(_BYTES) + "\n")
        try:
            path.hardlink_to(temporary)
        except FileExistsError:
            if not _read(path):
                Path(temporary).replace(path)
    finally:
        Path(temporary).unlink(missing_ok=True)
