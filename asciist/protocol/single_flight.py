"""Single flight: concurrent requests for the same key share one computation."""

import threading
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Final, Generic, TypeVar

Result = TypeVar("Result")


class Call(Generic[Result]):
    """One caller's view of a computation in flight."""

    def __init__(self, outcome: "Future[Result]", *, is_leader: bool) -> None:
        self._outcome = outcome
        self.is_leader: Final = is_leader
        """True for the caller that must compute the result; the others wait for it."""

    def finish(self, result: Result) -> None:
        """Hand the leader's result to the waiting callers."""
        self._outcome.set_result(result)

    def wait(self, seconds: float) -> Result:
        """Return the leader's result, or raise its error. Raises TimeoutError. Call it once."""
        try:
            return self._outcome.result(seconds)
        finally:
            self.release()

    def release(self) -> None:
        """Drop the outcome, so that the image is freed at once and not by the garbage collector.

        The traceback of an error refers to its frames, and through them to this call and its image.
        """
        del self._outcome


class SingleFlight(Generic[Result]):
    """Computations in flight, by key. Safe to use from many threads."""

    def __init__(self) -> None:
        self._in_flight: dict[str, Future[Result]] = {}
        self._lock = threading.Lock()

    @contextmanager
    def join(self, key: str) -> Iterator[Call[Result]]:
        """Join the computation for `key` that is in flight, or lead a new one if there is none.

        The leader must call `finish` inside the `with` block. If the block raises, `wait` raises
        that error in every caller.
        """
        with self._lock:
            outcome = self._in_flight.get(key)
            is_leader = outcome is None
            if outcome is None:
                outcome = self._in_flight[key] = Future()
        if not is_leader:
            yield Call(outcome, is_leader=False)
            return
        call = Call(outcome, is_leader=True)
        try:
            yield call
        except BaseException as error:
            outcome.set_exception(error)
            raise
        finally:
            # The key is freed only after the outcome is set: until then, new callers join this
            # computation.
            with self._lock:
                del self._in_flight[key]
            call.release()
            del outcome
