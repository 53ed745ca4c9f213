"""Artifact store through obstore, a single API for memory, S3, Azure Blob and Google Cloud
Storage."""

import os
from collections.abc import Iterator
from datetime import timedelta
from typing import TYPE_CHECKING, Final, TypeAlias, cast

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError, NotFoundError, PermissionDeniedError
from obstore.store import AzureStore, GCSStore, LocalStore, MemoryStore, S3Store, from_url

from asciist.adapters.native_threads import offload
from asciist.errors import ArtifactNotFoundError, SettingsError, UnavailableError

if TYPE_CHECKING:
    from obstore.store import ClientConfig, RetryConfig

# other refusals, such as one for a wrong clock, have other codes
_ACCESS_DENIED: Final = "<Code>AccessDenied</Code>"
"""Error code in S3's answer to a request that no policy allows, and to reading an absent object
without permission to list the bucket."""

_RETRIES: Final["RetryConfig"] = {"max_retries": 2, "retry_timeout": timedelta(seconds=6)}
"""Retries of a call. They end within the default request timeout of 10 s; later, a worker's message
is redelivered anyway."""

Store: TypeAlias = AzureStore | GCSStore | LocalStore | MemoryStore | S3Store
"""Types of obstore's stores that support every operation used here."""


def open_store(url: str) -> Store:
    """Open the store at a URL, such as `s3://bucket`, `azure://container` or `file:///directory`.

    Region, credentials and endpoint come from the vendor's usual variables or the machine's role. A
    directory is created if it does not exist. Raises SettingsError.
    """
    try:
        scheme = obstore.parse_scheme(url)
        if scheme in ("http", "memory"):
            raise SettingsError(f"the store {url!r} cannot be written, or not be shared")
        if scheme == "local":
            return LocalStore.from_url(url, mkdir=True)
        return cast(Store, from_url(url, client_options=_client_options(), retry_config=_RETRIES))
    except (BaseError, OSError, ValueError) as error:
        raise SettingsError(
            f"the store {url!r} cannot be opened: {str(error).splitlines()[0]}"
        ) from error


def _client_options() -> "ClientConfig":
    return {
        "connect_timeout": timedelta(seconds=2),
        "timeout": timedelta(seconds=5),
        # With client options, obstore does not read these variables itself.
        "allow_http": any(
            os.environ.get(f"{vendor}_ALLOW_HTTP", "").lower() == "true"
            for vendor in ("AWS", "AZURE")
        ),
    }


class ObjectStore:
    """ArtifactStore on an obstore store: memory, a directory, a bucket, or a container of Azure
    Blob Storage."""

    def __init__(self, store: Store, *, denied_is_absent: bool = True) -> None:
        """With `denied_is_absent`, an object in S3 that may not be read counts as absent.

        This needs no permission to list the bucket (docs/decisions/0027-least-privilege.md).
        Without it, a denied read lists the object's folder: if the object exists, or the folder may
        not be listed, the read raises UnavailableError.
        """
        self._store = store
        self._denied_is_absent = denied_is_absent

    @classmethod
    def in_bucket(cls, bucket: str) -> "ObjectStore":
        """Store artifacts in an S3 bucket. Region, credentials and endpoint come from the
        environment or the machine's role."""
        return cls(S3Store(bucket, client_options=_client_options(), retry_config=_RETRIES))

    @classmethod
    def at(cls, url: str) -> "ObjectStore":
        """Use the store at a URL (see `open_store`). An object counts as absent only if its folder
        can be listed and does not contain it.

        Raises SettingsError.
        """
        return cls(open_store(url), denied_is_absent=False)

    @classmethod
    def in_container(cls, container: str) -> "ObjectStore":
        """Store artifacts in a container of Azure Blob Storage. The environment names the account
        and, optionally, its key.

        Without a key, the machine's managed identity is used. Raises SettingsError if no account is
        named.
        """
        try:
            return cls(
                AzureStore(container, client_options=_client_options(), retry_config=_RETRIES)
            )
        except BaseError as error:
            reason = str(error).partition("\n")[0]
            raise SettingsError(
                f"AZURE_STORAGE_ACCOUNT_NAME or another variable of Azure: {reason}"
            ) from error

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
            is_denied = isinstance(error, PermissionDeniedError) and _ACCESS_DENIED in str(error)
            if is_denied and (self._denied_is_absent or not self.exists(key)):
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

    def keep(self, *keys: str) -> None:
        """Do nothing: a bucket has room, and deletes by age only."""

    def exists(self, key: str) -> bool:
        # List its folder, since a HEAD request needs permission to read the object.
        folder = key.rpartition("/")[0]
        try:
            listed = offload(obstore.list_with_delimiter, self._store, folder)
        except (BaseError, OSError) as error:
            raise UnavailableError(f"list {folder}: {error}") from error
        return any(entry["path"] == key for entry in listed["objects"])

    def delete(self, key: str) -> None:
        try:
            offload(obstore.delete, self._store, key)
        except (NotFoundError, FileNotFoundError):
            pass
        except (BaseError, OSError) as error:
            raise UnavailableError(f"delete {key}: {error}") from error

    def delete_folder(self, folder: str) -> bool:
        found = False
        try:
            batches = iter(obstore.list(self._store, folder))
            while batch := offload(next, batches, ()):
                found = True
                offload(obstore.delete, self._store, [entry["path"] for entry in batch])
        except (BaseError, OSError) as error:
            raise UnavailableError(f"delete {folder}/: {error}") from error
        return found

    def last_modified(self, folder: str) -> Iterator[tuple[str, float]]:
        """Yield (key, time of last write in seconds since the epoch) for each object below
        `folder`.

        Raises UnavailableError.
        """
        try:
            batches = iter(obstore.list(self._store, folder))
            while batch := offload(next, batches, ()):
                for entry in batch:
                    yield entry["path"], entry["last_modified"].timestamp()
        except (BaseError, OSError) as error:
            raise UnavailableError(f"list {folder}: {error}") from error
