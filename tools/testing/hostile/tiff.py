"""Hostile TIFF files: a header, a directory of entries, their values, and strips or tiles."""

import struct
import zlib
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from itertools import accumulate

from PIL import Image

from tools.testing.hostile.cases import Block, Case, Kind, Outcome, cases, truncations
from tools.testing.hostile.jpeg import black_jpeg
from tools.testing.hostile.pictures import noise
from tools.testing.images import encoded, gradient

_SUBFILE, _WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC, _FILL_ORDER = (
    254,
    256,
    257,
    258,
    259,
    262,
    266,
)
_OFFSETS, _ORIENTATION, _SAMPLES, _ROWS, _LENGTHS, _PLANAR, _PREDICTOR, _MAP = (
    273,
    274,
    277,
    278,
    279,
    284,
    317,
    320,
)
_TILE_WIDTH, _TILE_HEIGHT, _TILE_OFFSETS, _TILE_LENGTHS, _SUB_DIRECTORIES, _EXTRA, _FORMAT = (
    322,
    323,
    324,
    325,
    330,
    338,
    339,
)
_TABLES, _XMP, _PROFILE, _DNG = 347, 700, 34_675, 50_706

_SHORT, _LONG, _BYTES, _LONG8 = 3, 4, 7, 16
_FIELDS = {1: "B", _SHORT: "H", _LONG: "I", _BYTES: "B", _LONG8: "Q"}
_FAX_4, _LZW, _OLD_JPEG, _JPEG, _DEFLATE, _PACKBITS = 4, 5, 6, 7, 8, 32_773
_RGB, _PALETTE, _CMYK, _YCBCR, _LAB, _FILTER_ARRAY = 2, 3, 5, 6, 8, 32_803

_Values = tuple[int, Sequence[int]]
"""Type and values of an entry."""


def _file(
    entries: Sequence[tuple[int, _Values]],
    data: bytes = b"",
    *,
    order: str = "<",
    is_big: bool = False,
    following: int = 0,
    count: int | None = None,
) -> bytes:
    """A TIFF with the data at byte 16, then the values of entries and the directory."""
    word, word_bytes = ("Q", 8) if is_big else ("I", 4)
    packed, values, position = [], b"", 16 + len(data)
    for tag, (kind, numbers) in entries:
        value = struct.pack(f"{order}{len(numbers)}{_FIELDS[kind]}", *numbers)
        if len(value) > word_bytes:
            values += value
            value = struct.pack(f"{order}{word}", position + len(values) - len(value))
        packed.append(
            struct.pack(f"{order}HH{word}", tag, kind, len(numbers))
            + value.ljust(word_bytes, b"\0")
        )
    mark, start = {"<": b"II", ">": b"MM"}[order], position + len(values)
    head = (
        struct.pack(f"{order}HHHQ", 43, 8, 0, start)
        if is_big
        else struct.pack(f"{order}HI", 42, start)
    )
    number = struct.pack(
        f"{order}{'Q' if is_big else 'H'}", len(entries) if count is None else count
    )
    end = struct.pack(f"{order}{word}", following)
    return (mark + head).ljust(16, b"\0") + data + values + number + b"".join(packed) + end


