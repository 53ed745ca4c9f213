"""Hostile WebP files (RFC 9649): one VP8 or VP8L chunk, or a VP8X chunk and the chunks announced by
its flags."""

import struct
from collections.abc import Callable, Iterator
from functools import cache

from tools.testing.hostile.cases import Block, Case, Kind, Outcome, cases, truncations
from tools.testing.hostile.pictures import broken_exif, exif, frames, noise
from tools.testing.images import encoded, gradient


@cache
def valid() -> dict[str, bytes]:
    """A small file for each kind of WebP, by name."""
    image = gradient()
    transparent = gradient(mode="RGBA")
    transparent.putalpha(gradient(mode="L").rotate(180))
    first, *others = frames(4)
    metadata = {"exif": exif(1), "icc_profile": noise(300), "xmp": b"<x:xmpmeta/>"}
    return {
        "WebP": encoded(image, "WEBP"),
        "lossless WebP": encoded(image, "WEBP", lossless=True),
        "WebP with alpha": encoded(transparent, "WEBP"),
        "lossless WebP with alpha": encoded(transparent, "WEBP", lossless=True),
        "WebP with metadata": encoded(image, "WEBP", **metadata),
        "animated WebP": encoded(first, "WEBP", save_all=True, append_images=others),
    }


def blocks(webp: bytes) -> Iterator[Block]:
    """The RIFF header and every chunk, including the chunks inside frames."""
    yield Block("RIFF", 0, 8, 12)
    yield from _chunks(webp, 12, len(webp))


def _chunks(webp: bytes, position: int, end: int) -> Iterator[Block]:
    while position + 8 <= end:
        kind, length = struct.unpack_from("<4sI", webp, position)
        yield Block(kind.decode().strip(), position, position + 8, position + 8 + length)
        if kind == b"ANMF":
            yield from _chunks(webp, position + 24, position + 8 + length)
        position += 8 + length + (length & 1)


def _chunk(kind: bytes, content: bytes) -> bytes:
    return kind + struct.pack("<I", len(content)) + content + b"\0" * (len(content) & 1)


def _riff(*chunks: bytes) -> bytes:
    body = b"WEBP" + b"".join(chunks)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def _content(webp: bytes, kind: bytes) -> bytes:
    return next(
        webp[block.content : block.end]
        for block in blocks(webp)
        if block.name == kind.decode().strip()
    )


def _canvas(width: int, height: int, flags: int = 0) -> bytes:
    return _chunk(
        b"VP8X",
        bytes([flags, 0, 0, 0])
        + (width - 1).to_bytes(3, "little")
        + (height - 1).to_bytes(3, "little"),
    )


