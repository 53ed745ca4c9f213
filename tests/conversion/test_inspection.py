"""`inspect` gives the header that `open_image` gives, and refuses the same images with the same messages."""

import io
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from asciist.conversion import ConversionOptions, ImageHeader, inspect, open_image
from asciist.conversion.containers import unpack
from asciist.errors import BadOptionError, RejectedError
from asciist.limits import Limits
from devtools import hostile
from devtools.hostile.jpeg import blocks, segment

Outcome = ImageHeader | tuple[type[RejectedError], str]

EXAMPLES = Path(__file__).parents[2] / "examples"
OPTIONS = (
    ConversionOptions(width=80),
    ConversionOptions(width=40, style="blocks", color="ansi"),
    ConversionOptions(width=1000, style="ramp", color="html"),
)
LIMITS = (Limits(), Limits(max_image_pixels=1500), Limits(max_conversion_bytes=6_500_000), Limits(max_art_characters=1000))


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
"""JPEGs that are inspected without Pillow."""


def outcome(header: Callable[[], ImageHeader]) -> Outcome:
    try:
        return header()
    except RejectedError as error:
        return type(error), error.public_message


def outcomes(image: bytes, options: ConversionOptions, limits: Limits) -> tuple[Outcome, Outcome]:
    """Outcomes of `inspect` and of `open_image`."""
    return outcome(lambda: inspect(image, options, limits)), outcome(lambda: open_image(image, options, limits).header)


def is_plain(image: bytes) -> bool:
    scans = unpack(image).scans
    return scans is not None and scans.is_plain


@pytest.mark.parametrize("case", hostile.corpus(), ids=lambda case: case.name)
def test_a_hostile_file_has_the_same_outcome(case: hostile.Case) -> None:
    for options in OPTIONS:
        inspected, opened = outcomes(case.image, options, Limits())
        assert inspected == opened


@pytest.mark.parametrize("limits", LIMITS, ids=str)
@pytest.mark.parametrize("image", PLAIN.values(), ids=PLAIN)
def test_a_plain_jpeg_has_the_same_outcome(image: bytes, limits: Limits) -> None:
    assert is_plain(image)
    for options in OPTIONS:
        inspected, opened = outcomes(image, options, limits)
        assert inspected == opened


@pytest.mark.parametrize(
    "path", sorted(path for path in EXAMPLES.iterdir() if path.suffix != ".md"), ids=lambda path: path.name
)
def test_a_truncated_file_has_the_same_outcome(path: Path) -> None:
    image = path.read_bytes()
    for length in (*range(700), *range(700, len(image), len(image) // 20)):
        inspected, opened = outcomes(image[:length], OPTIONS[0], Limits())
        assert inspected == opened


@pytest.mark.parametrize("value", [0, 1, 2, 0x10, 0x12, 0xFF])
@pytest.mark.parametrize("name", ["baseline", "progressive", "progressive CMYK"])
def test_a_jpeg_with_one_changed_byte_in_its_header_has_the_same_outcome(name: str, value: int) -> None:
    image = PLAIN[name]
    for position in range(image.index(b"\xff\xda") + 16):
        inspected, opened = outcomes(image[:position] + bytes([value]) + image[position + 1 :], OPTIONS[0], Limits())
        assert inspected == opened


@settings(max_examples=1000, deadline=None)
@given(data=st.data())
def test_a_jpeg_with_a_changed_header_has_the_same_outcome(data: st.DataObject) -> None:
    image = bytearray(data.draw(st.sampled_from([*PLAIN.values()])))
    starts = [block.start for block in blocks(bytes(image))]
    for _ in range(data.draw(st.integers(1, 3))):
        position = min(data.draw(st.sampled_from(starts)) + data.draw(st.integers(0, 20)), len(image) - 1)
        removed = data.draw(st.sampled_from([1, 1, 1, 0, 2]))  # mostly replaced
        image[position : position + removed] = data.draw(st.binary(min_size=1, max_size=1))
    inspected, opened = outcomes(bytes(image), data.draw(st.sampled_from(OPTIONS)), data.draw(st.sampled_from(LIMITS)))

    assert inspected == opened


@pytest.mark.parametrize("code", [0xC2, 0xDB, 0xE0, 0xDA], ids=["frame", "tables", "JFIF", "scan"])
def test_each_part_of_a_header_that_pillow_checks_is_checked(code: int) -> None:
    """Cuts and extends one segment, keeping its length field correct."""
    image = PLAIN["progressive"]
    block = next(block for block in blocks(image) if image[block.start + 1] == code)
    (length,) = struct.unpack_from(">H", image, block.start + 2)
    end = block.start + 2 + length
    for size in range(length + 70):
        content = image[block.start + 4 : end].ljust(size, b"\0")[:size]
        changed = image[: block.start + 2] + struct.pack(">H", 2 + size) + content + image[end:]
        inspected, opened = outcomes(changed, OPTIONS[0], Limits())
        assert inspected == opened


@pytest.mark.parametrize("inserted", [segment(0xC2, bytes([8, 0, 9, 0, 7, 1, 1, 0x11, 0])), b"\xff\xfe\0\2\0\0\xff"])
def test_an_inserted_segment_has_the_same_outcome(inserted: bytes) -> None:
    """A second frame header, and a comment with stray bytes after it, before each segment."""
    image = PLAIN["baseline"]
    for block in blocks(image):
        inspected, opened = outcomes(image[: block.start] + inserted + image[block.start :], OPTIONS[0], Limits())
        assert inspected == opened


def test_two_quantization_tables_in_one_segment_are_plain() -> None:
    """As many cameras write them."""
    image = PLAIN["baseline"]
    first = image.index(b"\xff\xdb\0\x43")
    second = first + 69
    merged = image[:first] + b"\xff\xdb\0\x84" + image[first + 4 : second] + image[second + 4 :]

    assert is_plain(merged)
    assert inspect(merged, OPTIONS[0], Limits()) == inspect(image, OPTIONS[0], Limits())


def test_the_size_is_that_of_the_displayed_image() -> None:
    header = inspect(PLAIN["turned"], OPTIONS[0], Limits())

    assert (header.format, header.width, header.height, header.orientation) == ("JPEG", 31, 48, 6)


def test_an_invalid_option_is_refused_before_the_image_is_read() -> None:
    with pytest.raises(BadOptionError, match="width must be"):
        inspect(b"not an image", ConversionOptions(width=0), Limits())


def test_a_jpeg_is_inspected_without_pillows_plugin() -> None:
    """Runs in a process of its own, because imported plugins stay imported."""
    program = """
import sys
from asciist.conversion import ConversionOptions, inspect
from asciist.limits import Limits
for name in ("astronaut", "cat", "galaxies", "rocket"):
    with open(f"examples/{name}.jpg", "rb") as file:
        inspect(file.read(), ConversionOptions(width=80), Limits())
print(*(name for name in sys.modules if name.endswith("ImagePlugin")))
"""
    child = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=EXAMPLES.parent)

    assert child.stdout.split() == []
