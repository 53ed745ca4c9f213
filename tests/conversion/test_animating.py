"""Animations: changes are drawn, still parts keep their characters, and hostile files stay within
the bounds."""

import hashlib
import json
import struct
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from io import BytesIO
from itertools import pairwise
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageChops, ImageDraw

from asciist.art import Art, forms
from asciist.conversion import ConversionOptions, animating
from asciist.conversion.memory import MAX_ANIMATED_CELLS
from asciist.errors import DamagedImageError, RejectedError, TooManyPixelsError
from asciist.formats import MAX_FRAMES
from asciist.limits import Limits
from asciist.options import COLORS, STYLES
from tests.conversion.goldens import EXAMPLES
from tools.testing.drawing import convert
from tools.testing.images import ANIMATED_FORMATS, FORMATS, encoded, gradient

RGB_FORMATS = ("GIF", "PNG", "WEBP")
"""Animated formats that keep the colours of a frame, or nearly so."""


def file_of(frames: Sequence[Image.Image], image_format: str, **options: Any) -> bytes:
    file = BytesIO()
    lossless = {"lossless": True} if image_format == "WEBP" else {}
    chosen = {"duration": 40, "loop": 0, **lossless, **options}
    frames[0].save(file, image_format, save_all=True, append_images=frames[1:], **chosen)
    return file.getvalue()


@cache
def moving_square(mode: str = "RGB", count: int = 6) -> tuple[Image.Image, ...]:
    """A photograph on which a square moves from left to right in its lower half."""
    with Image.open(EXAMPLES / "cat.jpg") as file:
        photograph = file.resize((160, 120)).convert(mode)
    frames = []
    for number in range(count):
        frame = photograph.copy()
        ImageDraw.Draw(frame).rectangle((20 * number, 80, 20 * number + 24, 104), fill="white")
        frames.append(frame)
    return tuple(frames)


@dataclass(frozen=True)
class Look:
    """A frame in a form of text."""

    art: str
    milliseconds: int

    @property
    def lines(self) -> list[str]:
        return self.art.split("\n")


@dataclass(frozen=True)
class Drawn:
    """An animation in a form of text."""

    frames: list[Look]
    plays: int
    shown_frames: int
    image_frames: int


def in_text(art: Art, color: str = "none") -> Drawn:
    assert art.movement
    frames = [Look(*frame) for frame in forms.texts(art, forms.of_colour(color))]
    return Drawn(frames, **vars(art.movement))


def drawn(image: bytes, **options: Any) -> Drawn:
    choice = ConversionOptions(**{"width": 40, **options})
    animation = animating.open_animation(image, choice, Limits())
    assert animation is not None
    return in_text(animating.draw(animation), choice.color)


@pytest.mark.parametrize("image_format", RGB_FORMATS)
@pytest.mark.parametrize("style", STYLES)
def test_cells_change_only_where_the_picture_does(style: str, image_format: str) -> None:
    frames = drawn(file_of(moving_square(), image_format), style=style).frames

    assert len(frames) == 6
    for number, (before, after) in enumerate(pairwise(frames)):
        left, right = 20 * number / 4, (20 * number + 45) / 4  # in columns of 4 pixels, rows of 8
        changed = {
            (column, row)
            for row, lines in enumerate(zip(before.lines, after.lines, strict=True))
            for column, pair in enumerate(zip(*lines, strict=True))
            if pair[0] != pair[1]
        }
        assert changed
        assert {row for _, row in changed} <= set(range(10, 14))
        assert all(left - 1 < column <= right for column, _ in changed)


@pytest.mark.parametrize("color", [color for color in COLORS if color != "none"])
@pytest.mark.parametrize("paint", ["cells", "text"])
def test_still_rows_are_byte_identical_in_colour(color: str, paint: str) -> None:
    first, *others = drawn(file_of(moving_square(), "PNG"), color=color, paint=paint).frames

    top = 14 if color == "html" else 0  # the head of the document
    for frame in others:
        assert frame.lines[: top + 10] == first.lines[: top + 10]
        assert frame.lines != first.lines


def test_noise_does_not_make_still_cells_flicker() -> None:
    random = Random(1)
    frames = [
        ImageChops.add(
            frame, Image.frombytes("L", frame.size, bytes(random.choices(range(20), k=160 * 120)))
        )
        for frame in moving_square("L")
    ]

    first, *others = drawn(file_of(frames, "PNG")).frames

    assert all(frame.lines[:9] == first.lines[:9] for frame in others)


