"""A conversion never uses more memory than estimated."""

import math
import struct
from collections.abc import Callable, Iterator
from functools import cache

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from asciist import formats
from asciist.conversion import ConversionOptions, open_image
from asciist.conversion.memory import MAX_SAMPLES_PER_COLUMN
from asciist.conversion.rendering import RENDERERS
from asciist.errors import TooManyPixelsError
from asciist.limits import Limits
from asciist.options import COLORS, PAINTS, STYLES
from tests.conversion.groups import failures
from tools.testing import hostile
from tools.testing.hostile import encoded, exif, gradient, png_chunk
from tools.testing.hostile.avif import tiled
from tools.testing.hostile.jpeg import black_jpeg
from tools.testing.hostile.png import DEPTHS, black_png
from tools.testing.hostile.tiff import black_tiff
from tools.testing.images import FORMATS
from tools.testing.measuring import Cost, Measurer

MAX_SIDE = Limits().max_image_side
MARGIN = 1.03
"""Maximum ratio of measured to estimated memory. The overhead of the interpreter and its allocator
depends on the build of Python: Debian's Python 3.11.2 uses up to 1% more than other builds."""


@pytest.fixture(scope="module")
def measurer() -> Iterator[Measurer]:
    with Measurer() as measurer:
        yield measurer


def begun(costs: list[Cost]) -> list[Cost]:
    """Return the costs, except for images refused by their headers."""
    return [
        cost
        for cost in costs
        if cost.outcome.endswith(("!", "end")) or not math.isnan(cost.estimated_megabytes)
    ]


def too_low(costs: list[Cost]) -> list[Cost]:
    """Return the costs that exceed their estimates by more than MARGIN, and the costs of
    conversions that ended abnormally."""
    return [
        cost
        for cost in costs
        if math.isnan(cost.megabytes)
        or cost.megabytes > cost.estimated_megabytes * MARGIN
        or cost.outcome.endswith("!")
        or cost.estimated_megabytes > Limits().max_conversion_bytes / 1e6
    ]


def test_the_estimate_assumes_the_highest_resolution_of_any_style() -> None:
    assert (
        max(renderer.samples_per_column for renderer in RENDERERS.values())
        == MAX_SAMPLES_PER_COLUMN
    )


COMMON: dict[str, Callable[[], bytes]] = {
    "a 12-megapixel WebP photograph": lambda: encoded(
        gradient(4032, 3024), "WEBP", quality=50, method=0
    ),
    "a 48-megapixel JPEG": lambda: black_jpeg(8064, 6048),
    "a 50-megapixel JPEG": lambda: black_jpeg(8660, 5773),
    "a 24-megapixel progressive JPEG": lambda: black_jpeg(6000, 4000, code=0xC2),
    "a 24-megapixel PNG": lambda: black_png(6000, 4000, 8, 2),
    "a 24-megapixel RGBA PNG": lambda: black_png(6000, 4000, 8, 6),
    "a 20-megapixel CMYK JPEG": lambda: black_jpeg(5000, 4000, [(1, 1)] * 4),
    "a 50-megapixel scan in one bit": lambda: black_png(7070, 7070, 1),
    "a 12-megapixel AVIF photograph": lambda: tiled(gradient(1000, 1500), 4, 2),
    "a 24-megapixel TIFF in strips": lambda: black_tiff(6000, 4000, rows=16),
    "a 50-megapixel scan as a fax": lambda: black_tiff(
        7070, 7070, bits=(1,), photometric=1, rows=100
    ),
    "a screenshot as a GIF": lambda: encoded(Image.new("P", (3840, 2160)), "GIF"),
}


@pytest.mark.parametrize("name", COMMON)
def test_common_images_fit_with_ten_megabytes_of_metadata(name: str) -> None:
    image = COMMON[name]()
    largest = image + bytes(Limits().max_image_bytes - len(image))

    assert (
        open_image(largest, ConversionOptions(width=1000), Limits()).memory_bytes
        <= Limits().max_conversion_bytes
    )
    open_image(largest, ConversionOptions(width=200, color="ansi"), Limits())


