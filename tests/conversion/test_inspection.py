"""`inspect` gives the header that `open_image` gives, and refuses only what `open_image` refuses,
with the same messages. What it does not see, the size of an image does not tell."""

import io
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from asciist.conversion import ConversionOptions, ImageHeader, inspect, open_image
from asciist.errors import (
    BadOptionError,
    DamagedImageError,
    RejectedError,
    TooManyPixelsError,
    sentences,
)
from asciist.formats import JPEG
from asciist.limits import Limits
from tests.conversion.groups import failures
from tools.testing import hostile
from tools.testing.hostile.jpeg import blocks, segment

Outcome = ImageHeader | tuple[type[RejectedError], str]

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"
EXAMPLE_FILES = sorted(path for path in EXAMPLES.iterdir() if path.suffix != ".md")
OPTIONS = (
    ConversionOptions(width=80),
    ConversionOptions(width=40, style="blocks", color="ansi"),
    ConversionOptions(width=1000, style="ramp", color="html"),
)
LIMITS = (
    Limits(),
    Limits(max_image_pixels=1500),
    Limits(max_conversion_bytes=6_500_000),
    Limits(max_art_characters=1000),
)


def encoded(mode: str = "RGB", **options: object) -> bytes:
    file = io.BytesIO()
    hostile.gradient(48, 31, mode).save(file, "JPEG", **options)
    return file.getvalue()


def with_orientation(orientation: int) -> Image.Exif:
    metadata = Image.Exif()
    metadata[0x010F], metadata[0x0112] = "maker", orientation
    return metadata


PLAIN = {
    "baseline": encoded(),
    "progressive": encoded(progressive=True),
    "grey": encoded("L"),
    "progressive grey": encoded("L", progressive=True),
    "CMYK": encoded("CMYK"),
    "progressive CMYK": encoded("CMYK", progressive=True),
    "optimized, not subsampled": encoded(optimize=True, subsampling=0),
    "with restarts": encoded(restart_marker_blocks=2),
    "with a comment and a colour profile": encoded(comment=b"comment", icc_profile=bytes(3000)),
    "upside down": encoded(exif=with_orientation(3)),
    "turned": encoded(exif=with_orientation(6)),
}
"""JPEGs as encoders write them."""


def outcome(header: Callable[[], ImageHeader]) -> Outcome:
    try:
        return header()
    except RejectedError as error:
        return type(error), error.public_message


def outcomes(image: bytes, options: ConversionOptions, limits: Limits) -> tuple[Outcome, Outcome]:
    """Outcomes of `inspect` and of `open_image`."""
    return outcome(lambda: inspect(image, options, limits)), outcome(
        lambda: open_image(image, options, limits).header
    )


def assert_agreement(image: bytes, options: ConversionOptions, limits: Limits) -> None:
    """`open_image` has the outcome of `inspect`, or refuses an image for what a decoder or the
    estimate of memory finds."""
    inspected, opened = outcomes(image, options, limits)
    if inspected == opened:
        return
    assert isinstance(inspected, ImageHeader)
    assert isinstance(opened, tuple)
    kind, message = opened
    assert (kind, message) == (DamagedImageError, sentences.DAMAGED_IMAGE) or (
        kind is TooManyPixelsError and "MB of memory" in message
    )


def agrees(case: hostile.Case) -> None:
    for options in OPTIONS:
        assert_agreement(case.image, options, Limits())


def test_a_tiny_image_is_enlarged_within_bounds() -> None:
    def inspected(side: int, **options: Any) -> ImageHeader:
        image = hostile.encoded(hostile.gradient(side, side), "PNG")
        return inspect(image, ConversionOptions(**options), Limits())

    with pytest.raises(BadOptionError, match="1000 rows of 1000 characters, too many for so few"):
        inspected(1, width=1000, height=1000, fit="fill")
    with pytest.raises(BadOptionError, match="the limit for this image is 160000 characters"):
        inspected(100, width=1000)
    for side, columns in ((1, 80), (1, 240), (16, 240), (100, 560), (250, 1000)):
        assert inspected(side, width=columns).pixels == side * side
    inspected(250, width=1000, height=1000, fit="fill")
    icon = hostile.encoded(hostile.gradient(16, 32), "PNG")
    assert inspect(icon, ConversionOptions(width=240), Limits()).height == 32


