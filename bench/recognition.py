"""Recognition: do networks still find the faces and name the objects in the art?

    python -m bench.recognition --widths 80 --engines structure,structure-new
    python -m bench.recognition --widths 80 --engines structure,structure@/path/to/another/checkout
    python -m bench.recognition --engines structure,structure+invert=auto,chafa

bench/engines.py describes the names of engines, and README.md the measures.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import cv2
import numpy as np
from PIL import Image

from bench.comparing import SAMPLES, TOP, Result, Results, tables
from bench.engines import Draw, engine
from bench.fidelity import MAIN_FONT, rows_for
from bench.nets import Classifier, FaceFinder, Seen
from bench.scoring import CELL_HEIGHT, CELL_WIDTH, Floats, luma
from bench.subjects import HALVES, Box, Half, Subject, subjects
from bench.terminal import screen

WIDTHS: Final = (60, 80, 120)
ENGINES: Final = ("structure", "structure+invert=auto", "braille", "chafa", "jp2a")
_SQUINTS: Final = (3.0, 5.5, 8.0)  # px of a cell of 8x16 px: sigma of the blur at three distances
_FACE_SCALES: Final = (3.0, 1.6)  # px per column at two distances; the detectors see them doubled
_FIT_SIGMA: Final = (CELL_WIDTH * CELL_HEIGHT) ** 0.5


class Judge:
    """The networks, and what they see in the images themselves."""

    def __init__(self, *, is_dark: bool = False) -> None:
        """`is_dark`: show dark on light as a negative, as a dark terminal does."""
        self._is_dark = is_dark
        self._classifier = Classifier()
        self.finder = FaceFinder()
        self._images: dict[str, tuple[Floats, Seen]] = {}

    def knows(self, subject: Subject) -> bool:
        """Return whether the subject is a portrait, or is recognised in the colourless image."""
        return not subject.labels or self._image(subject)[1].rank(subject.labels) < TOP

    def samples(self, subject: Subject, columns: int) -> Result:
        """Judge one grey sample a cell, enlarged by cubic interpolation."""
        pixels, _ = self._image(subject)
        rows = rows_for(subject.file, columns)
        size = (columns * CELL_WIDTH, rows * CELL_HEIGHT)
        return self._result(subject, _scaled(_scaled(pixels, columns, rows), *size))

    def art(self, subject: Subject, columns: int, art: str, *, dark_on_light: bool) -> Result:
        """Judge art drawn in the main font. Raises GlyphMissingError."""
        coverage = screen(art, columns).coverage(MAIN_FONT)
        return self._result(
            subject,
            1 - coverage if dark_on_light else coverage,
            is_negative=dark_on_light and self._is_dark,
        )

    def _image(self, subject: Subject) -> tuple[Floats, Seen]:
        if subject.name not in self._images:
            with Image.open(subject.file) as image:
                pixels = luma(image)
            self._images[subject.name] = (pixels, self._classifier.see([pixels])[0])
        return self._images[subject.name]

    def _result(self, subject: Subject, coverage: Floats, *, is_negative: bool = False) -> Result:
        """Judge pixels of 8x16 px per cell, at half their size, which is sharp enough."""
        pixels, original = self._image(subject)
        shown = _fitted(coverage, pixels)
        if is_negative:
            shown = 1 - shown
        views = self._classifier.see([cv2.GaussianBlur(shown, (0, 0), s / 2) for s in _SQUINTS])
        return Result(
            is_found=subject.box is not None and self._finds(shown, subject.box),
            rank=min(view.rank(subject.labels) for view in views) if subject.labels else 0,
            distance=min(view.distance(original) for view in views),
        )

    def _finds(self, shown: Floats, box: Box) -> bool:
        height, width = shown.shape
        for scale in _FACE_SCALES:
            factor = scale / CELL_WIDTH * 2
            far = _scaled(shown, round(width * factor), round(height * factor))
            near = cv2.resize(far, None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC)
            if self.finder.finds(near, box):
                return True
        return False


def _scaled(pixels: Floats, width: int, height: int) -> Floats:
    """Resize by area averaging, or by cubic interpolation if the width grows."""
    kind = cv2.INTER_AREA if width < pixels.shape[1] else cv2.INTER_CUBIC
    result: Floats = np.clip(cv2.resize(pixels, (width, height), interpolation=kind), 0, 1)
    return result


def _fitted(coverage: Floats, image: Floats) -> Floats:
    """Return the art at half its size, with the gain (at least 0) and offset that bring its blur
    nearest to the image's, as in Q."""
    height, width = (side // 2 for side in coverage.shape)
    art, tone = (
        cv2.GaussianBlur(_scaled(pixels, width, height), (0, 0), _FIT_SIGMA / 2)
        for pixels in (coverage, image)
    )
    deviation = art - art.mean()
    gain = max(0.0, float((deviation * tone).mean()) / max(float(art.var()), 1e-9))
    fitted = np.clip(gain * (coverage - art.mean()) + tone.mean(), 0, 1)
    return _scaled(fitted.astype(np.float32), width, height)


def measure(
    found: Sequence[Subject], judge: Judge, names: Sequence[str], widths: Sequence[int]
) -> Results:
    """Judge the art of every engine, and one sample a cell."""
    results: Results = {}
    for width in widths:
        results[SAMPLES, width] = [judge.samples(subject, width) for subject in found]
    for name in names:
        with engine(name) as draw:
            if draw is None:
                print(f"{name} is not installed: it is left out", file=sys.stderr)
                continue
            for width in widths:
                results[name, width] = [_judged(judge, subject, width, draw) for subject in found]
                print(f"{name} at {width}: {time.process_time():.0f} s of CPU", file=sys.stderr)
    return results


def _judged(judge: Judge, subject: Subject, columns: int, draw: Draw) -> Result:
    art, dark_on_light = draw(subject.file, columns, rows_for(subject.file, columns))
    return judge.art(subject, columns, art, dark_on_light=dark_on_light)


def report(
    names: Sequence[str] = ENGINES,
    widths: Sequence[int] = WIDTHS,
    half: Half = "work",
    *,
    is_dark: bool = False,
) -> Iterator[str]:
    """Measure the engines on one half; yield Markdown lines."""
    with tempfile.TemporaryDirectory() as directory:
        judge = Judge(is_dark=is_dark)
        listed = subjects(Path(directory), half, judge.finder.find)
        found = [subject for subject in listed if judge.knows(subject)]
        faces = [subject for subject in found if subject.box]
        real = sum(subject.is_photograph for subject in faces)
        things = len(found) - len(faces)
        photographs = sum(subject.is_photograph for subject in found) - real
        yield (
            f"Half `{half}`: {len(faces)} faces ({real} in photographs) and {things} objects"
            f" ({photographs} in photographs) that the classifier knows without colour, of"
            f" {len(listed) - len(faces)}."
        )
        yield ""
        yield from tables(found, measure(found, judge, names, widths))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.recognition", description=__doc__)
    parser.add_argument("--widths", default=",".join(map(str, WIDTHS)), help="columns")
    parser.add_argument("--engines", default=",".join(ENGINES), help="separated by commas")
    parser.add_argument("--half", choices=HALVES, default="work")
    parser.add_argument(
        "--dark", action="store_true", help="show art drawn dark on light as a negative"
    )
    given = parser.parse_args()
    widths = [int(width) for width in given.widths.split(",")]
    for line in report(given.engines.split(","), widths, given.half, is_dark=given.dark):
        print(line, flush=True)


if __name__ == "__main__":
    main()
