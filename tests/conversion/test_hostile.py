"""Hostile files: each is converted, or refused with the expected error."""

import subprocess
import sys
from contextlib import suppress
from functools import cache

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from asciist.conversion import ConversionOptions
from asciist.errors import RejectedError, TooManyPixelsError, UnknownFormatError
from asciist.limits import Limits
from tests.conversion.groups import failures
from tests.conversion.memory import peak_bytes
from tools.testing import hostile
from tools.testing.drawing import convert
from tools.testing.hostile.__main__ import file_name
from tools.testing.images import FORMATS

OPTIONS = ConversionOptions(width=80)


@cache
def valid(image_format: str) -> bytes:
    return hostile.encoded(hostile.gradient(), image_format)


def outcome(image: bytes, options: ConversionOptions) -> type[RejectedError] | None:
    """Convert the image. Return None on success, else the class of the error."""
    try:
        art = convert(image, options, Limits())
    except RejectedError as error:
        refusal = error
    else:
        assert {len(row) for row in art.split("\n")} == {options.width} or options.color != "none"
        return None
    assert refusal.public_message.isprintable()
    return type(refusal)


def is_as_expected(case: hostile.Case) -> None:
    assert outcome(case.image, OPTIONS) in case.outcome.value


@pytest.mark.parametrize(("name", "kind"), hostile.GROUPS)
def test_each_file_is_converted_or_refused_with_the_expected_error(
    name: str, kind: hostile.Kind
) -> None:
    cases = hostile.group(name, kind)

    assert cases
    assert failures(cases, is_as_expected) == {}


def test_each_file_belongs_to_one_group() -> None:
    grouped = [case.name for group in hostile.GROUPS for case in hostile.group(*group)]

    assert sorted(grouped) == sorted(case.name for case in hostile.corpus())


# the other colours are decoded and drawn as `ansi`
@pytest.mark.parametrize("color", ["ansi", "html"])
def test_each_file_has_the_same_outcome_in_colour(color: str) -> None:
    options = ConversionOptions(width=20, color=color)
    small = [
        case
        for case in hostile.corpus()
        if len(case.image) < 10_000 and case.kind is not hostile.Kind.FOREIGN
    ]

    assert [
        case.name for case in small if outcome(case.image, options) not in case.outcome.value
    ] == []


def test_file_names_are_unique() -> None:
    names = [file_name(case.name).lower() for case in hostile.corpus()]

    assert sorted(set(names)) == sorted(names)


def test_every_file_is_within_the_upload_limit() -> None:
    assert [
        case.name for case in hostile.corpus() if len(case.image) > Limits().max_image_bytes
    ] == []


def test_only_the_decoders_of_the_supported_formats_are_imported() -> None:
    """Runs in a new process, because imported decoders stay imported."""
    program = """
import sys
sys.path.insert(0, ".")
from contextlib import suppress
from tools.testing.hostile import foreign, polyglots
images = [case.image for module in (foreign, polyglots) for case in module.corpus()]
for module in [name for name in sys.modules if name.startswith("PIL")]:
    del sys.modules[module]
from asciist.conversion import ConversionOptions, convert
from asciist.errors import RejectedError
from asciist.limits import Limits
for image in images:
    with suppress(RejectedError):
        convert(image, ConversionOptions(width=80), Limits())
print(*(name for name in sys.modules if name.endswith("ImagePlugin")))
"""
    child = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )

    assert set(child.stdout.split()) == {
        f"PIL.{name}ImagePlugin" for name in ("Jpeg", "Png", "Gif", "WebP", "Bmp", "Tiff", "Avif")
    }


def test_the_error_for_an_unknown_format_lists_the_supported_ones() -> None:
    with pytest.raises(UnknownFormatError, match="JPEG, PNG, GIF, WebP, AVIF, TIFF or BMP"):
        convert(b"not an image at all", OPTIONS, Limits())


@pytest.mark.parametrize(
    ("image_format", "size"),
    [("PNG", (8000, 5000)), ("WEBP", (4800, 3200)), ("GIF", (8000, 7000)), ("JPEG", (8000, 7000))],
)
def test_the_pixel_limit_depends_on_the_format(image_format: str, size: tuple[int, int]) -> None:
    with pytest.raises(TooManyPixelsError, match=r"(too many pixels: |, of )\d+x\d+ "):
        convert(hostile.encoded(hostile.gradient(*size), image_format), OPTIONS, Limits())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("image_format", "mode", "size", "options"),
    [
        ("JPEG", "RGB", (8600, 5800), {}),
        *(
            pytest.param(*image, marks=pytest.mark.nightly)
            for image in (
                ("PNG", "RGBA", (5500, 5200), {"compress_level": 1}),
                ("PNG", "RGB", (6000, 5400), {"compress_level": 1}),
                ("WEBP", "RGB", (4032, 3024), {"lossless": True, "quality": 0, "method": 0}),
                ("JPEG", "RGB", (5200, 4200), {"progressive": True, "subsampling": 0}),
                ("GIF", "P", (8000, 6200), {}),
            )
        ),
    ],
)
def test_the_largest_images_stay_below_300_mb(
    image_format: str, mode: str, size: tuple[int, int], options: dict[str, object]
) -> None:
    image = hostile.encoded(hostile.gradient(*size, mode), image_format, **options)
    assert peak_bytes(image, width=1000) < 300_000_000


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    image_format=st.sampled_from(FORMATS),
    changes=st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), min_size=1, max_size=12),
    keep=st.floats(0, 1),
)
def test_a_corrupted_file_is_converted_or_refused(
    image_format: str, changes: list[tuple[float, int]], keep: float
) -> None:
    image = bytearray(valid(image_format))
    for place, value in changes:
        image[int(place * (len(image) - 1))] = value
    # BadOptionError if the changed header is that of a thin strip, ImageRejectedError otherwise
    with suppress(RejectedError):
        convert(bytes(image[: max(1, int(len(image) * (0.3 + keep)))]), OPTIONS, Limits())
