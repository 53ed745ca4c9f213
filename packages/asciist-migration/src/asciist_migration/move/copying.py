"""Copies objects missing from the destination, and compares the contents of both stores."""

import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any, Final

from asciist.errors import ArtifactNotFoundError, AsciistError, UnavailableError
from asciist.protocol.artifacts import StoredArt, digest_of, digest_of_image_key, is_link_key
from asciist.protocol.copying import fetch, put_copy
from asciist_migration.move.pace import Pace
from asciist_migration.move.stores import Entry, Kind, Side, compare

_BATCH: Final = 1000
"""Objects after which the cursor is saved and the progress is reported."""
_MAX_FAILURES: Final = 100
"""Failed objects after which a copy ends: the store is at fault, not an object."""
_MAX_PROBLEMS: Final = 20
"""Problems that a report describes. All are counted."""
_LAST_HOUR: Final = timedelta(hours=1)
"""Time before its expiry in which an object is not copied.

An object that expires during its copy looks deleted, so its copy would be undone, even if a client
has uploaded it again meanwhile. No copy takes an hour.
"""
SAMPLE: Final = 100
"""Sampling ratio of a comparison: one object in this many."""


@dataclass(kw_only=True)
class CopyReport:
    """Figures of a copy. Each object of the source counts once, besides in `listed`."""

    listed: int = 0
    """Objects of the source."""
    present: int = 0
    """Objects already in the destination, with the same size."""
    copied: int = 0
    repaired: int = 0
    """Objects copied over a damaged one, or over art of another engine version."""
    conflicts: int = 0
    """Art that differs although both are valid. Neither is changed."""
    gone: int = 0
    """Objects deleted while they were copied."""
    expired: int = 0
    """Objects that are older than the lifecycle rule allows, and are not copied."""
    expiring: int = 0
    """Objects in the last hour of their lives, which are not copied."""
    failed: int = 0
    bytes: int = 0
    """Bytes copied."""
    seconds: float = 0.0
    objects_per_second: float = 0.0
    """Copied objects per second."""
    problems: list[str] = field(default_factory=list)
    """Descriptions of the first conflicts and failures."""

    def add_problem(self, text: str) -> None:
        if len(self.problems) < _MAX_PROBLEMS:
            self.problems.append(text)


@dataclass(kw_only=True)
class VerifyReport:
    """Figures of a comparison."""

    equal_sizes: int = 0
    """Objects in both stores with the same size."""
    compared: int = 0
    """Objects of equal size whose bytes were compared: of images, with the SHA-256 in the key; of
    art, with each other."""
    mismatches: int = 0
    missing: int = 0
    """Objects missing from the destination, without those too old to be copied."""
    problems: list[str] = field(default_factory=list)
    """Keys of the first objects that do not match or are missing."""


