"""Fidelity of each setting and each peer: the scores of `bench.scoring` and `bench.colour` over
many images.

    python -m bench.fidelity                                    # the images of bench.pictures
    python -m bench.fidelity --half tuning --only structure     # one setting on one half; seconds
    python -m bench.fidelity FOLDER                             # the images in a folder
"""

import argparse
import math
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Final

from PIL import Image

from asciist.conversion import ConversionOptions
from bench.colour import ColourReference, ColourScore
from bench.goals import HEAD, goal
from bench.peers import PEERS, Characters, Peer, PeerError, installed_version
from bench.pictures import (
    HALVES,
    KINDS,
    Half,
    Picture,
    description,
    folder_pictures,
    missing_sources,
    pictures,
)
from bench.scoring import CELL_HEIGHT, FONTS, Floats, Ground, Reference, Score, glyphs
from bench.terminal import screen
from tools.testing.drawing import convert

MAIN_FONT, OTHER_FONT = FONTS
MAIN_WIDTH: Final = 80
WIDTHS: Final = (40, 80, 120, 200)
MAIN: Final = "structure"

Draw = Callable[[Path, int, int], str]
"""Converts an image file to art: (file, columns, rows) -> text."""


@dataclass(frozen=True, kw_only=True)
class Engine:
    """A setting of asciist, or a peer with one set of options."""

    name: str
    draw: Draw
    characters: Characters = "ascii"
    is_coloured: bool = False
    dark_on_light: bool = False
    is_ours: bool = True


def _ours(options: ConversionOptions, picture: Path, columns: int, _rows: int) -> str:
    return convert(picture.read_bytes(), replace(options, width=columns))


def _setting(name: str, options: ConversionOptions, characters: Characters = "ascii") -> Engine:
    return Engine(
        name=name,
        draw=partial(_ours, options),
        characters=characters,
        is_coloured=options.color != "none",
        dark_on_light=options.invert,
    )


def _options(style: str, *, invert: bool = False, color: str = "none") -> ConversionOptions:
    return ConversionOptions(width=MAIN_WIDTH, style=style, invert=invert, color=color)


OURS: Final = (
    _setting(MAIN, _options("structure")),
    _setting("ramp", _options("ramp")),
    _setting("structure, invert", _options("structure", invert=True)),
    _setting("ramp, invert", _options("ramp", invert=True)),
    _setting("braille", _options("braille"), "braille"),
    _setting("braille, invert", _options("braille", invert=True), "braille"),
    _setting("blocks", _options("blocks"), "blocks"),
    _setting("blocks, invert", _options("blocks", invert=True), "blocks"),
    _setting("structure in colour", _options("structure", color="ansi")),
    _setting("ramp in colour", _options("ramp", color="ansi")),
    _setting("braille in colour", _options("braille", color="ansi"), "braille"),
    _setting("blocks in colour", _options("blocks", color="ansi"), "blocks"),
)
"""The settings of asciist that are scored. Add a row to score another one."""


def engines() -> list[Engine]:
    """Return every setting of asciist, then every peer that is installed."""
    return [*OURS, *(_peer_engine(peer) for peer in PEERS if installed_version(peer))]


def _peer_engine(peer: Peer) -> Engine:
    return Engine(
        name=peer.name,
        draw=peer.draw,
        characters=peer.characters,
        is_coloured=peer.is_coloured,
        dark_on_light=peer.dark_on_light,
        is_ours=False,
    )


@dataclass(frozen=True, kw_only=True)
class Case:
    """One piece of art to score, and the font that draws it."""

    engine: str
    picture: str
    width: int = MAIN_WIDTH
    font: str = MAIN_FONT


