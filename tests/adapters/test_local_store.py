"""The local store keeps within its bounds, survives kills, damage and bad disks, and never fails a
request."""

import fcntl
import json
import logging
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import pytest

from asciist.adapters.embedded import EmbeddedMetrics
from asciist.adapters.local_store import LocalStore
from asciist.adapters.local_store.overflow import Overflow
from asciist.errors import ArtifactNotFoundError, sentences
from asciist.protocol.artifacts import StoredArt, image_key
from asciist.telemetry.metrics import STORE_EVICTED, STORE_FAILED
from tests.waiting import wait_until

BODY = os.urandom(40_000)
BOUND = 16_000_000
MANY = 3 * BOUND // len(BODY)
DAY = 86_400.0


class StoreUnderTest(LocalStore):
    """A LocalStore with its recorded metrics."""

    def __init__(
        self, directory: Path, *, max_bytes: int = BOUND, clock: Callable[[], float] = time.time
    ) -> None:
        self.recorded = EmbeddedMetrics()
        self.directory = directory
        super().__init__(
            directory,
            max_bytes=max_bytes,
            max_age_seconds=30 * DAY,
            metrics=self.recorded,
            clock=clock,
        )

    def holds(self, key: str) -> bool:
        try:
            return bool(self.get(key))
        except ArtifactNotFoundError:
            return False

    def failures(self, operation: str) -> int:
        return self.recorded.total(STORE_FAILED, operation=operation)

    def bytes_on_disk(self) -> int:
        return sum(path.stat().st_size for path in self.directory.iterdir())

    @property
    def file(self) -> Path:
        return self.directory / "artifacts.sqlite3"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[StoreUnderTest]:
    with closing(StoreUnderTest(tmp_path / "store")) as opened:
        yield opened


@contextmanager
def mounted(path: Path, megabytes: int) -> Iterator[Path]:
    """Mount a file system in memory at `path`. Skip the test if that is not permitted."""
    path.mkdir()
    options = ["-t", "tmpfs", "-o", f"size={megabytes}m,mode=0700", "tmpfs", str(path)]
    if (
        not shutil.which("mount")
        or subprocess.run(["mount", *options], capture_output=True, check=False).returncode
    ):
        pytest.skip("mounting a file system is not permitted")
    try:
        yield path
    finally:
        subprocess.run(["umount", "--lazy", str(path)], check=True)


