"""JPEG (ITU T.81 annex B): segments, and scans of entropy-coded data."""

import re
import struct
from collections.abc import Callable, Iterator
from functools import cache

from devtools.hostile.cases import Block, Case, Kind, Outcome, cases, truncations
from devtools.hostile.pictures import broken_exif, exif, noise
from devtools.images import encoded, gradient

_NAMES = {0xC0: "SOF0", 0xC2: "SOF2", 0xC4: "DHT", 0xDA: "SOS", 0xDB: "DQT", 0xDD: "DRI", 0xE0: "APP0", 0xE1: "APP1"}
_SOF0, _SOF2, _DHT, _SOI, _EOI, _SOS, _DQT, _DRI = 0xC0, 0xC2, 0xC4, 0xD8, 0xD9, 0xDA, 0xDB, 0xDD
_SCAN_END = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")


@cache
def valid() -> dict[str, bytes]:
    """A small file of each kind of JPEG."""
    picture = gradient()
    metadata = {"exif": b"Exif\0\0" + exif(1), "icc_profile": noise(300), "comment": "a comment"}
    return {
        "JPEG": encoded(picture, "JPEG"),
        "progressive JPEG": encoded(picture, "JPEG", progressive=True),
        "grey JPEG": encoded(gradient(mode="L"), "JPEG"),
        "progressive grey JPEG": encoded(gradient(mode="L"), "JPEG", progressive=True),
        "CMYK JPEG": encoded(gradient(mode="CMYK"), "JPEG"),
        "JPEG with restarts": encoded(picture, "JPEG", restart_marker_rows=1),
        "JPEG with metadata": encoded(picture, "JPEG", subsampling=0, **metadata),
        "JPEG of several pictures (MPO)": encoded(picture, "MPO", save_all=True, append_images=[picture.rotate(90)]),
    }


def blocks(jpeg: bytes) -> Iterator[Block]:
    """The segments and scans up to the first end of image."""
    yield Block("SOI", 0, 2, 2)
    position = 2
    while jpeg[position + 1] != _EOI:
        code = jpeg[position + 1]
        (length,) = struct.unpack_from(">H", jpeg, position + 2)
        yield Block(_NAMES.get(code, f"segment {code:02X}"), position, position + 4, position + 2 + length)
        position += 2 + length
        if code == _SOS:
            following = _SCAN_END.search(jpeg, position)
            assert following
            yield Block("scan data", position, position, following.start())
            position = following.start()
    yield Block("EOI", position, position + 2, position + 2)


def segment(code: int, content: bytes) -> bytes:
    """A marker segment with its length."""
    return bytes([0xFF, code]) + struct.pack(">H", len(content) + 2) + content


def with_jpeg_segments(segments: bytes) -> bytes:
    """A valid JPEG with more segments behind its start."""
    jpeg = valid()["JPEG"]
    return jpeg[:2] + segments + jpeg[2:]


def _edited(jpeg: bytes, code: int, edit: Callable[[bytes], bytes]) -> bytes:
    """`jpeg` with each segment of `code` replaced by what `edit` makes of its content."""
    parts = []
    for block in blocks(jpeg):
        whole = jpeg[block.start : block.end]
        parts.append(edit(jpeg[block.content : block.end]) if whole[:2] == bytes([0xFF, code]) else whole)
    return b"".join(parts)


def _without(jpeg: bytes, code: int) -> bytes:
    return _edited(jpeg, code, lambda _: b"")


def _frame(edit: Callable[[bytes], bytes], name: str = "JPEG", code: int = _SOF0) -> bytes:
    """A valid JPEG whose frame header is edited: precision, height, width, count, then (id, sampling, table) for each."""
    return _edited(valid()[name], code, lambda content: segment(code, edit(content)))


def _of_size(width: int, height: int, name: str = "JPEG", code: int = _SOF0) -> bytes:
    return _frame(lambda frame: frame[:1] + struct.pack(">HH", height, width) + frame[5:], name, code)


def _of_components(count: int, *, honest: bool) -> bytes:
    """With an honest length there are as many components as it says, otherwise still three."""
    components = b"".join(bytes([1 + number % 255, 0x11, 0]) for number in range(count))
    return _frame(lambda frame: frame[:5] + bytes([count]) + (components if honest else frame[6:]))


def _of_sampling(factors: int) -> bytes:
    return _frame(lambda frame: frame[:7] + bytes([factors]) + frame[8:])


def _scan(edit: Callable[[bytes], bytes], name: str = "JPEG") -> bytes:
    return _edited(valid()[name], _SOS, lambda content: segment(_SOS, edit(content)))


