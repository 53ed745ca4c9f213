"""Hostile images: malformed, truncated or disproportionately expensive files, each named after its
flaw.

The files are generated, not part of the repository: the module of each format, named after the key
of its row in `asciist.formats`, modifies valid files, and the result is cached (see `store`).
`corpus()` returns all of them, each with its expected outcome: refused with a certain error,
converted, or either where decoders may differ. `python -m tools.testing.hostile FOLDER` writes them
to a folder. Files found by the fuzzer (tests/fuzz) belong in the module of their
format.
"""

from collections.abc import Iterator
from functools import cache
from importlib import import_module

from asciist.formats import FORMATS
from tools.testing.hostile import foreign, polyglots
from tools.testing.hostile.cases import Case, Kind, Outcome
from tools.testing.hostile.jpeg import with_jpeg_segments
from tools.testing.hostile.pictures import exif
from tools.testing.hostile.png import png_chunk, png_of_header, with_png_chunks
from tools.testing.hostile.store import stored
from tools.testing.images import encoded, gradient

__all__ = [
    "GROUPS",
    "Case",
    "Kind",
    "Outcome",
    "converted",
    "corpus",
    "encoded",
    "exif",
    "gradient",
    "group",
    "png_chunk",
    "png_of_header",
    "refused",
    "with_jpeg_segments",
    "with_png_chunks",
]


_FORMATS = {row.name: import_module(f"tools.testing.hostile.{row.key}") for row in FORMATS}
_MODULES = {**_FORMATS, "foreign": foreign, "polyglots": polyglots}
_ALIKE = (Kind.VALID, Kind.BOMB, Kind.TRUNCATION, Kind.MALFORMED)
GROUPS = (
    *((name, kind) for name in _FORMATS for kind in _ALIKE),
    *((name, Kind.LARGE) for name in ("JPEG", "PNG", "TIFF", "AVIF")),
    ("foreign", Kind.FOREIGN),
    ("polyglots", Kind.POLYGLOT),
)
"""Names of the groups that make up `corpus()`, known without generating it."""


@cache
def _cases(name: str) -> tuple[Case, ...]:
    return stored(name, _MODULES[name].corpus)


def group(name: str, kind: Kind) -> list[Case]:
    """Cases of one of GROUPS."""
    return [case for case in _cases(name) if case.kind is kind]


@cache
def corpus() -> tuple[Case, ...]:
    """All cases. Names are unique."""
    return tuple(case for name in _MODULES for case in _cases(name))


def refused() -> dict[str, bytes]:
    """Files that must be refused with a RejectedError, by name. It excludes truncations, for tests
    too slow to try all files."""
    return dict(_selection(art=False))


def converted() -> dict[str, bytes]:
    """Files that look dangerous but must be converted at little cost, by name; for tests too slow
    to try all files."""
    return dict(_selection(art=True))


def _selection(*, art: bool) -> Iterator[tuple[str, bytes]]:
    for case in corpus():
        chosen = case.kind not in {Kind.VALID, Kind.TRUNCATION}
        if chosen and (case.outcome is Outcome.ART if art else None not in case.outcome.value):
            yield case.name, case.image