def start(program: str, *arguments: object, first: str = "") -> "subprocess.Popen[str]":
    """Start a Python program with a variable `store`: a LocalStore in the directory given as the
    first argument.

    The program begins with the line `first`.
    """
    head = f"""{first}
import os, sys, time
from pathlib import Path
from asciist.adapters.embedded import EmbeddedMetrics
from asciist.adapters.local_store import LocalStore
metrics = EmbeddedMetrics()
store = LocalStore(Path(sys.argv[1]), max_bytes=100_000_000, max_age_seconds=3600, metrics=metrics)
"""
    command = [sys.executable, "-c", head + program, *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


PATIENT = "from asciist.adapters.local_store import gate; gate.MAX_WAIT_SECONDS = 30"
"""First line of a program that waits while other processes keep the disk busy. By default the store
gives up after 0.2 s."""


class TestBounds:
    def test_the_files_never_exceed_the_bound_in_bytes(self, store: StoreUnderTest) -> None:
        largest = 0
        for number in range(MANY):
            store.create(f"{number}/image", BODY)
            store.put(f"{number}/width/80", BODY[:5000])
            largest = max(largest, store.bytes_on_disk())

        assert 0.7 * BOUND < largest <= BOUND
        assert store.failures("put") == 0

    def test_the_oldest_objects_are_evicted_first_and_counted(self, store: StoreUnderTest) -> None:
        for number in range(MANY):
            store.put(str(number), BODY)

        held = [number for number in range(MANY) if store.holds(str(number))]
        assert held == list(range(MANY - len(held), MANY))
        assert len(held) * len(BODY) > 0.6 * BOUND
        assert store.recorded.total(STORE_EVICTED) == MANY - len(held)

    def test_one_write_evicts_a_bounded_number_of_objects(self, tmp_path: Path) -> None:
        with closing(StoreUnderTest(tmp_path, max_bytes=4 * BOUND)) as large:
            for number in range(MANY):
                large.put(str(number), BODY)
        with closing(StoreUnderTest(tmp_path)) as small:
            small.put("new", BODY)
            assert 0 < small.recorded.total(STORE_EVICTED) <= 10
            for number in range(200):
                small.put(f"new {number}", BODY)
            assert small.bytes_on_disk() <= BOUND
            assert small.holds("new")

    def test_an_object_past_the_maximum_age_is_missing_and_deleted_by_later_writes(
        self, tmp_path: Path
    ) -> None:
        now = 1e9
        with closing(StoreUnderTest(tmp_path, clock=lambda: now)) as store:
            store.put("old", BODY)
            now += 29 * DAY
            store.put("newer", BODY)
            assert store.holds("old")
            now += 2 * DAY
            assert not store.holds("old")
            assert not store.exists("old")
            assert store.recorded.total(STORE_EVICTED) == 0
            store.put("newest", BODY)
            assert store.recorded.total(STORE_EVICTED) == 1
            assert store.holds("newer")
            assert store.create("old", b"created again")
            assert store.get("old") == b"created again"

    def test_an_old_image_that_is_asked_for_again_is_renewed(self, store: StoreUnderTest) -> None:
        filling = int(0.6 * BOUND / len(BODY))
        for number in range(filling):
            store.put(str(number), BODY)
        assert not store.create("0", b"other bytes")
        assert store.exists("1")
        for number in range(filling, 2 * filling - 10):
            store.put(str(number), BODY)

        assert not store.holds("2")
        assert store.get("0") == store.get("1") == BODY

    def test_kept_objects_outlive_any_number_of_others(self, store: StoreUnderTest) -> None:
        for key in ("code/link", "digest/width/80"):
            store.put(key, BODY)
        store.keep("code/link", "digest/width/80", "missing")
        for number in range(MANY):
            store.create(f"{number}/image", BODY)
            store.put(f"{number}/width/80", BODY)
            assert store.bytes_on_disk() <= BOUND
        store.put("digest/width/80", BODY[::-1])
        for number in range(MANY, 2 * MANY):
            store.put(f"{number}/width/80", BODY)

        assert not store.holds(f"{MANY}/width/80")
        assert store.get("code/link") == BODY
        assert store.get("digest/width/80") == BODY[::-1]

    def test_kept_objects_take_at_most_a_quarter_of_the_store(self, store: StoreUnderTest) -> None:
        for number in range(MANY):
            store.put(f"{number}/link", BODY)
            store.keep(f"{number}/link")
        for number in range(MANY):
            store.put(str(number), BODY)

        kept = [number for number in range(MANY) if store.holds(f"{number}/link")]
        assert kept == list(range(MANY - len(kept), MANY))
        assert 0.1 * BOUND < len(kept) * len(BODY) <= BOUND / 4
        assert sum(store.holds(str(number)) for number in range(MANY)) * len(BODY) > 0.4 * BOUND
        assert store.bytes_on_disk() <= BOUND

    def test_kept_objects_expire_and_make_room_when_nothing_else_does(self, tmp_path: Path) -> None:
        now = 1e9
        with closing(StoreUnderTest(tmp_path, max_bytes=4 * BOUND, clock=lambda: now)) as large:
            large.put("old", BODY)
            large.keep("old")
            now += 29 * DAY
            for number in range(300):
                large.put(str(number), BODY)
                large.keep(str(number))
            now += 2 * DAY
            assert not large.holds("old")
            large.put("new", BODY)
            assert large.recorded.total(STORE_EVICTED) == 1
        with closing(StoreUnderTest(tmp_path, clock=lambda: now)) as small:
            small.put("new", os.urandom(10_000_000))
            assert small.failures("put") == 0
            assert 0 < sum(small.holds(str(number)) for number in range(300)) < 300

    def test_art_is_compressed_and_an_image_is_not(self, store: StoreUnderTest) -> None:
        flat = StoredArt("\n".join(["#" * 1000] * 1000)).to_json()
        for key, body in (
            ("0/width/1000", flat),
            (image_key(64 * "1"), flat),
            ("2/width/80", BODY),
        ):
            store.put(key, body)
            assert store.get(key) == body
        with closing(sqlite3.connect(store.file)) as file:
            sizes = dict(file.execute("SELECT key, length(body) FROM objects"))
        assert sizes["0/width/1000"] < 10_000
        assert sizes[image_key(64 * "1")] == len(flat)

    def test_art_of_a_release_that_did_not_compress_it_is_read(self, store: StoreUnderTest) -> None:
        store.put("0/width/80", b"small")
        body = StoredArt("#" * 100_000).to_json()
        with closing(sqlite3.connect(store.file)) as file:
            file.execute(
                "UPDATE objects SET body = ?, checksum = ?",
                (body, zlib.crc32(body, zlib.crc32(b"0/width/80"))),
            )
            file.commit()

        assert store.get("0/width/80") == body

    def test_an_object_larger_than_the_store_is_kept_in_memory(self, store: StoreUnderTest) -> None:
        store.put("small", BODY)
        store.put("large", os.urandom(2 * BOUND))

        assert len(store.get("large")) == 2 * BOUND
        assert store.holds("small")
        assert store.failures("put") == 1
        assert store.problem() == ""

    def test_memory_is_bounded_in_bytes_and_drops_the_oldest(self) -> None:
        overflow = Overflow(max_bytes=100)
        for key in ("a", "b", "c"):
            overflow.put(key, bytes(40))
        overflow.put("c", bytes(50))
        overflow.put("d", bytes(101))

        assert [overflow.bodies.get(key) for key in ("a", "b", "c", "d")] == [
            None,
            None,
            None,
            None,
        ]


class TestStaging:
    @pytest.fixture
    def other(self, store: StoreUnderTest) -> Iterator[StoreUnderTest]:
        """The store of another process."""
        with closing(StoreUnderTest(store.directory)) as opened:
            yield opened

    def test_a_created_object_is_found_at_once_and_elsewhere_after_the_next_put_in_its_folder(
        self, store: StoreUnderTest, other: StoreUnderTest
    ) -> None:
        assert store.create("cat/image", BODY)
        assert not store.create("cat/image", b"other bytes")
        store.put("dog/art", b"other art")
        assert store.exists("cat/image")
        assert store.get("cat/image") == BODY
        assert not other.holds("cat/image")

        store.put("cat/art", b"art")
        assert other.get("cat/image") == store.get("cat/image") == BODY
        assert other.get("cat/art") == store.get("cat/art") == b"art"
        assert not store.create("cat/image", b"other bytes")
        assert not other.create("cat/image", b"other bytes")

    def test_an_object_that_is_replaced_before_it_is_written_takes_no_more_memory(
        self, store: StoreUnderTest, other: StoreUnderTest
    ) -> None:
        for number in range(200):
            assert store.create(str(number), BODY)
            store.put(str(number), BODY)
        store.create("cat/image", BODY)
        assert not other.holds("cat/image")

    def test_a_store_that_closes_writes_what_was_created(
        self, store: StoreUnderTest, other: StoreUnderTest
    ) -> None:
        store.create("image", BODY)
        store.close()

        assert other.get("image") == BODY
        assert store.failures("put") == store.failures("create") == 0

    def test_what_is_created_without_any_put_is_written_before_it_takes_much_memory(
        self, store: StoreUnderTest, other: StoreUnderTest
    ) -> None:
        for number in range(200):
            assert store.create(str(number), BODY)

        held = [number for number in range(200) if other.holds(str(number))]
        assert held == list(range(len(held)))
        assert (200 - len(held)) * len(BODY) <= 4_000_000
        assert store.bytes_on_disk() <= BOUND
        assert all(store.holds(str(number)) for number in range(200))

    def test_empty_objects_and_objects_larger_than_the_memory_are_stored(
        self, store: StoreUnderTest
    ) -> None:
        for key, body in (("empty", b""), ("large", bytes(8_000_000))):
            assert store.create(key, body)
            assert store.exists(key)
            assert store.get(key) == body
        store.put("art", b"art")
        assert store.get("empty") == b""

    def test_what_was_created_before_a_write_fails_is_kept_in_memory(
        self, store: StoreUnderTest
    ) -> None:
        store.put("before", b"")
        store.create("cat/image", BODY)
        with locked(store.directory):
            store.put("art", b"art")
            assert store.get("cat/image") == BODY
            assert store.get("art") == b"art"
            assert store.exists("cat/image")
            assert not store.create("cat/image", b"other bytes")
        assert store.failures("put") == 1
        wait_until(lambda: store.problem() == "")
        store.put("art", b"later art")
        assert store.get("art") == b"later art"

    def test_many_small_objects_that_wait_for_the_lock_are_written_together(
        self, store: StoreUnderTest, other: StoreUnderTest
    ) -> None:
        store.put("before", b"")
        for number in range(480):
            store.create(str(number), b"")
        store.close()

        assert all(other.exists(str(number)) for number in range(480))
        assert store.failures("put") == store.failures("create") == 0

    @pytest.mark.slow
    def test_what_was_written_is_not_kept_in_memory_however_many_objects_were_written_at_once(
        self, store: StoreUnderTest
    ) -> None:
        program = """
def resident_bytes():
    return int(open("/proc/self/statm").read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

before = resident_bytes()
for together in range(1, 81):
    for number in range(together):
        store.create(f"{together}/{number}", bytes(40_000))
    store.put(f"{together}/art", b"art")  # writes all of them
print(resident_bytes() - before)
"""
        grown_by = int(start(program, store.directory).communicate(timeout=600)[0])

        assert grown_by < 25_000_000  # 130 MB were written


class TestProcesses:
    @pytest.mark.slow
    def test_several_processes_write_at_once_and_nothing_is_lost(
        self, store: StoreUnderTest
    ) -> None:
        program = """
for number in range(200):
    assert store.create(f"{sys.argv[2]}/{number}", sys.argv[2].encode() * 10_000)
    store.put("shared", sys.argv[2].encode() * 50_000)
    assert len(set(store.get("shared"))) == 1
assert not metrics._totals, metrics._totals
store.close()
"""
        writers = [start(program, store.directory, name, first=PATIENT) for name in "abcd"]

        for writer in writers:
            writer.communicate(timeout=600)

        assert [writer.returncode for writer in writers] == [0, 0, 0, 0]
        for name in "abcd":
            assert all(
                store.get(f"{name}/{number}") == name.encode() * 10_000 for number in range(200)
            )

    @pytest.mark.slow
    def test_one_object_is_kept_of_those_that_several_processes_create(
        self, store: StoreUnderTest
    ) -> None:
        program = """
created = sum(store.create(str(number), sys.argv[2].encode()) for number in range(300))
store.close()
print(created)
"""
        writers = [start(program, store.directory, name, first=PATIENT) for name in "abcd"]
        created = [int(writer.communicate(timeout=600)[0]) for writer in writers]

        assert sum(created) >= 300
        for number in range(300):
            assert store.get(str(number)) in (b"a", b"b", b"c", b"d")
            assert not store.create(str(number), BODY)

    @pytest.mark.slow
    def test_a_killed_process_loses_only_what_it_created_after_its_last_put(
        self, store: StoreUnderTest
    ) -> None:
        program = """
for number in range(100):
    store.create(f"{number}/image", b"image")
    store.put(f"{number}/art", b"art")
store.create("last/image", b"image")
os.kill(os.getpid(), 9)
"""
        start(program, store.directory).communicate(timeout=600)

        assert all(
            store.holds(f"{number}/image") and store.holds(f"{number}/art") for number in range(100)
        )
        assert not store.holds("last/image")

    @pytest.mark.slow
    def test_a_process_killed_while_writing_leaves_all_that_it_had_written(
        self, store: StoreUnderTest
    ) -> None:
        program = """
for number in range(100_000):
    store.put(f"{sys.argv[2]}/{number}", bytes([number % 256]) * 40_000)
    print(number, flush=True)
"""
        for attempt in range(5):
            writer = start(program, store.directory, attempt)
            assert writer.stdout
            last = [int(writer.stdout.readline()) for _ in range(50)][-1]
            writer.send_signal(signal.SIGKILL)
            writer.communicate()
            assert all(
                store.get(f"{attempt}/{number}") == bytes([number]) * 40_000
                for number in range(last + 1)
            )
            store.put("after", BODY)

        assert store.failures("get") == store.failures("put") == 0

    def test_a_reader_does_not_wait_for_a_writer(self, store: StoreUnderTest) -> None:
        store.put("a", b"committed")
        with (
            closing(sqlite3.connect(store.file, isolation_level=None)) as writer,
            locked(store.directory),
        ):
            writer.execute("BEGIN IMMEDIATE")
            writer.execute("UPDATE objects SET body = x'00'")
            assert store.get("a") == b"committed"
            assert store.exists("a")
            writer.execute("ROLLBACK")
        assert store.failures("get") == store.failures("exists") == 0

    def test_a_process_stopped_while_reading_does_not_make_the_files_grow_without_bound(
        self, store: StoreUnderTest
    ) -> None:
        store.put("first", BODY)
        with closing(sqlite3.connect(store.file, isolation_level=None)) as reader:
            reader.execute("BEGIN")
            reader.execute("SELECT * FROM objects").fetchall()
            for number in range(2 * MANY):
                store.put(str(number), BODY)
            assert store.holds(str(2 * MANY - 1))
            assert store.problem() == sentences.STORE_LOCKED
            assert store.bytes_on_disk() <= BOUND + 24_000_000
        wait_until(lambda: store.problem() == "")
        wait_until(lambda: store.put("later", BODY) or store.bytes_on_disk() <= BOUND)

    def test_a_directory_locked_by_a_stopped_process_costs_the_storing_only(
        self, store: StoreUnderTest
    ) -> None:
        store.put("before", BODY)
        with locked(store.directory):
            store.put("meanwhile", BODY)
            assert store.get("meanwhile") == store.get("before") == BODY
            assert store.problem() == sentences.STORE_LOCKED
        wait_until(lambda: store.problem() == "")
        assert store.failures("put") >= 1

    @pytest.mark.slow
    def test_other_greenlets_run_while_one_waits_for_the_lock(self, store: StoreUnderTest) -> None:
        program = """
import gevent
ticks = []
def tick():
    while True:
        ticks.append(1)
        gevent.sleep(0)
ticking = gevent.spawn(tick)
gevent.joinall([gevent.spawn(store.put, str(number), b"body") for number in range(10)])
assert len(ticks) > 10, len(ticks)
assert [store.get(str(number)) for number in range(10)] == 10 * [b"body"]
store.close()
"""
        store.put("a", BODY)
        with locked(store.directory):
            process = start(
                program, store.directory, first="from gevent import monkey; monkey.patch_all()"
            )
            process.communicate(timeout=600)
        assert process.returncode == 0


@contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Hold the writers' lock, like a process that was stopped while writing."""
    with (directory / "artifacts.lock").open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


class TestBadDisks:
    @pytest.mark.slow
    def test_a_small_disk_is_never_filled_and_keeps_the_newest_objects(
        self, tmp_path: Path
    ) -> None:
        with (
            mounted(tmp_path / "disk", 40) as disk,
            closing(StoreUnderTest(disk, max_bytes=1_000_000_000)) as store,
        ):
            for number in range(3000):  # three times the disk
                store.put(str(number), BODY)
                assert store.holds(str(number))
                assert store.holds(str(max(0, number - 400)))
            assert not store.holds("0")
            assert store.failures("put") == 0
            assert shutil.disk_usage(disk).free > 8_000_000

    def test_large_images_fit_on_a_small_disk(self, tmp_path: Path) -> None:
        with (
            mounted(tmp_path / "disk", 40) as disk,
            closing(StoreUnderTest(disk, max_bytes=1_000_000_000)) as store,
        ):
            for number in range(12):
                store.put(str(number), bytes(10_000_000))
                assert store.holds(str(number))
            assert store.failures("put") == 0

    def test_a_disk_filled_by_others_costs_the_storing_only_and_the_store_recovers(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.INFO)
        with (
            mounted(tmp_path / "disk", 40) as disk,
            closing(StoreUnderTest(disk, max_bytes=1_000_000_000)) as store,
        ):
            for number in range(100):
                store.put(str(number), BODY)
            fill(disk / "others")
            for number in range(100, 400):
                assert store.create(str(number), BODY)
                assert store.get(str(number)) == BODY
            assert store.problem() == sentences.STORE_FULL
            assert store.failures("create") > 100
            (disk / "others").unlink()
            wait_until(lambda: store.problem() == "")
            store.put("stored", BODY)
            with closing(StoreUnderTest(disk)) as other:
                assert other.holds("stored")
        messages = [record.getMessage() for record in caplog.records]
        assert len([text for text in messages if text.startswith("art is not being stored: ")]) == 1
        assert messages.count("art is being stored again") == 1

    def test_a_process_that_starts_on_a_full_disk_keeps_objects_in_memory(
        self, tmp_path: Path
    ) -> None:
        with mounted(tmp_path / "disk", 40) as disk, closing(StoreUnderTest(disk)) as store:
            fill(disk / "others")
            store.put("a", BODY)
            assert store.get("a") == BODY
            assert store.problem() == sentences.STORE_FULL

    def test_a_disk_that_becomes_read_only_costs_the_storing_only(self, tmp_path: Path) -> None:
        with mounted(tmp_path / "disk", 40) as disk:
            with closing(StoreUnderTest(disk)) as store:
                store.put("before", BODY)
            subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
            with closing(StoreUnderTest(disk)) as store:
                assert store.create("meanwhile", BODY)
                assert not store.create("meanwhile", BODY)
                assert store.get("meanwhile") == BODY
                assert store.problem() == sentences.STORE_UNWRITABLE
                subprocess.run(["mount", "-o", "remount,rw", str(disk)], check=True)
                wait_until(lambda: store.problem() == "")
                assert store.holds("before")
                assert store.holds("meanwhile")

    def test_a_directory_that_cannot_be_created_costs_the_storing_only(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        (tmp_path / "file").write_text("not a directory")
        with closing(StoreUnderTest(tmp_path / "file")) as store:
            assert not store.holds("a")
            assert not store.exists("a")
            assert store.create("a", BODY)
            store.put("a", b"replaced")
            assert store.get("a") == b"replaced"
            assert store.problem() == sentences.STORE_UNUSABLE
            assert [store.failures(name) for name in ("get", "exists", "create")] == [1, 1, 1]
            assert str(tmp_path / "file") in caplog.text
            (tmp_path / "file").unlink()
            wait_until(lambda: store.problem() == "")

    def test_a_failing_disk_is_not_tried_for_each_request(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "file").write_text("not a directory")
        attempts = []
        make = Path.mkdir

        def count_and_make(path: Path, **options: bool) -> None:
            attempts.append(path)
            make(path, **options)

        monkeypatch.setattr(Path, "mkdir", count_and_make)
        monkeypatch.setattr("asciist.adapters.local_store.backoff.RETRY_SECONDS", 3600)
        with closing(StoreUnderTest(tmp_path / "file")) as store:
            for number in range(100):
                store.put(str(number), BODY)
                store.holds("missing")

        assert len(attempts) == 1
        assert store.failures("put") == store.failures("get") == 100


def fill(path: Path) -> None:
    """Write to a file until the disk is full."""
    with path.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(1 << 16))


class TestDamage:
    @pytest.mark.parametrize(
        "content",
        [b"this is not a database", bytes(100_000), b"SQLite format 3\0" + os.urandom(50_000)],
    )
    def test_a_file_that_is_no_database_is_replaced(
        self, store: StoreUnderTest, content: bytes, caplog: pytest.LogCaptureFixture
    ) -> None:
        store.directory.mkdir()
        store.file.write_bytes(content)
        assert not store.holds("a")
        store.put("a", BODY)

        assert store.get("a") == BODY
        assert store.problem() == ""
        assert "is damaged and is replaced" in caplog.text

    @pytest.mark.slow
    def test_a_database_damaged_at_any_page_is_replaced_and_no_wrong_bytes_are_returned(
        self, tmp_path: Path
    ) -> None:
        with closing(StoreUnderTest(tmp_path)) as store:
            for number in range(60):
                store.put(str(number), bytes([number]) * 5000)
        intact = store.file.read_bytes()
        for page in range(len(intact) // 8192):
            damaged = bytearray(intact)
            damaged[page * 8192 + 100 : (page + 1) * 8192] = os.urandom(8192 - 100)
            store.file.write_bytes(damaged)
            with closing(StoreUnderTest(tmp_path)) as store:
                for number in range(60):
                    if store.holds(str(number)):
                        assert store.get(str(number)) == bytes([number]) * 5000
                for number in range(60, 64):
                    store.put(str(number), BODY)
                    assert store.get(str(number)) == BODY
                assert store.problem() == ""

    def test_a_truncated_database_is_replaced(self, tmp_path: Path) -> None:
        with closing(StoreUnderTest(tmp_path)) as store:
            for number in range(60):
                store.put(str(number), BODY)
        with store.file.open("rb+") as file:
            file.truncate(1_000_000)
        with closing(StoreUnderTest(tmp_path)) as store:
            for number in range(60):
                assert not store.holds(str(number)) or store.get(str(number)) == BODY
            store.put("a", BODY)
            assert store.get("a") == BODY
            assert store.problem() == ""

    def test_a_database_of_another_version_is_replaced(self, store: StoreUnderTest) -> None:
        store.directory.mkdir()
        with closing(sqlite3.connect(store.file)) as other:
            other.execute("CREATE TABLE objects (name TEXT)")
            other.execute("PRAGMA user_version=7")
            other.commit()
        store.put("a", BODY)

        assert store.get("a") == BODY
        assert store.problem() == ""

    def test_the_directory_may_be_deleted_at_any_time(self, store: StoreUnderTest) -> None:
        with closing(StoreUnderTest(store.directory)) as other:
            store.put("a", BODY)
            assert other.holds("a")
            shutil.rmtree(store.directory)
            store.put("b", BODY)
            other.put("c", BODY)
            assert store.holds("b")
            assert store.holds("c")
            assert other.holds("b")
            assert not store.holds("a")
            assert store.failures("put") == other.failures("put") == 0

    def test_processes_agree_on_the_file_that_replaces_a_damaged_one(
        self, store: StoreUnderTest
    ) -> None:
        with closing(StoreUnderTest(store.directory)) as other:
            store.put("a", BODY)
            assert other.holds("a")
            with closing(sqlite3.connect(store.file)) as damaging:
                damaging.execute("UPDATE objects SET checksum = 0")
                damaging.commit()
            assert not store.holds("a")
            store.put("b", BODY)
            other.put("c", BODY)
            assert store.holds("b")
            assert store.holds("c")
            assert other.holds("b")


class TestPrivacy:
    NAMES = (
        "artifacts.sqlite3",
        "artifacts.sqlite3-wal",
        "artifacts.sqlite3-shm",
        "artifacts.lock",
        "artifacts.queue",
    )

    @staticmethod
    def modes(directory: Path) -> dict[str, int]:
        return {
            path.name: path.stat().st_mode & 0o777 for path in (directory, *directory.iterdir())
        }

    @pytest.fixture(params=[0o000, 0o022])
    def umask(self, request: pytest.FixtureRequest) -> Iterator[None]:
        before = os.umask(request.param)
        yield
        os.umask(before)

    @pytest.mark.usefixtures("umask")
    def test_the_directory_and_its_files_are_created_for_this_account_only(
        self, store: StoreUnderTest
    ) -> None:
        store.put("a", BODY)

        assert self.modes(store.directory) == {"store": 0o700, **dict.fromkeys(self.NAMES, 0o600)}

    @pytest.mark.usefixtures("umask")
    def test_missing_parents_are_created_for_this_account_only(self, tmp_path: Path) -> None:
        with closing(StoreUnderTest(tmp_path / "cache" / "asciist" / "store")) as store:
            store.put("a", BODY)

        assert self.modes(tmp_path)["cache"] == self.modes(tmp_path / "cache")["asciist"] == 0o700

    @pytest.mark.usefixtures("umask")
    def test_files_that_replace_damaged_ones_are_private(self, store: StoreUnderTest) -> None:
        store.directory.mkdir(mode=0o700)
        store.file.write_bytes(b"this is not a database")
        store.put("a", BODY)

        assert set(self.modes(store.directory).values()) == {0o700, 0o600}

    @pytest.mark.parametrize("mode", [0o755, 0o777, 0o1777])
    def test_a_directory_of_the_store_alone_is_made_private(
        self, store: StoreUnderTest, mode: int
    ) -> None:
        store.directory.mkdir()
        for name in ("artifacts.lock", "artifacts.sqlite3"):
            (store.directory / name).touch()
            (store.directory / name).chmod(0o666)
        store.directory.chmod(mode)
        store.put("a", BODY)

        assert store.holds("a")
        assert store.directory.stat().st_mode & 0o7777 == 0o700
        assert (
            self.modes(store.directory)["artifacts.sqlite3"]
            == self.modes(store.directory)["artifacts.lock"]
            == 0o600
        )

    def test_a_directory_in_which_others_may_write_to_other_files_is_not_used(
        self, store: StoreUnderTest, caplog: pytest.LogCaptureFixture
    ) -> None:
        store.directory.mkdir()
        (store.directory / "notes.txt").write_text("not ours")
        store.directory.chmod(0o775)
        store.put("a", BODY)

        assert store.get("a") == BODY
        assert store.problem() == sentences.STORE_NOT_PRIVATE
        assert [path.name for path in store.directory.iterdir()] == ["notes.txt"]
        assert store.directory.stat().st_mode & 0o777 == 0o775
        assert f"{store.directory}: other accounts can write to it" in caplog.text
        store.directory.chmod(0o755)
        wait_until(lambda: store.problem() == "")
        store.put("b", BODY)
        assert self.modes(store.directory) == {
            "store": 0o755,
            "notes.txt": 0o644,
            **dict.fromkeys(self.NAMES, 0o600),
        }

    @pytest.mark.skipif(
        os.geteuid() != 0, reason="only root can give a directory to another account"
    )
    @pytest.mark.parametrize("name", ["", "artifacts.lock", "artifacts.sqlite3"])
    def test_what_belongs_to_another_account_is_not_used(
        self, store: StoreUnderTest, name: str
    ) -> None:
        store.directory.mkdir(mode=0o700)
        if name:
            (store.directory / name).touch()
        os.chown(store.directory / name, 12345, 12345)
        store.put("a", BODY)

        assert store.get("a") == BODY
        assert store.problem() == sentences.STORE_NOT_PRIVATE
        assert not store.file.exists() or store.file.stat().st_size == 0

    @pytest.mark.parametrize("link", [os.symlink, os.link])
    @pytest.mark.parametrize("name", NAMES)
    def test_a_link_in_place_of_a_file_is_not_followed(
        self, store: StoreUnderTest, tmp_path: Path, name: str, link: Callable[[Path, Path], None]
    ) -> None:
        outside = tmp_path / "outside"
        with closing(sqlite3.connect(outside)) as other:  # which SQLite would open without an error
            other.execute("CREATE TABLE notes (text)")
        outside.chmod(0o644)
        before = outside.read_bytes()
        store.directory.mkdir()
        link(outside, store.directory / name)
        store.put("a", BODY)

        assert store.get("a") == BODY
        assert store.problem() == sentences.STORE_NOT_PRIVATE
        assert (outside.read_bytes(), outside.stat().st_mode & 0o777) == (before, 0o644)
        (store.directory / name).unlink()
        wait_until(lambda: store.problem() == "")

    @pytest.mark.parametrize("name", NAMES)
    def test_no_file_is_created_through_a_link(
        self, store: StoreUnderTest, tmp_path: Path, name: str
    ) -> None:
        store.directory.mkdir()
        (store.directory / name).symlink_to(tmp_path / "outside")
        store.put("a", BODY)

        assert store.problem() == sentences.STORE_NOT_PRIVATE
        assert not (tmp_path / "outside").exists()

    @pytest.mark.parametrize("name", NAMES)
    def test_a_link_that_takes_the_place_of_a_file_later_is_not_followed(
        self, store: StoreUnderTest, tmp_path: Path, name: str
    ) -> None:
        store.put("before", BODY)
        store.close()
        outside = tmp_path / "outside"
        shutil.copyfile(store.file, outside)
        before = outside.read_bytes()
        (store.directory / name).unlink(missing_ok=True)
        (store.directory / name).symlink_to(outside)
        with closing(StoreUnderTest(store.directory)) as later:
            later.put("after", BODY)
            assert later.get("after") == BODY
            assert later.problem() == sentences.STORE_NOT_PRIVATE
        assert outside.read_bytes() == before

    def test_the_directory_itself_may_be_a_link(self, tmp_path: Path) -> None:
        (tmp_path / "disk").mkdir()
        (tmp_path / "data").symlink_to(tmp_path / "disk")
        with closing(StoreUnderTest(tmp_path / "data")) as store:
            store.put("a", BODY)
            assert store.problem() == ""
        assert self.modes(tmp_path / "disk")["artifacts.sqlite3"] == 0o600


def test_objects_are_kept_for_the_next_process(tmp_path: Path) -> None:
    with closing(StoreUnderTest(tmp_path)) as store:
        store.put("a", BODY)
    process = start(
        "import json; print(json.dumps([store.exists('a'), len(store.get('a'))]))", tmp_path
    )

    assert json.loads(process.communicate(timeout=600)[0]) == [True, len(BODY)]
