"""Contract of ArtifactStore, run against every adapter. A new adapter is one more parameter."""

import threading
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import boto3
import pytest

from asciist.adapters.embedded import EmbeddedMetrics
from asciist.adapters.local_store import LocalStore
from asciist.adapters.object_store import ObjectStore
from asciist.errors import ArtifactNotFoundError, UnavailableError
from asciist.protocol.artifacts import digest_of, image_key
from asciist.protocol.ports import ArtifactStore
from asciist_migration.move.copying import Copier
from asciist_migration.move.stores import Side

DIGEST = "0" * 64
IMAGE, ART, STYLED = f"{DIGEST}/image", f"{DIGEST}/width/80", f"{DIGEST}/style/ramp/width/80"


def bucket(request: pytest.FixtureRequest) -> ObjectStore:
    request.getfixturevalue("aws")
    name = f"artifacts-{uuid.uuid4().hex}"
    boto3.client("s3").create_bucket(Bucket=name)
    return ObjectStore.in_bucket(name)


def files(request: pytest.FixtureRequest) -> ObjectStore:
    return ObjectStore.at(f"file://{request.getfixturevalue('tmp_path')}/files")


def container(request: pytest.FixtureRequest) -> ObjectStore:
    name = f"artifacts-{uuid.uuid4().hex}"
    request.getfixturevalue("azure").create_container(name)
    return ObjectStore.in_container(name)


def directory(request: pytest.FixtureRequest) -> LocalStore:
    path = request.getfixturevalue("tmp_path") / "store"
    store = LocalStore(path, max_bytes=100_000_000, max_age_seconds=3600, metrics=EmbeddedMetrics())
    request.addfinalizer(store.close)
    return store


def unusable_directory(request: pytest.FixtureRequest) -> LocalStore:
    path = request.getfixturevalue("tmp_path") / "store"
    path.write_text("a file instead of the directory")
    return directory(request)


STORES: dict[str, Callable[[pytest.FixtureRequest], ArtifactStore]] = {
    "directory": directory,
    "unusable directory": unusable_directory,
    "memory": lambda _: ObjectStore.in_memory(),
    "files": files,
    "s3": bucket,
    "azure blob": container,
}


@pytest.fixture(params=STORES)
def store(request: pytest.FixtureRequest) -> ArtifactStore:
    return STORES[request.param](request)


OBJECT_STORES: dict[str, Callable[[pytest.FixtureRequest], ObjectStore]] = {
    "memory": lambda _: ObjectStore.in_memory(),
    "files": files,
    "s3": bucket,
    "azure blob": container,
}
"""Stores that also list objects."""


@pytest.fixture(params=OBJECT_STORES)
def object_store(request: pytest.FixtureRequest) -> ObjectStore:
    return OBJECT_STORES[request.param](request)


def test_get_returns_the_bytes_that_were_put(store: ArtifactStore) -> None:
    for body in (b"", bytes(range(256)), b"x" * 3_000_000):
        store.put(IMAGE, body)
        assert store.get(IMAGE) == body


def test_a_missing_object_is_not_found(store: ArtifactStore) -> None:
    with pytest.raises(ArtifactNotFoundError):
        store.get(IMAGE)


def test_exists_reports_objects_and_not_folders(store: ArtifactStore) -> None:
    assert not store.exists(IMAGE)
    store.put(IMAGE, b"")
    assert store.exists(IMAGE)
    assert not store.exists(DIGEST)


def test_a_second_put_replaces_the_first(store: ArtifactStore) -> None:
    store.put(ART, b"first")
    store.put(ART, b"second")

    assert store.get(ART) == b"second"


def test_create_never_overwrites(store: ArtifactStore) -> None:
    assert store.create(IMAGE, b"first")
    assert not store.create(IMAGE, b"second")
    assert store.get(IMAGE) == b"first"


