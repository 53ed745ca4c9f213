"""Animations as text that plays while it is sent. Their clients mostly wait, so a process serves
many at once; the viewers of one animation share its text."""

import time
from collections.abc import Iterator
from typing import Final

from asciist.art.performance import Performance
from asciist.errors import OverloadedError
from .renderings import Rendered

_ANSWER_SECONDS: Final = 60
"""Maximum seconds for a client to read an animation, as for any other answer."""

_MOST: Final = 320
"""Maximum number of animations that one process sends at a time."""


class Streams:
    """The animations being sent by one process."""

    def __init__(self) -> None:
        self._number = 0

    def begin(self, rendered: Rendered) -> "Stream":
        """Return the parts of an answer that plays an animation. Raises OverloadedError if there
        are too many."""
        if self._number >= _MOST:
            raise OverloadedError
        return Stream(self, rendered)

    def count(self, change: int) -> None:
        """Count an animation in progress: 1 at its beginning, -1 at its end."""
        self._number += change


class Stream:
    """The parts of one answer. Iterating over them waits for the time of each frame."""

    def __init__(self, streams: Streams, rendered: Rendered) -> None:
        self._streams: Streams | None = streams
        self.rendered: Final = rendered
        self._played = Performance.from_parts(rendered.parts)
        streams.count(1)

    @property
    def length(self) -> int:
        """Total bytes of all parts."""
        return self._played.length

    def __iter__(self) -> Iterator[bytes]:
        """Yield the parts. Raises TimeoutError for a client that is too slow.

        After a delay caused by the client, frames keep their durations instead of catching up.
        """
        began = due = time.monotonic()
        for moment in self._played:
            yield moment.text
            due = max(due + moment.seconds, time.monotonic())
            if due > began + _ANSWER_SECONDS:
                raise TimeoutError
            time.sleep(max(0.0, due - time.monotonic()))

    def close(self) -> None:
        """Count the end of the answer or of the connection."""
        if self._streams is not None:
            self._streams.count(-1)
            self._streams = None
