"""Q of each drawing in six fonts of terminals and web pages, and in its worst font.

Each font is drawn in a cell of its own: its advance wide, and its ascent and descent high. The cell
is then scaled to the 8x16 px of `bench.scoring`, so the font's cell decides where strokes lie. The
picture as a whole is that much taller or flatter on a screen, which is not charged.

The files of three fonts cannot be had from packages. They are emulated: the glyphs are those of
another font, stretched to the advance and set into the cell of the missing one. Their strokes may
differ in form and weight from the real ones. Metrics that are not read from a file are quoted.

    python -m bench.fonts --half tuning
"""

import argparse
import os
import statistics
import tempfile
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from bench.fidelity import IN_BOTH_FONTS, MAIN_FONT, MAIN_WIDTH, References, engines, rows_for
from bench.pictures import HALVES, Half, Picture, pictures
from bench.scoring import (
    CELL_HEIGHT,
    CELL_WIDTH,
    FIRST,
    FONTS,
    LAST,
    Floats,
    FontMissingError,
    draw,
)

_JETBRAINS: Final = Path("/usr/share/fonts/truetype/jetbrains-mono/JetBrainsMono-Regular.ttf")
_PACKAGES: Final = "fonts-dejavu-core fonts-liberation fonts-jetbrains-mono"
_EM_PX: Final = 1024


@dataclass(frozen=True, kw_only=True)
class Face:
    """A font, or one that stands for a font without a file."""

    file: Path
    metrics: tuple[float, float, float] | None = None
    """Advance, ascent and descent of an emulated font, in em; None for those of the file."""


FACES: Final = {
    "DejaVu Sans Mono": Face(file=FONTS["DejaVu Sans Mono"]),
    "Liberation Mono": Face(file=FONTS["Liberation Mono"]),
    "JetBrains Mono": Face(file=_JETBRAINS),
    # Menlo descends from Bitstream Vera Sans Mono, as DejaVu does.
    "Menlo, emulated by DejaVu": Face(
        file=FONTS["DejaVu Sans Mono"], metrics=(1233 / 2048, 1901 / 2048, 483 / 2048)
    ),
    "Consolas, emulated by Liberation": Face(
        file=FONTS["Liberation Mono"], metrics=(1126 / 2048, 1884 / 2048, 514 / 2048)
    ),
    "SF Mono, emulated by JetBrains": Face(
        file=_JETBRAINS, metrics=(1266 / 2048, 1950 / 2048, 494 / 2048)
    ),
}


def metrics(face: Face) -> tuple[float, float, float]:
    """Return the advance, ascent and descent of a font, in em."""
    if face.metrics:
        return face.metrics
    font = _font(face)
    ascent, descent = font.getmetrics()
    return font.getlength("M") / _EM_PX, ascent / _EM_PX, descent / _EM_PX


@cache
def bank(name: str) -> Floats:
    """Return the coverage of each printable ASCII character in a font of FACES: shape (95, 16, 8),
    values from 0 to 1. Raises FontMissingError."""
    font = _font(FACES[name])
    _, ascent, descent = metrics(FACES[name])
    size = (round(font.getlength("M")), round(_EM_PX * (ascent + descent)))
    glyphs = []
    for code in range(ord(FIRST), ord(LAST) + 1):
        cell = Image.new("L", size)
        ImageDraw.Draw(cell).text(
            (0, round(_EM_PX * ascent)), chr(code), font=font, fill=255, anchor="ls"
        )
        glyphs.append(cell.resize((CELL_WIDTH, CELL_HEIGHT), Image.Resampling.BOX))
    return np.stack([np.asarray(glyph, np.float32) / 255 for glyph in glyphs])


def _font(face: Face) -> ImageFont.FreeTypeFont:
    if not face.file.exists():
        raise FontMissingError(f"{face.file} is not installed: apt-get install {_PACKAGES}")
    return ImageFont.truetype(str(face.file), _EM_PX)


def _scores(picture: Picture) -> dict[str, list[float]]:
    """Return Q in each font, in the order of FACES, by the name of the engine."""
    references = References(picture, MAIN_WIDTH)
    found = {}
    for engine in engines():
        if engine.name in IN_BOTH_FONTS:
            art = engine.draw(picture.file, MAIN_WIDTH, rows_for(picture.file, MAIN_WIDTH))
            found[engine.name] = [
                references.score_coverage(
                    draw(art, bank(font), MAIN_WIDTH), dark_on_light=engine.dark_on_light
                ).q
                for font in FACES
            ]
    return found


def report(half: Half | None = None) -> Iterator[str]:
    """Yield Markdown lines: the fonts, and Q of each engine in them."""
    with tempfile.TemporaryDirectory() as directory:
        found = pictures(Path(directory), half=half)
        with ProcessPoolExecutor(os.cpu_count()) as pool:
            scores = list(pool.map(_scores, found))
    yield f"Mean Q of {len(found)} images at width {MAIN_WIDTH}. `fonts.py` describes the fonts. No"
    yield "file of Menlo, Consolas or SF Mono was at hand: their glyphs are those of another font."
    yield ""
    yield "| font | advance, em | cell height / width | coverage of a full cell, `@` |"
    yield "|---|--:|--:|--:|"
    for name, face in FACES.items():
        advance, ascent, descent = metrics(face)
        ink = float(bank(name)[ord("@") - ord(FIRST)].mean())
        yield f"| {name} | {advance:.3f} | {(ascent + descent) / advance:.2f} | {ink:.2f} |"
    yield ""
    yield f"| setting | {' | '.join(FACES)} | each drawing in its worst font | loss |"
    yield f"|---|{'--:|' * (len(FACES) + 2)}"
    for name in scores[0]:
        drawings = [score[name] for score in scores]
        means = [statistics.fmean(values) for values in zip(*drawings, strict=True)]
        worst = statistics.fmean(map(min, drawings))
        loss = means[list(FACES).index(MAIN_FONT)] - worst
        yield (
            f"| {name} | {' | '.join(f'{mean:.1f}' for mean in means)} | {worst:.1f} | {loss:.1f} |"
        )
    yield ""
    for name in scores[0]:
        values = (score[name] for score in scores)
        worst_fonts = Counter(list(FACES)[value.index(min(value))] for value in values)
        (font, times), *_ = worst_fonts.most_common(1)
        yield f"- The worst font of {name} is {font}, for {times} of {len(found)} drawings."


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.fonts", description=__doc__)
    parser.add_argument("--half", choices=HALVES, help="half of the images (default: both)")
    for line in report(parser.parse_args().half):
        print(line)


if __name__ == "__main__":
    main()
