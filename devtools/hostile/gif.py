"""GIF (GIF89a sections 17 to 24): a screen, extensions and frames of LZW data in sub-blocks."""

import struct
from collections.abc import Iterator
from functools import cache

from devtools.hostile.cases import Block, Case, Kind, Outcome, cases, truncations
from devtools.hostile.pictures import frames, noise
from devtools.images import encoded, gradient


@cache
def valid() -> dict[str, bytes]:
    """A small file of each kind of GIF."""
    picture = gradient(mode="P")
    first, *others = frames(4, "P")
    return {
        "GIF": encoded(picture, "GIF"),
        "interlaced GIF": encoded(picture, "GIF", interlace=True),
        "GIF with a transparent colour and a comment": encoded(picture, "GIF", transparency=7, comment=b"a comment"),
        "GIF of two colours": encoded(gradient(mode="1"), "GIF"),
        "animated GIF": encoded(first, "GIF", save_all=True, append_images=others, duration=50, loop=0, disposal=2),
        "GIF of a local palette": _local_palette(encoded(picture, "GIF")),
    }


def _start(gif: bytes) -> int:
    """Where the blocks begin: behind the screen and its palette."""
    return 13 + (3 << (gif[10] & 7) + 1 if gif[10] & 0x80 else 0)


def _frame(gif: bytes) -> int:
    """Where the first frame begins."""
    return next(block.start for block in blocks(gif) if block.name == "frame")


def _local_palette(gif: bytes) -> bytes:
    start, frame = _start(gif), _frame(gif)
    flags = gif[frame + 9] | 0x80 | gif[10] & 7
    return gif[:10] + b"\0" + gif[11:13] + gif[start : frame + 9] + bytes([flags]) + gif[13:start] + gif[frame + 10 :]


def blocks(gif: bytes) -> Iterator[Block]:
    """The header, palettes, extensions, frames and each of their sub-blocks."""
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
    """Its frame is small, and to be disposed of by clearing the whole screen."""
    gif = _with_blocks(b"\x21\xf9\x04\x08\0\0\0\0")
    return gif[:6] + struct.pack("<HH", width, height) + gif[10:]


def _of_frame(left: int, top: int, width: int, height: int, flags: int = 0) -> bytes:
    gif = valid()["GIF"]
    frame = _frame(gif)
    return gif[: frame + 1] + struct.pack("<HHHHB", left, top, width, height, flags) + gif[frame + 10 :]


def _of_code_size(size: int) -> bytes:
    gif = valid()["GIF"]
    frame = _frame(gif)
    return gif[: frame + 10] + bytes([size]) + gif[frame + 11 :]


def _of_pixels(data: bytes) -> bytes:
    """Its LZW data is replaced, sub-block lengths and all."""
    gif = valid()["GIF"]
    return gif[: _frame(gif) + 11] + data + b"\0;"


def _sub_blocks(data: bytes) -> bytes:
    return b"".join(bytes([len(data[at : at + 255])]) + data[at : at + 255] for at in range(0, len(data), 255))


def _cuts() -> Iterator[Case]:
    for name, gif in valid().items():
        walked = list(blocks(gif))
        frame = next(number for number, block in enumerate(walked) if block.name == "frame")
        end = next(number for number in range(frame, len(walked)) if walked[number].name == "terminator")
        # only the first frame is read, and its last sub-block may hold nothing but the end code
        yield from truncations(name, gif, walked, signature=6, needed=walked[end - 1].start)


