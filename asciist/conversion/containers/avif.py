"""AVIF boxes (ISO/IEC 14496-12 and 23008-12; AV1 Image File Format 1.1).

A file is a list of boxes, each with a 4-byte length and a 4-byte type. The box `meta` lists the items of the file, their places
in the file, their properties and the references between them. The primary item is a coded image (`av01`) or a grid of them, and
may have another one as its alpha. The file is rewritten with these items alone: without metadata, thumbnails, further images
and the track of an animation, whose first frame is the primary item. The sizes written are those in the coded images, which
decide how much memory a decoder takes.
"""

import struct
from dataclasses import dataclass, field
from typing import Final

from asciist.conversion.containers import av1
from asciist.conversion.containers.av1 import CodedImage
from asciist.conversion.containers.boxes import box, first_boxes, full_box, read_boxes
from asciist.conversion.containers.container import Container
from asciist.conversion.damage import damaged
from asciist.conversion.memory import StoredImage
from asciist.errors import TooManyPixelsError, UnknownFormatError, sentences

_MAX_ENTRIES: Final = 1024
"""Maximum entries read of each list in `meta`: enough for a grid of 256 coded images, its alpha, and metadata."""
_MAX_TILES: Final = 256
"""Maximum images of a grid."""
TILE_BYTES: Final = 18_000
"""Memory of dav1d for each AV1 tile of a coded image, most of it for probabilities."""
_MAX_SIDE: Final = 32_768
"""Maximum pixels of an image in width, and in height, that libavif decodes."""

ALPHA: Final = (b"urn:mpeg:mpegB:cicp:systems:auxiliary:alpha\0", b"urn:mpeg:hevc:2015:auxid:1\0")
"""Types of an auxiliary image that is alpha."""
_COLOUR_BOX_BYTES: Final = 11
"""Bytes of the content of a box with the code points of a colour space."""

_ORIENTATIONS: Final = {
    **{(turns, -1): orientation for turns, orientation in enumerate((1, 8, 3, 6))},
    **{(turns, 0): orientation for turns, orientation in enumerate((4, 5, 2, 7))},
    **{(turns, 1): orientation for turns, orientation in enumerate((2, 7, 4, 5))},
}
"""EXIF orientation by (quarter turns to the left, axis). The image is turned first; then the axis 0 exchanges top and bottom, 1
exchanges left and right, and -1 stands for neither."""


@dataclass(kw_only=True)
class _Item:
    kind: bytes = b""
    properties: dict[bytes, bytes] = field(default_factory=dict)
    """Content of the first property of each type."""
    references: dict[bytes, list[int]] = field(default_factory=dict)
    """Numbers of other items, by the type of the reference."""
    extents: list[tuple[int, int]] = field(default_factory=list)
    """(start, length) of the parts of the content."""
    is_in_meta: bool = False
    """True if `extents` are in the box `idat`, and not in the file."""


@dataclass(frozen=True, kw_only=True)
class _Picture:
    """A coded image, or a grid of coded images of one format."""

    width: int
    height: int
    tiles: list[CodedImage]
    grid: bytes
    """Content of the item of a grid; empty for a single coded image."""

    @property
    def sample_bytes(self) -> int:
        """Memory of dav1d, without the state of its filters, and of the assembled grid."""
        copies = 2 if self.grid else 1
        samples = sum(
            tile.sequence.sample_bytes * (tile.frames + copies - 1 + tile.sequence.has_film_grain) for tile in self.tiles
        )
        return samples + TILE_BYTES * sum(tile.tiles for tile in self.tiles)


class _Fields:
    """Reader of the fields of a box. Raises DamagedImageError at its end."""

    def __init__(self, content: memoryview) -> None:
        self._content, self._position = content, 0
        self.version = 0
        self.flags = 0

    def read_version(self) -> None:
        self.version = self.number(1)
        self.flags = self.number(3)

    def number(self, size: int) -> int:
        """The next field of `size` bytes; 0 for a field of no bytes."""
        return int.from_bytes(self.bytes(size))

    def count(self, size: int) -> int:
        """The next field, a number of entries."""
        count = self.number(size)
        if count > _MAX_ENTRIES:
            raise damaged("too many entries in an AVIF box")
        return count

    def bytes(self, size: int) -> bytes:
        start = self._position
        self._position += size
        if self._position > len(self._content):
            raise damaged("AVIF box is truncated")
        return bytes(self._content[start : self._position])


