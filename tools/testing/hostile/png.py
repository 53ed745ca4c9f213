"""Hostile PNG files (W3C PNG 3 section 5)."""

import struct
import zlib
from collections.abc import Callable, Iterable, Iterator
from functools import cache

from PIL import PngImagePlugin

from tools.testing.hostile.cases import Block, Case, Kind, Outcome, cases, truncations
from tools.testing.hostile.pictures import BOMB_BYTES, broken_exif, exif, frames, noise
from tools.testing.images import encoded, gradient

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_GREY, _RGB, _PALETTE, _GREY_ALPHA, _RGBA = 0, 2, 3, 4, 6
DEPTHS = {
    _GREY: (1, 2, 4, 8, 16),
    _RGB: (8, 16),
    _PALETTE: (1, 2, 4, 8),
    _GREY_ALPHA: (8, 16),
    _RGBA: (8, 16),
}
_CHANNELS = {_GREY: 1, _RGB: 3, _PALETTE: 1, _GREY_ALPHA: 2, _RGBA: 4}


def png_chunk(kind: bytes, content: bytes) -> bytes:
    """A PNG chunk: length, type, content, checksum."""
    return (
        struct.pack(">I", len(content))
        + kind
        + content
        + struct.pack(">I", zlib.crc32(kind + content))
    )


def header(
    width: int = 64, height: int = 48, depth: int = 8, colour: int = _RGB, *methods: int
) -> bytes:
    """An IHDR chunk; `methods` are the methods of compression, filter and interlace."""
    return png_chunk(
        b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, *(methods or (0, 0, 0)))
    )


def png_of_header(width: int, height: int, depth: int = 8, colour: int = 2) -> bytes:
    """A PNG with a header and an empty zlib stream."""
    return _png(header(width, height, depth, colour), png_chunk(b"IDAT", zlib.compress(b"")))


def _png(*chunks: bytes) -> bytes:
    return _SIGNATURE + b"".join(chunks) + png_chunk(b"IEND", b"")


def rows(
    width: int = 64, height: int = 48, depth: int = 8, colour: int = _RGB, filter_type: int = 0
) -> bytes:
    """The uncompressed scanlines of an image."""
    length = (width * depth * _CHANNELS[colour] + 7) // 8
    return b"".join(
        bytes([filter_type]) + bytes([5 * row & 0xFF]) * length for row in range(height)
    )


def pixels(*arguments: int) -> bytes:
    """An IDAT chunk with the compressed `rows`."""
    return png_chunk(b"IDAT", zlib.compress(rows(*arguments)))


_COLOURS = png_chunk(b"PLTE", bytes(range(192)))
_ADAM7 = (
    (0, 8, 0, 8),
    (4, 8, 0, 8),
    (0, 4, 4, 8),
    (2, 4, 0, 4),
    (0, 2, 2, 4),
    (1, 2, 0, 2),
    (0, 1, 1, 2),
)
"""First column, step of columns, first row and step of rows of each pass of an interlaced image."""


