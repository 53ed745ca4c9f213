"""Hostile BMP files: a file header, an information header of one of seven lengths, masks or a
palette, and rows."""

import struct
from collections.abc import Iterator
from functools import cache

from tools.testing.hostile.cases import Block, Case, Kind, Outcome, cases, truncations
from tools.testing.hostile.pictures import noise
from tools.testing.images import encoded, gradient

_RAW, _RLE8, _RLE4, _BITFIELDS, _JPEG, _PNG = range(6)
_GREYS = b"".join(bytes([level, level, level, 0]) for level in range(256))
_SIXTEEN_GREYS = b"".join(_GREYS[4 * level : 4 * level + 4] for level in range(0, 256, 17))
_END = b"\0\x01"
"""The run-length code for the end of the bitmap."""


def _bmp(
    width: int = 64,
    height: int = 48,
    bits: int = 24,
    compression: int = _RAW,
    pixels: bytes | None = None,
    *,
    palette: bytes = b"",
    colours: int = 0,
    masks: bytes = b"",
    header_bytes: int = 40,
    planes: int = 1,
    offset: int | None = None,
) -> bytes:
    """Return a BMP with an information header of 40 bytes or more; `offset` is the pixel offset in
    the file header."""
    if pixels is None:
        pixels = _rows(width, abs(height), bits)
    info = struct.pack(
        "<IiiHHIIiiII",
        header_bytes,
        width,
        height,
        planes,
        bits,
        compression,
        len(pixels),
        0,
        0,
        colours,
        0,
    )
    headers = (info + masks).ljust(header_bytes, b"\0") + palette
    start = 14 + len(headers) if offset is None else offset
    return (
        b"BM"
        + struct.pack("<IHHI", 14 + len(headers) + len(pixels), 0, 0, start)
        + headers
        + pixels
    )


def _rows(width: int, height: int, bits: int) -> bytes:
    stride = (width * bits + 31) // 32 * 4
    return b"".join(bytes([5 * row & 0xFF]) * stride for row in range(height))


def _os2(bits: int, width: int = 64, height: int = 48) -> bytes:
    """A BMP with the oldest information header: 12 bytes, 16-bit sizes, 3-byte palette entries."""
    palette = b"".join(bytes([level]) * 3 for level in range(1 << bits)) if bits <= 8 else b""
    core = struct.pack("<IHHHH", 12, width, height, 1, bits)
    pixels = _rows(width, height, bits)
    offset = 14 + len(core) + len(palette)
    return (
        b"BM" + struct.pack("<IHHI", offset + len(pixels), 0, 0, offset) + core + palette + pixels
    )


def _of_palette(
    bits: int,
    compression: int = _RAW,
    pixels: bytes | None = None,
    width: int = 64,
    height: int = 48,
) -> bytes:
    return _bmp(
        width, height, bits, compression, pixels, palette=_GREYS[: 4 << bits], colours=1 << bits
    )


def _run_lengths(width: int, height: int, pixels: bytes) -> bytes:
    return _of_palette(8, _RLE8, pixels, width, height)


def _masks(*masks: int) -> bytes:
    return struct.pack(f"<{len(masks)}I", *masks)


_RGB565, _RGB555, _RGB888 = (
    _masks(0xF800, 0x7E0, 0x1F),
    _masks(0x7C00, 0x3E0, 0x1F),
    _masks(0xFF0000, 0xFF00, 0xFF),
)


@cache
def valid() -> dict[str, bytes]:
    """A small file for each kind of BMP, by name."""
    rle8 = b"".join(b"\x40" + bytes([5 * row]) + b"\0\0" for row in range(48)) + _END
    rle4 = b"".join(b"\x40" + bytes([17 * (row % 15)]) + b"\0\0" for row in range(48)) + _END
    return {
        "BMP": encoded(gradient(), "BMP"),
        "32-bit BMP": encoded(gradient(mode="RGBA"), "BMP"),
        "grey BMP": encoded(gradient(mode="L"), "BMP"),
        "palette BMP": encoded(gradient(mode="P"), "BMP"),
        "1-bit BMP": encoded(gradient(mode="1"), "BMP"),
        "4-bit BMP": _bmp(bits=4, palette=_SIXTEEN_GREYS, colours=16),
        "16-bit BMP": _bmp(bits=16),
        "16-bit BMP with masks": _bmp(bits=16, compression=_BITFIELDS, masks=_RGB565),
        "32-bit BMP with masks": _bmp(bits=32, compression=_BITFIELDS, masks=_RGB888),
        "32-bit BMP with an alpha mask": _bmp(
            bits=32, compression=_BITFIELDS, masks=_RGB888 + _masks(0xFF000000), header_bytes=124
        ),
        "top-down BMP": _bmp(height=-48),
        "RLE8 BMP": _of_palette(8, _RLE8, rle8),
        "RLE4 BMP": _of_palette(4, _RLE4, rle4),
        "OS/2 BMP": _os2(24),
        "8-bit OS/2 BMP": _os2(8),
        "BMP with a version 4 header": _bmp(header_bytes=108),
    }


