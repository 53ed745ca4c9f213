"""Admission control: decides which conversion requests a web process accepts, and how many reads of
links that are not answered from memory.

A conversion request is refused on arrival if the process already holds the maximum, if the
requests in progress are expected to take too long, or if the request itself has waited too long for
the process to notice it.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Final

from asciist.errors import OverloadedError
from asciist.protocol.ports import Metrics
from asciist.settings import Settings
from asciist.telemetry.metrics import REQUEST_DURATION, REQUESTS, REQUESTS_IN_FLIGHT, REQUESTS_SHED

_MAX_AGE_SECONDS: Final = 1.0
"""Maximum seconds between the arrival of a request and its notice by the process."""

_MAX_WAIT: Final = 0.5
"""Maximum expected time in the service, as a share of the request timeout."""

_BUSY: Final = 16
"""Minimum requests in progress at which the completion rate is that of a saturated service."""

_PROMISE_SECONDS: Final = 0.25
"""Maximum seconds for which an admission slot is reserved by a promise."""

_SMOOTHING: Final = 0.1
"""Weight of the latest value in the moving average of the seconds between two completions."""

_LOG_SECONDS: Final = 10.0
"""Minimum seconds between two log lines about refused requests."""

_READS: Final = 8
"""Maximum reads of stored art in progress in one process that are not answered from memory. The
largest art has 11 MB, and the usual has some kilobytes."""

_READ_SHARE: Final = 0.2
"""Maximum share of the process's CPU time for these reads while it has conversions in progress."""

_MAX_DEBT_SECONDS: Final = 2.0
"""Maximum seconds for which reads wait because of the CPU time of earlier ones."""

_READ_BURST_SECONDS: Final = 0.05
"""CPU time that reads may take at once before they wait."""

_WAITING_READS: Final = 64
"""Maximum reads that wait for a place."""

_READ_WAIT_SECONDS: Final = 5.0
"""Maximum seconds that a read waits for a place."""

_log = logging.getLogger(__name__)


