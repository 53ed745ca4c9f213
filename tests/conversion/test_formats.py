"""Variants of TIFF and AVIF are decoded to the right pixels, and other formats get a helpful
message."""

import gzip
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress

import pytest
from PIL import Image

from asciist.conversion import ConversionOptions, open_image
from asciist.conversion.decoding import decode
from asciist.errors import RejectedError, UnknownFormatError, sentences
from asciist.limits import Limits
from tools.testing import hostile
from tools.testing.drawing import convert
from tools.testing.hostile import avif, encoded, gradient, tiff

Colour = tuple[int, int, int]

RED, GREEN, BLUE, WHITE, BLACK = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255), (0, 0, 0)
OPTIONS = ConversionOptions(width=2, color="ansi", background="#000000")


def quarters(image: bytes) -> list[Colour]:
    """The mean colours of the quarters of an image, row by row."""
    opened = open_image(image, OPTIONS, Limits())
    pixels = decode(opened, samples_per_column=4, evens_light=False).sample_colour(2, 2)
    # A tuple in mode RGB.
    return [pixels.getpixel((x, y)) for y in (0, 1) for x in (0, 1)]  # type: ignore[misc]


def image_of(colours: Sequence[Colour], side: int = 64) -> Image.Image:
    """An image with a quarter of each colour."""
    image = Image.new("RGB", (2, 2))
    image.putdata([*colours])
    return image.resize((side, side), Image.Resampling.NEAREST)


def close(first: Sequence[Colour], second: Sequence[Colour], tolerance: int) -> bool:
    pairs = zip(first, second, strict=True)
    return all(
        abs(one - other) <= tolerance for pair in pairs for one, other in zip(*pair, strict=True)
    )


COLOURS = (RED, GREEN, BLUE, WHITE)
GREYS = tuple((level, level, level) for level in (0, 85, 170, 255))
RAW = image_of(COLOURS).tobytes()
DOUBLED = bytes(byte for byte in RAW for _ in range(2))
"""The samples in 16 bits."""


@pytest.mark.parametrize(
    "compression", ["raw", "tiff_lzw", "tiff_adobe_deflate", "tiff_deflate", "packbits"]
)
@pytest.mark.parametrize("mode", ["RGB", "RGBA", "CMYK", "P"])
def test_a_tiff_has_its_colours_with_each_compression(mode: str, compression: str) -> None:
    image = image_of(COLOURS)
    image = image.quantize(4) if mode == "P" else image.convert(mode)

    assert quarters(encoded(image, "TIFF", compression=compression, tiffinfo={278: 10})) == [
        *COLOURS
    ]


@pytest.mark.parametrize("compression", ["raw", "group3", "group4", "packbits"])
def test_a_bilevel_tiff_is_black_and_white(compression: str) -> None:
    image = image_of((BLACK, WHITE, WHITE, BLACK)).convert("1")

    assert quarters(encoded(image, "TIFF", compression=compression)) == [BLACK, WHITE, WHITE, BLACK]


@pytest.mark.parametrize("mode", ["RGB", "YCbCr"])
def test_a_tiff_of_jpeg_strips_has_its_colours(mode: str) -> None:
    image = image_of(COLOURS).convert(mode)

    assert close(
        quarters(encoded(image, "TIFF", compression="jpeg", tiffinfo={278: 16})),
        COLOURS,
        tolerance=8,
    )


RGB_TIFFS = {
    "tiles": tiff.tiff(
        64,
        64,
        [image_of([colour] * 4, 32).tobytes() for colour in COLOURS],
        {322: (4, [32]), 323: (4, [32]), 278: None},
        bits=(8, 8, 8),
        photometric=2,
    ),
    "planes": tiff.tiff(
        64,
        64,
        [RAW[plane::3] for plane in range(3)],
        {284: (3, [2]), 278: (4, [64])},
        bits=(8, 8, 8),
        photometric=2,
    ),
    **{
        f"16 bits, {order}, {'big' if is_big else 'classic'}": tiff.tiff(
            64, 64, [DOUBLED], bits=(16, 16, 16), photometric=2, order=order, is_big=is_big
        )
        for order in ("<", ">")
        for is_big in (False, True)
    },
}


