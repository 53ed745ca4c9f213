"""Pauses between attempts of an operation that fails."""

import time
from typing import Final

from asciist.adapters.local_store.failure import StorageError, TooLargeError

RETRY_SECONDS: Final = 1.0
"""Time after a failure in which the operation is not tried: a failing disk is tried once a second, not by each request."""


class Backoff:
    """Context manager for attempts of an operation.

    It remembers the StorageError of the latest attempt, and raises it again on entering until it is time for another.
    """

    def __init__(self) -> None:
        self._failure: StorageError | None = None
        self._retry_at = 0.0

    def __enter__(self) -> None:
        if self._failure is not None and time.monotonic() < self._retry_at:
            raise StorageError(self._failure.reason, self._failure.detail)

    def __exit__(self, _type: object, error: BaseException | None, _traceback: object) -> None:
        if error is None:
            self._failure = None
        elif isinstance(error, StorageError) and not isinstance(error, TooLargeError):  # another object may fit
            self._failure = error
            self._retry_at = time.monotonic() + RETRY_SECONDS
