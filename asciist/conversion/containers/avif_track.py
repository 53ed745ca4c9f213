"""The tracks of an animated AVIF (ISO/IEC 14496-12 chapter 8; AV1 Image File Format 1.1).

The box `moov` has a track of coded images, called samples, and perhaps one for their alpha. Its tables have the time, the
length and the place in the file of each sample. The file is rewritten with one or two tracks of the samples that are decoded,
without metadata and other tracks. As in a still image, the sizes written are those in the coded images. A sample refers to
earlier ones, so a decoder needs them all, and keeps some of them.
"""

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain, islice, repeat
from math import ceil
from typing import Final

from asciist.conversion.containers import av1
from asciist.conversion.containers.av1 import CodedImage
from asciist.conversion.containers.avif import ALPHA, TILE_BYTES, colour_space, configuration
from asciist.conversion.containers.bounds import MAX_BLOCKS
from asciist.conversion.containers.boxes import box, first_boxes, full_box, read_boxes
from asciist.conversion.damage import damaged
from asciist.errors import DamagedImageError, sentences

_MAX_TRACKS: Final = 16
"""Maximum tracks that are looked at."""
_SAMPLE_ENTRY_BYTES: Final = 78
"""Bytes of a description of samples before its boxes."""
_READ_PROPERTY_BYTES: Final = 64
"""Bytes read of a box in a description of samples: more than those of a colour space, and of the type of alpha."""
_ALPHA_TYPE: Final = full_box(b"auxi", ALPHA[0])
_ENDLESS: Final = (2**32 - 1, 2**64 - 1)
"""Durations of a track, by the version of its header, that stand for endless repetition."""
_HIDDEN_FRAMES: Final = 4
"""Coded frames beyond two for each sample. Encoders write hidden frames, which take as long to decode as shown ones, but on
average less than one for each sample."""


@dataclass(frozen=True, kw_only=True)
class AvifTrack:
    """The samples of the track of colours, each with the sample of the track of alpha."""

    samples: Sequence[bytes]
    coded_frames: Sequence[int]
    """Frames that are decoded for each sample: the one that is shown, hidden ones, and alpha."""
    milliseconds: Sequence[int]
    """Time for which each sample is shown, as in the file."""
    plays: int
    """Times that the samples are shown; 0 for endless repetition."""
    decoder_bytes: int
    """Memory of the decoders for the frames that they keep."""
    layers: Sequence["_Layer"]
    """Colour, and alpha if there is one."""

    def build(self, samples: Sequence[bytes | memoryview]) -> bytes:
        """Return a file with the first samples."""
        return _written(self.layers, [_layers_of(sample) for sample in samples])


@dataclass(frozen=True, kw_only=True)
class _Layer:
    """Colour, or alpha: what all of its samples have in common."""

    coded: CodedImage
    """The first sample."""
    properties: Sequence[bytes]
    """Boxes of the description of samples."""
    references: bytes = b""
    """The box with the references of the track to others."""


def read(image: bytes, canvas: tuple[int, int]) -> AvifTrack | None:
    """Read the samples of an AVIF, up to the first that is damaged. None for a still image.

    `canvas` is (width, height) of the primary item. Raises DamagedImageError if the tables or the first sample are damaged, or
    the samples have another size.
    """
    try:
        movie = _movie(memoryview(image))
        return None if movie is None else _read(image, movie, canvas)
    except (DamagedImageError, IndexError, OverflowError, struct.error) as error:
        raise DamagedImageError(sentences.UNREADABLE_AVIF_FRAMES, detail=str(error)) from error


def _movie(image: memoryview) -> memoryview | None:
    """Content of the box `moov`. A file that is truncated before it is a still image."""
    try:
        return next((content for kind, content in read_boxes(image) if kind == b"moov"), None)
    except (DamagedImageError, struct.error):
        return None


def _read(image: bytes, movie: memoryview, canvas: tuple[int, int]) -> AvifTrack:
    tracks = [_Track(content) for content in islice((part for kind, part in read_boxes(movie) if kind == b"trak"), _MAX_TRACKS)]
    colour = next((track for track in tracks if track.is_coded and b"auxl" not in track.references), None)
    if colour is None:
        raise damaged("AVIF without a track of AV1")
    alpha = next((track for track in tracks if track.is_alpha_of(colour)), None)
    coded = _coded([colour] if alpha is None else [colour, alpha], image)
    if any((layer.sequence.width, layer.sequence.height) != canvas for layer in coded[0]):
        raise damaged("AVIF with samples of another size than its still image, or its alpha")
    space = colour_space(bytes(colour.properties.get(b"colr", b"")[:_READ_PROPERTY_BYTES]))
    is_premultiplied = alpha is not None and colour.references.get(b"prem") == alpha.number
    layers = [
        _Layer(coded=coded[0][0], properties=space, references=_reference(b"prem", 2) if is_premultiplied else b""),
        *(_Layer(coded=layer, properties=[_ALPHA_TYPE], references=_reference(b"auxl", 1)) for layer in coded[0][1:]),
    ]
    return AvifTrack(
        samples=[b"".join(struct.pack(">I", len(layer.data)) + layer.data for layer in sample) for sample in coded],
        coded_frames=[sum(layer.frames for layer in sample) for sample in coded],
        milliseconds=[*islice(colour.milliseconds(), len(coded))],
        plays=colour.plays,
        decoder_bytes=sum(
            layer.sequence.animation_bytes + TILE_BYTES * max(sample[number].tiles for sample in coded)
            for number, layer in enumerate(coded[0])
        ),
        layers=layers,
    )


