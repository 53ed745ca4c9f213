"""A poller reports its health to systemd, and exits on fatal errors."""

import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from asciist import poller
from asciist.adapters.converters.in_process import InProcessConverter
from asciist.adapters.embedded import EmbeddedMetrics, EmbeddedReplies
from asciist.adapters.object_store import ObjectStore
from asciist.errors import AccessDeniedError, UnavailableError
from asciist.limits import Limits
from asciist.protocol.ports import Delivery
from asciist.protocol.responder import Responder
from tests.waiting import wait_until


class Queue:
    """A queue whose every receive calls `answer`."""

    def __init__(self) -> None:
        self.answer: Callable[[], list[Delivery]] = list

    # The port's signature.
    def receive(self, *, max_messages: int, wait_seconds: float) -> list[Delivery]:  # noqa: ARG002
        threading.Event().wait(0.01)
        return self.answer()


def responder_of(queue: Queue) -> Responder:
    """Return a Responder that consumes `queue` and does nothing else."""
    metrics = EmbeddedMetrics()
    return Responder(
        store=ObjectStore.in_memory(),
        queue=queue,  # type: ignore[arg-type]  # it only receives
        replies=EmbeddedReplies(metrics),
        metrics=metrics,
        converter=InProcessConverter(Limits()),
    )


class Watched:
    """A poller's responder and its watch, in a thread; `messages` are those received by systemd."""

    def __init__(self, queue: Queue, systemd: socket.socket) -> None:
        self.responder = responder_of(queue)
        self.stop_requested = threading.Event()
        self.problems: list[str] = []
        self._systemd = systemd
        self.responder.start(1, wait_seconds=0.01)
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()

    def _watch(self) -> None:
        self.problems.append(poller._watch(self.responder, self.stop_requested, threads=1))

    def messages(self) -> set[bytes]:
        """Return the messages received by systemd since the last call."""
        received = set()
        while True:
            try:
                received.add(self._systemd.recv(100))
            except BlockingIOError:
                return received

    def stop(self) -> None:
        self.stop_requested.set()
        self._thread.join()
        self.responder.stop(5)


@pytest.fixture
def queue() -> Queue:
    return Queue()


@pytest.fixture
def start(
    queue: Queue, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[], Watched]]:
    started: list[Watched] = []
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        systemd.setblocking(False)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        monkeypatch.setattr(poller, "_CHECK_SECONDS", 0.02)

        def begin() -> Watched:
            started.append(Watched(queue, systemd))
            return started[-1]

        yield begin
        for watched in started:
            watched.stop()


def test_it_is_ready_once_the_queue_has_answered(
    queue: Queue, start: Callable[[], Watched]
) -> None:
    def fail() -> list[Delivery]:
        raise UnavailableError("silent")

    queue.answer = fail
    watched = start()
    seen: set[bytes] = set()

    def is_watched() -> bool:
        seen.update(watched.messages())
        return b"WATCHDOG=1" in seen

    wait_until(is_watched)
    assert b"READY=1" not in seen

    queue.answer = list
    wait_until(lambda: b"READY=1" in watched.messages())
    assert watched.problems == []


def test_it_ends_if_the_queue_keeps_refusing_its_credentials(
    queue: Queue, start: Callable[[], Watched], monkeypatch: pytest.MonkeyPatch
) -> None:
    def deny() -> list[Delivery]:
        raise AccessDeniedError("receive")

    monkeypatch.setattr(poller, "_MAX_DENIED_SECONDS", 0.1)
    watched = start()
    wait_until(lambda: b"READY=1" in watched.messages())
    queue.answer = deny

    wait_until(
        lambda: watched.problems == ["the request queue refuses the credentials of this instance"]
    )


def test_it_goes_on_while_the_queue_does_not_answer(
    queue: Queue, start: Callable[[], Watched], monkeypatch: pytest.MonkeyPatch
) -> None:
    errors: list[Exception] = [UnavailableError("silent"), RuntimeError("a defect")]

    def fail() -> list[Delivery]:
        errors.append(errors.pop(0))
        raise errors[0]

    monkeypatch.setattr(poller, "_MAX_DENIED_SECONDS", 0.05)
    watched = start()
    wait_until(lambda: b"READY=1" in watched.messages())
    queue.answer = fail
    threading.Event().wait(0.3)

    assert watched.problems == []
    assert watched.responder.is_alive()
    assert b"WATCHDOG=1" in watched.messages()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_it_ends_if_a_thread_has_ended(start: Callable[[], Watched], queue: Queue) -> None:
    def end() -> list[Delivery]:
        raise SystemExit

    watched = start()
    wait_until(lambda: b"READY=1" in watched.messages())
    queue.answer = end

    wait_until(lambda: watched.problems == ["a thread that polls has ended"])


def test_without_systemd_it_tells_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    poller._tell_systemd("READY=1")


POLLER_WHOSE_THREADS_END = """
from asciist import poller
from tests.test_poller import Queue, responder_of

def end():
    raise SystemExit

queue = Queue()
queue.answer = end
poller.build_responder = lambda settings: responder_of(queue)
poller.main()
"""


def test_it_logs_once_why_it_ends() -> None:
    done = subprocess.run(
        [sys.executable, "-c", POLLER_WHOSE_THREADS_END],
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert done.returncode == 1
    assert (done.stdout + done.stderr).count("a thread that polls has ended") == 1, (
        done.stdout + done.stderr
    )
