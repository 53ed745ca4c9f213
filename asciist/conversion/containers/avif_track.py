"""The tracks of an animated AVIF (ISO/IEC 14496-12 chapter 8; AV1 Image File Format 1.1).

The box `moov` contains a track of coded images, called samples, and possibly a track for their
alpha. Its tables list the time, the length and the position in the file of each sample. The file is
rewritten with only the samples to decode, without metadata and other tracks, so that truncation
ends the animation instead of failing the decoder. Samples are not parsed.
"""

import struct
from collections.abc import Iterator, Sequence
from functools import cached_property
from itertools import chain, islice, repeat
from math import ceil
from typing import Final

from asciist.conversion.containers.animated import AnimatedFile, EncodedFrame, shown_milliseconds
from asciist.conversion.containers.bounds import MAX_BLOCKS
from asciist.conversion.containers.boxes import (
    ALPHA,
    box,
    first_boxes,
    full_box,
    read_boxes,
    sample_bytes,
)
from asciist.conversion.damage import damaged
from asciist.errors import DamagedImageError
from asciist.formats import AVIF

_MAX_TRACKS: Final = 16
"""Maximum number of tracks examined."""
_SAMPLE_ENTRY_BYTES: Final = 78
"""Bytes of a description of samples before its boxes."""
_ENDLESS: Final = (2**32 - 1, 2**64 - 1)
"""Durations of a track, by the version of its header, that stand for endless repetition."""
_MAX_PLAYS: Final = 65_535
_KEPT_FRAMES: Final = 11
"""Frames that dav1d holds while decoding a track: eight references, the new one, the one shown, and
one for film grain."""
_FRAME_SIDE: Final = 128
"""Number of pixels to whose multiples dav1d rounds up the sides of a frame."""
_BLOCKS_BYTES_PER_PIXEL: Final = 0.2
"""Memory of dav1d for the motion and the segments of blocks in a held frame."""


def find_frames(image: bytes, canvas: tuple[int, int]) -> AnimatedFile | None:
    """Find the samples of an AVIF, up to the first that is not in the file. None for a still image.

    `canvas` is (width, height) of the primary item. Raises DamagedImageError if the tables are
    damaged, or the samples have another size.
    """
    try:
        movie = _movie(memoryview(image))
        return None if movie is None else _read(image, movie, canvas)
    except (DamagedImageError, IndexError, OverflowError, struct.error) as error:
        raise DamagedImageError(AVIF.unreadable_frames, detail=str(error)) from error


def _movie(image: memoryview) -> memoryview | None:
    """Return the content of the box `moov`. A file truncated before it is a still image."""
    try:
        return next((content for kind, content in read_boxes(image) if kind == b"moov"), None)
    except (DamagedImageError, struct.error):
        return None


def _read(image: bytes, movie: memoryview, canvas: tuple[int, int]) -> AnimatedFile:
    boxes = (_Track(content) for kind, content in read_boxes(movie) if kind == b"trak")
    tracks = [*islice(boxes, _MAX_TRACKS)]
    colour = next(
        (track for track in tracks if track.is_coded and b"auxl" not in track.references), None
    )
    if colour is None:
        raise damaged("AVIF without a track of AV1")
    alpha = next((track for track in tracks if track.is_alpha_of(colour)), None)
    layers = [colour] if alpha is None else [colour, alpha]
    if any(layer.size != canvas for layer in layers):
        raise damaged("AVIF with samples of another size than its still image, or its alpha")
    samples = zip(*(layer.samples(image) for layer in layers), strict=False)
    frames = [
        EncodedFrame(
            data=parts[0], alpha=parts[1] if alpha else None, milliseconds=shown_milliseconds(asked)
        )
        for parts, asked in zip(samples, colour.milliseconds(), strict=False)
    ]
    if not frames:
        raise damaged("AVIF track without samples")
    width, height = (ceil(side / _FRAME_SIDE) * _FRAME_SIDE for side in canvas)
    frame_bytes = sample_bytes(width, height, [_child(each.properties, b"av1C") for each in layers])
    blocks_bytes = ceil(_BLOCKS_BYTES_PER_PIXEL * width * height) * len(layers)
    return AnimatedFile(
        format=AVIF,
        frames=frames,
        plays=min(colour.plays, _MAX_PLAYS),
        build=lambda first: _written(layers, canvas, first),
        decoder_bytes=_KEPT_FRAMES * (frame_bytes + blocks_bytes),
    )


