"""Fidelity of each style and each peer: the scores that `bench.scoring` defines, over many images.

python -m bench.fidelity            # the images of bench.pictures
python -m bench.fidelity FOLDER     # the images in a folder
"""

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from PIL import Image

from asciist.conversion import STYLES, ConversionOptions, convert, decode, open_image, structure
from asciist.limits import Limits
from bench.goals import HEAD, goal
from bench.peers import PEERS, Peer, PeerError, installed_version
from bench.pictures import Picture, description, folder_pictures, pictures
from bench.scoring import FONTS, Reference, Score, glyphs, not_ascii

MAIN_FONT, OTHER_FONT = FONTS
MAIN_WIDTH: Final = 80
WIDTHS: Final = (40, 80, 120, 200)
SINGLE_PRESET: Final = "structure, single preset"

Draw = Callable[[Path, int, int], str]
"""Converts an image file to art: (file, columns, rows) -> text."""

BEST_SINGLE: Final = structure.Preset(20, 990, 8, 0)
"""The preset with the best mean Q over all pictures. The style `structure` itself chooses a preset for each image."""


def _with_single_preset(picture: Path, columns: int, _rows: int) -> str:
    options = ConversionOptions(width=columns, style="structure")
    image = decode(open_image(picture.read_bytes(), options, Limits()))
    return structure.render(image, options, (BEST_SINGLE,))


