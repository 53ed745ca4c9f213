"""The text of an animation."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asciist.animations import Animation, AnimationWriter, is_animation

LINES = st.text(st.characters(exclude_characters="\n", exclude_categories=["Cs"]), max_size=4)
FRAMES = st.lists(st.tuples(st.lists(LINES, min_size=1, max_size=5), st.integers(1, 99)), min_size=1, max_size=6)


def written(*frames: tuple[str, int], max_characters: int = 1000, plays: int = 0) -> str:
    writer = AnimationWriter(max_characters=max_characters)
    for art, milliseconds in frames:
        if not writer.add(art, milliseconds):
            break
    return writer.text(plays=plays, image_frames=len(frames))


@settings(max_examples=40)
@given(FRAMES)
def test_frames_are_read_as_they_were_written(frames: list[tuple[list[str], int]]) -> None:
    shown: list[tuple[list[str], int]] = []
    for lines, milliseconds in frames:
        if shown and shown[-1][0] == lines:
            shown[-1] = (lines, shown[-1][1] + milliseconds)
        else:
            shown.append((lines, milliseconds))

    animation = Animation.from_text(written(*(("\n".join(lines), time) for lines, time in frames)))

    assert [(list(frame.lines), frame.milliseconds) for frame in animation.frames] == shown
    assert (animation.shown_frames, animation.image_frames) == (len(frames), len(frames))


def test_a_frame_is_stored_as_the_lines_that_differ() -> None:
    text = written(("ab\ncd\nef\ngh", 100), ("ab\nXd\nef\ngX", 40), ("ab\nXd\nef\ngX", 60), plays=3)

    assert text == "\x1c1 3 3 3\n100 4 0-3\nab\ncd\nef\ngh\n100 4 1-1 3-3\nXd\ngX"
    assert [frame.changed for frame in Animation.from_text(text).frames] == [[(0, 3)], [(1, 1), (3, 3)]]


def test_frames_beyond_the_bound_on_characters_are_left_out_and_counted() -> None:
    animation = Animation.from_text(written(("aaaa", 10), ("bbbb", 10), ("cccc", 10), max_characters=10))

    assert [frame.art for frame in animation.frames] == ["aaaa", "bbbb"]
    assert (animation.shown_frames, animation.image_frames) == (2, 3)


def test_the_first_frame_always_fits() -> None:
    assert Animation.from_text(written(("a" * 100, 10), max_characters=10)).frames[0].art == "a" * 100


def test_art_of_a_still_image_is_no_animation() -> None:
    assert is_animation(written(("a", 10)))
    assert not any(map(is_animation, ("", "1 0 1 1", "\x1b[31ma", "<!doctype html>")))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "art",
        "\x1c2 0 1 1\n10 1 0-0\na",
        "\x1c1 0 1 1",
        "\x1c1 0 1 1\n10 1",
        "\x1c1 0 1 1\n10 1 0-0",
        "\x1c1 0 1 1\n10 1 0-1\na\nb",
        "\x1c1 0 1 1\n10 2 1-1\na",
        "\x1c1 0 1 1\n10 2 1-0\na",
        "\x1c1 0 1 1\nten 1 0-0\na",
        "\x1c1 0 1 1\n10 999999999 0-999999998\na",
    ],
)
def test_a_malformed_text_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"animation|frame"):
        Animation.from_text(text)
