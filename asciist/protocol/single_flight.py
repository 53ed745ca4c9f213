"""Single flight: concurrent requests for the same key share one computation."""

import threading
from concurrent.futures import Future
from types import TracebackType
from typing import Final, Generic, TypeVar

Result = TypeVar("Result")


class SingleFlight(Generic[Result]):
    """Computations in flight, by key. Safe to use from many threads."""

    def __init__(self) -> None:
        self._followers: dict[str, list[Future[Result]]] = {}
        self._lock = threading.Lock()

    def join(self, key: str) -> "Call[Result]":
        """Join the computation for `key` that is in flight, or lead a new one if there is none.

        The leader must call `finish` inside the `with` block. If the block raises, `wait` raises
        that error in every caller.
        """
        return Call(self._followers, self._lock, key)


class Call(Generic[Result]):
    """One caller's view of a computation in flight: a context manager."""

    def __init__(
        self, in_flight: dict[str, list["Future[Result]"]], lock: threading.Lock, key: str
    ) -> None:
        self._in_flight: Final = in_flight
        self._lock: Final = lock
        self._key: Final = key
        self._outcome: Future[Result] | None = None
        self.is_leader = False
        """True for the caller that must compute the result; the others wait for it."""

    def __enter__(self) -> "Call[Result]":
        with self._lock:
            followers = self._in_flight.get(self._key)
            if followers is None:
                self.is_leader = True
                self._in_flight[self._key] = []
            else:
                self._outcome = Future()
                followers.append(self._outcome)
        return self

    def finish(self, result: Result) -> None:
        """Hand the leader's result to the waiting callers."""
        for outcome in self._end():
            outcome.set_result(result)

    def wait(self, seconds: float) -> Result:
        """Return the leader's result, or raise its error. Raises TimeoutError. Call it once."""
        # The traceback of an error refers to its frames, and through them to this call. Without
        # its outcome, the image is freed at once and not by the garbage collector.
        outcome, self._outcome = self._outcome, None
        if outcome is None:
            raise RuntimeError("only a follower waits, and only once")
        try:
            return outcome.result(seconds)
        finally:
            del outcome

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        if self.is_leader and error is not None:
            for outcome in self._end():
                outcome.set_exception(error)

    def _end(self) -> "list[Future[Result]]":
        """End the computation, and return the outcomes for which callers wait."""
        with self._lock:
            return self._in_flight.pop(self._key, [])
