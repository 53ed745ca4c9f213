"""AVIF boxes (ISO/IEC 14496-12 and 23008-12; AV1 Image File Format 1.1).

A file is a list of boxes, each with a 4-byte length and a 4-byte type. The box `meta` lists the
items of the file and their properties. The primary item is a coded image (`av01`) or a grid of
them, and may have another one as its alpha. Only what an image is refused for is read here: the
size, the orientation, and the formats of samples, on which the memory of a decoder depends. Coded
images are not read. A file whose coded images are larger than its boxes say runs into the limit on
the memory of the process that decodes it.
"""

import struct
from collections.abc import Iterator
from typing import Final

from asciist.conversion.containers.avif_track import find_frames
from asciist.conversion.containers.boxes import box, first_boxes, read_boxes, sample_bytes
from asciist.conversion.containers.container import Container
from asciist.conversion.damage import damaged
from asciist.errors import UnknownFormatError
from asciist.formats import AVIF

__all__ = ["find_frames", "unpack"]

_MAX_ENTRIES: Final = 1024
"""Maximum entries of each list in `meta`: enough for a grid of 256 coded images, its alpha, and
metadata. libavif looks entries up one by one."""

_ORIENTATIONS: Final = {
    **{(turns, -1): orientation for turns, orientation in enumerate((1, 8, 3, 6))},
    **{(turns, 0): orientation for turns, orientation in enumerate((4, 5, 2, 7))},
    **{(turns, 1): orientation for turns, orientation in enumerate((2, 7, 4, 5))},
}
"""EXIF orientation by (quarter turns to the left, axis). The image is turned first; then the axis 0
exchanges top and bottom, 1 exchanges left and right, and -1 stands for neither."""


def unpack(image: bytes) -> Container:
    """Read the size, the orientation and the formats of samples of an AVIF."""
    meta = first_boxes(_meta_box(memoryview(image))[4:])
    lists = first_boxes(meta.get(b"iprp", memoryview(b"")))
    empty = memoryview(bytes(6))  # a list without entries
    primary = meta.get(b"pitm", memoryview(b""))
    (number,) = struct.unpack_from(">I" if primary[0] else ">H", primary, 4)
    properties = [*read_boxes(lists.get(b"ipco", memoryview(b"")))]
    configurations = {bytes(content) for kind, content in properties if kind == b"av1C"}
    kind = _kinds(meta.get(b"iinf", empty)).get(number)
    if kind not in (b"av01", b"grid") or (kind == b"grid" and not configurations):
        raise UnknownFormatError(AVIF.unsupported)
    places = meta.get(b"iloc", empty)
    _entries(places[6 : 10 if places[0] > 1 else 8])
    own: dict[bytes, memoryview] = {}
    for index in _associated(lists.get(b"ipma", empty), number):
        if 0 < index <= len(properties):
            own.setdefault(*properties[index - 1])
    width, height = struct.unpack_from(">II", own.get(b"ispe", b""), 4)
    turns, axis = (own.get(name, b"") for name in (b"irot", b"imir"))
    # The formats of the image and of its alpha. A grid is assembled from its images.
    samples = sample_bytes(width, height, configurations) * (2 if kind == b"grid" else 1)
    return Container(
        format=AVIF,
        size=(width, height),
        body=_still(image),
        orientation=_ORIENTATIONS[turns[0] & 3 if turns else 0, axis[0] & 1 if axis else -1],
        decoder_bytes=samples,
    )


def _meta_box(image: memoryview) -> memoryview:
    """Return the content of the box `meta`. Raises UnknownFormatError for an animation without it,
    which has no primary item."""
    is_animation = False
    for kind, content in read_boxes(image):
        if kind == b"meta":
            return content
        is_animation = is_animation or kind == b"moov"
    raise (
        UnknownFormatError(AVIF.unsupported) if is_animation else damaged("AVIF without a meta box")
    )


def _entries(field: memoryview) -> int:
    """Return a field as a number of entries."""
    count = int.from_bytes(field)
    if count > _MAX_ENTRIES:
        raise damaged("too many entries in an AVIF box")
    return count


def _kinds(content: memoryview) -> dict[int, bytes]:
    """Types of items, by number, from the content of the box `iinf`."""
    start = 8 if content[0] else 6
    _entries(content[4:start])
    kinds = {}
    for kind, entry in read_boxes(content[start:]):
        if kind == b"infe":
            number, _, name = struct.unpack_from(">IH4s" if entry[0] > 2 else ">HH4s", entry, 4)
            kinds[number] = name
    return kinds


def _associated(content: memoryview, item: int) -> Iterator[int]:
    """Numbers of the properties of an item, from the content of the box `ipma`."""
    position = 8
    number_format, index_bytes = ">IB" if content[0] else ">HB", 2 if content[3] & 1 else 1
    for _ in range(_entries(content[4:8])):
        number, count = struct.unpack_from(number_format, content, position)
        position += struct.calcsize(number_format)
        end = position + index_bytes * count
        if end > len(content):
            raise damaged("AVIF box is truncated")
        if number == item:
            for start in range(position, end, index_bytes):
                index = int.from_bytes(content[start : start + index_bytes])
                yield index & (0x7FFF if index_bytes == 2 else 0x7F)
        position = end


def _still(image: bytes) -> bytes:
    """Return the file with the brands of a still image and without tracks, so that libavif reads
    its primary item."""
    end = int.from_bytes(image[:4])
    brands = box(b"ftyp", b"avif\0\0\0\0", b"avif" * ((end - 16) // 4))
    if len(brands) != end:
        raise damaged("AVIF with a part of a brand")
    still, position = bytearray(image), end
    still[:end] = brands
    for kind, content in read_boxes(memoryview(image)[end:]):
        if kind == b"meta":  # libavif reads no further
            break
        if kind == b"moov":
            still[position + 4 : position + 8] = b"free"
        position += len(content) + (16 if image[position : position + 4] == b"\0\0\0\1" else 8)
    return bytes(still)
