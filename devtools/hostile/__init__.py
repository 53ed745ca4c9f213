"""Images that lie, end early or cost more than they seem to, each named for its flaw; made here, not stored.

`corpus()` is all of them, each with what must become of it: refused with one error, converted, or, where decoders may
differ, either. A module makes the files of one format by walking and changing valid ones. `python -m devtools.hostile FOLDER`
writes them as files. What the fuzzer finds (tests/fuzz) becomes a case in the module of its format.
"""

from collections.abc import Iterator
from functools import cache

from devtools.hostile import bmp, foreign, gif, jpeg, png, polyglots, webp
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
    """Every case; their names are unique."""
    return tuple(case for module in (jpeg, png, gif, webp, bmp, foreign, polyglots) for case in module.corpus())


def refused() -> dict[str, bytes]:
    """Files that must be refused with a RejectedError, by name; a selection without the truncations, for slower tests."""
    return dict(_selection(art=False))


def converted() -> dict[str, bytes]:
    """Files that look dangerous and must be converted all the same, at little cost; likewise."""
    return dict(_selection(art=True))


def _selection(*, art: bool) -> Iterator[tuple[str, bytes]]:
    for case in corpus():
        chosen = case.kind not in {Kind.VALID, Kind.TRUNCATION}
        if chosen and (case.outcome is Outcome.ART if art else None not in case.outcome.value):
            yield case.name, case.image
