"""Unsupported formats, which must never reach a decoder: files written by Pillow, and signatures of
further formats."""

import struct
from collections.abc import Iterator

from tools.testing.hostile import bmp, jpeg
from tools.testing.hostile.cases import Case, Kind, Outcome, cases
from tools.testing.images import encoded, gradient

_WRITTEN = {
    "BLP": "P", "DDS": "RGB", "DIB": "RGB", "EPS": "RGB", "ICNS": "RGBA", "ICO": "RGB",
    "JPEG2000": "RGB", "MSP": "1", "PALM": "P",
    "PCX": "RGB", "PDF": "RGB", "PPM": "RGB", "QOI": "RGB", "SGI": "RGB",
    "SPIDER": "F", "TGA": "RGB", "XBM": "1",
}  # fmt: skip
"""Formats written by Pillow, each with a mode that it supports."""

_SIGNATURES = {
    "svg": b'<svg xmlns="http://www.w3.org/2000/svg"/>',
    "svg with a declaration": (
        b'<?xml version="1.0"?><!DOCTYPE svg [<!ENTITY a "aaaa">]><svg>&a;</svg>'
    ),
    "compressed svg": b"\x1f\x8b\x08\0\0\0\0\0\0\x03",
    "minimal eps": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 100 100\n",
    "eps with a DOS header": b"\xc5\xd0\xd3\xc6\x1e\0\0\0",
    "psd": b"8BPS\0\x01\0\0\0\0\0\0\0\x03\0\0\0\x30\0\0\0\x40\0\x08\0\x03",
    "psb": b"8BPS\0\x02",
    "cur": b"\0\0\x02\0\x01\0\x20\x20\0\0",
    "fits": b"SIMPLE  =                    T".ljust(80) + b"END".ljust(80),
    "wmf": b"\xd7\xcd\xc6\x9a\0\0\0\0\0\0\x64\0\x64\0\x60\0",
    "emf": b"\x01\0\0\0" + bytes(36) + b" EMF",
    "xpm": b'/* XPM */\nstatic char *x[] = {\n"1 1 1 1",\n"a c #000000",\n"a"\n};',
    "fli": struct.pack("<IHHHHHHI", 128, 0xAF11, 1, 64, 48, 8, 3, 5) + bytes(108),
    "flc": struct.pack("<IHHHHHHI", 128, 0xAF12, 1, 64, 48, 8, 3, 5) + bytes(108),
    "pixar": b"\x80\xe8\0\0" + bytes(1020),
    "sun raster": (
        b"\x59\xa6\x6a\x95" + struct.pack(">IIIIIII", 64, 48, 24, 9216, 1, 0, 0) + bytes(9216)
    ),
    "dcx": b"\xb1\x68\xde\x3a" + bytes(4096),
    "ftex": b"FTEX\0\0\0\0",
    "gd": b"\xff\xff\0\x40\0\x30\0",
    "gbr (GIMP brush)": struct.pack(">IIIII4sI", 32, 2, 64, 48, 1, b"GIMP", 10),
    "heic": b"\0\0\0\x18ftypheic\0\0\0\0heicmif1",
    "heif": b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic",
    "JPEG 2000 codestream": b"\xff\x4f\xff\x51\0\x2f",
    "JPEG XL": b"\xff\x0a\xfa\x1f\x01",
    "JPEG XL container": b"\0\0\0\x0cJXL \r\n\x87\n",
    "JPEG XR": b"II\xbc\x01\x20\0\0\0",
    "hdf5": b"\x89HDF\r\n\x1a\n",
    "grib": b"GRIB\0\0\0\x01",
    "bufr": b"BUFR\0\0\0\x03",
    "iptc": b"\x1c\x01\x5a\0\x02",
    "mcidas": b"\0\0\0\0\0\0\0\x04" + bytes(248),
    "mpeg": b"\0\0\x01\xb3\x04\0\x30",
    "im": (
        b"Image type: RGB image\r\nName: x\r\nImage size (x*y): 64*48\r\n".ljust(511, b"\0")
        + b"\x1a"
    ),
    "mic (OLE)": b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1",
    "photo CD": bytes(2048) + b"PCD_",
    "xv thumbnail": b"P7 332\n#END_OF_COMMENTS\n64 48 255\n",
    "pam": b"P7\nWIDTH 64\nHEIGHT 48\nDEPTH 3\nMAXVAL 255\nENDHDR\n",
    "pfm": b"PF\n64 48\n-1.0\n",
    "radiance": b"#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n",
    "openexr": b"\x76\x2f\x31\x01\x02\0\0\0",
    "bpg": b"BPG\xfb",
    "flif": b"FLIF\x30",
    "farbfeld": b"farbfeld\0\0\0\x40\0\0\0\x30",
    "mng": b"\x8aMNG\r\n\x1a\n",
    "jng": b"\x8bJNG\r\n\x1a\n",
    "vtf": b"VTF\0\x07\0\0\0",
    "ktx": b"\xabKTX 11\xbb\r\n\x1a\n",
    "camera raw": b"II*\0\x10\0\0\0CR\x02\0",
    "pict": bytes(512) + b"\0\0\0\0\0\0\0\x30\0\x40\0\x11\x02\xff",
    "image magick script": (
        b"push graphic-context\nviewbox 0 0 640 480\nfill 'url(https://example.com/|ls)'\n"
    ),
    "wave": b"RIFF\x24\0\0\0WAVEfmt ",
    "avi": b"RIFF\x24\0\0\0AVI LIST",
    "mp4": b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom",
    "matroska": b"\x1a\x45\xdf\xa3",
    "zip": b"PK\x03\x04\x14\0",
    "gzip": b"\x1f\x8b\x08\0",
    "elf": b"\x7fELF\x02\x01\x01",
    "script": b"#!/bin/sh\n",
    "html": b"<!doctype html><img src=x>",
    "json": b'{"image": "base64"}',
    "base64 of a JPEG": b"/9j/4AAQSkZJRgABAQAAAQABAAD/",
    "data url": b"data:image/png;base64,iVBORw0KGgo=",
    "text": b"not an image at all",
    "nothing": b"",
    "one byte": b"\xff",
    "zeros": bytes(4096),
    "nine megabytes of zeros": bytes(9_000_000),
    "GIF with version 88": b"GIF88a" + bytes(20),
    "GIF with a lower-case signature": b"gif89a" + bytes(20),
    "WebP in a big-endian RIFF": b"RIFX\0\0\0\x04WEBP",
}


def corpus() -> Iterator[Case]:
    """Yield all files of unsupported formats."""
    yield from cases(
        Kind.FOREIGN,
        Outcome.UNKNOWN_FORMAT,
        {name.lower(): encoded(gradient(64, 64, mode), name) for name, mode in _WRITTEN.items()},
    )
    yield from cases(Kind.FOREIGN, Outcome.UNKNOWN_FORMAT, _SIGNATURES)
    yield from cases(
        Kind.FOREIGN,
        Outcome.UNKNOWN_FORMAT,
        {
            "a JPEG after one byte": b"\0" + jpeg.valid()["JPEG"],
            "a JPEG after a byte order mark": b"\xef\xbb\xbf" + jpeg.valid()["JPEG"],
            "a PNG inside an ICO": encoded(gradient(256, 256), "ICO"),
            "a BMP inside an OS/2 array": b"BA" + bytes(12) + bmp.valid()["OS/2 BMP"],
        },
    )