def _frame(left: int, top: int, width: int, height: int, *chunks: bytes) -> bytes:
    numbers = (left // 2, top // 2, width - 1, height - 1, 100)
    return _chunk(
        b"ANMF",
        b"".join((n & 0xFFFFFF).to_bytes(3, "little") for n in numbers) + b"\0" + b"".join(chunks),
    )


_ALPHA, _ANIMATION, _EXIF, _PROFILE = 0x10, 0x02, 0x08, 0x20


def _lossy() -> bytes:
    return _content(valid()["WebP"], b"VP8 ")


def _lossless() -> bytes:
    return _content(valid()["lossless WebP"], b"VP8L")


def _lossy_of(width: int, height: int) -> bytes:
    """A lossy WebP with the given size in its VP8 frame header: a 3-byte tag, a 3-byte start code,
    two 14-bit sizes."""
    frame = _lossy()
    return _riff(_chunk(b"VP8 ", frame[:6] + struct.pack("<HH", width, height) + frame[10:]))


def _lossless_of(width: int, height: int, edit: Callable[[bytes], bytes] = bytes) -> bytes:
    """A lossless WebP with the given size in its VP8L header: a signature, two 14-bit sizes minus
    one, alpha, version."""
    frame = _lossless()
    return _riff(
        _chunk(
            b"VP8L", edit(frame[:1] + struct.pack("<I", width - 1 | height - 1 << 14) + frame[5:])
        )
    )


def _with_metadata(kind: bytes, flag: int, content: bytes, image: bytes | None = None) -> bytes:
    return _riff(_canvas(64, 48, flag), _chunk(kind, content), _chunk(b"VP8 ", image or _lossy()))


def _cuts() -> Iterator[Case]:
    for name, webp in valid().items():
        walked = list(blocks(webp))
        # libwebp requires the whole file of the size in the RIFF header, but Pillow decodes only
        # the first frame.
        image = next(block for block in walked if block.name in {"VP8", "VP8L"})
        yield from truncations(name, webp, walked, signature=12, needed=image.end - 8)


def of_many_prefix_codes() -> bytes:
    """A lossless WebP of 1024x1024 pixels with the maximum number of groups of prefix codes:
    65,536, one for each block of 4x4 pixels.

    libwebp uses more memory for the groups than the estimate from the header allows for. The file
    is therefore not in the corpus.
    """
    blocks_across = 256
    one_symbol = "1000"  # a simple code of one symbol, 0, which takes no bits
    # A length of 8 for each of 256 symbols. The code of the lengths themselves has one symbol, so
    # they take no bits.
    lengths = "0" + _number(12 - 4, 4) + 11 * "000" + "100"
    # with their number, because the alphabet is larger
    green = lengths + "1" + _number(3, 3) + _number(256 - 2, 8)
    red = lengths + "0"
    # Each pixel of the entropy image is the number of a group, in red and green. Blue, alpha and
    # distance take no bits. prefix codes have their most significant bit first
    codes = [_number(symbol, 8)[::-1] for symbol in range(256)]
    numbers = "".join(codes[block % 256] + codes[block // 256] for block in range(blocks_across**2))
    size = 4 * blocks_across - 1
    bits = (
        _number(0x2F, 8)
        + _number(size, 14)
        + _number(size, 14)
        + "0000"  # no alpha, version 0
        + "0"  # no transform
        + "0"  # no cache of colours
        + "1"  # several groups
        + _number(2 - 2, 3)  # in blocks of 4 pixels across and down
        + ("0" + green + red + 3 * one_symbol)
        + numbers
        + blocks_across**2 * 5 * one_symbol
    )
    content = int(bits[::-1], 2).to_bytes(len(bits) // 8 + 1, "little")
    return _riff(_chunk(b"VP8L", content))


def _number(value: int, count: int) -> str:
    """The lowest `count` bits of a number, least significant bit first, as in the file."""
    return f"{value:0{count}b}"[::-1]


def corpus() -> Iterator[Case]:
    """All hostile WebP files."""
    webp = valid()["WebP"]
    lossy, lossless = _chunk(b"VP8 ", _lossy()), _chunk(b"VP8L", _lossless())
    alpha = _chunk(b"ALPH", _content(valid()["WebP with alpha"], b"ALPH"))
    under_alpha = _chunk(b"VP8 ", _content(valid()["WebP with alpha"], b"VP8 "))
    first, *others = frames(200)
    animation = _chunk(b"ANIM", bytes(6))
    yield from cases(Kind.VALID, Outcome.ART, valid())
    yield from _cuts()
    yield from cases(
        Kind.BOMB,
        Outcome.TOO_MANY_PIXELS,
        {
            "WebP of 268 megapixels": _lossy_of(16_383, 16_383),
            "lossless WebP of 268 megapixels": _lossless_of(16_384, 16_384),
            "WebP of 15 megapixels": _lossy_of(5000, 3000),
            "WebP with a canvas of 2^48 pixels": _riff(_canvas(2**24, 2**24), lossy),
            "WebP with a canvas of 65536x2 pixels": _riff(_canvas(65_536, 2), lossy),
            "animated WebP with a canvas of 268 megapixels": _riff(
                _canvas(16_384, 16_384, _ANIMATION), animation, _frame(0, 0, 64, 48, lossy)
            ),
        },
    )
    yield from cases(
        Kind.BOMB,
        Outcome.ART,
        {
            "animated WebP with 200 frames": encoded(
                first, "WEBP", save_all=True, append_images=others, method=0
            ),
            "animated WebP with ten thousand frames": _riff(
                _canvas(64, 48, _ANIMATION), animation, _frame(0, 0, 64, 48, lossy) * 10_000
            ),
            "WebP with 9 MB of EXIF": _with_metadata(b"EXIF", _EXIF, exif(1) + bytes(9_000_000)),
            "WebP with a colour profile of 9 MB": _with_metadata(
                b"ICCP", _PROFILE, bytes(9_000_000)
            ),
            "WebP with 9 MB of XMP": _with_metadata(b"XMP ", 4, b"<" * 9_000_000),
        },
    )
    yield from cases(
        Kind.BOMB,
        Outcome.CHEAP,
        {
            "WebP of 12 megapixels without pixel data": _lossy_of(4000, 3000),
            "lossless WebP of 12 megapixels without pixel data": _lossless_of(4000, 3000),
        },
    )
    yield from cases(
        Kind.BOMB,
        Outcome.DAMAGED,
        {
            "WebP with a million unknown chunks": _riff(
                _canvas(64, 48), lossy, _chunk(b"what", b"") * 1_000_000
            ),
            "animated WebP with a canvas of 12 megapixels around a small frame": _riff(
                _canvas(4000, 3000, _ANIMATION), animation, _frame(0, 0, 64, 48, lossy)
            ),
        },
    )
    yield from cases(
        Kind.MALFORMED,
        Outcome.ART,
        {
            f"WebP with {name}": _with_metadata(b"EXIF", _EXIF, block)
            for name, block in broken_exif().items()
        },
    )
    yield from cases(
        Kind.MALFORMED,
        Outcome.DAMAGED,
        {
            "WebP signature alone": b"RIFF\x04\0\0\0WEBP",
            "WebP without an image": _riff(_canvas(64, 48)),
            "WebP with an empty VP8 chunk": _riff(_chunk(b"VP8 ", b"")),
            "WebP with an empty VP8L chunk": _riff(_chunk(b"VP8L", b"")),
            "WebP of width 0": _lossy_of(0, 48),
            "WebP of height 0": _lossy_of(64, 0),
            "WebP without its start code": webp.replace(b"\x9d\x01\x2a", b"\0\0\0"),
            "WebP with an inter frame": _riff(
                _chunk(b"VP8 ", bytes([_lossy()[0] | 1]) + _lossy()[1:])
            ),
            "WebP with version 7": _riff(
                _chunk(b"VP8 ", bytes([_lossy()[0] | 0x0E]) + _lossy()[1:])
            ),
            "WebP with a first partition longer than the file": _riff(
                _chunk(b"VP8 ", _lossy()[:1] + b"\xff\xff" + _lossy()[3:])
            ),
            "lossless WebP with an invalid signature": _lossless_of(
                64, 48, lambda frame: b"\x2e" + frame[1:]
            ),
            "lossless WebP with version 7": _lossless_of(
                64, 48, lambda frame: frame[:4] + bytes([frame[4] | 0xE0]) + frame[5:]
            ),
            "lossless WebP with noise as its pixel data": _riff(
                _chunk(b"VP8L", _lossless()[:5] + noise(2000))
            ),
            "WebP with a chunk of 4 GB": webp[:16] + b"\xff\xff\xff\xff" + webp[20:],
            "WebP with a canvas smaller than its image": _riff(_canvas(8, 8), lossy),
            "WebP with a canvas larger than its image": _riff(_canvas(640, 480), lossy),
            "WebP with a truncated canvas chunk": _riff(_chunk(b"VP8X", bytes(4)), lossy),
            "animated WebP without frames": _riff(_canvas(64, 48, _ANIMATION), animation),
            "animated WebP with a frame outside its canvas": _riff(
                _canvas(64, 48, _ANIMATION), animation, _frame(60, 40, 64, 48, lossy)
            ),
            "animated WebP with the largest frame offset": _riff(
                _canvas(64, 48, _ANIMATION), animation, _frame(2**25 - 2, 2**25 - 2, 64, 48, lossy)
            ),
            "animated WebP with an empty frame": _riff(
                _canvas(64, 48, _ANIMATION), animation, _frame(0, 0, 64, 48)
            ),
            "animated WebP with a truncated frame header": _riff(
                _canvas(64, 48, _ANIMATION), animation, _chunk(b"ANMF", bytes(8))
            ),
        },
    )
    yield from cases(
        Kind.MALFORMED,
        Outcome.ART_OR_DAMAGED,
        {
            "animated WebP with a frame larger than its header": _riff(
                _canvas(64, 48, _ANIMATION), animation, _frame(0, 0, 32, 24, lossy)
            ),
            "WebP with twice the size in its header": _lossy_of(128, 96),
            "WebP with a quarter of the size in its header": _lossy_of(16, 12),
            "lossless WebP with twice the size in its header": _lossless_of(128, 96),
            "lossless WebP with a quarter of the size in its header": _lossless_of(16, 12),
            "WebP with noise as its pixel data": _riff(
                _chunk(b"VP8 ", _lossy()[:10] + noise(2000))
            ),
            "WebP with 1000 bytes after its end": webp + bytes(1000),
            "WebP with a file size of 0": webp[:4] + bytes(4) + webp[8:],
            "WebP with a file size of 4 GB": webp[:4] + b"\xff\xff\xff\xff" + webp[8:],
            "WebP with an odd file size": webp[:4] + struct.pack("<I", len(webp) - 7) + webp[8:],
            "WebP with alpha but without the alpha flag": _riff(
                _canvas(64, 48), alpha, under_alpha
            ),
            "WebP with the alpha flag but without alpha": _riff(
                _canvas(64, 48, _ALPHA), under_alpha
            ),
            "WebP with empty alpha": _riff(
                _canvas(64, 48, _ALPHA), _chunk(b"ALPH", b""), under_alpha
            ),
            "WebP with noise as its alpha data": _riff(
                _canvas(64, 48, _ALPHA), _chunk(b"ALPH", b"\x01" + noise(500)), under_alpha
            ),
            "WebP with an unknown alpha compression": _riff(
                _canvas(64, 48, _ALPHA), _chunk(b"ALPH", b"\xff" + noise(500)), under_alpha
            ),
            "WebP with truncated alpha": _riff(
                _canvas(64, 48, _ALPHA), _chunk(b"ALPH", b"\0" + bytes(10)), under_alpha
            ),
            "WebP with two alpha chunks": _riff(_canvas(64, 48, _ALPHA), alpha, alpha, under_alpha),
            "WebP with alpha after its image": _riff(_canvas(64, 48, _ALPHA), under_alpha, alpha),
            "lossless WebP with an additional alpha chunk": _riff(
                _canvas(64, 48, _ALPHA), alpha, lossless
            ),
            "WebP with two images": _riff(lossy, lossless),
            "WebP with two canvas chunks": _riff(_canvas(64, 48), _canvas(640, 480), lossy),
            "WebP with all flags but none of the flagged chunks": _riff(
                _canvas(64, 48, 0xFF), lossy
            ),
            "WebP with the EXIF flag but without EXIF": _riff(_canvas(64, 48, _EXIF), lossy),
            "WebP with EXIF longer than the file": _riff(
                _canvas(64, 48, _EXIF), lossy, b"EXIF\xff\xff\xff\xff"
            ),
            "WebP with its canvas chunk after its image": _riff(lossy, _canvas(64, 48)),
            "animated WebP without its ANIM chunk": _riff(
                _canvas(64, 48, _ANIMATION), _frame(0, 0, 64, 48, lossy)
            ),
            "animated WebP with a still image": _riff(
                _canvas(64, 48, _ANIMATION), animation, lossy
            ),
            "animated WebP with a frame inside a frame": _riff(
                _canvas(64, 48, _ANIMATION),
                animation,
                _frame(0, 0, 64, 48, _frame(0, 0, 64, 48, lossy)),
            ),
            "WebP with frames but without the animation flag": _riff(
                _canvas(64, 48), animation, _frame(0, 0, 64, 48, lossy)
            ),
        },
    )
