"""Decode an opened image to brightness, and to colour if the options ask for it, composited over a
ground.

A JPEG is decoded at a reduced size, near the one needed; other formats are decoded at full size.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Final, Self

from PIL import Image, ImageChops
from PIL.ImageFile import ImageFile

from asciist.conversion import lighting, pillow_internals
from asciist.conversion.adjusting import adjustment
from asciist.conversion.containers import Container
from asciist.conversion.damage import damaged, rejecting_damage
from asciist.conversion.ground import BLACK, WHITE, Colour, ground_of, luma_of
from asciist.conversion.header import GREY_MODES, ImageHeader
from asciist.conversion.inspection import OpenedImage
from asciist.conversion.memory import REDUCING_GAP, TILE_PIXELS
from asciist.options import AUTO, ConversionOptions

Box = tuple[float, float, float, float]
"""Left, upper, right and lower edge, in pixels."""

_UPRIGHT: Final = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""The operation that turns an image upright, by EXIF orientation."""


@dataclass(frozen=True, kw_only=True)
class DecodedImage:
    """The pixels of an image composited over its ground, as stored (before EXIF orientation)."""

    header: ImageHeader
    luma: Image.Image
    """Rec. 601 luma, mode L. For a JPEG, it may be smaller than the size in the header."""
    box: Box
    """The part of `luma` shown by the art: a reduced decode rounds the size up to whole pixels, and
    `cover` crops."""
    colour: Image.Image | None
    """Mode RGB; its size may differ from that of `luma`. None if the image has no colour or the
    options ask for none."""
    colour_box: Box
    """The part of `colour` shown by the art."""
    adjustment: Sequence[int] | None = None
    """Adjusted level for each level of a sample, 0 to 255, from `brightness` and `contrast`; None
    if they change nothing."""
    paper: Image.Image | None = None
    """Level of the paper across `box`, from `lighting.paper_of`, if samples of `luma` are to be
    evened out."""

    def by_strongest_channel(self, *, invert: bool) -> Self:
        """Return the image with its largest channel (with `invert`, the smallest) in place of luma.

        The density of a coloured character shows this channel, and its colour the rest: pure blue
        is as dense as white.
        """
        if self.colour is None:
            return self
        combine = ImageChops.darker if invert else ImageChops.lighter
        red, green, blue = self.colour.split()
        return replace(self, luma=combine(combine(red, green), blue), box=self.colour_box)

    def sample_luma(self, columns: int, rows: int, resample: Image.Resampling) -> Image.Image:
        """The upright image resized to (columns x rows) samples, mode L."""
        return self._sample(self.luma, self.box, columns, rows, resample, reducing_gap=REDUCING_GAP)

    def mean_luma(self, columns: int, rows: int) -> Image.Image:
        """The mean luma of each of (columns x rows) parts of the upright image, mode L. Imports
        numpy."""
        # Imports numpy, which not every style needs.
        from asciist.conversion import enlarging  # noqa: PLC0415

        samples = enlarging.enlarge(self.luma, self.header.as_stored(columns, rows), self.box)
        if samples is None:
            return self.sample_luma(columns, rows, Image.Resampling.BOX)
        return self._upright(samples)

    def sample_colour(self, columns: int, rows: int) -> Image.Image:
        """The mean colour of each of (columns x rows) parts of the upright image, mode RGB."""
        if self.colour is None:
            return self._sample(self.luma, self.box, columns, rows, Image.Resampling.BOX).convert(
                "RGB"
            )
        return self._sample(self.colour, self.colour_box, columns, rows, Image.Resampling.BOX)

    def _sample(
        self,
        pixels: Image.Image,
        box: Box,
        columns: int,
        rows: int,
        resample: Image.Resampling,
        *,
        reducing_gap: float | None = None,
    ) -> Image.Image:
        # Turn the samples and not the image, a copy of which would take more memory.
        samples = pixels.resize(
            self.header.as_stored(columns, rows), resample, box=box, reducing_gap=reducing_gap
        )
        return self._upright(samples)

    def _upright(self, samples: Image.Image) -> Image.Image:
        if self.paper is not None:
            samples = lighting.evened(samples, self.paper)
        if self.adjustment is not None:
            samples = samples.point([*self.adjustment] * len(samples.getbands()))
        transpose = _UPRIGHT.get(self.header.orientation)
        return samples if transpose is None else samples.transpose(transpose)


