"""Files made to hurt: each is refused with the right error, or converted, and neither costs much."""

import subprocess
import sys
from contextlib import suppress
from functools import cache

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from asciist.conversion import ConversionOptions, convert
from asciist.errors import ImageRejectedError, RejectedError, TooManyPixelsError, UnknownFormatError
from asciist.limits import Limits
from tests import hostile

OPTIONS = ConversionOptions(width=80)


@cache
def valid(image_format: str) -> bytes:
    return hostile.encoded(hostile.gradient(), image_format)


@pytest.mark.parametrize("name", hostile.refused())
def test_it_is_refused(name: str) -> None:
    with pytest.raises(ImageRejectedError) as refusal:
        convert(hostile.refused()[name], OPTIONS, Limits())

    assert refusal.value.public_message.isprintable()


@pytest.mark.parametrize("name", hostile.converted())
def test_it_is_converted_all_the_same(name: str) -> None:
    assert len(convert(hostile.converted()[name], OPTIONS, Limits()).split("\n")[0]) == 80


@pytest.mark.parametrize("name", ["svg", "eps", "tiff", "ico", "ppm"])
def test_a_format_off_the_allow_list_is_never_tried(name: str) -> None:
    with pytest.raises(UnknownFormatError, match="JPEG, PNG, GIF, WebP and BMP"):
        convert(hostile.refused()[name], OPTIONS, Limits())


@pytest.mark.parametrize(
    ("image_format", "size"), [("PNG", (8000, 5000)), ("WEBP", (4200, 3200)), ("GIF", (8000, 7000)), ("JPEG", (8000, 7000))]
)
def test_pixels_are_limited_by_what_the_format_costs(image_format: str, size: tuple[int, int]) -> None:
    with pytest.raises(TooManyPixelsError, match=r"too many pixels: \d+x\d+ is [\d.]+ megapixels"):
        convert(hostile.encoded(hostile.gradient(*size), image_format), OPTIONS, Limits())


@pytest.mark.slow
def test_the_largest_images_stay_below_300_mb() -> None:
    """In processes of their own, so that the peak is theirs."""
    program = """
import pathlib, sys
sys.path.insert(0, ".")
from asciist.conversion import ConversionOptions, convert
from asciist.limits import Limits
convert(sys.stdin.buffer.read(), ConversionOptions(width=1000), Limits())
status = pathlib.Path("/proc/self/status").read_text()
print(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1])
"""
    for image_format, mode, size, options in (
        ("PNG", "RGBA", (5500, 5200), {"compress_level": 1}),
        ("PNG", "RGB", (6600, 5500), {"compress_level": 1}),
        ("WEBP", "RGB", (4032, 3024), {"lossless": True, "quality": 0, "method": 0}),
        ("JPEG", "RGB", (5400, 4600), {"progressive": True, "subsampling": 0}),
        ("JPEG", "RGB", (8600, 5800), {}),
        ("GIF", "P", (8000, 6200), {}),
    ):
        image = hostile.encoded(hostile.gradient(*size, mode), image_format, **options)
        child = subprocess.run([sys.executable, "-c", program], input=image, capture_output=True, check=True)
        assert int(child.stdout) * 1024 < 300_000_000, (image_format, mode)


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    image_format=st.sampled_from(["JPEG", "PNG", "GIF", "WEBP", "BMP"]),
    changes=st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), min_size=1, max_size=12),
    keep=st.floats(0, 1),
)
def test_whatever_is_changed_in_a_file_it_is_art_or_a_refusal(
    image_format: str, changes: list[tuple[float, int]], keep: float
) -> None:
    image = bytearray(valid(image_format))
    for place, value in changes:
        image[int(place * (len(image) - 1))] = value
    # of the image, or of the width where the header became that of a thin strip
    with suppress(RejectedError):
        convert(bytes(image[: max(1, int(len(image) * (0.3 + keep)))]), OPTIONS, Limits())