@dataclass(frozen=True, kw_only=True)
class Measured:
    """All scores of one run."""

    pictures: list[Picture]
    engines: list[Engine]
    """Settings and peers that drew every picture."""
    scores: dict[Case, Score]
    colours: dict[Case, ColourScore]
    failures: dict[str, str]
    """First error message of each engine that failed, by name."""

    def chosen(
        self,
        *,
        coloured: bool = False,
        characters: Characters | None = None,
        ours: bool | None = None,
    ) -> list[Engine]:
        """Return the engines with the given properties."""
        return [
            engine
            for engine in self.engines
            if engine.is_coloured == coloured
            and characters in {None, engine.characters}
            and ours in {None, engine.is_ours}
        ]

    def score(self, engine: str, picture: Picture) -> Score:
        """Return a score at MAIN_WIDTH in MAIN_FONT."""
        return self.scores[Case(engine=engine, picture=picture.name)]

    def mean(
        self,
        engine: str,
        measure: str,
        found: Iterable[Picture],
        *,
        width: int = MAIN_WIDTH,
        font: str = MAIN_FONT,
    ) -> float:
        """Return the mean of a measure over the pictures, skipping NaN; NaN if no number
        remains."""
        cases = (
            Case(engine=engine, picture=picture.name, width=width, font=font) for picture in found
        )
        values = [
            getattr(self.scores.get(case) or self.colours.get(case), measure, math.nan)
            for case in cases
        ]
        numbers = [value for value in values if not math.isnan(value)]
        return statistics.fmean(numbers) if numbers else math.nan

    def blank(self, engine: str, found: Iterable[Picture]) -> float:
        """Return the share of blank cells among all midtone cells of the pictures; NaN without
        midtone cells."""
        scores = [
            score for score in (self.score(engine, picture) for picture in found) if score.midtones
        ]
        cells = sum(score.midtones for score in scores)
        return sum(score.blank * score.midtones for score in scores) / cells if cells else math.nan

    def best(
        self, candidates: Iterable[Engine], found: Collection[Picture], measure: str = "q"
    ) -> Engine:
        """Return the engine with the highest mean over the pictures."""
        return max(candidates, key=lambda engine: self.mean(engine.name, measure, found))


def rows_for(picture: Path, columns: int) -> int:
    """Return the number of rows that preserves the aspect ratio of `picture`; cells are twice as
    high as wide."""
    with Image.open(picture) as image:
        return max(1, int(columns * image.height / image.width / 2))


class References:
    """The references of one picture at one width, by the number of rows of the art.

    Art of a transparent picture is scored against the picture on black and on white, and the higher
    Q counts, because the engine chooses the ground.
    """

    def __init__(self, picture: Picture, columns: int) -> None:
        self._picture, self._columns = picture, columns
        self._references: dict[tuple[int, Ground], Reference] = {}

    def score(self, art: str, *, font: str, dark_on_light: bool) -> Score:
        """Score text with characters of any kind. Raises GlyphMissingError."""
        coverage = screen(art, self._columns).coverage(font)
        return self.score_coverage(coverage, dark_on_light=dark_on_light)

    def score_coverage(self, coverage: Floats, *, dark_on_light: bool) -> Score:
        """Score art that is drawn already, in cells of 8x16 px."""
        rows = coverage.shape[0] // CELL_HEIGHT
        grounds: tuple[Ground, ...] = (
            ("black", "white") if self._picture.is_transparent else ("black",)
        )
        scores = [
            self._reference(rows, ground).score_coverage(coverage, dark_on_light=dark_on_light)
            for ground in grounds
        ]
        return max(scores, key=lambda score: score.q)

    def _reference(self, rows: int, ground: Ground) -> Reference:
        if (rows, ground) not in self._references:
            self._references[rows, ground] = Reference.of(
                self._picture.shown, columns=self._columns, rows=rows, ground=ground
            )
        return self._references[rows, ground]