def _with_first(jpeg: bytes, code: int) -> bytes:
    """The segment of `code` moved to the start."""
    moved = [jpeg[block.start : block.end] for block in blocks(jpeg) if jpeg[block.start + 1] == code]
    rest = _without(jpeg, code)
    return rest[:2] + b"".join(moved) + rest[2:]


def _of_frame_code(code: int) -> bytes:
    return _edited(valid()["JPEG"], _SOF0, lambda content: segment(code, content))


def scan_bomb(scans: int, width: int = 2000, height: int = 1500) -> bytes:
    """A progressive JPEG whose last scan comes again and again."""
    jpeg = encoded(gradient(width, height), "JPEG", progressive=True)
    last = jpeg.rindex(b"\xff\xda")
    return jpeg[:-2] + jpeg[last:-2] * scans + b"\xff\xd9"


def _of_empty_scans(selections: list[tuple[int, int, int]]) -> bytes:
    """A progressive JPEG of 36 megapixels whose scans hold one byte each; the selections are of coefficients and of bits."""
    jpeg = _of_size(6000, 6000, "progressive JPEG", _SOF2)
    scans = [
        # the second round is of another component
        segment(_SOS, (b"\1\2\0" if number > 12 else b"\1\1\0") + bytes(selection)) + b"\0"
        for number, selection in enumerate(selections)
    ]
    return jpeg[: jpeg.index(b"\xff\xda")] + b"".join(scans) + b"\xff\xd9"


def _profile(parts: int) -> bytes:
    return b"".join(segment(0xE2, b"ICC_PROFILE\0" + bytes([part, parts]) + bytes(65_000)) for part in range(1, parts + 1))


def _cuts() -> Iterator[Case]:
    for name, jpeg in valid().items():
        walked = list(blocks(jpeg))
        scans = [block for block in walked if block.name == "scan data"]
        # Of a progressive JPEG, the first scan is a picture already. The last eighth of a scan may be padding.
        needed = scans[0].end - (scans[0].end - scans[0].start) // 8
        yield from truncations(name, jpeg, walked, signature=3, needed=needed)