@pytest.mark.parametrize("image", RGB_TIFFS.values(), ids=RGB_TIFFS)
def test_an_rgb_tiff_has_its_colours(image: bytes) -> None:
    assert quarters(image) == [*COLOURS]


def grey_tiff(bits: int, photometric: int, order: str = "<") -> bytes:
    levels = [grey[0] for grey in GREYS]
    if photometric == 0:
        levels = [255 - level for level in levels]
    samples = image_of([(level, level, level) for level in levels]).convert("L").tobytes()
    if bits == 16:
        packed = bytes(byte for byte in samples for _ in range(2))
    else:
        count = 8 // bits
        rows = [samples[start : start + count] for start in range(0, len(samples), count)]
        packed = bytes(
            sum(level >> 8 - bits << 8 - bits * (place + 1) for place, level in enumerate(row))
            for row in rows
        )
    return tiff.tiff(64, 64, [packed], bits=(bits,), photometric=photometric, order=order)


@pytest.mark.parametrize(
    ("bits", "photometric", "order"),
    [(2, 1, "<"), (4, 0, ">"), (8, 0, "<"), (16, 1, "<"), (16, 1, ">")],
)
def test_a_grey_tiff_has_its_levels(bits: int, photometric: int, order: str) -> None:
    assert close(quarters(grey_tiff(bits, photometric, order)), GREYS, tolerance=1)


def test_a_damaged_fax_writes_nothing_to_the_standard_error_stream(
    capfd: pytest.CaptureFixture[str],
) -> None:
    """By default, libtiff writes a line for each damaged row."""
    for case in hostile.corpus():
        if "fax" in case.name and "noise" in case.name:
            with suppress(RejectedError):
                convert(case.image, OPTIONS, Limits())

    assert capfd.readouterr().err == ""


def test_an_avif_is_decoded_in_the_calling_thread() -> None:
    """Each thread of dav1d would have its own buffers and stack. Runs in a new process, which has
    no other threads."""
    program = """
import pathlib, sys
from asciist.conversion import ConversionOptions, open_image
from asciist.limits import Limits
opened = open_image(sys.stdin.buffer.read(), ConversionOptions(width=8), Limits())
decoder = opened.source._decoder
frame = decoder._decoder.get_frame(0)
print(len(list(pathlib.Path("/proc/self/task").iterdir())), len(frame[0]))
"""
    image = encoded(gradient(512, 512), "AVIF")
    child = subprocess.run(
        [sys.executable, "-c", program], input=image, capture_output=True, check=True
    )

    assert child.stdout.split() == [b"1", str(3 * 512 * 512).encode()]


def test_the_first_page_of_a_tiff_is_drawn() -> None:
    first, second = image_of(COLOURS), image_of([BLACK] * 4)

    assert quarters(encoded(first, "TIFF", save_all=True, append_images=[second])) == [*COLOURS]


@pytest.mark.parametrize(
    "options",
    [
        {"subsampling": "4:2:0"},
        {"subsampling": "4:2:2"},
        {"subsampling": "4:4:4"},
        {"range": "limited"},
        {"quality": 100},
    ],
    ids=str,
)
def test_an_avif_has_its_colours(options: dict[str, object]) -> None:
    assert close(quarters(encoded(image_of(COLOURS), "AVIF", **options)), COLOURS, tolerance=12)


def test_the_alpha_of_an_avif_is_applied() -> None:
    image = image_of(COLOURS)
    image.putalpha(image_of([BLACK, WHITE, BLACK, WHITE]).convert("L"))

    for is_premultiplied in (False, True):
        drawn = quarters(
            encoded(
                image, "AVIF", subsampling="4:4:4", quality=95, alpha_premultiplied=is_premultiplied
            )
        )
        assert close(drawn, [BLACK, GREEN, BLACK, WHITE], tolerance=12)


