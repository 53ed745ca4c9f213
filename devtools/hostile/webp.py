"""WebP (RFC 9649): a RIFF file of one VP8 or VP8L chunk, or of a VP8X chunk and those it announces."""

import struct
from collections.abc import Callable, Iterator
from functools import cache

from devtools.hostile.cases import Block, Case, Kind, Outcome, cases, truncations
from devtools.hostile.pictures import broken_exif, exif, frames, noise
from devtools.images import encoded, gradient


@cache
def valid() -> dict[str, bytes]:
    """A small file of each kind of WebP."""
    picture = gradient()
    transparent = gradient(mode="RGBA")
    transparent.putalpha(gradient(mode="L").rotate(180))
    first, *others = frames(4)
    metadata = {"exif": exif(1), "icc_profile": noise(300), "xmp": b"<x:xmpmeta/>"}
    return {
        "WebP": encoded(picture, "WEBP"),
        "lossless WebP": encoded(picture, "WEBP", lossless=True),
        "WebP with alpha": encoded(transparent, "WEBP"),
        "lossless WebP with alpha": encoded(transparent, "WEBP", lossless=True),
        "WebP with metadata": encoded(picture, "WEBP", **metadata),
        "animated WebP": encoded(first, "WEBP", save_all=True, append_images=others),
    }


def blocks(webp: bytes) -> Iterator[Block]:
    """The RIFF header and every chunk, those within frames too."""
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
    return next(webp[block.content : block.end] for block in blocks(webp) if block.name == kind.decode().strip())


