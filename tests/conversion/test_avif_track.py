"""Animated AVIFs: frames equal those of other formats, and invalid tables yield art or a helpful
error."""

import struct
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest
from PIL import Image, ImageDraw

from asciist.conversion import ConversionOptions, animating, pillow_internals
from asciist.conversion.containers import AnimatedFile, find_frames
from asciist.conversion.containers.animated import EncodedFrame
from asciist.errors import DamagedImageError, RejectedError
from asciist.formats import AVIF
from asciist.limits import Limits
from tests.conversion.test_animating import drawn, file_of

SIZE = (64, 48)
TABLES = (b"tkhd", b"mdhd", b"stsd", b"stts", b"stsc", b"stsz", b"stco")


@cache
def bars(mode: str = "RGB", count: int = 4) -> tuple[Image.Image, ...]:
    """Frames in which a bar moves from left to right."""
    frames = []
    for number in range(count):
        frame = Image.new(mode, SIZE)
        left = 48 * number // count
        ImageDraw.Draw(frame).rectangle((left, 8, left + 15, 40), fill="white")
        frames.append(frame)
    return tuple(frames)


@cache
def avif(mode: str = "RGB") -> bytes:
    return file_of(bars(mode), "AVIF", speed=10, duration=(40, 60, 70, 80))


def edited(kind: bytes, place: int, *numbers: int, image: bytes | None = None) -> bytes:
    """Return the image with 32-bit numbers written `place` bytes after the type of the first box of
    a kind in `moov`."""
    changed = bytearray(avif() if image is None else image)
    struct.pack_into(
        f">{len(numbers)}I",
        changed,
        changed.index(kind, changed.index(b"moov")) + 4 + place,
        *numbers,
    )
    return bytes(changed)


def track_of(image: bytes) -> AnimatedFile:
    file = find_frames(image, AVIF, SIZE)
    assert file is not None
    return file


def with_samples(choose: Callable[[list[bytes]], list[bytes]]) -> bytes:
    """Return the image with other samples in its track, chosen from the old ones."""
    track = track_of(avif())
    chosen = choose([bytes(frame.data) for frame in track.frames])
    built = track.build([EncodedFrame(data=data, milliseconds=100) for data in chosen])
    still = avif().replace(b"moov", b"free", 1)
    start = struct.unpack_from(">I", built)[0]
    place = built.index(b"stco") + 12
    (offset,) = struct.unpack_from(">I", built, place)
    return (
        still
        + built[start:place]
        + struct.pack(">I", offset + len(still) - start)
        + built[place + 4 :]
    )


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA"])
def test_frames_and_delays_are_those_of_the_same_frames_in_a_png(mode: str) -> None:
    options = {"width": 16, "style": "ramp", "background": "#000000"}
    shown = drawn(avif(mode), **options).frames
    expected = drawn(file_of(bars(mode), "PNG", duration=[40, 60, 70, 80]), **options).frames

    assert (
        [frame.milliseconds for frame in shown]
        == [frame.milliseconds for frame in expected]
        == [40, 60, 70, 80]
    )
    for frame, other in zip(shown, expected, strict=True):
        assert sum(a != b for a, b in zip(frame.art, other.art, strict=True)) <= 0.1 * len(
            other.art
        )


def test_frames_that_encoders_hide_or_show_later_are_decoded() -> None:
    """At a speed of 6, libaom writes hidden frames that are only referenced, and samples that show
    one of them."""
    image = file_of(bars(count=16), "AVIF", speed=6)
    options = {"width": 16, "style": "ramp"}
    shown, expected = (
        drawn(file, **options).frames for file in (image, file_of(bars(count=16), "PNG"))
    )

    assert len(shown) == len(expected)
    for frame, other in zip(shown, expected, strict=True):
        assert sum(a != b for a, b in zip(frame.art, other.art, strict=True)) <= 0.1 * len(
            other.art
        )


def test_the_number_of_plays_is_that_of_the_edit_list() -> None:
    once = edited(b"elst", 0, 0x01000000)
    (duration,) = struct.unpack_from(">Q", once, once.index(b"elst") + 12)
    thrice = edited(b"tkhd", 28, 0, 3 * duration - 1)

    assert [
        drawn(image).plays for image in (avif(), once, thrice, edited(b"edts", -4, 0x66726565))
    ] == [0, 1, 3, 0]


def test_only_the_samples_that_are_drawn_reach_the_decoder() -> None:
    image = file_of(bars(), "AVIF", speed=10, xmp=b"<x:xmpmeta/>" + bytes(2000))
    file = track_of(image)
    first = file.first(2)

    assert len(track_of(first).frames) == 2
    assert [
        word for word in (b"xmpmeta", b"elst", b"meta") if word not in image or word in first
    ] == []
    assert len(first) < len(image) / 2


def test_the_frames_are_decoded_in_the_calling_thread() -> None:
    before = {*Path("/proc/self/task").iterdir()}
    source = pillow_internals.open_animation(AVIF, track_of(avif()).first(4))
    for number in range(4):
        source.seek(number)
        source.load()

    assert {*Path("/proc/self/task").iterdir()} <= before


