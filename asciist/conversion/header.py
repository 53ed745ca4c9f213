"""Properties of an image known before decoding."""

from dataclasses import dataclass
from math import ceil
from typing import Final

from asciist.formats import ImageFormat
from asciist.options import ConversionOptions

TRANSPOSED: Final = frozenset({5, 6, 7, 8})
"""EXIF orientations of images that are displayed with their width and height exchanged."""

GREY_MODES: Final = frozenset({"1", "L", "LA", "I;16", "I;16B"})
"""Pillow's modes for images without colour."""

_MAX_COLOUR_REDUCTION: Final = 64
"""Maximum pixels, in each direction, averaged into one before sampling. Larger groups would need
larger tiles."""

_ANALYSED: Final = 80
"""Maximum columns, and rows, of the grid on which an image is analysed."""

_FEW_SAMPLES: Final = 4
"""Maximum samples across a cell with two pixels for each. More would take too much memory."""


@dataclass(frozen=True, kw_only=True)
class ImageHeader:
    """Properties of an image known before decoding."""

    format: ImageFormat
    width: int
    """Pixels across, as displayed (EXIF orientation applied)."""
    height: int
    """Pixels down, as displayed."""
    orientation: int
    """EXIF orientation, 1 to 8."""

    @property
    def pixels(self) -> int:
        return self.width * self.height

    @property
    def is_transposed(self) -> bool:
        """True if the stored image is displayed with its width and height exchanged."""
        return self.orientation in TRANSPOSED

    def grid(self, options: ConversionOptions) -> tuple[int, int]:
        """(columns, rows) of the art. Characters are twice as tall as wide."""
        columns, height = options.width, options.height
        rows = max(1, columns * self.height // (2 * self.width))
        if not height or (options.fit == "contain" and rows <= height):
            return columns, rows
        if options.fit == "contain":
            return min(columns, max(1, 2 * self.width * height // self.height)), height
        return columns, height

    def uncropped_grid(self, options: ConversionOptions) -> tuple[int, int]:
        """Return (columns, rows) of the art if it showed the whole image at the same scale: larger
        than `grid` for `cover`."""
        columns, rows = self.grid(options)
        if not options.is_cropping:
            return columns, rows
        return (
            max(columns, ceil(2 * rows * self.width / self.height)),
            max(rows, ceil(columns * self.height / (2 * self.width))),
        )

    def analysis_grid(self, options: ConversionOptions) -> tuple[int, int]:
        """Return (columns, rows) of the grid on which choices for the whole image are made.

        It shows the same part of the image as the art and does not depend on the art's width, so
        that art of every width looks the same.
        """
        width, height = self.width, self.height
        if options.is_cropping:
            width, height = options.width, 2 * options.height
        if height <= 2 * width:
            return _ANALYSED, max(1, _ANALYSED * height // (2 * width))
        return max(1, _ANALYSED * 2 * width // height), _ANALYSED

    def decoded_grid(self, options: ConversionOptions) -> tuple[int, int]:
        """Return (columns, rows) for which the image must have enough pixels: those of
        `uncropped_grid`, or more for the analysis."""
        columns, rows = self.uncropped_grid(options)
        drawn, analysed = self.grid(options), self.analysis_grid(options)
        return (
            max(columns, ceil(columns * analysed[0] / drawn[0])),
            max(rows, ceil(rows * analysed[1] / drawn[1])),
        )

    def as_stored(self, columns: int, rows: int) -> tuple[int, int]:
        """Convert (columns, rows) of the displayed image to (across, down) of the image as
        stored."""
        return (rows, columns) if self.is_transposed else (columns, rows)

    def colour_reduction(
        self, options: ConversionOptions, size: tuple[int, int]
    ) -> tuple[int, int]:
        """(across, down): pixels of a stored image of `size` (width, height) to average into one
        before sampling colours.

        Leaves at least two pixels per sample in each direction if the image has them, or one if a
        cell has many samples.
        """
        columns, rows = self.uncropped_grid(options)
        cell_across, cell_down = options.colour_grid
        samples = self.as_stored(columns * cell_across, rows * cell_down)
        least = 2 if cell_across <= _FEW_SAMPLES else 1
        across, down = (
            min(_MAX_COLOUR_REDUCTION, max(1, s // (least * n)))
            for s, n in zip(size, samples, strict=True)
        )
        return across, down