def black_png(
    width: int,
    height: int,
    depth: int = 8,
    colour: int = _GREY,
    *,
    interlaced: bool = False,
    before: Iterable[bytes] = (),
    behind: Iterable[bytes] = (),
) -> bytes:
    """A complete PNG of zeros, with additional chunks before and after its pixels."""
    passes = _ADAM7 if interlaced else ((0, 1, 0, 1),)
    length = 0
    for left, across, top, down in passes:
        columns, lines = -(-(width - left) // across), -(-(height - top) // down)
        if columns > 0:
            length += max(0, lines) * (1 + (columns * depth * _CHANNELS[colour] + 7) // 8)
    palette = [_COLOURS] if colour == _PALETTE else []
    return _png(
        header(width, height, depth, colour, 0, 0, int(interlaced)),
        *palette,
        *before,
        png_chunk(b"IDAT", _compressed_zeros(length)),
        *behind,
    )


def _compressed_zeros(length: int) -> bytes:
    """A zlib stream of zeros, compressed piece by piece."""
    compressor = zlib.compressobj()
    piece = bytes(1 << 20)
    parts = [compressor.compress(piece[: length - start]) for start in range(0, length, len(piece))]
    return b"".join([*parts, compressor.flush()])


def with_png_chunks(*chunks: bytes) -> bytes:
    """A valid PNG with additional chunks after its header."""
    png = valid()["PNG"]
    return png[:33] + b"".join(chunks) + png[33:]


@cache
def valid() -> dict[str, bytes]:
    """A small file for each kind of PNG, by name."""
    texts = PngImagePlugin.PngInfo()
    texts.add_text("Comment", "words")
    texts.add_itxt("Title", "words", zip=True)
    opacities = bytes(range(0, 250, 50))
    first, *others = frames(3)
    return {
        "PNG": encoded(gradient(), "PNG"),
        "interlaced PNG": _png(
            header(8, 8, 8, _GREY, 0, 0, 1), png_chunk(b"IDAT", zlib.compress(_interlaced()))
        ),
        "palette PNG with transparency": encoded(gradient(mode="P"), "PNG", transparency=opacities),
        "RGBA PNG": encoded(gradient(mode="RGBA"), "PNG"),
        "grey PNG with a transparent level": encoded(gradient(mode="L"), "PNG", transparency=200),
        "RGB PNG with a transparent colour": encoded(gradient(), "PNG", transparency=(9, 9, 9)),
        "16-bit grey PNG": encoded(gradient(mode="I;16"), "PNG"),
        "PNG with metadata": encoded(
            gradient(), "PNG", pnginfo=texts, icc_profile=noise(300), exif=exif(1)
        ),
        "PNG with many IDAT chunks": _png(header(), *_split(zlib.compress(rows()), 40)),
        "animated PNG": encoded(first, "PNG", save_all=True, append_images=others),
        **{
            f"{depth}-bit PNG of colour type {colour}": _png(
                header(20, 20, depth, colour),
                *([_COLOURS] if colour == _PALETTE else []),
                pixels(20, 20, depth, colour),
            )
            for colour, depths in DEPTHS.items()
            for depth in depths
        },
    }


def _interlaced() -> bytes:
    """The scanlines of 8x8 grey pixels in the seven passes of Adam7."""
    passes = ((1, 1), (1, 1), (2, 1), (2, 2), (4, 2), (4, 4), (8, 4))
    return b"".join(rows(across, down, 8, _GREY) for across, down in passes)


def _split(stream: bytes, parts: int) -> list[bytes]:
    step = -(-len(stream) // parts)
    return [
        png_chunk(b"IDAT", stream[start : start + step]) for start in range(0, len(stream), step)
    ]


def blocks(png: bytes) -> Iterator[Block]:
    """The signature, and each chunk and its checksum."""
    yield Block("signature", 0, 8, 8)
    position = 8
    while position < len(png):
        length, kind = struct.unpack_from(">I4s", png, position)
        end = position + 12 + length
        yield Block(kind.decode(), position, position + 8, end - 4)
        yield Block(f"checksum of {kind.decode()}", end - 4, end - 4, end)
        position = end


def _edited(png: bytes, kind: bytes, edit: Callable[[bytes], bytes]) -> bytes:
    """`png` with each chunk of type `kind` replaced by `edit(chunk)`."""
    chunks = [
        png[block.start : block.end + 4]
        for block in blocks(png)
        if not block.name.startswith(("signature", "checksum"))
    ]
    return _SIGNATURE + b"".join(edit(chunk) if chunk[4:8] == kind else chunk for chunk in chunks)


def _with_length(chunk: bytes, length: int) -> bytes:
    return struct.pack(">I", length) + chunk[4:]


@cache
def bomb() -> bytes:
    """A zlib stream of a few KB that inflates to BOMB_BYTES."""
    return zlib.compress(bytes(BOMB_BYTES), 9)


def _cuts() -> Iterator[Case]:
    for name, png in valid().items():
        walked = list(blocks(png))
        streams = [block for block in walked if block.name == "IDAT"]
        # The stream ends with its checksum, which a decoder may ignore once it has all pixels.
        total = sum(block.end - block.content for block in streams)
        needed, remaining = 0, 0
        for block in reversed(streams):
            remaining += block.end - block.content
            if remaining > min(20, total // 2):
                needed = block.end - min(20, total // 2)
                break
        yield from truncations(name, png, walked, signature=8, needed=needed)


def corpus() -> Iterator[Case]:
    """All hostile PNG files."""
    png, palette = valid()["PNG"], valid()["palette PNG with transparency"]
    stream = zlib.compress(rows())
    first, *others = frames(300)
    yield from cases(Kind.VALID, Outcome.ART, valid())
    yield from _cuts()
    yield from cases(
        Kind.BOMB,
        Outcome.TOO_MANY_PIXELS,
        {
            "PNG of 169 megapixels": png_of_header(13_000, 13_000),
            "PNG of the maximum size": png_of_header(2**31 - 1, 2**31 - 1),
            "PNG of one row of 2 gigapixels": png_of_header(2**31 - 1, 1),
            "PNG of one column of 2 gigapixels": png_of_header(1, 2**31 - 1),
            "complete PNG of 60 megapixels": _png(
                header(60_000, 1000, 1, _GREY), pixels(60_000, 1000, 1, _GREY)
            ),
            "PNG of a negative width": png_of_header(2**32 - 1, 1),
            "PNG with a second header of 4 exapixels": _png(
                header(), header(2**31 - 1, 2**31 - 1), pixels()
            ),
            "RGBA PNG of 49 megapixels": png_of_header(7000, 7000, 8, _RGBA),
            "1-bit PNG of 2 columns and 25 million rows": black_png(2, 24_999_999, 1),
            "grey PNG of one row of 50 megapixels": black_png(50_000_000, 1),
            "RGBA PNG of one row of 30 megapixels": black_png(30_000_000, 1, 8, _RGBA),
            "PNG of one row of 65536 pixels": black_png(65_536, 1),
            "PNG of one column of 65536 pixels": black_png(1, 65_536),
        },
    )
    yield from cases(
        Kind.MALFORMED,
        Outcome.UNKNOWN_FORMAT,
        {"PNG with converted line endings": png.replace(b"\r\n", b"\n")},
    )
    yield from cases(
        Kind.BOMB,
        Outcome.DAMAGED,
        {
            "PNG with 700 thousand empty chunks": with_png_chunks(
                png_chunk(b"teXt", b"") * 700_000
            ),
            "PNG with ten thousand headers": _png(header() * 10_000, pixels()),
            "PNG with a palette of 9 MB": _png(
                header(), png_chunk(b"PLTE", bytes(9_000_000)), pixels()
            ),
        },
    )
    yield from cases(
        Kind.BOMB,
        Outcome.ART,
        {
            "PNG with a text chunk of 64 MB": with_png_chunks(
                png_chunk(b"zTXt", b"x\0\0" + bomb())
            ),
            "PNG with an international text chunk of 64 MB": with_png_chunks(
                png_chunk(b"iTXt", b"x\0\1\0\0\0" + bomb())
            ),
            "PNG with a colour profile of 64 MB": with_png_chunks(
                png_chunk(b"iCCP", b"x\0\0" + bomb())
            ),
            "PNG with a hundred text chunks of 64 MB": with_png_chunks(
                png_chunk(b"zTXt", b"x\0\0" + bomb()) * 100
            ),
            "PNG with 9 MB of text": with_png_chunks(png_chunk(b"tEXt", b"x\0" + b"w" * 9_000_000)),
            "PNG with 12 EXIF blocks of 65535 entries": with_png_chunks(
                png_chunk(b"eXIf", exif(1)[:8] + b"\xff\xff" + bytes(12 * 65_535)) * 12
            ),
            "PNG with 9 MB of palettes behind its pixels": png[:-12]
            + png_chunk(b"PLTE", bytes(9_000_000))
            + png[-12:],
            "PNG with 9 MB of EXIF": with_png_chunks(
                png_chunk(b"eXIf", exif(1) + bytes(9_000_000))
            ),
            "PNG with a text chunk of 64 MB after its pixels": png[:-12]
            + png_chunk(b"zTXt", b"x\0\0" + bomb())
            + png[-12:],
            "PNG with 64 MB of pixel data for 10x10 pixels": _png(
                header(10, 10), png_chunk(b"IDAT", bomb())
            ),
            "animated PNG with 300 frames": encoded(
                first, "PNG", save_all=True, append_images=others
            ),
            "PNG with ten thousand empty IDAT chunks": _png(
                header(), png_chunk(b"IDAT", b"") * 10_000, pixels()
            ),
            "PNG with one byte in each IDAT chunk": _png(header(), *_split(stream, len(stream))),
        },
    )
    yield from cases(
        Kind.BOMB,
        Outcome.CHEAP,
        {
            "PNG of 36 megapixels with one row of pixels": _png(
                header(6000, 6000), pixels(6000, 1)
            ),
            "RGBA PNG of 28 megapixels with one row of pixels": _png(
                header(7000, 4000, 8, _RGBA), pixels(7000, 1, 8, _RGBA)
            ),
            "grey PNG of 49 megapixels with one row of pixels": _png(
                header(7000, 7000, 8, _GREY), pixels(7000, 1, 8, _GREY)
            ),
            "interlaced PNG of 36 megapixels with one row of pixels": _png(
                header(6000, 6000, 8, _RGB, 0, 0, 1), pixels(6000, 1)
            ),
        },
    )
    yield from cases(
        Kind.LARGE,
        Outcome.CHEAP,
        {
            "RGB PNG of 32 megapixels with tRNS behind its pixels": black_png(
                5700, 5700, 8, _RGB, behind=[png_chunk(b"tRNS", bytes(6))]
            ),
            "grey PNG of 49 megapixels with tRNS": black_png(
                7000, 7000, before=[png_chunk(b"tRNS", bytes(2))]
            ),
            "16-bit grey PNG of 49 megapixels with tRNS": black_png(
                7000, 7000, 16, before=[png_chunk(b"tRNS", bytes(2))]
            ),
            "1-bit PNG of 763 columns and 65535 rows": black_png(762, 65_535, 1),
            "PNG of 65535 columns and 490 rows": black_png(65_535, 490, 8, _RGB),
            "16-bit interlaced PNG of 25 megapixels with alpha": black_png(
                5000, 5000, 16, _RGBA, interlaced=True
            ),
        },
    )
    yield from cases(
        Kind.MALFORMED,
        Outcome.ART,
        {
            f"PNG with {name}": with_png_chunks(png_chunk(b"eXIf", block))
            for name, block in broken_exif().items()
        },
    )
    yield from cases(
        Kind.MALFORMED,
        Outcome.ART,
        {
            "PNG with trailing text": png + b"trailing" * 1000,
            "PNG with half the height in its header": _png(header(64, 24), pixels()),
            "PNG with a wrong checksum in a text chunk": with_png_chunks(
                png_chunk(b"tEXt", b"x\0words")[:-4] + b"\0\0\0\0"
            ),
            "PNG with an unknown chunk": with_png_chunks(png_chunk(b"what", b"ever")),
            "PNG with an empty chunk of every kind": with_png_chunks(
                *(
                    png_chunk(kind, b"")
                    for kind in (
                        b"tEXt",
                        b"zTXt",
                        b"iTXt",
                        b"iCCP",
                        b"eXIf",
                        b"gAMA",
                        b"cHRM",
                        b"sRGB",
                        b"pHYs",
                        b"acTL",
                        b"fcTL",
                    )
                )
            ),
        },
    )
    yield from cases(
        Kind.MALFORMED,
        Outcome.DAMAGED,
        {
            "PNG of width 0": png_of_header(0, 100),
            "PNG of height 0": png_of_header(100, 0),
            "PNG with ten times the width in its header": _png(header(640, 48), pixels()),
            "PNG with an empty zlib stream": png_of_header(100, 100),
            "PNG without an IDAT chunk": _png(header()),
            "PNG with an empty IDAT chunk": _png(header(), png_chunk(b"IDAT", b"")),
            "PNG with uncompressed pixels": _png(header(), png_chunk(b"IDAT", rows())),
            "PNG with noise as its zlib stream": _png(header(), png_chunk(b"IDAT", noise(2000))),
            "PNG with a preset dictionary in its zlib stream": _png(
                header(), png_chunk(b"IDAT", b"\x78\xbb" + stream[2:])
            ),
            "PNG with 8-bit pixels and a 16-bit header": _png(header(depth=16), pixels()),
            "PNG with RGB pixels and an RGBA header": _png(header(colour=_RGBA), pixels()),
            "PNG with filter type 5": _png(header(), pixels(64, 48, 8, _RGB, 5)),
            "PNG with filter type 255": _png(header(), pixels(64, 48, 8, _RGB, 255)),
            "PNG with a wrong checksum in its header": png[:29] + b"\0\0\0\0" + png[33:],
            "PNG without a header": _png(pixels()),
            "PNG with its header after its pixels": _png(pixels(), header()),
            "PNG with a truncated header": _png(
                png_chunk(b"IHDR", struct.pack(">II", 64, 48)), pixels()
            ),
            "PNG with an empty header": _png(png_chunk(b"IHDR", b""), pixels()),
            "PNG with a header of 2 GB": _edited(
                png, b"IHDR", lambda chunk: _with_length(chunk, 2**31 - 1)
            ),
            "PNG with a header of 4 GB": _edited(
                png, b"IHDR", lambda chunk: _with_length(chunk, 2**32 - 1)
            ),
            "PNG with an IDAT chunk of length 0": _edited(
                png, b"IDAT", lambda chunk: _with_length(chunk, 0)
            ),
            "PNG with nothing but an IEND chunk": _png(),
            **{
                f"PNG with {depth} bits and colour type {colour}": png_of_header(
                    10, 10, depth, colour
                )
                for colour in (0, 1, 2, 3, 4, 5, 6, 7, 255)
                for depth in (0, 1, 3, 4, 8, 16, 17, 32, 255)
                if depth not in DEPTHS.get(colour, ())
            },
        },
    )
    yield from cases(
        Kind.MALFORMED,
        Outcome.ART_OR_DAMAGED,
        {
            "PNG with four times the height in its header": _png(header(64, 192), pixels()),
            "PNG with pixels for half of its rows": _png(
                header(), png_chunk(b"IDAT", zlib.compress(rows(64, 24)))
            ),
            "PNG with a wrong checksum in IDAT": _edited(
                png, b"IDAT", lambda chunk: chunk[:-4] + b"\0\0\0\0"
            ),
            "PNG with a quarter of the width in its header": _png(header(16, 48), pixels()),
            "PNG with two headers": _png(header(), header(), pixels()),
            "PNG with a larger second header": _png(header(), header(5000, 5000), pixels()),
            "PNG with a second header of another colour type": _png(
                header(), header(colour=_GREY), pixels()
            ),
            "PNG with a second header that is interlaced": _png(
                header(), header(64, 48, 8, _RGB, 0, 0, 1), pixels()
            ),
            "PNG with a second header after its pixels": _png(
                header(), pixels(), header(5000, 5000)
            ),
            "PNG with its pixels repeated": _png(header(), pixels(), pixels()),
            "PNG with a text chunk between IDAT chunks": _png(
                header(),
                png_chunk(b"IDAT", stream[:50]),
                png_chunk(b"tEXt", b"x\0y"),
                png_chunk(b"IDAT", stream[50:]),
            ),
            "PNG without a palette": _png(header(20, 20, 8, _PALETTE), pixels(20, 20, 8, _PALETTE)),
            "PNG with an empty palette": _png(
                header(20, 20, 8, _PALETTE), png_chunk(b"PLTE", b""), pixels(20, 20, 8, _PALETTE)
            ),
            "PNG with a palette of 200 bytes": _png(
                header(20, 20, 8, _PALETTE),
                png_chunk(b"PLTE", bytes(200)),
                pixels(20, 20, 8, _PALETTE),
            ),
            "PNG with a palette of 1000 colours": _png(
                header(20, 20, 8, _PALETTE),
                png_chunk(b"PLTE", bytes(3000)),
                pixels(20, 20, 8, _PALETTE),
            ),
            "PNG with a palette of one colour": _png(
                header(20, 20, 8, _PALETTE), png_chunk(b"PLTE", b"abc"), pixels(20, 20, 8, _PALETTE)
            ),
            "PNG with two palettes": _edited(palette, b"PLTE", lambda chunk: chunk + _COLOURS),
            "PNG with its palette after its pixels": _png(
                header(20, 20, 8, _PALETTE), pixels(20, 20, 8, _PALETTE), _COLOURS
            ),
            "grey PNG with a palette": _png(
                header(colour=_GREY), _COLOURS, pixels(64, 48, 8, _GREY)
            ),
            "PNG with more tRNS entries than colours": _edited(
                palette, b"tRNS", lambda _: png_chunk(b"tRNS", bytes(4000))
            ),
            "PNG with an empty tRNS chunk": _edited(
                palette, b"tRNS", lambda _: png_chunk(b"tRNS", b"")
            ),
            "PNG with tRNS before its palette": _png(
                header(20, 20, 8, _PALETTE),
                png_chunk(b"tRNS", bytes(9)),
                _COLOURS,
                pixels(20, 20, 8, _PALETTE),
            ),
            "PNG with tRNS after its pixels": _png(
                header(20, 20, 8, _PALETTE),
                _COLOURS,
                pixels(20, 20, 8, _PALETTE),
                png_chunk(b"tRNS", bytes(9)),
            ),
            **{
                f"PNG of colour type {colour} with {length} bytes of tRNS": _png(
                    header(20, 20, depth, colour),
                    png_chunk(b"tRNS", b"\xff" * length),
                    *([_COLOURS] if colour == _PALETTE else []),
                    pixels(20, 20, depth, colour),
                )
                for colour, depths in DEPTHS.items()
                for depth in depths[-1:]
                for length in (0, 1, 2, 6, 300)
            },
            "1-bit PNG with a transparent level of 65535": _png(
                header(20, 20, 1, _GREY), png_chunk(b"tRNS", b"\xff\xff"), pixels(20, 20, 1, _GREY)
            ),
            "PNG with a wrong zlib checksum": _png(
                header(), png_chunk(b"IDAT", stream[:-4] + bytes(4))
            ),
            "PNG without a zlib checksum": _png(header(), png_chunk(b"IDAT", stream[:-4])),
            "PNG with a small zlib window": _png(
                header(), png_chunk(b"IDAT", b"\x08\x1d" + stream[2:])
            ),
            "PNG with interlace method 2": _png(header(64, 48, 8, _RGB, 0, 0, 2), pixels()),
            "PNG with an interlaced header and sequential pixels": _png(
                header(64, 48, 8, _RGB, 0, 0, 1), pixels()
            ),
            "PNG with compression method 1": _png(header(64, 48, 8, _RGB, 1, 0, 0), pixels()),
            "PNG with filter method 64": _png(header(64, 48, 8, _RGB, 0, 64, 0), pixels()),
            "PNG without an IEND chunk": png[:-12],
            "PNG with an IEND chunk of 4 GB": _edited(
                png, b"IEND", lambda chunk: _with_length(chunk, 2**32 - 1)
            ),
            "PNG with an IDAT chunk of 4 GB": _edited(
                png, b"IDAT", lambda chunk: _with_length(chunk, 2**32 - 1)
            ),
            "PNG with a text chunk of 4 GB": with_png_chunks(
                _with_length(png_chunk(b"tEXt", b"x\0y"), 2**32 - 1)
            ),
            "PNG with a chunk type that is not letters": with_png_chunks(
                png_chunk(b"\0\xff\0\xff", b"")
            ),
            "animated PNG with no frames": with_png_chunks(
                png_chunk(b"acTL", struct.pack(">II", 0, 0))
            ),
            "animated PNG with 4 billion frames": with_png_chunks(
                png_chunk(b"acTL", struct.pack(">II", 2**32 - 1, 0))
            ),
            "animated PNG with its first frame outside the image": with_png_chunks(
                png_chunk(b"acTL", struct.pack(">II", 2, 0)),
                png_chunk(
                    b"fcTL", struct.pack(">IIIIIHHBB", 0, 900, 900, 2**31, 2**31, 0, 0, 9, 9)
                ),
            ),
            "iPhone PNG": _png(
                png_chunk(b"CgBI", b"\x50\0\x20\x02"), header(), png_chunk(b"IDAT", stream[2:-4])
            ),
        },
    )
