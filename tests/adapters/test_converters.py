"""Conversions in separate processes: a process that ends is replaced, and no image harms another
one."""

import os
import secrets
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from asciist import conversion
from asciist.adapters.converters import process, wire
from asciist.adapters.converters.in_process import InProcessConverter
from asciist.adapters.converters.pool import ConverterPool, TaskSocket
from asciist.art.codec import encode
from asciist.conversion import animating
from asciist.errors import OverloadedError, UnavailableError, sentences
from asciist.formats import AVIF
from asciist.limits import Limits
from asciist.options import ConversionOptions
from asciist.protocol.ports import Conversion, Converter
from asciist.settings import Settings
from tests import flawed_converters
from tests.processes import children, gone, is_converter
from tests.waiting import wait_until
from tools.testing.hostile import avif, webp
from tools.testing.images import encoded, gradient

OPTIONS = ConversionOptions(width=40)


class TestMessages:
    @pytest.mark.parametrize("image", [b"", b"x", bytes(3_000_000)])
    def test_a_request_arrives_unchanged(self, image: bytes) -> None:
        options = ConversionOptions(width=7, style="ramp", color="ansi", chars=" éñ")

        assert exchanged(wire.request(image, options), wire.read_request) == (image, options)

    @pytest.mark.parametrize(
        "outcome",
        [
            Conversion(
                art="▚ art\n" * 100_000, format="jpeg", pixels=5, decode_ms=1.5, render_ms=0.25
            ),
            Conversion(art="", format="png", pixels=1, decode_ms=0.0, render_ms=0.0),
            Conversion(
                rejection="the image is damaged and cannot be decoded",
                format="gif",
                pixels=9,
                decode_ms=2.0,
            ),
        ],
    )
    def test_an_answer_arrives_unchanged(self, outcome: Conversion) -> None:
        answer = wire.Answer(process=7, conversion=outcome)
        assert exchanged(wire.answer(answer), wire.read_answer) == answer

    @pytest.mark.parametrize(
        "answer",
        [
            wire.Answer(process=7, failure="Traceback: é"),
            wire.Answer(process=7, ended=-signal.SIGSEGV),
            wire.Answer(
                process=7,
                ended=0,
                conversion=Conversion(rejection="too large", aborted=("crash", "time")),
            ),
        ],
    )
    def test_an_answer_without_art_arrives_unchanged(self, answer: wire.Answer) -> None:
        assert exchanged(wire.answer(answer), wire.read_answer) == answer

    @pytest.mark.parametrize("size", [0, 3, 8, 20, -1])
    def test_a_message_that_is_cut_short_is_an_end_of_file(self, size: int) -> None:
        with pytest.raises(EOFError):
            exchanged(wire.request(b"image", OPTIONS)[:size], wire.read_request)

    def test_nothing_is_received_of_a_message_that_claims_gigabytes(self) -> None:
        with pytest.raises(EOFError, match="honest"):
            exchanged(b"\xff" * 8, wire.read_answer)


def exchanged(message: bytes, read):  # type: ignore[no-untyped-def]
    """Send a message over a connection and close it; return the result of `read`."""
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


@pytest.fixture(params=["in process", "interpreter", "fork"])
def converter(request: pytest.FixtureRequest) -> Iterator[Converter]:
    """Each implementation of the port."""
    if request.param == "in process":
        yield InProcessConverter(Limits())
        return
    with_pool = Pool(is_forked=request.param == "fork")
    yield with_pool.pool
    with_pool.close()


