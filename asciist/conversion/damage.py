"""DamagedImageError: one public message for every kind of damage, and a detail for the log."""

from collections.abc import Iterator
from contextlib import contextmanager

from asciist.errors import DamagedImageError, ImageRejectedError, sentences


def damaged(detail: str) -> DamagedImageError:
    """Build the error for a damaged image. `detail` goes to the log; the public message is always
    the same."""
    return DamagedImageError(sentences.DAMAGED_IMAGE, detail=detail)


@contextmanager
def rejecting_damage() -> Iterator[None]:
    """Convert any exception raised by a decoder for bad bytes into DamagedImageError.

    Pillow's plugins document no error type for damage: OSError, SyntaxError, ValueError, EOFError,
    struct.error, zlib.error, IndexError, TypeError, KeyError and OverflowError have all been seen.
    MemoryError passes: it does not mean a damaged image.
    """
    try:
        yield
    except (MemoryError, ImageRejectedError):
        raise
    except Exception as error:
        raise damaged(f"{type(error).__name__}: {error}") from error
