"""Hostile images: malformed, truncated or disproportionately expensive files, each named after its flaw.

The files are generated, not stored: the module of each format modifies valid files. `corpus()` returns all of them, each with
its expected outcome: refused with a certain error, converted, or either where decoders may differ. `python -m devtools.hostile
FOLDER` writes them to a folder. A finding of the fuzzer (tests/fuzz) belongs in the module of its format.
"""

from collections.abc import Iterator
from functools import cache

from devtools.hostile import avif, bmp, foreign, gif, jpeg, png, polyglots, tiff, webp
from devtools.hostile.cases import Case, Kind, Outcome
from devtools.hostile.jpeg import with_jpeg_segments
from devtools.hostile.pictures import exif
from devtools.hostile.png import png_chunk, png_of_header, with_png_chunks
from devtools.images import encoded, gradient

__all__ = [
    "Case",
    "Kind",
    "Outcome",
    "converted",
    "corpus",
    "encoded",
    "exif",
    "gradient",
    "png_chunk",
    "png_of_header",
    "refused",
    "with_jpeg_segments",
    "with_png_chunks",
]


@cache
def corpus() -> tuple[Case, ...]:
    """All cases. Names are unique."""
    return tuple(case for module in (jpeg, png, gif, webp, bmp, tiff, avif, foreign, polyglots) for case in module.corpus())


def refused() -> dict[str, bytes]:
    """Files that must be refused with a RejectedError, by name. Excludes truncations, for tests too slow for all files."""
    return dict(_selection(art=False))


def converted() -> dict[str, bytes]:
    """Files that look dangerous but must be converted at little cost, by name; for tests too slow for all files."""
    return dict(_selection(art=True))


def _selection(*, art: bool) -> Iterator[tuple[str, bytes]]:
    for case in corpus():
        chosen = case.kind not in {Kind.VALID, Kind.TRUNCATION}
        if chosen and (case.outcome is Outcome.ART if art else None not in case.outcome.value):
            yield case.name, case.image
