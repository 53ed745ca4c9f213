"""Read-only mode: what is stored is served, and nothing is written. A marker object switches it on in all processes at once."""

import logging
import threading
import time
from collections.abc import Callable
from typing import Final

from asciist.errors import AsciistError

_log = logging.getLogger(__name__)

VALID_SECONDS: Final = 5.0
"""Seconds after which every process has noticed a change of the marker, or refuses to write because it cannot read it."""
POLL_SECONDS: Final = 1.5
"""Seconds between two looks at the marker. One that takes two seconds is still in time."""


class ReadOnlySwitch:
    """Tells whether a marker object says that nothing may be written.

    A background thread looks at the marker. Its answer counts for `VALID_SECONDS`, from before the look. Without a valid answer
    the mode is on: a process that cannot read the marker must not write after everybody believes that it does not.
    """

    def __init__(self, has_marker: Callable[[], bool], clock: Callable[[], float] = time.monotonic) -> None:
        """`has_marker` may raise AsciistError. `clock` returns seconds."""
        self._has_marker = has_marker
        self._clock = clock
        self._writable_until = float("-inf")
        self._is_logged_as_on: bool | None = None
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._poll, name="read-only", daemon=True)

    def start(self) -> None:
        """Look at the marker once, then start the background thread."""
        self.look()
        self._thread.start()

    def is_on(self) -> bool:
        """Return whether the mode is on. Takes no time."""
        return self._clock() >= self._writable_until

    def look(self) -> None:
        """Look at the marker, and log a change of the mode."""
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
