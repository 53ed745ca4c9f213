"""Supported kinds of image, and the size of the art. The art is in the style `ramp`, whose
characters show the brightness."""

import re
import struct

import pytest
from PIL import Image

from asciist.conversion import ConversionOptions, open_image
from asciist.errors import BadOptionError
from asciist.formats import PNG
from asciist.limits import Limits
from asciist.options import AUTO
from tools.testing.drawing import convert
from tools.testing.hostile import (
    encoded,
    exif,
    gradient,
    png_chunk,
    with_jpeg_segments,
    with_png_chunks,
)
from tools.testing.images import FORMATS


def art(image: bytes, width: int = 16, *, background: str = AUTO) -> str:
    return convert(
        image, ConversionOptions(width=width, style="ramp", background=background), Limits()
    )


def shape(text: str) -> tuple[int, int]:
    lines = text.split("\n")
    assert len({len(line) for line in lines}) == 1
    return len(lines[0]), len(lines)


def ends(image: bytes, *, background: str = AUTO) -> str:
    """Return the first and the last character of a row, away from its middle, where the Lanczos
    filter rings."""
    row = art(image, 8, background=background).split("\n")[1]
    return row[0] + row[-1]


def halves(left: tuple[int, ...] | int, right: tuple[int, ...] | int, mode: str) -> Image.Image:
    """An image with a left and a right half of one colour each."""
    image = Image.new(mode, (64, 64), left)
    image.paste(right, (32, 0, 64, 64))
    return image


@pytest.mark.parametrize("image_format", FORMATS)
def test_each_supported_format_is_converted(image_format: str) -> None:
    assert art(encoded(gradient(64, 64), image_format), 4) == "::::\n####"


def test_the_ramp_goes_from_black_to_white() -> None:
    ramp = Image.linear_gradient("L").rotate(90).resize((1000, 200))

    assert "".join(dict.fromkeys(art(encoded(ramp, "PNG"), 100).split("\n")[0])) == " .:-=+*#%@"


@pytest.mark.parametrize(
    ("size", "width", "expected"),
    [
        ((300, 200), 80, (80, 26)),  # 80 * 200 / 300 / 2 = 26.67, rounded down
        ((100, 100), 1, (1, 1)),
        ((640, 480), 80, (80, 30)),
        ((640, 480), 1000, (1000, 375)),
        ((3000, 1), 80, (80, 1)),
        ((1, 3000), 3, (3, 4500)),
        ((1, 1), 7, (7, 3)),
    ],
)
def test_the_aspect_ratio_assumes_characters_twice_as_tall_as_wide(
    size: tuple[int, int], width: int, expected: tuple[int, int]
) -> None:
    assert shape(art(encoded(gradient(*size), "PNG"), width)) == expected


def test_a_thin_strip_is_converted_unless_its_art_is_too_large() -> None:
    strip = encoded(gradient(1, 400), "PNG")

    assert shape(art(strip, 12)) == (12, 2400)
    for width, message in ((80, "too many for so few pixels"), (1000, "choose a smaller width")):
        with pytest.raises(BadOptionError, match=message):
            open_image(strip, ConversionOptions(width=width), Limits())


def test_alpha_is_composited_over_black() -> None:
    half_white = halves((255, 255, 255, 128), (255, 255, 255, 0), "RGBA")

    assert ends(encoded(half_white, "PNG")) == "+ "
    assert ends(encoded(half_white, "WEBP", lossless=True)) == "+ "
    assert ends(encoded(half_white.convert("LA"), "PNG")) == "+ "


def test_a_transparent_palette_entry_is_black() -> None:
    image = halves(1, 2, "P")
    image.putpalette([0, 0, 0, 255, 255, 255, 255, 255, 255])

    assert ends(encoded(image, "PNG")) == "@@"
    assert ends(encoded(image, "PNG", transparency=2)) == "@ "
    assert ends(encoded(image, "PNG", transparency=b"\xff\x80\xff")) == "+@"
    assert ends(encoded(image, "GIF", transparency=2)) == "@ "


def test_a_transparent_colour_is_the_background() -> None:
    for image, transparency in (
        (halves(200, 255, "L"), 255),
        (halves((200, 200, 200), (255, 255, 255), "RGB"), (255, 255, 255)),
        (halves(51_400, 65_535, "I;16"), 65_535),
    ):
        assert ends(encoded(image, "PNG", transparency=transparency), background="#000000") == "# "
    assert ends(encoded(halves(0, 255, "1"), "PNG", transparency=255), background="#000000") == "  "