class _Meta:
    """The items of a file, from its box `meta`."""

    def __init__(self, image: bytes) -> None:
        self._image = memoryview(image)
        boxes = first_boxes(_meta_box(self._image)[4:])
        self._data = boxes.get(b"idat", memoryview(b""))
        self.items: dict[int, _Item] = {}
        for kind, read in (
            (b"iinf", self._read_kinds),
            (b"iloc", self._read_extents),
            (b"iref", self._read_references),
            (b"iprp", self._read_properties),
        ):
            if kind in boxes:
                read(boxes[kind])
        fields = _Fields(boxes.get(b"pitm", memoryview(b"")))
        fields.read_version()
        self.primary = fields.number(4 if fields.version else 2)

    def item(self, number: int) -> _Item:
        """Return an item; an empty one if the file has none with this number."""
        return self.items.setdefault(number, _Item())

    def content(self, item: _Item) -> memoryview:
        """Return the content of an item. Raises DamagedImageError if it is not in the file, or longer than the file."""
        source = self._data if item.is_in_meta else self._image
        parts = [source[start : start + length if length else None] for start, length in item.extents]
        if any(length and start + length > len(source) for start, length in item.extents):
            raise damaged("AVIF item past the end of the file")
        if sum(map(len, parts)) > len(source):
            raise damaged("AVIF item longer than the file")
        return parts[0] if len(parts) == 1 else memoryview(b"".join(parts))

    def alpha_of(self, number: int) -> int | None:
        """Return the number of the item that is the alpha of another; None if there is none."""
        for candidate, item in self.items.items():
            is_alpha = item.properties.get(b"auxC", b"")[4:].startswith(ALPHA)
            if is_alpha and number in item.references.get(b"auxl", ()):
                return candidate
        return None

    def _read_kinds(self, content: memoryview) -> None:
        fields = _Fields(content)
        fields.read_version()
        fields.count(4 if fields.version else 2)
        for kind, entry in read_boxes(content[8 if fields.version else 6 :]):
            if kind == b"infe":
                fields = _Fields(entry)
                fields.read_version()
                number = fields.number(4 if fields.version > 2 else 2)
                fields.number(2)  # protection
                self.item(number).kind = fields.bytes(4)

    def _read_extents(self, content: memoryview) -> None:
        fields = _Fields(content)
        fields.read_version()
        sizes = fields.number(2)
        offset_bytes, length_bytes, base_bytes, index_bytes = (sizes >> shift & 15 for shift in (12, 8, 4, 0))
        for _ in range(fields.count(2 if fields.version < 2 else 4)):
            item = self.item(fields.number(2 if fields.version < 2 else 4))
            item.is_in_meta = bool(fields.number(2) & 15 if fields.version else 0)
            fields.number(2)  # another file
            base = fields.number(base_bytes)
            for _ in range(fields.count(2)):
                fields.number(index_bytes if fields.version else 0)
                item.extents.append((base + fields.number(offset_bytes), fields.number(length_bytes)))

    def _read_references(self, content: memoryview) -> None:
        fields = _Fields(content)
        fields.read_version()
        size = 4 if fields.version else 2
        for kind, entry in read_boxes(content[4:]):
            fields = _Fields(entry)
            numbers = self.item(fields.number(size)).references.setdefault(kind, [])
            numbers += [fields.number(size) for _ in range(fields.count(2))]

    def _read_properties(self, content: memoryview) -> None:
        boxes = [*read_boxes(content)]
        properties = [(b"", b"")]  # the first has the number 1
        for kind, entry in boxes:
            if kind == b"ipco":
                properties += [(name, bytes(value[:_MAX_ENTRIES])) for name, value in read_boxes(entry)]
        for kind, entry in boxes:
            if kind == b"ipma":
                self._read_associations(entry, properties)

    def _read_associations(self, content: memoryview, properties: list[tuple[bytes, bytes]]) -> None:
        fields = _Fields(content)
        fields.read_version()
        for _ in range(fields.count(4)):
            item = self.item(fields.number(4 if fields.version else 2))
            for _ in range(fields.number(1)):
                index = fields.number(2) & 0x7FFF if fields.flags & 1 else fields.number(1) & 0x7F
                if index < len(properties):
                    name, value = properties[index]
                    item.properties.setdefault(name, value)