@dataclass(frozen=True, kw_only=True)
class _Task:
    """The engines to score on one picture at one width."""

    picture: Picture
    width: int
    engines: list[str]

    def run(self) -> tuple[dict[Case, Score], dict[Case, ColourScore], dict[str, str]]:
        """Return the scores, the colour scores, and the errors of engines that failed."""
        rows = rows_for(self.picture.file, self.width)
        references = References(self.picture, self.width)
        colour_references: dict[int, ColourReference] = {}
        scores: dict[Case, Score] = {}
        colours: dict[Case, ColourScore] = {}
        failures: dict[str, str] = {}
        for engine in engines():
            if engine.name not in self.engines or (
                engine.is_coloured and self.picture.is_transparent
            ):
                continue
            try:
                art = engine.draw(self.picture.file, self.width, rows)
            except PeerError as error:
                failures[engine.name] = f"{self.picture.name} at {self.width}: {error}"
                continue
            case = Case(engine=engine.name, picture=self.picture.name, width=self.width)
            if engine.is_coloured:
                pixels = screen(art, self.width, dark_on_light=engine.dark_on_light).pixels(
                    MAIN_FONT
                )
                drawn = art.rstrip("\n").count("\n") + 1
                if drawn not in colour_references:
                    colour_references[drawn] = ColourReference.of(
                        self.picture.file, columns=self.width, rows=drawn
                    )
                colours[case] = colour_references[drawn].score(pixels)
                continue
            for font in (
                FONTS if engine.name in IN_BOTH_FONTS and self.width == MAIN_WIDTH else (MAIN_FONT,)
            ):
                scores[replace(case, font=font)] = references.score(
                    art, font=font, dark_on_light=engine.dark_on_light
                )
        return scores, colours, failures


IN_BOTH_FONTS: Final = {MAIN, "ramp", "structure, invert", "chafa", "jp2a"}
_AT_ALL_WIDTHS: Final = {MAIN, "ramp", "chafa"}


def measure(
    found: list[Picture], *, widths: Sequence[int] = WIDTHS, only: Collection[str] = ()
) -> Measured:
    """Score the engines, or only those named in `only`, on all pictures at MAIN_WIDTH.

    At the other widths, the first 34 pictures are scored for a few engines. Prints progress to
    standard error. Raises FontMissingError and GlyphMissingError.
    """
    for font in FONTS:
        glyphs(font)  # raises FontMissingError before anything is measured
    names = [engine.name for engine in engines() if not only or engine.name in only]
    tasks = [_Task(picture=picture, width=MAIN_WIDTH, engines=names) for picture in found]
    some = [name for name in names if name in _AT_ALL_WIDTHS]
    for width in sorted({*widths} - {MAIN_WIDTH}) if some else ():
        tasks += [
            _Task(picture=picture, width=width, engines=some)
            for picture in found
            if picture.is_first
        ]
    scores: dict[Case, Score] = {}
    colours: dict[Case, ColourScore] = {}
    failures: dict[str, str] = {}
    start = time.monotonic()
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        for number, (new_scores, new_colours, new_failures) in enumerate(
            pool.map(_Task.run, tasks), 1
        ):
            scores |= new_scores
            colours |= new_colours
            failures = new_failures | failures
            if number % 40 == 0 or number == len(tasks):
                print(
                    f"fidelity: {number} of {len(tasks)} scored, {time.monotonic() - start:.0f} s",
                    file=sys.stderr,
                )
    return Measured(
        pictures=found,
        engines=[
            engine for engine in engines() if engine.name in names and engine.name not in failures
        ],
        scores=scores,
        colours=colours,
        failures=failures,
    )


def report() -> Iterator[str]:
    """Yield Markdown lines: the images, the goals, the tables and the peers."""
    with tempfile.TemporaryDirectory() as directory:
        found = pictures(Path(directory))
        yield from _report(measure(found))


def _report(measured: Measured) -> Iterator[str]:
    found = measured.pictures
    yield f"Art of {len(found)} images: {sum(p.is_first for p in found)} are the first set;"
    tuning = sum(picture.half == "tuning" for picture in found)
    yield f"{tuning} are in the half for tuning, {len(found) - tuning} are held out."
    for source in missing_sources() if found[0].kind != "unsorted" else ():
        yield (
            f"The images of {source.name} are left out, because it is not installed:"
            f" `{source.install}`."
        )
    yield (
        f"Drawn in {MAIN_FONT} with 8x16 px per cell and compared with the image on the same"
        " canvas. The measures are"
    )
    yield "defined in [scoring.py](scoring.py) and [colour.py](colour.py)."
    yield ""
    yield from description(found)
    yield ""
    yield from _goals(measured)
    yield from _overview(measured)
    yield from _kinds(measured)
    yield from _dots(measured)
    yield from _colour(measured)
    yield from _first(measured)
    yield from _widths(measured)
    yield from _win_list(measured)
    yield from _per_picture(measured)
    yield from _peers(measured)


