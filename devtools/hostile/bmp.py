"""BMP: a file header, an information header of one of seven lengths, a palette, rows from the bottom up."""

import struct
from collections.abc import Iterator
from functools import cache

from devtools.hostile.cases import Block, Case, Kind, Outcome, cases, truncations
from devtools.hostile.pictures import noise
from devtools.images import encoded, gradient

_RAW, _RLE8, _RLE4, _BITFIELDS, _JPEG, _PNG = range(6)
_GREYS = b"".join(bytes([level, level, level, 0]) for level in range(256))
_SIXTEEN_GREYS = b"".join(_GREYS[4 * level : 4 * level + 4] for level in range(0, 256, 17))
_END = b"\0\x01"
"""The run-length code of the end."""


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
    """A BMP of an information header of 40 bytes or more; `offset` is where it says its pixels are."""
    if pixels is None:
        pixels = _rows(width, abs(height), bits)
    info = struct.pack("<IiiHHIIiiII", header_bytes, width, height, planes, bits, compression, len(pixels), 0, 0, colours, 0)
    ahead = (info + masks).ljust(header_bytes, b"\0") + palette
    start = 14 + len(ahead) if offset is None else offset
    return b"BM" + struct.pack("<IHHI", 14 + len(ahead) + len(pixels), 0, 0, start) + ahead + pixels


def _rows(width: int, height: int, bits: int) -> bytes:
    stride = (width * bits + 31) // 32 * 4
    return b"".join(bytes([5 * row & 0xFF]) * stride for row in range(height))


def _os2(bits: int, width: int = 64, height: int = 48) -> bytes:
    """The oldest header: 12 bytes, sizes of 16 bits, palette entries of three bytes."""
    palette = b"".join(bytes([level]) * 3 for level in range(1 << bits)) if bits <= 8 else b""
    core = struct.pack("<IHHHH", 12, width, height, 1, bits)
    pixels = _rows(width, height, bits)
    offset = 14 + len(core) + len(palette)
    return b"BM" + struct.pack("<IHHI", offset + len(pixels), 0, 0, offset) + core + palette + pixels


def _of_palette(bits: int, compression: int = _RAW, pixels: bytes | None = None, width: int = 64, height: int = 48) -> bytes:
    return _bmp(width, height, bits, compression, pixels, palette=_GREYS[: 4 << bits], colours=1 << bits)


def _run_lengths(width: int, height: int, pixels: bytes) -> bytes:
    return _of_palette(8, _RLE8, pixels, width, height)


def _masks(*masks: int) -> bytes:
    return struct.pack(f"<{len(masks)}I", *masks)


_RGB565, _RGB555, _RGB888 = _masks(0xF800, 0x7E0, 0x1F), _masks(0x7C00, 0x3E0, 0x1F), _masks(0xFF0000, 0xFF00, 0xFF)


@cache
def valid() -> dict[str, bytes]:
    """A small file of each kind of BMP."""
    rle8 = b"".join(b"\x40" + bytes([5 * row]) + b"\0\0" for row in range(48)) + _END
    rle4 = b"".join(b"\x40" + bytes([17 * (row % 15)]) + b"\0\0" for row in range(48)) + _END
    return {
        "BMP": encoded(gradient(), "BMP"),
        "BMP of 32 bits": encoded(gradient(mode="RGBA"), "BMP"),
        "grey BMP": encoded(gradient(mode="L"), "BMP"),
        "palette BMP": encoded(gradient(mode="P"), "BMP"),
        "BMP of 1 bit": encoded(gradient(mode="1"), "BMP"),
        "BMP of 4 bits": _bmp(bits=4, palette=_SIXTEEN_GREYS, colours=16),
        "BMP of 16 bits": _bmp(bits=16),
        "BMP of 16 bits with masks": _bmp(bits=16, compression=_BITFIELDS, masks=_RGB565),
        "BMP of 32 bits with masks": _bmp(bits=32, compression=_BITFIELDS, masks=_RGB888),
        "BMP of 32 bits with a mask of alpha": _bmp(
            bits=32, compression=_BITFIELDS, masks=_RGB888 + _masks(0xFF000000), header_bytes=124
        ),
        "BMP from the top down": _bmp(height=-48),
        "BMP of run lengths": _of_palette(8, _RLE8, rle8),
        "BMP of run lengths of 4 bits": _of_palette(4, _RLE4, rle4),
        "OS/2 BMP": _os2(24),
        "OS/2 BMP of 8 bits": _os2(8),
        "BMP of header 4": _bmp(header_bytes=108),
    }