def test_one_of_64_racing_creates_wins_and_its_bytes_are_kept(store: ArtifactStore) -> None:
    bodies = [str(number).encode() * 1000 for number in range(64)]
    start = threading.Barrier(len(bodies))
    winners = []

    def race(body: bytes) -> None:
        start.wait()
        if store.create(IMAGE, body):
            winners.append(body)

    threads = [threading.Thread(target=race, args=(body,)) for body in bodies]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(winners) == 1
    assert store.get(IMAGE) == winners[0]


def test_all_keys_of_one_image_can_be_stored_together(store: ArtifactStore) -> None:
    for key in (IMAGE, ART, STYLED):
        store.put(key, key.encode())

    assert [store.get(key) for key in (IMAGE, ART, STYLED)] == [
        key.encode() for key in (IMAGE, ART, STYLED)
    ]


def test_a_reader_never_sees_a_partly_written_object(store: ArtifactStore) -> None:
    versions = [bytes([number]) * 500_000 for number in range(4)]
    store.put(ART, versions[0])
    stop = threading.Event()

    def write() -> None:
        while not stop.is_set():
            for version in versions:
                store.put(ART, version)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        assert all(store.get(ART) in versions for _ in range(200))
    finally:
        stop.set()
        writer.join()


def test_deleting_a_folder_removes_all_its_objects_and_no_other(store: ArtifactStore) -> None:
    others = [f"{DIGEST[:-1]}{'1' if DIGEST[-1] != '1' else '2'}/image", "readiness"]
    for key in (IMAGE, ART, STYLED, *others):
        store.put(key, b"body")
    for is_there in (True, False):
        # of the unusable directory, in which there may be more than in memory
        with suppress(UnavailableError):
            assert store.delete_folder(DIGEST) is is_there

    assert not store.exists(IMAGE)
    for key in (IMAGE, ART, STYLED):
        with pytest.raises(ArtifactNotFoundError):
            store.get(key)
    assert [store.get(key) for key in others] == [b"body"] * 2
    assert store.create(IMAGE, b"again")
    assert store.get(IMAGE) == b"again"


def test_deleting_an_object_removes_no_other_and_ignores_a_missing_one(
    store: ArtifactStore,
) -> None:
    store.put(ART, b"art")
    store.create(IMAGE, b"image")
    for key in (ART, IMAGE, ART):
        # of the unusable directory, in which there may be more than in memory
        with suppress(UnavailableError):
            store.delete(key)
        with pytest.raises(ArtifactNotFoundError):
            store.get(key)

    store.put(IMAGE, b"image")
    store.put(f"{ART}0", b"art")
    with suppress(UnavailableError):
        store.delete(ART)
    assert (store.get(IMAGE), store.get(f"{ART}0")) == (b"image", b"art")


def test_last_modified_lists_the_objects_of_a_folder(object_store: ObjectStore) -> None:
    before = time.time()
    object_store.put("notes/a", b"1")
    object_store.put("notes/b", b"2")
    object_store.put("other/c", b"3")

    modified = dict(object_store.last_modified("notes"))
    assert modified.keys() == {"notes/a", "notes/b"}
    assert all(before - 2 < written < time.time() + 2 for written in modified.values())
    assert dict(object_store.last_modified("nothing")) == {}


def test_a_move_continues_after_a_key_in_every_store(
    request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """asciist-move relies on listing after a key, in the order of keys."""
    request.getfixturevalue("aws")
    name = f"moved-{uuid.uuid4().hex}"
    boto3.client("s3").create_bucket(Bucket=name)
    s3, files = Side.at(f"s3://{name}"), Side.at(f"file://{tmp_path}/files")
    digests = [digest_of(bytes([number])) for number in range(20)]
    for number, digest in enumerate(digests):
        files.artifacts.put(image_key(digest), bytes([number]))
    files.artifacts.put("reply-queues/queue", b"")
    middle = image_key(sorted(digests)[9])

    assert Copier(files, s3).copy(after=middle).copied == 10
    assert Copier(files, s3).copy().copied == 10
    assert [entry.key for entry in s3.entries(after=middle)] == [
        image_key(digest) for digest in sorted(digests)[10:]
    ]
    assert (verified := Copier(s3, files).verify(is_complete=True)).compared == 20
    assert (verified.mismatches, verified.missing) == (0, 0)
