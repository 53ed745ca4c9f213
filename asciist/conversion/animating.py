"""Draw the frames of an animation, redrawing only cells where the image changes.

The frames are decoded one at a time. Choices for an image as a whole (polarity, tone curve, ground)
are made once for all frames. A cell is redrawn when its samples differ visibly from those of its
last drawing: noise does not make it flicker, and a slow change adds up until it shows.
docs/decisions/0044-animations.md explains why.

Requires numpy, and is imported for animations only.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import prod
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from asciist.art import Art, Frame, Movement
from asciist.conversion import decoding, painting, pillow_internals, polarity
from asciist.conversion.containers import AnimatedFile, find_frames
from asciist.conversion.damage import damaged, rejecting_damage
from asciist.conversion.decoding import DecodedImage
from asciist.conversion.header import ImageHeader
from asciist.conversion.inspection import open_image
from asciist.conversion.memory import MAX_ANIMATED_CELLS, StoredImage, animation_bytes
from asciist.conversion.rendering import RENDERERS
from asciist.errors import DamagedImageError, TooManyPixelsError, sentences
from asciist.limits import Limits
from asciist.options import AUTO, STYLES, ConversionOptions

MAX_PIXELS: Final = 24_000_000
"""Maximum pixels of all decoded frames, each as large as the canvas: 78 frames of 640x480, or 185
of 480x270."""
_MAX_ANALYSED: Final = 8
"""Maximum frames for the choices made once for all frames."""

_ACROSS, _DOWN = 2, 4
"""Parts of a cell compared with those of its last drawing."""
_VISIBLE: Final = 16
"""Minimum difference of a part, in levels of luma or of a colour channel, that redraws a cell.
Smaller differences are compression noise."""


@dataclass(frozen=True, kw_only=True)
class OpenedAnimation:
    """An animation within the limits, ready to be drawn with `options`."""

    file: AnimatedFile
    canvas: tuple[int, int]
    """(width, height) in pixels, as stored."""
    header: ImageHeader
    options: ConversionOptions
    count: int
    """Number of frames within the bounds, from the first: at least two."""
    memory_bytes: int
    """Estimated peak memory of decoding the frames and drawing their art, in bytes."""

    @property
    def pixels(self) -> int:
        """Total pixels of the drawn frames."""
        return self.count * self.header.pixels

    def frames(self) -> Iterator[DecodedImage]:
        """Decode the frames, each valid until the next one. A damaged frame ends the animation.

        Raises DamagedImageError if the first frame is damaged.
        """
        try:
            with rejecting_damage():
                source = pillow_internals.open_animation(
                    self.file.format, self.file.first(self.count)
                )
        except DamagedImageError as error:
            raise self._unreadable(error) from error
        ground = None
        box = (0.0, 0.0, float(self.canvas[0]), float(self.canvas[1]))
        for number in range(self.count):
            try:
                with rejecting_damage():
                    source.seek(number)
                    source.load()
                    if (
                        source.size != self.canvas
                        or pillow_internals.decoded_mode(source) != source.mode
                    ):
                        raise damaged("a frame of another size or mode than announced")
                    if ground is None:
                        ground = decoding.ground_for(source, self.options)
                    frame = decoding.compose(source, self.header, self.options, ground, box)
            except DamagedImageError as error:
                if number == 0:
                    raise self._unreadable(error) from error
                return
            yield frame

    def _unreadable(self, error: DamagedImageError) -> DamagedImageError:
        """The error for a damaged first frame."""
        sentence = self.file.format.unreadable_frames
        return DamagedImageError(sentence, detail=str(error)) if sentence else error


def open_animation(
    image: bytes, options: ConversionOptions, limits: Limits
) -> OpenedAnimation | None:
    """Check an image and its animation against the limits. None if it has fewer than two frames
    that can be drawn.

    Raises the errors of `open_image`, and DamagedImageError if the frames of an AVIF cannot be
    read.
    """
    opened = open_image(image, options, limits)
    canvas = opened.source.size
    file = find_frames(image, opened.header.format, canvas)
    if file is None:
        return None
    columns, rows = opened.header.grid(options)
    most = min(
        opened.header.format.max_frames,
        file.frames_within(MAX_PIXELS // (canvas[0] * canvas[1])),
        MAX_ANIMATED_CELLS // (columns * rows),
    )
    # The frame after the first is drawn in any case; both are within the limits of a still image.
    count = min(len(file.frames), max(2, most))
    stored = StoredImage(
        *canvas, mode="RGBA", has_transparency=True, decoder_bytes=file.decoder_bytes
    )
    analysed_cells = prod(opened.header.analysis_grid(options))
    memory_bytes = animation_bytes(
        stored,
        opened.header,
        options,
        file_bytes=len(image),
        samples=_MAX_ANALYSED * analysed_cells * prod(STYLES[options.style].grid),
    )
    if memory_bytes > limits.max_conversion_bytes:
        raise TooManyPixelsError(
            sentences.too_large_animation(
                *canvas, columns=columns, needed=memory_bytes, limit=limits.max_conversion_bytes
            )
        )
    return OpenedAnimation(
        file=file,
        canvas=canvas,
        header=opened.header,
        options=options,
        count=count,
        memory_bytes=memory_bytes,
    )


def draw(animation: OpenedAnimation) -> Art:
    """Draw the frames, merging equal ones. Raises DamagedImageError."""
    options, tuning = _choose(animation)
    cells = _Cells(options, tuning)
    frames: list[Frame] = []
    shown_frames = 0
    for image, encoded in zip(animation.frames(), animation.file.frames, strict=False):
        shown_frames += 1
        drawn = cells.draw(image)
        if drawn is not None and not (frames and drawn == replace(frames[-1], milliseconds=0)):
            frames.append(replace(drawn, milliseconds=encoded.milliseconds))
        else:
            longer = frames[-1].milliseconds + encoded.milliseconds
            frames[-1] = replace(frames[-1], milliseconds=longer)
    movement = Movement(
        plays=animation.file.plays,
        shown_frames=shown_frames,
        image_frames=len(animation.file.frames),
    )
    return Art(frames=frames, is_light=options.invert is True, movement=movement)


def _choose(animation: OpenedAnimation) -> tuple[ConversionOptions, Any]:
    """Return the options with `auto` resolved, and the renderer's choice for all frames."""
    options = animation.options
    renderer = RENDERERS[options.style]
    is_tuned = renderer.is_tuned and options.colours != 2
    if not is_tuned and options.invert != AUTO:
        return options, None
    candidates = (
        [replace(options, invert=invert) for invert in (False, True)]
        if options.invert == AUTO
        else [options]
    )
    analysed: list[list[Image.Image]] = [[] for _ in candidates]
    grid = animation.header.analysis_grid(options)
    histogram = [0] * 256
    # The first frame, which may be the only undamaged one, and others, spread evenly.
    count = min(_MAX_ANALYSED, animation.count)
    chosen = {number * animation.count // count for number in range(count)}
    for number, image in enumerate(animation.frames()):
        if number in chosen:
            histogram = [sum(pair) for pair in zip(histogram, image.luma.histogram(), strict=True)]
            for candidate, frames in zip(candidates, analysed, strict=True):
                if is_tuned:
                    frames.append(renderer.sample(_drawn(image, candidate), candidate, grid))
        if number >= max(chosen):
            break
    best = 1 if options.invert == AUTO and polarity.has_dark_details(histogram) else 0
    return candidates[best], renderer.tune(analysed[best], candidates[best]) if is_tuned else None


def _drawn(image: DecodedImage, options: ConversionOptions) -> DecodedImage:
    """Return the image whose brightness is drawn."""
    return (
        image
        if options.color == "none"
        else image.by_strongest_channel(invert=options.invert is True)
    )


class _Cells:
    """The cells of the current frame."""

    def __init__(self, options: ConversionOptions, tuning: Any) -> None:
        self._options: Final = options
        self._tuning: Final = tuning
        self._parts: NDArray[np.int16] | None = None
        """(rows, _DOWN, columns, _ACROSS, channels): samples of each cell's last drawing."""
        self._characters: NDArray[np.uint32] | None = None
        """(rows, columns): code points."""
        self._colours: NDArray[np.uint8] | None = None
        """(rows, colours, columns, channels)"""

    def draw(self, image: DecodedImage) -> Frame | None:
        """Redraw the visibly changed cells, and return the whole frame; None without a change."""
        options = self._options
        grid = image.header.grid(options)
        parts = _parts_of(image, options, grid)
        if self._parts is None:
            changed = np.ones((grid[1], grid[0]), np.bool_)
        else:
            changed = (np.abs(parts - self._parts) >= _VISIBLE).any(axis=(1, 3, 4))
            if not changed.any():
                return None
        art, colours = self._draw_all(image, grid)
        if self._parts is None or self._characters is None:
            self._parts, self._characters, self._colours = parts, art, colours
        else:
            self._parts = np.where(
                changed[:, np.newaxis, :, np.newaxis, np.newaxis], parts, self._parts
            )
            self._characters = np.where(changed, art, self._characters)
            if colours is not None and self._colours is not None:
                self._colours = np.where(
                    changed[:, np.newaxis, :, np.newaxis], colours, self._colours
                )
        return self._frame()

    def _draw_all(
        self, image: DecodedImage, grid: tuple[int, int]
    ) -> tuple[NDArray[np.uint32], NDArray[np.uint8] | None]:
        options = self._options
        columns, rows = grid
        colours: Image.Image | None = None
        if options.colours == 2:
            art, colours = painting.paint(image, options)
        else:
            renderer = RENDERERS[options.style]
            sampled = renderer.sample(_drawn(image, options), options, grid)
            art = renderer.draw(sampled, options, self._tuning)
            if options.colours:
                colours = image.sample_colour(columns, rows)
        code_points = np.frombuffer(art.replace("\n", "").encode("utf-32-le"), "<u4").reshape(
            rows, columns
        )
        return code_points, None if colours is None else np.asarray(colours).reshape(
            rows, -1, columns, 3
        )

    def _frame(self) -> Frame:
        assert self._characters is not None  # noqa: S101 - called after a frame is drawn
        rows = self._characters.astype("<u4")
        return Frame(
            text="\n".join(row.tobytes().decode("utf-32-le") for row in rows),
            colours=b"" if self._colours is None else self._colours.tobytes(),
        )


def _parts_of(
    image: DecodedImage, options: ConversionOptions, grid: tuple[int, int]
) -> NDArray[np.int16]:
    """Return (rows, _DOWN, columns, _ACROSS, channels): the mean of each part of each cell."""
    columns, rows = grid
    across, down = _ACROSS * columns, _DOWN * rows
    sampled = (
        image.sample_luma(across, down, Image.Resampling.BOX)
        if options.color == "none"
        else image.sample_colour(across, down)
    )
    parts: NDArray[np.int16] = (
        np.asarray(sampled).astype(np.int16).reshape(rows, _DOWN, columns, _ACROSS, -1)
    )
    return parts