class _Track:
    """The boxes of a track. Each property raises DamagedImageError, IndexError or struct.error if
    its box is damaged."""

    def __init__(self, content: memoryview) -> None:
        self._boxes: Final = first_boxes(content)

    @property
    def number(self) -> int:
        header = _child(self._boxes, b"tkhd")
        number: int = struct.unpack_from(">I", header, 20 if header[0] else 12)[0]
        return number

    @cached_property
    def references(self) -> dict[bytes, int]:
        """The first track referenced by each type."""
        boxes = first_boxes(self._boxes.get(b"tref", memoryview(b"")))
        return {kind: struct.unpack_from(">I", content)[0] for kind, content in boxes.items()}

    @property
    def is_coded(self) -> bool:
        """True if the samples are AV1."""
        return self.entry[0] == b"av01"

    @cached_property
    def properties(self) -> dict[bytes, memoryview]:
        """The boxes of the sample description."""
        return first_boxes(self.entry[1][_SAMPLE_ENTRY_BYTES:])

    def is_alpha_of(self, colour: "_Track") -> bool:
        """Return True if the samples are the alpha of another track's samples. Old encoders do not
        write their type."""
        if not self.is_coded or self.references.get(b"auxl") != colour.number:
            return False
        kind = self.properties.get(b"auxi", memoryview(b""))
        return not kind or bytes(kind[4 : 4 + max(map(len, ALPHA))]).startswith(ALPHA)

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) of the samples."""
        return struct.unpack_from(">HH", self.entry[1], 24)

    @property
    def plays(self) -> int:
        """Number of repetitions; 0 for endless repetition, which is also the default, as in
        browsers."""
        if b"edts" not in self._boxes:
            return 0
        edits = _child(first_boxes(self._boxes[b"edts"]), b"elst")
        if not edits[3] & 1:
            return 1
        header = _child(self._boxes, b"tkhd")
        (duration,) = struct.unpack_from(*(">Q", header, 28) if header[0] else (">I", header, 20))
        (once,) = struct.unpack_from(">Q" if edits[0] else ">I", edits, 8)
        return 0 if duration in _ENDLESS else max(1, ceil(duration / max(1, once)))

    def milliseconds(self) -> Iterator[int]:
        """Delays of the samples, followed by endless zeros."""
        header = _child(self._media, b"mdhd")
        (timescale,) = struct.unpack_from(">I", header, 20 if header[0] else 12)
        entries = _entries(_child(self._table, b"stts"), ">II")
        deltas = chain.from_iterable(repeat(delta, count) for count, delta in entries)
        return (1000 * delta // timescale if timescale else 0 for delta in chain(deltas, repeat(0)))

    def samples(self, image: bytes) -> Iterator[memoryview]:
        """Yield the samples. Ends at a sample outside the file, or once their total length exceeds
        the file's."""
        view, total = memoryview(image), 0
        for start, length in self._places():
            total += length
            if not length or start + length > len(view) or total > len(view):
                return
            yield view[start : start + length]

    def _places(self) -> Iterator[tuple[int, int]]:
        """Yield (start, length) of each sample."""
        sizes = self._sizes()
        per_chunk = {
            first: count for first, count, _ in _entries(_child(self._table, b"stsc"), ">III")
        }
        is_long = b"stco" not in self._table
        offsets = _entries(
            _child(self._table, b"co64" if is_long else b"stco"), ">Q" if is_long else ">I"
        )
        count = 0
        for number, (offset,) in enumerate(offsets, 1):
            count, start = per_chunk.get(number, count), offset
            for length in islice(sizes, count):
                yield start, length
                start += length

    def _sizes(self) -> Iterator[int]:
        content = _child(self._table, b"stsz")
        size, count = struct.unpack_from(">II", content, 4)
        if size:
            return repeat(size, min(count, MAX_BLOCKS))
        return (size for (size,) in _entries(content[4:], ">I"))

    @cached_property
    def _media(self) -> dict[bytes, memoryview]:
        return first_boxes(_child(self._boxes, b"mdia"))

    @cached_property
    def _table(self) -> dict[bytes, memoryview]:
        return first_boxes(_child(first_boxes(_child(self._media, b"minf")), b"stbl"))

    @cached_property
    def entry(self) -> tuple[bytes, memoryview]:
        """Return the type and content of the first sample description."""
        return next(read_boxes(_child(self._table, b"stsd")[8:]), (b"", memoryview(b"")))


