"""Animations as text that plays while it is sent. Their clients wait for most of the time, so a process has many at once."""

import time
from collections.abc import Iterator
from typing import Final

from asciist.animations import Animation
from asciist.animations.terminal import Performance, perform
from asciist.errors import OverloadedError

STREAM_SECONDS: Final = 20
"""Maximum seconds that an animation plays: as long as a process that is asked to stop waits for its answers."""

_ANSWER_SECONDS: Final = 60
"""Maximum seconds in which a client reads an animation: as many as for any other answer."""

_KEPT_BYTES: Final = 32_000_000
"""Maximum bytes of the animations that one process is sending."""

_STREAM_BYTES: Final = 20_000_000
"""Maximum bytes of an animation that is repeated: 20 seconds of moving cells of 80x30 in 24-bit colour."""

_LEAST_BYTES: Final = 100_000
"""Bytes that an animation counts for at least, beside its text: one process sends at most 320 at once."""


class Streams:
    """The animations that one process is sending."""

    def __init__(self) -> None:
        self._kept_bytes = 0

    def begin(self, animation: Animation) -> "Stream":
        """Return the parts of an answer that plays an animation. Raises OverloadedError if there are too many."""
        if self._kept_bytes >= _KEPT_BYTES:
            raise OverloadedError
        # Other requests proceed between two frames. `time.sleep` is looked up late, because gevent replaces it.
        return Stream(
            self, perform(animation, max_seconds=STREAM_SECONDS, max_bytes=_STREAM_BYTES, pause=lambda: time.sleep(0))
        )

    def keep(self, change: int) -> None:
        """Count the bytes of an animation that begins, and those of one that has ended as negative."""
        self._kept_bytes += change


class Stream:
    """The parts of one answer. Iterating over them waits for the time of each frame."""

    def __init__(self, streams: Streams, played: Performance) -> None:
        self._streams = streams
        self._played = played
        self._kept_bytes = _LEAST_BYTES + sum(len(moment.text) for moment in played.moments)
        streams.keep(self._kept_bytes)

    @property
    def length(self) -> int:
        """Bytes of all parts."""
        return self._played.length

    def __iter__(self) -> Iterator[bytes]:
        """Yield the parts. Raises TimeoutError for a client that is too slow.

        After a pause, because the client has not read, frames are shown for their time and do not hurry.
        """
        began = due = time.monotonic()
        for moment in self._played:
            yield moment.text
            due = max(due + moment.seconds, time.monotonic())
            if due > began + _ANSWER_SECONDS:
                raise TimeoutError
            time.sleep(max(0.0, due - time.monotonic()))

    def close(self) -> None:
        """Give back what `begin` has taken, at the end of the answer or of the connection."""
        kept_bytes, self._kept_bytes = self._kept_bytes, 0
        self._streams.keep(-kept_bytes)