def test_a_slow_change_adds_up_until_it_shows() -> None:
    frames = [Image.new("L", (160, 120), 3 * number) for number in range(60)]

    shown = drawn(file_of(frames, "PNG"), style="ramp").frames

    assert shown[-1].lines[0][0] != shown[0].lines[0][0]
    assert 4 <= len(shown) <= 10  # of the ten characters of the ramp, about seven


def test_one_tone_curve_serves_all_frames() -> None:
    """A fade from black: the choice for its first frame alone would make the next one white."""
    cat = moving_square("L")[0]
    frames = [cat.point(lambda level, share=share: level * share // 9) for share in range(10)]

    for style in STYLES:
        shown = drawn(file_of(frames, "PNG"), style=style).frames
        blanks = [sum(frame.art.count(blank) for blank in " \u2800") for frame in shown]
        assert blanks[0] == 40 * 15
        assert blanks[1] > blanks[-1]


def test_the_polarity_is_chosen_once() -> None:
    frames = [Image.new("L", (160, 120)), *(Image.new("L", (160, 120), 255) for _ in range(9))]
    for number, frame in enumerate(frames[1:]):
        ImageDraw.Draw(frame).line((0, 0, 160, 10 * number), fill=0, width=3)
    animation = animating.open_animation(
        file_of(frames, "PNG"), ConversionOptions(width=40, invert="auto"), Limits()
    )
    assert animation is not None

    assert animating.draw(animation).is_light


@pytest.mark.parametrize("image_format", RGB_FORMATS)
def test_frames_are_composited_as_viewers_do(image_format: str) -> None:
    """Transparent parts of a frame show the previous frame, unless that is disposed of."""
    base = Image.new("RGBA", (80, 40), (0, 0, 0, 255))
    base.paste((255, 255, 255, 255), (0, 0, 40, 40))
    patch = Image.new("RGBA", (80, 40))
    patch.paste((255, 255, 255, 255), (60, 0, 80, 40))
    options: dict[str, Any] = (
        {"disposal": [0, 0], "blend": 1} if image_format == "PNG" else {"disposal": 1}
    )
    if image_format == "WEBP":
        patch.paste((255, 255, 255, 255), (0, 0, 40, 40))
        patch.paste((0, 0, 0, 255), (40, 0, 60, 40))
        options = {}

    shown = drawn(file_of([base, patch], image_format, **options), width=8, style="ramp").frames

    assert [frame.lines[0] for frame in shown] == ["@@@@    ", "@@@@  @@"]


@pytest.mark.parametrize("disposal", [1, 2])
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_every_frame_is_that_of_the_file_whatever_becomes_of_it(mode: str, disposal: int) -> None:
    """Pillow writes palettes for some frames of a grey GIF, and transparent pixels where frames are
    equal."""
    frames = [
        Image.effect_noise((40, 20), 200).resize((160, 80), Image.Resampling.NEAREST).convert(mode)
        for _ in range(5)
    ]
    animation = drawn(file_of(frames, "GIF", disposal=disposal), style="ramp")
    stills = [
        convert(encoded(frame, "PNG"), ConversionOptions(width=40, style="ramp"), Limits())
        for frame in frames
    ]

    assert animation.shown_frames == 5
    for frame, still in zip(animation.frames, stills, strict=True):
        differing = sum(a != b for a, b in zip(frame.art, still, strict=True))
        assert differing < 0.1 * len(still)  # the palettes of a GIF round colours


def test_a_disposed_frame_does_not_remain() -> None:
    frames = []
    for number in range(3):
        frame = Image.new("RGBA", (80, 40))
        frame.paste((255, 255, 255, 255), (20 * number, 0, 20 * number + 20, 40))
        frames.append(frame)

    shown = drawn(
        file_of(frames, "GIF", disposal=2), width=8, style="ramp", background="#000000"
    ).frames

    assert [frame.lines[0] for frame in shown] == ["@@      ", "  @@    ", "    @@  "]


@pytest.mark.parametrize("image_format", RGB_FORMATS)
@pytest.mark.parametrize(
    ("asked", "milliseconds"), [(0, 100), (10, 100), (20, 20), (90, 90), (100_000, 60_000)]
)
def test_delays_are_those_of_browsers(image_format: str, asked: int, milliseconds: int) -> None:
    if image_format == "PNG" and asked > 65_000:
        pytest.skip("Pillow writes no such delay")

    shown = drawn(file_of(moving_square(), image_format, duration=asked)).frames

    assert {frame.milliseconds for frame in shown} == {milliseconds}


@pytest.mark.parametrize("image_format", RGB_FORMATS)
@pytest.mark.parametrize("plays", [0, 1, 3])
def test_the_number_of_plays_is_that_of_the_file(image_format: str, plays: int) -> None:
    repeats = plays - 1 if image_format == "GIF" and plays else plays
    loop: dict[str, Any] = (
        {"loop": None} if image_format == "GIF" and plays == 1 else {"loop": repeats}
    )

    assert drawn(file_of(moving_square(), image_format, **loop)).plays == plays


def test_frames_that_look_the_same_are_one_that_is_shown_for_longer() -> None:
    first, second, *_ = moving_square("L")
    # so that the encoder does not merge them
    third = second.point(lambda level: min(255, level + 3))
    animation = drawn(file_of([first, second, third, first], "WEBP", duration=[50, 60, 70, 80]))

    assert [frame.milliseconds for frame in animation.frames] == [50, 130, 80]
    assert (animation.shown_frames, animation.image_frames) == (4, 4)


@pytest.mark.parametrize("image_format", FORMATS)
def test_a_still_image_is_no_animation(image_format: str) -> None:
    still = encoded(gradient(), image_format)

    assert animating.open_animation(still, ConversionOptions(width=40), Limits()) is None


def test_a_png_whose_still_image_is_no_frame_is_no_animation() -> None:
    image = file_of(moving_square(), "PNG", default_image=True)

    assert animating.open_animation(image, ConversionOptions(width=40), Limits()) is None


def test_the_first_frame_of_an_animation_looks_like_the_still_image_where_nothing_is_tuned() -> (
    None
):
    image = file_of(moving_square(), "PNG")

    assert drawn(image, style="ramp").frames[0].art == convert(
        image, ConversionOptions(width=40, style="ramp"), Limits()
    )


@pytest.mark.parametrize("image_format", RGB_FORMATS)
def test_a_truncated_animation_shows_its_whole_frames(image_format: str) -> None:
    whole = file_of(moving_square(), image_format)
    expected = drawn(whole).frames

    if image_format == "WEBP":  # as a still image, too, libwebp refuses a truncated file
        with pytest.raises(DamagedImageError):
            drawn(whole[:-10])
        return
    shown = drawn(whole[:-30]).frames

    assert [frame.milliseconds for frame in shown] == [frame.milliseconds for frame in expected[:5]]


def test_a_damaged_frame_ends_the_animation() -> None:
    whole = bytearray(file_of([Image.effect_noise((160, 120), 50) for _ in range(6)], "PNG"))
    place = whole.rindex(b"fdAT") + 2000
    whole[place : place + 200] = bytes(200)

    animation = drawn(bytes(whole))

    assert (animation.shown_frames, animation.image_frames) == (5, 6)


def tiny_frames(canvas: tuple[int, int], *lefts: int) -> bytes:
    """A GIF with a first frame as large as its canvas, and a further one of a pixel at each of
    `lefts`."""
    still = encoded(Image.new("P", canvas), "GIF")
    pixel = encoded(Image.new("P", (1, 1), 1), "GIF")
    data = pixel[pixel.index(b"\x2c", 13 + 3 * 2 ** ((pixel[10] & 7) + 1)) + 3 : -1]
    return (
        still[:-1] + b"".join(b"\x2c" + struct.pack("<H", left) + data for left in lefts) + b"\x3b"
    )


@pytest.mark.parametrize(
    ("image", "most"),
    [
        (lambda: tiny_frames((16, 16), *[0] * 12_000), MAX_FRAMES),
        (lambda: tiny_frames((2000, 1500), *[0] * 10_000), animating.MAX_PIXELS // 3_000_000),
    ],
    ids=["twelve thousand frames", "a huge canvas with frames of a pixel"],
)
def test_frames_beyond_the_bounds_are_not_drawn(image: Callable[[], bytes], most: int) -> None:
    animation = drawn(image(), width=20)

    assert animation.shown_frames == most
    assert animation.image_frames > 9_000


def test_the_cells_of_all_frames_are_bounded() -> None:
    animation = drawn(file_of(moving_square(count=6), "GIF"), width=500, style="ramp")

    assert animation.shown_frames == MAX_ANIMATED_CELLS // (500 * 187)


@pytest.mark.parametrize("image_format", ["PNG", "WEBP"])
def test_frames_are_turned_upright(image_format: str) -> None:
    orientation = Image.Exif()
    orientation[0x112] = 6
    image = file_of(moving_square(), image_format, exif=orientation)

    first = drawn(image, style="ramp").frames[0].art

    assert first == convert(image, ConversionOptions(width=40, style="ramp"), Limits())


def test_an_animation_that_needs_too_much_memory_is_refused_before_it_is_decoded() -> None:
    with pytest.raises(
        TooManyPixelsError,
        match=r"of 4000x3000 pixels each, at width 40 would take \d+ MB of memory",
    ):
        drawn(tiny_frames((4000, 3000), 0, 0))


def test_a_frame_outside_the_canvas_ends_the_animation() -> None:
    animation = drawn(tiny_frames((160, 120), 0, 159, 160, 0))

    assert (animation.shown_frames, animation.image_frames) == (3, 3)


_PEAK = """
import json, pathlib, sys
sys.path.insert(0, ".")
from asciist.conversion import ConversionOptions, animating
from asciist.limits import Limits
image = sys.stdin.buffer.read()
def peak():
    status = pathlib.Path("/proc/self/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1])
before = peak()
animation = animating.open_animation(image, ConversionOptions(**json.loads(sys.argv[1])), Limits())
animating.draw(animation)
print(1024 * (peak() - before), animation.memory_bytes)
"""


@pytest.mark.parametrize(
    ("image_format", "options"),
    [
        ("GIF", {"width": 80}),
        ("PNG", {"width": 80, "color": "ansi"}),
        ("WEBP", {"width": 200, "color": "ansi", "style": "blocks"}),
        ("AVIF", {"width": 80, "color": "ansi"}),
    ],
)
def test_the_memory_of_an_animation_is_within_its_estimate(
    image_format: str, options: dict[str, Any]
) -> None:
    frames = [gradient(1600, 1200).rotate(5 * number) for number in range(3)]
    image = file_of(
        frames, image_format, **{"WEBP": {"method": 0}, "AVIF": {"speed": 10}}.get(image_format, {})
    )
    command = [sys.executable, "-c", _PEAK, json.dumps(options)]

    result = subprocess.run(command, input=image, capture_output=True, check=True)
    taken, estimated = map(int, result.stdout.split())

    assert taken <= estimated <= Limits().max_conversion_bytes


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    image_format=st.sampled_from(ANIMATED_FORMATS),
    changes=st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), min_size=1, max_size=8),
    keep=st.floats(0.3, 1.3),
)
def test_a_corrupted_animation_is_drawn_or_refused(
    image_format: str, changes: list[tuple[float, int]], keep: float
) -> None:
    image = bytearray(small_file(image_format))
    for place, value in changes:
        image[int(place * (len(image) - 1))] = value
    with suppress(RejectedError):
        animation = animating.open_animation(
            bytes(image[: int(len(image) * keep)]),
            ConversionOptions(width=10, style="ramp"),
            Limits(),
        )
        if animation is not None:
            assert animating.draw(animation).frames