def blocks(bmp: bytes) -> Iterator[Block]:
    """The two headers, the palette (or masks) and the pixels."""
    (start,) = struct.unpack_from("<I", bmp, 10)
    (header_bytes,) = struct.unpack_from("<I", bmp, 14)
    yield Block("signature", 0, 2, 2)
    yield Block("file header", 2, 6, 14)
    yield Block("information header", 14, 18, 14 + header_bytes)
    yield Block("palette", 14 + header_bytes, 14 + header_bytes, start)
    yield Block("pixels", start, start + 1, len(bmp))


def _cuts() -> Iterator[Case]:
    for name, bmp in valid().items():
        yield from truncations(name, bmp, blocks(bmp), signature=2, needed=len(bmp) - 4)


def corpus() -> Iterator[Case]:
    """All hostile BMP files."""
    bmp = valid()["BMP"]
    yield from cases(Kind.VALID, Outcome.ART, valid())
    yield from _cuts()
    yield from cases(
        Kind.BOMB,
        Outcome.TOO_MANY_PIXELS,
        {
            "BMP of 4 exapixels": _bmp(2**31 - 1, 2**31 - 1, pixels=b""),
            "BMP of 100 megapixels": _bmp(10_000, 10_000, pixels=b""),
            "OS/2 BMP of 4 gigapixels": b"BM"
            + struct.pack("<IHHIIHHHH", 26, 0, 0, 26, 12, 65_535, 65_535, 1, 24),
            "RLE8 BMP of 100 megapixels": _run_lengths(10_000, 10_000, b"\xff\x01" * 1000 + _END),
            "RLE8 BMP of one row of 49 megapixels": _run_lengths(49_000_000, 1, b"\1\1\0\0\0\1"),
            "BMP with the most negative height": _bmp(1, -(2**31), pixels=bytes(100)),
            "BMP with 5 million empty runs": _run_lengths(900, 900, b"\0\0" * 4_900_000 + _END),
        },
    )
    yield from cases(
        Kind.BOMB,
        Outcome.CHEAP,
        {
            "BMP with a million empty runs": _run_lengths(900, 900, b"\0\0" * 990_000 + _END),
            "BMP with a million runs of one pixel": _run_lengths(
                1000, 1000, b"\1\7" * 990_000 + _END
            ),
            "BMP with a quarter of a million runs of one pixel": _run_lengths(
                1000, 1000, b"\1\7" * 248_000 + _END
            ),
            "BMP with a million runs past the end of a row": _run_lengths(
                900, 900, b"\xff\7" * 990_000 + _END
            ),
            "BMP of a megapixel with five delta codes": _run_lengths(
                1000, 1000, b"\0\2\xff\xff" * 5 + _END
            ),
            "BMP with half a million delta codes of (0, 0)": _run_lengths(
                900, 900, b"\0\2\0\0" * 490_000 + _END
            ),
            "BMP of one row of a megapixel with one run": _run_lengths(
                999_999, 1, b"\1\7\0\0" + _END
            ),
            "RLE4 BMP of a megapixel in long runs": _of_palette(
                4, _RLE4, b"\xff\x12" * 4000 + _END, 1000, 1000
            ),
            "RLE4 BMP of a megapixel in absolute mode": _of_palette(
                4, _RLE4, (b"\0\xfe" + noise(127) + b"\0") * 3800 + _END, 1000, 1000
            ),
        },
    )
    yield from cases(
        Kind.MALFORMED,
        Outcome.DAMAGED,
        {
            "BMP signature alone": b"BM",
            "text that starts with a BMP signature": b"BMX is a kind of bicycle, and not of image"
            * 10,
            "BMP of a negative width": bmp[:18] + struct.pack("<ii", -5, 0) + bmp[26:],
            "BMP of width 0": _bmp(0, 48, pixels=bytes(9999)),
            "BMP of height 0": _bmp(64, 0, pixels=bytes(9999)),
            "BMP with four times the height in its header": _bmp(64, 192, pixels=_rows(64, 48, 24)),
            "BMP with ten times the width in its header": _bmp(640, 48, pixels=_rows(64, 48, 24)),
            "BMP with a pixel offset past its end": _bmp(offset=100_000),
            "BMP with a pixel offset of 4 GB": _bmp(offset=2**32 - 1),
            **{
                f"BMP with a header of {length} bytes": bmp[:14]
                + struct.pack("<I", length)
                + bmp[18:]
                for length in (0, 1, 3, 4, 13, 39, 41, 125, 2**31, 2**32 - 1)
            },
            **{
                f"BMP with {bits} bits per pixel": _bmp(bits=bits, pixels=bytes(20_000))
                for bits in (0, 2, 3, 5, 12, 48, 64, 65_535)
            },
            **{
                f"BMP with compression method {method}": _bmp(compression=method)
                for method in (_JPEG, _PNG, 6, 11, 2**32 - 1)
            },
            "BMP with an embedded JPEG": _bmp(
                bits=0, compression=_JPEG, pixels=encoded(gradient(), "JPEG")
            ),
            "BMP with an embedded PNG": _bmp(
                bits=0, compression=_PNG, pixels=encoded(gradient(), "PNG")
            ),
            "BMP with non-contiguous masks": _bmp(
                bits=32, compression=_BITFIELDS, masks=_masks(0xF0F0F0, 0, 0)
            ),
            "BMP with overlapping masks": _bmp(
                bits=32, compression=_BITFIELDS, masks=_masks(0xFFFFFF, 0xFFFFFF, 0xFFFFFF)
            ),
            "BMP with masks of one bit each": _bmp(
                bits=16, compression=_BITFIELDS, masks=_masks(1, 2, 4)
            ),
            "24-bit BMP with 16-bit masks": _bmp(bits=24, compression=_BITFIELDS, masks=_RGB565),
            "8-bit BMP with masks": _bmp(
                bits=8, compression=_BITFIELDS, masks=_RGB565, palette=_GREYS
            ),
            "16-bit BMP without its masks": _bmp(bits=16, compression=_BITFIELDS, pixels=b""),
            **{
                f"BMP with a count of {count} colours": _bmp(bits=8, palette=_GREYS, colours=count)
                for count in (2**31, 2**31 - 1, 2**32 - 1, 65_537)
            },
        },
    )
    yield from cases(
        Kind.MALFORMED,
        Outcome.ART_OR_DAMAGED,
        {
            "BMP with half the height in its header": _bmp(64, 24, pixels=_rows(64, 48, 24)),
            "BMP with a quarter of the width in its header": _bmp(16, 48, pixels=_rows(64, 48, 24)),
            "BMP with masks of zero": _bmp(bits=32, compression=_BITFIELDS, masks=_masks(0, 0, 0)),
            "top-down RLE8 BMP": _of_palette(8, _RLE8, b"\x40\x05\0\0" * 48 + _END, 64, -48),
            "BMP of height -1": _bmp(64, -1),
            "BMP with a pixel offset inside its header": _bmp(offset=20),
            "BMP with a pixel offset of 0": _bmp(offset=0),
            "8-bit BMP without a palette": _bmp(bits=8),
            "BMP with a count of one colour": _bmp(bits=8, palette=_GREYS, colours=1),
            "1-bit BMP with 256 colours": _bmp(bits=1, palette=_GREYS, colours=256),
            "BMP with a count of 65536 colours": _bmp(
                bits=8, palette=_GREYS, colours=65_536, pixels=bytes(400_000)
            ),
            "24-bit BMP with a count of 2^31 colours": _bmp(colours=2**31),
            "BMP with 0 planes": _bmp(planes=0),
            "BMP with 65535 planes": _bmp(planes=65_535),
            "BMP with a file size of 0": bmp[:2] + bytes(4) + bmp[6:],
            "BMP with a file size of 4 GB": bmp[:2] + b"\xff\xff\xff\xff" + bmp[6:],
            "16-bit BMP with 15-bit masks": _bmp(bits=16, compression=_BITFIELDS, masks=_RGB555),
            "24-bit BMP with RLE8 compression": _bmp(compression=_RLE8),
            "1-bit BMP with RLE8 compression": _of_palette(1, _RLE8, b"\x40\x01\0\0" * 48 + _END),
            "8-bit BMP with RLE4 compression": _of_palette(8, _RLE4, b"\x40\x12\0\0" * 48 + _END),
            "4-bit BMP with RLE8 compression": _of_palette(4, _RLE8, b"\x40\x12\0\0" * 48 + _END),
            "RLE8 BMP with noise as its pixel data": _run_lengths(64, 48, noise(5000)),
            "RLE8 BMP without pixel data": _run_lengths(64, 48, b""),
            "RLE8 BMP with nothing but an end code": _run_lengths(64, 48, _END),
            "RLE8 BMP with a truncated absolute run": _run_lengths(64, 48, b"\0\xff\x01"),
            "RLE8 BMP with delta codes past its end": _run_lengths(64, 48, b"\0\2\xff\xff" * 100),
            "RLE8 BMP with a truncated delta code": _run_lengths(64, 48, b"\0\2\xff"),
            "RLE8 BMP with more runs than pixels": _run_lengths(64, 48, b"\xff\x01" * 5000 + _END),
        },
    )
