"""Tables of recognition: measures of each engine, and exact paired tests of engines against the
first one."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from bench.subjects import Subject

SAMPLES: Final = "one sample a cell"
"""The image at one grey sample a cell, enlarged: what tone alone can show."""
TOP: Final = 5
_SUBSETS: Final = {"all": (False, True), "photographs": (True,), "cut-outs": (False,)}
"""Images of the paired tests, by the values of `Subject.is_photograph`."""


@dataclass(frozen=True, kw_only=True)
class Result:
    """Answers of the networks about one piece of art."""

    is_found: bool
    """True if a detector finds the face; False for an object."""
    rank: int
    """Rank of the right class, from 0, at the best distance; 0 for a portrait."""
    distance: float
    """Distance of features from those of the image, at the best distance; see nets.py."""


Results = dict[tuple[str, int], list[Result]]
"""Results of the subjects, in their order, by engine and width."""


def p_value(wins: int, losses: int) -> float:
    """Return the two-sided p of the exact sign test, which is McNemar's exact test if a win is a
    subject that only one of two engines shows."""
    count = wins + losses
    tail = sum(math.comb(count, number) for number in range(min(wins, losses) + 1))
    return min(1.0, 2 * tail / 2**count)


def tables(found: Sequence[Subject], results: Results) -> Iterator[str]:
    """Yield Markdown: the measures of each engine, and each engine against the first."""
    widths = list(dict.fromkeys(width for _, width in results))
    names = list(dict.fromkeys(name for name, _ in results))
    for width in widths:
        yield f"Width {width}; in brackets, as a share of one sample a cell:"
        yield ""
        yield "| engine | faces | of photographs | top-5 | of photographs | feature distance |"
        yield "|---|--:|--:|--:|--:|--:|"
        limits = _measures(found, results[SAMPLES, width])
        for name in names:
            values = _measures(found, results[name, width])
            cells = [f"{v:.0%} ({v / top:.2f})" for v, top in zip(values[:4], limits, strict=False)]
            cells.append(f"{values[4]:.3f} ({limits[4] / values[4]:.2f})")
            yield f"| {name} | {' | '.join(cells)} |"
        yield ""
    _, first, *others = names
    if others:
        yield (
            f"Subjects that only this engine shows, and that only `{first}` shows; p of the exact"
            " test:"
        )
        yield ""
        yield "| engine | width | images | faces | top-5 | nearer features |"
        yield "|---|--:|---|--:|--:|--:|"
    for name in others:
        for width in widths:
            trios = list(zip(found, results[name, width], results[first, width], strict=True))
            for images, kinds in _SUBSETS.items():
                pairs = _paired([trio for trio in trios if trio[0].is_photograph in kinds])
                cells = [f"{won} : {lost}, p {p_value(won, lost):.3f}" for won, lost in pairs]
                yield f"| {name} | {width} | {images} | {' | '.join(cells)} |"


def _measures(found: Sequence[Subject], results: Sequence[Result]) -> list[float]:
    """Return the shares of faces found, among photographs too, and of objects among the first five,
    among photographs too, and the mean distance of features."""
    seen = list(zip(found, results, strict=True))
    shares = []
    for of_faces in (True, False):
        for photographs in (False, True):
            chosen = [
                result.is_found if of_faces else result.rank < TOP
                for subject, result in seen
                if (subject.box is not None) == of_faces and subject.is_photograph >= photographs
            ]
            shares.append(float(np.mean(chosen)) if chosen else math.nan)
    return [*shares, float(np.mean([result.distance for result in results]))]


def _paired(trios: Sequence[tuple[Subject, Result, Result]]) -> list[tuple[int, int]]:
    """Return the wins and losses of the first result of each subject: faces, objects, and feature
    distance."""
    faces = [(a.is_found, b.is_found) for _, a, b in trios]
    objects = [(a.rank < TOP, b.rank < TOP) for _, a, b in trios]
    distances = [(b.distance, a.distance) for _, a, b in trios]
    return [
        (sum(a > b for a, b in pairs), sum(a < b for a, b in pairs))
        for pairs in (faces, objects, distances)
    ]