@cache
def small_file(image_format: str) -> bytes:
    return file_of([frame.resize((32, 24)) for frame in moving_square()], image_format)


GOLDENS = {
    "structure": "3453b9395d7cb2c61f8f1adb357820d12278920db620048fa6347677377b8e21",
    "ramp": "e947c4e8e0ece4e90065da3291bf27013962cbb519968a51251b82a7f64daa0e",
    "braille": "e076d6dff762b1fc85e12a7b32544b36d6e94c0f32bc236df3c5f9dcb3196a25",
    "blocks": "d5d36faf32903dcf816620f2119a38e96a511dc1a51f00c22f151c3f44d98531",
    "structure ansi": "b80a863a7927e769055847b3df383d51d4dfbbdaf0b152206f20647e382371c6",
    "blocks ansi": "d9975bd649772dc6fa85a72030a0477d386772cb681942bc9a5b0e4830fbb541",
}
"""SHA-256 digests of `changes` in an animation, by style and colour."""


def changes(animation: Drawn) -> str:
    """Return the lines of each frame that differ from those of the frame before, and their
    places."""
    lines = [f"\x1c1 {animation.plays} {animation.shown_frames} {animation.image_frames}"]
    before: list[str] = []
    for frame in animation.frames:
        differing = [
            number
            for number, line in enumerate(frame.lines)
            if before[number : number + 1] != [line]
        ]
        starts = [number for number in differing if number - 1 not in differing]
        ends = [number for number in differing if number + 1 not in differing]
        places = "".join(f" {first}-{last}" for first, last in zip(starts, ends, strict=True))
        lines.append(f"{frame.milliseconds} {len(frame.lines)}{places}")
        lines += [frame.lines[number] for number in differing]
        before = frame.lines
    return "\n".join(lines)


@pytest.mark.parametrize("name", GOLDENS)
def test_the_same_animation_gives_the_same_text_everywhere(name: str) -> None:
    style, _, color = name.partition(" ")
    choice = ConversionOptions(width=40, style=style, color=color or "none")
    animation = animating.open_animation(file_of(moving_square(), "PNG"), choice, Limits())
    assert animation is not None

    art = animating.draw(animation)
    text = changes(in_text(art, choice.color))

    assert hashlib.sha256(text.encode()).hexdigest() == GOLDENS[name]