def test_an_animation_of_one_sample_is_a_still_image() -> None:
    assert find_frames(with_samples(lambda samples: samples[:1]), AVIF, SIZE) is None


LIES: dict[str, tuple[bytes, int]] = {
    "a timescale of zero": (edited(b"mdhd", 20, 0), 4),
    "times of zero": (edited(b"stts", 8, 4, 0), 4),
    "too few times": (edited(b"stts", 4, 0), 4),
    "a track of 4 gigapixels": (edited(b"tkhd", 88, 2**32 - 1, 2**32 - 1), 4),
    "the third sample past the end": (edited(b"stsz", 20, 2**31), 2),
    "an empty third sample": (edited(b"stsz", 20, 0), 2),
    "the third sample with a part of a unit": (edited(b"stsz", 20, 7), 2),
    "five thousand samples": (with_samples(lambda samples: samples[:1] * 5_000), 300),
    "a sample of nine frames": (with_samples(lambda samples: [*samples[:2], 9 * samples[2]]), 2),
    "a further sequence header": (
        with_samples(
            lambda samples: [*samples[:2], b"\x0a\x0b" + bytes(11) + samples[2], samples[3]]
        ),
        2,
    ),
}


@pytest.mark.parametrize("name", LIES)
def test_tables_that_lie_end_the_animation_or_change_nothing(name: str) -> None:
    image, frames = LIES[name]
    animation = drawn(image, width=16, style="ramp")

    assert animation.shown_frames == frames
    if "time" in name:
        assert {frame.milliseconds for frame in animation.frames} == {100}


@pytest.mark.parametrize(
    "image",
    [
        edited(b"stsz", 8, 2**32 - 1),
        edited(b"stsz", 4, 2**31, 9),
        edited(b"stsc", 8, 2),
        edited(b"stco", 4, 2**32 - 1),
        edited(b"stco", 8, 2**31),
        edited(b"stts", 4, 2**32 - 1),
        edited(b"av01", -4, 0x68766331),
        edited(b"av01", 24, 2**32 - 1),
        edited(b"trak", -4, 0x66726565),
        with_samples(lambda samples: samples[1:]),
    ],
    ids=[
        "4 billion samples",
        "samples of 2 GB",
        "no samples in the first chunk",
        "4 billion chunks",
        "a chunk past the end",
        "4 billion times",
        "HEVC",
        "samples of 4 gigapixels",
        "no track",
        "no sequence header",
    ],
)
def test_a_track_that_cannot_be_read_is_refused_with_advice(image: bytes) -> None:
    with pytest.raises(DamagedImageError) as refused:
        drawn(image)

    assert refused.value.public_message == AVIF.unreadable_frames


def test_samples_of_another_size_than_the_still_image_are_refused() -> None:
    with pytest.raises(DamagedImageError, match="of another size than its still image"):
        find_frames(avif(), AVIF, (64, 47))


def damaged_movies(image: bytes) -> Iterator[bytes]:
    """The image with each box in `moov` renamed, truncated at its start, or given a false length;
    and the image truncated there."""
    start = image.index(b"moov") - 4
    end = start + struct.unpack_from(">I", image, start)[0]
    boxes = (
        b"moov",
        b"mvhd",
        b"trak",
        b"edts",
        b"elst",
        b"tref",
        b"mdia",
        b"hdlr",
        b"minf",
        b"stbl",
        b"av01",
        b"av1C",
    )
    for name in (*boxes, *TABLES):
        place = image.find(name, start, end)
        while place >= 0:
            yield image[:place] + b"free" + image[place + 4 :]
            yield image[: place + 4]
            yield (
                image[:start]
                + struct.pack(">I", place - start)
                + image[start + 4 : place]
                + image[end:]
            )
            for length in (0, 4, 8, 12, 2**31):
                yield image[: place - 4] + struct.pack(">I", length) + image[place:]
            place = image.find(name, place + 1, end)


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_damage_to_any_box_ends_as_art_or_as_an_error(mode: str) -> None:
    options = ConversionOptions(width=8, style="ramp")
    outcomes = set()
    for image in damaged_movies(avif(mode)):
        try:
            animation = animating.open_animation(image, options, Limits())
            outcomes.add("still" if animation is None else "art")
            if animation is not None:
                assert animating.draw(animation).frames
        except RejectedError as error:
            outcomes.add(error.public_message)

    assert outcomes == {"art", "still", AVIF.unreadable_frames}


def test_alpha_counts_towards_the_pixels_of_an_animation() -> None:
    file = track_of(avif("RGBA"))

    assert [file.frames_within(most) for most in range(5)] == [0, 0, 1, 1, 2]


def test_the_references_of_a_decoder_count_towards_the_memory_of_an_animation() -> None:
    opened = animating.open_animation(avif(), ConversionOptions(width=16), Limits())

    assert opened is not None
    assert opened.file.decoder_bytes > 10 * 1.5 * 64 * 48