def decode(opened: OpenedImage, *, samples_per_column: int, evens_light: bool) -> DecodedImage:
    """Decode with at least `samples_per_column` pixels for each column of the art, if the image has
    them.

    With `evens_light`, a page in uneven light is evened out, unless the options ask for colour.

    It decodes in place, so call it only once. Raises DamagedImageError.
    """
    source, header = opened.source, opened.header
    columns, rows = header.decoded_grid(opened.options)
    # Rows are twice as tall as columns are wide, so the same number of samples is the lower bound
    # in both directions.
    wanted = header.as_stored(columns * samples_per_column, rows * samples_per_column)
    in_colour = opened.options.color != "none"
    if opened.container.lacks_pixels:
        raise damaged("too little data for the pixels in the header")
    with rejecting_damage():
        box = _reduce_jpeg(source, opened.container, wanted, in_colour=in_colour)
        source.load()
        if (
            pillow_internals.decoded_mode(source) != source.mode
        ):  # happens with a GIF whose frame data continues after the end of the frame
            raise damaged("decoded to another mode than announced")
        image = compose(source, header, opened.options, ground_for(source, opened.options), box)
        evens_light &= not in_colour and not source.has_transparency_data  # a ground is not paper
        if image.luma is not source:
            source.close()  # frees its pixels, which the caller's reference would keep
        return (
            replace(image, paper=lighting.paper_of(image.luma, image.box)) if evens_light else image
        )


def compose(
    source: Image.Image, header: ImageHeader, options: ConversionOptions, ground: Colour, box: Box
) -> DecodedImage:
    """Composite the pixels of a loaded image, or of a loaded frame, over a ground.

    `box` is the part of `source` that the image fills. The result may share the pixels of `source`.
    """
    if options.is_cropping:
        box = _cropped(box, header.as_stored(*_pixels_of(header.grid(options))))
    luma, colour, colour_box = _luma(source, ground), None, box
    if options.color != "none" and source.mode not in GREY_MODES:
        across, down = header.colour_reduction(options, source.size)
        colour = _colour(source, ground, across, down)
        colour_box = (box[0] / across, box[1] / down, box[2] / across, box[3] / down)
    return DecodedImage(
        header=header,
        luma=luma,
        box=box,
        colour=colour,
        colour_box=colour_box,
        adjustment=adjustment(brightness=options.brightness, contrast=options.contrast),
    )


def _reduce_jpeg(
    source: ImageFile, container: Container, wanted: tuple[int, int], *, in_colour: bool
) -> Box:
    """Set up a JPEG for decoding at 1/2, 1/4 or 1/8 of its size, but no smaller than `wanted`, from
    the necessary scans.

    libjpeg scales inside the inverse transform. Images in other formats are not changed. Returns
    the box of the decoded pixels that the image fills.
    """
    whole = (0.0, 0.0, float(source.width), float(source.height))
    draft = source.draft("RGB" if in_colour else "L", wanted)
    if draft is None:
        return whole
    box = draft[1]
    reduction = round(whole[2] / box[2])
    pillow_internals.replace_data(
        source, container.reduced_jpeg(reduction=reduction, in_colour=in_colour)
    )
    return box


def _pixels_of(grid: tuple[int, int]) -> tuple[int, int]:
    """Return the width and height of (columns, rows) of characters, in character widths."""
    return grid[0], 2 * grid[1]


def _cropped(box: Box, shape: tuple[int, int]) -> Box:
    """Return the largest centred part of `box` with the aspect ratio of `shape` (width, height)."""
    left, upper, right, lower = box
    width, height = right - left, lower - upper
    cropped_width = min(width, height * shape[0] / shape[1])
    cropped_height = min(height, width * shape[1] / shape[0])
    left, upper = left + (width - cropped_width) / 2, upper + (height - cropped_height) / 2
    return left, upper, left + cropped_width, upper + cropped_height


def ground_for(source: Image.Image, options: ConversionOptions) -> Colour:
    """Return the colour of the option `background`, `#rrggbb`, or the one that suits the loaded
    image and its art."""
    if not source.has_transparency_data:
        return BLACK
    if options.background == AUTO:
        blank = None if options.invert == AUTO else WHITE if options.invert else BLACK
        return ground_of(source, _luma, blank=blank)
    red, green, blue = bytes.fromhex(options.background[1:])
    return red, green, blue