class Copier:
    """Copies objects from one store to the other, with several threads."""

    def __init__(
        self,
        source: Side,
        destination: Side,
        *,
        max_age_days: float | None = None,
        concurrency: int = 16,
        pace: Pace | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """`max_age_days` is the age at which the lifecycle rule of the source deletes an object;
        None without such a rule."""
        self._source = source
        self._destination = destination
        self._max_age = None if max_age_days is None else timedelta(days=max_age_days)
        self._concurrency = concurrency
        self._pace = pace or Pace()
        self._now = now

    def copy(
        self,
        *,
        after: str = "",
        save_cursor: Callable[[str], None] = lambda _key: None,
        report_progress: Callable[[CopyReport], None] = lambda _report: None,
    ) -> CopyReport:
        """Copy objects missing from the destination, and return the figures.

        It begins after the key `after`. `save_cursor` receives the key up to which the copy is
        complete; after a failure, it is no longer called. Raises UnavailableError if a store cannot
        be listed.
        """
        report = CopyReport()
        started = time.monotonic()
        with self._pool() as pool:
            for batch in _batches(compare(self._source, self._destination, after=after)):
                for entry, outcome, problem in pool.map(self._outcome, batch):
                    _count(report, entry, outcome, problem)
                report.seconds = round(time.monotonic() - started, 3)
                report.objects_per_second = round(
                    (report.copied + report.repaired) / max(report.seconds, 0.001), 1
                )
                report_progress(report)
                if report.failed >= _MAX_FAILURES:
                    break
                if not report.failed:
                    save_cursor(batch[-1][0].key)
        return report

    def copy_object(self, entry: Entry) -> str:
        """Copy a missing object, and return `copied`, or `present` if it has been written
        meanwhile.

        Raises ArtifactNotFoundError if it has been deleted, UnavailableError.
        """
        body = fetch(entry.key, self._source.artifacts)
        is_written = put_copy(
            entry.key, body, source=self._source.artifacts, destination=self._destination.artifacts
        )
        return "copied" if is_written else "present"

    def verify(self, *, is_complete: bool) -> VerifyReport:
        """Compare the bytes of all objects, or of a sample. Images are compared with their keys.
        Raises UnavailableError."""
        report = VerifyReport()
        with self._pool() as pool:
            for batch in _batches(compare(self._source, self._destination)):
                missing = [
                    entry
                    for entry, kind in batch
                    if kind is Kind.MISSING and not self._age_outcome(entry)
                ]
                unequal = [entry for entry, kind in batch if kind is Kind.DIFFERENT]
                equal = [entry for entry, kind in batch if kind is Kind.EQUAL]
                chosen = [entry for entry in equal if is_complete or _is_in_sample(entry.key)]
                matches = list(pool.map(self._matches, chosen))
                differing = [
                    *unequal,
                    *(
                        entry
                        for entry, matching in zip(chosen, matches, strict=True)
                        if not matching
                    ),
                ]
                report.equal_sizes += len(equal)
                report.compared += len(chosen)
                report.mismatches += len(differing)
                report.missing += len(missing)
                problems = [f"{entry.key} is missing" for entry in missing] + [
                    f"{entry.key} differs" for entry in differing
                ]
                report.problems += problems[: _MAX_PROBLEMS - len(report.problems)]
        return report

    @contextmanager
    def _pool(self) -> Iterator[ThreadPoolExecutor]:
        pool = ThreadPoolExecutor(self._concurrency, thread_name_prefix="copy")
        try:
            yield pool
        finally:
            # after Ctrl-C, only the objects in progress are waited for
            pool.shutdown(cancel_futures=True)

    def _outcome(self, compared: tuple[Entry, Kind]) -> tuple[Entry, str, str]:
        """Copy an object if necessary, and return it with the field of the report that counts it,
        and a problem if any."""
        entry, kind = compared
        if kind is Kind.EQUAL:
            return entry, "present", ""
        outcome = self._age_outcome(entry)
        if outcome:
            return entry, outcome, ""
        self._pace.wait(entry.size)
        try:
            return (
                entry,
                self.copy_object(entry) if kind is Kind.MISSING else self._repair(entry),
                "",
            )
        except ArtifactNotFoundError:
            return entry, "gone", ""
        except AsciistError as error:
            return entry, "failed", str(error)

    def _age_outcome(self, entry: Entry) -> str:
        """Return `expired` or `expiring` for an object that is too old to be copied; empty for any
        other."""
        if self._max_age is None:
            return ""
        age = self._now() - entry.written
        if age >= self._max_age:
            return "expired"
        return "expiring" if age >= self._max_age - _LAST_HOUR else ""

    def _repair(self, entry: Entry) -> str:
        """Copy an object over one of another size, if only the source's object is valid; return the
        outcome."""
        source, destination = self._source.artifacts, self._destination.artifacts
        is_valid = _validity(entry.key)
        body, other = source.get(entry.key), destination.get(entry.key)
        if is_valid(other):
            return "conflicts" if is_valid(body) else "present"
        if not is_valid(body):
            raise UnavailableError(f"{entry.key} is valid in neither store")
        destination.delete(entry.key)  # and not replaced, so that a deletion meanwhile wins
        put_copy(entry.key, body, source=source, destination=destination)
        return "repaired"

    def _matches(self, entry: Entry) -> bool:
        """Return True if the destination has the right bytes. An object deleted meanwhile counts as
        right."""
        digest = digest_of_image_key(entry.key)
        try:
            body = self._destination.artifacts.get(entry.key)
            return (
                digest_of(body) == digest
                if digest
                else body == self._source.artifacts.get(entry.key)
            )
        except ArtifactNotFoundError:
            return True


def _batches(compared: Iterable[tuple[Entry, Kind]]) -> Iterator[list[tuple[Entry, Kind]]]:
    iterator = iter(compared)
    while batch := list(islice(iterator, _BATCH)):
        yield batch


def _count(report: CopyReport, entry: Entry, outcome: str, problem: str) -> None:
    report.listed += 1
    setattr(report, outcome, getattr(report, outcome) + 1)
    if outcome in ("copied", "repaired"):
        report.bytes += entry.size
    if outcome == "conflicts":
        problem = f"{entry.key} has other art in the destination"
    if problem:
        report.add_problem(problem)


def _is_in_sample(key: str) -> bool:
    """Return True if an object belongs to the sample. The choice depends only on the image."""
    return int(key[:8], 16) % SAMPLE == 0


def _validity(key: str) -> Callable[[bytes], Any]:
    """Return a function that checks whether a body is valid under a key."""
    digest = digest_of_image_key(key)
    if is_link_key(key):
        return bool
    return (lambda body: digest_of(body) == digest) if digest else StoredArt.from_json