def blocks(bmp: bytes) -> Iterator[Block]:
    """The two headers, the masks and the palette, and the pixels."""
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
    """Every hostile BMP."""
    bmp = valid()["BMP"]
    yield from cases(Kind.VALID, Outcome.ART, valid())
    yield from _cuts()
    yield from cases(
        Kind.BOMB,
        Outcome.TOO_MANY_PIXELS,
        {
            "BMP of 4 exapixels": _bmp(2**31 - 1, 2**31 - 1, pixels=b""),
            "BMP of 100 megapixels": _bmp(10_000, 10_000, pixels=b""),
            "OS/2 BMP of 4 gigapixels": b"BM" + struct.pack("<IHHIIHHHH", 26, 0, 0, 26, 12, 65_535, 65_535, 1, 24),
            "BMP of 100 megapixels in RLE": _run_lengths(10_000, 10_000, b"\xff\x01" * 1000 + _END),
            "BMP of one row of 49 megapixels in RLE": _run_lengths(49_000_000, 1, b"\1\1\0\0\0\1"),
            "BMP of the most negative height": _bmp(1, -(2**31), pixels=bytes(100)),
            "BMP of 5 million runs of nothing": _run_lengths(900, 900, b"\0\0" * 4_900_000 + _END),
        },
    )
    yield from cases(
        Kind.BOMB,
        Outcome.CHEAP,
        {
            "BMP of a million runs of nothing": _run_lengths(900, 900, b"\0\0" * 990_000 + _END),
            "BMP of a million runs of one": _run_lengths(1000, 1000, b"\1\7" * 990_000 + _END),
            "BMP of a quarter of a million runs of one": _run_lengths(1000, 1000, b"\1\7" * 248_000 + _END),
            "BMP of a million runs past the end of a row": _run_lengths(900, 900, b"\xff\7" * 990_000 + _END),
            "BMP of a megapixel in one leap": _run_lengths(1000, 1000, b"\0\2\xff\xff" * 5 + _END),
            "BMP of half a million leaps of nothing": _run_lengths(900, 900, b"\0\2\0\0" * 490_000 + _END),
            "BMP of rows ended by the decoder": _run_lengths(999_999, 1, b"\1\7\0\0" + _END),
            "BMP of a megapixel of runs of 4 bits": _of_palette(4, _RLE4, b"\xff\x12" * 4000 + _END, 1000, 1000),
            "BMP of a megapixel of single pixels of 4 bits": _of_palette(
                4, _RLE4, (b"\0\xfe" + noise(127) + b"\0") * 3800 + _END, 1000, 1000
            ),
        },
    )
    yield from cases(
        Kind.LIE,
        Outcome.DAMAGED,
        {
            "BMP signature alone": b"BM",
            "words that begin like a BMP": b"BMX is a kind of bicycle, and not of image" * 10,
            "BMP of a negative size": bmp[:18] + struct.pack("<ii", -5, 0) + bmp[26:],
            "BMP of no width": _bmp(0, 48, pixels=bytes(9999)),
            "BMP of no height": _bmp(64, 0, pixels=bytes(9999)),
            "BMP of four times its height": _bmp(64, 192, pixels=_rows(64, 48, 24)),
            "BMP of ten times its width": _bmp(640, 48, pixels=_rows(64, 48, 24)),
            "BMP whose pixels are behind its end": _bmp(offset=100_000),
            "BMP whose pixels are 4 GB away": _bmp(offset=2**32 - 1),
            **{
                f"BMP of a header of {length} bytes": bmp[:14] + struct.pack("<I", length) + bmp[18:]
                for length in (0, 1, 3, 4, 13, 39, 41, 125, 2**31, 2**32 - 1)
            },
            **{f"BMP of {bits} bits": _bmp(bits=bits, pixels=bytes(20_000)) for bits in (0, 2, 3, 5, 12, 48, 64, 65_535)},
            **{f"BMP of compression {method}": _bmp(compression=method) for method in (_JPEG, _PNG, 6, 11, 2**32 - 1)},
            "BMP that holds a JPEG": _bmp(bits=0, compression=_JPEG, pixels=encoded(gradient(), "JPEG")),
            "BMP that holds a PNG": _bmp(bits=0, compression=_PNG, pixels=encoded(gradient(), "PNG")),
            "BMP of masks of zeros": _bmp(bits=32, compression=_BITFIELDS, masks=_masks(0xF0F0F0, 0, 0)),
            "BMP of masks that overlap": _bmp(bits=32, compression=_BITFIELDS, masks=_masks(0xFFFFFF, 0xFFFFFF, 0xFFFFFF)),
            "BMP of masks of one bit each": _bmp(bits=16, compression=_BITFIELDS, masks=_masks(1, 2, 4)),
            "BMP of 24 bits with masks of 16": _bmp(bits=24, compression=_BITFIELDS, masks=_RGB565),
            "BMP of 8 bits with masks": _bmp(bits=8, compression=_BITFIELDS, masks=_RGB565, palette=_GREYS),
            "BMP of 16 bits without its masks": _bmp(bits=16, compression=_BITFIELDS, pixels=b""),
            **{
                f"BMP of {count} colours": _bmp(bits=8, palette=_GREYS, colours=count)
                for count in (2**31, 2**31 - 1, 2**32 - 1, 65_537)
            },
        },
    )
    yield from cases(
        Kind.LIE,
        Outcome.ART_OR_DAMAGED,
        {
            "BMP of half its height": _bmp(64, 24, pixels=_rows(64, 48, 24)),
            "BMP of a quarter of its width": _bmp(16, 48, pixels=_rows(64, 48, 24)),
            "BMP of all masks zero": _bmp(bits=32, compression=_BITFIELDS, masks=_masks(0, 0, 0)),
            "BMP from the top down of run lengths": _of_palette(8, _RLE8, b"\x40\x05\0\0" * 48 + _END, 64, -48),
            "BMP of the least negative height": _bmp(64, -1),
            "BMP whose pixels begin within its header": _bmp(offset=20),
            "BMP whose pixels begin at its start": _bmp(offset=0),
            "BMP of no colours and no palette": _bmp(bits=8),
            "BMP of one colour": _bmp(bits=8, palette=_GREYS, colours=1),
            "BMP of more colours than bits": _bmp(bits=1, palette=_GREYS, colours=256),
            "BMP of 65536 colours": _bmp(bits=8, palette=_GREYS, colours=65_536, pixels=bytes(400_000)),
            "BMP of 24 bits with 2 to the 31 colours": _bmp(colours=2**31),
            "BMP of no planes": _bmp(planes=0),
            "BMP of 65535 planes": _bmp(planes=65_535),
            "BMP of a file of no length": bmp[:2] + bytes(4) + bmp[6:],
            "BMP of a file of 4 GB": bmp[:2] + b"\xff\xff\xff\xff" + bmp[6:],
            "BMP of 16 bits with masks of 15": _bmp(bits=16, compression=_BITFIELDS, masks=_RGB555),
            "BMP of 24 bits in run lengths": _bmp(compression=_RLE8),
            "BMP of 1 bit in run lengths": _of_palette(1, _RLE8, b"\x40\x01\0\0" * 48 + _END),
            "BMP of 8 bits in run lengths of 4": _of_palette(8, _RLE4, b"\x40\x12\0\0" * 48 + _END),
            "BMP of 4 bits in run lengths of 8": _of_palette(4, _RLE8, b"\x40\x12\0\0" * 48 + _END),
            "BMP of run lengths of noise": _run_lengths(64, 48, noise(5000)),
            "BMP of run lengths of nothing": _run_lengths(64, 48, b""),
            "BMP of run lengths that end at once": _run_lengths(64, 48, _END),
            "BMP of a run of pixels that are not there": _run_lengths(64, 48, b"\0\xff\x01"),
            "BMP of a leap past the end": _run_lengths(64, 48, b"\0\2\xff\xff" * 100),
            "BMP of a leap cut short": _run_lengths(64, 48, b"\0\2\xff"),
            "BMP of more runs than pixels": _run_lengths(64, 48, b"\xff\x01" * 5000 + _END),
        },
    )
