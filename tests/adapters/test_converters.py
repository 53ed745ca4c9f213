"""Conversions in processes of their own: every process that may die is replaced, and its conversions begin again."""

import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest

from asciist import conversion
from asciist.adapters.converters import wire
from asciist.adapters.converters.in_process import InProcessConverter
from asciist.adapters.converters.pool import ConverterPool, TaskSocket
from asciist.adapters.converters.process import ConverterProcess
from asciist.errors import OverloadedError, UnavailableError, sentences
from asciist.limits import Limits
from asciist.options import ConversionOptions
from asciist.protocol.ports import Conversion, Converter
from asciist.settings import Settings
from devtools.images import encoded, gradient
from tests import flawed_converters
from tests.waiting import wait_until

OPTIONS = ConversionOptions(width=40)


class TestMessages:
    @pytest.mark.parametrize("image", [b"", b"x", bytes(3_000_000)])
    def test_a_request_arrives_unchanged(self, image: bytes) -> None:
        options = ConversionOptions(width=7, style="ramp", color="ansi", chars=" éñ")

        assert exchanged(wire.request(image, options), wire.read_request) == (image, options)

    @pytest.mark.parametrize(
        "outcome",
        [
            Conversion(art="▚ art\n" * 100_000, format="jpeg", pixels=5, decode_ms=1.5, render_ms=0.25),
            Conversion(art="", format="png", pixels=1, decode_ms=0.0, render_ms=0.0),
            Conversion(rejection="the image is damaged and cannot be decoded", format="gif", pixels=9, decode_ms=2.0),
        ],
    )
    def test_an_answer_arrives_unchanged(self, outcome: Conversion) -> None:
        assert exchanged(wire.answer(outcome, 7), wire.read_answer) == (outcome, 7)

    @pytest.mark.parametrize("size", [0, 3, 8, 20, -1])
    def test_a_message_that_is_cut_short_is_an_end_of_file(self, size: int) -> None:
        with pytest.raises(EOFError):
            exchanged(wire.request(b"image", OPTIONS)[:size], wire.read_request)


def exchanged(message: bytes, read):  # type: ignore[no-untyped-def]
    """Send a message over a connection and close it; return what `read` makes of it."""
    ours, theirs = socket.socketpair()
    with theirs:

        def send() -> None:
            with ours, suppress(OSError):
                ours.sendall(message)

        sender = threading.Thread(target=send)
        sender.start()
        try:
            return read(theirs)
        finally:
            sender.join()


@pytest.fixture(params=["in process", "pool"])
def converter(request: pytest.FixtureRequest) -> Iterator[Converter]:
    """Each implementation of the port."""
    if request.param == "in process":
        yield InProcessConverter(Limits())
        return
    with_pool = Pool()
    yield with_pool.pool
    with_pool.close()


class TestEveryConverter:
    def test_returns_the_art_with_its_measurements(self, converter: Converter, cat: bytes) -> None:
        converted = converter.convert(cat, OPTIONS, wait_seconds=30)

        assert converted.art == conversion.convert(cat, OPTIONS, Limits())
        assert (converted.rejection, converted.format, converted.pixels) == (None, "jpeg", 451 * 300)
        assert converted.decode_ms is not None
        assert converted.render_ms is not None

    @pytest.mark.parametrize(
        ("image", "reason"),
        [
            (b"text", sentences.UNKNOWN_FORMAT),
            (encoded(gradient(), "PNG")[:60], sentences.DAMAGED_IMAGE),
            (b"", sentences.UNKNOWN_FORMAT),
        ],
    )
    def test_tells_why_an_image_is_rejected(self, converter: Converter, image: bytes, reason: str) -> None:
        converted = converter.convert(image, OPTIONS, wait_seconds=30)

        assert converted.art is None

        assert converted.rejection == reason

    def test_converts_many_images_at_a_time(self, converter: Converter, cat: bytes) -> None:
        with ThreadPoolExecutor(8) as threads:
            widths = range(10, 40)
            arts = threads.map(
                lambda width: converter.convert(cat, ConversionOptions(width=width), wait_seconds=60).art, widths
            )
            assert [len(art.split("\n")[0]) for art in arts if art] == list(widths)


class Pool:
    """A ConverterPool with its sockets, and the process that it runs."""

    def __init__(self, **settings: int) -> None:
        self._tasks = TaskSocket()
        self.pool = ConverterPool(Settings(**settings), self._tasks)  # type: ignore[arg-type]

    @property
    def process(self) -> "subprocess.Popen[bytes]":
        return self.pool._process

    def kill(self) -> None:
        self.process.kill()

    def close(self) -> None:
        if not self.pool._closing.is_set():
            self.pool.close()
        os.close(self._tasks.given)
        os.close(self._tasks.taken)


@pytest.fixture
def running() -> Iterator[Pool]:
    pool = Pool()
    yield pool
    pool.close()


