"""Hostile AVIF files: the box `meta` with items, their places and properties, and AV1 units as the
content of the items."""

import re
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Final

from PIL import Image

from tools.testing.hostile.cases import Block, Case, Kind, Outcome, cases, truncations
from tools.testing.hostile.pictures import noise
from tools.testing.images import encoded, gradient

_HEADER, _DELIMITER, _FRAME_HEADER, _METADATA, _FRAME, _PADDING = 1, 2, 3, 5, 6, 15
"""Types of AV1 units."""

_TEN_BITS: Final = bytes.fromhex(
    "12000a0918157fbdba04040d08321c1d8787859dc0002c000020a7dcdf273a1b725ee7db7eff62e772bf60"
)
_TWELVE_BITS: Final = bytes.fromhex(
    "12000a0958157fbdad02020688321c1d8262c4e0070001608040a7dcdf273a1b725ee74163bca6ed5b7210"
)
"""A gradient of 64x48 pixels, 10-bit in 4:2:0 and 12-bit in 4:4:4, from libaom: Pillow writes only
8 bits."""

_ALPHA: Final = b"urn:mpeg:mpegB:cicp:systems:auxiliary:alpha\0"


def _box(kind: bytes, *content: bytes) -> bytes:
    body = b"".join(content)
    return struct.pack(">I4s", 8 + len(body), kind) + body


def _full(kind: bytes, *content: bytes, version: int = 0, flags: int = 0) -> bytes:
    return _box(kind, struct.pack(">I", version << 24 | flags), *content)


def _size(width: int = 64, height: int = 48) -> bytes:
    return _full(b"ispe", struct.pack(">II", width, height))


def _configuration(profile: int = 0, flags: int = 0x0C) -> bytes:
    """Format of the samples; by default 8 bits in 4:2:0."""
    return _box(b"av1C", bytes([0x81, profile << 5, flags, 0]))


_CONFIGURATION: Final = _configuration()


@dataclass(frozen=True, kw_only=True)
class _Item:
    content: bytes
    kind: bytes = b"av01"
    properties: Sequence[bytes] = (_size(), _CONFIGURATION)


def _file(
    *items: _Item,
    references: Sequence[bytes] = (),
    primary: int = 1,
    places: Sequence[tuple[int, int]] = (),
    count: int | None = None,
    replaced: dict[bytes, bytes] | None = None,
    brand: bytes = b"avif",
) -> bytes:
    """Return an AVIF file of items numbered from 1.

    `places` are the (start in the data, length) of the items if they are not consecutive; `count`
    is the number of items in the lists; `replaced` maps types of boxes to replacements for the
    boxes in `meta`.
    """
    number = len(items) if count is None else count
    head = _box(b"ftyp", brand, b"\0\0\0\0mif1miaf", brand)
    data = b"".join(item.content for item in items)
    if not places:
        ends = [
            sum(len(item.content) for item in items[: index + 1]) for index in range(len(items))
        ]
        places = [
            (end - len(item.content), len(item.content))
            for item, end in zip(items, ends, strict=True)
        ]

    def meta(start: int) -> bytes:
        properties = [*dict.fromkeys(each for item in items for each in item.properties)]
        associations = [
            struct.pack(">HB", index, len(item.properties))
            + b"".join(struct.pack(">H", 1 + properties.index(each)) for each in item.properties)
            for index, item in enumerate(items, 1)
        ]
        extents = [
            struct.pack(">HHHII", index, 0, 1, (start + place) % 2**32, length)
            for index, (place, length) in enumerate(places, 1)
        ]
        entries = [
            _full(b"infe", struct.pack(">HH4sB", index, 0, item.kind, 0), version=2)
            for index, item in enumerate(items, 1)
        ]
        boxes = {
            b"hdlr": _full(b"hdlr", b"\0\0\0\0pict" + bytes(13)),
            b"pitm": _full(b"pitm", struct.pack(">H", primary)),
            b"iloc": _full(b"iloc", b"\x44\0", struct.pack(">H", number), *extents),
            b"iinf": _full(b"iinf", struct.pack(">H", number), *entries),
            b"iref": _full(b"iref", *references),
            b"iprp": _box(
                b"iprp",
                _box(b"ipco", *properties),
                _full(b"ipma", struct.pack(">I", len(items)), *associations, flags=1),
            ),
            **(replaced or {}),
        }
        return _full(b"meta", *boxes.values())

    start = len(head) + len(meta(0)) + 8
    return head + meta(start) + _box(b"mdat", data)


