"""Copy objects between the stores of two deployments without resurrecting a deleted object.

An object may be deleted in both stores while it is being copied. `put_copy` therefore checks the
source again after writing, and `delete_everywhere` deletes until both stores are empty.
`asciist_migration_testing.model` checks every order of their steps.
"""

from typing import Final

from asciist.errors import ArtifactNotFoundError, UnavailableError
from asciist.protocol.artifacts import digest_of, digest_of_image_key
from asciist.protocol.ports import ArtifactStore

_MAX_DELETIONS: Final = 5
"""Maximum rounds of deletion in both stores. By the third, both are usually empty."""


def fetch(key: str, source: ArtifactStore) -> bytes:
    """Return an object, after checking an image against the SHA-256 in its key.

    Raises ArtifactNotFoundError; UnavailableError if the store fails or the image is damaged.
    """
    body = source.get(key)
    digest = digest_of_image_key(key)
    if digest is not None and digest_of(body) != digest:
        raise UnavailableError(
            f"the SHA-256 of {key} is another one: its {len(body)} bytes are damaged"
        )
    return body


def put_copy(key: str, body: bytes, *, source: ArtifactStore, destination: ArtifactStore) -> bool:
    """Write an object returned by `fetch`, unless the key exists; return whether it was written.

    Raises ArtifactNotFoundError if the source has deleted it meanwhile, and UnavailableError. In
    both cases, nothing is written.
    """
    if not destination.create(key, body):
        return False
    is_kept = False
    try:
        is_kept = source.exists(key)
    finally:
        if not is_kept:
            destination.delete(key)
    if not is_kept:
        raise ArtifactNotFoundError(key)
    return True


def delete_everywhere(folder: str, *, own: ArtifactStore, peer: ArtifactStore) -> None:
    """Delete the objects of a folder from two stores while they may be copied between them.

    It alternates between the stores until both are empty, because a copy between two steps may
    restore a deleted object. A later copy finds its source deleted. Raises UnavailableError if a
    store fails, or if objects remain after the last round.
    """
    clean = 0
    for _ in range(_MAX_DELETIONS):
        for store in (own, peer):
            clean = 0 if store.delete_folder(folder) else clean + 1
            if clean == 2:
                return
    raise UnavailableError(
        f"delete {folder}/: the objects come back, because they are copied all the time"
    )
