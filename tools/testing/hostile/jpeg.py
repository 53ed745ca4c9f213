"""Hostile JPEG files (ITU T.81 annex B)."""

import re
import struct
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from math import ceil

from tools.testing.hostile.cases import Block, Case, Kind, Outcome, cases, truncations
from tools.testing.hostile.pictures import broken_exif, exif, noise
from tools.testing.images import encoded, gradient

_NAMES = {
    0xC0: "SOF0",
    0xC2: "SOF2",
    0xC4: "DHT",
    0xDA: "SOS",
    0xDB: "DQT",
    0xDD: "DRI",
    0xE0: "APP0",
    0xE1: "APP1",
}
_SOF0, _SOF2, _DHT, _EOI, _SOS, _DQT, _DRI = 0xC0, 0xC2, 0xC4, 0xD9, 0xDA, 0xDB, 0xDD
_SCAN_END = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")


@cache
def valid() -> dict[str, bytes]:
    """A small file for each kind of JPEG, by name."""
    image = gradient()
    metadata = {"exif": b"Exif\0\0" + exif(1), "icc_profile": noise(300), "comment": "a comment"}
    return {
        "JPEG": encoded(image, "JPEG"),
        "progressive JPEG": encoded(image, "JPEG", progressive=True),
        "grey JPEG": encoded(gradient(mode="L"), "JPEG"),
        "progressive grey JPEG": encoded(gradient(mode="L"), "JPEG", progressive=True),
        "CMYK JPEG": encoded(gradient(mode="CMYK"), "JPEG"),
        "JPEG with restarts": encoded(image, "JPEG", restart_marker_rows=1),
        "JPEG with metadata": encoded(image, "JPEG", subsampling=0, **metadata),
        "JPEG with several images (MPO)": encoded(
            image, "MPO", save_all=True, append_images=[image.rotate(90)]
        ),
    }


def blocks(jpeg: bytes) -> Iterator[Block]:
    """The segments and scans up to the first EOI."""
    yield Block("SOI", 0, 2, 2)
    position = 2
    while jpeg[position + 1] != _EOI:
        code = jpeg[position + 1]
        (length,) = struct.unpack_from(">H", jpeg, position + 2)
        yield Block(
            _NAMES.get(code, f"segment {code:02X}"), position, position + 4, position + 2 + length
        )
        position += 2 + length
        if code == _SOS:
            following = _SCAN_END.search(jpeg, position)
            assert following
            yield Block("scan data", position, position, following.start())
            position = following.start()
    yield Block("EOI", position, position + 2, position + 2)


def segment(code: int, content: bytes) -> bytes:
    """A marker segment: marker, length, content."""
    return bytes([0xFF, code]) + struct.pack(">H", len(content) + 2) + content


def with_jpeg_segments(segments: bytes) -> bytes:
    """A valid JPEG with additional segments after SOI."""
    jpeg = valid()["JPEG"]
    return jpeg[:2] + segments + jpeg[2:]


def _edited(jpeg: bytes, code: int, edit: Callable[[bytes], bytes]) -> bytes:
    """`jpeg` with each segment with marker `code` replaced by `edit(content)`."""
    parts = []
    for block in blocks(jpeg):
        whole = jpeg[block.start : block.end]
        parts.append(
            edit(jpeg[block.content : block.end]) if whole[:2] == bytes([0xFF, code]) else whole
        )
    return b"".join(parts)


def _without(jpeg: bytes, code: int) -> bytes:
    return _edited(jpeg, code, lambda _: b"")


def _frame(edit: Callable[[bytes], bytes], name: str = "JPEG", code: int = _SOF0) -> bytes:
    """Return a valid JPEG with an edited frame header: precision, height, width, count, then (id,
    sampling, table) per component."""
    return _edited(valid()[name], code, lambda content: segment(code, edit(content)))


