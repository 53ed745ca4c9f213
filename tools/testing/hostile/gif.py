"""Hostile GIF files (GIF89a sections 17 to 24)."""

import struct
from collections.abc import Iterator
from functools import cache

from tools.testing.hostile.cases import Block, Case, Kind, Outcome, cases, truncations
from tools.testing.hostile.pictures import frames, noise
from tools.testing.images import encoded, gradient


@cache
def valid() -> dict[str, bytes]:
    """A small file for each kind of GIF, by name."""
    image = gradient(mode="P")
    first, *others = frames(4, "P")
    return {
        "GIF": encoded(image, "GIF"),
        "interlaced GIF": encoded(image, "GIF", interlace=True),
        "GIF with a transparent colour and a comment": encoded(
            image, "GIF", transparency=7, comment=b"a comment"
        ),
        "GIF with two colours": encoded(gradient(mode="1"), "GIF"),
        "animated GIF": encoded(
            first, "GIF", save_all=True, append_images=others, duration=50, loop=0, disposal=2
        ),
        "GIF with a local palette": _local_palette(encoded(image, "GIF")),
    }


def _start(gif: bytes) -> int:
    """Offset of the first block after the screen descriptor and the global palette."""
    return 13 + (3 << (gif[10] & 7) + 1 if gif[10] & 0x80 else 0)


def _frame(gif: bytes) -> int:
    """Offset of the first frame."""
    return next(block.start for block in blocks(gif) if block.name == "frame")


def _local_palette(gif: bytes) -> bytes:
    """`gif` with its global palette made local to the first frame."""
    start, frame = _start(gif), _frame(gif)
    flags = gif[frame + 9] | 0x80 | gif[10] & 7
    return (
        gif[:10]
        + b"\0"
        + gif[11:13]
        + gif[start : frame + 9]
        + bytes([flags])
        + gif[13:start]
        + gif[frame + 10 :]
    )


def blocks(gif: bytes) -> Iterator[Block]:
    """The signature, the screen descriptor, palettes, extensions, frames and their sub-blocks."""
    yield Block("signature", 0, 6, 6)
    yield Block("screen", 6, 6, 13)
    position = _start(gif)
    yield Block("palette", 13, 13, position)
    while gif[position] != 0x3B:
        if gif[position] == 0x2C:
            yield Block("frame", position, position + 1, position + 10)
            local = 3 << (gif[position + 9] & 7) + 1 if gif[position + 9] & 0x80 else 0
            yield Block("local palette", position + 10, position + 10, position + 10 + local)
            position += 10 + local
            yield Block("code size", position, position, position + 1)
            name, position = "pixels", position + 1
        else:
            yield Block("extension", position, position + 1, position + 2)
            name, position = "content", position + 2
        while size := gif[position]:
            yield Block(name, position, position + 1, position + 1 + size)
            position += 1 + size
        yield Block("terminator", position, position, position + 1)
        position += 1
    yield Block("trailer", position, position + 1, position + 1)


def _with_blocks(added: bytes) -> bytes:
    gif = valid()["GIF"]
    start = _start(gif)
    return gif[:start] + added + gif[start:]


def _of_screen(width: int, height: int) -> bytes:
    """A GIF with the given screen and a small frame that is disposed of by clearing the whole
    screen."""
    gif = _with_blocks(b"\x21\xf9\x04\x08\0\0\0\0")
    return gif[:6] + struct.pack("<HH", width, height) + gif[10:]


def _of_frame(left: int, top: int, width: int, height: int, flags: int = 0) -> bytes:
    gif = valid()["GIF"]
    frame = _frame(gif)
    return (
        gif[: frame + 1]
        + struct.pack("<HHHHB", left, top, width, height, flags)
        + gif[frame + 10 :]
    )


def _of_code_size(size: int) -> bytes:
    gif = valid()["GIF"]
    frame = _frame(gif)
    return gif[: frame + 10] + bytes([size]) + gif[frame + 11 :]


