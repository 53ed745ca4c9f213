"""Animations as text that plays while it is sent. Their clients mostly wait, so a process serves
many at once."""

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from asciist.art import Art, forms
from asciist.errors import OverloadedError

if TYPE_CHECKING:
    from asciist.art.playing import Performance

STREAM_SECONDS: Final = 20
"""Maximum duration of a streamed animation, in seconds: a stopping process waits this long for its
answers."""

_ANSWER_SECONDS: Final = 60
"""Maximum seconds for a client to read an animation, as for any other answer."""

_KEPT_BYTES: Final = 32_000_000
"""Maximum total bytes of the animations being sent by one process."""

_STREAM_BYTES: Final = 20_000_000
"""Maximum bytes of a repeated animation: 20 seconds of moving cells of 80x30 in 24-bit colour."""

_LEAST_BYTES: Final = 100_000
"""Minimum bytes that an animation counts for, in addition to its text: one process sends at most
320 at once."""


class Streams:
    """The animations being sent by one process."""

    def __init__(self) -> None:
        self._kept_bytes = 0

    def begin(self, art: Art, form: forms.Form) -> "Stream":
        """Return the parts of an answer that plays an animation in a textual form. Raises
        OverloadedError if there are too many."""
        if self._kept_bytes >= _KEPT_BYTES:
            raise OverloadedError
        from asciist.art.playing import perform  # noqa: PLC0415 - imports numpy

        # Other requests proceed between two frames. `time.sleep` is looked up late, because gevent
        # replaces it.
        return Stream(
            self,
            perform(
                art,
                forms.palette_of(form),
                max_seconds=STREAM_SECONDS,
                max_bytes=_STREAM_BYTES,
                pause=lambda: time.sleep(0),
            ),
        )

    def keep(self, change: int) -> None:
        """Add to the bytes of the animations in progress; negative at the end of one."""
        self._kept_bytes += change


class Stream:
    """The parts of one answer. Iterating over them waits for the time of each frame."""

    def __init__(self, streams: Streams, played: "Performance") -> None:
        self._streams = streams
        self._played = played
        self._kept_bytes = _LEAST_BYTES + sum(len(moment.text) for moment in played.moments)
        streams.keep(self._kept_bytes)

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
        """Release the bytes reserved by `begin`, at the end of the answer or of the connection."""
        kept_bytes, self._kept_bytes = self._kept_bytes, 0
        self._streams.keep(-kept_bytes)