def test_16_bit_levels_are_scaled_not_clipped() -> None:
    assert ends(encoded(halves(32_896, 65_535, "I;16"), "PNG")) == "+@"  # 32896 = 128 * 257


def test_1_bit_images_are_black_and_white() -> None:
    assert ends(encoded(halves(0, 1, "1"), "PNG")) == " @"
    assert ends(encoded(halves(0, 1, "1"), "BMP")) == " @"


def test_cmyk_black_ink_is_dark() -> None:
    assert ends(encoded(halves((0, 0, 0, 0), (0, 0, 0, 255), "CMYK"), "JPEG")) == "@ "


def test_brightness_is_rec_601_luma() -> None:
    # 0.299 and 0.587 of ten levels
    assert ends(encoded(halves((255, 0, 0), (0, 255, 0), "RGB"), "PNG")) == ":+"
    # 0.114 and 0.886
    assert ends(encoded(halves((0, 0, 255), (255, 255, 0), "RGB"), "PNG")) == ".%"


def test_only_the_first_frame_of_an_animation_is_drawn() -> None:
    white, black = Image.new("L", (32, 32), 255), Image.new("L", (32, 32), 0)
    for image_format, options in (
        ("GIF", {}),
        ("WEBP", {"lossless": True}),
        ("PNG", {}),
        ("TIFF", {}),
        ("AVIF", {}),
    ):
        animation = encoded(
            white, image_format, save_all=True, append_images=[black, white], **options
        )
        assert ends(animation) == "@@"


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_turns_the_art_upright(orientation: int, order: str) -> None:
    # A wide image with a bright upper left quarter, stored in the given orientation.
    upright = Image.new("L", (64, 32), 0)
    upright.paste(255, (0, 0, 32, 16))
    turns = [None, 0, 3, 1, 5, 2, 6, 4]  # Image.Transpose members that store orientations 1 to 8
    turn = turns[orientation - 1]
    stored = upright if turn is None else upright.transpose(Image.Transpose(turn))
    block = exif(orientation, order)

    def is_upright(image: bytes) -> bool:
        return [
            line.rstrip(" .") for line in re.sub(r"[^ .\n]", "@", art(image, 8)).split("\n")
        ] == ["@@@@", ""]

    png = encoded(stored, "PNG")
    assert is_upright(png[:33] + png_chunk(b"eXIf", block) + png[33:])
    assert is_upright(encoded(stored, "JPEG", exif=b"Exif\0\0" + block, quality=95))
    assert is_upright(
        encoded(stored.convert("RGB"), "WEBP", exif=b"Exif\0\0" + block, lossless=True)
    )
    assert is_upright(encoded(stored, "TIFF", tiffinfo={0x0112: orientation}))
    turned = Image.Exif()
    turned[0x0112] = orientation
    assert is_upright(encoded(stored, "AVIF", exif=turned, speed=10))


@pytest.mark.parametrize("orientation", [0, 9, 65_535])
def test_an_invalid_orientation_is_ignored(orientation: int) -> None:
    assert art(with_png_chunks(png_chunk(b"eXIf", exif(orientation)))) == art(
        encoded(gradient(), "PNG")
    )
    segment = (
        b"\xff\xe1"
        + struct.pack(">H", 8 + len(exif(orientation)))
        + b"Exif\0\0"
        + exif(orientation)
    )
    assert art(with_jpeg_segments(segment)) == art(encoded(gradient(), "JPEG"))


def test_a_width_out_of_range_raises_bad_option_error() -> None:
    for width in (0, -1, 1001, 10**9):
        with pytest.raises(BadOptionError, match="whole number from 1 to 1000"):
            art(encoded(gradient(), "PNG"), width)


def test_an_unknown_style_raises_bad_option_error() -> None:
    with pytest.raises(BadOptionError, match="style must be one of: structure, ramp"):
        convert(encoded(gradient(), "PNG"), ConversionOptions(width=5, style="oil"), Limits())


def test_a_header_is_read_without_decoding_a_pixel() -> None:
    # All pixels are missing, which only decoding would detect.
    png = encoded(gradient(300, 200), "PNG")
    header = open_image(png[: png.index(b"IDAT") + 8], ConversionOptions(width=80), Limits()).header

    assert (header.format, header.width, header.height) == (PNG, 300, 200)