def _of_pixels(data: bytes) -> bytes:
    """A GIF with its LZW data, including sub-block lengths, replaced by `data`."""
    gif = valid()["GIF"]
    return gif[: _frame(gif) + 11] + data + b"\0;"


def _sub_blocks(data: bytes) -> bytes:
    return b"".join(
        bytes([len(data[at : at + 255])]) + data[at : at + 255] for at in range(0, len(data), 255)
    )


def _cuts() -> Iterator[Case]:
    for name, gif in valid().items():
        walked = list(blocks(gif))
        frame = next(number for number, block in enumerate(walked) if block.name == "frame")
        end = next(
            number for number in range(frame, len(walked)) if walked[number].name == "terminator"
        )
        # Only the first frame is decoded. Its last sub-block may contain only the end code.
        yield from truncations(name, gif, walked, signature=6, needed=walked[end - 1].start)


def corpus() -> Iterator[Case]:
    """All hostile GIF files."""
    gif = valid()["GIF"]
    first, *others = frames(500, "P")
    yield from cases(Kind.VALID, Outcome.ART, valid())
    yield from _cuts()
    yield from cases(
        Kind.BOMB,
        Outcome.TOO_MANY_PIXELS,
        {
            "GIF with a screen of 4 gigapixels": _of_screen(65_535, 65_535),
            "GIF with a frame offset past 8 gigapixels": _of_frame(65_000, 65_535, 64, 48),
            "GIF with a frame of 4 gigapixels": _of_frame(0, 0, 65_535, 65_535),
            "GIF with a screen of 60 megapixels": _of_screen(10_000, 6000),
        },
    )
    yield from cases(
        Kind.BOMB,
        Outcome.DAMAGED,
        {
            "GIF with 4 million one-byte comments": _with_blocks(
                b"\x21\xfe" + b"\x01x" * 4_000_000 + b"\0"
            ),
            "GIF with 99 comments of 50 thousand one-byte sub-blocks": _with_blocks(
                (b"\x21\xfe" + b"\x01x" * 50_000 + b"\0") * 99
            ),
            "GIF with 60 thousand comments": _with_blocks(b"\x21\xfe\x01x\0" * 60_000),
        },
    )
    yield from cases(
        Kind.BOMB,
        Outcome.DAMAGED,
        {"GIF with a million empty extensions": _with_blocks(b"\x21\xfe\0" * 1_000_000)},
    )
    yield from cases(
        Kind.BOMB,
        Outcome.ART,
        {
            "GIF with 500 frames": encoded(first, "GIF", save_all=True, append_images=others),
            "GIF with one frame repeated ninety thousand times": gif[:-1]
            + gif[_frame(gif) : _frame(gif) + 100] * 90_000,
            "GIF with 8 MB of comments": _with_blocks(
                b"\x21\xfe" + (b"\xff" + bytes(255)) * 31_000 + b"\0"
            ),
            "GIF with ten thousand comments": _with_blocks(b"\x21\xfe\x01x\0" * 10_000),
            "GIF with ten thousand graphic controls": _with_blocks(
                b"\x21\xf9\x04\0\0\0\0\0" * 10_000
            ),
            "GIF with a graphic control of 60 thousand sub-blocks": _with_blocks(
                b"\x21\xf9\x04\0\0\0\0" + b"\x01x" * 60_000 + b"\0"
            ),
            "GIF with 9 MB after its end": gif + bytes(9_000_000),
            "GIF with 9 MB of extra data in its frame": gif[:-2]
            + _sub_blocks(noise(20_000)) * 440
            + b"\0;",
        },
    )
    yield from cases(
        Kind.BOMB,
        Outcome.CHEAP,
        {
            "GIF with a frame of 49 megapixels without pixel data": _of_frame(0, 0, 7000, 7000),
        },
    )
    yield from cases(
        Kind.BOMB,
        Outcome.DAMAGED,
        {"GIF with a screen of 49 megapixels around a small frame": _of_screen(7000, 7000)},
    )
    yield from cases(
        Kind.MALFORMED,
        Outcome.ART,
        {
            "GIF without a trailer": gif[:-1],
            "GIF with a screen smaller than its frame": _of_screen(8, 8),
            "GIF with a frame at (1000, 1000)": _of_frame(1000, 1000, 64, 48),
            "GIF with another version in its signature": gif.replace(b"GIF87a", b"GIF89a", 1),
            "GIF with an aspect ratio of 255": gif[:12] + b"\xff" + gif[13:],
            "GIF with an unknown extension": _with_blocks(b"\x21\x42\x03abc\0"),
            "GIF with a graphic control of 255 bytes": _with_blocks(
                b"\x21\xf9\xff" + bytes(255) + b"\0"
            ),
        },
    )
    yield from cases(
        Kind.MALFORMED,
        Outcome.DAMAGED,
        {
            "GIF signature alone": b"GIF89a",
            "GIF with nothing but a trailer": gif[: _start(gif)] + b";",
            "GIF with an invalid block": _with_blocks(b"\x99"),
            "GIF with a thousand graphic controls and no frame": gif[: _start(gif)]
            + b"\x21\xf9\x04\0\0\0\0\0" * 1000
            + b";",
            "GIF with code size 13": _of_code_size(13),
            "GIF with code size 255": _of_code_size(255),
            "GIF without pixel data": _of_pixels(b""),
            "GIF with a frame ten times as wide as its pixels": _of_frame(0, 0, 640, 48),
            "GIF with a sub-block longer than the file": _of_pixels(b"\xff\0\0"),
        },
    )
    yield from cases(
        Kind.MALFORMED,
        Outcome.ART_OR_DAMAGED,
        {
            "GIF with a screen of 0x0": _of_screen(0, 0),
            "GIF with a frame of 0x0": _of_frame(0, 0, 0, 0),
            "GIF with a frame of width 0": _of_frame(0, 0, 0, 48),
            "GIF with a frame of height 0": _of_frame(0, 0, 64, 0),
            "GIF with a frame a quarter as wide as its pixels": _of_frame(0, 0, 16, 48),
            "GIF with an interlaced header and sequential pixels": _of_frame(0, 0, 64, 48, 0x40),
            "GIF with a missing local palette": _of_frame(0, 0, 64, 48, 0x87),
            "GIF without a palette": gif[:10] + b"\0" + gif[11:13] + gif[_start(gif) :],
            "GIF with a truncated palette": gif[:10]
            + b"\xf7"
            + gif[11:13]
            + gif[13 : 13 + 12]
            + gif[_start(gif) :],
            "GIF with a background colour outside its palette": gif[:11] + b"\xff" + gif[12:],
            "GIF with an empty graphic control": _with_blocks(b"\x21\xf9\0"),
            "GIF with a graphic control of two bytes": _with_blocks(b"\x21\xf9\x02\x01\x01\0"),
            "GIF with a transparent colour outside its palette": _with_blocks(
                b"\x21\xf9\x04\x01\0\0\xff\0"
            ),
            "GIF with an empty loop extension": _with_blocks(b"\x21\xff\x0bNETSCAPE2.0\0"),
            "GIF with an application extension of one byte": _with_blocks(b"\x21\xff\x01N\0"),
            "GIF with noise as its pixel data": _of_pixels(_sub_blocks(noise(3000))),
            "GIF with undefined codes": _of_pixels(_sub_blocks(b"\xff" * 3000)),
            "GIF with nothing but clear codes": _of_pixels(
                _sub_blocks(b"\x00\x01\x02\x04\x08\x10\x20\x40\x80" * 500)
            ),
            "GIF with frame data past the last pixel": gif[:-2] + _sub_blocks(noise(5000)) + b"\0;",
            **{
                f"GIF with code size {size}": _of_code_size(size)
                for size in (0, 1, 2, 7, 9, 11, 12)
            },
        },
    )
