"""Artifact store through obstore, which has one API for memory, S3, Azure Blob and Google Cloud Storage."""

import os
from collections.abc import Iterator
from datetime import timedelta
from typing import TYPE_CHECKING, Final

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError, NotFoundError, PermissionDeniedError
from obstore.store import AzureStore, MemoryStore, S3Store

from asciist.adapters.native_threads import offload
from asciist.errors import ArtifactNotFoundError, SettingsError, UnavailableError

if TYPE_CHECKING:
    from obstore.store import ClientConfig, RetryConfig

_ACCESS_DENIED: Final = "<Code>AccessDenied</Code>"
"""Part of S3's answer to a request that no policy allows, and of its answer to reading an absent object without permission to
list the bucket. Other refusals, such as that of a machine with a wrong clock, have other codes."""

_RETRIES: Final["RetryConfig"] = {"max_retries": 2, "retry_timeout": timedelta(seconds=6)}
"""Retries end within the default request timeout of 10 s. After that, a worker's message is redelivered."""


class ObjectStore:
    """ArtifactStore on an obstore store: memory, an S3 bucket or a container of Azure Blob Storage.

    In S3, it needs no permission to list the bucket: an object that it may not read counts as absent, which
    docs/decisions/0027-least-privilege.md explains.
    """

    def __init__(self, store: MemoryStore | S3Store | AzureStore) -> None:
        self._store = store

    @classmethod
    def in_bucket(cls, bucket: str) -> "ObjectStore":
        """Store artifacts in an S3 bucket. The environment or the machine's role gives region, credentials and endpoint."""
        return cls(S3Store(bucket, client_options=_client_options("AWS_ALLOW_HTTP"), retry_config=_RETRIES))

    @classmethod
    def in_container(cls, container: str) -> "ObjectStore":
        """Store artifacts in a container of Azure Blob Storage. The environment gives the account and its key, if it has one.

        Without a key, the machine's managed identity is used. Raises SettingsError if no account is named.
        """
        options = _client_options("AZURE_ALLOW_HTTP")
        try:
            return cls(AzureStore(container, client_options=options, retry_config=_RETRIES))
        except BaseError as error:
            reason = str(error).partition("\n")[0]
            raise SettingsError(f"AZURE_STORAGE_ACCOUNT_NAME or another variable of Azure: {reason}") from error

    @classmethod
    def in_memory(cls) -> "ObjectStore":
        """Store artifacts in memory, for the lifetime of the process."""
        return cls(MemoryStore())

    def get(self, key: str) -> bytes:
        try:
            return offload(lambda: bytes(obstore.get(self._store, key).bytes()))
        except (NotFoundError, FileNotFoundError) as error:
            raise ArtifactNotFoundError(key) from error
        except (BaseError, OSError) as error:
            if isinstance(error, PermissionDeniedError) and _ACCESS_DENIED in str(error):
                raise ArtifactNotFoundError(key) from error
            raise UnavailableError(f"get {key}: {error}") from error

    def put(self, key: str, body: bytes) -> None:
        try:
            offload(obstore.put, self._store, key, body)
        except (BaseError, OSError) as error:
            raise UnavailableError(f"put {key}: {error}") from error

    def create(self, key: str, body: bytes) -> bool:
        try:
            offload(obstore.put, self._store, key, body, mode="create")
        except (AlreadyExistsError, FileExistsError):
            return False
        except (BaseError, OSError) as error:
            raise UnavailableError(f"create {key}: {error}") from error
        return True

    def exists(self, key: str) -> bool:
        # By listing its folder, since a HEAD request needs permission to read the object.
        folder = key.rpartition("/")[0]
        try:
            listed = offload(obstore.list_with_delimiter, self._store, folder)
        except (BaseError, OSError) as error:
            raise UnavailableError(f"list {folder}: {error}") from error
        return any(entry["path"] == key for entry in listed["objects"])

    def delete(self, key: str) -> None:
        """Delete an object; deleting a missing object is no error. Raises UnavailableError."""
        try:
            offload(obstore.delete, self._store, key)
        except (NotFoundError, FileNotFoundError):
            pass
        except (BaseError, OSError) as error:
            raise UnavailableError(f"delete {key}: {error}") from error

    def delete_folder(self, folder: str) -> None:
        try:
            batches = iter(obstore.list(self._store, folder))
            while batch := offload(next, batches, ()):
                offload(obstore.delete, self._store, [entry["path"] for entry in batch])
        except (BaseError, OSError) as error:
            raise UnavailableError(f"delete {folder}/: {error}") from error

    def last_modified(self, folder: str) -> Iterator[tuple[str, float]]:
        """Yield (key, time of last write in seconds since the epoch) for each object below `folder`.

        Raises UnavailableError.
        """
        try:
            batches = iter(obstore.list(self._store, folder))
            while batch := offload(next, batches, ()):
                for entry in batch:
                    yield entry["path"], entry["last_modified"].timestamp()
        except (BaseError, OSError) as error:
            raise UnavailableError(f"list {folder}: {error}") from error


def _client_options(allow_http: str) -> "ClientConfig":
    """Return options of an HTTP client, which uses plain HTTP only if the variable `allow_http` is "true"."""
    return {
        "connect_timeout": timedelta(seconds=2),
        "timeout": timedelta(seconds=5),
        # With client options, obstore does not read this variable itself.
        "allow_http": os.environ.get(allow_http, "").lower() == "true",
    }
