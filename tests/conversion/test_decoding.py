"""Decoding: the selection of JPEG scans, and colours composited over black."""

import re
from io import BytesIO

import pytest
from PIL import Image, ImageChops

from asciist.conversion import ConversionOptions, decode, open_image
from asciist.conversion.containers import unpack
from asciist.errors import DamagedImageError
from asciist.limits import Limits
from tests.conversion.memory import peak_bytes
from tools.testing.drawing import convert
from tools.testing.hostile import encoded, exif, gradient, png_chunk

RED, GREEN, BLUE, BLACK = (255, 0, 0), (0, 255, 0), (0, 0, 255), (0, 0, 0)


def photograph(width: int = 800, height: int = 600, mode: str = "RGB") -> Image.Image:
    """Return an image with detail in every block and every channel."""
    fractal = Image.effect_mandelbrot((width, height), (-2.2, -1.2, 1.0, 1.2), 60)
    channels = (
        fractal,
        fractal.transpose(Image.Transpose.ROTATE_180),
        gradient(width, height, "L"),
    )
    return Image.merge("RGB", channels).convert(mode)


def progressive(image: Image.Image, **options: object) -> bytes:
    return encoded(image, "JPEG", progressive=True, quality=85, **options)


def reduced(jpeg: bytes, reduction: int, mode: str = "L") -> Image.Image:
    """Return `jpeg` decoded by libjpeg at 1/`reduction` of its size."""
    image = Image.open(BytesIO(jpeg))
    image.draft(mode, (image.width // reduction, image.height // reduction))
    image.load()
    return image


def selected(jpeg: bytes, reduction: int, *, in_colour: bool = False) -> bytes:
    return unpack(jpeg).reduced_jpeg(reduction=reduction, in_colour=in_colour)


def largest_difference(one: Image.Image, other: Image.Image) -> int:
    assert (one.size, one.mode) == (other.size, other.mode)
    return max(band.getextrema()[1] for band in ImageChops.difference(one, other).split())


def scan_offsets(jpeg: bytes) -> list[int]:
    return [match.start() for match in re.finditer(rb"\xff\xda", jpeg)]


def one_scan_per_component(jpeg: bytes) -> bytes:
    """Rewrite a grey baseline JPEG to have three components in separate scans, each with the same
    data."""
    frame, scan = jpeg.index(b"\xff\xc0"), jpeg.index(b"\xff\xda")
    entropy = jpeg[scan + 10 : -2]
    three = (
        b"\xff\xc0\0\x11"
        + jpeg[frame + 4 : frame + 9]
        + b"\3"
        + b"".join(bytes([n, 0x11, 0]) for n in (1, 2, 3))
    )
    scans = b"".join(b"\xff\xda\0\x08\1" + bytes([n, 0, 0, 63, 0]) + entropy for n in (1, 2, 3))
    return jpeg[:frame] + three + jpeg[frame + 13 : scan] + scans + b"\xff\xd9"


@pytest.mark.parametrize("subsampling", [0, 1, 2])
@pytest.mark.parametrize("size", [(800, 600), (801, 607), (16, 9)])
def test_at_an_eighth_of_the_size_brightness_equals_that_of_all_scans(
    size: tuple[int, int], subsampling: int
) -> None:
    jpeg = progressive(photograph(*size), subsampling=subsampling)

    assert largest_difference(reduced(selected(jpeg, 8), 8), reduced(jpeg, 8)) == 0


def test_a_reduced_decode_omits_most_of_a_progressive_jpeg() -> None:
    jpeg = progressive(photograph())

    assert len(selected(jpeg, 8)) < 0.3 * len(jpeg)
    assert len(selected(jpeg, 8)) < len(selected(jpeg, 4)) < 0.6 * len(jpeg)
    assert len(selected(jpeg, 4)) < len(selected(jpeg, 1))


def test_at_a_quarter_of_the_size_brightness_is_close_to_that_of_all_scans() -> None:
    jpeg = progressive(photograph())
    difference = ImageChops.difference(reduced(selected(jpeg, 4), 4), reduced(jpeg, 4)).histogram()

    # 38 dB
    assert (
        sum(count * level**2 for level, count in enumerate(difference)) / sum(difference)
        < 255**2 / 10**3.8
    )


@pytest.mark.parametrize("reduction", [1, 2])
def test_at_half_and_full_size_brightness_equals_that_of_all_scans(reduction: int) -> None:
    jpeg = progressive(photograph())

    assert (
        largest_difference(reduced(selected(jpeg, reduction), reduction), reduced(jpeg, reduction))
        == 0
    )
    assert len(selected(jpeg, reduction)) < len(jpeg)  # scans of chroma alone are left out


@pytest.mark.parametrize("subsampling", [0, 2])
def test_colours_of_a_reduced_progressive_jpeg_are_close(subsampling: int) -> None:
    jpeg = progressive(photograph(2640, 1980), subsampling=subsampling)
    kept = selected(jpeg, 8, in_colour=True)

    assert largest_difference(reduced(kept, 8, "RGB"), reduced(jpeg, 8, "RGB")) <= 40
    assert art_of(kept, 20) == art_of(jpeg, 20)


def art_of(jpeg: bytes, width: int) -> str:
    return convert(jpeg, ConversionOptions(width=width), Limits())


@pytest.mark.parametrize("mode", ["CMYK", "L"])
@pytest.mark.parametrize("in_colour", [False, True])
def test_other_colour_spaces_keep_all_their_components(mode: str, in_colour: bool) -> None:
    jpeg = progressive(photograph(mode=mode))

    assert (
        largest_difference(reduced(selected(jpeg, 8, in_colour=in_colour), 8), reduced(jpeg, 8))
        == 0
    )


@pytest.mark.parametrize("in_colour", [False, True])
def test_an_rgb_jpeg_keeps_all_three_components(in_colour: bool) -> None:
    jpeg = progressive(photograph(), keep_rgb=True)

    assert (
        largest_difference(reduced(selected(jpeg, 8, in_colour=in_colour), 8), reduced(jpeg, 8))
        == 0
    )


def test_brightness_needs_only_the_first_of_three_sequential_scans() -> None:
    grey = encoded(photograph(mode="L"), "JPEG")
    jpeg = one_scan_per_component(grey)

    assert len(selected(jpeg, 8)) < len(jpeg) / 2
    assert largest_difference(reduced(selected(jpeg, 8), 8), reduced(grey, 8)) == 0
    assert selected(jpeg, 8, in_colour=True).count(b"\xff\xda") == 3


def test_a_baseline_jpeg_without_metadata_is_unchanged() -> None:
    jpeg = encoded(photograph(), "JPEG")

    assert selected(jpeg, 8) == jpeg


def test_restart_intervals_do_not_end_a_scan() -> None:
    jpeg = progressive(photograph(), restart_marker_rows=1)

    assert re.search(rb"\xff[\xd0-\xd7]", jpeg)
    assert largest_difference(reduced(selected(jpeg, 8), 8), reduced(jpeg, 8)) == 0


@pytest.mark.parametrize("part", [0.05, 0.2, 0.5, 0.9, 0.99])
def test_a_truncated_progressive_jpeg_is_damaged(part: float) -> None:
    jpeg = progressive(photograph())

    with pytest.raises(DamagedImageError):
        art_of(jpeg[: int(part * len(jpeg))], 20)


def test_a_repeated_scan_is_decoded_once() -> None:
    jpeg = progressive(photograph())
    first, second = scan_offsets(jpeg)[:2]
    repeated = jpeg[:second] + jpeg[first:second] * 300 + jpeg[second:]
    tables = len(jpeg[first:second]) * 24  # upper bound of the code tables between scans

    assert len(selected(repeated, 8)) < len(selected(jpeg, 8)) + tables
    assert selected(repeated, 8).count(jpeg[first : first + 14]) == 1
    art_of(repeated, 20)


def colours(image: bytes, columns: int, rows: int, **options: object) -> list[tuple[int, int, int]]:
    """Return (columns x rows) colours sampled from an image over black, by row."""
    opened = open_image(
        image,
        ConversionOptions(width=columns, color="ansi", background="#000000", **options),
        Limits(),
    )
    samples = decode(opened).sample_colour(columns, rows)
    assert (samples.mode, samples.size) == ("RGB", (columns, rows))
    data = samples.tobytes()
    return [(data[at], data[at + 1], data[at + 2]) for at in range(0, len(data), 3)]


def halves(mode: str, left: object, right: object, size: int = 64) -> Image.Image:
    image = Image.new(mode, (size, size), left)
    image.paste(right, (size // 2, 0, size, size))
    return image


@pytest.mark.parametrize(
    ("mode", "left", "right", "save", "expected"),
    [
        ("RGB", RED, BLUE, {}, [RED, BLUE]),
        ("RGB", RED, BLUE, {"transparency": BLUE}, [RED, BLACK]),
        ("RGBA", (*RED, 255), (*GREEN, 0), {}, [RED, BLACK]),
        ("RGBA", (*RED, 128), (0, 100, 200, 51), {}, [(128, 0, 0), (0, 20, 40)]),
        ("L", 200, 100, {}, [(200,) * 3, (100,) * 3]),
        ("L", 200, 100, {"transparency": 100}, [(200,) * 3, BLACK]),
        ("LA", (200, 255), (200, 51), {}, [(200,) * 3, (40,) * 3]),
        ("1", 1, 0, {}, [(255,) * 3, BLACK]),
        ("I;16", 32_896, 65_535, {}, [(128,) * 3, (255,) * 3]),
        ("I;16", 32_896, 65_535, {"transparency": 65_535}, [(128,) * 3, BLACK]),
    ],
)
def test_colours_are_composited_over_black(
    mode: str,
    left: object,
    right: object,
    save: dict[str, object],
    expected: list[tuple[int, int, int]],
) -> None:
    for size in (2, 64, 768):  # unreduced, reduced, and reduced tile by tile
        assert colours(encoded(halves(mode, left, right, size), "PNG", **save), 2, 1) == expected


@pytest.mark.parametrize(
    ("transparency", "expected"),
    [(None, [RED, GREEN]), (2, [RED, BLACK]), (b"\xff\x80\x33", [(128, 0, 0), (0, 51, 0)])],
)
def test_colours_of_a_palette(transparency: object, expected: list[tuple[int, int, int]]) -> None:
    image = halves("P", 1, 2)
    image.putpalette([*BLUE, *RED, *GREEN])
    save = {} if transparency is None else {"transparency": transparency}

    assert colours(encoded(image, "PNG", **save), 2, 1) == expected
    if not isinstance(transparency, bytes):
        assert colours(encoded(image, "GIF", **save), 2, 1) == expected


def close(
    found: list[tuple[int, int, int]], expected: list[tuple[int, int, int]], tolerance: int = 3
) -> bool:
    return all(
        abs(a - b) <= tolerance
        for one, other in zip(found, expected, strict=True)
        for a, b in zip(one, other, strict=True)
    )


@pytest.mark.parametrize(
    "options", [{}, {"progressive": True}, {"subsampling": 0}, {"keep_rgb": True}]
)
def test_colours_of_a_jpeg(options: dict[str, object]) -> None:
    assert close(colours(encoded(halves("RGB", RED, BLUE), "JPEG", **options), 2, 1), [RED, BLUE])


def test_colours_of_a_cmyk_and_a_grey_jpeg() -> None:
    ink = halves("CMYK", (0, 255, 255, 0), (0, 0, 0, 255))
    assert close(colours(encoded(ink, "JPEG"), 2, 1), [RED, BLACK])
    assert close(colours(encoded(halves("L", 200, 100), "JPEG"), 2, 1), [(200,) * 3, (100,) * 3])


def test_colours_of_a_webp_and_a_bmp() -> None:
    assert close(
        colours(encoded(halves("RGBA", (*RED, 128), (*BLUE, 255)), "WEBP", lossless=True), 2, 1),
        [(128, 0, 0), BLUE],
    )
    assert colours(encoded(halves("RGB", RED, BLUE), "BMP"), 2, 1) == [RED, BLUE]


@pytest.mark.parametrize("size", [(8, 4), (768, 384), (767, 385)])
def test_colours_of_a_rotated_image_are_upright(size: tuple[int, int]) -> None:
    stored = Image.new("RGB", size, RED)
    # left red, right blue; EXIF orientation 6 rotates it 90 degrees clockwise
    stored.paste(BLUE, (size[0] // 2, 0, *size))
    png = encoded(stored, "PNG")

    rotated = colours(png[:33] + png_chunk(b"eXIf", exif(6)) + png[33:], 1, 2, style="ramp")
    assert close(rotated, [RED, BLUE])


def test_transparent_pixels_do_not_bleed_into_their_neighbours() -> None:
    image = Image.new("RGBA", (64, 64), (*GREEN, 0))
    for x in range(0, 64, 2):
        image.paste((*RED, 255), (x, 0, x + 1, 64))

    assert close(colours(encoded(image, "PNG"), 1, 1), [(128, 0, 0)], tolerance=1)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("image_format", "mode", "size", "options"),
    [
        ("JPEG", "RGB", (4700, 4100), {"progressive": True, "subsampling": 0}),
        *(
            pytest.param(*image, marks=pytest.mark.nightly)
            for image in (
                ("PNG", "RGBA", (5400, 5200), {"compress_level": 1}),
                ("WEBP", "RGB", (4032, 3024), {"lossless": True, "quality": 0, "method": 0}),
                ("GIF", "P", (8000, 6000), {}),
            )
        ),
    ],
)
def test_the_largest_images_stay_below_300_mb_in_colour(
    image_format: str, mode: str, size: tuple[int, int], options: dict[str, object]
) -> None:
    image = encoded(gradient(*size, mode), image_format, **options)
    assert peak_bytes(image, width=200, color="ansi") < 300_000_000
