"""Fidelity of ASCII art to its image: a score Q from 0 to 100, and the four measures that it
combines.

The art, C columns by R rows, is drawn light on dark with the glyphs of a monospace font in cells of
8x16 px. The result is the coverage A of each pixel, in [0, 1], which stands for the light that the
pixel emits. The image is rotated upright, flattened on black, converted to Rec. 601 luma (of the
gamma-encoded values) and resized to the same canvas of 8C x 16R px: S, in [0, 1]. Blurs and
gradients below are in pixels of this canvas.

fit     A gain a >= 0 and an offset for each image, by least squares between A and S after a
Gaussian blur with sigma =
        sqrt(8*16) = 11.3 px, about one cell. They stand for the brightness and contrast settings of a screen. ssim uses
        the same gain, and at each level of its pyramid the offset that makes the means equal.
ssim    Structural similarity, mean over four levels of a pyramid with 8x16, 4x8, 2x4 and 1x2 px per
cell, which correspond to
        growing viewing distances. 11x11 Gaussian window with sigma 1.5, K1 = 0.01, K2 = 0.03, range 1 (Wang, Bovik, Sheikh,
        Simoncelli: Image Quality Assessment, IEEE TIP 13(4), 2004). In contrast to multi-scale SSIM (Wang, Simoncelli, Bovik,
        2003), all levels have equal weight and include the luminance term.
edge    Uncentred correlation of the gradient fields of A and S after a Gaussian blur with sigma = 3
px, in [-1, 1]. tone    Peak signal-to-noise ratio of the fit, in dB. r2      Share of the variance
of the blurred image that the fitted art explains: max(0, 1 - mse / variance). Q       100 *
cbrt(ssim * edge * sqrt(r2)); negative ssim or edge count as 0.

The measures are combined because each one alone can be misled: a nearly blank picture, for example,
has the best raw SSIM.

The measures below see what Q hardly charges for. "Distance" is luma, and 1 - luma for art drawn
dark on light: the distance from the tone of a blank cell. The midtones are the cells whose mean
distance is .15 to .6.

blank     Share of the midtones whose cell is blank. contrast  Local contrast of the midtones
visible in the art, in [0, 1]: max(0, 2 cov / (var_A + var_S)), the contrast and
          structure terms of the universal quality index (Wang, Bovik, IEEE Signal Processing Letters 9(3), 2002), with the
          window and the gain of ssim. It is computed at 1x2 px per cell, where the pattern of a character has vanished, and
          averaged over the midtones where the image itself has contrast: a standard deviation of .02 or more in the window
          (local RMS contrast: Peli, Contrast in complex images, JOSA A 7(10), 1990). A blank or even area scores 0.
lines     Share of the skeletons of thin lines that the art shows. Lines are the ridges, lighter or
darker than both sides by
          .15 or more, of the image's top hat (Serra: Image Analysis and Mathematical Morphology, 1982) for a square of 13 px.
          They are kept where the structure tensor (Bigun, Granlund: Optimal orientation detection of linear symmetry, ICCV
          1987) has a coherence of .5 or more in a window with sigma = 6 px, so that texture does not count. A point of the
          skeleton is shown if the fitted art has at least half the contrast of the image there: the difference of Gaussians
          with sigmas of half a cell and two cells (Marr, Hildreth: Theory of edge detection, 1980).
stripes   Share of the cells that belong to a stripe: a run of three or more equal strokes, in a row
or a column, where the
          image is flat: a standard deviation below .03 in the window of contrast. A stroke is a cell whose ink has second
          moments with an anisotropy of .8 or more, such as `|`, `_`, `/` or `[`.
V       100 * cbrt(ssim * edge * sqrt(r2) * contrast) * (1 - B / 2), where B is the share of all
cells that are midtones and
        blank, and contrast counts as 1 if it is not a number. Q ranks art with crushed midtones too high. README.md compares
        the rankings by V and by Q with a ranking by eye.

contrast and lines are not a number if the image has no such midtones or lines. `draw` draws only
printable ASCII; any other character counts as a blank. `bench.terminal` draws blocks, braille and
colours too.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any, Final, Literal, Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont, ImageOps

Floats = NDArray[np.float32]
Ground = Literal["black", "white"]
"""Colour behind a transparent image."""

LUMA: Final = np.array([0.299, 0.587, 0.114], np.float32)
"""Weights of red, green and blue in Rec. 601 luma."""

CELL_WIDTH: Final = 8
CELL_HEIGHT: Final = 16
FIRST, LAST = " ", "~"  # the 95 printable ASCII characters

FONTS: Final = {
    "DejaVu Sans Mono": Path("/usr/share/fonts/truetype/dejavu/DejaVuSansMono.ttf"),
    "Liberation Mono": Path("/usr/share/fonts/truetype/liberation/LiberationMono-Regular.ttf"),
}
FONT_PACKAGES: Final = {
    "DejaVu Sans Mono": "fonts-dejavu-core",
    "Liberation Mono": "fonts-liberation",
}

_OVERSAMPLING: Final = 8
_LEVELS: Final = 4
_CELL_SIGMA: Final = (CELL_WIDTH * CELL_HEIGHT) ** 0.5
_EDGE_SIGMA: Final = 3.0
_WINDOW_SIGMA: Final = 1.5
_WINDOW_TAPS: Final = 11
_C1: Final = 0.01**2
_C2: Final = 0.03**2
_MIDTONES: Final = (0.15, 0.6)
_BLANK_COVERAGE: Final = 0.002  # a full stop covers .02 of its cell
_VISIBLE_DEVIATION: Final = 0.02
_FLAT_DEVIATION: Final = 0.03
_LINE_WIDTH: Final = 13  # px, odd: the sides of a thin line are at most 1.6 cells apart
_LINE_CONTRAST: Final = 0.15
_LINE_COHERENCE: Final = 0.5
_MIN_LINE_PX: Final = 200  # skeleton points below which an image has no lines to score
_STROKE_ELONGATION: Final = 0.8
_STRIPE_RUN: Final = 3
# px; larger images are halved while at least twice the canvas: saves memory at 50 MP
_HALVING_AREA: Final = 4_000_000


class FontMissingError(Exception):
    """A font file is not at its Debian path; the message says how to install it."""


@dataclass(frozen=True, kw_only=True)
class Score:
    """The score of one piece of art. The module documentation defines the measures."""

    q: float
    """Q, from 0 to 100."""
    v: float
    """V, from 0 to 100."""
    ssim: float
    edge: float
    tone: float
    """Peak signal-to-noise ratio in dB."""
    r2: float
    ssim_levels: tuple[float, ...]
    """SSIM of each pyramid level, finest first."""
    gain: float
    """Gain of the fit; above 1 if the art has less contrast than the image."""
    blank: float
    midtones: int
    """Number of cells that are midtones."""
    contrast: float
    lines: float
    stripes: float


@cache
def glyphs(font: str | Path = "DejaVu Sans Mono") -> Floats:
    """Return the coverage of each printable ASCII character: shape (95, 16, 8), values from 0 to 1.

    `font` is a key of `FONTS` or a font file. The font is scaled so that its advance is 8 px, and
    its ascent and descent together are centred in the 16 px. Glyphs are drawn eight times as large
    and averaged. Raises FontMissingError."""
    file = FONTS.get(str(font), Path(font))
    if not file.exists():
        package = FONT_PACKAGES.get(str(font))
        raise FontMissingError(
            f"{font} is not installed"
            + (f": apt-get install {package}" if package else f": no file {file}")
        )
    width, height = CELL_WIDTH * _OVERSAMPLING, CELL_HEIGHT * _OVERSAMPLING
    advance = ImageFont.truetype(str(file), 1000).getlength("M") / 1000
    face = ImageFont.truetype(str(file), width / advance)
    ascent, descent = face.getmetrics()
    baseline = (height - (ascent + descent)) / 2 + ascent
    bank = np.zeros((ord(LAST) - ord(FIRST) + 1, CELL_HEIGHT, CELL_WIDTH), np.float32)
    for index, coverage in enumerate(bank):
        cell = Image.new("L", (width, height), 0)
        ImageDraw.Draw(cell).text(
            (0, baseline), chr(ord(FIRST) + index), font=face, fill=255, anchor="ls"
        )
        pixels = np.asarray(cell, np.float32).reshape(
            CELL_HEIGHT, _OVERSAMPLING, CELL_WIDTH, _OVERSAMPLING
        )
        coverage[:] = pixels.mean((1, 3)) / 255
    return bank


def character_grid(art: str, columns: int) -> NDArray[np.intp]:
    """Convert text to an array of indices into `glyphs`, shape (rows, columns).

    Short lines are padded with blanks and long ones cut. Characters outside printable ASCII become
    blanks. Empty text gives one blank row."""
    lines = art.replace("\r", "").rstrip("\n").split("\n")
    grid = np.zeros((len(lines), columns), np.intp)
    for row, line in zip(grid, lines, strict=True):
        codes = np.array([ord(character) for character in line[:columns]], np.intp)
        row[: len(codes)] = np.where(
            (codes >= ord(FIRST)) & (codes <= ord(LAST)), codes - ord(FIRST), 0
        )
    return grid


def draw(art: str, bank: Floats, columns: int) -> Floats:
    """Draw text with the glyphs of `bank`; return its coverage, shape (16 * rows, 8 * columns)."""
    return draw_grid(character_grid(art, columns), bank)


def draw_grid(grid: NDArray[np.intp], bank: Floats) -> Floats:
    """Draw a grid of indices into `bank`, shape (rows, columns); return its coverage, shape (16 *
    rows, 8 * columns)."""
    rows, columns = grid.shape
    return bank[grid].transpose(0, 2, 1, 3).reshape(rows * CELL_HEIGHT, columns * CELL_WIDTH)


def luma(image: Image.Image, *, ground: Ground = "black") -> Floats:
    """Return the luma of an image, shape (height, width), values from 0 to 1.

    The image is rotated upright and flattened on `ground`. Luma is 0.299 R + 0.587 G + 0.114 B of
    the gamma-encoded values.
    """
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith(("I", "F")):
        values = np.asarray(image, np.float32)
        return np.clip(values / (65535 if values.max() > 255 else 255), 0, 1)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        flat = Image.new("RGBA", image.size, ground)
        flat.alpha_composite(image)
        image = flat
    return (np.asarray(image.convert("RGB"), np.float32) / 255) @ LUMA


@dataclass(frozen=True, kw_only=True)
class _Level:
    """One level of the image pyramid: its pixels, their mean, and the means and variances in the
    SSIM window."""

    pixels: Floats
    mean: float
    window_means: Floats
    window_variances: Floats

    @classmethod
    def of(cls, pixels: Floats) -> Self:
        means = _window(pixels)
        return cls(
            pixels=pixels,
            mean=_mean(pixels),
            window_means=means,
            window_variances=_window(pixels * pixels) - means * means,
        )

    def similarity(self, pixels: Floats) -> float:
        """Return the mean structural similarity between `pixels` and this level."""
        means = _window(pixels)
        variances = _window(pixels * pixels) - means * means
        covariances = _window(pixels * self.pixels) - means * self.window_means
        numerator = (2 * means * self.window_means + _C1) * (2 * covariances + _C2)
        denominator = (means**2 + self.window_means**2 + _C1) * (
            variances + self.window_variances + _C2
        )
        return _mean(numerator / denominator)


def _pyramid(pixels: Floats) -> Iterator[_Level]:
    for _ in range(_LEVELS):
        yield _Level.of(pixels)
        pixels = _halved(pixels)


class ImagePyramid:
    """Levels of an image, for comparing other images of the same size without a fit."""

    def __init__(self, pixels: Floats) -> None:
        self._levels = list(_pyramid(pixels))

    def similarity(self, pixels: Floats) -> float:
        """Return the structural similarity, averaged over the levels."""
        total = 0.0
        for level in self._levels:
            total += level.similarity(pixels)
            pixels = _halved(pixels)
        return total / len(self._levels)


class Reference:
    """An image resized to the canvas of art of one size. One reference can score any number of
    pieces of art.

    Reference.of(path, columns=80, rows=40).score(art, glyphs("DejaVu Sans Mono")).q
    """

    def __init__(self, pixels: Floats, *, columns: int, rows: int) -> None:
        """`pixels` is the luma of the image, shape (height, width), values from 0 to 1."""
        self.columns, self.rows = columns, rows
        self.canvas = resized(pixels, CELL_HEIGHT * rows, CELL_WIDTH * columns)
        self._tone = blurred(self.canvas, _CELL_SIGMA)
        self._gradient = _gradient(blurred(self.canvas, _EDGE_SIGMA))
        self._lines = _Lines.of(self.canvas)
        self._levels = list(_pyramid(self.canvas))

    @classmethod
    def of(cls, file: Path, *, columns: int, rows: int, ground: Ground = "black") -> Self:
        """Create a reference from an image file, flattened on `ground`."""
        with Image.open(file) as image:
            return cls(luma(image, ground=ground), columns=columns, rows=rows)

    def score(self, art: str, bank: Floats, *, dark_on_light: bool = False) -> Score:
        """Score text drawn with the glyphs of `bank`. Raises ValueError if its number of rows
        differs from the reference's."""
        return self.score_coverage(draw(art, bank, self.columns), dark_on_light=dark_on_light)

    def score_coverage(self, coverage: Floats, *, dark_on_light: bool = False) -> Score:
        """Score coverage of shape (16 * rows, 8 * columns), values from 0 to 1. Raises ValueError
        for another shape."""
        if coverage.shape != self.canvas.shape:
            raise ValueError(
                f"the art is {coverage.shape} px (height, width), not {self.canvas.shape}"
            )
        if dark_on_light:
            coverage = 1 - coverage
        gain, error = _fit(blurred(coverage, _CELL_SIGMA), self._tone)
        r2 = max(0.0, 1 - error / max(float(self._tone.var()), 1e-9))
        levels = self._similarities(coverage, gain)
        ssim = sum(levels) / len(levels)
        midtones = self._midtones(_cells(self.canvas).mean((2, 3)), dark_on_light=dark_on_light)
        ink = 1 - coverage if dark_on_light else coverage
        is_blank = _cells(ink).mean((2, 3)) < _BLANK_COVERAGE
        edge = _correlation(_gradient(blurred(coverage, _EDGE_SIGMA)), self._gradient)
        q = 100 * (max(ssim, 0) * max(edge, 0) * r2**0.5) ** (1 / 3)
        contrast = self._contrast(coverage, gain, dark_on_light=dark_on_light)
        visible = 1.0 if math.isnan(contrast) else contrast
        return Score(
            q=q,
            v=q * visible ** (1 / 3) * (1 - _mean(is_blank & midtones) / 2),
            ssim=ssim,
            edge=edge,
            tone=float(10 * np.log10(1 / max(error, 1e-6))),
            r2=r2,
            ssim_levels=levels,
            gain=gain,
            blank=_mean(is_blank[midtones]) if midtones.any() else math.nan,
            midtones=int(midtones.sum()),
            contrast=contrast,
            lines=self._lines.shown(coverage, gain),
            stripes=_mean(_striped(ink) & self._flat()),
        )

    def _midtones(self, luma_of_cells: Floats, *, dark_on_light: bool) -> NDArray[np.bool_]:
        distance = 1 - luma_of_cells if dark_on_light else luma_of_cells
        return (distance >= _MIDTONES[0]) & (distance <= _MIDTONES[1])

    def _contrast(self, coverage: Floats, gain: float, *, dark_on_light: bool) -> float:
        level = self._levels[-1]
        visible = level.window_variances >= _VISIBLE_DEVIATION**2
        chosen = self._midtones(level.pixels, dark_on_light=dark_on_light) & visible
        if not chosen.any():
            return math.nan
        pixels = gain * _halved(_halved(_halved(coverage)))
        means = _window(pixels)
        variances = _window(pixels * pixels) - means * means
        covariances = _window(pixels * level.pixels) - means * level.window_means
        similarity = 2 * covariances[chosen] / (variances + level.window_variances)[chosen]
        return _mean(np.maximum(similarity, 0))

    def _flat(self) -> NDArray[np.bool_]:
        """Return the cells around which the image has no contrast, shape (rows, columns)."""
        variances = self._levels[-1].window_variances
        return np.maximum(variances[::2], variances[1::2]) < _FLAT_DEVIATION**2

    def _similarities(self, coverage: Floats, gain: float) -> tuple[float, ...]:
        similarities = []
        for index, level in enumerate(self._levels):
            pixels = gain * coverage
            pixels += level.mean - _mean(pixels)
            similarities.append(level.similarity(pixels))
            if index < _LEVELS - 1:
                coverage = _halved(coverage)
        return tuple(similarities)


