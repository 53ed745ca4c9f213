"""The two stores of a move, and the differences between them."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Final

import obstore
from obstore.exceptions import BaseError
from obstore.store import LocalStore

from asciist.adapters.object_store import ObjectStore, Store, open_store
from asciist.errors import UnavailableError

_ARTIFACT: Final = re.compile(r"[0-9a-f]{64}/.+")
"""Keys of images and art. Other keys, such as those of reply queues, belong to a deployment and
stay in its store."""


@dataclass(frozen=True)
class Entry:
    """An image or art in a listing of a store."""

    key: str
    size: int
    """Size in bytes."""
    written: datetime
    """Time of the last write, which starts the clock of the lifecycle rule."""


class Side:
    """One of the two stores of a move."""

    def __init__(self, store: Store, name: str) -> None:
        """`name` identifies the store in messages."""
        self._store = store
        self.name = name
        self.artifacts = ObjectStore(store, denied_is_absent=False)
        """Access to single objects."""

    @classmethod
    def at(cls, url: str) -> "Side":
        """Open the store at a URL. Raises SettingsError."""
        return cls(open_store(url), url)

    def entries(self, *, after: str = "") -> Iterator[Entry]:
        """Yield all images and art whose keys follow `after`, in the order of their keys. Raises
        UnavailableError."""
        found = self._listed(after)
        # Buckets and memory are listed in the order of keys, a directory is not.
        yield from (
            sorted(found, key=lambda entry: entry.key)
            if isinstance(self._store, LocalStore)
            else found
        )

    def _listed(self, after: str) -> Iterator[Entry]:
        try:
            for batch in obstore.list(self._store, offset=after or None):
                for found in batch:
                    if _ARTIFACT.fullmatch(found["path"]):
                        yield Entry(found["path"], found["size"], found["last_modified"])
        except (BaseError, OSError) as error:
            raise UnavailableError(f"list {self.name}: {error}") from error


class Kind(Enum):
    """Kinds of differences between two stores."""

    MISSING = "missing"
    """The destination has no such object."""
    DIFFERENT = "different"
    """The destination has an object of another size."""
    EQUAL = "equal"
    """Both have an object of the same size."""


def compare(source: Side, destination: Side, *, after: str = "") -> Iterator[tuple[Entry, Kind]]:
    """Yield each object of the source whose key follows `after`, with its state in the destination,
    in the order of the keys.

    It lists both stores side by side, and reads no object. Raises UnavailableError.
    """
    others = destination.entries(after=after)
    other = next(others, None)
    for entry in source.entries(after=after):
        while other is not None and other.key < entry.key:
            other = next(others, None)
        if other is None or other.key != entry.key:
            yield entry, Kind.MISSING
        else:
            yield entry, Kind.EQUAL if other.size == entry.size else Kind.DIFFERENT