def _of_size(width: int, height: int, name: str = "JPEG", code: int = _SOF0) -> bytes:
    return _frame(
        lambda frame: frame[:1] + struct.pack(">HH", height, width) + frame[5:], name, code
    )


def _of_components(count: int, *, honest: bool) -> bytes:
    """Return a JPEG with a frame header that states `count` components. The header describes that
    many, or three if not `honest`."""
    components = b"".join(bytes([1 + number % 255, 0x11, 0]) for number in range(count))
    return _frame(lambda frame: frame[:5] + bytes([count]) + (components if honest else frame[6:]))


def _of_sampling(factors: int) -> bytes:
    return _frame(lambda frame: frame[:7] + bytes([factors]) + frame[8:])


def _scan(edit: Callable[[bytes], bytes], name: str = "JPEG") -> bytes:
    return _edited(valid()[name], _SOS, lambda content: segment(_SOS, edit(content)))


def _with_first(jpeg: bytes, code: int) -> bytes:
    """`jpeg` with the segments with marker `code` moved to the start."""
    moved = [
        jpeg[block.start : block.end] for block in blocks(jpeg) if jpeg[block.start + 1] == code
    ]
    rest = _without(jpeg, code)
    return rest[:2] + b"".join(moved) + rest[2:]


def _of_frame_code(code: int) -> bytes:
    return _edited(valid()["JPEG"], _SOF0, lambda content: segment(code, content))


def scan_bomb(scans: int, width: int = 2000, height: int = 1500) -> bytes:
    """A progressive JPEG with its last scan repeated `scans` times."""
    jpeg = encoded(gradient(width, height), "JPEG", progressive=True)
    last = jpeg.rindex(b"\xff\xda")
    return jpeg[:-2] + jpeg[last:-2] * scans + b"\xff\xd9"


def _of_empty_scans(selections: list[tuple[int, int, int]]) -> bytes:
    """A progressive JPEG of 36 megapixels with scans of one byte each.

    A selection is (first coefficient, last coefficient, successive approximation).
    """
    jpeg = _of_size(6000, 6000, "progressive JPEG", _SOF2)
    scans = [
        # component 2 from the 14th scan on
        segment(_SOS, (b"\1\2\0" if number > 12 else b"\1\1\0") + bytes(selection)) + b"\0"
        for number, selection in enumerate(selections)
    ]
    return jpeg[: jpeg.index(b"\xff\xda")] + b"".join(scans) + b"\xff\xd9"