VARIANTS: Final[dict[str, Draw]] = {SINGLE_PRESET: _with_single_preset}
"""Engines of asciist that are scored although no request can select them."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """One piece of art to score, and the font it is drawn in."""

    engine: str
    picture: str
    width: int
    font: str


Scores = dict[Case, Score]


@dataclass(frozen=True, kw_only=True)
class Measured:
    """All scores of one run."""

    pictures: list[Picture]
    ours: tuple[str, ...]
    peers: tuple[str, ...]
    """Names of the installed peers that drew every picture."""
    scores: Scores
    failures: dict[str, str]
    """First error message of each installed peer that failed, by name."""

    def q(self, engine: str, *, width: int = MAIN_WIDTH, font: str = MAIN_FONT, kind: str | None = None) -> float:
        """Return the mean Q over all pictures, or over those of one kind."""
        return statistics.fmean(score.q for score in self.of(engine, width=width, font=font, kind=kind))

    def of(self, engine: str, *, width: int = MAIN_WIDTH, font: str = MAIN_FONT, kind: str | None = None) -> list[Score]:
        """Return the scores of one engine for all pictures, or for those of one kind, in the order of the pictures."""
        return [
            self.scores[Case(engine=engine, picture=picture.name, width=width, font=font)]
            for picture in self.pictures
            if kind in {None, picture.kind}
        ]

    def best(self, engines: Iterable[str]) -> str:
        """Return the engine with the highest mean Q."""
        return max(engines, key=self.q)


def _ours(style: str, picture: Path, columns: int, _rows: int) -> str:
    return convert(picture.read_bytes(), ConversionOptions(width=columns, style=style), Limits())


def our_engines(picture: Path) -> dict[str, Draw]:
    """Return the styles of asciist that draw plain ASCII, which is tried on `picture`, and VARIANTS."""
    styles = {style: partial(_ours, style) for style in STYLES}
    return {style: draw for style, draw in styles.items() if not not_ascii(draw(picture, MAIN_WIDTH, 0))} | VARIANTS


def rows_for(picture: Path, columns: int) -> int:
    """Return the number of rows that keeps the aspect ratio of `picture` with cells twice as high as wide."""
    with Image.open(picture) as image:
        return max(1, int(columns * image.height / image.width / 2))


def score_picture(picture: Picture, width: int, fonts: Sequence[str]) -> tuple[Scores, dict[str, str]]:
    """Score every engine on one picture at one width; return the scores, and the errors of engines that failed."""
    rows = rows_for(picture.file, width)
    engines = our_engines(picture.file) | {peer.name: peer.draw for peer in PEERS if installed_version(peer)}
    references: dict[int, Reference] = {}
    scores: Scores = {}
    failures: dict[str, str] = {}
    for engine, draw in engines.items():
        try:
            art = draw(picture.file, width, rows)
        except PeerError as error:
            failures[engine] = f"{picture.name} at {width}: {error}"
            continue
        drawn_rows = art.count("\n") + 1
        if drawn_rows not in references:
            references[drawn_rows] = Reference.of(picture.file, columns=width, rows=drawn_rows)
        for font in fonts:
            case = Case(engine=engine, picture=picture.name, width=width, font=font)
            scores[case] = references[drawn_rows].score(art, glyphs(font))
    return scores, failures


def measure(found: list[Picture], widths: Sequence[int] = WIDTHS) -> Measured:
    """Score all engines on all pictures at `widths`; at MAIN_WIDTH in both fonts, elsewhere in MAIN_FONT.

    Prints progress to standard error. Raises FontMissingError.
    """
    for font in FONTS:
        glyphs(font)  # raises FontMissingError before anything is measured
    scores: Scores = {}
    failures: dict[str, str] = {}
    start = time.monotonic()
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        tasks = [
            (width, pool.submit(score_picture, picture, width, tuple(FONTS) if width == MAIN_WIDTH else (MAIN_FONT,)))
            for width in sorted(widths, reverse=True)
            for picture in found
        ]
        for number, (width, task) in enumerate(tasks, 1):
            new_scores, new_failures = task.result()
            scores |= new_scores
            failures = new_failures | failures
            if number % len(found) == 0:
                print(f"fidelity: width {width} scored, {time.monotonic() - start:.0f} s", file=sys.stderr)
    installed = tuple(peer.name for peer in PEERS if installed_version(peer))
    return Measured(
        pictures=found,
        ours=tuple(our_engines(found[0].file)),
        peers=tuple(name for name in installed if name not in failures),
        scores=scores,
        failures=failures,
    )


def report() -> Iterator[str]:
    """Yield Markdown lines: the images, the goals, the tables and the peers."""
    with tempfile.TemporaryDirectory() as directory:
        found = pictures(Path(directory))
        yield from _report(measure(found))


def _report(measured: Measured) -> Iterator[str]:
    yield f"Art of {len(measured.pictures)} images (* marks a graphic; all are flattened on black), drawn light on dark in"
    yield f"{MAIN_FONT} with 8x16 px per cell and compared with the image on the same canvas. Q = 100·∛(ssim·edge·√r2), defined"
    yield "in [scoring.py](scoring.py)."
    yield ""
    yield from description(measured.pictures)
    yield ""
    yield from _goals(measured)
    yield from _engines(measured)
    if len({case.width for case in measured.scores}) > 1:
        yield from _widths(measured)
    yield from _win_list(measured)
    yield from _per_picture(measured)
    yield from _peers(measured)


def _goals(measured: Measured) -> Iterator[str]:
    ours = measured.best(name for name in measured.ours if name not in VARIANTS)
    chafas = [name for name in measured.peers if name.startswith("chafa")]
    q = measured.q(ours)
    other = measured.q(ours, font=OTHER_FONT)
    yield f"### Goals for {ours}, width {MAIN_WIDTH}"
    yield ""
    yield from HEAD
    yield goal("mean Q", "≥ 60", f"{q:.1f}", met=q >= 60)
    if SINGLE_PRESET in measured.ours:
        preset = measured.q(SINGLE_PRESET)
        yield goal("mean Q with a single preset", "≥ 58", f"{preset:.1f}", met=preset >= 58)
    else:
        yield "| mean Q with a single preset | ≥ 58 | | not measured |"
    if chafas:
        best = measured.best(chafas)
        lead = q - measured.q(best)
        yield goal(
            f"lead over chafa with its best options (`{best}`, {measured.q(best):.1f})", "≥ 14", f"{lead:.1f}", met=lead >= 14
        )
        each = statistics.fmean(
            max(of_one) for of_one in zip(*([s.q for s in measured.of(name)] for name in chafas), strict=True)
        )
        yield f"| lead over chafa with its best options for each image ({each:.1f}) | | {q - each:.1f} | |"
    else:
        yield "| lead over chafa with its best options | ≥ 14 | | not measured: chafa is not installed |"
    if measured.peers:
        share = len(_wins(measured, ours)) / len(measured.pictures)
        yield goal("share of images on which it scores above every peer", "≥ 90 %", f"{share:.0%}", met=share >= 0.9)
    yield goal(f"loss of mean Q when drawn in {OTHER_FONT} ({other:.1f})", "≤ 2", f"{q - other:.1f}", met=q - other <= 2)
    yield ""


def _by_q(measured: Measured) -> list[str]:
    return sorted([*measured.ours, *measured.peers], key=measured.q, reverse=True)


def _label(measured: Measured, engine: str) -> str:
    return f"**{engine}**" if engine in measured.ours else engine


def _engines(measured: Measured) -> Iterator[str]:
    yield f"### Means at width {MAIN_WIDTH}"
    yield ""
    yield f"Tone is in dB. The last column is Q of the same art drawn in {OTHER_FONT}. Engines of asciist are bold."
    yield ""
    yield f"| engine | Q | ssim | edge | tone | r2 | Q, photographs | Q, graphics | Q, {OTHER_FONT} |"
    yield "|---|--:|--:|--:|--:|--:|--:|--:|--:|"
    kinds = {picture.kind for picture in measured.pictures}
    for engine in _by_q(measured):
        scores = measured.of(engine)
        ssim, edge, tone, r2 = (
            statistics.fmean(getattr(score, part) for score in scores) for part in ("ssim", "edge", "tone", "r2")
        )
        of_kinds = [f"{measured.q(engine, kind=kind):.1f}" if kind in kinds else "" for kind in ("photograph", "graphic")]
        yield (
            f"| {_label(measured, engine)} | {measured.q(engine):.1f} | {ssim:.3f} | {edge:.3f} | {tone:.1f} | {r2:.3f} "
            f"| {' | '.join(of_kinds)} | {measured.q(engine, font=OTHER_FONT):.1f} |"
        )
    yield ""


def _widths(measured: Measured) -> Iterator[str]:
    widths = sorted({case.width for case in measured.scores})
    yield "### Mean Q by width"
    yield ""
    yield f"| engine | {' | '.join(map(str, widths))} |"
    yield f"|---|{'--:|' * len(widths)}"
    for engine in _by_q(measured):
        yield f"| {_label(measured, engine)} | {' | '.join(f'{measured.q(engine, width=width):.1f}' for width in widths)} |"
    yield ""


def _picture_q(measured: Measured, engine: str, picture: Picture) -> float:
    return measured.scores[Case(engine=engine, picture=picture.name, width=MAIN_WIDTH, font=MAIN_FONT)].q


def _best_peer(measured: Measured, picture: Picture) -> str:
    return max(measured.peers, key=lambda peer: _picture_q(measured, peer, picture))


def _wins(measured: Measured, engine: str) -> list[Picture]:
    return [
        picture
        for picture in measured.pictures
        if _picture_q(measured, engine, picture) > _picture_q(measured, _best_peer(measured, picture), picture)
    ]


def _win_list(measured: Measured) -> Iterator[str]:
    if not measured.peers:
        return
    yield f"### Images with a higher Q than every peer, width {MAIN_WIDTH}"
    yield ""
    for engine in measured.ours:
        wins = _wins(measured, engine)
        yield f"- **{engine}**: {len(wins)} of {len(measured.pictures)} images."
        losses = [picture for picture in measured.pictures if picture not in wins]
        if losses and len(losses) <= len(measured.pictures) // 2:
            yield "  Exceptions: " + "; ".join(_loss(measured, engine, picture) for picture in losses) + "."
        elif losses:
            yield "  The next table shows the others."
    yield ""


def _loss(measured: Measured, engine: str, picture: Picture) -> str:
    peer = _best_peer(measured, picture)
    return f"{picture.name} ({_picture_q(measured, engine, picture):.1f}; {peer}: {_picture_q(measured, peer, picture):.1f})"


def _per_picture(measured: Measured) -> Iterator[str]:
    yield f"### Q of each image, width {MAIN_WIDTH}"
    yield ""
    yield f"| image | {' | '.join(measured.ours)} | best peer | |"
    yield f"|---|{'--:|' * len(measured.ours)}--:|---|"
    for picture in measured.pictures:
        ours = " | ".join(f"{_picture_q(measured, engine, picture):.1f}" for engine in measured.ours)
        peer = _best_peer(measured, picture) if measured.peers else None
        best = f"{_picture_q(measured, peer, picture):.1f} | {peer}" if peer else " | none installed"
        yield f"| {picture.name}{'*' if picture.kind == 'graphic' else ''} | {ours} | {best} |"
    yield ""


def peer_table(peers: Sequence[Peer], failures: dict[str, str]) -> Iterator[str]:
    """Yield Markdown lines: source, version and call of each peer, and whether it is missing or has failed."""
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
    yield "Every peer is called for light text on a dark background, except that chafa's `--invert` is for dark text on a light"
    yield "one. chafa-py contains its own libchafa and does not report the version of it. img2txt also colours characters and"
    yield "cells; only the characters are scored, as in a plain-text file. The frame that asciiart draws is stripped."


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m bench.fidelity", description="Score the styles of asciist and their peers."
    )
    parser.add_argument("folder", nargs="?", type=Path, help="folder of images to score instead of the bench's own")
    parser.add_argument(
        "--width",
        type=int,
        action="append",
        help=f"width to score, repeatable; {MAIN_WIDTH} is always scored (default: {', '.join(map(str, WIDTHS))})",
    )
    arguments = parser.parse_args()
    widths = sorted({MAIN_WIDTH, *(arguments.width or WIDTHS)})
    with tempfile.TemporaryDirectory() as temporary:
        directory = Path(temporary)
        found = folder_pictures(arguments.folder, directory) if arguments.folder else pictures(directory)
        if not found:
            parser.error(f"{arguments.folder} contains no image")
        for line in _report(measure(found, widths)):
            print(line)


if __name__ == "__main__":
    main()
