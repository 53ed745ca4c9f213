"""Pauses between attempts of an operation that fails."""

import time
from typing import Final

from asciist.adapters.local_store.failure import StorageError

RETRY_SECONDS: Final = 1.0
"""Time after a failure in which the operation is not tried: a failing disk is tried once a second, not by each request."""


class Backoff:
    """Failure of the latest attempt of an operation, which is raised again until it is time for another attempt."""

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