class TestEveryConverter:
    def test_returns_the_art_with_its_measurements(self, converter: Converter, cat: bytes) -> None:
        converted = converter.convert(cat, OPTIONS, wait_seconds=30)

        assert converted.art == encode(conversion.convert(cat, OPTIONS, Limits()))
        assert (converted.rejection, converted.format, converted.pixels) == (
            None,
            "jpeg",
            451 * 300,
        )
        assert converted.decode_ms is not None
        assert converted.render_ms is not None

    def test_draws_the_frames_of_an_animation_in_one_conversion(
        self, converter: Converter, cat: bytes
    ) -> None:
        image = encoded(
            gradient(200, 100),
            "GIF",
            save_all=True,
            append_images=[gradient(100, 200).resize((200, 100))],
        )
        moving = ConversionOptions(width=40, animate=True, invert="auto")
        converted = converter.convert(image, moving, wait_seconds=30)
        opened = animating.open_animation(image, moving, Limits())
        assert opened

        assert converted.art == encode(animating.draw(opened))
        assert (converted.format, converted.pixels, converted.decode_ms) == (
            "gif",
            2 * 200 * 100,
            None,
        )
        assert converted.invert is not None
        assert converted.render_ms is not None
        still = converter.convert(cat, moving, wait_seconds=30)
        assert (
            still.art
            == converter.convert(
                cat, ConversionOptions(width=40, invert="auto"), wait_seconds=30
            ).art
        )

    @pytest.mark.parametrize(
        ("image", "reason"),
        [
            (b"text", sentences.UNKNOWN_FORMAT),
            (encoded(gradient(), "PNG")[:60], sentences.DAMAGED_IMAGE),
            (b"", sentences.UNKNOWN_FORMAT),
        ],
    )
    def test_tells_why_an_image_is_rejected(
        self, converter: Converter, image: bytes, reason: str
    ) -> None:
        converted = converter.convert(image, OPTIONS, wait_seconds=30)

        assert converted.art is None

        assert converted.rejection == reason

    def test_converts_many_images_at_a_time(self, converter: Converter, cat: bytes) -> None:
        with ThreadPoolExecutor(8) as threads:
            widths = range(10, 40)
            arts = threads.map(
                lambda width: (
                    converter.convert(cat, ConversionOptions(width=width), wait_seconds=60).art
                ),
                widths,
            )
            assert [len(art.split("\n")[0]) for art in arts if art] == list(widths)


class Pool:
    """A ConverterPool and its processes."""

    def __init__(
        self, *, is_forked: bool = False, tasks: TaskSocket | None = None, **settings: int
    ) -> None:
        self._others = set(children(os.getpid()))
        self.pool = ConverterPool(Settings(**settings), tasks, is_forked=is_forked)  # type: ignore[arg-type]
        self._first_parent = self._newest_parent()

    def _newest_parent(self) -> int:
        (parent,) = set(children(os.getpid())) - self._others
        return parent

    @property
    def parent(self) -> int:
        """The id of the parent of the converters."""
        return (
            self._first_parent
            if Path(f"/proc/{self._first_parent}").exists()
            else self._newest_parent()
        )

    @property
    def process(self) -> int:
        """The id of the converter process."""
        wait_until(lambda: any(map(is_converter, children(self.parent))))
        return next(process for process in children(self.parent) if is_converter(process))

    def convert(self, image: bytes) -> Conversion:
        return self.pool.convert(image, OPTIONS, wait_seconds=60)

    def close(self) -> None:
        self.pool.close()


both_ways = pytest.mark.parametrize("is_forked", [False, True], ids=["interpreter", "fork"])


@pytest.fixture(params=[False, True], ids=["interpreter", "fork"])
def running(request: pytest.FixtureRequest) -> Iterator[Pool]:
    pool = Pool(is_forked=request.param)
    yield pool
    pool.close()


