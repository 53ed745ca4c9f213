"""Copies objects between the stores of two deployments, so that no copy outlives a deletion.

An object may be deleted in both stores while it is being copied. `put_copy` therefore looks at the source again after it has
written, and `delete_everywhere` deletes in an order in which one of the two notices the other. tests/migration/model.py checks
this in every order of their steps.
"""

from asciist.errors import ArtifactNotFoundError, UnavailableError
from asciist.protocol.artifacts import digest_of, digest_of_image_key
from asciist.protocol.ports import ArtifactStore


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
    """Delete the objects of a folder from two stores between which they may be copied meanwhile. Raises UnavailableError.

    A copy from the first store to the second that is not deleted with the second store's objects was written later, and finds
    that its source is gone. For copies in the other direction, the second store is deleted before the first.
    """
    own.delete_folder(folder)
    peer.delete_folder(folder)
    own.delete_folder(folder)
