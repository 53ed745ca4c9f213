"""From an opened image to its pixels over black: brightness, and colour where it is wanted, at a size near the one needed."""

from dataclasses import dataclass
from typing import Final

from PIL import Image, ImageChops

from asciist.conversion.containers import damaged
from asciist.conversion.inspection import ImageHeader, OpenedImage, rejecting_damage

_UPRIGHT: Final = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""How to turn an image of each EXIF orientation upright."""


@dataclass(frozen=True, kw_only=True)
class DecodedImage:
    """The pixels of an image composited over black, as stored (before EXIF orientation)."""

    header: ImageHeader
    luma: Image.Image
    """Rec. 601 luma, mode L. May be smaller than the header says: decoders that can, decode at a reduced size."""
    colour: Image.Image | None
    """Mode RGB, of the same size; only where the options ask for colour."""
    box: tuple[float, float, float, float]
    """The part of `luma` that the image fills; a reduced decode rounds its size up."""

    def sample_luma(self, columns: int, rows: int, resample: Image.Resampling) -> Image.Image:
        """The upright image as (columns x rows) samples, mode L."""
        return self._sample(self.luma, columns, rows, resample)

    def sample_colour(self, columns: int, rows: int) -> Image.Image:
        """The mean colour of each of (columns x rows) parts of the upright image, mode RGB."""
        return self._sample(self.colour or self.luma.convert("RGB"), columns, rows, Image.Resampling.BOX)

    def _sample(self, pixels: Image.Image, columns: int, rows: int, resample: Image.Resampling) -> Image.Image:
        turned = self.header.orientation >= 5
        size = (rows, columns) if turned else (columns, rows)
        # Turning the few samples costs nothing; turning the image would cost a copy of it.
        samples = pixels.resize(size, resample, box=self.box)
        transpose = _UPRIGHT.get(self.header.orientation)
        return samples if transpose is None else samples.transpose(transpose)


def decode(opened: OpenedImage, *, samples_per_column: int) -> DecodedImage:
    """Decode with at least `samples_per_column` pixels across each column of the art, where the image has them.

    Decodes in place, so once only. Raises DamagedImageError.
    """
    source, header = opened.source, opened.header
    columns, rows = header.grid(opened.options.width)
    # a character is twice as tall as wide, so twice the samples of a column down each row would be square; the same
    # number keeps at least that many in both directions
    wanted = (columns * samples_per_column, rows * samples_per_column)
    if header.orientation >= 5:
        wanted = (wanted[1], wanted[0])
    in_colour = opened.options.color != "none"
    box = (0.0, 0.0, float(source.width), float(source.height))
    with rejecting_damage():
        # JPEG only: libjpeg scales by 1/2, 1/4 or 1/8 inside the inverse transform
        draft = source.draft("RGB" if in_colour else "L", wanted)
        if draft is not None:
            box = draft[1]
        source.load()
        if source.im.mode != source.mode:  # seen of a GIF whose frame data goes on past its end
            raise damaged("its decoder contradicts itself")
        return DecodedImage(header=header, luma=_luma(source), colour=_colour(source) if in_colour else None, box=box)


def _colour(source: Image.Image) -> Image.Image:
    """`source` in mode RGB, over black."""
    if source.mode == "I;16":
        return _luma(source).convert("RGB")
    if not source.has_transparency_data:
        return source.convert("RGB")
    opaque = source.convert("RGBA")
    black = Image.new("RGBA", opaque.size, (0, 0, 0, 255))
    return Image.alpha_composite(black, opaque).convert("RGB")


def _luma(source: Image.Image) -> Image.Image:
    """`source` in mode L, over black. Since luma is linear, luma(alpha * colour) = alpha * luma(colour)."""
    transparency = source.info.get("transparency")
    match source.mode:
        case "L" if transparency is None:
            return source
        case "P":
            return source.point(_palette_luma(source), "L")
        case "L" | "1" if transparency is not None:
            return source.convert("L").point([0 if level == transparency else level for level in range(256)])
        case "I;16":
            levels = [round(level / 257) for level in range(65_536)]  # 65535 / 257 = 255
            if transparency is not None:
                levels[transparency] = 0
            return source.convert("I").point(levels, "L")
        case "RGB" if transparency is not None:
            return _over_black(source.convert("RGBA"))
        case "RGBA" | "LA":
            return _over_black(source)
        case _:
            return source.convert("L")


def _over_black(source: Image.Image) -> Image.Image:
    return ImageChops.multiply(source.convert("L"), source.getchannel("A"))


def _palette_luma(source: Image.Image) -> list[int]:
    """The luma of each of 256 palette entries, over black."""
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
    return [round(level * opacity / 255) for level, opacity in zip(luma, alpha, strict=False)]