@pytest.mark.parametrize(("name", "kind"), hostile.GROUPS)
def test_a_hostile_file_has_no_other_outcome(name: str, kind: hostile.Kind) -> None:
    assert failures(hostile.group(name, kind), agrees) == {}


@pytest.mark.parametrize("limits", LIMITS, ids=str)
@pytest.mark.parametrize("image", PLAIN.values(), ids=PLAIN)
def test_a_plain_jpeg_has_no_other_outcome(image: bytes, limits: Limits) -> None:
    for options in OPTIONS:
        assert_agreement(image, options, limits)


@pytest.mark.parametrize("path", EXAMPLE_FILES, ids=lambda path: path.name)
def test_a_truncated_file_has_no_other_outcome(path: Path) -> None:
    image = path.read_bytes()
    for length in (*range(700), *range(700, len(image), len(image) // 20)):
        assert_agreement(image[:length], OPTIONS[0], Limits())


@pytest.mark.parametrize("value", [0, 1, 2, 0x10, 0x12, 0xFF])
@pytest.mark.parametrize("name", ["baseline", "progressive", "progressive CMYK"])
def test_a_jpeg_with_one_changed_byte_in_its_header_has_no_other_outcome(
    name: str, value: int
) -> None:
    image = PLAIN[name]
    for position in range(image.index(b"\xff\xda") + 16):
        changed = image[:position] + bytes([value]) + image[position + 1 :]
        assert_agreement(changed, OPTIONS[0], Limits())


@settings(max_examples=1000, deadline=None)
@given(data=st.data())
def test_a_jpeg_with_a_changed_header_has_no_other_outcome(data: st.DataObject) -> None:
    image = bytearray(data.draw(st.sampled_from([*PLAIN.values()])))
    starts = [block.start for block in blocks(bytes(image))]
    for _ in range(data.draw(st.integers(1, 3))):
        position = min(
            data.draw(st.sampled_from(starts)) + data.draw(st.integers(0, 20)), len(image) - 1
        )
        removed = data.draw(st.sampled_from([1, 1, 1, 0, 2]))  # mostly replaced
        image[position : position + removed] = data.draw(st.binary(min_size=1, max_size=1))
    assert_agreement(
        bytes(image), data.draw(st.sampled_from(OPTIONS)), data.draw(st.sampled_from(LIMITS))
    )


@pytest.mark.parametrize(
    "inserted", [segment(0xC2, bytes([8, 0, 9, 0, 7, 1, 1, 0x11, 0])), b"\xff\xfe\0\2\0\0\xff"]
)
def test_an_inserted_segment_has_no_other_outcome(inserted: bytes) -> None:
    """Covers a second frame header, and a comment followed by stray bytes, before each segment."""
    image = PLAIN["baseline"]
    for block in blocks(image):
        changed = image[: block.start] + inserted + image[block.start :]
        assert_agreement(changed, OPTIONS[0], Limits())


def test_the_size_is_that_of_the_displayed_image() -> None:
    header = inspect(PLAIN["turned"], OPTIONS[0], Limits())

    assert (header.format, header.width, header.height, header.orientation) == (JPEG, 31, 48, 6)


def test_an_invalid_option_is_refused_before_the_image_is_read() -> None:
    with pytest.raises(BadOptionError, match="width must be"):
        open_image(b"not an image", ConversionOptions(width=0), Limits())


@pytest.mark.parametrize("path", EXAMPLE_FILES, ids=lambda path: path.name)
def test_an_example_has_the_same_outcome(path: Path) -> None:
    for options in OPTIONS[:2]:
        inspected, opened = outcomes(path.read_bytes(), options, Limits())
        assert inspected == opened


def test_a_valid_file_of_each_format_is_inspected_without_pillows_plugins() -> None:
    """Runs in a new process, because imported plugins stay imported."""
    program = """
import sys
from asciist.conversion import ConversionOptions, inspect
from asciist.limits import Limits
from tools.testing import hostile
for name, kind in hostile.GROUPS:
    if kind is hostile.Kind.VALID:
        for case in hostile.group(name, kind):
            loaded = set(sys.modules)
            inspect(case.image, ConversionOptions(width=8), Limits())
            print(*(name for name in set(sys.modules) - loaded if "Plugin" in name), end="")
"""
    child = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )

    assert child.stdout.split() == []