def _goals(measured: Measured) -> Iterator[str]:
    first = [picture for picture in measured.pictures if picture.is_first]
    chafas = [
        e
        for e in measured.chosen(characters="ascii", ours=False)
        if e.name.startswith("chafa") and not e.dark_on_light
    ]
    if MAIN not in {engine.name for engine in measured.engines} or not first:
        return
    q = measured.mean(MAIN, "q", first)
    other = measured.mean(MAIN, "q", first, font=OTHER_FONT)
    yield f"### Goals for {MAIN}, width {MAIN_WIDTH}, the first {len(first)} images"
    yield ""
    yield from HEAD
    yield goal("mean Q, a guard", "≥ 57", f"{q:.1f}", met=q >= 57)
    if chafas:
        best = measured.best(chafas, first).name
        lead = q - measured.mean(best, "q", first)
        each = statistics.fmean(
            max(measured.score(chafa.name, picture).q for chafa in chafas) for picture in first
        )
        limit = f"lead over chafa with its best options (`{best}`, {q - lead:.1f})"
        yield goal(limit, "≥ 14", f"{lead:.1f}", met=lead >= 14)
        yield (
            f"| lead over chafa with its best options for each image ({each:.1f}) | |"
            f" {q - each:.1f} | |"
        )
    else:
        yield goal("lead over chafa with its best options", "≥ 14", "", met=None)
    if rivals := _rivals(measured):
        share = sum(_wins(measured, MAIN, picture, rivals) for picture in first) / len(first)
        yield goal(
            "share of images on which it scores above every peer",
            "≥ 90 %",
            f"{share:.0%}",
            met=share >= 0.9,
        )
    yield goal(
        f"loss of mean Q when drawn in {OTHER_FONT} ({other:.1f})",
        "≤ 2",
        f"{q - other:.1f}",
        met=q - other <= 2,
    )
    yield ""


def _subsets(found: list[Picture]) -> dict[str, list[Picture]]:
    """Return the pictures behind each column of Q, by its heading; without empty groups."""
    subsets = {
        "all": found,
        "photographs": [picture for picture in found if picture.group == "photograph"],
        "graphics": [picture for picture in found if picture.group == "graphic"],
        **{half: [picture for picture in found if picture.half == half] for half in HALVES},
        "paper": [picture for picture in found if picture.is_paper],
        "transparent": [picture for picture in found if picture.is_transparent],
    }
    return {name: subset for name, subset in subsets.items() if subset}


def _overview(measured: Measured) -> Iterator[str]:
    """Yield the table of characters in one colour: Q by subset, then the other measures."""
    ranked = sorted(
        measured.chosen(characters="ascii"),
        key=lambda engine: -measured.mean(engine.name, "q", measured.pictures),
    )
    if not ranked:
        return
    subsets = _subsets(measured.pictures)
    yield f"### ASCII at width {MAIN_WIDTH}: Q, and what Q does not see"
    yield ""
    yield (
        "Settings of asciist are bold. Art for dark text on a light page says so (`invert`) and is"
        " scored as such; all other"
    )
    yield (
        "art is light on dark. Paper is a graphic with a light ground. Of V, contrast and lines,"
        " more is better; of blank"
    )
    yield "midtones and stripes, less. Blank midtones are counted over all cells of the images."
    yield ""
    yield (
        "| setting |"
        f" {' | '.join(f'Q, {name} ({len(subset)})' for name, subset in subsets.items())} |"
        f" {_VISUAL_HEAD} |"
    )
    yield f"|---|{'--:|' * (len(subsets) + len(_VISUAL))}"
    for engine in ranked:
        q = " | ".join(
            f"{measured.mean(engine.name, 'q', subset):.1f}" for subset in subsets.values()
        )
        yield f"| {_label(engine)} | {q} | {_visual(measured, engine, measured.pictures)} |"
    yield ""
    for half in HALVES:
        subset = [picture for picture in measured.pictures if picture.half == half]
        if not subset or half not in subsets or len(subset) == len(measured.pictures):
            continue
        yield f"The same measures, {half} only ({len(subset)} images):"
        yield ""
        yield f"| setting | Q | {_VISUAL_HEAD} |"
        yield f"|---|{'--:|' * (1 + len(_VISUAL))}"
        for engine in ranked:
            if engine.is_ours or engine.name in IN_BOTH_FONTS:
                q = measured.mean(engine.name, "q", subset)
                yield f"| {_label(engine)} | {q:.1f} | {_visual(measured, engine, subset)} |"
        yield ""


