"""Pauses between attempts of a failing operation."""

import time
from typing import Final

from asciist.adapters.local_store.failure import StorageError

RETRY_SECONDS: Final = 1.0  # one attempt a second, not one for each request
"""Seconds after a failure in which the operation is not tried."""


class Backoff:
    """Latest failure of an operation, raised again until the time for another attempt."""

    def __init__(self) -> None:
        self.failure: StorageError | None = None
        """The failure; None if the latest attempt succeeded, or if there was none."""
        self._retry_at = 0.0

    def check(self) -> None:
        """Raise the failure again if it is too early for another attempt."""
        if self.failure is not None and time.monotonic() < self._retry_at:
            raise StorageError(self.failure.reason, self.failure.detail)

    def note(self, failure: StorageError) -> None:
        """Remember the failure of an attempt."""
        self.failure = failure
        self._retry_at = time.monotonic() + RETRY_SECONDS
