"""Files that are two things at once. The first bytes decide; whatever else is in them must be neither read nor run."""

import struct
import zipfile
from collections.abc import Iterator
from io import BytesIO

from devtools.hostile import bmp, gif, jpeg, png, webp
from devtools.hostile.cases import Case, Kind, Outcome, cases

_PAGE = b"<html><script>alert(1)</script></html>"
_PDF = b"%PDF-1.4\n1 0 obj<</Type/Catalog>>endobj\ntrailer<</Root 1 0 R>>\n%%EOF\n"


def _archive() -> bytes:
    file = BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        # a ZipInfo, since a name alone takes the date of today
        archive.writestr(zipfile.ZipInfo("zeros"), bytes(1_000_000), zipfile.ZIP_DEFLATED)
    return file.getvalue()


def _gif_and_javascript() -> bytes:
    """Its width reads as the start of a comment, which ends in a comment extension."""
    picture = gif.valid()["GIF"]
    screen = b"GIF89a/*" + struct.pack("<H", 48) + b"\xf7\0\0"
    palette_end = 13 + (3 << (picture[10] & 7) + 1)
    script = b"*/=1;alert(1);/*"
    comment = b"\x21\xfe" + bytes([len(script)]) + script + b"\0"
    return screen + picture[13:palette_end].ljust(768, b"\0") + comment + picture[palette_end:] + b"*/"


def corpus() -> Iterator[Case]:
    """Every file that is two things at once."""
    valid = {
        "JPEG": jpeg.valid()["JPEG"],
        "PNG": png.valid()["PNG"],
        "GIF": gif.valid()["GIF"],
        "WebP": webp.valid()["WebP"],
        "BMP": bmp.valid()["BMP"],
    }
    yield from cases(
        Kind.POLYGLOT,
        Outcome.ART,
        {
            **{f"{first} and then {second}": valid[first] + valid[second] for first in valid for second in valid},
            **{f"{name} and then a ZIP": image + _archive() for name, image in valid.items()},
            **{f"{name} and then a page": image + _PAGE for name, image in valid.items()},
            **{f"{name} and then a PDF": image + _PDF for name, image in valid.items()},
            **{f"{name} and then a megabyte of words": image + b"words" * 200_000 for name, image in valid.items()},
            "JPEG with a ZIP as its comment": jpeg.with_jpeg_segments(jpeg.segment(0xFE, _archive())),
            "JPEG with a page as its comment": jpeg.with_jpeg_segments(jpeg.segment(0xFE, _PAGE)),
            "JPEG with a PDF as its comment": jpeg.with_jpeg_segments(jpeg.segment(0xFE, _PDF)),
            "JPEG with a PNG as its EXIF": jpeg.with_jpeg_segments(jpeg.segment(0xE1, b"Exif\0\0" + valid["PNG"][:60_000])),
            "PNG with a page as its text": png.with_png_chunks(png.png_chunk(b"tEXt", b"x\0" + _PAGE)),
            "PNG with a JPEG as a chunk": png.with_png_chunks(png.png_chunk(b"juNK", valid["JPEG"])),
            "GIF and JavaScript": _gif_and_javascript(),
            "JPEG that begins another file": valid["JPEG"] + b"PK\x03\x04" * 1000,
        },
    )
    yield from cases(
        Kind.POLYGLOT,
        Outcome.UNKNOWN_FORMAT,
        {
            **{f"a PDF and then {name}": _PDF + image for name, image in valid.items()},
            **{f"a ZIP and then {name}": _archive() + image for name, image in valid.items()},
            **{f"a page and then {name}": _PAGE + image for name, image in valid.items()},
        },
    )
    yield from cases(
        Kind.POLYGLOT,
        Outcome.DAMAGED,
        {
            "JPEG signature on a PNG": b"\xff\xd8\xff" + valid["PNG"],
            "PNG signature on a JPEG": valid["PNG"][:8] + valid["JPEG"],
            "GIF signature on a PNG": b"GIF89a" + valid["PNG"],
            "WebP signature on a GIF": webp.valid()["WebP"][:12] + valid["GIF"],
            "BMP signature on a JPEG": b"BM" + valid["JPEG"],
        },
    )
