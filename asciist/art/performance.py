"""An animation as text that plays: what is written, and when.

Needs no numpy, unlike `asciist.art.playing`, which makes it.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple


class Moment(NamedTuple):
    """Text that is written at once, and the time until the next."""

    text: bytes
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Performance:
    """An animation during playback. Iterating over it yields everything that is written, in
    order."""

    moments: Sequence[Moment]
    """The frames of the first play."""
    first_again: Moment
    """The first frame, as a change from the last."""
    plays: int
    """Number of repetitions: at least one."""
    end: bytes
    """Moves the cursor below the art."""

    @property
    def length(self) -> int:
        """Total bytes written."""
        first, *others = (len(moment.text) for moment in self.moments)
        return (
            first
            + self.plays * sum(others)
            + (self.plays - 1) * len(self.first_again.text)
            + len(self.end)
        )

    def __iter__(self) -> Iterator[Moment]:
        # The last frame of the last play stays, so nothing waits for its time.
        *before, last = self.moments
        for play in range(self.plays):
            yield from before if play == 0 else [self.first_again, *before[1:]]
            if play < self.plays - 1:
                yield last
        yield Moment(last.text, 0.0)
        yield Moment(self.end, 0.0)

    def parts(self) -> list[bytes]:
        """Return this performance as parts, for `from_parts`."""
        moments = [*self.moments, self.first_again]
        times = json.dumps([self.plays, *(moment.seconds for moment in moments)])
        return [times.encode(), self.end, *(moment.text for moment in moments)]

    @classmethod
    def from_parts(cls, parts: Sequence[bytes]) -> "Performance":
        """Return the performance with these parts."""
        times, end, *texts = parts
        plays, *seconds = json.loads(times)
        *moments, first_again = map(Moment, texts, seconds)
        return cls(moments=moments, first_again=first_again, plays=plays, end=end)