class TestPool:
    def test_is_ready_soon(self, running: Pool) -> None:
        wait_until(running.pool.is_ready)

    def test_begins_a_conversion_that_waits_for_a_killed_process_elsewhere(
        self, running: Pool, cat: bytes
    ) -> None:
        first = running.process
        os.kill(first, signal.SIGSTOP)
        with ThreadPoolExecutor() as threads:
            converted = threads.submit(running.convert, cat)
            time.sleep(0.2)
            assert not converted.done()
            os.kill(first, signal.SIGKILL)
            assert converted.result().art
            assert converted.result().aborted == ()

        assert running.process != first
        assert running.pool.is_ready()

    def test_refuses_a_conversion_that_does_not_begin_in_time(
        self, running: Pool, cat: bytes
    ) -> None:
        os.kill(running.process, signal.SIGSTOP)
        try:
            with pytest.raises(OverloadedError):
                running.pool.convert(cat, OPTIONS, wait_seconds=0.2)
            with pytest.raises(OverloadedError):
                running.pool.convert(cat, OPTIONS, wait_seconds=0)
        finally:
            os.kill(running.process, signal.SIGCONT)
        assert running.convert(cat).art

    def test_serves_others_after_clients_that_gave_up(self, running: Pool) -> None:
        large = encoded(gradient(600, 400), "BMP")  # more than a socket's buffer holds
        os.kill(running.process, signal.SIGSTOP)
        for _ in range(3):
            with pytest.raises(OverloadedError):
                running.pool.convert(large, OPTIONS, wait_seconds=0.1)
        os.kill(running.process, signal.SIGCONT)
        assert running.convert(large).art

    def test_ends_its_processes_when_it_is_closed(self, running: Pool) -> None:
        processes = [running.parent, running.process]
        running.pool.close()

        wait_until(lambda: gone(processes))
        assert not running.pool.is_ready()

    def test_starts_another_parent_if_that_ends(
        self, running: Pool, cat: bytes, caplog: pytest.LogCaptureFixture
    ) -> None:
        processes = [running.parent, running.process]
        os.kill(running.parent, signal.SIGKILL)
        wait_until(lambda: gone(processes))

        assert running.convert(cat).art
        assert caplog.messages == [
            "parent of the converter processes ended (SIGKILL); starting another"
        ]

    def test_leaves_no_descriptors_behind(self, running: Pool, cat: bytes) -> None:
        def descriptors(process: int) -> int:
            return len(list(Path(f"/proc/{process}/fd").iterdir()))

        def counted() -> list[int]:
            return [
                descriptors(os.getpid()),
                descriptors(running.parent),
                descriptors(running.process),
            ]

        assert running.convert(cat).art
        before = counted()
        for _ in range(3):
            os.kill(running.process, signal.SIGKILL)
            for _ in range(5):
                running.convert(cat)
        wait_until(lambda: counted() == before)
        for _ in range(3):
            os.kill(running.process, signal.SIGSTOP)
            with pytest.raises(OverloadedError):
                running.pool.convert(cat, OPTIONS, wait_seconds=0.05)
            os.kill(running.process, signal.SIGCONT)
        assert running.convert(cat).art
        wait_until(lambda: counted() == before)

    def test_converters_have_a_limit_on_memory_and_leave_no_core(
        self, running: Pool, cat: bytes
    ) -> None:
        running.convert(cat)
        limits = {
            line[:25].strip(): line[26:].split()[0]
            for line in Path(f"/proc/{running.process}/limits").read_text().splitlines()
        }

        used = 4096 * int(Path(f"/proc/{running.process}/statm").read_text().split()[0])
        assert 200_000_000 < int(limits["Max address space"]) - used < 600_000_000
        assert limits["Max core file size"] == "0"

    def test_the_largest_image_that_is_accepted_is_converted(self, running: Pool) -> None:
        image = encoded(Image.new("RGB", (4000, 7000)), "PNG")  # 28 megapixels need 181 of 190 MB
        coloured = ConversionOptions(width=200, color="ansi", style="blocks")

        for options in (OPTIONS, coloured):
            converted = running.pool.convert(image, options, wait_seconds=60)
            assert (converted.rejection, converted.aborted) == (None, ())

    def test_the_largest_animation_that_is_accepted_is_converted(self, running: Pool) -> None:
        frames = [
            Image.effect_noise((220, 160), 200).resize((2200, 1600), Image.Resampling.NEAREST)
            for _ in range(3)
        ]
        image = encoded(
            frames[0].convert("RGB"), "WEBP", save_all=True, append_images=frames[1:], lossless=True
        )
        converted = running.pool.convert(
            image, ConversionOptions(width=80, animate=True), wait_seconds=60
        )

        assert (converted.rejection, converted.aborted) == (None, ())
        assert converted.pixels == 3 * 2200 * 1600