def _coded(tracks: Sequence["_Track"], image: bytes) -> list[tuple[CodedImage, ...]]:
    """Read the samples of all tracks, up to the first that is damaged.

    Raises DamagedImageError or IndexError if the very first is.
    """
    readers = [av1.sample_reader() for _ in tracks]
    coded: list[tuple[CodedImage, ...]] = []
    frames = 0
    for samples in zip(*(track.samples(image) for track in tracks), strict=False):
        try:
            layers = tuple(reader(sample) for reader, sample in zip(readers, samples, strict=True))
        except (DamagedImageError, IndexError):
            if not coded:
                raise
            break
        frames += max(layer.frames for layer in layers)
        if frames > 2 * (len(coded) + 1) + _HIDDEN_FRAMES:
            break
        coded.append(layers)
    if not coded:
        raise damaged("AVIF track without samples")
    return coded


class _Track:
    """The boxes of a track. Each property raises DamagedImageError, IndexError or struct.error if its box is damaged."""

    def __init__(self, content: memoryview) -> None:
        self._boxes: Final = first_boxes(content)

    @property
    def number(self) -> int:
        version, header = self._header
        number: int = struct.unpack_from(">I", header, 20 if version else 12)[0]
        return number

    @cached_property
    def references(self) -> dict[bytes, int]:
        """The first track that each type of reference leads to."""
        boxes = first_boxes(self._boxes.get(b"tref", memoryview(b"")))
        return {kind: struct.unpack_from(">I", content)[0] for kind, content in boxes.items()}

    @property
    def is_coded(self) -> bool:
        """True if the samples are AV1."""
        return self._entry[0] == b"av01"

    @cached_property
    def properties(self) -> dict[bytes, memoryview]:
        """The boxes of the description of samples."""
        return first_boxes(self._entry[1][_SAMPLE_ENTRY_BYTES:])

    def is_alpha_of(self, colour: "_Track") -> bool:
        """Return whether the samples are the alpha of those of another track. Old encoders do not write their type."""
        if not self.is_coded or self.references.get(b"auxl") != colour.number:
            return False
        return b"auxi" not in self.properties or bytes(self.properties[b"auxi"][4:_READ_PROPERTY_BYTES]).startswith(ALPHA)

    @property
    def plays(self) -> int:
        """Times that the track is played; 0 for endless repetition, also if the track does not tell, as in browsers."""
        if b"edts" not in self._boxes:
            return 0
        edits = _child(first_boxes(self._boxes[b"edts"]), b"elst")
        if not edits[3] & 1:
            return 1
        version, header = self._header
        (duration,) = struct.unpack_from(">Q" if version else ">I", header, 28 if version else 20)
        (once,) = struct.unpack_from(">Q" if edits[0] else ">I", edits, 8)
        return 0 if duration in _ENDLESS else max(1, ceil(duration / max(1, once)))

    def milliseconds(self) -> Iterator[int]:
        """Times of the samples, and endless zeros."""
        header = _child(self._media, b"mdhd")
        (timescale,) = struct.unpack_from(">I", header, 20 if header[0] else 12)
        entries = _entries(_child(self._table, b"stts"), ">II")
        deltas = chain(chain.from_iterable(repeat(delta, count) for count, delta in entries), repeat(0))
        return (1000 * delta // timescale if timescale else 0 for delta in deltas)

    def samples(self, image: bytes) -> Iterator[memoryview]:
        """Yield the samples. Ends at one that is not in the file, or as soon as they are longer than the file together."""
        view, total = memoryview(image), 0
        for start, length in self._places():
            total += length
            if not length or start + length > len(view) or total > len(view):
                return
            yield view[start : start + length]

    def _places(self) -> Iterator[tuple[int, int]]:
        """Yield (start, length) of each sample."""
        sizes = self._sizes()
        per_chunk = {first: count for first, count, _ in _entries(_child(self._table, b"stsc"), ">III")}
        offsets = (
            _entries(self._table[b"stco"], ">I") if b"stco" in self._table else _entries(_child(self._table, b"co64"), ">Q")
        )
        count = 0
        for number, (offset,) in enumerate(offsets, 1):
            count, start = per_chunk.get(number, count), offset
            for length in islice(sizes, count):
                yield start, length
                start += length

    def _sizes(self) -> Iterator[int]:
        content = _child(self._table, b"stsz")
        (size,) = struct.unpack_from(">I", content, 4)
        if size:
            return repeat(size, min(struct.unpack_from(">I", content, 8)[0], MAX_BLOCKS))
        return (size for (size,) in _entries(content[4:], ">I"))

    @property
    def _header(self) -> tuple[int, memoryview]:
        """Version and content of the box `tkhd`."""
        header = _child(self._boxes, b"tkhd")
        return header[0], header

    @cached_property
    def _media(self) -> dict[bytes, memoryview]:
        return first_boxes(_child(self._boxes, b"mdia"))

    @cached_property
    def _table(self) -> dict[bytes, memoryview]:
        return first_boxes(_child(first_boxes(_child(self._media, b"minf")), b"stbl"))

    @cached_property
    def _entry(self) -> tuple[bytes, memoryview]:
        """Type and content of the first description of samples."""
        return next(read_boxes(_child(self._table, b"stsd")[8:]), (b"", memoryview(b"")))


def _child(boxes: dict[bytes, memoryview], kind: bytes) -> memoryview:
    if kind not in boxes:
        raise damaged(f"AVIF track without {kind.decode()}")
    return boxes[kind]


def _entries(content: memoryview, layout: str) -> Iterator[tuple[int, ...]]:
    """The first entries of a table, behind its version and their number. Raises DamagedImageError if it is truncated."""
    (count,) = struct.unpack_from(">I", content, 4)
    end = 8 + min(count, MAX_BLOCKS) * struct.calcsize(layout)
    if end > len(content):
        raise damaged("AVIF table is truncated")
    return struct.iter_unpack(layout, content[8:end])


def _layers_of(sample: bytes | memoryview) -> list[bytes]:
    """Split the data of a sample into its layers."""
    layers, position = [], 0
    while position < len(sample):
        end = position + 4 + struct.unpack_from(">I", sample, position)[0]
        layers.append(bytes(sample[position + 4 : end]))
        position = end
    return layers


def _written(layers: Sequence[_Layer], samples: Sequence[Sequence[bytes]]) -> bytes:
    """A file with a track for each layer, whose samples are one after the other."""
    brands = box(b"ftyp", b"avis\0\0\0\0avismsf1miaf")
    by_layer = [*zip(*samples, strict=True)]

    def movie(start: int) -> bytes:
        tracks = []
        for number, (layer, data) in enumerate(zip(layers, by_layer, strict=True), 1):
            tracks.append(_track(number, layer, data, start))
            start += sum(map(len, data))
        return box(b"moov", *tracks)

    size = sum(len(data) for layer in by_layer for data in layer)
    start = len(brands) + len(movie(0)) + 8
    return b"".join([brands, movie(start), struct.pack(">I4s", 8 + size, b"mdat"), *chain.from_iterable(by_layer)])


def _track(number: int, layer: _Layer, data: Sequence[bytes], start: int) -> bytes:
    """A track whose samples begin at `start`. Each is shown for one unit of time, which changes no pixel."""
    sequence, count = layer.coded.sequence, len(data)
    size = struct.pack(">II", sequence.width << 16, sequence.height << 16)
    entry = bytes(24) + struct.pack(">HH", sequence.width, sequence.height) + bytes(_SAMPLE_ENTRY_BYTES - 28)
    table = box(
        b"stbl",
        full_box(b"stsd", struct.pack(">I", 1), box(b"av01", entry, configuration(layer.coded), *layer.properties)),
        full_box(b"stts", struct.pack(">III", 1, count, 1)),
        full_box(b"stsc", struct.pack(">IIII", 1, 1, count, 1)),
        full_box(b"stsz", struct.pack(f">II{count}I", 0, count, *map(len, data))),
        full_box(b"stco", struct.pack(">II", 1, start)),
    )
    handler = b"pict" if number == 1 else b"auxv"
    media = box(
        b"mdia",
        full_box(b"mdhd", struct.pack(">IIIII", 0, 0, 1000, count, 0)),
        full_box(b"hdlr", bytes(4) + handler + bytes(13)),
        box(b"minf", table),
    )
    header = full_box(b"tkhd", struct.pack(">IIIII", 0, 0, number, 0, count), bytes(52), size, flags=1)
    return box(b"trak", header, layer.references, media)


def _reference(kind: bytes, number: int) -> bytes:
    return box(b"tref", box(kind, struct.pack(">I", number)))