def _child(boxes: dict[bytes, memoryview], kind: bytes) -> memoryview:
    if kind not in boxes:
        raise damaged(f"AVIF track without {kind.decode()}")
    return boxes[kind]


def _entries(content: memoryview, layout: str) -> Iterator[tuple[int, ...]]:
    """Yield the first entries of a table, after its version and count. Raises DamagedImageError if
    it is truncated."""
    (count,) = struct.unpack_from(">I", content, 4)
    end = 8 + min(count, MAX_BLOCKS) * struct.calcsize(layout)
    if end > len(content):
        raise damaged("AVIF table is truncated")
    return struct.iter_unpack(layout, content[8:end])


def _written(
    layers: Sequence[_Track], canvas: tuple[int, int], frames: Sequence[EncodedFrame]
) -> bytes:
    """Return a file with a track for each layer, with consecutive samples."""
    brands = box(b"ftyp", b"avis\0\0\0\0avismsf1miaf")
    samples = [[frame.data for frame in frames]]
    if len(layers) > 1:
        samples.append([frame.alpha or b"" for frame in frames])

    def movie(start: int) -> bytes:
        tracks = []
        for number, data in enumerate(samples, 1):
            tracks.append(_track(number, layers, canvas, [*map(len, data)], start))
            start += sum(map(len, data))
        return box(b"moov", *tracks)

    return b"".join(
        [
            brands,
            movie(len(brands) + len(movie(0)) + 8),
            struct.pack(">I4s", 8 + sum(map(len, chain(*samples))), b"mdat"),
            *chain(*samples),
        ]
    )


def _references(layers: Sequence[_Track], number: int) -> bytes:
    """The references of a track to the other one: the second is the alpha of the first, whose
    samples may have been multiplied with it."""
    if number == 2:
        return box(b"tref", box(b"auxl", struct.pack(">I", 1)))
    is_premultiplied = len(layers) > 1 and layers[0].references.get(b"prem") == layers[1].number
    return box(b"tref", box(b"prem", struct.pack(">I", 2))) if is_premultiplied else b""


def _track(
    number: int,
    layers: Sequence[_Track],
    canvas: tuple[int, int],
    lengths: Sequence[int],
    start: int,
) -> bytes:
    """Return a track whose samples begin at `start`. Each has a duration of one unit, which changes
    no pixel."""
    count = len(lengths)
    table = box(
        b"stbl",
        full_box(b"stsd", struct.pack(">I", 1), box(*layers[number - 1].entry)),
        full_box(b"stts", struct.pack(">III", 1, count, 1)),
        full_box(b"stsc", struct.pack(">IIII", 1, 1, count, 1)),
        full_box(b"stsz", struct.pack(f">II{count}I", 0, count, *lengths)),
        full_box(b"stco", struct.pack(">II", 1, start)),
    )
    handler = b"pict" if number == 1 else b"auxv"
    media = box(
        b"mdia",
        full_box(b"mdhd", struct.pack(">IIIII", 0, 0, 1000, count, 0)),
        full_box(b"hdlr", bytes(4) + handler + bytes(13)),
        box(b"minf", table),
    )
    size = struct.pack(">II", *(side << 16 for side in canvas))
    header = struct.pack(">IIIII", 0, 0, number, 0, count) + bytes(52) + size
    return box(b"trak", full_box(b"tkhd", header, flags=1), _references(layers, number), media)