@pytest.mark.parametrize("name", ["10-bit AVIF", "12-bit AVIF"])
def test_an_avif_of_more_bits_has_its_levels(name: str) -> None:
    """A gradient from black to white."""
    upper, _, lower, _ = quarters(avif.valid()[name])

    assert close([upper, lower], [(64, 64, 64), (191, 191, 191)], tolerance=4)


def test_an_avif_of_a_grid_is_assembled() -> None:
    opened = open_image(avif.tiled(gradient(64, 64), 1, 2), ConversionOptions(width=4), Limits())
    image = decode(opened, samples_per_column=4, evens_light=False)
    top_to_bottom = image.sample_luma(1, 4, Image.Resampling.BOX)

    assert [round(level / 64) for level in top_to_bottom.tobytes()] == [1, 3, 1, 3]


def test_the_track_of_an_animation_changes_nothing_about_its_still_image() -> None:
    """It may be anywhere in the file, with any contents."""
    image = avif.valid()["animated AVIF"]
    signature = int.from_bytes(image[:4])
    start = image.index(b"moov") - 4
    end = start + int.from_bytes(image[start : start + 4])
    before = image[:signature] + image[start:end] + image[signature:start] + image[end:]
    still = quarters(image)

    assert quarters(before) == still
    for file in (image, before):
        place = file.index(b"moov") + 4
        assert quarters(
            file[:place] + bytes(end - start - 8) + file[place + end - start - 8 :]
        ) == (still)


SVG = b'<svg xmlns="http://www.w3.org/2000/svg"/>'
MISTAKES = {
    sentences.SVG: [
        SVG,
        b'\xef\xbb\xbf<?xml version="1.0"?>\n<!-- drawn -->\n' + SVG,
        b'<!DOCTYPE svg PUBLIC "-//W3C//DTD SVG 1.1//EN" "x">' + SVG,
        gzip.compress(SVG),
    ],
    sentences.HTML: [
        b"<!doctype html><img src=x>",
        b"\n<html><body><svg/></body></html>",
        b"<!-- a --><!DOCTYPE HTML>",
    ],
    sentences.PDF: [b"%PDF-1.7\n"],
    sentences.PHOTOSHOP: [b"8BPS\0\1"],
    sentences.HEIC: [
        b"\0\0\0\x18ftypheic\0\0\0\0heicmif1",
        b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic",
        b"\0\0\0\x18ftypheix\0\0\0\0",
    ],
    sentences.CAMERA_RAW: [
        b"II*\0\x10\0\0\0CR\2\0",
        b"IIU\0\x18\0\0\0",
        b"IIRO\x08\0\0\0",
        b"FUJIFILMCCD-RAW 0201",
        b"\0\0\0\x18ftypcrx \0\0\0\1",
        tiff.tiff(changes={50_706: (1, [1, 4, 0, 0])}),
    ],
    sentences.VIDEO: [
        b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom",
        b"\0\0\0\x14ftypqt  \0\0\0\0",
        b"\x1aE\xdf\xa3\x01",
        b"RIFF\x24\0\0\0AVI LIST",
    ],
    sentences.UNKNOWN_FORMAT: [
        b"",
        b"svg",
        b'<?xml version="1.0"?><rss/>',
        b"\x1f\x8b\x08\0broken",
        gzip.compress(b"text"),
        b"PK\3\4",
    ],
}


@pytest.mark.parametrize("sentence", MISTAKES)
def test_a_file_that_is_sent_by_mistake_gets_a_sentence_that_helps(sentence: str) -> None:
    for file in MISTAKES[sentence]:
        with pytest.raises(UnknownFormatError) as refused:
            convert(file, OPTIONS, Limits())
        assert refused.value.public_message == sentence, file


def test_the_sentence_for_heic_says_what_to_do_on_an_iphone() -> None:
    assert "Settings > Camera > Formats > Most Compatible" in sentences.HEIC


def test_a_compressed_drawing_is_inflated_no_further_than_its_first_element() -> None:
    with pytest.raises(UnknownFormatError):
        convert(gzip.compress(bytes(9_000_000)), OPTIONS, Limits())