def black_jpeg(
    width: int,
    height: int,
    factors: Sequence[tuple[int, int]] = ((2, 2), (1, 1), (1, 1)),
    *,
    code: int = _SOF0,
    separate: bool = False,
    without_pixels: bool = False,
) -> bytes:
    """Return a JPEG of one level. `factors` are (horizontal, vertical) sampling by component.

    `code` is the marker of the frame. The components share one scan; if `separate`, each has its
    own scan. Every code is a zero bit: the mean of a block equals that of the previous block, and
    all other coefficients are zero.
    """
    identifiers = range(1, len(factors) + 1)
    sampling = b"".join(
        bytes([n, across << 4 | down, 0])
        for n, (across, down) in zip(identifiers, factors, strict=True)
    )
    tables = b"".join(segment(_DHT, bytes([number, 1, *bytes(15), 0])) for number in (0x00, 0x10))
    scans = []
    last = 0 if code == _SOF2 else 63
    for group in [[n] for n in identifiers] if separate else [[*identifiers]]:
        header = bytes([len(group), *(byte for n in group for byte in (n, 0)), 0, last, 0])
        bits = (
            0
            if without_pixels
            else _blocks_of(width, height, [factors[n - 1] for n in group], factors)
            * (2 if last else 1)
        )
        scans.append(segment(_SOS, header) + bytes(bits // 8 + 1))
    return b"".join(
        [
            b"\xff\xd8",
            segment(_DQT, b"\0" + b"\1" * 64),
            segment(code, struct.pack(">BHHB", 8, height, width, len(factors)) + sampling),
            tables,
            *scans,
            b"\xff\xd9",
        ]
    )


def _blocks_of(
    width: int, height: int, scanned: Sequence[tuple[int, int]], factors: Sequence[tuple[int, int]]
) -> int:
    """Return an upper bound of the blocks in a scan of some of the components."""
    widest, tallest = 8 * max(across for across, _ in factors), 8 * max(down for _, down in factors)
    return (
        ceil(width / widest)
        * ceil(height / tallest)
        * sum(across * down for across, down in scanned)
    )


def _profile(parts: int) -> bytes:
    return b"".join(
        segment(0xE2, b"ICC_PROFILE\0" + bytes([part, parts]) + bytes(65_000))
        for part in range(1, parts + 1)
    )


def _cuts() -> Iterator[Case]:
    for name, jpeg in valid().items():
        walked = list(blocks(jpeg))
        scans = [block for block in walked if block.name == "scan data"]
        # The first scan of a progressive JPEG is already a complete image. The last eighth of a
        # scan may be padding.
        needed = scans[0].end - (scans[0].end - scans[0].start) // 8
        yield from truncations(name, jpeg, walked, signature=3, needed=needed)


def corpus() -> Iterator[Case]:
    """All hostile JPEG files."""
    jpeg, progressive = valid()["JPEG"], valid()["progressive JPEG"]
    yield from cases(Kind.VALID, Outcome.ART, valid())
    yield from _cuts()
    yield from cases(
        Kind.BOMB,
        Outcome.DAMAGED,
        {
            "JPEG with two million empty segments": with_jpeg_segments(
                b"\xff\xfe\x00\x02" * 2_000_000
            ),
            "JPEG with nothing but fill bytes": b"\xff\xd8" + b"\xff" * 9_000_000,
            "JPEG with 9 MB of fill bytes before its scan": jpeg[:2] + b"\xff" * 9_000_000,
            "JPEG with 4 million restart markers before its scan": jpeg[:2]
            + b"\xff\xd0" * 4_000_000,
            "JPEG with 9 MB of quantisation tables": with_jpeg_segments(
                segment(_DQT, (b"\0" + b"\1" * 64) * 1000) * 138
            ),
            "JPEG with two million empty quantisation tables": with_jpeg_segments(
                segment(_DQT, b"") * 2_000_000
            ),
            "JPEG with a million restart intervals": with_jpeg_segments(
                segment(_DRI, b"\0\0") * 1_600_000
            ),
            "JPEG with 9 MB of tables and stray bytes": with_jpeg_segments(
                (segment(_DQT, b"") + b"\0" * 500) * 18_000
            ),
        },
    )
    yield from cases(
        Kind.BOMB,
        Outcome.TOO_MANY_PIXELS,
        {
            "JPEG of the maximum size": _of_size(65_535, 65_535),
            "progressive JPEG of the maximum size": _of_size(
                65_535, 65_535, "progressive JPEG", _SOF2
            ),
            "JPEG of 100 megapixels": _of_size(10_000, 10_000),
            "progressive CMYK JPEG of 25 megapixels": black_jpeg(
                5000, 5000, [(1, 1)] * 4, code=_SOF2
            ),
        },
    )
    yield from cases(
        Kind.BOMB,
        Outcome.ART,
        {
            "JPEG with 300 scans": scan_bomb(300),
            "JPEG with 2000 scans": scan_bomb(2000, 800, 600),
            "small JPEG with 2000 scans": scan_bomb(2000, 64, 48),
            "JPEG with 9 MB of comments": with_jpeg_segments(segment(0xFE, bytes(65_000)) * 140),
            "JPEG with 9 MB of EXIF": with_jpeg_segments(
                segment(0xE1, b"Exif\0\0" + exif(1) + bytes(65_000)) * 140
            ),
            "JPEG with a colour profile of 9 MB": with_jpeg_segments(_profile(140)),
            "JPEG with a colour profile with wrong part numbers": with_jpeg_segments(
                segment(0xE2, b"ICC_PROFILE\0\xff\x01" + bytes(100)) * 3
            ),
            "JPEG with 9 MB of Photoshop blocks": with_jpeg_segments(
                segment(0xED, b"Photoshop 3.0\0" + b"8BIM\x04\x04\0\0\0\0\0\0" * 5000) * 140
            ),
            "JPEG with a missing JFIF thumbnail of 255x255": with_jpeg_segments(
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
            "JPEG of 49 megapixels without pixel data": _of_size(7000, 7000),
            "JPEG of 65535x700 without pixel data": _of_size(65_535, 700),
            "progressive JPEG of 36 megapixels without pixel data": _of_size(
                6000, 6000, "progressive JPEG", _SOF2
            ),
            "progressive JPEG of 36 megapixels with 24 first scans of one byte": _of_empty_scans(
                [(0, 0, bits + 1 << 4 | bits if bits else 0) for bits in range(13)] * 2
            ),
            "progressive JPEG of 36 megapixels with 24 later scans of one byte": _of_empty_scans(
                [(0, 0, 0), *((first, first, 0) for first in range(1, 24))]
            ),
            "CMYK JPEG of 20 megapixels without pixel data": _of_size(5000, 4000, "CMYK JPEG"),
            "JPEG of 49 megapixels with sampling factors of 4 without pixel data": _frame(
                lambda frame: (
                    frame[:1] + struct.pack(">HH", 7000, 7000) + frame[5:7] + b"\x44" + frame[8:]
                )
            ),
        },
    )
    yield from cases(
        Kind.LARGE,
        Outcome.CHEAP,
        {
            "CMYK JPEG of 40 megapixels": _of_size(8000, 5000, "CMYK JPEG"),
            "JPEG of 24 megapixels with a scan for each component": black_jpeg(
                6000, 4000, separate=True
            ),
            "JPEG of 24 megapixels with a scan for each component without pixel data": black_jpeg(
                6000, 4000, separate=True, without_pixels=True
            ),
            "progressive JPEG of 24 megapixels with a scan for each component": black_jpeg(
                6000, 4000, code=_SOF2, separate=True
            ),
            "progressive JPEG of 16 megapixels with sampling factors of 4": black_jpeg(
                4000, 4000, [(4, 4), (4, 4), (4, 4)], code=_SOF2, separate=True
            ),
            "JPEG of 49 megapixels": black_jpeg(7000, 7000),
            "JPEG of 49 megapixels with a scan for each component": black_jpeg(
                7000, 7000, separate=True
            ),
            "JPEG of 49 megapixels with a scan for each component without pixel data": black_jpeg(
                7000, 7000, separate=True, without_pixels=True
            ),
            "JPEG of 65535 columns and 760 rows": black_jpeg(
                65_535, 760, [(1, 4), (1, 4), (1, 1), (1, 1)], separate=False
            ),
            "JPEG of 760 columns and 65535 rows": black_jpeg(760, 65_535),
        },
    )
    yield from cases(
        Kind.MALFORMED,
        Outcome.ART,
        {
            f"JPEG with {name}": with_jpeg_segments(segment(0xE1, b"Exif\0\0" + block))
            for name, block in broken_exif().items()
        },
    )
    yield from cases(
        Kind.MALFORMED,
        Outcome.UNKNOWN_FORMAT,
        {
            "JPEG with a lossless frame": _of_frame_code(0xC3),
            "JPEG with a hierarchical frame": _of_frame_code(0xC5),
            "JPEG with a hierarchical progression": with_jpeg_segments(segment(0xDE, bytes(15))),
            "JPEG with an arithmetic frame": _of_frame_code(0xC9),
            "JPEG with an arithmetic progressive frame": _of_frame_code(0xCA),
            "JPEG with an arithmetic lossless frame": _of_frame_code(0xCB),
            "JPEG with a JPEG-LS frame": _of_frame_code(0xF7),
        },
    )
    yield from cases(
        Kind.MALFORMED,
        Outcome.ART,
        {
            "JPEG with stray bytes between segments": jpeg[:20] + b"stray" + jpeg[20:],
            "JPEG with broken EXIF": with_jpeg_segments(b"\xff\xe1\x00\x10Exif\0\0II*\0\x08\0\0\0"),
            "JPEG with a second image after its end": jpeg + jpeg,
            "JPEG with half the height in its header": _of_size(64, 24),
            "JPEG without JFIF": _without(jpeg, 0xE0),
            "JPEG with an unknown Adobe transform": with_jpeg_segments(
                segment(0xEE, b"Adobe\0\x64\0\0\0\0\x09")
            ),
            "JPEG with an empty JFIF segment": with_jpeg_segments(segment(0xE0, b"")),
            "JPEG with an invalid MPO index": with_jpeg_segments(
                segment(0xE2, b"MPF\0II*\0\xff\xff\xff\xff")
            ),
        },
    )
    yield from cases(
        Kind.MALFORMED,
        Outcome.DAMAGED,
        {
            "HTML after a JPEG signature": b"\xff\xd8\xff<html>" + b"x" * 500,
            "JPEG with nothing but an end marker": b"\xff\xd8\xff\xd9",
            "JPEG without a scan": jpeg[: jpeg.index(b"\xff\xda")],
            "JPEG without a scan but with an end marker": jpeg[: jpeg.index(b"\xff\xda")]
            + b"\xff\xd9",
            "JPEG with a segment longer than the file": jpeg[:2]
            + b"\xff\xe1\xff\xff"
            + jpeg[2:600],
            "JPEG with a segment length of 1": jpeg[:2] + b"\xff\xe1\x00\x01" + jpeg[2:],
            "JPEG of height 0": _of_size(64, 0),
            "JPEG of width 0": _of_size(0, 48),
            "JPEG without a frame": _without(jpeg, _SOF0),
            "JPEG with its frame after its scan": _with_first(jpeg, _SOS),
            "JPEG with two frames": _with_first(jpeg, _SOF0)[:2]
            + _edited(jpeg, _SOF0, lambda frame: segment(_SOF0, frame) * 2)[2:],
            "JPEG with a truncated frame header": _frame(lambda frame: frame[:7]),
            "JPEG with an empty frame header": _frame(lambda _: b""),
            "JPEG with 12-bit samples": _frame(lambda frame: b"\x0c" + frame[1:]),
            "JPEG with 0-bit samples": _frame(lambda frame: b"\0" + frame[1:]),
            "JPEG without quantisation tables": _without(jpeg, _DQT),
            "JPEG with an undefined quantisation table": _frame(
                lambda frame: frame[:8] + b"\x03" + frame[9:]
            ),
            "JPEG with quantisation table number 200": _frame(
                lambda frame: frame[:8] + b"\xc8" + frame[9:]
            ),
            "JPEG with a truncated quantisation table": _edited(
                jpeg, _DQT, lambda table: segment(_DQT, table[:30])
            ),
            "JPEG with too many codes in a Huffman table": _edited(
                jpeg, _DHT, lambda table: segment(_DHT, table[:1] + b"\xff" * 16 + bytes(400))
            ),
            "JPEG with a truncated Huffman table": _edited(
                jpeg, _DHT, lambda table: segment(_DHT, table[:10])
            ),
            "JPEG with Huffman table number 15": _edited(
                jpeg, _DHT, lambda table: segment(_DHT, b"\x0f" + table[1:])
            ),
            "JPEG with a scan of no components": _scan(lambda scan: b"\0" + scan[-3:]),
            "JPEG with a scan of five components": _scan(
                lambda scan: b"\x05" + b"\x01\0" * 5 + scan[-3:]
            ),
            "JPEG with a scan of undefined components": _scan(
                lambda scan: scan[:1] + b"\x09\0\x0a\0\x0b\0" + scan[-3:]
            ),
            "JPEG with a truncated scan header": _scan(lambda scan: scan[:3]),
            "JPEG with an empty scan header": _scan(lambda _: b""),
            "JPEG with a sampling factor of 0": _of_sampling(0x00),
            "JPEG with sampling factors of 15": _of_sampling(0xFF),
            "JPEG with sampling factors of 1 and 0": _of_sampling(0x10),
            **{
                f"JPEG with a component count of {count}": _of_components(count, honest=False)
                for count in (0, 1, 2, 4, 255)
            },
            **{
                f"JPEG with {count} components": _of_components(count, honest=True)
                for count in (0, 2, 255)
            },
        },
    )
    yield from cases(
        Kind.MALFORMED,
        Outcome.ART_OR_DAMAGED,
        {
            "JPEG with four times the height in its header": _of_size(64, 192),
            "JPEG with a hundred times the width in its header": _of_size(6400, 48),
            "JPEG with a truncated Adobe segment": with_jpeg_segments(segment(0xEE, b"Adobe")),
            "JPEG with one component and the scan of three": _of_components(1, honest=True),
            "JPEG with four components and the scan of three": _of_components(4, honest=True),
            "JPEG with a quarter of the width in its header": _of_size(16, 48),
            "JPEG with sampling factors of 4": _of_sampling(0x44),
            "JPEG with sampling factors of 3 and 1": _of_sampling(0x31),
            "JPEG without Huffman tables": _without(jpeg, _DHT),
            "JPEG with quantisation tables of zeros": _edited(
                jpeg, _DQT, lambda table: segment(_DQT, table[:1] + bytes(64))
            ),
            "JPEG with a scan of noise": jpeg[: jpeg.index(b"\xff\xda") + 14]
            + noise(2000).replace(b"\xff", b"")
            + b"\xff\xd9",
            "JPEG with 2000 extra restart markers in its scan": jpeg[:-2]
            + b"\xff\xd0\xff\xd5" * 1000
            + b"\xff\xd9",
            "JPEG with a progressive frame and a sequential scan": _of_frame_code(_SOF2),
            "progressive JPEG with a sequential frame": _edited(
                progressive, _SOF2, lambda frame: segment(_SOF0, frame)
            ),
            "progressive JPEG without its first scan": progressive.replace(
                next(
                    progressive[b.start : b.content] for b in blocks(progressive) if b.name == "SOS"
                ),
                b"\xff\xfe\x00\x0c",
                1,
            ),
            "progressive JPEG with a spectral selection past 63": _scan(
                lambda scan: scan[:-3] + b"\x3f\xff\0", "progressive JPEG"
            ),
            "progressive JPEG with successive approximation 15": _scan(
                lambda scan: scan[:-1] + b"\xff", "progressive JPEG"
            ),
            "progressive JPEG with twice the height in its header": _of_size(
                64, 96, "progressive JPEG", _SOF2
            ),
            **{
                f"JPEG with missing restart markers every {rows} blocks": _with_restarts(rows)
                for rows in (0, 1, 3, 65_535)
            },
            # Found by the fuzzer: Pillow does not skip unknown segments, and reads the EXIF inside
            # them.
            "JPEG with EXIF inside an unknown segment": with_jpeg_segments(
                segment(
                    0xFB, segment(0xE1, b"Exif\0\0" + broken_exif()["EXIF with a value of 4 GB"])
                )
            ),
            "JPEG with a truncated restart interval": with_jpeg_segments(segment(_DRI, b"\x01")),
            "JPEG with a restart interval of six bytes": with_jpeg_segments(
                segment(_DRI, bytes(6))
            ),
        },
    )


def _with_restarts(interval: int) -> bytes:
    return with_jpeg_segments(segment(_DRI, struct.pack(">H", interval)))