def corpus() -> Iterator[Case]:
    """Every hostile GIF."""
    gif = valid()["GIF"]
    first, *others = frames(500, "P")
    yield from cases(Kind.VALID, Outcome.ART, valid())
    yield from _cuts()
    yield from cases(
        Kind.BOMB,
        Outcome.TOO_MANY_PIXELS,
        {
            "GIF of a screen of 4 gigapixels": _of_screen(65_535, 65_535),
            "GIF of a frame past 8 gigapixels": _of_frame(65_000, 65_535, 64, 48),
            "GIF of a frame of 4 gigapixels": _of_frame(0, 0, 65_535, 65_535),
            "GIF of a screen of 60 megapixels": _of_screen(10_000, 6000),
        },
    )
    yield from cases(
        Kind.BOMB,
        Outcome.DAMAGED,
        {"GIF of 4 million one-byte comments": _with_blocks(b"\x21\xfe" + b"\x01x" * 4_000_000 + b"\0")},
    )
    yield from cases(Kind.BOMB, Outcome.DAMAGED, {"GIF of a million empty extensions": _with_blocks(b"\x21\xfe\0" * 1_000_000)})
    yield from cases(
        Kind.BOMB,
        Outcome.ART,
        {
            "GIF with frames that are never read": encoded(first, "GIF", save_all=True, append_images=others),
            "GIF of one frame ninety thousand times": gif[:-1] + gif[_frame(gif) : _frame(gif) + 100] * 90_000,
            "GIF with 8 MB of comments": _with_blocks(b"\x21\xfe" + (b"\xff" + bytes(255)) * 31_000 + b"\0"),
            "GIF with 60 thousand comments": _with_blocks(b"\x21\xfe\x01x\0" * 60_000),
            "GIF with 60 thousand graphic controls": _with_blocks(b"\x21\xf9\x04\0\0\0\0\0" * 60_000),
            "GIF with 9 MB behind its end": gif + bytes(9_000_000),
            "GIF whose frame is followed by 9 MB of frame": gif[:-2] + _sub_blocks(noise(20_000)) * 440 + b"\0;",
        },
    )
    yield from cases(
        Kind.BOMB,
        Outcome.CHEAP,
        {
            "GIF of a frame of 49 megapixels that are not there": _of_frame(0, 0, 7000, 7000),
        },
    )
    yield from cases(
        Kind.BOMB,
        Outcome.DAMAGED,
        {"GIF of a screen of 49 megapixels around a small frame": _of_screen(7000, 7000)},
    )
    yield from cases(
        Kind.LIE,
        Outcome.ART,
        {
            "GIF without a trailer": gif[:-1],
            "GIF of a smaller screen than its frame": _of_screen(8, 8),
            "GIF of a frame at the screen's far corner": _of_frame(1000, 1000, 64, 48),
            "GIF of a version that there is not yet": gif.replace(b"GIF87a", b"GIF89a", 1),
            "GIF of an aspect ratio of 255": gif[:12] + b"\xff" + gif[13:],
            "GIF with an extension of no known label": _with_blocks(b"\x21\x42\x03abc\0"),
            "GIF with a graphic control of 255 bytes": _with_blocks(b"\x21\xf9\xff" + bytes(255) + b"\0"),
        },
    )
    yield from cases(
        Kind.LIE,
        Outcome.DAMAGED,
        {
            "GIF signature alone": b"GIF89a",
            "GIF of a trailer and nothing": gif[: _start(gif)] + b";",
            "GIF of a block that there is not": _with_blocks(b"\x99"),
            "GIF of no frame but many controls": gif[: _start(gif)] + b"\x21\xf9\x04\0\0\0\0\0" * 1000 + b";",
            "GIF of code size 13": _of_code_size(13),
            "GIF of code size 255": _of_code_size(255),
            "GIF of no pixels": _of_pixels(b""),
            "GIF of a frame ten times its pixels": _of_frame(0, 0, 640, 48),
            "GIF of a sub-block longer than the file": _of_pixels(b"\xff\0\0"),
        },
    )
    yield from cases(
        Kind.LIE,
        Outcome.ART_OR_DAMAGED,
        {
            "GIF of a screen of nothing": _of_screen(0, 0),
            "GIF of a frame of nothing": _of_frame(0, 0, 0, 0),
            "GIF of a frame of no width": _of_frame(0, 0, 0, 48),
            "GIF of a frame of no height": _of_frame(0, 0, 64, 0),
            "GIF of a frame of a quarter of its pixels": _of_frame(0, 0, 16, 48),
            "GIF of a frame that is not interlaced and says so": _of_frame(0, 0, 64, 48, 0x40),
            "GIF of a local palette that is not there": _of_frame(0, 0, 64, 48, 0x87),
            "GIF of no palette at all": gif[:10] + b"\0" + gif[11:13] + gif[_start(gif) :],
            "GIF of a palette larger than it has": gif[:10] + b"\xf7" + gif[11:13] + gif[13 : 13 + 12] + gif[_start(gif) :],
            "GIF of a background that is past its palette": gif[:11] + b"\xff" + gif[12:],
            "GIF with a graphic control of no bytes": _with_blocks(b"\x21\xf9\0"),
            "GIF with a graphic control of two bytes": _with_blocks(b"\x21\xf9\x02\x01\x01\0"),
            "GIF with a transparent colour past its palette": _with_blocks(b"\x21\xf9\x04\x01\0\0\xff\0"),
            "GIF with a loop extension of nothing": _with_blocks(b"\x21\xff\x0bNETSCAPE2.0\0"),
            "GIF with an application extension of one byte": _with_blocks(b"\x21\xff\x01N\0"),
            "GIF of pixels of noise": _of_pixels(_sub_blocks(noise(3000))),
            "GIF of codes that are not yet defined": _of_pixels(_sub_blocks(b"\xff" * 3000)),
            "GIF of nothing but clear codes": _of_pixels(_sub_blocks(b"\x00\x01\x02\x04\x08\x10\x20\x40\x80" * 500)),
            "GIF of a frame that goes on past its end": gif[:-2] + _sub_blocks(noise(5000)) + b"\0;",
            **{f"GIF of code size {size}": _of_code_size(size) for size in (0, 1, 2, 7, 9, 11, 12)},
        },
    )
