"""Compare stores for the embedded backend: `python -m bench.stores [--directory DIRECTORY] [--seconds SECONDS]`.

Each process makes the four calls of a request for art that is not stored yet, as fast as it can: look up the art, store an
image of 40 kB, read it, and store art of 5 kB. LMDB and diskcache are measured if they are installed.
"""

import argparse
import hashlib
import importlib.util
import multiprocessing
import os
import resource
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from multiprocessing.queues import SimpleQueue
from pathlib import Path
from typing import Any, Final

import obstore
from obstore.store import LocalStore as ObstoreDirectory

from asciist.adapters.embedded import EmbeddedMetrics
from asciist.adapters.local_store import LocalStore
from asciist.adapters.object_store import ObjectStore
from asciist.errors import ArtifactNotFoundError

IMAGE_BYTES, ART_BYTES = 40_000, 5_000
PROCESSES: Final = (1, 2, 4)


class _FlatFiles:
    """One file for each object, in 256 folders, written under another name and renamed."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._temporary = directory / f"temporary-{os.getpid()}"
        for number in range(256):
            (directory / f"{number:02x}").mkdir(exist_ok=True)

    def _path(self, key: str) -> Path:
        return self._directory / key[:2] / key.replace("/", "-")

    def get(self, key: str) -> bytes:
        try:
            return self._path(key).read_bytes()
        except FileNotFoundError as error:
            raise ArtifactNotFoundError(key) from error

    def put(self, key: str, body: bytes) -> None:
        self._temporary.write_bytes(body)
        self._temporary.rename(self._path(key))

    create = put


class _Lmdb:
    def __init__(self, directory: Path) -> None:
        import lmdb  # noqa: PLC0415 - optional

        self._database = lmdb.open(str(directory), map_size=20_000_000_000, sync=False, metasync=False)

    def get(self, key: str) -> bytes:
        with self._database.begin() as transaction:
            body: bytes | None = transaction.get(key.encode())
        if body is None:
            raise ArtifactNotFoundError(key)
        return body

    def put(self, key: str, body: bytes) -> None:
        with self._database.begin(write=True) as transaction:
            transaction.put(key.encode(), body)

    create = put


class _DiskCache:
    def __init__(self, directory: Path) -> None:
        import diskcache  # noqa: PLC0415 - optional

        self._cache = diskcache.Cache(directory, size_limit=1_000_000_000, sqlite_synchronous=0)

    def get(self, key: str) -> bytes:
        body: bytes | None = self._cache.get(key)
        if body is None:
            raise ArtifactNotFoundError(key)
        return body

    def put(self, key: str, body: bytes) -> None:
        self._cache.set(key, body)

    create = put


def _local_store(max_bytes: int) -> Callable[[Path], LocalStore]:
    return lambda path: LocalStore(path, max_bytes=max_bytes, max_age_seconds=3600, metrics=EmbeddedMetrics())


STORES: Final[dict[str, Callable[[Path], Any]]] = {
    "SQLite (asciist), not full": _local_store(20_000_000_000),
    "SQLite (asciist), full: evicts": _local_store(16_000_000),
    f"obstore {obstore.__version__}": lambda path: ObjectStore(ObstoreDirectory(path)),  # type: ignore[arg-type]
    "flat files": _FlatFiles,
    "lmdb": _Lmdb,
    "diskcache": _DiskCache,
}


def _seconds(write: Callable[[str, bytes], object], key: str, body: bytes) -> float:
    start = time.perf_counter()
    write(key, body)
    return time.perf_counter() - start


def _work(name: str, directory: Path, number: int, seconds: float, results: "SimpleQueue[Any]") -> None:
    store = STORES[name](directory)
    image, art = os.urandom(IMAGE_BYTES), os.urandom(ART_BYTES)
    writes, requests = [], 0
    start = resource.getrusage(resource.RUSAGE_SELF)
    give_up = time.perf_counter() + seconds
    while time.perf_counter() < give_up:
        digest = hashlib.sha256(f"{number} {requests}".encode()).hexdigest()
        with suppress(ArtifactNotFoundError):
            store.get(f"{digest}/width/80")
        writes.append(_seconds(store.create, f"{digest}/image", image))
        assert store.get(f"{digest}/image") == image
        writes.append(_seconds(store.put, f"{digest}/width/80", art))
        requests += 1
    end = resource.getrusage(resource.RUSAGE_SELF)
    results.put((requests, end.ru_utime - start.ru_utime + end.ru_stime - start.ru_stime, writes))


def _measure(name: str, processes: int, seconds: float, parent: Path | None) -> str:
    directory = Path(tempfile.mkdtemp(dir=parent))
    context = multiprocessing.get_context("fork")
    results: SimpleQueue[Any] = context.SimpleQueue()
    try:
        workers = [
            context.Process(target=_work, args=(name, directory, number, seconds, results)) for number in range(processes)
        ]
        for worker in workers:
            worker.start()
        measured = [results.get() for _ in workers]
        for worker in workers:
            worker.join()
    finally:
        shutil.rmtree(directory)
    requests = sum(count for count, _, _ in measured)
    writes = sorted(1000 * write for _, _, durations in measured for write in durations)
    cpu_ms = 1000 * sum(cpu for _, cpu, _ in measured) / requests
    p50, p99 = writes[len(writes) // 2], writes[int(0.99 * len(writes))]
    return f"| {name} | {processes} | {cpu_ms:.2f} | {p50:.2f} | {p99:.2f} | {writes[-1]:.1f} |"


def report(seconds: float, parent: Path | None) -> Iterator[str]:
    """Yield the lines of a Markdown table."""
    yield "| store | processes | CPU per request, ms | write, p50, ms | p99 | longest |"
    yield "|---|---|---|---|---|---|"
    for name in STORES:
        if name in ("lmdb", "diskcache") and not importlib.util.find_spec(name):
            continue
        for processes in PROCESSES:
            yield _measure(name, processes, seconds, parent)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--directory", type=Path, help="where to store, by default the directory for temporary files")
    parser.add_argument("--seconds", type=float, default=2.0, help="time of each measurement")
    options = parser.parse_args()
    for line in report(options.seconds, options.directory):
        print(line, flush=True)