@pytest.fixture
def flawed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Pool]]:
    """Return a function that starts a pool with a flaw in its converters."""
    pools: list[Pool] = []

    def start(flaw: str, **arguments: Any) -> Pool:
        flawed_converters.install(tmp_path, monkeypatch, flaw=flaw)
        pools.append(Pool(**arguments))
        return pools[-1]

    yield start
    for pool in pools:
        pool.close()


KILLER = flawed_converters.KILLER


@both_ways
class TestContainment:
    """Decoders that crash, use too much or never end: results for their images and for others, and
    the log."""

    def test_an_image_that_crashes_three_processes_is_rejected(
        self,
        is_forked: bool,
        flawed: Callable[..., Pool],
        cat: bytes,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        pool = flawed(flawed_converters.CRASH, is_forked=is_forked)

        converted = pool.convert(KILLER)
        assert (converted.art, converted.rejection) == (None, sentences.DECODER_CRASHED)
        assert converted.aborted == ("crash",) * 3
        assert pool.convert(cat).art
        ended = "converter process ended (SIGSEGV); another replaces it"
        wait_until(lambda: caplog.messages.count(ended) == 3)
        assert (
            caplog.messages.count(
                "a converter process ended while it converted this image: SIGSEGV"
            )
            == 3
        )
        assert len(caplog.messages) == 6

    def test_an_image_whose_process_is_killed_from_outside_is_converted(
        self, is_forked: bool, flawed: Callable[..., Pool], tmp_path: Path
    ) -> None:
        pool = flawed(flawed_converters.STUCK_ONCE, is_forked=is_forked)
        with ThreadPoolExecutor() as threads:
            converted = threads.submit(pool.convert, KILLER)
            wait_until(lambda: flawed_converters.has_begun(tmp_path))
            os.kill(pool.process, signal.SIGKILL)

            assert converted.result().art
            assert converted.result().aborted == ("killed",)

    def test_an_image_that_needs_far_more_memory_than_estimated_is_rejected_alone(
        self, is_forked: bool, cat: bytes
    ) -> None:
        """The groups of prefix codes in a lossless WebP need 370 MB, which the estimate does not
        include."""
        pool = Pool(is_forked=is_forked)
        try:
            first = pool.process
            assert pool.convert(webp.of_many_prefix_codes()).rejection == sentences.DAMAGED_IMAGE
            assert pool.convert(cat).art
            assert pool.process == first
        finally:
            pool.close()

    def test_an_avif_gets_no_more_memory_than_it_says_that_it_needs(
        self, is_forked: bool, cat: bytes
    ) -> None:
        """The coded images of an AVIF are not parsed before they are decoded."""

        def peak_bytes(process: int) -> int:
            status = Path(f"/proc/{process}/status").read_text()
            peak = next(line for line in status.splitlines() if line.startswith("VmHWM"))
            return 1024 * int(peak.split()[1])

        pool = Pool(is_forked=is_forked)
        try:
            before: dict[int, int] = {}  # a fork begins with the memory of these tests
            for name, image in avif.larger_than_they_say().items():
                for options in (OPTIONS, ConversionOptions(width=80, animate=True)):
                    before.setdefault(pool.process, peak_bytes(pool.process))
                    converted = pool.pool.convert(image, options, wait_seconds=60)
                    # Python may be what runs out of memory, or the decoder.
                    assert converted.rejection in (
                        None,
                        sentences.TOO_MUCH_MEMORY,
                        sentences.DAMAGED_IMAGE,
                        AVIF.unreadable_frames,
                    ), name
                    assert converted.aborted in ((), ("memory",)), name
                    assert pool.convert(cat).art
                    process = pool.process  # another one if Python ran out of memory
                    if process in before:
                        taken = peak_bytes(process) - before[process]
                        assert taken < Limits().max_conversion_bytes + 50_000_000, name
        finally:
            pool.close()

    def test_conversions_that_wait_behind_a_crashing_image_succeed(
        self, is_forked: bool, flawed: Callable[..., Pool], cat: bytes
    ) -> None:
        pool = flawed(flawed_converters.CRASH, is_forked=is_forked)
        with ThreadPoolExecutor(12) as threads:
            for _ in range(3):
                os.kill(pool.process, signal.SIGSTOP)
                conversions = [
                    threads.submit(pool.convert, image)
                    for image in (KILLER, cat, cat, cat, KILLER, cat)
                ]
                time.sleep(0.1)
                os.kill(pool.process, signal.SIGCONT)
                outcomes = [conversion.result() for conversion in conversions]
                assert [outcome.aborted for outcome in outcomes if outcome.art] == [()] * 4
                assert [outcome.rejection for outcome in outcomes if not outcome.art] == [
                    sentences.DECODER_CRASHED
                ] * 2

    def test_an_image_that_needs_too_much_memory_is_rejected_and_its_process_replaced(
        self,
        is_forked: bool,
        flawed: Callable[..., Pool],
        cat: bytes,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        pool = flawed(flawed_converters.MEMORY_HOG, is_forked=is_forked)
        first = pool.process

        converted = pool.convert(KILLER)
        assert (converted.rejection, converted.aborted) == (sentences.TOO_MUCH_MEMORY, ("memory",))
        assert pool.convert(cat).art
        assert pool.process != first
        assert "converter process ended (out of memory); another replaces it" in caplog.messages

    def test_an_image_that_takes_too_much_cpu_time_is_rejected_at_its_first_attempt(
        self, is_forked: bool, flawed: Callable[..., Pool], cat: bytes
    ) -> None:
        pool = flawed(flawed_converters.ENDLESS, is_forked=is_forked, request_timeout=4)

        converted = pool.convert(KILLER)
        assert (converted.rejection, converted.aborted) == (sentences.TOO_SLOW, ("time",))
        assert pool.convert(cat).art

    def test_a_conversion_that_takes_too_long_ends_its_process(
        self,
        is_forked: bool,
        flawed: Callable[..., Pool],
        cat: bytes,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        pool = flawed(flawed_converters.STUCK, is_forked=is_forked, request_timeout=1)

        with pytest.raises(OverloadedError):
            pool.pool.convert(KILLER, OPTIONS, wait_seconds=0.5)
        assert pool.convert(cat).art
        wait_until(
            lambda: caplog.messages == ["converter process ended (SIGALRM); another replaces it"]
        )

    def test_an_unexpected_error_is_reported_with_its_traceback_and_ends_no_process(
        self, is_forked: bool, flawed: Callable[..., Pool], cat: bytes
    ) -> None:
        pool = flawed("1 / 0", is_forked=is_forked)
        first = pool.process

        with pytest.raises(UnavailableError, match="ZeroDivisionError"):
            pool.convert(KILLER)
        assert pool.convert(cat).art
        assert pool.process == first


def test_cpu_time_does_not_accumulate(
    monkeypatch: pytest.MonkeyPatch, flawed: Callable[..., Pool]
) -> None:
    # The CPU time of a request timeout of 4 s, and the time that a busy machine may need for it.
    monkeypatch.setattr(process, "_CPU_SHARE", 2 / Settings(request_timeout=40).timeouts.worker)
    busy = "end = time.process_time() + 0.6\n            while time.process_time() < end: pass"
    pool = flawed(busy, is_forked=True, request_timeout=40)
    first = pool.process

    # 2.4 s, where one conversion may take 2. The kernel's timer counts by samples, so a busy
    # machine may add to each.
    assert all(pool.convert(KILLER).art for _ in range(4))
    assert pool.process == first


def test_a_converter_that_ends_at_its_start_is_replaced_after_growing_pauses(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("asciist.adapters.converters.parent.confine", lambda _limits: os.abort())
    pool = Pool(is_forked=True)
    try:
        wait_until(lambda: len(caplog.messages) >= 3)
        time.sleep(1)
        assert set(caplog.messages) == {"converter process ended (SIGABRT); another replaces it"}
        # 0.05 + 0.1 + 0.2 + 0.4 + 0.8 + 1.6 s, and a pause from the time before
        assert len(caplog.messages) < 9
    finally:
        pool.close()


@both_ways
def test_no_converter_survives_the_process_that_needs_it(is_forked: bool) -> None:
    program = f"""
import time
from asciist.adapters.converters.pool import ConverterPool
from asciist.settings import Settings
pool = ConverterPool(Settings(), processes=2, is_forked={is_forked})
while not pool.is_ready(): time.sleep(0.01)
print("ready", flush=True)
time.sleep(100)
"""
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as owner:
        assert owner.stdout
        assert owner.stdout.readline() == b"ready\n"
        (parent,) = children(owner.pid)
        converters = children(parent)
        assert len(converters) == 2
        owner.kill()
    wait_until(lambda: gone([parent, *converters]))


def test_a_pool_with_two_converters_converts_two_images_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cat: bytes
) -> None:
    flawed_converters.install(tmp_path, monkeypatch, flaw=flawed_converters.STUCK)
    pool = ConverterPool(Settings(request_timeout=2), processes=2)
    with ThreadPoolExecutor(1) as threads:
        try:
            stuck = threads.submit(pool.convert, KILLER, OPTIONS, wait_seconds=1)
            time.sleep(0.2)
            assert all(pool.convert(cat, OPTIONS, wait_seconds=60).art for _ in range(5))
            assert not stuck.done()
            with pytest.raises(OverloadedError):
                stuck.result()
        finally:
            pool.close()


@pytest.fixture
def two_pools() -> Iterator[list[Pool]]:
    """Two pools that share tasks, like those of two web processes."""
    tasks = TaskSocket()
    pools = [Pool(tasks=tasks) for _ in range(2)]
    yield pools
    for pool in pools:
        pool.close()
    tasks.close()


def test_a_busy_converter_holds_up_three_conversions_of_a_pool_at_most(
    two_pools: list[Pool], cat: bytes
) -> None:
    with ThreadPoolExecutor(4) as threads:

        def start() -> list[Future[Conversion]]:
            return [threads.submit(two_pools[0].convert, cat) for _ in range(12)]

        assert all(conversion.result().art for conversion in start())
        os.kill(two_pools[0].process, signal.SIGSTOP)
        conversions = start()
        wait_until(lambda: sum(conversion.done() for conversion in conversions) >= 9)
        os.kill(two_pools[0].process, signal.SIGCONT)
        assert all(conversion.result().art for conversion in conversions)


def test_the_processes_that_decode_get_no_keys_of_links(
    monkeypatch: pytest.MonkeyPatch, cat: bytes
) -> None:
    keys = secrets.token_hex(32)
    monkeypatch.setenv("ASCIIST_LINK_KEYS", keys)
    with closing(ConverterPool(Settings(link_keys=keys))) as pool:
        assert pool.convert(cat, OPTIONS, wait_seconds=60).art
        parents = children(os.getpid())
        processes = [*parents, *(child for parent in parents for child in children(parent))]

        assert any(map(is_converter, processes))
        for process in processes:
            assert keys not in Path(f"/proc/{process}/environ").read_text()


def test_two_pools_share_their_tasks(two_pools: list[Pool], cat: bytes) -> None:
    """A web process with a busy converter uses the converter of another web process."""
    os.kill(two_pools[0].process, signal.SIGSTOP)
    for _ in range(5):
        assert two_pools[0].convert(cat).art
    os.kill(two_pools[0].process, signal.SIGCONT)
    wait_until(two_pools[0].pool.is_ready)
