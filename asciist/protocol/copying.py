"""Copies objects between the stores of two deployments, so that no copy outlives a deletion.

An object may be deleted in both stores while it is being copied. `put_copy` therefore looks at the source again after it has
written, and `delete_everywhere` deletes until it finds nothing. tests/migration/model.py checks every order of their steps.
"""

from typing import Final

from asciist.errors import ArtifactNotFoundError, UnavailableError
from asciist.protocol.artifacts import digest_of, digest_of_image_key
from asciist.protocol.ports import ArtifactStore

_MAX_DELETIONS: Final = 5
"""Times that an object is deleted in each store. The third time, usually there is nothing left in both."""


def fetch(key: str, source: ArtifactStore) -> bytes:
    """Return an object, after comparing an image with the SHA-256 in its key.

    Raises ArtifactNotFoundError, UnavailableError if the store fails or the image is damaged.
    """
    body = source.get(key)
    digest = digest_of_image_key(key)
    if digest is not None and digest_of(body) != digest:
        raise UnavailableError(f"the SHA-256 of {key} is another one: its {len(body)} bytes are damaged")
    return body


def put_copy(key: str, body: bytes, *, source: ArtifactStore, destination: ArtifactStore) -> bool:
    """Write an object that `fetch` has read, unless the key exists; return whether it was written.

    Raises ArtifactNotFoundError if the source no longer has it, UnavailableError. In both cases, nothing is written.
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
    """Delete the objects of a folder from two stores between which they may be copied meanwhile.

    It deletes in both by turns, until it finds nothing in either: a copy between two of these steps may have brought back what
    the first one deleted. A later copy finds that its source is gone. Raises UnavailableError if a store fails, or if there is
    always something to delete.
    """
    clean = 0
    for _ in range(_MAX_DELETIONS):
        for store in (own, peer):
            clean = 0 if store.delete_folder(folder) else clean + 1
            if clean == 2:
                return
    raise UnavailableError(f"delete {folder}/: the objects come back, because they are copied all the time")
