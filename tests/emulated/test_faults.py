"""Both tiers as processes on the emulator: a worker is killed, the store and the queue fall
silent."""

import os
import signal
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path

import pytest

from asciist.adapters.aws import SETTLE_SECONDS, ReplyQueueRegistry, Sqs
from asciist.adapters.object_store import ObjectStore
from asciist.telemetry import metrics
from tests import flawed_converters
from tests.emulated.alarm_table import ROWS
from tests.emulated.emulator import Emulator
from tests.emulated.tiers import THREADS, Tiers, running
from tests.processes import children, gone
from tests.waiting import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

REQUESTS = 60
"""Requests of a load."""
POLL_SECONDS = 1.5
"""Seconds after which a stopped poller has no call to the queue in flight: its long polls last one
second."""
MAX_REPEATS = 10
"""Maximum unnecessary repeats by the web process."""


@pytest.fixture(params=["queue", "callback"])
def reply_path(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@dataclass(frozen=True, kw_only=True)
class Deleted:
    """Answers after a web process's reply queue was deleted."""

    answers: Counter[int]
    """Statuses of the requests that were in flight or arrived soon afterwards."""
    alarms: set[str]
    answers_afterwards: list[int]
    """Statuses of requests after the process had created another queue."""
    overdue_afterwards: float


def delete_reply_queue(directory: Path, account: Emulator, cat: bytes) -> Deleted:
    """Delete the reply queue of a running web process, and return when it has created and used
    another one.

    The poller is stopped meanwhile, so that requests are certainly in flight.
    """
    with running(directory, account) as tiers:
        poller = tiers.start_poller()
        wait_until(lambda: tiers.request(cat, 19) == 200)
        (deleted,) = tiers.reply_queues()
        with tiers.observed() as watched, tiers.load(cat, range(20, 20 + REQUESTS // 4)) as answers:
            poller.send_signal(signal.SIGSTOP)
            wait_until(lambda: tiers.messages("Visible") > 0)
            tiers.sqs.delete_queue(QueueUrl=deleted)
            poller.send_signal(signal.SIGCONT)
        # it is noticed at the end of a long poll
        wait_until(lambda: tiers.reply_queues() not in ([], [deleted]))
        time.sleep(SETTLE_SECONDS)
        tiers.settle()
        overdue = tiers.metrics.total(metrics.REQUESTS_HEDGED)
        afterwards = [tiers.request(cat, width) for width in range(100, 105)]
        tiers.settle()
        return Deleted(
            answers=answers,
            alarms=watched.alarms(once=True),
            answers_afterwards=afterwards,
            overdue_afterwards=tiers.metrics.total(metrics.REQUESTS_HEDGED) - overdue,
        )


@pytest.fixture(scope="module", autouse=True)
def reply_queue_deleted(
    tmp_path_factory: pytest.TempPathFactory, emulator: Emulator, cat: bytes
) -> Iterator[Future[Deleted]]:
    """Result of `delete_reply_queue`, which takes up to 20 s while the other tests run."""
    with ThreadPoolExecutor(1) as pool:
        yield pool.submit(delete_reply_queue, tmp_path_factory.mktemp("deleted"), emulator, cat)


def test_no_request_fails_when_a_poller_is_killed_in_mid_conversion(
    tmp_path: Path, emulator: Emulator, reply_path: str, cat: bytes
) -> None:
    """The poller is stopped before it is killed, so that it certainly holds messages. They stay
    invisible for 60 s.

    Another poller then takes over. It was started and stopped before, because starting takes long
    on a busy machine.
    """
    with running(tmp_path, emulator, reply_path=reply_path, request_timeout=10) as tiers:
        other = tiers.start_poller()
        other.send_signal(signal.SIGSTOP)
        doomed = tiers.start_poller()
        time.sleep(POLL_SECONDS)
        with (
            ExitStack() as stop,
            tiers.observed() as watched,
            tiers.load(cat, range(20, 20 + REQUESTS)) as answers,
        ):
            stop.callback(other.send_signal, signal.SIGCONT)
            time.sleep(2)
            doomed.send_signal(signal.SIGSTOP)
            time.sleep(0.5)  # for calls that are under way, which may delete messages
            wait_until(lambda: tiers.messages("NotVisible") > 0)
            doomed.kill()
            other.send_signal(signal.SIGCONT)
        tiers.stop()
        tiers.metrics.settle()

        assert answers == {200: REQUESTS}
        ROWS["A worker is killed (once)"].check(statuses=answers, alarms=watched.alarms(once=True))
        helped = [
            tiers.metrics.total(metrics.REQUESTS_HEDGED, outcome=outcome)
            for outcome in ("repeat", "store")
        ]
        assert sum(helped) >= 1  # the worker may have stored the art, and not sent the reply
        assert tiers.metrics.total(metrics.REQUESTS_HEDGED, outcome="nothing") == 0
        assert tiers.conversions() <= REQUESTS + MAX_REPEATS


def test_an_image_that_crashes_the_decoders_of_a_poller_is_a_client_error_and_fails_alone(
    tmp_path: Path, emulator: Emulator, cat: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    flawed_converters.install(tmp_path, monkeypatch)
    with running(tmp_path, emulator, reply_path="queue", request_timeout=30) as tiers:
        poller = tiers.start_poller()
        (parent,) = children(poller.pid)
        converters = children(parent)
        assert len(converters) == THREADS
        with tiers.load(cat, range(20, 50)) as answers, ThreadPoolExecutor() as pool:
            fatal = [
                pool.submit(tiers.request, flawed_converters.KILLER, width)
                for width in range(10, 14)
            ]
            assert [answer.result() for answer in fatal] == [400] * 4
        assert answers == {200: 30}
        assert poller.poll() is None
        processes = [parent, *children(parent)]
        tiers.stop()
        tiers.metrics.settle()

        assert tiers.metrics.total(metrics.CONVERSIONS_ABORTED, cause="crash") >= 3 * 4
        assert tiers.metrics.total(metrics.MESSAGES_FAULTED) == 0
        wait_until(lambda: gone(processes))


def test_no_request_fails_when_the_reply_queue_of_its_process_is_deleted(
    reply_queue_deleted: Future[Deleted],
) -> None:
    """Their art is found in the store when the reply is overdue, or before the process gives up."""
    deleted = reply_queue_deleted.result()

    assert deleted.answers == {200: REQUESTS // 4}
    ROWS["The queue with the replies to a web process is deleted (once)"].check(
        statuses=deleted.answers, alarms=deleted.alarms
    )
    assert deleted.answers_afterwards == [200] * 5
    assert deleted.overdue_afterwards < len(deleted.answers_afterwards)  # replies arrive


def test_what_a_killed_web_process_and_a_killed_worker_had_begun_is_finished_by_others(
    tmp_path: Path, aws: Emulator, cat: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worker is killed before it ends the conversions, and nobody publishes the requests again:
    their messages are delivered again. Requests of another web process are served, and the reply
    queue of the killed one is swept."""
    flawed_converters.install(tmp_path, monkeypatch, flaw=flawed_converters.STUCK)
    begun = range(100, 100 + THREADS)
    with (
        running(tmp_path, aws, request_timeout=50, visibility_seconds=8) as tiers,
        ThreadPoolExecutor() as pool,
    ):
        stuck = tiers.start_poller()
        (other_queue,) = tiers.reply_queues()
        doomed = tiers.start_web()
        (doomed_queue,) = set(tiers.reply_queues()) - {other_queue}
        lost = [
            pool.submit(doomed.request, "PUT", f"/?width={width}", flawed_converters.KILLER)
            for width in begun
        ]
        wait_until(lambda: tiers.messages("NotVisible") == len(begun))
        with tiers.observed() as watched:
            os.killpg(doomed.process.pid, signal.SIGKILL)
            assert all(isinstance(request.exception(), OSError | HTTPException) for request in lost)
            tiers.start_poller(PYTHONPATH="")
            with tiers.load(cat, range(20, 20 + REQUESTS // 2)) as answers:
                stuck.kill()
            wait_until(lambda: tiers.messages("Visible", "NotVisible") == 0)
        tiers.settle()
        conversions = tiers.conversions()
        assert [tiers.request(flawed_converters.KILLER, width) for width in begun] == [200] * len(
            begun
        )
        tiers.settle()

        assert answers == {200: REQUESTS // 2}
        assert tiers.conversions() == conversions  # their art was stored
        ROWS["A web process is killed (once)"].check(
            statuses=answers, alarms=watched.alarms(once=True)
        )
        assert sweep(tiers, live=other_queue) == {doomed_queue.rpartition("/")[2]}
        assert tiers.reply_queues() == [other_queue]


def sweep(tiers: Tiers, *, live: str) -> set[str]:
    """Sweep the reply queues twice, 250 and 400 s from now, like a web process whose entry is
    renewed in between.

    Return the names of the deleted queues.
    """
    registry = ReplyQueueRegistry(sqs=Sqs(), store=ObjectStore.in_bucket(tiers.bucket))
    queues_at, _, name = live.rpartition("/")
    first = registry.sweep(time.time() + 250, queues_at=queues_at)
    registry.record_heartbeat(name)
    return {*first, *registry.sweep(time.time() + 400, queues_at=queues_at)}


def test_requests_are_answered_in_time_while_the_store_and_the_queue_are_silent(
    tmp_path: Path, emulator: Emulator, cat: bytes
) -> None:
    """Every request is answered before the store and the queue recover, and the next request is
    served."""
    with (
        running(tmp_path, emulator, reply_path="callback", request_timeout=2) as tiers,
        ExitStack() as silence,
    ):
        tiers.start_poller()
        assert tiers.request(cat, 20) == 200

        os.killpg(emulator.process_group, signal.SIGSTOP)
        silence.callback(os.killpg, emulator.process_group, signal.SIGCONT)
        with ThreadPoolExecutor(20) as pool:
            answers = Counter(pool.map(lambda width: tiers.request(cat, width), range(21, 41)))
        assert answers.keys() <= {503, 504}
        silence.close()

        wait_until(lambda: tiers.request(cat, 41) == 200)