def corpus() -> Iterator[Case]:
    """Every hostile JPEG."""
    jpeg, progressive = valid()["JPEG"], valid()["progressive JPEG"]
    yield from cases(Kind.VALID, Outcome.ART, valid())
    yield from _cuts()
    yield from cases(
        Kind.BOMB,
        Outcome.DAMAGED,
        {
            "JPEG of two million empty segments": with_jpeg_segments(b"\xff\xfe\x00\x02" * 2_000_000),
            "JPEG of fill bytes alone": b"\xff\xd8" + b"\xff" * 9_000_000,
            "JPEG of fill bytes before its scan": jpeg[:2] + b"\xff" * 9_000_000,
            "JPEG of restarts before its scan": jpeg[:2] + b"\xff\xd0" * 4_000_000,
        },
    )
    yield from cases(
        Kind.BOMB,
        Outcome.TOO_MANY_PIXELS,
        {
            "JPEG of the largest size there is": _of_size(65_535, 65_535),
            "progressive JPEG of the largest size there is": _of_size(65_535, 65_535, "progressive JPEG", _SOF2),
            "JPEG of 100 megapixels": _of_size(10_000, 10_000),
            "CMYK JPEG of 40 megapixels": _of_size(8000, 5000, "CMYK JPEG"),
        },
    )
    yield from cases(
        Kind.BOMB,
        Outcome.ART,
        {
            "JPEG of 300 scans": scan_bomb(300),
            "JPEG of 2000 scans": scan_bomb(2000, 800, 600),
            "JPEG of 2000 scans of few pixels": scan_bomb(2000, 64, 48),
            "JPEG with 9 MB of comments": with_jpeg_segments(segment(0xFE, bytes(65_000)) * 140),
            "JPEG with 9 MB of EXIF": with_jpeg_segments(segment(0xE1, b"Exif\0\0" + exif(1) + bytes(65_000)) * 140),
            "JPEG with a colour profile of 9 MB": with_jpeg_segments(_profile(140)),
            "JPEG with a colour profile whose parts are numbered wrongly": with_jpeg_segments(
                segment(0xE2, b"ICC_PROFILE\0\xff\x01" + bytes(100)) * 3
            ),
            "JPEG with 9 MB of Photoshop blocks": with_jpeg_segments(
                segment(0xED, b"Photoshop 3.0\0" + b"8BIM\x04\x04\0\0\0\0\0\0" * 5000) * 140
            ),
            "JPEG with a thumbnail of 255 by 255 that is not there": with_jpeg_segments(
                segment(0xE0, b"JFIF\0\x01\x02\x00\x00\x01\x00\x01\xff\xff")
            ),
            "JPEG with a thumbnail of 100 megapixels": with_jpeg_segments(
                segment(0xE1, b"Exif\0\0" + exif(1) + _of_size(10_000, 10_000))
            ),
            "JPEG with a megabyte of fill bytes": jpeg[:2] + b"\xff" * 1_000_000 + jpeg[2:],
        },
    )
    yield from cases(
        Kind.BOMB,
        Outcome.CHEAP,
        {
            "JPEG of 49 megapixels that are not there": _of_size(7000, 7000),
            "JPEG of a row of 65535 pixels that are not there": _of_size(65_535, 700),
            "progressive JPEG of 36 megapixels that are not there": _of_size(6000, 6000, "progressive JPEG", _SOF2),
            "progressive JPEG of 36 megapixels and 24 first scans that are not there": _of_empty_scans(
                [(0, 0, bits + 1 << 4 | bits if bits else 0) for bits in range(13)] * 2
            ),
            "progressive JPEG of 36 megapixels and 24 later scans that are not there": _of_empty_scans(
                [(0, 0, 0), *((first, first, 0) for first in range(1, 24))]
            ),
            "CMYK JPEG of 20 megapixels that are not there": _of_size(5000, 4000, "CMYK JPEG"),
            "JPEG of 49 megapixels of sampling factors of 4 that are not there": _frame(
                lambda frame: frame[:1] + struct.pack(">HH", 7000, 7000) + frame[5:7] + b"\x44" + frame[8:]
            ),
        },
    )
    yield from cases(
        Kind.LIE,
        Outcome.ART,
        {f"JPEG with {name}": with_jpeg_segments(segment(0xE1, b"Exif\0\0" + block)) for name, block in broken_exif().items()},
    )
    yield from cases(
        Kind.LIE,
        Outcome.ART,
        {
            "JPEG with stray bytes between segments": jpeg[:20] + b"stray" + jpeg[20:],
            "JPEG with broken EXIF": with_jpeg_segments(b"\xff\xe1\x00\x10Exif\0\0II*\0\x08\0\0\0"),
            "JPEG with a second image behind its end": jpeg + jpeg,
            "JPEG of half its height": _of_size(64, 24),
            "JPEG without JFIF": _without(jpeg, 0xE0),
            "JPEG with an Adobe segment of no known transform": with_jpeg_segments(segment(0xEE, b"Adobe\0\x64\0\0\0\0\x09")),
            "JPEG with an empty JFIF segment": with_jpeg_segments(segment(0xE0, b"")),
            "JPEG with an MPO index of nonsense": with_jpeg_segments(segment(0xE2, b"MPF\0II*\0\xff\xff\xff\xff")),
        },
    )
    yield from cases(
        Kind.LIE,
        Outcome.DAMAGED,
        {
            "html behind a JPEG signature": b"\xff\xd8\xff<html>" + b"x" * 500,
            "JPEG of a marker and nothing": b"\xff\xd8\xff\xd9",
            "JPEG without a scan": jpeg[: jpeg.index(b"\xff\xda")],
            "JPEG without a scan but with an end": jpeg[: jpeg.index(b"\xff\xda")] + b"\xff\xd9",
            "JPEG whose segment is longer than the file": jpeg[:2] + b"\xff\xe1\xff\xff" + jpeg[2:600],
            "JPEG whose segment is shorter than its own length": jpeg[:2] + b"\xff\xe1\x00\x01" + jpeg[2:],
            "JPEG of no height": _of_size(64, 0),
            "JPEG of no width": _of_size(0, 48),
            "JPEG without a frame": _without(jpeg, _SOF0),
            "JPEG whose frame follows its scan": _with_first(jpeg, _SOS),
            "JPEG of two frames": _with_first(jpeg, _SOF0)[:2]
            + _edited(jpeg, _SOF0, lambda frame: segment(_SOF0, frame) * 2)[2:],
            "JPEG of a frame cut short": _frame(lambda frame: frame[:7]),
            "JPEG of an empty frame": _frame(lambda _: b""),
            "JPEG of 12 bits": _frame(lambda frame: b"\x0c" + frame[1:]),
            "JPEG of no bits": _frame(lambda frame: b"\0" + frame[1:]),
            "JPEG without quantisation tables": _without(jpeg, _DQT),
            "JPEG of a quantisation table that there is not": _frame(lambda frame: frame[:8] + b"\x03" + frame[9:]),
            "JPEG of quantisation table 200": _frame(lambda frame: frame[:8] + b"\xc8" + frame[9:]),
            "JPEG of a quantisation table cut short": _edited(jpeg, _DQT, lambda table: segment(_DQT, table[:30])),
            "JPEG of a Huffman table of too many codes": _edited(
                jpeg, _DHT, lambda table: segment(_DHT, table[:1] + b"\xff" * 16 + bytes(400))
            ),
            "JPEG of a Huffman table cut short": _edited(jpeg, _DHT, lambda table: segment(_DHT, table[:10])),
            "JPEG of a Huffman table of number 15": _edited(jpeg, _DHT, lambda table: segment(_DHT, b"\x0f" + table[1:])),
            "JPEG of a scan of no components": _scan(lambda scan: b"\0" + scan[-3:]),
            "JPEG of a scan of five components": _scan(lambda scan: b"\x05" + b"\x01\0" * 5 + scan[-3:]),
            "JPEG of a scan of components that there are not": _scan(lambda scan: scan[:1] + b"\x09\0\x0a\0\x0b\0" + scan[-3:]),
            "JPEG of a scan cut short": _scan(lambda scan: scan[:3]),
            "JPEG of an empty scan header": _scan(lambda _: b""),
            "JPEG of a lossless frame": _of_frame_code(0xC3),
            "JPEG of a hierarchical frame": _of_frame_code(0xC5),
            "JPEG of an arithmetic lossless frame": _of_frame_code(0xCB),
            "JPEG of JPEG-LS": _of_frame_code(0xF7),
            "JPEG of a sampling factor of 0": _of_sampling(0x00),
            "JPEG of sampling factors of 15": _of_sampling(0xFF),
            "JPEG of sampling factors of 1 and 0": _of_sampling(0x10),
            **{f"JPEG of {count} components": _of_components(count, honest=False) for count in (0, 1, 2, 4, 255)},
            **{f"JPEG of {count} components and room for them": _of_components(count, honest=True) for count in (0, 2, 255)},
        },
    )
    yield from cases(
        Kind.LIE,
        Outcome.ART_OR_DAMAGED,
        {
            "JPEG of four times its height": _of_size(64, 192),
            "JPEG of a hundred times its width": _of_size(6400, 48),
            "JPEG with an Adobe segment cut short": with_jpeg_segments(segment(0xEE, b"Adobe")),
            "JPEG of one component and room for it": _of_components(1, honest=True),
            "JPEG of four components and room for them": _of_components(4, honest=True),
            "JPEG of a quarter of its width": _of_size(16, 48),
            "JPEG of sampling factors of 4": _of_sampling(0x44),
            "JPEG of sampling factors of 3 and 1": _of_sampling(0x31),
            "JPEG without Huffman tables": _without(jpeg, _DHT),
            "JPEG of quantisation tables of zeros": _edited(jpeg, _DQT, lambda table: segment(_DQT, table[:1] + bytes(64))),
            "JPEG whose scan is noise": jpeg[: jpeg.index(b"\xff\xda") + 14] + noise(2000).replace(b"\xff", b"") + b"\xff\xd9",
            "JPEG whose scan is full of restarts": jpeg[:-2] + b"\xff\xd0\xff\xd5" * 1000 + b"\xff\xd9",
            "JPEG of progressive frame and sequential scan": _of_frame_code(_SOF2),
            "JPEG of arithmetic coding": _of_frame_code(0xC9),
            "progressive JPEG of sequential frame": _edited(progressive, _SOF2, lambda frame: segment(_SOF0, frame)),
            "progressive JPEG whose first scan is missing": progressive.replace(
                next(progressive[b.start : b.content] for b in blocks(progressive) if b.name == "SOS"), b"\xff\xfe\x00\x0c", 1
            ),
            "progressive JPEG of spectral selection past the end": _scan(
                lambda scan: scan[:-3] + b"\x3f\xff\0", "progressive JPEG"
            ),
            "progressive JPEG of approximation 15": _scan(lambda scan: scan[:-1] + b"\xff", "progressive JPEG"),
            "progressive JPEG of twice its height": _of_size(64, 96, "progressive JPEG", _SOF2),
            **{f"JPEG of a restart every {rows} blocks that never comes": _with_restarts(rows) for rows in (0, 1, 3, 65_535)},
            # found by the fuzzer: Pillow does not skip what it does not know, and reads the EXIF inside of it
            "JPEG with EXIF within a segment of no known kind": with_jpeg_segments(
                segment(0xFB, segment(0xE1, b"Exif\0\0" + broken_exif()["EXIF whose value is 4 GB long"]))
            ),
            "JPEG of a restart interval cut short": with_jpeg_segments(segment(_DRI, b"\x01")),
            "JPEG of a restart interval of six bytes": with_jpeg_segments(segment(_DRI, bytes(6))),
        },
    )


def _with_restarts(interval: int) -> bytes:
    return with_jpeg_segments(segment(_DRI, struct.pack(">H", interval)))