@dataclass(frozen=True, kw_only=True)
class _Lines:
    """Skeletons of the thin lines of an image, at 2x4 px per cell, and their contrast."""

    rows: NDArray[np.intp]
    columns: NDArray[np.intp]
    contrast: Floats
    """Difference of Gaussians of the image at each point: positive for a light line."""

    @classmethod
    def of(cls, canvas: Floats) -> Self:
        light = canvas - _opened(canvas)
        dark = -(1 - canvas) + _opened(1 - canvas)
        hat = blurred(np.where(light > -dark, light, dark).astype(np.float32), 1)
        height = np.abs(hat)
        is_ridge = np.zeros(canvas.shape, bool)
        middle = height[1:-1, 1:-1]
        is_ridge[1:-1, 1:-1] = ((middle > height[1:-1, :-2]) & (middle >= height[1:-1, 2:])) | (
            (middle > height[:-2, 1:-1]) & (middle >= height[2:, 1:-1])
        )
        is_ridge &= (height >= _LINE_CONTRAST) & (_coherence(canvas) >= _LINE_COHERENCE)
        rows, columns = (index // 4 for index in np.nonzero(is_ridge))
        difference = _difference_of_gaussians(canvas)[rows, columns]
        same = np.sign(difference) == np.sign(hat[is_ridge])
        return cls(rows=rows[same], columns=columns[same], contrast=difference[same])

    def shown(self, coverage: Floats, gain: float) -> float:
        """Return the share of points at which the art has at least half the contrast; NaN if there
        are few points."""
        if len(self.rows) < _MIN_LINE_PX:
            return math.nan
        difference = gain * _difference_of_gaussians(coverage)[self.rows, self.columns]
        return _mean(difference * np.sign(self.contrast) >= np.abs(self.contrast) / 2)


def _opened(values: Floats) -> Floats:
    """Return the morphological opening by a square of `_LINE_WIDTH` px, which removes thinner light
    details."""
    eroded = _extreme(_extreme(values, np.minimum).T, np.minimum).T
    return _extreme(_extreme(eroded, np.maximum).T, np.maximum).T


def _extreme(values: Floats, extreme: np.ufunc) -> Floats:
    """Return the minimum or maximum of `_LINE_WIDTH` pixels along y around each pixel."""
    reach = _LINE_WIDTH // 2
    padded = np.pad(values, ((reach, reach), (0, 0)), mode="edge")
    result = padded[: len(values)].copy()
    for start in range(1, _LINE_WIDTH):
        extreme(result, padded[start : start + len(values)], out=result)
    return result


def _coherence(values: Floats) -> Floats:
    """Return the coherence of the gradients around each pixel, from 0 to 1, by the structure
    tensor.

    It is computed at half the resolution of `values`.
    """
    x, y = _corner_gradient(blurred(_halved(values), 0.5))
    xx, yy, xy = (
        blurred(np.pad(product, ((0, 1), (0, 1)), mode="edge"), 3)
        for product in (x * x, y * y, x * y)
    )
    coherence = np.hypot(xx - yy, 2 * xy) / np.maximum(xx + yy, 1e-9)
    return coherence.repeat(2, axis=0).repeat(2, axis=1)


def _corner_gradient(values: Floats) -> tuple[Floats, Floats]:
    """Return the differences along x and y at the corners between four pixels, so that all
    directions have the same weight."""
    x, y = np.diff(values, axis=-1), np.diff(values, axis=-2)
    return (x[..., :-1, :] + x[..., 1:, :]) / 2, (y[..., :-1] + y[..., 1:]) / 2


def _difference_of_gaussians(values: Floats) -> Floats:
    """Return the difference of the blurs by half a cell and by two cells, at 2x4 px per cell."""
    small = _halved(_halved(values))
    # half a cell is 2 px high and 1 px wide
    half_cell = _filtered(_filtered(small, 2, 17).T, 1, 9).T
    return half_cell - _filtered(_filtered(small, 8, 65).T, 4, 33).T


def _striped(coverage: Floats) -> NDArray[np.bool_]:
    """Return the cells of runs of equal strokes, shape (rows, columns)."""
    cells = _cells(coverage)
    is_stroke = _elongation(cells) >= _STROKE_ELONGATION
    down = is_stroke[1:] & (cells[1:] == cells[:-1]).all((2, 3))
    right = is_stroke[:, 1:] & (cells[:, 1:] == cells[:, :-1]).all((2, 3))
    return _in_runs(down) | _in_runs(right.T).T


def _elongation(cells: Floats) -> Floats:
    """Return the elongation of the ink of each cell, from 0 to 1: the anisotropy of its second
    moments."""
    y, x = np.mgrid[0:CELL_HEIGHT, 0:CELL_WIDTH].astype(np.float32)
    ink = np.maximum(cells.sum((2, 3)), 1e-6)

    def moment(weights: Floats) -> Floats:
        return np.tensordot(cells, weights, 2) / ink

    mean_x, mean_y = moment(x), moment(y)
    xx, yy = moment(x * x) - mean_x**2, moment(y * y) - mean_y**2
    xy = moment(x * y) - mean_x * mean_y
    return np.hypot(xx - yy, 2 * xy) / np.maximum(xx + yy, 1e-6)


def _in_runs(equal: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the cells that belong to a run of `_STRIPE_RUN` down a column; `equal` marks cells
    that equal the cell above."""
    rows, columns = len(equal) + 1, equal.shape[1]
    in_runs = np.zeros((rows, columns), bool)
    for start in range(rows - _STRIPE_RUN + 1):
        is_run = equal[start : start + _STRIPE_RUN - 1].all(0)
        in_runs[start : start + _STRIPE_RUN] |= is_run
    return in_runs


def _cells(values: Floats) -> Floats:
    """Return a view of shape (rows, columns, 16, 8)."""
    rows, columns = values.shape[0] // CELL_HEIGHT, values.shape[1] // CELL_WIDTH
    return values.reshape(rows, CELL_HEIGHT, columns, CELL_WIDTH).transpose(0, 2, 1, 3)


def _mean(values: NDArray[Any]) -> float:
    return float(values.mean(dtype=np.float64))


def _fit(art: Floats, image: Floats) -> tuple[float, float]:
    """Fit `art` to `image` by least squares with a gain >= 0 and a free offset; return the gain and
    the mean squared error."""
    art_deviation, image_deviation = art - _mean(art), image - _mean(image)
    variance = _mean(art_deviation**2)
    gain = max(0.0, _mean(art_deviation * image_deviation) / variance) if variance > 1e-9 else 0.0
    return gain, _mean((gain * art_deviation - image_deviation) ** 2)


def _gradient(values: Floats) -> tuple[Floats, Floats]:
    """Return the forward differences along x and along y, each of shape (height - 1, width - 1)."""
    return np.diff(values, axis=1)[:-1], np.diff(values, axis=0)[:, :-1]


def _correlation(one: tuple[Floats, Floats], other: tuple[Floats, Floats]) -> float:
    def product(a: tuple[Floats, Floats], b: tuple[Floats, Floats]) -> float:
        return sum(float(np.vdot(x, y)) for x, y in zip(a, b, strict=True))

    norm = (product(one, one) * product(other, other)) ** 0.5
    return product(one, other) / norm if norm > 1e-12 else 0.0


def _halved(values: Floats) -> Floats:
    """Return the means of 2x2 blocks; an odd last row or column is dropped."""
    height, width = values.shape[0] // 2 * 2, values.shape[1] // 2 * 2
    values = values[:height, :width]
    return np.float32(0.25) * (
        values[::2, ::2] + values[1::2, ::2] + values[::2, 1::2] + values[1::2, 1::2]
    )


def _window(values: Floats) -> Floats:
    return _filtered(
        _filtered(values, _WINDOW_SIGMA, _WINDOW_TAPS).T, _WINDOW_SIGMA, _WINDOW_TAPS
    ).T


def blurred(values: Floats, sigma: float) -> Floats:
    taps = round(8 * sigma + 1) | 1  # 4 sigma on each side
    return _filtered(_filtered(values, sigma, taps).T, sigma, taps).T


def _filtered(values: Floats, sigma: float, taps: int) -> Floats:
    """Convolve along y with a Gaussian of `taps` weights. The border is mirrored, with the last row
    repeated."""
    reach = taps // 2
    weights = np.exp(-(np.arange(-reach, reach + 1) ** 2) / (2 * sigma**2))
    weights = (weights / weights.sum()).astype(np.float32)
    height = len(values)
    padded = np.pad(values, ((reach, reach), (0, 0)), mode="symmetric")
    result = weights[reach] * padded[reach : reach + height]
    pair = np.empty_like(result)
    for distance in range(1, reach + 1):
        np.add(
            padded[reach - distance : reach - distance + height],
            padded[reach + distance : reach + distance + height],
            out=pair,
        )
        pair *= weights[reach + distance]
        result += pair
    return result


def resized(pixels: Floats, height: int, width: int) -> Floats:
    """Resize to (height, width): by area averaging if neither side grows, else by cubic convolution
    (Keys 1981, a = -0.75)."""
    while (
        pixels.size > _HALVING_AREA
        and pixels.shape[0] >= 2 * height
        and pixels.shape[1] >= 2 * width
    ):
        pixels = _halved(pixels)
    weights = _area if pixels.shape[0] >= height and pixels.shape[1] >= width else _cubic
    resized = weights(pixels.shape[0], height) @ pixels @ weights(pixels.shape[1], width).T
    return np.clip(resized, 0, 1)


def _area(size: int, samples: int) -> Floats:
    """Return the weights of area averaging, shape (samples, size): each sample averages the pixels
    under it."""
    bounds = np.linspace(0, size, samples + 1)
    position = np.arange(size)
    rows = [
        np.clip(np.minimum(end, position + 1) - np.maximum(start, position), 0, 1)
        for start, end in pairwise(bounds)
    ]
    return (np.array(rows) * samples / size).astype(np.float32)


def _cubic(size: int, samples: int) -> Floats:
    """Return the weights of cubic convolution, shape (samples, size).

    The kernel is not widened for shrinking. Border pixels are repeated outwards.
    """
    a = -0.75
    weights = np.zeros((samples, size), np.float64)
    for row, centre in zip(weights, (np.arange(samples) + 0.5) * size / samples - 0.5, strict=True):
        first = int(np.floor(centre)) - 1
        for position in range(first, first + 4):
            x = abs(centre - position)
            near = (a + 2) * x**3 - (a + 3) * x**2 + 1
            far = a * (x**3 - 5 * x**2 + 8 * x - 4)
            row[min(max(position, 0), size - 1)] += near if x <= 1 else far if x < 2 else 0
    return weights.astype(np.float32)