class Admission:
    """Bounds the requests for a conversion in progress in one process."""

    def __init__(
        self, settings: Settings, metrics: Metrics, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._metrics = metrics
        self._most = settings.max_requests_in_flight
        self._longest_wait_seconds = _MAX_WAIT * settings.request_timeout
        self._clock = clock
        self._lock = threading.Lock()
        self._in_progress = 0
        # times of the promises of slots that are not admitted yet
        self._promised: deque[float] = deque()
        self._seconds_per_request = 0.0
        self._refused = 0  # since the last log line
        self._next_log_at = 0.0
        # time of the last completion, if the process was busy then
        self._completed_at: float | None = None

    @property
    def in_progress(self) -> int:
        """Number of conversion requests in progress."""
        return self._in_progress

    @property
    def is_full(self) -> bool:
        """True if a request that arrives now is refused."""
        now = self._clock()
        while self._promised and self._promised[0] < now - _PROMISE_SECONDS:
            self._promised.popleft()
        return self._has_no_place(len(self._promised))

    def _has_no_place(self, promised: int) -> bool:
        expected = self._in_progress + promised
        return expected >= self._most or (
            expected >= _BUSY and expected * self._seconds_per_request > self._longest_wait_seconds
        )

    def refuses(self, age_seconds: float) -> bool:
        """Return whether a request that arrived `age_seconds` ago is refused before it is parsed,
        and count it if so."""
        if not self.is_full and age_seconds <= _MAX_AGE_SECONDS:
            return False
        self.count_refused_unparsed(age_seconds)
        return True

    def promise_place(self) -> float:
        """Reserve an admission slot for a request that was not refused and has arrived completely.

        Return the promise, for `end_promise`.
        """
        promise = self._clock()
        self._promised.append(promise)
        return promise

    def end_promise(self, promise: float) -> None:
        """End a promise when its request is answered. It may never have taken its slot, for example
        if its headers were refused."""
        with suppress(ValueError):
            self._promised.remove(promise)

    def count_refused_unparsed(self, age_seconds: float = 0.0) -> None:
        """Count a request refused before parsing, which the request log does not see."""
        self._metrics.count(REQUESTS, status="503")
        self._metrics.distribution(REQUEST_DURATION, 1000 * age_seconds, status="503")
        self.count_refused()

    def count_refused(self) -> None:
        """Count a refused request, and log the number of refusals from time to time."""
        self._metrics.count(REQUESTS_SHED)
        self._refused += 1
        now = self._clock()
        if now >= self._next_log_at:
            _log.warning("requests refused: the service is busy", extra={"refused": self._refused})
            self._refused, self._next_log_at = 0, now + _LOG_SECONDS

    @contextmanager
    def admit(self) -> Iterator[None]:
        """Hold an admission slot for the duration of a `with` block. Raises OverloadedError."""
        with self._lock:
            if self._promised:
                self._promised.popleft()
                is_admitted = True
            else:
                is_admitted = not self._has_no_place(0)
            self._in_progress += is_admitted
        if not is_admitted:
            raise OverloadedError
        self._metrics.distribution(REQUESTS_IN_FLIGHT, self._in_progress)
        try:
            yield
        finally:
            with self._lock:
                self._record_completion()
                self._in_progress -= 1

    def _record_completion(self) -> None:
        if self._in_progress < _BUSY:
            self._completed_at = None
            return
        now = self._clock()
        if self._completed_at is not None:
            self._seconds_per_request += _SMOOTHING * (
                now - self._completed_at - self._seconds_per_request
            )
        self._completed_at = now


class ReadPlaces:
    """Bounds the reads in progress in one process, and their share of its CPU time."""

    def __init__(self, admission: Admission, clock: Callable[[], float] = time.monotonic) -> None:
        self._admission = admission
        self._clock = clock
        self._places = threading.Semaphore(_READS)
        self._waiting = 0
        self._working = 0
        self._began = 0.0  # CPU time of the process when the first of those at work began
        self._paid_at = 0.0  # when the CPU time of earlier reads is within their share

    @contextmanager
    def take(self, has_left: Callable[[], bool] = lambda: False) -> Iterator[None]:
        """Hold a place for the duration of a `with` block.

        Raises OverloadedError if too many wait, and ConnectionAbortedError if the client has left
        while it waited, according to `has_left`.
        """
        if self._debt_seconds() > 0 or not self._places.acquire(blocking=False):
            self._wait()
            if has_left():
                self._places.release()
                raise ConnectionAbortedError("the client has left")
        self._work()
        try:
            yield
        finally:
            self._rest()
            self._places.release()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Do not count the CPU time of a `with` block in which a read only waits."""
        self._rest()
        try:
            yield
        finally:
            self._work()

    def _work(self) -> None:
        if not self._working:
            self._began = time.process_time()
        self._working += 1

    def _rest(self) -> None:
        self._working -= 1
        if not self._working:
            used_seconds = time.process_time() - self._began
            share = _READ_SHARE if self._admission.in_progress else 1.0
            now = self._clock()
            self._paid_at = max(self._paid_at, now) + used_seconds / share
            self._paid_at = min(self._paid_at, now + _MAX_DEBT_SECONDS)

    def _debt_seconds(self) -> float:
        return self._paid_at - self._clock() - _READ_BURST_SECONDS

    def _wait(self) -> None:
        """Wait for a place. Raises OverloadedError."""
        if self._waiting >= _WAITING_READS:
            raise OverloadedError
        self._waiting += 1
        gives_up_at = self._clock() + _READ_WAIT_SECONDS
        try:
            while (debt_seconds := self._debt_seconds()) > 0:
                if self._clock() + debt_seconds > gives_up_at:
                    raise OverloadedError
                time.sleep(debt_seconds)
            if not self._places.acquire(timeout=max(0.0, gives_up_at - self._clock())):
                raise OverloadedError
        finally:
            self._waiting -= 1