def _colour(source: Image.Image, ground: Colour, across: int, down: int) -> Image.Image:
    """Return `source` over `ground` in mode RGB, with each (across x down) pixels averaged into
    one."""
    reduced = Image.new("RGB", (-(-source.width // across), -(-source.height // down)))
    for left, top, tile in _tiles(source, across, down):
        reduced.paste(
            _colour_over(tile, ground).reduce((across, down)), (left // across, top // down)
        )
    return reduced


def _colour_over(tile: Image.Image, ground: Colour) -> Image.Image:
    if not tile.has_transparency_data:
        return tile.convert("RGB")
    return _pasted(tile.convert("RGBA"), Image.new("RGB", tile.size, ground))


def _luma(source: Image.Image, ground: Colour) -> Image.Image:
    """Return `source` in mode L, over `ground`. Luma is linear: the luma of a mixture of colours is
    the mixture of their luma."""
    below = luma_of(ground)
    transparency = source.info.get("transparency")
    match source.mode:
        case "L" if transparency is None:
            return source
        case "P":
            return source.point(_palette_luma(source, below), "L")
        case "L" | "1" if transparency is not None:
            return source.point(
                [below if level == transparency else level for level in range(256)], "L"
            )
        case "1" | "RGB" if transparency is None:
            return source.convert("L")
        case _:
            luma = Image.new("L", source.size)
            for left, top, tile in _tiles(source):
                luma.paste(_luma_over(tile, below), (left, top))
            return luma


def _luma_over(tile: Image.Image, below: int) -> Image.Image:
    """Convert a tile in one of the modes that need intermediate copies. `below` is the luma of the
    ground."""
    transparency = tile.info.get("transparency")
    match tile.mode:
        case "I;16" | "I;16B":
            return tile.convert("I").point(_levels_of_16_bits(transparency, below), "L")
        case "RGB":
            return _pasted(tile.convert("RGBA"), Image.new("L", tile.size, below))
        case "RGBA" | "LA":
            return _pasted(tile, Image.new("L", tile.size, below))
        case _:
            return tile.convert("L")


@lru_cache(maxsize=1)
def _levels_of_16_bits(transparency: int | None, below: int) -> list[int]:
    levels = [round(level / 257) for level in range(65_536)]  # 65535 / 257 = 255
    if transparency is not None:
        levels[transparency] = below
    return levels


def _tiles(
    source: Image.Image, across: int = 1, down: int = 1
) -> Iterator[tuple[int, int, Image.Image]]:
    """Yield (left, top, tile), so that intermediate copies are small. Tiles begin at multiples of
    `across` and `down`."""
    step_across = across * max(1, min(source.width, TILE_PIXELS // down) // across)
    step_down = down * max(1, TILE_PIXELS // (step_across * down))
    for top in range(0, source.height, step_down):
        for left in range(0, source.width, step_across):
            right, bottom = (
                min(left + step_across, source.width),
                min(top + step_down, source.height),
            )
            yield left, top, source.crop((left, top, right, bottom))


def _pasted(source: Image.Image, ground: Image.Image) -> Image.Image:
    """Return `ground` with `source`, which has an alpha channel, over it. As its own mask, `source`
    needs no copy of the channel."""
    ground.paste(source.convert(ground.mode), mask=source)
    return ground


def _palette_luma(source: Image.Image, below: int) -> list[int]:
    """The luma of each of 256 palette entries, over a ground of luma `below`."""
    palette = source.convert("P") if source.palette is None else source
    entries = Image.frombytes("P", (256, 1), bytes(range(256)))
    colours = palette.getpalette("RGB") or []
    entries.putpalette(colours + [0] * (768 - len(colours)), "RGB")
    luma = entries.convert("L").tobytes()
    transparency = source.info.get("transparency")
    if isinstance(transparency, int):
        alpha = bytes(0 if entry == transparency else 255 for entry in range(256))
    else:
        alpha = (transparency or b"").ljust(256, b"\xff")
    return [
        round((level * opacity + below * (255 - opacity)) / 255)
        for level, opacity in zip(luma, alpha, strict=False)
    ]