def _canvas(width: int, height: int, flags: int = 0) -> bytes:
    return _chunk(b"VP8X", bytes([flags, 0, 0, 0]) + (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little"))


def _frame(left: int, top: int, width: int, height: int, *chunks: bytes) -> bytes:
    numbers = (left // 2, top // 2, width - 1, height - 1, 100)
    return _chunk(b"ANMF", b"".join((n & 0xFFFFFF).to_bytes(3, "little") for n in numbers) + b"\0" + b"".join(chunks))


_ALPHA, _ANIMATION, _EXIF, _PROFILE = 0x10, 0x02, 0x08, 0x20


def _lossy() -> bytes:
    return _content(valid()["WebP"], b"VP8 ")


def _lossless() -> bytes:
    return _content(valid()["lossless WebP"], b"VP8L")


def _lossy_of(width: int, height: int) -> bytes:
    """The frame header of VP8: a tag of three bytes, a start code of three, two 14-bit sizes."""
    frame = _lossy()
    return _riff(_chunk(b"VP8 ", frame[:6] + struct.pack("<HH", width, height) + frame[10:]))


def _lossless_of(width: int, height: int, edit: Callable[[bytes], bytes] = bytes) -> bytes:
    """The header of VP8L: a signature, two 14-bit sizes less one, a bit of alpha, three of version."""
    frame = _lossless()
    return _riff(_chunk(b"VP8L", edit(frame[:1] + struct.pack("<I", width - 1 | height - 1 << 14) + frame[5:])))


def _with_metadata(kind: bytes, flag: int, content: bytes, picture: bytes | None = None) -> bytes:
    return _riff(_canvas(64, 48, flag), _chunk(kind, content), _chunk(b"VP8 ", picture or _lossy()))


def _cuts() -> Iterator[Case]:
    for name, webp in valid().items():
        walked = list(blocks(webp))
        # libwebp wants the whole of the file that the RIFF header promises, but Pillow asks for the first frame alone
        picture = next(block for block in walked if block.name in {"VP8", "VP8L"})
        yield from truncations(name, webp, walked, signature=12, needed=picture.end - 8)


def corpus() -> Iterator[Case]:
    """Every hostile WebP."""
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
            "WebP of 13 megapixels": _lossy_of(4000, 3300),
            "animated WebP of a canvas of 268 megapixels": _riff(
                _canvas(16_384, 16_384, _ANIMATION), animation, _frame(0, 0, 64, 48, lossy)
            ),
        },
    )
    yield from cases(
        Kind.BOMB,
        Outcome.ART,
        {
            "animated WebP of 200 frames": encoded(first, "WEBP", save_all=True, append_images=others, method=0),
            "animated WebP of twenty thousand frames": _riff(
                _canvas(64, 48, _ANIMATION), animation, _frame(0, 0, 64, 48, lossy) * 20_000
            ),
            "WebP with 9 MB of EXIF": _with_metadata(b"EXIF", _EXIF, exif(1) + bytes(9_000_000)),
            "WebP with a colour profile of 9 MB": _with_metadata(b"ICCP", _PROFILE, bytes(9_000_000)),
            "WebP with 9 MB of words": _with_metadata(b"XMP ", 4, b"<" * 9_000_000),
            "WebP with a million chunks of no known type": _riff(_canvas(64, 48), lossy, _chunk(b"what", b"") * 1_000_000),
        },
    )
    yield from cases(
        Kind.BOMB,
        Outcome.CHEAP,
        {
            "WebP of 12 megapixels that are not there": _lossy_of(4000, 3000),
            "lossless WebP of 12 megapixels that are not there": _lossless_of(4000, 3000),
        },
    )
    yield from cases(
        Kind.BOMB,
        Outcome.DAMAGED,
        {
            "animated WebP of a canvas of 12 megapixels around a small frame": _riff(
                _canvas(4000, 3000, _ANIMATION), animation, _frame(0, 0, 64, 48, lossy)
            ),
        },
    )
    yield from cases(
        Kind.LIE,
        Outcome.ART,
        {f"WebP with {name}": _with_metadata(b"EXIF", _EXIF, block) for name, block in broken_exif().items()},
    )
    yield from cases(
        Kind.LIE,
        Outcome.DAMAGED,
        {
            "WebP signature alone": b"RIFF\x04\0\0\0WEBP",
            "WebP of no picture": _riff(_canvas(64, 48)),
            "WebP of an empty picture": _riff(_chunk(b"VP8 ", b"")),
            "lossless WebP of an empty picture": _riff(_chunk(b"VP8L", b"")),
            "WebP of no width": _lossy_of(0, 48),
            "WebP of no height": _lossy_of(64, 0),
            "WebP without its start code": webp.replace(b"\x9d\x01\x2a", b"\0\0\0"),
            "WebP of an inter frame": _riff(_chunk(b"VP8 ", bytes([_lossy()[0] | 1]) + _lossy()[1:])),
            "WebP of version 7": _riff(_chunk(b"VP8 ", bytes([_lossy()[0] | 0x0E]) + _lossy()[1:])),
            "WebP whose first partition is longer than it": _riff(_chunk(b"VP8 ", _lossy()[:1] + b"\xff\xff" + _lossy()[3:])),
            "lossless WebP of another signature": _lossless_of(64, 48, lambda frame: b"\x2e" + frame[1:]),
            "lossless WebP of version 7": _lossless_of(64, 48, lambda frame: frame[:4] + bytes([frame[4] | 0xE0]) + frame[5:]),
            "lossless WebP of noise": _riff(_chunk(b"VP8L", _lossless()[:5] + noise(2000))),
            "WebP of a chunk of 4 GB": webp[:16] + b"\xff\xff\xff\xff" + webp[20:],
            "WebP of a canvas of 2 to the 48 pixels": _riff(_canvas(2**24, 2**24), lossy),
            "WebP of a canvas smaller than its picture": _riff(_canvas(8, 8), lossy),
            "WebP of a canvas larger than its picture": _riff(_canvas(640, 480), lossy),
            "WebP of a canvas cut short": _riff(_chunk(b"VP8X", bytes(4)), lossy),
            "animated WebP of no frames": _riff(_canvas(64, 48, _ANIMATION), animation),
            "animated WebP of a frame outside of its canvas": _riff(
                _canvas(64, 48, _ANIMATION), animation, _frame(60, 40, 64, 48, lossy)
            ),
            "animated WebP of a frame far away": _riff(
                _canvas(64, 48, _ANIMATION), animation, _frame(2**25 - 2, 2**25 - 2, 64, 48, lossy)
            ),
            "animated WebP of an empty frame": _riff(_canvas(64, 48, _ANIMATION), animation, _frame(0, 0, 64, 48)),
            "animated WebP of a frame cut short": _riff(_canvas(64, 48, _ANIMATION), animation, _chunk(b"ANMF", bytes(8))),
        },
    )
    yield from cases(
        Kind.LIE,
        Outcome.ART_OR_DAMAGED,
        {
            "animated WebP of a frame of another size than it says": _riff(
                _canvas(64, 48, _ANIMATION), animation, _frame(0, 0, 32, 24, lossy)
            ),
            "WebP of twice its size": _lossy_of(128, 96),
            "WebP of a quarter of its size": _lossy_of(16, 12),
            "lossless WebP of twice its size": _lossless_of(128, 96),
            "lossless WebP of a quarter of its size": _lossless_of(16, 12),
            "WebP of noise": _riff(_chunk(b"VP8 ", _lossy()[:10] + noise(2000))),
            "WebP whose file is longer than it says": webp + bytes(1000),
            "WebP of a file of no length": webp[:4] + bytes(4) + webp[8:],
            "WebP of a file of 4 GB": webp[:4] + b"\xff\xff\xff\xff" + webp[8:],
            "WebP of a file of an odd length": webp[:4] + struct.pack("<I", len(webp) - 7) + webp[8:],
            "WebP with alpha and no flag of it": _riff(_canvas(64, 48), alpha, under_alpha),
            "WebP with a flag of alpha and none": _riff(_canvas(64, 48, _ALPHA), under_alpha),
            "WebP with empty alpha": _riff(_canvas(64, 48, _ALPHA), _chunk(b"ALPH", b""), under_alpha),
            "WebP with alpha of noise": _riff(_canvas(64, 48, _ALPHA), _chunk(b"ALPH", b"\x01" + noise(500)), under_alpha),
            "WebP with alpha of no known compression": _riff(
                _canvas(64, 48, _ALPHA), _chunk(b"ALPH", b"\xff" + noise(500)), under_alpha
            ),
            "WebP with alpha cut short": _riff(_canvas(64, 48, _ALPHA), _chunk(b"ALPH", b"\0" + bytes(10)), under_alpha),
            "WebP with two alphas": _riff(_canvas(64, 48, _ALPHA), alpha, alpha, under_alpha),
            "WebP with alpha behind its picture": _riff(_canvas(64, 48, _ALPHA), under_alpha, alpha),
            "lossless WebP with alpha of its own and another": _riff(_canvas(64, 48, _ALPHA), alpha, lossless),
            "WebP of two pictures": _riff(lossy, lossless),
            "WebP of two canvases": _riff(_canvas(64, 48), _canvas(640, 480), lossy),
            "WebP of all flags and nothing that they announce": _riff(_canvas(64, 48, 0xFF), lossy),
            "WebP whose EXIF is announced and missing": _riff(_canvas(64, 48, _EXIF), lossy),
            "WebP whose EXIF is longer than the file": _riff(_canvas(64, 48, _EXIF), lossy, b"EXIF\xff\xff\xff\xff"),
            "WebP whose canvas follows its picture": _riff(lossy, _canvas(64, 48)),
            "animated WebP without its ANIM chunk": _riff(_canvas(64, 48, _ANIMATION), _frame(0, 0, 64, 48, lossy)),
            "animated WebP of a still picture": _riff(_canvas(64, 48, _ANIMATION), animation, lossy),
            "animated WebP of a frame within a frame": _riff(
                _canvas(64, 48, _ANIMATION), animation, _frame(0, 0, 64, 48, _frame(0, 0, 64, 48, lossy))
            ),
            "WebP of frames without a flag of animation": _riff(_canvas(64, 48), animation, _frame(0, 0, 64, 48, lossy)),
        },
    )
