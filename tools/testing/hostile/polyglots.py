"""Polyglots: files valid in two formats. The signature alone determines the format; other content
is not read or executed."""

import struct
import zipfile
from collections.abc import Iterator
from importlib import import_module
from io import BytesIO

from asciist.formats import FORMATS
from tools.testing.hostile import gif, jpeg, png, webp
from tools.testing.hostile.cases import Case, Kind, Outcome, cases

_PAGE = b"<html><script>alert(1)</script></html>"
_PDF = b"%PDF-1.4\n1 0 obj<</Type/Catalog>>endobj\ntrailer<</Root 1 0 R>>\n%%EOF\n"


def _archive() -> bytes:
    file = BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        # With a ZipInfo, because a plain name stores the current date.
        archive.writestr(zipfile.ZipInfo("zeros"), bytes(1_000_000), zipfile.ZIP_DEFLATED)
    return file.getvalue()


def _gif_and_javascript() -> bytes:
    """A GIF whose width begins a JavaScript comment. A comment extension ends it."""
    image = gif.valid()["GIF"]
    screen = b"GIF89a/*" + struct.pack("<H", 48) + b"\xf7\0\0"
    palette_end = 13 + (3 << (image[10] & 7) + 1)
    script = b"*/=1;alert(1);/*"
    comment = b"\x21\xfe" + bytes([len(script)]) + script + b"\0"
    return screen + image[13:palette_end].ljust(768, b"\0") + comment + image[palette_end:] + b"*/"


def corpus() -> Iterator[Case]:
    """All polyglots."""
    valid: dict[str, bytes] = {
        row.name: import_module(f"tools.testing.hostile.{row.key}").valid()[row.name]
        for row in FORMATS
    }
    yield from cases(
        Kind.POLYGLOT,
        Outcome.ART,
        {
            **{
                f"{first} followed by {second}": valid[first] + valid[second]
                for first in valid
                for second in valid
            },
            **{f"{name} followed by a ZIP": image + _archive() for name, image in valid.items()},
            **{f"{name} followed by HTML": image + _PAGE for name, image in valid.items()},
            **{f"{name} followed by a PDF": image + _PDF for name, image in valid.items()},
            **{
                f"{name} followed by a megabyte of text": image + b"words" * 200_000
                for name, image in valid.items()
            },
            "JPEG with a ZIP in its comment": jpeg.with_jpeg_segments(
                jpeg.segment(0xFE, _archive())
            ),
            "JPEG with HTML in its comment": jpeg.with_jpeg_segments(jpeg.segment(0xFE, _PAGE)),
            "JPEG with a PDF in its comment": jpeg.with_jpeg_segments(jpeg.segment(0xFE, _PDF)),
            "JPEG with a PNG in its EXIF": jpeg.with_jpeg_segments(
                jpeg.segment(0xE1, b"Exif\0\0" + valid["PNG"][:60_000])
            ),
            "PNG with HTML in a text chunk": png.with_png_chunks(
                png.png_chunk(b"tEXt", b"x\0" + _PAGE)
            ),
            "PNG with a JPEG in a chunk": png.with_png_chunks(
                png.png_chunk(b"juNK", valid["JPEG"])
            ),
            "GIF that is also JavaScript": _gif_and_javascript(),
            "JPEG followed by ZIP signatures": valid["JPEG"] + b"PK\x03\x04" * 1000,
        },
    )
    yield from cases(
        Kind.POLYGLOT,
        Outcome.UNKNOWN_FORMAT,
        {
            **{f"a PDF followed by {name}": _PDF + image for name, image in valid.items()},
            **{f"a ZIP followed by {name}": _archive() + image for name, image in valid.items()},
            **{f"HTML followed by {name}": _PAGE + image for name, image in valid.items()},
        },
    )
    yield from cases(
        Kind.POLYGLOT,
        Outcome.DAMAGED,
        {
            "PNG with a JPEG signature before it": b"\xff\xd8\xff" + valid["PNG"],
            "JPEG with a PNG signature before it": valid["PNG"][:8] + valid["JPEG"],
            "PNG with a GIF signature before it": b"GIF89a" + valid["PNG"],
            "GIF with a WebP signature before it": webp.valid()["WebP"][:12] + valid["GIF"],
            "JPEG with a BMP signature before it": b"BM" + valid["JPEG"],
            "JPEG with a TIFF signature before it": b"II*\0" + valid["JPEG"],
            "JPEG with an AVIF signature before it": valid["AVIF"][:32] + valid["JPEG"],
        },
    )
