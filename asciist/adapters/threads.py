"""Runs calls in threads, to limit the wait for a store or a queue that does not answer."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from asciist.protocol.ports import Result


class ThreadedCalls:
    """BoundedCall that runs each call in one of `max_threads` threads.

    A call that takes too long occupies its thread until its own timeout. While all threads are
    busy, further calls wait, and are dropped if their time ends first.
    """

    def __init__(self, max_threads: int) -> None:
        self._pool = ThreadPoolExecutor(max_threads, thread_name_prefix="call")

    def __call__(self, function: Callable[[], Result], wait_seconds: float) -> Result:
        call = self._pool.submit(function)
        try:
            return call.result(wait_seconds)
        except TimeoutError:
            call.cancel()
            raise
        finally:
            # its error refers to this frame, which would otherwise live until the next garbage
            # collection
            del call
