"""What a hostile file is: a name that says its flaw, its bytes, and what must become of it."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import Enum

from asciist.errors import BadOptionError, DamagedImageError, TooManyPixelsError, UnknownFormatError


class Outcome(Enum):
    """What may become of a file: the errors it may be refused with, None for art. Anything else is a flaw of the engine."""

    ART = (None,)
    UNKNOWN_FORMAT = (UnknownFormatError,)
    DAMAGED = (DamagedImageError,)
    TOO_MANY_PIXELS = (TooManyPixelsError,)
    TOO_MUCH_ART = (BadOptionError,)  # a strip so thin that its art has too many rows
    ART_OR_DAMAGED = (None, DamagedImageError)  # decoders may forgive what comes late in a file
    CHEAP = (None, DamagedImageError, TooManyPixelsError)  # whatever becomes of it, as long as it costs little (bench.hostile)


class Kind(Enum):
    """What sort of flaw it is."""

    VALID = "valid"  # nothing is wrong with it; the others are made from these
    BOMB = "bomb"
    TRUNCATION = "truncation"
    LIE = "lie"
    POLYGLOT = "polyglot"
    FOREIGN = "foreign"  # of a format off the allow-list


@dataclass(frozen=True)
class Case:
    """One file."""

    name: str
    image: bytes
    outcome: Outcome
    kind: Kind

    def __repr__(self) -> str:
        return f"<{self.name}: {len(self.image)} bytes>"


@dataclass(frozen=True)
class Block:
    """A part of a file between two structural boundaries."""

    name: str
    start: int
    content: int
    """Where its own header (a marker, a length, a type) ends."""
    end: int


def cases(kind: Kind, outcome: Outcome, images: dict[str, bytes]) -> Iterator[Case]:
    """Cases of one kind and one outcome."""
    for name, image in images.items():
        yield Case(name, image, outcome, kind)


def truncations(name: str, image: bytes, blocks: Iterable[Block], *, signature: int, needed: int) -> Iterator[Case]:
    """`image` cut before each block, behind its header and in its middle.

    Shorter than its `signature` it is of no format; up to `needed` bytes it must count as damaged, since pixels are
    missing; what is cut behind them may be forgiven.
    """
    seen = {len(image)}
    counts: dict[str, int] = {}
    for block in blocks:
        counts[block.name] = counts.get(block.name, 0) + 1
        label = f"{block.name} {counts[block.name]}" if counts[block.name] > 1 else block.name
        for place, position in (
            ("before", block.start),
            ("behind the header of", block.content),
            ("in the middle of", (block.content + block.end) // 2),
        ):
            if position in seen:
                continue
            seen.add(position)
            outcome = Outcome.DAMAGED if position < needed else Outcome.ART_OR_DAMAGED
            if position < signature:
                outcome = Outcome.UNKNOWN_FORMAT
            yield Case(f"{name} cut {place} {label}", image[:position], outcome, Kind.TRUNCATION)
