"""Artifacts in an object store, through obstore: one API over a directory, memory, S3, Azure Blob and Google Cloud."""

from pathlib import Path

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError, NotFoundError
from obstore.store import LocalStore, MemoryStore

from asciist.errors import ArtifactNotFoundError, UnavailableError


class ObjectStore:
    """An ArtifactStore over any store that obstore knows."""

    def __init__(self, store: LocalStore | MemoryStore) -> None:
        self._store = store

    @classmethod
    def in_directory(cls, directory: Path) -> "ObjectStore":
        """Artifacts as files; the directory is made if it is not there. Raises UnavailableError."""
        try:
            return cls(LocalStore(directory, mkdir=True))
        except (BaseError, OSError) as error:
            raise UnavailableError(f"cannot use {directory}: {error}") from error

    @classmethod
    def in_memory(cls) -> "ObjectStore":
        """Artifacts that end with the process."""
        return cls(MemoryStore())

    def get(self, key: str) -> bytes:
        try:
            return bytes(obstore.get(self._store, key).bytes())
        except (NotFoundError, FileNotFoundError) as error:
            raise ArtifactNotFoundError(key) from error
        except (BaseError, OSError) as error:
            raise UnavailableError(f"get {key}: {error}") from error

    def put(self, key: str, body: bytes) -> None:
        try:
            obstore.put(self._store, key, body)
        except (BaseError, OSError) as error:
            raise UnavailableError(f"put {key}: {error}") from error

    def create(self, key: str, body: bytes) -> bool:
        try:
            obstore.put(self._store, key, body, mode="create")
        except (AlreadyExistsError, FileExistsError):
            return False
        except (BaseError, OSError) as error:
            raise UnavailableError(f"create {key}: {error}") from error
        return True
