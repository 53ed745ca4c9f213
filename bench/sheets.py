"""Sheets that show a picture beside its art: our styles, and chafa and jp2a with their best-scoring
options.

python -m bench.sheets    # writes bench/sheets/*.png
"""

import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from bench.fidelity import MAIN_FONT, MAIN_WIDTH, OURS, Draw, rows_for
from bench.peers import PEERS, PeerError, installed_version
from bench.pictures import Picture, pictures
from bench.scoring import Floats, Reference, draw, glyphs

SHEETS: Final = Path(__file__).with_name("sheets")
CHOSEN: Final = (
    "astronaut",
    "camera",
    "chelsea",
    "china",
    "coffee",
    "rocket",
    "logo",
    "rendered_face",
    "rendered_house",
    "rendered_screenshot",
)

# three quarters of the 640 px that are scored: glyphs stay legible and files small
_PANEL_WIDTH: Final = 480
_CAPTION_HEIGHT: Final = 22
_GAP: Final = 8
_GREYS: Final = 16  # halves the file size without a visible difference


class _Panels:
    """The panels of one sheet, left to right."""

    def __init__(self, picture: Picture) -> None:
        self._picture = picture
        self._rows = rows_for(picture.file, MAIN_WIDTH)
        self._reference = Reference.of(picture.shown, columns=MAIN_WIDTH, rows=self._rows)

    def all(self) -> Iterator[tuple[str, Floats]]:
        """Yield the caption and the pixels, from 0 to 1, of each panel."""
        yield self._picture.name, self._reference.canvas
        ours = [engine for engine in OURS if engine.name in {"structure", "ramp"}]
        panels = [self._drawn(engine.name, engine.draw) for engine in ours]
        for program in ("chafa", "jp2a"):
            plain = [
                peer
                for peer in PEERS
                if peer.characters == "ascii" and not peer.is_coloured and not peer.dark_on_light
            ]
            candidates = [
                self._drawn(peer.name, peer.draw)
                for peer in plain
                if peer.program == program and installed_version(peer)
            ]
            panels.append(
                max(candidates, key=lambda panel: panel[0])
                if candidates
                else (0, f"{program}: missing", None)
            )
        ours_first = sorted(panels[: len(ours)], key=lambda panel: -panel[0])
        for _, caption, pixels in [*ours_first, *panels[len(ours) :]]:
            yield caption, np.zeros_like(self._reference.canvas) if pixels is None else pixels

    def _drawn(self, name: str, engine: Draw) -> tuple[float, str, Floats | None]:
        try:
            art = engine(self._picture.file, MAIN_WIDTH, self._rows)
        except PeerError as error:
            return 0, f"{name}: {error}"[:60], None
        coverage = draw(art, glyphs(MAIN_FONT), MAIN_WIDTH)
        q = self._reference.score_coverage(coverage).q
        return q, f"{name}: Q {q:.1f}", coverage


def sheet(picture: Picture) -> Image.Image:
    """Draw the panels of a picture side by side, in grey, with captions above them."""
    panels = list(_Panels(picture).all())
    height, width = panels[0][1].shape
    panel_height = round(_PANEL_WIDTH * height / width)
    size = (len(panels) * (_PANEL_WIDTH + _GAP) - _GAP, _CAPTION_HEIGHT + panel_height)
    canvas = Image.new("L", size, 64)
    pen, font = ImageDraw.Draw(canvas), ImageFont.load_default(15)
    for index, (caption, pixels) in enumerate(panels):
        left = index * (_PANEL_WIDTH + _GAP)
        pen.text((left + 4, _CAPTION_HEIGHT / 2), caption, font=font, fill=255, anchor="lm")
        panel = Image.fromarray((255 * pixels).astype(np.uint8)).resize(
            (_PANEL_WIDTH, panel_height), Image.Resampling.BOX
        )
        canvas.paste(panel, (left, _CAPTION_HEIGHT))
    return canvas


def _save(image: Image.Image, file: Path) -> None:
    """Write a PNG with 4 bits per pixel."""
    step = 255 / (_GREYS - 1)
    levels = np.rint(np.asarray(image, np.float32) / step).astype(np.uint8)
    indexed = Image.fromarray(levels).convert("P")
    indexed.putpalette([round(step * level) for level in range(_GREYS) for _ in range(3)])
    indexed.save(file, optimize=True, bits=4)


def report() -> Iterator[str]:
    """Write the sheets; yield Markdown lines with a link to each."""
    SHEETS.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as directory:
        chosen = [picture for picture in pictures(Path(directory)) if picture.name in CHOSEN]
        yield (
            "Each sheet shows the image, the styles of asciist, and chafa and jp2a with the options"
            " that score best on it, at"
        )
        yield f"width {MAIN_WIDTH} in {MAIN_FONT}, at three quarters of the size that is scored:"
        yield ""
        for picture in chosen:
            file = SHEETS / f"{picture.name}.png"
            _save(sheet(picture), file)
            print(f"sheets: {file.name}, {file.stat().st_size} bytes", file=sys.stderr)
            yield f"- [{picture.name}](sheets/{file.name})"


if __name__ == "__main__":
    for line in report():
        print(line)