_VISUAL: Final = ("v", "blank", "contrast", "lines", "stripes")
_VISUAL_HEAD: Final = "V | blank midtones | contrast | lines | stripes"


def _visual(measured: Measured, engine: Engine, found: Collection[Picture]) -> str:
    v, contrast, lines, stripes = (
        measured.mean(engine.name, name, found) for name in ("v", "contrast", "lines", "stripes")
    )
    return (
        f"{v:.1f} | {measured.blank(engine.name, found):.0%} | {contrast:.3f} | {lines:.0%} |"
        f" {stripes:.1%}"
    )


def _label(engine: Engine) -> str:
    return f"**{engine.name}**" if engine.is_ours else engine.name


def _kinds(measured: Measured) -> Iterator[str]:
    kinds = {
        kind: [picture for picture in measured.pictures if picture.kind == kind] for kind in KINDS
    }
    ours = measured.chosen(characters="ascii", ours=True)
    rivals = _rivals(measured)
    if not ours or not any(kinds.values()):
        return
    yield f"### By kind: Q, and what Q does not see of {ours[0].name}"
    yield ""
    best = " best peer for each image |" if rivals else ""
    yield f"| kind | images | {' | '.join(engine.name for engine in ours)} | {_VISUAL_HEAD} |{best}"
    yield f"|---|{'--:|' * (len(ours) + len(_VISUAL) + 1 + bool(rivals))}"
    for kind, subset in kinds.items():
        if subset:
            q = " | ".join(f"{measured.mean(engine.name, 'q', subset):.1f}" for engine in ours)
            best_of_peers = [
                max(measured.score(rival.name, picture).q for rival in rivals)
                for picture in subset
                if rivals
            ]
            peer = f" {statistics.fmean(best_of_peers):.1f} |" if best_of_peers else ""
            yield f"| {kind} | {len(subset)} | {q} | {_visual(measured, ours[0], subset)} |{peer}"
    yield ""


def _dots(measured: Measured) -> Iterator[str]:
    subsets = _subsets(measured.pictures)
    for characters in ("braille", "blocks"):
        chosen = measured.chosen(characters=characters)
        if not chosen:
            continue
        yield f"### {characters.capitalize()} in one colour: Q at width {MAIN_WIDTH}"
        yield ""
        yield (
            "| setting |"
            f" {' | '.join(f'{name} ({len(subset)})' for name, subset in subsets.items())} |"
        )
        yield f"|---|{'--:|' * len(subsets)}"
        for engine in chosen:
            q = " | ".join(
                f"{measured.mean(engine.name, 'q', subset):.1f}" for subset in subsets.values()
            )
            yield f"| {_label(engine)} | {q} |"
        yield ""


def _colour(measured: Measured) -> Iterator[str]:
    coloured = measured.chosen(coloured=True)
    opaque = [picture for picture in measured.pictures if not picture.is_transparent]
    if not coloured or not opaque:
        return
    subsets = {
        name: subset
        for name, subset in _subsets(opaque).items()
        if name not in {"paper", "transparent"}
    }
    yield f"### Colour at width {MAIN_WIDTH}, {len(opaque)} images without transparency"
    yield ""
    yield (
        "PSNR in dB, SSIM, and CIEDE2000 after a blur of one cell (less is better), in this order,"
        " over each set of images."
    )
    yield ""
    yield (
        f"| setting | {' | '.join(f'{name} ({len(subset)})' for name, subset in subsets.items())} |"
    )
    yield f"|---|{'---|' * len(subsets)}"
    for engine in sorted(coloured, key=lambda engine: -measured.mean(engine.name, "psnr", opaque)):
        cells = (
            " · ".join(
                f"{measured.mean(engine.name, name, subset):{form}}"
                for name, form in (("psnr", ".1f"), ("ssim", ".3f"), ("ciede", ".2f"))
            )
            for subset in subsets.values()
        )
        yield f"| {_label(engine)} | {' | '.join(cells)} |"
    yield ""