def tiff(
    width: int = 64,
    height: int = 48,
    blocks: Sequence[bytes] | None = None,
    changes: Mapping[int, _Values | None] | None = None,
    *,
    bits: Sequence[int] = (8,),
    compression: int = 1,
    photometric: int = 1,
    order: str = "<",
    is_big: bool = False,
    following: int = 0,
) -> bytes:
    """A TIFF with an entry for each property. `changes` adds, replaces or, with None, removes
    entries."""
    if blocks is None:
        blocks = [
            b"".join(bytes([5 * row & 0xFF]) * (width * sum(bits) // 8) for row in range(height))
        ]
    starts = [*accumulate(map(len, blocks), initial=16)][:-1]
    entries: dict[int, _Values | None] = {
        _WIDTH: (_LONG, [width]),
        _HEIGHT: (_LONG, [height]),
        _BITS: (_SHORT, bits),
        _COMPRESSION: (_SHORT, [compression]),
        _PHOTOMETRIC: (_SHORT, [photometric]),
        _OFFSETS: (_LONG, starts),
        _SAMPLES: (_SHORT, [len(bits)]),
        _ROWS: (_LONG, [-(-height // max(1, len(blocks)))]),
        _LENGTHS: (_LONG, [*map(len, blocks)]),
        **(changes or {}),
    }
    if _TILE_WIDTH in entries:
        entries |= {_TILE_OFFSETS: entries.pop(_OFFSETS), _TILE_LENGTHS: entries.pop(_LENGTHS)}
    present = [(tag, values) for tag, values in sorted(entries.items()) if values is not None]
    return _file(present, b"".join(blocks), order=order, is_big=is_big, following=following)


def black_tiff(
    width: int,
    height: int,
    *,
    bits: Sequence[int] = (8, 8, 8),
    photometric: int = _RGB,
    compression: int = _DEFLATE,
    rows: int | None = None,
) -> bytes:
    """A black TIFF with strips of a number of rows, or one strip."""
    rows = min(height, rows or height)
    strip = bytes(rows * -(-width * sum(bits) // 8))
    strips = -(-height // rows)
    palette = {_MAP: (_SHORT, [0] * 3 * 2 ** bits[0])} if photometric == _PALETTE else {}
    return tiff(
        width,
        height,
        [zlib.compress(strip, 1) if compression == _DEFLATE else strip] * strips,
        {_ROWS: (_LONG, [rows]), **palette},
        bits=bits,
        photometric=photometric,
        compression=compression,
    )


def _tiles(tile: int, samples: int, count: int) -> list[bytes]:
    return [bytes([20 * number]) * (tile * tile * samples) for number in range(count)]


def _tile_size(across: int, down: int) -> dict[int, _Values | None]:
    return {_TILE_WIDTH: (_LONG, [across]), _TILE_HEIGHT: (_LONG, [down]), _ROWS: None}


def _pages(*pages: Image.Image) -> bytes:
    return encoded(pages[0], "TIFF", save_all=True, append_images=[*pages[1:]])


@cache
def valid() -> dict[str, bytes]:
    """A small file for each kind of TIFF, by name."""
    grey, image, rgb16 = (
        gradient(mode="L"),
        gradient(),
        b"".join(bytes([5 * row, 0] * 3) * 64 for row in range(48)),
    )
    return {
        "TIFF": encoded(image, "TIFF"),
        "LZW TIFF": encoded(image, "TIFF", compression="tiff_lzw"),
        "deflate TIFF in strips": encoded(
            grey, "TIFF", compression="tiff_adobe_deflate", tiffinfo={_ROWS: 16}
        ),
        "PackBits TIFF": encoded(gradient(mode="RGBA"), "TIFF", compression="packbits"),
        "JPEG TIFF": encoded(image.convert("YCbCr"), "TIFF", compression="jpeg"),
        "fax TIFF": encoded(gradient(mode="1"), "TIFF", compression="group4"),
        "TIFF of three pages": _pages(image, grey, grey),
        "CMYK TIFF": encoded(gradient(mode="CMYK"), "TIFF", compression="tiff_lzw"),
        "palette TIFF": encoded(gradient(mode="P"), "TIFF"),
        "tiled TIFF": tiff(
            blocks=_tiles(32, 3, 4), changes=_tile_size(32, 32), bits=(8, 8, 8), photometric=_RGB
        ),
        "TIFF of planes": tiff(
            blocks=[bytes([60 * plane]) * 64 * 48 for plane in range(3)],
            changes={_PLANAR: (_SHORT, [2]), _ROWS: (_LONG, [48])},
            bits=(8, 8, 8),
            photometric=_RGB,
        ),
        "16-bit TIFF": tiff(bits=(16,), order=">"),
        "16-bit RGB TIFF": tiff(blocks=[rgb16], bits=(16, 16, 16), photometric=_RGB),
        "4-bit TIFF": tiff(bits=(4,), photometric=0),
        "BigTIFF": tiff(is_big=True),
        "big-endian BigTIFF": tiff(is_big=True, order=">"),
    }


def blocks(tiff: bytes) -> Iterator[Block]:
    """The header, everything before and behind the directory, and the directory."""
    order = "<" if tiff[:1] == b"I" else ">"
    is_big = 43 in tiff[2:4]
    (start,) = struct.unpack_from(f"{order}Q" if is_big else f"{order}I", tiff, 8 if is_big else 4)
    (count,) = struct.unpack_from(f"{order}Q" if is_big else f"{order}H", tiff, start)
    end = start + (8 + 20 * count + 8 if is_big else 2 + 12 * count + 4)
    yield Block("signature", 0, 4, 16 if is_big else 8)
    yield Block("data before the directory", 16, 16, start)
    yield Block("directory", start, start + 2, end)
    yield Block("data behind the directory", end, end, len(tiff))


def _cuts() -> Iterator[Case]:
    for name, image in valid().items():
        if name != "TIFF of three pages":  # whose first page is a part of it
            yield from truncations(name, image, blocks(image), signature=4, needed=len(image) - 32)


def _in_jpeg(jpeg: bytes, width: int = 64, height: int = 48) -> bytes:
    return tiff(width, height, [jpeg], bits=(8, 8, 8), compression=_JPEG, photometric=_YCBCR)


def _with_frame(code: int) -> bytes:
    jpeg = encoded(gradient(), "JPEG")
    return _in_jpeg(jpeg.replace(b"\xff\xc0", bytes([0xFF, code]), 1))


def _chain(length: int) -> bytes:
    """A TIFF whose directory is followed by many others, each with one entry."""
    image = tiff()
    start = len(image)
    directories = b"".join(
        struct.pack("<HHHIII", 1, _WIDTH, _LONG, 1, 64, start + 18 * (number + 1))
        for number in range(length)
    )
    return image[:-4] + struct.pack("<I", start) + directories


def corpus() -> Iterator[Case]:
    """All hostile TIFF files."""
    image = tiff()
    zeros = zlib.compress(bytes(60_000_000), 1)
    yield from cases(Kind.VALID, Outcome.ART, valid())
    yield from _cuts()
    yield from cases(
        Kind.BOMB,
        Outcome.TOO_MANY_PIXELS,
        {
            "TIFF of 100 megapixels": tiff(10_000, 10_000, [bytes(9)]),
            "TIFF of 18 exapixels": tiff(2**32 - 1, 2**32 - 1, [bytes(9)]),
            "TIFF of 100 megapixels in a hundred thousand strips": tiff(
                1000, 100_000, [b""] * 100_000
            ),
            "TIFF with a tile of 4 gigapixels": tiff(
                blocks=[zlib.compress(bytes(100))],
                changes=_tile_size(65_520, 65_520),
                compression=_DEFLATE,
            ),
            "deflate TIFF of 30 megapixels in one strip": tiff(
                6000, 5000, [bytes(90_000)], bits=(8, 8, 8), photometric=_RGB, compression=_DEFLATE
            ),
        },
    )
    yield from cases(
        Kind.BOMB,
        Outcome.ART,
        {
            "TIFF with its directory in a loop": tiff(following=len(image) - 4 - 9 * 12 - 2),
            "TIFF with ten thousand directories": _chain(10_000),
            "TIFF with a subdirectory that is its directory": tiff(
                changes={_SUB_DIRECTORIES: (_LONG, [len(image) - 122])}
            ),
            "TIFF with 9 MB of XMP": tiff(changes={_XMP: (_BYTES, b"<" * 9_000_000)}),
            "TIFF with a colour profile of 9 MB": tiff(
                changes={_PROFILE: (_BYTES, bytes(9_000_000))}
            ),
            "deflate TIFF with a strip that inflates to 60 MB": tiff(
                blocks=[zeros], compression=_DEFLATE
            ),
            "TIFF with 200 pages": _pages(*[gradient(mode="1")] * 200),
        },
    )
    yield from cases(
        Kind.LARGE,
        Outcome.ART,
        {
            "TIFF of 21 megapixels in one strip": black_tiff(5250, 4000),
            "16-bit TIFF of 12 megapixels in one strip": black_tiff(4000, 3000, bits=(16, 16, 16)),
            "bilevel TIFF of 50 megapixels": black_tiff(7070, 7070, bits=(1,), photometric=1),
        },
    )
    yield from cases(
        Kind.LARGE,
        Outcome.TOO_MUCH_ART,
        {"TIFF of a column of 65,535 pixels": black_tiff(1, 65_535)},
    )
    yield from cases(
        Kind.BOMB,
        Outcome.CHEAP,
        {
            "TIFF with 16,384 strips": tiff(200, 16_384, [bytes(200)] * 16_384),
            "deflate TIFF with 16,384 strips": tiff(
                200, 16_384, [zlib.compress(bytes(200))] * 16_384, compression=_DEFLATE
            ),
            "fax TIFF of 40,000 rows of noise": tiff(
                300, 40_000, [noise(600_000)], bits=(1,), compression=_FAX_4
            ),
            "fax TIFF of 20 megapixels of noise": tiff(
                4000, 5000, [noise(600_000)], bits=(1,), compression=_FAX_4
            ),
            "LZW TIFF of noise": tiff(2000, 2000, [noise(600_000)], compression=_LZW),
            "JPEG TIFF with a tile of a pixel in its frame": _in_jpeg(
                encoded(gradient(1, 1), "JPEG")
            ),
        },
    )
    yield from cases(
        Kind.BOMB,
        Outcome.DAMAGED,
        {
            "TIFF with 16,384 strips over each other": tiff(
                64,
                16_384,
                [noise(600_000)],
                {_ROWS: (_LONG, [1]), **_over_each_other(16_384, 600_000)},
            ),
            "TIFF with 65,535 entries": _file([(_WIDTH, (_LONG, [64]))] * 65_535),
            "BigTIFF with 2^63 entries": _file([(_WIDTH, (_LONG, [64]))], is_big=True, count=2**63),
            "LZW TIFF of 20 megapixels in a hundred bytes": tiff(
                5000, 4000, [bytes(100)], compression=_LZW
            ),
            "fax TIFF of 20 megapixels in a hundred bytes": tiff(
                4000, 5000, [bytes(100)], bits=(1,), compression=_FAX_4
            ),
            "JPEG TIFF with a frame of 65,000 pixels across": _in_jpeg(_jpeg_of(65_000, 48)),
        },
    )
    yield from cases(
        Kind.MALFORMED,
        Outcome.DAMAGED,
        {
            "TIFF signature alone": b"II*\0",
            "BigTIFF signature alone": b"II+\0\x08\0\0\0",
            "TIFF with a directory past its end": b"II*\0\xff\xff\xff\x7f",
            "BigTIFF with a directory at 2^64": b"II+\0\x08\0\0\0" + b"\xff" * 8,
            "TIFF with a directory inside its header": b"II*\0\0\0\0\0" + bytes(64),
            "TIFF without entries": _file([]),
            "BigTIFF of 2^41 pixels across": tiff(changes={_WIDTH: (_LONG8, [2**41])}, is_big=True),
            "TIFF without a width": tiff(changes={_WIDTH: None}),
            "TIFF of width 0": tiff(changes={_WIDTH: (_LONG, [0])}),
            "TIFF of height 0": tiff(changes={_HEIGHT: (_LONG, [0])}),
            "TIFF without strips": tiff(changes={_OFFSETS: None}),
            "TIFF without the lengths of strips": tiff(changes={_LENGTHS: None}),
            "TIFF with a strip past its end": tiff(changes={_OFFSETS: (_LONG, [2**32 - 1])}),
            "TIFF with a strip of 4 GB": tiff(changes={_LENGTHS: (_LONG, [2**32 - 1])}),
            "TIFF with an empty strip": tiff(changes={_LENGTHS: (_LONG, [0])}),
            "TIFF with too few strips": tiff(changes={_ROWS: (_LONG, [8])}),
            "TIFF with four times the height in its directory": tiff(
                changes={_HEIGHT: (_LONG, [192])}
            ),
            "TIFF with ten times the width in its directory": tiff(
                changes={_WIDTH: (_LONG, [640])}
            ),
            "TIFF with tiles of no size": tiff(changes=_tile_size(0, 0)),
            "TIFF with too few tiles": tiff(blocks=_tiles(16, 1, 2), changes=_tile_size(16, 16)),
            "TIFF with more entries than bytes": _file([(_WIDTH, (_LONG, [64]))], count=4000),
            "TIFF with a value of 4 GB": _file(
                [(_WIDTH, (_LONG, [64])), (_HEIGHT, (_LONG, [48]))], count=3
            ),
            "JPEG TIFF with a frame larger than its strip": _in_jpeg(
                encoded(gradient(640, 480), "JPEG")
            ),
            "JPEG TIFF with three components for grey": tiff(
                blocks=[encoded(gradient(), "JPEG")], compression=_JPEG
            ),
            "deflate TIFF of noise": tiff(blocks=[noise(5000)], compression=_DEFLATE),
        },
    )
    yield from cases(
        Kind.MALFORMED,
        Outcome.UNKNOWN_FORMAT,
        {
            **{
                f"TIFF with compression {compression}": tiff(compression=compression)
                for compression in (0, 2, _OLD_JPEG, 9, 34_712, 34_925, 50_000, 50_001, 65_535)
            },
            **{
                f"TIFF with {bits} bits": tiff(bits=(bits,), blocks=[bytes(9999)])
                for bits in (0, 3, 12, 24, 32, 64, 65_535)
            },
            "TIFF with samples of different bits": tiff(bits=(8, 16, 8), photometric=_RGB),
            "TIFF with five samples": tiff(bits=(8,) * 5, photometric=_RGB),
            "TIFF with a count of 65,535 samples": tiff(changes={_SAMPLES: (_SHORT, [65_535])}),
            "TIFF of floating-point samples": tiff(changes={_FORMAT: (_SHORT, [3])}),
            "TIFF of signed samples": tiff(changes={_FORMAT: (_SHORT, [2])}),
            "Lab TIFF": tiff(bits=(8, 8, 8), photometric=_LAB),
            "palette TIFF without a palette": tiff(photometric=_PALETTE),
            "YCbCr TIFF without compression": tiff(bits=(8, 8, 8), photometric=_YCBCR),
            "16-bit TIFF of planes": tiff(
                bits=(16,) * 3, photometric=_RGB, changes={_PLANAR: (_SHORT, [2])}
            ),
            "TIFF with a floating-point predictor": tiff(
                compression=_LZW, changes={_PREDICTOR: (_SHORT, [3])}
            ),
            "8-bit fax TIFF": tiff(compression=_FAX_4),
            "camera raw TIFF": tiff(photometric=_FILTER_ARRAY),
            "digital negative": tiff(changes={_DNG: (1, [1, 4, 0, 0])}),
            "TIFF whose first image is a thumbnail": tiff(changes={_SUBFILE: (_LONG, [1])}),
            "JPEG TIFF of a progressive JPEG": _in_jpeg(
                encoded(gradient(), "JPEG", progressive=True)
            ),
            "JPEG TIFF with a scan for each component": _in_jpeg(
                black_jpeg(64, 48, [(1, 1)] * 3, separate=True)
            ),
            "JPEG TIFF with two frames": _in_jpeg(_with_second_frame()),
            "JPEG TIFF of an arithmetic JPEG": _with_frame(0xC9),
            "JPEG TIFF of noise": _in_jpeg(noise(5000)),
            "JPEG TIFF without a frame": _in_jpeg(b"\xff\xd8" + b"\xff\xfe\0\2" * 200),
        },
    )
    yield from cases(
        Kind.MALFORMED,
        Outcome.ART_OR_DAMAGED,
        {
            "TIFF with half the height in its directory": tiff(changes={_HEIGHT: (_LONG, [24])}),
            "TIFF with its entries in reverse order": _file(
                [*reversed(_entries_of_grey())], bytes(64 * 48)
            ),
            "TIFF with two widths": _file(
                [(_WIDTH, (_LONG, [64])), *_entries_of_grey()], bytes(64 * 48)
            ),
            "TIFF with orientation 9": tiff(changes={_ORIENTATION: (_SHORT, [9])}),
            "TIFF with 2^32 - 1 rows in a strip": tiff(changes={_ROWS: (_LONG, [2**32 - 1])}),
            "TIFF with 0 rows in a strip": tiff(changes={_ROWS: (_LONG, [0])}),
            "TIFF with the tags of strips and of tiles": tiff(
                changes={_TILE_OFFSETS: (_LONG, [16])}
            ),
            "JPEG TIFF with tables of noise": tiff(
                blocks=[encoded(gradient(mode="L"), "JPEG")],
                compression=_JPEG,
                changes={_TABLES: (_BYTES, noise(2000))},
            ),
            "LZW TIFF with noise as its pixels": tiff(blocks=[noise(5000)], compression=_LZW),
            "PackBits TIFF with noise as its pixels": tiff(
                blocks=[noise(5000)], compression=_PACKBITS
            ),
            "fax TIFF with noise as its pixels": tiff(
                blocks=[noise(5000)], compression=_FAX_4, bits=(1,)
            ),
            "TIFF with a palette of noise": tiff(
                photometric=_PALETTE,
                changes={_MAP: (_SHORT, [7 * number for number in range(768)])},
            ),
            "bilevel TIFF with reversed bits": tiff(
                bits=(1,), changes={_FILL_ORDER: (_SHORT, [2])}
            ),
            "CMYK TIFF with reversed samples": tiff(bits=(8,) * 4, photometric=_CMYK, order=">"),
            "TIFF with 1000 bytes after its end": image + bytes(1000),
        },
    )


def _over_each_other(count: int, length: int) -> dict[int, _Values]:
    return {_OFFSETS: (_LONG, [16] * count), _LENGTHS: (_LONG, [length] * count)}


def _entries_of_grey() -> list[tuple[int, _Values]]:
    numbers = {
        _WIDTH: 64,
        _HEIGHT: 48,
        _BITS: 8,
        _COMPRESSION: 1,
        _PHOTOMETRIC: 1,
        _OFFSETS: 16,
        _ROWS: 48,
        _LENGTHS: 64 * 48,
    }
    return [(tag, (_LONG, [number])) for tag, number in numbers.items()]


def _with_second_frame() -> bytes:
    """A JPEG with a second frame, copied from a progressive JPEG."""
    jpeg = encoded(gradient(), "JPEG")
    start = jpeg.index(b"\xff\xc0")
    frame = jpeg[start : start + 19]
    return jpeg[: start + 19] + b"\xff\xc2" + frame[2:] + jpeg[start + 19 :]


def _jpeg_of(width: int, height: int) -> bytes:
    jpeg = encoded(gradient(), "JPEG")
    frame = jpeg.index(b"\xff\xc0")
    return jpeg[: frame + 5] + struct.pack(">HH", height, width) + jpeg[frame + 9 :]