def _reference(kind: bytes, number: int, *others: int) -> bytes:
    return _box(kind, struct.pack(f">HH{len(others)}H", number, len(others), *others))


def _grid(
    width: int, height: int, across: int, down: int, tile: _Item, *, tiles: int | None = None
) -> bytes:
    """Return a grid image whose tiles all contain the same image."""
    count = across * down if tiles is None else tiles
    item = _Item(
        kind=b"grid",
        content=struct.pack(">BBBBII", 0, 1, (down - 1) % 256, (across - 1) % 256, width, height),
        properties=[_size(width, height)],
    )
    places = [(0, 12), *[(12, len(tile.content))] * count]
    others = [_Item(content=b"", properties=tile.properties)] * (count - 1)
    return _file(
        item,
        *[tile, *others][:count],
        references=[_reference(b"dimg", 1, *range(2, count + 2))],
        places=places,
    )


def tiled(image: Image.Image, across: int, down: int, **options: object) -> bytes:
    """Return an AVIF with the same image (across x down) times. Encoding it is much faster than
    encoding a whole image of that size."""
    avif = encoded(image, "AVIF", speed=10, **options)
    start = avif.index(b"av1C") - 4
    tile = _Item(
        content=b"".join(_units(avif)),
        properties=[_size(*image.size), avif[start : start + 12]],
    )
    return _grid(across * image.width, down * image.height, across, down, tile)


