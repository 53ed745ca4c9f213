"""Read-only mode: stored art is served, and nothing is written. A marker object switches it on in
all processes at once."""

import logging
import threading
import time
from collections.abc import Callable
from typing import Final

from asciist.errors import AsciistError

_log = logging.getLogger(__name__)

VALID_SECONDS: Final = 5.0
"""Validity of an observation of the marker, in seconds: within it, every process notices a change
or stops writing because it cannot read the marker."""
POLL_SECONDS: Final = 1.5  # a check that takes two seconds is still in time
"""Seconds between two checks of the marker."""


class ReadOnlySwitch:
    """Watches the marker object of the read-only mode.

    A background thread checks the marker. A result is valid for `VALID_SECONDS` from the start of
    its check. Without a valid result the mode is on: a process that cannot read the marker must not
    write while operators rely on the mode.
    """

    def __init__(
        self, has_marker: Callable[[], bool], clock: Callable[[], float] = time.monotonic
    ) -> None:
        """`has_marker` may raise AsciistError. `clock` returns seconds."""
        self._has_marker = has_marker
        self._clock = clock
        self._writable_until = float("-inf")
        self._is_logged_as_on: bool | None = None
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._poll, name="read-only", daemon=True)

    def start(self) -> None:
        """Check the marker once, then start the background thread."""
        self.look()
        self._thread.start()

    def is_on(self) -> bool:
        """Return whether the mode is on. Does not block."""
        return self._clock() >= self._writable_until

    def look(self) -> None:
        """Check the marker, and log a change of the mode."""
        started = self._clock()
        problem = ""
        try:
            self._writable_until = float("-inf") if self._has_marker() else started + VALID_SECONDS
        except AsciistError as error:
            problem = f": the marker cannot be read ({error})"
        is_on = self.is_on()
        if is_on != self._is_logged_as_on:
            if is_on:
                _log.warning("read-only mode is on%s", problem)
            elif self._is_logged_as_on is not None:
                _log.warning("read-only mode is off")
            self._is_logged_as_on = is_on

    def close(self) -> None:
        """Stop the background thread."""
        self._stopping.set()

    def _poll(self) -> None:
        while not self._stopping.wait(POLL_SECONDS):
            self.look()
