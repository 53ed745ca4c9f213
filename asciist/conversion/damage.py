"""DamagedImageError: one public message for every kind of damage, and a detail for the log."""

from types import TracebackType

from asciist.errors import DamagedImageError, ImageRejectedError, sentences


def damaged(detail: str) -> DamagedImageError:
    """Build the error for a damaged image. `detail` goes to the log; the public message is always
    the same."""
    return DamagedImageError(sentences.DAMAGED_IMAGE, detail=detail)


class rejecting_damage:  # noqa: N801 - used like a function
    """Convert any exception raised by a decoder for bad bytes into DamagedImageError.

    Pillow's plugins document no error type for damage: OSError, SyntaxError, ValueError, EOFError,
    struct.error, zlib.error, IndexError, TypeError, KeyError and OverflowError have all been seen.
    MemoryError passes: it does not mean a damaged image.

    It is not a generator, because since Python 3.13 the frame of a generator that raises refers to
    that of its caller. The error would refer to itself, and keep the image in memory.
    """

    def __enter__(self) -> None:
        pass

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        if isinstance(error, Exception) and not isinstance(error, MemoryError | ImageRejectedError):
            raise damaged(f"{type(error).__name__}: {error}") from error
