"""Artifacts in an object store, through obstore: one API over a directory, memory, S3, Azure Blob and Google Cloud."""

import os
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError, NotFoundError
from obstore.store import LocalStore, MemoryStore, S3Store

from asciist.errors import ArtifactNotFoundError, UnavailableError


class ObjectStore:
    """An ArtifactStore over any store that obstore knows."""

    def __init__(self, store: LocalStore | MemoryStore | S3Store) -> None:
        self._store = store

    @classmethod
    def in_directory(cls, directory: Path) -> "ObjectStore":
        """Artifacts as files; the directory is made if it is not there. Raises UnavailableError."""
        try:
            return cls(LocalStore(directory, mkdir=True))
        except (BaseError, OSError) as error:
            raise UnavailableError(f"cannot use {directory}: {error}") from error

    @classmethod
    def in_bucket(cls, bucket: str) -> "ObjectStore":
        """Artifacts in an S3 bucket; region, credentials and endpoint as the environment or the machine say."""
        return cls(
            S3Store(
                bucket,
                client_options={
                    "connect_timeout": timedelta(seconds=2),
                    "timeout": timedelta(seconds=5),
                    # obstore reads this variable itself, unless it is given other options
                    "allow_http": os.environ.get("AWS_ALLOW_HTTP", "").lower() == "true",
                },
                # Within a request's ten seconds. A worker that fails is tried again with its message.
                retry_config={"max_retries": 2, "retry_timeout": timedelta(seconds=6)},
            )
        )

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

    def exists(self, key: str) -> bool:
        try:
            obstore.head(self._store, key)
        except (NotFoundError, FileNotFoundError):
            return False
        except (BaseError, OSError) as error:
            raise UnavailableError(f"head {key}: {error}") from error
        return True

    def delete(self, key: str) -> None:
        """Remove an object; no error when there is none. Raises UnavailableError."""
        try:
            obstore.delete(self._store, key)
        except (NotFoundError, FileNotFoundError):
            pass
        except (BaseError, OSError) as error:
            raise UnavailableError(f"delete {key}: {error}") from error

    def ages(self, folder: str) -> Iterator[tuple[str, float]]:
        """(key, time of its last writing in seconds since the epoch) of each object below `folder`."""
        try:
            for batch in obstore.list(self._store, folder):
                for entry in batch:
                    yield entry["path"], entry["last_modified"].timestamp()
        except (BaseError, OSError) as error:
            raise UnavailableError(f"list {folder}: {error}") from error