class TestPool:
    def test_is_ready_from_the_start(self, running: Pool) -> None:
        assert running.pool.is_ready()

    def test_begins_the_conversion_again_if_its_process_is_killed(self, running: Pool, cat: bytes) -> None:
        first = running.process
        first.send_signal(signal.SIGSTOP)
        with ThreadPoolExecutor() as threads:
            converted = threads.submit(running.pool.convert, cat, OPTIONS, wait_seconds=60)
            time.sleep(0.2)
            assert not converted.done()
            first.kill()
            assert converted.result().art

        assert running.process is not first
        assert running.pool.is_ready()

    def test_refuses_a_conversion_that_does_not_begin_in_time(self, running: Pool, cat: bytes) -> None:
        running.process.send_signal(signal.SIGSTOP)
        try:
            with pytest.raises(OverloadedError):
                running.pool.convert(cat, OPTIONS, wait_seconds=0.2)
            with pytest.raises(OverloadedError):
                running.pool.convert(cat, OPTIONS, wait_seconds=0)
        finally:
            running.process.send_signal(signal.SIGCONT)
        assert running.pool.convert(cat, OPTIONS, wait_seconds=60).art

    def test_serves_others_after_clients_that_gave_up(self, running: Pool) -> None:
        large = encoded(gradient(600, 400), "BMP")  # more than a socket's buffer holds
        running.process.send_signal(signal.SIGSTOP)
        for _ in range(3):
            with pytest.raises(OverloadedError):
                running.pool.convert(large, OPTIONS, wait_seconds=0.1)
        running.process.send_signal(signal.SIGCONT)
        assert running.pool.convert(large, OPTIONS, wait_seconds=60).art

    def test_ends_its_process_when_it_is_closed(self, running: Pool) -> None:
        process = running.process
        running.pool.close()

        assert process.wait(30) == 0
        assert not running.pool.is_ready()

    def test_leaves_no_descriptors_behind(self, running: Pool, cat: bytes) -> None:
        def descriptors() -> int:
            return len(list(Path("/proc/self/fd").iterdir()))

        running.pool.convert(cat, OPTIONS, wait_seconds=60)
        before = descriptors()
        for _ in range(3):
            running.kill()
            for _ in range(5):
                running.pool.convert(cat, OPTIONS, wait_seconds=60)
        assert descriptors() == before

    def test_gives_up_an_image_that_kills_three_processes_and_then_converts_others(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cat: bytes
    ) -> None:
        flawed_converters.install(tmp_path, monkeypatch)
        pool = Pool()
        try:
            with pytest.raises(UnavailableError, match="3 converter processes ended"):
                pool.pool.convert(flawed_converters.KILLER, OPTIONS, wait_seconds=60)
            assert pool.pool.convert(cat, OPTIONS, wait_seconds=60).art
        finally:
            pool.close()

    def test_a_conversion_that_takes_too_long_ends_its_process(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cat: bytes
    ) -> None:
        flawed_converters.install(tmp_path, monkeypatch, flaw="time.sleep(100)")
        pool = Pool(request_timeout=1)
        first = pool.process
        try:
            with pytest.raises(OverloadedError):
                pool.pool.convert(flawed_converters.KILLER, OPTIONS, wait_seconds=0.5)
            assert first.wait(30) == -signal.SIGALRM
            assert pool.pool.convert(cat, OPTIONS, wait_seconds=60).art
        finally:
            pool.close()


def test_a_converter_process_serves_until_its_parent_has_gone(cat: bytes) -> None:
    tasks = TaskSocket()
    parent, child = os.pipe()
    given, taken = socket.socket(fileno=tasks.given), socket.socket(fileno=tasks.taken)
    with given, taken:
        # Signals reach the main thread only, so this one serves; 0 seconds sets no alarm.
        def ask() -> Conversion:
            ours, theirs = socket.socketpair()
            with ours:
                with theirs:
                    socket.send_fds(given, [b"t"], [theirs.fileno()])
                ours.sendall(wire.request(cat, OPTIONS))
                answer, _ = wire.read_answer(ours)
            os.close(child)
            return answer

        with ThreadPoolExecutor() as threads:
            answer = threads.submit(ask)
            ConverterProcess(taken, InProcessConverter(Limits()), 0).serve(parent)
            assert answer.result().art
    os.close(parent)


def test_a_busy_converter_holds_up_three_conversions_of_a_pool_at_most(cat: bytes) -> None:
    tasks = TaskSocket()
    pools = [ConverterPool(Settings(), tasks) for _ in range(2)]
    with ThreadPoolExecutor(4) as threads:

        def start() -> list[Future[Conversion]]:
            return [threads.submit(pools[0].convert, cat, OPTIONS, wait_seconds=60) for _ in range(12)]

        try:
            assert all(conversion.result().art for conversion in start())
            pools[0]._process.send_signal(signal.SIGSTOP)
            conversions = start()
            wait_until(lambda: sum(conversion.done() for conversion in conversions) >= 9)
            pools[0]._process.send_signal(signal.SIGCONT)
            assert all(conversion.result().art for conversion in conversions)
        finally:
            for pool in pools:
                pool.close()
            os.close(tasks.given)
            os.close(tasks.taken)


def test_two_pools_share_their_tasks(cat: bytes) -> None:
    """A web process whose converter is busy uses that of another web process."""
    tasks = TaskSocket()
    pools = [ConverterPool(Settings(), tasks) for _ in range(2)]
    try:
        pools[0]._process.send_signal(signal.SIGSTOP)
        for _ in range(5):
            assert pools[0].convert(cat, OPTIONS, wait_seconds=60).art
        pools[0]._process.send_signal(signal.SIGCONT)
        wait_until(pools[0].is_ready)
    finally:
        for pool in pools:
            pool.close()
        os.close(tasks.given)
        os.close(tasks.taken)