def _bits(*fields: tuple[int, int]) -> bytes:
    """The bytes of (value, number of bits), padded with zeros."""
    text = "".join(f"{value:0{count}b}" for value, count in fields if count)
    return int(text.ljust(-(-len(text) // 8) * 8, "0"), 2).to_bytes(-(-len(text) // 8))


def _unit(kind: int, content: bytes) -> bytes:
    length, rest = b"", len(content)
    while rest > 127:
        length, rest = length + bytes([rest & 127 | 128]), rest >> 7
    return bytes([kind << 3 | 2]) + length + bytes([rest]) + content


def _sequence(width: int, height: int, *, is_reduced: bool = True) -> bytes:
    """A sequence header with sizes of 16 bits, and 8 bits in 4:2:0."""
    head = (
        [(0, 3), (1, 1), (1, 1), (0, 5)]
        if is_reduced
        else [(0, 3), (0, 1), (0, 1), (0, 1), (0, 1), (0, 5), (0, 12), (0, 5)]
    )
    size = [(15, 4), (15, 4), (width - 1, 16), (height - 1, 16)]
    tools = [(0, 3)] if is_reduced else [(0, 1), (0, 3), (0, 4), (0, 1), (1, 1), (1, 1)]
    return _unit(
        _HEADER,
        _bits(*head, *size, *tools, (0, 3), (0, 1), (0, 1), (0, 1), (0, 1), (0, 2), (0, 1), (0, 1)),
    )


@cache
def _units(image: bytes) -> tuple[bytes, bytes]:
    """Return (sequence header, frame) of a file from Pillow, which ends with these two units."""
    data = image[image.index(b"mdat") + 4 :]
    start = data.index(b"\x0a")
    end = start + 2 + data[start + 1]
    return data[start:end], data[end:]


def _coded() -> bytes:
    return b"".join(_units(valid()["AVIF"]))


def _of_size(width: int, height: int) -> bytes:
    """Return a file whose boxes and sequence header state another size than that of its coded
    frame."""
    return _file(
        _Item(
            content=_sequence(width, height) + _units(valid()["AVIF"])[1],
            properties=[_size(width, height), _CONFIGURATION],
        )
    )


@cache
def valid() -> dict[str, bytes]:
    """A small file for each kind of AVIF, by name."""
    image, grey = gradient(), gradient(mode="L")
    transparent = gradient(mode="RGBA")
    transparent.putalpha(grey.rotate(180))
    turned = Image.Exif()
    turned[0x0112] = 6
    tile = encoded(gradient(64, 64), "AVIF", speed=10)
    return {
        "AVIF": encoded(image, "AVIF", speed=10),
        "grey AVIF": encoded(grey, "AVIF", speed=10),
        "AVIF with alpha": encoded(transparent, "AVIF", speed=10),
        "AVIF in full resolution": encoded(image, "AVIF", speed=10, subsampling="4:4:4"),
        "turned AVIF with metadata": encoded(
            image, "AVIF", speed=10, exif=turned, icc_profile=noise(300), xmp=b"<x:xmpmeta/>"
        ),
        "animated AVIF": encoded(
            image, "AVIF", speed=10, save_all=True, append_images=[image.rotate(7)]
        ),
        "10-bit AVIF": _file(
            _Item(content=_TEN_BITS, properties=[_size(), _configuration(flags=0x4C)])
        ),
        "12-bit AVIF": _file(
            _Item(content=_TWELVE_BITS, properties=[_size(), _configuration(2, 0x60)])
        ),
        "AVIF of a grid": _grid(
            120,
            128,
            2,
            2,
            _Item(content=b"".join(_units(tile)), properties=[_size(64, 64), _CONFIGURATION]),
        ),
    }


@cache
def larger_than_they_say() -> dict[str, bytes]:
    """Files whose coded images contain more pixels or samples than their boxes state, by name.

    They are not part of the corpus: a process without a memory limit converts them.
    """
    side = 6000
    plain = encoded(Image.new("RGB", (side, side), "#08c"), "AVIF", speed=10)
    full = encoded(Image.new("RGB", (side, side), "#08c"), "AVIF", speed=10, subsampling="4:4:4")
    size = struct.pack(">II", side, side)
    small = struct.pack(">II", 64, 48)
    header, frame = _units(plain)
    track = encoded(
        Image.new("RGB", (side // 2, side // 2)),
        "AVIF",
        speed=10,
        save_all=True,
        append_images=[Image.new("RGB", (side // 2, side // 2), "white")],
    )
    sizes = {
        struct.pack(">II", side // 2, side // 2): small,
        struct.pack(">II", side // 2 << 16, side // 2 << 16): struct.pack(
            ">II", 64 << 16, 48 << 16
        ),
        struct.pack(">HH", side // 2, side // 2): struct.pack(">HH", 64, 48),
    }
    for old, new in sizes.items():
        track = track.replace(old, new)
    tile = _Item(content=header + frame, properties=[_size(32, 24), _CONFIGURATION])
    photograph = encoded(
        Image.new("RGB", (5000, 4000), "#08c"), "AVIF", speed=10, subsampling="4:4:4"
    )
    return {
        "20 megapixels in full resolution, said to be grey": re.sub(
            rb"(av1C..).", b"\\1\x1c", photograph, flags=re.DOTALL
        ),
        "36 megapixels": plain.replace(size, small),
        "36 megapixels in full resolution": full.replace(size, small),
        "36 megapixels in full resolution, said to be grey": re.sub(
            rb"(av1C..).", b"\\1\x1c", full.replace(size, small), flags=re.DOTALL
        ),
        "36 megapixels in each tile": _grid(64, 48, 2, 2, tile),
        "36 megapixels four times": _file(_Item(content=header + frame * 4)),
        "9 megapixels in each frame": track,
    }


def blocks(avif: bytes) -> Iterator[Block]:
    """Every box of the file and of `meta`."""
    yield Block("signature", 0, 12, 12)
    yield from _boxes(avif, 0, len(avif))


def _boxes(avif: bytes, position: int, end: int) -> Iterator[Block]:
    while position + 8 <= end:
        length, kind = struct.unpack_from(">I4s", avif, position)
        yield Block(kind.decode(), position, position + 8, position + length)
        if kind == b"meta":
            yield from _boxes(avif, position + 12, position + length)
        position += length


def _cuts() -> Iterator[Case]:
    for name in ("AVIF", "AVIF with alpha", "animated AVIF", "AVIF of a grid"):
        avif = valid()[name]
        data = avif.index(b"mdat") - 4
        # The brand is first, or the third of the compatible ones.
        needed = data + 8 + 50 if name == "animated AVIF" else len(avif)
        yield from truncations(name, avif, blocks(avif), signature=12, needed=needed)


def _edited(old: bytes, new: bytes, name: str = "AVIF") -> bytes:
    avif = valid()[name]
    assert len(old) == len(new)
    assert old in avif
    return avif.replace(old, new, 1)


def corpus() -> Iterator[Case]:
    """All hostile AVIF files."""
    avif, coded = valid()["AVIF"], _coded()
    header, frame = _units(avif)
    tile = _Item(
        content=b"".join(_units(encoded(gradient(64, 64), "AVIF", speed=10))),
        properties=[_size(64, 64), _CONFIGURATION],
    )
    other_size, plain = _full(b"ispe", struct.pack(">II", 2**31, 2**31)), _Item(content=coded)
    long_header = _sequence(64, 48, is_reduced=False)
    yield from cases(Kind.VALID, Outcome.ART, valid())
    yield from _cuts()
    yield from cases(
        Kind.BOMB,
        Outcome.TOO_MANY_PIXELS,
        {
            "AVIF of 4 gigapixels": _of_size(65_536, 65_536),
            "AVIF of 100 megapixels": _of_size(10_000, 10_000),
            "AVIF of 65,536 pixels across": _of_size(65_536, 1),
            "AVIF of 36 megapixels": _of_size(6000, 6000),
            "AVIF with the size of 4 exapixels in a box": _file(
                _Item(content=coded, properties=[other_size, _CONFIGURATION])
            ),
            "AVIF of a grid of 65,536 images": _grid(16_384, 16_384, 256, 256, tile, tiles=900),
        },
    )
    yield from cases(
        Kind.BOMB,
        Outcome.ART,
        {
            "AVIF with 9 MB of metadata": _file(
                plain, _Item(kind=b"Exif", content=bytes(9_000_000))
            ),
            "AVIF with 9 MB of AV1 metadata": _file(
                _Item(content=header + _unit(_METADATA, bytes(9_000_000)) + frame)
            ),
            "AVIF with a box of 9 MB before meta": avif[:32]
            + _box(b"free", bytes(9_000_000))
            + _moved(avif, 9_000_008),
            "animated AVIF with 100 frames": encoded(
                gradient(32, 24),
                "AVIF",
                speed=10,
                save_all=True,
                append_images=[gradient(32, 24).rotate(n) for n in range(99)],
            ),
            "AVIF with a thousand items": _file(plain, *[_Item(kind=b"Exif", content=b"x")] * 999),
            "AVIF of a grid of 256 images": _grid(1024, 1024, 16, 16, tile),
        },
    )
    yield from cases(
        Kind.LARGE,
        Outcome.ART,
        {
            "AVIF of 17 megapixels": tiled(gradient(1200, 1200), 6, 2),
            "AVIF of 13 megapixels in full resolution": tiled(
                gradient(900, 900), 4, 4, subsampling="4:4:4"
            ),
            "grey AVIF of 20 megapixels": tiled(gradient(1600, 1250, mode="L"), 5, 2),
            "AVIF of 3 megapixels with alpha": encoded(
                gradient(2000, 1500, mode="RGBA"), "AVIF", speed=10
            ),
        },
    )
    yield from cases(
        Kind.BOMB,
        Outcome.CHEAP,
        {
            "AVIF of 15 megapixels without pixel data": _of_size(5000, 3000),
            "AVIF of a megapixel with the frame of another size": _of_size(1000, 1000),
            "AVIF with a thousand frames": _file(_Item(content=header + frame * 1000)),
            "AVIF with a million delimiters": _file(
                _Item(content=header + _unit(_DELIMITER, b"") * 1_000_000 + frame)
            ),
        },
    )
    yield from cases(
        Kind.BOMB,
        Outcome.DAMAGED,
        {
            "AVIF with a million boxes": avif[:32] + _box(b"free") * 1_000_000 + avif[32:],
            "AVIF with a frame of another size than its sequence": _file(
                _Item(
                    content=long_header
                    + _unit(
                        _FRAME, _bits((0, 1), (0, 2), (1, 1), (0, 1), (0, 1), (1, 1)) + bytes(9)
                    )
                )
            ),
            "AVIF with a switch frame": _file(
                _Item(
                    content=long_header
                    + _unit(_FRAME, _bits((0, 1), (3, 2), (1, 1), (0, 1), (0, 1)) + bytes(9))
                )
            ),
            "AVIF that shows an earlier frame": _file(
                _Item(content=long_header + _unit(_FRAME, b"\x80" + bytes(9)))
            ),
            "AVIF with two sequence headers": _file(
                _Item(content=header + _sequence(4000, 3000) + frame)
            ),
            "AVIF with 65,535 items": _file(plain, count=65_535),
            "AVIF with an item of a thousand equal extents": _file(
                plain,
                replaced={
                    b"iloc": _full(
                        b"iloc",
                        b"\x44\0\0\1",
                        struct.pack(">HHH", 1, 0, 1000),
                        struct.pack(">II", 0, 900) * 1000,
                    )
                },
            ),
            "AVIF of a grid that is too large for its images": _grid(3000, 3000, 2, 2, tile),
        },
    )
    yield from cases(
        Kind.MALFORMED,
        Outcome.UNKNOWN_FORMAT,
        {
            "AVIF with an HEVC image": _file(_Item(kind=b"hvc1", content=coded)),
            "AVIF of a grid of grids": _file(
                _Item(
                    kind=b"grid",
                    content=struct.pack(">BBBBII", 0, 1, 0, 0, 64, 48),
                    properties=[_size()],
                ),
                references=[_reference(b"dimg", 1, 1)],
            ),
            "AVIF of a grid without images": _grid(64, 64, 1, 1, tile, tiles=0),
            "AVIF with an overlay": _file(_Item(kind=b"iovl", content=bytes(40))),
            "AVIF with a primary item that does not exist": _file(plain, primary=9),
            "AVIF without a list of items": _edited(b"iinf", b"fnii"),
            "animated AVIF without a primary item": _box(b"ftyp", b"avis\0\0\0\0avis")
            + _box(b"moov", bytes(99)),
            "AVIF with the brand of HEIC": _file(plain, brand=b"heic"),
        },
    )
    yield from cases(
        Kind.MALFORMED,
        Outcome.DAMAGED,
        {
            "AVIF signature alone": avif[:32],
            "AVIF without a primary item": _edited(b"pitm", b"mtip"),
            "AVIF without meta": _edited(b"meta", b"atem"),
            "AVIF with a box of length 4": avif[:32] + b"\0\0\0\4" + avif[36:],
            "AVIF with a box of 2^64 bytes": avif[:32] + b"\0\0\0\1meta" + b"\xff" * 8 + avif[48:],
            "AVIF without the places of items": _edited(b"iloc", b"coli"),
            "AVIF with an item past its end": _file(plain, places=[(2**31, 100)]),
            "AVIF with an item longer than the file": _file(plain, places=[(0, 2**32 - 1)]),
            "AVIF of noise": _file(_Item(content=noise(3000))),
            "AVIF with nothing in its item": _file(
                _Item(content=b""), _Item(kind=b"mime", content=b"x"), places=[(0, 1), (0, 1)]
            ),
            "AVIF without a sequence header": _file(_Item(content=frame)),
            "AVIF without a frame": _file(_Item(content=header)),
            "AVIF with a truncated sequence header": _file(
                _Item(content=_unit(_HEADER, header[2:5]) + frame)
            ),
            "AVIF with a unit of endless length": _file(_Item(content=b"\x0a" + b"\xff" * 20)),
            "AVIF with a unit past its end": _file(
                _Item(content=header + b"\x32\xff\x7f" + frame[3:])
            ),
            "AVIF with alpha of another size": _file(
                plain,
                _Item(content=tile.content, properties=[*tile.properties, _full(b"auxC", _ALPHA)]),
                references=[_reference(b"auxl", 2, 1)],
            ),
            "AVIF of a grid with a part of its header": _file(
                _Item(kind=b"grid", content=b"\0\1\1\1")
            ),
            "AVIF of a grid of too few images": _grid(128, 128, 2, 2, tile, tiles=3),
            "AVIF of a grid of size 0": _grid(0, 0, 1, 1, tile),
        },
    )
    yield from cases(
        Kind.MALFORMED,
        Outcome.ART_OR_DAMAGED,
        {
            "AVIF with noise as its frame": _file(
                _Item(content=header + _unit(_FRAME, noise(900)))
            ),
            "AVIF with twice the size in its sequence header": _of_size(128, 96),
            "AVIF with a quarter of the size in its sequence header": _of_size(16, 12),
            "AVIF with a frame header alone": _file(
                _Item(content=header + _unit(_FRAME_HEADER, frame[2:20]))
            ),
            "AVIF with two frames": _file(_Item(content=coded + frame)),
            "AVIF with padding": _file(_Item(content=coded + _unit(_PADDING, bytes(1000)))),
            "AVIF whose alpha is its image": _file(
                _Item(content=coded, properties=[_size(), _CONFIGURATION, _full(b"auxC", _ALPHA)]),
                references=[_reference(b"auxl", 1, 1)],
            ),
            "AVIF with a colour space of noise": _file(
                _Item(
                    content=coded,
                    properties=[_size(), _CONFIGURATION, _box(b"colr", b"nclx" + noise(7))],
                )
            ),
            "AVIF with a property that does not exist": _file(
                plain,
                replaced={
                    b"iprp": _box(b"iprp", _box(b"ipco"), _full(b"ipma", b"\0\0\0\1\0\1\1\x55"))
                },
            ),
            "AVIF with an empty list of properties": _file(
                plain, replaced={b"iprp": _box(b"iprp")}
            ),
            "AVIF with 1000 bytes after its end": avif + bytes(1000),
            "AVIF of three turns and a mirror": _file(
                _Item(
                    content=coded,
                    properties=[
                        _size(),
                        _CONFIGURATION,
                        _box(b"irot", b"\xff"),
                        _box(b"imir", b"\xff"),
                    ],
                )
            ),
        },
    )


def _moved(avif: bytes, by: int) -> bytes:
    """Return the boxes from `meta` on, with the only item's offset in a version 0 box changed."""
    rest = bytearray(avif[32:])
    place = rest.index(b"iloc") + 4 + 4 + 2 + 2 + 2 + 2 + 2
    struct.pack_into(">I", rest, place, struct.unpack_from(">I", rest, place)[0] + by)
    return bytes(rest)