@pytest.mark.parametrize("image_format", FORMATS)
def test_a_small_image_has_a_small_estimate(image_format: str) -> None:
    image = encoded(gradient(), image_format)

    assert open_image(image, ConversionOptions(width=80), Limits()).memory_bytes < 8_000_000


@pytest.mark.parametrize("size", [(MAX_SIDE + 1, 1), (1, MAX_SIDE + 1)])
def test_a_side_over_the_limit_is_refused(size: tuple[int, int]) -> None:
    with pytest.raises(
        TooManyPixelsError, match=rf"{size[0]}x{size[1]}; the limit is 65535 in width and in height"
    ):
        open_image(black_png(*size), ConversionOptions(width=1), Limits())
    open_image(
        black_png(*(min(side, MAX_SIDE) for side in size)), ConversionOptions(width=1), Limits()
    )


def test_an_image_over_the_memory_limit_is_refused_with_the_memory_that_it_would_take() -> None:
    image = black_png(6000, 6000, 8, 6)

    with pytest.raises(
        TooManyPixelsError,
        match=r"kind of PNG, of 6000x6000 pixels, at width 80 would take 2\d\d MB of memory; the"
        " limit is 190: send a smaller image",
    ):
        open_image(image, ConversionOptions(width=80), Limits())


def test_an_image_in_tiles_over_the_memory_limit_is_refused_with_the_size_of_the_tiles() -> None:
    (tiled,) = (
        case.image
        for case in hostile.group("TIFF", hostile.Kind.BOMB)
        if case.name == "TIFF with a tile of 4 gigapixels"
    )

    with pytest.raises(
        TooManyPixelsError,
        match=r"TIFF, of 64x48 pixels in tiles of 65520x65520, at width 80 would take \d+ MB of"
        " memory; the limit is 190: save it without tiles",
    ):
        open_image(tiled, ConversionOptions(width=80), Limits())


def test_a_transparent_colour_behind_the_pixels_is_ignored() -> None:
    """A decoder would find it only after the estimate."""
    image = Image.new("L", (8, 8), 200)
    plain = encoded(image, "PNG")
    behind = plain[:-12] + png_chunk(b"tRNS", struct.pack(">H", 200)) + plain[-12:]

    estimates = {
        open_image(each, ConversionOptions(width=8), Limits()).memory_bytes
        for each in (plain, behind)
    }
    assert len(estimates) == 1


LARGE = [name for name, kind in hostile.GROUPS if kind is hostile.Kind.LARGE]


@pytest.mark.slow
@pytest.mark.parametrize("name", LARGE)
def test_a_large_file_takes_no_more_than_its_estimate(name: str, measurer: Measurer) -> None:
    choices = [
        ConversionOptions(width=80),
        ConversionOptions(width=80, style="ramp", color="ansi"),
        ConversionOptions(width=1, style="blocks", color="html"),
        ConversionOptions(width=1000, style="braille"),
    ]

    def takes_no_more(case: hostile.Case) -> None:
        assert too_low(begun(measurer.costs(case.image, choices))) == []

    assert failures(hostile.group(name, hostile.Kind.LARGE), takes_no_more) == {}