def _first(measured: Measured) -> Iterator[str]:
    first = [picture for picture in measured.pictures if picture.is_first]
    ascii_engines = measured.chosen(characters="ascii")
    if not first or not ascii_engines:
        return
    yield f"### The terms of Q: the first {len(first)} images, width {MAIN_WIDTH}"
    yield ""
    yield (
        f"Tone is in dB. The last column is Q of the same art drawn in {OTHER_FONT}, for some"
        " settings."
    )
    yield ""
    yield f"| setting | Q | ssim | edge | tone | r2 | Q, {OTHER_FONT} |"
    yield "|---|--:|--:|--:|--:|--:|--:|"
    for engine in sorted(ascii_engines, key=lambda engine: -measured.mean(engine.name, "q", first)):
        q, ssim, edge, tone, r2 = (
            measured.mean(engine.name, part, first) for part in ("q", "ssim", "edge", "tone", "r2")
        )
        other = measured.mean(engine.name, "q", first, font=OTHER_FONT)
        in_other = "" if math.isnan(other) else f"{other:.1f}"
        yield (
            f"| {_label(engine)} | {q:.1f} | {ssim:.3f} | {edge:.3f} | {tone:.1f} | {r2:.3f} |"
            f" {in_other} |"
        )
    yield ""


def _widths(measured: Measured) -> Iterator[str]:
    widths = sorted({case.width for case in measured.scores})
    first = [picture for picture in measured.pictures if picture.is_first]
    chosen = [engine for engine in measured.engines if engine.name in _AT_ALL_WIDTHS]
    if len(widths) < 2 or not first or not chosen:
        return
    yield f"### Mean Q by width, the first {len(first)} images"
    yield ""
    yield f"| setting | {' | '.join(map(str, widths))} |"
    yield f"|---|{'--:|' * len(widths)}"
    for engine in chosen:
        q = " | ".join(
            f"{measured.mean(engine.name, 'q', first, width=width):.1f}" for width in widths
        )
        yield f"| {_label(engine)} | {q} |"
    yield ""


def _rivals(measured: Measured) -> list[Engine]:
    """Return the peers that draw ASCII in one colour, light on dark."""
    return [
        engine
        for engine in measured.chosen(characters="ascii", ours=False)
        if not engine.dark_on_light
    ]


def _best_rival(measured: Measured, picture: Picture, rivals: list[Engine]) -> str:
    return max(rivals, key=lambda rival: measured.score(rival.name, picture).q).name


def _wins(measured: Measured, engine: str, picture: Picture, rivals: list[Engine]) -> bool:
    return (
        measured.score(engine, picture).q
        > measured.score(_best_rival(measured, picture, rivals), picture).q
    )


def _win_list(measured: Measured) -> Iterator[str]:
    rivals = _rivals(measured)
    ours = [
        engine
        for engine in measured.chosen(characters="ascii", ours=True)
        if not engine.dark_on_light
    ]
    if not rivals or not ours:
        return
    yield f"### Images with a higher Q than every peer, width {MAIN_WIDTH}"
    yield ""
    for engine in ours:
        losses = [
            picture
            for picture in measured.pictures
            if not _wins(measured, engine.name, picture, rivals)
        ]
        yield (
            f"- **{engine.name}**: {len(measured.pictures) - len(losses)} of"
            f" {len(measured.pictures)} images."
        )
        if losses and len(losses) <= len(measured.pictures) // 2:
            yield (
                "  Exceptions: "
                + "; ".join(_loss(measured, engine.name, picture, rivals) for picture in losses)
                + "."
            )
        elif losses:
            yield "  The next table shows the others."
    yield ""