def unpack(image: bytes) -> Container:
    """Rewrite an AVIF with its primary image and the alpha of it alone."""
    meta = _Meta(image)
    item = meta.item(meta.primary)
    colour = _picture(meta, item)
    alpha_number = meta.alpha_of(meta.primary)
    alpha = None if alpha_number is None else _picture(meta, meta.item(alpha_number))
    if alpha is not None and (alpha.width, alpha.height) != (colour.width, colour.height):
        raise damaged("AVIF with alpha of another size")
    if max(colour.width, colour.height) > _MAX_SIDE:
        raise TooManyPixelsError(sentences.too_long_side(colour.width, colour.height, _MAX_SIDE))
    file = _File()
    file.add(colour, colour_space(item.properties.get(b"colr", b"")))
    if alpha is not None:
        number = file.add(alpha, [full_box(b"auxC", ALPHA[0])])
        file.refer(b"auxl", number, [1])
        if alpha_number in item.references.get(b"prem", ()):
            file.refer(b"prem", 1, [number])
    has_grey = colour.tiles[0].sequence.is_monochrome
    turns, axis = (item.properties.get(name, b"") for name in (b"irot", b"imir"))
    return Container(
        format="AVIF",
        body=file.written(),
        orientation=_ORIENTATIONS[turns[0] & 3 if turns else 0, axis[0] & 1 if axis else -1],
        canvas=(colour.width, colour.height),
        stored=StoredImage(
            width=colour.width,
            height=colour.height,
            mode="RGBA" if alpha is not None else "L" if has_grey else "RGB",
            decoder_bytes=colour.sample_bytes + (0 if alpha is None else alpha.sample_bytes),
        ),
    )


def _meta_box(image: memoryview) -> memoryview:
    """Content of the box `meta`. Raises UnknownFormatError for an animation without it, which has no primary item."""
    is_animation = False
    for kind, content in read_boxes(image):
        if kind == b"meta":
            return content
        is_animation = is_animation or kind == b"moov"
    raise UnknownFormatError(sentences.UNSUPPORTED_AVIF) if is_animation else damaged("AVIF without a meta box")


def colour_space(content: bytes) -> list[bytes]:
    """The box with the code points of a colour space, without its reserved bits; none for a colour profile."""
    if content[:4] != b"nclx" or len(content) != _COLOUR_BOX_BYTES:
        return []
    return [box(b"colr", content[:-1], bytes([content[-1] & 0x80]))]


def _picture(meta: _Meta, item: _Item) -> _Picture:
    content = meta.content(item)
    if item.kind == b"av01":
        tile = av1.read(content)
        return _Picture(width=tile.sequence.width, height=tile.sequence.height, tiles=[tile], grid=b"")
    if item.kind != b"grid":
        raise UnknownFormatError(sentences.UNSUPPORTED_AVIF)
    fields = _Fields(content)
    fields.number(1)
    size_bytes = 4 if fields.number(1) & 1 else 2
    down, across = fields.number(1) + 1, fields.number(1) + 1
    width, height = fields.number(size_bytes), fields.number(size_bytes)
    parts = [meta.item(number) for number in item.references.get(b"dimg", ())]
    if len(parts) != across * down or len(parts) > _MAX_TILES or any(part.kind != b"av01" for part in parts):
        raise damaged("AVIF grid with too many or too few images")
    tiles = [av1.read(meta.content(part)) for part in parts]
    sequence = tiles[0].sequence
    if any(_format(tile) != _format(tiles[0]) for tile in tiles):
        raise damaged("AVIF grid of images that differ")
    if not (_covers(across, sequence.width, width) and _covers(down, sequence.height, height)):
        raise damaged("AVIF grid of another size than its images")
    grid = struct.pack(">BBBBII", 0, 1, down - 1, across - 1, width, height)
    return _Picture(width=width, height=height, tiles=tiles, grid=grid)