@pytest.mark.slow
@pytest.mark.parametrize("style", STYLES)
def test_the_largest_art_takes_no_more_than_its_estimate(style: str, measurer: Measurer) -> None:
    """Covers a strip and a rectangle, in every colour."""
    for color in COLORS:
        options = ConversionOptions(width=1, style=style, color=color)
        for width in (20, 1000):
            rows = Limits().max_art_characters // options.cell_weight // width
            pixels = width // 5 if width < rows else width  # fewer would be enlarged too much
            height = min(MAX_SIDE, pixels * 2 * rows // width)
            noise = Image.effect_noise((pixels, height), 90).convert("RGB")
            choice = ConversionOptions(width=width, style=style, color=color, invert=True)
            costs = measurer.costs(encoded(noise, "PNG"), [choice])
            assert too_low(costs) == []
            assert costs[0].outcome == "art"


@pytest.mark.slow
def test_a_selection_of_all_files_takes_no_more_than_its_estimate(measurer: Measurer) -> None:
    choices = [
        ConversionOptions(width=1),
        ConversionOptions(width=80, color="ansi"),
        ConversionOptions(width=300, style="ramp"),
    ]
    for case in hostile.corpus()[::40]:
        assert too_low(begun(measurer.costs(case.image, choices))) == [], case.name


def sizes(max_pixels: int, max_side: int = MAX_SIDE) -> st.SearchStrategy[tuple[int, int]]:
    """(width, height) of images of any shape, most of them large."""

    def size(part: float, shape: float) -> tuple[int, int]:
        pixels = max(1, int(max_pixels * part))
        narrowest, widest = math.log(max(1, pixels / max_side)), math.log(min(max_side, pixels))
        width = round(math.exp(narrowest + shape * (widest - narrowest)))
        return width, max(1, min(max_side, pixels // width))

    return st.builds(size, st.floats(0, 1), st.floats(0, 1))


@st.composite
def pngs(draw: st.DrawFn) -> bytes:
    colour = draw(st.sampled_from([*DEPTHS]))
    transparent = (
        [png_chunk(b"tRNS", bytes(6))] if draw(st.booleans()) and colour not in (4, 6) else []
    )
    turned = [png_chunk(b"eXIf", exif(draw(st.integers(1, 8))))]
    return black_png(
        *draw(sizes(50_000_000)),
        draw(st.sampled_from(DEPTHS[colour])),
        colour,
        interlaced=draw(st.booleans()),
        before=turned + transparent,
        behind=draw(st.sampled_from([[], [png_chunk(b"tRNS", bytes(6))]])),
    )


@st.composite
def jpegs(draw: st.DrawFn) -> bytes:
    factor = st.sampled_from([1, 2, 4])
    common = [
        [(2, 2), (1, 1), (1, 1)],
        [(2, 1), (1, 1), (1, 1)],
        [(1, 1)] * 3,
        [(1, 1)] * 4,
        [(1, 1)],
    ]
    drawn = st.lists(st.tuples(factor, factor), min_size=4, max_size=4).map(
        lambda factors: factors[: 3 + (factors[0][0] > 1)]
    )
    factors = draw(st.sampled_from(common) | drawn)
    return black_jpeg(
        *draw(sizes(50_000_000)),
        factors,
        code=draw(st.sampled_from([0xC0, 0xC1, 0xC2])),
        # the maximum of one scan
        separate=draw(st.booleans()) or sum(across * down for across, down in factors) > 10,
        without_pixels=draw(st.integers(0, 9)) == 0,
    )


@cache
def webp(size: tuple[int, int], mode: str, *, lossless: bool) -> bytes:
    return encoded(Image.new(mode, size, "#08c"), "WEBP", method=0, quality=9, lossless=lossless)


WEBPS = st.builds(
    webp, sizes(14_000_000, 16_383), st.sampled_from(["RGB", "RGBA"]), lossless=st.booleans()
)
GIFS = st.builds(lambda size: encoded(Image.new("P", size), "GIF"), sizes(50_000_000))
BMPS = st.builds(
    lambda size, mode: encoded(Image.new(mode, size), "BMP"),
    sizes(3_000_000),
    st.sampled_from(["1", "L", "P", "RGB", "RGBA"]),
)


TIFFS = st.builds(
    lambda size, kind, rows, compression: black_tiff(
        *size,
        bits=kind[0],
        photometric=kind[1],
        compression=compression,
        rows=max(rows, size[1] // 16_000),
    ),
    sizes(25_000_000),
    st.sampled_from(
        [
            ((1,), 1),
            ((4,), 1),
            ((8,), 1),
            ((8,), 3),
            ((8,) * 3, 2),
            ((8,) * 4, 2),
            ((16,) * 3, 2),
            ((8,) * 4, 5),
        ]
    ),
    st.sampled_from([16, 1000, MAX_SIDE]),
    st.just(8),
)


@cache
def avif(side: int, mode: str, subsampling: str, grid: tuple[int, int]) -> bytes:
    return tiled(
        Image.new(mode, (side, side), "#08c" if mode == "RGB" else 99),
        *grid,
        subsampling=subsampling,
    )


AVIFS = st.builds(
    avif,
    st.sampled_from([64, 200, 800]),
    st.sampled_from(["RGB", "L"]),
    st.sampled_from(["4:2:0", "4:4:4"]),
    st.tuples(st.integers(1, 6), st.integers(1, 5)),
)


@st.composite
def options(draw: st.DrawFn) -> ConversionOptions:
    style = draw(st.sampled_from([*STYLES]))
    return ConversionOptions(
        width=draw(st.sampled_from([1, 80, 1000]) | st.integers(1, 1000)),
        style=style,
        color=draw(st.sampled_from(COLORS)),
        paint=draw(st.sampled_from(PAINTS)),
        invert=draw(st.sampled_from([False, True, "auto"])),
        chars=draw(st.sampled_from(["", " é", "\U0001d7d8#"])) if style == "ramp" else "",
        background=draw(st.sampled_from(["auto", "#00ff00"])),
        height=draw(st.sampled_from([0, 1, 40, 1000])),
        fit=draw(st.sampled_from(["contain", "cover", "fill"])),
        contrast=draw(st.sampled_from([0, 50])),
    )


FIXED: dict[str, Callable[[], bytes]] = {
    "PNG": lambda: black_png(6000, 4000, 8, 6, interlaced=True),
    "JPEG": lambda: black_jpeg(6000, 4000, [(2, 2), (1, 1), (1, 1)], code=0xC2),
    "WebP": lambda: webp((3000, 2000), "RGBA", lossless=False),
    "GIF": lambda: encoded(Image.new("P", (5000, 4000)), "GIF"),
    "BMP": lambda: encoded(Image.new("RGB", (1500, 1500)), "BMP"),
    "TIFF": lambda: black_tiff(4000, 3000, bits=(8,) * 4, photometric=5, rows=16, compression=8),
    "AVIF": lambda: avif(200, "RGB", "4:4:4", (3, 2)),
}


def test_an_image_of_every_format_is_measured() -> None:
    assert {*FIXED} == {row.name for row in formats.FORMATS}


@pytest.mark.slow
@pytest.mark.parametrize("image_format", FIXED)
def test_an_image_of_each_format_takes_no_more_than_its_estimate(
    image_format: str, measurer: Measurer
) -> None:
    """The next test draws such images at random."""
    choices = [
        ConversionOptions(width=80),
        ConversionOptions(width=300, height=40, fit="cover", style="blocks", color="html"),
    ]
    costs = measurer.costs(FIXED[image_format](), choices)

    assert too_low(costs) == []
    assert {cost.outcome for cost in costs} == {"art"}


@pytest.mark.nightly
@pytest.mark.parametrize(
    ("images", "examples"),
    [(pngs(), 25), (jpegs(), 60), (WEBPS, 20), (GIFS, 15), (BMPS, 15), (TIFFS, 10), (AVIFS, 10)],
    ids=["PNG", "JPEG", "WebP", "GIF", "BMP", "TIFF", "AVIF"],
)
def test_an_image_of_any_header_takes_no_more_than_its_estimate(
    images: st.SearchStrategy[bytes], examples: int, measurer: Measurer
) -> None:
    @settings(
        max_examples=examples,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )
    @given(image=images, choices=st.lists(options(), min_size=2, max_size=2))
    def takes_no_more(image: bytes, choices: list[ConversionOptions]) -> None:
        assert too_low(begun(measurer.costs(image, choices))) == []

    takes_no_more()