def _loss(measured: Measured, engine: str, picture: Picture, rivals: list[Engine]) -> str:
    rival = _best_rival(measured, picture, rivals)
    return (
        f"{picture.name} ({measured.score(engine, picture).q:.1f}; {rival}:"
        f" {measured.score(rival, picture).q:.1f})"
    )


def _per_picture(measured: Measured) -> Iterator[str]:
    ours = measured.chosen(ours=True)
    if not ours:
        return
    rivals = _rivals(measured)
    yield f"### Each image, width {MAIN_WIDTH}: Q, and what Q does not see of {ours[0].name}"
    yield ""
    yield (
        f"| image | kind | half | {' | '.join(engine.name for engine in ours)} | {_VISUAL_HEAD} |"
        " best peer | |"
    )
    yield f"|---|---|---|{'--:|' * (len(ours) + len(_VISUAL) + 1)}---|"
    for picture in measured.pictures:
        q = " | ".join(f"{measured.score(engine.name, picture).q:.1f}" for engine in ours)
        rival = _best_rival(measured, picture, rivals) if rivals else ""
        best = f"{measured.score(rival, picture).q:.1f} | {rival}" if rival else " | "
        visual = _visual(measured, ours[0], [picture]).replace("nan%", "").replace("nan", "")
        yield f"| {picture.name} | {picture.kind} | {picture.half} | {q} | {visual} | {best} |"
    yield ""


def peer_table(peers: Sequence[Peer], failures: dict[str, str]) -> Iterator[str]:
    """Yield Markdown lines: source, version and call of each peer, and whether it is missing or has
    failed."""
    yield "| peer | source | version | call |"
    yield "|---|---|---|---|"
    for peer in peers:
        version = installed_version(peer) or f"**missing**: `{peer.install}`"
        if peer.name in failures:
            version += f"; **failed** on {failures[peer.name]}"
        yield f"| {peer.name} | {peer.package} | {version} | `{peer.call}` |"


def _peers(measured: Measured) -> Iterator[str]:
    yield "### Peers"
    yield ""
    yield from peer_table(PEERS, measured.failures)
    yield ""
    yield (
        "Every peer is called for light text on a dark background, except that chafa's `--invert`"
        " is for dark text on a light"
    )
    yield (
        "one, and is scored as such. chafa-py contains its own libchafa and does not report the"
        " version of it. img2txt also"
    )
    yield (
        "colours characters and cells; only the characters are scored, as in a plain-text file. The"
        " frame that asciiart draws"
    )
    yield "is stripped."


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m bench.fidelity",
        description="Score the settings of asciist and their peers.",
    )
    parser.add_argument(
        "folder", nargs="?", type=Path, help="folder of images to score instead of the bench's own"
    )
    parser.add_argument(
        "--half", choices=HALVES, help="score one half of the images (default: both)"
    )
    parser.add_argument(
        "--only",
        action="append",
        metavar="SETTING",
        help="score this setting or peer only, repeatable: "
        + ", ".join(engine.name for engine in OURS),
    )
    parser.add_argument(
        "--width",
        type=int,
        action="append",
        help=f"other width to score, repeatable; {MAIN_WIDTH} is always scored",
    )
    arguments = parser.parse_args()
    only: list[str] = arguments.only or []
    if unknown := set(only) - {engine.name for engine in engines()}:
        parser.error(f"not a setting or an installed peer: {', '.join(sorted(unknown))}")
    half: Half | None = arguments.half
    with tempfile.TemporaryDirectory() as temporary:
        directory = Path(temporary)
        found = (
            folder_pictures(arguments.folder, directory)
            if arguments.folder
            else pictures(directory, half=half)
        )
        if not found:
            parser.error(f"{arguments.folder} contains no image")
        measured = measure(found, widths=arguments.width or (), only=only)
        for line in _report(measured) if not only else _tuning(measured):
            print(line)


def _tuning(measured: Measured) -> Iterator[str]:
    """Yield the tables for tuning a setting: without goals, lists of images and peers."""
    yield f"{len(measured.pictures)} images"
    yield ""
    for table in (_overview, _kinds, _dots, _colour, _per_picture):
        yield from table(measured)


if __name__ == "__main__":
    main()