def _format(tile: CodedImage) -> tuple[object, ...]:
    sequence = tile.sequence
    return sequence.width, sequence.height, sequence.depth, sequence.is_monochrome, sequence.subsampling


def _covers(count: int, tile: int, whole: int) -> bool:
    """Return whether `count` tiles, and no fewer, cover the whole in one direction."""
    return (count - 1) * tile < whole <= count * tile


class _File:
    """An AVIF that is written with a few items, numbered from 1, the first of which is the primary item."""

    def __init__(self) -> None:
        self._kinds: list[bytes] = []
        self._data: list[bytes] = []
        self._properties: dict[bytes, int] = {}
        """Number of each property, by its box."""
        self._associations: list[list[int]] = []
        self._references: list[bytes] = []

    def add(self, picture: _Picture, properties: list[bytes]) -> int:
        """Add a picture with further properties; return its number."""
        sequence = picture.tiles[0].sequence
        channels = 1 if sequence.is_monochrome else 3
        depths = full_box(b"pixi", bytes([channels] + channels * [sequence.depth]))
        size = full_box(b"ispe", struct.pack(">II", picture.width, picture.height))
        if not picture.grid:
            return self._add(b"av01", picture.tiles[0].data, [size, depths, configuration(picture.tiles[0]), *properties])
        number = self._add(b"grid", picture.grid, [size, depths, *properties])
        size = full_box(b"ispe", struct.pack(">II", sequence.width, sequence.height))
        parts = [self._add(b"av01", tile.data, [size, depths, configuration(tile)]) for tile in picture.tiles]
        self.refer(b"dimg", number, parts)
        return number

    def _add(self, kind: bytes, data: bytes, properties: list[bytes]) -> int:
        self._kinds.append(kind)
        self._data.append(data)
        self._associations.append([self._properties.setdefault(each, len(self._properties) + 1) for each in properties])
        return len(self._kinds)

    def refer(self, kind: bytes, number: int, others: list[int]) -> None:
        """Add a reference from an item to others."""
        self._references.append(box(kind, struct.pack(f">HH{len(others)}H", number, len(others), *others)))

    def written(self) -> bytes:
        """Return the file."""
        brands = box(b"ftyp", b"avif\0\0\0\0avifmif1miaf")
        start = len(brands) + len(self._meta(0)) + 8
        return b"".join([brands, self._meta(start), struct.pack(">I4s", 8 + sum(map(len, self._data)), b"mdat"), *self._data])

    def _meta(self, start: int) -> bytes:
        """The box `meta` of a file whose data begins at `start`."""
        places, entries, associations = [], [], []
        for number, (kind, data, indices) in enumerate(zip(self._kinds, self._data, self._associations, strict=True), 1):
            places.append(struct.pack(">HHHII", number, 0, 1, start, len(data)))
            entries.append(full_box(b"infe", struct.pack(">HH4sB", number, 0, kind, 0), version=2))
            associations.append(struct.pack(f">HB{len(indices)}H", number, len(indices), *indices))
            start += len(data)
        count = struct.pack(">H", len(self._kinds))
        return full_box(
            b"meta",
            full_box(b"hdlr", b"\0\0\0\0pict" + bytes(13)),
            full_box(b"pitm", b"\0\1"),
            full_box(b"iloc", b"\x44\0", count, *places),
            full_box(b"iinf", count, *entries),
            full_box(b"iref", *self._references) if self._references else b"",
            box(
                b"iprp",
                box(b"ipco", *self._properties),
                full_box(b"ipma", b"\0\0", count, *associations, flags=1),
            ),
        )


def configuration(tile: CodedImage) -> bytes:
    """The property with the configuration of a decoder (AV1 in ISOBMFF section 2.3.3)."""
    sequence = tile.sequence
    across, down = sequence.subsampling
    flags = (sequence.tier, sequence.depth > 8, sequence.depth == 12, sequence.is_monochrome, across, down, 0, 0)
    packed = sum(bool(flag) << 7 - index for index, flag in enumerate(flags))
    return box(b"av1C", bytes([0x81, sequence.profile << 5 | sequence.level, packed, 0]))
