"""The definition of a hostile file: a name, its bytes and the expected outcome; and truncations,
shared by all formats."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import Enum

from asciist.errors import BadOptionError, DamagedImageError, TooManyPixelsError, UnknownFormatError


class Outcome(Enum):
    """Permitted outcomes of converting a file: error classes, and None for art. Any other outcome
    is a bug in the engine."""

    ART = (None,)
    UNKNOWN_FORMAT = (UnknownFormatError,)  # or an unsupported variant of a known one
    DAMAGED = (DamagedImageError,)
    TOO_MANY_PIXELS = (TooManyPixelsError,)
    TOO_MUCH_ART = (BadOptionError,)  # a thin strip, whose art would have too many rows
    ART_OR_DAMAGED = (None, DamagedImageError)  # decoders may ignore damage late in a file
    # any of these, within the bounds of bench.hostile
    CHEAP = (None, DamagedImageError, TooManyPixelsError)


class Kind(Enum):
    """The kind of flaw."""

    VALID = "valid"  # not flawed; the other files are derived from these
    BOMB = "bomb"
    LARGE = "large"  # near the limits on pixels and memory
    TRUNCATION = "truncation"
    MALFORMED = "malformed"  # its structure is invalid or contradicts its content
    POLYGLOT = "polyglot"  # valid in two formats at once, or one file after another
    FOREIGN = "foreign"  # of an unsupported format


@dataclass(frozen=True)
class Case:
    """A hostile file, its flaw and its expected outcome."""

    name: str
    image: bytes
    outcome: Outcome
    kind: Kind

    def __repr__(self) -> str:
        return f"<{self.name}: {len(self.image)} bytes>"


@dataclass(frozen=True)
class Block:
    """A structural part of a file, as byte offsets."""

    name: str
    start: int
    content: int
    """End of the block's own header (marker, length, type)."""
    end: int


def cases(kind: Kind, outcome: Outcome, images: dict[str, bytes]) -> Iterator[Case]:
    """Yield a case for each of the images, which are keyed by name."""
    for name, image in images.items():
        yield Case(name, image, outcome, kind)


def truncations(
    name: str, image: bytes, blocks: Iterable[Block], *, signature: int, needed: int
) -> Iterator[Case]:
    """Yield `image` cut before each block, after the header of the block and in the middle of it.

    With fewer than `signature` bytes, the format is unknown. With fewer than `needed` bytes, pixels
    are missing and the file must be refused as damaged. Longer files may be converted or refused.
    """
    seen = {len(image)}
    counts: dict[str, int] = {}
    for block in blocks:
        counts[block.name] = counts.get(block.name, 0) + 1
        label = f"{block.name} {counts[block.name]}" if counts[block.name] > 1 else block.name
        for place, position in (
            ("before", block.start),
            ("after the header of", block.content),
            ("in the middle of", (block.content + block.end) // 2),
        ):
            if position in seen:
                continue
            seen.add(position)
            outcome = Outcome.DAMAGED if position < needed else Outcome.ART_OR_DAMAGED
            if position < signature:
                outcome = Outcome.UNKNOWN_FORMAT
            yield Case(f"{name} cut {place} {label}", image[:position], outcome, Kind.TRUNCATION)
